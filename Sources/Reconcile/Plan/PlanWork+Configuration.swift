// SPDX-License-Identifier: GPL-2.0-or-later

// The inside of a namespace: devices in place, settings of devices, addresses, neighbours, forwarding entries, routes,
// policy rules, queueing disciplines. In this order, since each needs what stands before it.

import LabCore
import NetTypes

extension PlanWork {
  mutating func planConfiguration(of space: NamespaceState) {
    let seen = planned.namespace(space.id)
    planLinkUpdates(of: space, seen)
    for sysctl in space.sysctls where seen.sysctls[sysctl.name] != sysctl.value {
      // Those of single devices rely on no order.
      if SysctlName(sysctl.name).link != nil { planWrite(sysctl, in: space.id, into: \.configuration) }
    }
    planAddresses(of: space, seen)
    planNeighbors(of: space, seen)
    planFDB(of: space, seen)
    planRoutes(of: space, seen)
    planPolicyRules(of: space, seen)
    planQdiscs(of: space, seen)
    if space.id == .host { planHostSettings(of: space) }
    planTables(of: space, seen)
  }

  // MARK: Devices and settings

  private mutating func planLinkUpdates(of space: NamespaceState, _ seen: PlannedNamespace) {
    // What others stand on comes first, as its MTU may have to grow before theirs.
    let ordered =
      space.links.contains { $0.lowerLink != nil }
      ? space.links.filter { $0.lowerLink == nil } + space.links.filter { $0.lowerLink != nil } : space.links
    for link in ordered {
      guard let old = seen.links[link.name], case .inPlace(let names) = link.difference(from: old) else {
        continue
      }
      var current = old
      for name in names {
        let next = current.taking(name, from: link)
        configuration.update(
          .link(current), to: .link(next), attribute: name, in: space.id,
          disruptive: Self.disrupts(name, of: current, to: next))
        planCascade(of: name, from: current, to: next, in: space.id)
        current = next
        seen.links[link.name] = current
      }
    }
  }

  /// Whether the change loses what cannot be put back: learned entries, sockets, neighbours' knowledge.
  private static func disrupts(_ name: AttributeName, of old: LinkState, to new: LinkState) -> Bool {
    switch name {
    case .mac: true
    case .master: old.master != nil
    case .up: old.isUp
    case .mtu: (new.mtu ?? 1500) < 1280 && (old.mtu ?? 1500) >= 1280
    case .portVLANs, .vlanFiltering, .remote, .local: true
    default: false
    }
  }

  private mutating func planCascade(
    of name: AttributeName, from old: LinkState, to new: LinkState, in id: NamespaceID
  ) {
    let reference = LinkReference(id, old.name)
    switch name {
    case .up where old.isUp: planned.linkDown(reference, because: "put back after \(old.name) goes down")
    case .mtu where (new.mtu ?? 1500) < 1280 && (old.mtu ?? 1500) >= 1280:
      planned.loseIPv6(
        reference, withSettings: true, because: "put back after the mtu of \(old.name) fell below 1280")
    case .master where old.master != nil:
      planned.leaveBridge(
        reference, because: "put back after \(old.name) leaves \(old.master?.text ?? "its bridge")")
    default: break
    }
  }

  mutating func planWrite(
    _ sysctl: SysctlState, in id: NamespaceID, into list: WritableKeyPath<PlanWork, ChangeList>
  ) {
    let old = planned.namespace(id).sysctls[sysctl.name]
    guard old != sysctl.value else { return }
    let before = old.map { StateObject.sysctl(SysctlState(name: sysctl.name, value: $0)) }
    let lost = planned.losses.isEmpty ? nil : planned.losses[StatePath(id, .sysctl, key: [sysctl.name])]
    self[keyPath: list].update(
      before, to: .sysctl(sysctl), attribute: .value, in: id, disruptive: endsIPv6(sysctl, in: id),
      reason: old == nil ? lost ?? "set to \(sysctl.value)" : nil)
    planned.write(sysctl, in: id)
  }

  /// Whether the write takes IPv6 addresses, and with them what is bound to them.
  private func endsIPv6(_ sysctl: SysctlState, in id: NamespaceID) -> Bool {
    guard sysctl.value == "1", sysctl.name.hasSuffix("/disable_ipv6"), let space = planned.namespaces[id]
    else {
      return false
    }
    let name = SysctlName(sysctl.name)
    guard name.scope != "default" else { return false }
    return space.addresses.contains { link, addresses in
      (name.link ?? link) == link
        && addresses.contains { $0.prefix.family == .ipv6 && !$0.prefix.address.isLoopback }
    }
  }

