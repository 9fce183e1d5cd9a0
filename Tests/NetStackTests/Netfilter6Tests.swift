// SPDX-License-Identifier: GPL-2.0-or-later

// Rules in IPv6, at a router between two emulated nodes.

import NetTypes
import Nftables
import Testing

@testable import NetStack

@Suite("Rules in IPv6")
struct Netfilter6Tests {
  /// client ── gateway ── server.
  struct Lab: ~Copyable {
    var kernel: Kernel
    let client: NamespaceIndex
    let gateway: NamespaceIndex
    let server: NamespaceIndex

    init() throws {
      var kernel = Kernel(seed: 7)
      let client = try kernel.node(ipv6: true)
      let gateway = try kernel.node(ipv6: true)
      let server = try kernel.node(ipv6: true)
      try kernel.setSysctl("net/ipv6/conf/all/forwarding", to: "1", in: gateway)
      try kernel.veth("eth0", client, "c0", gateway)
      try kernel.veth("eth0", server, "s0", gateway)
      try kernel.address6("2001:db8:1::2/64", "eth0", client)
      try kernel.address6("2001:db8:1::1/64", "c0", gateway)
      try kernel.address6("2001:db8:2::1/64", "s0", gateway)
      try kernel.address6("2001:db8:2::2/64", "eth0", server)
      try kernel.route6("default", via: "2001:db8:1::1", client)
      try kernel.route6("default", via: "2001:db8:2::1", server)
      kernel.run(for: .seconds(3))
      self.kernel = kernel
      self.client = client
      self.gateway = gateway
      self.server = server
    }

    /// Puts a base chain of one rule into the gateway.
    mutating func load(_ hook: NftHook, _ type: NftChainType, _ statements: [Statement]) throws {
      let base = NftBaseChain(
        type: type, hook: hook, priority: type == .nat ? (hook == .prerouting ? -100 : 100) : 0)
      let chain = Ruleset.Chain(name: "c", base: base, rules: [Rule(statements)])
      let table = Ruleset.Table(family: .inet, name: "t", chains: [chain])
      let compiled: NftTable
      switch Compiler.compile(Ruleset(tables: [table])) {
      case .success(let tables): compiled = try #require(tables.first)
      case .failure(let errors): throw errors
      }
      try kernel.commit(compiled.creation, in: gateway)
    }

    /// A datagram from the client to the server's port 53: whom the server saw it from.
    mutating func exchange() throws -> IPAddress? {
      let sender = try kernel.makeSocket(.udp(.ipv6), in: client)
      let receiver = try kernel.makeSocket(.udp(.ipv6), in: server)
      try kernel.bind(receiver, to: SocketAddress(.v6(.any), 53))
      try kernel.send([1, 2, 3], on: sender, to: SocketAddress(.v6(v6("2001:db8:2::2")), 53))
      kernel.run(for: .seconds(1))
      var bytes: [UInt8] = []
      let heard = try? kernel.receive(receiver, into: &bytes)
      kernel.close(sender)
      kernel.close(receiver)
      return heard?.source?.address
    }
  }

  @Test("Masquerading hides the client, and its answers find back")
  func masquerade() throws {
    var lab = try Lab()
    #expect(try lab.exchange() == .v6(v6("2001:db8:1::2")))
    let outside = try #require(InterfacePattern("s0"))
    try lab.load(.postrouting, .nat, [.match(.is(.outputInterface, outside)), .masquerade()])
    #expect(try lab.exchange() == .v6(v6("2001:db8:2::1")))
    let answer = try lab.kernel.ping6("2001:db8:2::2", from: lab.client)
    #expect(answer?.source == v6("2001:db8:2::2") && answer?.error == 0)
    let known = lab.kernel.connections(in: lab.gateway)
    #expect(known.contains { $0.proto == 58 && $0.reply.destination == .v6(v6("2001:db8:2::1")) }, "\(known)")
  }

  @Test("What is rejected is told of")
  func reject() throws {
    var lab = try Lab()
    try lab.load(.forward, .filter, [.counter, .reject(.icmpx(3))])
    let answer = try lab.kernel.ping6("2001:db8:2::2", from: lab.client)
    #expect(answer?.error == 13, "EACCES: \(String(describing: answer))")
    #expect(try lab.exchange() == nil)
    let rule = try #require(lab.kernel.nftables(nil, in: lab.gateway).tables.first?.chains.first?.rules.first)
    guard case .counter(let counter)? = rule.expressions.first else {
      Issue.record("the rule begins with a counter")
      return
    }
    #expect(counter.packets == 2)
  }

  @Test("Connections are followed, and ICMP errors belong to them")
  func tracking() throws {
    var lab = try Lab()
    try lab.load(.forward, .filter, [.match(.is(.conntrackState, .new)), .counter])
    _ = try lab.exchange()
    let closed = try lab.kernel.makeSocket(.udp(.ipv6), in: lab.client)
    try lab.kernel.connect(closed, to: SocketAddress(.v6(v6("2001:db8:2::2")), 54))
    try lab.kernel.send([1], on: closed)
    lab.kernel.run(for: .seconds(1))
    #expect(lab.kernel.takeError(of: closed) == 111, "port unreachable comes back through the router")
    let connections = lab.kernel.connections(in: lab.gateway)
    #expect(connections.map(\.original.destinationPort) == [53, 54], "\(connections)")
    lab.kernel.run(for: .seconds(40))
    #expect(lab.kernel.connections(in: lab.gateway).isEmpty, "they end by themselves")
    #expect(lab.kernel.accounting.isClosed)
  }
}
