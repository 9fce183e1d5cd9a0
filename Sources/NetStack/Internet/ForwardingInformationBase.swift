// SPDX-License-Identifier: GPL-2.0-or-later

// The routes and policy rules of a namespace and a family: sorted lists that configuration changes and dumps, and
// what packets read, made anew at the first packet after a change (net/ipv4/fib_frontend.c, fib_rules.c; net/ipv6's
// fib6_rules.c). While nobody has touched the rules, IPv4's tables local and main are one, where the longest prefix
// wins and of equal ones the local table's, and IPv6 asks local, then main. From the first change of a rule on, the
// rules are asked for each lookup, and stay so, as in Linux.

import NetTypes
import Rtnetlink

/// A routing table.
struct RoutingTable<Address: InternetAddress>: ~Copyable {
  let id: UInt32
  /// By prefix as the kernel dumps them, type of service from large to small, priority, and age.
  var routes: [Route<Address>] = []
  /// Nil when it must be made anew.
  fileprivate var compiled: CompiledRoutes<Address>?

  init(id: UInt32) { self.id = id }

  fileprivate mutating func compile() {
    if compiled == nil { compiled = CompiledRoutes(Self.entries(routes)) }
  }

  fileprivate static func entries(_ routes: [Route<Address>]) -> [CompiledRoutes<Address>.Entry] {
    routes.enumerated().map { .init(route: $1, place: UInt32($0)) }
  }
}

/// A namespace's routes and rules of one family.
@safe struct ForwardingInformationBase<Address: InternetAddress>: ~Copyable {
  /// Routes at most (net.ipv6.route.max_size has no limit any more; this one is ours).
  static var limit: Int { 1 << 20 }
  /// Tables, and rules, at most.
  static var tableLimit: Int { 1 << 16 }

  private var tables = Table<RoutingTable<Address>>(limit: ForwardingInformationBase.tableLimit)
  /// By number.
  private var ids: [(id: UInt32, place: TableIndex<RoutingTable<Address>>)] = []
  /// Routes in all tables.
  private(set) var count = 0
  private(set) var rules = PolicyRule<Address>.defaults
  /// Whether the rules were ever touched.
  private(set) var hasRules = false
  private var compiledRules: UnsafeMutablePointer<CompiledRule<Address>>?
  private var compiledRuleCount = 0
  /// IPv4 without rules: local and main together.
  private var merged: CompiledRoutes<Address>?
  private var isReady = false
  private var hasDefaultTable = false
  /// Whether a table has several routes to everywhere, among which is to be chosen (tb_num_default).
  private(set) var hasSeveralDefaults = false
  /// Counts changes, so that who keeps an answer knows when to ask again (rt_genid_ipv4).
  private(set) var generation: UInt32 = 1
  var hashing: MultipathHash
  /// What has been learned of single destinations.
  var exceptions = RouteExceptions<Address>()

  init(random: inout RandomState) {
    hashing = MultipathHash(random: &random)
  }

  deinit { unsafe compiledRules?.deallocate() }

  /// Whether lookups may depend on ports.
  @inline(__always) var asksForPorts: Bool { hasRules || hashing.policy != 0 }

  // MARK: Looking up

  /// Where a flow goes.
  @inline(__always) mutating func lookup(_ flow: Flow<Address>) -> RouteResult<Address> {
    if !isReady { compile() }
    guard !hasRules else { return lookupByRules(flow) }
    if Address.family == .ipv4 {
      let result = merged?.lookup(flow, hashing) ?? .again
      if result.type.isError { return lookupByDefault(flow, result) }
      return result
    }
    var result = lookup(flow, in: Route<Address>.localTable)
    if result.type == .again { result = lookup(flow, in: Route<Address>.mainTable) }
    if result.type == .again { return .none }
    return result
  }

  /// The route of a destination that alone decides, in IPv4 and without rules; nil: ask with the whole flow.
  @inline(__always) mutating func lookup(simply destination: Address) -> SimpleRoute<Address>? {
    if !isReady { compile() }
    guard !hasRules, exceptions.isEmpty else { return nil }
    return merged?.lookup(simply: destination) ?? nil
  }

  /// As in the kernel, even a route that says no is followed by a look into the table of defaults (fib_lookup).
  @inline(never)
  private mutating func lookupByDefault(
    _ flow: Flow<Address>, _ refusal: RouteResult<Address>
  ) -> RouteResult<Address> {
    let result = hasDefaultTable ? lookup(flow, in: Route<Address>.defaultTable) : refusal
    return result.type == .again ? .none : result
  }

  /// What one table says; `again` for nothing.
  mutating func lookup(_ flow: Flow<Address>, in id: UInt32) -> RouteResult<Address> {
    guard let place = place(id) else { return .again }
    tables[place].compile()
    return tables[place].compiled?.lookup(flow, hashing) ?? .again
  }

