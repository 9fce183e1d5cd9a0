// SPDX-License-Identifier: GPL-2.0-or-later

// VXLAN devices by message, and their forwarding databases (drivers/net/vxlan/vxlan_core.c: vxlan_nl2conf,
// vxlan_config_validate, vxlan_fdb_add, vxlan_fdb_delete, vxlan_fdb_dump).

import NetTypes
import Rtnetlink

extension Kernel {
  // MARK: Devices

  private static func address(_ address: IPAddress?) throws(KernelError) -> UInt32? {
    switch address {
    case .v4(let address)?: return address.rawValue
    case .v6?: throw .notSupported("a VXLAN of the emulated kernel has an underlay of IPv4")
    case nil: return nil
    }
  }

  private func check(_ options: VXLANOptions) throws(KernelError) {
    if let identifier = options.identifier, identifier >= 1 << 24 {
      throw KernelError(34, "VXLAN ID must be lower than 16777216")
    }
    if let range = options.portRange, range.high < range.low { throw .invalidArgument }
    guard options.proxy != true, options.routeShortCircuit != true, options.l2MissNotify != true,
      options.l3MissNotify != true, options.collectMetadata != true
    else {
      throw .notSupported(
        "a VXLAN of the emulated kernel has no proxy, no short circuit of routes, no notice of misses and no "
          + "external control")
    }
    if let remote = try Self.address(options.remote), IPv4Header.isMulticast(remote) {
      throw .notSupported("a VXLAN of the emulated kernel joins no group; name its remotes")
    }
    _ = try Self.address(options.local)
  }

  mutating func createVXLAN(
    _ message: LinkMessage, _ options: VXLANOptions, below asking: NamespaceIndex,
    in namespace: NamespaceIndex
  ) throws(KernelError) -> DeviceIndex {
    try check(options)
    var lower = DeviceIndex.none
    if let ifindex = options.lowerIndex, ifindex != 0 {
      guard let found = device(ifindex: ifindex, in: asking) else {
        throw KernelError(19, "Invalid local interface, device not found")
      }
      lower = found
    }
    let identifier = options.identifier ?? 0
    let port = options.port ?? 8472
    let isTaken = namespaces[asking].tunnels.contains {
      vxlans[$0].identifier == identifier && vxlans[$0].port == port
    }
    guard !isTaken else { throw KernelError(17, "A VXLAN device with the specified VNI already exists") }
    let name = try newName(message.name, prefix: "vxlan", in: namespace)
    let index = try insertDevice(
      .vxlan(.none), in: namespace, name: name, index: message.index, mac: message.macAddress?.rawValue)
    let own = VXLAN(device: index, underlay: asking, identifier: identifier, port: port, lower: lower)
    guard let vxlan = vxlans.insert(own) else {
      removeDevice(index)
      throw .noBuffers
    }
    devices[index].kind = .vxlan(vxlan)
    namespaces[asking].tunnels.append(vxlan)
    if !lower.isNone {
      devices[lower].uppers.insert(other: index)
      devices[index].mtu = max(devices[lower].mtu - VXLAN.headroom, 68)
    }
    apply(options, to: vxlan)
    return index
  }

  mutating func changeVXLAN(_ vxlan: TableIndex<VXLAN>, _ options: VXLANOptions) throws(KernelError) {
    try check(options)
    if let identifier = options.identifier, identifier != vxlans[vxlan].identifier {
      throw KernelError(95, "Cannot change VNI")
    }
    guard options.port == nil else { throw KernelError(95, "Cannot change port") }
    if let ifindex = options.lowerIndex {
      let lower = vxlans[vxlan].lower
      guard ifindex == (lower.isNone ? 0 : devices[lower].ifindex) else {
        throw .notSupported("a VXLAN of the emulated kernel stays on its device")
      }
    }
    apply(options, to: vxlan)
  }

