// SPDX-License-Identifier: GPL-2.0-or-later

// The same requests go to the host's kernel, in a namespace without a name, and to an emulated one: both must say the
// same error number to each, and have the same links, addresses and routes in the end.

import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

@Suite(
  "Configuration beside the kernel", .enabled(if: geteuid() == 0, "needs root: makes a network namespace"))
struct ConfigurationOracleTests {
  private static func link(_ name: String, _ body: (inout LinkMessage) -> Void = { _ in }) -> LinkMessage {
    var link = LinkMessage(name: name)
    body(&link)
    return link
  }

  private static func address(_ text: String, _ index: Int32) -> AddressMessage {
    AddressMessage(prefix(text), index: index)
  }

  private static func route(_ text: String, _ body: (inout RouteMessage) -> Void) -> RouteMessage {
    OracleSetup.message(text, .ipv4, body)
  }

  private static func via(_ text: String, _ gateway: String, _ metric: UInt32? = nil) -> RouteMessage {
    route(text) {
      $0.gateway = .v4(v4(gateway))
      $0.priority = metric
    }
  }

  private static func onLink(_ text: String, _ index: Int32) -> RouteMessage {
    route(text) {
      $0.outputIndex = index
      $0.scope = .link
    }
  }

  private static func neighbor(_ text: String, _ index: Int32, _ body: (inout NeighborMessage) -> Void)
    -> NeighborMessage
  {
    var neighbor = NeighborMessage(family: .ipv4, index: index)
    neighbor.destination = .v4(v4(text))
    neighbor.linkAddress = [2, 0, 0, 0, 0, 9]
    neighbor.state = .permanent
    body(&neighbor)
    return neighbor
  }

