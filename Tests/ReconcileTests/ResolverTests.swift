// SPDX-License-Identifier: GPL-2.0-or-later

import LabCore
import NetTypes
import Reconcile
import Testing
import TopologyModel

@Suite("Resolver")
struct ResolverTests {
  static let place = SourceLocation(file: "t.swift", line: 7)

  static func name(_ text: String) -> NodeName { known(NodeName(text)) }

  /// Nodes on one bridge, addresses left out.
  static func topology(_ nodes: [String], subnet: String = "10.0.0.0/24") -> Topology {
    let network = known(IPPrefix(subnet))
    var topology = Topology(name: known(LabName("lab")), location: place)
    topology.bridges = [Topology.Bridge(name: name("lan"), subnets: [network], location: place)]
    topology.nodes = nodes.map { node in
      Topology.Node(
        name: name(node),
        devices: [
          Topology.Device(
            name: "eth0", kind: .interface(.bridge(name("lan"))), allocatesFrom: [network], location: place)
        ], location: place)
    }
    return topology
  }

  static func addresses(_ resolution: Resolution) -> [String: String] {
    var result: [String: String] = [:]
    for space in resolution.state.namespaces {
      guard let node = space.id.node else { continue }
      result[node.text] = space.addresses.map(\.prefix.description).joined(separator: " ")
    }
    return result
  }

