// SPDX-License-Identifier: GPL-2.0-or-later

// Rules that put elements into maps, and rules whose objects stand in named maps: bytecode and text beside nft's.

import NetTypes
import Testing

@testable import Nftables

@Suite("Named maps")
struct MapTests {
  /// A rule as nft writes it, and as source.
  struct Sample: CustomTestStringConvertible, Sendable {
    var text: String
    var statement: Statement

    init(_ text: String, _ statement: Statement) {
      self.text = text
      self.statement = statement
    }

    init(
      _ text: String, _ map: String, _ operation: NftDynset.Operation, _ key: [String],
      _ data: [SetUpdate.Datum], timeout: UInt64? = nil, _ expressions: [NftExpression] = []
    ) {
      self.init(
        text,
        .updateSet(
          SetUpdate(
            set: map, operation: operation, selectors: key.map(MapTests.selector), data: data,
            timeout: timeout, expressions: expressions)))
    }

    var testDescription: String { text }
  }

  private static func selector(_ name: String) -> Selector { Selector(named: name) ?? .symhash(modulus: 1) }
  private static func mark(_ value: UInt32) -> SetUpdate.Datum { .value(PacketMark(rawValue: value).nftData) }
  private static func field(_ name: String) -> SetUpdate.Datum { .selector(selector(name)) }

  static let declarations = """
    counter c { }
    limit l { rate 1/second; }
    map ports { type ipv4_addr : inet_service; size 100; flags dynamic; }
    map marks { type ipv4_addr : mark; size 100; flags dynamic,timeout; timeout 10s; }
    map targets { type ipv4_addr . inet_service : ipv4_addr . inet_service; size 10; flags dynamic; }
    map six { type ipv6_addr : ether_addr; size 10; flags dynamic; }
    map names { type ipv4_addr : ifname; size 10; flags dynamic; }
    map counted { type inet_service : counter; }
    map limited { type mark : limit; flags interval; }
    """

  static let sets: [SetDeclaration] = [
    SetDeclaration(
      name: "ports", keyTypes: [.ipv4Address], data: .value([.port]), flags: .dynamic, size: 100),
    SetDeclaration(
      name: "marks", keyTypes: [.ipv4Address], data: .value([.mark]), flags: [.dynamic, .timeout], size: 100,
      timeout: 10_000),
    SetDeclaration(
      name: "targets", keyTypes: [.ipv4Address, .port], data: .value([.ipv4Address, .port]), flags: .dynamic,
      size: 10),
    SetDeclaration(
      name: "six", keyTypes: [.ipv6Address], data: .value([.etherAddress]), flags: .dynamic, size: 10),
    SetDeclaration(
      name: "names", keyTypes: [.ipv4Address], data: .value([.interfaceName]), flags: .dynamic, size: 10),
    SetDeclaration(name: "counted", keyTypes: [.port], data: .object(NftObjectKind.counter.rawValue)),
    SetDeclaration(
      name: "limited", keyTypes: [.mark], data: .object(NftObjectKind.limit.rawValue), flags: .interval),
  ]

  static let samples: [Sample] = [
    Sample("add @ports { ip saddr : tcp dport }", "ports", .add, ["ip saddr"], [field("tcp dport")]),
    Sample("add @ports { ip saddr : 80 }", "ports", .add, ["ip saddr"], [.value([0, 80])]),
    Sample(
      "update @marks { ip saddr timeout 5s : 0x00000001 }", "marks", .update, ["ip saddr"], [mark(1)],
      timeout: 5000),
    Sample("delete @marks { ip saddr : 0x00000000 }", "marks", .delete, ["ip saddr"], []),
    Sample("update @marks { ip saddr : ct mark }", "marks", .update, ["ip saddr"], [field("ct mark")]),
    Sample(
      "update @marks { ip saddr : numgen inc mod 4 }", "marks", .update, ["ip saddr"],
      [.selector(.numgen(modulus: 4))]),
    Sample(
      "update @marks { ip saddr : jhash ip saddr mod 4 }", "marks", .update, ["ip saddr"],
      [.selector(.jhash([selector("ip saddr")], modulus: 4))]),
    Sample(
      "update @marks { ip saddr limit rate 1/second burst 5 packets : 0x00000002 }", "marks", .update,
      ["ip saddr"], [mark(2)], [.limit(NftLimit(rate: 1, unitSeconds: 1))]),
    Sample(
      "add @targets { ip saddr . tcp dport : 10.0.0.1 . 80 }", "targets", .add, ["ip saddr", "tcp dport"],
      [.value([10, 0, 0, 1]), .value([0, 80])]),
    Sample(
      "add @targets { ip saddr . tcp dport : ip daddr . tcp sport }", "targets", .add,
      ["ip saddr", "tcp dport"], [field("ip daddr"), field("tcp sport")]),
    Sample("add @six { ip6 saddr : ether saddr }", "six", .add, ["ip6 saddr"], [field("ether saddr")]),
    Sample("add @names { ip saddr : iifname }", "names", .add, ["ip saddr"], [field("iifname")]),
    Sample(
      "counter name tcp dport map @counted", .objectMap(.counter, [selector("tcp dport")], .named("counted"))),
    Sample(
      "limit name meta mark map @limited", .objectMap(.limit, [selector("meta mark")], .named("limited"))),
    Sample(
      "ct event set new,destroy", .store(selector("ct event"), .value(NftData(host: 5, width: 4)))),
    Sample(
      "ct event set \"helper\",\"mark\",label",
      .store(selector("ct event"), .value(NftData(host: 0x4c0, width: 4)))),
    Sample("ct event set 0x0", .store(selector("ct event"), .value(NftData(host: 0, width: 4)))),
  ]