  /// lo is 1, a0 3 (its peer is made first), b0 2, br0 4.
  static let requests: [(String, NetlinkMessage)] = {
    let up: (inout LinkMessage) -> Void = { $0.set(.up, true) }
    let down: (inout LinkMessage) -> Void = { $0.set(.up, false) }
    let pair = link("a0") {
      $0.index = 3
      var peer = LinkMessage(index: 2, name: "b0")
      peer.address = [2, 0, 0, 0, 0, 2]
      $0.kind = .veth(peer: peer)
      $0.address = [2, 0, 0, 0, 0, 3]
    }
    let bridge = link("br0") {
      $0.index = 4
      $0.kind = .bridge(BridgeOptions())
      $0.address = [2, 0, 0, 0, 0, 4]
    }
    return [
      ("lo up", link("lo", up).request(.change)),
      ("a pair", pair.request(.create)),
      ("the pair again", pair.request(.create)),
      ("a link of no kind", link("x0").request(.create)),
      ("a link that is not there", link("x0", up).request(.change)),
      (
        "a number that is taken",
        link("x0") {
          $0.index = 2; $0.kind = .bridge(BridgeOptions())
        }.request(.create)
      ),
      ("a bridge", bridge.request(.create)),
      ("a multicast address", link("b0") { $0.address = [1, 0, 0, 0, 0, 1] }.request(.change)),
      ("an MTU that is too small", link("b0") { $0.mtu = 60 }.request(.change)),
      ("a port", link("b0") { $0.master = 4 }.request(.change)),
      ("a port of no bridge", link("b0") { $0.master = 3 }.request(.change)),
      ("a port of nothing", link("b0") { $0.master = 99 }.request(.change)),
      ("lo as a port", link("lo") { $0.master = 4 }.request(.change)),
      ("a bridge as a port of itself", link("br0") { $0.master = 4 }.request(.change)),
      ("a route by a link that is down", onLink("10.8.0.0/16", 3).request(.create)),
      ("an address on a link that is down", address("10.0.0.1/24", 3).request(.create)),
      ("a up", link("a0", up).request(.change)),
      ("b up", link("b0", up).request(.change)),
      ("the bridge up", link("br0", up).request(.change)),
      ("the address again", address("10.0.0.1/24", 3).request(.create)),
      ("a second one of the subnet", address("10.0.0.5/24", 3).request(.create)),
      ("one of another subnet", address("10.1.0.1/16", 3).request(.create)),
      ("one alone", address("10.7.0.1/32", 3).request(.create)),
      ("one on no link", address("10.0.0.1/24", 88).request(.create)),
      ("removal of one that is not there", address("10.0.0.7/24", 3).request(.delete)),
      ("a route", via("10.2.0.0/16", "10.0.0.9").request(.create)),
      ("the route again", via("10.2.0.0/16", "10.0.0.9").request(.create)),
      ("the route by another", via("10.2.0.0/16", "10.0.0.8").request(.create)),
      ("the same with another metric", via("10.2.0.0/16", "10.0.0.8", 5).request(.create)),
      ("the route replaced", via("10.2.0.0/16", "10.0.0.7").request(.createOrReplace)),
      ("a default route", via("default", "10.1.0.9").request(.create)),
      ("a gateway nobody reaches", via("10.9.0.0/16", "192.0.2.1").request(.create)),
      ("a gateway that is this host", via("10.9.0.0/16", "10.0.0.1").request(.create)),
      ("a gateway that is a broadcast address", via("10.9.0.0/16", "10.0.0.255").request(.create)),
      ("host bits in a prefix", via("10.9.0.1/16", "10.0.0.9").request(.create)),
      ("a route by no link", onLink("10.9.0.0/16", 77).request(.create)),
      ("a route without a way", route("10.9.0.0/16") { _ in }.request(.create)),
      (
        "a source that is another's",
        route("10.9.0.0/16") {
          $0.outputIndex = 3
          $0.scope = .link
          $0.preferredSource = .v4(v4("10.0.0.77"))
        }.request(.create)
      ),
      (
        "a route from an address",
        route("10.10.0.0/16") {
          $0.outputIndex = 3
          $0.scope = .link
          $0.preferredSource = .v4(v4("10.1.0.1"))
        }.request(.create)
      ),
      ("a black hole", route("10.11.0.0/16") { $0.type = .blackhole }.request(.create)),
      ("removal of a route that is not there", via("10.99.0.0/16", "10.0.0.9").request(.delete)),
      ("removal of a route by another gateway", via("10.2.0.0/16", "10.0.0.66").request(.delete)),
      ("removal of a route", via("10.2.0.0/16", "10.0.0.8", 5).request(.delete)),
      ("change of a route that is not there", via("10.98.0.0/16", "10.0.0.9").request(.change)),
      ("a neighbour", neighbor("10.0.0.9", 3) { _ in }.request(.create)),
      ("the neighbour again", neighbor("10.0.0.9", 3) { _ in }.request(.create)),
      ("a neighbour on no link", neighbor("10.0.0.9", 55) { _ in }.request(.create)),
      ("a neighbour without an address", neighbor("10.0.0.8", 3) { $0.linkAddress = nil }.request(.create)),
      ("removal of a neighbour", neighbor("10.0.0.9", 3) { _ in }.request(.delete)),
      ("removal of one that is not there", neighbor("10.0.0.9", 3) { _ in }.request(.delete)),
      ("removal of the primary", address("10.0.0.1/24", 3).request(.delete)),
      ("removal of an address routes speak from", address("10.1.0.1/16", 3).request(.delete)),
      ("an address once more", address("10.4.0.1/24", 3).request(.create)),
      ("a route once more", via("10.5.0.0/16", "10.4.0.9").request(.create)),
      ("the first address of b", address("10.7.0.1/24", 2).request(.create)),
      ("a second one", address("10.8.0.1/24", 2).request(.create)),
      ("a route by b's first", via("10.20.0.0/16", "10.7.0.9").request(.create)),
      ("a route on b", onLink("10.21.0.0/16", 2).request(.create)),
      ("a neighbour on b", neighbor("10.7.0.9", 2) { _ in }.request(.create)),
      ("removal of b's first address", address("10.7.0.1/24", 2).request(.delete)),
      ("removal of b's last address, and all of IPv4 with it", address("10.8.0.1/24", 2).request(.delete)),
      ("an address of b again", address("10.7.0.1/24", 2).request(.create)),
      (
        "a neighbour that goes with the carrier",
        neighbor("10.0.0.9", 3) { $0.state = .reachable }.request(.create)
      ),
      ("b down", link("b0", down).request(.change)),
      ("b up again", link("b0", up).request(.change)),
      ("b down again", link("b0", down).request(.change)),
      ("a down", link("a0", down).request(.change)),
      ("a up again", link("a0", up).request(.change)),
      ("removal of lo", link("lo").request(.delete)),
      ("removal of nothing", link("x9").request(.delete)),
      ("removal of the bridge", link("br0").request(.delete)),
      ("a name of an address that is taken", LinkMessage(index: 3, name: "b0").request(.change)),
      ("another name, of a link that is up", LinkMessage(index: 3, name: "c0").request(.change)),
    ]
  }()

