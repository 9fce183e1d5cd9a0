// SPDX-License-Identifier: GPL-2.0-or-later

public import NetTypes

/// An address and a port; the port is 0 for ICMP.
public struct SocketEndpoint: Hashable, Codable, Sendable {
  public var address: IPAddress
  public var port: Port

  public init(_ address: IPAddress, _ port: Port) {
    self.address = address
    self.port = port
  }
}

extension SocketEndpoint: CustomStringConvertible {
  public var description: String { address.family == .ipv6 ? "[\(address)]:\(port)" : "\(address):\(port)" }
}

/// What to open in a node.
public enum EndpointRequest: Hashable, Codable, Sendable {
  /// A TCP listener; the unspecified address takes every one, port 0 a free one.
  case listenTCP(SocketEndpoint)
  /// A TCP connection; from port 0 it has one of the kernel's choice. Fails with the kernel's error when it is refused or
  /// times out.
  case connectTCP(to: SocketEndpoint, from: SocketEndpoint?, timeout: Interval)
  case bindUDP(SocketEndpoint)
  /// An ICMP or ICMPv6 echo socket; sends payloads, receives the answers' payloads, and the errors that routers and
  /// hosts send instead.
  case echo(IPFamily, EchoOptions = EchoOptions())
  /// A raw socket: receives what reaches the node itself of a protocol (1, 6, 17, 58), whoever else takes it, each
  /// datagram from the transport header on. What the node's input hook drops does not come.
  case arrivals(IPFamily, protocol: UInt8)
}

/// How echo requests are sent.
public struct EchoOptions: Hashable, Codable, Sendable {
  /// Nil: as far as the node's default allows.
  public var hopLimit: UInt8?
  /// Nil: what the route says.
  public var source: IPAddress?
  /// Never cut on the way, whatever is known of the path (IP_PMTUDISC_PROBE).
  public var isWhole: Bool

  public init(hopLimit: UInt8? = nil, source: IPAddress? = nil, isWhole: Bool = false) {
    self.hopLimit = hopLimit
    self.source = source
    self.isWhole = isWhole
  }
}

/// What came in, and from where.
public struct Datagram: Hashable, Codable, Sendable {
  public var bytes: [UInt8]
  public var source: SocketEndpoint
  /// The TTL or hop limit it arrived with, when the socket tells.
  public var hopLimit: UInt8?
  /// Set when this is no answer but an error that `source` has sent about a request; there are no bytes then.
  public var error: ICMPError?

  public init(
    bytes: [UInt8], source: SocketEndpoint, hopLimit: UInt8? = nil, error: ICMPError? = nil
  ) {
    self.bytes = bytes
    self.source = source
    self.hopLimit = hopLimit
    self.error = error
  }
}

extension Datagram {
  /// Takes away what a raw socket shows in front of the transport header: IPv4's header, nothing of IPv6 (raw(7)).
  public mutating func removeRawHeader(_ family: IPFamily) {
    source.port = 0
    guard family == .ipv4, let first = bytes.first else { return }
    bytes.removeFirst(min(Int(first & 0x0f) * 4, bytes.count))
  }
}

/// A socket in a node. Every verb ends at its deadline with `DatapathError.Code.timeout`.
public protocol NodeEndpoint: Sendable {
  func localEndpoint() async throws(DatapathError) -> SocketEndpoint
  /// Listeners: the next connection and who it comes from.
  func accept(timeout: Interval) async throws(DatapathError) -> (
    connection: any NodeEndpoint, peer: SocketEndpoint
  )
  /// Connections: all bytes are handed over. Sockets without a connection: one datagram to `destination`.
  func send(_ bytes: [UInt8], to destination: SocketEndpoint?) async throws(DatapathError)
  /// Connections: what is there, at most `limit` bytes, empty at the end. Others: one datagram.
  func receive(limit: Int, timeout: Interval) async throws(DatapathError) -> Datagram
  /// Connections: nothing more is sent, which the other end hears; what it sends still comes.
  func finish() async throws(DatapathError)
  func close() async
}
