// SPDX-License-Identifier: GPL-2.0-or-later

// The VLANs of a bridge's port, or of the bridge itself (net/bridge/br_vlan.c, `struct net_bridge_vlan_group`). Most
// ports have one VLAN, that of frames without a tag, and cost nothing; another one brings two bitmaps.

import Rtnetlink

/// Which VLANs a port is in, and how their frames leave by it.
@safe struct VLANTable: ~Copyable {
  static let identifiers: ClosedRange<UInt16> = 1...4094

  /// What a frame without a tag belongs to; 0: to nothing, and it is dropped.
  private(set) var pvid: UInt16 = 0
  /// 64 words of members, then 64 of those that leave without a tag. Without them the port is in its PVID only.
  private var words: UnsafeMutablePointer<UInt64>?

  init() {}

  deinit { unsafe words?.deallocate() }

  @inline(__always) private func bit(_ vlan: UInt16, _ half: Int) -> Bool {
    guard let words = unsafe words else { return vlan == pvid && vlan != 0 }
    return unsafe words[half &+ Int(vlan & 4095) &>> 6] &>> UInt64(vlan & 63) & 1 != 0
  }

  @inline(__always) func contains(_ vlan: UInt16) -> Bool { bit(vlan, 0) }
  @inline(__always) func isUntagged(_ vlan: UInt16) -> Bool { bit(vlan, 64) }
  /// Frames without a tag come and go as this VLAN's, as the bridge has set it up (vlan_default_pvid).
  func isDefault(_ vlan: UInt16) -> Bool { vlan != 0 && vlan == pvid && isUntagged(vlan) }

  var isEmpty: Bool {
    guard unsafe words != nil else { return pvid == 0 }
    return !Self.identifiers.contains { contains($0) }
  }

  mutating func insert(_ vlan: UInt16, isPVID: Bool, isUntagged: Bool) {
    if unsafe words == nil {
      if isPVID, isUntagged, pvid == 0 || pvid == vlan {
        pvid = vlan
        return
      }
      makeWords()
    }
    set(vlan, 0, true)
    set(vlan, 64, isUntagged)
    if isPVID {
      pvid = vlan
    } else if pvid == vlan {
      pvid = 0
    }
  }

  mutating func remove(_ vlan: UInt16) {
    if unsafe words != nil {
      set(vlan, 0, false)
      set(vlan, 64, false)
    }
    if pvid == vlan { pvid = 0 }
  }

  /// From the smallest, those of one kind side by side as a range; the PVID stands alone.
  var ranges: [BridgeVLAN] {
    guard unsafe words != nil else { return pvid == 0 ? [] : [BridgeVLAN(pvid, [.untagged, .pvid])] }
    var result: [BridgeVLAN] = []
    for vlan in Self.identifiers where contains(vlan) {
      var flags: BridgeVLAN.Flags = []
      if isUntagged(vlan) { flags.insert(.untagged) }
      if vlan == pvid { flags.insert(.pvid) }
      if let last = result.last, last.identifiers.upperBound == vlan - 1, last.flags == flags {
        result[result.count - 1] = BridgeVLAN(last.identifiers.lowerBound...vlan, flags)
      } else {
        result.append(BridgeVLAN(vlan, flags))
      }
    }
    return result
  }

  private mutating func makeWords() {
    let fresh = UnsafeMutablePointer<UInt64>.allocate(capacity: 128)
    unsafe fresh.initialize(repeating: 0, count: 128)
    let old = pvid
    unsafe words = fresh
    guard old != 0 else { return }
    set(old, 0, true)
    set(old, 64, true)
  }

  private mutating func set(_ vlan: UInt16, _ half: Int, _ isOn: Bool) {
    guard let words = unsafe words else { return }
    let mask = UInt64(1) << UInt64(vlan & 63)
    let place = half + Int(vlan & 4095) >> 6
    if isOn { unsafe words[place] |= mask } else { unsafe words[place] &= ~mask }
  }
}
