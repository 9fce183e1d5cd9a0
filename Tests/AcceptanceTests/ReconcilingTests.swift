// SPDX-License-Identifier: GPL-2.0-or-later

// A lab that is up, and then a file that says something else, or a hand that changed something.

import Foundation
import Testing

extension Acceptance {
  @Suite("Reconciling", .enabled(if: Host.has("ip", "ping"), "needs ip and ping"))
  struct ReconcilingTests {
    static let base = """
      import Netforge

      let lab = Topology("change")
      let lan = lab.bridge("lan", subnet: "10.9.0.0/24")

      let gw = lab.router("gw") {
        Interface("lan0", on: lan, address: "10.9.0.1/24")
        Interface("up0", address: "10.8.0.1/30")
        Route("10.7.0.0/16", via: "10.8.0.2")
        Sysctl("net.ipv4.tcp_syncookies", 1)
        Firewall(policy: .drop) {
          Accept(.established, .related)
          Accept(.tcp(80), from: "lan0", to: "up0")
          Accept(.ping)
        }
      }

      let far = lab.node("far") {
        Interface("eth0", address: "10.8.0.2/30")
        Route(.default, via: "10.8.0.1")
      }
      lab.link(gw["up0"], far["eth0"])

      let a = lab.node("a") {
        Interface("eth0", on: lan)
        Route(.default, via: gw)
      }
      let b = lab.node("b") {
        Interface("eth0", on: lan)
        Route(.default, via: gw)
      }

      """

    struct Edit: CustomTestStringConvertible {
      var name: String
      var old: String
      var new: String
      /// What the paths of its changes begin with.
      var paths: [String]

      init(name: String, old: String, new: String, path: String...) {
        (self.name, self.old, self.new, paths) = (name, old, new, path)
      }

      var testDescription: String { name }
    }

    /// Each is one change of one object, and so is the way back.
    static let edits = [
      Edit(
        name: "an address", old: "address: \"10.8.0.1/30\")",
        new: "addresses: [\"10.8.0.1/30\", \"10.88.0.1/24\"])",
        path: "/nodes/gw/addresses/up0"),
      Edit(
        name: "a route", old: "  Sysctl(", new: "  Route(\"10.6.0.0/16\", via: \"10.8.0.2\")\n  Sysctl(",
        path: "/nodes/gw/routes/"),
      Edit(
        name: "a route's gateway", old: "Route(\"10.7.0.0/16\", via: \"10.8.0.2\")",
        new: "Route(\"10.7.0.0/16\", via: \"10.9.0.77\")", path: "/nodes/gw/routes/"),
      Edit(
        name: "a firewall rule", old: "    Accept(.ping)\n",
        new: "    Accept(.ping)\n    Accept(.tcp(443), from: \"lan0\")\n",
        path: "/nodes/gw/nft-rules/"),
      Edit(
        name: "a sysctl", old: "tcp_syncookies\", 1", new: "tcp_syncookies\", 0", path: "/nodes/gw/sysctls/"),
      // Out again, each has the value that it would have in a namespace made anew.
      Edit(
        name: "a setting that was not there", old: "  Sysctl(",
        new: "  Sysctl(\"net.ipv4.tcp_keepalive_time\", 77)\n  Sysctl(", path: "/nodes/gw/sysctls/"),
      Edit(
        name: "a device's setting that was not there", old: "  Sysctl(",
        new: "  Sysctl(\"net.ipv4.conf.up0.proxy_arp\", 1)\n  Sysctl(", path: "/nodes/gw/sysctls/"),
      Edit(
        name: "an MTU, which both ends of a cable share", old: "\"10.8.0.2/30\")",
        new: "\"10.8.0.2/30\", mtu: 1400)",
        path: "/nodes/far/links/eth0/mtu", "/nodes/gw/links/up0/mtu"),
      Edit(
        name: "a port's option", old: "let b = lab.node(\"b\") {\n  Interface(\"eth0\", on: lan)",
        new: "let b = lab.node(\"b\") {\n  Interface(\"eth0\", on: lan, port: .isolated)",
        path: "/switch/links/"),
    ]

