// SPDX-License-Identifier: GPL-2.0-or-later

// The selectors of the general firewall form. Each carries what it depends on with it: `TCP.destinationPort` sees TCP
// packets only.

/// A field of a packet, or something the kernel knows about it.
public struct Selector<Value: SelectorValue>: Sendable {
  let names: [String]

  init(_ name: String) { names = [name] }
  init(names: [String]) { self.names = names }

  /// Both selectors together: a concatenation, whose values are `Pair`s.
  public func and<Other: SelectorValue>(_ other: Selector<Other>) -> Selector<Pair<Value, Other>> {
    Selector<Pair<Value, Other>>(names: names + other.names)
  }

  /// The field is one of these.
  public func `is`(_ values: Value...) -> Comparison { compare("equal", values) }
  /// The field is none of these.
  public func isNot(_ values: Value...) -> Comparison { compare("notEqual", values) }
  /// The field is less than this.
  public func isLess(than value: Value) -> Comparison { compare("less", [value]) }
  /// The field is greater than this.
  public func isGreater(than value: Value) -> Comparison { compare("greater", [value]) }
  /// The field is in the set.
  public func isIn(_ set: NamedSet<Value>) -> Comparison { compare("equal", set) }
  /// The field is not in the set.
  public func isNotIn(_ set: NamedSet<Value>) -> Comparison { compare("notEqual", set) }

  /// Looks the verdict up by the field; a field that is not there goes on to the next rule.
  public func verdict(_ elements: [(Value, Verdict)]) -> VerdictLookup {
    var record = Record("verdictMap")
    record.add("selectors", names)
    record.add("elements", elements.map { Record.element($0.0.texts, [], $0.1) })
    return VerdictLookup(statement: RuleStatement(record: record, declared: nil))
  }

  /// Looks the verdict up in a map by the field.
  public func verdict(_ map: VerdictMap<Value>) -> VerdictLookup {
    var record = Record("verdictMap")
    record.add("selectors", names)
    record.add("map", map.name)
    return VerdictLookup(statement: RuleStatement(record: record, declared: map.declaration))
  }

  fileprivate func compare(_ operation: String, exactly bits: [Value], mask: [Value]) -> Comparison {
    var record = Record("match")
    record.add("selectors", names)
    record.add("is", operation)
    record.add("exactly", bits.flatMap(\.texts))
    record.add("mask", mask.flatMap(\.texts))
    return Comparison(statement: RuleStatement(record: record, declared: nil))
  }

  private func compare(_ operation: String, _ values: [Value]) -> Comparison {
    var record = Record("match")
    record.add("selectors", names)
    record.add("is", operation)
    record.add("values", json: Record.list(values.map { Record.list($0.texts.map(Record.quoted)) }))
    return Comparison(statement: RuleStatement(record: record, declared: nil))
  }

  private func compare(_ operation: String, _ set: NamedSet<Value>) -> Comparison {
    var record = Record("match")
    record.add("selectors", names)
    record.add("is", operation)
    record.add("set", set.name)
    return Comparison(statement: RuleStatement(record: record, declared: set.declaration))
  }
}

extension Selector where Value: FlagValue {
  /// Of the bits of the mask these are set and no others; without a mask, of all:
  /// `TCP.flags.is(exactly: .syn, of: .syn, .ack)`.
  public func `is`(exactly values: Value..., of mask: Value...) -> Comparison {
    compare("equal", exactly: values, mask: mask)
  }
  /// Of the bits of the mask others are set than these; without a mask, of all.
  public func isNot(exactly values: Value..., of mask: Value...) -> Comparison {
    compare("notEqual", exactly: values, mask: mask)
  }
}

extension Selector where Value: MaskedValue {
  /// The bits under the mask are these: `Meta.mark.is(0x10, mask: 0xff)`.
  public func `is`(_ value: Value, mask: Value) -> Comparison {
    compare("equal", exactly: [value], mask: [mask])
  }
  /// The bits under the mask are others.
  public func isNot(_ value: Value, mask: Value) -> Comparison {
    compare("notEqual", exactly: [value], mask: [mask])
  }
}

extension Record {
  /// An element of a set or map.
  static func element(_ key: [String], _ data: [String], _ verdict: Verdict?) -> Record {
    var record = Record()
    record.add("key", key)
    record.add("data", data)
    record.add("verdict", verdict?.text)
    return record
  }
}

