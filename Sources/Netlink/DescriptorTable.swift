// SPDX-License-Identifier: GPL-2.0-or-later

// Room for descriptors. A lab holds two or more for each node: the namespace and its sockets, so that the usual soft
// limit of 1024 ends at some hundred nodes. And when a process with several threads outgrows its table, the kernel
// waits for a grace period at each doubling (together about 10 ms on the way to 400): better once, and early.

import Glibc
import SystemPackage

/// The process's table of descriptors.
public enum DescriptorTable {
  /// Makes room for `count` descriptors: raises the soft limit as far as the hard one allows, and grows the table in
  /// one step. Cheapest before the first thread starts.
  public static func reserve(_ count: Int) throws(NetlinkError) {
    let operation = "making room for \(count) descriptors"
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
      throw .system(operation, -errno)
    }
    let wanted = rlim_t(max(count, 64))
    if limit.rlim_cur < wanted {
      guard limit.rlim_max >= wanted else {
        throw NetlinkError(
          .system, operation, errno: .tooManyOpenFiles,
          detail: "the hard limit is \(limit.rlim_max); raise it with ulimit -Hn")
      }
      limit.rlim_cur = wanted
      guard setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
        throw .system(operation, -errno)
      }
    }
    // Any descriptor will do: what counts is its number.
    guard let any = (0..<Int32(64)).first(where: { fcntl($0, F_GETFD) >= 0 }) else { return }
    let high = fcntl(any, F_DUPFD_CLOEXEC, Int32(clamping: wanted) - 1)
    guard high >= 0 else { throw .system(operation, -errno) }
    _ = close(high)
  }
}
