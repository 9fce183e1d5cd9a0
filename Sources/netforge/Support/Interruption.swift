// SPDX-License-Identifier: GPL-2.0-or-later

// SIGINT, SIGTERM and SIGHUP for verbs that have something to put right before they end.

import CLinux
import Glibc
import NetTypes

/// The signals that end a program, to be waited for. One for a process.
struct Interruption {
  /// Readable when one has come.
  let descriptor: Int32

  init() throws {
    descriptor = nf_signal_descriptor()
    guard descriptor >= 0 else {
      throw Failure(.failed, "cannot watch for signals: \(String(cString: strerror(-descriptor)))")
    }
  }

  /// Waits so long, or until a signal comes, which it says.
  @MainActor func sleep(_ interval: Interval) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: POLLIN), revents: 0)
    nf_wait(&entry, 1, interval.nanoseconds)
    return entry.revents != 0
  }
}
