// SPDX-License-Identifier: GPL-2.0-or-later

// The routes of a namespace: the sorted list that configuration changes and dumps, and the compiled table that packets
// read, made anew at the first packet after a change. As in Linux while no policy rule stands, the tables local and
// main are one: the longest prefix wins, and of equal ones the local table's. Routes of other tables are kept and
// shown, and no packet meets them, since only a policy rule could send one there.

import Rtnetlink

/// A namespace's IPv4 routes.
@safe struct ForwardingInformationBase: ~Copyable {
  /// Routes at most.
  static let limit = 1 << 20

  /// By table, destination, length from long to short, priority, and age.
  private(set) var routes: [Route] = []
  private var trie: RouteTrie?
  private var results: UnsafeMutablePointer<RouteResult>?
  private var isCompiled = false

  init() {}

  deinit { unsafe results?.deallocate() }

  /// What stands for a destination in a table, in order of preference.
  func matching(_ table: UInt32, _ destination: UInt32, _ length: UInt8) -> [Route] {
    routes.filter { $0.table == table && $0.destination == destination && $0.length == length }
  }

  func contains(_ route: Route) -> Bool { routes.contains(route) }

  /// Puts a route behind (or before) those of the same prefix and priority.
  mutating func insert(_ route: Route, first: Bool = false) {
    let key = Self.key(route)
    var low = 0
    var high = routes.count
    while low < high {
      let middle = (low + high) / 2
      let other = Self.key(routes[middle])
      if other < key || (!first && other == key) { low = middle + 1 } else { high = middle }
    }
    routes.insert(route, at: low)
    isCompiled = false
  }

  private static func key(_ route: Route) -> (UInt32, UInt32, UInt8, UInt32) {
    (route.table, route.destination, 32 - route.length, route.priority)
  }

  mutating func replace(_ old: Route, with new: Route) {
    guard let place = routes.firstIndex(of: old) else { return }
    routes[place] = new
    isCompiled = false
  }

  @discardableResult
  mutating func remove(_ route: Route) -> Bool {
    guard let place = routes.firstIndex(of: route) else { return false }
    routes.remove(at: place)
    isCompiled = false
    return true
  }

  mutating func removeAll(where isGone: (Route) -> Bool) {
    let before = routes.count
    routes.removeAll(where: isGone)
    if routes.count != before { isCompiled = false }
  }

  /// Where a packet to an address goes.
  @inline(__always) mutating func lookup(_ address: UInt32) -> RouteResult {
    if !isCompiled { compile() }
    guard trie != nil, let results = unsafe results else { return .none }
    let index = trie?.lookup(address) ?? RouteTrie.noMatch
    return index == RouteTrie.noMatch ? .none : unsafe results[Int(index)]
  }

  @inline(never) private mutating func compile() {
    var best: [Route] = []
    // Local before main; within one prefix the list is sorted by preference, so the first one stands.
    let candidates =
      routes.filter { $0.table == Route.localTable } + routes.filter { $0.table == Route.mainTable }
    var seen: Set<UInt64> = []
    for route in candidates where seen.insert(UInt64(route.destination) << 8 | UInt64(route.length)).inserted
    {
      best.append(route)
    }
    unsafe results?.deallocate()
    let fresh = UnsafeMutablePointer<RouteResult>.allocate(capacity: max(best.count, 1))
    for (index, route) in best.enumerated() { unsafe (fresh + index).initialize(to: Self.result(route)) }
    unsafe results = fresh
    trie = RouteTrie(
      best.enumerated().map {
        RouteTrie.Prefix(address: $1.destination, length: $1.length, value: UInt32($0))
      })
    isCompiled = true
  }

  private static func result(_ route: Route) -> RouteResult {
    let outcome: RouteResult.Outcome =
      switch route.type {
      case .unicast: .unicast
      case .local: .local
      case .broadcast: .broadcast
      case .blackhole: .blackhole
      case .unreachable: .unreachable
      case .prohibit: .prohibit
      default: .none
      }
    return RouteResult(
      type: outcome, device: route.device, gateway: route.gateway, preferredSource: route.preferredSource,
      scope: route.scope.rawValue)
  }
}