    @Test("A changed line is one change in place, and so is the way back", arguments: Caller.available)
    func oneChange(caller: Caller) throws {
      let lab = TestLab(caller, "change")
      let scratch = try Scratch()
      let base = try scratch.file("base.swift", Self.base)
      try lab.live(base) {
        let indexes = try lab.indexes("gw", "far", "a", "b")
        for edit in Self.edits {
          let file = try scratch.file("edited.swift", scratch.edited(Self.base, [(edit.old, edit.new)]))
          let plan = try lab.plan(file)
          #expect(plan.count == edit.paths.count, "\(edit.name): \(plan)")
          for (change, path) in zip(plan, edit.paths) {
            #expect(change.path.hasPrefix(path), "\(edit.name): \(plan)")
          }
          let up = try lab.up(file, "-f", "json")
          #expect(up.status == 0, "\(edit.name): \(up)")
          #expect(try lab.changes(up) == plan, "\(edit.name)")
          #expect(try lab.plan(file).isEmpty, "\(edit.name)")
          let back = try lab.up(base, "-f", "json")
          #expect(back.status == 0, "\(edit.name): \(back)")
          #expect(try lab.changes(back).count == edit.paths.count, "back from \(edit.name): \(back)")
          #expect(try lab.plan(base).isEmpty, "back from \(edit.name)")
        }
        #expect(try lab.indexes("gw", "far", "a", "b") == indexes, "no device was made anew")
        #expect(try lab.ping("a", "10.8.0.2").ttl == 63)
      }
    }

    @Test(
      "A node put in the middle leaves the others as they are, and goes again", arguments: Caller.available)
    func addedNode(caller: Caller) throws {
      let lab = TestLab(caller, "middle")
      let scratch = try Scratch()
      let base = try scratch.file("base.swift", Self.base)
      let node = "let new = lab.node(\"new\") {\n  Interface(\"eth0\", on: lan)\n}\n"
      let file = try scratch.file("more.swift", scratch.edited(Self.base, [("let a = ", node + "let a = ")]))
      try lab.live(base) {
        let before = try (
          lab.indexes("gw", "far", "a", "b"), lab.addresses("a", "eth0"), lab.addresses("b", "eth0")
        )
        let up = try lab.up(file, "-f", "json")
        #expect(up.status == 0, "\(up)")
        let strangers = try lab.changes(up).filter {
          !$0.path.hasPrefix("/nodes/new") && !$0.path.hasPrefix("/switch")
        }
        #expect(strangers.isEmpty, "\(strangers)")
        let after = try (
          lab.indexes("gw", "far", "a", "b"), lab.addresses("a", "eth0"), lab.addresses("b", "eth0")
        )
        #expect(after == before)
        let own = try #require(try lab.addresses("new", "eth0").first)
        #expect(own != before.1.first && own != before.2.first)
        #expect(try lab.ping("a", String(own.prefix { $0 != "/" })).isAnswered)

        let less = try lab.up(base, "-f", "json")
        #expect(less.status == 0, "\(less)")
        #expect(try lab.changes(less).allSatisfy { $0.operation == "delete" }, "\(less)")
        #expect(try lab.exec("new", "true").error.contains("far"), "an unknown node lists the known ones")
        #expect(try lab.addresses("b", "eth0") == before.2)
        let last = try (lab.indexes("gw", "far", "a", "b"))
        #expect(last == before.0)
      }
    }

    @Test(
      "three-router-ring: with a link down and routes the long way round, one hop more",
      arguments: Caller.available)
    func longWay(caller: Caller) throws {
      let lab = TestLab(caller, "ring-change")
      let file = Host.topology("three-router-ring")
      try lab.live(file) {
        let nodes = try lab.indexes("router1", "router2", "router3", "pc1")
        let up = try lab.up(file, "--var", "detour=yes")
        #expect(up.status == 0, "\(up)")
        let echo = try lab.ping("pc1", "192.168.12.2")
        #expect(echo.ttl == 61, "\(echo.text)")
        #expect(try lab.indexes("router1", "router2", "router3", "pc1") == nodes)
        #expect(try lab.plan(file, "--var", "detour=yes").isEmpty)
        #expect(try lab.up(file).status == 0)
        #expect(try lab.ping("pc1", "192.168.12.2").ttl == 62)

        // A hand takes an address away.
        try lab.inside("router2", "ip", "addr", "del", "192.168.12.1/24", "dev", "eth3")
        let drift = try lab.plan(file)
        #expect(drift.count == 1 && drift.first?.operation == "create", "\(drift)")
        #expect(try lab.up(file).status == 0)
        #expect(try lab.addresses("router2", "eth3") == ["192.168.12.1/24"])
      }
    }

