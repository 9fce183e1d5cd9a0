// SPDX-License-Identifier: GPL-2.0-or-later

// What the compiler refuses, and with which words.

import NetTypes
import Nftables
import Testing

private func rule(_ statements: Statement..., line: Int = 7) -> Rule {
  Rule(statements, position: NftSourcePosition(file: "topology.swift", line: line))
}

private func table(
  _ family: NftFamily, base: NftBaseChain = NftBaseChain(hook: .input), sets: [SetDeclaration] = [],
  _ rules: Rule...
) -> Ruleset.Table {
  Ruleset.Table(
    family: family, name: "t", chains: [Ruleset.Chain(name: "c", base: base, rules: rules)], sets: sets)
}

private func selector(_ name: String) -> Selector { Selector(named: name) ?? .symhash(modulus: 1) }

@Suite("What the kernel would refuse")
struct RefusalTests {
  static let postrouting = NftBaseChain(type: .nat, hook: .postrouting, priority: 100)
  static let prerouting = NftBaseChain(type: .nat, hook: .prerouting, priority: -100)

  static let cases: [(Ruleset.Table, String)] = [
    (table(.ip, rule(.masquerade())), "masquerade stands in chains of type nat"),
    (table(.ip, base: prerouting, rule(.masquerade())), "masquerade stands at postrouting"),
    (
      table(
        .ip, base: postrouting, rule(.translate(Translation(.destination, to: .address(.v4(.loopback)))))),
      "dnat stands at prerouting or output"
    ),
    (
      table(.ip, base: NftBaseChain(hook: .prerouting), rule(.synproxy(NftSynproxy()))),
      "synproxy stands at input or forward, not at prerouting"
    ),
    (table(.bridge, rule(.synproxy(NftSynproxy()))), "synproxy in the bridge family"),
    (
      table(.ip, rule(.store(selector("meta pkttype"), .value([0])))),
      "meta pkttype is set at prerouting, not at input"
    ),
    (
      table(
        .ip,
        sets: [
          SetDeclaration(
            name: "s", keyTypes: [.ipv4Address], flags: .dynamic, expressions: [.counter(NftCounter())])
        ],
        rule(
          .updateSet(
            SetUpdate(
              set: "s", selectors: [selector("ip saddr")],
              expressions: [.limit(NftLimit(rate: 1, unitSeconds: 1))])))),
      "each element of set 's' holds what the set says"
    ),
    (table(.ip, base: postrouting, rule(.masquerade(ports: PortRange(1, 2)))), "after a match on a protocol"),
    (table(.ip, base: NftBaseChain(type: .nat, hook: .prerouting, priority: -200)), "must be above -200"),
    (table(.ip, base: NftBaseChain(type: .nat, hook: .forward)), "a nat chain hooks at"),
    (table(.ip, base: NftBaseChain(type: .route, hook: .input)), "a route chain hooks at output only"),
    (table(.arp, base: NftBaseChain(hook: .forward)), "no hook 'forward'"),
    (table(.netdev, base: NftBaseChain(hook: .ingress)), "needs a device"),
    (table(.ip, rule(.verdict(.jump("absent")))), "no chain 'absent'"),
    (table(.ip, rule(.verdict(.jump("c")))), "which is a base chain"),
    (table(.ip, rule(.match(.is(.ip6Source, .loopback)))), "a field of IPv6 in a rule or table of IPv4"),
    (
      table(.inet, rule(.match(.is(.ipSource, .loopback)), .match(.is(.ip6Source, .loopback)))),
      "a field of IPv6 in a rule or table of IPv4"
    ),
    (
      table(.ip, rule(.match(.is(.tcpDestination, 1)), .match(.is(.udpDestination, 1)))),
      "protocol 17 in a rule of protocol 6"
    ),
    (table(.ip, rule(.match(.is(.icmpv6Type, .echoRequest)))), "a field of IPv6"),
    (
      table(
        .netdev, base: NftBaseChain(hook: .ingress, devices: ["lo"]), rule(.match(.is(.conntrackState, .new)))
      ), "no connection tracking"
    ),
    (
      table(.ip, rule(.match(Match(selector("vlan id"), .equal, [.value([0, 1])])))),
      "bridge and netdev families only"
    ),
    (table(.ip, rule(.match(.isIn(.ipSource, set: "absent")))), "there is no set 'absent'"),
    (
      table(
        .ip, sets: [SetDeclaration(name: "s", keyTypes: [.port])], rule(.match(.isIn(.ipSource, set: "s")))),
      "holds inet_service, not ipv4_addr"
    ),
    (
      table(
        .ip, sets: [SetDeclaration(name: "s", keyTypes: [NftDataType](repeating: .ipv6Address, count: 5))]),
      "the kernel takes 1 to 64"
    ),
    (
      table(
        .ip6,
        rule(
          .match(
            Match(
              selectors: [Selector](repeating: selector("ip6 saddr"), count: 5),
              operand: .elements([[FieldValue](repeating: .value(IPv6Address.loopback.nftData), count: 5)]))))
      ),
      "no register is left"
    ),
    (
      table(
        .ip,
        sets: [
          SetDeclaration(
            name: "s", keyTypes: [.ipv4Address],
            elements: ["10.0.0.0/8", "10.1.0.0/16"].compactMap { IPPrefix($0) }.map {
              .init(key: [FieldValue($0)])
            })
        ]), "overlapping intervals"
    ),
    (
      table(
        .ip,
        rule(
          .verdictMap(
            [selector("tcp dport")],
            .entries([
              .init(key: [.value(Port(22).nftData)], verdict: .accept),
              .init(key: [.value(Port(22).nftData)], verdict: .drop),
            ])))), "the same key twice"
    ),
    (table(.ip, rule(.verdict(.accept), .counter)), "never reached"),
    (
      table(
        .ip, rule(.match(Match(selector("tcp dport"), .equal, [.range(Port(9).nftData, Port(1).nftData)])))),
      "end is before its begin"
    ),
    (table(.ip, rule(.match(Match(selector("ip dscp"), .equal, [.value([64])])))), "too large"),
    (table(.ip, rule(.match(Match(selector("tcp dport"), .equal, [.value([1])])))), "a value of 1 bytes"),
    (table(.ip, rule(.reject(.icmpv6(1)))), "a field of IPv6"),
    (
      table(.ip, base: NftBaseChain(hook: .postrouting), rule(.reject(.standard))),
      "reject cannot stand at postrouting"
    ),
    (
      table(.ip, rule(.match(.is(.tcpDestination, 1)), .tproxy(nil, port: 1))),
      "tproxy stands at prerouting only"
    ),
    (table(.ip, rule(.log(NftLog(prefix: "a \"quote\"")))), "without quotes"),
    (table(.ip, rule(.object(.counter, "absent"))), "no counter 'absent'"),
    (Ruleset.Table(family: .ip, name: "1t"), "a name begins with a letter"),
    (Ruleset.Table(family: .ip, name: String(repeating: "x", count: 256)), "at most 255 bytes"),
    (
      Ruleset.Table(family: .ip, name: "t", chains: [Ruleset.Chain(name: "c"), Ruleset.Chain(name: "c")]),
      "declared twice"
    ),
    (
      Ruleset.Table(
        family: .ip, name: "t",
        chains: [
          Ruleset.Chain(name: "a", rules: [rule(.verdict(.jump("b")))]),
          Ruleset.Chain(name: "b", rules: [rule(.verdict(.goto("a")))]),
        ]), "loop: a -> b -> a"
    ),
    (depth(16), "16 jumps deep"),
  ]

