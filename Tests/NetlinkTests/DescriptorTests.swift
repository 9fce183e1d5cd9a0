// SPDX-License-Identifier: GPL-2.0-or-later

import CLinux
import Glibc
import Testing

struct DescriptorTests {
  @Test("a process has as many descriptors as its hard limit allows, once it asks")
  func room() {
    nf_reserve_descriptors()
    var limit = rlimit()
    #expect(getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
    #expect(limit.rlim_cur == limit.rlim_max)
    let last = fcntl(0, F_DUPFD_CLOEXEC, Int32(min(limit.rlim_cur, 4096)) - 1)
    #expect(last >= 0)
    close(last)
  }
}
