// SPDX-License-Identifier: GPL-2.0-or-later

// The types that fields have, and how their values lie in registers.

public import NetTypes

extension IPv4Address: NftValue {
  public static var nftType: NftDataType { .ipv4Address }
  public var nftData: NftData { NftData(bytes) }
}
extension IPv6Address: NftValue {
  public static var nftType: NftDataType { .ipv6Address }
  public var nftData: NftData { NftData(bytes) }
}
extension MACAddress: NftValue {
  public static var nftType: NftDataType { .etherAddress }
  public var nftData: NftData { NftData(bytes) }
}
extension UInt16: NftValue {
  public static var nftType: NftDataType { .port }
  public var nftData: NftData { NftData(bigEndian: UInt64(self), width: 2) }
}
extension EtherType: NftValue {
  public static var nftType: NftDataType { .etherType }
  public var nftData: NftData { NftData(bigEndian: UInt64(rawValue), width: 2) }
}
extension IPProtocol: NftValue {
  public static var nftType: NftDataType { .ipProtocol }
  public var nftData: NftData { [rawValue] }
}

/// An interface's name, or with `*` at its end all names that begin so.
public struct InterfacePattern: NftValue {
  public let text: String

  /// Nil for what no interface can be called.
  public init?(_ text: String) {
    let stem = text.hasSuffix("*") ? String(text.dropLast()) : text
    guard InterfaceName(stem) != nil else { return nil }
    self.text = text
  }

  public init(_ name: InterfaceName) { text = name.text }

  public var isWildcard: Bool { text.hasSuffix("*") }

  public static var nftType: NftDataType { .interfaceName }
  /// A wildcard is its stem alone, without the zeros that end a name.
  public var nftData: NftData {
    let stem = Array((isWildcard ? String(text.dropLast()) : text).utf8)
    return isWildcard ? NftData(stem) : NftData(stem + [UInt8](repeating: 0, count: max(0, 16 - stem.count)))
  }
}

/// A packet's or flow's mark.
public struct PacketMark: RawRepresentable, NftValue, Comparable, Codable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static var nftType: NftDataType { .mark }
  public var nftData: NftData { NftData(host: UInt64(rawValue), width: 4) }
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// A packet's length in bytes, from its network header on.
public struct PacketLength: RawRepresentable, NftValue, Comparable, Codable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static var nftType: NftDataType { .hostInteger }
  public var nftData: NftData { NftData(host: UInt64(rawValue), width: 4) }
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// A numeric user id.
public struct UserIdentifier: RawRepresentable, NftValue, Comparable, Codable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static var nftType: NftDataType { .userID }
  public var nftData: NftData { NftData(host: UInt64(rawValue), width: 4) }
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// A VLAN's number, 0 to 4095.
public struct VLANIdentifier: RawRepresentable, NftValue, Comparable, Codable {
  public var rawValue: UInt16
  public init?(rawValue: UInt16) {
    guard rawValue < 4096 else { return nil }
    self.rawValue = rawValue
  }
  public static var nftType: NftDataType { .integer(2) }
  public var nftData: NftData { NftData(bigEndian: UInt64(rawValue), width: 2) }
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// The internet family of a packet, as netfilter numbers it.
public enum NetworkFamily: UInt8, NftValue, Codable {
  case ipv4 = 2
  case ipv6 = 10
  public static var nftType: NftDataType { .nfproto }
  public var nftData: NftData { [rawValue] }
}

/// States of a flow, as the packet at hand makes it.
public struct ConntrackState: OptionSet, NftValue, Codable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let invalid = ConntrackState(rawValue: 1)
  public static let established = ConntrackState(rawValue: 2)
  public static let related = ConntrackState(rawValue: 4)
  public static let new = ConntrackState(rawValue: 8)
  public static let untracked = ConntrackState(rawValue: 0x40)
  public static var nftType: NftDataType { .ctState }
  public var nftData: NftData { NftData(host: UInt64(rawValue), width: 4) }
}

