// SPDX-License-Identifier: GPL-2.0-or-later

// One run of the planner: the phases of a plan, each written against the lab as the phases before it leave it.

import LabCore
import NetTypes

struct PlanWork {
  let desired: [NamespaceState]
  let lab: LabName
  let hostSettings: [String: String]
  let recreated: Set<NamespaceID>
  var planned: PlannedLab
  /// Indexes that unmarked devices hold.
  let foreignIndexes: [NamespaceID: Set<UInt32>]
  /// Namespaces that were observed, in order.
  let observedIDs: [NamespaceID]

  private var makeWay = ChangeList()
  private var namespaces = ChangeList()
  var newLinks = ChangeList()
  var configuration = ChangeList()
  var firewalls = ChangeList()
  private var linkDeletes = ChangeList()
  private var namespaceDeletes = ChangeList()

  /// The lab's own kinds of absence, said in one way.
  static let missing = "missing"
  static let unwanted = "no longer in the topology"

  init(
    desired: LabState, observed: [NamespaceState], foreignIndexes: [NamespaceID: Set<UInt32>],
    hostSettings: [String: String], recreated: Set<NamespaceID>
  ) {
    self.foreignIndexes = foreignIndexes
    lab = desired.lab
    self.desired = desired.namespaces
    self.hostSettings = hostSettings
    self.recreated = recreated
    planned = PlannedLab(observed)
    observedIDs = observed.map(\.id)
  }

