// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("Pings")
struct PingTests {
  struct Pair: ~Copyable {
    var kernel: Kernel
    let a: NamespaceIndex
    let b: NamespaceIndex

    init() throws {
      var kernel = Kernel()
      let a = try kernel.node()
      let b = try kernel.node()
      try kernel.veth("eth0", a, "eth0", b)
      try kernel.address("10.0.0.1/24", "eth0", a)
      try kernel.address("10.0.0.2/24", "eth0", b)
      self.kernel = kernel
      self.a = a
      self.b = b
    }
  }

  @Test("Two namespaces ping through a pair, and the counters say so")
  func pair() throws {
    var pair = try Pair()
    let events = try pair.kernel.ping("10.0.0.2", from: pair.a, count: 3)
    #expect(events.map(\.kind) == [.reply, .reply, .reply])
    #expect(events.map(\.sequence) == [1, 2, 3])
    #expect(events.allSatisfy { $0.ttl == 64 && $0.length == 56 && $0.source == v4("10.0.0.2") })
    let counters = pair.kernel.counted(pair.b)
    #expect(counters[.icmpInEchos] == 3)
    #expect(counters[.icmpOutEchoReps] == 3)
    #expect(counters[.ipInReceives] == 3)
    #expect(counters[.ipInDelivers] == 3)
    let statistics = pair.kernel.statistics("eth0", pair.b)
    // Three requests of 98 bytes and one ARP question of 42.
    #expect(statistics.rxPackets == 4)
    #expect(statistics.rxBytes == 3 * 98 + 42)
    #expect(statistics.txPackets == 4)
    #expect(pair.kernel.accounting.isClosed)
    #expect(pair.kernel.accounting.held == 0)
  }

  @Test("A host pings itself by every address that it has")
  func itself() throws {
    var pair = try Pair()
    for address in ["127.0.0.1", "127.1.2.3", "10.0.0.1"] {
      let events = try pair.kernel.ping(address, from: pair.a)
      #expect(events.map(\.kind) == [.reply])
      #expect(events.first?.source == v4(address))
    }
    #expect(pair.kernel.accounting.isClosed)
  }

  @Test("Through a bridge, which learns both sides and forgets them after the ageing time")
  func bridge() throws {
    var kernel = Kernel()
    let network = try kernel.node()
    try kernel.bridge("lan", network, ageing: 3000)
    var hosts: [NamespaceIndex] = []
    for number in 1...3 {
      let host = try kernel.node()
      try kernel.veth("eth0", host, "port\(number)", network)
      try kernel.join("port\(number)", "lan", network)
      try kernel.address("10.0.0.\(number)/24", "eth0", host)
      hosts.append(host)
    }
    let events = try kernel.ping("10.0.0.2", from: hosts[0], count: 2)
    #expect(events.map(\.kind) == [.reply, .reply])
    #expect(events.allSatisfy { $0.ttl == 64 })
    // The third host saw the question only, not the pings.
    let third = kernel.statistics("eth0", hosts[2])
    #expect(third.rxPackets == 1)
    func learned(_ kernel: inout Kernel) throws -> Int {
      try kernel.dump(NeighborMessage.dumpForwarding(), in: network).map { try NeighborMessage($0) }
        .filter { $0.state == .reachable }.count
    }
    let atFirst = try learned(&kernel)
    kernel.run(for: .seconds(27))
    let late = try learned(&kernel)
    kernel.run(for: .seconds(10))
    let atLast = try learned(&kernel)
    #expect([atFirst, late, atLast] == [2, 2, 0])
    #expect(kernel.accounting.isClosed)
  }

  struct Routed: ~Copyable {
    var kernel: Kernel
    let a: NamespaceIndex
    let router: NamespaceIndex
    let b: NamespaceIndex