  private mutating func apply(_ options: VXLANOptions, to vxlan: TableIndex<VXLAN>) {
    if case .v4(let address)? = options.local { vxlans[vxlan].local = address.rawValue }
    if let range = options.portRange {
      vxlans[vxlan].lowestPort = range.low
      vxlans[vxlan].highestPort = range.high
    }
    if let value = options.timeToLive { vxlans[vxlan].ttl = value }
    if let value = options.typeOfService { vxlans[vxlan].typeOfService = value }
    if let value = options.learning { vxlans[vxlan].learns = value }
    if let value = options.ageing { vxlans[vxlan].ageing = value }
    if let value = options.limit { vxlans[vxlan].limit = value }
    if let value = options.dontFragment { vxlans[vxlan].dontFragment = value }
    if let value = options.udpChecksum { vxlans[vxlan].checksum = value }
    guard case .v4(let address)? = options.remote, address.rawValue != vxlans[vxlan].remote else { return }
    let old = vxlans[vxlan].remote
    vxlans[vxlan].remote = address.rawValue
    var remotes = vxlans[vxlan].find(0).map { vxlans[vxlan].entries[$0].remotes } ?? []
    remotes.removeAll { $0.address == old }
    if address.rawValue != 0 { remotes.append(remote(address.rawValue, vxlan, by: vxlans[vxlan].lower)) }
    vxlans[vxlan].entries.removeAll { $0.address == 0 }
    // The default is an entry like another, reachable for good.
    if !remotes.isEmpty {
      _ = vxlans[vxlan].insert(
        VXLANEntry(address: 0, state: 0x82, remotes: remotes, updated: cpu.now))
    }
  }

  private func remote(
    _ address: UInt32, _ vxlan: TableIndex<VXLAN>, by device: DeviceIndex
  ) -> VXLANRemote {
    VXLANRemote(
      address: address, port: vxlans[vxlan].port, identifier: vxlans[vxlan].identifier, device: device)
  }

  mutating func removeVXLAN(_ vxlan: TableIndex<VXLAN>) {
    guard vxlans.contains(vxlan) else { return }
    cpu.wheel.cancel(&vxlans[vxlan].ageTimer)
    let (underlay, lower, index) = (vxlans[vxlan].underlay, vxlans[vxlan].lower, vxlans[vxlan].device)
    if namespaces.contains(underlay) { namespaces[underlay].tunnels.removeAll { $0 == vxlan } }
    if devices.contains(lower) { devices[lower].uppers.remove(index) }
    vxlans.remove(vxlan)
  }

  func vxlanOptions(_ vxlan: TableIndex<VXLAN>) -> VXLANOptions {
    var options = VXLANOptions()
    options.identifier = vxlans[vxlan].identifier
    if vxlans[vxlan].remote != 0 { options.remote = .v4(IPv4Address(rawValue: vxlans[vxlan].remote)) }
    if vxlans[vxlan].local != 0 { options.local = .v4(IPv4Address(rawValue: vxlans[vxlan].local)) }
    if !vxlans[vxlan].lower.isNone { options.lowerIndex = devices[vxlans[vxlan].lower].ifindex }
    options.port = vxlans[vxlan].port
    options.portRange = VXLANPortRange(low: vxlans[vxlan].lowestPort, high: vxlans[vxlan].highestPort)
    options.timeToLive = vxlans[vxlan].ttl
    options.typeOfService = vxlans[vxlan].typeOfService
    options.learning = vxlans[vxlan].learns
    options.ageing = vxlans[vxlan].ageing
    options.limit = vxlans[vxlan].limit
    options.dontFragment = vxlans[vxlan].dontFragment
    options.udpChecksum = vxlans[vxlan].checksum
    options.proxy = false
    options.routeShortCircuit = false
    options.l2MissNotify = false
    options.l3MissNotify = false
    options.collectMetadata = false
    options.zeroChecksumTransmit6 = false
    options.zeroChecksumReceive6 = false
    return options
  }

  // MARK: Forwarding database

  /// The VXLAN device whose own database a request means.
  func tunnel(_ message: NeighborMessage, in namespace: NamespaceIndex) -> TableIndex<VXLAN>? {
    guard message.flags.contains(.own), let index = device(ifindex: message.index, in: namespace),
      case .vxlan(let vxlan) = devices[index].kind
    else { return nil }
    return vxlan
  }

  /// The entries of all VXLAN devices of a namespace, or of one.
  func tunnelEntries(_ filter: NeighborMessage, in namespace: NamespaceIndex) -> [NetlinkMessage] {
    namespaces[namespace].devices.flatMap { index -> [NetlinkMessage] in
      guard case .vxlan(let vxlan) = devices[index].kind, filter.master == nil,
        filter.index == 0 || filter.index == devices[index].ifindex
      else { return [] }
      return vxlanEntries(index, vxlan)
    }
  }

