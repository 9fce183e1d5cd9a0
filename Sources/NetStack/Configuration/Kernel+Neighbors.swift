// SPDX-License-Identifier: GPL-2.0-or-later

// Neighbours by message (net/core/neighbour.c, neigh_add, neigh_delete, neigh_dump_info).

import NetTypes
import Rtnetlink

extension Kernel {
  private func subject(
    _ message: NeighborMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> (DeviceIndex, UInt32) {
    guard message.family != .ipv6 else { throw .notSupported("the emulated kernel has no IPv6 yet") }
    guard message.family == .ipv4 else { throw KernelError(97) }
    guard case .v4(let address)? = message.destination else {
      throw .invalid("Network address not specified")
    }
    guard let index = device(ifindex: message.index, in: namespace) else { throw .noSuchDevice }
    guard !message.flags.contains(.proxy) else {
      throw .notSupported("the emulated kernel has no proxy entries yet")
    }
    return (index, address.rawValue)
  }

  mutating func addNeighbor(
    _ message: NeighborMessage, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let (device, address) = try subject(message, in: namespace)
    if let link = message.linkAddress, link.count < 6 { throw .invalid("Invalid link address") }
    let state = NeighborStates(rawValue: message.state.rawValue)
    var index = namespaces[namespace].neighbors.find(device, address)
    let mac = message.linkAddress.flatMap { MACAddress(bytes: $0.prefix(6)) }?.rawValue
    if index.isNone {
      guard flags.contains(.create) else { throw .noSuchEntry }
      guard mac != nil || state.isDisjoint(with: .valid) else { throw .invalidArgument }
      index = neighbor(address, on: device)
      guard !index.isNone else { throw .noBuffers }
    } else {
      guard !flags.contains(.exclusive) else { throw .exists }
    }
    neighbors[index].origin = message.protocolNumber ?? 0
    neighbors[index].isRouter = message.flags.contains(.router)
    updateNeighbor(
      index, mac: mac, state, override: flags.contains(.replace) || flags.contains(.create),
      administrative: true)
  }

  mutating func deleteNeighbor(_ message: NeighborMessage, in namespace: NamespaceIndex) throws(KernelError) {
    let (device, address) = try subject(message, in: namespace)
    let index = namespaces[namespace].neighbors.find(device, address)
    guard !index.isNone else { throw .noSuchEntry }
    removeNeighbor(index)
  }

  func neighborEntries(_ filter: NeighborMessage, in namespace: NamespaceIndex) throws(KernelError)
    -> [NetlinkMessage]
  {
    guard filter.family != .ipv6, !filter.flags.contains(.proxy) else { return [] }
    let wanted = filter.outputIndex ?? filter.index
    return namespaces[namespace].neighbors.sorted.compactMap { index in
      let device = neighbors[index].device
      guard wanted == 0 || devices[device].ifindex == wanted, neighbors[index].state != [] else { return nil }
      var message = NeighborMessage(family: .ipv4, index: devices[device].ifindex)
      message.state = NeighborState(rawValue: neighbors[index].state.rawValue)
      message.type = .unicast
      message.destination = .v4(IPv4Address(rawValue: neighbors[index].address))
      if !neighbors[index].state.isDisjoint(with: .valid) {
        message.linkAddress = MACAddress(rawValue: neighbors[index].mac).bytes
      }
      message.probes = UInt32(neighbors[index].probes)
      if neighbors[index].isRouter { message.flags.insert(.router) }
      if neighbors[index].origin != 0 { message.protocolNumber = neighbors[index].origin }
      return message.message(.newNeighbor, [])
    }
  }
}
