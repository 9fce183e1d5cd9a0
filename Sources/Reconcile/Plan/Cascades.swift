// SPDX-License-Identifier: GPL-2.0-or-later

// The kernel's cascades: what goes by itself when something else is changed. The planner runs every change that it
// decides on through this, so that it knows what has to be put back and what need not be deleted any more.
// Mirrors net/ipv4/fib_frontend.c and devinet.c, net/ipv6/addrconf.c, net/core/neighbour.c, net/bridge/br_if.c.

import LabCore
import NetTypes
import Nftables

/// The lab as it stands after the changes planned so far, and why things are gone from it.
struct PlannedLab {
  private(set) var namespaces: [NamespaceID: PlannedNamespace] = [:]
  /// Why an object is gone, though no change of its own took it.
  private(set) var losses: [StatePath: String] = [:]
  /// Devices that stand on another: VLANs, macvlans, VXLAN ends.
  private var children: [LinkReference: [LinkReference]] = [:]

  init(_ states: [NamespaceState]) {
    for state in states {
      namespaces[state.id] = PlannedNamespace(state)
      for link in state.links { adopt(link, in: state.id) }
    }
  }

  /// The namespace; a new, absent one when it has not been seen.
  mutating func namespace(_ id: NamespaceID) -> PlannedNamespace {
    if let known = namespaces[id] { return known }
    // The host's is always there.
    let new = PlannedNamespace(id: id, exists: id == .host)
    namespaces[id] = new
    return new
  }

  func link(_ reference: LinkReference) -> LinkState? {
    namespaces[reference.namespace]?.links[reference.name]
  }

  private mutating func adopt(_ link: LinkState, in namespace: NamespaceID) {
    if let parent = parent(of: link, in: namespace) {
      children[parent, default: []].append(LinkReference(namespace, link.name))
    }
  }

  func parent(of link: LinkState, in namespace: NamespaceID) -> LinkReference? {
    if case .macvlan(let macvlan) = link.kind { return macvlan.parent }
    return link.lowerLink.map { LinkReference(namespace, $0) }
  }

  mutating func add(_ link: LinkState, in namespace: NamespaceID) {
    self.namespace(namespace).links[link.name] = link
    adopt(link, in: namespace)
  }

  private mutating func lose(_ object: StateObject, in namespace: NamespaceID, because reason: String) {
    losses[object.path(in: namespace)] = reason
  }

  // MARK: Devices

  /// A device goes, with its other end, all that stands on it, and all that names it.
  mutating func deleteLink(_ reference: LinkReference, because cause: String) {
    guard let space = namespaces[reference.namespace],
      let link = space.links.removeValue(forKey: reference.name)
    else {
      return
    }
    if let index = link.index { space.indexes.remove(index) }
    lose(.link(link), in: reference.namespace, because: cause)
    for child in children.removeValue(forKey: reference) ?? [] where parentOfPresent(child) == reference {
      deleteLink(child, because: "made anew with \(reference.name)")
    }
    if case .veth(let peer?) = link.kind { deleteLink(peer, because: "made anew with its other end") }
    let reason = "put back after \(reference.name) goes"
    for (name, port) in space.links where port.master == reference.name {
      leaveBridge(LinkReference(reference.namespace, name), because: reason)
    }
    for address in space.addresses.removeValue(forKey: reference.name) ?? [] {
      lose(.address(address), in: reference.namespace, because: reason)
    }
    dropRoutes(in: space, because: reason) { route in
      route.destination.family == .ipv4 && route.nextHops.contains { $0.link == reference.name }
    }
    dropIPv6NextHops(of: reference.name, in: space, because: reason)
    dropNeighbors(of: reference.name, in: space, because: reason) { _ in true }
    dropFDB(of: reference.name, in: space, because: reason)
    if let qdisc = space.qdiscs.removeValue(forKey: reference.name) {
      lose(.qdisc(qdisc), in: reference.namespace, because: reason)
    }
    dropSysctls(of: reference.name, in: space, ipv6Only: false, because: reason)
    for (key, table) in space.tables where table.family == .netdev {
      var table = table
      table.chains.removeAll { $0.base?.devices == [reference.name.text] }
      space.tables[key] = table
    }
  }

