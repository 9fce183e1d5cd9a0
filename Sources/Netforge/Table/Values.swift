// SPDX-License-Identifier: GPL-2.0-or-later

// The values that selectors of the general firewall form compare with: each selector takes values of its own type only.

/// A value that a selector compares with.
public protocol SelectorValue: Sendable {
  /// The words nft uses for the type, one for each part of a concatenation.
  static var types: [String] { get }
  /// The value as text, one for each part of a concatenation.
  var texts: [String] { get }
}

/// Values that are sets of bits: a comparison asks for any of them, or exactly for some.
public protocol FlagValue: SelectorValue {}

/// Values whose bits can be compared under a mask.
public protocol MaskedValue: SelectorValue {}

/// IPv4 addresses: `"10.0.0.1"`, `"10.0.0.0/8"` or `"10.0.0.1-10.0.0.9"`.
public struct IPv4Value: SelectorValue, ExpressibleByStringInterpolation {
  /// The words nft uses for the type.
  public static let types = ["ipv4_addr"]
  /// The value as text.
  public let texts: [String]
  /// An address, a prefix or a range.
  public init(stringLiteral value: String) { texts = [value] }
}

/// IPv6 addresses: `"2001:db8::1"`, `"2001:db8::/32"` or a range.
public struct IPv6Value: SelectorValue, ExpressibleByStringInterpolation {
  /// The words nft uses for the type.
  public static let types = ["ipv6_addr"]
  /// The value as text.
  public let texts: [String]
  /// An address, a prefix or a range.
  public init(stringLiteral value: String) { texts = [value] }
}

/// A MAC address: `"02:00:00:00:00:01"`.
public struct MACValue: SelectorValue, ExpressibleByStringInterpolation {
  /// The words nft uses for the type.
  public static let types = ["ether_addr"]
  /// The value as text.
  public let texts: [String]
  /// Six pairs of hexadecimal digits.
  public init(stringLiteral value: String) { texts = [value] }
}

/// A TCP or UDP port: `22`, or `.range(1000...2000)`.
public struct PortValue: MaskedValue, ExpressibleByIntegerLiteral {
  /// The words nft uses for the type.
  public static let types = ["inet_service"]
  /// The value as text.
  public let texts: [String]
  /// A port.
  public init(integerLiteral value: Int) { texts = [String(value)] }
  /// A port.
  public init(_ value: Int) { texts = [String(value)] }
  /// All ports of a range.
  public static func range(_ range: ClosedRange<Int>) -> PortValue {
    PortValue(text: "\(range.lowerBound)-\(range.upperBound)")
  }
  private init(text: String) { texts = [text] }
}

/// A plain number: a TTL, a length, a VLAN id, a uid.
public struct NumberValue: MaskedValue, ExpressibleByIntegerLiteral {
  /// The words nft uses for the type.
  public static let types = ["integer"]
  /// The value as text.
  public let texts: [String]
  /// A number.
  public init(integerLiteral value: Int) { texts = [String(value)] }
  /// A number.
  public init(_ value: Int) { texts = [String(value)] }
  /// All numbers of a range.
  public static func range(_ range: ClosedRange<Int>) -> NumberValue {
    NumberValue(text: "\(range.lowerBound)-\(range.upperBound)")
  }
  private init(text: String) { texts = [text] }
}

/// A packet's or connection's mark.
public struct MarkValue: MaskedValue, ExpressibleByIntegerLiteral {
  /// The words nft uses for the type.
  public static let types = ["mark"]
  /// The value as text.
  public let texts: [String]
  /// A mark.
  public init(integerLiteral value: Int) { texts = [String(value)] }
  /// A mark.
  public init(_ value: Int) { texts = [String(value)] }
}

/// An interface of the node: `"eth0"`; `"eth*"` is every one that begins so.
public struct InterfaceValue: SelectorValue, ExpressibleByStringInterpolation {
  /// The words nft uses for the type.
  public static let types = ["ifname"]
  /// The value as text.
  public let texts: [String]
  /// A name.
  public init(stringLiteral value: String) { texts = [value] }
}

