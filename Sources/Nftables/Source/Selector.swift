// SPDX-License-Identifier: GPL-2.0-or-later

// What a rule can look at: a packet field or a property of the packet, with its type, how to load it and
// which protocol it presumes. The typed face is `Field`; this one is for values that come as text or JSON.

public import NetTypes

/// Something about a packet that a rule can match on, put into a key, or hash.
public struct Selector: Hashable, Codable, Sendable {
  /// As nft writes it: `tcp dport`.
  public var name: String
  public var type: NftDataType
  public var load: Load
  /// What the packet must be for the load to mean anything.
  public var requirement: Requirement

  public init(_ name: String, _ type: NftDataType, _ load: Load, requires requirement: Requirement = .nothing)
  {
    self.name = name
    self.type = type
    self.load = load
    self.requirement = requirement
  }

  /// How the value comes into a register.
  public indirect enum Load: Hashable, Codable, Sendable {
    /// Bits of the packet: offset and width in bits from the base.
    case payload(NftPayloadBase, bit: UInt32, width: UInt32)
    case meta(NftMetaKey)
    case ct(NftCtKey, NftCtDirection?)
    case fib(NftFib.Flags, NftFib.Result)
    case fibPresence(NftFib.Flags)
    case rt(NftRtKey)
    case socket(NftSocketKey)
    case numgen(isRandom: Bool, modulus: UInt32, offset: UInt32)
    case jhash([Selector], modulus: UInt32, seed: UInt32?, offset: UInt32)
    case symhash(modulus: UInt32, offset: UInt32)
    /// Bits of a header, option or chunk of that type; `presence` asks only whether it is there.
    case exthdr(NftExthdrOperation, type: UInt8, bit: UInt32, width: UInt32, presence: Bool)
  }

  /// A protocol that a selector presumes.
  public enum Requirement: Hashable, Codable, Sendable {
    case nothing
    /// An IPv4, IPv6 or ARP packet.
    case network(EtherType)
    /// A transport protocol, in packets of either family.
    case transport(IPProtocol)
    /// A transport protocol of one family only: ICMP and ICMPv6.
    case familyTransport(IPProtocol, EtherType)
    /// An Ethernet header.
    case ethernet
    /// A VLAN tag.
    case vlan
  }
}

extension Selector {
  private static func network(
    _ name: String, _ type: NftDataType, _ etherType: EtherType, bit: UInt32, width: UInt32
  ) -> Selector {
    Selector(name, type, .payload(.network, bit: bit, width: width), requires: .network(etherType))
  }

  private static func transport(
    _ name: String, _ type: NftDataType, _ requirement: Requirement, byte: UInt32, width: UInt32
  ) -> Selector {
    Selector(name, type, .payload(.transport, bit: byte * 8, width: width), requires: requirement)
  }

  private static func meta(_ name: String, _ type: NftDataType, _ key: NftMetaKey) -> Selector {
    Selector(name, type, .meta(key))
  }

  private static func ct(
    _ name: String, _ type: NftDataType, _ key: NftCtKey, _ direction: NftCtDirection? = nil
  ) -> Selector {
    Selector(name, type, .ct(key, direction))
  }

  /// Every selector without parameters.
  public static let all: [Selector] =
    metaSelectors + networkSelectors + transportSelectors + linkSelectors + ctSelectors + otherSelectors
    + headerSelectors

  /// The selector that nft calls so, without parameters: `ip saddr`, `meta mark`, `th dport`.
  public init?(named name: String) {
    guard let selector = Self.byName[name] ?? Self.rawOption(name) else { return nil }
    self = selector
  }

  /// `tcp option 200`, by its number.
  private static func rawOption(_ name: String) -> Selector? {
    guard name.hasPrefix("tcp option "), let number = UInt8(name.dropFirst("tcp option ".count)) else {
      return nil
    }
    return tcpOption(number, bit: 0, width: 8)
  }

