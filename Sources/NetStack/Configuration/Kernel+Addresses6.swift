// SPDX-License-Identifier: GPL-2.0-or-later

// IPv6 addresses by message (net/ipv6/addrconf.c: inet6_rtm_newaddr, inet6_addr_add, inet6_addr_modify,
// inet6_addr_del, inet6_fill_ifaddr).

import NetTypes
import Rtnetlink

extension Kernel {
  private static let settable: AddressFlags = [
    .noDAD, .home, .manageTemporary, .noPrefixRoute, .multicastAutoJoin, .optimistic,
  ]

  mutating func addAddress6(
    _ message: AddressMessage, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let (address, peer) = try Self.subject(message)
    guard let device = device(ifindex: message.index, in: namespace) else {
      throw KernelError(19, "Unable to find the interface")
    }
    guard message.prefixLength <= 128 else { throw .invalid("ipv6: Invalid prefix length") }
    let valid = message.lifetime?.valid ?? AddressLifetime.forever
    let preferred = message.lifetime?.preferred ?? AddressLifetime.forever
    guard valid > 0, preferred <= valid else { throw .invalid("ipv6: address lifetime invalid") }
    let wanted = message.flags.intersection(Self.settable)
    guard !wanted.contains(.manageTemporary), !wanted.contains(.multicastAutoJoin),
      !wanted.contains(.optimistic)
    else {
      throw .notSupported(
        "an address of the emulated kernel has no temporary ones, joins no group and is not optimistic")
    }
    guard hasIPv6(device) else { throw .invalidArgument }
    guard devices[device].settings.ipv6[.disable] == 0 else {
      throw KernelError(13, "ipv6: IPv6 is disabled on this device")
    }
    let known = address6(address, on: device)
    guard known.isNone else {
      guard flags.contains(.replace), !flags.contains(.exclusive) else {
        throw KernelError(17, "ipv6: address already assigned")
      }
      modify(known, message, wanted, valid, preferred)
      return
    }
    guard address != 0, !IPv6.isMulticast(address),
      address != IPv6.loopback || devices[device].isLoopback
    else { throw KernelError(99, "ipv6: Cannot assign requested address") }
    var fresh = InterfaceAddress6(
      device: device, address: address, prefixLength: message.prefixLength,
      scope: InterfaceAddress6.scope(address), flags: wanted, created: cpu.now, updated: cpu.now)
    fresh.peer = peer
    fresh.protocolNumber = message.protocolNumber ?? 0
    fresh.routePriority = message.routePriority ?? 0
    fresh.valid = valid
    fresh.preferred = preferred
    if valid == AddressLifetime.forever { fresh.flags.insert(.permanent) }
    if preferred == 0 { fresh.flags.insert(.deprecated) }
    if !wanted.contains(.noDAD) { fresh.flags.insert(.tentative) }
    let index = insertAddress6(fresh)
    guard !index.isNone else { throw .noBuffers }
    if !wanted.contains(.noPrefixRoute) { insertPrefixRoute(of: fresh) }
    beginDetection(index)
  }

  /// The address, and the other end's on a point-to-point link (extract_addr).
  private static func subject(_ message: AddressMessage) throws(KernelError) -> (UInt128, UInt128) {
    let local = message.local.flatMap { UInt128($0) }
    let address = message.address.flatMap { UInt128($0) }
    guard let own = local ?? address else { throw .invalidArgument }
    return (own, local != nil && address != nil && address != local ? address ?? 0 : 0)
  }

  private mutating func modify(
    _ index: Address6Index, _ message: AddressMessage, _ wanted: AddressFlags, _ valid: UInt32,
    _ preferred: UInt32
  ) {
    let old = addresses6[index]
    addresses6[index].flags.subtract([.deprecated, .permanent, .noDAD, .home, .noPrefixRoute])
    addresses6[index].flags.formUnion(wanted)
    if valid == AddressLifetime.forever { addresses6[index].flags.insert(.permanent) }
    if preferred == 0 { addresses6[index].flags.insert(.deprecated) }
    addresses6[index].valid = valid
    addresses6[index].preferred = preferred
    addresses6[index].updated = cpu.now
    if let priority = message.routePriority { addresses6[index].routePriority = priority }
    if let number = message.protocolNumber { addresses6[index].protocolNumber = number }
    let fresh = addresses6[index]
    if !old.flags.contains(.noPrefixRoute),
      fresh.flags.contains(.noPrefixRoute) || fresh.routePriority != old.routePriority
    {
      namespaces[devices[old.device].namespace].routes6.removeAll { route in
        route.table == Route<UInt128>.mainTable && route.destination == old.subnet
          && route.length == old.prefixLength && route.device == old.device && route.origin == .kernel
      }
    }
    if !fresh.flags.contains(.noPrefixRoute) { insertPrefixRoute(of: fresh) }
    armLifetime(of: index)
  }

  mutating func deleteAddress6(_ message: AddressMessage, in namespace: NamespaceIndex) throws(KernelError) {
    let (address, _) = try Self.subject(message)
    guard message.prefixLength <= 128 else { throw .invalid("ipv6: Invalid prefix length") }
    guard let device = device(ifindex: message.index, in: namespace) else {
      throw KernelError(19, "Unable to find the interface")
    }
    guard hasIPv6(device) else { throw KernelError(6, "ipv6: IPv6 is disabled on this device") }
    let index = address6(address, on: device)
    guard !index.isNone, addresses6[index].prefixLength == message.prefixLength else {
      throw KernelError(99, "ipv6: address not found")
    }
    removeAddress6(index)
  }

  func addressMessages6(_ filter: AddressMessage, in namespace: NamespaceIndex) -> [NetlinkMessage] {
    var answers: [NetlinkMessage] = []
    for device in namespaces[namespace].devices
    where filter.index == 0 || devices[device].ifindex == filter.index {
      for index in devices[device].inet6.addresses {
        answers.append(message(addresses6[index]).message(.newAddress, []))
      }
    }
    return answers
  }

  private func message(_ address: InterfaceAddress6) -> AddressMessage {
    var message = AddressMessage(family: .ipv6, index: devices[address.device].ifindex)
    message.prefixLength = address.prefixLength
    message.scope = address.scope
    message.flags = address.flags
    if address.peer != 0 {
      message.local = address.address.address
      message.address = address.peer.address
    } else {
      message.address = address.address.address
    }
    if address.protocolNumber != 0 { message.protocolNumber = address.protocolNumber }
    if address.routePriority != 0 { message.routePriority = address.routePriority }
    let age = UInt32(clamping: (cpu.now - address.updated) / 1_000_000_000)
    func left(_ lifetime: UInt32) -> UInt32 {
      lifetime == AddressLifetime.forever ? lifetime : lifetime > age ? lifetime - age : 0
    }
    message.lifetime = AddressLifetime(
      preferred: left(address.preferred), valid: left(address.valid),
      created: UInt32(truncatingIfNeeded: address.created / 10_000_000),
      updated: UInt32(truncatingIfNeeded: address.updated / 10_000_000))
    return message
  }
}
