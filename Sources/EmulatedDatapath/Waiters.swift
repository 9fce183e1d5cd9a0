// SPDX-License-Identifier: GPL-2.0-or-later

// Who waits for something to happen in the kernel: tasks that receive from an endpoint, each until its deadline.

import NetStack
import NetTypes

/// Everybody who waits on one kernel's thread.
struct Waiters {
  private struct Waiter {
    /// Looks whether it has come, and resumes who waits when it has.
    var isDone: (EmulatedKernel) -> Bool
    var deadline: Instant
    /// Resumes who waits when the deadline has.
    var expire: () -> Void
  }

  private var waiters: [Waiter] = []

  var nextDeadline: Instant? { waiters.map(\.deadline).min() }

  /// Has `isDone` called until it is true, or the deadline comes and `expire` is called in its place.
  mutating func add(
    until deadline: Instant, isDone: @escaping (EmulatedKernel) -> Bool, expire: @escaping () -> Void
  ) {
    waiters.append(Waiter(isDone: isDone, deadline: deadline, expire: expire))
  }

  /// Looks after everybody who waits.
  mutating func settle(_ kernel: EmulatedKernel) {
    guard !waiters.isEmpty else { return }
    waiters.removeAll { waiter in
      if waiter.isDone(kernel) { return true }
      guard waiter.deadline <= kernel.stack.now else { return false }
      waiter.expire()
      return true
    }
  }
}
