// SPDX-License-Identifier: GPL-2.0-or-later

// From what is to what shall be: the ordered changes. What a datapath may rely on:
//
//   - Batches come in this order, each at most once: make way (deletes that a create needs), create namespaces (each
//     followed by its settings), create links (what others stand on first), configure (everything inside namespaces,
//     one namespace after the other), write firewalls (each namespace's nft changes together: one transaction),
//     delete links, delete namespaces.
//   - Both ends of a new veth pair are created by two changes next to each other.
//   - A new namespace has its `lo`, down; bringing it up is an update.
//   - An update names one attribute, and its `after` is the whole object with it; where one message sets all (routes,
//     qdiscs, neighbours, addresses), it may name none. A setting is always an update; `before` is nil when unknown.
//   - A device that the kernel cannot change is deleted in the first batch and created again.
//   - A delete of what is already gone succeeds: an earlier delete may have taken it along.

public import LabCore
import NetTypes
import Nftables

/// Makes plans.
public struct Planner: Sendable {
  /// Values that the host's settings had before the lab came, to go back to when the lab does not want them any more.
  public var hostSettings: [String: String]
  /// Namespaces to make anew, whatever stands in them.
  public var recreated: Set<NamespaceID>

  public init(hostSettings: [String: String] = [:], recreated: Set<NamespaceID> = []) {
    self.hostSettings = hostSettings
    self.recreated = recreated
  }

  /// The changes from what was observed to `desired`; empty when nothing differs. Unmarked objects on keys that
  /// `desired` has count as the lab's own, all others are left alone. Foreign objects are the caller's to refuse.
  public func plan(_ desired: LabState, from observation: Observation) -> Plan {
    let observed = observation.merged(for: desired)
    if recreated.isEmpty, hostSettings.isEmpty, observed.count == desired.namespaces.count,
      observed.indices.allSatisfy({ desired.namespaces[$0].isPlainly(in: observed[$0]) })
    {
      return Plan(lab: desired.lab)
    }
    var indexes: [NamespaceID: Set<UInt32>] = [:]
    for space in observation.unmarked.namespaces where !space.links.isEmpty {
      indexes[space.id] = Set(space.links.compactMap(\.index))
    }
    var work = PlanWork(
      desired: desired, observed: observed, foreignIndexes: indexes,
      hostSettings: hostSettings, recreated: recreated)
    return work.run()
  }
}

extension Observation {
  /// What the lab has, with the unmarked objects that stand on keys of `desired`.
  public func merged(for desired: LabState) -> [NamespaceState] {
    guard unmarked.namespaces.contains(where: { $0.hasObjects }) else { return owned.namespaces }
    let wanted = Dictionary(desired.namespaces.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    let others = Dictionary(unmarked.namespaces.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    let known = Set(owned.namespaces.map(\.id))
    // The host's namespace is in `owned` only when something in it is ours.
    var spaces = owned.namespaces
    if let host = others[.host], !known.contains(.host) { spaces.insert(NamespaceState(id: host.id), at: 0) }
    return spaces.map { space in
      guard let extra = others[space.id], extra.hasObjects, let target = wanted[space.id] else {
        return space
      }
      return space.adopting(extra, onKeysOf: target)
    }
  }
}

extension NamespaceState {
  var hasObjects: Bool {
    !(links.isEmpty && addresses.isEmpty && routes.isEmpty && policyRules.isEmpty && neighbors.isEmpty
      && fdb.isEmpty
      && sysctls.isEmpty && qdiscs.isEmpty && tables.isEmpty)
  }

  /// This with those objects of `extra` whose keys `target` has and this has not.
  func adopting(_ extra: NamespaceState, onKeysOf target: NamespaceState) -> NamespaceState {
    func pick<Item, Key: Hashable>(
      _ items: KeyPath<NamespaceState, [Item]>, by key: (Item) -> Key
    ) -> [Item] {
      let candidates = extra[keyPath: items]
      guard !candidates.isEmpty else { return [] }
      let wanted = Set(target[keyPath: items].map(key))
      let present = Set(self[keyPath: items].map(key))
      return candidates.filter { wanted.contains(key($0)) && !present.contains(key($0)) }
    }
    struct AddressKey: Hashable {
      var link: InterfaceName
      var prefix: IPPrefix
    }
    var result = self
    result.links += pick(\.links) { $0.name }
    result.addresses += pick(\.addresses) { AddressKey(link: $0.link, prefix: $0.prefix) }
    result.routes += pick(\.routes) { $0.identity }
    result.policyRules += pick(\.policyRules) { $0.key }
    result.neighbors += pick(\.neighbors) { $0.identity }
    result.fdb += pick(\.fdb) { $0 }
    result.sysctls += pick(\.sysctls) { $0.name }
    result.qdiscs += pick(\.qdiscs) { $0.link }
    result.tables += pick(\.tables) { $0.key }
    result.sort()
    return result
  }
}