/// Bits of a flow's status (IPS_*).
public struct ConntrackStatus: OptionSet, NftValue, Codable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let expected = ConntrackStatus(rawValue: 1)
  public static let seenReply = ConntrackStatus(rawValue: 2)
  public static let assured = ConntrackStatus(rawValue: 4)
  public static let confirmed = ConntrackStatus(rawValue: 8)
  public static let sourceNAT = ConntrackStatus(rawValue: 0x10)
  public static let destinationNAT = ConntrackStatus(rawValue: 0x20)
  public static var nftType: NftDataType { .ctStatus }
  public var nftData: NftData { NftData(host: UInt64(rawValue), width: 4) }
}

/// The direction of a packet in its flow.
public enum ConntrackDirection: UInt8, NftValue, Codable {
  case original = 0
  case reply = 1
  public static var nftType: NftDataType { .ctDirection }
  public var nftData: NftData { [rawValue] }
}

/// Flags of a TCP header (RFC 9293, RFC 3168).
public struct TCPFlags: OptionSet, NftValue, Codable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let fin = TCPFlags(rawValue: 0x01)
  public static let syn = TCPFlags(rawValue: 0x02)
  public static let rst = TCPFlags(rawValue: 0x04)
  public static let psh = TCPFlags(rawValue: 0x08)
  public static let ack = TCPFlags(rawValue: 0x10)
  public static let urg = TCPFlags(rawValue: 0x20)
  public static let ecn = TCPFlags(rawValue: 0x40)
  public static let cwr = TCPFlags(rawValue: 0x80)
  public static var nftType: NftDataType { .tcpFlags }
  public var nftData: NftData { [rawValue] }
}

/// An ICMP message type (RFC 792, IANA).
public struct ICMPType: RawRepresentable, NftValue, Codable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let echoReply = ICMPType(rawValue: 0)
  public static let destinationUnreachable = ICMPType(rawValue: 3)
  public static let redirect = ICMPType(rawValue: 5)
  public static let echoRequest = ICMPType(rawValue: 8)
  public static let timeExceeded = ICMPType(rawValue: 11)
  public static let parameterProblem = ICMPType(rawValue: 12)
  public static var nftType: NftDataType { .icmpType }
  public var nftData: NftData { [rawValue] }
}

/// An ICMPv6 message type (RFC 4443, RFC 4861).
public struct ICMPv6Type: RawRepresentable, NftValue, Codable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let destinationUnreachable = ICMPv6Type(rawValue: 1)
  public static let packetTooBig = ICMPv6Type(rawValue: 2)
  public static let timeExceeded = ICMPv6Type(rawValue: 3)
  public static let parameterProblem = ICMPv6Type(rawValue: 4)
  public static let echoRequest = ICMPv6Type(rawValue: 128)
  public static let echoReply = ICMPv6Type(rawValue: 129)
  public static let routerSolicitation = ICMPv6Type(rawValue: 133)
  public static let routerAdvertisement = ICMPv6Type(rawValue: 134)
  public static let neighborSolicitation = ICMPv6Type(rawValue: 135)
  public static let neighborAdvertisement = ICMPv6Type(rawValue: 136)
  public static var nftType: NftDataType { .icmpv6Type }
  public var nftData: NftData { [rawValue] }
}

/// To whom a frame was sent (PACKET_*).
public enum PacketType: UInt8, NftValue, Codable {
  case host = 0
  case broadcast = 1
  case multicast = 2
  case other = 3
  public static var nftType: NftDataType { .packetType }
  public var nftData: NftData { [rawValue] }
}

/// What a route to an address is (RTN_*).
public enum RouteType: UInt32, NftValue, Codable {
  case unspecified = 0
  case unicast = 1
  case local = 2
  case broadcast = 3
  case anycast = 4
  case multicast = 5
  case blackhole = 6
  case unreachable = 7
  case prohibit = 8
  public static var nftType: NftDataType { .routeType }
  public var nftData: NftData { NftData(host: UInt64(rawValue), width: 4) }
}
