// SPDX-License-Identifier: GPL-2.0-or-later

// One namespace as it stands after the changes that the planner has decided on so far.

import LabCore
import NetTypes
import Nftables

/// What the kernel tells routes of a table apart by, and the type, which it does not.
struct RouteKey: Hashable {
  var table: UInt32
  var destination: IPPrefix
  var typeOfService: UInt8
  var metric: UInt32
  var type: RouteState.RouteType

  /// Two routes that differ in type only stand in each other's way.
  func collides(with other: RouteKey) -> Bool {
    table == other.table && destination == other.destination && typeOfService == other.typeOfService
      && metric == other.metric
  }
}

extension RouteState {
  var identity: RouteKey {
    RouteKey(table: table, destination: destination, typeOfService: typeOfService, metric: metric, type: type)
  }
}

struct NeighborKey: Hashable {
  var link: InterfaceName
  var address: IPAddress
}

extension NeighborState {
  var identity: NeighborKey { NeighborKey(link: link, address: address) }
}

final class PlannedNamespace {
  let id: NamespaceID
  /// False until it is created, and after it is deleted.
  var exists: Bool
  var links: [InterfaceName: LinkState] = [:]
  /// The indexes that devices hold.
  var indexes: Set<UInt32> = []
  /// For each device in the kernel's order.
  var addresses: [InterfaceName: [AddressState]] = [:]
  var routes: [RouteKey: RouteState] = [:]
  var policyRules: [String: PolicyRuleState] = [:]
  var neighbors: [NeighborKey: NeighborState] = [:]
  var fdb: Set<FDBState> = []
  var sysctls: [String: String] = [:]
  var qdiscs: [InterfaceName: QdiscState] = [:]
  var tables: [NftTableKey: NftTable] = [:]

  init(id: NamespaceID, exists: Bool) {
    self.id = id
    self.exists = exists
  }

  convenience init(_ state: NamespaceState) {
    self.init(id: state.id, exists: true)
    for link in state.links {
      links[link.name] = link
      if let index = link.index { indexes.insert(index) }
    }
    for address in state.addresses { addresses[address.link, default: []].append(address) }
    for route in state.routes { routes[route.identity] = route }
    for rule in state.policyRules { policyRules[rule.key] = rule }
    for neighbor in state.neighbors { neighbors[neighbor.identity] = neighbor }
    fdb = Set(state.fdb)
    for sysctl in state.sysctls { sysctls[sysctl.name] = sysctl.value }
    for qdisc in state.qdiscs { qdiscs[qdisc.link] = qdisc }
    for table in state.tables { tables[table.key] = table }
  }

  /// What the kernel puts into a new namespace: `lo`, down.
  func becomeNew() {
    exists = true
    links = [
      .loopback: LinkState(name: .loopback, kind: .loopback, index: 1, mac: .zero, mtu: 65536, isUp: false)
    ]
    indexes = [1]
    addresses = [:]
    routes = [:]
    policyRules = [:]
    neighbors = [:]
    fdb = []
    sysctls = [:]
    qdiscs = [:]
    tables = [:]
  }

  func remove() {
    becomeNew()
    links = [:]
    exists = false
  }

  /// Every device's addresses in one array, devices by name.
  var allAddresses: [AddressState] {
    addresses.keys.sorted().flatMap { addresses[$0] ?? [] }
  }
}
