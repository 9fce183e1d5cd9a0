// SPDX-License-Identifier: GPL-2.0-or-later

// Names of sockets: an address with a port (sockaddr_in, sockaddr_in6), or a device with a link address (sockaddr_ll).

public import NetTypes

/// An address and a port.
public struct SocketAddress: Hashable, Sendable {
  /// The address.
  public var address: IPAddress
  /// In host byte order; an identifier on ping sockets, a protocol on raw ones.
  public var port: UInt16
  /// The device that a link-local IPv6 address is meant on (sin6_scope_id).
  public var scope: Int32

  /// An address and a port.
  public init(_ address: IPAddress, _ port: UInt16 = 0, scope: Int32 = 0) {
    self.address = address
    self.port = port
    self.scope = scope
  }
}

extension SocketAddress {
  /// The IPv4 name that a mapped one stands for (RFC 4291 2.5.5.2); any other stays as it is.
  var unmapped: SocketAddress {
    guard case .v6(let address) = address, IPv6.isMapped(UInt128(address)) else { return self }
    return SocketAddress(.v4(IPv4Address(rawValue: UInt32(truncatingIfNeeded: address.low))), port)
  }

  /// As a socket of that family tells it.
  func told(to family: IPFamily?) -> SocketAddress {
    SocketAddress(address.told(to: family), port, scope: scope)
  }
}

extension IPAddress {
  /// As a socket of that family tells it: IPv4's mapped, on a socket of IPv6.
  func told(to family: IPFamily?) -> IPAddress {
    guard family == .ipv6, case .v4(let address) = self else { return self }
    return .v6(IPv6Address(high: 0, low: 0xffff_0000_0000 | UInt64(address.rawValue)))
  }
}

/// A device and whom on its link is meant (sockaddr_ll).
public struct PacketAddress: Hashable, Sendable {
  /// The device's number; 0: all, where that is possible.
  public var ifindex: Int32
  /// An EtherType, or `everyProtocol`.
  public var proto: UInt16
  /// 48 bits.
  public var mac: UInt64
  /// PACKET_*: 0 for this host, 1 broadcast, 2 multicast, 3 for another host, 4 sent by this one.
  public var type: UInt8

  /// ETH_P_ALL.
  public static let everyProtocol: UInt16 = 3

  /// Without a link address.
  public init(ifindex: Int32 = 0, proto: UInt16 = 0, mac: UInt64 = 0, type: UInt8 = 0) {
    self.ifindex = ifindex
    self.proto = proto
    self.mac = mac
    self.type = type
  }
}
