// SPDX-License-Identifier: GPL-2.0-or-later

// What a rule consists of, from left to right: conditions and what is done when they hold.

public import NetTypes

/// One part of a rule.
public enum Statement: Hashable, Codable, Sendable {
  case match(Match)
  case verdict(NftVerdict)
  case counter
  case limit(NftLimit)
  case quota(NftQuota)
  /// Runs a named object of the table: a counter, quota or limit, or what a connection is given (its helper, its
  /// timeouts, an expectation).
  case object(NftObjectKind, String)
  /// Runs the named object that the selectors' values lead to.
  case objectMap(NftObjectKind, [Selector], ObjectMap)
  /// Flows of this rule's kind: at most so many, or more than so many.
  case connections(NftConnlimit)
  case log(NftLog)
  case reject(RejectReason)
  case notrack
  case translate(Translation)
  case masquerade(ports: PortRange? = nil, flags: NftNATFlags = [])
  /// To this host, at these ports if given.
  case redirect(ports: PortRange? = nil, flags: NftNATFlags = [])
  /// Looks the selectors' values up and does what stands there.
  case verdictMap([Selector], VerdictMap)
  /// Puts a value where a selector finds its own: into the packet, its mark, its connection, a TCP option.
  case store(Selector, ValueSource)
  /// Takes a TCP option out, by its number.
  case removeOption(UInt8)
  /// Sends a copy to another host (ip and ip6), or by a device of that index alone (netdev).
  case dup(to: IPAddress?, device: UInt32?)
  /// Sends the packet by another device, to a neighbour there if one is given (netdev).
  case fwd(device: UInt32, to: IPAddress?)
  case updateSet(SetUpdate)
  /// Answers who begins a connection in the server's name (ip, ip6 and inet, at input and forward).
  case synproxy(NftSynproxy)
  /// To a transparent socket of this host.
  case tproxy(IPAddress?, port: Port?)
  /// Puts the packet's connection into a flowtable of the table (ip, ip6 and inet, at forward).
  case addFlow(String)
}

extension Statement {
  /// Marks the packet for `nft monitor trace`.
  public static var trace: Statement {
    .store(Selector("meta nftrace", .boolean, .meta(.nftrace)), .value([1]))
  }

  public static func setMark(_ source: MarkSource) -> Statement {
    store(.packetMark, source, .connectionMark)
  }

  public static func setConntrackMark(_ source: MarkSource) -> Statement {
    store(.connectionMark, source, .packetMark)
  }

  private static func store(_ mark: Selector, _ source: MarkSource, _ other: Selector) -> Statement {
    switch source {
    case .value(let value): .store(mark, .value(NftData(host: UInt64(value), width: 4)))
    case .bits(let mask, let flip):
      .store(
        mark,
        .bits(mark, mask: NftData(host: UInt64(mask), width: 4), flip: NftData(host: UInt64(flip), width: 4)))
    case .other: .store(mark, .selector(other))
    }
  }

  /// Lowers the TCP MSS option to what the route allows, or to a number.
  public static func clampMSS(_ size: UInt16?) -> Statement {
    .store(
      .maximumSegment,
      size.map { .value(NftData(bigEndian: UInt64($0), width: 2)) } ?? .selector(.routeMSS))
  }
}

extension Selector {
  static let packetMark = Selector("meta mark", .mark, .meta(.mark))
  static let connectionMark = Selector("ct mark", .mark, .ct(.mark, nil))
  static let maximumSegment = Selector(
    "tcp option maxseg size", .integer(2),
    .exthdr(.tcpOption, type: 2, bit: 16, width: 16, presence: false))
  static let routeMSS = Selector(
    "rt tcpmss", NftDataType(rawValue: 4, size: 2, hostOrder: true), .rt(.tcpMSS))
}

/// Where a statement takes what it stores.
public enum ValueSource: Hashable, Codable, Sendable {
  case value(NftData)
  case selector(Selector)
  /// (the selector's value AND mask) XOR flip: keeps, sets and clears bits.
  case bits(Selector, mask: NftData, flip: NftData)
  /// What the selectors' values lead to.
  case map([Selector], [MapEntry])
  /// The same of a named map of the table.
  case namedMap([Selector], String)

  public struct MapEntry: Hashable, Codable, Sendable {
    /// Empty for all other values.
    public var key: [FieldValue]
    public var value: NftData

    public init(key: [FieldValue], value: NftData) {
      self.key = key
      self.value = value
    }
  }
}