    init(seed: UInt64 = 1, burst: Int = 64) throws {
      var kernel = Kernel(seed: seed, burst: burst)
      let a = try kernel.node()
      let router = try kernel.node()
      let b = try kernel.node()
      try kernel.veth("eth0", a, "left", router)
      try kernel.veth("right", router, "eth0", b)
      try kernel.address("10.0.1.2/24", "eth0", a)
      try kernel.address("10.0.1.1/24", "left", router)
      try kernel.address("10.0.2.1/24", "right", router)
      try kernel.address("10.0.2.2/24", "eth0", b)
      try kernel.route("default", via: "10.0.1.1", a)
      try kernel.route("default", via: "10.0.2.1", b)
      try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: router)
      self.kernel = kernel
      self.a = a
      self.router = router
      self.b = b
    }
  }

  @Test("Through a router, which takes one from the TTL")
  func router() throws {
    var lab = try Routed()
    let events = try lab.kernel.ping("10.0.2.2", from: lab.a, count: 2)
    #expect(events.map(\.kind) == [.reply, .reply])
    #expect(events.map(\.ttl) == [63, 63])
    let counters = lab.kernel.counted(lab.router)
    #expect(counters[.ipForwDatagrams] == 4)
    #expect(counters[.ipInReceives] == 4)
    #expect(counters[.ipInDelivers] == 0)
    #expect(lab.kernel.accounting.isClosed)
  }

  @Test("A TTL that ends at the router is answered by it")
  func timeExceeded() throws {
    var lab = try Routed()
    let events = try lab.kernel.ping("10.0.2.2", from: lab.a, ttl: 1)
    #expect(events.map(\.kind) == [.error(type: 11, code: 0)])
    #expect(events.first?.source == v4("10.0.1.1"))
    let counters = lab.kernel.counted(lab.router)
    #expect(counters[.ipInHdrErrors] == 1)
    #expect(counters[.icmpOutTimeExcds] == 1)
    let drops = lab.kernel.drops(of: lab.router)
    #expect(drops?[.ttlExpired] == 1)
    #expect(lab.kernel.accounting.isClosed)
  }

  @Test(
    "A destination without a route is answered by the router; one without an answer by whoever asked for it")
  func unreachable() throws {
    var lab = try Routed()
    let nowhere = try lab.kernel.ping("192.0.2.1", from: lab.a)
    #expect(nowhere.map(\.kind) == [.error(type: 3, code: 0)])
    // The router asks three times for 10.0.2.99.
    let endpoint = try lab.kernel.openEcho(in: lab.a)
    try lab.kernel.sendEcho(to: v4("10.0.2.99"), sequence: 1, by: endpoint)
    lab.kernel.run(for: .seconds(5))
    let event = lab.kernel.receiveEcho(endpoint)
    #expect(event?.kind == .error(type: 3, code: 1))
    #expect(event?.source == v4("10.0.1.1"))
    let state = lab.kernel.neighborState("10.0.2.99", "right", lab.router)
    #expect(state == .failed)
    // On its own link a host tells itself.
    try lab.kernel.sendEcho(to: v4("10.0.1.99"), sequence: 2, by: endpoint)
    lab.kernel.run(for: .seconds(5))
    let own = lab.kernel.receiveEcho(endpoint)
    #expect(own?.kind == .error(type: 3, code: 1))
    #expect(own?.source == v4("10.0.1.2"))
    #expect(lab.kernel.accounting.isClosed)
  }

  @Test("A host that is no router forwards nothing and says nothing")
  func noForwarding() throws {
    var lab = try Routed()
    try lab.kernel.setSysctl("net/ipv4/ip_forward", to: "0", in: lab.router)
    let events = try lab.kernel.ping("10.0.2.2", from: lab.a)
    #expect(events.isEmpty)
    let counters = lab.kernel.counted(lab.router)
    #expect(counters[.ipInAddrErrors] == 1)
  }

  @Test("A packet too large for the next link is refused with its MTU when it may not be cut, else cut")
  func pathMTU() throws {
    var lab = try Routed()
    try lab.kernel.change("right", lab.router) { $0.mtu = 600 }
    let events = try lab.kernel.ping("10.0.2.2", from: lab.a, length: 1000, dontFragment: true)
    #expect(events.map(\.kind) == [.error(type: 3, code: 4)])
    // The sender has learned the path's MTU, cuts what may be cut himself, and forgets it after ten minutes.
    _ = try lab.kernel.ping("10.0.2.2", from: lab.a, length: 1000)
    let own = lab.kernel.counted(lab.a)
    #expect(own[.ipFragOKs] == 1)
    #expect(own[.ipFragCreates] == 2)
    lab.kernel.run(for: .seconds(600))
    _ = try lab.kernel.ping("10.0.2.2", from: lab.a, length: 1000)
    let counters = lab.kernel.counted(lab.router)
    #expect(counters[.ipFragFails] == 1)
    #expect(counters[.ipFragOKs] == 1)
    #expect(counters[.ipFragCreates] == 2)
    #expect(lab.kernel.accounting.isClosed)
  }

  @Test("Bursts change nothing: every device sees with one packet at a time the frames that it sees with 64")
  func bursts() throws {
    // In a burst all frames come in before the first goes out, so that the order is one a device and direction.
    func streams(_ records: [CaptureRecord]) -> [[CaptureRecord]] {
      Dictionary(grouping: records) { $0.device.rawValue * 2 + UInt32($0.direction.rawValue) }
        .sorted { $0.key < $1.key }.map(\.value)
    }
    let single = try streams(traffic(seed: 7, burst: 1))
    for burst in [2, 7, 64] {
      let other = try streams(traffic(seed: 7, burst: burst))
      #expect(single == other, "bursts of \(burst)")
    }
  }

  @Test("One seed gives the same frames twice, another seed others")
  func seeds() throws {
    let first = try traffic(seed: 7, burst: 64)
    #expect(try first == traffic(seed: 7, burst: 64))
    #expect(try first != traffic(seed: 8, burst: 64))
  }

  /// Much at once: pings in both directions, to addresses that are there and not, with TTLs that end on the way.
  private func traffic(seed: UInt64, burst: Int) throws -> [CaptureRecord] {
    var lab = try Routed(seed: seed, burst: burst)
    lab.kernel.captureAll()
    let left = try lab.kernel.openEcho(in: lab.a)
    let right = try lab.kernel.openEcho(in: lab.b)
    let targets = ["10.0.2.2", "10.0.2.2", "10.0.1.1", "10.0.2.77", "192.0.2.1", "10.0.2.1"]
    for round in 0..<4 {
      for number in 0..<40 {
        let target = targets[number % targets.count]
        try lab.kernel.sendEcho(
          to: v4(target), sequence: UInt16(number), length: number * 7, ttl: number % 5 == 0 ? 1 : nil,
          by: left)
        try lab.kernel.sendEcho(to: v4("10.0.1.2"), sequence: UInt16(number), by: right)
      }
      lab.kernel.run(for: .milliseconds(Int64(300 * round + 1)))
    }
    lab.kernel.run(for: .seconds(30))
    lab.kernel.close(left)
    lab.kernel.close(right)
    #expect(lab.kernel.accounting.isClosed)
    #expect(lab.kernel.accounting.held == 0)
    let records = lab.kernel.takeCapture()
    #expect(records.count > 500)
    return records
  }
}
