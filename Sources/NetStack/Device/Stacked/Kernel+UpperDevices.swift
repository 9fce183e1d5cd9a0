// SPDX-License-Identifier: GPL-2.0-or-later

// Frames from a device to those that stand on it (net/core/dev.c, __netif_receive_skb_core: the tag first, then the
// receive handler), and what becomes of those when something becomes of the device (vlan_device_event,
// macvlan_device_event).

import NetTypes
import Rtnetlink

extension Kernel {
  /// Whom a frame that came in by a device is for.
  private enum Receiver {
    case own
    case upper(DeviceIndex)
    /// Copies go to several, and the frame itself to the device.
    case group
    case nobody(DropReason)
  }

  /// Takes frames that came in by a device on which others stand. Frames for one of them that come one after the other
  /// go together.
  mutating func receiveStacked(_ burst: inout Burst, on index: DeviceIndex) {
    var run = Burst()
    var receiver = index
    for position in 0..<burst.count {
      let slot = burst[position]
      var next = index
      switch chooseReceiver(of: slot, on: index) {
      case .own: break
      case .upper(let device): next = device
      case .group:
        deliver(&run, to: receiver, from: index)
        macvlanFlood(slot, on: index)
      case .nobody(let reason):
        drop(slot, reason, in: devices[index].namespace)
        continue
      }
      if next != receiver {
        deliver(&run, to: receiver, from: index)
        receiver = next
      }
      run.append(slot)
    }
    deliver(&run, to: receiver, from: index)
    burst.removeAll()
  }

  private mutating func deliver(_ run: inout Burst, to receiver: DeviceIndex, from index: DeviceIndex) {
    guard !run.isEmpty else { return }
    if receiver == index {
      receiveOwn(&run, on: index)
    } else {
      receive(&run, on: receiver)
    }
    run.removeAll()
  }

  private mutating func chooseReceiver(of slot: Slot, on index: DeviceIndex) -> Receiver {
    guard pool.bytes(slot).count >= EthernetHeader.length else { return .own }
    if devices[index].uppers.haveVLANs {
      let inBytes = pool.bytes(slot).u16(EthernetHeader.type)
      let type = pool[slot].vlanProtocol != 0 ? pool[slot].vlanProtocol : inBytes
      if type == VLANTag.customer || type == VLANTag.service {
        let isWhole = pool.mayPull(slot, EthernetHeader.length + VLANTag.length)
        let tag =
          pool[slot].vlanProtocol != 0
          ? pool[slot].vlanTag : isWhole ? pool.bytes(slot).u16(EthernetHeader.length) : 0
        if pool[slot].vlanProtocol != 0 || isWhole,
          let device = devices[index].uppers.vlan(type, tag & VLANTag.identifierMask)
        {
          guard pool.untag(slot, type) else { return .nobody(.noMemory) }
          return vlanReceiver(slot, device)
        }
      }
    }
    guard devices[index].uppers.haveMacvlans, pool.bytes(slot).count >= EthernetHeader.length else {
      return .own
    }
    let destination = pool.bytes(slot).u48(EthernetHeader.destination)
    guard !EthernetHeader.isMulticast(destination) else { return .group }
    guard let device = macvlanReceiver(destination, on: index) else { return .own }
    return devices[device].isUp ? .upper(device) : .nobody(.deviceReady)
  }

  /// A frame of a VLAN for its device (vlan_do_receive).
  private func vlanReceiver(_ slot: Slot, _ device: DeviceIndex) -> Receiver {
    guard case .vlan(let vlan) = devices[device].kind, devices[device].isUp else {
      return .nobody(.deviceReady)
    }
    pool[slot].priority = vlans[vlan].ingress[Int(pool[slot].vlanTag >> 13)]
    pool[slot].vlanProtocol = 0
    return .upper(device)
  }

  // MARK: What happens below

  /// The device that one stands on.
  func lower(of index: DeviceIndex) -> DeviceIndex? {
    switch devices[index].kind {
    case .vlan(let vlan): vlans[vlan].lower
    case .macvlan(let macvlan): macvlans[macvlan].lower
    default: nil
    }
  }

  /// The devices right below one: what it stands on, or a bridge's ports.
  private func beneath(_ index: DeviceIndex) -> [DeviceIndex] {
    if case .bridge(let bridge) = devices[index].kind { return bridges[bridge].ports }
    return lower(of: index).map { [$0] } ?? []
  }

  /// The devices right above one: what stands on it, or the bridge whose port it is.
  private func above(_ index: DeviceIndex) -> [DeviceIndex] {
    let uppers = devices[index].uppers.allVLANs + devices[index].uppers.allMacvlans
    return devices[index].master.isNone ? uppers : uppers + [bridges[devices[index].master].device]
  }

  /// Whether one device stands on another, if not directly. Found from below: a bridge has many ports, a port one bridge.
  func stands(_ index: DeviceIndex, on other: DeviceIndex) -> Bool {
    var rest = above(other)
    var seen: Set<DeviceIndex> = []
    while let next = rest.popLast() {
      if next == index { return true }
      if seen.insert(next).inserted { rest += above(next) }
    }
    return false
  }

  /// How many devices stand below each other (MAX_NEST_DEV).
  static let deepestStack = 8

  func depth(of index: DeviceIndex, limit: Int = Kernel.deepestStack + 1) -> Int {
    guard limit > 0 else { return 0 }
    return beneath(index).reduce(0) { max($0, 1 + depth(of: $1, limit: limit - 1)) }
  }

  /// Puts a new device on another one.
  mutating func checkStack(on lower: DeviceIndex) throws(KernelError) {
    guard depth(of: lower) < Self.deepestStack else { throw KernelError(31) }
  }

  /// A device went up or down: its VLANs go along.
  mutating func stackFollows(_ index: DeviceIndex, up isUp: Bool) {
    for device in devices[index].uppers.allVLANs { setUp(device, isUp) }
  }

  /// A device's MTU has become smaller: none that stands on it has a larger one.
  mutating func stackFollows(_ index: DeviceIndex, mtu: Int) {
    for device in devices[index].uppers.allVLANs + devices[index].uppers.allMacvlans
    where devices[device].mtu > mtu {
      let old = devices[device].mtu
      devices[device].mtu = mtu
      changeMTU6(device, from: old)
      stackFollows(device, mtu: mtu)
    }
  }

  /// A device's address has changed: VLANs that have theirs from it, and the one that a passthrough has for its own,
  /// change too.
  mutating func stackFollows(_ index: DeviceIndex, mac: UInt64) {
    for device in devices[index].uppers.allVLANs where !devices[device].macIsSet {
      changeMAC(device, mac, isSet: false)
    }
    for device in devices[index].uppers.allMacvlans {
      guard case .macvlan(let macvlan) = devices[device].kind, macvlans[macvlan].mode == .passthrough else {
        continue
      }
      changeMAC(device, mac, isSet: false)
    }
  }

  /// A device goes: first those on it.
  mutating func removeStack(on index: DeviceIndex) {
    for device in devices[index].uppers.all { removeDevice(device) }
  }

  /// A device leaves the one that it stands on.
  mutating func leaveStack(_ index: DeviceIndex) {
    switch devices[index].kind {
    case .vlan(let vlan):
      if devices.contains(vlans[vlan].lower) { devices[vlans[vlan].lower].uppers.remove(index) }
      vlans.remove(vlan)
    case .macvlan(let macvlan):
      if devices.contains(macvlans[macvlan].lower) { devices[macvlans[macvlan].lower].uppers.remove(index) }
      macvlans.remove(macvlan)
    default: break
    }
  }
}
