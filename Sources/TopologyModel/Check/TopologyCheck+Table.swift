// SPDX-License-Identifier: GPL-2.0-or-later

// Tables of the general firewall form.

import LabCore
import NetTypes
import Nftables

/// What the statements of a rule are judged against.
struct TableScope {
  var who: String
  var node: Int
  var family: Topology.Table.Family
  var sets: [String: Topology.ElementSet]
  /// Names of sets that were refused; their use is not complained of again.
  var refused: Set<String>
  var objects: [Topology.Object] = []
  var chains: [String: Topology.Chain.Base?]
}

extension TopologyCheck {
  mutating func table(_ item: Reader, of node: Int) {
    let name = item.required("name")
    let who = "node '\(nodes[node].name)': table '\(name)'"
    guard
      let family: Topology.Table.Family = choice(item.required("family"), "\(who): family", at: item.location)
    else { return }
    guard Self.isIdentifier(name), name.utf8.count <= 63 else {
      fail(
        "\(who): it should be called by letters, digits, '_', '-' and '.', a letter first", at: item.location)
      return
    }
    guard !name.hasPrefix("netforge-") else {
      fail(
        "\(who): names that begin with 'netforge-' are kept for what the short form makes", at: item.location)
      return
    }
    if let first = nodes[node].tables.first(where: { $0.name == name && $0.family == family }) {
      fail("\(who): there is one of family \(family.rawValue) at \(first.location)", at: item.location)
      return
    }
    var scope = TableScope(who: who, node: node, family: family, sets: [:], refused: [], chains: [:])
    var table = Topology.Table(name: name, family: family, location: item.location)
    for reader in item.objects("chains") {
      guard let base = base(of: reader, scope) else { continue }
      if scope.chains.updateValue(base, forKey: reader.required("name")) != nil {
        fail("\(who): chain '\(reader.required("name"))' is declared twice", at: reader.location)
      }
    }
    for reader in item.objects("objects") {
      guard let object = object(reader, scope) else { continue }
      scope.objects.append(object)
    }
    table.objects = scope.objects
    for reader in item.objects("sets") {
      let name = reader.required("name")
      if scope.sets[name] != nil {
        fail("\(who): set '\(name)' is declared twice, in different ways", at: reader.location)
      } else if let set = elementSet(reader, scope, &table.counters) {
        scope.sets[name] = set
        table.sets.append(set)
      } else {
        scope.refused.insert(name)
      }
    }
    for reader in item.objects("chains") {
      let name = reader.required("name")
      guard let base = scope.chains[name] else { continue }
      var chain = Topology.Chain(name: name, base: base, location: reader.location)
      for rule in reader.objects("rules") {
        let statements = rule.objects("statements")
        let made = statements.compactMap { statement($0, base: base, scope, &table.counters) }
        if made.count == statements.count { checkOrder(made, scope, at: rule.location) }
        let comment = comment(of: rule, "\(who): a rule's comment")
        chain.rules.append(Topology.Rule(statements: made, comment: comment, location: rule.location))
      }
      table.chains.append(chain)
    }
    checkLoops(table, scope)
    checkUpdates(table, scope)
    nodes[node].tables.append(table)
  }

  // MARK: Chains

