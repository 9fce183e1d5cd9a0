// SPDX-License-Identifier: GPL-2.0-or-later

// `netforge test`: what the shipped topologies expect holds on each datapath, and a fault put into each makes the right
// expectation fail.

import Foundation
import Testing

/// A mistake in a topology, and which expectation must notice it.
struct Fault: CustomStringConvertible, Sendable {
  var topology: String
  var what: String
  var edits: [(String, String)]
  /// A part of the name of an expectation that must fail.
  var noticed: String
  /// Parts of what its packet's way ends with, in order: where, and what made it end or go on there.
  var end: String

  var description: String { "\(topology): \(what)" }
}

extension Acceptance {
  @Suite("netforge test")
  struct TestVerbTests {
    static let topologies = [
      "quickstart", "shop", "three-router-ring", "nat-sites", "load-balancer", "linux-router", "firewall",
      "ipv6",
      "vxlan-overlay", "fat-tree", "container-host",
    ]

    static let callers = Caller.available + [.emulated]

    static let faults = [
      Fault(
        topology: "shop", what: "missing masquerade", edits: [("  Masquerade(out: \"wan0\")\n", "")],
        noticed: "appears as 203.0.113.2",
        end: "delivered to isp, its answer did not leave: no route to 10.0.1.12"),
      Fault(
        topology: "shop", what: "missing rule",
        edits: [("    Accept(.tcp(5432), from: \"lan0\", to: \"dmz0\")\n", "")], noticed: "web1 reaches db",
        end: "dropped at gw: rule 'log prefix \"gw-drop\" drop' of inet netforge-shop forward ("),
      Fault(
        topology: "shop", what: "open rule", edits: [("to: \"dmz0\", source: admins)", "to: \"lan0\")")],
        noticed: "db cannot reach web1",
        end: "gw lets it through by rule 'oifname \"lan0\" tcp dport 22 accept'"),
      Fault(
        topology: "three-router-ring", what: "wrong route",
        edits: [("detour ? \"192.168.2.2\" : \"192.168.1.2\"", "\"192.168.2.2\"")],
        noticed: "through router1, router2",
        end:
          "; router1's route 192.168.12.0/24 via 192.168.2.2 (…three-router-ring.swift:15) leads to router3, not to router2"
      ),
      Fault(
        topology: "nat-sites", what: "missing masquerade", edits: [("    Masquerade(out: \"wan0\")\n", "")],
        noticed: "h1 appears as 10.0.0.11",
        end: "its answer did not leave: no route to 192.168.1.100"),
      Fault(
        topology: "nat-sites", what: "narrow link",
        edits: [("mtu: site == 2 ? 1400 : 1500)", "mtu: 1400)")],
        noticed: "path MTU",
        end: "dropped at nat1: it is longer than the 1400 bytes that wan0 takes (pkt_too_big)"),
      Fault(
        topology: "nat-sites", what: "a hole for large packets",
        edits: [("address: \"10.0.0.1/8\")", "address: \"10.0.0.1/8\", mtu: 1400)")], noticed: "path MTU",
        end: "dropped at internet: it is longer than the 1400 bytes that h0:eth0 takes (…nat-sites.swift:8)"),
      Fault(
        topology: "nat-sites", what: "more than the source's own link takes",
        edits: [("pathMTU: 1500", "pathMTU: 1600")], noticed: "path MTU",
        end: "dropped at h1: it is longer than the 1500 bytes that eth0 takes (pkt_too_big)"),
      Fault(
        topology: "nat-sites", what: "swapped rules",
        edits: [
          (
            "      Drop(from: \"lan0\", destination: \"\\(subnet).0/24\")\n      Accept(from: \"lan0\", source: \"\\(subnet).0/24\")",
            "      Drop(from: \"lan0\", source: \"\\(subnet).0/24\")"
          )
        ], noticed: "h1 reaches h0 with TTL 63",
        end: "dropped at nat1: rule 'iifname \"lan0\" ip saddr 192.168.1.0/24 drop'"),
      Fault(
        topology: "load-balancer", what: "missing server", edits: [(", \"10.0.0.3\"]", "]")],
        noticed: "spread over",
        end: "; sent there by balancer's rule '"),
      Fault(
        topology: "load-balancer", what: "a server without its service",
        edits: [("    Service(.http(port: 80))\n", "")],
        noticed: "client1 reaches balancer",
        end: "delivered to server…, where nobody listens on tcp 80 (10.0.0.…); answered"),
      Fault(
        topology: "load-balancer", what: "a balancer that forgets",
        edits: [("on: \"eth0\", toHosts", "on: \"eth1\", toHosts")],
        noticed: "requests on one connection",
        end: "delivered to balancer, where nobody listens on tcp 80 (100.0.0.2)"),
      Fault(
        topology: "load-balancer", what: "missing route back",
        edits: [("    Route(.default, via: \"10.0.0.5\")\n", "")], noticed: "client1 reaches balancer",
        end: "delivered to server…, its answer did not leave: no route to 100.0.0.10"),
      Fault(
        topology: "linux-router", what: "wrong gateway",
        edits: [
          (
            "address: \"192.168.1.100/24\")\n  Route(.default, via: r0)",
            "address: \"192.168.1.100/24\")\n  Route(.default, via: \"192.168.1.2\")"
          )
        ], noticed: "reach each other",
        end:
          "its next hop 192.168.1.2 on eth0 does not answer, says route default via 192.168.1.2 (…linux-router.swift:17)"
      ),
      Fault(
        topology: "linux-router", what: "a host as the gateway",
        edits: [
          (
            "address: \"192.168.1.100/24\")\n  Route(.default, via: r0)",
            "address: \"192.168.1.100/24\")\n  Route(.default, via: \"192.168.1.101\")"
          ),
          (
            "let h2 =",
            "let h4 = lab.node(\"h4\") { Interface(\"eth0\", on: s1, address: \"192.168.1.101/24\") }\nlet h2 ="
          ),
        ], noticed: "reach each other",
        end:
          "dropped at h4: it is no router and forwards nothing; h1's route default via 192.168.1.101 (…:17) led it there"
      ),
      Fault(
        topology: "firewall", what: "wrong verdict",
        edits: [
          (
            "IP.source.isIn(blocked)\n        Counter()\n        Verdict.drop",
            "IP.source.isIn(blocked)\n        Counter()\n        Verdict.accept"
          )
        ], noticed: "offender cannot reach web",
        end: "fw lets it through by rule 'ip saddr @blocked"),
      Fault(
        topology: "ipv6", what: "wrong gateway",
        edits: [("via: \"2001:db8:1::1\"", "via: \"2001:db8:1::9\"")], noticed: "a reaches b",
        end: "dropped at a: no route to 10.6.0.11"),
      Fault(
        topology: "vxlan-overlay", what: "wrong tunnel end",
        edits: [("remote: \"192.0.2.130\")", "remote: \"192.0.2.131\")")], noticed: "red reaches blue",
        end:
          "10.42.0.2 on eth0 does not answer: no tunnel 42 ends at 192.0.2.131, the remote of left:vxlan42 (…vxlan-overlay.swift:18)"
      ),
      Fault(
        topology: "fat-tree", what: "missing route",
        edits: [("    Route(hosts(pod, e) + \".0/24\", via: podLink(pod, a, e).1)\n", "")],
        noticed: "reach each other",
        end: "it goes round until its hop limit ends: agg0x…'s route …fat-tree.swift:"),
      Fault(
        topology: "three-router-ring", what: "a route that nobody goes on with",
        edits: [("192.168.11.0/24\", detour", "192.168.99.0/24\", detour")],
        noticed: "reach each other",
        end: "delivered to pc2, its answer ended at router2: no route to 192.168.11.2"),
      Fault(
        topology: "vlan", what: "a port in another VLAN",
        edits: [("port: .access(20)", "port: .access(10)")], noticed: "red1 reaches blue",
        end: "dropped at router: its next hop 10.0.20.11 on trunk0.20 does not answer"),
      Fault(
        topology: "container-host", what: "missing masquerade",
        edits: [("  Masquerade(out: \"eth0\", source: \"172.17.0.0/16\")\n", "")],
        noticed: "c1 appears as 203.0.113.10",
        end: "delivered to outside, its answer did not leave: no route to 172.17.0.2"),
      Fault(
        topology: "quickstart", what: "address outside the subnet's reach",
        edits: [("\"10.0.0.\\(i)/24\"", "\"10.0.0.\\(i)/32\"")], noticed: "web1 reaches web2",
        end: "dropped at web1: no route to 10.0.0.2"),
    ]

