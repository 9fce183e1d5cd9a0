// SPDX-License-Identifier: GPL-2.0-or-later

import Foundation
import Testing

/// What of the host a lab might touch, as the host's own tools tell it.
struct HostSnapshot: Equatable {
  var links: String
  var namespaces: String
  var ruleset: String
  var forwarding: String

  static func take() throws -> HostSnapshot {
    HostSnapshot(
      links: try Host.run("ip", "-j", "link").output,
      namespaces: try Host.run("ip", "netns").output,
      ruleset: try Host.run("nft", "list", "ruleset").output,
      forwarding: try Host.run("sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding").output)
  }
}

@Suite("Quick start", .serialized)
struct QuickstartTests {
  @Test(
    "A lab comes up, answers, is found unchanged, and goes away without a trace", arguments: Caller.available)
  func wholeLife(caller: Caller) throws {
    let before = try HostSnapshot.take()
    let name = "qs-\(caller)"
    let topology = Host.topology("quickstart")
    let up = try caller.netforge("up", topology, "--name", name)
    #expect(up.status == 0, "\(up)")
    defer { _ = try? caller.netforge("down", "--name", name) }

    let ping = try caller.netforge("exec", "--name", name, "web1", "--", "ping", "-c", "1", "-W", "2", "web2")
    #expect(ping.status == 0, "\(ping)")

    let plan = try caller.netforge("plan", topology, "--name", name, "--detailed-exitcode")
    #expect(plan.status == 0, "\(plan)")
    let again = try caller.netforge("up", topology, "--name", name, "-f", "json")
    #expect(try again.json()["changes"] as? [String] == [], "\(again)")

    let status = try caller.netforge("status", "--name", name, "-f", "json").json()
    #expect(status["datapath"] as? String == caller.rawValue)
    #expect((status["nodes"] as? [[String: Any]])?.count == 2)

    let down = try caller.netforge("down", "--name", name)
    #expect(down.status == 0, "\(down)")
    #expect(try HostSnapshot.take() == before)
    #expect(try caller.netforge("status", "--name", name).status != 0)
  }

  @Test("exec gives back the program's own end", arguments: Caller.available)
  func execEnds(caller: Caller) throws {
    let name = "qx-\(caller)"
    try caller.withLab("quickstart", named: name) {
      #expect(try caller.netforge("exec", "--name", name, "web1", "--", "sh", "-c", "exit 42").status == 42)
      #expect(
        try caller.netforge("exec", "--name", name, "web1", "--", "sh", "-c", "kill -TERM $$").status == 128
          + 15)
      #expect(try caller.netforge("exec", "--name", name, "web1", "--", "no-such-program").status == 127)
      #expect(try caller.netforge("exec", "--name", name, "web1", "--", "/etc/passwd").status == 126)
      #expect(
        try caller.netforge("exec", "--name", name, "web1", "--", "cat", input: "through").output == "through"
      )
      let unknown = try caller.netforge("exec", "--name", name, "wbe1", "--", "true")
      #expect(unknown.status != 0)
      #expect(unknown.error.contains("web1"), "an unknown node lists the known ones: \(unknown)")
    }
  }
}
