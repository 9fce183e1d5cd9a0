// SPDX-License-Identifier: GPL-2.0-or-later

// Every topology of the repository on every datapath of this host, with real tools as the judge.

import Foundation
import Testing

extension Acceptance {
  @Suite("Topologies", .enabled(if: Host.has("ip", "ping", "curl"), "needs ip, ping and curl"))
  struct TopologyTests {
    @Test("quickstart: two hosts on a bridge know each other by name", arguments: Caller.available)
    func quickstart(caller: Caller) throws {
      let lab = TestLab(caller, "quickstart")
      try lab.live(Host.topology("quickstart")) {
        #expect(try lab.ping("web1", "web2").ttl == 64)
        #expect(try lab.ping("web2", "10.0.0.1").ttl == 64)
        #expect(try lab.addresses("web1", "eth0") == ["10.0.0.1/24"])
        let status = try lab.netforge("status", "-f", "json").json()
        #expect(status["datapath"] as? String == caller.rawValue)
        #expect((status["nodes"] as? [[String: Any]])?.count == 2)
        #expect(status["drift"] as? [String] == [])
      }
      #expect(try lab.netforge("status").status != 0)
    }

    @Test(
      "three-router-ring: two hops between PCs, each router answering for its own",
      arguments: Caller.available)
    func ring(caller: Caller) throws {
      let lab = TestLab(caller, "ring")
      try lab.live(Host.topology("three-router-ring")) {
        for source in 1...3 {
          for target in 1...3 where source != target {
            let echo = try lab.ping("pc\(source)", "192.168.1\(target).2")
            #expect(echo.ttl == 62, "pc\(source) to pc\(target): \(echo.text)")
          }
        }
        // The hops of a traceroute.
        let first = try lab.ping("pc1", "192.168.12.2", "-t", "1")
        #expect(
          first.refusedBy == "192.168.11.1" && first.refusal == "Time to live exceeded", "\(first.text)")
        let second = try lab.ping("pc1", "192.168.12.2", "-t", "2")
        #expect(second.refusedBy == "192.168.1.2", "\(second.text)")
        // A router's own loopback address answers, another's is not in its routes.
        #expect(try lab.ping("pc1", "10.10.10.1").ttl == 64)
        let unknown = try lab.ping("pc1", "10.10.10.2")
        #expect(
          unknown.refusedBy == "192.168.11.1" && unknown.refusal?.contains("Unreachable") == true,
          "\(unknown.text)")
        #expect(try lab.addresses("router1", "lo") == ["10.10.10.1/32"])
        #expect(try lab.addresses("router2", "eth2") == ["192.168.3.1/24"])
        let routes = try lab.ip("router3", "route", "show", "192.168.12.0/24")
        #expect(routes.first?["gateway"] as? String == "192.168.3.1", "\(routes)")
        let ping = try lab.netforge("ping", "pc1", "pc3", "--count", "1")
        #expect(ping.status == 0, "\(ping)")
      }
    }

    @Test("linux-router: one hop between three subnets of three sizes", arguments: Caller.available)
    func linuxRouter(caller: Caller) throws {
      let lab = TestLab(caller, "router")
      try lab.live(Host.topology("linux-router")) {
        let hosts = ["h1": "192.168.1.100", "h2": "172.16.0.100", "h3": "10.0.0.100"]
        for source in hosts.keys.sorted() {
          for (target, address) in hosts where source != target {
            let echo = try lab.ping(source, address)
            #expect(echo.ttl == 63, "\(source) to \(target): \(echo.text)")
          }
        }
        #expect(try lab.addresses("r0", "eth2") == ["172.16.0.1/12"])
        let all = try lab.netforge("ping", "--all")
        #expect(all.status == 0, "\(all)")
      }
    }

    @Test(
      "load-balancer: three servers share the connections, a connection stays", arguments: Caller.available)
    func loadBalancer(caller: Caller) throws {
      let lab = TestLab(caller, "balancer")
      try lab.live(Host.topology("load-balancer")) {
        let urls = Array(repeating: "http://100.0.0.2/", count: 30)
        var hits: [String: Int] = [:]
        for client in ["client1", "client2"] {
          // A connection a request.
          let many = try lab.exec(client, ["curl", "-sS", "-m", "10", "-H", "Connection: close"] + urls)
          #expect(many.status == 0 && many.lines.count == urls.count, "\(many)")
          for line in many.lines { hits[line, default: 0] += 1 }
        }
        #expect(hits.count == 3, "\(hits)")
        // Chi-square with two degrees of freedom: above 27.6 once in a million.
        let expected = 20.0
        let distance = hits.values.reduce(0.0) {
          $0 + (Double($1) - expected) * (Double($1) - expected) / expected
        }
        #expect(distance < 27.6, "\(hits)")
        // One connection, many requests.
        let one = try lab.exec("client1", ["curl", "-sS", "-m", "10"] + urls)
        #expect(Set(one.lines).count == 1, "\(one)")
        let local = try lab.exec(
          "client1", "curl", "-sS", "-o", "/dev/null", "-w", "%{remote_ip}", "http://100.0.0.2/")
        #expect(local.output == "100.0.0.2", "\(local)")
        let direct = try lab.ping("client1", "10.0.0.1")
        #expect(!direct.isAnswered, "a server answers around the balancer: \(direct.text)")
      }
    }

    @Test("firewall: only the crossings of its zones pass", arguments: Caller.available)
    func firewall(caller: Caller) throws {
      let lab = TestLab(caller, "firewall")
      try lab.live(Host.topology("firewall")) {
        #expect(try lab.get("desk", "http://10.2.0.10/") != nil)
        #expect(try lab.get("desk", "http://10.3.0.10/") != nil)
        #expect(try lab.get("visitor", "http://10.3.0.10/") != nil)
        #expect(try lab.ping("visitor", "10.3.0.10").ttl == 63)
        #expect(try !lab.ping("visitor", "10.1.0.10").isAnswered)
        #expect(try !lab.ping("web", "10.2.0.10").isAnswered)
        #expect(try lab.get("web", "http://10.2.0.10/") == nil)
        #expect(try lab.get("offender", "http://10.3.0.10/") == nil)
        let closed = try lab.exec("visitor", "ncat", "-z", "-w", "1", "10.3.0.10", "22")
        #expect(closed.status != 0, "port 22 of the dmz is open: \(closed)")
        guard Host.has("nft") else { return }
        let ruleset = try lab.inside("fw", "nft", "-j", "list", "ruleset").json()
        let objects = try #require(ruleset["nftables"] as? [[String: [String: Any]]])
        let chains = objects.compactMap { $0["chain"] }
        let forward = chains.first { $0["hook"] as? String == "forward" }
        #expect(forward?["policy"] as? String == "drop", "\(chains)")
        let sets = objects.compactMap { $0["set"] }
        #expect(sets.contains { $0["name"] as? String == "blocked" }, "\(sets)")
        let offenders = objects.compactMap { $0["rule"] }.first {
          ($0["comment"] as? String)?.contains("known offenders") == true
        }
        let counter = (offenders?["expr"] as? [[String: Any]])?.compactMap { $0["counter"] as? [String: Int] }
          .first
        #expect(
          (counter?["packets"] ?? 0) > 0, "the drops were not counted: \(String(describing: offenders))")
      }
    }

    @Test("shop: what its expectations say holds", arguments: Caller.available)
    func shop(caller: Caller) throws {
      let lab = TestLab(caller, "shop")
      try lab.live(Host.topology("shop")) {
        #expect(try lab.say("how much", "web1", "10.0.2.10", 5432) == "how much")
        let ssh = try lab.exec("db", "ncat", "-z", "-w", "1", "10.0.1.11", "22")
        #expect(ssh.status != 0, "db gets through to web1:22: \(ssh)")
        #expect(try lab.get("db", "http://10.0.1.11/") == nil)
        #expect(try lab.get("isp", "http://203.0.113.2:8080/") == "web1 in lab \(lab.name)\n")
        #expect(try lab.appearance(of: "web2", to: "isp", at: "203.0.113.1").hasPrefix("203.0.113.2 "))
        #expect(try lab.ping("web3", "203.0.113.1").ttl == 63)
        #expect(try !lab.ping("web3", "10.0.2.10").isAnswered, "the firewall lets echo requests into the dmz")
        guard Host.has("tc") else { return }
        for (node, device) in [("gw", "wan0"), ("isp", "eth0")] {
          let qdiscs = try lab.inside(node, "tc", "-j", "qdisc", "show", "dev", device).list()
          let shaper = qdiscs.first { $0["kind"] as? String == "tbf" }
          #expect((shaper?["options"] as? [String: Any])?["rate"] as? Int == 12_500_000, "\(qdiscs)")
        }
      }
    }

    @Test(
      "container-host: containers on a bridge, masquerade outwards, one published port",
      arguments: Caller.available)
    func containerHost(caller: Caller) throws {
      let lab = TestLab(caller, "containers")
      try lab.live(Host.topology("container-host")) {
        #expect(try lab.get("c1", "http://172.17.0.3/") == "c2 in lab \(lab.name)\n")
        #expect(try lab.get("c1", "http://203.0.113.1/") == "outside in lab \(lab.name)\n")
        #expect(try lab.get("outside", "http://203.0.113.10:8080/") == "c1 in lab \(lab.name)\n")
        #expect(try lab.appearance(of: "c1", to: "outside", at: "203.0.113.1").hasPrefix("203.0.113.10 "))
        #expect(try lab.ping("c1", "172.17.0.3").ttl == 64)
        // Even with a route to the containers, the firewall lets nobody in but to the published one.
        try lab.exec("outside", "ip", "route", "add", "172.17.0.0/16", "via", "203.0.113.10")
        #expect(try lab.get("outside", "http://172.17.0.3/") == nil)
        #expect(try lab.get("outside", "http://172.17.0.2/") != nil)
        for link in try lab.ip("host", "link") where (link["ifname"] as? String ?? "").hasPrefix("veth") {
          #expect(link["master"] as? String == "docker0", "\(link)")
        }
        #expect(try lab.addresses("host", "docker0") == ["172.17.0.1/16"])
      }
    }

    @Test("ipv6: one family on one side, both on the other", arguments: Caller.available)
    func ipv6(caller: Caller) throws {
      let lab = TestLab(caller, "ipv6")
      try lab.live(Host.topology("ipv6")) {
        let echo = try lab.ping("a", "2001:db8:2::b")
        #expect(echo.ttl == 63, "\(echo.text)")
        #expect(try lab.ping("b", "2001:db8:1::a").ttl == 63)
        #expect(try lab.ping("b", "10.6.0.1").ttl == 64)
        #expect(try lab.get("a", "http://[2001:db8:2::b]/") == "b in lab \(lab.name)\n")
        #expect(try lab.addresses("a", "eth0") == ["2001:db8:1::a/64"])
        #expect(try Set(lab.addresses("b", "eth0")) == ["10.6.0.11/24", "2001:db8:2::b/64"])
        let flags = try lab.ip("b", "-6", "addr", "show", "dev", "eth0").flatMap {
          $0["addr_info"] as? [[String: Any]] ?? []
        }
        #expect(!flags.contains { $0["tentative"] as? Bool == true }, "\(flags)")
        // Who refuses to forward too large a packet says how large it may be.
        let first = try lab.ping("a", "2001:db8:2::b", "-t", "1")
        #expect(first.refusedBy == "2001:db8:1::1", "\(first.text)")
      }
    }

    @Test("fat-tree: equal-cost paths join every pod", arguments: Caller.available)
    func fatTree(caller: Caller) throws {
      let lab = TestLab(caller, "fattree")
      try lab.live(Host.topology("fat-tree")) {
        for (source, target, ttl) in [
          ("h0x0", "10.100.1.2", 61), ("h0x0", "10.103.1.2", 59), ("h1x1", "10.102.0.2", 59),
          ("h3x1", "10.100.0.2", 59),
        ] {
          let echo = try lab.ping(source, target)
          #expect(echo.ttl == ttl, "\(source) to \(target): \(echo.text)")
        }
        let route = try lab.ip("edge0x0", "route", "show", "default")
        #expect((route.first?["nexthops"] as? [Any])?.count == 2, "\(route)")
        let hosts = (0..<4).flatMap { pod in (0..<2).map { "h\(pod)x\($0)" } }
        for (source, target) in zip(hosts, hosts.dropFirst() + hosts.prefix(1)) {
          let ping = try lab.netforge("ping", source, target, "--count", "1")
          #expect(ping.status == 0, "\(ping)")
        }
      }
    }

    @Test("vxlan-overlay: one segment over a routed network", arguments: Caller.available)
    func overlay(caller: Caller) throws {
      let lab = TestLab(caller, "overlay")
      try lab.live(Host.topology("vxlan-overlay")) {
        let echo = try lab.ping("red", "10.42.0.2")
        #expect(echo.ttl == 64, "\(echo.text)")
        // As text: what iproute2 6.1 prints of a vxlan as JSON is none.
        let tunnel = try lab.inside("left", "ip", "-d", "link", "show", "dev", "vxlan42").output
        #expect(tunnel.contains("vxlan id 42 ") && tunnel.contains(" remote 192.0.2.130 "), "\(tunnel)")
        // The core carries the tunnel and knows nothing of the segment.
        #expect(try lab.ip("core", "route", "show", "10.42.0.0/24").isEmpty)
      }
    }

    @Test(
      "vlan: hosts of a VLAN meet on the bridge, VLANs meet in the router",
      .enabled(if: hasVLANs, "the kernel has no VLANs"),
      arguments: Caller.available)
    func vlan(caller: Caller) throws {
      let lab = TestLab(caller, "vlan")
      try lab.live(Host.topology("vlan")) {
        #expect(try lab.ping("red1", "10.0.10.12").ttl == 64)
        #expect(try lab.ping("red1", "10.0.20.11").ttl == 63)
        try lab.exec("red1", "ip", "addr", "add", "10.0.20.99/24", "dev", "eth0")
        #expect(try !lab.ping("red1", "10.0.20.11", "-I", "10.0.20.99").isAnswered, "a frame crosses VLANs")
      }
    }

    @Test(
      "vlan: a kernel without VLANs is a limitation by name, and nothing is changed",
      .enabled(if: !hasVLANs, "the kernel has VLANs"), arguments: Caller.available)
    func noVLANs(caller: Caller) throws {
      let lab = TestLab(caller, "vlan")
      let before = try HostSnapshot.take()
      for verb in ["up", "plan"] {
        let outcome = try lab.netforge(verb, Host.topology("vlan"))
        #expect(outcome.status == 69, "\(outcome)")
        #expect(outcome.error.contains("vlan.swift:"), "says where: \(outcome)")
        #expect(outcome.error.contains("CONFIG_VLAN_8021Q"), "says what: \(outcome)")
        #expect(outcome.error.contains("CONFIG_BRIDGE_VLAN_FILTERING"), "says all of it: \(outcome)")
      }
      #expect(try HostSnapshot.take() == before)
      #expect(try lab.caller.netforge("validate", Host.topology("vlan")).status == 0)
    }

    static let hasVLANs = Host.kernelHas("probe", "type", "bridge", "vlan_filtering", "1")
  }
}

private let hasVLANs = Acceptance.TopologyTests.hasVLANs
