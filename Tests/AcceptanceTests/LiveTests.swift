// SPDX-License-Identifier: GPL-2.0-or-later

// Labs that are disturbed while they run.

import Foundation
import Testing

extension Acceptance {
  @Suite("Live", .enabled(if: Host.has("ip", "ping"), "needs ip and ping"))
  struct LiveTests {
    @Test(
      "A link goes down with its routes, is a difference, and comes back with them",
      arguments: Caller.available + [.emulated])
    func links(caller: Caller) throws {
      let lab = TestLab(caller, "eyes-link")
      let file = Host.topology("three-router-ring")
      try lab.during(file) {
        let before = try lab.netforge("route", "get", "pc1", "pc2")
        let down = try lab.link("down", "pc1:eth1")
        #expect(down.status == 0, "\(down)")
        let dead = try lab.netforge("ping", "pc1", "pc2", "--count", "1", "--wait", "300")
        #expect(dead.status != 0, "\(dead)")
        let plan = try lab.plan(file)
        #expect(plan.contains { $0.path == "/nodes/pc1/links/eth1/up" }, "\(plan)")
        #expect(try lab.netforge("status").output.contains("differences from its topology"))
        let up = try lab.link("up", "pc1:eth1")
        #expect(up.status == 0, "\(up)")
        #expect(try lab.plan(file).isEmpty)
        #expect(try lab.netforge("route", "get", "pc1", "pc2").output == before.output)
        #expect(try lab.netforge("ping", "pc1", "pc2", "--count", "1", "--wait", "5000").status == 0)
        let flap = try lab.link("flap", "pc1", "--count", "2", "--down", "20ms", "--up", "20ms")
        #expect(flap.status == 0 && flap.error.contains("pc1:eth1 is up"), "\(flap)")
        #expect(try lab.plan(file).isEmpty)
        let unknown = try lab.link("down", "pc1:eth9")
        #expect(unknown.status == 1 && unknown.error.contains("it has "), "\(unknown)")
      }
    }

    @Test(
      "A rate is set, merged into, shown as a difference and taken back",
      arguments: Caller.available + [.emulated])
    func rates(caller: Caller) throws {
      let lab = TestLab(caller, "eyes-netem")
      let file = Host.topology("quickstart")
      try lab.during(file) {
        let set = try lab.netem("set", "web1:eth0", "--rate", "10mbit", "-f", "json")
        if set.status == 69 { try Test.cancel("a limitation of this host: \(set.error)") }
        #expect(try Self.rows(set) == ["web1:eth0": "rate 10mbit"], "\(set)")
        let inward = try lab.netem("set", "web1:eth0", "--rate", "20mbit", "--direction", "in", "-f", "json")
        #expect(try Self.rows(inward) == ["lan:web1.eth0": "rate 20mbit"], "each direction apart: \(inward)")
        let plan = try lab.plan(file)
        #expect(
          Set(plan.map(\.path)) == ["/nodes/web1/qdiscs/eth0/root", "/switch/qdiscs/web1.eth0/root"],
          "\(plan)")
        let delayed = try lab.netem("set", "web1:eth0", "--delay", "5ms", "--loss", "0.5%", "-f", "json")
        if delayed.status == 69 {
          #expect(delayed.error.contains("netem"), "names what is missing: \(delayed)")
          #expect(try Self.rows(lab.netem("show", "web1", "-f", "json")) == ["web1:eth0": "rate 10mbit"])
        } else {
          #expect(try Self.rows(delayed) == ["web1:eth0": "delay 5ms, loss 0.5%, rate 10mbit"])
          let replaced = try lab.netem("set", "web1:eth0", "--delay", "1ms", "--replace", "-f", "json")
          #expect(try Self.rows(replaced) == ["web1:eth0": "delay 1ms"])
        }
        let reset = try lab.netem("reset")
        #expect(reset.status == 0, "\(reset)")
        #expect(try lab.plan(file).isEmpty)
        let nothing = try lab.netem("set", "web1:eth0")
        #expect(nothing.status == 64, "\(nothing)")
        let nonsense = try lab.netem("set", "web1:eth0", "--delay", "5ms", "--jitter", "9ms")
        #expect(nonsense.status == 1 && nonsense.error.contains("jitter"), "\(nonsense)")
      }
    }

