// SPDX-License-Identifier: GPL-2.0-or-later

// The devices that stand on another one and share its frames (net/core/dev.c's upper devices; net/8021q,
// drivers/net/macvlan.c): which of them a frame is for, found without a search through all.

/// Devices that stand on one device.
struct UpperDevices {
  private struct Link {
    var key: UInt64
    var device: DeviceIndex
  }

  /// By protocol and identifier of the tag.
  private var vlans: [Link] = []
  /// By address.
  private var macvlans: [Link] = []
  /// Those that take no frames from it, but go with it (vxlan).
  private(set) var others: [DeviceIndex] = []

  /// Whether frames that come in may be for one of them.
  var take: Bool { !vlans.isEmpty || !macvlans.isEmpty }
  var haveVLANs: Bool { !vlans.isEmpty }
  var haveMacvlans: Bool { !macvlans.isEmpty }

  /// All of them, in an order that does not depend on when they came.
  var all: [DeviceIndex] { vlans.map(\.device) + macvlans.map(\.device) + others }
  var allVLANs: [DeviceIndex] { vlans.map(\.device) }
  var allMacvlans: [DeviceIndex] { macvlans.map(\.device) }

  private static func place(_ key: UInt64, in links: [Link]) -> Int {
    var low = 0
    var high = links.count
    while low < high {
      let middle = (low + high) / 2
      if links[middle].key < key { low = middle + 1 } else { high = middle }
    }
    return low
  }

  private static func find(_ key: UInt64, in links: [Link]) -> DeviceIndex? {
    let place = place(key, in: links)
    return place < links.count && links[place].key == key ? links[place].device : nil
  }

  private static func key(_ type: UInt16, _ identifier: UInt16) -> UInt64 {
    UInt64(type) << 16 | UInt64(identifier)
  }

  func vlan(_ type: UInt16, _ identifier: UInt16) -> DeviceIndex? {
    Self.find(Self.key(type, identifier), in: vlans)
  }

  func macvlan(_ address: UInt64) -> DeviceIndex? { Self.find(address, in: macvlans) }

  mutating func insert(vlan device: DeviceIndex, _ type: UInt16, _ identifier: UInt16) {
    let key = Self.key(type, identifier)
    vlans.insert(Link(key: key, device: device), at: Self.place(key, in: vlans))
  }

  mutating func insert(macvlan device: DeviceIndex, _ address: UInt64) {
    macvlans.insert(Link(key: address, device: device), at: Self.place(address, in: macvlans))
  }

  mutating func insert(other device: DeviceIndex) { others.append(device) }

  mutating func remove(_ device: DeviceIndex) {
    vlans.removeAll { $0.device == device }
    macvlans.removeAll { $0.device == device }
    others.removeAll { $0 == device }
  }
}
