// SPDX-License-Identifier: GPL-2.0-or-later

// Sets whose elements count, age and limit for themselves, on every datapath.

import Foundation
import Testing

extension Acceptance {
  @Suite("Sets", .enabled(if: Host.has("ip", "ping"), "needs ip and ping"))
  struct SetTests {
    private static let source = """
      import Netforge
      let lab = Topology("sets")
      let lan = lab.bridge("lan", subnet: "10.0.0.0/24")
      let server = lab.node("server") {
        Interface("eth0", on: lan, address: "10.0.0.1/24")
        Table("guard") {
          let clients = NamedSet("clients", of: IP.source, dynamic: true, timeout: .seconds(3600), size: 100)
          let known = NamedSet("known", of: IP.source, ["10.0.0.12"], counters: true, comment: "who may")
            .with("10.0.0.11", timeout: .seconds(3000), comment: "guest")
          let kept = NamedSet("kept", of: IP.source, ["10.0.0.77"], dynamic: true, timeout: .seconds(3600))
          let levels = NamedMap("levels", from: IP.source, to: Meta.mark, [("10.0.0.11", 1)], counters: true)
            .with("10.0.0.12", to: 2, comment: "second")
          kept
          Chain("input", hook: .input) {
            Rule {
              ICMP.type.is(.echoRequest)
              IP.source.isIn(known)
              Update(clients, with: IP.source) { Limit(1, per: .hour, burst: 3) }
              SetMark(by: IP.source, in: levels)
              Counter()
              Verdict.accept
            }
            Rule { ICMP.type.is(.echoRequest); Verdict.drop }
          }
        }
      }
      for host in 11...13 {
        lab.node("h\\(host)") { Interface("eth0", on: lan, address: "10.0.0.\\(host)/24") }
      }
      """

    @Test(
      "A limit of each element holds for one source and not for another; elements count and keep comments",
      arguments: Caller.available + [.emulated])
    func perSource(caller: Caller) throws {
      let lab = TestLab(caller, "sets")
      let scratch = try Scratch()
      let file = try scratch.file("sets.swift", Self.source + "\n")
      try lab.during(file) {
        func answered(_ node: String, of count: Int) throws -> Int {
          try (0..<count).filter { _ in
            try lab.netforge("ping", node, "10.0.0.1", "--count", "1").status == 0
          }.count
        }
        #expect(try lab.plan(file).isEmpty)
        #expect(try answered("h11", of: 5) == 3)
        #expect(try answered("h12", of: 2) == 2, "another source has a limit of its own")
        #expect(try answered("h13", of: 1) == 0, "who is not known")
        #expect(try lab.plan(file).isEmpty, "what packets have made of sets is no drift")
        let list = try caller.netforge("nft", "list", "--name", lab.name, "server").output
        // An element in a rule's comparison is counted once for each packet that it is found for.
        #expect(
          list.contains("10.0.0.11 timeout 50m counter packets 5 bytes 420 comment \"guest\""), "\(list)")
        #expect(
          list.contains("10.0.0.12 counter packets 2 bytes 168 comment \"second\" : 0x00000002"), "\(list)")
        #expect(list.contains("comment \"who may\"") && list.contains("\tcounter\n"), "\(list)")
        guard caller != .emulated else { return }
        let real = try lab.inside("server", "nft", "list", "ruleset").output
        #expect(real.contains("update @clients { ip saddr limit rate 1/hour burst 3 packets }"), "\(real)")
        #expect(real.contains("{ 10.0.0.11 counter packets 5 bytes 420 timeout 50m"), "\(real)")
      }
    }

    private static let learning = """
      import Netforge
      let lab = Topology("maps")
      let lan = lab.bridge("lan", subnet: "10.0.0.0/24")
      let server = lab.node("server") {
        Interface("eth0", on: lan, address: "10.0.0.1/24")
        Table("learn") {
          let levels = NamedMap("levels", from: IP.source, to: Meta.mark, [("10.0.0.77", 7)], dynamic: true,
            timeout: .seconds(3600), size: 100)
          let sizes = NamedMap("sizes", from: IP.source, to: Meta.length, dynamic: true, size: 100)
          let counters = NamedObjectMap("hosts", from: IP.source, to: Counter.self,
            [("10.0.0.11", Counter("eleven"))], comment: "by host")
            .with("10.0.0.12", to: Counter("twelve"), comment: "second")
          Chain("input", hook: .input) {
            Rule { ICMP.type.is(.echoRequest); IP.source.object(counters); Counter() }
            Rule {
              IP.source.is("10.0.0.11")
              Update(levels, with: IP.source, to: 7)
              Add(sizes, with: IP.source, to: Meta.length)
            }
            Rule { IP.source.is("10.0.0.12"); Add(sizes, with: IP.source, to: 5); Remove(sizes, with: IP.source) }
            Rule { SetMark(by: IP.source, in: levels); Meta.mark.is(7); Verdict.accept }
            Rule { ICMP.type.is(.echoRequest); Verdict.drop }
          }
        }
      }
      for host in 11...13 {
        lab.node("h\\(host)") { Interface("eth0", on: lan, address: "10.0.0.\\(host)/24") }
      }
      """

    @Test(
      "What a rule puts into a map is what the next one finds there; a named map counts by host",
      arguments: Caller.available + [.emulated])
    func maps(caller: Caller) throws {
      let lab = TestLab(caller, "maps")
      let scratch = try Scratch()
      let file = try scratch.file("maps.swift", Self.learning + "\n")
      try lab.during(file) {
        func answers(_ node: String) throws -> Bool {
          try lab.netforge("ping", node, "10.0.0.1", "--count", "1").status == 0
        }
        #expect(try lab.plan(file).isEmpty)
        #expect(try answers("h11"))
        #expect(try !answers("h12") && !answers("h13"), "the map has nothing of them")
        #expect(try answers("h11"))
        #expect(try lab.plan(file).isEmpty, "what packets have made of maps is no drift")
        let list = try caller.netforge("nft", "list", "--name", lab.name, "server").output
        #expect(list.contains("{ 10.0.0.11 : 0x00000007, 10.0.0.77 : 0x00000007 }"), "\(list)")
        #expect(list.contains("elements = { 10.0.0.11 : 84 }"), "\(list)")
        #expect(list.contains("update @levels { ip saddr : 0x00000007 }"), "\(list)")
        #expect(list.contains("add @sizes { ip saddr : meta length }"), "\(list)")
        #expect(list.contains("counter name ip saddr map @hosts counter packets 3 bytes 252"), "\(list)")
        #expect(list.contains("10.0.0.12 comment \"second\" : \"twelve\""), "\(list)")
        #expect(list.contains("counter eleven {\n\t\tpackets 2 bytes 168"), "\(list)")
        guard caller != .emulated else { return }
        let real = try lab.inside("server", "nft", "list", "ruleset").output
        #expect(real.contains("update @levels { ip saddr : 0x00000007 }"), "\(real)")
        #expect(real.contains("delete @sizes { ip saddr : 0 }"), "\(real)")
        #expect(real.contains("counter name ip saddr map @hosts"), "\(real)")
        // What was changed by hand is told, and put back.
        _ = try lab.inside("server", "nft", "delete element inet learn hosts { 10.0.0.12 }")
        #expect(try !lab.plan(file).isEmpty)
        #expect(try lab.netforge("up", file).status == 0)
        #expect(try lab.plan(file).isEmpty)
      }
    }
  }
}
