// SPDX-License-Identifier: GPL-2.0-or-later

// Routes, rules and several next hops beside the host's kernel: the same requests have the same numbers, words and
// results, and the same flows the same way, with the seed of the hash made known to both.

import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

@Suite("Routing beside the kernel", .enabled(if: geteuid() == 0, "needs root: makes a network namespace"))
struct RoutingOracleTests {
  private static func route(_ text: String, _ body: (inout RouteMessage) -> Void) -> RouteMessage {
    var route = RouteMessage(family: .ipv4)
    route.destination = text == "default" ? nil : prefix(text)
    route.table = RouteMessage.mainTable
    route.protocolNumber = .static
    route.type = .unicast
    body(&route)
    return route
  }

  private static func via(_ text: String, _ gateway: String, _ body: (inout RouteMessage) -> Void = { _ in })
    -> RouteMessage
  {
    route(text) {
      $0.gateway = .v4(v4(gateway))
      body(&$0)
    }
  }

  private static func rule(_ priority: UInt32?, _ body: (inout RuleMessage) -> Void) -> RuleMessage {
    var rule = RuleMessage(family: .ipv4)
    rule.priority = priority
    rule.table = 100
    body(&rule)
    return rule
  }

  private static func hops(_ hops: [(Int32, String?, UInt16)]) -> [NextHop] {
    hops.map { NextHop(outputIndex: $0.0, gateway: $0.1.map { .v4(v4($0)) }, weight: $0.2) }
  }

