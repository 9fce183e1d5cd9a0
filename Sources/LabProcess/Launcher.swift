// SPDX-License-Identifier: GPL-2.0-or-later

// The threads on which programs are started. Starting one takes some milliseconds, most of them spent waiting for the
// program to find its way into the node, so several are started at a time; and a program dies with the thread that
// started it (PR_SET_PDEATHSIG), so these threads live as long as the process.

import Glibc
import Synchronization

/// Starts programs, a bounded number at a time.
final class Launcher: Sendable {
  private let threads: [Reactor]
  private let next = Atomic<Int>(0)

  /// How many programs are started at a time at most.
  private static let largest = 4

  /// `reactor` takes the work when no further thread can be had.
  init(beside reactor: Reactor) {
    let count = max(1, min(sysconf(Int32(_SC_NPROCESSORS_ONLN)), Self.largest))
    let threads = (0..<count).compactMap { _ in try? Reactor() }
    self.threads = threads.isEmpty ? [reactor] : threads
  }

  /// How many starts can be under way.
  var width: Int { threads.count }

  /// Calls `work` on one of the threads.
  func perform(_ work: @escaping Reactor.Work) { thread().perform(work) }

  /// What `work` gives, called on one of the threads.
  func value<T: Sendable>(_ work: @escaping @Sendable () -> T) async -> T { await thread().value(work) }

  private func thread() -> Reactor {
    let turn = next.wrappingAdd(1, ordering: .relaxed).oldValue
    return threads[Int(UInt(bitPattern: turn) % UInt(threads.count))]
  }
}
