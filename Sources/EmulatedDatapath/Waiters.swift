// SPDX-License-Identifier: GPL-2.0-or-later

// Who waits for news of a socket: tasks, each until its deadline, and services, which wait for ever. The kernel says
// which sockets have news; nobody else is looked at.

import Glibc
import LinuxObjects
import NetStack
import NetTypes

/// Everybody who waits on one kernel's thread. A socket has one waiter at a time.
struct Waiters {
  private struct Waiter {
    /// Nil for who waits for a time only.
    var socket: SocketIndex?
    /// Whether a task waits, which uses the lab, and not a service of the lab itself.
    var isTask: Bool
    /// Looks after the socket; true when the wait is over.
    var isDone: (EmulatedKernel) -> Bool
    /// Called instead when the wait ends otherwise.
    var expire: (TransportError) -> Void
  }

  private var waiters: [UInt64: Waiter] = [:]
  private var tokens: [SocketIndex: UInt64] = [:]
  private var deadlines: [(at: Instant, token: UInt64)] = []
  private var lastToken: UInt64 = 0
  /// How many tasks wait.
  private(set) var tasks = 0

  var nextDeadline: Instant? { deadlines.lazy.map(\.at).min() }

  func isWaiting(on socket: SocketIndex) -> Bool { tokens[socket] != nil }

  /// Notes a waiter and gives the token that the kernel is to tell with news of the socket.
  mutating func add(
    _ socket: SocketIndex?, until deadline: Instant?, isTask: Bool,
    isDone: @escaping (EmulatedKernel) -> Bool, expire: @escaping (TransportError) -> Void
  ) -> UInt64 {
    lastToken += 1
    waiters[lastToken] = Waiter(socket: socket, isTask: isTask, isDone: isDone, expire: expire)
    if let socket { tokens[socket] = lastToken }
    if isTask { tasks += 1 }
    if let deadline { deadlines.append((deadline, lastToken)) }
    return lastToken
  }

  fileprivate func waiter(_ token: UInt64) -> ((EmulatedKernel) -> Bool)? { waiters[token]?.isDone }

  /// The waiters whose deadline has come.
  fileprivate func due(_ now: Instant) -> [UInt64] {
    deadlines.isEmpty ? [] : deadlines.filter { $0.at <= now }.map(\.token)
  }

  /// Forgets a waiter and gives what it wants called, and its socket.
  fileprivate mutating func remove(_ token: UInt64) -> (SocketIndex?, (TransportError) -> Void)? {
    guard let waiter = waiters.removeValue(forKey: token) else { return nil }
    if let socket = waiter.socket { tokens[socket] = nil }
    if waiter.isTask { tasks -= 1 }
    deadlines.removeAll { $0.token == token }
    return (waiter.socket, waiter.expire)
  }

  /// Who waits for the socket.
  func token(of socket: SocketIndex) -> UInt64? { tokens[socket] }
}

extension EmulatedKernel {
  /// Calls `isDone` at once and with every news of the socket until it says true; `expire` when that does not happen.
  func wait(
    for interest: Readiness, on socket: SocketIndex, until deadline: Instant?, isTask: Bool = false,
    isDone: @escaping (EmulatedKernel) -> Bool, expire: @escaping (TransportError) -> Void
  ) {
    guard !isDone(self) else { return }
    guard !waiters.isWaiting(on: socket) else {
      return expire(TransportError(errno: EBUSY, text: "somebody else waits for the socket already"))
    }
    let token = waiters.add(socket, until: deadline, isTask: isTask, isDone: isDone, expire: expire)
    stack.wait(for: interest, on: socket, token: token)
  }

  /// Calls `wake` at `deadline`, or earlier when the wait ends otherwise. The answer is the number to end it by.
  func sleep(until deadline: Instant, _ wake: @escaping () -> Void) -> UInt64 {
    waiters.add(nil, until: deadline, isTask: true, isDone: { _ in false }, expire: { _ in wake() })
  }

  func endSleep(_ token: UInt64) { end(token)?(TransportError(errno: ECANCELED)) }

  /// Looks after the sockets that have news, and after deadlines. True when there was something to do, of which the
  /// kernel may have more to do itself.
  func settle() -> Bool {
    let wakeups = stack.takeWakeups()
    for wakeup in wakeups {
      guard let isDone = waiters.waiter(wakeup.token), isDone(self) else { continue }
      end(wakeup.token)
    }
    let due = waiters.due(stack.now)
    for token in due {
      end(token)?(TransportError(errno: ETIMEDOUT, text: "nothing came in time"))
    }
    return !wakeups.isEmpty || !due.isEmpty
  }

  /// Ends the wait for a socket, if somebody waits.
  func endWait(on socket: SocketIndex, _ error: TransportError) {
    if let token = waiters.token(of: socket) { end(token)?(error) }
  }

  @discardableResult
  private func end(_ token: UInt64) -> ((TransportError) -> Void)? {
    guard let (socket, expire) = waiters.remove(token) else { return nil }
    if let socket { stack.cancelWait(token, on: socket) }
    return expire
  }
}
