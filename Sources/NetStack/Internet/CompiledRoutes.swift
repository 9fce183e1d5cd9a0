// SPDX-License-Identifier: GPL-2.0-or-later

// A routing table as packets read it: a trie from addresses to leaves, a leaf for each prefix with the routes that
// stand there in order of preference (fib_table_lookup, fib6_table_lookup). Where one route with one next hop stands
// first, its answer is kept in the leaf, and a lookup is the trie's alone.
//
//    trie ──▶ leaf │ answer │ routes ─▶ │ parent ─▶ the next shorter prefix │
//                                └─▶ route │ tos, type, scope │ next hops ─▶ device, gateway, upper bound

import Rtnetlink

/// A routing table that is never changed, only made anew.
@safe struct CompiledRoutes<Address: InternetAddress>: ~Copyable {
  private struct Leaf: BitwiseCopyable {
    /// What the first route says, if it `isSimple`.
    var answer: RouteResult<Address>
    var firstAlias: UInt32
    var aliasCount: UInt32
    /// The leaf of the longest prefix that covers this one.
    var parent: UInt32
  }

  private struct Alias: BitwiseCopyable {
    var answer: RouteResult<Address>
    var typeOfService: UInt8
    var firstHop: UInt32
    var hopCount: UInt32
  }

  private struct Hop: BitwiseCopyable {
    var device: DeviceIndex
    var gateway: Address
    var source: Address
    /// The largest hash that is its own; -1 for none (fib_rebalance).
    var upperBound: Int32
    /// Dead, or without a carrier where that counts.
    var isUsable: Bool
    var isDead: Bool
  }

  /// A route and its place in its table.
  struct Entry {
    var route: Route<Address>
    var place: UInt32
  }

  private var trie: RouteTrie<Address>
  private let leaves: UnsafeMutablePointer<Leaf>
  private let aliases: UnsafeMutablePointer<Alias>
  private let hops: UnsafeMutablePointer<Hop>

  /// The entries are in order of preference within a prefix; those of one prefix need not stand together.
  init(_ entries: [Entry]) {
    let order = entries.indices.sorted { a, b in
      // Each field by itself: a route is large, and a copy of it counts its next hops' holders.
      if entries[a].route.destination != entries[b].route.destination {
        return entries[a].route.destination < entries[b].route.destination
      }
      let (first, second) = (entries[a].route.length, entries[b].route.length)
      return first != second ? first < second : a < b
    }
    var builtLeaves: [Leaf] = []
    var builtAliases: [Alias] = []
    var builtHops: [Hop] = []
    var prefixes: [RouteTrie<Address>.Prefix] = []
    // The prefixes that cover the current one, the longest last.
    var covering: [(destination: Address, length: UInt8, leaf: UInt32)] = []
    for index in order {
      let route = entries[index].route
      if prefixes.last?.address != route.destination || prefixes.last?.length != route.length {
        while let last = covering.last, route.destination & Address.mask(last.length) != last.destination {
          covering.removeLast()
        }
        let leaf = UInt32(builtLeaves.count)
        prefixes.append(.init(address: route.destination, length: route.length, value: leaf))
        builtLeaves.append(
          Leaf(
            answer: .again, firstAlias: UInt32(builtAliases.count), aliasCount: 0,
            parent: covering.last?.leaf ?? RouteTrie<Address>.noMatch))
        covering.append((route.destination, route.length, leaf))
      }
      var alias = Alias(
        answer: Self.answer(entries[index]), typeOfService: route.typeOfService,
        firstHop: UInt32(builtHops.count), hopCount: UInt32(route.hops.count))
      builtHops += Self.compile(route.hops)
      let isDecided =
        alias.answer.type.isError
        || route.hops.count == 1 && !route.hops[0].isDead && !route.hops[0].isIgnored
      alias.answer.isSimple = isDecided && route.typeOfService == 0
      if builtLeaves[builtLeaves.count - 1].aliasCount == 0, alias.answer.isSimple {
        builtLeaves[builtLeaves.count - 1].answer = alias.answer
      }
      builtLeaves[builtLeaves.count - 1].aliasCount += 1
      builtAliases.append(alias)
    }
    trie = RouteTrie(prefixes)
    unsafe leaves = .allocate(capacity: max(builtLeaves.count, 1))
    unsafe aliases = .allocate(capacity: max(builtAliases.count, 1))
    unsafe hops = .allocate(capacity: max(builtHops.count, 1))
    for index in builtLeaves.indices { unsafe (leaves + index).initialize(to: builtLeaves[index]) }
    for index in builtAliases.indices { unsafe (aliases + index).initialize(to: builtAliases[index]) }
    for index in builtHops.indices { unsafe (hops + index).initialize(to: builtHops[index]) }
  }

  deinit {
    unsafe leaves.deallocate()
    unsafe aliases.deallocate()
    unsafe hops.deallocate()
  }

