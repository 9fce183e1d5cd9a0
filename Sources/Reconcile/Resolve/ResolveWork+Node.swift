// SPDX-License-Identifier: GPL-2.0-or-later

// A node's namespace: devices, addresses, routes, rules, settings.

import LabCore
import NetTypes
import Nftables
import TopologyModel

extension ResolveWork {
  mutating func resolve(_ node: Topology.Node, _ routes: [Topology.ResolvedRoute]) -> NamespaceState {
    let id = NamespaceID.node(node.name)
    sources.record(StatePath(id), at: node.location)
    var space = NamespaceState(id: id)
    if !node.devices.contains(where: { $0.kind == .loopback }) {
      space.links.append(LinkState(name: .loopback, kind: .loopback))
    }
    for device in node.devices {
      let link = resolve(device, of: node)
      space.links.append(link)
      sources.record(StatePath(id, .link, key: [link.name.text]), at: device.location)
      resolveAddresses(of: device, on: link.name, node: node, into: &space)
      if let impairment = device.impairment,
        let kind = QdiscKind(
          impairment, seed: StableHash.of("\(seedOfImpairments)/\(node.name)/\(device.name)/seed"))
      {
        let qdisc = QdiscState(link: link.name, kind: kind)
        space.qdiscs.append(qdisc)
        sources.record(StateObject.qdisc(qdisc).path(in: id), at: impairment.location)
      }
    }
    resolve(routes, into: &space)
    let ipv6 = usesIPv6(node, space)
    resolvePolicyRules(of: node, ipv6: ipv6, into: &space)
    for neighbor in node.neighbors {
      let state = NeighborState(
        link: name(of: neighbor.device, in: id), address: neighbor.address, mac: neighbor.mac,
        isProxy: neighbor.mac == nil)
      space.neighbors.append(state)
      sources.record(StateObject.neighbor(state).path(in: id), at: neighbor.location)
    }
    for entry in node.fdb {
      let state = FDBState(
        link: name(of: entry.device, in: id), mac: entry.mac, vlan: entry.vlan.map { UInt16(clamping: $0) },
        remote: entry.remote)
      space.fdb.append(state)
      sources.record(StateObject.fdb(state).path(in: id), at: entry.location)
    }
    resolveSysctls(of: node, ipv6: ipv6, into: &space)
    if !node.tables.isEmpty {
      for link in withIndexes(space).links { deviceIndexes[id, default: [:]][link.name.text] = link.index }
    }
    resolveTables(of: node, into: &space)
    return space
  }

  private func usesIPv6(_ node: Topology.Node, _ space: NamespaceState) -> Bool {
    space.addresses.contains { $0.prefix.family == .ipv6 }
      || space.routes.contains { $0.destination.family == .ipv6 }
      || node.devices.contains { device in
        guard case .interface(.bridge(let name)) = device.kind else { return false }
        return bridges[name]?.subnets.contains { $0.family == .ipv6 } ?? false
      }
  }

  private mutating func resolveAddresses(
    of device: Topology.Device, on link: InterfaceName, node: Topology.Node, into space: inout NamespaceState
  ) {
    var seen: Set<IPPrefix> = []
    let written = Dictionary(
      device.addresses.map { ($0.prefix, $0) }, uniquingKeysWith: { first, _ in first })
    for prefix in book[Topology.DeviceReference(node.name, device.name)] where seen.insert(prefix).inserted {
      // The kernel gives `lo` these by itself.
      if link == .loopback, prefix.address == .v4(.loopback) || prefix.address == .v6(.loopback) { continue }
      let state = AddressState(link: link, prefix: prefix, peer: written[prefix]?.peer)
      space.addresses.append(state)
      sources.record(
        StateObject.address(state).path(in: space.id), at: written[prefix]?.location ?? device.location)
    }
  }

  // MARK: Routes and rules

  private mutating func resolve(_ routes: [Topology.ResolvedRoute], into space: inout NamespaceState) {
    for route in routes {
      let type: RouteState.RouteType =
        switch route.kind {
        case .unicast: .unicast
        case .blackhole: .blackhole
        case .unreachable: .unreachable
        case .prohibit: .prohibit
        }
      let hops = route.nextHops.map { hop in
        RouteState.NextHop(
          gateway: hop.gateway, link: hop.device.map { name(of: $0, in: space.id) },
          weight: UInt16(clamping: hop.weight),
          isOnLink: hop.onLink)
      }
      let state = RouteState(
        destination: route.destination.network, table: route.table ?? RouteState.mainTable,
        metric: route.metric,
        type: type, nextHops: hops.count > 1 ? hops.sorted { ($0.description) < ($1.description) } : hops,
        preferredSource: route.source,
        mtu: route.mtu.map { UInt32(clamping: $0) })
      space.routes.append(state)
      sources.record(StateObject.route(state).path(in: space.id), at: route.location)
    }
  }

  private mutating func resolvePolicyRules(
    of node: Topology.Node, ipv6: Bool, into space: inout NamespaceState
  ) {
    for (index, rule) in node.policyRules.enumerated() {
      let action: PolicyRuleState.Action =
        switch rule.action {
        case .table(let table): .lookup(table: table)
        case .blackhole: .blackhole
        case .unreachable: .unreachable
        case .prohibit: .prohibit
        }
      let family = rule.family ?? rule.source?.family ?? rule.destination?.family
      let families: [IPFamily] = family.map { [$0] } ?? (ipv6 ? [.ipv4, .ipv6] : [.ipv4])
      for family in families {
        let state = PolicyRuleState(
          family: family, priority: rule.priority ?? 1000 + UInt32(clamping: index),
          source: rule.source?.network,
          destination: rule.destination?.network, inputLink: rule.incoming.map { name(of: $0, in: space.id) },
          outputLink: rule.outgoing.map { name(of: $0, in: space.id) }, mark: rule.mark,
          markMask: rule.mark == nil ? nil : rule.markMask ?? .max, action: action)
        space.policyRules.append(state)
        sources.record(StateObject.policyRule(state).path(in: space.id), at: rule.location)
      }
    }
  }

  // MARK: Settings

  private mutating func resolveSysctls(of node: Topology.Node, ipv6: Bool, into space: inout NamespaceState) {
    space.sysctls = NamespaceDefaults.sysctls(for: node.kind == .router ? .router : .node, ipv6: ipv6)
    guard !node.sysctls.isEmpty else { return }
    var values = Dictionary(
      space.sysctls.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
    for sysctl in node.sysctls {
      let name = settingName(sysctl.name, in: space.id)
      values[name] = sysctl.value
      sources.record(StatePath(space.id, .sysctl, key: [name]), at: sysctl.location)
    }
    space.sysctls = values.map { SysctlState(name: $0.key, value: $0.value) }.sorted { $0.name < $1.name }
  }

  /// With the kernel's names of devices, and one name for what has two.
  private func settingName(_ written: String, in namespace: NamespaceID) -> String {
    if written == "net/ipv4/conf/all/forwarding" { return "net/ipv4/ip_forward" }
    let name = SysctlName(written)
    guard let scope = name.scope, scope != "all", scope != "default",
      let kernel = names[namespace]?[String(scope)],
      kernel.text != scope
    else { return written }
    var parts = written.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    parts[3] = kernel.text
    return parts.joined(separator: "/")
  }
}
