// SPDX-License-Identifier: GPL-2.0-or-later

// What routers say of paths, told and believed: redirects (RFC 792, 1812 5.2.7.2; net/ipv4/route.c,
// ip_rt_send_redirect and __ip_do_redirect) and the largest datagram that gets through (RFC 1191;
// __ip_rt_update_pmtu). An error is believed only when it quotes what a socket of this host has sent.

import NetTypes

extension Kernel {
  /// Nanoseconds for which a redirect is believed (route/gc_timeout).
  static let redirectExpiry: Int64 = 300_000_000_000

  /// Tells a sender on the link of the next hop that he could use himself. The less he listens the less he is told.
  mutating func icmpRedirect(
    _ slot: Slot, to nextHop: UInt32, by egress: DeviceIndex, in namespace: NamespaceIndex
  ) {
    let source = pool.bytes(slot).u32(IPv4Header.source)
    guard namespaces[namespace].errorLimits.allowRedirect(source, now: cpu.now) else { return }
    // The packet itself goes on.
    let outer = suspendUnconfirmed()
    icmpError(for: slot, .redirect, code: 1, information: nextHop)
    resumeUnconfirmed(outer)
  }

  /// Learns from an error about what this host has sent.
  mutating func learnPath(from error: ICMPErrorReport, in namespace: NamespaceIndex) {
    if case .v6(let destination) = error.destination {
      guard error.type == ICMPv6Type.packetTooBig.rawValue,
        let device = device(ifindex: error.ifindex, in: namespace)
      else { return }
      learnPathMTU(UInt128(destination), error.information, on: device, in: namespace)
      return
    }
    guard case .v4(let destination) = error.destination, case .v4(let source) = error.source,
      case .v4(let router) = error.offender
    else { return }
    var flow = Flow(destination: destination.rawValue)
    flow.source = source.rawValue
    flow.proto = error.proto
    switch (
      ICMPType(rawValue: error.type), error.type == ICMPType.redirect.rawValue ? error.code & 7 : error.code
    ) {
    case (.destinationUnreachable, 4): learnMTU(error.information, flow, in: namespace)
    case (.redirect, 0...3): learnGateway(error.information, router.rawValue, flow, in: namespace)
    default: break
    }
  }

  private mutating func learnMTU(
    _ told: UInt32, _ flow: Flow<UInt32>, in namespace: NamespaceIndex
  ) {
    let settings = namespaces[namespace].ipv4
    guard settings.pathMTUDiscovery == 0 else { return }
    var flow = flow
    var path = IPv4Path()
    guard ipv4Route(&flow, &path, in: namespace) == nil, path.type == .unicast, !path.isMTULocked,
      path.mtu >= Int(told)
    else { return }
    let isTooSmall = told < settings.minimumPathMTU
    let mtu = isTooSmall ? min(UInt32(path.mtu), settings.minimumPathMTU) : told
    // All next hops of the route may lead through the narrow place.
    let route = namespaces[namespace].routes.route(of: path.route)
    for device in Set(route?.hops.map(\.device) ?? [path.device]).sorted(by: { $0.rawValue < $1.rawValue }) {
      var exception = exception(flow.destination, device, path.route, in: namespace)
      exception.mtu = mtu
      exception.isMTULocked = isTooSmall
      exception.expires = cpu.now + settings.pathMTUExpiry
      namespaces[namespace].routes.exceptions.set(exception)
    }
  }

  private mutating func learnGateway(
    _ gateway: UInt32, _ router: UInt32, _ flow: Flow<UInt32>, in namespace: NamespaceIndex
  ) {
    var flow = flow
    var path = IPv4Path()
    guard ipv4Route(&flow, &path, in: namespace) == nil, path.usesGateway, path.nextHop == router,
      gateway != router, devices[path.device].ipv4.acceptRedirects, !IPv4Header.isMulticast(gateway),
      gateway != .max, gateway != 0
    else { return }
    let device = path.device
    if devices[device].ipv4.sharesMedia {
      guard addressType(gateway, in: namespace) == .unicast else { return }
    } else {
      guard isOnLink(gateway, with: router, on: device),
        !devices[device].ipv4.secureRedirects || isDefaultGateway(gateway, on: device, in: namespace)
      else { return }
    }
    let neighbor = neighbor(gateway, on: device)
    guard !neighbor.isNone else { return }
    guard !neighbors[neighbor].state.isDisjoint(with: .valid) else {
      // It is asked for first; the next redirect will be heeded.
      useNeighbor(neighbor)
      return
    }
    var exception = exception(flow.destination, device, path.route, in: namespace)
    exception.gateway = gateway
    exception.expires = cpu.now + Self.redirectExpiry
    namespaces[namespace].routes.exceptions.set(exception)
  }

  private func exception(
    _ destination: UInt32, _ device: DeviceIndex, _ route: RouteResult<UInt32>, in namespace: NamespaceIndex
  ) -> RouteException<UInt32> {
    var exception =
      namespaces[namespace].routes.exceptions.find(destination, by: device, now: cpu.now)
      ?? RouteException(
        destination: destination, device: device, table: route.table, prefix: 0, prefixLength: 0)
    exception.table = route.table
    exception.prefix = destination & UInt32.mask(route.prefixLength)
    exception.prefixLength = route.prefixLength
    exception.updated = cpu.now
    return exception
  }

  /// ip_fib_check_default.
  private func isDefaultGateway(
    _ gateway: UInt32, on device: DeviceIndex, in namespace: NamespaceIndex
  ) -> Bool {
    namespaces[namespace].routes.routes(in: Route<UInt32>.mainTable).contains { route in
      route.hops.contains { $0.gateway == gateway && $0.device == device }
    }
  }
}
