// SPDX-License-Identifier: GPL-2.0-or-later

// Which way a datagram of this host's leaves, and the address that it speaks from (net/ipv4/route.c,
// ip_route_output_key_hash_rcu and __mkroute_output).

import NetTypes

/// How a datagram leaves (struct rtable, as output needs it).
struct IPv4Path {
  var device: DeviceIndex
  var nextHop: UInt32
  var source: UInt32
  /// Unicast, local or broadcast; a group's is unicast.
  var type: RouteResult.Outcome
  var mtu: Int

  /// The most bytes, headers included, that a datagram may have: what it asks of the path decides whether more than the
  /// MTU is cut or refused (ip_sk_ignore_df).
  func largest(_ datagram: IPv4Datagram) -> Int {
    switch datagram.pathMTUDiscovery {
    case .dont, .want, .omit: 65535
    case .do, .probe, .interface: mtu
    }
  }
}

extension Kernel {
  /// Finds the way of a datagram. ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL: as the route says; ENODEV: the device that
  /// it is bound to is not there.
  mutating func ipv4Route(
    _ datagram: IPv4Datagram, in namespace: NamespaceIndex
  ) throws(KernelError) -> IPv4Path {
    let destination = datagram.destination
    let isMulticast = IPv4Header.isMulticast(destination)
    var device = datagram.bound
    if datagram.source != 0 {
      guard !IPv4Header.isMulticast(datagram.source), datagram.source != .max, datagram.source >> 24 != 0
      else {
        throw .invalidArgument
      }
      if !datagram.isBound, isMulticast || destination == .max {
        guard let own = self.device(withAddress: datagram.source, in: namespace) else {
          throw .networkUnreachable
        }
        device = own
        return try direct(datagram, by: device)
      }
    }
    if datagram.isBound {
      guard devices.contains(device) else { throw .noSuchDevice }
      guard devices[device].isUp else { throw .networkUnreachable }
      // 224.0.0.0/24 stays on its link.
      if destination >> 8 == 0xe0_0000 || destination == .max { return try direct(datagram, by: device) }
    }
    let route = lookup(destination, in: namespace)
    if datagram.isBound, route.type == .none || route.type == .unicast && route.device != device {
      // The device was said, so that the routes are wrong: the destination is taken to be on its link.
      return try direct(datagram, by: device)
    }
    switch route.type {
    case .unicast, .broadcast, .local: break
    case .none: throw noRoute(.networkUnreachable, namespace)
    case .unreachable: throw noRoute(.hostUnreachable, namespace)
    case .prohibit: throw noRoute(.accessDenied, namespace)
    case .blackhole: throw noRoute(.invalidArgument, namespace)
    }
    let isLocal = route.type == .local
    device = isLocal ? loopback(of: namespace) : route.device
    // A group is never behind a gateway.
    let nextHop = route.gateway != 0 && !isMulticast ? route.gateway : destination
    var source = datagram.source
    if source == 0 { source = route.preferredSource }
    if source == 0 { source = isLocal ? destination : selectSource(nextHop, on: device) }
    return try path(destination, nextHop, source, route.type, by: device)
  }

  private mutating func noRoute(_ error: KernelError, _ namespace: NamespaceIndex) -> KernelError {
    namespaces[namespace].snmp[.ipOutNoRoutes] &+= 1
    return error
  }

  private func direct(_ datagram: IPv4Datagram, by device: DeviceIndex) throws(KernelError) -> IPv4Path {
    let destination = datagram.destination
    let source = datagram.source != 0 ? datagram.source : selectSource(destination, on: device)
    return try path(destination, destination, source, .unicast, by: device)
  }

  private func path(
    _ destination: UInt32, _ nextHop: UInt32, _ source: UInt32, _ type: RouteResult.Outcome,
    by device: DeviceIndex
  ) throws(KernelError) -> IPv4Path {
    guard !IPv4Header.isLoopback(source) || devices[device].isLoopback || devices[device].ipv4.routeLocalnet,
      destination == .max || destination >> 24 != 0
    else { throw .invalidArgument }
    return IPv4Path(
      device: device, nextHop: nextHop, source: source, type: destination == .max ? .broadcast : type,
      mtu: devices[device].mtu)
  }

  private func device(withAddress address: UInt32, in namespace: NamespaceIndex) -> DeviceIndex? {
    namespaces[namespace].devices.first { index in
      devices[index].addresses.contains { $0.local.rawValue == address }
    }
  }
}
