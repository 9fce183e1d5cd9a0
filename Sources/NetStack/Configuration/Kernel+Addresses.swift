// SPDX-License-Identifier: GPL-2.0-or-later

// IPv4 addresses by message, and the routes that follow from them (net/ipv4/devinet.c; fib_frontend.c, fib_add_ifaddr
// and fib_del_ifaddr).

import NetTypes
import Rtnetlink

extension Kernel {
  private func addressed(_ message: AddressMessage, in namespace: NamespaceIndex) throws(KernelError)
    -> DeviceIndex
  {
    guard message.family == .ipv4 || message.family == .unspecified else { throw KernelError(95) }
    guard let index = device(ifindex: message.index, in: namespace) else { throw .noSuchDevice }
    return index
  }

  mutating func addAddress(
    _ message: AddressMessage, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    if message.family == .ipv6 { return try addAddress6(message, flags, in: namespace) }
    let index = try addressed(message, in: namespace)
    guard message.prefixLength <= 32 else { throw .invalid("ipv4: Invalid prefix length") }
    guard case .v4(let local)? = message.local else { throw .invalid("ipv4: Local address is not supplied") }
    var peer = local
    if case .v4(let given)? = message.address { peer = given }
    if let lifetime = message.lifetime, lifetime.valid != AddressLifetime.forever {
      throw .notSupported("an address of the emulated kernel is valid for ever")
    }
    var address = InterfaceAddress(
      local: local, peer: peer, prefixLength: message.prefixLength, broadcast: message.broadcast,
      scope: message.scope.rawValue, label: message.label ?? devices[index].name.text)
    address.noPrefixRoute = message.flags.contains(.noPrefixRoute)
    address.protocolNumber = message.protocolNumber ?? 0
    address.routePriority = message.routePriority ?? 0
    let same = devices[index].addresses.firstIndex {
      $0.local == local && $0.prefixLength == address.prefixLength && $0.isOnSubnet(peer.rawValue)
    }
    if let same {
      guard flags.contains(.replace), !flags.contains(.exclusive) else {
        throw KernelError(17, "ipv4: Address already assigned")
      }
      address.isSecondary = devices[index].addresses[same].isSecondary
      changeAddresses(of: index) { $0[same] = address }
      return
    }
    address.isSecondary = devices[index].addresses.contains {
      !$0.isSecondary && $0.prefixLength == address.prefixLength && $0.isOnSubnet(peer.rawValue)
    }
    changeAddresses(of: index) { $0.append(address) }
  }

  /// A loopback device that comes up has 127.0.0.1/8 (inetdev_event).
  mutating func addLoopbackAddress(_ index: DeviceIndex) {
    let address = InterfaceAddress(
      local: .loopback, peer: .loopback, prefixLength: 8, broadcast: nil, scope: RouteScope.host.rawValue,
      label: devices[index].name.text)
    changeAddresses(of: index) { $0.append(address) }
  }

  mutating func deleteAddress(_ message: AddressMessage, in namespace: NamespaceIndex) throws(KernelError) {
    if message.family == .ipv6 { return try deleteAddress6(message, in: namespace) }
    let index = try addressed(message, in: namespace)
    let found = devices[index].addresses.firstIndex { address in
      if case .v4(let local)? = message.local, local != address.local { return false }
      if let label = message.label, label != address.label { return false }
      if case .v4(let peer)? = message.address,
        message.prefixLength != address.prefixLength || !address.isOnSubnet(peer.rawValue)
      {
        return false
      }
      return true
    }
    guard let found else { throw KernelError(99, "ipv4: Address not found") }
    let gone = devices[index].addresses[found]
    let promotes = devices[index].ipv4.promoteSecondaries
    changeAddresses(of: index) { addresses in
      addresses.remove(at: found)
      guard !gone.isSecondary else { return }
      // The first of the others takes its place, or all of them go with it.
      let followers = addresses.indices.filter {
        addresses[$0].isSecondary && addresses[$0].prefixLength == gone.prefixLength
          && addresses[$0].isOnSubnet(gone.peer.rawValue)
      }
      if promotes {
        if let first = followers.first { addresses[first].isSecondary = false }
      } else {
        for follower in followers.reversed() { addresses.remove(at: follower) }
      }
    }
  }