  private func entry(
    _ message: NeighborMessage, _ vxlan: TableIndex<VXLAN>
  ) throws(KernelError) -> (address: UInt64, remote: VXLANRemote?) {
    guard let mac = message.macAddress else { throw .invalid("invalid address") }
    var device = DeviceIndex.none
    if let ifindex = message.outputIndex, ifindex != 0 {
      guard let found = self.device(ifindex: ifindex, in: vxlans[vxlan].underlay) else {
        throw .addressNotAvailable
      }
      device = found
    }
    guard let destination = message.destination else { return (mac.rawValue, nil) }
    guard case .v4(let address) = destination else { throw KernelError(97) }
    guard !IPv4Header.isMulticast(address.rawValue) else {
      throw .notSupported("a VXLAN of the emulated kernel joins no group; name its remotes")
    }
    var remote = remote(address.rawValue, vxlan, by: device)
    if let port = message.port { remote.port = port }
    if let identifier = message.vni { remote.identifier = identifier & 0xff_ffff }
    return (mac.rawValue, remote)
  }

  mutating func addVXLANEntry(
    _ message: NeighborMessage, _ flags: MessageFlags, to vxlan: TableIndex<VXLAN>
  ) throws(KernelError) {
    guard !message.state.isDisjoint(with: [.permanent, .reachable]) else { throw .invalidArgument }
    let (address, wanted) = try entry(message, vxlan)
    guard let remote = wanted else { throw .invalidArgument }
    guard let place = vxlans[vxlan].find(address) else {
      guard flags.contains(.create) else { throw .noSuchEntry }
      let new = VXLANEntry(
        address: address, state: message.state.rawValue, remotes: [remote], updated: cpu.now)
      guard !flags.contains(.replace) || !new.isGroup else { throw KernelError(95) }
      guard vxlans[vxlan].insert(new) else { throw KernelError(28) }
      if new.ages { armVXLANAge(vxlan) }
      return
    }
    guard !flags.contains(.exclusive) else { throw .exists }
    let isGroup = vxlans[vxlan].entries[place].isGroup
    guard !flags.contains(.replace) || !isGroup else {
      throw KernelError(95, "Cannot replace non-unicast fdb entries")
    }
    vxlans[vxlan].entries[place].state = message.state.rawValue
    vxlans[vxlan].entries[place].updated = cpu.now
    if flags.contains(.replace) { vxlans[vxlan].entries[place].remotes = [remote] }
    if flags.contains(.append), isGroup, !vxlans[vxlan].entries[place].remotes.contains(remote) {
      vxlans[vxlan].entries[place].remotes.append(remote)
    }
  }

  mutating func deleteVXLANEntry(
    _ message: NeighborMessage, from vxlan: TableIndex<VXLAN>
  ) throws(KernelError) {
    let (address, remote) = try entry(message, vxlan)
    guard let place = vxlans[vxlan].find(address) else { throw .noSuchEntry }
    if let remote, remote.address != 0 {
      guard let number = vxlans[vxlan].entries[place].remotes.firstIndex(of: remote) else {
        return
      }
      if vxlans[vxlan].entries[place].remotes.count > 1 {
        vxlans[vxlan].entries[place].remotes.remove(at: number)
        return
      }
    }
    vxlans[vxlan].entries.remove(at: place)
  }

  func vxlanEntries(_ index: DeviceIndex, _ vxlan: TableIndex<VXLAN>) -> [NetlinkMessage] {
    vxlans[vxlan].entries.flatMap { entry in
      entry.remotes.map { remote in
        var message = NeighborMessage(family: .bridge, index: devices[index].ifindex)
        message.linkAddress = MACAddress(rawValue: entry.address).bytes
        message.state = NeighborState(rawValue: entry.state)
        message.flags = .own
        message.type = .unicast
        message.destination = .v4(IPv4Address(rawValue: remote.address))
        if remote.port != vxlans[vxlan].port { message.port = remote.port }
        if remote.identifier != vxlans[vxlan].identifier { message.vni = remote.identifier }
        if devices.contains(remote.device) { message.outputIndex = devices[remote.device].ifindex }
        return message.message(.newNeighbor, [])
      }
    }
  }
}
