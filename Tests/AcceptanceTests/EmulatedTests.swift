// SPDX-License-Identifier: GPL-2.0-or-later

// Labs in netforge's own kernel, as an ordinary user without any privilege has them.

import Foundation
import Testing

extension Acceptance {
  @Suite("Emulated")
  struct EmulatedTests {
    static let caller = Caller.emulated

    /// Topologies that need nothing that the emulated kernel does not have.
    static let possible = [
      "quickstart", "linux-router", "three-router-ring", "fat-tree", "shop", "nat-sites", "load-balancer",
      "container-host", "ipv6", "firewall", "vlan",
    ]

    @Test("The confinement refuses namespaces", .enabled(if: !Confinement.prefix.isEmpty, "needs python3"))
    func confined() throws {
      let outcome = try Host.run(Confinement.prefix + ["unshare", "-Un", "true"])
      #expect(outcome.status != 0, "\(outcome)")
      #expect(outcome.error.contains("not permitted"), "\(outcome)")
    }

    @Test("A topology comes up, is as it says, and goes", arguments: possible)
    func lifecycle(topology: String) throws {
      let lab = TestLab(Self.caller, topology)
      try lab.live(Host.topology(topology)) {
        let status = try lab.netforge("status", "-f", "json").json()
        #expect(status["datapath"] as? String == "emulated")
        #expect((status["drift"] as? [Any])?.isEmpty == true, "\(status)")
        let nodes = try #require(status["nodes"] as? [[String: Any]])
        #expect(
          nodes.allSatisfy { $0["present"] as? Bool == true && ($0["unmarked"] as? [Any])?.isEmpty == true })
      }
    }

    @Test("Two CPUs carry a lab as one does, and a lab that is up keeps those it has")
    func cpus() throws {
      let lab = TestLab(Self.caller, "cpus")
      let file = Host.topology("three-router-ring")
      func up(_ count: String, _ datapath: String = "emulated") throws -> Outcome {
        try Self.caller.netforge("up", file, "--name", lab.name, "--datapath", datapath, "--cpus", count)
      }
      defer { _ = try? lab.netforge("down") }
      let first = try up("2")
      #expect(first.status == 0, "\(first)")
      let process = try lab.netforge("status", "-f", "json").json()["process"] as? [String: Any]
      #expect(process?["cpus"] as? Int == 2)
      #expect(try lab.netforge("ping", "--all").output.contains("30 of 30 pairs answer"))
      let trace = try lab.netforge("trace", "pc1", "pc2")
      #expect(trace.status == 0 && trace.output.contains("router2:eth1  ring      1 of 256"), "\(trace)")
      #expect(try up("2").output.contains("no changes"))
      let other = try up("3")
      #expect(other.status == 1 && other.error.contains("is up on 2 CPUs"), "\(other)")
      #expect(try up("0").status == 64 && up("65").status == 64)
    }

    @Test("What differs is changed in place, and a lab of another datapath is no such lab")
    func reconcile() throws {
      let lab = TestLab(Self.caller, "change")
      let scratch = try Scratch()
      let edits = [("address: \"10.0.0.\\(i)/24\"", "address: \"10.0.0.\\(i)/24\", mtu: 1400")]
      let changed = try scratch.topology("quickstart", edits)
      try lab.during(Host.topology("quickstart")) {
        let plan = try lab.plan(changed)
        #expect(plan.map(\.operation) == ["update", "update", "update", "update"], "\(plan)")
        let up = try lab.up(changed)
        #expect(up.status == 0, "\(up)")
        #expect(try lab.plan(changed).isEmpty)
        let other = try lab.netforge("plan", changed, "--datapath", "rootless")
        #expect(other.status == 1 && other.error.contains("emulated"), "\(other)")
      }
    }

    @Test("What the emulated datapath does not have is a limitation by name and line")
    func limitations() throws {
      let scratch = try Scratch()
      let address = "Interface(\"eth0\", on: lan, address: \"10.0.0.\\(i)/24\")"
      let file = try scratch.topology(
        "quickstart", [(address, address + "\n    Run(\"sleep 1000\")")])
      let lab = TestLab(Self.caller, "quickstart")
      let before = try HostSnapshot.take()
      // The lab's own process tells the one, the caller the other: in the same words.
      var complaints: Set<String> = []
      for verb in ["up", "plan"] {
        let outcome = try lab.netforge(verb, file)
        complaints.insert(outcome.error)
        #expect(outcome.status == 69, "\(outcome)")
        #expect(outcome.error.contains("quickstart.swift:"), "says where: \(outcome)")
        #expect(outcome.error.contains("runs no programs"), "says what: \(outcome)")
      }
      #expect(complaints.count == 1, "\(complaints)")
      #expect(!FileManager.default.fileExists(atPath: "\(Self.caller.labs)/\(lab.name)"))
      #expect(try HostSnapshot.take() == before)
    }

