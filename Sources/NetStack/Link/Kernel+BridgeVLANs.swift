// SPDX-License-Identifier: GPL-2.0-or-later

// VLANs on a frame's way through a bridge that filters them (net/bridge/br_vlan.c). While a frame is inside the bridge
// its tag stands beside the bytes, also the one of the VLAN that a port gives to frames without a tag; what leaves has
// it in the bytes, or not.

extension Kernel {
  /// Finds the VLAN of a frame that has come in, if it is one of the port's, which is the bridge device for what the
  /// host sends (__allowed_ingress).
  mutating func admit(_ slot: Slot, by port: DeviceIndex, _ bridge: BridgeIndex) -> UInt16? {
    let type = bridges[bridge].vlanProtocol
    guard pool.untag(slot, type) else { return nil }
    // Another protocol's tag is content.
    if pool[slot].vlanProtocol != type, !pool.tag(slot) { return nil }
    let isTagged = pool[slot].vlanProtocol == type
    var vlan = isTagged ? pool[slot].vlanTag & VLANTag.identifierMask : 0
    if vlan == 0 {
      vlan = devices[port].vlans.pvid
      guard vlan != 0 else { return nil }
      pool[slot].vlanTag = isTagged ? pool[slot].vlanTag | vlan : vlan
      pool[slot].vlanProtocol = type
    }
    return devices[port].vlans.contains(vlan) ? vlan : nil
  }

  /// The VLAN that something learned from a frame would belong to, when the frame itself stays on its link
  /// (br_should_learn).
  func learnableVLAN(_ slot: Slot, on port: DeviceIndex, _ bridge: BridgeIndex) -> UInt16? {
    guard bridges[bridge].filtersVLANs else { return 0 }
    let vlan = devices[port].vlans.pvid
    return vlan != 0 && devices[port].vlans.contains(vlan) ? vlan : nil
  }

  /// Gives a frame that leaves by a port, or goes up to the host by the bridge device, the form that it has there
  /// (br_handle_vlan). False: there is no memory for it.
  mutating func dress(_ slot: Slot, for port: DeviceIndex) -> Bool {
    if devices[port].vlans.isUntagged(pool[slot].vlanTag & VLANTag.identifierMask) {
      pool[slot].vlanProtocol = 0
      return true
    }
    return pool.tag(slot)
  }

  // MARK: Configuration

  mutating func setFiltersVLANs(_ bridge: BridgeIndex, _ isOn: Bool) {
    bridges[bridge].filtersVLANs = isOn
    chooseGroupAddress(bridge)
  }

  mutating func setVLANProtocol(_ bridge: BridgeIndex, _ type: UInt16) throws(KernelError) {
    guard type == VLANTag.customer || type == VLANTag.service else { throw .protocolNotSupported }
    bridges[bridge].vlanProtocol = type
    chooseGroupAddress(bridge)
  }

  /// A provider's bridge speaks its spanning tree with other providers' only (br_recalculate_group_addr).
  private mutating func chooseGroupAddress(_ bridge: BridgeIndex) {
    guard !bridges[bridge].groupAddressIsSet else { return }
    let isProvider = bridges[bridge].filtersVLANs && bridges[bridge].vlanProtocol == VLANTag.service
    bridges[bridge].groupAddress = EthernetHeader.linkLocalGroups << 4 | (isProvider ? 8 : 0)
  }

  /// Moves all that configuration has left in the default VLAN to another; 0 takes it away
  /// (__br_vlan_set_default_pvid).
  mutating func setDefaultVLAN(_ bridge: BridgeIndex, _ vlan: UInt16) throws(KernelError) {
    guard vlan == 0 || VLANTable.identifiers.contains(vlan) else { throw .invalidArgument }
    let old = bridges[bridge].defaultVLAN
    guard vlan != old else { return }
    guard !bridges[bridge].filtersVLANs else { throw .notPermitted }
    for device in [bridges[bridge].device] + bridges[bridge].ports {
      guard old == 0 || devices[device].vlans.isDefault(old), !devices[device].vlans.contains(vlan) else {
        continue
      }
      if old != 0 { removeVLAN(old, from: device, bridge) }
      if vlan != 0 { devices[device].vlans.insert(vlan, isPVID: true, isUntagged: true) }
    }
    bridges[bridge].defaultVLAN = vlan
  }

  /// What was learned in the VLAN behind the port goes with it (nbp_vlan_delete).
  mutating func removeVLAN(_ vlan: UInt16, from device: DeviceIndex, _ bridge: BridgeIndex) {
    devices[device].vlans.remove(vlan)
    bridges[bridge].database.removeAll { entry in
      entry.port == device && ForwardingEntry.vlan(entry.key) == vlan
        && (!entry.flags.contains(.static) || entry.flags.contains(.local))
    }
  }
}
