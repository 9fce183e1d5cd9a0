// SPDX-License-Identifier: GPL-2.0-or-later

// A kernel in memory, written without a look at the planner: it carries out changes strictly, refuses what the kernel
// refuses, and takes along what the kernel takes along.

import LabCore
import NetTypes
import Nftables

/// One namespace of the model.
struct ModelNamespace: Equatable {
  var links: [InterfaceName: LinkState] = [:]
  var addresses: [AddressState] = []
  var routes: [RouteState] = []
  var rules: [PolicyRuleState] = []
  var neighbors: [NeighborState] = []
  var fdb: [FDBState] = []
  var sysctls: [String: String] = [:]
  var qdiscs: [QdiscState] = []
  var tables: [NftTable] = []

  static var new: ModelNamespace {
    var space = ModelNamespace()
    space.links[.loopback] = LinkState(
      name: .loopback, kind: .loopback, index: 1, mac: .zero, mtu: 65536, isUp: false)
    return space
  }
}

struct ModelRefusal: Error {
  var cause: String
  init(_ cause: String) { self.cause = cause }
}

struct ModelKernel: Equatable {
  var namespaces: [NamespaceID: ModelNamespace] = [.host: .new]
  /// The first end of a pair whose second has to follow at once.
  private var half: LinkReference?

  /// For namespaces that are known to be there.
  subscript(_ id: NamespaceID) -> ModelNamespace {
    get { namespaces[id] ?? .new }
    set { namespaces[id] = newValue }
  }

  // MARK: Changes

  mutating func apply(_ change: Change) throws(ModelRefusal) {
    let id = change.path.namespace
    if let half, change.operation != .create || change.path != half.path {
      throw ModelRefusal("the other end of a pair, \(half.path), does not follow at once")
    }
    if change.path.kind == .namespace { return try applyNamespace(change) }
    guard namespaces[id] != nil else { throw ModelRefusal("no namespace \(id)") }
    switch (change.operation, change.before, change.after) {
    case (.create, _, let after?): try create(after, in: id)
    case (.update, let before, let after?): try update(change.path.attribute, before, to: after, in: id)
    case (.replace, let before?, let after?): try replace(before, with: after, in: id)
    case (.delete, let before?, _): try delete(before, in: id)
    default: throw ModelRefusal("a malformed change")
    }
  }

  /// The kernel makes both ends of a pair or none.
  mutating func abandonHalf() {
    guard let missing = half else { return }
    half = nil
    for (id, space) in namespaces {
      for link in space.links.values {
        if case .veth(let peer) = link.kind, peer == missing { namespaces[id]?.links[link.name] = nil }
      }
    }
  }

  private mutating func applyNamespace(_ change: Change) throws(ModelRefusal) {
    let id = change.path.namespace
    switch change.operation {
    case .create:
      guard namespaces[id] == nil else { throw ModelRefusal("namespace \(id) exists") }
      namespaces[id] = .new
    case .delete: removeNamespace(id)
    case .update, .replace: throw ModelRefusal("a namespace has nothing to update")
    }
  }

  mutating func removeNamespace(_ id: NamespaceID) {
    guard id != .host, let space = namespaces[id] else { return }
    for name in space.links.keys.sorted() { removeLink(LinkReference(id, name)) }
    namespaces[id] = nil
  }

  private mutating func create(_ object: StateObject, in id: NamespaceID) throws(ModelRefusal) {
    switch object {
    case .namespace, .sysctl: throw ModelRefusal("cannot be created")
    case .link(let link): try createLink(link, in: id)
    case .address(let address): try createAddress(address, in: id)
    case .route(let route):
      guard !self[id].routes.contains(where: { $0.collides(with: route) }) else {
        throw ModelRefusal("route \(route.key) exists")
      }
      try check(route, in: id)
      self[id].routes.append(route)
    case .policyRule(let rule):
      guard !self[id].rules.contains(rule) else { throw ModelRefusal("rule exists") }
      self[id].rules.append(rule)
    case .neighbor(let neighbor):
      let space = self[id]
      guard space.links[neighbor.link]?.isUp == true else { throw ModelRefusal("network is down") }
      guard !space.neighbors.contains(where: { $0.link == neighbor.link && $0.address == neighbor.address })
      else {
        throw ModelRefusal("neighbour exists")
      }
      self[id].neighbors.append(neighbor)
    case .fdb(let entry):
      guard let link = self[id].links[entry.link] else { throw ModelRefusal("no device") }
      guard link.master != nil || link.kind.name == "vxlan" else { throw ModelRefusal("not a bridge port") }
      guard !self[id].fdb.contains(entry) else { throw ModelRefusal("entry exists") }
      self[id].fdb.append(entry)
    case .qdisc(let qdisc):
      guard self[id].links[qdisc.link] != nil else { throw ModelRefusal("no device") }
      guard !self[id].qdiscs.contains(where: { $0.link == qdisc.link }) else {
        throw ModelRefusal("qdisc exists")
      }
      self[id].qdiscs.append(qdisc)
    default: try createNft(object, in: id)
    }
  }

