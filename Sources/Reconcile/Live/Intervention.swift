// SPDX-License-Identifier: GPL-2.0-or-later

// Changes to a lab that stands which its topology does not say: a device down or up, an impairment set by hand or by a
// script. The topology stays what the lab shall be, so that `plan` and `status` show them as differences and `up` takes
// them back.

public import LabCore
public import NetTypes
public import TopologyModel

/// Works on a lab that is up.
public struct Intervention: Sendable {
  public let datapath: any Datapath
  /// What the topology says.
  public let resolution: Resolution

  public init(on datapath: any Datapath, _ resolution: Resolution) {
    self.datapath = datapath
    self.resolution = resolution
  }

  private var lab: LabName { resolution.state.lab }

  // MARK: Links

  /// Takes a device down or up. What the kernel takes away with a device that goes down (routes, neighbours, IPv6
  /// addresses) comes back when it comes up, as the topology has it.
  public func setLink(_ link: LinkReference, up isUp: Bool) async throws(ReconcileError) {
    guard
      let device = try await observe([link.namespace])[link.namespace]?.links.first(where: {
        $0.name == link.name
      })
    else { throw missing(link) }
    if device.isUp != isUp {
      var changed = device
      changed.isUp = isUp
      var changes = ChangeList()
      changes.update(.link(device), to: .link(changed), attribute: .up, in: link.namespace, disruptive: !isUp)
      try await apply(isUp ? "take a device up" : "take a device down", changes.changes)
    }
    if isUp { try await putBack(what: link) }
  }

  /// What the topology has on a device and the kernel has not.
  private func putBack(what link: LinkReference) async throws(ReconcileError) {
    guard let desired = resolution.state[link.namespace] else { return }
    var scope = Scope(covering: [LabState(lab: lab, namespaces: [desired])])
    scope.namespaces = [link.namespace]
    let observation = try await asking { () throws(DatapathError) in
      try await datapath.observe(lab, scope: scope)
    }
    let plan = Planner().plan(LabState(lab: lab, namespaces: [desired]), from: observation)
    let missing = plan.changes.filter { change in
      change.operation == .create && change.path.namespace == link.namespace
        && change.after.map { desired.stands($0, on: link.name) } == true
    }
    try await apply("put back what went with the device", missing)
  }

  // MARK: Addresses and routes

  /// Gives a device a further address.
  public func add(_ address: IPPrefix, to link: LinkReference) async throws(ReconcileError) {
    guard try await standing(in: link.namespace).contains(where: { $0.isLink(link.name) }) else {
      throw missing(link)
    }
    var changes = ChangeList()
    changes.create(
      .address(AddressState(link: link.name, prefix: address)), in: link.namespace, reason: "added by hand")
    try await apply("add an address", changes.changes)
  }

  /// Takes an address off a device.
  public func remove(_ address: IPPrefix, from link: LinkReference) async throws(ReconcileError) {
    let path = StateObject.address(AddressState(link: link.name, prefix: address)).path(in: link.namespace)
    try await remove("address \(address)", in: link.namespace) { $0.path(in: link.namespace) == path }
  }

  /// Has the main table lead to a destination by this way alone.
  public func set(_ route: RouteState, in id: NamespaceID) async throws(ReconcileError) {
    let old = try await standing(in: id).filter { $0.isRoute(to: route.destination) }
    var changes = ChangeList()
    for object in old where object.path(in: id) != StateObject.route(route).path(in: id) {
      changes.delete(object, in: id, reason: "another way is set by hand")
    }
    if let same = old.first(where: { $0.path(in: id) == StateObject.route(route).path(in: id) }) {
      changes.update(same, to: .route(route), attribute: nil, in: id)
    } else {
      changes.create(.route(route), in: id, reason: "set by hand")
    }
    try await apply("set a route", changes.changes)
  }

  /// Takes the main table's routes to exactly this prefix away.
  public func removeRoute(to destination: IPPrefix, in id: NamespaceID) async throws(ReconcileError) {
    try await remove("route to \(destination)", in: id) { $0.isRoute(to: destination) }
  }

  private func remove(
    _ what: String, in id: NamespaceID, _ isMeant: (StateObject) -> Bool
  ) async throws(ReconcileError) {
    var changes = ChangeList()
    for object in try await standing(in: id) where isMeant(object) {
      changes.delete(object, in: id, reason: "removed by hand")
    }
    guard !changes.isEmpty else {
      throw .datapath(
        DatapathError(
          .notFound, operation: "remove \(what)", path: StatePath(id), cause: "there is none"))
    }
    try await apply("remove \(what)", changes.changes)
  }

  /// All that is in a namespace, whoever has made it.
  private func standing(in id: NamespaceID) async throws(ReconcileError) -> [StateObject] {
    let observation = try await asking { () throws(DatapathError) in
      try await datapath.observe(lab, scope: Scope(namespaces: [id]))
    }
    return [observation.owned, observation.unmarked].flatMap { $0[id]?.objects ?? [] }
  }

  // MARK: Impairments

  /// What befalls what a device sends now; nil when nothing does.
  public func impairment(of link: LinkReference) async throws(ReconcileError) -> QdiscKind? {
    try await impairments(of: [link])[link]
  }

  /// The same of many devices.
  public func impairments(of links: [LinkReference]) async throws(ReconcileError) -> [LinkReference:
    QdiscKind]
  {
    let state = try await observe(Set(links.map(\.namespace)))
    var result: [LinkReference: QdiscKind] = [:]
    for link in links {
      guard let space = state[link.namespace], space.links.contains(where: { $0.name == link.name }) else {
        throw missing(link)
      }
      result[link] = space.qdiscs.first { $0.link == link.name && $0.isConfigured }?.kind
    }
    return result
  }

