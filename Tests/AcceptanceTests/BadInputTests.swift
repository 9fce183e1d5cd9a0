// SPDX-License-Identifier: GPL-2.0-or-later

// What is wrong is said with its place and the documented exit code, and nothing is changed.

import Foundation
import Seeds
import Testing

extension Acceptance {
  @Suite("Bad input")
  struct BadInputTests {
    struct Mistake: CustomTestStringConvertible {
      var name: String
      var text: String
      /// What standard error must hold, each of them.
      var says: [String]

      var testDescription: String { name }
    }

    static let mistakes = [
      Mistake(
        name: "does not compile", text: "import Netforge\nlet lab = Topology(\"bad\")\nlab.nod(\"a\") {}\n",
        says: ["bad.swift:3:", "error:", "nod"]),
      Mistake(
        name: "a misspelt peer",
        text: """
          import Netforge
          let lab = Topology("bad")
          let web = lab.node("web") { Interface("eth0") }
          let gw = lab.node("gw") { Interface("wan0") }
          lab.link(web["eth0"], gw["wna0"])

          """,
        says: ["bad.swift:5:", "wna0", "wan0"]),
      Mistake(
        name: "a misspelt handle",
        text: """
          import Netforge
          let lab = Topology("bad")
          let lan = lab.bridge("lan")
          lab.node("web") { Interface("eth0", on: lna) }

          """,
        says: ["bad.swift:4:", "lna"]),
      Mistake(
        name: "many mistakes at once, sorted by line",
        text: """
          import Netforge
          let lab = Topology("bad")
          let a = lab.bridge("a", subnet: "10.0.0.0/16")
          let b = lab.bridge("b", subnet: "10.0.1.0/24")
          lab.node("n") {
            Interface("eth0", on: a, address: "10.0.0.300/16")
            Interface("eth1", on: b, mtu: 1)
            Route("10.5.0.0/99", via: "10.0.0.1")
          }

          """,
        says: ["bad.swift:4:", "overlap", "bad.swift:6:", "10.0.0.300", "bad.swift:7:", "bad.swift:8:"]),
      Mistake(
        name: "2,000 nodes on one bridge",
        text: """
          import Netforge
          let lab = Topology("bad")
          let lan = lab.bridge("lan", subnet: "10.0.0.0/16")
          for i in 1...2000 { lab.node("n\\(i)") { Interface("eth0", on: lan) } }

          """,
        says: ["bad.swift:4:", "1023"]),
      Mistake(
        name: "loops for ever",
        text: "import Netforge\nlet lab = Topology(\"bad\")\nvar i = 0\nwhile true { i &+= 1 }\n",
        says: ["bad.swift", "loop"]),
      Mistake(
        name: "prints a gigabyte",
        text: """
          import Netforge
          let lab = Topology("bad")
          let line = String(repeating: "x", count: 1 << 20)
          for _ in 0..<1024 { print(line) }

          """,
        says: ["bad.swift", "printed more than 1 MiB"]),
      Mistake(
        name: "declares for ever",
        text: """
          import Netforge
          let lab = Topology("bad")
          let line = String(repeating: "x", count: 1 << 20)
          for i in 0..<1024 { lab.node("n\\(i)") { File("/f", text: line) } }

          """,
        says: ["bad.swift", "MiB"]),
      Mistake(
        name: "crashes",
        text:
          "import Netforge\nlet lab = Topology(\"bad\")\nlab.node(\"last\") {}\nlet none: [Int] = []\nprint(none[1])\n",
        says: ["bad.swift", "last"]),
      Mistake(name: "an empty file", text: "", says: ["bad.swift"]),
      Mistake(name: "no topology in it", text: "import Netforge\n", says: ["bad.swift", "Topology"]),
    ]

    @Test("A bad file: exit code 65, the place, and nothing changed", arguments: mistakes)
    func badFile(mistake: Mistake) throws {
      let caller = try #require(Caller.available.first)
      let scratch = try Scratch()
      let file = try scratch.file("bad.swift", mistake.text)
      let before = try HostSnapshot.take()
      let start = Date()
      let outcome = try caller.netforge("up", file)
      #expect(outcome.status == 65, "\(outcome)")
      #expect(Date().timeIntervalSince(start) < 60)
      var rest = outcome.error[...]
      for part in mistake.says {
        let range = rest.firstRange(of: part)
        #expect(range != nil, "'\(part)' is missing, or out of order: \(outcome)")
        if let range { rest = rest[range.lowerBound...] }
      }
      #expect(outcome.output.isEmpty && outcome.error.utf8.count < 4 << 20)
      #expect(try HostSnapshot.take() == before)
    }