  private mutating func update(
    _ attribute: AttributeName?, _ before: StateObject?, to object: StateObject, in id: NamespaceID
  ) throws(ModelRefusal) {
    switch object {
    case .sysctl(let sysctl): try write(sysctl, in: id)
    case .link(let link):
      guard let attribute else { throw ModelRefusal("a device's update names its attribute") }
      try updateLink(link, attribute, in: id)
    case .route(let route):
      guard
        let index = self[id].routes.firstIndex(where: {
          $0.collides(with: route) && $0.type == route.type
        })
      else { throw ModelRefusal("no such route") }
      try check(route, in: id)
      self[id].routes[index] = route
    case .neighbor(let neighbor):
      guard
        let index = self[id].neighbors.firstIndex(where: {
          $0.link == neighbor.link && $0.address == neighbor.address
        })
      else { throw ModelRefusal("no such neighbour") }
      self[id].neighbors[index] = neighbor
    case .qdisc(let qdisc):
      guard
        let index = self[id].qdiscs.firstIndex(where: {
          $0.link == qdisc.link && $0.kind.name == qdisc.kind.name
        })
      else { throw ModelRefusal("no such qdisc") }
      self[id].qdiscs[index] = qdisc
    case .nftTable, .nftChain: try updateNft(object, in: id)
    default: throw ModelRefusal("cannot be updated in place")
    }
  }

  private mutating func replace(
    _ before: StateObject, with after: StateObject, in id: NamespaceID
  ) throws(ModelRefusal) {
    switch after {
    case .qdisc(let qdisc):
      self[id].qdiscs.removeAll { $0.link == qdisc.link }
      self[id].qdiscs.append(qdisc)
    case .nftRule: try replaceRule(after, in: id)
    default: throw ModelRefusal("cannot be replaced")
    }
  }

  private mutating func delete(_ object: StateObject, in id: NamespaceID) throws(ModelRefusal) {
    switch object {
    case .namespace, .sysctl: throw ModelRefusal("cannot be deleted")
    case .link(let link): removeLink(LinkReference(id, link.name))
    case .address(let address): removeAddress(address, in: id)
    case .route(let route):
      self[id].routes.removeAll { $0.collides(with: route) && $0.type == route.type }
    case .policyRule(let rule): self[id].rules.removeAll { $0 == rule }
    case .neighbor(let neighbor):
      self[id].neighbors.removeAll { $0.link == neighbor.link && $0.address == neighbor.address }
    case .fdb(let entry): self[id].fdb.removeAll { $0 == entry }
    case .qdisc(let qdisc): self[id].qdiscs.removeAll { $0.link == qdisc.link }
    default: try deleteNft(object, in: id)
    }
  }

  // MARK: Devices