    private func test(
      _ caller: Caller, _ file: String, _ arguments: String..., environment: [String: String] = [:]
    ) throws -> Outcome {
      try caller.netforge(
        ["test", file, "--datapath", caller.rawValue] + arguments, environment: environment)
    }

    /// The checks of the first run.
    private func checks(_ outcome: Outcome) throws -> [[String: Any]] {
      let runs = try #require(outcome.json()["runs"] as? [[String: Any]], "\(outcome)")
      return try #require(runs.first?["checks"] as? [[String: Any]], "\(outcome)")
    }

    @Test("What a shipped topology expects holds, and nothing is left", arguments: topologies, callers)
    func holds(topology: String, caller: Caller) throws {
      let before = try HostSnapshot.take()
      let outcome = try test(caller, Host.topology(topology))
      #expect(outcome.status == 0, "\(outcome)")
      #expect(try HostSnapshot.take() == before, "the host is as before")
    }

    @Test("VLANs: what they expect holds, or the kernel that has none is named", arguments: callers)
    func vlan(caller: Caller) throws {
      let outcome = try test(caller, Host.topology("vlan"))
      let isNamed = outcome.status == 69 && outcome.error.contains("VLAN")
      #expect(outcome.status == 0 || caller != .emulated && isNamed, "\(outcome)")
    }

