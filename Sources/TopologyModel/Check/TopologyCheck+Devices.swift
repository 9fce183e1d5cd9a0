// SPDX-License-Identifier: GPL-2.0-or-later

// The devices of a node's body.

import LabCore
import NetTypes

extension TopologyCheck {
  /// Kinds of items that are devices.
  private static let deviceKinds: Set<String> = [
    "interface", "loopback", "bridge", "vlan", "dummy", "tap", "tun", "vxlan", "macvlan", "uplink",
  ]

  /// The longest alternative name of a device (ALTIFNAMSIZ less the terminating zero).
  private static let maximumDeviceName = 127

  /// Reads what in a node's body stands by itself; what refers to other nodes waits until all are read.
  mutating func body(of reader: Reader) {
    guard case .node(let node)? = names[reader.required("name")]?.what,
      nodes[node].location == reader.location
    else { return }
    let items = reader.objects("body")
    for item in items where Self.deviceKinds.contains(item.kind) { device(item, of: node) }
    for item in items where item.kind == "address" { furtherAddress(item, of: node) }
    for item in items where item.kind == "bridge" { ports(item, of: node) }
    checkStacking(of: node)
    programs(items, of: node)
  }

  /// Enters a device into its node.
  private mutating func device(_ item: Reader, of node: Int) {
    let name = item.kind == "loopback" ? "lo" : item.required("name")
    let who = "interface '\(name)' of node '\(nodes[node].name)'"
    if item.kind == "loopback" {
      let addresses = addresses(item, who, isLoopback: true, subnets: [])
      if let index = devices[node]["lo"] {
        nodes[node].devices[index].addresses += addresses
      } else {
        add(
          Topology.Device(name: "lo", kind: .loopback, addresses: addresses, location: item.location),
          to: node)
      }
      return
    }
    let reference = Topology.DeviceReference(nodes[node].name, name)
    refusedDevices.insert(reference)
    guard isDeviceName(name, who, at: item.location) else { return }
    if let index = devices[node][name] {
      fail(
        "\(who): the name is taken by the one at \(nodes[node].devices[index].location)", at: item.location)
      return
    }
    guard let kind = kind(of: item, node: node, who) else { return }
    var subnets: [IPPrefix] = []
    var device = Topology.Device(name: name, kind: kind, location: item.location)
    // A vxlan's `port` is that of its packets.
    let portOptions = item.kind == "interface" ? item.object("port") : nil
    if case .interface(.bridge(let bridge)) = kind, case .bridge(let index)? = names[bridge.text]?.what {
      subnets = bridges[index].subnets
      if let port = portOptions {
        device.port = self.portOptions(
          port, who, filtering: bridges[index].options.vlanFiltering == true, bridge: "bridge '\(bridge)'")
      }
    } else if portOptions != nil {
      fail(
        "\(who): port options belong to a port of a bridge; put the interface on one (on:)", at: item.location
      )
    }
    if case .interface(.internet) = kind, let internet { subnets = [internet.subnet] }
    device.addresses = addresses(item, who, isLoopback: false, subnets: subnets)
    // A trunk carries VLANs that the bridge's subnets say nothing of.
    if item.texts("addresses").isEmpty, portOptions?.integers("trunk").isEmpty != false {
      device.allocatesFrom = subnets
    }
    device.mtu = mtu(item, who)
    device.isUp = item.flag("up") ?? true
    if let text = item.text("mac"), let mac = mac(text, who, at: item.location) {
      if let first = macs[mac] {
        fail("\(who): MAC address \(mac) is that of \(first.owner) (\(first.location))", at: item.location)
      } else {
        macs[mac] = (who, item.location)
        device.mac = mac
      }
    }
    refusedDevices.remove(reference)
    if let impairment = item.object("impairment") { device.impairment = self.impairment(of: impairment, who) }
    add(device, to: node)
  }

  private mutating func add(_ device: Topology.Device, to node: Int) {
    devices[node][device.name] = nodes[node].devices.count
    nodes[node].devices.append(device)
  }

  private mutating func isDeviceName(_ name: String, _ who: String, at location: SourceLocation) -> Bool {
    if name == "lo" {
      fail("\(who): 'lo' is there already; give it addresses with Loopback(address:)", at: location)
      return false
    }
    // The kernel keeps settings for all devices and for new ones under these names.
    if ["all", "default"].contains(name) {
      fail("\(who): the kernel reserves the name; choose another", at: location)
      return false
    }
    let bytes = name.utf8
    guard (1...Self.maximumDeviceName).contains(bytes.count), name != ".", name != "..",
      bytes.allSatisfy({ (0x21...0x7e).contains($0) && $0 != 0x2f && $0 != 0x3a })
    else {
      fail(
        "\(who): the kernel takes names of 1 to \(Self.maximumDeviceName) characters without '/', ':' and blanks; choose another",
        at: location)
      return false
    }
    return true
  }