/// Fields of the IPv4 header.
public enum IP {
  /// The sender.
  public static let source = Selector<IPv4Value>("ip saddr")
  /// The receiver.
  public static let destination = Selector<IPv4Value>("ip daddr")
  /// What the packet carries.
  public static let payload = Selector<ProtocolValue>("ip protocol")
  /// Hops that are left.
  public static let ttl = Selector<NumberValue>("ip ttl")
  /// Bytes of the packet, header included.
  public static let length = Selector<NumberValue>("ip length")
  /// The differentiated services code point.
  public static let dscp = Selector<DSCPValue>("ip dscp")
  /// Explicit congestion notification: 1 and 2 can be marked, 3 is.
  public static let ecn = Selector<NumberValue>("ip ecn")
  /// What pieces of one packet have in common.
  public static let identification = Selector<NumberValue>("ip id")
  /// The flags and the offset of a piece, as the 16 bits that they are.
  public static let fragment = Selector<NumberValue>("ip frag-off")
  /// Words of 4 bytes.
  public static let headerLength = Selector<NumberValue>("ip hdrlength")
  /// 4.
  public static let version = Selector<NumberValue>("ip version")
  /// The sum of the header.
  public static let checksum = Selector<NumberValue>("ip checksum")
}

/// Options of the IPv4 header.
public enum IPOption {
  /// Routers are to write themselves down.
  public static let recordRoute = Selector<PresenceValue>("ip option rr")
  /// Hosts that the packet is to pass.
  public static let looseRoute = Selector<PresenceValue>("ip option lsrr")
  /// Hosts that the packet is to pass, and no others.
  public static let strictRoute = Selector<PresenceValue>("ip option ssrr")
  /// Routers are to look into the packet.
  public static let routerAlert = Selector<PresenceValue>("ip option ra")
}

/// Fields of the IPv6 header.
public enum IP6 {
  /// The sender.
  public static let source = Selector<IPv6Value>("ip6 saddr")
  /// The receiver.
  public static let destination = Selector<IPv6Value>("ip6 daddr")
  /// What stands behind the header.
  public static let nextHeader = Selector<ProtocolValue>("ip6 nexthdr")
  /// Hops that are left.
  public static let hopLimit = Selector<NumberValue>("ip6 hoplimit")
  /// Bytes behind the header.
  public static let length = Selector<NumberValue>("ip6 length")
  /// The differentiated services code point.
  public static let dscp = Selector<DSCPValue>("ip6 dscp")
  /// Explicit congestion notification: 1 and 2 can be marked, 3 is.
  public static let ecn = Selector<NumberValue>("ip6 ecn")
  /// 6.
  public static let version = Selector<NumberValue>("ip6 version")
}

/// Extension headers of IPv6.
public enum IP6Extension {
  /// Options for every hop.
  public static let hopByHop = Selector<PresenceValue>("exthdr hbh")
  /// A routing header.
  public static let routing = Selector<PresenceValue>("exthdr rt")
  /// The packet is a piece.
  public static let fragment = Selector<PresenceValue>("exthdr frag")
  /// What pieces of one packet have in common.
  public static let fragmentID = Selector<NumberValue>("frag id")
  /// What the pieces are of.
  public static let fragmentPayload = Selector<ProtocolValue>("frag nexthdr")
  /// The kind of routing header.
  public static let routingType = Selector<NumberValue>("rt type")
  /// Nodes that are still to be visited.
  public static let segmentsLeft = Selector<NumberValue>("rt seg-left")
  /// Words of 8 bytes behind the first.
  public static let hopByHopLength = Selector<NumberValue>("hbh hdrlength")
  /// The same, of the options for the receiver.
  public static let destinationLength = Selector<NumberValue>("dst hdrlength")
}

/// Fields of the TCP header.
public enum TCP {
  /// The sender's port.
  public static let sourcePort = Selector<PortValue>("tcp sport")
  /// The receiver's port.
  public static let destinationPort = Selector<PortValue>("tcp dport")
  /// Whether any of these is set.
  public static let flags = Selector<TCPFlagValue>("tcp flags")
  /// The number of the first byte.
  public static let sequence = Selector<NumberValue>("tcp sequence")
  /// The number of the byte that is expected.
  public static let acknowledgment = Selector<NumberValue>("tcp ackseq")
  /// Bytes that the sender has room for, not scaled.
  public static let window = Selector<NumberValue>("tcp window")
  /// Words of 4 bytes in front of the data.
  public static let dataOffset = Selector<NumberValue>("tcp doff")
  /// The sum of segment and addresses.
  public static let checksum = Selector<NumberValue>("tcp checksum")
  /// Where urgent data ends.
  public static let urgentPointer = Selector<NumberValue>("tcp urgptr")
}