  /// a0 is 3 with 10.0.0.1/24, b0 2 with 10.1.0.1/24; both are up, and each other's peer.
  static let requests: [(String, NetlinkMessage)] = [
    (
      "two next hops",
      route("10.20.0.0/16") { $0.nextHops = hops([(3, "10.0.0.9", 1), (2, "10.1.0.9", 3)]) }.request(.create)
    ),
    (
      "the same again",
      route("10.20.0.0/16") { $0.nextHops = hops([(3, "10.0.0.9", 1), (2, "10.1.0.9", 3)]) }.request(.append)
    ),
    (
      "a next hop that nobody reaches",
      route("10.21.0.0/16") { $0.nextHops = hops([(3, "10.0.0.9", 1), (2, "192.0.2.1", 3)]) }.request(.create)
    ),
    (
      "a next hop by no link",
      route("10.21.0.0/16") { $0.nextHops = hops([(3, "10.0.0.9", 1), (99, nil, 3)]) }.request(.create)
    ),
    (
      "a next hop without a gateway",
      route("10.22.0.0/16") {
        $0.nextHops = hops([(3, nil, 1), (2, nil, 1)])
        $0.scope = .link
      }.request(.create)
    ),
    (
      "several next hops of a route of a host",
      route("10.23.0.1/32") {
        $0.nextHops = hops([(3, nil, 1), (2, nil, 1)])
        $0.scope = .host
        $0.type = .local
      }.request(.create)
    ),
    (
      "several next hops that say no",
      route("10.23.0.0/16") {
        $0.nextHops = hops([(3, "10.0.0.9", 1)])
        $0.type = .blackhole
      }.request(.create)
    ),
    (
      "a removal with other next hops",
      route("10.22.0.0/16") {
        $0.nextHops = hops([(3, nil, 2), (2, nil, 7)])
        $0.scope = .nowhere
      }.request(.delete)
    ),
    ("on a link without a device", via("10.24.0.0/16", "192.0.2.1") { $0.flags = .onLink }.request(.create)),
    (
      "on a link",
      via("10.24.0.0/16", "192.0.2.1") {
        $0.flags = .onLink
        $0.outputIndex = 3
      }.request(.create)
    ),
    (
      "on a link by an own address",
      via("10.25.0.0/16", "10.0.0.1") {
        $0.flags = .onLink
        $0.outputIndex = 3
      }.request(.create)
    ),
    (
      "a gateway by the wrong device", via("10.25.0.0/16", "10.0.0.9") { $0.outputIndex = 2 }.request(.create)
    ),
    ("a gateway of a link's scope", via("10.25.0.0/16", "10.0.0.9") { $0.scope = .link }.request(.create)),
    (
      "a gateway of a host's scope",
      via("10.25.0.0/16", "10.0.0.9") {
        $0.scope = .host
        $0.outputIndex = 3
      }.request(.create)
    ),
    (
      "a local route of the universe",
      route("10.25.0.1/32") {
        $0.type = .local
        $0.outputIndex = 3
      }.request(.create)
    ),
    (
      "a type that there is not",
      route("10.25.0.0/16") {
        $0.type = RouteType(rawValue: 40)
        $0.outputIndex = 3
      }.request(.create)
    ),
    (
      "NAT",
      route("10.25.0.0/16") {
        $0.type = RouteType(rawValue: 10)
        $0.outputIndex = 3
      }.request(.create)
    ),
    ("throw", route("10.26.0.0/16") { $0.type = .throw }.request(.create)),
    (
      "multicast",
      route("239.0.0.0/8") {
        $0.type = .multicast
        $0.outputIndex = 3
      }.request(.create)
    ),
    ("a type of service", via("10.27.0.0/16", "10.0.0.9") { $0.typeOfService = 0x10 }.request(.create)),
    ("the same without", via("10.27.0.0/16", "10.0.0.8").request(.create)),
    ("bits of ECN", via("10.27.0.0/16", "10.0.0.8") { $0.typeOfService = 0x11 }.request(.create)),
    (
      "removal with a type of service",
      via("10.27.0.0/16", "10.0.0.9") {
        $0.typeOfService = 0x08
        $0.scope = .nowhere
      }.request(.delete)
    ),
    (
      "metrics",
      via("10.28.0.0/16", "10.0.0.9") {
        $0.metrics.mtu = 1400
        $0.metrics.advertisedMSS = 1300
        $0.metrics.hopLimit = 9
      }.request(.create)
    ),
    ("an MTU beyond all", via("10.29.0.0/16", "10.0.0.9") { $0.metrics.mtu = 100_000 }.request(.create)),
    ("another table", via("10.30.0.0/16", "10.0.0.9") { $0.table = 100 }.request(.create)),
    ("another table's default", via("default", "10.1.0.9") { $0.table = 100 }.request(.create)),
    ("a table of a large number", via("10.31.0.0/16", "10.0.0.9") { $0.table = 100_000 }.request(.create)),
    ("removal from no table", via("10.31.0.0/16", "10.0.0.9") { $0.table = 4242 }.request(.delete)),
    ("flags of the dead", via("10.32.0.0/16", "10.0.0.9") { $0.flags = .dead }.request(.create)),
    ("removal of a route of another scope", route("10.0.0.0/24") { $0.outputIndex = 3 }.request(.delete)),
    ("a default route", via("default", "10.0.0.9").request(.create)),
    ("another by metric", via("default", "10.1.0.9") { $0.priority = 5 }.request(.create)),
    ("a rule", rule(1000) { $0.source = prefix("10.0.5.0/24") }.request(.create)),
    ("the rule again", rule(1000) { $0.source = prefix("10.0.5.0/24") }.request(.create)),
    ("a rule without a priority", rule(nil) { $0.destination = prefix("10.99.0.0/16") }.request(.create)),
    (
      "a rule by mark",
      rule(900) {
        $0.mark = 7
        $0.markMask = 15
      }.request(.create)
    ),
    ("a rule by device", rule(901) { $0.inputInterface = "b0" }.request(.create)),
    ("a rule by a device that is not there", rule(902) { $0.outputInterface = "zz9" }.request(.create)),
    (
      "a rule by ports",
      rule(903) {
        $0.ipProtocol = 17
        $0.destinationPorts = 53...60
        $0.sourcePorts = 1000...2000
      }.request(.create)
    ),
    ("a rule by type of service", rule(904) { $0.typeOfService = 0x10 }.request(.create)),
    (
      "a rule turned round",
      rule(905) {
        $0.source = prefix("10.0.0.0/8")
        $0.flags = .invert
      }.request(.create)
    ),
    (
      "a rule that says no",
      rule(906) {
        $0.action = .prohibit
        $0.table = 0
        $0.destination = prefix("10.77.0.0/16")
      }.request(.create)
    ),
    (
      "a rule that goes on",
      rule(907) {
        $0.action = .goto
        $0.table = 0
        $0.target = 32766
        $0.destination = prefix("10.78.0.0/16")
      }.request(.create)
    ),
    (
      "a rule that goes back",
      rule(908) {
        $0.action = .goto
        $0.table = 0
        $0.target = 5
      }.request(.create)
    ),
    (
      "a rule that goes nowhere",
      rule(909) {
        $0.action = .goto
        $0.table = 0
      }.request(.create)
    ),
    (
      "a rule that goes to what is not there",
      rule(910) {
        $0.action = .goto
        $0.table = 0
        $0.target = 20000
      }.request(.create)
    ),
    (
      "a rule that wants no default route",
      rule(911) {
        $0.table = 254
        $0.suppressPrefixLength = 0
      }.request(.create)
    ),
    ("removal of a rule that is not there", rule(4444) { _ in }.request(.delete)),
    ("removal of a rule", rule(903) { _ in }.request(.delete)),
    ("removal of a rule by what it asks", rule(nil) { $0.mark = 7 }.request(.delete)),
  ]

