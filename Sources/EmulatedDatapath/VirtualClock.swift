// SPDX-License-Identifier: GPL-2.0-or-later

// Virtual time (docs/expectations.md): the kernel's thread moves it, to the next deadline, when every task that uses the
// lab waits. Whoever reads it sees where it stands.

import LabCore
import NetTypes
import Synchronization

/// Where virtual time stands. Only the kernel's thread moves it.
final class VirtualTime: Sendable {
  private let nanoseconds = Atomic<Int64>(0)

  var now: Instant { Instant(nanoseconds: nanoseconds.load(ordering: .acquiring)) }

  func advance(to deadline: Instant) {
    nanoseconds.store(max(deadline.nanoseconds, now.nanoseconds), ordering: .releasing)
  }
}

/// The clock of a lab in virtual time.
struct VirtualClock: LabClock {
  private let thread: KernelThread
  private let time: VirtualTime

  init(_ thread: KernelThread, _ time: VirtualTime) {
    self.thread = thread
    self.time = time
  }

  var isVirtual: Bool { true }

  func now() -> Instant { time.now }

  func sleep(until deadline: Instant) async {
    let (thread, sleeper) = (thread, Sleeper())
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        thread.submit { kernel in
          guard !sleeper.cancellation.isRequested else { return continuation.resume() }
          sleeper.number = kernel.sleep(until: deadline) { continuation.resume() }
        }
      }
    } onCancel: {
      sleeper.cancellation.request()
      thread.submit { kernel in
        if let number = sleeper.number { kernel.endSleep(number) }
      }
    }
  }

  func enter() async { await thread.perform { $0.participants += 1 } }

  func leave() async { await thread.perform { $0.participants -= 1 } }
}

/// A sleep under way. Sendable because only the kernel's thread touches the number.
private final class Sleeper: @unchecked Sendable {
  let cancellation = Cancellation()
  var number: UInt64?
}