/// An IP protocol: `.tcp`, `.icmp`, or a number.
public struct ProtocolValue: SelectorValue, ExpressibleByIntegerLiteral {
  /// The words nft uses for the type.
  public static let types = ["inet_proto"]
  /// The value as text.
  public let texts: [String]
  /// A protocol number, 0...255.
  public init(integerLiteral value: Int) { texts = [String(value)] }
  private init(_ text: String) { texts = [text] }
  /// TCP.
  public static let tcp = ProtocolValue("tcp")
  /// UDP.
  public static let udp = ProtocolValue("udp")
  /// ICMP.
  public static let icmp = ProtocolValue("icmp")
  /// ICMPv6.
  public static let icmpv6 = ProtocolValue("ipv6-icmp")
  /// SCTP.
  public static let sctp = ProtocolValue("sctp")
}

/// A connection's state.
public struct StateValue: FlagValue {
  /// The words nft uses for the type.
  public static let types = ["ct_state"]
  /// The value as text.
  public let texts: [String]
  private init(_ text: String) { texts = [text] }
  /// The first packet of a connection.
  public static let new = StateValue("new")
  /// A packet of a connection that was answered.
  public static let established = StateValue("established")
  /// A packet that a known connection gave rise to.
  public static let related = StateValue("related")
  /// A packet that fits no connection.
  public static let invalid = StateValue("invalid")
  /// A packet that connection tracking does not look at.
  public static let untracked = StateValue("untracked")
}

/// What happened to a connection.
public struct StatusValue: FlagValue {
  /// The words nft uses for the type.
  public static let types = ["ct_status"]
  /// The value as text.
  public let texts: [String]
  private init(_ text: String) { texts = [text] }
  /// Its source was rewritten.
  public static let snat = StatusValue("snat")
  /// Its destination was rewritten.
  public static let dnat = StatusValue("dnat")
  /// It was answered.
  public static let seenReply = StatusValue("seen-reply")
  /// It is not forgotten early.
  public static let assured = StatusValue("assured")
  /// Its first packet left the node.
  public static let confirmed = StatusValue("confirmed")
}

/// Something that happens to a connection and is told to who listens, as `netforge conntrack --watch`.
public struct EventValue: FlagValue {
  /// The words nft uses for the type.
  public static let types = ["ct_event"]
  /// The value as text.
  public let texts: [String]
  private init(_ text: String) { texts = [text] }
  /// It begins.
  public static let new = EventValue("new")
  /// One begins that was expected of another.
  public static let related = EventValue("related")
  /// It ends.
  public static let destroy = EventValue("destroy")
  /// It is answered.
  public static let reply = EventValue("reply")
  /// It is not forgotten early any more.
  public static let assured = EventValue("assured")
  /// Its protocol's state changes, as TCP's.
  public static let protocolState = EventValue("protoinfo")
  /// It is given a helper.
  public static let helper = EventValue("helper")
  /// Its mark changes.
  public static let mark = EventValue("mark")
  /// Its sequence numbers are corrected.
  public static let sequenceAdjustment = EventValue("seqadj")
  /// Its security mark changes.
  public static let securityMark = EventValue("secmark")
  /// Its labels change.
  public static let label = EventValue("label")
  /// None of these.
  public static let nothing = EventValue("0")
}

/// A connection's label, 0...127.
public struct LabelValue: SelectorValue, ExpressibleByIntegerLiteral {
  /// The words nft uses for the type.
  public static let types = ["ct_label"]
  /// The value as text.
  public let texts: [String]
  /// A label.
  public init(integerLiteral value: Int) { texts = [String(value)] }
  /// A label.
  public init(_ value: Int) { texts = [String(value)] }
}

/// The protocol of a connection's helper: `"ftp"`, `"tftp"`, `"sip"`.
public struct HelperValue: SelectorValue, ExpressibleByStringInterpolation {
  /// The words nft uses for the type.
  public static let types = ["string"]
  /// The value as text.
  public let texts: [String]
  /// A name.
  public init(stringLiteral value: String) { texts = [value] }
}