  static func answer(_ entry: Entry) -> RouteResult<Address> {
    let route = entry.route
    var answer = RouteResult<Address>(type: RouteOutcome(route.type))
    answer.scope = route.scope.rawValue
    answer.prefixLength = route.length
    answer.preferredSource = route.preferredSource
    answer.mtu = route.metrics.mtu ?? 0
    answer.isMTULocked = (route.metrics.lock ?? 0) & 1 << 2 != 0
    answer.hopLimit = UInt8(clamping: route.metrics.hopLimit ?? 0)
    answer.typeOfService = route.typeOfService
    answer.table = route.table
    answer.route = entry.place
    if let hop = route.hops.first {
      answer.device = hop.device
      answer.gateway = hop.gateway
    }
    return answer
  }

  /// Gives each usable hop its share of the hashes, which have 31 bits (fib_rebalance).
  private static func compile(_ hops: [RouteHop<Address>]) -> [Hop] {
    func isUsable(_ hop: RouteHop<Address>) -> Bool { !hop.isDead && !hop.isIgnored }
    let total = hops.reduce(UInt64(0)) { $0 + (isUsable($1) ? UInt64($1.weight) : 0) }
    var weight: UInt64 = 0
    return hops.map { hop in
      var upperBound: Int32 = -1
      if isUsable(hop) {
        weight += UInt64(hop.weight)
        upperBound = Int32(truncatingIfNeeded: (weight << 31 + total / 2) / total - 1)
      }
      return Hop(
        device: hop.device, gateway: hop.gateway, source: hop.source, upperBound: upperBound,
        isUsable: isUsable(hop), isDead: hop.isDead)
    }
  }

  /// What the table says of a flow; `again` when it says nothing.
  @inline(__always) func lookup(_ flow: Flow<Address>, _ hashing: MultipathHash) -> RouteResult<Address> {
    let index = trie.lookup(flow.destination)
    guard index != RouteTrie<Address>.noMatch else { return .again }
    let answer = unsafe leaves[Int(index)].answer
    guard answer.isSimple, flow.outputDevice.isNone, flow.scope == 0 else {
      return lookupSlowly(index, flow, hashing)
    }
    return answer
  }

  /// The same for a destination that alone decides; nil when it does not.
  @inline(__always) func lookup(simply destination: Address) -> SimpleRoute<Address>? {
    let index = trie.lookup(destination)
    guard index != RouteTrie<Address>.noMatch else { return nil }
    let leaf = unsafe leaves + Int(index)
    guard unsafe leaf.pointee.answer.isSimple else { return nil }
    return unsafe SimpleRoute(
      type: leaf.pointee.answer.type, device: leaf.pointee.answer.device,
      gateway: leaf.pointee.answer.gateway, mtu: leaf.pointee.answer.mtu)
  }

  @inline(never)
  private func lookupSlowly(
    _ first: UInt32, _ flow: Flow<Address>, _ hashing: MultipathHash
  ) -> RouteResult<Address> {
    var index = first
    while index != RouteTrie<Address>.noMatch {
      let leaf = unsafe leaves[Int(index)]
      for number in leaf.firstAlias..<leaf.firstAlias + leaf.aliasCount {
        let alias = unsafe aliases[Int(number)]
        guard alias.typeOfService == 0 || alias.typeOfService == flow.typeOfService & 0x1c,
          alias.answer.scope >= flow.scope
        else { continue }
        if alias.answer.type.isError { return alias.answer }
        if let hop = choose(alias, flow, hashing) {
          var answer = alias.answer
          answer.device = hop.device
          answer.gateway = hop.gateway
          return answer
        }
      }
      index = leaf.parent
    }
    return .again
  }

  /// The next hop that a flow takes: the first that can be used, or of several the one whose share its hash is in
  /// (fib_select_path, fib_select_multipath).
  private func choose(_ alias: Alias, _ flow: Flow<Address>, _ hashing: MultipathHash) -> Hop? {
    var first: Hop?
    for number in alias.firstHop..<alias.firstHop + alias.hopCount {
      let hop = unsafe hops[Int(number)]
      guard hop.isUsable || flow.ignoresLinkState && !hop.isDead,
        flow.outputDevice.isNone || flow.outputDevice == hop.device
      else { continue }
      first = hop
      break
    }
    guard let first, alias.hopCount > 1, flow.outputDevice.isNone else { return first }
    let hash = hashing.hash(flow)
    var chosen = first
    var score = -1
    for number in alias.firstHop..<alias.firstHop + alias.hopCount {
      let hop = unsafe hops[Int(number)]
      guard hop.upperBound >= 0 else { continue }
      var mine = 0
      // A sender that has chosen its address keeps to the device that speaks from it.
      if flow.source != 0, hop.source == flow.source { mine += 2 }
      if hash <= hop.upperBound { mine += 1 }
      guard mine > score else { continue }
      chosen = hop
      score = mine
      if mine == 3 || flow.source == 0 && mine == 1 { break }
    }
    return chosen
  }
}
