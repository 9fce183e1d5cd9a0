// SPDX-License-Identifier: GPL-2.0-or-later

// The short forms of NAT and firewall, in the one table that a lab has in each namespace.

import LabCore
import NetTypes
import Nftables
import TopologyModel

extension ResolveWork {
  mutating func resolveTables(of node: Topology.Node, into space: inout NamespaceState) {
    var short = LabTable(lab: lab.text, comment: Ownership(lab: lab).alias(for: space.id))
    var postrouting: [Rule] = []
    for translation in node.translations { add(translation, to: &short, beside: &postrouting, in: space.id) }
    for firewall in node.firewalls { short.firewall(self.firewall(firewall)) }
    var table = short.table
    if !postrouting.isEmpty {
      var whole =
        table
        ?? Ruleset.Table(
          family: .inet, name: LabTable.name(lab: lab.text), comment: Ownership(lab: lab).alias(for: space.id)
        )
      whole.append(
        postrouting, to: NftBaseChain(type: .nat, hook: .postrouting, priority: 100), named: "nat-postrouting"
      )
      table = whole
    }
    for firewall in node.firewalls {
      let sets = addressSets(of: firewall)
      let rules = firewall.rules.flatMap { self.rules(of: $0, sets: sets, in: space.id) }
      table?.append(rules, to: nil, named: NftHook(firewall.hook).rawValue)
    }
    var tables = (table.map { [$0] } ?? []) + node.tables.map { general($0, of: node, in: space.id) }
    for written in node.rulesets.flatMap(\.tables) {
      var owned = written
      owned.comment = Ownership(lab: lab).alias(for: space.id)
      tables.append(owned)
    }
    space.tables += compile(tables, in: space.id, fallback: node.location)
  }

  /// What comes from the lab's subnet and leaves it takes the host's address.
  mutating func resolveHostTable(_ internet: Topology.Internet) {
    let position = NftSourcePosition(internet.location)
    let rule = Rule(
      [
        .match(.source(in: [internet.subnet])),
        .match(.destination(in: [internet.subnet], relation: .notEqual)),
        .masquerade(),
      ], position: position)
    let table = Ruleset.Table(
      family: .ip, name: LabTable.name(lab: lab.text), comment: Ownership(lab: lab).alias(for: .host),
      chains: [
        Ruleset.Chain(
          name: "postrouting", base: NftBaseChain(type: .nat, hook: .postrouting, priority: 100),
          rules: [rule],
          position: position)
      ])
    let compiled = compile([table], in: .host, fallback: internet.location)
    hostSpace.tables += compiled
  }

  private mutating func compile(
    _ tables: [Ruleset.Table], in id: NamespaceID, fallback: SourceLocation
  ) -> [NftTable] {
    guard !tables.isEmpty else { return [] }
    switch Compiler.compile(Ruleset(tables: tables)) {
    case .success(let compiled):
      record(tables, compiled, in: id, fallback: fallback)
      return compiled
    case .failure(let failure):
      for error in failure.errors {
        errors.append(
          TopologyError(error.description, at: error.position.map { SourceLocation($0) } ?? fallback))
      }
      return []
    }
  }

  /// Compiled rules stand in the order of the written ones.
  private mutating func record(
    _ tables: [Ruleset.Table], _ compiled: [NftTable], in id: NamespaceID, fallback: SourceLocation
  ) {
    let sourceTables = Dictionary(
      tables.map { (NftTableKey(family: $0.family, name: $0.name), $0) },
      uniquingKeysWith: { first, _ in first })
    for table in compiled {
      sources.record(StateObject.nftTable(table).path(in: id), at: fallback)
      guard let written = sourceTables[table.key] else { continue }
      for set in written.sets {
        guard let position = set.position else { continue }
        sources.record(
          StatePath(id, .nftSet, key: [table.key.description, set.name]), at: SourceLocation(position))
      }
      for chain in written.chains {
        let path = StatePath(id, .nftChain, key: [table.key.description, chain.name])
        if let position = chain.position { sources.record(path, at: SourceLocation(position)) }
        for (rule, result) in zip(chain.rules, table.chain(chain.name)?.rules ?? []) {
          guard let position = rule.position else { continue }
          sources.record(
            StatePath(id, .nftRule, key: [table.key.description, chain.name, result.key]),
            at: SourceLocation(position))
        }
      }
    }
  }

  // MARK: NAT

  private func pattern(_ device: String?, in id: NamespaceID) -> InterfacePattern? {
    guard let device else { return nil }
    if let name = names[id]?[device] { return InterfacePattern(name) }
    return InterfacePattern(device)
  }

