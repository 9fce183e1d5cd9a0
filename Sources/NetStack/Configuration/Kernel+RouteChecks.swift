// SPDX-License-Identifier: GPL-2.0-or-later

// Whether a route that a message asks for can be (net/ipv4/fib_semantics.c, fib_create_info and fib_check_nh;
// net/ipv6/route.c, ip6_route_info_create and ip6_validate_gw), with the kernel's numbers and words.

import NetTypes
import Rtnetlink

extension Kernel {
  static func destination<Address: InternetAddress>(
    of message: RouteMessage
  ) throws(KernelError) -> (Address, UInt8) {
    guard let destination = message.destination else { return (0, 0) }
    guard let address = Address(destination.address), let length = UInt8(exactly: destination.length),
      Int(length) <= Address.bitWidth
    else { throw .invalid("Invalid prefix length") }
    // IPv6 clears what IPv4 refuses.
    guard Address.family == .ipv6 || address & ~Address.mask(length) == 0 else {
      throw .invalid("Invalid prefix for given prefix length")
    }
    return (address & Address.mask(length), length)
  }

  /// The next hops that a message names. Strict: for a route that shall be made.
  func hops<Address: InternetAddress>(
    _ message: RouteMessage, _: Address.Type, in namespace: NamespaceIndex, isStrict: Bool
  ) throws(KernelError) -> [RouteHop<Address>] {
    func hop(
      _ index: Int32?, _ gateway: IPAddress?, _ weight: UInt16, _ flags: RouteFlags
    ) throws(KernelError) -> RouteHop<Address> {
      guard flags.isDisjoint(with: [.dead, .linkDown]) || !isStrict else {
        throw .invalid("Invalid flags for nexthop - can not contain DEAD or LINKDOWN")
      }
      var hop = RouteHop<Address>(device: .none, weight: weight)
      if let index, index != 0 {
        guard let device = device(ifindex: index, in: namespace) else { throw .noSuchDevice }
        hop.device = device
      }
      if let gateway {
        guard let address = Address(gateway) else {
          throw .notSupported("a gateway of the emulated kernel is of its route's family")
        }
        hop.gateway = address
      }
      hop.isOnLink = flags.contains(.onLink)
      return hop
    }
    guard message.nextHops.isEmpty else {
      var hops: [RouteHop<Address>] = []
      for next in message.nextHops {
        hops.append(try hop(next.outputIndex, next.gateway, next.weight, next.flags))
      }
      return hops
    }
    guard (message.outputIndex ?? 0) != 0 || message.gateway != nil else { return [] }
    return [try hop(message.outputIndex, message.gateway, 1, message.flags.intersection(.onLink))]
  }

  private static func metrics(_ message: RouteMessage) -> RouteMetrics {
    var metrics = message.metrics
    metrics.mtu = metrics.mtu.map { min($0, 65535 - 15) }
    metrics.advertisedMSS = metrics.advertisedMSS.map { min($0, 65535 - 40) }
    metrics.hopLimit = metrics.hopLimit.map { min($0, 255) }
    return metrics
  }

  private func checkKnown(_ message: RouteMessage) throws(KernelError) {
    guard message.nextHopID == nil else {
      throw .notSupported("the emulated kernel has no next hop objects")
    }
    guard message.source == nil || message.source?.length == 0 else {
      guard message.family == .ipv6 else { throw .invalidArgument }
      throw .invalid("requires CONFIG_IPV6_SUBTREES")
    }
    guard message.flags.isDisjoint(with: [.dead, .linkDown]) else {
      throw .invalid("Invalid rtm_flags - can not contain DEAD or LINKDOWN")
    }
  }

  // MARK: IPv4

