// SPDX-License-Identifier: GPL-2.0-or-later

// The way of what this host sends in IPv4, and the address that it speaks from (net/ipv4/route.c,
// ip_route_output_key_hash; devinet.c, inet_select_addr).

import NetTypes
import Rtnetlink

/// How a datagram leaves (struct rtable, as output needs it).
struct IPv4Path {
  var type = RouteOutcome.unicast
  var device = DeviceIndex.none
  var source: UInt32 = 0
  /// The destination, which a sender may leave to be this host.
  var destination: UInt32 = 0
  /// The gateway, or the destination itself.
  var nextHop: UInt32 = 0
  var usesGateway = false
  /// What fits in one packet.
  var mtu = 0
  var isMTULocked = false
  var hopLimit: UInt8 = 0
  /// What the tables said, if they were asked.
  var route = RouteResult<UInt32>.none

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
  /// Where a packet for a destination would go, whoever sends it.
  mutating func lookup(_ destination: UInt32, in namespace: NamespaceIndex) -> RouteResult<UInt32> {
    namespaces[namespace].routes.lookup(Flow(destination: destination))
  }

  /// The loopback device of a namespace; every namespace has one, the first.
  func loopback(of namespace: NamespaceIndex) -> DeviceIndex { namespaces[namespace].devices.first ?? .none }

  /// Finds the way of a datagram. ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL: as the route says; ENODEV: the device that
  /// it is bound to is not there.
  mutating func ipv4Route(
    _ datagram: IPv4Datagram, in namespace: NamespaceIndex
  ) throws(KernelError) -> IPv4Path {
    var flow = Flow(destination: datagram.destination)
    flow.source = datagram.source
    flow.isFromAnywhere = datagram.isFromAnywhere
    if datagram.isBound {
      guard devices.contains(datagram.bound) else { throw .noSuchDevice }
      flow.outputDevice = datagram.bound
    }
    flow.typeOfService = datagram.typeOfService & 0xfc
    flow.mark = datagram.mark
    flow.proto = datagram.proto
    flow.sourcePort = datagram.sourcePort
    flow.destinationPort = datagram.destinationPort
    var path = IPv4Path()
    if let error = ipv4Route(&flow, &path, in: namespace) {
      if error == .networkUnreachable { namespaces[namespace].snmp[.ipOutNoRoutes] &+= 1 }
      throw error
    }
    path.destination = flow.destination
    return path
  }

  /// Finds the way of what this host sends. What the flow does not say, its source and destination, is chosen. The
  /// answer is an error, or nil with the path filled in.
  mutating func ipv4Route(
    _ flow: inout Flow<UInt32>, _ path: inout IPv4Path, in namespace: NamespaceIndex
  ) -> KernelError? {
    let loopback = loopback(of: namespace)
    flow.inputDevice = loopback
    var bound = flow.outputDevice
    if flow.source != 0 {
      guard !IPv4Header.isMulticast(flow.source), flow.source != .max, flow.source != 0 else {
        return .invalidArgument
      }
      // No device need have it where a route of the local table says that it is this host's (__ip_dev_find).
      let owner =
        namespaces[namespace].isLocal(flow.source) || IPv4Header.isLoopback(flow.source)
        || addressType(flow.source, in: namespace) == .local
      if bound.isNone, IPv4Header.isMulticast(flow.destination) || flow.destination == .max {
        // What goes to a group leaves by the device whose address it speaks from.
        guard let device = device(of: flow.source, in: namespace) else { return .noSuchDevice }
        bound = device
        return finish(&flow, &path, direct: device, in: namespace)
      }
      guard owner || flow.isFromAnywhere || namespaces[namespace].ipv4.nonLocalBind else {
        return .invalidArgument
      }
    }
    if !bound.isNone {
      guard devices.contains(bound), devices[bound].namespace == namespace else { return .noSuchDevice }
      guard devices[bound].isUp else { return .networkUnreachable }
      if flow.destination >> 8 == 0xe0_0000 || flow.destination == .max || flow.proto == 2 {
        if flow.source == 0 { flow.source = selectSource(0, on: bound, scope: RouteScope.link.rawValue) }
        return finish(&flow, &path, direct: bound, in: namespace)
      }
      if flow.source == 0 {
        if IPv4Header.isMulticast(flow.destination) {
          flow.source = selectSource(0, on: bound, scope: flow.scope)
        } else if flow.destination == 0 {
          flow.source = selectSource(0, on: bound, scope: RouteScope.host.rawValue)
        }
      }
    }
    if flow.destination == 0 {
      flow.destination = flow.source != 0 ? flow.source : 0x7f00_0001
      if flow.source == 0 { flow.source = flow.destination }
      path.type = .local
      path.device = loopback
      path.source = flow.source
      path.nextHop = flow.destination
      path.mtu = min(devices[loopback].mtu, IPv4Header.maximumMTU)
      return nil
    }
    var result = namespaces[namespace].routes.lookup(flow)
    if namespaces[namespace].routes.hasSeveralDefaults, bound.isNone, result.prefixLength == 0,
      result.type == .unicast
    {
      selectDefault(&result, flow, in: namespace)
    }
    if let error = result.type.error {
      guard !bound.isNone else { return error }
      // A device was asked for: the tables may be wrong, and the destination on its link.
      if flow.source == 0 { flow.source = selectSource(0, on: bound, scope: RouteScope.link.rawValue) }
      return finish(&flow, &path, direct: bound, in: namespace)
    }
    path.route = result
    if result.type == .local {
      if flow.source == 0 {
        flow.source = result.preferredSource != 0 ? result.preferredSource : flow.destination
      }
      return finish(&flow, &path, .local, loopback, gateway: 0, in: namespace)
    }
    if flow.source == 0 {
      flow.source =
        result.preferredSource != 0
        ? result.preferredSource : selectSource(result.gateway, on: result.device, scope: result.scope)
    }
    return finish(&flow, &path, result.type, result.device, gateway: result.gateway, in: namespace)
  }

