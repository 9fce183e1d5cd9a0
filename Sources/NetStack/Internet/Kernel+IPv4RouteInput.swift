// SPDX-License-Identifier: GPL-2.0-or-later

// Where an IPv4 packet goes that came in by a device (net/ipv4/route.c, ip_route_input_slow, __mkroute_input;
// fib_frontend.c, fib_validate_source).

import Rtnetlink

/// What becomes of a packet that came in.
enum IPv4Decision {
  case deliver
  /// To a group that this host is in.
  case multicast
  case forward
  /// By the device that it came in by: its sender knows a longer way than there is.
  case forwardBack
  case drop(DropReason)
  /// No route, or one that says no: an answer for the sender where this host is a router.
  case refuse(RouteOutcome)
}

/// Whether a packet's source may send it.
private enum SourceCheck {
  /// The sender stands on the link itself.
  case onLink
  case good
  case bad(DropReason)
}

extension Kernel {
  /// The route of a packet that is passed on and of which nothing special is to be asked; nil: `decide`.
  @inline(__always)
  mutating func ipv4ForwardSimply(
    _ source: UInt32, _ destination: UInt32, _ type: PacketType, on index: DeviceIndex,
    _ namespace: NamespaceIndex
  ) -> SimpleRoute<UInt32>? {
    // Network zero, loopback, groups, class E.
    guard destination >> 28 < 0xe, source >> 28 < 0xe, destination >> 24 != 0, source >> 24 != 0,
      !IPv4Header.isLoopback(destination), !IPv4Header.isLoopback(source), type == .host,
      devices[index].ipv4.forwarding, devices[index].ipv4.reversePathFilter == 0,
      let route = namespaces[namespace].routes.lookup(simply: destination), route.type == .unicast,
      route.device != index, !namespaces[namespace].isLocal(source) || devices[index].ipv4.acceptLocal
    else { return nil }
    return route
  }

  /// What is to be asked of the routes about a packet. Ports are read only where somebody may ask for them.
  func ipv4Flow(
    of slot: Slot, _ source: UInt32, _ destination: UInt32, on index: DeviceIndex, _ namespace: NamespaceIndex
  ) -> Flow<UInt32> {
    var flow = Flow(destination: destination)
    flow.source = source
    flow.inputDevice = index
    flow.mark = pool[slot].mark
    let bytes = pool.bytes(slot)
    flow.typeOfService = bytes.u8(IPv4Header.typeOfService) & 0xfc
    if namespaces[namespace].routes.asksForPorts { readPorts(of: slot, &flow) }
    return flow
  }

  /// The protocol, and the ports of what is not a fragment (skb_flow_dissect_flow_keys).
  @inline(never) private func readPorts(of slot: Slot, _ flow: inout Flow<UInt32>) {
    let bytes = pool.bytes(slot)
    flow.proto = bytes.u8(IPv4Header.proto)
    let isFragment =
      bytes.u16(IPv4Header.fragment) & (IPv4Header.moreFragments | IPv4Header.offsetMask) != 0
    let header = bytes.ipv4HeaderLength
    guard !isFragment, [6, 17, 33, 132, 136].contains(flow.proto), bytes.count >= header + 4 else { return }
    flow.sourcePort = bytes.u16(header)
    flow.destinationPort = bytes.u16(header + 2)
  }

  mutating func decide(
    _ flow: Flow<UInt32>, _ type: PacketType, on index: DeviceIndex, _ namespace: NamespaceIndex,
    _ route: inout RouteResult<UInt32>
  ) -> IPv4Decision {
    // What this host sends to itself needs no proof of where it comes from.
    if devices[index].isLoopback {
      return IPv4Header.isMulticast(flow.destination) ? .multicast : .deliver
    }
    let source = flow.source
    let destination = flow.destination
    if IPv4Header.isMulticast(destination) { return decideMulticast(flow, on: index, namespace) }
    if IPv4Header.isMulticast(source) || source == .max { return .drop(.ipInvalidSource) }
    if destination == .max || (source == 0 && destination == 0) {
      return deliverBroadcast(flow, on: index, namespace)
    }
    if source == 0 { return .drop(.ipInvalidSource) }
    if destination == 0 { return .drop(.ipInvalidDestination) }
    if IPv4Header.isLoopback(source) || IPv4Header.isLoopback(destination), !devices[index].ipv4.routeLocalnet
    {
      return .drop(.ipLocalNet)
    }
    route = namespaces[namespace].routes.lookup(flow)
    switch route.type {
    case .local:
      if case .bad(let reason) = check(flow, to: .none, on: index, namespace) { return .drop(reason) }
      return .deliver
    case .unicast:
      guard devices[index].ipv4.forwarding else { return .refuse(.unreachable) }
      return decideForward(flow, type, on: index, namespace, &route)
    case .broadcast:
      guard devices[index].ipv4.forwardsBroadcasts else {
        return deliverBroadcast(flow, on: index, namespace)
      }
      return decideForward(flow, type, on: index, namespace, &route)
    case .multicast, .anycast:
      return devices[index].ipv4.forwarding ? .drop(.ipInvalidDestination) : .refuse(.unreachable)
    case .none, .unreachable, .prohibit, .blackhole, .again:
      return .refuse(devices[index].ipv4.forwarding ? route.type : .unreachable)
    }
  }

  @inline(never)
  private mutating func deliverBroadcast(
    _ flow: Flow<UInt32>, on index: DeviceIndex, _ namespace: NamespaceIndex
  ) -> IPv4Decision {
    if flow.source != 0, case .bad(let reason) = check(flow, to: .none, on: index, namespace) {
      return .drop(reason)
    }
    return .deliver
  }

