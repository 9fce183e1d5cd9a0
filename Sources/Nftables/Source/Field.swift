// SPDX-License-Identifier: GPL-2.0-or-later

// The typed face of selectors: a field compares only with values of its own type, so width and byte order are
// never the writer's business.

public import NetTypes

/// A type of values that a field can have.
public protocol NftValue: Hashable, Sendable {
  static var nftType: NftDataType { get }
  /// The value as it lies in a register.
  var nftData: NftData { get }
}

/// A selector whose values are of one type.
public struct Field<Value: NftValue>: Hashable, Sendable {
  public let selector: Selector

  init(_ name: String) {
    guard let selector = Selector(named: name) else { preconditionFailure("no selector is called \(name)") }
    self.selector = selector
  }
}

extension Field where Value == InterfacePattern {
  public static var inputInterface: Field { Field("iifname") }
  public static var outputInterface: Field { Field("oifname") }
}
extension Field where Value == IPv4Address {
  public static var ipSource: Field { Field("ip saddr") }
  public static var ipDestination: Field { Field("ip daddr") }
  public static var arpSource: Field { Field("arp saddr ip") }
  public static var arpDestination: Field { Field("arp daddr ip") }
  public static var originalSource: Field { Field("ct original ip saddr") }
  public static var originalDestination: Field { Field("ct original ip daddr") }
}
extension Field where Value == IPv6Address {
  public static var ip6Source: Field { Field("ip6 saddr") }
  public static var ip6Destination: Field { Field("ip6 daddr") }
  public static var originalSource6: Field { Field("ct original ip6 saddr") }
  public static var originalDestination6: Field { Field("ct original ip6 daddr") }
}
extension Field where Value == UInt16 {
  public static var tcpSource: Field { Field("tcp sport") }
  public static var tcpDestination: Field { Field("tcp dport") }
  public static var udpSource: Field { Field("udp sport") }
  public static var udpDestination: Field { Field("udp dport") }
  public static var sctpSource: Field { Field("sctp sport") }
  public static var sctpDestination: Field { Field("sctp dport") }
  /// The ports of whatever transport protocol has them at the usual place.
  public static var transportSource: Field { Field("th sport") }
  public static var transportDestination: Field { Field("th dport") }
  public static var originalDestinationPort: Field { Field("ct original proto-dst") }
}
extension Field where Value == MACAddress {
  public static var etherSource: Field { Field("ether saddr") }
  public static var etherDestination: Field { Field("ether daddr") }
}
extension Field where Value == EtherType {
  public static var etherType: Field { Field("ether type") }
  public static var networkProtocol: Field { Field("meta protocol") }
}
extension Field where Value == IPProtocol {
  /// The transport protocol, in either family, past extension headers.
  public static var transportProtocol: Field { Field("meta l4proto") }
}
extension Field where Value == NetworkFamily {
  public static var family: Field { Field("meta nfproto") }
}
extension Field where Value == PacketMark {
  public static var mark: Field { Field("meta mark") }
  public static var conntrackMark: Field { Field("ct mark") }
}
extension Field where Value == ConntrackState {
  public static var conntrackState: Field { Field("ct state") }
}
extension Field where Value == ConntrackStatus {
  public static var conntrackStatus: Field { Field("ct status") }
}
extension Field where Value == ConntrackDirection {
  public static var conntrackDirection: Field { Field("ct direction") }
}
extension Field where Value == TCPFlags {
  public static var tcpFlags: Field { Field("tcp flags") }
}
extension Field where Value == ICMPType {
  public static var icmpType: Field { Field("icmp type") }
}
extension Field where Value == ICMPv6Type {
  public static var icmpv6Type: Field { Field("icmpv6 type") }
}
extension Field where Value == VLANIdentifier {
  public static var vlan: Field { Field("vlan id") }
}
extension Field where Value == PacketType {
  public static var packetType: Field { Field("meta pkttype") }
}
extension Field where Value == UserIdentifier {
  public static var socketUser: Field { Field("meta skuid") }
}
extension Field where Value == PacketLength {
  public static var length: Field { Field("meta length") }
}
extension Field where Value == RouteType {
  public static var sourceRouteType: Field { Field("fib saddr type") }
  public static var destinationRouteType: Field { Field("fib daddr type") }
}
