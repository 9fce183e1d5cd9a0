// SPDX-License-Identifier: GPL-2.0-or-later

// The life of IPv6 addresses (net/ipv6/addrconf.c; RFC 4862): how a device gets and loses them, which routes follow
// from them, and how they age.

import NetTypes
import Rtnetlink

extension Kernel {
  /// Whether a device has IPv6 at all: a smaller MTU than 1,280 takes it away.
  func hasIPv6(_ device: DeviceIndex) -> Bool { devices[device].mtu >= IPv6Header.minimumMTU }

  /// A device's address of that value.
  func address6(_ address: UInt128, on device: DeviceIndex) -> Address6Index {
    for index in devices[device].inet6.addresses where addresses6[index].address == address { return index }
    return .none
  }

  /// The link-local address that a device speaks from (ipv6_get_lladdr).
  func linkLocalAddress(of device: DeviceIndex) -> UInt128? {
    for index in devices[device].inet6.addresses.reversed() {
      guard addresses6[index].scope.rawValue <= RouteScope.link.rawValue else { break }
      if addresses6[index].isLinkLocal, addresses6[index].isUsable { return addresses6[index].address }
    }
    return nil
  }

  // MARK: Coming and going

  /// Puts an address on a device (ipv6_add_addr); `none` when the kernel has no place for it.
  mutating func insertAddress6(_ address: InterfaceAddress6) -> Address6Index {
    guard let index = addresses6.insert(address) else { return .none }
    // By scope from wide to narrow, and among equals the youngest first (ipv6_link_dev_addr).
    func rank(_ scope: RouteScope) -> UInt8 {
      scope == .host ? 1 : scope == .link ? 2 : scope == .site ? 5 : 14
    }
    let place = devices[address.device].inet6.addresses.firstIndex {
      rank(address.scope) >= rank(addresses6[$0].scope)
    }
    devices[address.device].inet6.addresses.insert(
      index, at: place ?? devices[address.device].inet6.addresses.count)
    armLifetime(of: index)
    return index
  }

  /// Takes an address away with what follows from it (ipv6_del_addr).
  mutating func removeAddress6(_ index: Address6Index) {
    let address = addresses6[index]
    cpu.wheel.cancel(&addresses6[index].lifetimeTimer)
    cpu.wheel.cancel(&addresses6[index].detectionTimer)
    devices[address.device].inet6.addresses.removeAll { $0 == index }
    if address.isPermanent, !address.flags.contains(.noPrefixRoute) { cleanPrefixRoute(of: address) }
    uninstall(address)
    addresses6.remove(index)
    endMasqueraded(by: address.device, (address.address, true), in: devices[address.device].namespace)
    forgetPreferredSource(address.address, in: devices[address.device].namespace)
  }

  /// The prefix's route goes with the last address of the prefix (check_cleanup_prefix_route).
  private mutating func cleanPrefixRoute(of gone: InterfaceAddress6) {
    let isNeeded = devices[gone.device].inet6.addresses.contains { index in
      let other = addresses6[index]
      return other.prefixLength == gone.prefixLength && other.isOnSubnet(gone.address) && other.isPermanent
        && !other.flags.contains(.noPrefixRoute)
    }
    guard !isNeeded else { return }
    namespaces[devices[gone.device].namespace].routes6.removeAll { route in
      route.table == Route<UInt128>.mainTable && route.destination == gone.subnet
        && route.length == gone.prefixLength && route.device == gone.device && route.origin == .kernel
        && route.gateway == 0
    }
  }

  /// Routes that speak from an address that is gone choose another (rt6_remove_prefsrc).
  private mutating func forgetPreferredSource(_ address: UInt128, in namespace: NamespaceIndex) {
    namespaces[namespace].routes6.changeAll { route in
      guard route.preferredSource == address else { return .same }
      route.preferredSource = 0
      return .changed
    }
  }

