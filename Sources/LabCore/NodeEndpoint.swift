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
  /// A TCP connection. Fails with the kernel's error when it is refused or times out.
  case connectTCP(to: SocketEndpoint, from: IPAddress?, timeout: Interval)
  case bindUDP(SocketEndpoint)
  /// An ICMP or ICMPv6 echo socket; sends payloads, receives the answers' payloads.
  case echo(IPFamily)
}

/// What came in, and from where.
public struct Datagram: Hashable, Codable, Sendable {
  public var bytes: [UInt8]
  public var source: SocketEndpoint
  /// The TTL or hop limit it arrived with, when the socket tells.
  public var hopLimit: UInt8?

  public init(bytes: [UInt8], source: SocketEndpoint, hopLimit: UInt8? = nil) {
    self.bytes = bytes
    self.source = source
    self.hopLimit = hopLimit
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
  func close() async
}

/// Where to listen in.
public struct CapturePoint: Hashable, Codable, Sendable {
  public var link: LinkReference
  public init(_ link: LinkReference) { self.link = link }
}

/// A filter in libpcap's language.
public struct CaptureFilter: Hashable, Codable, Sendable {
  public var expression: String
  public init(_ expression: String) { self.expression = expression }
}
