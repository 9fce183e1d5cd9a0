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
