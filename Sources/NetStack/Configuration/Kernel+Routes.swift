// SPDX-License-Identifier: GPL-2.0-or-later

// IPv4 routes by message (net/ipv4/fib_frontend.c, fib_semantics.c, fib_trie.c).

import NetTypes
import Rtnetlink

extension Kernel {
  mutating func addRoute(
    _ message: RouteMessage, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let route = try checked(message, in: namespace)
    let standing = namespaces[namespace].routes.matching(route.table, route.destination, route.length)
      .filter { $0.priority == route.priority }
    if let first = standing.first {
      guard !flags.contains(.exclusive) else { throw .exists }
      if flags.contains(.replace) {
        if standing.contains(where: { Self.isSame($0, route) }) {
          if Self.isSame(first, route) { return }
          throw .exists
        }
        namespaces[namespace].routes.replace(first, with: route)
        return
      }
      if standing.contains(where: { Self.isSame($0, route) }) { throw .exists }
      namespaces[namespace].routes.insert(route, first: !flags.contains(.append))
      return
    }
    guard flags.contains(.create) else { throw .noSuchEntry }
    namespaces[namespace].routes.insert(route)
  }

  private static func isSame(_ a: Route, _ b: Route) -> Bool {
    var other = b
    other.origin = a.origin
    return a.type == b.type && a.scope == b.scope && a.device == b.device && a.gateway == b.gateway
      && a.preferredSource == b.preferredSource && a.origin == other.origin
  }

  /// What a message says, if it can be.
  private func checked(_ message: RouteMessage, in namespace: NamespaceIndex) throws(KernelError) -> Route {
    guard message.family != .ipv6 else { throw .notSupported("the emulated kernel has no IPv6 yet") }
    guard message.family == .ipv4 else { throw KernelError(95) }
    guard message.nextHops.isEmpty, message.nextHopID == nil else {
      throw .notSupported("a route of the emulated kernel has one next hop")
    }
    guard message.typeOfService == 0 else {
      throw .notSupported("the emulated kernel routes by destination only")
    }
    guard message.source == nil else { throw .invalidArgument }
    let (destination, length) = try Self.prefix(message)
    let type = message.type == .unspecified ? .unicast : message.type
    var device = DeviceIndex.none
    if let oif = message.outputIndex, oif != 0 {
      guard let found = self.device(ifindex: oif, in: namespace) else { throw .noSuchDevice }
      device = found
    }
    var gateway: UInt32 = 0
    switch message.gateway {
    case .v4(let address): gateway = address.rawValue
    case .v6: throw .notSupported("a gateway of the emulated kernel is an IPv4 address")
    case nil: break
    }
    var route = Route(
      destination: destination, length: length, table: message.table == 0 ? Route.mainTable : message.table,
      priority: message.priority ?? 0, type: type, scope: message.scope, origin: message.protocolNumber,
      device: device, gateway: gateway, preferredSource: 0)
    route.isOnLink = message.flags.contains(.onLink)
    switch type {
    case .blackhole, .unreachable, .prohibit, .throw:
      guard gateway == 0, device.isNone else {
        throw .invalid("Route with device or gateway can not be of this type")
      }
    case .unicast, .local, .broadcast:
      try resolve(&route, in: namespace)
    default:
      throw .notSupported("the emulated kernel has no routes of type \(type.rawValue)")
    }
    if case .v4(let source)? = message.preferredSource {
      guard namespaces[namespace].isLocal(source.rawValue) || source.isLoopback else {
        throw .invalid("Invalid prefsrc address")
      }
      route.preferredSource = source.rawValue
    }
    return route
  }

  private static func prefix(_ message: RouteMessage) throws(KernelError) -> (UInt32, UInt8) {
    guard let destination = message.destination else { return (0, 0) }
    guard case .v4(let address) = destination.address, let length = UInt8(exactly: destination.length),
      length <= 32
    else { throw .invalid("Invalid prefix length") }
    guard address.rawValue & ~Route.mask(length) == 0 else {
      throw .invalid("Invalid prefix for given prefix length")
    }
    return (address.rawValue, length)
  }

  /// Finds the device of a gateway, and checks that it can be one (fib_check_nh).
  private func resolve(_ route: inout Route, in namespace: NamespaceIndex) throws(KernelError) {
    guard route.gateway != 0 else {
      guard !route.device.isNone else { throw .noSuchDevice }
      guard devices[route.device].isUp else { throw KernelError(100, "Device for nexthop is not up") }
      return
    }
    guard route.scope.rawValue < RouteScope.link.rawValue else { throw .invalid("Nexthop has invalid scope") }
    let invalid = "Nexthop has invalid gateway"

    if route.isOnLink {
      guard !route.device.isNone else { throw .noSuchDevice }
      guard devices[route.device].isUp else { throw KernelError(100, "Nexthop device is not up") }
      return
    }
    // The most specific route to the gateway must be a link's own.
    let wanted = route.device
    let gateway = route.gateway
    let best = namespaces[namespace].routes.routes.filter {
      ($0.table == Route.mainTable || $0.table == Route.localTable) && $0.covers(gateway)
        && (wanted.isNone || $0.device == wanted || $0.type == .local || $0.type == .broadcast)
    }.max { ($0.length, $1.priority) < ($1.length, $0.priority) }
    guard let best else { throw KernelError(101, invalid) }
    guard best.type == .unicast || best.type == .local else { throw .invalid(invalid) }
    guard best.scope.rawValue >= RouteScope.link.rawValue else { throw KernelError(101, invalid) }
    guard wanted.isNone || wanted == best.device else { throw KernelError(101, invalid) }
    guard devices[best.device].isUp else { throw KernelError(100, "Nexthop device is not up") }
    route.device = best.device
  }