  private func kernelRoute(
    _ destination: UInt128, _ length: UInt8, _ type: RouteType, _ device: DeviceIndex, table: UInt32,
    priority: UInt32
  ) -> Route<UInt128> {
    var route = Route<UInt128>(
      destination: destination & UInt128.mask(length), length: length, table: table, priority: priority,
      type: type, origin: .kernel)
    var hop = RouteHop<UInt128>(device: device)
    // What is here needs no carrier (fib6_nh_init).
    if type != .local, type != .anycast { refreshState(&hop) }
    route.hops = [hop]
    return route
  }

  /// Puts a route unless it is there already; a device that is down has none but to its own addresses.
  mutating func insertRoute6(_ route: Route<UInt128>) {
    let namespace = devices[route.device].namespace
    guard devices[route.device].isUp || route.type == .local || route.type == .anycast,
      !namespaces[namespace].routes6.contains(route)
    else { return }
    namespaces[namespace].routes6.insert(route)
  }

  /// The route to an address's own link (addrconf_prefix_route). `expires`: for prefixes that a router told of.
  mutating func insertPrefixRoute(of address: InterfaceAddress6) {
    insertRoute6(
      kernelRoute(
        address.subnet, address.prefixLength, .unicast, address.device, table: Route<UInt128>.mainTable,
        priority: address.routePriority != 0 ? address.routePriority : 256))
  }

  /// All groups are on every link (addrconf_add_mroute).
  private mutating func insertGroupRoute(of device: DeviceIndex) {
    insertRoute6(
      kernelRoute(0xff << 120, 8, .multicast, device, table: Route<UInt128>.localTable, priority: 256))
  }

  /// The host hears what is for an address, and for the routers of its subnet if it is one (__ipv6_ifa_notify).
  mutating func install(_ index: Address6Index) {
    let address = addresses6[index]
    insertRoute6(
      kernelRoute(address.address, 128, .local, address.device, table: Route<UInt128>.localTable, priority: 0)
    )
    if address.peer != 0 {
      insertRoute6(
        kernelRoute(
          address.peer, 128, .unicast, address.device, table: Route<UInt128>.mainTable,
          priority: address.routePriority != 0 ? address.routePriority : 256))
    }
    guard !addresses6[index].isInstalled else { return }
    addresses6[index].isInstalled = true
    if devices[address.device].ipv6.forwarding { joinAnycast(of: address) }
  }

  private mutating func uninstall(_ address: InterfaceAddress6) {
    let namespace = devices[address.device].namespace
    leaveGroup(IPv6.solicitedNode(address.address), on: address.device)
    if address.isInstalled, devices[address.device].ipv6.forwarding { leaveAnycast(of: address) }
    namespaces[namespace].routes6.removeAll { route in
      route.length == 128 && route.device == address.device && route.origin == .kernel && route.gateway == 0
        && (route.destination == address.address && route.type == .local
          || address.peer != 0 && route.destination == address.peer && route.type == .unicast)
    }
  }

  // MARK: Anycast

  /// The subnet's routers (RFC 4291 2.6.1).
  private func anycast(of address: InterfaceAddress6) -> UInt128? {
    let anycast = address.address & UInt128.mask(address.prefixLength)
    return address.prefixLength < 127 && anycast != 0 ? anycast : nil
  }

  mutating func joinAnycast(of address: InterfaceAddress6) {
    guard let anycast = anycast(of: address) else { return }
    let device = address.device
    if let place = devices[device].inet6.anycasts.firstIndex(where: { $0.address == anycast }) {
      devices[device].inet6.anycasts[place].users += 1
      return
    }
    devices[device].inet6.anycasts.insert((anycast, 1), at: 0)
    insertRoute6(
      kernelRoute(anycast, 128, .anycast, device, table: Route<UInt128>.localTable, priority: 0))
    joinGroup(IPv6.solicitedNode(anycast), on: device)
  }

  mutating func leaveAnycast(of address: InterfaceAddress6) {
    let device = address.device
    guard let anycast = anycast(of: address),
      let place = devices[device].inet6.anycasts.firstIndex(where: { $0.address == anycast })
    else { return }
    devices[device].inet6.anycasts[place].users -= 1
    guard devices[device].inet6.anycasts[place].users == 0 else { return }
    devices[device].inet6.anycasts.remove(at: place)
    namespaces[devices[device].namespace].routes6.removeAll {
      $0.type == .anycast && $0.destination == anycast && $0.length == 128 && $0.device == device
    }
    leaveGroup(IPv6.solicitedNode(anycast), on: device)
  }

