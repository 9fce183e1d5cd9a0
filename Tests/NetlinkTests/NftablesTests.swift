// SPDX-License-Identifier: GPL-2.0-or-later

// Transactions and dumps against the kernel, with nft as the judge of what is there.

import Foundation
import Nftables
import SystemPackage
import Testing

@testable import Netlink

/// A namespace, a socket to its nf_tables, and nft run in it.
final class NftablesBench {
  let scratch: ScratchNamespaces
  let name: String
  let socket: NftablesSocket

  init(_ test: String, interposer: NftablesInterposer? = nil) throws {
    scratch = try ScratchNamespaces("nftables-\(test)")
    let name = scratch.name("a")
    self.name = name
    socket = try NamespaceThread().perform { (visitor) throws(NetlinkError) in
      _ = try visitor.create(name, in: .system)
      return try visitor.nftables(interposer: interposer)
    }
  }

  /// Loads a file's text with nft; its complaints, if any.
  @discardableResult
  func load(_ text: String) throws -> String {
    let path = "/tmp/\(name)-\(UUID().uuidString).nft"
    try text.write(toFile: path, atomically: true, encoding: .utf8)
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try run("nft -f \(path) 2>&1")
  }

  func list() throws -> String { try run("nft list ruleset 2>&1") }

  func run(_ command: String) throws -> String {
    // Times in rules are of the zone that nft is told.
    String(
      decoding: try output(["ip", "netns", "exec", name, "env", "TZ=UTC", "sh", "-c", command]), as: UTF8.self
    )
  }
}

private let isUsable = Requirements.isRoot && FileManager.default.isExecutableFile(atPath: "/usr/sbin/nft")

@Suite("nftables", .enabled(if: isUsable, "needs root and nft: makes network namespaces"))
struct NftablesTests {
  @Test("what nft loads, read and sent again, is what nft loaded")
  func roundTrip() throws {
    let first = try NftablesBench("one")
    #expect(try first.load(NftablesSample.text) == "")
    let observed = try first.socket.observe()
    #expect(observed.tables.count == NftablesSample.all.count)
    for table in observed.tables {
      for chain in table.chains {
        for rule in chain.rules {
          for case .unknown(let name) in rule.expressions { Issue.record("unknown expression \(name)") }
        }
        let handles = observed.handles.rules[NftChainKey(table: table.key, chain: chain.name)] ?? []
        #expect(handles.count == chain.rules.count)
      }
    }
    let second = try NftablesBench("two")
    try second.socket.apply(observed.tables.flatMap(\.creation))
    let again = try second.socket.observe()
    for (a, b) in zip(observed.tables, again.tables) {
      #expect(a.normalized == b.normalized)
    }
    // nft lists tables and chains in the order in which they were made, which is not ours.
    #expect(try first.list().split(separator: "\n").sorted() == second.list().split(separator: "\n").sorted())
  }

  @Test("our text of what nft loaded, loaded by nft, is the same again")
  func text() throws {
    let first = try NftablesBench("text-one")
    try first.load(NftablesSample.text)
    let observed = try first.socket.observe()
    let text = NftText.text(observed.tables)
    #expect(!text.contains("cannot be written"))
    let second = try NftablesBench("text-two")
    #expect(try second.load(text) == "")
    let again = try second.socket.observe()
    #expect(again.tables.count == observed.tables.count)
    for (a, b) in zip(observed.tables, again.tables) {
      #expect(a.sets.map(\.normalized) == b.sets.map(\.normalized))
      #expect(a.objects.map(\.normalized) == b.objects.map(\.normalized))
      for (old, new) in zip(a.chains, b.chains) {
        #expect(old.base == new.base)
        for (x, y) in zip(old.rules, new.rules) {
          #expect(x.normalized == y.normalized, "\(NftText.text(x, family: a.family))")
        }
      }
    }
    #expect(NftText.text(again.tables) == text)
  }