  /// Settings of the host that the lab does not want any more go back to what they were.
  private mutating func planHostSettings(of space: NamespaceState) {
    let wanted = Set(space.sysctls.map(\.name))
    let restored = hostSettings.filter { !wanted.contains($0.key) }.map {
      SysctlState(name: $0.key, value: $0.value)
    }
    for sysctl in SysctlName.ordered(restored.sorted { $0.name < $1.name }) {
      planWrite(sysctl, in: .host, into: \.configuration)
    }
  }

  // MARK: Addresses

  private mutating func planAddresses(of space: NamespaceState, _ seen: PlannedNamespace) {
    let wanted = Dictionary(grouping: space.addresses, by: \.link)
    let names = Set(wanted.keys).union(seen.addresses.keys)
    guard !names.isEmpty else { return }
    let desiredLinks = Set(space.links.map(\.name))
    for name in names.sorted() {
      // What stands on a device that goes, goes with it.
      guard desiredLinks.contains(name) || !seen.links.keys.contains(name) else { continue }
      planAddresses(wanted[name] ?? [], on: name, in: space.id, seen)
    }
  }

  private mutating func planAddresses(
    _ wanted: [AddressState], on link: InterfaceName, in id: NamespaceID, _ seen: PlannedNamespace
  ) {
    let present = seen.addresses[link] ?? []
    if present.isEmpty { return create(wanted, on: link, in: id, seen) }
    let keep = Dictionary(wanted.map { ($0.prefix, $0) }, uniquingKeysWith: { first, _ in first })
    // Make way: what the kernel would take for the same address, and what stands in the place of a primary.
    for old in present {
      if let new = keep[old.prefix] {
        if new.peer != old.peer {
          delete(old, in: id, reason: "its other end differs")
        } else if stands(old, beforeThePrimaryOf: wanted, present: present) {
          delete(old, in: id, reason: "put behind the first address of its subnet")
        }
      } else if wanted.contains(where: {
        $0.prefix.family == .ipv6 && $0.prefix.address == old.prefix.address
      })
        || losesSecondaries(old, wanted: wanted, link: link, seen)
      {
        delete(old, in: id, reason: Self.unwanted)
      }
    }
    create(wanted, on: link, in: id, seen)
    for old in seen.addresses[link] ?? [] where keep[old.prefix] == nil {
      delete(old, in: id, reason: Self.unwanted)
    }
    // A delete that took more than it should have.
    create(wanted, on: link, in: id, seen)
  }

  private mutating func create(
    _ wanted: [AddressState], on link: InterfaceName, in id: NamespaceID, _ seen: PlannedNamespace
  ) {
    var present = Set((seen.addresses[link] ?? []).map(\.prefix))
    for address in wanted where present.insert(address.prefix).inserted {
      configuration.create(.address(address), in: id, reason: reason(for: .address(address), in: id))
      seen.addresses[link, default: []].append(address)
    }
  }

  private mutating func delete(_ address: AddressState, in id: NamespaceID, reason: String) {
    guard
      planned.namespace(id).addresses[address.link]?.contains(where: { $0.prefix == address.prefix }) == true
    else {
      return
    }
    configuration.delete(.address(address), in: id, disruptive: true, reason: reason)
    planned.deleteAddress(address, in: id)
  }

  /// Whether `old` is an IPv4 address in front of the one that shall be its subnet's primary.
  private func stands(
    _ old: AddressState, beforeThePrimaryOf wanted: [AddressState], present: [AddressState]
  ) -> Bool {
    guard old.prefix.family == .ipv4, present.count > 1 || wanted.count > 1 else { return false }
    let subnet = old.prefix.network
    guard let primary = wanted.first(where: { $0.prefix.network == subnet }), primary.prefix != old.prefix
    else {
      return false
    }
    for address in present where address.prefix.network == subnet {
      if address.prefix == primary.prefix { return false }
      if address.prefix == old.prefix { return true }
    }
    return false
  }

  /// Whether deleting `old` later would take a new address of its subnet along.
  private func losesSecondaries(
    _ old: AddressState, wanted: [AddressState], link: InterfaceName, _ seen: PlannedNamespace
  ) -> Bool {
    guard old.prefix.family == .ipv4, !planned.promotesSecondaries(link, in: seen) else { return false }
    return wanted.contains { $0.prefix.network == old.prefix.network }
  }

