// SPDX-License-Identifier: GPL-2.0-or-later

// Bridges and their ports by message (net/bridge/br_netlink.c, br_if.c), and their forwarding databases
// (br_fdb.c).

import NetTypes
import Rtnetlink

extension Kernel {
  mutating func createBridge(
    _ message: LinkMessage, _ options: BridgeOptions, in namespace: NamespaceIndex
  ) throws(KernelError) -> DeviceIndex {
    guard let name = InterfaceName(message.name ?? "bridge0") else { throw .invalidArgument }
    let index = try insertDevice(
      .bridge(.none), in: namespace, name: name, index: message.index, mac: message.macAddress?.rawValue)
    guard let bridge = bridges.insert(Bridge(device: index, seed: cpu.random.next())) else {
      removeDevice(index)
      throw .noBuffers
    }
    devices[index].kind = .bridge(bridge)
    addLocalEntry(of: bridge, port: index)
    addDefaultVLAN(to: index, bridge)
    if devices[index].macIsSet { addressChanged(of: bridge) }
    do throws(KernelError) {
      try applyBridge(bridge, options)
    } catch {
      removeDevice(index)
      throw error
    }
    return index
  }

  mutating func applyBridge(_ bridge: BridgeIndex, _ options: BridgeOptions) throws(KernelError) {
    guard options.multicastQuerier != true else {
      throw .notSupported("the emulated bridge does not ask for members of groups (mcast_querier)")
    }
    guard options.multicastRouter ?? 1 == 1 else {
      throw .notSupported("the emulated bridge is no router of groups but by asking (mcast_router)")
    }
    try applyTimes(bridge, options)
    if let time = options.ageingTime {
      bridges[bridge].ownAgeing = Int64(time) * Self.hundredth
      setAgeing(bridge, bridges[bridge].ownAgeing)
    }
    if let state = options.stpState { setSpanningTree(bridge, state != 0) }
    if let priority = options.priority {
      setIdentifier(
        bridge, UInt64(priority) << 48 | bridges[bridge].tree.identifier & EthernetHeader.broadcast)
    }
    if let value = options.multicastSnooping { setSnooping(bridge, value) }
    if let type = options.vlanProtocol { try setVLANProtocol(bridge, type) }
    // The default is set while nothing is filtered, as the kernel goes through the attributes.
    if let isOn = options.vlanFiltering { setFiltersVLANs(bridge, isOn) }
    if let vlan = options.vlanDefaultPVID { try setDefaultVLAN(bridge, vlan) }
    if let mask = options.groupForwardMask {
      guard mask & Self.restrictedGroups == 0 else { throw .invalidArgument }
      bridges[bridge].groupForwardMask = mask
    }
    if let address = options.groupAddress { try setGroupAddress(bridge, address) }
    if let most = options.maximumLearned { bridges[bridge].maximumLearned = most }
  }

  /// Nanoseconds in what the messages count times in.
  private static var hundredth: Int64 { 10_000_000 }

  /// BR_GROUPFWD_RESTRICTED: the spanning tree's, pause frames, and LACP's.
  private static var restrictedGroups: UInt16 { 7 }

  private mutating func applyTimes(_ bridge: BridgeIndex, _ options: BridgeOptions) throws(KernelError) {
    if let delay = options.forwardDelay {
      guard !bridges[bridge].tree.isOn || SpanningTree.forwardDelays.contains(delay) else {
        throw .outOfRange
      }
      setForwardDelay(bridge, Int64(delay) * Self.hundredth)
    }
    if let hello = options.helloTime {
      guard SpanningTree.helloTimes.contains(hello) else { throw .outOfRange }
      bridges[bridge].tree.ownTimes.hello = Int64(hello) * Self.hundredth
      if bridges[bridge].tree.isRoot { bridges[bridge].tree.times.hello = Int64(hello) * Self.hundredth }
    }
    if let age = options.maximumAge {
      guard SpanningTree.maximumAges.contains(age) else { throw .outOfRange }
      bridges[bridge].tree.ownTimes.maximumAge = Int64(age) * Self.hundredth
      if bridges[bridge].tree.isRoot { bridges[bridge].tree.times.maximumAge = Int64(age) * Self.hundredth }
    }
  }

