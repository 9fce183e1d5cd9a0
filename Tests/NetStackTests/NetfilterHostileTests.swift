// SPDX-License-Identifier: GPL-2.0-or-later

// Rules that would do harm are refused when they come, with the kernel's number; packets that would are dropped and
// counted, whatever is missing of them.

import NetTypes
import Nftables
import Testing

@testable import NetStack

@Suite("Hostile rules and packets")
struct NetfilterHostileTests {
  // MARK: Rulesets

  private static let table = NftTableKey(family: .ip, name: "t")

  private static func chain(_ base: NftBaseChain?, _ expressions: [NftExpression]...) -> NftChain {
    NftChain(name: "c", base: base, rules: expressions.map { NftRule(expressions: $0) })
  }

  private static func whole(_ chains: [NftChain], _ sets: [NftSet] = []) -> [NftChange] {
    NftTable(family: .ip, name: "t", chains: chains, sets: sets).creation
  }

  /// Chains that jump one to the next; the last to the first when `closed`.
  private static func jumps(_ count: Int, closed: Bool) -> [NftChain] {
    (0...count).map { number in
      let next = number < count ? "c\(number + 1)" : closed ? "c1" : nil
      return NftChain(
        name: "c\(number)", base: number == 0 ? NftBaseChain(hook: .input) : nil,
        rules: next.map { [NftRule(expressions: [.verdict(.jump($0))])] } ?? [])
    }
  }

  private static func element(_ first: UInt64, _ last: UInt64) -> NftSetElement {
    NftSetElement(key: NftData(bigEndian: first, width: 4), keyEnd: NftData(bigEndian: last, width: 4))
  }

  private static let intervals = NftSet(name: "s", keyTypes: [.ipv4Address], flags: .interval)
  private static let small = NftSet(name: "s", keyTypes: [.ipv4Address], size: 2)
  private static let input = NftBaseChain(hook: .input)
  private static let register: NftExpression = .immediate(.data([1, 2, 3, 4], in: .r1))

  static let refused: [(name: String, changes: [NftChange], errno: Int32)] = [
    (
      "snat in a filter chain",
      whole([chain(input, [register, .nat(NftNAT(kind: .source, family: .ipv4, addressMin: .r1))])]), 95
    ),
    (
      "dnat at postrouting",
      whole([
        chain(
          NftBaseChain(type: .nat, hook: .postrouting, priority: 100),
          [register, .nat(NftNAT(kind: .destination, family: .ipv4, addressMin: .r1))])
      ]), 95
    ),
    (
      "masquerade at prerouting",
      whole([
        chain(
          NftBaseChain(type: .nat, hook: .prerouting, priority: -100), [.masquerade(NftMasquerade())])
      ]), 95
    ),
    ("NAT before tracking", whole([chain(NftBaseChain(type: .nat, hook: .prerouting, priority: -200))]), 95),
    ("a route chain at input", whole([chain(NftBaseChain(type: .route, hook: .input))]), 95),
    (
      "reject at postrouting",
      whole([chain(NftBaseChain(hook: .postrouting), [.reject(NftReject(kind: .icmp, code: 3))])]), 95
    ),
    (
      "a SYN proxy at prerouting",
      whole([chain(NftBaseChain(hook: .prerouting), [.synproxy(NftSynproxy())])]), 95
    ),
    ("a SYN proxy with unknown flags", whole([chain(input, [.synproxy(NftSynproxy(flags: 16))])]), 95),
    ("jumps in a circle", whole(jumps(3, closed: true)), 31),
    ("sixteen jumps", whole(jumps(16, closed: false)), 31),
    ("a jump to nowhere", whole([chain(input, [.verdict(.jump("absent"))])]), 2),
    (
      "a register that nothing was stored to",
      whole([chain(input, [.cmp(NftCmp(operation: .equal, source: .r1, data: [1]))])]), 61
    ),
    (
      "a value beyond the last register",
      whole([
        chain(
          input, [.payload(NftPayload(base: .network, offset: 0, length: 32, destination: .r4))])
      ]), 34
    ),
    (
      "a key longer than the registers",
      whole([], [NftSet(name: "s", keyTypes: [NftDataType](repeating: .ipv6Address, count: 5))]), 22
    ),
    (
      "an offset beyond every packet",
      whole([
        chain(
          input, [.payload(NftPayload(base: .network, offset: 1 << 20, length: 4, destination: .r1))])
      ]), 34
    ),
    (
      "intervals that overlap",
      whole([], [intervals])
        + [
          .addElements(table, intervals, [element(1, 9)]), .addElements(table, intervals, [element(5, 20)]),
        ], 17
    ),
    (
      "more elements than the set's size",
      whole([], [small])
        + [
          .addElements(
            table, small, (0..<3).map { NftSetElement(key: NftData(bigEndian: $0, width: 4)) })
        ], 23
    ),
    (
      "an element of another width",
      whole([], [small]) + [.addElements(table, small, [NftSetElement(key: [1])])], 22
    ),
    (
      "a set that is not there",
      whole([chain(input, [register, .lookup(NftLookup(set: .named("x"), source: .r1))])]), 2
    ),
    ("a limit of nothing", whole([chain(input, [.limit(NftLimit(rate: 0, unitSeconds: 1))])]), 22),
  ]

