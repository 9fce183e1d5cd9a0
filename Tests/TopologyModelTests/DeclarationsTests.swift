// SPDX-License-Identifier: GPL-2.0-or-later

// Rendered JSON: what it takes, what it refuses, and that nothing makes it trap.

import LabCore
import NetTypes
import Seeds
import Testing

@testable import TopologyModel

/// A document with something of everything.
private let everything = lines(
  head("shop"),
  bridge(
    "lan", "10.0.0.0/24", "fd00::/64",
    options: #""stp":true,"ageingNanoseconds":60000000000,"labels":{"b":"1","a":"2"},"#),
  #"{"kind":"internet","name":"internet","via":"host",@}"#,
  router(
    "gw",
    interface(
      "eth0", on: "lan", "10.0.0.1/24",
      more: #""impairment":{"lossPercent":0.5,"seed":18446744073709551615},"#),
    interface("wan0", on: "internet"), route("default", via: #"{"internet":"internet"}"#),
    item(
      "bridge", #""name":"br0","addresses":["10.7.0.1/24"],"ports":[{"name":"d0","port":{"hairpin":true},@}]"#
    ),
    item("dummy", #""name":"d0""#), item("masquerade", #""out":"wan0""#),
    item(
      "firewall",
      #""policy":"drop","sets":[{"name":"s","elements":["10.0.0.9"],@}],"rules":[{"action":"accept","matches":["state new","tcp 80-90","limit 5/minute burst 3"],"sourceSet":"s",@}]"#
    ),
    item(
      "table",
      #""name":"t","family":"inet","chains":[{"name":"c","type":"filter","hook":"input","priority":0,"rules":[{"statements":[{"kind":"match","selectors":["tcp dport"],"is":"equal","values":[["22"],["80-90"]]},{"kind":"verdict","verdict":"accept"}],@}],@}]"#
    ),
    item("sysctl", #""name":"net.ipv4.ip_forward","value":"1""#)),
  node(
    "web", interface("eth0", on: "lan"), route("default", via: #"{"node":"gw"}"#),
    item("service", #""service":"http","port":80"#),
    item("file", #""path":"/etc/motd","text":"a \"quoted\" \u0001 line\n""#)),
  #"{"kind":"expectation","what":"reaches","source":{"node":"gw"},"target":{"node":"web"},"probe":{"transport":"tcp","port":80},@}"#,
  #"{"kind":"event","atNanoseconds":5000000000,"actions":[{"action":"linkDown","interface":{"node":"web","interface":"eth0"}}],@}"#
)

@Suite("Rendered JSON")
struct DeclarationsTests {
  private func complaint(_ text: String) -> String {
    do throws(TopologyErrors) {
      _ = try Declarations(json: Array(text.utf8))
      return ""
    } catch {
      return error.description
    }
  }

  private func document(of declaration: String) -> String {
    #"{"schemaVersion":{"major":1,"minor":0},"declarations":[\#(declaration)]}"#
  }

  @Test("comes back the same, and its second writing is the first")
  func roundTrip() throws {
    let declarations = try Declarations(json: TopologyModelTests.document(everything))
    let json = declarations.json
    let again = try Declarations(json: Array(json.utf8))
    #expect(again == declarations)
    #expect(again.json == json)
    #expect(try Topology(again) == Topology(declarations))
    #expect(declarations.name == "shop")
    #expect(declarations.renamed("other").name == "other")
  }

  @Test("has its keys in one order, whatever order they came in")
  func order() throws {
    let there = document(of: #"{"name":"a","line":3,"file":"f.swift","kind":"topology"}"#)
    let declarations = try Declarations(json: Array(there.utf8))
    #expect(
      declarations.json
        == #"{"schemaVersion":{"major":1,"minor":0},"declarations":[{"kind":"topology","name":"a","file":"f.swift","line":3}]}"#
        + "\n")
  }

  @Test(
    "is refused with the path of what is wrong",
    arguments: [
      (
        #"{"kind":"topology","nmae":"a","file":"f","line":1}"#,
        "/declarations/0/nmae: unknown key; did you mean 'name'?"
      ),
      (#"{"kind":"topology","file":"f","line":1}"#, "f:1: error: /declarations/0: has no 'name'"),
      (
        #"{"kind":"topologie","name":"a","file":"f","line":1}"#,
        "/declarations/0/kind: 'topologie' is no kind of declaration that may stand here; did you mean 'topology'?"
      ),
      (#"{"name":"a"}"#, "/declarations/0: has no 'kind'"),
      (
        #"{"kind":"topology","name":7,"file":"f","line":1}"#,
        "/declarations/0/name: should be text, not a number"
      ),
      (
        #"{"kind":"bridge","name":"a","mtu":1.5,"file":"f","line":1}"#,
        "/declarations/0/mtu: 1.5 is not a whole number"
      ),
      (
        #"{"kind":"bridge","name":"a","mtu":99999999999999999999,"file":"f","line":1}"#,
        "is not a whole number of 64 bits"
      ),
      (
        #"{"kind":"bridge","name":"a","labels":{"x":1},"file":"f","line":1}"#,
        "/declarations/0/labels/x: should be text"
      ),
      (
        #"{"kind":"node","name":"a","body":[{"kind":"interface","name":"e","mut":1,"file":"f","line":9}],"file":"f","line":1}"#,
        "f:9: error: /declarations/0/body/0/mut: unknown key; did you mean 'mtu'?"
      ),
      (
        #"{"kind":"node","name":"a","body":{},"file":"f","line":1}"#,
        "/declarations/0/body: should be a list, not an object"
      ),
      (#"{"kind":"failure","message":"a","file":"f","line":1}"#, "'failure' is no kind of declaration"),
    ])
  func shape(declaration: String, expected: String) {
    #expect(
      complaint(document(of: declaration)).contains(expected), "\(complaint(document(of: declaration)))")
  }

  @Test(
    "of another version, or of none, is refused",
    arguments: [
      (#"{"declarations":[]}"#, "there is no 'schemaVersion'"),
      (
        #"{"schemaVersion":{"major":2,"minor":0},"declarations":[]}"#,
        "version 2.0 is not one that this netforge reads"
      ),
      (#"{"schemaVersion":1,"declarations":[]}"#, "/schemaVersion: should be"),
      (#"{"schemaVersion":{"major":1,"minor":7},"declarations":[],"more":1}"#, "newer than this netforge"),
      (#"{"schemaVersion":{"major":1,"minor":0}}"#, "has no 'declarations'"),
      ("[]", "should be an object"), ("", "not JSON: line 1, column 1"), ("{", "not JSON"),
      (#"{"a":1,"a":2}"#, "the key 'a' stands twice"), (#"{"a":1} x"#, "more after the end"),
      (String(repeating: "[", count: 100_000), "nested too deeply"), (#"{"a":"\ud800"}"#, "surrogate"),
    ])
  func version(text: String, expected: String) {
    #expect(complaint(text).contains(expected), "\(complaint(text))")
  }

  @Test("cut short at any length is an error and nothing else")
  func truncation() throws {
    let bytes = TopologyModelTests.document(everything)
    for length in bytes.indices {
      #expect(throws: TopologyErrors.self) { _ = try Declarations(json: Array(bytes[..<length])) }
    }
  }

  @Test("with bytes changed at random is decoded and checked, or refused")
  func mutation() {
    let bytes = TopologyModelTests.document(everything)
    var random = SplitMix(7)
    for _ in 0..<Rounds.of(3000) {
      var mutated = bytes
      mutated.damage(&random)
      do throws(TopologyErrors) {
        _ = try Topology(try Declarations(json: mutated))
      } catch {
        if error.errors.isEmpty { Issue.record("an error without a complaint") }
      }
    }
  }

  @Test("with numbers at their limits does not trap")
  func extremes() throws {
    for number in ["-9223372036854775808", "9223372036854775807", "0", "-1", "4294967296", "1e300"] {
      let text = everything.replacing("60000000000", with: number).replacing("5000000000", with: number)
        .replacing("\"port\":80", with: "\"port\":\(number)").replacing("0.5", with: number)
      do throws(TopologyErrors) { _ = try topology(text) } catch { #expect(!error.errors.isEmpty) }
    }
  }
}

@Suite("The stream of declarations of a program")
struct DeclarationStreamTests {
  private let header = #"{"schemaVersion":{"major":1,"minor":0}}"#
  private let first = #"{"kind":"topology","name":"a","file":"main.swift","line":3}"#
  private let second = #"{"kind":"node","name":"web","file":"main.swift","line":5}"#

  private func stream(_ text: String, paths: [String: String] = [:]) throws(TopologyErrors)
    -> DeclarationStream
  {
    try DeclarationStream(Array(text.utf8), paths: paths)
  }

  @Test("is complete with its end marker")
  func complete() throws {
    let stream = try stream(
      [header, first, second, #"{"end":2}"#, ""].joined(separator: "\n"),
      paths: ["main.swift": "labs/a.swift"])
    #expect(stream.isComplete)
    #expect(stream.declarations.name == "a")
    #expect(stream.last?.what == "node 'web'")
    #expect(stream.last?.location == SourceLocation(file: "labs/a.swift", line: 5))
  }

  @Test("of a crashed program says the last declaration that was reached")
  func crashed() throws {
    let stream = try stream([header, first, second, #"{"kind":"no"#].joined(separator: "\n"))
    #expect(!stream.isComplete)
    #expect(stream.last?.what == "node 'web'")
    #expect(stream.last?.location.line == 5)
    let nothing = try DeclarationStream([])
    #expect(!nothing.isComplete)
    #expect(nothing.last == nil)
  }

  @Test("keeps apart what the program read, asked for, and found wrong")
  func meta() throws {
    let stream = try stream(
      [
        header, first, #"{"kind":"read","path":"x.nft","file":"main.swift","line":7}"#,
        #"{"kind":"variable","name":"k","file":"main.swift","line":8}"#,
        #"{"kind":"failure","message":"cannot read 'x.nft'","file":"main.swift","line":7}"#, #"{"end":4}"#,
        "",
      ].joined(separator: "\n"))
    #expect(stream.filesRead == ["x.nft"])
    #expect(stream.variables == ["k"])
    #expect(stream.failures.map(\.description) == ["main.swift:7: error: cannot read 'x.nft'"])
    #expect(!stream.declarations.json.contains("failure"))
  }

  @Test(
    "with a wrong count, or with more after its end, is refused",
    arguments: ["{\"end\":5}\n", "{\"end\":2}\n{}\n"])
  func tampered(end: String) {
    #expect(throws: TopologyErrors.self) {
      _ = try stream([header, first, second, end].joined(separator: "\n"))
    }
  }

  @Test("with bytes changed at random is read, or refused with a complaint")
  func mutation() {
    let bytes = Array([header, first, second, #"{"end":2}"#, ""].joined(separator: "\n").utf8)
    var random = SplitMix(11)
    for _ in 0..<Rounds.of(1000) {
      var mutated = bytes
      mutated.damage(&random)
      do throws(TopologyErrors) {
        _ = try DeclarationStream(mutated)
      } catch {
        if error.errors.isEmpty { Issue.record("an error without a complaint") }
      }
    }
  }

  @Test("cut short at any length is incomplete or refused")
  func truncation() throws {
    let bytes = Array([header, first, second, #"{"end":2}"#, ""].joined(separator: "\n").utf8)
    for length in bytes.indices {
      do throws(TopologyErrors) {
        let stream = try DeclarationStream(Array(bytes[..<length]))
        #expect(!stream.isComplete)
      } catch {
        #expect(!error.errors.isEmpty)
      }
    }
  }
}
