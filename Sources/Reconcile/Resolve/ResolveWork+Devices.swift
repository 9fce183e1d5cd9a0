// SPDX-License-Identifier: GPL-2.0-or-later

// Devices: both ends of every pair, each born in its own namespace.

import LabCore
import NetTypes
import TopologyModel

extension ResolveWork {
  static let ethernetMTU: UInt32 = 1500

  mutating func resolve(_ device: Topology.Device, of node: Topology.Node) -> LinkState {
    let id = NamespaceID.node(node.name)
    let reference = Topology.DeviceReference(node.name, device.name)
    let name = name(of: device.name, in: id)
    let own = LinkReference(id, name)
    var link = LinkState(
      name: name, kind: .loopback, mac: device.mac ?? mac(id, device.name),
      mtu: device.mtu.map { UInt32(clamping: $0) },
      isUp: device.isUp, master: device.master.map { self.name(of: $0, in: id) },
      alternativeNames: DeviceNames.alternatives(device.name, name))
    if link.master != nil { link.port = device.port.map { BridgePortState($0) } }
    switch device.kind {
    case .interface(.bridge(let bridge)):
      link.mtu = link.mtu ?? Self.ethernetMTU
      link.kind = .veth(peer: addPort(of: bridge, for: reference, device, peer: own, mtu: link.mtu))
    case .interface(.internet):
      link.mtu = link.mtu ?? Self.ethernetMTU
      let bridge = topology.internet?.name ?? node.name
      link.kind = .veth(peer: addPort(of: bridge, for: reference, device, peer: own, mtu: link.mtu))
    case .interface(.peer(let peer)):
      link.mtu =
        link.mtu ?? mtu(of: peer) ?? links[reference]?.mtu.map { UInt32(clamping: $0) } ?? Self.ethernetMTU
      link.kind = .veth(
        peer: LinkReference(.node(peer.node), self.name(of: peer.device, in: .node(peer.node))))
    case .loopback:
      link.mac = nil
    case .bridge(let options):
      link.kind = .bridge(BridgeState(options))
    case .vlan(let parent, let tag):
      link.kind = .vlan(VLANState(parent: self.name(of: parent, in: id), id: UInt16(clamping: tag)))
      // Its parent's, as everywhere.
      link.mac = device.mac
    case .dummy: link.kind = .dummy
    case .tap(let options): link.kind = .tuntap(TunTapState(mode: .tap, options))
    case .tun(let options):
      link.kind = .tuntap(TunTapState(mode: .tun, options))
      link.mac = nil
    case .vxlan(let tunnel):
      link.kind = .vxlan(
        VXLANState(
          id: UInt32(clamping: tunnel.id), local: tunnel.local, remote: tunnel.remote,
          underlay: tunnel.underlay.map { self.name(of: $0, in: id) }, port: tunnel.port,
          learning: tunnel.learning,
          ttl: tunnel.ttl.map { UInt8(clamping: $0) }))
    case .macvlan(let parent, let mode):
      link.kind = .macvlan(MacvlanState(parent: LinkReference(id, self.name(of: parent, in: id)), mode: mode))
    case .uplink(let uplink): resolve(uplink, device, reference, &link)
    }
    return link
  }

  private func mtu(of reference: Topology.DeviceReference) -> UInt32? {
    guard let position = positions[reference.node] else { return nil }
    return topology.nodes[position].devices.first { $0.name == reference.device }?.mtu.map {
      UInt32(clamping: $0)
    }
  }

  /// The bridge's end of an interface.
  private mutating func addPort(
    of bridge: NodeName, for reference: Topology.DeviceReference, _ device: Topology.Device,
    peer: LinkReference,
    mtu: UInt32?
  ) -> LinkReference {
    let written = Self.portName(reference)
    let name = name(of: written, in: .switch)
    addToSwitch(
      LinkState(
        name: name, kind: .veth(peer: peer), mac: mac(.switch, written), mtu: mtu,
        master: self.name(of: bridge.text, in: .switch), port: device.port.map { BridgePortState($0) },
        alternativeNames: DeviceNames.alternatives(written, name)),
      at: device.location)
    return LinkReference(.switch, name)
  }

