// SPDX-License-Identifier: GPL-2.0-or-later

// Masqueraded connections end with the device that they leave by, and with the address that they were given
// (masq_device_event, masq_inet_event in net/netfilter/nf_nat_masquerade.c).

extension Kernel {
  /// A device has gone down, or an address has left it: `address` of a family, or nil for all.
  mutating func endMasqueraded(
    by device: DeviceIndex, _ address: (value: UInt128, isIPv6: Bool)? = nil, in namespace: NamespaceIndex
  ) {
    guard namespaces[namespace].conntrack.masquerades else { return }
    for index in namespaces[namespace].conntrack.table.all(in: conntracks) {
      guard conntracks[index].masqueradeDevice == device else { continue }
      if let address {
        guard conntracks[index].reply.isIPv6 == address.isIPv6,
          conntracks[index].reply.destination == address.value
        else { continue }
      }
      removeConntrack(index)
    }
  }
}