  private mutating func createLink(_ wanted: LinkState, in id: NamespaceID) throws(ModelRefusal) {
    var link = wanted
    let space = self[id]
    guard space.links[link.name] == nil else { throw ModelRefusal("device \(link.name) exists") }
    let used = Set(space.links.values.compactMap(\.index))
    if let index = link.index, used.contains(index) { throw ModelRefusal("index \(index) is taken") }
    link.index = link.index ?? (1...).first { !used.contains($0) }
    link.mac = link.mac ?? MACAddress(rawValue: 0x0200_0000_0000 | UInt64(link.index ?? 0))
    link.mtu = link.mtu ?? 1500
    link.transmitQueueLength = link.transmitQueueLength ?? 1000
    link.linkLocalIPv6 = link.linkLocalIPv6 ?? true
    if let master = link.master {
      guard case .bridge? = space.links[master]?.kind else {
        throw ModelRefusal("master \(master) is no bridge")
      }
      link.port = (link.port ?? BridgePortState()).filled
    } else {
      link.port = nil
    }
    switch link.kind {
    case .veth(let peer):
      guard let peer else { throw ModelRefusal("a veth needs its peer") }
      if half == LinkReference(id, link.name) {
        half = nil
      } else {
        guard namespaces[peer.namespace] != nil else {
          throw ModelRefusal("the peer's namespace is not there")
        }
        guard namespaces[peer.namespace]?.links[peer.name] == nil else {
          throw ModelRefusal("the peer exists")
        }
        half = peer
      }
    case .bridge(let bridge): link.kind = .bridge(bridge.filled)
    case .vlan(let vlan):
      guard let parent = space.links[vlan.parent] else { throw ModelRefusal("no parent \(vlan.parent)") }
      guard (link.mtu ?? 0) <= (parent.mtu ?? 0) else { throw ModelRefusal("mtu above the parent's") }
      let twin = space.links.values.contains { other in
        if case .vlan(let state) = other.kind {
          state.parent == vlan.parent && state.id == vlan.id
        } else {
          false
        }
      }
      guard !twin else { throw ModelRefusal("VLAN \(vlan.id) exists") }
    case .macvlan(let macvlan):
      guard let parent = macvlan.parent, self.link(parent) != nil else { throw ModelRefusal("no parent") }
    case .vxlan(let tunnel):
      if let underlay = tunnel.underlay, space.links[underlay] == nil { throw ModelRefusal("no underlay") }
      let twin = space.links.values.contains { other in
        if case .vxlan(let state) = other.kind {
          state.id == tunnel.id && state.port == tunnel.port
        } else {
          false
        }
      }
      guard !twin else { throw ModelRefusal("A VXLAN device with the specified VNI already exists.") }
    case .loopback, .external: throw ModelRefusal("cannot be made")
    case .dummy, .tuntap, .other: break
    }
    self[id].links[link.name] = link
    for (name, value) in space.sysctls {
      let parts = name.split(separator: "/").map(String.init)
      guard parts.count > 4, parts[2] == "conf", parts[3] == "default" else { continue }
      self[id].sysctls[(parts[0...2] + [link.name.text] + parts[4...]).joined(separator: "/")] = value
    }
  }

  func link(_ reference: LinkReference) -> LinkState? {
    namespaces[reference.namespace]?.links[reference.name]
  }

  mutating func removeLink(_ reference: LinkReference) {
    let id = reference.namespace
    guard let link = link(reference), link.kind != .loopback else {
      namespaces[id]?.links[reference.name] = nil
      return
    }
    self[id].links[reference.name] = nil
    if case .veth(let peer?) = link.kind { removeLink(peer) }
    for (other, space) in namespaces {
      for child in space.links.values {
        switch child.kind {
        case .vlan(let vlan) where other == id && vlan.parent == reference.name:
          removeLink(LinkReference(other, child.name))
        case .vxlan(let tunnel) where other == id && tunnel.underlay == reference.name:
          removeLink(LinkReference(other, child.name))
        case .macvlan(let macvlan) where macvlan.parent == reference:
          removeLink(LinkReference(other, child.name))
        default: break
        }
      }
    }
    for name in self[id].links.keys where self[id].links[name]?.master == reference.name {
      unenslave(LinkReference(id, name))
    }
    self[id].addresses.removeAll { $0.link == reference.name }
    self[id].routes.removeAll { route in
      route.destination.family == .ipv4 && route.nextHops.contains { $0.link == reference.name }
    }
    dropIPv6Hops(reference)
    self[id].neighbors.removeAll { $0.link == reference.name }
    self[id].fdb.removeAll { $0.link == reference.name }
    self[id].qdiscs.removeAll { $0.link == reference.name }
    self[id].sysctls = self[id].sysctls.filter { !$0.key.contains("/\(reference.name)/") }
  }

  private mutating func dropIPv6Hops(_ reference: LinkReference) {
    for index in self[reference.namespace].routes.indices.reversed() {
      var route = self[reference.namespace].routes[index]
      guard route.destination.family == .ipv6, route.nextHops.contains(where: { $0.link == reference.name })
      else { continue }
      route.nextHops.removeAll { $0.link == reference.name }
      if route.nextHops.isEmpty {
        self[reference.namespace].routes.remove(at: index)
      } else {
        self[reference.namespace].routes[index] = route
      }
    }
  }

  private mutating func unenslave(_ reference: LinkReference) {
    self[reference.namespace].links[reference.name]?.master = nil
    self[reference.namespace].links[reference.name]?.port = nil
    if link(reference)?.kind.name != "vxlan" {
      self[reference.namespace].fdb.removeAll { $0.link == reference.name }
    }
  }