  /// Whether an address is one that this host has together with others.
  func isAnycast(_ address: UInt128, on device: DeviceIndex) -> Bool {
    devices[device].inet6.anycasts.contains { $0.address == address }
  }

  func isAnycast(_ address: UInt128, in namespace: NamespaceIndex) -> Bool {
    namespaces[namespace].devices.contains { isAnycast(address, on: $0) }
  }

  // MARK: What happens to devices

  /// Has a device begin with IPv6 when it is made (ipv6_add_dev): the groups of all nodes.
  mutating func beginIPv6(_ device: DeviceIndex) {
    guard hasIPv6(device) else { return }
    joinGroup(IPv6.allNodesOfInterface, on: device)
    joinGroup(IPv6.allNodes, on: device)
    if devices[device].ipv6.forwarding, devices[device].flags.contains(.multicast) {
      joinGroup(IPv6.allRouters, on: device)
    }
  }

  /// A device came up, or IPv6 was switched on (addrconf_notify, NETDEV_UP).
  mutating func startIPv6(_ device: DeviceIndex) {
    guard devices[device].isUp, devices[device].ipv6.isEnabled else { return }
    devices[device].inet6.hadCarrier = hasCarrier(device)
    for index in devices[device].inet6.addresses where addresses6[index].isPermanent {
      if !addresses6[index].flags.contains(.noPrefixRoute) { insertPrefixRoute(of: addresses6[index]) }
      if addresses6[index].detection == .notBegun { beginDetection(index) }
    }
    // Its first link makes it ready; until then it has no address of its own making.
    guard devices[device].inet6.hadCarrier else { return }
    makeReady(device)
  }

  /// A device's carrier may have changed (NETDEV_CHANGE).
  mutating func checkCarrier6(_ device: DeviceIndex) {
    guard devices[device].isUp, devices[device].ipv6.isEnabled else { return }
    let carrier = hasCarrier(device)
    guard carrier != devices[device].inet6.hadCarrier else { return }
    devices[device].inet6.hadCarrier = carrier
    guard carrier else { return }
    if devices[device].inet6.isReady {
      reportAllGroups(of: device)
    } else {
      makeReady(device)
    }
  }

  private mutating func makeReady(_ device: DeviceIndex) {
    devices[device].inet6.isReady = true
    startGroups(of: device)
    if devices[device].isLoopback {
      configureLoopback(device)
    } else {
      insertGroupRoute(of: device)
      generateLinkLocal(on: device)
    }
    // Those that waited for the link.
    for index in devices[device].inet6.addresses
    where addresses6[index].isTentative && addresses6[index].detection == .notBegun {
      beginDetection(index)
    }
  }

  /// init_loopback.
  private mutating func configureLoopback(_ device: DeviceIndex) {
    guard address6(IPv6.loopback, on: device).isNone else { return }
    var address = InterfaceAddress6(
      device: device, address: IPv6.loopback, prefixLength: 128, scope: .host, flags: .permanent,
      created: cpu.now, updated: cpu.now)
    address.protocolNumber = 1
    address.detection = .done
    let index = insertAddress6(address)
    if !index.isNone { install(index) }
  }

  /// The address that every link has (addrconf_addr_gen).
  mutating func generateLinkLocal(on device: DeviceIndex) {
    let identifier: UInt128
    switch devices[device].settings.ipv6[.addressGeneration] {
    case 0: identifier = IPv6.eui64(devices[device].mac)
    case 3: identifier = UInt128(cpu.random.next())
    // None, or one that follows from a secret, of which there is none.
    default: return
    }
    let address = IPv6.linkLocal | identifier
    let exists = devices[device].inet6.addresses.contains { addresses6[$0].isLinkLocal }
    guard
      devices[device].settings.ipv6[.addressGeneration] == 3 ? !exists : address6(address, on: device).isNone
    else { return }
    var fresh = InterfaceAddress6(
      device: device, address: address, prefixLength: 64, scope: .link, flags: [.permanent, .tentative],
      created: cpu.now, updated: cpu.now)
    fresh.protocolNumber = 3
    let index = insertAddress6(fresh)
    guard !index.isNone else { return }
    insertPrefixRoute(of: fresh)
    beginDetection(index)
  }