  @Test(
    "What the kernel refuses at load is refused with its number, and changes nothing",
    arguments: refused.indices)
  func refusals(_ index: Int) throws {
    let (name, changes, errno) = Self.refused[index]
    var kernel = Kernel(Kernel.Options(seed: 1), now: Instant(nanoseconds: 0))
    let node = try kernel.makeNamespace()
    let error = #expect(throws: NftTransactionError.self, "\(name)") {
      try kernel.commit(changes, in: node)
    }
    #expect(error?.error.errno == errno, "\(name): \(error.map { "\($0.error)" } ?? "nothing")")
    #expect(kernel.nftables(nil, in: node).tables.isEmpty, "\(name)")
  }

  // MARK: Packets

  /// A frame for the router of these tests.
  private static func frame(_ probe: NetfilterOracleTests.Probe) -> [UInt8] {
    [2, 0, 0, 0, 0, 0] + probe.frame[6...]
  }

  /// Whether the emulated kernel has all that a rule asks for.
  private static func isKnown(_ table: Ruleset.Table) -> Bool {
    var kernel = Kernel(Kernel.Options(seed: 1), now: Instant(nanoseconds: 0))
    guard let node = try? kernel.makeNamespace(), let compiled = try? Compiler.compile(table) else {
      return false
    }
    return (try? kernel.commit(compiled.creation, in: node)) != nil
  }

  /// Every selector that IPv4 or IPv6 has, at every hook, with what rules do to packets between them.
  private static func rich() throws -> [NftChange] {
    var rules: [Rule] = []
    for selector in Selector.all {
      var size = selector.type.size
      if selector.type == .interfaceName || selector.type == .string { size = 16 }
      let value = NftData([UInt8](repeating: 0, count: size))
      for family in [NftFamily.inet, .ip] {
        let rule = Rule([.match(Match(selector, .notEqual, [.value(value)])), .counter])
        let alone = Ruleset.Table(
          family: family, name: "x",
          chains: [Ruleset.Chain(name: "c", base: NftBaseChain(hook: .prerouting), rules: [rule])])
        if family == .inet, Self.isKnown(alone) { rules.append(rule) }
      }
    }
    let stores = [
      ("ip ttl", NftData([9])), ("ip dscp", [3]), ("ip id", [1, 2]), ("tcp dport", [0, 99]),
      ("udp sport", [0, 98]),
      ("ip daddr", [10, 0, 1, 9]), ("tcp option maxseg size", [2, 0]), ("icmp id", [0, 1]),
    ]
    for (name, value) in stores {
      guard let selector = Selector(named: name) else { continue }
      rules.append(Rule([.store(selector, .value(value))]))
    }
    rules.append(Rule([.removeOption(8)]))
    rules.append(Rule([.log(NftLog(prefix: "x")), .connections(NftConnlimit(count: 3))]))
    rules.append(
      Rule([
        .match(.is(.transportProtocol, .udp)),
        .updateSet(
          SetUpdate(set: "d", selectors: ["ip saddr", "udp sport"].compactMap { Selector(named: $0) })),
      ]))
    let reject = [
      Rule([.match(.is(.transportProtocol, .tcp)), .reject(.tcpReset)]), Rule([.reject(.standard)]),
    ]
    func base(_ hook: NftHook, _ priority: Int32, _ type: NftChainType = .filter) -> NftBaseChain {
      NftBaseChain(type: type, hook: hook, priority: priority)
    }
    let source = Ruleset.Table(
      family: .inet, name: "rich",
      chains: [
        Ruleset.Chain(name: "raw", base: base(.prerouting, -300), rules: rules),
        Ruleset.Chain(name: "pre", base: base(.prerouting, -150), rules: rules),
        Ruleset.Chain(
          name: "dnat", base: base(.prerouting, -100, .nat),
          rules: [Rule([.match(.is(.udpDestination, 53)), .redirect(ports: PortRange(99))])]),
        Ruleset.Chain(name: "fwd", base: base(.forward, 0), rules: rules),
        Ruleset.Chain(name: "in", base: base(.input, 0), rules: rules + reject),
        Ruleset.Chain(name: "out", base: base(.output, 0), rules: rules),
        Ruleset.Chain(name: "post", base: base(.postrouting, 0), rules: rules),
        Ruleset.Chain(name: "snat", base: base(.postrouting, 100, .nat), rules: [Rule([.masquerade()])]),
      ],
      sets: [SetDeclaration(name: "d", keyTypes: [.ipv4Address, .port], flags: .dynamic, size: 16)])
    // What stands only at some hooks is left out where it does not.
    return try Compiler.compile(Self.placed(source)).creation
  }

  /// The table without the rules that a hook does not allow.
  private static func placed(_ table: Ruleset.Table) -> Ruleset.Table {
    var result = table
    for chain in result.chains.indices {
      result.chains[chain].rules.removeAll { rule in
        var alone = table
        alone.chains = [table.chains[chain]]
        alone.chains[0].rules = [rule]
        return !Self.isKnown(alone)
      }
    }
    return result
  }

  @Test("Every frame cut at every byte goes through a rich ruleset, and each ends in a reason")
  func truncations() throws {
    var target = try HostileTests.Target(seed: 5)
    try target.kernel.commit(try Self.rich(), in: target.node)
    let tables = target.kernel.nftables(nil, in: target.node).tables
    #expect((tables.first?.chain("raw")?.rules.count ?? 0) > 80, "the ruleset is rich")
    let oracle = [
      NetfilterOracleTests.udp("10.0.0.9", 1000, "10.0.0.1", 53),
      NetfilterOracleTests.udp("10.0.0.9", 1000, "10.0.1.9", 53),
      NetfilterOracleTests.tcp(
        "10.0.0.9", 1000, "10.0.1.9", 80, 2, seq: 1,
        options: [2, 4, 5, 180, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1]),
      NetfilterOracleTests.tcp("10.0.0.9", 1000, "10.0.0.1", 80, 2, seq: 1),
      NetfilterOracleTests.ping("10.0.0.9", "10.0.1.9"),
    ].map(Self.frame)
    for seed in HostileTests.seeds + oracle {
      for length in 0...seed.count {
        var frame = Array(seed.prefix(length))
        target.send(frame, 0)
        HostileTests.mend(&frame)
        target.send(frame, 0)
        target.send(frame, 1)
      }
    }
    target.kernel.run(for: .seconds(60))
    #expect(target.kernel.accounting.isClosed)
  }

  @Test("Fuzz: changed frames through a rich ruleset end in a reason each")
  func changes() throws {
    var random = RandomState(seed: 77)
    var target = try HostileTests.Target(seed: 6)
    try target.kernel.commit(try Self.rich(), in: target.node)
    for _ in 0..<HostileTests.rounds / 2 {
      var frame = HostileTests.seeds[Int(random.below(UInt64(HostileTests.seeds.count)))]
      for _ in 0...random.below(4) {
        frame[Int(random.below(UInt64(frame.count)))] = UInt8(truncatingIfNeeded: random.next())
      }
      HostileTests.mend(&frame)
      target.send(frame, Int(random.below(2)))
    }
    target.kernel.run(for: .seconds(60))
    #expect(target.kernel.accounting.isClosed)
  }

  // MARK: Tables over their limits

  @Test("A full connection table drops what would begin another connection, counts it, and keeps the assured")
  func fullTable() throws {
    var target = try HostileTests.Target(seed: 7)
    try target.kernel.setSysctl("net/netfilter/nf_conntrack_max", to: "8", in: target.node)
    let table = Ruleset.Table(
      family: .ip, name: "t",
      chains: [
        Ruleset.Chain(
          name: "c", base: NftBaseChain(hook: .forward),
          rules: [Rule([.match(.is(.conntrackState, .new)), .counter])])
      ])
    try target.kernel.commit(try Compiler.compile(table).creation, in: target.node)
    for port in 1000..<1100 as Range<UInt16> {
      target.send(Self.frame(NetfilterOracleTests.udp("10.0.0.9", port, "10.0.1.9", 53)), 0)
    }
    #expect(target.kernel.connections(in: target.node).count <= 8)
    let statistics = target.kernel.conntrackStatistics(of: target.node)
    #expect(statistics.earlyDrop + statistics.drop >= 92, "\(statistics)")
    #expect(target.kernel.accounting.isClosed)
  }

  @Test("A full dynamic set takes no more, and its rule goes on to the next")
  func fullSet() throws {
    var target = try HostileTests.Target(seed: 8)
    let saddr = try #require(Selector(named: "udp sport"))
    let table = Ruleset.Table(
      family: .ip, name: "t",
      chains: [
        Ruleset.Chain(
          name: "c", base: NftBaseChain(hook: .prerouting),
          rules: [
            Rule([
              .match(.is(.transportProtocol, .udp)), .updateSet(SetUpdate(set: "d", selectors: [saddr])),
              .counter,
            ])
          ])
      ], sets: [SetDeclaration(name: "d", keyTypes: [.port], flags: .dynamic, size: 4)])
    try target.kernel.commit(try Compiler.compile(table).creation, in: target.node)
    for port in 1000..<1010 as Range<UInt16> {
      target.send(Self.frame(NetfilterOracleTests.udp("10.0.0.9", port, "10.0.1.9", 53)), 0)
    }
    let seen = try #require(target.kernel.nftables(nil, in: target.node).tables.first)
    #expect(seen.sets.first?.elements.count == 4)
    #expect(seen.chains.first?.rules.first?.expressions.last == .counter(NftCounter(packets: 4, bytes: 128)))
  }
}