  /// ip_mc_validate_source, ip_check_mc_rcu.
  @inline(never)
  private mutating func decideMulticast(
    _ flow: Flow<UInt32>, on index: DeviceIndex, _ namespace: NamespaceIndex
  ) -> IPv4Decision {
    guard hasJoined(flow.destination, on: index) else { return .drop(.ipInvalidDestination) }
    let source = flow.source
    if IPv4Header.isMulticast(source) || source == .max { return .drop(.ipInvalidSource) }
    if IPv4Header.isLoopback(source), !devices[index].ipv4.routeLocalnet { return .drop(.ipLocalNet) }
    if source == 0 {
      let isLinkLocal = flow.destination >> 8 == 0xe0_0000
      return isLinkLocal || flow.proto == 2 ? .multicast : .drop(.ipInvalidSource)
    }
    if case .bad(let reason) = check(flow, to: .none, on: index, namespace) { return .drop(reason) }
    return .multicast
  }

  private mutating func decideForward(
    _ flow: Flow<UInt32>, _ type: PacketType, on index: DeviceIndex, _ namespace: NamespaceIndex,
    _ route: inout RouteResult<UInt32>
  ) -> IPv4Decision {
    let source = check(flow, to: route.device, on: index, namespace)
    if case .bad(let reason) = source { return .drop(reason) }
    // A group's frame must not be forwarded to one host (RFC 1812 5.3.4).
    guard type == .host else { return .drop(.unicastInLayer2Multicast) }
    if !namespaces[namespace].routes.exceptions.isEmpty { redirect(&route, flow.destination, namespace) }
    if case .onLink = source, route.device == index, devices[index].ipv4.sendRedirects,
      devices[index].ipv4.sharesMedia || isOnLink(flow.source, with: route.gateway, on: index)
    {
      return .forwardBack
    }
    return .forward
  }

  /// Whether a subnet of the device's has both (inet_addr_onlink).
  func isOnLink(_ address: UInt32, with other: UInt32, on index: DeviceIndex) -> Bool {
    devices[index].addresses.contains { $0.isOnSubnet(address) && (other == 0 || $0.isOnSubnet(other)) }
  }

  /// A better gateway that somebody has told of; and an MTU, where it counts for what is passed on
  /// (ip_dst_mtu_maybe_forward).
  @inline(never)
  private mutating func redirect(
    _ route: inout RouteResult<UInt32>, _ destination: UInt32, _ namespace: NamespaceIndex
  ) {
    let known = namespaces[namespace].routes.exceptions.find(destination, by: route.device, now: cpu.now)
    guard let known else { return }
    if known.gateway != 0 { route.gateway = known.gateway }
    if known.mtu != 0, known.isMTULocked || namespaces[namespace].ipv4.forwardsByPathMTU {
      route.mtu = known.mtu
    }
  }

  // MARK: The source

  /// fib_validate_source.
  private mutating func check(
    _ flow: Flow<UInt32>, to egress: DeviceIndex, on index: DeviceIndex, _ namespace: NamespaceIndex
  ) -> SourceCheck {
    let isPlain = !namespaces[namespace].routes.hasRules && !namespaces[namespace].hasLocalRoutes
    guard devices[index].ipv4.reversePathFilter == 0, egress != index || !devices[index].ipv4.sendRedirects,
      isPlain || devices[index].ipv4.acceptLocal
    else { return checkFully(flow, to: egress, on: index, namespace) }
    if namespaces[namespace].isLocal(flow.source), !devices[index].ipv4.acceptLocal {
      return .bad(.ipLocalSource)
    }
    return .good
  }

  /// __fib_validate_source.
  @inline(never)
  private mutating func checkFully(
    _ flow: Flow<UInt32>, to egress: DeviceIndex, on index: DeviceIndex, _ namespace: NamespaceIndex
  ) -> SourceCheck {
    var back = Flow(destination: flow.source)
    back.source = flow.destination
    back.inputDevice = egress.isNone ? loopback(of: namespace) : egress
    back.typeOfService = flow.typeOfService
    back.mark = devices[index].ipv4.validMark ? flow.mark : 0
    back.proto = flow.proto
    back.sourcePort = flow.destinationPort
    back.destinationPort = flow.sourcePort
    let filter = devices[index].ipv4.reversePathFilter
    let result = namespaces[namespace].routes.lookup(back)
    if result.type.isError { return filter == 0 ? .good : filtered(namespace) }
    if result.type != .unicast {
      guard result.type == .local else { return .bad(.ipInvalidSource) }
      guard devices[index].ipv4.acceptLocal else { return .bad(.ipLocalSource) }
    }
    let route = namespaces[namespace].routes.route(of: result)
    if route?.uses(index) ?? (result.device == index) { return result.gateway == 0 ? .onLink : .good }
    if devices[index].addresses.isEmpty { return filter == 0 ? .good : filtered(namespace) }
    guard filter != 1 else { return filtered(namespace) }
    back.outputDevice = index
    back.ignoresLinkState = true
    let other = namespaces[namespace].routes.lookup(back)
    return other.type == .unicast && other.gateway == 0 ? .onLink : .good
  }

  private mutating func filtered(_ namespace: NamespaceIndex) -> SourceCheck {
    namespaces[namespace].snmp[.tcpExtIPReversePathFilter] &+= 1
    return .bad(.ipReversePathFilter)
  }

  func acceptsSource(_ source: UInt32, on index: DeviceIndex) -> Bool {
    !namespaces[devices[index].namespace].isLocal(source) || devices[index].ipv4.acceptLocal
  }
}