  /// fib_rules_lookup.
  @inline(never) private mutating func lookupByRules(_ flow: Flow<Address>) -> RouteResult<Address> {
    guard let rules = unsafe compiledRules else { return .none }
    var index = 0
    while index < compiledRuleCount {
      let rule = unsafe rules[index]
      guard rule.matches(flow) else {
        index += 1
        continue
      }
      switch rule.action {
      case .table:
        let result = lookup(flow, in: rule.table)
        let isSuppressed = !result.type.isError && Int32(result.prefixLength) <= rule.suppressPrefixLength
        if result.type != .again, !isSuppressed {
          var answer = result
          answer.isSimple = false
          return answer
        }
        index += 1
      case .goto: index = rule.target
      case .nothing: index += 1
      case .blackhole: return RouteResult(type: .blackhole)
      case .unreachable: return .none
      case .prohibit: return RouteResult(type: .prohibit)
      }
    }
    return .none
  }

  @inline(never) private mutating func compile() {
    isReady = true
    hasDefaultTable = place(Route<Address>.defaultTable) != nil
    hasSeveralDefaults = Address.family == .ipv4 && ids.contains { defaults(in: $0.id).count > 1 }
    guard Address.family == .ipv4, !hasRules else { return }
    let local = routes(in: Route<Address>.localTable)
    merged = CompiledRoutes(
      RoutingTable<Address>.entries(local)
        + RoutingTable<Address>.entries(routes(in: Route<Address>.mainTable)))
  }

  private func place(_ id: UInt32) -> TableIndex<RoutingTable<Address>>? {
    var low = 0
    var high = ids.count
    while low < high {
      let middle = (low + high) / 2
      if ids[middle].id < id { low = middle + 1 } else { high = middle }
    }
    return low < ids.count && ids[low].id == id ? ids[low].place : nil
  }

  // MARK: Routes

  /// All routes, a table after the other; as the tables have them, none is copied.
  var routesByTable: [[Route<Address>]] { ids.map { tables[$0.place].routes } }

  /// The numbers of the tables that have ever been used.
  var tableIDs: [UInt32] { ids.map(\.id) }

  func hasTable(_ id: UInt32) -> Bool { place(id) != nil }

  func routes(in id: UInt32) -> [Route<Address>] { place(id).map { tables[$0].routes } ?? [] }

  /// The route that a lookup found; nil once its table has changed.
  func route(of result: RouteResult<Address>) -> Route<Address>? {
    guard let place = place(result.table), result.route < tables[place].routes.count else { return nil }
    return tables[place].routes[Int(result.route)]
  }

  /// What stands for a destination in a table, in order of preference.
  func matching(_ table: UInt32, _ destination: Address, _ length: UInt8) -> [Route<Address>] {
    guard let place = place(table) else { return [] }
    let first = position(tables[place].routes, destination, length, tos: .max, priority: 0, first: true)
    return Array(
      tables[place].routes[first...].prefix { $0.destination == destination && $0.length == length })
  }

  /// A table's routes to everywhere in order of preference, with their places in it.
  func defaults(in table: UInt32) -> [(route: Route<Address>, place: UInt32)] {
    guard let place = place(table) else { return [] }
    let first = position(tables[place].routes, 0, 0, tos: .max, priority: 0, first: true)
    return tables[place].routes[first...].prefix { $0.length == 0 }.enumerated().map { offset, route in
      (route, UInt32(first + offset))
    }
  }

  /// Remembers which default route was taken. No lookup depends on it, so nothing is made anew.
  mutating func setLastDefault(_ order: Int32, table: UInt32, place: UInt32) {
    guard let index = self.place(table) else { return }
    tables[index].routes[Int(place)].hops[0].lastDefault = order
  }

  func contains(_ route: Route<Address>) -> Bool {
    matching(route.table, route.destination, route.length).contains { $0.isSame(as: route) }
  }

  /// Puts a route behind (or before) those of the same prefix, type of service and priority. False: there are too
  /// many.
  @discardableResult
  mutating func insert(_ route: Route<Address>, first: Bool = false) -> Bool {
    guard count < Self.limit, let place = makeTable(route.table) else { return false }
    let position = position(
      tables[place].routes, route.destination, route.length, tos: route.typeOfService,
      priority: route.priority, first: first)
    tables[place].routes.insert(route, at: position)
    count += 1
    changed(place)
    return true
  }

  private mutating func makeTable(_ id: UInt32) -> TableIndex<RoutingTable<Address>>? {
    if let place = place(id) { return place }
    guard let place = tables.insert(RoutingTable(id: id)) else { return nil }
    ids.insert((id, place), at: ids.firstIndex { $0.id > id } ?? ids.count)
    return place
  }

