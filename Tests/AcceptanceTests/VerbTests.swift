// SPDX-License-Identifier: GPL-2.0-or-later

// The other verbs, by what their output is good for.

import Foundation
import Testing

extension Acceptance {
  @Suite("Verbs", .enabled(if: Host.has("ip", "ping"), "needs ip and ping"))
  struct VerbTests {
    @Test(
      "What render prints, every verb takes in the file's place, also from standard input",
      arguments: Caller.available)
    func rendered(caller: Caller) throws {
      let lab = TestLab(caller, "rendered")
      let before = try HostSnapshot.take()
      let json = try caller.rendered(Host.topology("three-router-ring"))
      let scratch = try Scratch()
      let file = try scratch.file("ring.json", json)
      #expect(try caller.rendered(file) == json, "rendering is a fixed point")
      #expect(try caller.netforge("render", "-", input: json).output == json)
      #expect(try caller.netforge("validate", "-", input: json).status == 0)
      let up = try lab.up("-", input: json)
      defer { _ = try? lab.down() }
      #expect(up.status == 0, "\(up)")
      #expect(try lab.ping("pc1", "192.168.13.2").ttl == 62)
      let plan = try lab.netforge("plan", "-", "--detailed-exitcode", input: json)
      #expect(plan.status == 0, "\(plan)")
      let swift = try lab.netforge("plan", Host.topology("three-router-ring"), "--detailed-exitcode")
      #expect(swift.status == 0, "the file and what it renders to are the same: \(swift)")
      #expect(try lab.down().status == 0)
      #expect(try HostSnapshot.take() == before)
    }

    @Test(
      "traceroute names the routers on the way, the same on every datapath",
      arguments: Caller.available + [.emulated])
    func traceroute(caller: Caller) throws {
      let lab = TestLab(caller, "trace")
      try lab.during(Host.topology("three-router-ring")) {
        let trace = try lab.netforge("traceroute", "pc1", "pc3", "-q", "2", "-f", "json")
        #expect(trace.status == 0, "\(trace)")
        let document = try trace.json()
        #expect(document["reached"] as? Bool == true)
        let hops = try #require(document["hops"] as? [[String: Any]])
        let names = hops.map { hop in
          Set((hop["answers"] as? [[String: Any]] ?? []).map { $0["name"] as? String ?? "?" })
        }
        #expect(names.map(\.count) == [1, 1, 1], "\(trace)")
        #expect(
          names.compactMap { $0.first?.split(separator: ":").first.map(String.init) } == [
            "router1", "router3", "pc3",
          ], "\(trace)")
        let lost = try lab.netforge("traceroute", "pc1", "192.168.13.99", "-q", "1", "--wait", "5000")
        #expect(lost.status == 1 && lost.output.contains("host unreachable"), "\(lost)")
      }
    }

