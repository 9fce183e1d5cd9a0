// SPDX-License-Identifier: GPL-2.0-or-later

// The one table that a topology's short forms make in a namespace: `inet netforge-<lab>`. Chains appear when
// a form needs them: `prerouting`, `output` and `postrouting` of type nat, and a filter chain called after
// its hook.

public import NetTypes

/// Gathers the short forms of one namespace; `table` is what they come to.
public struct LabTable: Hashable, Sendable {
  private var name: String
  private var comment: String?
  private var translations: [NftHook: [Rule]] = [:]
  private var firewalls: [Firewall] = []

  public init(lab: String, comment: String? = nil) {
    name = Self.name(lab: lab)
    self.comment = comment
  }

  /// What the table of a lab is called in every namespace.
  public static func name(lab: String) -> String { "netforge-\(lab)" }

  /// Packets that leave by the interface take its address; only those from `source` when given. `family` nil
  /// means both.
  public mutating func masquerade(
    out: InterfacePattern, source: [IPPrefix] = [], family: IPFamily? = .ipv4, ports: PortRange? = nil,
    flags: NftNATFlags = [], position: NftSourcePosition? = nil
  ) {
    var families = [family]
    if !source.isEmpty {
      families = IPFamily.allCases.filter { candidate in source.contains { $0.family == candidate } }
    }
    for family in families {
      var statements: [Statement] = []
      if let family, source.isEmpty { statements.append(.match(.is(.family, NetworkFamily(family)))) }
      statements.append(.match(.is(.outputInterface, out)))
      let members = source.filter { $0.family == family }
      if !members.isEmpty { statements.append(.match(.source(in: members))) }
      if ports != nil { statements.append(.match(.isOne(of: [.tcp, .udp], .transportProtocol))) }
      statements.append(.masquerade(ports: ports, flags: flags))
      translations[.postrouting, default: []].append(Rule(statements, position: position))
    }
  }

  /// Packets that leave by the interface (any when nil) take the address, or one of `first ... last`.
  public mutating func sourceNAT(
    out: InterfacePattern?, source: [IPPrefix] = [], to first: IPAddress, through last: IPAddress? = nil,
    flags: NftNATFlags = [], position: NftSourcePosition? = nil
  ) {
    var statements: [Statement] = [.match(.is(.family, NetworkFamily(first.family)))]
    if let out { statements.append(.match(.is(.outputInterface, out))) }
    if !source.isEmpty { statements.append(.match(.source(in: source))) }
    statements.append(.translate(Translation(.source, to: .address(first, last), flags: flags)))
    translations[.postrouting, default: []].append(Rule(statements, position: position))
  }

  /// A port of this host leads to a port of other hosts, by turns when there are several.
  ///
  /// - Parameters:
  ///   - interface: Where the packets come in; nil means from anywhere, programs on this host included.
  ///   - address: The address that they are sent to; nil means any of this host's.
  ///   - targets: Where they go, all of one family. A port of nil keeps the port.
  ///   - chooser: How one of several targets is chosen; nil means by turns. Its values must be 0 ..< count.
  ///   - hairpin: Networks of the targets: clients there reach the port too, seen as coming from this host.
  public mutating func publish(
    _ transport: IPProtocol, ports: PortRange, on interface: InterfacePattern? = nil,
    address: IPAddress? = nil,
    to targets: [(address: IPAddress, port: Port?)], by chooser: Selector? = nil, hairpin: [IPPrefix] = [],
    position: NftSourcePosition? = nil
  ) {
    guard let first = targets.first else { return }
    var match: [Statement] = []
    let target: Translation
    if targets.count == 1 {
      target = Translation(
        .destination, to: .address(first.address, ports: first.port.map { PortRange($0) }))
    } else {
      target = .balanced(.destination, over: targets, by: chooser)
    }
    if let address {
      match.append(.match(.destination(in: [IPPrefix(host: address)])))
    } else {
      match.append(.match(.is(.family, NetworkFamily(first.address.family))))
      match.append(.match(.is(.destinationRouteType, .local)))
    }
    match.append(.match(Self.ports(transport, ports)))
    let source: [Statement] = interface.map { [.match(.is(.inputInterface, $0))] } ?? []
    translations[.prerouting, default: []].append(
      Rule(source + match + [.translate(target)], position: position))
    if interface == nil {
      translations[.output, default: []].append(Rule(match + [.translate(target)], position: position))
    }
    for network in hairpin where network.family == first.address.family {
      translations[.postrouting, default: []].append(
        Rule(
          [
            .match(.source(in: [network])),
            .match(.destination(in: targets.map { IPPrefix(host: $0.address) })),
            .match(.is(.conntrackStatus, .destinationNAT)), .masquerade(),
          ], position: position))
    }
  }