  /// Changes a device's addresses, and the routes that follow from them.
  private mutating func changeAddresses(of index: DeviceIndex, _ change: (inout [InterfaceAddress]) -> Void) {
    let namespace = devices[index].namespace
    let before = derivedRoutes(of: index)
    let old = devices[index].addresses
    change(&devices[index].addresses)
    let after = derivedRoutes(of: index)
    for route in before where !after.contains(where: { $0.isSame(as: route) }) {
      namespaces[namespace].routes.remove(route)
    }
    for route in after where !namespaces[namespace].routes.contains(route) {
      namespaces[namespace].routes.insert(route)
    }
    refreshLocalAddresses(of: namespace)
    for address in old where !devices[index].addresses.contains(where: { $0.local == address.local }) {
      endMasqueraded(by: index, (UInt128(address.local.rawValue), false), in: namespace)
    }
    // Routes that speak from an address that is gone go with it (fib_sync_down_addr).
    for address in old where !namespaces[namespace].isLocal(address.local.rawValue) {
      namespaces[namespace].routes.removeAll { $0.preferredSource == address.local.rawValue }
    }
    switch (old.isEmpty, devices[index].addresses.isEmpty) {
    case (false, true): disableIPv4(on: index)
    case (true, false): syncRoutes(of: index)
    default: break
    }
    refreshHopSources(in: namespace)
  }

  mutating func refreshLocalAddresses(of namespace: NamespaceIndex) {
    let all = namespaces[namespace].devices.flatMap { devices[$0].addresses.map(\.local.rawValue) }
    namespaces[namespace].local.replace(with: all)
  }

  /// The routes that follow from a device's addresses.
  func derivedRoutes(of index: DeviceIndex) -> [Route<UInt32>] {
    var routes: [Route<UInt32>] = []
    // What follows from a secondary speaks from its primary.
    func primary(_ address: InterfaceAddress) -> InterfaceAddress {
      guard address.isSecondary else { return address }
      return devices[index].addresses.first {
        !$0.isSecondary && $0.prefixLength == address.prefixLength && $0.isOnSubnet(address.peer.rawValue)
      } ?? address
    }
    func add(_ type: RouteType, _ destination: UInt32, _ length: UInt8, _ address: InterfaceAddress) {
      let scope: RouteScope = type == .local ? .host : .link
      var hop = RouteHop<UInt32>(device: index)
      if scope == .link { refreshState(&hop) }
      let route = Route(
        destination: destination & UInt32.mask(length), length: length,
        table: type == .unicast ? RouteMessage.mainTable : RouteMessage.localTable,
        priority: type == .unicast ? address.routePriority : 0, type: type, scope: scope, origin: .kernel,
        preferredSource: primary(address).local.rawValue, hops: [hop])
      let stands = routes.contains {
        $0.destination == route.destination && $0.length == length && $0.table == route.table
          && $0.type == type && $0.priority == route.priority
      }
      if !stands { routes.append(route) }
    }
    let device = (isUp: devices[index].isUp, isLoopback: devices[index].isLoopback)
    for address in devices[index].addresses {
      let local = address.local.rawValue
      add(.local, local, 32, address)
      guard device.isUp else { continue }
      if let broadcast = address.broadcast, broadcast != .broadcast {
        add(.broadcast, broadcast.rawValue, 32, address)
      }
      let network = address.network
      guard network != 0, !address.isSecondary, network != local || address.prefixLength < 32 else {
        continue
      }
      if !address.noPrefixRoute {
        add(device.isLoopback ? .local : .unicast, network, address.prefixLength, address)
      }
      if address.prefixLength < 31 { add(.broadcast, network | ~address.mask, 32, address) }
    }
    return routes
  }

  func addresses(_ filter: AddressMessage, in namespace: NamespaceIndex) throws(KernelError)
    -> [NetlinkMessage]
  {
    if filter.family == .ipv6 { return addressMessages6(filter, in: namespace) }
    var answers: [NetlinkMessage] = []
    for index in namespaces[namespace].devices
    where filter.index == 0 || devices[index].ifindex == filter.index {
      for address in devices[index].addresses {
        var message = AddressMessage(family: .ipv4, index: devices[index].ifindex)
        message.prefixLength = address.prefixLength
        message.scope = RouteScope(rawValue: address.scope)
        message.flags = .permanent
        if address.isSecondary { message.flags.insert(.secondary) }
        if address.noPrefixRoute { message.flags.insert(.noPrefixRoute) }
        message.local = .v4(address.local)
        message.address = .v4(address.peer)
        message.broadcast = address.broadcast
        message.label = address.label
        if address.protocolNumber != 0 { message.protocolNumber = address.protocolNumber }
        if address.routePriority != 0 { message.routePriority = address.routePriority }
        message.lifetime = AddressLifetime(preferred: AddressLifetime.forever, valid: AddressLifetime.forever)
        answers.append(message.message(.newAddress, []))
      }
    }
    if filter.family == .unspecified { answers += addressMessages6(filter, in: namespace) }
    return answers
  }
}