  /// One of the groups that stay on their link, but not those of pause frames, LACP and 802.1X.
  private mutating func setGroupAddress(_ bridge: BridgeIndex, _ address: [UInt8]) throws(KernelError) {
    guard let group = MACAddress(bytes: address)?.rawValue, group >> 4 == EthernetHeader.linkLocalGroups,
      !(1...3).contains(group & 15)
    else { throw .invalidArgument }
    bridges[bridge].groupAddress = group
    bridges[bridge].groupAddressIsSet = true
  }

  mutating func joinBridge(_ index: DeviceIndex, _ ifindex: Int32) throws(KernelError) {
    let namespace = devices[index].namespace
    let current = devices[index].master
    if !current.isNone, devices[bridges[current].device].ifindex == ifindex { return }
    // The old master lets go before the new one is looked at, as the kernel does it (do_set_master).
    if !current.isNone { leaveBridge(index) }
    guard let master = device(ifindex: ifindex, in: namespace) else { throw .invalidArgument }
    guard case .bridge(let bridge) = devices[master].kind else { throw KernelError(95) }
    switch devices[index].kind {
    case .loopback: throw .invalidArgument
    case .bridge: throw KernelError(40, "Can not enslave a bridge to a bridge")
    case .veth, .crossing, .nic, .dummy, .vlan, .macvlan, .vxlan: break
    }
    guard !isLinkless(index) else { throw .invalidArgument }
    guard !stands(master, on: index), !stands(index, on: master), !devices[index].uppers.haveMacvlans else {
      throw .busy
    }
    guard bridges[bridge].ports.count < Bridge.maximumPorts else { throw .exchangeFull }
    // The lowest that is free (find_portno).
    var taken = [Bool](repeating: false, count: Bridge.maximumPorts + 1)
    taken[0] = true
    for port in bridges[bridge].ports { taken[Int(devices[port].port.number)] = true }
    let number = UInt16(taken.firstIndex(of: false) ?? 0)
    devices[index].master = bridge
    devices[index].port = BridgePort(number: number)
    devices[index].tree = SpanningTreePort(cost: pathCost(index))
    devices[index].vlans = VLANTable()
    addDefaultVLAN(to: index, bridge)
    bridges[bridge].ports.append(index)
    addLocalEntry(of: bridge, port: index)
    chooseBridgeAddress(bridge)
    portChanged(index)
    adjustMTU(of: bridge)
  }

  mutating func leaveBridge(_ index: DeviceIndex) {
    let bridge = devices[index].master
    guard bridges.contains(bridge) else { return }
    disablePort(index)
    bridges[bridge].ports.removeAll { $0 == index }
    bridges[bridge].database.removeAll { $0.port == index }
    devices[index].master = .none
    devices[index].port = BridgePort()
    devices[index].tree = SpanningTreePort()
    devices[index].multicast = MulticastPort()
    devices[index].vlans = VLANTable()
    selectStates(bridge)
    adjustMTU(of: bridge)
    chooseBridgeAddress(bridge)
  }

  private mutating func addDefaultVLAN(to index: DeviceIndex, _ bridge: BridgeIndex) {
    let vlan = bridges[bridge].defaultVLAN
    if vlan != 0 { devices[index].vlans.insert(vlan, isPVID: true, isUntagged: true) }
  }

  /// Without snooping nothing is known of groups but what configuration has said (br_multicast_toggle).
  private mutating func setSnooping(_ bridge: BridgeIndex, _ isOn: Bool) {
    bridges[bridge].groups.isOn = isOn
    guard !isOn else { return }
    for port in bridges[bridge].ports { forgetGroups(of: port, bridge) }
  }

  /// What a port costs by its speed (port_cost): pairs and taps say 10 Gbit/s of themselves.
  private func pathCost(_ index: DeviceIndex) -> UInt32 {
    switch devices[index].kind {
    case .veth, .nic, .crossing: 2
    case .vlan(let vlan): pathCost(vlans[vlan].lower)
    case .macvlan(let macvlan): pathCost(macvlans[macvlan].lower)
    case .loopback, .bridge, .dummy, .vxlan: 100
    }
  }

  /// A bridge's MTU is its smallest port's, until configuration has said another (br_mtu_auto_adjust).
  mutating func adjustMTU(of bridge: BridgeIndex) {
    guard !bridges[bridge].mtuIsSet else { return }
    let index = bridges[bridge].device
    let old = devices[index].mtu
    devices[index].mtu = bridges[bridge].ports.map { devices[$0].mtu }.min() ?? 1500
    changeMTU6(index, from: old)
    stackFollows(index, mtu: devices[index].mtu)
  }

