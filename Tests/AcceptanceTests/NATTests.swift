// SPDX-License-Identifier: GPL-2.0-or-later

// Two sites behind address translation: what each side sees of the other, and what becomes of errors and large packets.

import Foundation
import Testing

extension Acceptance {
  @Suite("NAT", .enabled(if: Host.has("ip", "ping", "curl", "ncat"), "needs ip, ping, curl and ncat"))
  struct NATTests {
    @Test("nat-sites: from outside, a site is its router's address", arguments: Caller.available)
    func sites(caller: Caller) throws {
      let lab = TestLab(caller, "nat")
      try lab.live(Host.topology("nat-sites")) {
        #expect(try lab.ping("h1", "10.0.0.1").ttl == 63)
        #expect(try lab.get("h2", "http://10.0.0.1/") == "h0 in lab \(lab.name)\n")
        #expect(try lab.appearance(of: "h1", to: "h0", at: "10.0.0.1").hasPrefix("10.0.0.11 "))
        #expect(try lab.appearance(of: "h2", to: "h0", at: "10.0.0.1").hasPrefix("10.0.0.12 "))
        #expect(try !lab.ping("h0", "192.168.1.100").isAnswered)
        #expect(try !lab.ping("h1", "192.168.2.100").isAnswered)
        // The error that a closed port sends goes back through the translation to who asked.
        let refused = try lab.exec("h1", "ncat", "-u", "-w", "1", "10.0.0.1", "9999", input: "anybody?\n")
        #expect(refused.error.contains("refused"), "\(refused)")
        guard Host.has("conntrack") else { return }
        let table = try lab.inside("nat1", "conntrack", "-L", "-p", "tcp")
        #expect(table.output.contains("src=192.168.1.100 dst=10.0.0.1"), "\(table)")
        #expect(table.output.contains("src=10.0.0.1 dst=10.0.0.11"), "\(table)")
      }
    }

    @Test(
      "conntrack lists, chooses, deletes and follows the connections of a node, the same on every datapath",
      arguments: Caller.available + [.emulated])
    func conntrack(caller: Caller) throws {
      let lab = TestLab(caller, "nat-conntrack")
      try lab.during(Host.topology("nat-sites")) {
        func tracked(_ arguments: String...) throws -> Outcome {
          try caller.netforge(["conntrack", "--name", lab.name, "nat1"] + arguments)
        }
        let watching = try Host.start(
          Stage.prefix + caller.command(["conntrack", "--name", lab.name, "nat1", "--watch"], seconds: 30),
          environment: caller.environment)
        defer { watching.stop() }
        // The follower is there when the first connection is told of.
        for _ in 0..<40 where !watching.output.contains("[UPDATE] icmp") {
          #expect(try lab.netforge("ping", "h1", "10.0.0.1", "--count", "1").status == 0)
          Thread.sleep(forTimeInterval: 0.1)
        }
        #expect(
          watching.output.contains("    [NEW] icmp     1 30 src=192.168.1.100 dst=10.0.0.1 type=8 code=0 id=")
        )
        let list = try tracked()
        let line = try #require(list.lines.first { $0.hasPrefix("icmp     1 ") }, "\(list)")
        #expect(line.contains(" src=192.168.1.100 dst=10.0.0.1 type=8 code=0 id="), "\(line)")
        #expect(line.contains(" src=10.0.0.1 dst=10.0.0.11 type=0 code=0 id="), "\(line)")
        let json = try tracked("-p", "icmp", "--reply-dst", "10.0.0.11", "-f", "json").json()
        let first = try #require((json["connections"] as? [[String: Any]])?.first)
        #expect((first["original"] as? [String: Any])?["source"] as? String == "192.168.1.100", "\(first)")
        if caller != .emulated, Host.has("conntrack") {
          // Seconds pass between the two.
          func facts(_ lines: [String]) -> [String] {
            lines.map { $0.split(separator: " ").enumerated().filter { $0.offset != 2 }.map(\.element) }
              .map { $0.joined(separator: " ") }.sorted()
          }
          let judge = try lab.inside("nat1", "conntrack", "-L", "-p", "icmp")
          #expect(try facts(tracked("-p", "icmp").lines) == facts(judge.lines), "\(judge)")
        }
        #expect(try tracked("-p", "tcp").output == "node 'nat1' tracks no such connection\n")
        #expect(try tracked("--delete").status == 64, "nothing chosen")
        #expect(try tracked("--delete", "-s", "192.168.1.100").lines.contains { $0.hasPrefix("icmp     1 ") })
        #expect(try tracked("-s", "192.168.1.100").output == "node 'nat1' tracks no such connection\n")
        for _ in 0..<40 where !watching.output.contains("[DESTROY] icmp") {
          Thread.sleep(forTimeInterval: 0.1)
        }
        #expect(watching.output.contains("[DESTROY] icmp     1 "), "\(watching.output)")
      }
    }

