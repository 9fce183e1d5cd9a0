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
        noticed: "appears as 203.0.113.2"),
      Fault(
        topology: "shop", what: "missing rule",
        edits: [("    Accept(.tcp(5432), from: \"lan0\", to: \"dmz0\")\n", "")], noticed: "web1 reaches db"),
      Fault(
        topology: "shop", what: "open rule", edits: [("to: \"dmz0\", source: admins)", "to: \"lan0\")")],
        noticed: "db cannot reach web1"),
      Fault(
        topology: "three-router-ring", what: "wrong route",
        edits: [("(\"192.168.12.0/24\", \"192.168.1.2\")", "(\"192.168.12.0/24\", \"192.168.2.2\")")],
        noticed: "through router1, router2"),
      Fault(
        topology: "nat-sites", what: "missing masquerade", edits: [("    Masquerade(out: \"wan0\")\n", "")],
        noticed: "h1 appears as 10.0.0.11"),
      Fault(
        topology: "nat-sites", what: "narrow link",
        edits: [("address: \"10.0.0.\\(10 + site)/8\")", "address: \"10.0.0.\\(10 + site)/8\", mtu: 1400)")],
        noticed: "path MTU"),
      Fault(
        topology: "load-balancer", what: "missing server", edits: [(", \"10.0.0.3\"]", "]")],
        noticed: "spread over"),
      Fault(
        topology: "load-balancer", what: "missing route back",
        edits: [("    Route(.default, via: \"10.0.0.5\")\n", "")], noticed: "client1 reaches balancer"),
      Fault(
        topology: "linux-router", what: "wrong gateway",
        edits: [
          (
            "address: \"192.168.1.100/24\")\n  Route(.default, via: r0)",
            "address: \"192.168.1.100/24\")\n  Route(.default, via: \"192.168.1.2\")"
          )
        ], noticed: "reach each other"),
      Fault(
        topology: "firewall", what: "wrong verdict",
        edits: [
          (
            "IP.source.isIn(blocked)\n        Counter()\n        Verdict.drop",
            "IP.source.isIn(blocked)\n        Counter()\n        Verdict.accept"
          )
        ], noticed: "offender cannot reach web"),
      Fault(
        topology: "ipv6", what: "wrong gateway",
        edits: [("via: \"2001:db8:1::1\"", "via: \"2001:db8:1::9\"")], noticed: "a reaches b"),
      Fault(
        topology: "vxlan-overlay", what: "wrong tunnel end",
        edits: [("remote: \"192.0.2.130\")", "remote: \"192.0.2.131\")")], noticed: "red reaches blue"),
      Fault(
        topology: "fat-tree", what: "missing route",
        edits: [("    Route(hosts(pod, e) + \".0/24\", via: podLink(pod, a, e).1)\n", "")],
        noticed: "reach each other"),
      Fault(
        topology: "container-host", what: "missing masquerade",
        edits: [("  Masquerade(out: \"eth0\", source: \"172.17.0.0/16\")\n", "")],
        noticed: "c1 appears as 203.0.113.10"),
      Fault(
        topology: "quickstart", what: "address outside the subnet's reach",
        edits: [("\"10.0.0.\\(i)/24\"", "\"10.0.0.\\(i)/32\"")], noticed: "web1 reaches web2"),
    ]

    private func test(
      _ caller: Caller, _ file: String, _ arguments: String..., environment: [String: String] = [:]
    ) throws -> Outcome {
      try caller.netforge(
        ["test", file, "--datapath", caller.rawValue] + arguments, environment: environment)
    }

    /// The checks of the first run by name: their verdicts.
    private func verdicts(_ outcome: Outcome) throws -> [String: String] {
      let runs = try #require(outcome.json()["runs"] as? [[String: Any]], "\(outcome)")
      let checks = try #require(runs.first?["checks"] as? [[String: Any]], "\(outcome)")
      return Dictionary(
        checks.map { ($0["name"] as? String ?? "", $0["verdict"] as? String ?? "") },
        uniquingKeysWith: { first, _ in first })
    }

    @Test("What a shipped topology expects holds, and nothing is left", arguments: topologies, callers)
    func holds(topology: String, caller: Caller) throws {
      let before = try HostSnapshot.take()
      let outcome = try test(caller, Host.topology(topology))
      #expect(outcome.status == 0, "\(outcome)")
      #expect(try HostSnapshot.take() == before, "the host is as before")
    }

    @Test("A fault is noticed by the right expectation, at its line", arguments: faults)
    func notices(fault: Fault) throws {
      let scratch = try Scratch()
      let file = try scratch.topology(fault.topology, fault.edits)
      let outcome = try test(.emulated, file, "-f", "json")
      #expect(outcome.status == 1, "\(outcome)")
      let failed = try verdicts(outcome).filter { $0.value == "fail" }.keys
      #expect(failed.contains { $0.contains(fault.noticed) }, "\(failed)")
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

    @Test("Reports are what their readers take")
    func reports() throws {
      let scratch = try Scratch()
      let file = try scratch.file("mixed.swift", Self.mixed)
      let junit = try test(.emulated, file, "--junit", "-", "-f", "json")
      let xml = try #require(junit.output.range(of: "<?xml").map { String(junit.output[$0.lowerBound...]) })
      let parsed = try Host.run(
        [
          "python3", "-c",
          "import sys,xml.etree.ElementTree as e;r=e.fromstring(sys.stdin.buffer.read());print(r.tag,[(c.get('name'),[x.tag for x in c]) for c in r.iter('testcase')])",
        ], input: xml)
      #expect(parsed.status == 0, "\(parsed)")
      #expect(
        parsed.output.contains("testsuites") && parsed.output.contains("<bad> & \"quoted\" #1"), "\(parsed)")
      #expect(parsed.output.contains("'failure'") && parsed.output.contains("'error'"), "\(parsed)")
      let tap = try test(.emulated, file, "--tap", "-", "-f", "json")
      #expect(tap.output.contains("TAP version 14\n1..4\nok 1 - fine\nok 2 - warned\n"), "\(tap)")
      #expect(tap.output.contains("not ok 4 - <bad> & \"quoted\" \\#1"), "\(tap)")
      let html = try test(.emulated, file, "--html", "-", "-f", "json")
      #expect(html.output.contains("&lt;bad&gt; &amp; &quot;quoted&quot; #1"), "\(html)")
      #expect(html.output.contains("<svg") || !Host.has("dot"), "\(html)")
      #expect(!html.output.contains("http://") || html.output.contains("www.w3.org"), "loads nothing")
      let annotated = try test(.emulated, file, environment: ["GITHUB_ACTIONS": "true"])
      #expect(annotated.output.contains("::error file="), "\(annotated)")
      #expect(annotated.output.contains(",line=12,title=<bad>"), "\(annotated)")
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