  /// Packets that pass through, sent to a port, come to this host instead.
  public mutating func redirect(
    _ transport: IPProtocol, ports: PortRange, on interface: InterfacePattern?, toPort port: Port?,
    position: NftSourcePosition? = nil
  ) {
    var statements: [Statement] = []
    if let interface { statements.append(.match(.is(.inputInterface, interface))) }
    statements.append(.match(Self.ports(transport, ports)))
    statements.append(.redirect(ports: port.map { PortRange($0) }))
    translations[.prerouting, default: []].append(Rule(statements, position: position))
  }

  /// A packet filter; several at one hook are joined, the first one's policy counts.
  public mutating func firewall(_ firewall: Firewall) { firewalls.append(firewall) }

  /// Ready to be compiled; nil when no short form was given.
  public var table: Ruleset.Table? {
    guard !translations.isEmpty || !firewalls.isEmpty else { return nil }
    var table = Ruleset.Table(family: .inet, name: name, comment: comment)
    for (hook, priority) in [(NftHook.prerouting, Int32(-100)), (.output, -100), (.postrouting, 100)] {
      guard let rules = translations[hook] else { continue }
      table.chains.append(
        Ruleset.Chain(
          name: "nat-\(hook.rawValue)", base: NftBaseChain(type: .nat, hook: hook, priority: priority),
          rules: rules, position: rules.first?.position))
    }
    for firewall in firewalls { add(firewall, to: &table) }
    return table
  }

  private func add(_ firewall: Firewall, to table: inout Ruleset.Table) {
    var sets = firewall.sets
    for rule in firewall.rules {
      for addresses in [rule.source, rule.destination] {
        guard let set = addresses.set, !sets.contains(where: { $0.name == set.name }) else { continue }
        sets.append(set)
      }
    }
    for set in sets {
      for declaration in set.declarations where !table.sets.contains(declaration) {
        table.sets.append(declaration)
      }
    }
    let name = firewall.hook.rawValue
    if !table.chains.contains(where: { $0.name == name }) {
      let base = NftBaseChain(hook: firewall.hook, policy: firewall.policy)
      table.chains.append(
        Ruleset.Chain(
          name: name, base: base,
          rules: firewall.hook == .input && firewall.keepsHostAlive ? Self.hostRules : [],
          position: firewall.position))
    }
    guard let index = table.chains.firstIndex(where: { $0.name == name }) else { return }
    table.chains[index].rules += firewall.rules.flatMap(\.rules)
  }

  private static let hostRules: [Rule] = [
    Rule([.match(.is(.inputInterface, InterfacePattern(.loopback))), .verdict(.accept)]),
    Rule([
      .match(
        .isOne(
          of: [.routerSolicitation, .routerAdvertisement, .neighborSolicitation, .neighborAdvertisement],
          .icmpv6Type)), .verdict(.accept),
    ]),
  ]

  private static func ports(_ transport: IPProtocol, _ ports: PortRange) -> Match {
    let value: FieldValue =
      ports.first == ports.last
      ? .value(ports.first.nftData) : .range(ports.first.nftData, ports.last.nftData)
    let field: Field<Port> =
      switch transport {
      case .udp: .udpDestination
      case .sctp: .sctpDestination
      default: .tcpDestination
      }
    return Match(field.selector, .equal, [value])
  }
}

extension FirewallRule.Addresses {
  var set: AddressSet? {
    switch self {
    case .set(let set): set
    case .not(let addresses): addresses.set
    default: nil
    }
  }
}

extension NetworkFamily {
  public init(_ family: IPFamily) { self = family == .ipv4 ? .ipv4 : .ipv6 }
}