  private mutating func finish(
    _ flow: inout Flow<UInt32>, _ path: inout IPv4Path, direct device: DeviceIndex,
    in namespace: NamespaceIndex
  ) -> KernelError? {
    finish(&flow, &path, .unicast, device, gateway: 0, in: namespace)
  }

  /// __mkroute_output.
  private mutating func finish(
    _ flow: inout Flow<UInt32>, _ path: inout IPv4Path, _ type: RouteOutcome, _ device: DeviceIndex,
    gateway: UInt32, in namespace: NamespaceIndex
  ) -> KernelError? {
    if IPv4Header.isLoopback(flow.source), !devices[device].isLoopback, !devices[device].ipv4.routeLocalnet {
      return .invalidArgument
    }
    path.type = type
    if flow.destination == .max {
      path.type = .broadcast
    } else if IPv4Header.isMulticast(flow.destination) {
      path.type = .multicast
    } else if flow.destination == 0 {
      return .invalidArgument
    }
    path.device = device
    path.source = flow.source
    // The wide routes that all groups have are no way to a gateway.
    let isGroup = path.type == .broadcast || path.type == .multicast && path.route.prefixLength < 4
    path.usesGateway = gateway != 0 && !isGroup
    path.nextHop = path.usesGateway ? gateway : flow.destination
    path.mtu = min(path.route.mtu != 0 ? Int(path.route.mtu) : devices[device].mtu, IPv4Header.maximumMTU)
    path.isMTULocked = path.route.isMTULocked
    path.hopLimit = path.route.hopLimit
    if path.isMTULocked, path.route.mtu == 0, path.usesGateway { path.mtu = min(path.mtu, 576) }
    applyException(&path, flow.destination, in: namespace)
    return nil
  }

  /// What routers have told of the destination (find_exception, ip_dst_mtu_maybe_forward).
  private mutating func applyException(
    _ path: inout IPv4Path, _ destination: UInt32, in namespace: NamespaceIndex
  ) {
    guard !namespaces[namespace].routes.exceptions.isEmpty, path.type == .unicast,
      let known = namespaces[namespace].routes.exceptions.find(
        destination, by: path.device, now: cpu.now)
    else { return }
    if known.gateway != 0 {
      path.nextHop = known.gateway
      path.usesGateway = true
    }
    if known.mtu != 0, !path.isMTULocked {
      path.mtu = min(path.mtu, Int(known.mtu))
      path.isMTULocked = known.isMTULocked
    }
  }

  /// The device that has an address.
  func device(of address: UInt32, in namespace: NamespaceIndex) -> DeviceIndex? {
    namespaces[namespace].devices.first { devices[$0].addresses.contains { $0.local.rawValue == address } }
  }

  /// The address that a device speaks from (inet_select_addr): the first primary one whose scope is wide enough and
  /// whose subnet the destination is on, else the first of all, else one of another device.
  func selectSource(_ destination: UInt32, on device: DeviceIndex, scope: UInt8) -> UInt32 {
    let narrowest = devices[device].ipv4.routeLocalnet ? RouteScope.link.rawValue : RouteScope.host.rawValue
    var first: UInt32 = 0
    for address in devices[device].addresses
    where !address.isSecondary && min(address.scope, narrowest) <= scope {
      if destination == 0 || address.isOnSubnet(destination) { return address.local.rawValue }
      if first == 0 { first = address.local.rawValue }
    }
    guard first == 0 else { return first }
    for other in namespaces[devices[device].namespace].devices {
      for address in devices[other].addresses
      where !address.isSecondary && address.scope != RouteScope.link.rawValue && address.scope <= scope {
        return address.local.rawValue
      }
    }
    return 0
  }
}