  mutating func run() -> Plan {
    let wanted = Dictionary(desired.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    planMakingWay(wanted)
    let doomed = observedIDs.filter { $0 != .host && wanted[$0] == nil }
    planNamespaces()
    planNewLinks()
    for space in desired { planConfiguration(of: space) }
    if wanted[.host] == nil, observedIDs.contains(.host) || !hostSettings.isEmpty {
      planConfiguration(of: NamespaceState(id: .host))
    }
    planLinkDeletes(wanted, doomed: Set(doomed))
    for id in doomed {
      namespaceDeletes.delete(.namespace(id), in: id, disruptive: true, reason: Self.unwanted)
      planned.deleteNamespace(id, because: Self.unwanted)
    }
    let createsNamespaces = namespaces.changes.contains { $0.path.kind == .namespace }
    return Plan(
      lab: lab,
      batches: [
        Plan.Batch(title: "make way", changes: makeWay.changes),
        Plan.Batch(
          title: createsNamespaces ? "create namespaces" : "write settings", changes: namespaces.changes),
        Plan.Batch(title: "create links", changes: newLinks.changes),
        Plan.Batch(title: "configure", changes: configuration.changes),
        Plan.Batch(title: "write firewalls", changes: firewalls.changes),
        Plan.Batch(title: "delete links", changes: linkDeletes.changes),
        Plan.Batch(title: "delete namespaces", changes: namespaceDeletes.changes),
      ])
  }

  // MARK: Phases

  /// Deletes without which something desired could not be created.
  private mutating func planMakingWay(_ wanted: [NamespaceID: NamespaceState]) {
    for id in observedIDs where recreated.contains(id) && id != .host && wanted[id] != nil {
      makeWay.delete(.namespace(id), in: id, disruptive: true, reason: "made anew")
      planned.deleteNamespace(id, because: "made anew with its namespace")
    }
    for space in desired {
      let seen = planned.namespace(space.id)
      guard seen.exists else { continue }
      let names = Set(space.links.map(\.name))
      for link in space.links {
        let reference = LinkReference(space.id, link.name)
        if let old = seen.links[link.name] {
          guard case .replacement(let reason) = link.difference(from: old) else { continue }
          delete(old, at: reference, into: \.makeWay, reason: "made anew: \(reason)")
        } else if link.hasSharedIdentity || link.index.map({ seen.indexes.contains($0) }) ?? false {
          // By name, so that the order of the plan is nobody's hash seed's.
          for name in seen.links.keys.sorted() where !names.contains(name) {
            guard let old = seen.links[name], old.takesThePlace(of: link) || old.index == link.index else {
              continue
            }
            delete(
              old, at: LinkReference(space.id, name), into: \.makeWay,
              reason: "stands where \(link.name) is to be")
          }
        }
      }
    }
  }

  private mutating func delete(
    _ link: LinkState, at reference: LinkReference, into list: WritableKeyPath<PlanWork, ChangeList>,
    reason: String
  ) {
    // An earlier delete may have taken it along.
    guard planned.link(reference) != nil, link.kind != .loopback else { return }
    self[keyPath: list].delete(.link(link), in: reference.namespace, disruptive: true, reason: reason)
    planned.deleteLink(reference, because: "made anew")
  }

  /// The settings of a new namespace, and what is planned for them.
  private struct NewSettings {
    var settings: [SysctlState]
    var changes: [Change]
    /// What they are then.
    var values: [String: String]
  }

  private mutating func planNamespaces() {
    // Of most new namespaces the same.
    var usual: NewSettings?
    for space in desired {
      let seen = planned.namespace(space.id)
      let isNew = !seen.exists
      if isNew {
        seen.becomeNew()
        namespaces.create(
          .namespace(space.id), in: space.id, reason: reason(for: .namespace(space.id), in: space.id))
      }
      if isNew, planned.losses.isEmpty, let usual, usual.settings == space.sysctls {
        namespaces.append(usual.changes, in: space.id)
        seen.sysctls = usual.values
        continue
      }
      // Nearly always all is as it shall be, and nothing needs an order.
      if space.sysctls.allSatisfy({ seen.sysctls[$0.name] == $0.value }) { continue }
      let first = namespaces.changes.count
      for sysctl in SysctlName.ordered(space.sysctls) where SysctlName(sysctl.name).link == nil {
        planWrite(sysctl, in: space.id, into: \.namespaces)
      }
      if isNew, planned.losses.isEmpty {
        usual = NewSettings(
          settings: space.sysctls, changes: Array(namespaces.changes[first...]), values: seen.sysctls)
      }
    }
  }

  private mutating func planNewLinks() {
    // By their places: a device is large.
    var waves: [[(space: Int, link: Int)]] = []
    for place in desired.indices {
      let space = desired[place]
      let seen = planned.namespace(space.id)
      planRaises(of: space, seen)
      var ranks: [InterfaceName: Int] = [:]
      for index in space.links.indices where seen.links[space.links[index].name] == nil {
        let rank = rank(of: space.links[index], in: space, known: &ranks)
        while waves.count <= rank { waves.append([]) }
        waves[rank].append((place, index))
      }
    }
    // Ends whose pair is being created with them.
    var pending: [LinkReference: (space: Int, link: Int)] = [:]
    for (place, index) in waves.joined() {
      if case .veth = desired[place].links[index].kind {
        pending[LinkReference(desired[place].id, desired[place].links[index].name)] = (place, index)
      }
    }
    for (place, index) in waves.joined() {
      let link = desired[place].links[index]
      let reference = LinkReference(desired[place].id, link.name)
      guard case .veth(let peer) = link.kind else {
        create(link, at: reference)
        continue
      }
      guard pending.removeValue(forKey: reference) != nil else { continue }
      create(link, at: reference)
      if let peer, let other = pending.removeValue(forKey: peer) {
        create(desired[other.space].links[other.link], at: peer)
      }
    }
  }

  /// A device must not have a larger MTU than the one that it stands on: that one is raised first.
  private mutating func planRaises(of space: NamespaceState, _ seen: PlannedNamespace) {
    guard space.links.contains(where: { $0.lowerLink != nil }) else { return }
    let lower = Set(space.links.filter { seen.links[$0.name] == nil }.compactMap(\.lowerLink))
    guard !lower.isEmpty else { return }
    for link in space.links where lower.contains(link.name) {
      guard let old = seen.links[link.name], let mtu = link.mtu, mtu > old.mtu ?? 0 else { continue }
      let new = old.taking(.mtu, from: link)
      newLinks.update(.link(old), to: .link(new), attribute: .mtu, in: space.id)
      seen.links[link.name] = new
    }
  }

  private mutating func create(_ wanted: LinkState, at reference: LinkReference) {
    var link = wanted
    // An index that something else holds is given up, not fought for.
    if let index = link.index {
      let space = planned.namespace(reference.namespace)
      if !space.indexes.insert(index).inserted
        || foreignIndexes[reference.namespace]?.contains(index) ?? false
      {
        link.index = nil
      }
    }
    let object = StateObject.link(link)
    newLinks.create(object, in: reference.namespace, reason: reason(for: object, in: reference.namespace))
    planned.add(link, in: reference.namespace)
  }

  /// Bridges first, then what stands on nothing, then what stands on that.
  private func rank(of link: LinkState, in space: NamespaceState, known: inout [InterfaceName: Int]) -> Int {
    switch link.kind {
    case .bridge: return 0
    case .macvlan: return 3
    default: break
    }
    guard let lower = link.lowerLink else { return 1 }
    if let rank = known[link.name] { return rank }
    // For a circle.
    known[link.name] = 2
    let below = space.links.first { $0.name == lower }
    let rank = max(2, (below.map { self.rank(of: $0, in: space, known: &known) } ?? 1) + 1)
    known[link.name] = rank
    return rank
  }

  private mutating func planLinkDeletes(_ wanted: [NamespaceID: NamespaceState], doomed: Set<NamespaceID>) {
    for id in observedIDs where !doomed.contains(id) {
      guard let seen = planned.namespaces[id], seen.exists else { continue }
      let names = Set(wanted[id]?.links.map(\.name) ?? [])
      for name in seen.links.keys.sorted() where !names.contains(name) {
        guard let link = seen.links[name] else { continue }
        delete(
          link, at: LinkReference(id, name), into: \.linkDeletes, reason: Self.unwanted)
      }
    }
  }

  // MARK: Words

  /// Why an object is created: what took it away, or that it is missing.
  func reason(for object: StateObject, in id: NamespaceID) -> String {
    planned.losses.isEmpty ? Self.missing : planned.losses[object.path(in: id)] ?? Self.missing
  }
}

extension LinkState {
  /// Whether the kernel allows only one such device beside others of its kind, whatever its name.
  var hasSharedIdentity: Bool {
    switch kind {
    case .vlan, .vxlan: true
    default: false
    }
  }

  /// Whether the kernel would refuse `other` while this is there.
  func takesThePlace(of other: LinkState) -> Bool {
    switch (kind, other.kind) {
    case (.vlan(let a), .vlan(let b)): a.parent == b.parent && a.id == b.id && a.tag == b.tag
    case (.vxlan(let a), .vxlan(let b)): a.id == b.id && a.port == b.port
    default: false
    }
  }
}
