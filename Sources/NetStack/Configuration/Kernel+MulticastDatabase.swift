// SPDX-License-Identifier: GPL-2.0-or-later

// A bridge's groups by message (net/bridge/br_mdb.c).

import NetTypes
import Rtnetlink

extension Kernel {
  /// The bridge, the port (the bridge's device for the host), and the group.
  private func member(
    _ message: MulticastDatabaseMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> (BridgeIndex, DeviceIndex, GroupKey) {
    guard let index = device(ifindex: message.index, in: namespace) else { throw .noSuchDevice }
    guard case .bridge(let bridge) = devices[index].kind else { throw KernelError(95) }
    guard let entry = message.change else { throw .invalid("Missing MDBA_SET_ENTRY attribute") }
    guard entry.vlan < 4095 else { throw .invalid("Invalid entry VLAN id") }
    guard let key = key(entry) else { throw .invalid("Invalid entry group") }
    guard let port = device(ifindex: entry.port, in: namespace) else { throw .noSuchDevice }
    guard port == index || devices[port].master == bridge else {
      throw .invalid("Port belongs to a different bridge device")
    }
    return (bridge, port, key)
  }

  /// Nil for what is no group, or one that is not kept (is_valid_mdb_entry).
  private func key(_ entry: MulticastEntry) -> GroupKey? {
    let key: GroupKey
    switch entry.group {
    case .internet(.v4(let address)):
      guard address.rawValue >> 28 == 14 else { return nil }
      key = GroupKey(vlan: entry.vlan, family: .ipv4, address: UInt128(address.rawValue))
    case .internet(.v6(let address)):
      guard address.high >> 56 == 0xff else { return nil }
      key = GroupKey(
        vlan: entry.vlan, family: .ipv6, address: UInt128(address.high) << 64 | UInt128(address.low))
    case .link(let address):
      guard EthernetHeader.isMulticast(address.rawValue) else { return nil }
      key = GroupKey(vlan: entry.vlan, family: .link, address: UInt128(address.rawValue))
    }
    return isTracked(key) ? key : nil
  }

  mutating func addGroup(
    _ message: MulticastDatabaseMessage, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let (bridge, port, key) = try member(message, in: namespace)
    let isPermanent = message.change?.isPermanent == true
    guard key.family != .link || isPermanent else { throw .invalid("Only permanent L2 entries allowed") }
    guard port != bridges[bridge].device || !isPermanent else {
      throw .invalid("Flags are not allowed for host groups")
    }
    if bridges[bridge].groups.place(key, port) != nil, !flags.contains(.replace) {
      throw KernelError(17, "(*, G) group is already joined by port")
    }
    try setMember(
      GroupMember(
        key: key, port: port, isPermanent: isPermanent,
        expires: cpu.now + MulticastGroups.membershipInterval), of: bridge)
  }

  mutating func deleteGroup(_ message: MulticastDatabaseMessage, in namespace: NamespaceIndex)
    throws(KernelError)
  {
    let (bridge, port, key) = try member(message, in: namespace)
    guard bridges[bridge].groups.place(key, port) != nil else { throw .invalidArgument }
    bridges[bridge].groups.removeAll { $0.key == key && $0.port == port }
  }

  /// A message for each bridge.
  func groups(in namespace: NamespaceIndex) -> [NetlinkMessage] {
    namespaces[namespace].devices.compactMap { index in
      guard case .bridge(let bridge) = devices[index].kind else { return nil }
      var message = MulticastDatabaseMessage(index: devices[index].ifindex)
      message.entries = bridges[bridge].groups.members.map { member in
        var entry = MulticastEntry(
          group(member.key), port: devices[member.port].ifindex, vlan: member.key.vlan,
          isPermanent: member.isPermanent)
        if !member.isPermanent { entry.timer = UInt32(clamping: (member.expires - cpu.now) / 10_000_000) }
        return entry
      }
      message.routers = bridges[bridge].ports.filter {
        bridges[bridge].groups.isOn
          && (devices[$0].multicast.isRouter(.ipv4, cpu.now)
            || devices[$0].multicast.isRouter(.ipv6, cpu.now))
      }.map { devices[$0].ifindex }
      return message.message(.newMulticastEntry, [])
    }
  }

  private func group(_ key: GroupKey) -> MulticastEntry.Group {
    switch key.family {
    case .ipv4: .internet(.v4(IPv4Address(rawValue: UInt32(truncatingIfNeeded: key.address))))
    case .ipv6:
      .internet(
        .v6(
          IPv6Address(
            high: UInt64(truncatingIfNeeded: key.address >> 64),
            low: UInt64(truncatingIfNeeded: key.address))))
    case .link: .link(MACAddress(rawValue: UInt64(truncatingIfNeeded: key.address)))
    }
  }
}