    @Test(
      "neigh, fdb, route get and stats tell the same on every datapath",
      arguments: Caller.available + [.emulated])
    func looking(caller: Caller) throws {
      let lab = TestLab(caller, "look")
      try lab.during(Host.topology("quickstart")) {
        #expect(try lab.netforge("ping", "web1", "web2", "--count", "3").status == 0)
        let neighbors = try #require(
          lab.netforge("neigh", "web1", "-f", "json").json()["neighbors"] as? [[String: Any]])
        let web2 = try #require(neighbors.first { $0["address"] as? String == "10.0.0.2" }, "\(neighbors)")
        #expect(web2["link"] as? String == "eth0" && web2["state"] as? String == "REACHABLE", "\(web2)")
        let mac = try #require(web2["mac"] as? String)

        let entries = try #require(
          lab.netforge("fdb", "lan", "-f", "json").json()["entries"] as? [[String: Any]])
        let learned = try #require(entries.first { $0["mac"] as? String == mac }, "\(entries)")
        #expect(
          learned["kind"] as? String == "dynamic" && learned["bridge"] as? String == "lan", "\(learned)")

        let route = try caller.netforge("route", "get", "--name", lab.name, "web1", "web2")
        #expect(route.output == "10.0.0.2 dev eth0 src 10.0.0.1\n", "\(route)")
        let local = try caller.netforge("route", "get", "--name", lab.name, "web1", "10.0.0.1")
        #expect(local.output == "local 10.0.0.1 dev lo src 10.0.0.1\n", "\(local)")
        let nowhere = try caller.netforge("route", "get", "--name", lab.name, "web1", "192.0.2.1")
        #expect(nowhere.status == 1 && nowhere.error.contains("ENETUNREACH"), "\(nowhere)")

        let stats = try lab.netforge("stats", "web1", "-f", "json").json()
        let node = try #require((stats["nodes"] as? [[String: Any]])?.first)
        let counters = try #require(node["counters"] as? [[String: Any]])
        func count(_ name: String) -> Int? {
          counters.first { $0["name"] as? String == name }?["value"] as? Int
        }
        #expect(count("IcmpOutEchos") == 3 && count("IcmpInEchoReps") == 3, "\(counters)")
        let eth0 = (node["links"] as? [[String: Any]])?.first { $0["name"] as? String == "eth0" }
        #expect(
          (eth0?["received"] as? [String: Any])?["packets"] as? Int ?? 0 >= 4, "\(String(describing: eth0))")
        guard caller == .emulated else { return }
        #expect((stats["accounting"] as? [String: Any])?["isClosed"] as? Bool == true, "\(stats)")
        let ring = (eth0?["driver"] as? [[String: Any]])?.first { $0["name"] as? String == "rx_ring_size" }
        #expect(ring?["value"] as? Int == 256, "\(String(describing: eth0))")
        #expect(try lab.netforge("stats").output.contains("packets: "))
      }
    }

    @Test("ss lists what `ss` lists", .enabled(if: Host.has("ss"), "needs ss"), arguments: Caller.available)
    func sockets(caller: Caller) throws {
      let lab = TestLab(caller, "ss")
      try lab.during(Host.topology("shop")) {
        let script = "(echo hi; sleep 30) | ncat 10.0.2.10 5432 >/dev/null"
        let client = try lab.starting("web1", ["sh", "-c", script])
        defer { client.stop() }
        func rows(_ text: String) -> Set<String> {
          Set(text.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") })
        }
        // What was sent has come back and been read: nothing moves while the two are asked.
        let deadline = Date() + 20
        var listed = ""
        while Date() < deadline {
          let detail = try lab.netforge("ss", "web1", "--tcp", "-iom").output
          listed = try lab.netforge("ss", "web1").output
          let isRead = rows(listed).contains { $0.hasPrefix("tcp ESTAB 0 0 ") }
          if isRead, detail.contains("bytes_received:3") { break }
        }
        let real = try lab.exec("web1", "ss", "-tuanH").output
        #expect(rows(listed).subtracting(rows(real)).count == 1, "the heading: \(listed) beside \(real)")
        #expect(rows(real).isSubset(of: rows(listed)), "\(listed) beside \(real)")
        let document = try lab.netforge("ss", "web1", "--tcp", "-f", "json").json()
        let sockets = try #require(document["sockets"] as? [[String: Any]])
        let connection = try #require(sockets.first { $0["state"] as? String == "ESTAB" })
        let tcp = try #require(connection["tcp"] as? [String: Any])
        #expect(tcp["bytesAcknowledged"] as? Int == 4 && tcp["mss"] as? Int == 1448, "\(tcp)")
        let words = try lab.netforge("ss", "web1", "--tcp", "-iom").output
        for word in ["skmem:(r0,", ",f", ",w0,o0,bl0,d0)", "wscale:", "cwnd:", "bytes_acked:4 "] {
          #expect(words.contains(word), "\(words)")
        }
      }
    }

    @Test(
      "stats has a listener's queues, and ss the handshake that waits in one, with its timers",
      arguments: Caller.available + [.emulated])
    func listening(caller: Caller) throws {
      let lab = TestLab(caller, "listen")
      let scratch = try Scratch()
      let file = try scratch.file(
        "listen.swift",
        """
        import Netforge
        let lab = Topology("listen")
        let lan = lab.bridge("lan", subnet: "10.9.0.0/24")
        let a = lab.node("a") {
          Interface("eth0", on: lan, address: "10.9.0.1/24")
          Firewall(policy: .drop, on: .input) { Accept(.udp(9)) }
        }
        let b = lab.node("b") {
          Interface("eth0", on: lan, address: "10.9.0.2/24")
          Service(.http(port: 80))
        }

        """)
      try lab.during(file) {
        // Who does not hear the answer to its SYN sends it again, which b counts as one that it did not take.
        #expect(try lab.netforge("nc", "-w", "1500ms", "a", "b", "80", input: "x").status == 1)
        let stats = try lab.netforge("stats", "b", "-f", "json").json()
        let node = try #require((stats["nodes"] as? [[String: Any]])?.first)
        let listener = try #require((node["listeners"] as? [[String: Any]])?.first)
        #expect(
          listener["synQueue"] as? Int == 1 && listener["acceptQueue"] as? Int == 0
            && listener["drops"] as? Int == 1 && listener["backlog"] as? Int == 512, "\(listener)")
        let counters = try #require(node["counters"] as? [[String: Any]])
        let again = counters.first { $0["name"] as? String == "TcpExtTCPSynRetrans" }?["value"] as? Int
        #expect(again ?? 0 >= 1, "\(counters)")
        #expect(try lab.netforge("stats", "b").output.contains("0.0.0.0:80  1          0"))
        let words = try lab.netforge("ss", "b", "--tcp", "-o").output
        let row = try #require(words.split(separator: "\n").first { $0.contains("SYN-RECV") }, "\(words)")
        #expect(row.contains("10.9.0.2:80") && row.contains("timer:(on,"), "\(row)")
      }
    }

    @Test(
      "A port of the host leads to a port of a node, bytes whole in both directions",
      .enabled(if: Host.has("curl", "ncat", "cmp"), "needs curl, ncat and cmp"),
      arguments: Caller.available + [.emulated])
    func hostPorts(caller: Caller) throws {
      let lab = TestLab(caller, "ports")
      let scratch = try Scratch()
      let base = Int.random(in: 20_000..<30_000)
      let file = try scratch.file(
        "ports.swift",
        """
        import Netforge
        let lab = Topology("ports")
        let web = lab.node("web") {
          Interface("eth0", address: "10.9.0.1/30")
          Service(.http(port: 80))
          Service(.echo(port: 7))
          Publish(host: \(base), port: 80)
          Publish(host: \(base + 1), port: 7)
        }
        let other = lab.node("other") { Interface("eth0", address: "10.9.0.2/30") }
        lab.link(web["eth0"], other["eth0"])

        """)
      guard caller != .rootless else {
        let up = try lab.up(file)
        #expect(up.status == 69 && up.error.contains("ports.swift:7"), "\(up)")
        return
      }
      try lab.live(file) {
        for host in ["127.0.0.1", "[::1]"] {
          let page = try Host.run("curl", "-sS", "--max-time", "20", "http://\(host):\(base)/")
          #expect(page.output == "web in lab \(lab.name)\n", "\(page)")
        }
        let script =
          "head -c 3000000 /dev/urandom > bytes; timeout 40 ncat 127.0.0.1 \(base + 1) < bytes | cmp - bytes && echo same"
        let echoed = try Host.run("sh", "-c", "cd \(scratch.folder) && \(script)")
        #expect(echoed.output == "same\n", "\(echoed)")
        let status = try lab.netforge("status").output
        #expect(status.contains("host:\(base)->80"), "\(status)")
      }
      #expect(
        try Host.run("curl", "-sS", "http://127.0.0.1:\(base)/").status == 7, "the port is closed again")
    }

    @Test("Every topology validates, renders and draws")
    func everyTopology() throws {
      let caller = try #require(Caller.available.first)
      let names = try FileManager.default.contentsOfDirectory(
        atPath: Host.repository.appending(path: "topologies").path()
      )
      .filter { $0.hasSuffix(".swift") }.map { String($0.dropLast(6)) }.sorted()
      #expect(names.count >= 12)
      for name in names {
        let file = Host.topology(name)
        let valid = try caller.netforge("validate", file, "-f", "json")
        #expect(valid.status == 0, "\(valid)")
        #expect(try valid.json()["lab"] as? String == name)
        let dot = try caller.netforge("graph", file)
        #expect(dot.output.hasPrefix("graph \"\(name)\" {"), "\(dot)")
        #expect(try caller.netforge("graph", file, "-f", "mermaid").output.hasPrefix("flowchart"))
        let json = try caller.netforge("graph", file, "-f", "json").json()
        #expect((json["graph"] as? [String: Any])?["vertices"] as? [Any] != nil, "\(json)")
        let svg = try caller.netforge("graph", file, "-f", "svg")
        if Host.has("dot") {
          #expect(svg.status == 0 && svg.output.contains("<svg"), "\(svg)")
        } else {
          #expect(svg.status == 69 && svg.error.contains("graphviz"), "\(svg)")
        }
      }
    }

    @Test("exec gives back the program's own end", arguments: Caller.available)
    func execEnds(caller: Caller) throws {
      let lab = TestLab(caller, "exec")
      try lab.during(Host.topology("quickstart")) {
        #expect(try lab.exec("web1", "sh", "-c", "exit 42").status == 42)
        #expect(try lab.exec("web1", "sh", "-c", "kill -TERM $$").status == 128 + 15)
        #expect(try lab.exec("web1", "no-such-program").status == 127)
        #expect(try lab.exec("web1", "/etc/passwd").status == 126)
        #expect(try lab.exec("web1", "cat", input: "through").output == "through")
        let streams = try lab.exec("web1", "sh", "-c", "echo out; echo err >&2")
        #expect(streams.output == "out\n" && streams.error == "err\n", "\(streams)")
        // Whoever ends netforge ends the program: no signal is held back from it.
        let sleeper = try lab.starting("web1", ["sleep", "50"])
        Thread.sleep(forTimeInterval: 1)
        let begin = Date()
        sleeper.stop()
        #expect(Date().timeIntervalSince(begin) < 4)
        let hosts = try lab.exec("web1", "getent", "ahostsv4", "web2")
        #expect(hosts.output.hasPrefix("10.0.0.2 "), "\(hosts)")
        #expect(try lab.netforge("exec", "web1").status == 64)
        // netforge itself takes as many descriptors as it may have; a program is given what its user was.
        let ask = ["exec", "--name", lab.name, "web1", "--", "sh", "-c", "ulimit -Sn"]
        let limited = try Host.run(
          ["sh", "-c", "ulimit -Sn 500 && exec \"$@\"", "sh"] + caller.command(ask),
          environment: caller.environment)
        #expect(limited.output == "500\n", "\(limited)")
      }
    }

    @Test(
      "Run, Exec, File, Env and services are there, and restart starts them again",
      arguments: Caller.available)
    func programs(caller: Caller) throws {
      let lab = TestLab(caller, "programs")
      let scratch = try Scratch()
      let file = try scratch.file(
        "programs.swift",
        """
        import Netforge
        let lab = Topology("programs")
        let lan = lab.bridge("lan", subnet: "10.0.0.0/24")
        lab.node("server") {
          Interface("eth0", on: lan, address: "10.0.0.1/24")
          Service(.http(port: 80))
          Service(.echo(port: 7))
          Service(.discard(port: 9))
          File("/etc/motto", text: "packet for packet\\n")
          Env("MOTTO", "shortest path")
          Exec("sysctl", "-w", "net.ipv4.ip_default_ttl=33")
          Run("sleep", "1000")
        }
        lab.node("client") { Interface("eth0", on: lan, address: "10.0.0.2/24") }

        """)
      try lab.live(file) {
        #expect(try lab.get("client", "http://10.0.0.1/") == "server in lab \(lab.name)\n")
        #expect(try lab.say("echo", "client", "10.0.0.1", 7) == "echo")
        #expect(try lab.exec("server", "cat", "/etc/motto").output == "packet for packet\n")
        #expect(try lab.exec("server", "sh", "-c", "echo $MOTTO").output == "shortest path\n")
        #expect(try lab.ping("client", "10.0.0.1").ttl == 33)
        let first = try program(of: lab)
        let restart = try lab.netforge("restart", "server")
        #expect(restart.status == 0, "\(restart)")
        let second = try program(of: lab)
        #expect(first != second && second != nil)
        #expect(try lab.get("client", "http://10.0.0.1/") == "server in lab \(lab.name)\n")
        let nothing = try lab.netforge("restart", "client")
        #expect(nothing.status == 1, "\(nothing)")

        // Without its programs, the file stops them and leaves the network alone.
        let text = try String(contentsOfFile: file, encoding: .utf8)
        let quiet = try scratch.file(
          "quiet.swift",
          scratch.edited(text, [("  Run(\"sleep\", \"1000\")\n", ""), ("  Service(.http(port: 80))\n", "")]))
        let up = try lab.up(quiet, "-f", "json")
        #expect(up.status == 0, "\(up)")
        #expect(try lab.changes(up).isEmpty, "\(up)")
        #expect(try program(of: lab) == nil)
        #expect(try lab.get("client", "http://10.0.0.1/") == nil)
        #expect(try lab.say("echo", "client", "10.0.0.1", 7) == "echo")
        #expect(try lab.up(file).status == 0)
      }
    }

    /// The pid of the node's program while it runs.
    private func program(of lab: TestLab) throws -> Int? {
      let nodes = try lab.netforge("status", "-f", "json").json()["nodes"] as? [[String: Any]]
      let programs = nodes?.first { $0["name"] as? String == "server" }?["programs"] as? [[String: Any]]
      return programs?.first { $0["state"] as? String == "running" }?["pid"] as? Int
    }

    @Test(
      "nft list prints what nft takes", .enabled(if: Host.has("nft"), "needs nft"),
      arguments: Caller.available)
    func nftList(caller: Caller) throws {
      let unshare = ["unshare", Host.isRoot ? "-n" : "-Urn"]
      let nft = try #require(Host.path(of: "nft"))
      for (topology, node) in [
        ("shop", "gw"), ("firewall", "fw"), ("container-host", "host"), ("load-balancer", "balancer"),
      ] {
        let lab = TestLab(caller, "nft")
        try lab.during(Host.topology(topology)) {
          let list = try lab.netforge("nft", "list", "--name", lab.name, node)
          let text = list.status == 64 ? try caller.netforge("nft", "list", "--name", lab.name, node) : list
          #expect(text.status == 0 && text.output.contains("table "), "\(text)")
          let check = try Host.run(unshare + [nft, "-c", "-f", "-"], input: text.output)
          #expect(check.status == 0, "\(check)\n\(text.output)")
          // Loaded elsewhere, it is the same ruleset to nft's own eyes.
          let own = try lab.inside(node, "nft", "-s", "list", "ruleset")
          let loaded = try Host.run(
            unshare + ["sh", "-c", "\(nft) -f - && \(nft) -s list ruleset"], input: text.output)
          #expect(loaded.output == own.output, "\(loaded)\n\(own)")
          let json = try caller.netforge("nft", "list", "--name", lab.name, node, "-f", "json")
          #expect((try json.json()["tables"] as? [Any])?.isEmpty == false, "\(json)")
        }
      }
    }

    @Test("ping says what does not answer", arguments: Caller.available)
    func ping(caller: Caller) throws {
      let lab = TestLab(caller, "ping")
      try lab.during(Host.topology("linux-router")) {
        let all = try lab.netforge("ping", "--all", "-f", "json")
        #expect(all.status == 0, "\(all)")
        #expect((try all.json()["pings"] as? [Any])?.count == 12)
        let one = try lab.netforge("ping", "h1", "r0:eth3", "--count", "2", "-f", "json").json()
        let result = (one["pings"] as? [[String: Any]])?.first
        #expect(result?["received"] as? Int == 2 && result?["address"] as? String == "10.0.0.1", "\(one)")
        try lab.inside("h2", "ip", "link", "set", "eth0", "down")
        let less = try lab.netforge("ping", "--all", "--wait", "300")
        #expect(
          less.status == 1 && less.output.contains("h1 -> h2") && !less.output.contains("h1 -> h3"), "\(less)"
        )
      }
    }

    @Test("ls, status and version as JSON have a version and named lists", arguments: Caller.available)
    func documents(caller: Caller) throws {
      let lab = TestLab(caller, "documents")
      try lab.during(Host.topology("linux-router")) {
        let ls = try caller.netforge("ls", "-f", "json").json()
        let labs = try #require(ls["labs"] as? [[String: Any]])
        #expect(ls["schemaVersion"] as? Int == 1)
        #expect(
          labs.count == 1 && labs[0]["nodes"] as? Int == 4 && labs[0]["state"] as? String == "up", "\(labs)")
        let status = try lab.netforge("status", "-f", "json").json()
        let nodes = try #require(status["nodes"] as? [[String: Any]])
        #expect(nodes.map { $0["name"] as? String } == ["r0", "h1", "h2", "h3"])
        let interfaces = try #require(nodes[0]["interfaces"] as? [[String: Any]])
        let seen = try lab.ip("r0", "link")
        for interface in interfaces {
          let judge = seen.first { $0["ifname"] as? String == interface["name"] as? String }
          #expect(judge?["ifindex"] as? Int == interface["index"] as? Int)
          #expect(judge?["mtu"] as? Int == interface["mtu"] as? Int)
          if interface["name"] as? String != "lo" {
            #expect(judge?["address"] as? String == interface["mac"] as? String)
          }
        }
        #expect(interfaces.first { $0["name"] as? String == "eth1" }?["peer"] as? String == "s1")
        let some = try lab.netforge("status", "--node", "h1,h3", "-f", "json").json()["nodes"] as? [Any]
        #expect(some?.count == 2)
        let table = try lab.netforge("status")
        #expect(table.status == 0 && table.output.contains("172.16.0.1/12"), "\(table)")
        #expect(try caller.netforge("status", lab.name).status == 0, "the name alone is enough")
      }
      let version = try caller.netforge("version", "-f", "json").json()
      #expect(version["netforge"] as? String == (try caller.netforge("version", "--short")).lines.first)
      #expect(version["kernel"] as? String == (try Host.run("uname", "-r")).lines.first)
      let doctor = try caller.netforge("doctor", "-f", "json")
      #expect(doctor.status == 0, "\(doctor)")
      #expect(try doctor.json()["datapath"] as? String == caller.rawValue)
      let empty = try caller.netforge("ls", "-f", "json").json()
      #expect((empty["labs"] as? [Any])?.isEmpty == true)
    }

    @Test("The only topology of a folder is taken by itself; of several none is")
    func workingFolder() throws {
      let caller = try #require(Caller.available.first)
      let scratch = try Scratch()
      _ = try scratch.topology("quickstart", [])
      let one = try caller.netforge(["validate"], folder: scratch.folder)
      #expect(one.status == 0, "\(one)")
      _ = try scratch.topology("ipv6", [])
      let two = try caller.netforge(["validate"], folder: scratch.folder)
      #expect(
        two.status == 64 && two.error.contains("ipv6.swift") && two.error.contains("quickstart.swift"),
        "\(two)")
    }

    @Test("init writes a topology that comes up", arguments: Caller.available)
    func initialize(caller: Caller) throws {
      let scratch = try Scratch()
      try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: scratch.folder)
      let made = try caller.netforge(["init"], folder: scratch.folder)
      #expect(made.status == 0, "\(made)")
      let valid = try caller.netforge(["validate"], folder: scratch.folder)
      #expect(valid.status == 0, "\(valid)")
      let again = try caller.netforge(["init"], folder: scratch.folder)
      #expect(again.status != 0, "nothing is overwritten: \(again)")
    }

    @Test("Completion scripts are their shell's language", arguments: ["bash", "zsh", "fish"])
    func completion(shell: String) throws {
      let caller = try #require(Caller.available.first)
      let script = try caller.netforge("completion", shell)
      #expect(script.status == 0 && script.output.contains("netforge"), "\(script.error)")
      guard Host.has(shell) else { return }
      let scratch = try Scratch()
      let parsed = try Host.run(shell, "-n", scratch.file("completion", script.output))
      #expect(parsed.status == 0, "\(parsed)")
    }

    @Test("Variables of the command line reach the file", arguments: Caller.available)
    func variables(caller: Caller) throws {
      let small = try caller.netforge("validate", Host.topology("fat-tree"), "--var", "k=2", "-f", "json")
        .json()
      let large = try caller.netforge("validate", Host.topology("fat-tree"), "-f", "json").json()
      #expect(small["nodes"] as? Int == 7 && large["nodes"] as? Int == 28, "\(small) \(large)")
      #expect(try caller.netforge("validate", Host.topology("fat-tree"), "--var", "k").status == 64)
    }

    @Test("events tells what the kernel says has changed", arguments: Caller.available)
    func events(caller: Caller) throws {
      let lab = TestLab(caller, "events")
      try lab.during(Host.topology("quickstart")) {
        let running = try Host.start(
          Stage.prefix + caller.command(["events", "--name", lab.name, "-f", "json"], seconds: 30),
          environment: caller.environment)
        defer { running.stop() }
        for attempt in 0..<40 {
          try lab.inside("web1", "ip", "addr", "add", "10.0.0.\(100 + attempt)/24", "dev", "eth0")
          if running.output.contains("10.0.0.") { break }
          Thread.sleep(forTimeInterval: 0.1)
        }
        let line = running.output.split(separator: "\n").first { $0.contains("10.0.0.") }
        let event =
          try JSONSerialization.jsonObject(with: Data(try #require(line, "no event came").utf8))
          as? [String: Any]
        #expect(
          (event?["path"] as? String)?.hasPrefix("/nodes/web1/") == true, "\(String(describing: event))")
      }
    }
  }
}
