// SPDX-License-Identifier: GPL-2.0-or-later

// The thread that runs an emulated CPU's kernel, in real or in virtual time. It alone touches the kernel: whoever wants
// something of it puts work into its mailbox. Between two deadlines it sleeps, on the mailbox's eventfd and on the host's
// taps that the lab is joined to; in virtual time it jumps to the next deadline when all tasks that use the lab wait. What
// one CPU's turn has handed to another, that one's thread is woken for.

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

  private init(_ mailbox: Mailbox) { self.mailbox = mailbox }

  /// Starts a thread for each CPU of the placement, with a kernel that has nothing in it.
  static func start(
    lab: LabName, seed: UInt64, _ placement: Placement, _ time: VirtualTime?
  ) throws(DatapathError) -> [KernelThread] {
    var mailboxes: [Mailbox] = []
    for _ in 0..<placement.cpus { mailboxes.append(try Mailbox()) }
    // Of all CPUs the same, so that what they capture has one clock.
    let clock = KernelClock(virtual: time)
    let epoch = clock.epoch()
    var threads: [KernelThread] = []
    for cpu in mailboxes.indices {
      // A seed of its own for each, as `Machine` gives them.
      var options = Kernel.Options(seed: seed &+ UInt64(cpu) &* 0x9e37_79b9_7f4a_7c15)
      options.cpu = cpu
      let start = Unmanaged.passRetained(
        KernelStart(
          mailboxes: mailboxes, lab: lab, options: options, placement: placement, clock: clock, epoch: epoch))
      var thread = pthread_t()
      let failure = pthread_create(&thread, nil, kernelThreadEntry, start.toOpaque())
      guard failure == 0 else {
        start.release()
        // Those that run end with their references.
        throw DatapathError(
          .unavailable, operation: "start the emulated kernel", errno: failure,
          cause: "no thread is to be had for it")
      }
      pthread_detach(thread)
      threads.append(KernelThread(mailboxes[cpu]))
    }
    return threads
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
    /// Whether another CPU has handed something over since the thread last took its work.
    var isCalled = false
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

  func call() { change { $0.isCalled = true } }

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
      state.isCalled = false
      defer { state.work = [] }
      return state.isEnding ? nil : state.work
    }
  }

  /// Whether nothing has come: from here on the thread is woken when something does.
  func fallAsleep() -> Bool {
    state.withLock { state in
      state.isAsleep = state.work.isEmpty && !state.isEnding && !state.isCalled
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
  /// Of all CPUs.
  let mailboxes: [Mailbox]
  let lab: LabName
  let options: Kernel.Options
  let placement: Placement
  let clock: KernelClock
  let epoch: Int64

  init(
    mailboxes: [Mailbox], lab: LabName, options: Kernel.Options, placement: Placement, clock: KernelClock,
    epoch: Int64
  ) {
    self.mailboxes = mailboxes
    self.lab = lab
    self.options = options
    self.placement = placement
    self.clock = clock
    self.epoch = epoch
  }

  var mailbox: Mailbox { mailboxes[options.cpu] }

  /// Has the threads look at what a turn has handed to their CPUs, a bit each.
  func call(_ cpus: UInt64) {
    var rest = cpus
    while rest != 0 {
      let cpu = rest.trailingZeroBitCount
      if mailboxes.indices.contains(cpu) { mailboxes[cpu].call() }
      rest &= rest &- 1
    }
  }
}

/// How many turns of one moment of virtual time pass before work is taken all the same.
private let patientTurns = 10_000

/// The thread's entry; the retained start is its own from here on.
private nonisolated func kernelThreadEntry(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let context else { return nil }
  let start = Unmanaged<KernelStart>.fromOpaque(context).takeRetainedValue()
  // Netem's delays are told in microseconds; the usual slack of a sleep is fifty.
  nf_wake_precisely()
  let clock = start.clock
  let kernel = EmulatedKernel(lab: start.lab, start.options, start.placement, now: clock.now())
  kernel.epoch = start.epoch
  /// Turns since the thread last took its work. In virtual time it does so when the packets of the moment are done: what
  /// a task asks for comes after them, however fast the task was. Packets that go round for ever do not keep it waiting.
  var turns = 0
  while let work = turns == 0 ? start.mailbox.take() : [] {
    if !work.isEmpty {
      // What the work does, it does now, not when the thread fell asleep.
      start.call(kernel.stack.poll(now: clock.now()).called)
      for piece in work { piece(kernel) }
    }
    let result = kernel.stack.poll(now: clock.now())
    start.call(result.called)
    let hasSettled = kernel.settle()
    kernel.tellFollowers()
    kernel.writeCaptures()
    kernel.tellConnectionFollowers()
    let hasCarried = kernel.carryHostFrames()
    let isBusy = result.hasMore || hasSettled || hasCarried
    turns = clock.virtual != nil && isBusy && turns < patientTurns ? turns + 1 : 0
    guard !isBusy, start.mailbox.fallAsleep() else { continue }
    let deadline = [result.nextDeadline, kernel.waiters.nextDeadline].compactMap { $0 }.min()
    if let time = clock.virtual {
      if let deadline, kernel.allTasksWait {
        time.advance(to: deadline)
      } else {
        clock.sleep(until: nil, on: [start.mailbox.wake])
      }
    } else {
      clock.sleep(until: deadline, on: [start.mailbox.wake] + kernel.edges.descriptors)
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

  /// Returns at the deadline, or when one of the descriptors can be read. Without a deadline only then.
  func sleep(until deadline: Instant?, on descriptors: [Int32]) {
    var entries = descriptors.map { pollfd(fd: $0, events: Int16(truncatingIfNeeded: POLLIN), revents: 0) }
    nf_wait(&entries, Int32(entries.count), deadline.map { max(($0 - now()).nanoseconds, 0) } ?? -1)
  }
}
