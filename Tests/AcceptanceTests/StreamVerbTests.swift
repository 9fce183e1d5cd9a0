// SPDX-License-Identifier: GPL-2.0-or-later

// `nc`, `iperf` and `plot`: sockets in nodes for people, the same on every datapath.

import Foundation
import Testing

extension Acceptance {
  @Suite("Streams", .enabled(if: Host.has("ip"), "needs ip"))
  struct StreamVerbTests {
    static let callers = Caller.available + [.emulated]

    private static let pair = """
      import Netforge
      let lab = Topology("pair")
      let lan = lab.bridge("lan", subnet: "10.0.0.0/24")
      let a = lab.node("a") { Interface("eth0", on: lan, address: "10.0.0.1/24") }
      let b = lab.node("b") {
        Interface("eth0", on: lan, address: "10.0.0.2/24")
        Service(.echo(port: 7))
        Service(.iperf(port: 5201))
      }

      """

    @Test("nc joins standard input and output to a port, and listens on one", arguments: callers)
    func nc(caller: Caller) throws {
      let scratch = try Scratch()
      let lab = TestLab(caller, "stream-nc")
      try lab.during(try scratch.file("pair.swift", Self.pair)) {
        let text = String(repeating: "a line of some length\n", count: 4000)
        let echo = try lab.netforge("nc", "a", "b", "7", input: text)
        #expect(
          echo.status == 0 && echo.output == text, "\(echo.output.count) of \(text.count): \(echo.error)")
        let datagram = try lab.netforge("nc", "-u", "-w", "500ms", "a", "b", "7", input: "hello\n")
        #expect(datagram.status == 0 && datagram.output == "hello\n", "\(datagram)")
        let refused = try lab.netforge("nc", "a", "b", "9", input: "")
        #expect(refused.status == 1 && refused.error.contains("refused"), "\(refused)")
        #expect(try lab.netforge("nc", "a", "b", "port").status == 64)
        // A listener in one node, a client in the other.
        let command = try caller.command(["nc", "--name", lab.name, "-l", "b", "9000"])
        let listener = try Host.start(
          Stage.prefix + command, environment: caller.environment.merging(["LC_ALL": "C"]) { $1 })
        let deadline = Date().addingTimeInterval(10)
        var client = try lab.netforge("nc", "a", "b:eth0", "9000", input: "from a\n")
        while client.status != 0, Date() < deadline {
          client = try lab.netforge("nc", "a", "b:eth0", "9000", input: "from a\n")
        }
        #expect(client.status == 0, "\(client)")
        let heard = try listener.outcome()
        #expect(heard.output == "from a\n" && heard.error.contains("connection from 10.0.0.1:"), "\(heard)")
      }
    }

    @Test("iperf speaks iperf3 with a node's service, both ways", arguments: callers)
    func iperf(caller: Caller) throws {
      let scratch = try Scratch()
      let lab = TestLab(caller, "stream-iperf")
      try lab.during(try scratch.file("pair.swift", Self.pair)) {
        for options in [[], ["-R"], ["-P", "3"]] {
          let outcome = try caller.netforge(
            ["iperf", "--name", lab.name, "a", "b", "-t", "1", "-f", "json"] + options)
          let document = try outcome.json()
          let sender = try #require(document["sender"] as? [String: Any], "\(outcome)")
          let receiver = try #require(document["receiver"] as? [String: Any], "\(outcome)")
          let (sent, received) = (sender["bytes"] as? Int ?? 0, receiver["bytes"] as? Int ?? 0)
          #expect(received > 100_000 && received <= sent, "\(outcome)")
        }
        let nobody = try caller.netforge(["iperf", "--name", lab.name, "b", "a", "-t", "1"])
        #expect(nobody.status == 1 && nobody.error.contains("Service(.iperf"), "\(nobody)")
      }
    }