    @Test("A lab whose process was killed is gone, status says so, and up makes it anew")
    func killed() throws {
      let lab = TestLab(Self.caller, "killed")
      try lab.during(Host.topology("quickstart")) {
        let status = try lab.netforge("status", "-f", "json").json()
        let process = try #require((status["process"] as? [String: Any])?["pid"] as? Int)
        #expect(kill(pid_t(process), SIGKILL) == 0)
        let deadline = Date().addingTimeInterval(5)
        var gone = try lab.netforge("status")
        while gone.status == 0, Date() < deadline { gone = try lab.netforge("status") }
        #expect(gone.status == 1 && gone.error.contains("is gone"), "\(gone)")
        let up = try lab.up(Host.topology("quickstart"))
        #expect(up.status == 0, "\(up)")
        #expect(try lab.plan(Host.topology("quickstart")).isEmpty)
      }
    }

    @Test("Nodes ping each other over bridges and routers, all of them")
    func ping() throws {
      let lab = TestLab(Self.caller, "ping")
      try lab.during(Host.topology("three-router-ring")) {
        let one = try lab.netforge("ping", "pc1", "pc2", "--count", "3", "-f", "json")
        #expect(one.status == 0, "\(one)")
        let pings = try #require(one.json()["pings"] as? [[String: Any]])
        #expect(pings.first?["received"] as? Int == 3, "\(one)")
        let all = try lab.netforge("ping", "--all", "--wait", "5000")
        #expect(all.lines.last == "30 of 30 pairs answer", "\(all)")
        // Routers have addresses that no route of the far PC's router leads to, on the host's kernel too.
        let far = try lab.netforge("ping", "pc3", "192.168.1.1", "--count", "1", "--wait", "5000")
        #expect(far.status == 1 && far.output.contains("network unreachable"), "\(far)")
        let nobody = try lab.netforge("ping", "pc1", "192.168.13.77", "--count", "1", "--wait", "5000")
        #expect(nobody.status == 1 && nobody.output.contains("host unreachable"), "\(nobody)")
      }
    }

    @Test("A router masquerades and its firewall drops")
    func translation() throws {
      let lab = TestLab(Self.caller, "nat")
      let scratch = try Scratch()
      let file = try scratch.file(
        "nat.swift",
        """
        import Netforge
        let lab = Topology("nat")
        let lan = lab.bridge("lan", subnet: "10.0.1.0/24")
        let gw = lab.router("gw") {
          Interface("lan0", on: lan, address: "10.0.1.1/24")
          Interface("wan0", address: "203.0.113.2/30")
          Masquerade(out: "wan0")
          Firewall(policy: .drop) {
            Accept(.established, .related)
            Accept(from: "lan0", to: "wan0")
          }
        }
        lab.node("host") {
          Interface("eth0", on: lan, address: "10.0.1.11/24")
          Route(.default, via: gw)
        }
        let isp = lab.node("isp") {
          Interface("eth0", address: "203.0.113.1/30")
          Route("10.0.1.0/24", via: "203.0.113.2")
        }
        lab.link(gw["wan0"], isp["eth0"])
        """)
      try lab.live(file) {
        let out = try lab.netforge("ping", "host", "isp", "--count", "2")
        #expect(out.status == 0, "\(out)")
        let back = try lab.netforge("ping", "isp", "host", "--count", "1", "--wait", "300")
        #expect(back.status == 1 && back.output.contains("no answer"), "\(back)")
        let rules = try Self.caller.netforge("nft", "list", "--name", lab.name, "gw")
        #expect(rules.output.contains("masquerade"), "\(rules)")
      }
    }

    @Test("Services answer datagrams, and status shows them")
    func services() throws {
      let lab = TestLab(Self.caller, "services")
      let scratch = try Scratch()
      let file = try scratch.topology(
        "quickstart",
        [
          (
            "Interface(\"eth0\", on: lan, address: \"10.0.0.\\(i)/24\")",
            "Interface(\"eth0\", on: lan, address: \"10.0.0.\\(i)/24\")\n    Service(.echo(port: 7))"
          )
        ])
      try lab.live(file) {
        let status = try lab.netforge("status")
        #expect(status.output.contains("echo:7"), "\(status)")
        let restart = try lab.netforge("restart", "web1")
        #expect(restart.status == 0, "\(restart)")
      }
    }

    @Test("Every topology comes up, or meets a limitation that names what the emulated kernel has not yet")
    func everyTopology() throws {
      let names = try FileManager.default.contentsOfDirectory(
        atPath: Host.repository.appending(path: "topologies").path()
      )
      .filter { $0.hasSuffix(".swift") }.map { String($0.dropLast(6)) }.sorted()
      for name in names where !Self.possible.contains(name) {
        let lab = TestLab(Self.caller, name)
        let up = try lab.up(Host.topology(name))
        guard up.status != 69 else {
          #expect(up.error.contains("emulated"), "\(up)")
          continue
        }
        #expect(up.status == 0, "\(up)")
        #expect(try lab.plan(Host.topology(name)).isEmpty, "\(name)")
        #expect(try lab.down().status == 0)
      }
    }

    @Test("Programs in nodes are refused by name")
    func programs() throws {
      let lab = TestLab(Self.caller, "programs")
      try lab.during(Host.topology("quickstart")) {
        let outcome = try lab.exec("web1", "true")
        #expect(outcome.status == 69 && outcome.error.contains("no programs"), "\(outcome)")
      }
    }
  }
}