  private mutating func changed(_ place: TableIndex<RoutingTable<Address>>) {
    tables[place].compiled = nil
    isReady = false
    invalidate()
  }

  /// Answers that are kept are good no more (rt_cache_flush).
  mutating func invalidate() { generation = max(generation &+ 1, 1) }

  /// The place of the first route that comes behind a key, or with `first` not before it.
  private func position(
    _ routes: [Route<Address>], _ destination: Address, _ length: UInt8, tos: UInt8, priority: UInt32,
    first: Bool
  ) -> Int {
    // IPv4's trie is walked by destination, IPv6's tree from what is below to what is above.
    func key(_ destination: Address, _ length: UInt8, _ tos: UInt8, _ priority: UInt32) -> (
      Address, UInt8, UInt8, UInt32
    ) {
      let place = Address.family == .ipv4 ? destination : destination | ~Address.mask(length)
      return (place, 128 - length, .max - tos, priority)
    }
    let wanted = key(destination, length, tos, priority)
    var low = 0
    var high = routes.count
    while low < high {
      let middle = (low + high) / 2
      let route = routes[middle]
      let other = key(route.destination, route.length, route.typeOfService, route.priority)
      if other < wanted || (!first && other == wanted) { low = middle + 1 } else { high = middle }
    }
    return low
  }

  private func find(_ route: Route<Address>) -> (TableIndex<RoutingTable<Address>>, Int)? {
    guard let place = place(route.table) else { return nil }
    let routes = tables[place].routes
    let start = position(
      routes, route.destination, route.length, tos: route.typeOfService, priority: route.priority, first: true
    )
    var index = start
    while index < routes.count, routes[index].destination == route.destination,
      routes[index].length == route.length
    {
      if routes[index].isSame(as: route) { return (place, index) }
      index += 1
    }
    return nil
  }

  mutating func replace(_ old: Route<Address>, with new: Route<Address>) {
    guard let (place, index) = find(old) else { return }
    exceptions.forget(old)
    tables[place].routes[index] = new
    changed(place)
  }

  @discardableResult
  mutating func remove(_ route: Route<Address>) -> Bool {
    guard let (place, index) = find(route) else { return false }
    exceptions.forget(tables[place].routes[index])
    tables[place].routes.remove(at: index)
    count -= 1
    changed(place)
    return true
  }

  mutating func removeAll(where isGone: (Route<Address>) -> Bool) {
    changeAll { isGone($0) ? .gone : .same }
  }

  /// What became of a route that was looked at.
  enum Change {
    case same, changed, gone
  }

  /// Looks at every route, which may be changed (but for its place) or be told to go. In its place: most are looked at
  /// often and stay.
  mutating func changeAll(_ body: (inout Route<Address>) -> Change) {
    for (_, place) in ids {
      var isChanged = false
      var kept = 0
      for index in 0..<tables[place].routes.count {
        switch body(&tables[place].routes[index]) {
        case .same: break
        case .changed: isChanged = true
        case .gone:
          exceptions.forget(tables[place].routes[index])
          isChanged = true
          continue
        }
        if kept < index { tables[place].routes.swapAt(kept, index) }
        kept += 1
      }
      guard isChanged else { continue }
      let gone = tables[place].routes.count - kept
      tables[place].routes.removeLast(gone)
      count -= gone
      changed(place)
    }
  }

  // MARK: Rules

  /// Puts a rule behind those of its priority. False: there are too many.
  mutating func insert(_ rule: PolicyRule<Address>) -> Bool {
    guard rules.count < Self.tableLimit else { return false }
    rules.insert(rule, at: rules.firstIndex { $0.priority > rule.priority } ?? rules.count)
    hasRules = true
    isReady = false
    invalidate()
    return true
  }

  mutating func removeRule(at index: Int) {
    rules.remove(at: index)
    hasRules = true
    isReady = false
    invalidate()
  }

  /// Resolves the names of devices in rules, which come and go.
  mutating func resolveRules(device: (String) -> DeviceIndex) {
    guard hasRules else { return }
    invalidate()
    unsafe compiledRules?.deallocate()
    let fresh = UnsafeMutablePointer<CompiledRule<Address>>.allocate(capacity: max(rules.count, 1))
    for (index, rule) in rules.enumerated() {
      // A goto whose target is not there yet does nothing (FIB_RULE_UNRESOLVED).
      let target = rules.firstIndex { $0.priority == rule.target } ?? index + 1
      unsafe (fresh + index).initialize(to: CompiledRule(rule, target: target, device: device))
    }
    unsafe compiledRules = fresh
    compiledRuleCount = rules.count
  }
}