  // MARK: Neighbours and forwarding entries

  private mutating func planNeighbors(of space: NamespaceState, _ seen: PlannedNamespace) {
    guard !space.neighbors.isEmpty || !seen.neighbors.isEmpty else { return }
    for neighbor in space.neighbors {
      let old = seen.neighbors.removeValue(forKey: neighbor.identity)
      guard let old else {
        configuration.create(
          .neighbor(neighbor), in: space.id, reason: reason(for: .neighbor(neighbor), in: space.id))
        continue
      }
      if old.isProxy != neighbor.isProxy {
        configuration.delete(
          .neighbor(old), in: space.id,
          reason: "becomes \(neighbor.isProxy ? "a proxy" : "a permanent") entry")
        configuration.create(.neighbor(neighbor), in: space.id, reason: Self.missing)
      } else if old.mac != neighbor.mac {
        configuration.update(.neighbor(old), to: .neighbor(neighbor), attribute: .mac, in: space.id)
      }
    }
    let links = goingLinks(of: space, seen)
    for old in seen.neighbors.values.sorted(by: { ($0.link, $0.address) < ($1.link, $1.address) })
    where !links.contains(old.link) {
      configuration.delete(.neighbor(old), in: space.id, reason: Self.unwanted)
    }
    seen.neighbors = Dictionary(
      space.neighbors.map { ($0.identity, $0) }, uniquingKeysWith: { first, _ in first })
  }

  private mutating func planFDB(of space: NamespaceState, _ seen: PlannedNamespace) {
    for entry in space.fdb where seen.fdb.remove(entry) == nil {
      configuration.create(.fdb(entry), in: space.id, reason: reason(for: .fdb(entry), in: space.id))
    }
    guard !seen.fdb.isEmpty else { return }
    let links = goingLinks(of: space, seen)
    for old in seen.fdb.sorted(by: { ($0.link, $0.key) < ($1.link, $1.key) }) where !links.contains(old.link)
    {
      configuration.delete(.fdb(old), in: space.id, reason: Self.unwanted)
    }
  }

  /// Devices that the plan deletes later: what hangs on them goes with them.
  private func goingLinks(of space: NamespaceState, _ seen: PlannedNamespace) -> Set<InterfaceName> {
    Set(seen.links.keys).subtracting(space.links.map(\.name))
  }

  // MARK: Routes and rules

  private mutating func planRoutes(of space: NamespaceState, _ seen: PlannedNamespace) {
    guard !space.routes.isEmpty || !seen.routes.isEmpty else { return }
    let wanted = seen.routes.isEmpty ? [] : Set(space.routes.map(\.identity))
    let obsolete = seen.routes.values.filter { !wanted.contains($0.identity) }.sorted(by: RouteState.precedes)
    var gone: Set<RouteKey> = []
    for old in obsolete {
      // Types are not part of the kernel's key: the old route has to go first.
      let stands = RouteState.RouteType.allCases.contains { type in
        var key = old.identity
        key.type = type
        return type != old.type && wanted.contains(key) && seen.routes[key] == nil
      }
      guard stands else { continue }
      configuration.delete(.route(old), in: space.id, reason: "stands where another is to be")
      gone.insert(old.identity)
    }
    // A gateway has to be reachable by a route without one.
    for throughGateway in [false, true] {
      for route in space.routes where route.nextHops.contains(where: { $0.gateway != nil }) == throughGateway
      {
        guard let old = seen.routes[route.identity] else {
          configuration.create(.route(route), in: space.id, reason: reason(for: .route(route), in: space.id))
          continue
        }
        let names = route.difference(from: old)
        guard let first = names.first else { continue }
        configuration.update(
          .route(old), to: .route(route), attribute: names.count == 1 ? first : nil, in: space.id,
          reason: planned.losses[StateObject.route(route).path(in: space.id)])
      }
    }
    let going = obsolete.isEmpty ? [] : goingLinks(of: space, seen)
    for old in obsolete where !gone.contains(old.identity) {
      // An IPv4 route goes with any of its devices, an IPv6 one with the last.
      let links = old.nextHops.compactMap(\.link)
      let goes =
        old.destination.family == .ipv4
        ? links.contains(where: going.contains) : !links.isEmpty && links.allSatisfy(going.contains)
      if !goes { configuration.delete(.route(old), in: space.id, reason: Self.unwanted) }
    }
    seen.routes = Dictionary(space.routes.map { ($0.identity, $0) }, uniquingKeysWith: { first, _ in first })
  }