/// Options of the TCP header.
public enum TCPOption {
  /// The largest segment that the sender takes.
  public static let maximumSegmentSize = Selector<NumberValue>("tcp option maxseg size")
  /// How far windows are shifted.
  public static let windowScale = Selector<NumberValue>("tcp option window count")
  /// The sender's clock.
  public static let timestamp = Selector<NumberValue>("tcp option timestamp tsval")
  /// The receiver's clock as it was last heard.
  public static let timestampEcho = Selector<NumberValue>("tcp option timestamp tsecr")
  /// Whether the option is there.
  public static let hasMaximumSegmentSize = Selector<PresenceValue>("tcp option maxseg")
  /// Whether the option is there.
  public static let hasWindowScale = Selector<PresenceValue>("tcp option window")
  /// Whether the option is there.
  public static let permitsSACK = Selector<PresenceValue>("tcp option sack-perm")
  /// Whether the option is there.
  public static let hasSACK = Selector<PresenceValue>("tcp option sack")
  /// Whether the option is there.
  public static let hasTimestamp = Selector<PresenceValue>("tcp option timestamp")
}

/// Fields of the UDP header.
public enum UDP {
  /// The sender's port.
  public static let sourcePort = Selector<PortValue>("udp sport")
  /// The receiver's port.
  public static let destinationPort = Selector<PortValue>("udp dport")
  /// Bytes of the datagram, header included.
  public static let length = Selector<NumberValue>("udp length")
  /// The sum of datagram and addresses; 0: none.
  public static let checksum = Selector<NumberValue>("udp checksum")
}

/// Fields of the UDP-Lite header (RFC 3828).
public enum UDPLite {
  /// The sender's port.
  public static let sourcePort = Selector<PortValue>("udplite sport")
  /// The receiver's port.
  public static let destinationPort = Selector<PortValue>("udplite dport")
  /// The sum of what it covers.
  public static let checksum = Selector<NumberValue>("udplite checksum")
}

/// Fields of the SCTP header.
public enum SCTP {
  /// The sender's port.
  public static let sourcePort = Selector<PortValue>("sctp sport")
  /// The receiver's port.
  public static let destinationPort = Selector<PortValue>("sctp dport")
  /// Which association it is of.
  public static let verificationTag = Selector<NumberValue>("sctp vtag")
  /// The CRC32c of the packet.
  public static let checksum = Selector<NumberValue>("sctp checksum")
}

/// Fields of the DCCP header.
public enum DCCP {
  /// The sender's port.
  public static let sourcePort = Selector<PortValue>("dccp sport")
  /// The receiver's port.
  public static let destinationPort = Selector<PortValue>("dccp dport")
}

/// Ports of whatever transport protocol a packet has.
public enum Transport {
  /// The sender's port.
  public static let sourcePort = Selector<PortValue>("th sport")
  /// The receiver's port.
  public static let destinationPort = Selector<PortValue>("th dport")
}

/// Fields of an ICMP message.
public enum ICMP {
  /// The message's type.
  public static let type = Selector<ICMPTypeValue>("icmp type")
  /// What it is about in particular.
  public static let code = Selector<NumberValue>("icmp code")
  /// Whose echo it is.
  public static let identifier = Selector<NumberValue>("icmp id")
  /// Which echo it is.
  public static let sequence = Selector<NumberValue>("icmp sequence")
  /// The next hop's MTU, where a packet could not be cut.
  public static let mtu = Selector<NumberValue>("icmp mtu")
  /// The message's sum.
  public static let checksum = Selector<NumberValue>("icmp checksum")
}

/// Fields of an ICMPv6 message.
public enum ICMPv6 {
  /// The message's type.
  public static let type = Selector<ICMPv6TypeValue>("icmpv6 type")
  /// What it is about in particular.
  public static let code = Selector<NumberValue>("icmpv6 code")
  /// Whose echo it is.
  public static let identifier = Selector<NumberValue>("icmpv6 id")
  /// Which echo it is.
  public static let sequence = Selector<NumberValue>("icmpv6 sequence")
  /// The next hop's MTU, where a packet was too big.
  public static let mtu = Selector<NumberValue>("icmpv6 mtu")
  /// The sum of message and addresses.
  public static let checksum = Selector<NumberValue>("icmpv6 checksum")
}

/// Fields of an IGMP message.
public enum IGMP {
  /// 17 asks, 22 and 34 report, 23 leaves.
  public static let type = Selector<NumberValue>("igmp type")
  /// Tenths of a second that answers may take.
  public static let responseTime = Selector<NumberValue>("igmp mrt")
  /// The group's address as a number.
  public static let group = Selector<NumberValue>("igmp group")
  /// The message's sum.
  public static let checksum = Selector<NumberValue>("igmp checksum")
}

