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
  /// The source address.
  public static let source = Selector<IPv4Value>("ip saddr")
  /// The destination address.
  public static let destination = Selector<IPv4Value>("ip daddr")
  /// The protocol of the payload.
  public static let payload = Selector<ProtocolValue>("ip protocol")
  /// The time to live.
  public static let ttl = Selector<NumberValue>("ip ttl")
  /// Bytes in the packet.
  public static let length = Selector<NumberValue>("ip length")
  /// The differentiated services code point.
  public static let dscp = Selector<DSCPValue>("ip dscp")
}

/// Fields of the IPv6 header.
public enum IP6 {
  /// The source address.
  public static let source = Selector<IPv6Value>("ip6 saddr")
  /// The destination address.
  public static let destination = Selector<IPv6Value>("ip6 daddr")
  /// The header that follows.
  public static let nextHeader = Selector<ProtocolValue>("ip6 nexthdr")
  /// The hop limit.
  public static let hopLimit = Selector<NumberValue>("ip6 hoplimit")
}

/// Fields of the TCP header.
public enum TCP {
  /// The source port.
  public static let sourcePort = Selector<PortValue>("tcp sport")
  /// The destination port.
  public static let destinationPort = Selector<PortValue>("tcp dport")
  /// The flags; several values ask for any of them.
  public static let flags = Selector<TCPFlagValue>("tcp flags")
}

/// Fields of the UDP header.
public enum UDP {
  /// The source port.
  public static let sourcePort = Selector<PortValue>("udp sport")
  /// The destination port.
  public static let destinationPort = Selector<PortValue>("udp dport")
}

/// The ports of whatever transport the packet has.
public enum Transport {
  /// The source port.
  public static let sourcePort = Selector<PortValue>("th sport")
  /// The destination port.
  public static let destinationPort = Selector<PortValue>("th dport")
}

/// Fields of the ICMP header.
public enum ICMP {
  /// The message's type.
  public static let type = Selector<ICMPTypeValue>("icmp type")
}

/// Fields of the ICMPv6 header.
public enum ICMPv6 {
  /// The message's type.
  public static let type = Selector<ICMPv6TypeValue>("icmpv6 type")
}

/// Fields of the Ethernet header.
public enum Ethernet {
  /// The source MAC address.
  public static let source = Selector<MACValue>("ether saddr")
  /// The destination MAC address.
  public static let destination = Selector<MACValue>("ether daddr")
  /// The frame's type.
  public static let type = Selector<EtherTypeValue>("ether type")
  /// The id of the 802.1Q tag.
  public static let vlan = Selector<NumberValue>("vlan id")
}

/// Fields of an ARP message.
public enum ARP {
  /// 1 is a request, 2 a reply.
  public static let operation = Selector<NumberValue>("arp operation")
}

/// What the kernel knows about a packet.
public enum Meta {
  /// The interface that it came in by.
  public static let incoming = Selector<InterfaceValue>("meta iifname")
  /// The interface that it leaves by.
  public static let outgoing = Selector<InterfaceValue>("meta oifname")
  /// Its mark.
  public static let mark = Selector<MarkValue>("meta mark")
  /// Its transport's protocol.
  public static let transport = Selector<ProtocolValue>("meta l4proto")
  /// Its length in bytes.
  public static let length = Selector<NumberValue>("meta length")
  /// Whom its frame is for.
  public static let packetType = Selector<PacketTypeValue>("meta pkttype")
  /// The uid of the socket that sent it.
  public static let userID = Selector<NumberValue>("meta skuid")
}

/// What connection tracking knows about a packet's connection.
public enum Conntrack {
  /// The packet's place in the connection.
  public static let state = Selector<StateValue>("ct state")
  /// What happened to the connection; several values ask for any of them.
  public static let status = Selector<StatusValue>("ct status")
  /// The connection's mark.
  public static let mark = Selector<MarkValue>("ct mark")
  /// The source address before any translation.
  public static let originalSource = Selector<IPv4Value>("ct original ip saddr")
  /// The destination address before any translation.
  public static let originalDestination = Selector<IPv4Value>("ct original ip daddr")
  /// The destination port before any translation.
  public static let originalDestinationPort = Selector<PortValue>("ct original proto-dst")
}

/// What the routing table knows about a packet's addresses.
public enum FIB {
  /// The kind of the destination.
  public static let destinationType = Selector<AddressTypeValue>("fib daddr type")
  /// The kind of the source.
  public static let sourceType = Selector<AddressTypeValue>("fib saddr type")
}