/// Which object a rule runs.
public enum ObjectMap: Hashable, Codable, Sendable {
  case entries([Entry])
  case named(String)

  public struct Entry: Hashable, Codable, Sendable {
    public var key: [FieldValue]
    public var name: String

    public init(key: [FieldValue], name: String) {
      self.key = key
      self.name = name
    }
  }
}

/// Two ports, the first at most the second.
public struct PortRange: Hashable, Codable, Sendable {
  public var first: Port
  public var last: Port

  public init(_ first: Port, _ last: Port? = nil) {
    self.first = first
    self.last = last ?? first
  }
}

/// How a packet is refused.
public enum RejectReason: Hashable, Codable, Sendable {
  /// Port unreachable, in the packet's family.
  case standard
  case tcpReset
  /// An ICMP code.
  case icmp(UInt8)
  case icmpv6(UInt8)
  /// A code of either family: 0 no route, 1 port unreachable, 2 host unreachable, 3 administratively
  /// prohibited.
  case icmpx(UInt8)
}

/// A translation of the source or destination to given addresses.
public struct Translation: Hashable, Codable, Sendable {
  public var kind: NftNAT.Kind
  public var target: Target
  public var flags: NftNATFlags

  public enum Target: Hashable, Codable, Sendable {
    /// An address or a range of them, and ports if given.
    case address(IPAddress, IPAddress? = nil, ports: PortRange? = nil)
    /// The ports alone: the address stays.
    case ports(PortRange, IPFamily)
    /// The entry that the selectors' values lead to.
    case map([Selector], [MapEntry])
    /// A named map of the table; `withPort` when its values are address and port.
    case namedMap([Selector], String, IPFamily, withPort: Bool)
  }

  public struct MapEntry: Hashable, Codable, Sendable {
    public var key: [FieldValue]
    public var address: IPAddress
    public var port: Port?

    public init(key: [FieldValue], address: IPAddress, port: Port? = nil) {
      self.key = key
      self.address = address
      self.port = port
    }
  }

  public init(_ kind: NftNAT.Kind, to target: Target, flags: NftNATFlags = []) {
    self.kind = kind
    self.target = target
    self.flags = flags
  }

  /// Spreads flows over several targets, one after the other, or by a selector whose values are 0 ..< count.
  public static func balanced(
    _ kind: NftNAT.Kind, over targets: [(address: IPAddress, port: Port?)], by selector: Selector? = nil
  ) -> Translation {
    let entries = targets.enumerated().map { index, target in
      MapEntry(
        key: [.value(NftData(host: UInt64(index), width: 4))], address: target.address, port: target.port)
    }
    let chooser = selector ?? .numgen(modulus: UInt32(clamping: targets.count))
    return Translation(kind, to: .map([chooser], entries))
  }
}

/// Where a verdict comes from.
public enum VerdictMap: Hashable, Codable, Sendable {
  case entries([Entry])
  case named(String)

  public struct Entry: Hashable, Codable, Sendable {
    /// Empty for all other values.
    public var key: [FieldValue]
    public var verdict: NftVerdict

    public init(key: [FieldValue], verdict: NftVerdict) {
      self.key = key
      self.verdict = verdict
    }
  }
}

/// What a mark becomes.
public enum MarkSource: Hashable, Codable, Sendable {
  case value(UInt32)
  /// (the present mark AND mask) XOR flip: sets and clears bits.
  case bits(mask: UInt32, flip: UInt32)
  /// The packet's mark for a flow, the flow's for a packet.
  case other
}

/// A rule's addition to a dynamic set or map, or its removal there.
public struct SetUpdate: Hashable, Codable, Sendable {
  public var set: String
  public var operation: NftDynset.Operation
  public var selectors: [Selector]
  /// What a map's element leads to, field by field; empty for a set, and where a map's element is removed.
  public var data: [Datum]
  /// Milliseconds; nil takes the set's.
  public var timeout: UInt64?
  /// Limit, quota, counter or connlimit, kept for each element.
  public var expressions: [NftExpression]

  public init(
    set: String, operation: NftDynset.Operation = .add, selectors: [Selector], data: [Datum] = [],
    timeout: UInt64? = nil, expressions: [NftExpression] = []
  ) {
    self.set = set
    self.operation = operation
    self.selectors = selectors
    self.data = data
    self.timeout = timeout
    self.expressions = expressions
  }
  /// A field of what an element leads to.
  public enum Datum: Hashable, Codable, Sendable {
    case value(NftData)
    case selector(Selector)
  }
}
