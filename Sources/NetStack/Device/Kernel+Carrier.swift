// SPDX-License-Identifier: GPL-2.0-or-later

// A device's carrier: whether its link could carry a frame now, whose carriers hang on it, and what follows when it
// comes or goes without the device's being set up or down (net/core/link_watch.c; NETDEV_CHANGE's listeners).

extension Kernel {
  /// Whether a device's link could carry a frame now.
  func hasCarrier(_ index: DeviceIndex) -> Bool {
    guard devices[index].isUp else { return false }
    switch devices[index].kind {
    case .loopback, .dummy, .vxlan: return true
    case .vlan(let vlan): return hasCarrier(vlans[vlan].lower)
    case .macvlan(let macvlan): return hasCarrier(macvlans[macvlan].lower)
    case .nic(let nic): return nics[nic].hasLink
    case .crossing(let crossing): return crossings[crossing].peer == .up
    case .veth(let peer): return devices.contains(peer) && devices[peer].isUp
    case .bridge(let bridge): return bridges[bridge].hasCarrier
    }
  }

  /// Plugs or unplugs a NIC's wire. Frames that wait in its rings stay there, as they do in hardware.
  public mutating func setLink(_ isOn: Bool, of index: DeviceIndex) throws(KernelError) {
    guard devices.contains(index) else { throw .noSuchDevice }
    guard let nic = nic(index) else { throw .notSupported("only a NIC has a wire to unplug") }
    guard nics[nic].hasLink != isOn else { return }
    nics[nic].hasLink = isOn
    if devices[index].isUp { carrierChanged(index) }
  }

  /// A device has been set up or down: the other end of a pair, a bridge above, and what stands on it have got or
  /// lost their carrier.
  mutating func tellOthers(of index: DeviceIndex) {
    switch devices[index].kind {
    case .veth(let peer): if devices.contains(peer) { carrierChanged(peer) }
    case .crossing(let crossing): tellOtherEnd(crossing)
    case .loopback, .bridge, .nic, .dummy, .vlan, .macvlan, .vxlan: break
    }
    tellUppers(of: index)
  }

  /// A device's carrier has come or gone: routes by it are marked, and what was learned of others behind a link that
  /// is gone is forgotten (fib_sync_down_dev, neigh_carrier_down).
  mutating func carrierChanged(_ index: DeviceIndex) {
    guard devices[index].isUp else { return }
    syncRoutes(of: index)
    checkCarrier6(index)
    if !hasCarrier(index) { removeNeighbors(of: index, keepingPermanent: true) }
    tellUppers(of: index)
  }

  private mutating func tellUppers(of index: DeviceIndex) {
    if bridges.contains(devices[index].master) { portChanged(index) }
    for upper in devices[index].uppers.allVLANs + devices[index].uppers.allMacvlans { carrierChanged(upper) }
  }
}