    @Test("A fault is noticed by the right expectation, at its line", arguments: faults)
    func notices(fault: Fault) throws {
      let scratch = try Scratch()
      let file = try scratch.topology(fault.topology, fault.edits)
      let outcome = try test(.emulated, file, "-f", "json")
      #expect(outcome.status == 1, "\(outcome)")
      let checks = try checks(outcome).filter { $0["verdict"] as? String == "fail" }
      let failed = try #require(
        checks.first { ($0["name"] as? String)?.contains(fault.noticed) == true }, "\(outcome)")
      let way = try #require(failed["way"] as? [String: Any], "\(failed)")
      let end = try #require(way["end"] as? String)
      var rest = end[...]
      for part in fault.end.split(separator: "…") {
        let place = try #require(rest.firstRange(of: part), "'\(part)' in '\(end)'")
        rest = rest[place.upperBound...]
      }
      let table = try test(.emulated, file)
      #expect(table.output.contains("at \(file):"), "\(table)")
      #expect(table.output.contains("again: netforge test \(file) --datapath emulated"), "\(table)")
    }

    @Test("An address twice is said before anything comes up")
    func duplicate() throws {
      let scratch = try Scratch()
      let file = try scratch.topology("quickstart", [("\"10.0.0.\\(i)/24\"", "\"10.0.0.1/24\"")])
      let outcome = try test(.emulated, file)
      #expect(outcome.status == 65 && outcome.error.contains("10.0.0.1"), "\(outcome)")
    }

    // MARK: The lab as a whole

