// SPDX-License-Identifier: GPL-2.0-or-later

// Routes, policy rules, neighbours, forwarding entries and sysctls.

import LabCore
import NetTypes

extension TopologyCheck {
  /// What routing needs of a node besides its body: filled before the gateways of others are looked up.
  mutating func policies(of reader: Reader) {
    guard case .node(let node)? = names[reader.required("name")]?.what,
      nodes[node].location == reader.location
    else { return }
    let items = reader.objects("body")
    for item in items {
      switch item.kind {
      case "route": route(item, of: node)
      case "policyRule": policyRule(item, of: node)
      case "neighbor": neighbor(item, of: node)
      case "fdbEntry": fdbEntry(item, of: node)
      case "sysctl": sysctl(item, of: node)
      default: break
      }
    }
    translations(items, of: node)
    for item in items where item.kind == "firewall" { firewall(item, of: node) }
    for item in items where item.kind == "table" { table(item, of: node) }
    for item in items where item.kind == "ruleset" { ruleset(item, of: node) }
    checkRoutes(of: node)
  }

  /// Puts a stand-in where an address is still to be allocated, so that gateways can be judged now.
  mutating func checkRouting() {
    for node in nodes {
      for device in node.devices {
        let reference = Topology.DeviceReference(node.name, device.name)
        var prefixes = device.addresses.map(\.prefix)
        writtenAddresses.formUnion(prefixes.map(\.address))
        for subnet in device.allocatesFrom {
          pending.insert(reference)
          if let standIn = IPPrefix(subnet.address.advanced(by: 1), length: subnet.length) {
            prefixes.append(standIn)
          }
        }
        if !prefixes.isEmpty { book[reference] = prefixes }
      }
    }
  }

  // MARK: Routes

  private mutating func route(_ item: Reader, of node: Int) {
    let text = item.required("destination")
    let who = "node '\(nodes[node].name)': \(text == "default" ? "default route" : "route to \(text)")"
    var destination = Topology.Route.Destination.everything
    if text != "default" {
      guard let prefix = network(text, "\(who):", at: item.location) else { return }
      guard !prefix.address.isMulticast || prefix.isEverything else {
        fail("\(who): multicast is not routed by destination", at: item.location)
        return
      }
      destination = .prefix(prefix)
    }
    var kind = Topology.Route.Kind.unicast
    if let type = item.text("type") {
      guard let choice: Topology.Route.Kind = choice(type, "\(who): type", at: item.location) else { return }
      kind = choice
    }
    let hops = item.objects("via").compactMap { hop($0, of: node, who) }
    guard hops.count == item.values("via").count else { return }
    guard (kind == .unicast) == !hops.isEmpty else {
      let message =
        kind == .unicast ? "there is no way out; say via: or on:" : "\(kind.rawValue) has no gateway"
      fail("\(who): \(message)", at: item.location)
      return
    }
    var route = Topology.Route(destination: destination, kind: kind, nextHops: hops, location: item.location)
    route.metric = number32(item, "metric", "\(who): metric")
    route.table = number32(item, "table", from: 1, "\(who): table")
    if route.table == 255 {
      fail("\(who): table 255 is the kernel's own (local); choose another", at: item.location)
      return
    }
    route.mtu = mtu(item, who)
    if let source = item.text("source") {
      guard let address = address(source, "\(who): source", at: item.location) else { return }
      route.source = address
      let own = nodes[node].devices.flatMap { $0.addresses.map(\.prefix.address) }
      if !own.contains(address) {
        let list = own.isEmpty ? "" : "; it has \(list(own))"
        fail(
          "\(who): source \(address) is no address that the node's own lines give it\(list)",
          at: item.location)
        return
      }
    }
    nodes[node].routes.append(route)
  }

  private mutating func hop(_ item: Reader, of node: Int, _ who: String) -> Topology.NextHop? {
    var hop = Topology.NextHop()
    if let weight = item.integer("weight") {
      guard let weight = inRange(weight, 1...256, "\(who): weight", at: item.location) else { return nil }
      hop.weight = weight
    }
    hop.onLink = item.flag("onLink") ?? false
    if let name = item.text("on") {
      guard let device = device(name, of: node, who, at: item.location) else { return nil }
      hop.device = device.name
    }
    if let text = item.text("address") {
      guard let address = address(text, "\(who): gateway", at: item.location) else { return nil }
      guard !address.isUnspecified, !address.isMulticast else {
        fail("\(who): gateway \(address) is nobody's address", at: item.location)
        return nil
      }
      if address.isLinkLocal, address.family == .ipv6, hop.device == nil {
        fail(
          "\(who): gateway \(address) is link-local; say on which interface: via: NextHop(\"\(address)\", on: …)",
          at: item.location)
        return nil
      }
      hop.gateway = .address(address)
    } else if let name = item.text("node") {
      guard let other = self.node(name, who, at: item.location) else { return nil }
      guard other != node else {
        fail("\(who): the node cannot be its own gateway", at: item.location)
        return nil
      }
      if let interface = item.text("interface") {
        guard let device = device(interface, of: other, who, at: item.location) else { return nil }
        hop.gateway = .device(Topology.DeviceReference(nodes[other].name, device.name))
      } else {
        hop.gateway = .node(nodes[other].name)
      }
    } else if let name = item.text("internet") {
      guard let internet, internet.name.text == name else {
        fail("\(who): the lab has no internet '\(name)'", at: item.location)
        return nil
      }
      guard nodes[node].devices.contains(where: { $0.kind == .interface(.internet) }) else {
        fail(
          "\(who): the node has no interface on the lab's internet; give it one: Interface(\"wan0\", on: \(name))",
          at: item.location)
        return nil
      }
      hop.gateway = .internet
    } else if hop.device == nil {
      fail("\(who): a way out needs a gateway or an interface", at: item.location)
      return nil
    }
    return hop
  }

