// SPDX-License-Identifier: GPL-2.0-or-later

// Every kind of object, created, seen again as it was asked for, changed in place and deleted; iproute2 says what is
// there.

import LabCore
import NetTypes
import Nftables
import Testing

@testable import KernelDatapath

@Suite("Objects in the kernel", .serialized, .enabled(if: Requirements.isRoot, Requirements.reason))
struct ObjectKindTests {
  static let node = NamespaceID.node(NodeName("a") ?? { preconditionFailure("a name") }())
  static let other = NamespaceID.node(NodeName("b") ?? { preconditionFailure("a name") }())

  static func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }
  static func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }
  static func mac(_ text: String) throws -> MACAddress { try #require(MACAddress(text)) }

  /// Two nodes with a pair between them, and what `body` adds to the first.
  static func pair(_ lab: TestLab, ipv6: Bool = false, _ body: (inout NamespaceState) throws -> Void) rethrows
    -> LabState
  {
    var first = NamespaceState(
      id: node,
      links: [LinkState(name: "eth0", kind: .veth(peer: LinkReference(other, "eth0")), index: 2, isUp: true)],
      sysctls: NamespaceDefaults.sysctls(for: .router, ipv6: ipv6))
    try body(&first)
    first.sort()
    let second = NamespaceState(
      id: other, links: [LinkState(name: "eth0", kind: .veth(peer: LinkReference(node, "eth0")), index: 2)],
      sysctls: NamespaceDefaults.sysctls(for: .node, ipv6: ipv6))
    return LabState(lab: lab.name, namespaces: [first, second])
  }

  static func check(_ lab: TestLab, _ state: LabState, _ comment: Comment? = nil) async throws {
    let seen = try await lab.observe(state)
    #expect(lab.differences(state, seen.owned) == [], comment)
    #expect(seen.foreign.isEmpty)
    #expect(lab.differences(LabState(lab: lab.name), seen.unmarked) == [])
  }

  @Test("Addresses of both families, with peers and secondaries")
  func addresses() async throws {
    try await TestLab.with("objaddr") { lab in
      let state = try Self.pair(lab, ipv6: true) { space in
        space.addresses = [
          AddressState(link: "eth0", prefix: try Self.prefix("10.1.0.1/24")),
          AddressState(link: "eth0", prefix: try Self.prefix("10.1.0.2/24")),
          AddressState(
            link: "eth0", prefix: try Self.prefix("10.9.0.1/32"), peer: try Self.address("10.9.0.2")),
          AddressState(link: "eth0", prefix: try Self.prefix("2001:db8::1/64")),
          AddressState(link: "lo", prefix: try Self.prefix("10.255.0.1/32")),
          AddressState(link: "lo", prefix: try Self.prefix("2001:db8:ff::1/128")),
        ]
      }
      try await lab.up(state)
      try await Self.check(lab, state)
      let text = try lab.output("ip -n objaddr-a addr")
      #expect(text.contains("inet 10.9.0.1 peer 10.9.0.2/32 scope global"))
      #expect(text.contains("inet 10.1.0.2/24 scope global secondary"))
      #expect(text.contains("inet6 2001:db8::1/64 scope global nodad"))
      let gone = StateObject.address(AddressState(link: "eth0", prefix: try Self.prefix("10.1.0.1/24")))
      try await lab.change(Self.node, gone, nil)
      // What is not there any more is deleted already.
      try await lab.change(Self.node, gone, nil)
      var rest = state
      rest.namespaces[0].addresses.removeAll { $0.prefix.description == "10.1.0.1/24" }
      try await Self.check(lab, rest, "promote_secondaries keeps the second")
    }
  }

  @Test("Routes: gateways, several next hops, blackholes, tables, metrics, both families")
  func routes() async throws {
    try await TestLab.with("objroute") { lab in
      let state = try Self.pair(lab, ipv6: true) { space in
        space.addresses = [
          AddressState(link: "eth0", prefix: try Self.prefix("10.1.0.1/24")),
          AddressState(link: "eth0", prefix: try Self.prefix("2001:db8::1/64")),
        ]
        let hop = { (text: String) in
          RouteState.NextHop(gateway: try Self.address(text), link: "eth0")
        }
        var weighted = try hop("10.1.0.4")
        weighted.weight = 3
        var onLink = try hop("192.0.2.9")
        onLink.isOnLink = true
        space.routes = [
          RouteState(destination: .everything(.ipv4), nextHops: [try hop("10.1.0.2")]),
          RouteState(destination: .everything(.ipv6), nextHops: [try hop("2001:db8::2")]),
          RouteState(destination: try Self.prefix("10.2.0.0/16"), nextHops: [try hop("10.1.0.3"), weighted]),
          RouteState(
            destination: try Self.prefix("2001:db8:2::/48"),
            nextHops: [try hop("2001:db8::3"), try hop("2001:db8::4")]),
          RouteState(destination: try Self.prefix("10.3.0.0/16"), type: .blackhole),
          RouteState(destination: try Self.prefix("10.4.0.0/16"), type: .unreachable),
          RouteState(destination: try Self.prefix("10.5.0.0/16"), type: .prohibit),
          RouteState(destination: try Self.prefix("2001:db8:3::/48"), type: .blackhole),
          RouteState(destination: try Self.prefix("2001:db8:4::/48"), type: .unreachable),
          RouteState(
            destination: try Self.prefix("10.6.0.0/16"), table: 1000, metric: 7,
            nextHops: [RouteState.NextHop(link: "eth0")], preferredSource: try Self.address("10.1.0.1"),
            mtu: 1300),
          RouteState(destination: try Self.prefix("10.7.0.0/16"), nextHops: [onLink]),
          RouteState(destination: try Self.prefix("10.8.0.0/16"), nextHops: [RouteState.NextHop(link: "lo")]),
        ]
      }
      try await lab.up(state)
      try await Self.check(lab, state)
      let text = try lab.output("ip -n objroute-a route show table all proto 201")
      #expect(text.contains("10.6.0.0/16 dev eth0 table 1000 scope link src 10.1.0.1 metric 7 mtu 1300"))
      #expect(text.contains("blackhole 10.3.0.0/16"))
      #expect(text.contains("nexthop via 10.1.0.4 dev eth0 weight 3"))

      // One change of a route is one replacement.
      var changed = state
      for index in changed.namespaces[0].routes.indices {
        let old = changed.namespaces[0].routes[index]
        var new = old
        switch old.key {
        case "default": new.nextHops[0].gateway = try Self.address("10.1.0.77")
        case "default6": new.nextHops[0].gateway = try Self.address("2001:db8::77")
        case "10.2.0.0/16": new.nextHops.removeLast()
        case "2001:db8:2::/48": new.nextHops.removeLast()
        case "10.6.0.0/16 table 1000 metric 7":
          new.mtu = nil
          new.preferredSource = nil
        default: continue
        }
        try await lab.change(Self.node, .route(old), .route(new), .nextHops)
        changed.namespaces[0].routes[index] = new
      }
      try await Self.check(lab, changed, "after changes")
      for route in changed.namespaces[0].routes { try await lab.change(Self.node, .route(route), nil) }
      changed.namespaces[0].routes = []
      try await Self.check(lab, changed, "after deletions")
    }
  }

  @Test("Policy rules with every selector")
  func rules() async throws {
    try await TestLab.with("objrule") { lab in
      let state = try Self.pair(lab, ipv6: true) { space in
        space.policyRules = [
          PolicyRuleState(
            family: .ipv4, priority: 100, source: try Self.prefix("10.1.0.0/24"),
            destination: try Self.prefix("10.2.0.0/24"), inputLink: "eth0", mark: 7, markMask: 0xff,
            typeOfService: 0x10, ipProtocol: .tcp, sourcePorts: 1000...2000, destinationPorts: 80...80,
            action: .lookup(table: 1000)),
          PolicyRuleState(family: .ipv4, priority: 101, mark: 9, isInverted: true, action: .blackhole),
          PolicyRuleState(
            family: .ipv6, priority: 102, source: try Self.prefix("2001:db8::/32"), action: .unreachable),
          PolicyRuleState(family: .ipv6, priority: 103, outputLink: "eth0", action: .lookup(table: 254)),
        ]
      }
      try await lab.up(state)
      try await Self.check(lab, state)
      #expect(
        try lab.output("ip -n objrule-a rule").contains(
          "fwmark 0x7/0xff iif eth0 ipproto tcp sport 1000-2000"))
      for rule in state.namespaces[0].policyRules { try await lab.change(Self.node, .policyRule(rule), nil) }
      var empty = state
      empty.namespaces[0].policyRules = []
      try await Self.check(lab, empty)
    }
  }

  @Test("Neighbours, proxies and forwarding entries")
  func neighbors() async throws {
    try await TestLab.with("objneigh") { lab in
      let state = try Self.pair(lab, ipv6: true) { space in
        space.links.append(LinkState(name: "br0", kind: .bridge(BridgeState())))
        space.links.append(
          LinkState(
            name: "vx0",
            kind: .vxlan(
              VXLANState(id: 42, local: try Self.address("10.1.0.1"), remote: try Self.address("10.1.0.9"))),
            master: "br0", port: BridgePortState()))
        space.links[0].master = "br0"
        space.links[0].port = BridgePortState()
        space.neighbors = [
          NeighborState(
            link: "br0", address: try Self.address("10.1.0.2"), mac: try Self.mac("02:00:00:00:00:02")),
          NeighborState(
            link: "br0", address: try Self.address("2001:db8::2"), mac: try Self.mac("02:00:00:00:00:02")),
          NeighborState(link: "br0", address: try Self.address("10.1.0.3"), mac: nil, isProxy: true),
          NeighborState(link: "br0", address: try Self.address("2001:db8::3"), mac: nil, isProxy: true),
        ]
        space.fdb = [
          FDBState(link: "eth0", mac: try Self.mac("02:00:00:00:00:10")),
          FDBState(link: "vx0", mac: try Self.mac("02:00:00:00:00:12"), remote: try Self.address("10.1.0.8")),
          FDBState(link: "vx0", mac: .zero, remote: try Self.address("10.1.0.7")),
        ]
      }
      try await lab.up(state)
      try await Self.check(lab, state)
      #expect(try lab.output("ip -n objneigh-a neigh show proxy").contains("10.1.0.3 dev br0"))
      var empty = state
      for neighbor in state.namespaces[0].neighbors {
        try await lab.change(Self.node, .neighbor(neighbor), nil)
      }
      for entry in state.namespaces[0].fdb { try await lab.change(Self.node, .fdb(entry), nil) }
      empty.namespaces[0].neighbors = []
      empty.namespaces[0].fdb = []
      try await Self.check(lab, empty)
    }
  }

  @Test("Bridges, ports, tap, tun, tunnels and macvlans, with all their options")
  func devices() async throws {
    try await TestLab.with("objdev") { lab in
      let state = try Self.pair(lab) { space in
        space.links[0].master = "br0"
        space.links[0].mtu = 1300
        space.links[0].alternativeNames = ["a-name-that-is-longer-than-fifteen"]
        space.links[0].transmitQueueLength = 77
        space.links[0].port = BridgePortState(
          isolated: true, hairpin: true, learning: false, flood: false, multicastFlood: false,
          guardBPDU: true,
          fastLeave: true, cost: 42, priority: 7)
        space.links += [
          LinkState(
            name: "br0",
            kind: .bridge(
              BridgeState(
                stp: true, forwardDelay: 400, helloTime: 100, maxAge: 1000, ageingTime: 5000, priority: 4096,
                vlanFiltering: false, multicastSnooping: false)),
            mac: try Self.mac("02:00:00:00:00:aa"), mtu: 1300),
          LinkState(
            name: "tap0", kind: .tuntap(TunTapState(mode: .tap, owner: 1000, group: 1001)), index: 40,
            mac: try Self.mac("02:00:00:00:00:bb"), mtu: 1400, master: "br0", port: BridgePortState()),
          LinkState(name: "tun0", kind: .tuntap(TunTapState(mode: .tun, multiQueue: true)), isUp: false),
          LinkState(
            name: "vx1",
            kind: .vxlan(
              VXLANState(
                id: 77, remote: try Self.address("239.1.1.1"), underlay: "br0", port: 4790, learning: false,
                ttl: 8))),
          LinkState(
            name: "mv0", kind: .macvlan(MacvlanState(parent: LinkReference(Self.node, "br0"), mode: .private))
          ),
          LinkState(
            name: "mv1",
            kind: .macvlan(MacvlanState(parent: LinkReference(Self.other, "eth0"), mode: .bridge))),
          LinkState(name: "ve0", kind: .veth(peer: LinkReference(Self.node, "ve1")), linkLocalIPv6: false),
          LinkState(name: "ve1", kind: .veth(peer: LinkReference(Self.node, "ve0")), isUp: false),
        ]
      }
      try await lab.up(state)
      try await Self.check(lab, state)
      let bridge = try lab.output("ip -n objdev-a -d link show br0")
      #expect(bridge.contains("mtu 1300") && bridge.contains("group"))
      let tap = try lab.output("ip -n objdev-a -d link show tap0")
      #expect(tap.hasPrefix("40: ") && tap.contains("type tap pi off vnet_hdr off persist on"), "\(tap)")
    }
  }

  @Test("Every attribute of devices changes in place")
  func updates() async throws {
    try await TestLab.with("objupd") { lab in
      let state = try Self.pair(lab, ipv6: true) { space in
        space.links[0].master = "br0"
        space.links[0].port = BridgePortState()
        space.links += [
          LinkState(name: "br0", kind: .bridge(BridgeState(stp: false, vlanFiltering: false))),
          LinkState(name: "br1", kind: .bridge(BridgeState())),
          LinkState(
            name: "vx0", kind: .vxlan(VXLANState(id: 42, remote: try Self.address("10.1.0.9"))), isUp: false),
          LinkState(
            name: "mv0",
            kind: .macvlan(MacvlanState(parent: LinkReference(Self.other, "eth0"), mode: .bridge))),
        ]
      }
      try await lab.up(state)
      let before = try await lab.observe(state).owned
      var wanted = try #require(before[Self.node])
      func link(_ name: InterfaceName) throws -> Int {
        try #require(wanted.links.firstIndex { $0.name == name })
      }
      func change(_ name: InterfaceName, _ attribute: AttributeName, _ body: (inout LinkState) throws -> Void)
        async throws
      {
        let index = try link(name)
        let old = wanted.links[index]
        try body(&wanted.links[index])
        try await lab.change(Self.node, .link(old), .link(wanted.links[index]), attribute)
        let seen = try await lab.observe(state).owned
        let found = try #require(seen[Self.node]?.links.first { $0.name == name })
        let mine = wanted.links[index].attributes.first { $0.name == attribute }
        #expect(found.attributes.first { $0.name == attribute } == mine, "\(name) \(attribute.rawValue)")
      }
      try await change("eth0", .mtu) { $0.mtu = 1333 }
      try await change("eth0", .mac) { $0.mac = try Self.mac("02:00:00:00:00:99") }
      try await change("eth0", .transmitQueueLength) { $0.transmitQueueLength = 55 }
      try await change("eth0", .up) { $0.isUp = false }
      try await change("eth0", .up) { $0.isUp = true }
      try await change("eth0", .alternativeNames) { $0.alternativeNames = ["first-alternative-name"] }
      try await change("eth0", .alternativeNames) { $0.alternativeNames = ["second-alternative-name"] }
      try await change("eth0", .linkLocalIPv6) { $0.linkLocalIPv6 = false }
      try await change("eth0", .portIsolated) { $0.port?.isolated = true }
      try await change("eth0", .portHairpin) { $0.port?.hairpin = true }
      try await change("eth0", .portLearning) { $0.port?.learning = false }
      try await change("eth0", .portFlood) { $0.port?.flood = false }
      try await change("eth0", .portMulticastFlood) { $0.port?.multicastFlood = false }
      try await change("eth0", .portGuard) { $0.port?.guardBPDU = true }
      try await change("eth0", .portFastLeave) { $0.port?.fastLeave = true }
      try await change("eth0", .portCost) { $0.port?.cost = 9 }
      try await change("eth0", .portPriority) { $0.port?.priority = 3 }
      try await change("eth0", .master) { $0.master = "br1" }
      try await change("eth0", .master) { $0.master = nil }
      for (name, body) in Self.bridgeChanges {
        try await change("br0", name) { link in
          guard case .bridge(var bridge) = link.kind else { return }
          body(&bridge)
          link.kind = .bridge(bridge)
        }
      }
      try await change("vx0", .learning) { link in
        guard case .vxlan(var tunnel) = link.kind else { return }
        tunnel.learning = false
        link.kind = .vxlan(tunnel)
      }
      try await change("vx0", .remote) { link in
        guard case .vxlan(var tunnel) = link.kind else { return }
        tunnel.remote = try Self.address("10.1.0.8")
        link.kind = .vxlan(tunnel)
      }
      try await change("vx0", .ttl) { link in
        guard case .vxlan(var tunnel) = link.kind else { return }
        tunnel.ttl = 9
        link.kind = .vxlan(tunnel)
      }
      try await change("mv0", .mode) {
        $0.kind = .macvlan(MacvlanState(parent: LinkReference(Self.other, "eth0"), mode: .private))
      }
    }
  }

  static let bridgeChanges: [(AttributeName, @Sendable (inout BridgeState) -> Void)] = [
    (.stp, { $0.stp = true }), (.forwardDelay, { $0.forwardDelay = 500 }),
    (.helloTime, { $0.helloTime = 300 }),
    (.maxAge, { $0.maxAge = 1500 }), (.ageingTime, { $0.ageingTime = 1000 }),
    (.priority, { $0.priority = 8192 }),
    (.multicastSnooping, { $0.multicastSnooping = false }),
  ]

  @Test(
    "VLANs of bridge ports, set and changed",
    .enabled(if: Requirements.hasBridgeVLANs, "the kernel has no CONFIG_BRIDGE_VLAN_FILTERING"))
  func portVLANs() async throws {
    try await TestLab.with("objvlan") { lab in
      var state = try Self.pair(lab) { space in
        space.links[0].master = "br0"
        space.links[0].port = BridgePortState(
          vlans: [PortVLAN(id: 10, isPVID: true, isUntagged: true), PortVLAN(id: 20), PortVLAN(id: 21)])
        space.links.append(
          LinkState(name: "br0", kind: .bridge(BridgeState(vlanFiltering: true, defaultPVID: 7))))
        space.fdb = [FDBState(link: "eth0", mac: try Self.mac("02:00:00:00:00:11"), vlan: 10)]
      }
      try await lab.up(state)
      try await Self.check(lab, state)
      let old = try #require(state.namespaces[0].links.first { $0.name == "eth0" })
      var new = old
      new.port?.vlans = [PortVLAN(id: 10), PortVLAN(id: 30, isPVID: true, isUntagged: true)]
      try await lab.change(Self.node, .link(old), .link(new), .portVLANs)
      state.namespaces[0].links = state.namespaces[0].links.map { $0.name == "eth0" ? new : $0 }
      try await Self.check(lab, state)
    }
  }

  @Test(
    "Token buckets keep what was asked for, at any rate",
    arguments: [
      (125_000, 65_536), (12_500_000, 131_072), (125_000_000, 1_250_000), (1_250_000_000, 12_500_000),
      (12_500_000_000, 125_000_000),
    ])
  func tokenBuckets(rate: UInt64, burst: UInt32) async throws {
    try await TestLab.with("objtbf") { lab in
      let bucket = TokenBucketState(rate: rate, burst: burst, limit: burst + 100_000)
      let state = Self.pair(lab) { $0.qdiscs = [QdiscState(link: "eth0", kind: .tokenBucket(bucket))] }
      try await lab.up(state)
      let seen = try await lab.observe(state)
      #expect(lab.differences(state, seen.owned) == [])
      var faster = state
      let other = TokenBucketState(rate: rate * 2, burst: burst, limit: burst + 100_000)
      faster.namespaces[0].qdiscs = [QdiscState(link: "eth0", kind: .tokenBucket(other))]
      try await lab.change(
        Self.node, .qdisc(state.namespaces[0].qdiscs[0]), .qdisc(faster.namespaces[0].qdiscs[0]))
      #expect(lab.differences(faster, try await lab.observe(faster).owned) == [])
      try await lab.change(Self.node, .qdisc(faster.namespaces[0].qdiscs[0]), nil)
      faster.namespaces[0].qdiscs = []
      try await Self.check(lab, faster)
    }
  }
}
