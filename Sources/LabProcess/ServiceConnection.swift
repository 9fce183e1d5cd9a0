// SPDX-License-Identifier: GPL-2.0-or-later

// One TCP connection of a service: bytes in, bytes out, within limits. Touched by the reactor's thread only.

import Glibc

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

  init(_ socket: Int32, _ behavior: any ServiceBehavior) {
    self.socket = socket
    self.behavior = behavior
    deadline = .now + .seconds(behavior.idleLimit)
  }

  /// Reads and writes until the socket has no more to give or to take.
  func serve() -> Wish {
    for _ in 0..<16 {
      switch flush() {
      case .none: break
      case .some(let wish): return wish
      }
      if hasEnded { return .over }
      var count = 0
      let part = [UInt8](unsafeUninitializedCapacity: Self.chunk) { buffer, initialized in
        count = recv(socket, buffer.baseAddress, buffer.count, 0)
        initialized = max(0, count)
      }
      if count < 0 { return errno == EAGAIN || errno == EINTR ? .reading : .over }
      if count == 0 {
        hasEnded = true
      } else {
        touch()
        input += part
      }
      // What is left over when the other side has ended is no whole request.
      if behavior.take(&input, into: &output) { hasEnded = true }
    }
    return output.isEmpty ? .reading : .writing
  }

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