  private static func table(_ statement: Statement) throws -> NftTable {
    try Compiler.compile(
      Ruleset.Table(
        family: .inet, name: "t",
        chains: [Ruleset.Chain(name: "c", base: NftBaseChain(hook: .input), rules: [Rule([statement])])],
        sets: sets,
        objects: [
          NftObject(name: "c", state: .counter(NftCounter())),
          NftObject(name: "l", state: .limit(NftLimit(rate: 1, unitSeconds: 1))),
        ]))
  }

  @Test(
    "A rule's bytecode is nft's, and its text too", .enabled(if: nftIsUsable, "nft -c is not usable here"),
    arguments: samples)
  func matchesNft(_ sample: Sample) throws {
    let table = try Self.table(sample.statement)
    let rule = try #require(table.chain("c")?.rules.first)
    let output = shell(
      """
      nft -c --debug=netlink -f - <<'END'
      table inet t {
      \(Self.declarations)
      chain c { type filter hook input priority 0;
      \(sample.text)
      }
      }
      END
      """
    ).output
    let theirs = output.split(separator: "\n").map(\.trimmed).filter {
      $0.hasPrefix("[ ") || $0.contains("Error")
    }
    .map { BytecodeTests.normal(String($0.dropFirst(2).dropLast(2))) }
    #expect(BytecodeTests.listing(of: rule) == theirs)
    #expect(NftText.text(rule, family: .inet, sets: table.sets) == sample.text)
    #expect(table.sets(of: rule).allSatisfy { $0.elements.isEmpty })
    #expect(NftText.text(rule, family: .inet, sets: table.sets(of: rule)) == sample.text)
    // The whole table as it is told, bytecode and all.
    #expect(NftText.text(table).contains("\t\t\(sample.text)\n"), "\(NftText.text(table))")
  }

  @Test(
    "What the kernel would not take is refused",
    arguments: [
      (SetUpdate(set: "ports", selectors: [selector("ip saddr")]), "map 'ports' leads to inet_service"),
      (
        SetUpdate(set: "ports", selectors: [selector("ip saddr")], data: [field("meta mark")]),
        "meta mark is no inet_service"
      ),
      (SetUpdate(set: "ports", selectors: [selector("ip saddr")], data: [mark(1)]), "a value of 4 bytes"),
      (
        SetUpdate(set: "counted", selectors: [selector("tcp dport")], data: [.value([0, 1])]),
        "which rules cannot put there"
      ),
      (
        SetUpdate(
          set: "targets", selectors: [selector("ip saddr"), selector("tcp dport")],
          data: [field("ip daddr"), field("ip dscp")]), "ip dscp is no inet_service"
      ),
    ])
  func refused(_ update: SetUpdate, _ message: String) {
    let error = #expect(throws: NftCompileError.self) { try Self.table(.updateSet(update)) }
    #expect(error?.message.contains(message) == true, "\(error.map { "\($0)" } ?? "nothing")")
  }

  @Test("Objects of another kind than the map's, events that are asked for: refused")
  func mistaken() {
    let cases: [(Statement, String)] = [
      (.objectMap(.limit, [Self.selector("tcp dport")], .named("counted")), "is no map to a limit"),
      (.objectMap(.counter, [Self.selector("ip saddr")], .named("counted")), "holds inet_service"),
      (
        .match(Match(Self.selector("ct event"), .equal, [.value(NftData(host: 1, width: 4))])),
        "ct event can be set, but not asked for"
      ),
    ]
    for (statement, message) in cases {
      let error = #expect(throws: NftCompileError.self) { try Self.table(statement) }
      #expect(error?.message.contains(message) == true, "\(error.map { "\($0)" } ?? "nothing")")
    }
  }
}