    @Test("What is changed by hand is a difference, and named", arguments: callers)
    func differences(caller: Caller) throws {
      let scratch = try Scratch()
      let file = try scratch.file(
        "hand.swift",
        """
        import Netforge
        let lab = Topology("hand")
        let a = lab.node("a") {
          Interface("eth0", address: "10.0.0.1/24")
          Route("10.9.0.0/16", via: "10.0.0.2")
        }
        let b = lab.node("b") { Interface("eth0", address: "10.0.0.2/24") }
        lab.link(a["eth0"], b["eth0"])
        let hand = lab.scenario(
          "by hand", .addAddress("10.0.7.1/24", to: a["eth0"]), .removeRoute("10.9.0.0/16", in: a),
          .setRoute("10.8.0.0/16", via: "10.0.7.2", on: "eth0", in: a))
        hand.expect(differences: 0)
        hand.expect(a, routes: "10.8.0.1", via: "10.0.7.2", on: "eth0")
        hand.expect(keeps: [a, b])
        let missing = lab.scenario("what is not there", .removeAddress("10.0.0.9/24", from: a["eth0"]))
        missing.expect(a, reaches: b)
        let again = lab.scenario("up again", .removeAddress("10.0.0.1/24", from: a["eth0"]), .settle)
        again.expect(differences: 0)
        again.expect(a, reaches: b)

        """)
      let outcome = try test(caller, file, "-f", "json")
      let checks = try checks(outcome)
      #expect(
        checks.map { $0["verdict"] as? String ?? "" } == [
          "fail", "pass", "pass", "inconclusive", "pass", "pass",
        ], "\(outcome)")
      #expect(
        (checks.first?["details"] as? [String])?.map { $0.prefix { $0 != "#" } } == [
          "- /nodes/a/addresses/eth0/10.0.7.1~124  ", "+ /nodes/a/routes/10.9.0.0~116",
          "- /nodes/a/routes/10.8.0.0~116  ",
        ], "\(outcome)")
      #expect(
        (checks.dropFirst(3).first?["seen"] as? String)?.contains("there is none") == true, "\(outcome)")
    }

    @Test(
      "A device that is made anew is not the same, and what is left on the host is found",
      .enabled(if: Host.isRoot, "needs root"))
    func left() throws {
      let scratch = try Scratch()
      let place =
        Stage.prefix.isEmpty ? "nsenter -t \(getpid()) -n -m --" : Stage.prefix.joined(separator: " ")
      let file = try scratch.file(
        "left.swift",
        """
        import Netforge
        let lab = Topology("left")
        let a = lab.node("a") { Interface("eth0", address: "10.0.0.1/24") }
        let b = lab.node("b") { Interface("eth0", address: "10.0.0.2/24") }
        lab.link(a["eth0"], b["eth0"])
        lab.expect(a, loss: .atMost(.percent(0)), to: b, probes: 20)
        let anew = lab.scenario("made anew", .run(a, "ip", "link", "delete", "eth0"), .settle)
        anew.expect(keeps: [a, b])
        let left = lab.scenario(
          "something is left",
          .run(a, "\(place) sh -c 'ip link add nfleft0 type bridge; echo 1 > /proc/sys/net/ipv4/ip_forward'"))
        left.expect(a, reaches: b)
        lab.expectCleanDown()

        """)
      defer {
        _ = try? Host.run("ip", "link", "delete", "nfleft0")
        _ = try? Host.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
      }
      try Host.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
      let outcome = try test(.kernel, file, "-f", "json")
      let checks = try checks(outcome)
      #expect(checks.map { $0["verdict"] as? String } == ["pass", "fail", "pass", "fail"], "\(outcome)")
      let anew = checks.dropFirst().first?["seen"] as? String
      #expect(anew == "not the same any more: a:eth0, b:eth0", "\(outcome)")
      let found = [checks.last?["seen"] as? String ?? ""] + (checks.last?["details"] as? [String] ?? [])
      #expect(found.contains { $0.hasPrefix("left: ") && $0.contains("nfleft0") }, "\(outcome)")
      #expect(found.contains { $0.hasPrefix("left: ") && $0.contains("ip_forward value=1") }, "\(outcome)")
    }

    // MARK: Verdicts and runs

    private static let mixed = """
      import Netforge
      let lab = Topology("mixed")
      let lan = lab.bridge("lan", subnet: "10.0.0.0/24")
      let a = lab.node("a") { Interface("eth0", on: lan, address: "10.0.0.1/24") }
      let b = lab.node("b") {
        Interface("eth0", on: lan, address: "10.0.0.2/24").impaired(loss: .percent(20))
        Service(.http(port: 80))
      }
      lab.expect(a, reaches: b, on: .tcp(80), .named("fine"), .tagged("smoke"))
      lab.expect(a, reaches: b, ttl: 9, .named("warned"), .level(.warning), .tagged("odd"))
      lab.expect(a, cannotReach: "192.0.2.1", .named("vacuous"))
      lab.expect(a, reaches: "10.0.0.9", .named("<bad> & \\"quoted\\" #1"))

      """

    @Test("Exit codes say what the verdicts are; choosing leaves the others out")
    func codes() throws {
      let scratch = try Scratch()
      let file = try scratch.file("mixed.swift", Self.mixed)
      #expect(try test(.emulated, file).status == 1)
      #expect(try test(.emulated, file, "--tag", "smoke").status == 0)
      #expect(try test(.emulated, file, "--tag", "smoke", "--tag", "odd").status == 3)
      let vacuous = try test(.emulated, file, "--only", "vacuous")
      #expect(vacuous.status == 4 && vacuous.output.contains("because: .noRoute"), "\(vacuous)")
      let nothing = try test(.emulated, file, "--tag", "unheard-of")
      #expect(nothing.status == 2 && nothing.error.contains("nothing to test"), "\(nothing)")
      let list = try test(.emulated, file, "--list", "--tag", "odd")
      #expect(list.status == 0 && list.output.contains("warned (warning)"), "\(list)")
      #expect(try test(.emulated, file, "--seeds", "9..1").status == 64)
      #expect(try Caller.emulated.netforge("test", file, "--datapath", "abacus").status == 64)
    }

    @Test("A seed gives the same run again, however many run beside it; seeds differ")
    func seeds() throws {
      let scratch = try Scratch()
      let file = try scratch.file("mixed.swift", Self.mixed)
      let one = try test(.emulated, file, "--seeds", "1..8", "--jobs", "1", "-f", "json")
      let four = try test(.emulated, file, "--seeds", "1..8", "--jobs", "4", "-f", "json")
      #expect(one.output == four.output)
      let runs = try #require(one.json()["runs"] as? [[String: Any]])
      let times = runs.map { run in
        (run["checks"] as? [[String: Any]] ?? []).map { $0["durationNanoseconds"] as? Int ?? -1 }
      }
      #expect(runs.count == 8 && Set(times).count > 1, "\(times)")
    }

    /// Holds a report to the elements and attributes of junit-10.xsd (Jenkins's xUnit plugin), and lists its cases.
    private static let junitCheck = """
      import re, sys, xml.etree.ElementTree as tree
      counts = {"tests", "failures", "errors"}
      known = {
        "testsuites": (counts | {"name", "time"}, {"testsuite"}),
        "testsuite": (counts | {"name", "time", "skipped", "file"}, {"properties", "testcase", "system-out", "system-err"}),
        "properties": (set(), {"property"}), "property": ({"name", "value"}, set()),
        "testcase": ({"name", "classname", "time"}, {"failure", "error", "skipped", "system-out", "system-err"}),
        "failure": ({"message", "type"}, set()), "error": ({"message", "type"}, set()),
        "system-out": (set(), set()), "system-err": (set(), set()),
      }
      def check(node):
        attributes, children = known[node.tag]
        assert set(node.attrib) <= attributes, (node.tag, node.attrib)
        if "time" in node.attrib: assert re.fullmatch(r"[0-9]+([.][0-9]{1,3})?", node.get("time")), node.attrib
        for child in node:
          assert child.tag in children, (node.tag, child.tag)
          check(child)
      root = tree.fromstring(sys.stdin.buffer.read())
      check(root)
      for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.get("tests")) == len(cases) and int(suite.get("failures")) == len(suite.findall("testcase/failure"))
      print(root.tag, [(c.get("name"), [x.tag for x in c]) for c in root.iter("testcase")])
      """

    @Test("Reports are what their readers take")
    func reports() throws {
      let scratch = try Scratch()
      let file = try scratch.file("mixed.swift", Self.mixed)
      let junit = try test(.emulated, file, "--junit", "-", "-f", "json")
      let xml = try #require(junit.output.range(of: "<?xml").map { String(junit.output[$0.lowerBound...]) })
      let parsed = try Host.run(["python3", "-c", Self.junitCheck], input: xml)
      #expect(parsed.status == 0, "\(parsed)")
      #expect(
        parsed.output.contains("testsuites") && parsed.output.contains("<bad> & \"quoted\" #1"), "\(parsed)")
      #expect(parsed.output.contains("'failure'") && parsed.output.contains("'error'"), "\(parsed)")
      #expect(xml.contains("dropped at a: its next hop 10.0.0.9 on eth0 does not answer"), "\(xml)")
      if let schema = ProcessInfo.processInfo.environment["NETFORGE_JUNIT_SCHEMA"] {
        let valid = try Host.run(["xmllint", "--noout", "--schema", schema, "-"], input: xml)
        #expect(valid.status == 0, "\(valid)")
      }
      let tap = try test(.emulated, file, "--tap", "-", "-f", "json")
      #expect(tap.output.contains("TAP version 14\n1..4\nok 1 - fine\nok 2 - warned\n"), "\(tap)")
      #expect(tap.output.contains("not ok 4 - <bad> & \"quoted\" \\#1"), "\(tap)")
      #expect(tap.output.contains("    - 'a drop: neigh_failed'"), "\(tap)")
      let html = try test(.emulated, file, "--html", "-", "-f", "json")
      #expect(html.output.contains("&lt;bad&gt; &amp; &quot;quoted&quot; #1"), "\(html)")
      #expect(html.output.contains("<svg") || !Host.has("dot"), "\(html)")
      #expect(html.output.contains("<p class=\"end\">dropped at a: its next hop 10.0.0.9"), "\(html)")
      #expect(!html.output.contains("http://") || html.output.contains("www.w3.org"), "loads nothing")
      let annotated = try test(.emulated, file, environment: ["GITHUB_ACTIONS": "true"])
      #expect(annotated.output.contains("::error file="), "\(annotated)")
      #expect(annotated.output.contains(",line=12,title=<bad>"), "\(annotated)")
      #expect(annotated.output.contains("says 10.0.0.1%0Adropped at a: "), "\(annotated)")
    }

    @Test("A run on bad wires passes where waiting costs nothing, and its packets are the same each time")
    func packets() throws {
      let scratch = try Scratch()
      try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: scratch.folder)
      let folder = scratch.folder + "/packets"
      func run(_ arguments: String...) throws -> Outcome {
        try Caller.emulated.netforge(
          ["test", Host.topology("nat-sites"), "--loss", "5%"] + arguments, environment: [:])
      }
      let seeds = try run("--seeds", "1..20", "--pcap", folder)
      #expect(seeds.status == 0, "\(seeds)")
      let one = try run("--seed", "7", "--pcap", scratch.folder + "/one.pcapng")
      #expect(one.status == 0 && one.output.contains("packets: \(scratch.folder)/one.pcapng"), "\(one)")
      let again = try Data(contentsOf: URL(filePath: scratch.folder + "/one.pcapng"))
      let first = try Data(contentsOf: URL(filePath: folder + "/nat-sites-emulated-seed7.pcapng"))
      #expect(!first.isEmpty && again == first)
      #expect(try Data(contentsOf: URL(filePath: folder + "/nat-sites-emulated-seed8.pcapng")) != first)
      guard Host.has("tshark") else { return }
      let expert = try Host.run(
        "tshark", "-r", folder + "/nat-sites-emulated-seed7.pcapng", "-Y",
        "_ws.expert.severity >= \"Error\"")
      #expect(expert.status == 0 && expert.output.isEmpty, "\(expert)")
      let failing = try Caller.emulated.netforge(
        "test", Host.topology("nat-sites"), "--loss", "99%", "--only", "TTL")
      #expect(failing.output.contains("--loss 99"), "\(failing)")
    }

    @Test(
      "A lab is kept, and a shell opens in the node of a failure", .enabled(if: Host.isRoot, "needs root"))
    func keeping() throws {
      let scratch = try Scratch()
      let file = try scratch.topology("quickstart", [("\"10.0.0.\\(i)/24\"", "\"10.0.0.\\(i)/32\"")])
      let shell = try Caller.kernel.netforge(
        "test", file, "--datapath", "kernel", "--shell-on-failure", input: "ip -br addr show dev eth0\n")
      #expect(shell.status == 1 && shell.error.contains("a shell in node 'web1'"), "\(shell)")
      #expect(shell.output.contains("10.0.0.1/32"), "\(shell)")
      let kept = try Caller.kernel.netforge("test", file, "--datapath", "kernel", "--keep")
      let line = try #require(kept.lines.first { $0.contains("the lab is kept") }, "\(kept)")
      let name = try #require(line.split(separator: "`").last { $0.contains("--name") }).split(separator: " ")
        .last
      let down = try Caller.kernel.netforge("down", "--name", String(name ?? ""))
      #expect(down.status == 0, "\(down)")
      let refused = try Caller.emulated.netforge("test", file, "--shell-on-failure")
      #expect(refused.status == 69 && refused.error.contains("--shell-on-failure"), "\(refused)")
    }

    @Test("An emulated lab is kept by a process of its own, where its verbs find it")
    func keepingEmulated() throws {
      let kept = try Caller.emulated.netforge("test", Host.topology("quickstart"), "--keep")
      #expect(kept.status == 0, "\(kept)")
      let line = try #require(kept.lines.first { $0.contains("the lab is kept") }, "\(kept)")
      let words = try #require(line.split(separator: "`").last { $0.contains("--name") })
      let name = try #require(words.split(separator: " ").last.map(String.init))
      let ping = try Caller.emulated.netforge("ping", "web1", "web2", "--count", "1", "--name", name)
      #expect(ping.status == 0, "\(ping)")
      let down = try Caller.emulated.netforge("down", "--name", name)
      #expect(down.status == 0, "\(down)")
    }

    @Test("Datapaths side by side, and where they differ", .enabled(if: Host.isRoot, "needs root"))
    func differences() throws {
      let scratch = try Scratch()
      let file = try scratch.file(
        "differs.swift",
        """
        import Netforge
        let lab = Topology("differs")
        let lan = lab.bridge("lan", subnet: "10.0.0.0/24")
        let a = lab.node("a") { Interface("eth0", on: lan, address: "10.0.0.1/24") }
        lab.node("b") { Interface("eth0", on: lan, address: "10.0.0.2/24") }
        lab.expect(a, runs: ["true"])

        """)
      let outcome = try Caller.kernel.netforge("test", file, "--datapath", "emulated,kernel")
      #expect(outcome.status == 4, "\(outcome)")
      #expect(
        outcome.output.contains(
          "the datapaths differ: a runs 'true': inconclusive on emulated, pass on kernel"))
    }

    @Test("The workflows of docs/ci.md do what they say, for an ordinary user without any privilege")
    func workflows() throws {
      let page = try String(contentsOf: Host.repository.appending(path: "docs/ci.md"), encoding: .utf8)
      let loops = page.ranges(of: "for topology in").compactMap { begin in
        page[begin.lowerBound...].firstRange(of: "done\n").map {
          String(page[begin.lowerBound..<$0.upperBound])
        }
      }
      #expect(loops.count == 2, "one for each forge")
      let scratch = try Scratch()
      let everybody: [FileAttributeKey: Any] = [.posixPermissions: 0o777]
      for folder in ["network", "reports"] {
        try FileManager.default.createDirectory(
          atPath: scratch.folder + "/" + folder, withIntermediateDirectories: true, attributes: everybody)
        try FileManager.default.setAttributes(everybody, ofItemAtPath: scratch.folder + "/" + folder)
      }
      for topology in ["shop", "nat-sites"] {
        _ = try scratch.file(
          "network/\(topology).json", try Caller.emulated.rendered(Host.topology(topology)))
      }
      // As the ordinary user that the workflow makes, and as confined as in a container.
      let confined = try Caller.emulated.command([]).prefix { $0 != "timeout" }
      for loop in loops {
        let script = loop.replacing("su tester -c", with: "sh -c").replacing(
          "/opt/netforge/bin/netforge", with: Host.netforge)
        let outcome = try Host.run(
          confined + ["sh", "-e", "-c", script], environment: Caller.emulated.environment,
          folder: scratch.folder)
        #expect(outcome.status == 0, "\(outcome)")
        for topology in ["shop", "nat-sites"] {
          let report = scratch.folder + "/reports/\(topology).xml"
          #expect(try String(contentsOfFile: report, encoding: .utf8).contains("failures=\"0\""))
          try FileManager.default.removeItem(atPath: report)
        }
      }
    }

    @Test("Drops are told by their reasons", arguments: callers)
    func reasons(caller: Caller) throws {
      let scratch = try Scratch()
      let file = try scratch.file(
        "drops.swift",
        """
        import Netforge
        let lab = Topology("drops")
        let lan = lab.bridge("lan", subnet: "10.0.1.0/24")
        let gw = lab.router("gw") {
          Interface("lan0", on: lan, address: "10.0.1.1/24")
          Interface("wan0", address: "203.0.113.2/30")
          Firewall(policy: .drop) { Accept(.icmp) }
        }
        let a = lab.node("a") {
          Interface("eth0", on: lan, address: "10.0.1.11/24")
          Route(.default, via: gw)
        }
        let isp = lab.node("isp") { Interface("eth0", address: "203.0.113.1/30") }
        lab.link(gw["wan0"], isp["eth0"])
        lab.expect(a, sendingTo: isp, on: .tcp(22), isDroppedBy: gw, reason: "NETFILTER_DROP")
        lab.expect(a, sendingTo: "198.51.100.1", isDroppedBy: gw)
        lab.expect(a, sendingTo: "198.51.100.1", isDroppedBy: gw, reason: "ip_innoroutes")
        lab.expect(a, sendingTo: isp, isDroppedBy: gw, .named("none is dropped"), .level(.warning))

        """)
      let outcome = try test(caller, file, "-f", "json")
      let verdicts = try checks(outcome).map { $0["verdict"] as? String }
      #expect(verdicts == ["pass", "pass", "pass", "warning"], "\(outcome)")
    }

    @Test("An interrupted test leaves nothing behind", arguments: callers)
    func interrupted(caller: Caller) throws {
      let scratch = try Scratch()
      let file = try scratch.file(
        "slow.swift",
        """
        import Netforge
        let lab = Topology("slow")
        let lan = lab.bridge("lan", subnet: "10.0.0.0/24")
        let a = lab.node("a") { Interface("eth0", on: lan, address: "10.0.0.1/24") }
        lab.expect(a, reaches: "10.0.0.9", .eventually(within: .seconds(60)))

        """)
      let before = try HostSnapshot.take()
      // The signal goes to the process group's netforge by way of timeout(1), which passes it on.
      let command = try caller.command(["test", file, "--datapath", caller.rawValue, "--real-time"])
      let running = try Host.start(
        Stage.prefix + ["timeout", "--foreground", "-s", "INT", "4"] + command,
        environment: caller.environment)
      let outcome = try running.outcome()
      #expect(outcome.error.contains("interrupted"), "\(outcome)")
      #expect(try HostSnapshot.take() == before, "the host is as before")
    }
  }
}