  /// A bridge without an address of its own takes the smallest of its ports', and none without ports
  /// (br_stp_recalculate_bridge_id).
  mutating func chooseBridgeAddress(_ bridge: BridgeIndex) {
    let index = bridges[bridge].device
    guard !devices[index].macIsSet else { return }
    let smallest = bridges[bridge].ports.map { devices[$0].mac }.min() ?? 0
    guard smallest != devices[index].mac else { return }
    let old = devices[index].mac
    devices[index].mac = smallest
    replaceLocalEntry(of: bridge, port: index, old: old, new: smallest)
    addressChanged(of: bridge)
  }

  /// The bridge's identifier in the spanning tree follows its address.
  mutating func addressChanged(of bridge: BridgeIndex) {
    let priority = UInt64(bridges[bridge].tree.priority)
    setIdentifier(bridge, priority << 48 | devices[bridges[bridge].device].mac)
  }

  mutating func addLocalEntry(of bridge: BridgeIndex, port: DeviceIndex) {
    let key = devices[port].mac
    guard key != 0 else { return }
    if let place = bridges[bridge].database.find(key) {
      // A port's own address wins over what was learned; the bridge's over none.
      if bridges[bridge].database[place].flags.contains(.local) { return }
      bridges[bridge].database.remove(at: place)
    }
    _ = bridges[bridge].database.insert(
      ForwardingEntry(key: key, port: port, flags: [.local, .static], updated: cpu.now, used: cpu.now))
  }

  mutating func replaceLocalEntry(of bridge: BridgeIndex, port: DeviceIndex, old: UInt64, new: UInt64) {
    if let place = bridges[bridge].database.find(old), bridges[bridge].database[place].port == port,
      bridges[bridge].database[place].flags.contains(.local)
    {
      bridges[bridge].database.remove(at: place)
    }
    addLocalEntry(of: bridge, port: port)
    // The address that went may have been another's too.
    for other in bridges[bridge].ports + [bridges[bridge].device] where devices[other].mac == old {
      addLocalEntry(of: bridge, port: other)
    }
  }

  mutating func applyPort(_ index: DeviceIndex, _ port: LinkPort) throws(KernelError) {
    guard case .bridge(let options) = port, !devices[index].master.isNone else { throw .invalidArgument }
    guard options.multicastToUnicast != true, options.proxyARP != true, options.neighborSuppression != true,
      options.vlanTunnel != true
    else {
      throw .notSupported(
        "an emulated bridge's port has no multicast to unicast, proxy ARP, neighbour suppression or VLAN tunnel "
          + "yet")
    }
    if let value = options.learning { devices[index].port.learning = value }
    if let value = options.unicastFlood { devices[index].port.unicastFlood = value }
    if let value = options.multicastFlood { devices[index].port.multicastFlood = value }
    if let value = options.broadcastFlood { devices[index].port.broadcastFlood = value }
    if let value = options.hairpin { devices[index].port.hairpin = value }
    if let value = options.isolated { devices[index].port.isolated = value }
    if let value = options.bpduGuard { devices[index].port.bpduGuard = value }
    if let value = options.rootBlock { devices[index].port.rootBlock = value }
    if let value = options.fastLeave { devices[index].port.fastLeave = value }
    if let value = options.multicastRouter {
      guard let router = MulticastPort.Router(rawValue: value) else { throw .invalidArgument }
      devices[index].multicast.router = router
    }
    if let mask = options.groupForwardMask {
      // Pause frames and the spanning tree's stay, LACP's may go (BR_GROUPFWD_MACPAUSE).
      guard mask & 2 == 0 else { throw .invalidArgument }
      devices[index].port.groupForwardMask = mask
    }
    if let cost = options.cost {
      guard SpanningTreePort.costs.contains(cost) else { throw .outOfRange }
      setCost(index, cost)
    }
    if let priority = options.priority {
      guard priority <= SpanningTreePort.largestPriority else { throw .outOfRange }
      setPriority(index, priority)
    }
    if let state = options.state {
      guard let state = BridgePort.State(rawValue: state.rawValue) else { throw .invalidArgument }
      try setState(of: index, to: state)
    }
  }
}