  mutating func deleteRoute(_ message: RouteMessage, in namespace: NamespaceIndex) throws(KernelError) {
    guard message.family == .ipv4 else { throw .notSupported("the emulated kernel has no IPv6 yet") }
    let (destination, length) = try Self.prefix(message)
    let table = message.table == 0 ? Route.mainTable : message.table
    let oif = message.outputIndex.flatMap { $0 == 0 ? nil : device(ifindex: $0, in: namespace) }
    if let index = message.outputIndex, index != 0, oif == nil { throw .noSuchDevice }
    let found = namespaces[namespace].routes.matching(table, destination, length).first { route in
      if message.type != .unspecified, message.type != route.type { return false }
      if message.scope != .nowhere, message.scope != .universe, message.scope != route.scope { return false }
      if message.protocolNumber != .unspecified, message.protocolNumber != route.origin { return false }
      if let priority = message.priority, priority != route.priority { return false }
      if let oif, oif != route.device { return false }
      if case .v4(let gateway)? = message.gateway, gateway.rawValue != route.gateway { return false }
      if case .v4(let source)? = message.preferredSource, source.rawValue != route.preferredSource {
        return false
      }
      return true
    }
    guard let found else { throw .noSuchProcess }
    namespaces[namespace].routes.remove(found)
  }

  mutating func routes(
    _ filter: RouteMessage, all: Bool, in namespace: NamespaceIndex
  ) throws(KernelError) -> [NetlinkMessage] {
    guard filter.family != .ipv6 else {
      guard all else { throw .notSupported("the emulated kernel has no IPv6 yet") }
      return []
    }
    guard all else { return [try routeTo(filter, in: namespace)] }
    return namespaces[namespace].routes.routes.filter { route in
      if filter.table != 0, filter.table != route.table { return false }
      if filter.protocolNumber != .unspecified, filter.protocolNumber != route.origin { return false }
      if filter.type != .unspecified, filter.type != route.type { return false }
      if let oif = filter.outputIndex, oif != 0 {
        return !route.device.isNone && devices[route.device].ifindex == oif
      }
      return true
    }.map { message($0).message(.newRoute, []) }
  }

  private func message(_ route: Route) -> RouteMessage {
    var message = RouteMessage(family: .ipv4)
    if route.length > 0 {
      message.destination = IPPrefix(.v4(IPv4Address(rawValue: route.destination)), length: Int(route.length))
    }
    message.table = route.table
    message.protocolNumber = route.origin
    message.scope = route.scope
    message.type = route.type
    if route.priority != 0 { message.priority = route.priority }
    if route.gateway != 0 { message.gateway = .v4(IPv4Address(rawValue: route.gateway)) }
    if !route.device.isNone { message.outputIndex = devices[route.device].ifindex }
    if route.preferredSource != 0 {
      message.preferredSource = .v4(IPv4Address(rawValue: route.preferredSource))
    }
    if route.isOnLink { message.flags.insert(.onLink) }
    return message
  }

  /// `ip route get`: the way of one packet of this host.
  private mutating func routeTo(
    _ request: RouteMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> NetlinkMessage {
    guard case .v4(let address)? = request.destination?.address else { throw .invalidArgument }
    let route = lookup(address.rawValue, in: namespace)
    switch route.type {
    case .none: throw .networkUnreachable
    case .unreachable: throw .hostUnreachable
    case .prohibit: throw .accessDenied
    case .blackhole: throw .invalidArgument
    case .unicast, .local, .broadcast: break
    }
    let isLocal = route.type == .local
    let device = isLocal ? loopback(of: namespace) : route.device
    var answer = RouteMessage(family: .ipv4)
    answer.destination = IPPrefix(host: .v4(address))
    answer.table = isLocal ? Route.localTable : Route.mainTable
    answer.type = isLocal ? .local : route.type == .broadcast ? .broadcast : .unicast
    answer.flags = .cloned
    answer.outputIndex = devices[device].ifindex
    if route.gateway != 0 { answer.gateway = .v4(IPv4Address(rawValue: route.gateway)) }
    var source = route.preferredSource
    if source == 0 {
      source =
        isLocal
        ? address.rawValue : selectSource(route.gateway != 0 ? route.gateway : address.rawValue, on: device)
    }
    if source != 0 { answer.preferredSource = .v4(IPv4Address(rawValue: source)) }
    return answer.message(.newRoute, [])
  }
}