    @Test(
      "What a file has happen is played in a running lab, and taken back when that is asked for",
      arguments: Caller.available + [.emulated])
    func playing(caller: Caller) throws {
      let lab = TestLab(caller, "eyes-play")
      let scratch = try Scratch()
      let file = try scratch.topology(
        "quickstart",
        [
          (
            "lab.expect(web[0], reaches",
            """
            lab.at(.milliseconds(50), .linkDown(web[0]["eth0"]))
            lab.at(.milliseconds(100), .impair(web[1]["eth0"], Impairment(rate: .mbps(10))))
            lab.scenario("cut", .linkDown(web[1]["eth0"]), .wait(.milliseconds(20)))
            lab.expect(web[0], reaches
            """
          )
        ])
      func play(_ arguments: String...) throws -> Outcome {
        try caller.netforge(["play", "--name", lab.name] + arguments)
      }
      try lab.during(file) {
        let list = try play("--list")
        #expect(list.status == 0 && list.output.contains("50 ms   web1:eth0 goes down"), "\(list)")
        #expect(try lab.plan(file).isEmpty, "a list changes nothing")
        let played = try play()
        #expect(
          played.status == 0 && played.error.contains("web2:eth0 is impaired: rate 10mbit"), "\(played)")
        let paths = Set(try lab.plan(file).map(\.path))
        #expect(paths.contains("/nodes/web1/links/eth0/up") && paths.contains("/nodes/web2/qdiscs/eth0/root"))
        let cut = try play("cut", "--reset")
        #expect(cut.status == 0 && cut.error.contains("web2:eth0 goes down"), "\(cut)")
        #expect(try lab.plan(file).isEmpty, "as the topology says")
        let script = try scratch.file(
          "storm.swift",
          """
          import Netforge
          let lab = Topology("storm")
          let a = lab.node("web1") { Interface("eth0", address: "10.0.0.1/24") }
          let b = lab.node("web2") { Interface("eth0", address: "10.0.0.2/24") }
          lab.link(a["eth0"], b["eth0"])
          lab.at(.milliseconds(10), .flap(b["eth0"], for: .milliseconds(30)))

          """)
        let storm = try play("--script", script)
        #expect(storm.status == 0 && storm.error.contains("web2:eth0 goes down for 30 ms"), "\(storm)")
        #expect(try lab.plan(file).isEmpty)
        let unknown = try play("storm")
        #expect(unknown.status == 1 && unknown.error.contains("it has 'cut'"), "\(unknown)")
      }
    }

    @Test(
      "A lab's bridges show nothing to the rules of IP, whatever the host has loaded",
      .enabled(
        if: FileManager.default.fileExists(atPath: "/proc/sys/net/bridge/bridge-nf-call-iptables"),
        "needs br_netfilter"), arguments: Caller.available)
    func bridges(caller: Caller) throws {
      let lab = TestLab(caller, "eyes-bridge")
      try lab.during(Host.topology("vxlan-overlay")) {
        let settings = try lab.exec(
          "left", "sh", "-c", "cat /proc/sys/net/bridge/bridge-nf-call-*")
        #expect(settings.output == "0\n0\n0\n", "\(settings)")
      }
    }

    private static func rows(_ outcome: Outcome) throws -> [String: String?] {
      let rows = try #require(outcome.json()["impairments"] as? [[String: Any]], "\(outcome)")
      return Dictionary(
        rows.map { ($0["interface"] as? String ?? "", $0["impairment"] as? String) },
        uniquingKeysWith: { a, _ in a })
    }
  }
}

extension TestLab {
  fileprivate func link(_ verb: String, _ arguments: String...) throws -> Outcome {
    try caller.netforge(["link", verb, "--name", name] + arguments)
  }

  fileprivate func netem(_ verb: String, _ arguments: String...) throws -> Outcome {
    try caller.netforge(["netem", verb, "--name", name] + arguments)
  }
}