  /// Merges `impairment` into what befalls what the device sends, or puts it in its place.
  public func impair(
    _ link: LinkReference, _ impairment: Topology.Impairment, replacing: Bool = false
  ) async throws(ReconcileError) {
    let current = try await self.impairment(of: link)
    let wanted = QdiscKind(impairment, over: replacing ? nil : current, seed: seed(of: link))
    if let complaint = wanted?.complaint {
      throw .datapath(
        DatapathError(
          .refused, operation: "impair \(link.name)", path: StatePath(link.namespace), cause: complaint))
    }
    try await setImpairment(of: link, from: current, to: wanted)
  }

  /// Makes what befalls what the device sends as the topology says.
  public func resetImpairment(of link: LinkReference) async throws(ReconcileError) {
    let current = try await impairment(of: link)
    let own = resolution.state[link.namespace]?.qdiscs.first { $0.link == link.name }?.kind
    try await setImpairment(of: link, from: current, to: own)
  }

  /// Whether `kind` is what the topology says of the device.
  public func isAsDeclared(_ link: LinkReference, _ kind: QdiscKind?) -> Bool {
    let own = resolution.state[link.namespace]?.qdiscs.first { $0.link == link.name }
    guard let own, let kind else { return own == nil && kind == nil }
    return own.difference(from: QdiscState(link: link.name, kind: kind)).isEmpty && own.kind.name == kind.name
  }

  private func setImpairment(
    of link: LinkReference, from current: QdiscKind?, to wanted: QdiscKind?
  ) async throws(ReconcileError) {
    let before = current.map { QdiscState(link: link.name, kind: $0) }
    let after = wanted.map { QdiscState(link: link.name, kind: $0) }
    guard let after else {
      guard let before else { return }
      var changes = ChangeList()
      changes.delete(.qdisc(before), in: link.namespace, reason: "impaired no longer")
      return try await apply("take an impairment away", changes.changes)
    }
    try await checkLimitations(of: after, in: link.namespace)
    var changes = ChangeList()
    if let before, before.kind.name == after.kind.name {
      guard !after.difference(from: before).isEmpty else { return }
      changes.update(.qdisc(before), to: .qdisc(after), attribute: nil, in: link.namespace)
    } else if let before {
      changes.replace(
        .qdisc(before), with: .qdisc(after), in: link.namespace,
        reason: "kind \(before.kind.name) -> \(after.kind.name)")
    } else {
      changes.create(.qdisc(after), in: link.namespace, reason: "impaired by hand")
    }
    try await apply("impair a device", changes.changes)
  }

  /// What a kernel has no module for is said before anything is changed.
  private func checkLimitations(of qdisc: QdiscState, in id: NamespaceID) async throws(ReconcileError) {
    var wanted = resolution.state
    for index in wanted.namespaces.indices where wanted.namespaces[index].id == id {
      wanted.namespaces[index].qdiscs.removeAll { $0.link == qdisc.link }
      wanted.namespaces[index].qdiscs.append(qdisc)
    }
    let all = wanted
    let limitations = try await asking { () throws(DatapathError) in
      try await datapath.limitations(for: all, running: resolution.runtime)
    }
    guard limitations.isEmpty else { throw .limitations(limitations, SourceMap()) }
  }

  /// The topology's own, else one that follows from the device's name, so that it is the same everywhere.
  private func seed(of link: LinkReference) -> UInt64 {
    if case .netem(let netem)? = resolution.state[link.namespace]?.qdiscs.first(where: {
      $0.link == link.name
    })?.kind,
      let seed = netem.seed
    {
      return seed
    }
    return StableHash.of("\(lab)/\(link.namespace)/\(link.name)/seed")
  }

  // MARK: The datapath

  private func observe(_ namespaces: Set<NamespaceID>) async throws(ReconcileError) -> LabState {
    try await asking { () throws(DatapathError) in
      try await datapath.observe(lab, scope: Scope(namespaces: namespaces)).owned
    }
  }

  private func apply(_ title: String, _ changes: [Change]) async throws(ReconcileError) {
    guard !changes.isEmpty else { return }
    try await asking { () throws(DatapathError) in
      try await datapath.apply(Plan.Batch(title: title, changes: changes), to: lab)
    }
  }

  private func missing(_ link: LinkReference) -> ReconcileError {
    .datapath(
      DatapathError(
        .notFound, operation: "find \(link.name)", path: StatePath(link.namespace),
        cause: "the device is not there", remedy: "`netforge up` makes it"))
  }

  private func asking<Value>(
    _ body: () async throws(DatapathError) -> Value
  ) async throws(ReconcileError) -> Value {
    do throws(DatapathError) { return try await body() } catch { throw .datapath(error) }
  }
}

extension StateObject {
  fileprivate func isLink(_ name: InterfaceName) -> Bool {
    if case .link(let link) = self { link.name == name } else { false }
  }

  fileprivate func isRoute(to destination: IPPrefix) -> Bool {
    guard case .route(let route) = self else { return false }
    return route.table == RouteState.mainTable && route.destination == destination
  }
}

extension NamespaceState {
  /// Whether an object goes when the device does: it names it, or its gateway is on one of the device's subnets.
  fileprivate func stands(_ object: StateObject, on link: InterfaceName) -> Bool {
    switch object {
    case .address(let address): return address.link == link
    case .neighbor(let neighbor): return neighbor.link == link
    case .fdb(let entry): return entry.link == link
    case .route(let route):
      let subnets = addresses.filter { $0.link == link }.map(\.prefix)
      return route.nextHops.contains { hop in
        hop.link == link
          || hop.link == nil
            && hop.gateway.map { gateway in subnets.contains { $0.contains(gateway) } } == true
      }
    default: return false
    }
  }
}