  private func parentOfPresent(_ child: LinkReference) -> LinkReference? {
    link(child).flatMap { parent(of: $0, in: child.namespace) }
  }

  /// A device goes down: routes, neighbours, and IPv6 addresses unless they are kept.
  mutating func linkDown(_ reference: LinkReference, because reason: String) {
    guard let space = namespaces[reference.namespace] else { return }
    let name = reference.name
    dropDeadRoutes(of: name, in: space, because: reason)
    dropIPv6NextHops(of: name, in: space, because: reason)
    dropNeighbors(of: name, in: space, because: reason) { _ in true }
    let keeps = ["all", name.text].contains { space.sysctls["net/ipv6/conf/\($0)/keep_addr_on_down"] == "1" }
    if !keeps { dropIPv6Addresses(of: name, in: space, because: reason) }
  }

  /// IPv6 ends on a device: its MTU fell below 1280, or it was switched off.
  mutating func loseIPv6(_ reference: LinkReference, withSettings: Bool, because reason: String) {
    guard let space = namespaces[reference.namespace] else { return }
    dropIPv6Addresses(of: reference.name, in: space, because: reason)
    dropIPv6NextHops(of: reference.name, in: space, because: reason)
    dropNeighbors(of: reference.name, in: space, because: reason) { $0.family == .ipv6 }
    if withSettings { dropSysctls(of: reference.name, in: space, ipv6Only: true, because: reason) }
  }

  /// A port leaves its bridge: options, VLANs and forwarding entries of the port go.
  mutating func leaveBridge(_ reference: LinkReference, because reason: String) {
    guard let space = namespaces[reference.namespace], var link = space.links[reference.name] else { return }
    link.master = nil
    link.port = nil
    space.links[reference.name] = link
    if case .vxlan = link.kind { return }
    dropFDB(of: reference.name, in: space, because: reason)
  }

  // MARK: Addresses

  /// An address goes, with the secondaries of its subnet unless they are promoted, and with the routes that need it.
  mutating func deleteAddress(_ address: AddressState, in id: NamespaceID) {
    guard let space = namespaces[id], var list = space.addresses[address.link],
      let index = list.firstIndex(where: { $0.prefix == address.prefix })
    else { return }
    let reason = "put back after \(address.prefix.address) goes"
    list.remove(at: index)
    var gone = [address]
    if address.prefix.family == .ipv4 {
      let subnet = address.prefix.network
      let wasPrimary = !list[..<index].contains { $0.prefix.network == subnet }
      if wasPrimary, !promotesSecondaries(address.link, in: space) {
        for secondary in list where secondary.prefix.network == subnet {
          lose(.address(secondary), in: id, because: reason)
          gone.append(secondary)
        }
        list.removeAll { $0.prefix.network == subnet }
      }
    }
    space.addresses[address.link] = list
    for lost in gone {
      let source = lost.prefix.address
      let elsewhere = space.addresses.values.contains { $0.contains { $0.prefix.address == source } }
      guard !elsewhere else { continue }
      if source.family == .ipv4 {
        dropRoutes(in: space, because: reason) { $0.preferredSource == source }
      } else {
        for (key, route) in space.routes where route.preferredSource == source {
          space.routes[key]?.preferredSource = nil
        }
      }
    }
    // The last IPv4 address of a device takes IPv4 with it (fib_disable_ip).
    if address.prefix.family == .ipv4, !list.contains(where: { $0.prefix.family == .ipv4 }) {
      dropDeadRoutes(of: address.link, in: space, because: reason)
      dropNeighbors(of: address.link, in: space, because: reason) { $0.family == .ipv4 }
    }
  }

  func promotesSecondaries(_ link: InterfaceName, in space: PlannedNamespace) -> Bool {
    ["all", link.text].contains { space.sysctls["net/ipv4/conf/\($0)/promote_secondaries"] == "1" }
  }

  // MARK: Settings and namespaces

