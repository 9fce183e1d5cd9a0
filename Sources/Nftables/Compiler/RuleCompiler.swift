// SPDX-License-Identifier: GPL-2.0-or-later

// One rule from its source form to expressions, in the shape that nft 1.0.6 gives it: what a selector
// presumes is asked once, matches use the first register, neighbouring fields are loaded together.

import NetTypes

/// Compiles one rule of a table.
struct RuleCompiler {
  let family: NftFamily
  /// Named sets of the table, compiled.
  let sets: [String: NftSet]
  let objects: [NftObject]
  let flowtables: [NftFlowtable]
  var expressions: [NftExpression] = []

  private var network: EtherType?
  private var transport: IPProtocol?
  /// True when only protocols with ports are left.
  private var hasPorts = false
  private var isEthernet = false
  private var isTagged = false
  /// True when the last two expressions are a plain load and its comparison, which the next may join.
  var canMerge = false
  private var isDecided = false

  init(
    family: NftFamily, sets: [String: NftSet], objects: [NftObject], flowtables: [NftFlowtable] = []
  ) {
    self.family = family
    self.sets = sets
    self.objects = objects
    self.flowtables = flowtables
    switch family {
    case .ip: network = .ipv4
    case .ip6: network = .ipv6
    case .arp: network = .arp
    case .bridge: isEthernet = true
    case .inet, .netdev: break
    }
  }

  mutating func compile(_ rule: Rule) throws(Fault) -> NftRule {
    for statement in rule.statements {
      guard !isDecided else { throw Fault("a statement after one that decides is never reached") }
      if case .match(let match) = statement {
        try compile(match)
      } else {
        canMerge = false
        try compile(statement)
        isDecided = statement.isTerminal
      }
    }
    if let comment = rule.comment { try admit(text: comment, as: "a comment") }
    return NftRule(expressions: expressions, comment: rule.comment)
  }

  mutating func emit(_ expression: NftExpression) {
    expressions.append(expression)
  }

  // MARK: What selectors presume

  mutating func require(_ requirement: Selector.Requirement) throws(Fault) {
    switch requirement {
    case .nothing: break
    case .network(let type): try require(network: type)
    case .transport(let number): try require(transport: number)
    case .familyTransport(let number, let type):
      try require(network: type)
      try require(transport: number)
    case .ethernet: requireEthernet()
    case .vlan:
      guard family == .bridge || family == .netdev else {
        throw Fault(
          "a VLAN tag can be matched in the bridge and netdev families only, not in \(family.rawValue)")
      }
      requireEthernet()
      guard !isTagged else { return }
      isTagged = true
      check(.payload(NftPayload(base: .link, offset: 12, length: 2, destination: .r1)), [0x81, 0x00])
    }
  }

  private mutating func require(network type: EtherType) throws(Fault) {
    if let network {
      guard network == type else {
        throw Fault("a field of \(Self.name(type)) in a rule or table of \(Self.name(network))")
      }
      return
    }
    if family == .inet, type != .ipv4, type != .ipv6 {
      throw Fault("a field of \(Self.name(type)) in the inet family")
    }
    network = type
    let etherType = NftData(bigEndian: UInt64(type.rawValue), width: 2)
    if family == .inet {
      check(.meta(NftMeta(key: .nfproto, destination: .r1)), [type == .ipv4 ? 2 : 10])
    } else if isTagged {
      check(.payload(NftPayload(base: .link, offset: 16, length: 2, destination: .r1)), etherType)
    } else {
      check(.meta(NftMeta(key: .protocol, destination: .r1)), etherType)
    }
  }

  mutating func require(transport number: IPProtocol) throws(Fault) {
    guard family != .arp else { throw Fault("a transport protocol in the arp family") }
    if let transport {
      guard transport == number else {
        throw Fault("protocol \(number.rawValue) in a rule of protocol \(transport.rawValue)")
      }
      return
    }
    learn(transport: number)
    check(.meta(NftMeta(key: .l4proto, destination: .r1)), [number.rawValue])
  }

  private mutating func requireEthernet() {
    guard !isEthernet else { return }
    isEthernet = true
    check(.meta(NftMeta(key: .inputType, destination: .r1)), NftData(host: 1, width: 2))
  }

  private mutating func check(_ load: NftExpression, _ data: NftData) {
    canMerge = false
    emit(load)
    emit(.cmp(NftCmp(operation: .equal, source: .r1, data: data)))
  }

  private mutating func learn(transport number: IPProtocol) {
    transport = number
    hasPorts = Self.withPorts.contains(number.rawValue)
  }

  /// Keeps in mind what an equality match says about the packet's protocols.
  mutating func learn(from match: Match) {
    guard match.relation == .equal, match.selectors.count == 1, case .elements(let elements) = match.operand
    else {
      return
    }
    let values = elements.compactMap { element -> NftData? in
      guard case .value(let data)? = element.first else { return nil }
      return data
    }
    guard values.count == elements.count, let first = values.first else { return }
    switch match.selectors[0].name {
    case "meta l4proto", "ip protocol", "ip6 nexthdr":
      if values.count == 1, let number = first.bytes.first {
        learn(transport: IPProtocol(rawValue: number))
      } else {
        hasPorts = values.allSatisfy { Self.withPorts.contains($0.bytes.first ?? 0) }
      }
    case "meta nfproto" where values.count == 1 && network == nil:
      network = first.bytes.first == 10 ? .ipv6 : .ipv4
    case "meta protocol" where values.count == 1 && network == nil,
      "ether type" where values.count == 1 && network == nil,
      "vlan type" where values.count == 1 && network == nil:
      let type = EtherType(rawValue: UInt16(truncatingIfNeeded: first.bigEndianValue))
      if [.ipv4, .ipv6, .arp].contains(type) { network = type }
      if type == .vlan { isTagged = true }
    default: break
    }
  }

  private static let withPorts: Set<UInt8> = [6, 17, 33, 132, 136]

  /// The internet family that the rule is about by now; nil when it may be either.
  var addressFamily: IPFamily? {
    switch network {
    case .ipv4?: .ipv4
    case .ipv6?: .ipv6
    default: nil
    }
  }

  func requirePorts() throws(Fault) {
    guard hasPorts else {
      throw Fault("a port can be translated only after a match on a protocol that has ports, as tcp or udp")
    }
  }

  static func name(_ type: EtherType) -> String {
    switch type {
    case .ipv4: "IPv4"
    case .ipv6: "IPv6"
    case .arp: "ARP"
    default: "ethertype \(hex(UInt32(type.rawValue)))"
    }
  }
}

extension Statement {
  /// True when nothing after it is reached.
  var isTerminal: Bool {
    switch self {
    case .verdict(let verdict): verdict != .continue
    case .reject, .translate, .masquerade, .redirect, .verdictMap: true
    default: false
    }
  }
}

/// Refuses text that the kernel, or nft's files, have no place for.
func admit(text: String, as what: String) throws(Fault) {
  let bytes = text.utf8
  guard bytes.count <= NftRule.maximumCommentLength,
    bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x22 && $0 != 0x7f })
  else {
    throw Fault("\(what) has at most \(NftRule.maximumCommentLength) bytes, in one line and without quotes")
  }
}

extension NftRule {
  /// What nft allows (NFTNL_UDATA_COMMENT_MAXLEN), so that its own files can say the same.
  public static let maximumCommentLength = 127
}