  /// A base chain and so many jumps below it.
  static func depth(_ count: Int) -> Ruleset.Table {
    let chains = (0...count).map { index in
      Ruleset.Chain(
        name: "c\(index)", base: index == 0 ? NftBaseChain(hook: .input) : nil,
        rules: index == count ? [] : [rule(.verdict(.jump("c\(index + 1)")))])
    }
    return Ruleset.Table(family: .ip, name: "t", chains: chains)
  }

  @Test("is refused with its reason", arguments: cases.indices)
  func refused(_ index: Int) {
    let (table, text) = Self.cases[index]
    let error = #expect(throws: NftCompileError.self) { try Compiler.compile(table) }
    #expect(error?.message.contains(text) == true, "\(error.map { "\($0)" } ?? "nothing")")
  }

  @Test("names the rule's line")
  func position() {
    let error = #expect(throws: NftCompileError.self) {
      try Compiler.compile(table(.ip, rule(.masquerade(), line: 42)))
    }
    #expect(error?.position == NftSourcePosition(file: "topology.swift", line: 42))
    #expect(error?.subject == "table ip t, chain c, rule 1")
  }

  @Test("fifteen jumps are allowed")
  func fifteen() throws { _ = try Compiler.compile(Self.depth(15)) }

  @Test("all that is wrong is told in one run")
  func several() {
    let result = Compiler.compile(
      Ruleset(tables: [table(.ip, rule(.object(.counter, "a")), rule(.object(.counter, "b")))]))
    guard case .failure(let errors) = result else {
      Issue.record("compiled")
      return
    }
    #expect(errors.errors.count == 2)
  }
}