  private mutating func updateLink(
    _ wanted: LinkState, _ attribute: AttributeName, in id: NamespaceID
  ) throws(ModelRefusal) {
    guard var link = self[id].links[wanted.name] else {
      throw ModelRefusal("no device \(wanted.name)")
    }
    let reference = LinkReference(id, wanted.name)
    switch attribute {
    case .mtu:
      let mtu = wanted.mtu ?? 0
      if case .vlan(let vlan) = link.kind, let parent = self[id].links[vlan.parent],
        mtu > parent.mtu ?? 0
      {
        throw ModelRefusal("mtu above the parent's")
      }
      self[id].links[wanted.name]?.mtu = mtu
      if mtu < 1280 {
        endIPv6(reference)
        self[id].sysctls = self[id].sysctls.filter {
          !$0.key.hasPrefix("net/ipv6/conf/\(wanted.name)/")
        }
      }
    case .up:
      self[id].links[wanted.name]?.isUp = wanted.isUp
      guard !wanted.isUp else { return }
      self[id].routes.removeAll { route in
        route.destination.family == .ipv4 && !route.nextHops.isEmpty
          && route.nextHops.allSatisfy { $0.link == wanted.name }
      }
      self[id].neighbors.removeAll { $0.link == wanted.name }
      endIPv6(reference)
    case .master:
      unenslave(reference)
      if let master = wanted.master {
        guard case .bridge? = self[id].links[master]?.kind else {
          throw ModelRefusal("no bridge \(master)")
        }
        self[id].links[wanted.name]?.master = master
        self[id].links[wanted.name]?.port = BridgePortState().filled
      }
    case .mac:
      link.mac = wanted.mac
      self[id].links[wanted.name] = link
    case .alternativeNames:
      link.alternativeNames = wanted.alternativeNames
      self[id].links[wanted.name] = link
    case .mode, .remote, .local, .learning, .ttl:
      link.kind = wanted.kind
      self[id].links[wanted.name] = link
    case .portIsolated, .portHairpin, .portLearning, .portVLANs, .portFlood:
      guard link.master != nil else { throw ModelRefusal("no bridge port") }
      link.port = (wanted.port ?? BridgePortState()).filled
      self[id].links[wanted.name] = link
    default:
      guard case .bridge(let bridge) = wanted.kind, case .bridge = link.kind else {
        throw ModelRefusal("unknown attribute")
      }
      link.kind = .bridge(bridge.filled)
      self[id].links[wanted.name] = link
    }
  }

  private mutating func endIPv6(_ reference: LinkReference) {
    self[reference.namespace].addresses.removeAll {
      $0.link == reference.name && $0.prefix.family == .ipv6
    }
    dropIPv6Hops(reference)
    self[reference.namespace].neighbors.removeAll {
      $0.link == reference.name && $0.address.family == .ipv6
    }
  }

  // MARK: Addresses, routes, settings

  private mutating func createAddress(_ address: AddressState, in id: NamespaceID) throws(ModelRefusal) {
    let space = self[id]
    guard let link = space.links[address.link] else { throw ModelRefusal("no device \(address.link)") }
    if address.prefix.family == .ipv6 {
      guard (link.mtu ?? 0) >= 1280 else { throw ModelRefusal("no IPv6 below an mtu of 1280") }
      guard space.sysctls["net/ipv6/conf/\(link.name)/disable_ipv6"] != "1" else {
        throw ModelRefusal("IPv6 is off")
      }
      guard
        !space.addresses.contains(where: {
          $0.link == address.link && $0.prefix.address == address.prefix.address
        })
      else { throw ModelRefusal("address exists") }
    } else {
      guard !space.addresses.contains(where: { $0.link == address.link && $0.prefix == address.prefix })
      else {
        throw ModelRefusal("address exists")
      }
    }
    self[id].addresses.append(address)
  }

