// SPDX-License-Identifier: GPL-2.0-or-later

// A VLAN device (IEEE 802.1Q, 802.1ad; net/8021q): what it sends leaves by the device below with its tag, what comes
// in there with the tag comes in here without.

/// What a VLAN device has beside what all devices have.
struct VLANDevice: ~Copyable {
  let lower: DeviceIndex
  /// 0x8100 or 0x88a8.
  let etherType: UInt16
  let identifier: UInt16
  /// The priority of packets that come in with each of the tag's eight.
  var ingress = InlineArray<8, UInt32>(repeating: 0)
  /// The tag's priority, in its place, of packets that go out with each priority that is here; others have zero.
  var egress: [(priority: UInt32, tag: UInt16)] = []

  init(lower: DeviceIndex, etherType: UInt16, identifier: UInt16) {
    self.lower = lower
    self.etherType = etherType
    self.identifier = identifier
  }

  /// The tag of a packet with that priority (vlan_dev_get_egress_qos_mask).
  @inline(__always) func tag(_ priority: UInt32) -> UInt16 {
    guard !egress.isEmpty else { return identifier }
    for entry in egress where entry.priority == priority { return identifier | entry.tag }
    return identifier
  }
}

extension Kernel {
  /// Sends frames with their tag by the device below (vlan_dev_hard_start_xmit).
  mutating func vlanTransmit(_ burst: inout Burst, by index: DeviceIndex, _ vlan: TableIndex<VLANDevice>) {
    let lower = vlans[vlan].lower
    var run = Burst()
    let bytes = totalBytes(burst)
    for position in 0..<burst.count {
      let slot = burst[position]
      // A tag that it has already stands inside of this one.
      guard pool.tag(slot) else {
        devices[index].statistics.txDropped &+= 1
        drop(slot, .noMemory, in: devices[index].namespace)
        continue
      }
      pool[slot].vlanTag = vlans[vlan].tag(pool[slot].priority)
      pool[slot].vlanProtocol = vlans[vlan].etherType
      guard pool.tag(slot) else {
        devices[index].statistics.txDropped &+= 1
        drop(slot, .noMemory, in: devices[index].namespace)
        continue
      }
      run.append(slot)
    }
    burst.removeAll()
    guard !run.isEmpty else { return }
    devices[index].statistics.txPackets &+= UInt64(run.count)
    devices[index].statistics.txBytes &+= bytes
    transmit(&run, by: lower)
  }

  /// A frame with a tag for a VLAN that no device has: one of VLAN 0 has only a priority and is the device's own, any
  /// other is for somebody else. False when the frame has ended.
  @inline(never) mutating func stripTag(_ slot: Slot, on index: DeviceIndex) -> Bool {
    let namespace = devices[index].namespace
    let inBytes = pool.bytes(slot).u16(EthernetHeader.type)
    let type = pool[slot].vlanProtocol != 0 ? pool[slot].vlanProtocol : inBytes
    guard pool.untag(slot, type) else {
      drop(slot, .noMemory, in: namespace)
      return false
    }
    guard pool[slot].vlanProtocol == type, pool[slot].vlanTag & VLANTag.identifierMask == 0,
      pool.bytes(slot).count >= EthernetHeader.length
    else {
      drop(slot, .otherHost, in: namespace)
      return false
    }
    pool[slot].vlanProtocol = 0
    return true
  }
}