  /// What the presets cannot say goes into rules of its own beside them.
  private func add(
    _ translation: Topology.Translation, to table: inout LabTable, beside postrouting: inout [Rule],
    in id: NamespaceID
  ) {
    let position = NftSourcePosition(translation.location)
    switch translation.kind {
    case .masquerade(let out, let source, let flags):
      let flags = NftNATFlags(flags)
      if let out = pattern(out, in: id) {
        table.masquerade(out: out, source: prefixes(source), flags: flags, position: position)
      } else {
        postrouting.append(
          Rule(leaving(nil, source, .ipv4) + [.masquerade(flags: flags)], position: position))
      }
    case .sourceNAT(let range, let ports, let out, let source, let flags):
      let last = range.upperBound == range.lowerBound ? nil : range.upperBound
      if let ports {
        let target = Translation.Target.address(
          range.lowerBound, last, ports: PortRange(ports.lowerBound, ports.upperBound))
        postrouting.append(
          Rule(
            leaving(out.flatMap { pattern($0, in: id) }, source, range.lowerBound.family)
              + [
                .match(.isOne(of: [.tcp, .udp], .transportProtocol)),
                .translate(Translation(.source, to: target, flags: NftNATFlags(flags))),
              ],
            position: position))
      } else {
        table.sourceNAT(
          out: pattern(out, in: id), source: prefixes(source), to: range.lowerBound, through: last,
          flags: NftNATFlags(flags), position: position)
      }
    case .publish(let transport, let ports, let on, let address, let hosts, let port):
      table.publish(
        transport.number, ports: PortRange(ports.lowerBound, ports.upperBound), on: pattern(on, in: id),
        address: address, to: hosts.map { ($0, port) }, position: position)
    case .redirect(let transport, let ports, let on, let port):
      table.redirect(
        transport.number, ports: PortRange(ports.lowerBound, ports.upperBound), on: pattern(on, in: id),
        toPort: port,
        position: position)
    }
  }

  /// What leaves by the device, or by any but `lo`.
  private func leaving(
    _ out: InterfacePattern?, _ source: Topology.AddressMatch?, _ family: IPFamily
  ) -> [Statement] {
    let members = prefixes(source)
    let family = members.first?.family ?? family
    var statements: [Statement] = [.match(.is(.family, NetworkFamily(family)))]
    statements.append(
      .match(out.map { .is(.outputInterface, $0) } ?? .isNot(.outputInterface, InterfacePattern(.loopback))))
    if !members.isEmpty { statements.append(.match(.source(in: members))) }
    return statements
  }

  private func prefixes(_ match: Topology.AddressMatch?) -> [IPPrefix] {
    guard case .ranges(let ranges)? = match else { return [] }
    return ranges.flatMap(\.prefixes)
  }

  // MARK: Firewall

  private func addressSets(of firewall: Topology.Firewall) -> [AddressSet] {
    firewall.sets.map { set in
      AddressSet(
        name: set.name, prefixes: set.ranges.flatMap(\.prefixes), position: NftSourcePosition(set.location))
    }
  }

  /// The chain and its sets; the rules are appended by `resolveTables`.
  private func firewall(_ firewall: Topology.Firewall) -> Firewall {
    Firewall(
      on: NftHook(firewall.hook), policy: firewall.policy == .drop ? .drop : .accept, rules: [],
      sets: addressSets(of: firewall), position: NftSourcePosition(firewall.location))
  }

  private func rules(of rule: Topology.FirewallRule, sets: [AddressSet], in id: NamespaceID) -> [Rule] {
    var states: ConntrackState = []
    var services: [FirewallRule.Service] = []
    var limit: NftLimit?
    var marks: [FieldValue] = []
    for match in rule.matches {
      switch match {
      case .state(let state): states.formUnion(ConntrackState(state))
      case .transport(let transport, let ports):
        let range = [PortRange(ports.lowerBound, ports.upperBound)]
        services.append(transport == .tcp ? .tcp(range) : .udp(range))
      case .anyPort(let transport): services.append(transport == .tcp ? .tcp([]) : .udp([]))
      case .icmp(let type): services += type?.services ?? [.icmp([]), .icmpv6([])]
      case .ipProtocol(let number): services.append(.other(number))
      case .mark(let value, let mask):
        let data = PacketMark(rawValue: value).nftData
        marks.append(mask == .max ? .value(data) : .masked(PacketMark(rawValue: mask).nftData, data))
      case .limit(let rate): limit = NftLimit(rate)
      }
    }
    let action: FirewallRule.Action =
      switch rule.action {
      case .accept: .accept
      case .drop: .drop
      case .reject(let rejection): .reject(RejectReason(rejection))
      case .proceed: .pass
      }
    let addresses = { (match: Topology.AddressMatch?) -> FirewallRule.Addresses in
      switch match {
      case nil: .any
      case .ranges(let ranges)?: .prefixes(ranges.flatMap(\.prefixes))
      case .set(let name)?: sets.first { $0.name == name }.map { .set($0) } ?? .any
      }
    }
    let short = FirewallRule(
      action, from: pattern(rule.from, in: id).map { [$0] } ?? [],
      to: pattern(rule.to, in: id).map { [$0] } ?? [],
      states: states, services: services.merged, source: addresses(rule.source),
      destination: addresses(rule.destination), log: rule.log, limit: limit,
      position: NftSourcePosition(rule.location))
    return short.rules.map { rule in
      guard !marks.isEmpty else { return rule }
      var rule = rule
      rule.statements.insert(.match(Match(Field<PacketMark>.mark.selector, .equal, marks)), at: 0)
      return rule
    }
  }
}

extension Ruleset.Table {
  /// Appends to the chain, which is made when `base` says how.
  mutating func append(_ rules: [Rule], to base: NftBaseChain?, named name: String) {
    if let index = chains.firstIndex(where: { $0.name == name }) {
      chains[index].rules += rules
    } else if let base {
      chains.append(Ruleset.Chain(name: name, base: base, rules: rules, position: rules.first?.position))
    }
  }
}
