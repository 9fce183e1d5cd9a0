// SPDX-License-Identifier: GPL-2.0-or-later

// IEEE 802.1Q's tag: in a frame's bytes, between source and type, or beside them in the sk_buff
// (include/linux/if_vlan.h, skb_vlan_untag, __vlan_hwaccel_push_inside).
//
//    0              6        12     14      16     18
//    │ destination  │ source │ TPID │ TCI   │ type │ payload …

extension BufferPool {
  /// Moves a frame's tag of the given protocol from its bytes to its metadata, unless there is one already. False:
  /// there is no memory for bytes of the frame's own.
  mutating func untag(_ slot: Slot, _ type: UInt16) -> Bool {
    guard self[slot].vlanProtocol == 0 else { return true }
    guard mayPull(slot, EthernetHeader.length + VLANTag.length),
      bytes(slot).u16(EthernetHeader.type) == type
    else { return true }
    guard makeWritable(slot) else { return false }
    let frame = bytes(slot)
    let (destination, source) = (frame.u48(EthernetHeader.destination), frame.u48(EthernetHeader.source))
    self[slot].vlanProtocol = type
    self[slot].vlanTag = frame.u16(EthernetHeader.length)
    pull(slot, VLANTag.length)
    write(destination, source, slot)
    return true
  }

  /// Moves a frame's tag from its metadata into its bytes. False: there is no room or memory.
  mutating func tag(_ slot: Slot) -> Bool {
    let type = self[slot].vlanProtocol
    guard type != 0 else { return true }
    guard makeWritable(slot) else { return false }
    let frame = bytes(slot)
    let (destination, source) = (frame.u48(EthernetHeader.destination), frame.u48(EthernetHeader.source))
    guard push(slot, VLANTag.length) else { return false }
    write(destination, source, slot)
    bytes(slot).set(EthernetHeader.type, u16: type)
    bytes(slot).set(EthernetHeader.length, u16: self[slot].vlanTag)
    self[slot].vlanProtocol = 0
    return true
  }

  private func write(_ destination: UInt64, _ source: UInt64, _ slot: Slot) {
    bytes(slot).set(EthernetHeader.destination, u48: destination)
    bytes(slot).set(EthernetHeader.source, u48: source)
  }
}

/// The parts of a tag.
enum VLANTag {
  static let length = 4
  /// Customer's (802.1Q) and service provider's (802.1ad) tags.
  static let customer: UInt16 = 0x8100
  static let service: UInt16 = 0x88a8
  static let identifierMask: UInt16 = 0x0fff
}