  /// A device goes down, or IPv6 was switched off or has lost its device (addrconf_ifdown).
  mutating func stopIPv6(_ device: DeviceIndex, forGood: Bool) {
    let namespace = devices[device].namespace
    cpu.wheel.cancel(&devices[device].inet6.solicitation.timer)
    devices[device].inet6.solicitation = RouterSolicitation()
    devices[device].inet6.isReady = false
    devices[device].inet6.hadCarrier = false
    let keeps = !forGood && keepsAddresses(device)
    for index in devices[device].inet6.addresses {
      if keeps, addresses6[index].isPermanent, !addresses6[index].isLinkLocal,
        addresses6[index].address != IPv6.loopback
      {
        cpu.wheel.cancel(&addresses6[index].detectionTimer)
        uninstall(addresses6[index])
        addresses6[index].isInstalled = false
        addresses6[index].detection = .notBegun
        if !addresses6[index].flags.contains(.noDAD) { addresses6[index].flags.insert(.tentative) }
      } else {
        removeAddress6(index)
      }
    }
    devices[device].inet6.anycasts = []
    namespaces[namespace].routes6.changeAll { route in
      guard route.uses(device) else { return .same }
      route.hops.removeAll { $0.device == device }
      return route.hops.isEmpty ? .gone : .changed
    }
    removeNeighbors(of: device, family: .ipv6)
    stopGroups(of: device, forGood: forGood)
  }

  private func keepsAddresses(_ device: DeviceIndex) -> Bool {
    // `all` decides unless it is zero; less than zero is no (addrconf_ifdown).
    let all = namespaces[devices[device].namespace].everyDevice.ipv6[.keepAddressOnDown]
    return (all != 0 ? all : devices[device].settings.ipv6[.keepAddressOnDown]) > 0
  }

  /// The MTU of a device has changed from another (NETDEV_CHANGEMTU).
  mutating func changeMTU6(_ device: DeviceIndex, from old: Int) {
    let mtu = devices[device].mtu
    if mtu < IPv6Header.minimumMTU {
      guard old >= IPv6Header.minimumMTU else { return }
      stopIPv6(device, forGood: true)
      applySettings(to: device)
      return
    }
    if old < IPv6Header.minimumMTU {
      // It begins anew, with what `default` says.
      devices[device].settings.ipv6 = namespaces[devices[device].namespace].newDevices.ipv6
    }
    devices[device].inet6.mtu = 0
    applySettings(to: device)
    if old < IPv6Header.minimumMTU {
      beginIPv6(device)
      startIPv6(device)
    }
  }

  /// IPv6 is switched off or on (addrconf_disable_change).
  mutating func switchIPv6(_ device: DeviceIndex, wasEnabled: Bool) {
    guard wasEnabled != devices[device].ipv6.isEnabled, hasIPv6(device) else { return }
    if wasEnabled { stopIPv6(device, forGood: false) } else { startIPv6(device) }
  }

  /// A device becomes a router or is one no longer (dev_forward_change).
  mutating func switchForwarding6(_ device: DeviceIndex) {
    let isRouter = devices[device].ipv6.forwarding
    guard hasIPv6(device) else { return }
    for group in [IPv6.allRouters, IPv6.allRoutersOfInterface, IPv6.allRoutersOfSite] {
      if isRouter { joinGroup(group, on: device) } else { leaveGroup(group, on: device) }
    }
    for index in devices[device].inet6.addresses where addresses6[index].isInstalled {
      if isRouter { joinAnycast(of: addresses6[index]) } else { leaveAnycast(of: addresses6[index]) }
    }
  }
}