    @Test(
      "A rule has only some of what happens to connections told, the same on every datapath",
      arguments: Caller.available + [.emulated])
    func events(caller: Caller) throws {
      let lab = TestLab(caller, "nat-events")
      let scratch = try Scratch()
      let source = """
        import Netforge
        let lab = Topology("events")
        let lan = lab.bridge("lan", subnet: "10.0.0.0/24")
        lab.node("server") {
          Interface("eth0", on: lan, address: "10.0.0.1/24")
          Table("quiet") {
            Chain("input", hook: .input) {
              Rule { IP.source.is("10.0.0.11"); Conntrack.events.set(.destroy, .label) }
              Rule { IP.source.is("10.0.0.13"); Conntrack.events.set(.nothing) }
            }
          }
        }
        for host in 11...13 {
          lab.node("h\\(host)") { Interface("eth0", on: lan, address: "10.0.0.\\(host)/24") }
        }
        """
      let file = try scratch.file("events.swift", source + "\n")
      try lab.during(file) {
        #expect(try lab.plan(file).isEmpty)
        let list = try caller.netforge("nft", "list", "--name", lab.name, "server").output
        #expect(list.contains("ip saddr 10.0.0.11 ct event set destroy,label"), "\(list)")
        let watching = try Host.start(
          Stage.prefix + caller.command(["conntrack", "--name", lab.name, "server", "--watch"], seconds: 30),
          environment: caller.environment)
        defer { watching.stop() }
        for _ in 0..<40 where !watching.output.contains("[UPDATE] icmp") {
          #expect(try lab.netforge("ping", "h12", "10.0.0.1", "--count", "1").status == 0)
          Thread.sleep(forTimeInterval: 0.1)
        }
        for host in ["h13", "h11"] {
          #expect(try lab.netforge("ping", host, "10.0.0.1", "--count", "1").status == 0)
        }
        for host in [13, 11] {
          let gone = try caller.netforge(
            ["conntrack", "--name", lab.name, "server", "--delete", "-s", "10.0.0.\(host)"])
          #expect(gone.lines.contains { $0.hasPrefix("icmp ") }, "\(gone)")
        }
        for _ in 0..<40 where !watching.output.contains("[DESTROY]") {
          Thread.sleep(forTimeInterval: 0.1)
        }
        let lines = watching.output.split(separator: "\n")
        #expect(lines.contains { $0.contains("[NEW]") && $0.contains("src=10.0.0.12 ") }, "\(lines)")
        let kept = lines.filter { $0.contains("src=10.0.0.11 dst=10.0.0.1 ") }
        #expect(kept.count == 1 && kept[0].contains("[DESTROY]"), "\(lines)")
        #expect(!lines.contains { $0.contains("src=10.0.0.13 dst=") }, "\(lines)")
      }
    }

    @Test(
      "Each field of the language comes back from the kernel as it was declared, and nft reads it as the same",
      arguments: Caller.available + [.emulated])
    func fields(caller: Caller) throws {
      let lab = TestLab(caller, "fields")
      let scratch = try Scratch()
      let golden = Host.repository.appending(path: "Tests/TopologyModelGolden/fields.swift.txt")
      // Bridges' names need a module of the kernel's; what has no meaning here the emulated one refuses by name.
      let left = caller == .emulated ? [".routingClass.", ".controlGroup.", ".realm."] : ["ingBridge."]
      let lines = try String(contentsOf: golden, encoding: .utf8).split(separator: "\n")
        .filter { line in !left.contains { line.contains($0) } }
      let file = try scratch.file("fields.swift", lines.joined(separator: "\n") + "\n")
      try lab.during(file) {
        #expect(try lab.netforge("plan", file, "--detailed-exitcode").status == 0)
        guard caller != .emulated else { return }
        let real = try lab.inside("r", "nft", "list", "ruleset").output
        let rules = lines.filter { $0.contains("Counter()") }.count
        #expect(
          real.split(separator: "\n").filter { $0.contains("counter packets") }.count == rules, "\(real)")
        let meanings = [
          "tcp option sack-perm exists", "exthdr hbh exists", "ip frag-off", "ct direction reply",
          "meta random 1 ",
          "frag nexthdr tcp", "esp spi 1", "sctp vtag 1", "socket transparent 1", "arp daddr ip 10.0.0.1",
          "vlan pcp 1", "fib daddr . iif type local", "rt mtu 1", "dccp dport 80", "comp cpi 1",
          "ip dscp set ef", "ip6 hoplimit set 9", "tcp dport set 81", "ip daddr set 10.0.0.7",
          "tcp option maxseg size set rt mtu", "ct label 6,70", "ct helper \"ftp\"", "ct label set 7",
          "ct zone set 3", "meta pkttype set host", "meta nftrace set 1", "tcp flags syn / syn,ack",
          "tcp flags == rst", "meta mark & 0x000000ff == 0x00000010", "comment \"who came\"",
          "update @clients { ip saddr limit rate 5/second", "add @clients { ip saddr timeout 5s limit rate",
          "delete @clients { ip saddr }", "add @busy { ip saddr ct count over 20 counter packets",
          "add @counted { ip saddr . tcp dport }", "tcp dport 81 synproxy counter",
          "synproxy name \"proxy\"", "ct expectation set \"callback\"",
          "limit name tcp dport map { 22 : \"slow\", 80 : \"fast\" }", "dport 9876",
          "synproxy mss 1460 wscale 7 timestamp sack-perm", "ct event set new,destroy", "ct event set label",
          "ct event set 0x0", "limit name tcp dport map @by-port", "counter name meta mark map @by-mark",
          "quota name udp dport map @ranges", "ct helper set tcp dport map @helpers",
          "ct timeout set tcp dport map @times", "synproxy name tcp dport map @proxies",
          "ct expectation set tcp dport map @callbacks", "add @knocked { ip saddr : tcp dport }",
          "update @levels { ip saddr timeout 5s : 0x00000007 }", "update @levels { ip saddr : ct mark }",
          "delete @levels { ip saddr : 0x00000000 }", "add @servers { ip saddr . tcp dport : 10.0.0.7 . 80 }",
          "add @servers { ip saddr . tcp dport : ip daddr . tcp sport }",
          "add @sixes { ip6 saddr : \"eth0\" }",
          "add @chosen { ip saddr : jhash ip saddr mod 4 seed 0x5 }",
        ]
        for meaning in meanings { #expect(real.contains(meaning), "\(meaning) is not in \(real)") }
      }
    }

