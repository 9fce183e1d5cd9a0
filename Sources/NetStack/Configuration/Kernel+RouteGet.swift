// SPDX-License-Identifier: GPL-2.0-or-later

// `ip route get`: the way of one packet, sent by this host or come in by a device (net/ipv4/route.c,
// inet_rtm_getroute and rt_fill_info).

import NetTypes
import Rtnetlink

extension Kernel {
  mutating func routeTo(
    _ request: RouteMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> NetlinkMessage {
    guard request.family == .ipv4 || request.family == .ipv6 else { throw KernelError(95) }
    guard request.family == .ipv4 else { return try ipv6RouteTo(request, in: namespace) }
    var flow = Flow<UInt32>(destination: request.destination.flatMap { UInt32($0.address) } ?? 0)
    flow.source = request.source.flatMap { UInt32($0.address) } ?? 0
    flow.typeOfService = request.typeOfService & ~3
    flow.mark = request.mark ?? 0
    flow.proto = 17
    let asked = flow
    if let index = request.outputIndex, index != 0 {
      guard let device = device(ifindex: index, in: namespace) else { throw .noSuchDevice }
      flow.outputDevice = device
    }
    var answer = RouteMessage(family: .ipv4)
    var path = IPv4Path()
    let isInput = (request.inputIndex ?? 0) != 0
    if isInput {
      guard let device = device(ifindex: request.inputIndex ?? 0, in: namespace) else { throw .noSuchDevice }
      flow.inputDevice = device
      flow.outputDevice = .none
      path = try inputPath(flow, in: namespace)
      answer.inputIndex = request.inputIndex
    } else if let error = ipv4Route(&flow, &path, in: namespace) {
      throw error
    }
    if request.flags.contains(.fibMatch) {
      guard let route = namespaces[namespace].routes.route(of: path.route) else { throw .hostUnreachable }
      var matched = message(route)
      matched.type = type(path.type)
      matched.typeOfService = path.route.typeOfService
      return matched.message(.newRoute, [])
    }
    answer.destination = IPPrefix(host: flow.destination.address)
    answer.table =
      request.flags.contains(.lookupTable) ? path.route.table : RouteMessage.mainTable
    answer.type = type(path.type)
    answer.flags = flags(path, flow.destination)
    if asked.source != 0 { answer.source = IPPrefix(host: asked.source.address) }
    answer.outputIndex = devices[path.device].ifindex
    if !isInput, path.source != asked.source { answer.preferredSource = path.source.address }
    if path.usesGateway { answer.gateway = path.nextHop.address }
    if let route = namespaces[namespace].routes.route(of: path.route) {
      answer.metrics = route.metrics
      answer.typeOfService = path.route.typeOfService
    }
    answer.cacheInfo = RouteCacheInfo()
    let known = namespaces[namespace].routes.exceptions.find(flow.destination, by: path.device, now: cpu.now)
    if let known, known.mtu != 0, !isInput {
      answer.metrics.mtu = UInt32(path.mtu)
      if known.isMTULocked { answer.metrics.lock = 1 << 2 }
      answer.cacheInfo?.expires = Int32(clamping: (known.expires - cpu.now) / 10_000_000)
    }
    answer.mark = request.mark
    return answer.message(.newRoute, [])
  }

  /// RTCF_LOCAL, RTCF_BROADCAST, RTCF_MULTICAST: who beside the next hop hears it.
  private func flags(_ path: IPv4Path, _ destination: UInt32) -> RouteFlags {
    var flags = RouteFlags.cloned
    switch path.type {
    case .local: flags.insert(RouteFlags(rawValue: 0x8000_0000))
    case .broadcast: flags.insert(RouteFlags(rawValue: 0x9000_0000))
    case .multicast:
      flags.insert(RouteFlags(rawValue: 0x2000_0000))
      if hasJoined(destination, on: path.device) { flags.insert(RouteFlags(rawValue: 0x8000_0000)) }
    default: break
    }
    return flags
  }

  private func type(_ outcome: RouteOutcome) -> RouteType {
    switch outcome {
    case .local: .local
    case .broadcast: .broadcast
    case .multicast: .multicast
    default: .unicast
    }
  }

  /// What becomes of a packet that comes in by a device.
  private mutating func inputPath(
    _ flow: Flow<UInt32>, in namespace: NamespaceIndex
  ) throws(KernelError) -> IPv4Path {
    var path = IPv4Path()
    switch decide(flow, .host, on: flow.inputDevice, namespace, &path.route) {
    case .deliver:
      path.type = path.route.type == .broadcast || flow.destination == .max ? .broadcast : .local
      path.device = loopback(of: namespace)
    case .multicast:
      path.type = .multicast
      path.device = flow.inputDevice
    case .forward, .forwardBack:
      path.device = path.route.device
      path.usesGateway = path.route.gateway != 0
      path.nextHop = path.usesGateway ? path.route.gateway : flow.destination
    case .drop(let reason):
      throw reason == .ipReversePathFilter || reason == .unicastInLayer2Multicast
        ? KernelError(18) : .invalidArgument
    case .refuse(let outcome): throw outcome.error ?? .hostUnreachable
    }
    return path
  }

  /// The same in IPv6 (rt6_fill_node).
  private mutating func ipv6RouteTo(
    _ request: RouteMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> NetlinkMessage {
    var flow = Flow<UInt128>(destination: request.destination.flatMap { UInt128($0.address) } ?? 0)
    flow.source = request.source.flatMap { UInt128($0.address) } ?? 0
    flow.inputDevice = loopback(of: namespace)
    flow.mark = request.mark ?? 0
    if let index = request.outputIndex, index != 0 {
      guard let device = device(ifindex: index, in: namespace) else { throw .noSuchDevice }
      flow.outputDevice = device
    }
    let result = namespaces[namespace].routes6.lookup(flow)
    if let error = result.type.error { throw error }
    guard let route = namespaces[namespace].routes6.route(of: result) else { throw .networkUnreachable }
    if request.flags.contains(.fibMatch) { return message(route).message(.newRoute, []) }
    var answer = message(route)
    answer.nextHops = []
    answer.destination = IPPrefix(host: flow.destination.address)
    answer.outputIndex = devices[result.device].ifindex
    answer.gateway = result.gateway == 0 ? nil : result.gateway.address
    if request.source != nil { answer.source = IPPrefix(host: flow.source.address) }
    let speaker =
      result.preferredSource != 0
      ? result.preferredSource : selectSource6(for: flow.destination, on: result.device)
    if speaker != 0 { answer.preferredSource = speaker.address }
    return answer.message(.newRoute, [])
  }
}