/// An ICMP message's type, by nft's name or a number.
public struct ICMPTypeValue: SelectorValue, ExpressibleByIntegerLiteral {
  /// The words nft uses for the type.
  public static let types = ["icmp_type"]
  /// The value as text.
  public let texts: [String]
  /// A type's number, 0...255.
  public init(integerLiteral value: Int) { texts = [String(value)] }
  private init(_ text: String) { texts = [text] }
  /// What `ping` sends.
  public static let echoRequest = ICMPTypeValue("echo-request")
  /// What answers `ping`.
  public static let echoReply = ICMPTypeValue("echo-reply")
  /// The packet could not be delivered.
  public static let destinationUnreachable = ICMPTypeValue("destination-unreachable")
  /// The packet's hops ran out.
  public static let timeExceeded = ICMPTypeValue("time-exceeded")
}

/// An ICMPv6 message's type, by nft's name or a number.
public struct ICMPv6TypeValue: SelectorValue, ExpressibleByIntegerLiteral {
  /// The words nft uses for the type.
  public static let types = ["icmpv6_type"]
  /// The value as text.
  public let texts: [String]
  /// A type's number, 0...255.
  public init(integerLiteral value: Int) { texts = [String(value)] }
  private init(_ text: String) { texts = [text] }
  /// What `ping` sends.
  public static let echoRequest = ICMPv6TypeValue("echo-request")
  /// What answers `ping`.
  public static let echoReply = ICMPv6TypeValue("echo-reply")
  /// The packet could not be delivered.
  public static let destinationUnreachable = ICMPv6TypeValue("destination-unreachable")
  /// The packet does not fit the next link.
  public static let packetTooBig = ICMPv6TypeValue("packet-too-big")
  /// The packet's hops ran out.
  public static let timeExceeded = ICMPv6TypeValue("time-exceeded")
  /// A host asks for routers.
  public static let routerSolicitation = ICMPv6TypeValue("nd-router-solicit")
  /// A router announces itself.
  public static let routerAdvertisement = ICMPv6TypeValue("nd-router-advert")
  /// A host asks for a neighbour's MAC address.
  public static let neighborSolicitation = ICMPv6TypeValue("nd-neighbor-solicit")
  /// A host tells its MAC address.
  public static let neighborAdvertisement = ICMPv6TypeValue("nd-neighbor-advert")
}

/// A TCP flag.
public struct TCPFlagValue: FlagValue {
  /// The words nft uses for the type.
  public static let types = ["tcp_flag"]
  /// The value as text.
  public let texts: [String]
  private init(_ text: String) { texts = [text] }
  /// Finish.
  public static let fin = TCPFlagValue("fin")
  /// Synchronise.
  public static let syn = TCPFlagValue("syn")
  /// Reset.
  public static let rst = TCPFlagValue("rst")
  /// Push.
  public static let psh = TCPFlagValue("psh")
  /// Acknowledge.
  public static let ack = TCPFlagValue("ack")
  /// Urgent.
  public static let urg = TCPFlagValue("urg")
  /// Congestion has been met (ECE).
  public static let ece = TCPFlagValue("ecn")
  /// The window has been reduced (CWR).
  public static let cwr = TCPFlagValue("cwr")
}

/// An Ethernet frame's type.
public struct EtherTypeValue: SelectorValue, ExpressibleByIntegerLiteral {
  /// The words nft uses for the type.
  public static let types = ["ether_type"]
  /// The value as text.
  public let texts: [String]
  /// A type's number, 0...65535.
  public init(integerLiteral value: Int) { texts = [String(value)] }
  private init(_ text: String) { texts = [text] }
  /// IPv4.
  public static let ip = EtherTypeValue("ip")
  /// IPv6.
  public static let ip6 = EtherTypeValue("ip6")
  /// ARP.
  public static let arp = EtherTypeValue("arp")
  /// 802.1Q.
  public static let vlan = EtherTypeValue("vlan")
}

/// Whom a frame is for.
public struct PacketTypeValue: SelectorValue {
  /// The words nft uses for the type.
  public static let types = ["pkt_type"]
  /// The value as text.
  public let texts: [String]
  private init(_ text: String) { texts = [text] }
  /// For this node.
  public static let host = PacketTypeValue("host")
  /// For all.
  public static let broadcast = PacketTypeValue("broadcast")
  /// For a group.
  public static let multicast = PacketTypeValue("multicast")
  /// For another.
  public static let other = PacketTypeValue("other")
}