  /// Where a chain hangs. The outer nil is a complaint, the inner one a chain that only jumps reach.
  mutating func base(of reader: Reader, _ scope: TableScope) -> Topology.Chain.Base?? {
    let name = reader.required("name")
    let who = "\(scope.who), chain '\(name)'"
    guard Self.isIdentifier(name) else {
      fail(
        "\(who): it should be called by letters, digits, '_', '-' and '.', a letter first",
        at: reader.location)
      return nil
    }
    guard let hookText = reader.text("hook") else {
      if ["type", "priority", "policy", "device"].contains(where: { reader.json[$0] != nil }) {
        fail("\(who): type, priority, policy and device belong to a chain with a hook", at: reader.location)
        return nil
      }
      return .some(nil)
    }
    guard let hook: Topology.Chain.Hook = choice(hookText, "\(who): hook", at: reader.location),
      let kind: Topology.Chain.Kind = choice(
        reader.text("type") ?? "filter", "\(who): type", at: reader.location)
    else { return nil }
    let device = reader.text("device")
    guard Self.hooks(of: scope.family).contains(hook) else {
      fail(
        "\(who): family \(scope.family.rawValue) has no hook \(hook.rawValue); it has \(list(Self.hooks(of: scope.family).map(\.rawValue)))",
        at: reader.location)
      return nil
    }
    if kind == .nat,
      ![.prerouting, .input, .output, .postrouting].contains(hook)
        || ![.ip, .ip6, .inet].contains(scope.family)
    {
      fail(
        "\(who): nat chains hang at prerouting, input, output and postrouting of ip, ip6 and inet",
        at: reader.location)
      return nil
    }
    if kind == .route, hook != .output || ![.ip, .ip6, .inet].contains(scope.family) {
      fail("\(who): a chain that reroutes hangs at output of ip, ip6 and inet", at: reader.location)
      return nil
    }
    let needsDevice = hook == .ingress || hook == .egress
    if needsDevice != (device != nil) {
      fail(
        needsDevice
          ? "\(who): hook \(hook.rawValue) is one device's; say which (device:)"
          : "\(who): only ingress and egress are of one device", at: reader.location)
      return nil
    }
    if let device, self.device(device, of: scope.node, who, at: reader.location) == nil { return nil }
    guard
      let priority = inRange(
        reader.integer("priority") ?? 0, Int(Int32.min)...Int(Int32.max), "\(who): priority",
        at: reader.location)
    else { return nil }
    // The kernel refuses NAT before connection tracking has seen the packet (NF_IP_PRI_CONNTRACK).
    if kind == .nat, priority <= -200 {
      fail(
        "\(who): priority \(priority) is before connection tracking (-200), without which there is no NAT",
        at: reader.location)
      return nil
    }
    var policy = Topology.Firewall.Policy.accept
    if let text = reader.text("policy") {
      guard let choice: Topology.Firewall.Policy = choice(text, "\(who): policy", at: reader.location) else {
        return nil
      }
      policy = choice
    }
    return Topology.Chain.Base(
      kind: kind, hook: hook, priority: Int32(clamping: priority), policy: policy, device: device)
  }

  private static func hooks(of family: Topology.Table.Family) -> [Topology.Chain.Hook] {
    switch family {
    case .ip, .ip6, .bridge: [.prerouting, .input, .forward, .output, .postrouting]
    case .inet: [.ingress, .prerouting, .input, .forward, .output, .postrouting]
    case .arp: [.input, .output]
    case .netdev: [.ingress, .egress]
    }
  }

  /// Jumps must not come back to where they began.
  mutating func checkLoops(_ table: Topology.Table, _ scope: TableScope) {
    var targets: [String: Set<String>] = [:]
    for chain in table.chains {
      for rule in chain.rules {
        for verdict in rule.statements.flatMap({ $0.verdicts(sets: scope.sets) }) {
          if let target = verdict.target { targets[chain.name, default: []].insert(target) }
        }
      }
    }
    for chain in table.chains {
      var seen: Set<String> = []
      var open = Array(targets[chain.name] ?? [])
      while let next = open.popLast() {
        guard seen.insert(next).inserted else { continue }
        open += targets[next] ?? []
      }
      if seen.contains(chain.name) {
        fail(
          "\(scope.who), chain '\(chain.name)': jumps lead back to it; packets would go round for ever",
          at: chain.location)
        return
      }
    }
  }

  // MARK: Values

  mutating func values(
    _ texts: [String], of types: [Topology.ValueType], within limits: [UInt64]? = nil, _ who: String,
    _ scope: TableScope, at location: SourceLocation
  ) -> [Topology.Value]? {
    guard texts.count == types.count else {
      fail("\(who): \(texts.count) values stand where \(types.count) should", at: location)
      return nil
    }
    let kinds = zip(types, limits ?? types.map(\.limit))
    let values = zip(texts, kinds).compactMap { value($0, $1.0, upTo: $1.1, who, scope, at: location) }
    return values.count == texts.count ? values : nil
  }