/// Fields of the headers of IPsec and of compressed payloads.
public enum IPsec {
  /// Whose authentication header it is.
  public static let authenticationSPI = Selector<NumberValue>("ah spi")
  /// Which packet it is.
  public static let authenticationSequence = Selector<NumberValue>("ah sequence")
  /// Words of 4 bytes, less two.
  public static let authenticationLength = Selector<NumberValue>("ah hdrlength")
  /// Whose encrypted payload it is.
  public static let encryptionSPI = Selector<NumberValue>("esp spi")
  /// Which packet it is.
  public static let encryptionSequence = Selector<NumberValue>("esp sequence")
  /// How the payload is compressed.
  public static let compression = Selector<NumberValue>("comp cpi")
}

/// Fields of the Ethernet header and its VLAN tag.
public enum Ethernet {
  /// The sender's MAC.
  public static let source = Selector<MACValue>("ether saddr")
  /// The receiver's MAC.
  public static let destination = Selector<MACValue>("ether daddr")
  /// What the frame carries.
  public static let type = Selector<EtherTypeValue>("ether type")
  /// The VLAN of the tag.
  public static let vlan = Selector<NumberValue>("vlan id")
  /// The priority of the tag.
  public static let vlanPriority = Selector<NumberValue>("vlan pcp")
  /// What stands behind the tag.
  public static let vlanType = Selector<EtherTypeValue>("vlan type")
}

/// Fields of an ARP packet.
public enum ARP {
  /// 1 asks, 2 answers.
  public static let operation = Selector<NumberValue>("arp operation")
  /// Who asks or answers.
  public static let source = Selector<IPv4Value>("arp saddr ip")
  /// Who is asked for, or who had asked.
  public static let target = Selector<IPv4Value>("arp daddr ip")
  /// Where who asks or answers is.
  public static let sourceMAC = Selector<MACValue>("arp saddr ether")
  /// Where who had asked is.
  public static let targetMAC = Selector<MACValue>("arp daddr ether")
  /// 1: Ethernet.
  public static let hardware = Selector<NumberValue>("arp htype")
  /// Whose addresses are asked for.
  public static let network = Selector<EtherTypeValue>("arp ptype")
  /// Bytes of a MAC.
  public static let hardwareLength = Selector<NumberValue>("arp hlen")
  /// Bytes of an address.
  public static let networkLength = Selector<NumberValue>("arp plen")
}

/// What the kernel knows about a packet.
public enum Meta {
  /// The interface it came by.
  public static let incoming = Selector<InterfaceValue>("meta iifname")
  /// The interface it leaves by.
  public static let outgoing = Selector<InterfaceValue>("meta oifname")
  /// The packet's mark.
  public static let mark = Selector<MarkValue>("meta mark")
  /// The transport protocol, in either family.
  public static let transport = Selector<ProtocolValue>("meta l4proto")
  /// The family, in tables of both.
  public static let family = Selector<FamilyValue>("meta nfproto")
  /// What the frame carries, behind any tags.
  public static let network = Selector<EtherTypeValue>("meta protocol")
  /// Bytes of the packet.
  public static let length = Selector<NumberValue>("meta length")
  /// Whom the frame was for.
  public static let packetType = Selector<PacketTypeValue>("meta pkttype")
  /// The user of the program that sent it.
  public static let userID = Selector<NumberValue>("meta skuid")
  /// The group of the program that sent it.
  public static let groupID = Selector<NumberValue>("meta skgid")
  /// The class that a queue puts it in.
  public static let priority = Selector<NumberValue>("meta priority")
  /// The CPU that works on it.
  public static let cpu = Selector<NumberValue>("meta cpu")
  /// The group of the interface it came by.
  public static let incomingGroup = Selector<NumberValue>("meta iifgroup")
  /// The group of the interface it leaves by.
  public static let outgoingGroup = Selector<NumberValue>("meta oifgroup")
  /// The bridge of the port it came by.
  public static let incomingBridge = Selector<InterfaceValue>("meta ibrname")
  /// The bridge of the port it leaves by.
  public static let outgoingBridge = Selector<InterfaceValue>("meta obrname")
  /// Another number for each.
  public static let random = Selector<NumberValue>("meta random")
  /// The realm of its route.
  public static let routingClass = Selector<NumberValue>("meta rtclassid")
  /// The class of the program's control group.
  public static let controlGroup = Selector<NumberValue>("meta cgroup")
}

