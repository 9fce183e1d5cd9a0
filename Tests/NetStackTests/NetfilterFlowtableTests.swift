// SPDX-License-Identifier: GPL-2.0-or-later

// Connections that go past the rules: what leaves is what would have left, and what stands of them meanwhile and afterwards.

import NetTypes
import Nftables
import Rtnetlink
import Testing

@testable import NetStack

@Suite("Flowtables")
struct NetfilterFlowtableTests {
  typealias Frames = NetfilterOracleTests

  static let (client, server) = ("10.0.0.9", "10.0.1.9")

  /// A router that puts what it forwards into a flowtable, or does not.
  static func table(
    offloads: Bool, family: NftFamily = .ip, counts: Bool = false, translation: NftChain? = nil
  ) -> NftTable {
    var rules: [NftRule] = []
    if offloads { rules.append(NftRule(expressions: [.flowOffload("f")])) }
    rules.append(NftRule(expressions: [.counter(NftCounter())]))
    let forward = NftChain(name: "c", base: NftBaseChain(hook: .forward), rules: rules)
    return NftTable(
      family: family, name: "t", chains: [forward] + (translation.map { [$0] } ?? []),
      flowtables: offloads ? [NftFlowtable(name: "f", devices: ["t0", "t1"], counts: counts)] : [])
  }

  static let masquerade = NftChain(
    name: "p", base: NftBaseChain(type: .nat, hook: .postrouting, priority: 100),
    rules: [
      NftRule(expressions: [
        .meta(NftMeta(key: .outputName, destination: .r1)),
        .cmp(NftCmp(operation: .equal, source: .r1, data: NftData(Array("t1".utf8) + [0]))),
        .masquerade(NftMasquerade()),
      ])
    ])

  static let redirection = NftChain(
    name: "d", base: NftBaseChain(type: .nat, hook: .prerouting, priority: -100),
    rules: [
      NftRule(expressions: [
        .immediate(.data(NftData([10, 0, 1, 9]), in: .r1)),
        .nat(NftNAT(kind: .destination, family: .ipv4, addressMin: .r1)),
      ])
    ])

  /// Frames of a few connections, from both sides, some of which do not take the short way.
  static func traffic(_ random: inout RandomState, peer: String) -> [Frames.Probe] {
    func chance(_ count: UInt64) -> Bool { random.below(count) == 0 }
    var probes: [Frames.Probe] = []
    for port: UInt16 in [3000, 3001] {
      probes += [
        Frames.tcp(client, port, server, 80, 2, seq: 100),
        Frames.tcp(server, 80, peer, port, 0x12, seq: 900, ack: 101, face: 1),
        Frames.tcp(client, port, server, 80, 0x10, seq: 101, ack: 901),
      ]
    }
    for _ in 0..<60 {
      let port: UInt16 = 3000 + UInt16(random.below(2))
      let size = [0, 1, 40, 700, 1300][Int(random.below(5))]
      switch random.below(12) {
      case 0...2:
        probes.append(
          Frames.tcp(client, port, server, 80, 0x18, seq: 101, ack: 901, data: size))
      case 3...4:
        probes.append(
          Frames.tcp(server, 80, peer, port, 0x18, seq: 901, ack: 101, face: 1, data: size))
      case 5...7:
        probes.append(
          Frames.udp(
            client, 1000 + UInt16(random.below(3)), server, 53, data: size,
            ttl: chance(6) ? 1 : chance(6) ? 2 : 33))
      case 8...9:
        probes.append(
          Frames.udp(server, 53, peer, 1000 + UInt16(random.below(3)), face: 1, data: size))
      case 10: probes.append(Frames.ping(client, server, id: UInt8(random.below(2))))
      default:
        if chance(2) {
          probes.append(
            Frames.tcp(client, port, server, 80, chance(2) ? 0x11 : 4, seq: 101, ack: 901))
        }
      }
      if chance(10) { probes[probes.count - 1].pause = [10, 500][Int(random.below(2))] }
    }
    return probes
  }

