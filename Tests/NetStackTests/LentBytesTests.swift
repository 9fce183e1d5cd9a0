// SPDX-License-Identifier: GPL-2.0-or-later

// Bytes that are lent instead of copied, and connections that are looked at before they are taken.

import NetTypes
import Testing

@testable import NetStack

@Suite("Lent bytes")
struct LentBytesTests {
  /// A connection from `a` to `b`, and the listener.
  private static func connect(
    _ pair: SocketTests.Pair
  ) throws -> (listener: SocketIndex, client: SocketIndex) {
    let listener = try pair.kernel.makeSocket(.tcp(.ipv4), in: pair.b)
    try pair.kernel.bind(listener, to: name("10.0.0.2", 80))
    try pair.kernel.listen(listener, backlog: 5)
    let client = try pair.kernel.makeSocket(.tcp(.ipv4), in: pair.a)
    #expect(failure { try pair.kernel.connect(client, to: name("10.0.0.2", 80)) } == 115)
    pair.kernel.run(for: .milliseconds(50))
    return (listener, client)
  }

  private static func peek(_ kernel: inout Kernel, _ socket: SocketIndex, _ limit: Int = .max)
    throws -> [UInt8]
  {
    var seen: [UInt8] = []
    let message = try kernel.peek(socket, limit: limit) { piece in
      unsafe piece.withUnsafeBytes { unsafe seen.append(contentsOf: $0) }
    }
    #expect(message.length >= seen.count)
    return seen
  }

  @Test("A connection that was looked at is still there, and is taken once")
  func accept() throws {
    let pair = try SocketTests.Pair()
    let (listener, _) = try Self.connect(pair)
    let connection = try pair.kernel.acceptPeek(listener)
    #expect(try pair.kernel.acceptPeek(listener) == connection)
    try pair.kernel.acceptCommit(listener, connection)
    #expect(failure { try pair.kernel.acceptCommit(listener, connection) } == 11)
    #expect(failure { _ = try pair.kernel.accept(listener) } == 11)
  }

  @Test(
    "What is written where it will stand arrives, and what is peeked at stays until it is consumed")
  func stream() throws {
    let pair = try SocketTests.Pair()
    let (listener, client) = try Self.connect(pair)
    let server = try pair.kernel.accept(listener)
    var sent: [UInt8] = []
    var next: UInt8 = 0
    for limit in [1, 100, 4000, 5000, 20, 4096, 9000] {
      let taken = try pair.kernel.send(on: client, atMost: limit) { room in
        #expect(room.byteCount <= limit)
        for place in 0..<room.byteCount {
          room.storeBytes(of: next, toByteOffset: place, as: UInt8.self)
          sent.append(next)
          next &+= 1
        }
        return room.byteCount
      }
      #expect(taken > 0)
    }
    #expect(try pair.kernel.send(on: client, atMost: 10) { _ in 0 } == 0)
    try pair.kernel.send([9, 9], on: client)
    sent += [9, 9]
    pair.kernel.run(for: .milliseconds(200))
    #expect(try Self.peek(&pair.kernel, server, 5) == Array(sent.prefix(5)))
    #expect(try Self.peek(&pair.kernel, server) == sent)
    try pair.kernel.consume(server, 3)
    #expect(try Self.peek(&pair.kernel, server) == Array(sent.dropFirst(3)))
    #expect(failure { try pair.kernel.consume(server, sent.count) } == 22)
    try pair.kernel.consume(server, sent.count - 3)
    #expect(failure { _ = try Self.peek(&pair.kernel, server) } == 11)
    for socket in [client, server, listener] { pair.kernel.close(socket) }
    pair.kernel.run(for: .seconds(120))
    #expect(pair.kernel.accounting.isClosed)
  }

  @Test("A datagram that was peeked at is consumed whole")
  func datagram() throws {
    let pair = try SocketTests.Pair()
    let receiver = try pair.kernel.makeSocket(.udp(.ipv4), in: pair.b)
    try pair.kernel.bind(receiver, to: name("10.0.0.2", 7))
    let sender = try pair.kernel.makeSocket(.udp(.ipv4), in: pair.a)
    for text in ["first", "second"] {
      try pair.kernel.send(Array(text.utf8), on: sender, to: name("10.0.0.2", 7))
    }
    pair.kernel.run(for: .milliseconds(50))
    #expect(try Self.peek(&pair.kernel, receiver, 2) == Array("fi".utf8))
    try pair.kernel.consume(receiver, 2)
    #expect(try Self.peek(&pair.kernel, receiver) == Array("second".utf8))
    try pair.kernel.consume(receiver, 6)
    #expect(failure { try pair.kernel.consume(receiver, 1) } == 22)
    #expect(failure { _ = try pair.kernel.send(on: sender, atMost: 1) { _ in 0 } } == 95)
  }
}