/// What kind of address the routing table takes one for.
public struct AddressTypeValue: SelectorValue {
  /// The words nft uses for the type.
  public static let types = ["fib_addrtype"]
  /// The value as text.
  public let texts: [String]
  private init(_ text: String) { texts = [text] }
  /// The node's own.
  public static let local = AddressTypeValue("local")
  /// One of another host.
  public static let unicast = AddressTypeValue("unicast")
  /// A broadcast address.
  public static let broadcast = AddressTypeValue("broadcast")
  /// A multicast group.
  public static let multicast = AddressTypeValue("multicast")
}

/// A differentiated services code point.
public struct DSCPValue: SelectorValue, ExpressibleByIntegerLiteral {
  /// The words nft uses for the type.
  public static let types = ["dscp"]
  /// The value as text.
  public let texts: [String]
  /// A code point, 0...63.
  public init(integerLiteral value: Int) { texts = [String(value)] }
}

/// A family: `.ipv4` or `.ipv6`.
public struct FamilyValue: SelectorValue {
  /// The words nft uses for the type.
  public static let types = ["nf_proto"]
  /// The value as text.
  public let texts: [String]
  private init(_ text: String) { texts = [text] }
  /// IPv4.
  public static let ipv4 = FamilyValue("ipv4")
  /// IPv6.
  public static let ipv6 = FamilyValue("ipv6")
}

/// Which way a packet of a connection goes.
public struct DirectionValue: SelectorValue {
  /// The words nft uses for the type.
  public static let types = ["ct_dir"]
  /// The value as text.
  public let texts: [String]
  private init(_ text: String) { texts = [text] }
  /// As the first packet.
  public static let original = DirectionValue("original")
  /// Back.
  public static let reply = DirectionValue("reply")
}

/// Whether something is there: an option, an extension header.
public struct PresenceValue: SelectorValue {
  /// The words nft uses for the type.
  public static let types = ["boolean"]
  /// The value as text.
  public let texts: [String]
  private init(_ text: String) { texts = [text] }
  /// It is there.
  public static let exists = PresenceValue("exists")
  /// It is not there.
  public static let missing = PresenceValue("missing")
}

/// A moment, of universal time: `"2026-12-24 18:00"`.
public struct DateValue: SelectorValue, ExpressibleByStringInterpolation {
  /// The words nft uses for the type.
  public static let types = ["date"]
  /// The value as text.
  public let texts: [String]
  /// `2026-12-24`, `2026-12-24 18:00` or with seconds.
  public init(stringLiteral value: String) { texts = [value] }
  /// All from one moment to another.
  public static func range(_ first: DateValue, _ last: DateValue) -> DateValue {
    "\(first.texts[0])/\(last.texts[0])"
  }
}

/// A time of day, of universal time: `"09:30"`.
public struct TimeOfDayValue: SelectorValue, ExpressibleByStringInterpolation {
  /// The words nft uses for the type.
  public static let types = ["hour"]
  /// The value as text.
  public let texts: [String]
  /// `09:30` or `09:30:05`.
  public init(stringLiteral value: String) { texts = [value] }
  /// All from one time to another of the same day.
  public static func range(_ first: TimeOfDayValue, _ last: TimeOfDayValue) -> TimeOfDayValue {
    "\(first.texts[0])-\(last.texts[0])"
  }
}

/// A day of the week.
public struct WeekdayValue: SelectorValue {
  /// The words nft uses for the type.
  public static let types = ["day"]
  /// The value as text.
  public let texts: [String]
  private init(_ text: String) { texts = [text] }
  /// Sunday.
  public static let sunday = WeekdayValue("Sunday")
  /// Monday.
  public static let monday = WeekdayValue("Monday")
  /// Tuesday.
  public static let tuesday = WeekdayValue("Tuesday")
  /// Wednesday.
  public static let wednesday = WeekdayValue("Wednesday")
  /// Thursday.
  public static let thursday = WeekdayValue("Thursday")
  /// Friday.
  public static let friday = WeekdayValue("Friday")
  /// Saturday.
  public static let saturday = WeekdayValue("Saturday")
}

/// A value of two selectors joined by `and`.
public struct Pair<First: SelectorValue, Second: SelectorValue>: SelectorValue {
  /// The words nft uses for the types.
  public static var types: [String] { First.types + Second.types }
  /// The values as text.
  public let texts: [String]
  /// The one value and the other.
  public init(_ first: First, _ second: Second) { texts = first.texts + second.texts }
}
