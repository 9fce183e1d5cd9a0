// SPDX-License-Identifier: GPL-2.0-or-later

// JSON that says it is nft's: whatever it is, it is taken or refused with its place.

import Nftables
import Seeds
import Testing

@testable import TopologyModel

@Suite("Rulesets in nft's JSON")
struct RulesetTests {
  static let position = NftSourcePosition(file: "lab.swift", line: 7)

  static let rich = """
    {"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
    {"table": {"family": "inet", "name": "t", "handle": 1}},
    {"counter": {"family": "inet", "name": "c", "table": "t", "packets": 3, "bytes": 4}},
    {"quota": {"family": "inet", "name": "q", "table": "t", "bytes": 10485760, "used": 0, "inv": true}},
    {"limit": {"family": "inet", "name": "l", "table": "t", "rate": 10, "per": "second", "burst": 5}},
    {"ct helper": {"family": "inet", "name": "f", "table": "t", "type": "ftp", "protocol": "tcp"}},
    {"ct timeout": {"family": "inet", "name": "o", "table": "t", "protocol": "tcp", "policy": {"close": 5}}},
    {"set": {"family": "inet", "name": "s", "table": "t", "type": "ipv4_addr", "flags": ["interval"],
     "elem": [{"prefix": {"addr": "10.0.0.0", "len": 24}}, "10.1.0.1"]}},
    {"map": {"family": "inet", "name": "m", "table": "t", "type": "inet_service",
     "map": "ipv4_addr . inet_service", "elem": [[80, {"concat": ["10.0.0.2", 8080]}]]}},
    {"map": {"family": "inet", "name": "d", "table": "t", "type": "ipv4_addr", "map": "mark", "size": 9,
     "flags": ["dynamic", "timeout"], "timeout": 60}},
    {"map": {"family": "inet", "name": "r", "table": "t", "type": "inet_service", "map": "limit",
     "elem": [[22, "l"]]}},
    {"chain": {"family": "inet", "table": "t", "name": "i", "type": "filter", "hook": "input", "prio": 0,
     "policy": "drop"}},
    {"chain": {"family": "inet", "table": "t", "name": "p", "type": "nat", "hook": "prerouting", "prio": -100}},
    {"chain": {"family": "inet", "table": "t", "name": "o"}},
    {"flowtable": {"family": "inet", "name": "z", "table": "t", "hook": "ingress", "prio": -5, "dev": ["b", "a"]}},
    {"chain": {"family": "inet", "table": "t", "name": "w", "type": "filter", "hook": "forward", "prio": 0}},
    {"rule": {"family": "inet", "table": "t", "chain": "w", "expr": [{"flow": {"op": "add", "flowtable": "@z"}}]}},
    {"rule": {"family": "inet", "table": "t", "chain": "i", "comment": "x", "expr": [
     {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}},
     {"counter": "c"}, {"limit": "l"}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "t", "chain": "i", "expr": [
     {"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["syn", "ack"]]},
      "right": "syn"}}, {"quota": "q"}, {"ct helper": "f"}, {"log": {"prefix": "a", "flags": "all"}}]}},
    {"rule": {"family": "inet", "table": "t", "chain": "i", "expr": [
     {"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"map": {"key": {"jhash": {"mod": 2, "expr":
      {"payload": {"protocol": "ip", "field": "saddr"}}}}, "data": {"set": [[0, 1], [1, 2]]}}}}},
     {"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set":
      [[22, {"accept": null}], [80, {"jump": {"target": "o"}}]]}}}]}},
    {"rule": {"family": "inet", "table": "t", "chain": "p", "expr": [
     {"dnat": {"family": "ip", "addr": {"map": {"key": {"payload": {"protocol": "tcp", "field": "dport"}},
      "data": "@m"}}}}]}}]}
    """

  private func read(_ text: some StringProtocol) -> Result<Ruleset, RulesetError> {
    Result { () throws(RulesetError) in try RulesetReader.read(Array(text.utf8), at: Self.position) }
  }

  @Test("A rich one is taken and compiles")
  func taken() throws {
    let ruleset = try read(Self.rich).get()
    let table = try #require(ruleset.tables.first)
    #expect(table.chains.map(\.name) == ["i", "p", "o", "w"])
    #expect(table.chains.first?.rules.count == 3)
    #expect(table.chains.first?.rules.first?.position == Self.position)
    guard case .success(let tables) = Compiler.compile(ruleset) else {
      Issue.record("\(Compiler.compile(ruleset))")
      return
    }
    #expect(tables.first?.objects.count == 5)
    #expect(tables.first?.flowtables == [NftFlowtable(name: "z", priority: -5, devices: ["a", "b"])])
    #expect(tables.first?.chain("w")?.rules.first?.expressions == [.flowOffload("z")])
  }