  private mutating func kind(of item: Reader, node: Int, _ who: String) -> Topology.DeviceKind? {
    switch item.kind {
    case "interface": return attachment(item, node: node, who).map { .interface($0) }
    case "bridge": return .bridge(bridgeOptions(item, who))
    case "vlan":
      guard let id = integer(item, "id", 1...4094, "\(who): VLAN") else { return nil }
      return .vlan(parent: item.required("on"), id: id)
    case "dummy": return .dummy
    case "tap": return .tap(tunTap(item, who))
    case "tun": return .tun(tunTap(item, who))
    case "vxlan": return vxlan(item, who).map { .vxlan($0) }
    case "macvlan": return .macvlan(parent: item.required("on"), mode: mode(item, who) ?? .bridge)
    case "uplink": return item.object("way").flatMap { uplink($0, who) }.map { .uplink($0) }
    default: return nil
    }
  }

  /// What an interface says of its other end. One that says nothing is a peer of nobody until a link names it.
  private mutating func attachment(_ item: Reader, node: Int, _ who: String) -> Topology.Attachment? {
    guard let segment = item.text("on") else {
      return .peer(Topology.DeviceReference(nodes[node].name, item.required("name")))
    }
    switch names[segment]?.what {
    case .bridge(let index): return .bridge(bridges[index].name)
    case .internet: return .internet
    case .node:
      fail(
        "\(who): '\(segment)' is a node, not a bridge; join the two with lab.link(\(nodes[node].name)[\"\(item.required("name"))\"], \(segment)[…])",
        at: item.location)
    case nil where refusedNames.contains(segment): break
    case nil:
      let isDevice = devices[node][segment] != nil
      let advice =
        isDevice
        ? "; '\(segment)' is a bridge of the node itself: name the interface in its ports:"
        : didYouMean(segment, bridges.map(\.name.text))
      fail("\(who): there is no bridge '\(segment)'\(advice)", at: item.location)
    }
    return nil
  }

  private mutating func tunTap(_ item: Reader, _ who: String) -> Topology.TunTap {
    Topology.TunTap(
      owner: number32(item, "owner", "\(who): owner"), group: number32(item, "group", "\(who): group"),
      multiQueue: item.flag("multiQueue") ?? false)
  }

  private mutating func mode(_ item: Reader, _ who: String) -> MacvlanState.Mode? {
    guard let text = item.text("mode") else { return nil }
    let all: [MacvlanState.Mode] = [.private, .vepa, .bridge, .passthru]
    if let mode = all.first(where: { $0.rawValue == text }) { return mode }
    fail("\(who): mode '\(text)' is none of private, vepa, bridge, passthru", at: item.location)
    return nil
  }

  private mutating func vxlan(_ item: Reader, _ who: String) -> Topology.VXLAN? {
    guard let id = integer(item, "id", 1...16_777_215, "\(who): id") else { return nil }
    var vxlan = Topology.VXLAN(id: id)
    vxlan.remote = item.text("remote").flatMap { address($0, "\(who): remote", at: item.location) }
    vxlan.local = item.text("local").flatMap { address($0, "\(who): local", at: item.location) }
    vxlan.underlay = item.text("on")
    if let value = item.integer("port"), let port = port(value, who, at: item.location) { vxlan.port = port }
    vxlan.learning = item.flag("learning") ?? true
    vxlan.ttl = integer(item, "ttl", 1...255, "\(who): TTL")
    if let remote = vxlan.remote, let local = vxlan.local, remote.family != local.family {
      fail("\(who): remote \(remote) and local \(local) are of different families", at: item.location)
    }
    if let remote = vxlan.remote, remote.isMulticast, vxlan.underlay == nil {
      fail("\(who): a multicast group is joined on a device; say on which (on: \"eth0\")", at: item.location)
    }
    if let remote = vxlan.remote, remote.isUnspecified {
      fail("\(who): remote \(remote) is nobody's address", at: item.location)
    }
    if let local = vxlan.local, local.isMulticast || local.isUnspecified {
      fail("\(who): local \(local) should be an address of the node", at: item.location)
    }
    return vxlan
  }

