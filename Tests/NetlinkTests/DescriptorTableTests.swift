// SPDX-License-Identifier: GPL-2.0-or-later

import Glibc
import Netlink
import Testing

struct DescriptorTableTests {
  @Test("room that was made can be used")
  func room() throws {
    try DescriptorTable.reserve(2048)
    let high = fcntl(0, F_DUPFD_CLOEXEC, 2040)
    #expect(high >= 2040)
    close(high)
  }

  @Test("more than the hard limit is refused with what would mend it")
  func tooMuch() {
    let error = #expect(throws: NetlinkError.self) { try DescriptorTable.reserve(Int(Int32.max)) }
    #expect(error?.description.contains("ulimit -Hn") == true)
  }
}