    @Test(
      "iperf3 itself is a server too", .enabled(if: Host.has("iperf3"), "needs iperf3"),
      arguments: Caller.available)
    func realServer(caller: Caller) throws {
      let scratch = try Scratch()
      let lab = TestLab(caller, "stream-iperf3")
      try lab.during(try scratch.file("pair.swift", Self.pair)) {
        let server = try lab.serving("a", port: 5202, "iperf3", "-s", "-p", "5202")
        defer { server.stop() }
        for options in [[], ["-R"]] {
          let outcome = try caller.netforge(
            ["iperf", "--name", lab.name, "b", "a", "-p", "5202", "-t", "1", "-f", "json"] + options)
          let receiver = try #require(outcome.json()["receiver"] as? [String: Any], "\(outcome)")
          #expect(receiver["bytes"] as? Int ?? 0 > 100_000, "\(outcome)")
        }
      }
    }

    @Test("plot follows a connection, as CSV and as an SVG that is XML", arguments: callers)
    func plot(caller: Caller) throws {
      let scratch = try Scratch()
      try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: scratch.folder)
      let lab = TestLab(caller, "stream-plot")
      try lab.during(try scratch.file("pair.swift", Self.pair)) {
        let outcome = try caller.netforge([
          "plot", "--name", lab.name, "a", "b", "--during", "500ms", "--every", "10ms", "--csv",
          scratch.folder + "/a.csv", "--svg", scratch.folder + "/a.svg", "-f", "json",
        ])
        let samples = try #require(outcome.json()["samples"] as? [[String: Any]], "\(outcome)")
        #expect(samples.count >= 5, "\(outcome)")
        #expect(samples.contains { ($0["congestionWindow"] as? Int ?? 0) >= 10 }, "\(outcome)")
        let lines = try String(contentsOfFile: scratch.folder + "/a.csv", encoding: .utf8).split(
          separator: "\n")
        #expect(lines.count == samples.count + 1 && lines[0].hasPrefix("seconds,cwnd_segments,"), "\(lines)")
        let drawing = try String(contentsOfFile: scratch.folder + "/a.svg", encoding: .utf8)
        let parsed = try Host.run(
          ["python3", "-c", "import sys,xml.etree.ElementTree as t;print(t.parse(sys.stdin).getroot().tag)"],
          input: drawing)
        #expect(parsed.status == 0 && parsed.output.contains("svg"), "\(parsed)")
        let nobody = try caller.netforge(["plot", "--name", lab.name, "a", "--peer", "10.0.0.9:1"])
        #expect(nobody.status == 1 && nobody.error.contains("has no connection"), "\(nobody)")
      }
    }

    @Test("plot in virtual time: a window opens over a long path, as fast as its packets are computed")
    func virtual() throws {
      let scratch = try Scratch()
      let file = try scratch.file(
        "long.swift",
        """
        import Netforge
        let lab = Topology("long")
        let lan = lab.bridge("lan", subnet: "10.0.0.0/24")
        let a = lab.node("a") {
          Interface("eth0", on: lan, address: "10.0.0.1/24").impaired(rate: .mbps(20), delay: .milliseconds(20))
        }
        let b = lab.node("b") {
          Interface("eth0", on: lan, address: "10.0.0.2/24").impaired(delay: .milliseconds(20))
        }

        """)
      let outcome = try Caller.emulated.netforge([
        "plot", "--virtual", "--topology", file, "a", "b", "--during", "3s", "--every", "50ms", "-f", "json",
      ])
      let samples = try #require(outcome.json()["samples"] as? [[String: Any]], "\(outcome)")
      #expect(samples.count >= 50, "\(samples.count)")
      let last = try #require(samples.last)
      #expect(last["milliseconds"] as? Double ?? 0 >= 40, "\(last)")
      #expect((10e6...21e6).contains(last["deliveryRate"] as? Double ?? 0), "\(last)")
      #expect(try Caller.emulated.netforge("plot", "--virtual", "a", "b").status == 64)
    }
  }
}
