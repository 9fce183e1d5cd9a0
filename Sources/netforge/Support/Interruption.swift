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

  /// Cancels `work` when a signal comes; ends when it is cancelled itself.
  static func cancelling<Value>(_ work: Task<Value, any Error>) throws -> Task<Void, Never> {
    let interruption = try Interruption()
    return Task.detached {
      while !Task.isCancelled {
        var entry = pollfd(
          fd: interruption.descriptor, events: Int16(truncatingIfNeeded: POLLIN), revents: 0)
        if poll(&entry, 1, 0) > 0 { return work.cancel() }
        // Ends early when the work has ended first.
        try? await Task.sleep(for: .milliseconds(50))
      }
    }
  }

  /// Waits so long, or until a signal comes, which it says.
  @MainActor func sleep(_ interval: Interval) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: POLLIN), revents: 0)
    nf_wait(&entry, 1, interval.nanoseconds)
    return entry.revents != 0
  }
}