  mutating func checkedIPv4Route(
    _ message: RouteMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> Route<UInt32> {
    guard message.typeOfService & 3 == 0 else {
      throw .invalid("Invalid dsfield (tos): ECN bits must be 0")
    }
    try checkKnown(message)
    let (destination, length): (UInt32, UInt8) = try Self.destination(of: message)
    var route = Route<UInt32>(
      destination: destination, length: length,
      table: message.table == 0 ? RouteMessage.mainTable : message.table,
      typeOfService: message.typeOfService, priority: message.priority ?? 0, type: message.type,
      scope: message.scope, origin: message.protocolNumber)
    route.metrics = Self.metrics(message)
    guard route.type.rawValue <= 11 else { throw .invalid("Invalid route type") }
    let narrowest: RouteScope =
      switch route.type {
      case .unspecified: .nowhere
      case .local: .host
      case .broadcast, .anycast: .link
      default: route.type.rawValue >= 10 ? .nowhere : .universe
      }
    guard route.scope.rawValue >= narrowest.rawValue else { throw .invalid("Invalid scope") }
    if Self.isReject(route.type) {
      guard message.gateway == nil, (message.outputIndex ?? 0) == 0, message.nextHops.isEmpty else {
        throw .invalid("Gateway, device and multipath can not be specified for this route type")
      }
    } else {
      guard [.unicast, .local, .broadcast, .anycast, .multicast].contains(route.type) else {
        throw .invalid("Invalid route type")
      }
      try checkIPv4Hops(&route, message, in: namespace)
    }
    if let source = message.preferredSource.flatMap({ UInt32($0) }), source != 0 {
      guard route.type == .local && source == destination || isLocal(source, route.table, in: namespace)
      else {
        throw .invalid("Invalid prefsrc address")
      }
      route.preferredSource = source
    }
    return route
  }

  /// inet_addr_type_table, as fib_valid_prefsrc asks it.
  private mutating func isLocal(_ address: UInt32, _ table: UInt32, in namespace: NamespaceIndex) -> Bool {
    let flow = Flow(destination: address)
    let isThere =
      table != RouteMessage.mainTable
      && namespaces[namespace].routes.lookup(flow, in: table).type == .local
    return isThere || addressType(address, in: namespace) == .local
  }

  /// What an address is to this host (inet_addr_type).
  mutating func addressType(_ address: UInt32, in namespace: NamespaceIndex) -> RouteOutcome {
    if address == .max || address == 0 { return .broadcast }
    if IPv4Header.isMulticast(address) { return .multicast }
    let result = namespaces[namespace].routes.lookup(
      Flow(destination: address), in: RouteMessage.localTable)
    return result.type == .again ? .unicast : result.type
  }

  private mutating func checkIPv4Hops(
    _ route: inout Route<UInt32>, _ message: RouteMessage, in namespace: NamespaceIndex
  ) throws(KernelError) {
    route.hops = try hops(message, UInt32.self, in: namespace, isStrict: true)
    if !message.nextHops.isEmpty {
      if let index = message.outputIndex, index != 0, message.nextHops.first?.outputIndex != index {
        throw .invalid("Nexthop device index does not match RTA_OIF")
      }
      if let gateway = message.gateway, message.nextHops.first?.gateway != gateway {
        throw .invalid("Nexthop gateway does not match RTA_GATEWAY or RTA_VIA")
      }
    }
    guard route.scope.rawValue <= RouteScope.host.rawValue else { throw .invalid("Invalid scope") }
    if route.scope == .host {
      guard route.hops.count <= 1 else {
        throw .invalid("Route with host scope can not have multiple nexthops")
      }
      guard route.gateway == 0 else { throw .invalid("Route with host scope can not have a gateway") }
      guard !route.device.isNone else { throw .noSuchDevice }
      return
    }
    if route.hops.isEmpty { throw .noSuchDevice }
    for index in route.hops.indices {
      try checkIPv4(&route.hops[index], route, in: namespace)
      refreshState(&route.hops[index])
    }
  }

  /// fib_check_nh: finds the device of a gateway, and checks that it can be one.
  private mutating func checkIPv4(
    _ hop: inout RouteHop<UInt32>, _ route: Route<UInt32>, in namespace: NamespaceIndex
  ) throws(KernelError) {
    guard hop.gateway != 0 else {
      guard !hop.isOnLink else {
        throw .invalid("Invalid flags for nexthop - PERVASIVE and ONLINK can not be set")
      }
      guard !hop.device.isNone else { throw .noSuchDevice }
      guard devices[hop.device].isUp else { throw KernelError(100, "Device for nexthop is not up") }
      return
    }
    let invalid = "Nexthop has invalid gateway"
    if hop.isOnLink {
      guard route.scope.rawValue < RouteScope.link.rawValue else {
        throw .invalid("Nexthop has invalid scope")
      }
      guard !hop.device.isNone else { throw KernelError(19, "Nexthop device required for onlink") }
      guard devices[hop.device].isUp else { throw KernelError(100, "Nexthop device is not up") }
      guard addressType(hop.gateway, in: namespace) == .unicast else { throw .invalid(invalid) }
      return
    }
    // A gateway must stand on a link.
    var flow = Flow(destination: hop.gateway)
    flow.inputDevice = loopback(of: namespace)
    flow.outputDevice = hop.device
    flow.scope = max(route.scope.rawValue + 1, RouteScope.link.rawValue)
    flow.ignoresLinkState = true
    var result = RouteResult<UInt32>.again
    if route.table != RouteMessage.mainTable {
      result = namespaces[namespace].routes.lookup(flow, in: route.table)
    }
    if result.type.isError { result = namespaces[namespace].routes.lookup(flow) }
    if let error = result.type.error { throw KernelError(error.errno, invalid) }
    guard result.type == .unicast || result.type == .local else { throw .invalid(invalid) }
    guard !result.device.isNone else { throw .invalid("No egress device for nexthop gateway") }
    guard devices[result.device].isUp else { throw .networkDown }
    hop.device = result.device
  }

  // MARK: IPv6

  mutating func checkedIPv6Routes(
    _ message: RouteMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> [Route<UInt128>] {
    try checkKnown(message)
    let (destination, length): (UInt128, UInt8) = try Self.destination(of: message)
    guard message.type.rawValue <= 11 else { throw .invalid("Invalid route type") }
    var route = Route<UInt128>(
      destination: destination, length: length,
      table: message.table == 0 ? RouteMessage.mainTable : message.table,
      priority: (message.priority ?? 0) == 0 ? 1024 : message.priority ?? 0,
      type: message.type == .unspecified ? .unicast : message.type,
      origin: message.protocolNumber == .unspecified ? .boot : message.protocolNumber)
    route.metrics = Self.metrics(message)
    route.preference = message.preference == .invalid ? .medium : message.preference ?? .medium
    if let seconds = message.expires { route.expires = cpu.now + Int64(seconds) * 1_000_000_000 }
    if let source = message.preferredSource.flatMap({ UInt128($0) }), source != 0 {
      let type = namespaces[namespace].routes6.lookup(Flow(destination: source), in: RouteMessage.localTable)
      guard type.type == .local else { throw .invalid("Invalid source address") }
      route.preferredSource = source
    }
    // What says no stands on the loopback device.
    guard !Self.isReject(route.type) else {
      route.hops = [RouteHop(device: loopback(of: namespace))]
      return [route]
    }
    route.hops = try hops(message, UInt128.self, in: namespace, isStrict: true)
    if route.hops.isEmpty { throw .noSuchDevice }
    for index in route.hops.indices {
      try checkIPv6(&route.hops[index], route, in: namespace)
      refreshState(&route.hops[index])
    }
    // Hops without a gateway do not share a route with others.
    guard route.hops.count > 1, route.hops.contains(where: { $0.gateway == 0 }) else { return [route] }
    return route.hops.map { hop in
      var single = route
      single.hops = [hop]
      return single
    }
  }

  /// ip6_validate_gw, ip6_route_check_nh.
  private mutating func checkIPv6(
    _ hop: inout RouteHop<UInt128>, _ route: Route<UInt128>, in namespace: NamespaceIndex
  ) throws(KernelError) {
    if hop.isOnLink {
      guard !hop.device.isNone else { throw KernelError(19, "Nexthop device required for onlink") }
      guard devices[hop.device].isUp else { throw KernelError(100, "Nexthop device is not up") }
    }
    if hop.gateway != 0 {
      let isLinkLocal = hop.gateway >> 118 == 0x3fa
      let isLocal = namespaces[namespace].routes6.lookup(
        Flow(destination: hop.gateway), in: RouteMessage.localTable
      ).type
      guard isLocal != .local || isLinkLocal && hop.device.isNone else {
        throw .invalid("Gateway can not be a local address")
      }
      if !isLinkLocal {
        guard hop.gateway >> 120 != 0xff, hop.gateway > 1 else { throw .invalid("Invalid gateway address") }
        if !hop.isOnLink { try findIPv6Device(&hop, route.table, in: namespace) }
      }
      guard !hop.device.isNone else { throw .invalid("Egress device not specified") }
      guard !devices[hop.device].isLoopback else {
        throw .invalid("Egress device can not be loopback device for this route")
      }
    }
    guard !hop.device.isNone else { throw .noSuchDevice }
    guard devices[hop.device].isUp else { throw KernelError(100, "Nexthop device is not up") }
  }

  private mutating func findIPv6Device(
    _ hop: inout RouteHop<UInt128>, _ table: UInt32, in namespace: NamespaceIndex
  ) throws(KernelError) {
    var flow = Flow(destination: hop.gateway)
    flow.inputDevice = loopback(of: namespace)
    flow.outputDevice = hop.device
    flow.ignoresLinkState = true
    func isOnLink(_ result: RouteResult<UInt128>) -> Bool {
      !result.type.isError && result.gateway == 0 && !result.device.isNone
    }
    var result = namespaces[namespace].routes6.lookup(flow, in: table)
    if !isOnLink(result) { result = namespaces[namespace].routes6.lookup(flow) }
    guard isOnLink(result) else { throw .hostUnreachable }
    hop.device = result.device
  }
}