  private static func shown(_ routes: [NetlinkMessage]) throws -> [String] {
    try routes.map { try RouteMessage($0) }.filter { $0.family == .ipv4 }.map { route in
      var route = route
      route.cacheInfo = nil
      return
        "\(route.table) \(route.type.rawValue) \(route.destination.map { "\($0)" } ?? "default") tos \(route.typeOfService) "
        + "\(route.gateway.map { "\($0)" } ?? "-") \(route.outputIndex ?? 0) \(route.scope.rawValue) "
        + "\(route.protocolNumber.rawValue) \(route.preferredSource.map { "\($0)" } ?? "-") \(route.priority ?? 0) "
        + "flags \(route.flags.rawValue) mtu \(route.metrics.mtu ?? 0) mss \(route.metrics.advertisedMSS ?? 0) "
        + route.nextHops.map {
          "[\($0.outputIndex) \($0.gateway.map { "\($0)" } ?? "-") \($0.weight) \($0.flags.rawValue)]"
        }.joined()
    }
  }

  private static func shownRules(_ rules: [NetlinkMessage]) throws -> [String] {
    try rules.map { try RuleMessage($0) }.filter { $0.family == .ipv4 }.map { "\($0)" }
  }

  @Test("Requests have the kernel's numbers, words and results, and flows the kernel's ways")
  func requests() throws {
    let thread = try NamespaceThread()
    let (namespace, socket) = try thread.perform { (visitor) throws(NetlinkError) in
      let namespace = try visitor.create(label: "netstack-routing-oracle")
      try visitor.writeSysctl("net/ipv6/conf/all/disable_ipv6", "1")
      try visitor.writeSysctl("net/ipv6/conf/default/disable_ipv6", "1")
      try visitor.writeSysctl("net/ipv4/fib_multipath_hash_seed", "1234")
      return (namespace, try visitor.socket())
    }
    defer { withExtendedLifetime(namespace) {} }
    var kernel = Kernel()
    let node = try kernel.makeNamespace()
    try kernel.setSysctl("net/ipv4/fib_multipath_hash_seed", to: "1234", in: node)
    var peer = LinkMessage(index: 2, name: "b0")
    peer.address = [2, 0, 0, 0, 0, 2]
    var pair = LinkMessage(index: 3, name: "a0")
    pair.kind = .veth(peer: peer)
    pair.address = [2, 0, 0, 0, 0, 3]
    var setup = [pair.request(.create)]
    for index in [Int32(1), 2, 3] {
      var link = LinkMessage(index: index)
      link.set(.up, true)
      setup.append(link.request(.change))
    }
    setup.append(AddressMessage(prefix("10.0.0.1/24"), index: 3).request(.create))
    setup.append(AddressMessage(prefix("10.1.0.1/24"), index: 2).request(.create))
    for message in setup {
      _ = try socket.request(message)
      try kernel.perform(message, in: node)
    }
    for (name, request) in Self.requests {
      var expected = ""
      do { _ = try socket.request(request) } catch {
        expected = "\(error.errno?.rawValue ?? -1) \(error.text ?? "")"
      }
      var got = ""
      do { try kernel.perform(request, in: node) } catch { got = "\(error.errno) \(error.message ?? "")" }
      #expect(got == expected, "\(name)")
      let ours = try Self.shown(kernel.dump(RouteMessage.dump(.ipv4), in: node))
      let theirs = try Self.shown(socket.dump(RouteMessage.dump(.ipv4)))
      #expect(ours.sorted() == theirs.sorted(), "routes after \(name)")
      let ourRules = try Self.shownRules(kernel.dump(RuleMessage.dump(.ipv4), in: node))
      let theirRules = try Self.shownRules(socket.dump(RuleMessage.dump(.ipv4)))
      #expect(ourRules == theirRules, "rules after \(name)")
    }
    let destinations =
      [
        "10.30.1.1", "10.26.0.1", "10.27.0.1", "10.28.0.1", "10.77.0.1", "10.78.0.1", "10.99.0.1",
        "192.0.2.9",
      ]
      + ["127.0.0.1", "10.0.0.1", "10.0.0.255", "10.0.0.77", "224.0.0.1", "239.1.2.3", "255.255.255.255"]
      + (1...40).map { "10.20.3.\($0)" }
    for destination in destinations {
      for variant in 0..<6 {
        var question = RouteMessage(family: .ipv4)
        question.destination = IPPrefix(host: .v4(v4(destination)))
        question.flags = variant == 4 ? [.lookupTable, .fibMatch] : .lookupTable
        switch variant {
        case 1: question.outputIndex = 2
        case 2: question.mark = 7
        case 3: question.source = IPPrefix(host: .v4(v4("10.1.0.1")))
        case 5: question.typeOfService = 0x10
        default: break
        }
        var theirs = ""
        do {
          theirs = try Self.shown(socket.request(question.request(.get))).joined()
        } catch let error as NetlinkError { theirs = "\(error.errno?.rawValue ?? -1)" }
        var ours = ""
        do { ours = try Self.shown(kernel.dump(question.request(.get), in: node)).joined() } catch let error
          as KernelError
        { ours = "\(error.errno)" }
        #expect(ours == theirs, "way to \(destination), variant \(variant)")
      }
    }
  }

