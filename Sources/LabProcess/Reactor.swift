// SPDX-License-Identifier: GPL-2.0-or-later

// One thread that waits for descriptors and for times. Control connections, services and the ends of programs are all
// handled on it, so none of them costs a thread, and a program started on it dies with this process.

import CLinux
import Glibc
import LabCore
import Synchronization
import SystemPackage

/// Waits for descriptors with epoll(7) and calls who asked, on a thread of its own. Lives as long as the process.
final class Reactor: Sendable {
  /// Called with the EPOLL bits that are set. Must not block.
  typealias Handler = @Sendable (UInt32) -> Void
  typealias Work = @Sendable () -> Void

  static let readable = EPOLLIN.rawValue
  static let writable = EPOLLOUT.rawValue

  private struct Timer {
    var deadline: ContinuousClock.Instant
    var work: Work
  }

  private struct State {
    var handlers: [Int32: Handler] = [:]
    var work: [Work] = []
    /// Sorted, the next one last.
    var timers: [Timer] = []
  }

  private let epoll: Int32
  private let wake: Int32
  private let state = Mutex(State())

  init() throws(DatapathError) {
    epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
    wake = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard epoll >= 0, wake >= 0 else {
      throw DatapathError(
        .unavailable, operation: "wait for descriptors", errno: errno, cause: "\(Errno(rawValue: errno))")
    }
    control(EPOLL_CTL_ADD, wake, Self.readable)
    guard startThread({ self.run() }) else {
      throw DatapathError(
        .unavailable, operation: "start a thread", errno: EAGAIN,
        cause: "\(Errno.resourceTemporarilyUnavailable)")
    }
  }

  /// Calls `handler` whenever one of `events` holds for the descriptor, until `remove`.
  func add(_ descriptor: Int32, _ events: UInt32, _ handler: @escaping Handler) {
    state.withLock { $0.handlers[descriptor] = handler }
    control(EPOLL_CTL_ADD, descriptor, events)
  }

  func change(_ descriptor: Int32, _ events: UInt32) { control(EPOLL_CTL_MOD, descriptor, events) }

  /// To be called before the descriptor is closed.
  func remove(_ descriptor: Int32) {
    control(EPOLL_CTL_DEL, descriptor, 0)
    // The handler may own the last reference to something whose end calls back in here: it dies outside of the lock.
    let handler = state.withLock { $0.handlers.removeValue(forKey: descriptor) }
    withExtendedLifetime(handler) {}
  }

  /// Calls `work` on the reactor's thread.
  func perform(_ work: @escaping Work) {
    state.withLock { $0.work.append(work) }
    signal()
  }

  /// Calls `work` on the reactor's thread when `delay` has passed.
  func after(_ delay: Duration, _ work: @escaping Work) {
    let timer = Timer(deadline: .now + delay, work: work)
    state.withLock { state in
      let index = state.timers.firstIndex { $0.deadline <= timer.deadline } ?? state.timers.endIndex
      state.timers.insert(timer, at: index)
    }
    signal()
  }

  /// What `work` gives, called on the reactor's thread.
  func value<T: Sendable>(_ work: @escaping @Sendable () -> T) async -> T {
    await withCheckedContinuation { continuation in perform { continuation.resume(returning: work()) } }
  }

  private func signal() {
    var one: UInt64 = 1
    // A full counter has woken the thread already.
    _ = write(wake, &one, MemoryLayout.size(ofValue: one))
  }

  private func control(_ operation: Int32, _ descriptor: Int32, _ events: UInt32) {
    var event = epoll_event()
    event.events = events
    event.data.fd = descriptor
    // A descriptor that was closed by its other owner has left the set by itself.
    _ = epoll_ctl(epoll, operation, descriptor, &event)
  }

  private func run() {
    var events = [epoll_event](repeating: epoll_event(), count: 64)
    while true {
      let count = epoll_wait(epoll, &events, Int32(events.count), timeout())
      for event in events.prefix(Int(max(count, 0))) {
        let descriptor = event.data.fd
        if descriptor == wake {
          var value: UInt64 = 0
          _ = read(wake, &value, MemoryLayout.size(ofValue: value))
        } else if let handler = state.withLock({ $0.handlers[descriptor] }) {
          handler(event.events)
        }
      }
      for work in due() { work() }
    }
  }

  /// Milliseconds to the next timer, -1 without one.
  private func timeout() -> Int32 {
    guard let next = state.withLock({ $0.timers.last?.deadline }) else { return -1 }
    let left = (next - .now).components
    guard left.seconds >= 0, left.attoseconds >= 0 else { return 0 }
    return Int32(clamping: min(left.seconds, 1_000_000) * 1000 + left.attoseconds / 1_000_000_000_000_000 + 1)
  }

  private func due() -> [Work] {
    let now = ContinuousClock.now
    return state.withLock { state in
      var result = state.work
      state.work = []
      while let timer = state.timers.last, timer.deadline <= now {
        result.append(timer.work)
        state.timers.removeLast()
      }
      return result
    }
  }
}

private final class ThreadBody {
  let body: @Sendable () -> Void
  init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// Starts a detached thread that lives as long as `body` runs. False when there can be no more threads.
nonisolated func startThread(_ body: @escaping @Sendable () -> Void) -> Bool {
  let argument = Unmanaged.passRetained(ThreadBody(body))
  var thread = pthread_t()
  let error = pthread_create(&thread, nil, threadEntry, argument.toOpaque())
  guard error == 0 else {
    argument.release()
    return false
  }
  pthread_detach(thread)
  return true
}

private nonisolated func threadEntry(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  if let argument { Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().body() }
  return nil
}