  @Test("With a flowtable the same frames leave as without", arguments: 0..<24)
  func same(_ number: UInt64) throws {
    var random = RandomState(seed: number)
    let chain: NftChain? = [nil, Self.masquerade, Self.redirection][Int(number % 3)]
    let peer = number % 3 == 1 ? "10.0.1.1" : Self.client
    let probes = Self.traffic(&random, peer: peer)
    var plain = try KernelOracleTests.Emulated()
    var short = try KernelOracleTests.Emulated()
    let family: NftFamily = number % 2 == 0 ? .ip : .inet
    try plain.kernel.commit(
      Self.table(offloads: false, family: family, translation: chain).creation, in: plain.node)
    try short.kernel.commit(
      Self.table(offloads: true, family: family, translation: chain).creation, in: short.node)
    for (position, probe) in probes.enumerated() {
      let expected = plain.answers(to: probe.frame, by: probe.face)
      let got = short.answers(to: probe.frame, by: probe.face)
      // The long way makes redirects, which NAT then drops: each takes an identification.
      let isSame = got.map(KernelOracleTests.normal) == expected.map(KernelOracleTests.normal)
      #expect(isSame, "case \(number), frame \(position)")
      plain.kernel.run(for: .milliseconds(Int64(probe.pause)))
      short.kernel.run(for: .milliseconds(Int64(probe.pause)))
    }
    #expect(short.kernel.accounting.isClosed)
    // Fewer packets met the rules: some did go past them.
    let passed = try Self.counted(short.kernel.nftables(nil, in: short.node).tables)
    #expect(passed < (try Self.counted(plain.kernel.nftables(nil, in: plain.node).tables)))
  }

  /// The same of IPv6, masqueraded.
  static func traffic6() -> [Frames.Probe] {
    typealias Frames6 = Netfilter6OracleTests
    let (client, server, wan) = (Frames6.client, Frames6.server, Frames6.wan)
    var probes: [Frames.Probe] = [
      Frames6.tcp(client, 3000, server, 80, 2, seq: 100),
      Frames6.tcp(server, 80, wan, 3000, 0x12, seq: 900, ack: 101, face: 1),
      Frames6.tcp(client, 3000, server, 80, 0x10, seq: 101, ack: 901),
    ]
    for round in 0..<6 {
      probes += [
        Frames6.udp(client, 1000, server, 53, data: round * 9, hopLimit: round == 4 ? 1 : 33),
        Frames6.udp(server, 53, wan, 1000, face: 1, data: round),
        Frames6.tcp(client, 3000, server, 80, 0x18, seq: 101, ack: 901, data: round * 40),
        Frames6.tcp(server, 80, wan, 3000, 0x18, seq: 901, ack: 101, face: 1, data: 7),
      ]
    }
    probes.append(Frames6.tcp(client, 3000, server, 80, 0x11, seq: 101, ack: 901))
    probes.append(Frames6.tcp(server, 80, wan, 3000, 0x10, seq: 901, ack: 102, face: 1))
    return probes
  }

  @Test("The same of IPv6", arguments: [NftFamily.ip6, .inet])
  func sameOfIPv6(_ family: NftFamily) throws {
    let probes = Self.traffic6()
    var plain = try KernelOracleTests.Emulated(.dual)
    var short = try KernelOracleTests.Emulated(.dual)
    _ = plain.answers(to: nil, wait: .seconds(2))
    _ = short.answers(to: nil, wait: .seconds(2))
    try plain.kernel.commit(
      Self.table(offloads: false, family: family, translation: Self.masquerade).creation, in: plain.node)
    try short.kernel.commit(
      Self.table(offloads: true, family: family, translation: Self.masquerade).creation, in: short.node)
    for (position, probe) in probes.enumerated() {
      let expected = plain.answers(to: probe.frame, by: probe.face)
      let isSame = short.answers(to: probe.frame, by: probe.face) == expected
      #expect(isSame, "frame \(position)")
    }
    let passed = try Self.counted(short.kernel.nftables(nil, in: short.node).tables)
    #expect(passed + 12 < (try Self.counted(plain.kernel.nftables(nil, in: plain.node).tables)))
    #expect(short.kernel.accounting.isClosed)
  }