  @Test(
    "A SYN proxy stands in a rule too",
    arguments: [
      ("null", NftSynproxy()), (#"{"mss": 1200}"#, NftSynproxy(maximumSegment: 1200, flags: 1)),
      (
        #"{"mss": 1460, "wscale": 7, "flags": ["timestamp", "sack-perm"]}"#,
        NftSynproxy(maximumSegment: 1460, windowScale: 7, flags: 15)
      ), (#"{"flags": ["sack-perm"]}"#, NftSynproxy(flags: 4)),
    ])
  func synproxy(_ text: String, _ proxy: NftSynproxy) throws {
    let flow = #"{"flow": {"op": "add", "flowtable": "@z"}}"#
    let ruleset = try read(Self.rich.replacing(flow, with: #"{"synproxy": \#(text)}"#)).get()
    let tables = try Compiler.compile(ruleset).get()
    #expect(tables.first?.chain("w")?.rules.first?.expressions == [.synproxy(proxy)])
  }

  @Test(
    "Rules that fill maps, as JSON and as the text that older versions of nft have there",
    arguments: [
      (
        #"{"map": {"op": "update", "elem": {"elem": {"val": {"payload": {"protocol": "ip", "field": "saddr"}}, "timeout": 5}}, "data": 7, "map": "@d", "stmt": [{"counter": null}]}}"#,
        "update @d { ip saddr timeout 5s counter packets 0 bytes 0 : 0x00000007 }"
      ),
      (
        #"{"map": {"op": "delete", "elem": {"payload": {"protocol": "ip", "field": "saddr"}}, "data": {"ct": {"key": "mark"}}, "map": "@d"}}"#,
        "delete @d { ip saddr : ct mark }"
      ),
      (
        #""add @d { ip saddr timeout 1m1s500ms : 0x00000010 }""#,
        "add @d { ip saddr timeout 1m1s500ms : 0x00000010 }"
      ),
      (#""add @d { ip saddr : meta mark }""#, "add @d { ip saddr : meta mark }"),
      (
        #"{"limit": {"map": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": "@r"}}}"#,
        "limit name tcp dport map @r"
      ),
      (
        #"{"mangle": {"key": {"ct": {"key": "event"}}, "value": ["new", "destroy"]}}"#,
        "ct event set new,destroy"
      ),
      (#"{"mangle": {"key": {"ct": {"key": "event"}}, "value": "label"}}"#, "ct event set label"),
    ])
  func maps(_ json: String, _ text: String) throws {
    let flow = #"{"flow": {"op": "add", "flowtable": "@z"}}"#
    let ruleset = try read(Self.rich.replacing(flow, with: json)).get()
    let table = try #require(Compiler.compile(ruleset).get().first)
    let rule = try #require(table.chain("w")?.rules.first)
    #expect(NftText.text(rule, family: .inet, sets: table.sets) == text)
  }

  @Test(
    "What is not understood is named with its place",
    arguments: [
      ("{\"nftables\": [", "line 1, column 15"), ("[]", "no list 'nftables'"),
      ("{\"nftables\": [7]}", "a number"),
      ("{\"nftables\": [{\"secmark\": {}}]}", "'secmark' is not understood"),
      ("{\"nftables\": [{\"table\": {\"family\": \"x\", \"name\": \"t\"}}]}", "no family 'x'"),
      (
        "{\"nftables\": [{\"rule\": {\"family\": \"ip\", \"table\": \"t\", \"chain\": \"c\"}}]}",
        "there is no table ip t"
      ),
    ])
  func refused(_ text: String, _ message: String) {
    guard case .failure(let error) = read(text) else {
      Issue.record("taken: \(text)")
      return
    }
    #expect(error.description.contains(message), "\(error)")
  }

  @Test(
    "An expression that is not understood is named with its rule",
    arguments: [
      ("\"counter\": \"c\"", "\"queue\": {\"num\": 1}", "rule 1: the statement 'queue' is not understood"),
      ("\"field\": \"saddr\"", "\"field\": \"saddrr\"", "rule 3: the field 'ip saddrr' is not understood"),
      ("\"op\": \"in\"", "\"op\": \"~\"", "there is no comparison '~'"),
      ("\"counter\": \"c\"", "\"synproxy\": {\"mss\": 65536}", "a synproxy's MSS has 16 bits"),
      ("\"mod\": 2", "\"mod\": 0", "'mod' should be 1 at least"),
      ("\"len\": 24", "\"len\": 240", "a prefix of 240 bits"),
      ("[22, {\"accept\": null}]", "[22]", "a key and a value"),
      (
        "{\"counter\": \"c\"}", "\"add @m { ip saddr }\"",
        "rule 1: the statement 'add @m { ip saddr }' is not"
      ),
      ("{\"counter\": \"c\"}", "\"add @s { ip saddr : 1 }\"", "there is no map 's' to values"),
      ("{\"counter\": \"c\"}", "\"add @d { ip sadr : 1 }\"", "'ip sadr' is not understood"),
      ("{\"counter\": \"c\"}", "\"add @d { ip saddr : blue }\"", "'blue' is no mark"),
      ("{\"counter\": \"c\"}", "\"add @d { ip saddr timeout 5x : 1 }\"", "'5x' is no time"),
      ("{\"counter\": \"c\"}", "\"add @d { ip saddr : 1 . 2 }\"", "2 values stand where 1 should"),
    ])
  func named(_ old: String, _ new: String, _ message: String) {
    guard case .failure(let error) = read(Self.rich.replacing(old, with: new)) else {
      Issue.record("taken: \(new)")
      return
    }
    #expect(error.description.contains(message), "\(error)")
  }

  @Test(
    "More than eight raw bytes that begin or end within one are an error, not a crash",
    arguments: [
      #"{"payload": {"base": "nh", "offset": 4, "len": 65}}"#,
      #"{"payload": {"base": "th", "offset": 0, "len": 511}}"#,
      #"{"tcp option": {"base": 200, "offset": 12, "len": 64}}"#,
      #"{"tcp option": {"base": 200, "offset": 8, "len": 315}}"#,
    ])
  func wideFields(_ field: String) throws {
    let flow = #"{"flow": {"op": "add", "flowtable": "@z"}}"#
    let match = #"{"match": {"op": "==", "left": \#(field), "right": 5}}"#
    let ruleset = try read(Self.rich.replacing(flow, with: match)).get()
    guard case .failure(let errors) = Compiler.compile(ruleset) else {
      Issue.record("compiled: \(field)")
      return
    }
    #expect("\(errors)".contains("more than eight bytes that begin or end within one"), "\(errors)")
  }

  @Test("What is wrong with a file is told at the line that names it")
  func lines() {
    func said(_ fields: String) -> [String] {
      complaints("\(head())\n\(node("gw", item("ruleset", "\"path\":\"x.nft\",\(fields)")))")
    }
    let none = #""json":"{\"error\":\"'x.nft' needs nft, which is not installed here\"}""#
    #expect(
      said(none) == [
        "topology.swift:2: error: node 'gw': ruleset 'x.nft': 'x.nft' needs nft, which is not installed here"
      ])
    #expect(said(#""failure":"cannot read 'x.nft'""#).first?.contains("cannot read") == true)
    #expect(said(#""json":"[1""#).first?.contains("line 1, column 3") == true)
    let kept = #"{\"nftables\":[{\"table\":{\"family\":\"ip\",\"name\":\"netforge-lab\"}}]}"#
    #expect(said(#""json":"\#(kept)""#).first?.contains("kept for the short form") == true)
  }

  @Test("No cut, changed byte or exchanged value does worse than an error")
  func hostile() {
    let bytes = Array(Self.rich.utf8)
    for end in stride(from: 0, to: bytes.count, by: 7) {
      _ = read(String(decoding: bytes[..<end], as: UTF8.self))
    }
    var generator = SplitMix(4)
    let values = [
      "null", "-1", "1e999", "\"\"", "[]", "{}", "99999999999999999999", "true", "\"@\"", "[[[[]]]]",
    ]
    for _ in 0..<2000 {
      var changed = bytes
      let place = Int.random(in: 0..<bytes.count, using: &generator)
      if Bool.random(using: &generator) {
        changed[place] = UInt8.random(in: 0x20..<0x7f, using: &generator)
      } else if let colon = bytes[place...].firstIndex(of: 0x3a) {
        let end = bytes[(colon + 1)...].firstIndex { $0 == 0x2c || $0 == 0x7d } ?? bytes.count
        changed.replaceSubrange(
          (colon + 1)..<end, with: Array((values.randomElement(using: &generator) ?? "").utf8))
      }
      if case .success(let ruleset) = read(String(decoding: changed, as: UTF8.self)) {
        _ = Compiler.compile(ruleset)
      }
    }
  }
}