  private mutating func planPolicyRules(of space: NamespaceState, _ seen: PlannedNamespace) {
    guard !space.policyRules.isEmpty || !seen.policyRules.isEmpty else { return }
    for rule in space.policyRules {
      let old = seen.policyRules.removeValue(forKey: rule.key)
      if old?.action == rule.action { continue }
      let change = old.map { "action \($0.action) -> \(rule.action)" }
      if let old, let change { configuration.delete(.policyRule(old), in: space.id, reason: change) }
      configuration.create(
        .policyRule(rule), in: space.id, reason: change ?? reason(for: .policyRule(rule), in: space.id))
    }
    for key in seen.policyRules.keys.sorted() {
      guard let old = seen.policyRules[key] else { continue }
      configuration.delete(.policyRule(old), in: space.id, reason: Self.unwanted)
    }
    seen.policyRules = Dictionary(
      space.policyRules.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
  }

  // MARK: Queueing disciplines

  private mutating func planQdiscs(of space: NamespaceState, _ seen: PlannedNamespace) {
    guard !space.qdiscs.isEmpty || !seen.qdiscs.isEmpty else { return }
    for qdisc in space.qdiscs where qdisc.isConfigured {
      let old = seen.qdiscs.removeValue(forKey: qdisc.link)
      guard let old, old.isConfigured else {
        configuration.create(.qdisc(qdisc), in: space.id, reason: reason(for: .qdisc(qdisc), in: space.id))
        continue
      }
      guard old.kind.name == qdisc.kind.name else {
        configuration.replace(
          .qdisc(old), with: .qdisc(qdisc), in: space.id,
          reason: "kind \(old.kind.name) -> \(qdisc.kind.name)")
        continue
      }
      let names = qdisc.difference(from: old)
      guard let first = names.first else { continue }
      configuration.update(
        .qdisc(old), to: .qdisc(qdisc), attribute: names.count == 1 ? first : nil, in: space.id)
    }
    let links = goingLinks(of: space, seen)
    for name in seen.qdiscs.keys.sorted() {
      guard let old = seen.qdiscs[name], old.isConfigured, !links.contains(name),
        !space.qdiscs.contains(where: { $0.link == name && $0.isConfigured })
      else { continue }
      configuration.delete(.qdisc(old), in: space.id, reason: Self.unwanted)
    }
    seen.qdiscs = Dictionary(space.qdiscs.map { ($0.link, $0) }, uniquingKeysWith: { first, _ in first })
  }
}

extension RouteState {
  /// The attributes that differ. What a route does not say, it has not: a source that was taken out is taken off.
  func difference(from observed: RouteState) -> [AttributeName] {
    var names: [AttributeName] = []
    if !hopsAgree(observed) { names.append(.nextHops) }
    if preferredSource != observed.preferredSource { names.append(.source) }
    if let scope, scope != observed.scope { names.append(.scope) }
    if mtu != observed.mtu { names.append(.mtu) }
    return names
  }

  /// A next hop that names no device takes the one that the kernel found.
  private func hopsAgree(_ observed: RouteState) -> Bool {
    guard nextHops.count == observed.nextHops.count else { return false }
    return zip(sortedHops, observed.sortedHops).allSatisfy { wanted, seen in
      wanted.gateway == seen.gateway && wanted.weight == seen.weight
        && (wanted.link == nil || wanted.link == seen.link)
        && (wanted.gateway == nil || wanted.isOnLink == seen.isOnLink)
    }
  }
}

extension RouteState {
  fileprivate var sortedHops: [NextHop] {
    guard nextHops.count > 1 else { return nextHops }
    return nextHops.sorted { a, b in
      if let left = a.gateway, let right = b.gateway, left != right { return left < right }
      return (a.link?.text ?? "") < (b.link?.text ?? "")
    }
  }
}

extension QdiscState {
  /// False for what the kernel attaches by itself.
  var isConfigured: Bool {
    if case .other = kind { false } else { true }
  }

  /// The attributes that differ; a seed that could not be seen does not.
  func difference(from observed: QdiscState) -> [AttributeName] {
    guard self != observed else { return [] }
    let seen = Dictionary(
      observed.attributes.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
    return attributes.compactMap { attribute in
      guard let value = seen[attribute.name] else {
        return attribute.name == .seed ? nil : attribute.name
      }
      return value == attribute.value ? nil : attribute.name
    }
  }
}

extension AttributeName {
  static let seed = AttributeName("seed")
}