  private mutating func removeAddress(_ address: AddressState, in id: NamespaceID) {
    guard
      let index = self[id].addresses.firstIndex(where: {
        $0.link == address.link && $0.prefix == address.prefix
      })
    else { return }
    let isV4 = address.prefix.family == .ipv4
    let mates = self[id].addresses.filter {
      $0.link == address.link && $0.prefix.family == address.prefix.family
        && $0.prefix.network == address.prefix.network
    }
    self[id].addresses.remove(at: index)
    var gone = [address]
    let promote = ["all", address.link.text].contains {
      self[id].sysctls["net/ipv4/conf/\($0)/promote_secondaries"] == "1"
    }
    if isV4, mates.first?.prefix == address.prefix, !promote {
      gone += mates.dropFirst()
      self[id].addresses.removeAll { mates.contains($0) }
    }
    for lost in gone.map(\.prefix.address) {
      guard !self[id].addresses.contains(where: { $0.prefix.address == lost }) else { continue }
      if isV4 {
        self[id].routes.removeAll { $0.preferredSource == lost }
      } else {
        for index in self[id].routes.indices
        where self[id].routes[index].preferredSource == lost {
          self[id].routes[index].preferredSource = nil
        }
      }
    }
    if isV4,
      !self[id].addresses.contains(where: { $0.link == address.link && $0.prefix.family == .ipv4 })
    {
      self[id].routes.removeAll { route in
        route.destination.family == .ipv4 && !route.nextHops.isEmpty
          && route.nextHops.allSatisfy { $0.link == address.link }
      }
      self[id].neighbors.removeAll { $0.link == address.link && $0.address.family == .ipv4 }
    }
  }

  private func check(_ route: RouteState, in id: NamespaceID) throws(ModelRefusal) {
    let space = self[id]
    for hop in route.nextHops {
      guard let name = hop.link, let link = space.links[name] else {
        throw ModelRefusal("no device for \(route.key)")
      }
      guard link.isUp else { throw ModelRefusal("network is down") }
      guard let gateway = hop.gateway, !hop.isOnLink else { continue }
      guard space.addresses.contains(where: { $0.link == name && $0.prefix.contains(gateway) }) else {
        throw ModelRefusal("Nexthop has invalid gateway.")
      }
    }
    if let source = route.preferredSource, !space.addresses.contains(where: { $0.prefix.address == source }) {
      throw ModelRefusal("Invalid prefsrc address")
    }
  }

  private mutating func write(_ sysctl: SysctlState, in id: NamespaceID) throws(ModelRefusal) {
    let parts = sysctl.name.split(separator: "/").map(String.init)
    if parts.count > 4, parts[2] == "conf", !["all", "default"].contains(parts[3]) {
      guard let name = InterfaceName(parts[3]), self[id].links[name] != nil else {
        throw ModelRefusal("no such setting \(sysctl.name)")
      }
      if sysctl.name.hasSuffix("/disable_ipv6"), sysctl.value == "1" { endIPv6(LinkReference(id, name)) }
    }
    self[id].sysctls[sysctl.name] = sysctl.value
    for (all, prefix, leaf) in [
      ("net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/", "/disable_ipv6"),
      ("net/ipv6/conf/all/forwarding", "net/ipv6/conf/", "/forwarding"),
      ("net/ipv4/ip_forward", "net/ipv4/conf/", "/forwarding"),
    ] where sysctl.name == all {
      for name in ["default"] + self[id].links.keys.map(\.text) {
        self[id].sysctls[prefix + name + leaf] = sysctl.value
      }
      if leaf == "/disable_ipv6", sysctl.value == "1" {
        for name in self[id].links.keys { endIPv6(LinkReference(id, name)) }
      }
    }
  }
}

extension RouteState {
  /// As the kernel sees it: types do not tell two routes apart.
  func collides(with other: RouteState) -> Bool {
    table == other.table && destination == other.destination && typeOfService == other.typeOfService
      && metric == other.metric
  }
}

extension BridgePortState {
  var filled: BridgePortState {
    BridgePortState(
      isolated: isolated ?? false, hairpin: hairpin ?? false, learning: learning ?? true,
      flood: flood ?? true,
      multicastFlood: multicastFlood ?? true, guardBPDU: guardBPDU ?? false, fastLeave: fastLeave ?? false,
      cost: cost ?? 2, priority: priority ?? 32,
      vlans: vlans ?? [PortVLAN(id: 1, isPVID: true, isUntagged: true)])
  }
}

extension BridgeState {
  var filled: BridgeState {
    BridgeState(
      stp: stp ?? false, forwardDelay: forwardDelay ?? 1500, helloTime: helloTime ?? 200,
      maxAge: maxAge ?? 2000,
      ageingTime: ageingTime ?? 30000, priority: priority ?? 32768, vlanFiltering: vlanFiltering ?? false,
      defaultPVID: defaultPVID ?? 1, multicastSnooping: multicastSnooping ?? true)
  }
}