  private mutating func uplink(_ way: Reader, _ who: String) -> Topology.Uplink? {
    let host = way.text("host")
    if let host, InterfaceName(host) == nil {
      fail("\(who): '\(host)' is not the name of a device of the host", at: way.location)
      return nil
    }
    switch (way.required("via"), host) {
    case ("veth", _):
      let prefixes = way.texts("hostAddresses").compactMap { text -> IPPrefix? in
        prefix(text, who, isLoopback: false, subnets: [], at: way.location)
      }
      return .veth(host: host, hostAddresses: prefixes)
    case ("tap", let host?):
      if let first = hostTaps[host] {
        fail("\(who): '\(host)' is joined to \(first.owner) already (\(first.location))", at: way.location)
        return nil
      }
      hostTaps[host] = (who, way.location)
      return .tap(host: host)
    case ("macvlan", let host?): return .macvlan(host: host, mode: mode(way, who) ?? .bridge)
    case ("move", let host?): return .move(host: host)
    case ("tap", nil), ("macvlan", nil), ("move", nil):
      fail("\(who): say which device of the host", at: way.location)
    case (let other, _): fail("\(who): '\(other)' is none of veth, tap, macvlan, move", at: way.location)
    }
    return nil
  }

  /// The addresses that a device's own line says.
  private mutating func addresses(
    _ item: Reader, _ who: String, isLoopback: Bool, subnets: [IPPrefix]
  ) -> [Topology.InterfaceAddress] {
    item.texts("addresses").compactMap { text in
      prefix(text, who, isLoopback: isLoopback, subnets: subnets, at: item.location)
        .map { Topology.InterfaceAddress(prefix: $0, location: item.location) }
    }
  }

  /// An address with its length; a subnet that it lies in gives the length where none is written.
  mutating func prefix(
    _ text: String, _ who: String, isLoopback: Bool, subnets: [IPPrefix], at location: SourceLocation
  ) -> IPPrefix? {
    guard var prefix = IPPrefix(text) else {
      fail("\(who): '\(text)' is not an address such as 10.0.0.1/24", at: location)
      return nil
    }
    let around = subnets.first { $0.contains(prefix.address) }
    if !text.contains("/"), !isLoopback {
      guard let around else {
        let advice = subnets.isEmpty ? "" : "; the subnet is \(list(subnets))"
        fail(
          "\(who): write the prefix length of \(text), such as \(text)/\(prefix.family == .ipv4 ? 24 : 64)\(advice)",
          at: location)
        return nil
      }
      prefix.length = around.length
    }
    if let complaint = complaint(about: prefix, isLoopback: isLoopback) {
      fail("\(who): \(prefix.address) \(complaint)", at: location)
      return nil
    }
    let family = subnets.filter { $0.family == prefix.family }
    guard !family.isEmpty, !prefix.address.isLinkLocal else { return prefix }
    guard let around else {
      fail(
        "\(who): \(prefix) is not in the subnet \(list(family)); choose an address of it, or leave it out to have a free one",
        at: location)
      return nil
    }
    guard prefix.length == around.length || prefix.isHost else {
      fail(
        "\(who): \(prefix) has another length than its subnet \(around); write \(prefix.address)/\(around.length)",
        at: location)
      return nil
    }
    return prefix
  }

  func list(_ values: [some CustomStringConvertible]) -> String {
    values.map(\.description).joined(separator: ", ")
  }

  /// Why an interface cannot have the address.
  private func complaint(about prefix: IPPrefix, isLoopback: Bool) -> String? {
    let address = prefix.address
    if address.isUnspecified { return "is nobody's address" }
    if address.isMulticast { return "is a multicast group, not an interface's address" }
    if case .v4(.broadcast) = address { return "is the broadcast address" }
    if prefix.length == 0 { return "needs a prefix length of 1 or more" }
    if address.isLoopback, !isLoopback { return "is a loopback address; it belongs to Loopback(address:)" }
    if case .v6(let v6) = address, v6.isIPv4Mapped {
      return "is an IPv4 address in IPv6's clothes; write it as IPv4"
    }
    guard prefix.family == .ipv4, prefix.length <= 30 else { return nil }
    if prefix.network.address == address {
      return "is the name of the network \(prefix.network), not a host's address"
    }
    if prefix.last == address { return "is the broadcast address of \(prefix.network), not a host's" }
    return nil
  }

  private mutating func furtherAddress(_ item: Reader, of node: Int) {
    let name = item.required("on")
    let who = "address \(item.required("address")) of node '\(nodes[node].name)'"
    if name == "lo", devices[node]["lo"] == nil {
      add(Topology.Device(name: "lo", kind: .loopback, location: item.location), to: node)
    }
    guard let device = device(name, of: node, who, at: item.location), let index = devices[node][name] else {
      return
    }
    var subnets: [IPPrefix] = []
    if case .interface(.bridge(let bridge)) = device.kind, case .bridge(let place)? = names[bridge.text]?.what
    {
      subnets = bridges[place].subnets
    }
    // A further address may come from any network; a subnet only gives a length that was left out.
    let text = item.required("address")
    let isInside = IPPrefix(text).map { prefix in subnets.contains { $0.contains(prefix.address) } } ?? false
    let peer = item.text("peer").flatMap { address($0, "\(who): peer", at: item.location) }
    guard
      let prefix = prefix(
        text, who, isLoopback: device.kind == .loopback || peer != nil, subnets: isInside ? subnets : [],
        at: item.location)
    else { return }
    if let peer, peer.family != prefix.family {
      fail("\(who): peer \(peer) is of another family", at: item.location)
      return
    }
    nodes[node].devices[index].addresses.append(
      Topology.InterfaceAddress(prefix: prefix, peer: peer, location: item.location))
  }