    @Test("Changes by hand are shown and mended", arguments: Caller.available)
    func drift(caller: Caller) throws {
      let lab = TestLab(caller, "drift")
      let scratch = try Scratch()
      let base = try scratch.file("base.swift", Self.base)
      try lab.live(base) {
        let hands: [(String, [String])] = [
          ("an address", ["ip", "addr", "del", "10.9.0.1/24", "dev", "lan0"]),
          ("an MTU", ["ip", "link", "set", "up0", "mtu", "1300"]),
          ("a device down", ["ip", "link", "set", "up0", "down"]),
          ("a route", ["ip", "route", "del", "10.7.0.0/16"]),
          ("a route's gateway", ["ip", "route", "replace", "10.7.0.0/16", "via", "10.9.0.44"]),
          ("a setting", ["sysctl", "-w", "net.ipv4.tcp_syncookies=0"]),
          ("forwarding", ["sysctl", "-w", "net.ipv4.ip_forward=0"]),
          ("the firewall", ["nft", "flush", "ruleset"]),
          (
            "rules",
            [
              "sh", "-c",
              "nft flush chain inet netforge-\(lab.name) forward || nft flush table inet netforge-\(lab.name)",
            ]
          ),
        ]
        for (name, command) in hands {
          let done = try lab.exec("gw", command)
          try #require(done.status == 0, "\(name): \(done)")
          let plan = try lab.netforge("plan", base, "--detailed-exitcode", "-f", "json")
          #expect(plan.status == 2, "\(name): \(plan)")
          let status = try lab.netforge("status", "-f", "json").json()
          #expect((status["drift"] as? [String])?.isEmpty == false, "\(name): \(status)")
          let up = try lab.up(base)
          #expect(up.status == 0, "\(name): \(up)")
          #expect(try lab.plan(base).isEmpty, "\(name)")
          let echo = try lab.ping("a", "10.8.0.2")
          #expect(echo.ttl == 63, "\(name): \(echo.text)")
        }
      }
    }

    @Test("A spanning tree that ages faster for a while is no drift", arguments: Caller.available)
    func ageing(caller: Caller) throws {
      let lab = TestLab(caller, "stp")
      let scratch = try Scratch()
      let text = """
        import Netforge
        let lab = Topology("stp")
        let a = lab.node("a") {
          Interface("eth0")
          Bridge("br0", ports: ["eth0"], stp: true, ageing: .seconds(100))
        }
        let b = lab.node("b") { Interface("eth0") }
        lab.link(a["eth0"], b["eth0"])

        """
      let base = try scratch.file("base.swift", text)
      try lab.live(base) {
        for command in [
          ["ip", "link", "set", "br0", "type", "bridge", "forward_delay", "200"],
          ["ip", "link", "set", "eth0", "down"], ["ip", "link", "set", "eth0", "up"],
        ] {
          #expect(try lab.exec("a", command).status == 0)
        }
        func bridge() throws -> (isChanging: Bool, ageing: Int?) {
          let links = try lab.exec("a", "ip", "-d", "-j", "link", "show", "br0").list()
          let data = (links.first?["linkinfo"] as? [String: Any])?["info_data"] as? [String: Any]
          return (data?["topology_change"] as? Int == 1, data?["ageing_time"] as? Int)
        }
        // The port forwards after twice the delay, and the tree has changed.
        let deadline = Date() + 20
        while try !bridge().isChanging, Date() < deadline { usleep(100_000) }
        let seen = try bridge()
        try #require(seen.isChanging && seen.ageing == 400, "\(seen)")
        #expect(try lab.plan(base).isEmpty)
        let edited = try scratch.file(
          "edited.swift", scratch.edited(text, [(".seconds(100)", ".seconds(200)")]))
        #expect(try lab.plan(edited).map(\.path) == ["/nodes/a/links/br0/ageing-time"])
        #expect(try lab.up(edited).status == 0)
        #expect(try bridge().ageing == 20_000)
        #expect(try lab.up(base).status == 0)
      }
    }

