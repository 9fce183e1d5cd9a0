// SPDX-License-Identifier: GPL-2.0-or-later

// What `ping` does with a ping socket: requests out, replies and errors in.

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

/// What comes back from a request.
struct EchoEvent: Hashable {
  enum Kind: Hashable {
    case reply
    case error(type: UInt8, code: UInt8)
  }

  var kind: Kind
  var source: IPv4Address
  var sequence: UInt16
  /// Of a reply.
  var ttl: UInt8?
  /// Bytes of echoed data.
  var length: Int
}

extension Kernel {
  mutating func openEcho(in namespace: NamespaceIndex, identifier: UInt16 = 0) throws -> SocketIndex {
    let socket = try makeSocket(.ping(.ipv4), in: namespace)
    try setOption(.receiveErrors(true), on: socket)
    if identifier != 0 { try bind(socket, to: SocketAddress(.v4(.any), identifier)) }
    return socket
  }

  mutating func sendEcho(
    to destination: IPv4Address, sequence: UInt16, length: Int = 56, ttl: UInt8? = nil,
    dontFragment: Bool = false, by socket: SocketIndex
  ) throws {
    try setOption(.pathMTUDiscovery(dontFragment ? .do : .dont), on: socket)
    _ = takeError(of: socket)
    let header: [UInt8] = [8, 0, 0, 0, 0, 0, UInt8(sequence >> 8), UInt8(sequence & 255)]
    try send(
      header + (0..<length).map { UInt8(truncatingIfNeeded: $0) }, on: socket,
      to: SocketAddress(.v4(destination)), control: SendControl(ttl: ttl))
  }

  /// The oldest event that has not been read; errors come first.
  mutating func receiveEcho(_ socket: SocketIndex) -> EchoEvent? {
    func sequence(_ bytes: [UInt8]) -> UInt16 { UInt16(bytes[6]) << 8 | UInt16(bytes[7]) }
    if let report = try? receiveError(socket) {
      guard report.payload.count >= 8 else { return nil }
      return EchoEvent(
        kind: .error(type: report.type, code: report.code), source: report.offender?.v4 ?? .any,
        sequence: sequence(report.payload), length: report.payload.count - 8)
    }
    _ = takeError(of: socket)
    var bytes: [UInt8] = []
    guard let message = try? receive(socket, into: &bytes), bytes.count >= 8, bytes[0] == 0 else {
      return nil
    }
    return EchoEvent(
      kind: .reply, source: message.source?.address.v4 ?? .any, sequence: sequence(bytes),
      ttl: message.ttl, length: bytes.count - 8)
  }

  /// Pings `count` times, a second apart, and tells what came back.
  mutating func ping(
    _ destination: String, from namespace: NamespaceIndex, count: Int = 1, length: Int = 56,
    ttl: UInt8? = nil, dontFragment: Bool = false
  ) throws -> [EchoEvent] {
    let socket = try openEcho(in: namespace, identifier: 77)
    var events: [EchoEvent] = []
    for sequence in 1...count {
      try sendEcho(
        to: v4(destination), sequence: UInt16(sequence), length: length, ttl: ttl,
        dontFragment: dontFragment, by: socket)
      run(for: .seconds(1))
      while let event = receiveEcho(socket) { events.append(event) }
    }
    close(socket)
    return events
  }
}
