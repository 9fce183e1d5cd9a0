// SPDX-License-Identifier: GPL-2.0-or-later

// One TCP connection of a service: bytes in, bytes out, within limits. Touched by the reactor's thread only.

import Glibc
import LabCore
import NetTypes

/// The state of one connection.
final class ServiceConnection: @unchecked Sendable {
  // Sendable because the reactor's thread alone calls `serve` and reads `deadline`.
  enum Wish {
    case reading, writing, over
  }

  /// Bytes read at a time; the input never holds much more.
  static let chunk = 32 << 10

  let socket: Int32
  private(set) var deadline: ContinuousClock.Instant
  private var behavior: any ServiceBehavior
  private var input: [UInt8] = []
  private var output: [UInt8] = []
  private var hasEnded = false
  private let clock: MonotonicClock

  init(_ socket: Int32, _ behavior: any ServiceBehavior, _ clock: MonotonicClock) {
    self.socket = socket
    self.clock = clock
    self.behavior = behavior
    deadline = .now + .seconds(behavior.idleLimit)
  }

  /// Reads and writes until the socket has no more to give or to take, or has had its turn.
  func serve() -> Wish {
    for _ in 0..<16 {
      if let wish = flush() { return wish }
      if hasEnded { return .over }
      behavior.produce(into: &output)
      var count = 0
      let part = [UInt8](unsafeUninitializedCapacity: Self.chunk) { buffer, initialized in
        count = recv(socket, buffer.baseAddress, buffer.count, 0)
        initialized = max(0, count)
      }
      if count < 0 {
        guard errno == EAGAIN || errno == EINTR else { return .over }
        if output.isEmpty { return .reading }
        continue
      }
      if count == 0 {
        hasEnded = true
      } else {
        touch()
        input += part
      }
      // What is left over when the other side has ended is no whole request.
      if behavior.take(&input, into: &output, now: clock.now()) { hasEnded = true }
    }
    return output.isEmpty ? .reading : .writing
  }

  /// Nobody hears of it any more.
  func end() { behavior.end() }

  /// Nil when all is written.
  private func flush() -> Wish? {
    while !output.isEmpty {
      let count = output.withUnsafeBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      guard count > 0 else { return errno == EAGAIN || errno == EINTR ? .writing : .over }
      output.removeFirst(count)
      touch()
    }
    return nil
  }

  private func touch() { deadline = .now + .seconds(behavior.idleLimit) }
}