    @Test("What a hand has made besides is shown and left alone", arguments: Caller.available)
    func unmarked(caller: Caller) throws {
      let lab = TestLab(caller, "unmarked")
      let scratch = try Scratch()
      let base = try scratch.file("base.swift", Self.base)
      try lab.live(base) {
        for command in [
          ["ip", "addr", "add", "10.9.0.200/24", "dev", "eth0"],
          ["ip", "route", "add", "10.44.0.0/16", "via", "10.9.0.1"],
          ["ip", "link", "add", "own0", "type", "bridge"], ["nft", "add", "table", "inet", "mine"],
        ] {
          let done = try lab.exec("a", command)
          try #require(done.status == 0, "\(done)")
        }
        let file = try scratch.file(
          "edited.swift", scratch.edited(Self.base, [("tcp_syncookies\", 1", "tcp_syncookies\", 0")]))
        let up = try lab.up(file, "-f", "json")
        #expect(up.status == 0, "\(up)")
        #expect(try lab.changes(up).count == 1, "\(up)")
        #expect(try lab.addresses("a", "eth0").contains("10.9.0.200/24"))
        #expect(try lab.ip("a", "route", "show", "10.44.0.0/16").count == 1)
        #expect(try lab.exec("a", "nft", "list", "tables").output == "table inet mine\n")
        let nodes = try lab.netforge("status", "-f", "json").json()["nodes"] as? [[String: Any]]
        let shown = (nodes?.first { $0["name"] as? String == "a" })?["unmarked"] as? [String] ?? []
        for part in ["10.9.0.200", "10.44.0.0", "own0", "mine"] {
          #expect(shown.contains { $0.contains(part) }, "\(part) is not in \(shown)")
        }
      }
    }

    @Test(
      "A table of the general form is the lab's own, and goes with its lines", arguments: Caller.available)
    func generalTable(caller: Caller) throws {
      let lab = TestLab(caller, "table")
      let scratch = try Scratch()
      let table = """
          Table("zones") {
            Chain("input", hook: .input, policy: .accept) { Rule { Counter() } }
          }

        """
      let text = """
        import Netforge
        let lab = Topology("table")
        let a = lab.node("a") {
          Interface("eth0", address: "10.9.0.1/30")
        \(table)}
        let b = lab.node("b") { Interface("eth0", address: "10.9.0.2/30") }
        lab.link(a["eth0"], b["eth0"])

        """
      let base = try scratch.file("base.swift", text)
      try lab.live(base) {
        let nodes = try lab.netforge("status", "-f", "json").json()["nodes"] as? [[String: Any]]
        #expect((nodes?.first { $0["name"] as? String == "a" })?["unmarked"] as? [String] == [])
        let without = try scratch.file("without.swift", scratch.edited(text, [(table, "")]))
        #expect(try lab.plan(without).map(\.operation) == ["delete"])
        #expect(try lab.up(without).status == 0)
        #expect(try lab.exec("a", "nft", "list", "tables").output == "")
        #expect(try lab.up(base).status == 0)
      }
    }

    @Test("A namespace of others is refused by name and left alone", .enabled(if: Host.isRoot, "needs root"))
    func foreign() throws {
      let lab = TestLab(.kernel, "foreign")
      try Host.run("ip", "netns", "add", "\(lab.name)-web1")
      defer { _ = try? Host.run("ip", "netns", "del", "\(lab.name)-web1") }
      let before = try HostSnapshot.take()
      let up = try lab.up(Host.topology("quickstart"))
      #expect(up.status == 1, "\(up)")
      #expect(up.error.contains("\(lab.name)-web1"), "\(up)")
      #expect(try HostSnapshot.take() == before)
      _ = try lab.down()
      #expect(try HostSnapshot.take() == before)
    }

    @Test("Two labs side by side know nothing of each other", arguments: Caller.available)
    func sideBySide(caller: Caller) throws {
      let (one, two) = (TestLab(caller, "one"), TestLab(caller, "two"))
      try one.live(Host.topology("quickstart")) {
        try two.live(Host.topology("linux-router")) {
          let labs = try caller.netforge("ls", "-f", "json").json()["labs"] as? [[String: Any]]
          #expect(Set(labs?.compactMap { $0["name"] as? String } ?? []) == [one.name, two.name])
          let without = try caller.netforge("status")
          #expect(
            without.status == 64 && without.error.contains(one.name), "says which there are: \(without)")
          #expect(try two.ping("h1", "172.16.0.100").ttl == 63)
        }
        #expect(try one.ping("web1", "10.0.0.2").ttl == 64)
      }
    }