  // MARK: Into the host

  private mutating func resolve(
    _ uplink: Topology.Uplink, _ device: Topology.Device, _ reference: Topology.DeviceReference,
    _ link: inout LinkState
  ) {
    let own = LinkReference(.node(reference.node), link.name)
    switch uplink {
    case .veth(let host, let addresses):
      link.mtu = link.mtu ?? Self.ethernetMTU
      let written = host ?? Self.hostName(lab, reference)
      let name = name(of: written, in: .host)
      addToHost(
        LinkState(
          name: name, kind: .veth(peer: own), mac: mac(.host, written), mtu: link.mtu,
          alternativeNames: DeviceNames.alternatives(written, name)),
        addresses: addresses, at: device.location)
      link.kind = .veth(peer: LinkReference(.host, name))
    case .tap(let host):
      link.mtu = link.mtu ?? Self.ethernetMTU
      link.kind = .tuntap(TunTapState(mode: .tap, hostTap: InterfaceName(host)))
    case .macvlan(let host, let mode):
      link.kind = .macvlan(
        MacvlanState(parent: InterfaceName(host).map { LinkReference(.host, $0) }, mode: mode))
    case .move(let host):
      link.kind = .external
      link.hostName = InterfaceName(host)
      // The host's own; a second name would stay with it when it goes back.
      link.mac = device.mac
      link.alternativeNames = []
    }
  }

  /// A name in the host that no other lab has.
  static func hostName(_ lab: LabName, _ reference: Topology.DeviceReference) -> String {
    "nf" + StableHash.digits("\(lab)/\(reference.node)/\(reference.device)", count: 12)
  }

  private mutating func addToHost(_ link: LinkState, addresses: [IPPrefix], at location: SourceLocation) {
    hostSpace.links.append(link)
    sources.record(StatePath(.host, .link, key: [link.name.text]), at: location)
    for prefix in addresses {
      let state = AddressState(link: link.name, prefix: prefix)
      hostSpace.addresses.append(state)
      sources.record(StateObject.address(state).path(in: .host), at: location)
    }
  }

  /// A bridge of its own in the switch namespace, so that any number of nodes may share it, and a pair from it into the
  /// host, which forwards and masquerades.
  mutating func resolve(_ internet: Topology.Internet) {
    let bridge = name(of: internet.name.text, in: .switch)
    addToSwitch(
      LinkState(
        name: bridge, kind: .bridge(BridgeState(Topology.BridgeOptions())),
        mac: mac(.switch, internet.name.text),
        alternativeNames: DeviceNames.alternatives(internet.name.text, bridge)),
      at: internet.location)
    let port = name(of: "\(internet.name).host", in: .switch)
    let written = "nf" + StableHash.digits("\(lab)/\(internet.name)", count: 12)
    let host = name(of: written, in: .host)
    addToSwitch(
      LinkState(
        name: port, kind: .veth(peer: LinkReference(.host, host)), mac: mac(.switch, "\(internet.name).host"),
        mtu: Self.ethernetMTU, master: bridge,
        alternativeNames: DeviceNames.alternatives("\(internet.name).host", port)),
      at: internet.location)
    let gateway = IPPrefix(internet.gateway, length: internet.subnet.length)
    addToHost(
      LinkState(
        name: host, kind: .veth(peer: LinkReference(.switch, port)), mac: mac(.host, written),
        mtu: Self.ethernetMTU),
      addresses: gateway.map { [$0] } ?? [], at: internet.location)
    hostSpace.sysctls.append(SysctlState(name: "net/ipv4/ip_forward", value: "1"))
    sources.record(StatePath(.host, .sysctl, key: ["net/ipv4/ip_forward"]), at: internet.location)
    resolveHostTable(internet)
  }
}

extension TunTapState {
  init(mode: Mode, _ options: Topology.TunTap) {
    self.init(mode: mode, owner: options.owner, group: options.group, multiQueue: options.multiQueue)
  }
}
