// SPDX-License-Identifier: GPL-2.0-or-later

// Dumps become states: what is the lab's, and what somebody made by hand beside it. What the kernel makes by itself is
// in neither: its local table, its link-local addresses, what it has learned, the queues that every device begins with.

public import LabCore
import NetTypes
import Nftables
import Rtnetlink

/// Reads dumps for one lab.
public struct StateDecoder: Sendable {
  public let ownership: Ownership
  /// False for kernels before 5.18, which forget who made an address: all on the lab's devices are then the lab's.
  public let addressesAreMarked: Bool

  public init(lab: LabName, addressesAreMarked: Bool = true) {
    ownership = Ownership(lab: lab)
    self.addressesAreMarked = addressesAreMarked
  }

  /// The namespace's objects, the lab's and others', sorted.
  func decode(
    _ dump: NamespaceDump, of namespace: NamespaceID, names: [Int32: InterfaceName], _ resolver: LinkResolver
  ) -> (owned: NamespaceState, unmarked: NamespaceState) {
    var result = Decoding(names: names, isHost: namespace == .host)
    decodeLinks(dump, in: namespace, resolver, &result)
    decodeAddresses(dump.addresses, &result)
    for route in dump.routes { decodeRoute(route, &result) }
    for rule in dump.rules { decodeRule(rule, &result) }
    for neighbor in dump.neighbors { decodeNeighbor(neighbor, &result) }
    decodeForwarding(dump, &result)
    for qdisc in dump.qdiscs { decodeQdisc(qdisc, &result) }
    result.owned.sysctls = dump.sysctls
    // The general form's tables have names of their own: the mark in the comment says whose they are.
    let mark = ownership.alias(for: namespace)
    for table in dump.tables {
      result.add(table, to: \.tables, owned: table.name == ownership.nftTableName || table.comment == mark)
    }
    return (result.owned.state(namespace), result.unmarked.state(namespace))
  }
}

/// What the decoder gathers.
struct Decoding {
  struct Part {
    var links: [LinkState] = []
    var addresses: [AddressState] = []
    var routes: [RouteState] = []
    var policyRules: [PolicyRuleState] = []
    var neighbors: [LabCore.NeighborState] = []
    var fdb: [FDBState] = []
    var sysctls: [SysctlState] = []
    var qdiscs: [QdiscState] = []
    var tables: [NftTable] = []

    func state(_ id: NamespaceID) -> NamespaceState {
      NamespaceState(
        id: id, links: links, addresses: addresses, routes: routes, policyRules: policyRules,
        neighbors: neighbors,
        fdb: fdb, sysctls: sysctls, qdiscs: qdiscs, tables: tables)
    }
  }

  let names: [Int32: InterfaceName]
  let isHost: Bool
  var owned = Part()
  var unmarked = Part()
  /// The numbers of the devices that are the lab's.
  var ownedLinks: Set<Int32> = []

  init(names: [Int32: InterfaceName], isHost: Bool) {
    self.names = names
    self.isHost = isHost
  }

  mutating func add<Value>(_ value: Value, to part: WritableKeyPath<Part, [Value]>, owned isOwned: Bool) {
    if isOwned { owned[keyPath: part].append(value) } else { unmarked[keyPath: part].append(value) }
  }
}

/// Finds devices of other namespaces, as a device names them: by a namespace's number and their own.
struct LinkResolver {
  /// The namespaces of the lab by the number that the namespace being read has given them.
  var namespaces: [Int32: NamespaceID]
  /// All devices of the lab's namespaces.
  var names: [NamespaceID: [Int32: InterfaceName]]

  /// - Parameter identifier: nil for the namespace itself.
  func device(_ index: Int32?, identifier: Int32?, in own: NamespaceID) -> LinkReference? {
    guard let index, index > 0 else { return nil }
    let namespace = identifier.map { namespaces[$0] } ?? own
    guard let namespace, let name = names[namespace]?[index] else { return nil }
    return LinkReference(namespace, name)
  }
}
