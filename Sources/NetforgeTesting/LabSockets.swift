// SPDX-License-Identifier: GPL-2.0-or-later

// Sockets of nodes as a test uses them: connections that carry bytes, listeners and datagram sockets as sequences.

import LabCore
import NetTypes
import Reconcile

/// A TCP connection.
public struct LabConnection: Sendable {
  private let endpoint: any NodeEndpoint
  /// The other end.
  public let peer: String

  init(_ endpoint: any NodeEndpoint, peer: String) {
    self.endpoint = endpoint
    self.peer = peer
  }

  public func send(_ bytes: [UInt8]) async throws { try await endpoint.send(bytes, to: nil) }

  public func send(_ text: String) async throws { try await send(Array(text.utf8)) }

  /// What has come, at most `limit` bytes; none at the end.
  public func receive(limit: Int = 65_536, timeout: Duration = .seconds(5)) async throws -> [UInt8] {
    try await endpoint.receive(limit: limit, timeout: Interval(timeout)).bytes
  }

  /// Everything until the other end has ended.
  public func receiveToEnd(limit: Int = 1 << 24, timeout: Duration = .seconds(5)) async throws -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < limit {
      let more = try await receive(limit: limit - bytes.count, timeout: timeout)
      if more.isEmpty { break }
      bytes += more
    }
    return bytes
  }

  public func close() async { await endpoint.close() }
}

/// Connections to a port, one after the other as they come.
public struct LabListener: AsyncSequence, Sendable {
  private let endpoint: any NodeEndpoint
  private let clock: any LabClock

  init(_ endpoint: any NodeEndpoint, _ clock: any LabClock) {
    self.endpoint = endpoint
    self.clock = clock
  }

  /// The next connection.
  public func accept(timeout: Duration = .seconds(5)) async throws -> LabConnection {
    let (connection, peer) = try await endpoint.accept(timeout: Interval(timeout))
    return LabConnection(connection, peer: "\(peer)")
  }

  public func close() async { await endpoint.close() }

  public struct AsyncIterator: AsyncIteratorProtocol {
    let listener: LabListener

    /// Nil when the task is cancelled.
    public mutating func next() async throws -> LabConnection? {
      try await listener.clock.untilCancelled { slice in
        let (connection, peer) = try await listener.endpoint.accept(timeout: slice)
        return LabConnection(connection, peer: "\(peer)")
      }
    }
  }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(listener: self) }
}

/// A UDP socket: a sequence of what comes.
public struct LabDatagramSocket: AsyncSequence, Sendable {
  /// What came, and from where.
  public struct Message: Hashable, Sendable {
    public var bytes: [UInt8]
    public var address: String
    public var port: Int
    public var ttl: Int?

    init(_ datagram: Datagram) {
      bytes = datagram.bytes
      address = "\(datagram.source.address)"
      port = Int(datagram.source.port)
      ttl = datagram.hopLimit.map(Int.init)
    }
  }

  private let endpoint: any NodeEndpoint
  private let node: LabNode
  private let clock: any LabClock

  init(_ endpoint: any NodeEndpoint, _ node: LabNode, _ clock: any LabClock) {
    self.endpoint = endpoint
    self.node = node
    self.clock = clock
  }

  /// Sends a datagram to a node, `node:interface` or an address.
  public func send(_ bytes: [UInt8], to target: String, port: Int) async throws {
    try await endpoint.send(bytes, to: try node.endpoint(of: target, port: port))
  }

  public func send(_ text: String, to target: String, port: Int) async throws {
    try await send(Array(text.utf8), to: target, port: port)
  }

  public func receive(timeout: Duration = .seconds(5)) async throws -> Message {
    Message(try await endpoint.receive(limit: 65_536, timeout: Interval(timeout)))
  }

  public func close() async { await endpoint.close() }

  public struct AsyncIterator: AsyncIteratorProtocol {
    let socket: LabDatagramSocket

    /// Nil when the task is cancelled.
    public mutating func next() async throws -> Message? {
      try await socket.clock.untilCancelled { slice in
        Message(try await socket.endpoint.receive(limit: 65_536, timeout: slice))
      }
    }
  }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(socket: self) }
}

extension LabClock {
  /// What `body` gives when it does not run out of time; nil when the task is cancelled. Sockets of the host's kernel see
  /// that only between two waits.
  fileprivate func untilCancelled<Value>(_ body: (Interval) async throws -> Value) async throws -> Value? {
    let slice: Interval = isVirtual ? .seconds(3600) : .milliseconds(100)
    while !Task.isCancelled {
      do { return try await body(slice) } catch let error as DatapathError {
        guard error.code == .timeout || Task.isCancelled else { throw error }
      }
    }
    return nil
  }
}
