// SPDX-License-Identifier: GPL-2.0-or-later

// Routes by message, of both families (net/ipv4/fib_frontend.c, fib_semantics.c, fib_trie.c; net/ipv6/route.c,
// ip6_fib.c). Where the families differ in what may stand beside what, the kernel's own difference is kept.

import NetTypes
import Rtnetlink

extension Kernel {
  mutating func addRoute(
    _ message: RouteMessage, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    switch message.family {
    case .ipv4:
      let route: Route<UInt32> = try checkedIPv4Route(message, in: namespace)
      try insertIPv4(route, flags, in: namespace)
      if route.type == .local { namespaces[namespace].hasLocalRoutes = true }
    case .ipv6:
      for route in try checkedIPv6Routes(message, in: namespace) {
        try insertIPv6(route, flags, in: namespace)
      }
    default: throw KernelError(95)
    }
  }

  /// fib_table_insert.
  private mutating func insertIPv4(
    _ route: Route<UInt32>, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let standing = namespaces[namespace].routes.matching(route.table, route.destination, route.length)
      .filter { $0.priority == route.priority && $0.typeOfService == route.typeOfService }
    guard let first = standing.first else {
      guard flags.contains(.create) else { throw .noSuchEntry }
      guard namespaces[namespace].routes.insert(route) else { throw .noBuffers }
      refreshHopSources(in: namespace)
      return
    }
    guard !flags.contains(.exclusive) else { throw .exists }
    let isThere = standing.contains { $0.isSame(as: route) }
    if flags.contains(.replace) {
      if isThere {
        if first.isSame(as: route) { return }
        throw .exists
      }
      namespaces[namespace].routes.replace(first, with: route)
    } else {
      guard !isThere else { throw .exists }
      guard flags.contains(.create) else { throw .noSuchEntry }
      guard namespaces[namespace].routes.insert(route, first: !flags.contains(.append)) else {
        throw .noBuffers
      }
    }
    refreshHopSources(in: namespace)
  }

  /// fib6_add_rt2node: a route with a gateway beside one of the same metric is another next hop of it.
  private mutating func insertIPv6(
    _ route: Route<UInt128>, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let standing = namespaces[namespace].routes6.matching(route.table, route.destination, route.length)
    let equal = standing.filter { $0.priority == route.priority }
    func canShare(_ route: Route<UInt128>) -> Bool {
      route.origin != .redirect && route.hops.allSatisfy { $0.gateway != 0 } && !route.hops.isEmpty
    }
    if flags.contains(.replace) {
      if let old = equal.first(where: { canShare($0) == canShare(route) }) ?? equal.first {
        namespaces[namespace].routes6.replace(old, with: route)
        return
      }
      guard flags.contains(.create) else {
        throw KernelError(2, standing.isEmpty ? "Can't replace route, no match found" : nil)
      }
    } else if !equal.isEmpty {
      guard !flags.contains(.exclusive) else { throw .exists }
      let isThere = equal.contains { other in
        other.hops.contains { hop in
          route.hops.contains { $0.device == hop.device && $0.gateway == hop.gateway }
        }
      }
      guard !isThere else { throw .exists }
      if canShare(route), let other = equal.first(where: canShare) {
        var joined = other
        joined.hops += route.hops
        namespaces[namespace].routes6.replace(other, with: joined)
        return
      }
    }
    guard namespaces[namespace].routes6.insert(route) else { throw .noBuffers }
  }

  // MARK: Removing

  mutating func deleteRoute(_ message: RouteMessage, in namespace: NamespaceIndex) throws(KernelError) {
    switch message.family {
    case .ipv4: try deleteIPv4Route(message, in: namespace)
    case .ipv6: try deleteIPv6Route(message, in: namespace)
    default: throw KernelError(95)
    }
  }

  private func device(of index: Int32?, in namespace: NamespaceIndex) throws(KernelError) -> DeviceIndex? {
    guard let index, index != 0 else { return nil }
    return device(ifindex: index, in: namespace) ?? .none
  }

  /// fib_table_delete, fib_nh_match.
  private mutating func deleteIPv4Route(
    _ message: RouteMessage, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let (destination, length): (UInt32, UInt8) = try Self.destination(of: message)
    let table = message.table == 0 ? RouteMessage.mainTable : message.table
    guard namespaces[namespace].routes.hasTable(table) else {
      throw KernelError(3, "FIB table does not exist")
    }
    let wanted = try hops(message, UInt32.self, in: namespace, isStrict: false)
    let found = namespaces[namespace].routes.matching(table, destination, length).first { route in
      guard route.typeOfService == message.typeOfService,
        message.type == .unspecified || message.type == route.type,
        message.scope == .nowhere || message.scope == route.scope,
        message.protocolNumber == .unspecified || message.protocolNumber == route.origin,
        (message.priority ?? 0) == 0 || message.priority == route.priority
      else { return false }
      if let source = message.preferredSource.flatMap({ UInt32($0) }), source != 0,
        source != route.preferredSource
      {
        return false
      }
      if !message.metrics.isEmpty, message.metrics != route.metrics { return false }
      guard message.nextHops.isEmpty else {
        return wanted.count == route.hops.count
          && zip(wanted, route.hops).allSatisfy { Self.matches($0, $1) }
      }
      guard let wanted = wanted.first else { return true }
      return route.hops.first.map { Self.matches(wanted, $0) } ?? false
    }
    guard let found else { throw .noSuchProcess }
    namespaces[namespace].routes.remove(found)
  }

