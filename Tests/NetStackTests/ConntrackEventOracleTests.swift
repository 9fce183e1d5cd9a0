// SPDX-License-Identifier: GPL-2.0-or-later

// What is told of connections, and what rules have left out of it, beside what `conntrack -E` prints for the host's kernel.

import Glibc
import NetTypes
import Nftables
import Testing

@testable import NetStack

@Suite(
  "Connection events", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft")
      && Shell.has("conntrack"), "needs root, /dev/net/tun, nft and conntrack"))
struct ConntrackEventOracleTests {
  typealias Oracle = NetfilterOracleTests

  static let probes: [Oracle.Probe] = {
    let client = "10.0.0.9"
    let server = "10.0.1.9"
    return [
      Oracle.udp(client, 1000, server, 53), Oracle.udp(server, 53, client, 1000, face: 1),
      Oracle.udp(client, 1000, server, 53), Oracle.udp(client, 1001, server, 54),
      Oracle.tcp(client, 3000, server, 80, 2, seq: 100, options: [2, 4, 5, 180]),
      Oracle.tcp(server, 80, client, 3000, 0x12, seq: 900, ack: 101, face: 1),
      Oracle.tcp(client, 3000, server, 80, 0x10, seq: 101, ack: 901),
      Oracle.tcp(client, 3000, server, 80, 0x18, seq: 101, ack: 901, data: 50),
    ]
  }()

  /// `[NEW] udp 10.0.0.9:1000 > 10.0.1.9:53`, in order up to the end, which comes in any.
  private static func sorted(_ lines: [String]) -> [String] {
    lines.filter { !$0.hasPrefix("[DESTROY]") } + lines.filter { $0.hasPrefix("[DESTROY]") }.sorted()
  }

  private static func line(_ text: String) -> String {
    let words = text.split(separator: " ")
    func value(_ key: String) -> Substring {
      words.first { $0.hasPrefix(key + "=") }?.dropFirst(key.count + 1) ?? "?"
    }
    let ends = "\(value("src")):\(value("sport")) > \(value("dst")):\(value("dport"))"
    return words.prefix(2).joined(separator: " ") + " " + ends
  }

  private static func line(_ event: ConntrackEvent) -> String {
    let (from, proto) = (event.connection.original, event.connection.proto == 6 ? "tcp" : "udp")
    let kind =
      switch event.kind {
      case .new: "[NEW]"
      case .update: "[UPDATE]"
      case .destroy: "[DESTROY]"
      }
    return "\(kind) \(proto) \(from.source):\(from.sourcePort) > \(from.destination):\(from.destinationPort)"
  }

  @Test(
    "What is told is what the kernel tells, as far as rules let it",
    arguments: [
      "counter", "ct event set new,destroy", "udp dport 53 ct event set destroy", "ct event set 0x0",
      "ct event set reply", "ct event set assured,new", "ct event set protoinfo",
      "ct event set \"mark\"; ct mark set 7", "ct event set \"mark\"; ct state established ct mark set 9",
      "ct event set label; ct state established ct label set 3", "ct state established ct event set destroy",
      "ct event set new; ct state established ct event set new,related,destroy,reply,assured,protoinfo",
    ])
  func beside(_ rules: String) throws {
    let router = try KernelOracleTests.Router()
    try Oracle.prepare(router)
    var emulated = try KernelOracleTests.Emulated()
    let tables = try Oracle.load(
      "chain f { type filter hook forward priority 0; \(rules); }", into: router)
    try emulated.kernel.commit(tables.flatMap(\.creation), in: emulated.node)
    try Oracle.prepare(&emulated)
    _ = try router.answers(to: nil)
    let monitor = try HostMonitor("conntrack", "-E", in: router)
    emulated.kernel.setConnectionsWatched(true, emulated.node)
    for probe in Self.probes {
      _ = try router.answers(to: probe.frame, by: probe.face)
      _ = emulated.answers(to: probe.frame, by: probe.face)
    }
    try Shell.run("conntrack", ["-F"], in: router.name)
    let all = Set(emulated.kernel.connections(in: emulated.node).map(\.id))
    emulated.kernel.removeConnections(in: emulated.node, ids: all)
    let events = emulated.kernel.takeConnectionEvents()
    #expect(!events.hasMissed)
    let expected = Self.sorted(try monitor.lines().map(Self.line))
    #expect(Self.sorted(events.events.map(Self.line)) == expected)
  }
}