  @Test("An inserted node renumbers nobody")
  func insertion() throws {
    let first = try Resolver().resolve(Self.topology(["a", "c"]))
    #expect(Self.addresses(first) == ["a": "10.0.0.1/24", "c": "10.0.0.2/24"])
    let second = try Resolver(previous: first.allocations).resolve(Self.topology(["a", "b", "c"]))
    #expect(Self.addresses(second) == ["a": "10.0.0.1/24", "b": "10.0.0.3/24", "c": "10.0.0.2/24"])
    let ports = { (resolution: Resolution) in
      Dictionary(
        uniqueKeysWithValues: (resolution.state[.switch]?.links ?? []).map { ($0.name.text, $0.index) })
    }
    let (before, after) = (ports(first), ports(second))
    for (port, index) in before { #expect(after[port] == index) }
    #expect(Set(after.values).count == after.count)
  }

  @Test("Resolving twice gives the same, and MAC addresses are local, unicast and distinct")
  func deterministic() throws {
    let nodes = (1...50).map { "n\($0)" }
    let first = try Resolver().resolve(Self.topology(nodes))
    let again = try Resolver(previous: first.allocations).resolve(Self.topology(nodes))
    #expect(first.state == again.state)
    #expect(first.allocations == again.allocations)
    let macs = first.state.namespaces.flatMap(\.links).compactMap(\.mac)
    #expect(Set(macs).count == macs.count)
    #expect(macs.allSatisfy { $0.isLocallyAdministered && !$0.isMulticast })
  }

  @Test("A full subnet is an error with its line")
  func fullSubnet() throws {
    #expect(throws: TopologyErrors.self) {
      try Resolver().resolve(Self.topology(["a", "b", "c"], subnet: "10.0.0.0/30"))
    }
    #expect(
      Self.addresses(try Resolver().resolve(Self.topology(["a", "b"], subnet: "10.0.0.0/31"))).count == 2)
  }

  @Test("An index is not given again to another device at once")
  func indexes() throws {
    var topology = Self.topology(["a"])
    topology.nodes[0].devices.append(Topology.Device(name: "x0", kind: .dummy, location: Self.place))
    let first = try Resolver().resolve(topology)
    topology.nodes[0].devices[1].name = "x1"
    let second = try Resolver(previous: first.allocations).resolve(topology)
    let index = { (resolution: Resolution, name: String) in
      resolution.state[.node(Self.name("a"))]?.links.first { $0.name.text == name }?.index
    }
    #expect(index(first, "eth0") == index(second, "eth0"))
    #expect(index(first, "x0") != index(second, "x1"))
  }

  @Test("A name over 15 characters is shortened and kept beside")
  func longNames() throws {
    var topology = Self.topology(["a-node-with-a-long-name"])
    let long = "an-interface-with-a-long-name"
    topology.nodes[0].devices[0].name = long
    topology.nodes[0].sysctls = [
      Topology.Sysctl(name: "net/ipv4/conf/\(long)/rp_filter", value: "1", location: Self.place)
    ]
    let resolution = try Resolver().resolve(topology)
    for id in [NamespaceID.switch, .node(Self.name("a-node-with-a-long-name"))] {
      let links = resolution.state[id]?.links.filter { if case .veth = $0.kind { true } else { false } } ?? []
      let link = try #require(links.first)
      #expect(link.name.text.utf8.count <= 15)
      #expect(link.alternativeNames.first?.hasSuffix(long) == true)
    }
    let space = try #require(resolution.state[.node(Self.name("a-node-with-a-long-name"))])
    let link = try #require(space.links.first { $0.name != .loopback })
    #expect(space.sysctls.contains { $0.name == "net/ipv4/conf/\(link.name)/rp_filter" && $0.value == "1" })
  }

  @Test("Both ends of a link have the larger word's MTU: the one that was written")
  func linkMTU() throws {
    var topology = Topology(name: known(LabName("lab")), location: Self.place)
    let a = Topology.DeviceReference(Self.name("a"), "eth0")
    let b = Topology.DeviceReference(Self.name("b"), "eth0")
    topology.nodes = [(a, b, 1400 as Int?), (b, a, nil)].map { own, peer, mtu in
      Topology.Node(
        name: own.node,
        devices: [
          Topology.Device(name: "eth0", kind: .interface(.peer(peer)), mtu: mtu, location: Self.place)
        ],
        location: Self.place)
    }
    topology.links = [Topology.Link(a: a, b: b, location: Self.place)]
    let state = try Resolver().resolve(topology).state
    let mtus = state.namespaces.flatMap(\.links).filter { $0.name != .loopback }.map(\.mtu)
    #expect(mtus == [1400, 1400])
  }

  @Test("IPv6 is off where nothing uses it, and settings of the topology win")
  func settings() throws {
    var topology = Self.topology(["a", "b"])
    topology.nodes[1].devices[0].addresses = [
      Topology.InterfaceAddress(prefix: known(IPPrefix("fd00::1/64")), location: Self.place)
    ]
    topology.nodes[1].kind = .router
    topology.nodes[0].sysctls = [
      Topology.Sysctl(name: "net/ipv4/conf/all/forwarding", value: "1", location: Self.place)
    ]
    let state = try Resolver().resolve(topology).state
    let value = { (node: String, name: String) in
      state[.node(Self.name(node))]?.sysctls.first { $0.name == name }?.value
    }
    #expect(value("a", "net/ipv6/conf/all/disable_ipv6") == "1")
    #expect(value("b", "net/ipv6/conf/all/disable_ipv6") == "0")
    #expect(value("a", "net/ipv4/ip_forward") == "1")
    #expect(value("a", "net/ipv4/conf/all/forwarding") == nil)
    #expect(value("b", "net/ipv6/conf/all/forwarding") == "1")
  }

  @Test("A rate alone is a token bucket, anything more is netem with a seed")
  func impairments() throws {
    var topology = Self.topology(["a", "b"])
    topology.nodes[0].devices[0].impairment = Topology.Impairment(rate: 100_000_000, location: Self.place)
    topology.nodes[1].devices[0].impairment = Topology.Impairment(
      delay: .milliseconds(20), loss: 0.5, reorder: 1, location: Self.place)
    let state = try Resolver().resolve(topology).state
    guard case .tokenBucket(let bucket)? = state[.node(Self.name("a"))]?.qdiscs.first?.kind else {
      Issue.record("no token bucket")
      return
    }
    #expect(bucket.rate == 12_500_000)
    #expect(bucket.burst >= 65_536 && bucket.limit > bucket.burst)
    guard case .netem(let netem)? = state[.node(Self.name("b"))]?.qdiscs.first?.kind else {
      Issue.record("no netem")
      return
    }
    #expect(netem.seed != nil)
    #expect(netem.gap == 1)
    #expect(netem.loss == UInt32((0.005 * Double(UInt32.max)).rounded()))
  }

  @Test("A device that moves in from the host keeps its name, and routes find it by the written one")
  func movedDevice() throws {
    var topology = Self.topology(["a"])
    topology.nodes[0].devices.append(
      Topology.Device(name: "wan0", kind: .uplink(.move(host: "enp1s0")), location: Self.place))
    topology.nodes[0].routes = [
      Topology.Route(
        destination: .prefix(known(IPPrefix("192.0.2.0/24"))), nextHops: [Topology.NextHop(device: "wan0")],
        location: Self.place)
    ]
    let state = try Resolver().resolve(topology).state
    let space = try #require(state[.node(Self.name("a"))])
    let link = try #require(space.links.first { $0.kind == .external })
    #expect(link.name.text == "enp1s0")
    #expect(link.index == nil && link.mac == nil && link.alternativeNames.isEmpty)
    #expect(space.routes.first?.nextHops.first?.link == link.name)
  }

  @Test("Every object has a line")
  func sources() throws {
    let resolution = try Resolver().resolve(Self.topology(["a", "b"]))
    for space in resolution.state.namespaces where space.id.node != nil {
      for object in space.objects {
        #expect(resolution.sources.location(of: object.path(in: space.id)) == Self.place)
      }
    }
  }
}