  private static func matches<Address>(_ wanted: RouteHop<Address>, _ hop: RouteHop<Address>) -> Bool {
    (wanted.device.isNone || wanted.device == hop.device)
      && (wanted.gateway == 0 || wanted.gateway == hop.gateway)
  }

  /// ip6_route_del: with a gateway only that next hop goes.
  private mutating func deleteIPv6Route(
    _ message: RouteMessage, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let (destination, length): (UInt128, UInt8) = try Self.destination(of: message)
    let table = message.table == 0 ? RouteMessage.mainTable : message.table
    guard namespaces[namespace].routes6.hasTable(table) else {
      throw KernelError(3, "FIB table does not exist")
    }
    let wanted = try hops(message, UInt128.self, in: namespace, isStrict: false)
    for hop in wanted.isEmpty ? [RouteHop(device: .none)] : wanted {
      let found = namespaces[namespace].routes6.matching(table, destination, length).first { route in
        guard (message.priority ?? 0) == 0 || message.priority == route.priority,
          message.protocolNumber == .unspecified || message.protocolNumber == route.origin,
          message.type == .unspecified || message.type == route.type || !Self.isReject(message.type)
        else { return false }
        return hop.device.isNone && hop.gateway == 0 || route.hops.contains { Self.matches(hop, $0) }
      }
      guard let found else { throw .noSuchProcess }
      guard hop.gateway != 0, found.hops.count > 1 else {
        namespaces[namespace].routes6.remove(found)
        continue
      }
      var rest = found
      if let place = rest.hops.firstIndex(where: { Self.matches(hop, $0) }) { rest.hops.remove(at: place) }
      namespaces[namespace].routes6.replace(found, with: rest)
    }
  }

  static func isReject(_ type: RouteType) -> Bool {
    [.blackhole, .unreachable, .prohibit, .throw].contains(type)
  }

  // MARK: Showing

  mutating func routes(
    _ filter: RouteMessage, all: Bool, in namespace: NamespaceIndex
  ) throws(KernelError) -> [NetlinkMessage] {
    guard all else { return [try routeTo(filter, in: namespace)] }
    var answers: [NetlinkMessage] = []
    if filter.family == .ipv4 || filter.family == .unspecified {
      answers += try dump(UInt32.self, filter, in: namespace)
    }
    if filter.family == .ipv6 || filter.family == .unspecified {
      answers += try dump(UInt128.self, filter, in: namespace)
    }
    return answers
  }

  private mutating func dump<Address: InternetAddress>(
    _: Address.Type, _ filter: RouteMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> [NetlinkMessage] {
    let tables = try Address.withRoutes(of: &namespaces[namespace]) { base throws(KernelError) in
      guard filter.table != 0 else { return base.routesByTable }
      guard base.hasTable(filter.table) else {
        guard filter.family != .unspecified else { return [] }
        throw KernelError(2, "\(Address.family): FIB table does not exist")
      }
      return [base.routes(in: filter.table)]
    }
    func isWanted(_ route: Route<Address>) -> Bool {
      if filter.protocolNumber != .unspecified, filter.protocolNumber != route.origin { return false }
      if filter.type != .unspecified, filter.type != route.type { return false }
      if let oif = filter.outputIndex, oif != 0 {
        return route.hops.contains { !$0.device.isNone && devices[$0.device].ifindex == oif }
      }
      return true
    }
    var answers: [NetlinkMessage] = []
    for table in tables {
      for place in table.indices where isWanted(table[place]) {
        answers.append(message(table[place]).message(.newRoute, []))
      }
    }
    return answers
  }

  /// fib_dump_info, rt6_fill_node.
  func message<Address: InternetAddress>(_ route: Route<Address>) -> RouteMessage {
    var message = RouteMessage(family: AddressFamily(Address.family))
    if route.length > 0 { message.destination = route.destination.prefix(route.length) }
    message.table = route.table
    message.typeOfService = route.typeOfService
    message.protocolNumber = route.origin
    message.scope = route.scope
    message.type = route.type
    message.metrics = route.metrics
    if route.priority != 0 || Address.family == .ipv6 { message.priority = route.priority }
    if route.preferredSource != 0 { message.preferredSource = route.preferredSource.address }
    if Address.family == .ipv6 {
      message.preference = route.preference
      if let expires = route.expires {
        message.cacheInfo = RouteCacheInfo(expires: Int32(clamping: (expires - cpu.now) / 10_000_000))
      }
    }
    guard route.hops.count > 1 else {
      guard let hop = route.hops.first else { return message }
      if hop.gateway != 0 { message.gateway = hop.gateway.address }
      if !hop.device.isNone { message.outputIndex = devices[hop.device].ifindex }
      message.flags = flags(hop)
      return message
    }
    message.nextHops = route.hops.map { hop in
      NextHop(
        outputIndex: devices[hop.device].ifindex, gateway: hop.gateway == 0 ? nil : hop.gateway.address,
        weight: hop.weight, flags: flags(hop))
    }
    return message
  }

  private func flags<Address>(_ hop: RouteHop<Address>) -> RouteFlags {
    var flags: RouteFlags = []
    if hop.isOnLink { flags.insert(.onLink) }
    if hop.isLinkDown { flags.insert(.linkDown) }
    if hop.isDead || hop.isIgnored { flags.insert(.dead) }
    return flags
  }
}
