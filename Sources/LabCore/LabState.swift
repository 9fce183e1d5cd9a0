// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes
public import Nftables

// The desired and the observed state of a lab are this one type: plain values in arrays sorted by key.

/// All that makes up a lab, as values.
public struct LabState: Hashable, Codable, Sendable {
  public var lab: LabName
  /// Sorted by id, each at most once.
  public var namespaces: [NamespaceState]

  public init(lab: LabName, namespaces: [NamespaceState] = []) {
    self.lab = lab
    self.namespaces = namespaces
    self.namespaces.order { $0.id < $1.id }
  }

  public subscript(_ id: NamespaceID) -> NamespaceState? {
    namespaces.first { $0.id == id }
  }
}

/// All that stands in one network namespace.
public struct NamespaceState: Hashable, Codable, Sendable {
  public var id: NamespaceID
  /// Sorted by name, as `sort()` leaves them; likewise below, each by its key.
  public var links: [LinkState]
  public var addresses: [AddressState]
  public var routes: [RouteState]
  public var policyRules: [PolicyRuleState]
  public var neighbors: [NeighborState]
  public var fdb: [FDBState]
  public var sysctls: [SysctlState]
  public var qdiscs: [QdiscState]
  public var tables: [NftTable]

  public init(
    id: NamespaceID, links: [LinkState] = [], addresses: [AddressState] = [], routes: [RouteState] = [],
    policyRules: [PolicyRuleState] = [], neighbors: [NeighborState] = [], fdb: [FDBState] = [],
    sysctls: [SysctlState] = [], qdiscs: [QdiscState] = [], tables: [NftTable] = []
  ) {
    self.id = id
    self.links = links
    self.addresses = addresses
    self.routes = routes
    self.policyRules = policyRules
    self.neighbors = neighbors
    self.fdb = fdb
    self.sysctls = sysctls
    self.qdiscs = qdiscs
    self.tables = tables
    sort()
  }

  /// Puts every array into the order of its keys. Addresses keep their order on a device: the first of a subnet is
  /// its primary.
  public mutating func sort() {
    links.order { $0.name < $1.name }
    if !addresses.isOrdered(by: { $0.link < $1.link }) {
      let places = addresses.indices.sorted { (addresses[$0].link, $0) < (addresses[$1].link, $1) }
      addresses = places.map { addresses[$0] }
    }
    routes.order(by: RouteState.precedes)
    policyRules.order { ($0.family, $0.priority, $0.key) < ($1.family, $1.priority, $1.key) }
    neighbors.order { ($0.link, $0.address) < ($1.link, $1.address) }
    fdb.order { ($0.link, $0.key) < ($1.link, $1.key) }
    sysctls.order { $0.name < $1.name }
    qdiscs.order { $0.link < $1.link }
    tables.order { $0.key < $1.key }
  }

  /// Every object in here, in the order of `StatePath.Kind`; the namespace itself first.
  public var objects: [StateObject] {
    var result: [StateObject] = [.namespace(id)]
    result += sysctls.map { .sysctl($0) }
    result += links.map { .link($0) }
    result += addresses.map { .address($0) }
    result += routes.map { .route($0) }
    result += policyRules.map { .policyRule($0) }
    result += neighbors.map { .neighbor($0) }
    result += fdb.map { .fdb($0) }
    result += qdiscs.map { .qdisc($0) }
    for table in tables { result += table.stateObjects }
    return result
  }
}

extension Array {
  fileprivate func isOrdered(by precedes: (Element, Element) -> Bool) -> Bool {
    indices.dropFirst().allSatisfy { !precedes(self[$0], self[$0 - 1]) }
  }

  /// Sorts. What is in order stays where it is, and shared: most of a lab's namespaces have their settings in common.
  fileprivate mutating func order(by precedes: (Element, Element) -> Bool) {
    if !isOrdered(by: precedes) { sort(by: precedes) }
  }
}