  mutating func value(
    _ text: String, _ type: Topology.ValueType, upTo limit: UInt64, _ who: String, _ scope: TableScope,
    at location: SourceLocation
  ) -> Topology.Value? {
    switch type {
    case .ipv4Address, .ipv6Address:
      let family = type == .ipv4Address ? IPFamily.ipv4 : .ipv6
      guard let range = addressRange(text, "\(who):", at: location) else { return nil }
      guard range.family == family else {
        fail("\(who): '\(text)' should be \(family == .ipv4 ? "IPv4" : "IPv6")", at: location)
        return nil
      }
      switch range {
      case .prefix(let prefix): return prefix.isHost ? .address(prefix.address) : .prefix(prefix)
      case .range(let range): return .addressRange(range)
      }
    case .etherAddress:
      guard let mac = MACAddress(text) else {
        fail("\(who): '\(text)' is not a MAC address such as 02:00:00:00:00:01", at: location)
        return nil
      }
      return .mac(mac)
    case .interfaceName:
      if text.hasSuffix("*") {
        guard text.utf8.count <= 16, text.utf8.count > 1 else {
          fail("\(who): '\(text)' is no beginning of an interface's name", at: location)
          return nil
        }
        return .name(text)
      }
      guard text == "lo" || device(text, of: scope.node, who, at: location) != nil else { return nil }
      return .name(text)
    case .helper:
      guard Self.isIdentifier(text), text.utf8.count < 16 else {
        fail("\(who): '\(text)' is no name of a helper, such as ftp", at: location)
        return nil
      }
      return .name(text)
    case .timeOfDay, .date:
      let parts = text.split(separator: type == .date ? "/" : "-", maxSplits: 1)
      let times = parts.compactMap { type.dataType.data(String($0))?.hostValue }
      guard times.count == parts.count, let first = times.first, let last = times.last else {
        fail(
          "\(who): '\(text)' is no \(type == .date ? "date, such as 2026-12-24 18:00" : "time of day, such as 09:30")",
          at: location)
        return nil
      }
      guard first <= last else {
        fail("\(who): \(text) ends before it begins; take what is not in between", at: location)
        return nil
      }
      return times.count == 1 ? .number(first) : .numberRange(first...last)
    default:
      if let number = type.words[text] { return .number(number) }
      let parts = text.split(separator: "-", maxSplits: 1).map { UInt64($0) }
      guard !text.hasPrefix("-"), let first = parts.first.flatMap({ $0 }),
        let last = parts.last.flatMap({ $0 })
      else {
        let words = type.words.keys.sorted()
        fail(
          "\(who): '\(text)' is no \(type.rawValue)\(words.isEmpty ? "" : "; it knows \(list(words))")",
          at: location)
        return nil
      }
      guard first <= last, last <= limit else {
        fail("\(who): \(text) is out of range; it should be 0...\(limit)", at: location)
        return nil
      }
      return parts.count == 1 ? .number(first) : .numberRange(first...last)
    }
  }

  mutating func selectors(_ words: [String], _ who: String, at location: SourceLocation) -> [Topology
    .Selector]?
  {
    let selectors = words.compactMap { word -> Topology.Selector? in
      if let selector = Topology.Selector(word) { return selector }
      fail(
        "\(who): there is no selector '\(word)'\(didYouMean(word, Topology.Field.names))",
        at: location)
      return nil
    }
    guard selectors.count == words.count, !selectors.isEmpty else { return nil }
    return selectors
  }

  mutating func verdict(
    _ text: String, _ who: String, _ scope: TableScope, at location: SourceLocation
  ) -> Topology.Verdict? {
    let words = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    switch (words.first, words.count) {
    case ("accept"?, 1): return .accept
    case ("drop"?, 1): return .drop
    case ("continue"?, 1): return .proceed
    case ("return"?, 1): return .return
    case ("jump"?, 2), ("goto"?, 2):
      let target = words[1]
      switch scope.chains[target] {
      case .some(.none): return words[0] == "jump" ? .jump(target) : .goto(target)
      case .some(.some):
        fail("\(who): chain '\(target)' has a hook; only chains without one are jumped to", at: location)
      case nil:
        fail(
          "\(who): there is no chain '\(target)'\(didYouMean(target, scope.chains.keys.sorted()))",
          at: location)
      }
      return nil
    default:
      fail(
        "\(who): '\(text)' is no verdict (accept, drop, continue, return, jump CHAIN, goto CHAIN)",
        at: location)
      return nil
    }
  }
}