  private static let byName: [String: Selector] = {
    var table = Dictionary(all.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    for selector in metaSelectors where !selector.name.hasPrefix("meta ") {
      table["meta \(selector.name)"] = selector
    }
    table["mark"] = table["meta mark"]
    table["dport"] = table["th dport"]
    table["sport"] = table["th sport"]
    table["vlan cfi"] = table["vlan dei"]
    return table
  }()

  private static let metaSelectors: [Selector] = [
    meta("iifname", .interfaceName, .inputName), meta("oifname", .interfaceName, .outputName),
    meta("iif", .interfaceIndex, .inputIndex), meta("oif", .interfaceIndex, .outputIndex),
    meta("iiftype", .deviceType, .inputType), meta("oiftype", .deviceType, .outputType),
    meta("meta iifgroup", .deviceGroup, .inputGroup), meta("meta oifgroup", .deviceGroup, .outputGroup),
    meta("meta mark", .mark, .mark), meta("meta l4proto", .ipProtocol, .l4proto),
    meta("meta nfproto", .nfproto, .nfproto), meta("meta protocol", .etherType, .protocol),
    meta("meta pkttype", .packetType, .packetType), meta("meta skuid", .userID, .socketUser),
    meta("meta skgid", .groupID, .socketGroup), meta("meta length", .hostInteger, .length),
    meta("meta priority", .classID, .priority), meta("meta cpu", .hostInteger, .cpu),
    meta("meta ibrname", .interfaceName, .bridgeInputName),
    meta("meta obrname", .interfaceName, .bridgeOutputName),
    meta("meta random", .integer(4), .random),
    meta("meta iifkind", .interfaceName, .inputKind), meta("meta oifkind", .interfaceName, .outputKind),
    meta("meta rtclassid", .realm, .routeClass), meta("meta cgroup", .hostInteger, .cgroup),
    meta("meta time", .date, .timeNanoseconds), meta("meta hour", .timeOfDay, .timeHour),
    meta("meta day", .weekday, .timeDay),
    meta("meta sdif", .interfaceIndex, .slaveIndex), meta("meta sdifname", .interfaceName, .slaveName),
  ]

  private static let networkSelectors: [Selector] = [
    network("ip saddr", .ipv4Address, .ipv4, bit: 96, width: 32),
    network("ip daddr", .ipv4Address, .ipv4, bit: 128, width: 32),
    network("ip protocol", .ipProtocol, .ipv4, bit: 72, width: 8),
    network("ip ttl", .integer(1), .ipv4, bit: 64, width: 8),
    network("ip dscp", .dscp, .ipv4, bit: 8, width: 6),
    network("ip ecn", .ecn, .ipv4, bit: 14, width: 2),
    network("ip length", .integer(2), .ipv4, bit: 16, width: 16),
    network("ip id", .integer(2), .ipv4, bit: 32, width: 16),
    // With the flags before it, as nft has it.
    network("ip frag-off", .integer(2), .ipv4, bit: 48, width: 16),
    network("ip checksum", .integer(2), .ipv4, bit: 80, width: 16),
    network("ip hdrlength", .integer(1), .ipv4, bit: 4, width: 4),
    network("ip version", .integer(1), .ipv4, bit: 0, width: 4),
    network("ip6 saddr", .ipv6Address, .ipv6, bit: 64, width: 128),
    network("ip6 daddr", .ipv6Address, .ipv6, bit: 192, width: 128),
    network("ip6 nexthdr", .ipProtocol, .ipv6, bit: 48, width: 8),
    network("ip6 hoplimit", .integer(1), .ipv6, bit: 56, width: 8),
    network("ip6 dscp", .dscp, .ipv6, bit: 4, width: 6),
    network("ip6 length", .integer(2), .ipv6, bit: 32, width: 16),
    network("ip6 ecn", .ecn, .ipv6, bit: 10, width: 2),
    network("ip6 flowlabel", .integer(3), .ipv6, bit: 12, width: 20),
    network("ip6 version", .integer(1), .ipv6, bit: 0, width: 4),
    network("arp htype", .integer(2), .arp, bit: 0, width: 16),
    network("arp ptype", .etherType, .arp, bit: 16, width: 16),
    network("arp hlen", .integer(1), .arp, bit: 32, width: 8),
    network("arp plen", .integer(1), .arp, bit: 40, width: 8),
    network("arp operation", .arpOperation, .arp, bit: 48, width: 16),
    network("arp saddr ether", .etherAddress, .arp, bit: 64, width: 48),
    network("arp saddr ip", .ipv4Address, .arp, bit: 112, width: 32),
    network("arp daddr ether", .etherAddress, .arp, bit: 144, width: 48),
    network("arp daddr ip", .ipv4Address, .arp, bit: 192, width: 32),
  ]

  private static let transportSelectors: [Selector] = [
    transport("tcp sport", .port, .transport(.tcp), byte: 0, width: 16),
    transport("tcp dport", .port, .transport(.tcp), byte: 2, width: 16),
    transport("tcp sequence", .integer(4), .transport(.tcp), byte: 4, width: 32),
    transport("tcp ackseq", .integer(4), .transport(.tcp), byte: 8, width: 32),
    transport("tcp flags", .tcpFlags, .transport(.tcp), byte: 13, width: 8),
    transport("tcp window", .integer(2), .transport(.tcp), byte: 14, width: 16),
    transport("tcp doff", .integer(1), .transport(.tcp), byte: 12, width: 4),
    Selector(
      "tcp reserved", .integer(1), .payload(.transport, bit: 100, width: 4), requires: .transport(.tcp)),
    transport("tcp checksum", .integer(2), .transport(.tcp), byte: 16, width: 16),
    transport("tcp urgptr", .integer(2), .transport(.tcp), byte: 18, width: 16),
    transport("udp sport", .port, .transport(.udp), byte: 0, width: 16),
    transport("udp dport", .port, .transport(.udp), byte: 2, width: 16),
    transport("udp length", .integer(2), .transport(.udp), byte: 4, width: 16),
    transport("udp checksum", .integer(2), .transport(.udp), byte: 6, width: 16),
    transport("udplite checksum", .integer(2), .transport(.udplite), byte: 6, width: 16),
    transport("udplite csumcov", .integer(2), .transport(.udplite), byte: 4, width: 16),
    transport("udplite sport", .port, .transport(.udplite), byte: 0, width: 16),
    transport("udplite dport", .port, .transport(.udplite), byte: 2, width: 16),
    transport("sctp sport", .port, .transport(.sctp), byte: 0, width: 16),
    transport("sctp dport", .port, .transport(.sctp), byte: 2, width: 16),
    transport("sctp vtag", .integer(4), .transport(.sctp), byte: 4, width: 32),
    transport("sctp checksum", .integer(4), .transport(.sctp), byte: 8, width: 32),
    // Without `ah nexthdr` and `comp nexthdr`: nft 1.0.6 ends with a failed assertion when it meets them.
    transport("ah reserved", .integer(2), .transport(.ah), byte: 2, width: 16),
    transport("ah hdrlength", .integer(1), .transport(.ah), byte: 1, width: 8),
    transport("ah spi", .integer(4), .transport(.ah), byte: 4, width: 32),
    transport("ah sequence", .integer(4), .transport(.ah), byte: 8, width: 32),
    transport("esp spi", .integer(4), .transport(.esp), byte: 0, width: 32),
    transport("esp sequence", .integer(4), .transport(.esp), byte: 4, width: 32),
    transport("comp flags", .integer(1), .transport(.comp), byte: 1, width: 8),
    transport("comp cpi", .integer(2), .transport(.comp), byte: 2, width: 16),
    transport("dccp sport", .port, .transport(.dccp), byte: 0, width: 16),
    transport("dccp dport", .port, .transport(.dccp), byte: 2, width: 16),
    Selector("dccp type", .dccpType, .payload(.transport, bit: 67, width: 4), requires: .transport(.dccp)),
    transport("th sport", .port, .nothing, byte: 0, width: 16),
    transport("th dport", .port, .nothing, byte: 2, width: 16),
    transport("icmp type", .icmpType, .familyTransport(.icmp, .ipv4), byte: 0, width: 8),
    transport("icmp code", .icmpCode, .familyTransport(.icmp, .ipv4), byte: 1, width: 8),
    transport("icmp checksum", .integer(2), .familyTransport(.icmp, .ipv4), byte: 2, width: 16),
    transport("icmp id", .integer(2), .familyTransport(.icmp, .ipv4), byte: 4, width: 16),
    transport("icmp sequence", .integer(2), .familyTransport(.icmp, .ipv4), byte: 6, width: 16),
    transport("icmp gateway", .integer(4), .familyTransport(.icmp, .ipv4), byte: 4, width: 32),
    transport("icmp mtu", .integer(2), .familyTransport(.icmp, .ipv4), byte: 6, width: 16),
    transport("icmpv6 type", .icmpv6Type, .familyTransport(.icmpv6, .ipv6), byte: 0, width: 8),
    transport("icmpv6 code", .icmpv6Code, .familyTransport(.icmpv6, .ipv6), byte: 1, width: 8),
    transport("icmpv6 checksum", .integer(2), .familyTransport(.icmpv6, .ipv6), byte: 2, width: 16),
    transport("icmpv6 id", .integer(2), .familyTransport(.icmpv6, .ipv6), byte: 4, width: 16),
    transport("icmpv6 sequence", .integer(2), .familyTransport(.icmpv6, .ipv6), byte: 6, width: 16),
    transport("icmpv6 mtu", .integer(4), .familyTransport(.icmpv6, .ipv6), byte: 4, width: 32),
    transport("icmpv6 max-delay", .integer(2), .familyTransport(.icmpv6, .ipv6), byte: 4, width: 16),
    transport("igmp type", .igmpType, .familyTransport(.igmp, .ipv4), byte: 0, width: 8),
    transport("igmp mrt", .integer(1), .familyTransport(.igmp, .ipv4), byte: 1, width: 8),
    transport("igmp checksum", .integer(2), .familyTransport(.igmp, .ipv4), byte: 2, width: 16),
    transport("igmp group", .integer(4), .familyTransport(.igmp, .ipv4), byte: 4, width: 32),
  ]

  private static let linkSelectors: [Selector] = [
    Selector("ether daddr", .etherAddress, .payload(.link, bit: 0, width: 48), requires: .ethernet),
    Selector("ether saddr", .etherAddress, .payload(.link, bit: 48, width: 48), requires: .ethernet),
    Selector("ether type", .etherType, .payload(.link, bit: 96, width: 16), requires: .ethernet),
    Selector("vlan id", .integer(2), .payload(.link, bit: 116, width: 12), requires: .vlan),
    Selector("vlan pcp", .integer(1), .payload(.link, bit: 112, width: 3), requires: .vlan),
    Selector("vlan dei", .integer(1), .payload(.link, bit: 115, width: 1), requires: .vlan),
    Selector("vlan type", .etherType, .payload(.link, bit: 128, width: 16), requires: .vlan),
  ]

  /// A number of 64 bits of the kernel's own.
  private static let wide = NftDataType(rawValue: 4, size: 8, hostOrder: true)

  private static let zone = NftDataType(rawValue: 4, size: 2, hostOrder: true)

  private static let ctSelectors: [Selector] = [
    ct("ct state", .ctState, .state), ct("ct status", .ctStatus, .status), ct("ct mark", .mark, .mark),
    ct("ct direction", .ctDirection, .direction), ct("ct protocol", .ipProtocol, .protocol),
    ct("ct l3proto", .nfproto, .l3proto), ct("ct expiration", .time, .expiration),
    ct("ct zone", zone, .zone), ct("ct original zone", zone, .zone, .original),
    ct("ct reply zone", zone, .zone, .reply), ct("ct id", .integer(4), .id),
    ct("ct helper", .string, .helper), ct("ct label", .connectionLabel, .labels),
    ct("ct event", .connectionEvent, .eventMask),
    ct("ct packets", wide, .packets), ct("ct bytes", wide, .bytes), ct("ct avgpkt", wide, .averagePacket),
    ct("ct original packets", wide, .packets, .original), ct("ct reply packets", wide, .packets, .reply),
    ct("ct original bytes", wide, .bytes, .original), ct("ct reply bytes", wide, .bytes, .reply),
    ct("ct original ip saddr", .ipv4Address, .sourceIP, .original),
    ct("ct original ip daddr", .ipv4Address, .destinationIP, .original),
    ct("ct reply ip saddr", .ipv4Address, .sourceIP, .reply),
    ct("ct reply ip daddr", .ipv4Address, .destinationIP, .reply),
    ct("ct original ip6 saddr", .ipv6Address, .sourceIP6, .original),
    ct("ct original ip6 daddr", .ipv6Address, .destinationIP6, .original),
    ct("ct reply ip6 saddr", .ipv6Address, .sourceIP6, .reply),
    ct("ct reply ip6 daddr", .ipv6Address, .destinationIP6, .reply),
    ct("ct original proto-src", .port, .sourcePort, .original),
    ct("ct original proto-dst", .port, .destinationPort, .original),
    ct("ct reply proto-src", .port, .sourcePort, .reply),
    ct("ct reply proto-dst", .port, .destinationPort, .reply),
  ]

  private static let otherSelectors: [Selector] = [
    Selector("fib daddr type", .routeType, .fib(.destinationAddress, .addressType)),
    Selector("fib saddr type", .routeType, .fib(.sourceAddress, .addressType)),
    Selector("fib daddr . iif type", .routeType, .fib([.destinationAddress, .inputInterface], .addressType)),
    Selector("fib saddr . iif oif", .interfaceIndex, .fib([.sourceAddress, .inputInterface], .outputIndex)),
    Selector("fib saddr oif", .interfaceIndex, .fib(.sourceAddress, .outputIndex)),
    Selector("fib daddr oif", .interfaceIndex, .fib(.destinationAddress, .outputIndex)),
    Selector("fib saddr oifname", .interfaceName, .fib(.sourceAddress, .outputName)),
    Selector("fib daddr oifname", .interfaceName, .fib(.destinationAddress, .outputName)),
    routeMSS,
    Selector("rt classid", .realm, .rt(.classID)),
    Selector("rt ip nexthop", .ipv4Address, .rt(.nexthop4)),
    Selector("rt ip6 nexthop", .ipv6Address, .rt(.nexthop6)),
    Selector("socket transparent", .boolean, .socket(.transparent)),
    Selector("socket wildcard", .boolean, .socket(.wildcard)),
    Selector("socket mark", .mark, .socket(.mark)),
  ]

  /// The next number of a counter, or a random one, in `offset ..< offset + modulus`.
  public static func numgen(random: Bool = false, modulus: UInt32, offset: UInt32 = 0) -> Selector {
    Selector(
      "numgen \(random ? "random" : "inc") mod \(modulus)\(offset == 0 ? "" : " offset \(offset)")",
      .hostInteger,
      .numgen(isRandom: random, modulus: modulus, offset: offset))
  }

  /// A hash of what the selectors load, scaled into `offset ..< offset + modulus`.
  public static func jhash(_ fields: [Selector], modulus: UInt32, seed: UInt32? = nil, offset: UInt32 = 0)
    -> Selector
  {
    let text = fields.map(\.name).joined(separator: " . ")
    return Selector(
      "jhash \(text) mod \(modulus)\(seed.map { " seed \(hex($0))" } ?? "")\(offset == 0 ? "" : " offset \(offset)")",
      .hostInteger, .jhash(fields, modulus: modulus, seed: seed, offset: offset))
  }

  /// A hash of the flow, the same in both directions.
  public static func symhash(modulus: UInt32, offset: UInt32 = 0) -> Selector {
    Selector(
      "symhash mod \(modulus)\(offset == 0 ? "" : " offset \(offset)")", .hostInteger,
      .symhash(modulus: modulus, offset: offset))
  }
}
