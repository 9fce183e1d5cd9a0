// SPDX-License-Identifier: GPL-2.0-or-later

// What happens to a lab as a whole: host ends of pairs, the objects of others, nftables, failures, removal.

import Glibc
import LabCore
import NetTypes
import Nftables
import Synchronization
import Testing

@testable import KernelDatapath

@Suite("Labs in the kernel", .serialized, .enabled(if: Requirements.isRoot, Requirements.reason))
struct LabTests {
  static let node = ObjectKindTests.node
  static let other = ObjectKindTests.other

  /// What must be as it was when a lab is gone.
  static func hostState(_ lab: TestLab) throws -> String {
    try lab.output(
      """
      ip -o link | sed 's/.*: \\(.*\\): .*/\\1/' | sort; ip rule; ip route show table all | grep -v cache | sort; \
      nft list ruleset; sysctl -a 2>&- | grep -E '^net\\.ipv[46]\\.(conf\\.(all|default)|ip_forward)' | sort
      """)
  }

  @Test("A node's uplink has its other end on the host, marked, and goes without a trace")
  func hostEnds() async throws {
    try await TestLab.with("objhost") { lab in
      let before = try Self.hostState(lab)
      var host = NamespaceState(
        id: .host, links: [LinkState(name: "nfobjhost", kind: .veth(peer: LinkReference(Self.node, "up0")))],
        addresses: [AddressState(link: "nfobjhost", prefix: try ObjectKindTests.prefix("198.51.100.1/30"))])
      host.tables = [
        NftTable(family: .ip, name: "netforge-objhost", comment: "netforge lab objhost")
      ]
      let state = LabState(
        lab: lab.name,
        namespaces: [
          host,
          NamespaceState(
            id: Self.node,
            links: [LinkState(name: "up0", kind: .veth(peer: LinkReference(.host, "nfobjhost")))],
            addresses: [AddressState(link: "up0", prefix: try ObjectKindTests.prefix("198.51.100.2/30"))]),
        ])
      try await lab.up(state)
      let seen = try await lab.observe(state)
      #expect(lab.differences(state, seen.owned) == [])
      #expect(seen.foreign.isEmpty)
      try lab.run("ping -c 1 -W 2 198.51.100.2")
      #expect(try lab.output("ip -d link show nfobjhost").contains("alias netforge:objhost:host"))
      try await lab.datapath.remove(lab.name)
      #expect(try Self.hostState(lab) == before)
      // At once again.
      try await lab.up(state)
      try await lab.datapath.remove(lab.name)
      #expect(try Self.hostState(lab) == before)
    }
  }