    @Test("Command lines of random words end with an exit code of ours, and change nothing")
    func fuzz() throws {
      let caller = try #require(Caller.available.first)
      let before = try HostSnapshot.take()
      var random = SplitMix(9)
      // Verbs that end by themselves and only look.
      let verbs = [
        "plan", "validate", "render", "status", "ls", "graph", "nft", "ping", "version", "completion", "uq",
      ]
      let words = [
        "--name", "-f", "json", "table", "xml", "--node", "a,b", ",", "--label", "k=v", "=", "-t", "-",
        "--var",
        "x=1", "--datapath", "kernel", "nowhere", "--", "-h", "--all", "list", "bash", "e\u{301}", "", "-1",
        "--timeout", "99999999999999999999", "/dev/null", "/proc", String(repeating: "x", count: 5000),
      ]
      for _ in 0..<Rounds.of(40) {
        var line = [try #require(verbs.randomElement(using: &random))]
        for _ in 0..<Int.random(in: 0..<6, using: &random) {
          line.append(try #require(words.randomElement(using: &random)))
        }
        let outcome = try caller.netforge(line, input: "{")
        #expect([0, 1, 2, 64, 65, 69, 75, 77].contains(outcome.status), "\(outcome)")
        #expect(outcome.status == 0 || !outcome.error.isEmpty, "\(outcome)")
      }
      #expect(try HostSnapshot.take() == before)
    }

    @Test("Rendered JSON that was tampered with: exit code 65, and nothing changed")
    func tampered() throws {
      let caller = try #require(Caller.available.first)
      let scratch = try Scratch()
      let good = try caller.rendered(Host.topology("quickstart"))
      let before = try HostSnapshot.take()
      let address = "\"10.0.0.1/24\""
      try #require(good.contains(address))
      let brace = try #require(good.firstIndex(of: "{"))
      var unknown = good
      unknown.insert(contentsOf: "\"surprise\":1,", at: good.index(after: brace))
      let bad: [(String, String, String)] = [
        ("an unknown key", unknown, "surprise"),
        ("a part", String(good.prefix(good.count / 2)), "ends"),
        ("a wrong type", good.replacing(address, with: "7"), "number"),
        ("a wrong address", good.replacing("10.0.0.1/24", with: "10.0.0.1/77"), "10.0.0.1/77"),
        ("a later version", good.replacing(/"major" *: *\d+/, with: "\"major\":99"), "99"),
        ("a list", "[]", "list"), ("nothing", "", "empty"), ("null", "null", "null"),
        ("deep", String(repeating: "[", count: 100_000), "nested"),
        ("bytes", "{\"\u{0}\u{1}\u{FFFD}", "control"),
      ]
      for (name, text, word) in bad {
        let file = try scratch.file("bad.json", text)
        let named = try caller.netforge("up", file)
        #expect(named.status == 65, "\(name): \(named)")
        #expect(named.error.contains(word), "\(name): \(named)")
        // A declaration has a place of its own: the line of the file that it was rendered from.
        #expect(
          named.error.contains("bad.json: error:") || named.error.contains("quickstart.swift:9: error:"),
          "\(name): \(named)")
        let piped = try caller.netforge("validate", "-", input: text)
        #expect(piped.status == 65, "\(name), piped: \(piped)")
      }
      #expect(try HostSnapshot.take() == before)
    }

    @Test("A file that is not there, a folder, a file that nobody may read")
    func unreadable() throws {
      let caller = try #require(Caller.available.first)
      let scratch = try Scratch()
      for path in ["/nonexistent/topology.swift", scratch.folder] {
        let outcome = try caller.netforge("up", path)
        #expect(outcome.status == 65 && outcome.error.contains(path), "\(outcome)")
      }
      let empty = try caller.netforge(["up"], folder: scratch.folder)
      #expect(empty.status == 64 && empty.error.contains("init"), "\(empty)")
    }

    @Test("An unknown lab, an unknown node, an unknown verb", arguments: Caller.available)
    func unknown(caller: Caller) throws {
      let lab = TestLab(caller, "known")
      try lab.during(Host.topology("quickstart")) {
        let other = try caller.netforge("status", "--name", "unheard-of")
        #expect(other.status == 1 && other.error.contains(lab.name), "\(other)")
        for verb in [
          ["exec", "wbe1", "--", "true"], ["nft", "list", "wbe1"], ["restart", "wbe1"],
          ["ping", "web1", "wbe2"],
        ] {
          let options =
            verb[0] == "nft"
            ? Array(verb.prefix(2)) + ["--name", lab.name] + verb.dropFirst(2)
            : [verb[0], "--name", lab.name] + verb.dropFirst()
          let outcome = try caller.netforge(options)
          #expect(outcome.status == 1 && outcome.error.contains("web1, web2"), "\(outcome)")
        }
        let filtered = try lab.netforge("status", "--label", "role=none")
        #expect(filtered.status == 1, "an empty match is an error: \(filtered)")
      }
      #expect(try caller.netforge("upp", "x").status == 64)
      #expect(try caller.netforge("up", "--no-such-flag").status == 64)
      #expect(try caller.netforge("up", Host.topology("quickstart"), "--name", "Not A Name").status == 64)
    }

    @Test("A torn journal is said, and down takes the lab away all the same", arguments: Caller.available)
    func tornJournal(caller: Caller) throws {
      let before = try HostSnapshot.take()
      let lab = TestLab(caller, "torn")
      try lab.during(Host.topology("quickstart")) {
        let folder = "\(caller.labs)/\(lab.name)"
        let user =
          caller == .kernel || !Host.isRoot
          ? ["env"] : ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
        try Host.run(user + ["sh", "-c", "printf 'netforge journal 1 400 0000' > \(folder)/journal"])
        let up = try lab.up(Host.topology("quickstart"))
        #expect(up.status == 65 && up.error.contains("journal") && up.error.contains("down"), "\(up)")
        #expect(try lab.ping("web1", "web2").isAnswered)
      }
      #expect(try HostSnapshot.take() == before)
    }
  }
}