  /// Gateways, and routes that say the same.
  private mutating func checkRoutes(of node: Int) {
    let resolution = RouteResolution(
      node: nodes[node], addresses: book,
      devices: { [names, nodes] name in
        guard case .node(let index)? = names[name.text]?.what else { return [] }
        return nodes[index].devices
      }, internet: internet?.gateway, pending: pending)
    let (routes, problems) = resolution.routes()
    errors += problems
    let name = nodes[node].name
    let own = nodes[node].devices.flatMap { book[Topology.DeviceReference(name, $0.name)] }
    let written = Set(nodes[node].devices.flatMap { $0.addresses.map(\.prefix.address) })
    let peers = Set(nodes[node].devices.flatMap { $0.addresses.compactMap(\.peer) })
    // What a moved or a macvlan device hears of is the host's business.
    let isOpen = nodes[node].devices.contains { device in
      if case .uplink = device.kind { device.addresses.isEmpty } else { false }
    }
    var seen: [String: SourceLocation] = [:]
    for route in routes {
      let who =
        "node '\(name)': \(route.destination.isEverything ? "default route" : "route to \(route.destination)")"
      let key = "\(route.destination) \(route.table ?? 254) \(route.metric ?? 0)"
      if let first = seen[key] {
        fail(
          "\(who): stands there already (\(first)); for several ways out write via: [\"…\", \"…\"], for a reserve give it a metric",
          at: route.location)
      } else {
        seen[key] = route.location
      }
      for hop in route.nextHops {
        guard let gateway = hop.gateway else { continue }
        guard gateway.family == route.destination.family else {
          fail("\(who): gateway \(gateway) is of another family", at: route.location)
          continue
        }
        if written.contains(gateway) {
          fail("\(who): gateway \(gateway) is the node's own address", at: route.location)
          continue
        }
        let isReached = own.contains { $0.contains(gateway) && !$0.isHost } || peers.contains(gateway)
        guard !isReached, !hop.onLink, !isOpen, !(gateway.isLinkLocal && hop.device != nil) else { continue }
        let networks = own.filter { !$0.isHost && $0.family == gateway.family }.map(\.network)
        fail(
          "\(who): gateway \(gateway) is on no subnet of the node (\(networks.isEmpty ? "it has none" : list(networks))); write an address of a neighbour, or onLink: true",
          at: route.location)
      }
    }
  }

  // MARK: Policy rules

  private mutating func policyRule(_ item: Reader, of node: Int) {
    let who = "node '\(nodes[node].name)': policy rule"
    let action: Topology.PolicyRule.Action
    switch (item.integer("table"), item.text("action")) {
    case (.some, nil):
      guard let table = number32(item, "table", from: 1, "\(who): table") else { return }
      action = .table(table)
    case (nil, "blackhole"?): action = .blackhole
    case (nil, "unreachable"?): action = .unreachable
    case (nil, "prohibit"?): action = .prohibit
    case (nil, let text?):
      fail("\(who): action '\(text)' is none of blackhole, unreachable, prohibit", at: item.location)
      return
    case (nil, nil), (.some, .some):
      fail("\(who): it should have either a table or an action", at: item.location)
      return
    }
    var rule = Topology.PolicyRule(action: action, location: item.location)
    rule.priority = integer(item, "priority", 1...32765, "\(who): priority").flatMap { UInt32(exactly: $0) }
    for (key, path) in [
      ("source", \Topology.PolicyRule.source), ("destination", \Topology.PolicyRule.destination),
    ] {
      guard let text = item.text(key) else { continue }
      guard let prefix = network(text, "\(who): \(key)", at: item.location) else { return }
      rule[keyPath: path] = prefix
    }
    if let source = rule.source, let destination = rule.destination, source.family != destination.family {
      fail(
        "\(who): source \(source) and destination \(destination) are of different families", at: item.location
      )
      return
    }
    rule.family = rule.source?.family ?? rule.destination?.family
    if let name = item.text("from") {
      guard let device = device(name, of: node, who, at: item.location) else { return }
      rule.incoming = device.name
    }
    if let name = item.text("to") {
      guard let device = device(name, of: node, who, at: item.location) else { return }
      rule.outgoing = device.name
    }
    rule.mark = number32(item, "mark", "\(who): mark")
    rule.markMask = number32(item, "mask", "\(who): mask")
    if rule.markMask != nil, item.integer("mark") == nil {
      fail("\(who): a mask needs a mark", at: item.location)
      return
    }
    if rule.priority != nil,
      let first = nodes[node].policyRules.first(where: { other in
        var same = other
        same.location = rule.location
        same.action = rule.action
        return same == rule
      })
    {
      fail("\(who): one with the same priority and selector stands at \(first.location)", at: item.location)
      return
    }
    nodes[node].policyRules.append(rule)
  }