    @Test(
      "A lab that another works on is locked", .enabled(if: Host.has("flock"), "needs flock"),
      arguments: Caller.available)
    func locked(caller: Caller) throws {
      let lab = TestLab(caller, "locked")
      try lab.live(Host.topology("quickstart")) {
        let lock = "\(caller.labs)/\(lab.name)/lock"
        let holder = try Host.start(Stage.prefix + ["flock", "-F", "-x", lock, "sleep", "20"])
        try wait(until: lock, isHeld: true)
        for verb in [["up", Host.topology("quickstart"), "--yes"], ["down"]] {
          let outcome = try caller.netforge(verb + ["--name", lab.name])
          #expect(outcome.status == 75, "\(outcome)")
          #expect(outcome.error.contains(lab.name), "\(outcome)")
        }
        holder.stop()
        try wait(until: lock, isHeld: false)
        #expect(try lab.ping("web1", "web2").isAnswered)
      }
    }

    private func wait(until lock: String, isHeld: Bool) throws {
      for _ in 0..<100 {
        if try (Host.run("flock", "-n", lock, "true").status != 0) == isHeld { return }
        Thread.sleep(forTimeInterval: 0.02)
      }
      Issue.record("the lock is \(isHeld ? "not held" : "held still")")
    }

    @Test("down --all wants to be told twice", arguments: Caller.available)
    func downAll(caller: Caller) throws {
      let before = try HostSnapshot.take()
      let labs = [TestLab(caller, "all-a"), TestLab(caller, "all-b")]
      defer { for lab in labs { _ = try? lab.down() } }
      for lab in labs {
        let up = try lab.up(Host.topology("quickstart"))
        #expect(up.status == 0, "\(up)")
      }
      let asked = try caller.netforge("down", "--all")
      #expect(asked.status == 64 && asked.error.contains("--yes"), "\(asked)")
      #expect(try labs[0].ping("web1", "web2").isAnswered)
      let done = try caller.netforge("down", "--all", "--yes", "-f", "json")
      #expect(done.status == 0, "\(done)")
      #expect(Set(try done.json()["removed"] as? [String] ?? []) == Set(labs.map(\.name)))
      #expect(try HostSnapshot.take() == before)
    }

    @Test("gc clears away what lost its other half, and nothing else", arguments: Caller.available)
    func garbage(caller: Caller) throws {
      let before = try HostSnapshot.take()
      let (kept, lost) = (TestLab(caller, "kept"), TestLab(caller, "lost"))
      try kept.during(Host.topology("quickstart")) {
        let up = try lost.up(Host.topology("quickstart"))
        #expect(up.status == 0, "\(up)")
        defer { _ = try? lost.down() }
        if caller == .kernel {
          // Namespaces without a folder.
          try Host.run("rm", "-r", "\(caller.labs)/\(lost.name)")
        } else {
          // A folder without its process.
          let status = try lost.netforge("status", "-f", "json").json()
          let process = try #require((status["process"] as? [String: Any])?["pid"] as? Int, "\(status)")
          try Host.run("kill", "-9", "\(process)")
          Thread.sleep(forTimeInterval: 0.2)
          let gone = try lost.netforge("status")
          #expect(gone.status == 1 && gone.error.contains("gone"), "\(gone)")
        }
        let dry = try caller.netforge("gc", "--dry-run", "-f", "json").json()["removed"] as? [[String: Any]]
        #expect(dry?.compactMap { $0["lab"] as? String } == [lost.name], "\(String(describing: dry))")
        let done = try caller.netforge("gc")
        #expect(done.status == 0 && done.output.contains(lost.name), "\(done)")
        let again = try caller.netforge("gc", "-f", "json").json()["removed"] as? [[String: Any]]
        #expect(again?.isEmpty == true, "\(String(describing: again))")
        #expect(try kept.ping("web1", "web2").isAnswered)
      }
      #expect(try HostSnapshot.take() == before)
    }
  }
}