  @Test("A device of the host goes into a node under another name, and comes home under its own")
  func borrowed() async throws {
    try await TestLab.with("objmove") { lab in
      defer { _ = try? lab.output("ip link del objmv0") }
      try lab.run(
        "ip link add objmv0 type veth peer name objmv1 && ip link set objmv1 up && ip link set objmv0 up")
      let state = LabState(
        lab: lab.name,
        namespaces: [
          NamespaceState(
            id: Self.node, links: [LinkState(name: "wan0", kind: .external, hostName: "objmv0")],
            addresses: [AddressState(link: "wan0", prefix: try ObjectKindTests.prefix("198.51.100.2/30"))])
        ])
      try await lab.up(state)
      let seen = try await lab.observe(state)
      #expect(lab.differences(state, seen.owned) == [])
      #expect(seen.owned[Self.node]?.links.first { $0.name == "wan0" }?.hostName == "objmv0")
      try await lab.datapath.remove(lab.name)
      #expect(try !lab.output("ip -d link show objmv0").contains("netforge"))

      // By a plan: the device alone, then with its namespace.
      try await lab.up(state)
      let link = try #require(
        try await lab.observe(state).owned[Self.node]?.links.first { $0.name == "wan0" })
      try await lab.change(Self.node, .link(link), nil)
      try lab.run("ip link show objmv0")
      try await lab.change(Self.node, nil, .link(link))
      try await lab.change(Self.node, .namespace(Self.node), nil)
      try lab.run("ip link show objmv0")
    }
  }

  @Test("What others have put on names of the lab is foreign, and is left alone")
  func foreign() async throws {
    try await TestLab.with("objforn") { lab in
      try lab.run("ip netns add objforn-b; ip link add objfornx type bridge")
      defer { _ = try? lab.output("ip netns del objforn-b; ip link del objfornx") }
      var state = ObjectKindTests.pair(lab) { _ in }
      state.namespaces.insert(
        NamespaceState(id: .host, links: [LinkState(name: "objfornx", kind: .veth(peer: nil))]), at: 0)
      let seen = try await lab.observe(state)
      #expect(seen.foreign.map(\.path.description) == ["/host/links/objfornx", "/nodes/b"])
      #expect(seen.owned.namespaces.allSatisfy { $0.id == .host })
      try await lab.datapath.remove(lab.name)
      #expect(try lab.output("ip netns list").contains("objforn-b"))
      #expect(try lab.output("ip link show objfornx").contains("objfornx"))
    }
  }

  @Test("Hand-made objects in a lab's namespace are shown beside it")
  func unmarked() async throws {
    try await TestLab.with("objhand") { lab in
      let state = try ObjectKindTests.pair(lab) { space in
        space.addresses = [AddressState(link: "eth0", prefix: try ObjectKindTests.prefix("10.1.0.1/24"))]
      }
      try await lab.up(state)
      try lab.run(
        """
        ip -n objhand-a link add hand0 type bridge && ip -n objhand-a addr add 10.3.0.1/24 dev eth0 && \
        ip -n objhand-a route add 10.4.0.0/24 via 10.1.0.2 && ip -n objhand-a rule add from 10.9.0.0/16 lookup 7 && \
        ip netns exec objhand-a nft add table inet hand
        """)
      let seen = try await lab.observe(state)
      #expect(lab.differences(state, seen.owned) == [])
      let hand = try #require(seen.unmarked[Self.node])
      #expect(
        hand.objects.dropFirst().map { $0.path(in: Self.node).description } == [
          "/nodes/a/links/hand0", "/nodes/a/addresses/eth0/10.3.0.1~124", "/nodes/a/routes/10.4.0.0~124",
          "/nodes/a/rules/ipv4 32765: from 10.9.0.0~116", "/nodes/a/tables/inet hand",
        ])
    }
  }

  @Test("A namespace that goes takes its pairs from others at once")
  func namespaceRemoval() async throws {
    try await TestLab.with("objgone") { lab in
      let state = lab.star(nodes: 3)
      try await lab.up(state)
      let seen = try await lab.observe(state)
      #expect(lab.differences(state, seen.owned) == [])
      let id = NamespaceID.node(try #require(NodeName("n1")))
      try await lab.change(id, .namespace(id), nil)
      #expect(try !lab.output("ip -n objgone--sw link").contains("p1@"))
      // Made anew in the next batch.
      var rest = state
      rest.namespaces.removeAll { $0.id != id }
      let port = try #require(state[.switch]?.links.first { $0.name == "p1" })
      try await lab.change(id, nil, .namespace(id))
      var changes: [Change] = []
      for object in try #require(state[id]).objects.dropFirst() {
        changes.append(
          Change(path: object.path(in: id), operation: .create, before: nil, after: object, reason: ""))
      }
      let object = StateObject.link(port)
      changes.append(
        Change(path: object.path(in: .switch), operation: .create, before: nil, after: object, reason: ""))
      try await lab.apply(changes)
      #expect(lab.differences(state, try await lab.observe(state).owned) == [])
    }
  }

  @Test("Rules go in, move, are replaced one by one, and are validated before anything is changed")
  func nftables() async throws {
    try await TestLab.with("objnft") { lab in
      var table = NftTable(family: .inet, name: "netforge-objnft", comment: "netforge lab objnft")
      let key = table.key
      let rule = { (comment: String) in
        NftRule(expressions: [.counter(NftCounter())], comment: comment)
      }
      table.chains = [
        NftChain(
          name: "input", base: NftBaseChain(hook: .input, policy: .accept),
          rules: [rule("one"), rule("two"), rule("three")].keyed)
      ]
      let state = ObjectKindTests.pair(lab) { $0.tables = [table] }
      try await lab.up(state)
      let seen = try await lab.observe(state)
      #expect(seen.owned[Self.node]?.tables.map(\.normalized) == [table.normalized])

      // A new one between the first and the second, one at the front, two at the end; the second goes.
      let old = table.chains[0].rules
      let new = [rule("zero"), rule("half"), rule("four"), rule("five")].keyed
      let order = [new[0], old[0], new[1], old[2], new[2], new[3]]
      var changes: [Change] = []
      func object(_ rule: NftRule, after predecessor: NftRule?) -> StateObject {
        .nftRule(NftRuleState(table: key, chain: "input", rule: rule, predecessor: predecessor?.key))
      }
      let goes = object(old[1], after: old[0])
      changes.append(
        Change(path: goes.path(in: Self.node), operation: .delete, before: goes, after: nil, reason: "test"))
      for (index, rule) in order.enumerated() where new.contains(rule) {
        let created = object(rule, after: index > 0 ? order[index - 1] : nil)
        changes.append(
          Change(
            path: created.path(in: Self.node), operation: .create, before: nil, after: created, reason: "test"
          ))
      }
      try await lab.apply(changes)
      let after = try await lab.observe(state).owned[Self.node]?.tables.first?.chains.first
      #expect(after?.rules.map(\.comment) == ["zero", "one", "half", "three", "four", "five"])

      // A rule that jumps nowhere: refused before the device of the same batch is made.
      let bridge = StateObject.link(LinkState(name: "late0", kind: .bridge(BridgeState())))
      let wrong = object(
        NftRule(expressions: [.verdict(.jump("nowhere"))], key: "wrong.0"), after: nil)
      do {
        try await lab.apply([
          Change(
            path: bridge.path(in: Self.node), operation: .create, before: nil, after: bridge, reason: "test"),
          Change(
            path: wrong.path(in: Self.node), operation: .create, before: nil, after: wrong, reason: "test"),
        ])
        Issue.record("a rule that jumps nowhere was taken")
      } catch let error as DatapathError {
        #expect(error.path == wrong.path(in: Self.node))
        #expect(error.errno == ENOENT)
      }
      #expect(try !lab.output("ip -n objnft-a link").contains("late0"))
    }
  }

  @Test("Whatever is refused stops the batch, with the object's name; the kernel can be cleaned behind it")
  func faults() async throws {
    let counter = Mutex(0)
    let failing = Mutex(Int.max)
    let injector: FaultInjector = { action in
      let number = counter.withLock { count in
        count += 1
        return count
      }
      return failing.withLock { number == $0 } ? EIO : nil
    }
    try await TestLab.with("objfault", faults: injector) { lab in
      let before = try Self.hostState(lab)
      var state = lab.star(nodes: 2)
      state.namespaces[1].tables = [NftTable(family: .inet, name: "netforge-objfault")]
      try await lab.up(state)
      let total = counter.withLock { $0 }
      try await lab.datapath.remove(lab.name)
      #expect(total > 30)
      for number in 1...total {
        counter.withLock { $0 = 0 }
        failing.withLock { $0 = number }
        do {
          try await lab.up(state)
          Issue.record("failure \(number) of \(total) was not noticed")
        } catch let error as DatapathError {
          #expect(error.errno == EIO && error.path != nil, "\(number): \(error)")
        }
        failing.withLock { $0 = Int.max }
        try await lab.datapath.remove(lab.name)
      }
      #expect(try Self.hostState(lab) == before)
    }
  }

  @Test("A kernel's gaps are limitations that name the object and the option")
  func limitations() async throws {
    try await TestLab.with("objlimit") { lab in
      let state = ObjectKindTests.pair(lab) { space in
        space.links.append(LinkState(name: "d0", kind: .dummy))
        space.links.append(LinkState(name: "v0", kind: .vlan(VLANState(parent: "eth0", id: 5))))
        space.qdiscs = [QdiscState(link: "eth0", kind: .netem(NetemState(delay: .milliseconds(20))))]
      }
      let limitations = try await lab.datapath.limitations(for: state, running: LabRuntime(lab: state.lab))
      let features = try await lab.datapath.features()
      for (option, path) in [
        ("CONFIG_DUMMY", "/nodes/a/links/d0"), ("CONFIG_VLAN_8021Q", "/nodes/a/links/v0"),
        ("CONFIG_NET_SCH_NETEM", "/nodes/a/qdiscs/eth0/root"),
      ] {
        let isThere = try #require(features.first { $0.name.contains("\(option))") }).isThere
        let limitation = limitations.first { $0.cause.contains("\(option))") }
        #expect(limitation?.path?.description == (isThere ? nil : path))
      }
      #expect(
        try await lab.datapath.limitations(
          for: lab.star(nodes: 1), running: LabRuntime(lab: lab.name)) == [])
    }
  }

  @Test("What changes is told, from all namespaces")
  func changes() async throws {
    try await TestLab.with("objevent") { lab in
      try await lab.up(lab.star(nodes: 2))
      let stream = try await lab.datapath.changes(of: lab.name)
      try lab.run(
        "ip -n objevent-n1 addr add 10.99.0.1/24 dev eth0 && ip -n objevent--sw link set p0 mtu 1312")
      var wanted: Set = ["/nodes/n1/addresses/eth0/10.99.0.1~124", "/switch/links/p0"]
      let deadline = Task {
        try await Task.sleep(for: .seconds(5))
        try lab.run("ip -n objevent-n0 addr add 10.98.0.1/24 dev eth0")
      }
      for await event in stream {
        wanted.remove(event.path.description)
        if wanted.isEmpty || event.path.description.contains("10.98.0.1") { break }
      }
      deadline.cancel()
      #expect(wanted.isEmpty)
    }
  }

  @Test("Sockets in nodes: TCP, UDP and echo")
  func endpoints() async throws {
    try await TestLab.with("objsock") { lab in
      try await lab.up(lab.star(nodes: 2))
      let (a, b) = (try #require(NodeName("n0")), try #require(NodeName("n1")))
      let there = try ObjectKindTests.address("10.77.0.2")
      let listener = try await lab.datapath.endpoint(
        .listenTCP(SocketEndpoint(there, 80)), in: b, of: lab.name)
      let client = try await lab.datapath.endpoint(
        .connectTCP(to: SocketEndpoint(there, 80), from: nil, timeout: .seconds(2)), in: a, of: lab.name)
      let (server, peer) = try await listener.accept(timeout: .seconds(2))
      #expect(peer.address.description == "10.77.0.1")
      try await client.send(Array("hello".utf8), to: nil)
      #expect(try await server.receive(limit: 100, timeout: .seconds(2)).bytes == Array("hello".utf8))
      await client.close()
      #expect(try await server.receive(limit: 100, timeout: .seconds(2)).bytes.isEmpty)

      let echo = try await lab.datapath.endpoint(.echo(.ipv4), in: a, of: lab.name)
      try await echo.send([1, 2, 3], to: SocketEndpoint(there, 0))
      let answer = try await echo.receive(limit: 100, timeout: .seconds(2))
      #expect(answer.bytes == [1, 2, 3] && answer.hopLimit == 64 && answer.source.address == there)

      let receiver = try await lab.datapath.endpoint(.bindUDP(SocketEndpoint(there, 53)), in: b, of: lab.name)
      let sender = try await lab.datapath.endpoint(
        .bindUDP(SocketEndpoint(.any(.ipv4), 0)), in: a, of: lab.name)
      try await sender.send([9], to: SocketEndpoint(there, 53))
      #expect(try await receiver.receive(limit: 100, timeout: .seconds(2)).bytes == [9])

      do {
        _ = try await lab.datapath.endpoint(
          .connectTCP(to: SocketEndpoint(there, 81), from: nil, timeout: .seconds(2)), in: a, of: lab.name)
        Issue.record("a closed port took a connection")
      } catch let error as DatapathError {
        #expect(error.errno == ECONNREFUSED)
      }
      do {
        _ = try await receiver.receive(limit: 1, timeout: .milliseconds(20))
        Issue.record("nothing was received")
      } catch let error as DatapathError {
        #expect(error.code == .timeout)
      }
    }
  }

  @Test("A lab of two hundred nodes comes, is seen and goes in bulk")
  func twoHundred() async throws {
    try await TestLab.with("objmany") { lab in
      let state = lab.star(nodes: 200)
      let clock = ContinuousClock()
      let up = try await clock.measure { try await lab.up(state) }
      var seen: Observation?
      let look = try await clock.measure { seen = try await lab.observe(state) }
      let again = try await clock.measure { seen = try await lab.observe(state) }
      #expect(lab.differences(state, try #require(seen).owned) == [])
      let other = try KernelDatapath()
      let fresh = try await clock.measure {
        _ = try await other.observe(lab.name, scope: Scope(covering: [state]))
      }
      let down = try await clock.measure { try await lab.datapath.remove(lab.name) }
      print("200 nodes: up \(up), observe \(look), again \(again), by a new process \(fresh), remove \(down)")
    }
  }
}