/// What connection tracking knows about a packet.
public enum Conntrack {
  /// The state of its connection.
  public static let state = Selector<StateValue>("ct state")
  /// What has happened to its connection.
  public static let status = Selector<StatusValue>("ct status")
  /// The connection's mark.
  public static let mark = Selector<MarkValue>("ct mark")
  /// Labels of the connection: whether any of these is set. `.set` adds one to them.
  public static let labels = Selector<LabelValue>("ct label")
  /// What is told of the connection to who listens; it can only be set. Of what happens at once all is told where one
  /// of these has: `Conntrack.events.set(.new, .destroy)`.
  public static let events = Selector<EventValue>("ct event")
  /// What reads along in the connection.
  public static let helper = Selector<HelperValue>("ct helper")
  /// Which way the packet goes.
  public static let direction = Selector<DirectionValue>("ct direction")
  /// The connection's transport protocol.
  public static let transport = Selector<ProtocolValue>("ct protocol")
  /// The connection's family.
  public static let family = Selector<FamilyValue>("ct l3proto")
  /// The zone that its addresses are of.
  public static let zone = Selector<NumberValue>("ct zone")
  /// Milliseconds that are left, were nothing more to come.
  public static let expiration = Selector<NumberValue>("ct expiration")
  /// Packets of the connection, both ways.
  public static let packets = Selector<NumberValue>("ct packets")
  /// Bytes of the connection, both ways.
  public static let bytes = Selector<NumberValue>("ct bytes")
  /// Bytes of its packets in the mean.
  public static let averagePacket = Selector<NumberValue>("ct avgpkt")
  /// Packets from who began.
  public static let originalPackets = Selector<NumberValue>("ct original packets")
  /// Packets to who began.
  public static let replyPackets = Selector<NumberValue>("ct reply packets")
  /// Bytes from who began.
  public static let originalBytes = Selector<NumberValue>("ct original bytes")
  /// Bytes to who began.
  public static let replyBytes = Selector<NumberValue>("ct reply bytes")
  /// The sender before any translation.
  public static let originalSource = Selector<IPv4Value>("ct original ip saddr")
  /// The receiver before any translation.
  public static let originalDestination = Selector<IPv4Value>("ct original ip daddr")
  /// Who answers.
  public static let replySource = Selector<IPv4Value>("ct reply ip saddr")
  /// Whom the answers go to.
  public static let replyDestination = Selector<IPv4Value>("ct reply ip daddr")
  /// The sender before any translation.
  public static let originalSource6 = Selector<IPv6Value>("ct original ip6 saddr")
  /// The receiver before any translation.
  public static let originalDestination6 = Selector<IPv6Value>("ct original ip6 daddr")
  /// Who answers.
  public static let replySource6 = Selector<IPv6Value>("ct reply ip6 saddr")
  /// Whom the answers go to.
  public static let replyDestination6 = Selector<IPv6Value>("ct reply ip6 daddr")
  /// The sender's port before any translation.
  public static let originalSourcePort = Selector<PortValue>("ct original proto-src")
  /// The port before any translation.
  public static let originalDestinationPort = Selector<PortValue>("ct original proto-dst")
  /// The port that answers come from.
  public static let replySourcePort = Selector<PortValue>("ct reply proto-src")
  /// The port that answers go to.
  public static let replyDestinationPort = Selector<PortValue>("ct reply proto-dst")
}

/// What the routing tables say.
public enum FIB {
  /// What the receiver's address is to this node.
  public static let destinationType = Selector<AddressTypeValue>("fib daddr type")
  /// What the sender's address is to this node.
  public static let sourceType = Selector<AddressTypeValue>("fib saddr type")
  /// What the receiver's address is to the interface that the packet came by.
  public static let localDestinationType = Selector<AddressTypeValue>("fib daddr . iif type")
  /// The interface that the sender is reached by.
  public static let sourceInterface = Selector<InterfaceValue>("fib saddr oifname")
  /// The interface that the receiver is reached by.
  public static let destinationInterface = Selector<InterfaceValue>("fib daddr oifname")
}

/// What a packet's route says.
public enum PacketRoute {
  /// The largest TCP segment of the way.
  public static let maximumSegmentSize = Selector<NumberValue>("rt tcpmss")
  /// The route's realm.
  public static let realm = Selector<NumberValue>("rt classid")
}

/// The socket of this node that a packet is for.
public enum ListeningSocket {
  /// Whether it takes connections to addresses of others.
  public static let transparent = Selector<PresenceValue>("socket transparent")
  /// Whether it listens on all addresses.
  public static let wildcard = Selector<PresenceValue>("socket wildcard")
  /// The socket's mark.
  public static let mark = Selector<MarkValue>("socket mark")
}