  @Test("the same transaction without its end changes nothing and is checked whole")
  func dryRun() throws {
    let bench = try NftablesBench("dry")
    let table = NftTable(family: .inet, name: "t", chains: [NftChain(name: "c")])
    try bench.socket.check(table.creation)
    #expect(try bench.list() == "")
    let wrong = NftRule(expressions: [.verdict(.jump("nowhere"))])
    let error = #expect(throws: NftablesError.self) {
      try bench.socket.check(table.creation + [.appendRule(table.key, chain: "c", wrong)])
    }
    #expect(error?.failures.map(\.index) == [2])
    #expect(error?.failures.first?.errno == .noSuchFileOrDirectory)
  }

  @Test("every refused step is named, with the expression that the kernel points at")
  func refusals() throws {
    let bench = try NftablesBench("refused")
    let key = NftTableKey(family: .ip, name: "t")
    let table = NftTable(
      family: .ip, name: "t", chains: [NftChain(name: "c", base: NftBaseChain(hook: .input))])
    let lookup = NftExpression.lookup(NftLookup(set: .named("absent"), source: .r1))
    let rule = NftRule(expressions: [
      .counter(NftCounter()), .payload(NftPayload(base: .network, offset: 12, length: 4, destination: .r1)),
      lookup,
    ])
    let error = #expect(throws: NftablesError.self) {
      try bench.socket.apply(
        table.creation + [
          .appendRule(key, chain: "c", rule), .deleteChain(key, name: "absent"),
        ])
    }
    #expect(error?.failures.map(\.index) == [2, 3])
    #expect(error?.failures.first?.expression == lookup.description)
    #expect(try bench.list() == "")
    // What depends on where a chain hangs the kernel checks at the end, for the transaction as a whole.
    let masquerade = NftRule(expressions: [.masquerade(NftMasquerade())])
    let whole = #expect(throws: NftablesError.self) {
      try bench.socket.apply(table.creation + [.appendRule(key, chain: "c", masquerade)])
    }
    #expect(whole?.errno == .notSupportedOnSocket || whole?.failures.first?.errno == .notSupportedOnSocket)
  }

  @Test("flowtables are made, read back, listed by nft, and go with their rules")
  func flowtables() throws {
    let bench = try NftablesBench("flow")
    #expect(try bench.run("ip link add v0 type veth peer name v1 2>&1") == "")
    let forward = NftChain(
      name: "c", base: NftBaseChain(hook: .forward), rules: [NftRule(expressions: [.flowOffload("f")])])
    let table = NftTable(
      family: .inet, name: "t", chains: [forward],
      flowtables: [NftFlowtable(name: "f", priority: -10, devices: ["v0", "v1"], counts: true)])
    let refusal = Result { () throws(NftablesError) in try bench.socket.apply(table.creation) }
    if case .failure(let error) = refusal {
      try Test.cancel("this kernel has no flowtables: \(error)")
    }
    let observed = try bench.socket.observe()
    #expect(observed.tables.map(\.normalized) == [table.normalized])
    let listed = try bench.list()
    for line in ["flowtable f {", "devices = { v0, v1 }", "counter", "flow add @f"] {
      #expect(listed.contains(line), "\(listed)")
    }
    // While a rule puts connections into it, it stays.
    let busy = #expect(throws: NftablesError.self) {
      try bench.socket.apply([.deleteFlowtable(table.key, name: "f")])
    }
    #expect(busy?.errno == .resourceBusy || busy?.failures.first?.errno == .resourceBusy)
    let rule = try #require(observed.handles.rule(0, of: "c", in: table.key))
    try bench.socket.apply([
      .deleteRule(table.key, chain: "c", handle: rule), .deleteFlowtable(table.key, name: "f"),
    ])
    #expect(try bench.socket.observe().tables.first?.flowtables == [])
    // Its devices may be others later, or none.
    try bench.socket.apply([.addFlowtable(table.key, NftFlowtable(name: "g"))])
    #expect(try bench.socket.observe().tables.first?.flowtables == [NftFlowtable(name: "g")])
  }

  @Test("a set of 100,000 elements is filled and read back")
  func manyElements() throws {
    let bench = try NftablesBench("many")
    let elements = (0..<100_000).map {
      NftSetElement(key: NftData(bigEndian: 0x0a00_0000 + UInt64($0), width: 4))
    }
    let set = NftSet(name: "s", keyTypes: [.ipv4Address], size: 100_000, elements: elements)
    let table = NftTable(family: .ip, name: "t", sets: [set])
    try bench.socket.apply(table.creation)
    #expect(try bench.socket.observe().tables == [table])
    let one = NftSetElement(key: NftData(bigEndian: 0x0b00_0000, width: 4))
    let error = #expect(throws: NftablesError.self) {
      try bench.socket.apply([.addElements(table.key, set, [one])])
    }
    #expect(error?.failures.first?.reason == "the set is full")
    let gone = Array(elements[10..<20])
    try bench.socket.apply([.deleteElements(table.key, set, gone)])
    #expect(try bench.socket.observe().tables.first?.sets.first?.elements.count == 99_990)
  }

  @Test("intervals are added and deleted one by one, neighbours too")
  func intervals() throws {
    let bench = try NftablesBench("intervals")
    func interval(_ first: UInt64, _ last: UInt64) -> NftSetElement {
      NftSetElement(key: NftData(bigEndian: first, width: 2), keyEnd: NftData(bigEndian: last, width: 2))
    }
    var set = NftSet(
      name: "s", keyTypes: [.port], flags: .interval, elements: [interval(1, 2), interval(3, 4)])
    let table = NftTable(family: .ip, name: "t", sets: [set])
    try bench.socket.apply(table.creation)
    let last = interval(60_000, 65_535)
    try bench.socket.apply([
      .deleteElements(table.key, set, [interval(1, 2)]),
      .addElements(table.key, set, [interval(5, 9), last]),
    ])
    set.elements = [interval(3, 4), interval(5, 9), last]
    #expect(try bench.socket.observe().tables.first?.sets == [set])
    try bench.socket.apply([.deleteElements(table.key, set, set.elements)])
    #expect(try bench.socket.observe().tables.first?.sets.first?.elements == [])
  }

  @Test("rules are put after, replaced and deleted by handle, and keep their keys and counters")
  func rulesByHandle() throws {
    let bench = try NftablesBench("handles")
    func rule(_ mark: UInt8, counts: Bool = false) -> NftRule {
      let set: [NftExpression] = [
        .immediate(.data([mark, 0, 0, 0], in: .r1)), .metaSet(NftMetaSet(key: .mark, source: .r1)),
      ]
      return NftRule(
        expressions: counts ? set + [.counter(NftCounter(packets: 7, bytes: 70))] : set, comment: "m\(mark)")
    }
    let rules = [rule(1, counts: true), rule(2), rule(3)].keyed
    let table = NftTable(family: .ip, name: "t", chains: [NftChain(name: "c", rules: rules)])
    try bench.socket.apply(table.creation)
    var observed = try bench.socket.observe(only: table.key)
    #expect(observed.tables.first?.chains.first?.rules == rules)
    let handles = try #require(observed.handles.rules[NftChainKey(table: table.key, chain: "c")])
    try bench.socket.apply(
      [
        .insertRule(table.key, chain: "c", rule(9), after: handles[0]),
        .replaceRule(table.key, chain: "c", rule(8), handle: handles[1]),
        .deleteRule(table.key, chain: "c", handle: handles[2]),
        .prependRule(table.key, chain: "c", rule(7)),
      ], expecting: observed.generation)
    observed = try bench.socket.observe()
    #expect(observed.tables.first?.chains.first?.rules.map(\.comment) == ["m7", "m1", "m9", "m8"])
    #expect(
      observed.tables.first?.chains.first?.rules[1].expressions.last
        == .counter(NftCounter(packets: 7, bytes: 70)))
  }

  @Test("a transaction planned for another generation is not made")
  func generations() throws {
    let bench = try NftablesBench("generation")
    let before = try bench.socket.observe().generation
    try bench.load("add table ip foreign")
    let error = #expect(throws: NftablesError.self) {
      try bench.socket.apply([.addTable(NftTable(family: .ip, name: "ours"))], expecting: before)
    }
    #expect(error?.code == .changed)
    #expect(try bench.socket.observe().tables.map(\.name) == ["foreign"])
  }

  @Test("a table is replaced at once")
  func replacement() throws {
    let bench = try NftablesBench("replace")
    try bench.socket.apply(NftTable(family: .ip, name: "t", chains: [NftChain(name: "old")]).replacement)
    let table = NftTable(family: .ip, name: "t", comment: "ours", chains: [NftChain(name: "new")])
    try bench.socket.apply(table.replacement)
    #expect(try bench.socket.observe().tables == [table])
  }

  @Test("any step can be made to fail by a test")
  func interposer() throws {
    let bench = try NftablesBench(
      "interposer",
      interposer: { change, _ in
        if case .addChain = change { return .noMemory }
        return nil
      })
    let error = #expect(throws: NftablesError.self) {
      try bench.socket.apply(NftTable(family: .ip, name: "t", chains: [NftChain(name: "c")]).creation)
    }
    #expect(error?.failures.first?.errno == .noMemory)
    #expect(try bench.list() == "")
  }
}
