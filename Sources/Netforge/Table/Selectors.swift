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
  /// What routers are to look for.
  public static let routerAlertValue = Selector<NumberValue>("ip option ra value")
  /// Where in the recorded route the next entry goes.
  public static let recordRoutePointer = Selector<NumberValue>("ip option rr ptr")
  /// The first of its addresses as a number.
  public static let recordRouteAddress = Selector<NumberValue>("ip option rr addr")
  /// Bytes of the recorded route.
  public static let recordRouteLength = Selector<NumberValue>("ip option rr length")
  /// Which of the loose route's addresses is next.
  public static let looseRoutePointer = Selector<NumberValue>("ip option lsrr ptr")
  /// The first of its addresses as a number.
  public static let looseRouteAddress = Selector<NumberValue>("ip option lsrr addr")
  /// Which of the strict route's addresses is next.
  public static let strictRoutePointer = Selector<NumberValue>("ip option ssrr ptr")
  /// The first of its addresses as a number.
  public static let strictRouteAddress = Selector<NumberValue>("ip option ssrr addr")
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
  /// What packets of one flow have in common.
  public static let flowLabel = Selector<NumberValue>("ip6 flowlabel")
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
  /// Options for the receiver.
  public static let destination = Selector<PresenceValue>("exthdr dst")
  /// What stands behind the options for every hop.
  public static let hopByHopNext = Selector<ProtocolValue>("hbh nexthdr")
  /// What stands behind the options for the receiver.
  public static let destinationNext = Selector<ProtocolValue>("dst nexthdr")
  /// What stands behind the routing header.
  public static let routingNext = Selector<ProtocolValue>("rt nexthdr")
  /// Words of 8 bytes behind the first.
  public static let routingLength = Selector<NumberValue>("rt hdrlength")
  /// Words of 8 bytes before the piece.
  public static let fragmentOffset = Selector<NumberValue>("frag frag-off")
  /// 1: other pieces follow.
  public static let moreFragments = Selector<NumberValue>("frag more-fragments")
  /// The place of the segment list's last entry (RFC 8754).
  public static let lastSegment = Selector<NumberValue>("srh last-entry")
  /// Flags of the segment list.
  public static let segmentFlags = Selector<NumberValue>("srh flags")
  /// What packets of one group have in common.
  public static let segmentTag = Selector<NumberValue>("srh tag")
  /// An entry of the segment list, 1 or 2.
  public static func segment(_ number: Int) -> Selector<IPv6Value> { Selector("srh sid[\(number)]") }
  /// A header of mobile nodes (RFC 6275).
  public static let mobility = Selector<PresenceValue>("exthdr mh")
  /// What the header of mobile nodes says: 5 tells of a binding.
  public static let mobilityType = Selector<NumberValue>("mh type")
  /// What stands behind it.
  public static let mobilityNext = Selector<ProtocolValue>("mh nexthdr")
  /// Words of 8 bytes behind the first.
  public static let mobilityLength = Selector<NumberValue>("mh hdrlength")
  /// The sum of header and addresses.
  public static let mobilityChecksum = Selector<NumberValue>("mh checksum")
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
  /// Bits without a meaning.
  public static let reserved = Selector<NumberValue>("tcp reserved")
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
  /// The first byte of a block that has arrived, 0...3.
  public static func sackLeft(_ block: Int = 0) -> Selector<NumberValue> {
    Selector("tcp option sack\(block == 0 ? "" : "\(block)") left")
  }
  /// The byte behind a block that has arrived, 0...3.
  public static func sackRight(_ block: Int = 0) -> Selector<NumberValue> {
    Selector("tcp option sack\(block == 0 ? "" : "\(block)") right")
  }
  /// Bytes of the option: 2, and 8 for each block.
  public static let sackLength = Selector<NumberValue>("tcp option sack length")
  /// Whether the option is there (RFC 8684).
  public static let hasMultipath = Selector<PresenceValue>("tcp option mptcp")
  /// What the option is for: 0 begins a connection of several ways.
  public static let multipathSubtype = Selector<NumberValue>("tcp option mptcp subtype")
  /// Whether the option is there (RFC 7413).
  public static let hasFastOpen = Selector<PresenceValue>("tcp option fastopen")
  /// Bytes of the option: 2 asks for a cookie.
  public static let fastOpenLength = Selector<NumberValue>("tcp option fastopen length")
  /// Whether the option is there (RFC 2385).
  public static let hasSignature = Selector<PresenceValue>("tcp option md5sig")
  /// Whether any option of that number is there.
  public static func has(_ number: Int) -> Selector<PresenceValue> { Selector("tcp option \(number)") }
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
  /// Bytes that the sum covers; 0: all.
  public static let coverage = Selector<NumberValue>("udplite csumcov")
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

  /// What a packet is made of (RFC 9260).
  public enum Chunk: String, Sendable {
    /// Data of a stream.
    case data
    /// Begins an association.
    case initiation = "init"
    /// Answers who begins one.
    case initiationAck = "init-ack"
    /// Says what has arrived.
    case sack
    /// Asks whether the other is there.
    case heartbeat
    /// Answers that.
    case heartbeatAck = "heartbeat-ack"
    /// Ends an association at once.
    case abort
    /// Ends an association.
    case shutdown
    /// Answers that.
    case shutdownAck = "shutdown-ack"
    /// Tells of a mistake.
    case error
    /// Gives the cookie back.
    case cookieEcho = "cookie-echo"
    /// Takes the cookie.
    case cookieAck = "cookie-ack"
    /// Tells of congestion.
    case congestionEcho = "ecne"
    /// Tells that the window is smaller now.
    case congestionWindowReduced = "cwr"
    /// The last of an association.
    case shutdownComplete = "shutdown-complete"
    /// Changes addresses (RFC 5061).
    case addressChange = "asconf"
    /// Answers that.
    case addressChangeAck = "asconf-ack"
    /// Gives data up (RFC 3758).
    case forward = "forward-tsn"
  }

  /// Whether the packet has such a chunk.
  public static func has(_ chunk: Chunk) -> Selector<PresenceValue> {
    Selector("sctp chunk \(chunk.rawValue)")
  }
  /// The flags of its first such chunk.
  public static func flags(of chunk: Chunk) -> Selector<NumberValue> {
    Selector("sctp chunk \(chunk.rawValue) flags")
  }
  /// Bytes of its first such chunk.
  public static func length(of chunk: Chunk) -> Selector<NumberValue> {
    Selector("sctp chunk \(chunk.rawValue) length")
  }
  /// The number of its first piece of data.
  public static let dataNumber = Selector<NumberValue>("sctp chunk data tsn")
  /// The stream that the data is of.
  public static let dataStream = Selector<NumberValue>("sctp chunk data stream")
  /// The data's number in the stream.
  public static let dataSequence = Selector<NumberValue>("sctp chunk data ssn")
  /// What the data is to whoever reads it.
  public static let dataProtocol = Selector<NumberValue>("sctp chunk data ppid")
  /// The tag that who begins wants to have.
  public static let initiationTag = Selector<NumberValue>("sctp chunk init init-tag")
  /// Bytes that who begins has room for.
  public static let initiationWindow = Selector<NumberValue>("sctp chunk init a-rwnd")
  /// Streams that who begins wants to have.
  public static let initiationStreams = Selector<NumberValue>("sctp chunk init num-outbound-streams")
  /// All data up to this number has arrived.
  public static let acknowledged = Selector<NumberValue>("sctp chunk sack cum-tsn-ack")
}

/// Fields of the DCCP header.
public enum DCCP {
  /// The sender's port.
  public static let sourcePort = Selector<PortValue>("dccp sport")
  /// The receiver's port.
  public static let destinationPort = Selector<PortValue>("dccp dport")
  /// 0 asks for a connection, 1 answers, 2 is data.
  public static let type = Selector<NumberValue>("dccp type")
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
  /// Milliseconds that answers may take.
  public static let maximumDelay = Selector<NumberValue>("icmpv6 max-delay")
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
  /// 1: the frame may be dropped before others.
  public static let vlanDropEligible = Selector<NumberValue>("vlan dei")
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