  /// The ports of a node's bridge.
  private mutating func ports(_ item: Reader, of node: Int) {
    let bridge = item.required("name")
    guard let place = devices[node][bridge], case .bridge(let options) = nodes[node].devices[place].kind,
      nodes[node].devices[place].location == item.location
    else { return }
    let who = "bridge '\(bridge)' of node '\(nodes[node].name)'"
    let ports = item.objects("ports")
    for (count, port) in ports.enumerated() {
      let name = port.required("name")
      guard let device = device(name, of: node, who, at: port.location), let index = devices[node][name]
      else { continue }
      if count == Topology.maximumPorts {
        fail(
          "\(who): the kernel gives a bridge \(Topology.maximumPorts) ports; it has \(ports.count)",
          at: port.location)
        return
      }
      switch device.kind {
      case .loopback, .bridge, .tun:
        let what =
          device.kind == .loopback
          ? "loopback" : name == bridge ? "the bridge itself" : "no Ethernet device that a bridge takes"
        fail("\(who): '\(name)' cannot be a port; it is \(what)", at: port.location)
        continue
      default: break
      }
      if let master = device.master {
        fail("\(who): '\(name)' is a port of '\(master)' already", at: port.location)
        continue
      }
      nodes[node].devices[index].master = bridge
      nodes[node].devices[index].allocatesFrom = []
      guard let options2 = port.object("port") else { continue }
      if device.port != nil {
        fail(
          "\(who): port options of '\(name)' stand with the interface and with the bridge; an interface on a lab's bridge cannot carry both",
          at: port.location)
        continue
      }
      nodes[node].devices[index].port = portOptions(
        options2, "\(who), port '\(name)'", filtering: options.vlanFiltering == true, bridge: who)
    }
  }

  /// Devices that stand on others: the others must be there, be of a kind that carries them, and not stand on them in
  /// turn.
  private mutating func checkStacking(of node: Int) {
    var vlans: [String: SourceLocation] = [:]
    var tunnels: [String: SourceLocation] = [:]
    for device in nodes[node].devices {
      let who = "interface '\(device.name)' of node '\(nodes[node].name)'"
      let parent: String?
      switch device.kind {
      case .vlan(let on, let id):
        parent = on
        if let first = vlans.updateValue(device.location, forKey: "\(on) \(id)") {
          fail("\(who): VLAN \(id) of '\(on)' is taken by the device at \(first)", at: device.location)
        }
      case .macvlan(let on, _): parent = on
      case .vxlan(let vxlan):
        parent = vxlan.underlay
        let key = "\(vxlan.id) \(vxlan.port) \(vxlan.underlay ?? "")"
        if let first = tunnels.updateValue(device.location, forKey: key) {
          fail(
            "\(who): id \(vxlan.id) on port \(vxlan.port) is taken by the device at \(first)",
            at: device.location)
        }
      default: parent = nil
      }
      guard let parent, let below = self.device(parent, of: node, who, at: device.location) else { continue }
      if case .vxlan = device.kind {
      } else if below.kind == .loopback {
        fail("\(who): 'lo' carries no Ethernet frames; put it on another interface", at: device.location)
      } else if case .tun = below.kind {
        fail(
          "\(who): '\(parent)' is a tun device, which carries no Ethernet frames; put it on another interface",
          at: device.location)
      }
      if let mtu = device.mtu, let limit = below.mtu, mtu > limit, case .vlan = device.kind {
        fail("\(who): MTU \(mtu) is more than the \(limit) of '\(parent)' below it", at: device.location)
      }
      if standsOn(parent, device.name, node: node) {
        fail("\(who): it stands on itself, by way of '\(parent)'", at: device.location)
      }
    }
  }

  private func standsOn(_ name: String, _ target: String, node: Int) -> Bool {
    var name = name
    var steps = 0
    while let index = devices[node][name], steps <= nodes[node].devices.count {
      if name == target { return true }
      switch nodes[node].devices[index].kind {
      case .vlan(let parent, _), .macvlan(let parent, _): name = parent
      case .vxlan(let vxlan):
        guard let parent = vxlan.underlay else { return false }
        name = parent
      default: return false
      }
      steps += 1
    }
    return false
  }
}

extension Topology {
  /// The kernel gives a bridge 1,024 port numbers, of which 0 is none (BR_MAX_PORTS).
  public static let maximumPorts = 1023
}
