// SPDX-License-Identifier: GPL-2.0-or-later

// `trace`: the same way on every datapath.

import Foundation
import Testing

extension Acceptance {
  @Suite("Trace", .enabled(if: Host.has("ip"), "needs ip"))
  struct TraceTests {
    @Test(
      "A published port: the rule with its line, the translation, the way back of an answer",
      arguments: Caller.available + [.emulated])
    func published(caller: Caller) throws {
      let lab = TestLab(caller, "eyes-trace")
      try lab.during(Host.topology("shop")) {
        let trace = try lab.trace("isp", "gw:wan0", "tcp", "dport", "8080")
        #expect(trace.status == 0, "\(trace)")
        let document = try trace.json()
        #expect(document["delivered"] as? Bool == true && document["place"] as? String == "web1", "\(trace)")
        let answer = try #require(document["answer"] as? [String: Any], "\(trace)")
        #expect(answer["kind"] as? String == "SYN,ACK" && answer["from"] as? String == "203.0.113.2:8080")
        let steps = try #require(document["steps"] as? [[String: Any]])
        let details = steps.map { "\($0["place"] ?? "") \($0["kind"] ?? ""): \($0["detail"] ?? "")" }
        #expect(details.contains("gw nat: destination 203.0.113.2:8080 -> 10.0.1.11:80"), "\(trace)")
        #expect(details.contains("gw route: 10.0.1.11 dev lan0 to web1:eth0"), "\(trace)")
        let order = ["nat", "route", "deliver"].compactMap { kind in
          steps.firstIndex {
            $0["kind"] as? String == kind && ["gw", "web1"].contains($0["place"] as? String)
          }
        }
        #expect(order == order.sorted() && order.count == 3, "\(trace)")
        let rule = try #require(
          steps.first {
            $0["kind"] as? String == "rule" && ($0["detail"] as? String)?.contains("dnat") == true
          }, "\(trace)")
        #expect((rule["location"] as? String)?.contains("shop.swift:") == true, "\(rule)")
        let written = try lab.netforge(
          "trace", "isp", "gw:wan0", "tcp", "dport", "8080", "--registers")
        if caller == .emulated {
          // The port is loaded and compared, then the address and the port that the packet goes on to.
          let registers = try #require(rule["registers"] as? [String], "\(trace)")
          #expect(registers.contains("reg 1 = 0x1f90"), "\(registers)")
          #expect(registers.suffix(2) == ["reg 1 = 0x0a00010b", "reg 2 = 0x0050"], "\(registers)")
          #expect(written.output.contains("  reg 1 = 0x1f90"), "\(written)")
        } else {
          #expect(
            rule["registers"] == nil && written.error.contains("what rules write to registers"), "\(written)")
        }
      }
    }

    @Test("What a firewall drops ends in it, with the reason", arguments: Caller.available + [.emulated])
    func dropped(caller: Caller) throws {
      let lab = TestLab(caller, "eyes-drop")
      try lab.during(Host.topology("shop")) {
        let trace = try lab.trace("db", "web1", "tcp", "dport", "22")
        #expect(trace.status == 1, "\(trace)")
        let document = try trace.json()
        #expect(document["delivered"] as? Bool == false && document["place"] as? String == "gw", "\(trace)")
        let steps = try #require(document["steps"] as? [[String: Any]])
        #expect(steps.last?["kind"] as? String == "drop", "\(trace)")
        #expect(steps.contains { ($0["detail"] as? String)?.contains("=> drop") == true }, "\(trace)")
        if caller == .emulated {
          #expect(document["reason"] as? String == "netfilter_drop", "\(trace)")
        } else {
          #expect(
            (document["untold"] as? [Any])?.isEmpty == false, "what a host cannot tell is named: \(trace)")
        }
        let nonsense = try lab.trace("db", "web1", "tcp")
        #expect(nonsense.status == 64 && nonsense.error.contains("dport"), "\(nonsense)")
      }
    }

    @Test("Routers on the way, and an echo reply", arguments: Caller.available + [.emulated])
    func routers(caller: Caller) throws {
      let lab = TestLab(caller, "eyes-ring")
      try lab.during(Host.topology("three-router-ring")) {
        let trace = try lab.trace("pc1", "pc3")
        #expect(trace.status == 0, "\(trace)")
        let document = try trace.json()
        let steps = try #require(document["steps"] as? [[String: Any]])
        let places = steps.filter { $0["kind"] as? String == "receive" }.compactMap { $0["place"] as? String }
        #expect(places == ["router1:eth3", "router3:eth1", "pc3:eth1"], "\(trace)")
        #expect((document["answer"] as? [String: Any])?["kind"] as? String == "echo reply", "\(trace)")
        let short = try lab.trace("pc1", "pc3", "ttl", "1")
        #expect(short.status == 1, "\(short)")
        let answer = try short.json()["answer"] as? [String: Any]
        #expect(answer?["kind"] as? String == "time exceeded", "\(short)")
      }
    }

    /// Packets that tell something of each topology that ships.
    static let packets = [
      ("quickstart", ["web1 web2", "web2 web1 tcp dport 80"]),
      (
        "shop",
        [
          "isp gw:wan0 tcp dport 8080", "db web1 tcp dport 22", "web1 isp", "web1 db tcp dport 5432",
          "web2 isp udp dport 53",
        ]
      ),
      (
        "three-router-ring",
        ["pc1 pc2", "pc3 pc1 tcp dport 9", "pc1 10.10.10.1", "pc1 10.10.10.2", "pc1 pc2 ttl 1"]
      ),
      ("nat-sites", ["h1 h0 tcp dport 80", "h2 h0 udp dport 53", "h0 h1", "h1 h2"]),
      ("load-balancer", ["client1 balancer:eth0 tcp dport 80", "client1 10.0.0.1"]),
      ("linux-router", ["h1 h2", "h2 h3 udp dport 7"]),
      (
        "firewall",
        [
          "desk visitor tcp dport 80", "visitor desk", "offender web tcp dport 80",
          "visitor web tcp dport 22",
          "web visitor",
        ]
      ),
      ("ipv6", ["a b tcp dport 80", "b a"]),
      ("vxlan-overlay", ["red blue", "core blue"]),
      ("fat-tree", ["h0x0 h3x1", "h1x0 h1x1"]),
      ("container-host", ["c1 outside tcp dport 80", "outside host"]),
    ]

    @Test("Two kernels do the same with one packet, in each topology", arguments: Caller.available, packets)
    func compared(caller: Caller, packets: (topology: String, words: [String])) throws {
      let lab = TestLab(caller, "eyes-compare")
      try lab.during(Host.topology(packets.topology)) {
        for words in packets.words {
          let outcome = try caller.netforge(
            ["trace", "--name", lab.name, "--compare", "\(caller),emulated", "-f", "json"]
              + words.split(separator: " ").map(String.init))
          #expect(outcome.status == 0, "\(outcome)")
        }
      }
    }
  }
}

extension TestLab {
  fileprivate func trace(_ words: String...) throws -> Outcome {
    try caller.netforge(["trace", "--name", name, "-f", "json"] + words)
  }
}
