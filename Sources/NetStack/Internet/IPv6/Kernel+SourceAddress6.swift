// SPDX-License-Identifier: GPL-2.0-or-later

// Which address a host speaks from (RFC 6724 section 5; net/ipv6/addrconf.c, ipv6_dev_get_saddr; addrlabel.c).

import NetTypes

/// The labels of the default policy table; a source of the destination's own label is preferred.
enum AddressLabel {
  private static let table: [(prefix: UInt128, length: UInt8, label: Int)] = [
    (1, 128, 0), (0xffff << 32, 96, 4), (0, 96, 3), (0x2001_0000 << 96, 32, 6), (0x2001_0010 << 96, 28, 7),
    (0x2002 << 112, 16, 2), (0x3ffe << 112, 16, 12), (0xfec0 << 112, 10, 11), (0xfc << 120, 7, 5), (0, 0, 1),
  ]

  static func of(_ address: UInt128) -> Int {
    for entry in table where address & UInt128.mask(entry.length) == entry.prefix { return entry.label }
    return 1
  }
}

extension Kernel {
  /// Whether an address is one of this host's; a link-local one only on its own device (ipv6_chk_addr).
  func hasAddress(_ address: UInt128, scope device: DeviceIndex, in namespace: NamespaceIndex) -> Bool {
    func isThere(_ device: DeviceIndex) -> Bool {
      devices[device].inet6.addresses.contains {
        addresses6[$0].address == address && !addresses6[$0].isTentative
      }
    }
    if IPv6.isLinkLocal(address) { return isThere(device) }
    return namespaces[namespace].devices.contains(where: isThere)
  }

  /// The address to speak from to a destination that is reached by a device; 0 when there is none.
  func selectSource6(for destination: UInt128, on device: DeviceIndex) -> UInt128 {
    let scope = IPv6.scope(destination)
    let label = AddressLabel.of(destination)
    var best: InterfaceAddress6?
    func isBetter(_ a: InterfaceAddress6, _ b: InterfaceAddress6) -> Bool {
      func rank(_ address: InterfaceAddress6) -> [Int] {
        let own = IPv6.scope(address.address)
        let common = min(
          (address.address ^ destination).leadingZeroBitCount, Int(address.prefixLength))
        return [
          // Rule 1, the destination itself; 2, the smallest scope that is large enough; 3, not deprecated.
          address.address == destination ? 1 : 0, own >= scope ? -Int(own) : Int(own) - 128,
          address.isDeprecated ? 0 : 1,
          // 5, of the device itself; 6, of the destination's label; 8, the longest common prefix.
          address.device == device ? 1 : 0, AddressLabel.of(address.address) == label ? 1 : 0, common,
        ]
      }
      return rank(b).lexicographicallyPrecedes(rank(a))
    }
    // What stays on a link is spoken of from that link's own.
    let isNear =
      IPv6.isMulticast(destination) || scope <= 2
      || devices[device].settings.ipv6[.useOutputAddressesOnly] != 0
    let namespace = devices[device].namespace
    for candidate in isNear ? [device] : namespaces[namespace].devices {
      for index in devices[candidate].inet6.addresses where addresses6[index].isUsable {
        let address = addresses6[index]
        if let current = best, !isBetter(address, current) { continue }
        best = address
      }
    }
    return best?.address ?? 0
  }
}