  /// A setting is written, and with it those of single devices that follow it.
  mutating func write(_ sysctl: SysctlState, in id: NamespaceID) {
    let space = namespace(id)
    let name = SysctlName(sysctl.name)
    space.sysctls[sysctl.name] = sysctl.value
    for (prefix, suffix) in name.overwritten {
      for key in space.sysctls.keys where key.hasPrefix(prefix) && key.hasSuffix(suffix) {
        space.sysctls[key] = sysctl.value
      }
    }
    guard sysctl.value == "1", sysctl.name.hasSuffix("/disable_ipv6") else { return }
    let reason = "put back after IPv6 was switched off"
    if name.scope == "all" {
      for link in space.links.keys.sorted() {
        loseIPv6(LinkReference(id, link), withSettings: false, because: reason)
      }
    } else if let link = name.link {
      loseIPv6(LinkReference(id, link), withSettings: false, because: reason)
    }
  }

  /// A namespace goes with all that is in it, and takes what hangs on its devices elsewhere.
  mutating func deleteNamespace(_ id: NamespaceID, because reason: String) {
    guard let space = namespaces[id], space.exists else { return }
    for name in space.links.keys.sorted() { deleteLink(LinkReference(id, name), because: reason) }
    losses[StatePath(id)] = reason
    space.remove()
  }

  // MARK: Parts

  private mutating func dropRoutes(
    in space: PlannedNamespace, because reason: String, where goes: (RouteState) -> Bool
  ) {
    for (key, route) in space.routes where goes(route) {
      lose(.route(route), in: space.id, because: reason)
      space.routes.removeValue(forKey: key)
    }
  }

  /// An IPv4 multipath route keeps a dead next hop; it goes when all are dead.
  private mutating func dropDeadRoutes(
    of link: InterfaceName, in space: PlannedNamespace, because reason: String
  ) {
    dropRoutes(in: space, because: reason) { route in
      route.destination.family == .ipv4 && !route.nextHops.isEmpty
        && route.nextHops.allSatisfy { $0.link == link }
    }
  }

  /// IPv6 keeps the other ways out of a multipath route.
  private mutating func dropIPv6NextHops(
    of link: InterfaceName, in space: PlannedNamespace, because reason: String
  ) {
    for (key, route) in space.routes
    where route.destination.family == .ipv6 && route.nextHops.contains(where: { $0.link == link }) {
      lose(.route(route), in: space.id, because: reason)
      var rest = route
      rest.nextHops.removeAll { $0.link == link }
      space.routes[key] = rest.nextHops.isEmpty ? nil : rest
    }
  }

  private mutating func dropNeighbors(
    of link: InterfaceName, in space: PlannedNamespace, because reason: String,
    where goes: (IPAddress) -> Bool
  ) {
    for (key, neighbor) in space.neighbors where key.link == link && goes(key.address) {
      lose(.neighbor(neighbor), in: space.id, because: reason)
      space.neighbors.removeValue(forKey: key)
    }
  }

  private mutating func dropFDB(of link: InterfaceName, in space: PlannedNamespace, because reason: String) {
    for entry in space.fdb where entry.link == link {
      lose(.fdb(entry), in: space.id, because: reason)
      space.fdb.remove(entry)
    }
  }

  private mutating func dropIPv6Addresses(
    of link: InterfaceName, in space: PlannedNamespace, because reason: String
  ) {
    guard let list = space.addresses[link] else { return }
    for address in list where address.prefix.family == .ipv6 {
      lose(.address(address), in: space.id, because: reason)
    }
    space.addresses[link] = list.filter { $0.prefix.family == .ipv4 }
  }

  private mutating func dropSysctls(
    of link: InterfaceName, in space: PlannedNamespace, ipv6Only: Bool, because reason: String
  ) {
    for (text, value) in space.sysctls {
      let name = SysctlName(text)
      guard name.link == link, !ipv6Only || name.isIPv6 else { continue }
      lose(.sysctl(SysctlState(name: text, value: value)), in: space.id, because: reason)
      space.sysctls.removeValue(forKey: text)
    }
  }
}
