// SPDX-License-Identifier: GPL-2.0-or-later

// The thread that runs an emulated kernel, in real or in virtual time. It alone touches the kernel: whoever wants
// something of it puts work into its mailbox. Between two deadlines it sleeps, on the mailbox's eventfd and on the
// kernel's edges to the host; in virtual time it jumps to the next deadline when all tasks that use the lab wait.

import CLinux
import Glibc
import LabCore
import NetStack
import NetTypes
import Synchronization

/// A thread and its kernel. Both end with the last reference to this.
final class KernelThread: Sendable {
  typealias Work = @Sendable (EmulatedKernel) -> Void

  private let mailbox: Mailbox

  /// Starts the thread with a kernel that has nothing in it.
  init(lab: LabName, _ options: Kernel.Options, _ time: VirtualTime?) throws(DatapathError) {
    mailbox = try Mailbox()
    let start = Unmanaged.passRetained(
      KernelStart(mailbox: mailbox, lab: lab, options: options, clock: KernelClock(virtual: time)))
    var thread = pthread_t()
    let failure = pthread_create(&thread, nil, kernelThreadEntry, start.toOpaque())
    guard failure == 0 else {
      start.release()
      throw DatapathError(
        .unavailable, operation: "start the emulated kernel", errno: failure,
        cause: "no thread is to be had for it")
    }
    pthread_detach(thread)
  }

  deinit { mailbox.end() }

  /// What `body` gives, called on the thread between two turns of the kernel.
  func perform<Value: Sendable>(_ body: @Sendable @escaping (EmulatedKernel) -> Value) async -> Value {
    await withCheckedContinuation { continuation in
      mailbox.submit { kernel in continuation.resume(returning: body(kernel)) }
    }
  }

  /// Has `body` called on the thread.
  func submit(_ body: @escaping Work) { mailbox.submit(body) }
}

/// Work for the thread, and what wakes it.
private final class Mailbox: Sendable {
  private struct State {
    var work: [KernelThread.Work] = []
    var isEnding = false
    /// Whether the thread sleeps, or is about to, and has to be woken.
    var isAsleep = false
  }

  let wake: Int32
  private let state = Mutex(State())

  init() throws(DatapathError) {
    wake = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard wake >= 0 else {
      throw DatapathError(
        .unavailable, operation: "start the emulated kernel", errno: errno, cause: "no eventfd is to be had")
    }
  }

  deinit { close(wake) }

  func submit(_ work: @escaping KernelThread.Work) { change { $0.work.append(work) } }

  func end() { change { $0.isEnding = true } }

  private func change(_ body: (inout State) -> Void) {
    let wasAsleep = state.withLock { state in
      body(&state)
      defer { state.isAsleep = false }
      return state.isAsleep
    }
    guard wasAsleep else { return }
    var one: UInt64 = 1
    // A full counter has woken the thread already.
    _ = write(wake, &one, MemoryLayout.size(ofValue: one))
  }

  /// Takes what there is to do; nil when the thread is to end.
  func take() -> [KernelThread.Work]? {
    state.withLock { state in
      defer { state.work = [] }
      return state.isEnding ? nil : state.work
    }
  }

  /// Whether nothing has come: from here on the thread is woken when something does.
  func fallAsleep() -> Bool {
    state.withLock { state in
      state.isAsleep = state.work.isEmpty && !state.isEnding
      return state.isAsleep
    }
  }

  func awake() {
    state.withLock { $0.isAsleep = false }
    var value: UInt64 = 0
    _ = read(wake, &value, MemoryLayout.size(ofValue: value))
  }
}

private final class KernelStart: Sendable {
  let mailbox: Mailbox
  let lab: LabName
  let options: Kernel.Options
  let clock: KernelClock

  init(mailbox: Mailbox, lab: LabName, options: Kernel.Options, clock: KernelClock) {
    self.mailbox = mailbox
    self.lab = lab
    self.options = options
    self.clock = clock
  }
}

/// The thread's entry; the retained start is its own from here on.
private nonisolated func kernelThreadEntry(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let context else { return nil }
  let start = Unmanaged<KernelStart>.fromOpaque(context).takeRetainedValue()
  // Netem's delays are told in microseconds; the usual slack of a sleep is fifty.
  nf_wake_precisely()
  let clock = start.clock
  let kernel = EmulatedKernel(lab: start.lab, start.options, now: clock.now())
  kernel.epoch = clock.epoch()
  while let work = start.mailbox.take() {
    if !work.isEmpty {
      // What the work does, it does now, not when the thread fell asleep.
      _ = kernel.stack.poll(now: clock.now())
      for piece in work { piece(kernel) }
    }
    let result = kernel.stack.poll(now: clock.now())
    let hasSettled = kernel.settle()
    kernel.tellFollowers()
    kernel.writeCaptures()
    kernel.tellConnectionFollowers()
    guard !result.hasMore, !hasSettled, start.mailbox.fallAsleep() else { continue }
    let deadline = [result.nextDeadline, kernel.waiters.nextDeadline].compactMap { $0 }.min()
    if let time = clock.virtual {
      if let deadline, kernel.allTasksWait {
        time.advance(to: deadline)
      } else {
        clock.sleep(until: nil, on: start.mailbox.wake)
      }
    } else {
      clock.sleep(until: deadline, on: start.mailbox.wake)
    }
    start.mailbox.awake()
  }
  return nil
}

/// CLOCK_MONOTONIC, as the kernel's thread reads it and sleeps by it, or virtual time in its place.
private struct KernelClock {
  let virtual: VirtualTime?

  func now() -> Instant {
    if let virtual { return virtual.now }
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
  }

  /// The time of day at this clock's zero; virtual time has none.
  func epoch() -> Int64 {
    guard virtual == nil else { return 0 }
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec) - now().nanoseconds
  }

  /// Returns at the deadline, or when `wake` can be read. Without a deadline only then.
  func sleep(until deadline: Instant?, on wake: Int32) {
    var entry = pollfd(fd: wake, events: Int16(truncatingIfNeeded: POLLIN), revents: 0)
    nf_wait(&entry, 1, deadline.map { max(($0 - now()).nanoseconds, 0) } ?? -1)
  }
}
