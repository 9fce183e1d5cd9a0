// SPDX-License-Identifier: GPL-2.0-or-later

// `up` killed at any moment: the next `up` or `down` finishes the work.

import Foundation
import Testing

extension Acceptance {
  @Suite("Killed", .enabled(if: Host.has("timeout"), "needs timeout"))
  struct KillTests {
    /// How many moments of an `up` are tried.
    static let points = 8

    static let cases: [(String, Caller)] =
      ["container-host", "ipv6"].flatMap { topology in
        Caller.available.map { (topology, $0) }
      } + [("ipv6", .emulated)]

    @Test("A first up killed at any moment leaves nothing that the next verb does not mend", arguments: cases)
    func firstUp(topology: String, caller: Caller) throws {
      let scratch = try Scratch()
      let file = try scratch.file("\(topology).json", caller.rendered(Host.topology(topology)))
      let before = try HostSnapshot.take()
      let lab = TestLab(caller, "killed")
      let start = Date()
      try lab.during(file) {}
      let whole = Date().timeIntervalSince(start)
      for point in 1...Self.points {
        let moment = whole * Double(point) / Double(Self.points)
        let killed = try kill(["up", file, "--name", lab.name, "--yes"], of: caller, after: moment)
        if point.isMultiple(of: 2) {
          let again = try lab.up(file)
          #expect(again.status == 0, "after \(moment) s: \(killed)\n\(again)")
          #expect(try lab.plan(file).isEmpty, "after \(moment) s")
        }
        let down = try lab.down()
        let wasThere = !down.error.contains("is not up")
        #expect(down.status == 0 || !wasThere, "after \(moment) s: \(killed)\n\(down)")
        let after = try HostSnapshot.take()
        #expect(after == before, "after \(moment) s: \(killed)\n\(down)")
        if after != before { _ = try caller.netforge("gc") }
      }
    }

    @Test("A change killed at any moment is finished by the next up", arguments: Caller.available)
    func change(caller: Caller) throws {
      let scratch = try Scratch()
      let base = try scratch.file("base.json", caller.rendered(Host.topology("container-host")))
      let other = try scratch.topology(
        "container-host",
        [
          ("let containers = (1...2)", "let containers = (1...3)"),
          ("  Interface(\"veth2\")", "  Interface(\"veth2\", mtu: 1400)\n  Interface(\"veth3\")"),
          ("ports: [\"veth1\", \"veth2\"]", "ports: [\"veth1\", \"veth2\", \"veth3\"]"),
          ("Publish(.tcp(8080)", "Publish(.tcp(9090)"),
          ("lab.expect(outside, reaches: host[\"eth0\"], on: .tcp(8080))", ""),
        ])
      let changed = try scratch.file("changed.json", caller.rendered(other))
      let lab = TestLab(caller, "killed-change")
      try lab.live(base) {
        let start = Date()
        let first = try lab.up(changed)
        #expect(first.status == 0, "\(first)")
        let whole = Date().timeIntervalSince(start)
        #expect(try lab.get("outside", "http://203.0.113.10:9090/") != nil)
        for point in 1...Self.points {
          // There and back by turns; the next `up` goes on, or turns round.
          let (way, end) = point.isMultiple(of: 2) ? (base, changed) : (changed, base)
          let moment = whole * Double(point) / Double(Self.points)
          let killed = try kill(["up", way, "--name", lab.name, "--yes"], of: caller, after: moment)
          let again = try lab.up(end)
          #expect(again.status == 0, "after \(moment) s: \(killed)\n\(again)")
          #expect(try lab.plan(end).isEmpty, "after \(moment) s")
          #expect(
            try lab.get("outside", "http://203.0.113.10:\(end == base ? 8080 : 9090)/") != nil,
            "after \(moment) s")
        }
      }
    }

    private func kill(_ arguments: [String], of caller: Caller, after seconds: Double) throws -> Outcome {
      let whole = try caller.command(arguments)
      let command = Array(whole.drop { $0 != "timeout" }.dropFirst(4))
      let before = Array(whole.prefix { $0 != "timeout" })
      return try Host.run(
        before + ["timeout", "-s", "KILL", String(format: "%.3f", max(seconds, 0.005))] + command,
        environment: caller.environment)
    }
  }
}
