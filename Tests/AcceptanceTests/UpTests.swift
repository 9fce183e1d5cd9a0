// SPDX-License-Identifier: GPL-2.0-or-later

// What `up` says and asks, the same whether it does the work itself or has the lab's own process do it.

import Foundation
import Testing

extension Acceptance {
  @Suite("Up")
  struct UpTests {
    static let callers = Caller.available + [.emulated]

    /// One node, then another: the first goes.
    static func files(_ scratch: Scratch) throws -> (first: String, other: String) {
      func text(_ node: String) -> String {
        """
        import Netforge

        let lab = Topology("up")
        let lan = lab.bridge("lan", subnet: "10.9.0.0/24")
        let keeper = lab.node("keeper") { Interface("eth0", on: lan) }
        let guest = lab.node("\(node)") { Interface("eth0", on: lan) }

        """
      }
      return (
        try scratch.file("first.swift", text("alice")), try scratch.file("other.swift", text("bob"))
      )
    }

    @Test("A disruptive plan needs consent: nothing changes without, and all with it", arguments: callers)
    func consent(caller: Caller) throws {
      let lab = TestLab(caller, "consent")
      let scratch = try Scratch()
      let (first, other) = try Self.files(scratch)
      try lab.live(first) {
        let refused = try caller.netforge("up", other, "--name", lab.name)
        #expect(refused.status == 1 && refused.output.isEmpty, "\(refused)")
        #expect(refused.error.contains("disrupts what runs in it"), "\(refused)")
        #expect(refused.error.contains("to delete") && refused.error.contains("--yes"), "\(refused)")
        #expect(try lab.plan(first).isEmpty, "nothing was changed")
        let agreed = try lab.up(other)
        #expect(agreed.status == 0 && agreed.output.contains("2 nodes"), "\(agreed)")
        #expect(try lab.plan(other).isEmpty)
      }
    }

    @Test(
      "On a terminal it shows the plan and asks", .enabled(if: Host.has("script")))
    func asking() throws {
      let lab = TestLab(.emulated, "asking")
      let scratch = try Scratch()
      let (first, other) = try Self.files(scratch)
      try lab.during(first) {
        let no = try onTerminal(["up", other, "--name", lab.name], answering: "n")
        #expect(no.status == 1, "\(no)")
        #expect(no.output.contains("- /nodes/alice") && no.output.contains("Go on? [y/N]"), "\(no)")
        #expect(no.output.contains("nothing was changed"), "\(no)")
        #expect(try lab.plan(first).isEmpty)
        let yes = try onTerminal(["up", other, "--name", lab.name], answering: "y")
        #expect(yes.status == 0 && yes.output.contains("Go on? [y/N]"), "\(yes)")
        #expect(try lab.plan(other).isEmpty)
      }
    }

    @Test("On a terminal it tells each step and its time", .enabled(if: Host.has("script")))
    func progress() throws {
      let lab = TestLab(.emulated, "progress")
      let up = try onTerminal(
        ["up", Host.topology("quickstart"), "--name", lab.name, "--datapath", "emulated"], answering: "")
      defer { _ = try? lab.down() }
      #expect(up.status == 0, "\(up)")
      let steps = [
        "read the topology", "reach the emulated datapath", "hand the topology over", "resolve 2 nodes",
        "ask the datapath what it can do", "observe", "plan", "write the journal", "create namespaces:",
        "configure:", "verify", "record", "start programs and services", "is up on the emulated datapath",
      ]
      var rest = up.output[...]
      for step in steps {
        let range = rest.range(of: step)
        #expect(range != nil, "'\(step)' after the steps before it: \(up)")
        if let range { rest = rest[range.upperBound...] }
      }
      #expect(up.output.contains(#/  verify \(\d+ ms\)/#), "\(up)")
    }

    @Test("-f json prints the plan as plan does, before the first up and for a change", arguments: callers)
    func document(caller: Caller) throws {
      let lab = TestLab(caller, "document")
      let scratch = try Scratch()
      let (first, other) = try Self.files(scratch)
      defer { _ = try? lab.down() }
      for file in [first, other, other] {
        let plan = try caller.netforge("plan", file, "--name", lab.name, "-f", "json")
        let up = try lab.up(file, "-f", "json")
        if up.status == 69 { try Test.cancel("a limitation of this host: \(up.error)") }
        #expect(plan.status == 0 && up.status == 0, "\(plan)\n\(up)")
        #expect(up.output == plan.output)
      }
      #expect(try lab.changes(lab.up(other, "-f", "json")).isEmpty)
    }

    @Test(
      "A subnet that is full is told with its line, and nothing is left",
      arguments: callers)
    func fullSubnet(caller: Caller) throws {
      let scratch = try Scratch()
      let file = try scratch.file(
        "full.swift",
        """
        import Netforge

        let lab = Topology("full")
        let lan = lab.bridge("lan", subnet: "10.9.0.0/30")
        for i in 1...3 { lab.node("n\\(i)") { Interface("eth0", on: lan) } }

        """)
      let lab = TestLab(caller, "full")
      let before = try HostSnapshot.take()
      let up = try lab.up(file)
      #expect(up.status == 65 && up.error.contains("full.swift:5: error:"), "\(up)")
      #expect(!FileManager.default.fileExists(atPath: "\(caller.labs)/\(lab.name)"))
      #expect(try HostSnapshot.take() == before)
    }

    /// netforge on a terminal of its own; `answer` is what is typed.
    private func onTerminal(_ arguments: [String], answering answer: String) throws -> Outcome {
      let words = [Host.netforge] + arguments
      let line = words.map { "'" + $0.replacing("'", with: "'\\''") + "'" }.joined(separator: " ")
      return try Caller.emulated.terminal(line, input: answer + "\n")
    }
  }
}

extension Caller {
  /// A shell's command line on a terminal.
  fileprivate func terminal(_ line: String, input: String) throws -> Outcome {
    let whole = try command([])
    let before = Array(whole.prefix { $0 != "timeout" })
    return try Host.run(
      before + ["timeout", "-k", "5", "120", "script", "-qec", line, "/dev/null"], input: input,
      environment: environment)
  }
}