  private static func addresses(_ messages: [NetlinkMessage]) throws -> [String] {
    try messages.map { try AddressMessage($0) }.filter { $0.family == .ipv4 }.map {
      "\($0.index) \($0.local.map { "\($0)" } ?? "-")/\($0.prefixLength) \($0.flags.contains(.secondary)) \($0.scope.rawValue)"
    }.sorted()
  }

  private static func routes(_ messages: [NetlinkMessage]) throws -> [String] {
    try messages.map { try RouteMessage($0) }.filter { $0.family == .ipv4 }.map {
      "\($0.table) \($0.type.rawValue) \($0.destination.map { "\($0)" } ?? "default") \($0.gateway.map { "\($0)" } ?? "-") "
        + "\($0.outputIndex ?? 0) \($0.scope.rawValue) \($0.protocolNumber.rawValue) "
        + "\($0.preferredSource.map { "\($0)" } ?? "-") \($0.priority ?? 0) \($0.flags.contains(.linkDown))"
    }.sorted()
  }

  private static func permanentNeighbors(_ messages: [NetlinkMessage]) throws -> [String] {
    try messages.map { try NeighborMessage($0) }.filter { $0.state.contains(.permanent) }.map {
      "\($0.index) \($0.destination.map { "\($0)" } ?? "-") \($0.linkAddress ?? [])"
    }.sorted()
  }

  private static func links(_ messages: [NetlinkMessage]) throws -> [String] {
    try messages.map { try LinkMessage($0) }.map {
      "\($0.index) \($0.name ?? "-") \($0.mtu ?? 0) \($0.master ?? 0) \($0.kind?.name ?? "-") \($0.isUp) "
        + "\($0.flags.contains(.running)) \($0.lowerIndex ?? 0) "
        + "\($0.flags.contains(.lowerUp)) \($0.macAddress.map { "\($0)" } ?? "-") \($0.operationalState.map { "\($0)" } ?? "-")"
    }.filter { !$0.contains("sit0") && !$0.contains("tunl0") }
  }

  @Test("Each request has the kernel's error number, and what stands after it is what stands in the kernel")
  func requests() throws {
    let thread = try NamespaceThread()
    let (namespace, socket) = try thread.perform { (visitor) throws(NetlinkError) in
      let namespace = try visitor.create(label: "netstack-oracle")
      try visitor.writeSysctl("net/ipv6/conf/all/disable_ipv6", "1")
      try visitor.writeSysctl("net/ipv6/conf/default/disable_ipv6", "1")
      try visitor.writeSysctl("net/ipv4/conf/all/promote_secondaries", "1")
      return (namespace, try visitor.socket())
    }
    defer { withExtendedLifetime(namespace) {} }
    var kernel = Kernel()
    let node = try kernel.makeNamespace()
    try kernel.setSysctl("net/ipv6/conf/all/disable_ipv6", to: "1", in: node)
    try kernel.setSysctl("net/ipv4/conf/all/promote_secondaries", to: "1", in: node)
    for (name, request) in Self.requests {
      var expected: CInt = 0
      do { _ = try socket.request(request) } catch { expected = error.errno?.rawValue ?? -1 }
      var got: CInt = 0
      do { try kernel.perform(request, in: node) } catch { got = error.errno }
      #expect(got == expected, "\(name)")
      let ourAddresses = try Self.addresses(kernel.dump(AddressMessage.dump(.ipv4), in: node))
      let theirAddresses = try Self.addresses(socket.dump(AddressMessage.dump(.ipv4)))
      #expect(ourAddresses == theirAddresses, "addresses after \(name)")
      let ourLinks = try Self.links(kernel.dump(LinkMessage.dump(), in: node))
      // The kernel's link watch tells operational states a while after the fact.
      var theirLinks = try Self.links(socket.dump(LinkMessage.dump()))
      for _ in 0..<200 where ourLinks != theirLinks {
        usleep(10_000)
        theirLinks = try Self.links(socket.dump(LinkMessage.dump()))
      }
      #expect(ourLinks == theirLinks, "links after \(name)")
      let ours = try Self.routes(kernel.dump(RouteMessage.dump(.ipv4), in: node))
      let theirs = try Self.routes(socket.dump(RouteMessage.dump(.ipv4)))
      #expect(ours == theirs, "routes after \(name)")
      let ourNeighbors = try Self.permanentNeighbors(kernel.dump(NeighborMessage.dump(.ipv4), in: node))
      let theirNeighbors = try Self.permanentNeighbors(socket.dump(NeighborMessage.dump(.ipv4)))
      #expect(ourNeighbors == theirNeighbors, "neighbours after \(name)")
    }
  }
}