  // MARK: Neighbours and forwarding entries

  private mutating func neighbor(_ item: Reader, of node: Int) {
    let who = "node '\(nodes[node].name)': neighbour \(item.required("address"))"
    guard let address = address(item.required("address"), "\(who):", at: item.location),
      let device = device(item.required("on"), of: node, who, at: item.location)
    else { return }
    guard !address.isMulticast, !address.isUnspecified else {
      fail("\(who): \(address) is no neighbour's address", at: item.location)
      return
    }
    var mac: MACAddress?
    if let text = item.text("mac") {
      guard let known = self.mac(text, who, at: item.location) else { return }
      mac = known
    }
    if let first = nodes[node].neighbors.first(where: {
      $0.address == address && $0.device == device.name && ($0.mac == nil) == (mac == nil)
    }) {
      fail("\(who): the entry stands there already (\(first.location))", at: item.location)
      return
    }
    nodes[node].neighbors.append(
      Topology.Neighbor(address: address, mac: mac, device: device.name, location: item.location))
  }

  private mutating func fdbEntry(_ item: Reader, of node: Int) {
    let who = "node '\(nodes[node].name)': forwarding entry \(item.required("mac"))"
    guard let mac = MACAddress(item.required("mac")) else {
      fail(
        "\(who): '\(item.required("mac"))' is not a MAC address such as 02:00:00:00:00:01", at: item.location)
      return
    }
    guard let device = device(item.required("on"), of: node, who, at: item.location) else { return }
    var isTunnel = false
    if case .vxlan = device.kind { isTunnel = true }
    var isBridge = false
    if case .bridge = device.kind { isBridge = true }
    guard isTunnel || isBridge || device.master != nil else {
      fail(
        "\(who): '\(device.name)' is neither a bridge, nor a port of one, nor a vxlan device; only those forward by MAC address",
        at: item.location)
      return
    }
    // All zeros is where a tunnel sends what it does not know.
    guard !mac.isMulticast, mac != .zero || isTunnel else {
      fail("\(who): the MAC address should be one interface's own", at: item.location)
      return
    }
    var entry = Topology.FDBEntry(mac: mac, device: device.name, location: item.location)
    entry.vlan = integer(item, "vlan", 1...4094, "\(who): VLAN")
    if let text = item.text("remote") {
      guard isTunnel else {
        fail("\(who): only a vxlan device has remote ends; '\(device.name)' is none", at: item.location)
        return
      }
      guard let remote = address(text, "\(who): remote", at: item.location) else { return }
      entry.remote = remote
    }
    if let first = nodes[node].fdb.first(where: {
      $0.mac == mac && $0.device == entry.device && $0.vlan == entry.vlan && $0.remote == entry.remote
    }) {
      fail("\(who): the entry stands there already (\(first.location))", at: item.location)
      return
    }
    nodes[node].fdb.append(entry)
  }

  // MARK: Sysctls

  private mutating func sysctl(_ item: Reader, of node: Int) {
    let written = item.required("name")
    let who = "node '\(nodes[node].name)': sysctl '\(written)'"
    let name = Self.sysctlPath(written)
    let parts = name.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count >= 3, !parts.contains(where: { $0.isEmpty || $0 == "." || $0 == ".." }),
      name.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
    else {
      fail("\(who): it should be a path such as net.ipv4.tcp_syncookies", at: item.location)
      return
    }
    guard parts[0] == "net" else {
      fail(
        "\(who): only settings below net. belong to a node; '\(parts[0])' is the whole machine's",
        at: item.location)
      return
    }
    let value = SysctlState.normalized(item.required("value"))
    guard !value.isEmpty, value.utf8.count <= 1024, value.utf8.allSatisfy({ (0x20...0x7e).contains($0) })
    else {
      fail("\(who): the value should be one line of text", at: item.location)
      return
    }
    // net/ipv4/conf/<device>/… and net/ipv4/neigh/<device>/…
    if parts.count == 5, parts[2] == "conf" || parts[2] == "neigh",
      !["all", "default", "lo"].contains(parts[3])
    {
      guard device(parts[3], of: node, who, at: item.location) != nil else { return }
    }
    if let first = nodes[node].sysctls.first(where: { $0.name == name }) {
      fail("\(who): it is set already (\(first.location))", at: item.location)
      return
    }
    nodes[node].sysctls.append(Topology.Sysctl(name: name, value: value, location: item.location))
  }

  /// As sysctl(8) reads names: the separator that comes first separates, the other stands for itself.
  static func sysctlPath(_ name: String) -> String {
    guard name.first(where: { $0 == "." || $0 == "/" }) == "." else { return name }
    return String(name.map { $0 == "." ? "/" : $0 == "/" ? "." : $0 })
  }
}