  @Test("Bursts of any size give the same frames and counts")
  func bursts() throws {
    func run(_ burst: Int) throws -> ([[UInt8]], UInt64) {
      var kernel = Kernel(.init(seed: 1, burst: burst), now: Instant(nanoseconds: 0))
      let node = try kernel.node()
      try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: node)
      var faces: [DeviceIndex] = []
      for face in 0...1 {
        faces.append(try kernel.makeOutside(try #require(InterfaceName("t\(face)")), in: node))
      }
      for request in OracleSetup.ipv4.requests { try kernel.perform(request, in: node) }
      try kernel.commit(Self.table(offloads: true, translation: Self.masquerade).creation, in: node)
      var random = RandomState(seed: 77)
      var frames: [[UInt8]] = []
      for probe in Self.traffic(&random, peer: "10.0.1.1") {
        // Those of one side come together.
        kernel.inject(probe.frame, into: faces[probe.face])
        if random.below(9) == 0 { kernel.run(for: .milliseconds(2)) }
        for face in faces { while let frame = kernel.takeFrame(from: face) { frames.append(frame) } }
      }
      kernel.run(for: .milliseconds(2))
      for face in faces { while let frame = kernel.takeFrame(from: face) { frames.append(frame) } }
      #expect(kernel.accounting.isClosed)
      let emulated = kernel.nftables(nil, in: node).tables
      return (frames, try Self.counted(emulated))
    }
    let (frames, count) = try run(1)
    for burst in [2, 7, 64] {
      let other = try run(burst)
      let isSame = other.0 == frames
      #expect(isSame, "bursts of \(burst)")
      #expect(other.1 == count, "bursts of \(burst)")
    }
  }

  static func counted(_ tables: [NftTable]) throws -> UInt64 {
    let rules = try #require(tables.first?.chain("c")?.rules)
    for case .counter(let counter)? in rules.map(\.expressions.last) { return counter.packets }
    return 0
  }

  // MARK: What stands of it

  /// A UDP exchange that has been answered, and passes the rules once more.
  private static func begin(_ emulated: inout KernelOracleTests.Emulated) {
    for probe in [
      Frames.udp(client, 1000, server, 53), Frames.udp(server, 53, client, 1000, face: 1),
    ] {
      _ = emulated.answers(to: probe.frame, by: probe.face)
    }
  }

  private static func passes(_ emulated: inout KernelOracleTests.Emulated) throws -> Bool {
    let before = try counted(emulated.kernel.nftables(nil, in: emulated.node).tables)
    let probe = Frames.udp(client, 1000, server, 53)
    #expect(emulated.answers(to: probe.frame, by: probe.face)[1].count == 1)
    return try counted(emulated.kernel.nftables(nil, in: emulated.node).tables) == before
  }

  @Test("A connection in a flowtable is offloaded, and without packets not for longer than its setting says")
  func ages() throws {
    var emulated = try KernelOracleTests.Emulated()
    try emulated.kernel.setSysctl("net/netfilter/nf_conntrack_acct", to: "1", in: emulated.node)
    try emulated.kernel.commit(
      Self.table(offloads: true, counts: true).creation, in: emulated.node)
    Self.begin(&emulated)
    // Its first packet was not confirmed yet when it met the rule.
    #expect(try Self.passes(&emulated))
    let during = try #require(emulated.kernel.connections(in: emulated.node).first)
    #expect(during.status & 1 << 14 != 0 && during.timeout == nil)
    #expect(during.original.packets == 2 && during.original.bytes == 64, "\(during)")
    // A setting is the namespace's; time goes by without a packet.
    emulated.kernel.run(for: .seconds(25))
    #expect(try Self.passes(&emulated))
    emulated.kernel.run(for: .seconds(32))
    let after = try #require(emulated.kernel.connections(in: emulated.node).first)
    #expect(after.status & 1 << 14 == 0)
    #expect(after.timeout.map { (85...90).contains($0) } ?? false, "\(after)")
    #expect(try !Self.passes(&emulated))
    emulated.kernel.run(for: .seconds(300))
    #expect(emulated.kernel.connections(in: emulated.node).isEmpty)
    #expect(emulated.kernel.accounting.isClosed)
  }

  @Test("It ends with a route, a device and its flowtable")
  func ends() throws {
    for way in 0..<3 {
      var emulated = try KernelOracleTests.Emulated()
      let table = Self.table(offloads: true)
      try emulated.kernel.commit(table.creation, in: emulated.node)
      Self.begin(&emulated)
      #expect(try Self.passes(&emulated))
      switch way {
      case 0:
        try emulated.kernel.perform(OracleSetup.via("10.77.0.0/16", "10.0.1.9"), in: emulated.node)
      case 1:
        try emulated.kernel.perform(OracleSetup.up(1, false), in: emulated.node)
        try emulated.kernel.perform(OracleSetup.up(1), in: emulated.node)
        try emulated.kernel.perform(
          OracleSetup.neighbor("10.0.1.9", 1, OracleSetup.mac(8)), in: emulated.node)
      default:
        let rule = try #require(
          emulated.kernel.nftables(nil, in: emulated.node).handles.rule(0, of: "c", in: table.key))
        #expect(throws: NftTransactionError.self) {
          try emulated.kernel.commit([.deleteFlowtable(table.key, name: "f")], in: emulated.node)
        }
        try emulated.kernel.commit(
          [
            .deleteRule(table.key, chain: "c", handle: rule), .deleteFlowtable(table.key, name: "f"),
          ], in: emulated.node)
      }
      #expect(try !Self.passes(&emulated), "way \(way)")
      let listed = try #require(emulated.kernel.connections(in: emulated.node).first)
      #expect((listed.status & 1 << 14 == 0) == (way == 2), "way \(way): the rule takes it up again")
    }
  }

  @Test("The end of a TCP connection is seen by connection tracking")
  func fin() throws {
    var emulated = try KernelOracleTests.Emulated()
    try emulated.kernel.commit(Self.table(offloads: true).creation, in: emulated.node)
    func state() -> String? { emulated.kernel.connections(in: emulated.node).first?.state }
    for probe in [
      Frames.tcp(Self.client, 3000, Self.server, 80, 2, seq: 100),
      Frames.tcp(Self.server, 80, Self.client, 3000, 0x12, seq: 900, ack: 101, face: 1),
      Frames.tcp(Self.client, 3000, Self.server, 80, 0x10, seq: 101, ack: 901),
      Frames.tcp(Self.client, 3000, Self.server, 80, 0x18, seq: 101, ack: 901, data: 9),
    ] {
      _ = emulated.answers(to: probe.frame, by: probe.face)
    }
    #expect(state() == nil, "of what goes past nothing is known")
    // Far beyond every window that was seen.
    let late = Frames.tcp(Self.client, 3000, Self.server, 80, 0x11, seq: 5_000_000, ack: 901)
    #expect(emulated.answers(to: late.frame, by: 0)[1].count == 1)
    #expect(state() == "FIN_WAIT")
  }

  @Test("What cannot be a flowtable is refused")
  func refusals() throws {
    var emulated = try KernelOracleTests.Emulated()
    let key = NftTableKey(family: .ip, name: "t")
    let table = NftTable(family: .ip, name: "t")
    func refusal(_ changes: [NftChange]) -> Int32 {
      do throws(NftTransactionError) {
        try emulated.kernel.commit([.addTable(table)] + changes, in: emulated.node)
        return 0
      } catch {
        return error.error.errno
      }
    }
    let flowtable = NftFlowtable(name: "f", devices: ["t0"])
    #expect(refusal([.addFlowtable(key, flowtable)]) == 0)
    #expect(refusal([.addFlowtable(key, flowtable)]) == 0, "once more is the same")
    #expect(refusal([.addFlowtable(key, NftFlowtable(name: "g", devices: ["t0"]))]) == 17)
    #expect(refusal([.addFlowtable(key, NftFlowtable(name: "f", devices: ["t1"]))]) == 17)
    #expect(refusal([.deleteFlowtable(key, name: "h")]) == 2)
    for (hook, name, errno) in [(NftHook.input, "f", Int32(95)), (.forward, "h", 2)] {
      let chain = NftChain(name: "c", base: NftBaseChain(hook: hook))
      let rule = NftRule(expressions: [.flowOffload(name)])
      #expect(refusal([.addChain(key, chain), .appendRule(key, chain: "c", rule)]) == errno)
    }
  }
}