    @Test(
      "A rule's bytecode is explained, with the line that it comes from",
      arguments: Caller.available + [.emulated])
    func explained(caller: Caller) throws {
      let lab = TestLab(caller, "nat-explain")
      try lab.during(Host.topology("nat-sites")) {
        func explain(_ arguments: String...) throws -> Outcome {
          try caller.netforge(["nft", "explain", "--name", lab.name, "nat1"] + arguments)
        }
        let text = try explain("nat-postrouting:1")
        #expect(text.output.contains(", chain nat-postrouting, rule 1  ("), "\(text)")
        #expect(text.output.contains("nat-sites.swift:20)"), "\(text)")
        #expect(text.output.contains("[ masq ]") && text.output.contains("goes on when"), "\(text)")
        let json = try explain("nat-postrouting:1", "-f", "json").json()
        let key = try #require(json["key"] as? String)
        let explanation = try #require(json["explanation"] as? [String: Any])
        #expect((explanation["steps"] as? [[String: Any]])?.last?["meaning"] as? String == "masquerade")
        #expect(try explain(key).output == text.output)
        let absent = try explain("nat-postrouting:9")
        #expect(absent.status == 64 && absent.error.contains("has no rule 'nat-postrouting:9'"), "\(absent)")
      }
    }

    @Test("Two hosts of a site may take the same source port", arguments: Caller.available)
    func samePort(caller: Caller) throws {
      let lab = TestLab(caller, "nat-ports")
      try lab.during(Host.topology("nat-sites")) {
        let server = try lab.serving(
          "h0", port: 9000, "ncat", "-k", "-l", "9000", "--sh-exec",
          "echo $NCAT_REMOTE_ADDR $NCAT_REMOTE_PORT; sleep 2")
        defer { server.stop() }
        let client = ["ncat", "--recv-only", "-p", "5555", "10.0.0.1", "9000"]
        let first = try lab.starting("h1", client)
        let second = try lab.starting("g1", client)
        let seen = try [first.outcome().output, second.outcome().output]
        #expect(seen.allSatisfy { $0.hasPrefix("10.0.0.11 ") }, "\(seen)")
        #expect(Set(seen).count == 2, "both are the same to the server: \(seen)")
        #expect(seen.contains("10.0.0.11 5555\n"), "the first keeps its port: \(seen)")
      }
    }

    @Test("A smaller MTU beyond the translation is told to who sends", arguments: Caller.available)
    func pathMTU(caller: Caller) throws {
      let lab = TestLab(caller, "nat-mtu")
      let scratch = try Scratch()
      let file = try scratch.topology(
        "nat-sites",
        [("mtu: site == 2 ? 1400 : 1500)", "mtu: 1400)")])
      try lab.during(file) {
        let first = try lab.ping("h1", "10.0.0.1", "-M", "do", "-s", "1400")
        #expect(first.refusedBy == "192.168.1.1", "\(first.text)")
        #expect(first.refusal?.contains("mtu = 1400") == true, "\(first.text)")
        #expect(try lab.ping("h1", "10.0.0.1", "-M", "do", "-s", "1372").isAnswered)
        let server = try lab.serving("h0", port: 9100, "sh", "-c", "ncat -l 9100 | wc -c")
        let sent = try lab.exec(
          "h1", "ncat", "--send-only", "-w", "5", "10.0.0.1", "9100",
          input: String(repeating: "x", count: 200_000))
        #expect(sent.status == 0, "\(sent)")
        #expect(try server.outcome().output == "200000\n")
      }
    }
  }
}