  @Test("Of several default routes both take the same one, whatever is known of their gateways")
  func defaults() throws {
    let thread = try NamespaceThread()
    let (namespace, socket) = try thread.perform { (visitor) throws(NetlinkError) in
      let namespace = try visitor.create(label: "netstack-default-oracle")
      try visitor.writeSysctl("net/ipv6/conf/all/disable_ipv6", "1")
      try visitor.writeSysctl("net/ipv6/conf/default/disable_ipv6", "1")
      return (namespace, try visitor.socket())
    }
    defer { withExtendedLifetime(namespace) {} }
    var kernel = Kernel()
    let node = try kernel.makeNamespace()
    var pair = LinkMessage(index: 3, name: "a0")
    pair.kind = .veth(peer: LinkMessage(index: 2, name: "b0"))
    var messages = [pair.request(.create)]
    for index in [Int32(1), 2, 3] {
      var link = LinkMessage(index: index)
      link.set(.up, true)
      messages.append(link.request(.change))
    }
    messages.append(AddressMessage(prefix("10.0.0.1/24"), index: 3).request(.create))
    for gateway in 2...4 { messages.append(Self.via("default", "10.0.0.\(gateway)").request(.append)) }
    messages.append(Self.via("default", "10.0.0.5") { $0.typeOfService = 0x10 }.request(.create))
    messages.append(Self.via("default", "10.0.0.6") { $0.priority = 9 }.request(.create))
    for message in messages {
      _ = try socket.request(message)
      try kernel.perform(message, in: node)
    }
    func way(_ tos: UInt8, _ device: Int32?) throws -> (ours: String, theirs: String) {
      var question = RouteMessage(family: .ipv4)
      question.destination = IPPrefix(host: .v4(v4("192.0.2.9")))
      question.typeOfService = tos
      question.outputIndex = device
      return (
        try Self.shown(kernel.dump(question.request(.get), in: node)).joined(),
        try Self.shown(socket.request(question.request(.get))).joined()
      )
    }
    // Those that do not change by themselves while the test runs: the host's clock goes on, the emulated one stands.
    let states: [NeighborState] = [.reachable, .stale, .failed, .permanent, .noARP]
    var random = RandomState(seed: 4711)
    var taken: Set<String> = []
    for round in 0..<300 {
      var neighbor = NeighborMessage(family: .ipv4, index: 3)
      neighbor.destination = .v4(v4("10.0.0.\(2 + random.below(5))"))
      neighbor.state = states[Int(random.below(UInt64(states.count)))]
      neighbor.linkAddress = [2, 0, 0, 0, 0, 9]
      let change = neighbor.request(random.below(6) == 0 ? .delete : .createOrReplace)
      var expected: Int32 = 0
      do { _ = try socket.request(change) } catch { expected = error.errno?.rawValue ?? -1 }
      var got: Int32 = 0
      do { try kernel.perform(change, in: node) } catch { got = error.errno }
      #expect(got == expected, "round \(round)")
      for _ in 0..<3 {
        let (ours, theirs) = try way(random.below(4) == 0 ? 0x10 : 0, random.below(8) == 0 ? 3 : nil)
        #expect(ours == theirs, "round \(round), \(neighbor)")
        taken.insert(ours)
      }
    }
    #expect(taken.count > 3, "\(taken)")
  }
}
