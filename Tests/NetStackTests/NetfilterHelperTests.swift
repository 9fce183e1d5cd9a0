// SPDX-License-Identifier: GPL-2.0-or-later

// What rules give to connections, beside the host's kernel: helpers that read of connections to come, and times.

import Glibc
import Nftables
import Testing

@testable import NetStack

@Suite(
  "Helpers and timeouts beside the kernel", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct NetfilterHelperTests {
  typealias Oracle = NetfilterOracleTests

  static let (client, server) = ("10.0.0.9", "10.0.1.9")

  /// A segment with text in it.
  static func tcp(
    _ source: String, _ from: UInt16, _ target: String, _ to: UInt16, seq: UInt32, ack: UInt32, face: Int,
    _ text: String
  ) -> Oracle.Probe {
    func bytes(_ value: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) } }
    let segment: [UInt8] =
      [UInt8(from >> 8), UInt8(from & 255), UInt8(to >> 8), UInt8(to & 255)] + bytes(seq) + bytes(ack)
      + [0x50, 0x18, 0x20, 0, 0, 0, 0, 0] + Array(text.utf8)
    let payload = Oracle.summed(segment, 6, Oracle.address(source), Oracle.address(target), at: 16)
    return Oracle.packet(6, source, target, payload, face: face)
  }

  /// A control connection with these lines, each from the client (true) or the server, then data connections from both.
  static func control(_ lines: [(Bool, String)], then others: [Oracle.Probe]) -> [Oracle.Probe] {
    var probes = [
      Oracle.tcp(client, 3000, server, 21, 2, seq: 99),
      Oracle.tcp(server, 21, client, 3000, 0x12, seq: 499, ack: 100, face: 1),
      Oracle.tcp(client, 3000, server, 21, 0x10, seq: 100, ack: 500),
    ]
    var (mine, theirs): (UInt32, UInt32) = (100, 500)
    for (isClient, line) in lines {
      if isClient {
        probes.append(tcp(client, 3000, server, 21, seq: mine, ack: theirs, face: 0, line))
        mine += UInt32(line.utf8.count)
      } else {
        probes.append(tcp(server, 21, client, 3000, seq: theirs, ack: mine, face: 1, line))
        theirs += UInt32(line.utf8.count)
      }
    }
    return probes + others
  }

  private static let counted =
    "ct state established counter; ct state related counter; ct state new counter; ct status expected counter; ct helper \"ftp\" counter; ct helper \"tftp\" counter"

  @Test("TFTP's answers from another port are related, through a translation too", arguments: [false, true])
  func tftp(isTranslated: Bool) throws {
    let nat =
      isTranslated
      ? "chain p { type nat hook postrouting priority 100; oifname \"t1\" snat to 10.0.1.77 }" : ""
    let target = isTranslated ? "10.0.1.77" : Self.client
    try Oracle().compare(
      "tftp",
      """
      table ip t {
      ct helper tf { type "tftp" protocol udp; }
      chain f { type filter hook forward priority 0; udp dport 69 ct helper set "tf"; \(Self.counted); }
      \(nat)
      }
      """,
      [
        Oracle.udp(Self.client, 1000, Self.server, 69), Oracle.udp(Self.server, 5555, target, 1000, face: 1),
        Oracle.udp(Self.client, 1000, Self.server, 5555),
        Oracle.udp(Self.server, 5556, target, 1000, face: 1),
        // Neither data nor an acknowledgement asks for anything.
        Oracle.udp(Self.client, 1001, Self.server, 69, data: 1),
        Oracle.udp(Self.server, 5555, target, 1001, face: 1),
      ])
  }

  static let dialogues: [(name: String, lines: [(Bool, String)])] = [
    ("a port", [(false, "220 hello\r\n"), (true, "USER x\r\n"), (true, "PORT 10,0,0,9,15,160\r\n")]),
    ("a port of another", [(true, "USER x\r\n"), (true, "PORT 10,0,0,8,15,160\r\n")]),
    ("an extended port", [(true, "USER x\r\n"), (true, "eprt |1|10.0.0.9|4000|\r\n")]),
    (
      "passive",
      [(false, "220 hello\r\n"), (true, "PASV\r\n"), (false, "227 Entering (10,0,1,9,19,136).\r\n")]
    ),
    (
      "extended passive",
      [(false, "220 hello\r\n"), (true, "EPSV\r\n"), (false, "229 Entering (|||5000|)\r\n")]
    ),
    ("half a command", [(true, "USER x\r\n"), (true, "PORT 10,0,0"), (true, "PORT 10,0,0,9,15,160\r\n")]),
    (
      "nonsense",
      [(true, "USER x\r\n"), (true, "PORT 10,0,0,999,15,160\r\n"), (true, "PORTX\r\n"), (true, "P")]
    ),
  ]

  @Test("FTP's data connections are related", arguments: dialogues.indices)
  func ftp(_ index: Int) throws {
    let dialogue = Self.dialogues[index]
    try Oracle().compare(
      "ftp: \(dialogue.name)",
      """
      table ip t {
      ct helper fh { type "ftp" protocol tcp; }
      chain f { type filter hook forward priority 0; tcp dport 21 ct helper set "fh"; \(Self.counted); }
      }
      """,
      Self.control(
        dialogue.lines.map { ($0.0, $0.1.replacing("\\\\r\\\n", with: "\r\n")) },
        then: [
          Oracle.tcp(Self.server, 20, Self.client, 4000, 2, seq: 7, face: 1),
          Oracle.tcp(Self.client, 4100, Self.server, 5000, 2, seq: 7),
          Oracle.tcp(Self.server, 20, Self.client, 4000, 2, seq: 7, face: 1),
          Oracle.tcp(Self.client, 4101, Self.server, 5001, 2, seq: 7),
        ]))
  }

  @Test("Connections last as long as a rule's object says")
  func timeouts() throws {
    guard Shell.has("conntrack") else { return }
    let router = try KernelOracleTests.Router()
    try Oracle.prepare(router)
    let tables = try Oracle.load(
      """
      table ip t {
      ct timeout tt { protocol tcp; policy = { syn_sent : 77, established : 1000 }; }
      ct timeout tu { protocol udp; policy = { unreplied : 55, replied : 99 }; }
      chain f { type filter hook forward priority 0; ip protocol tcp ct timeout set "tt"; ip protocol udp ct timeout set "tu"; }
      }
      """, into: router)
    var emulated = try KernelOracleTests.Emulated()
    try emulated.kernel.commit(tables.flatMap(\.creation), in: emulated.node)
    try Oracle.prepare(&emulated)
    let probes = [
      Oracle.tcp(Self.client, 1, Self.server, 80, 2, seq: 1), Oracle.udp(Self.client, 2, Self.server, 53),
      Oracle.tcp(Self.client, 3, Self.server, 80, 2, seq: 1),
      Oracle.tcp(Self.server, 80, Self.client, 3, 0x12, seq: 1, ack: 2, face: 1),
      Oracle.tcp(Self.client, 3, Self.server, 80, 0x10, seq: 2, ack: 2),
    ]
    for probe in probes {
      _ = emulated.answers(to: probe.frame, by: probe.face)
      _ = try router.answers(to: probe.frame, by: probe.face)
    }
    let here = Dictionary(
      uniqueKeysWithValues: emulated.kernel.connections(in: emulated.node).map {
        ($0.original.sourcePort, $0.timeout ?? 0)
      })
    let listing = try Shell.run("conntrack", ["-L"], in: router.name)
    for (port, expected) in [(1, 77), (2, 55), (3, 1000)] as [(UInt16, Int64)] {
      #expect((expected - 3...expected).contains(here[port] ?? 0), "\(port): \(here[port] ?? 0)")
      let line = listing.split(separator: "\n").first { $0.contains(" sport=\(port) ") } ?? ""
      let theirs = line.split(separator: " ").dropFirst(2).first.flatMap { Int64($0) } ?? 0
      #expect((expected - 3...expected).contains(theirs), "Linux, \(port): \(line)")
    }
  }
}
