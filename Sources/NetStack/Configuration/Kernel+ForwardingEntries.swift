// SPDX-License-Identifier: GPL-2.0-or-later

// A bridge's forwarding database by message (net/bridge/br_fdb.c).

import NetTypes
import Rtnetlink

extension Kernel {
  /// The bridge and, for entries of the bridge itself, its device.
  private func database(
    _ message: NeighborMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> (BridgeIndex, DeviceIndex) {
    guard let index = device(ifindex: message.index, in: namespace) else { throw .noSuchDevice }
    if message.flags.contains(.master) {
      guard !devices[index].master.isNone else { throw KernelError(95) }
      return (devices[index].master, index)
    }
    if case .bridge(let bridge) = devices[index].kind { return (bridge, index) }
    throw .notSupported("only a bridge has a forwarding database here")
  }

  mutating func addForwardingEntry(
    _ message: NeighborMessage, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    guard let mac = message.macAddress else { throw .invalid("invalid address") }
    guard !mac.isMulticast, mac != .zero else { throw .invalidArgument }
    let (bridge, index) = try database(message, in: namespace)
    var entryFlags: ForwardingEntry.Flags = .added
    if message.state.contains(.permanent) {
      entryFlags.formUnion([.local, .static])
    } else if message.state.contains(.noARP) {
      entryFlags.insert(.static)
    } else if !message.state.contains(.reachable) {
      throw .invalidArgument
    }
    if message.flags.contains(.sticky) { entryFlags.insert(.sticky) }
    for vlan in try vlans(message.vlan ?? 0, of: index, bridge) {
      let entry = ForwardingEntry(
        key: ForwardingEntry.key(mac.rawValue, vlan), port: index, flags: entryFlags, updated: cpu.now,
        used: cpu.now)
      try set(entry, flags, bridge)
    }
    if !entryFlags.contains(.static) { armForwardingAge(bridge, at: cpu.now + bridges[bridge].holdTime) }
  }

  private mutating func set(
    _ entry: ForwardingEntry, _ flags: MessageFlags, _ bridge: BridgeIndex
  ) throws(KernelError) {
    if let place = bridges[bridge].database.find(entry.key) {
      guard !flags.contains(.exclusive) else { throw .exists }
      bridges[bridge].database.replace(at: place, with: entry)
    } else {
      guard flags.contains(.create) else { throw .noSuchEntry }
      guard bridges[bridge].database.insert(entry) else { throw .noBuffers }
    }
  }

  /// Whoever names no VLAN means all that the port is in, once the bridge filters them, and none (br_fdb_add).
  private func vlans(
    _ vlan: UInt16, of index: DeviceIndex, _ bridge: BridgeIndex
  ) throws(KernelError) -> [UInt16] {
    guard vlan == 0 else {
      guard VLANTable.identifiers.contains(vlan) else { throw .invalid("invalid vlan id") }
      guard devices[index].vlans.contains(vlan) else { throw .invalidArgument }
      return [vlan]
    }
    guard bridges[bridge].filtersVLANs else { return [0] }
    return [0] + devices[index].vlans.ranges.flatMap { Array($0.identifiers) }
  }

  mutating func deleteForwardingEntry(
    _ message: NeighborMessage, in namespace: NamespaceIndex
  ) throws(KernelError) {
    guard let mac = message.macAddress else { throw .invalid("invalid address") }
    let (bridge, index) = try database(message, in: namespace)
    var isGone = false
    for vlan in try vlans(message.vlan ?? 0, of: index, bridge) {
      guard let place = bridges[bridge].database.find(ForwardingEntry.key(mac.rawValue, vlan)),
        bridges[bridge].database[place].port == index
      else { continue }
      bridges[bridge].database.remove(at: place)
      isGone = true
    }
    guard isGone else { throw .noSuchEntry }
  }

  func forwardingEntries(
    _ filter: NeighborMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> [NetlinkMessage] {
    var answers: [NetlinkMessage] = []
    for index in namespaces[namespace].devices {
      guard case .bridge(let bridge) = devices[index].kind else { continue }
      if let master = filter.master, master != devices[index].ifindex { continue }
      for entry in bridges[bridge].database.sorted {
        let port = devices[entry.port].ifindex
        if filter.index > 0, filter.index != port { continue }
        var message = NeighborMessage(family: .bridge, index: port)
        message.linkAddress = MACAddress(rawValue: ForwardingEntry.address(entry.key)).bytes
        let vlan = ForwardingEntry.vlan(entry.key)
        if vlan != 0 { message.vlan = vlan }
        message.state =
          entry.flags.contains(.local) ? .permanent : entry.flags.contains(.static) ? .noARP : .reachable
        message.master = devices[index].ifindex
        if entry.port != index {
          message.flags.insert(.master)
        } else {
          message.flags.insert(.own)
        }
        if entry.flags.contains(.sticky) { message.flags.insert(.sticky) }
        message.cacheInfo = NeighborCacheInfo(
          confirmed: 0, used: hundredths(since: entry.used), updated: hundredths(since: entry.updated))
        answers.append(message.message(.newNeighbor, []))
      }
    }
    return answers
  }

  private func hundredths(since time: Int64) -> UInt32 { UInt32(clamping: (cpu.now - time) / 10_000_000) }
}
