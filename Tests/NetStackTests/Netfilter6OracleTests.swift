// SPDX-License-Identifier: GPL-2.0-or-later

// Rules in IPv6, and in both families at once, with the host's kernel as judge.

import Glibc
import NetTypes
import Nftables
import Testing

@testable import NetStack

@Suite(
  "Rules in IPv6 beside the kernel", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct Netfilter6OracleTests {
  typealias Oracle = NetfilterOracleTests

  static let (client, server, gateway, wan) = ("2001:db8::9", "2001:db8:1::9", "2001:db8::1", "2001:db8:1::1")

  // MARK: Frames

  static func packet(
    _ proto: UInt8, _ source: String, _ target: String, _ payload: [UInt8], checksum: Int?, face: Int,
    hopLimit: UInt8 = 33, headers: [(UInt8, [UInt8])] = []
  ) -> Oracle.Probe {
    var ip = IPv6OracleTests.IP(source: source, destination: target)
    (ip.next, ip.hopLimit, ip.payload, ip.checksum) = (proto, hopLimit, payload, checksum)
    (ip.headers, ip.link) = (headers, KernelOracleTests.macs[face])
    return Oracle.Probe(ip.frame, face: face)
  }

  private static func bytes(_ value: UInt32) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
  }

  static func udp(
    _ source: String, _ from: UInt16, _ target: String, _ to: UInt16, face: Int = 0, data: Int = 4,
    hopLimit: UInt8 = 33
  ) -> Oracle.Probe {
    udp(source, from, target, to, face: face, (0..<data).map { UInt8($0 & 255) }, hopLimit: hopLimit)
  }

  static func udp(
    _ source: String, _ from: UInt16, _ target: String, _ to: UInt16, face: Int = 0, _ data: [UInt8],
    hopLimit: UInt8 = 33
  ) -> Oracle.Probe {
    let length = UInt32(8 + data.count) << 16
    return packet(
      17, source, target, bytes(UInt32(from) << 16 | UInt32(to)) + bytes(length) + data, checksum: 6,
      face: face, hopLimit: hopLimit)
  }

  static func tcp(
    _ source: String, _ from: UInt16, _ target: String, _ to: UInt16, _ flags: UInt8, seq: UInt32,
    ack: UInt32 = 0, face: Int = 0, data: Int = 0, options: [UInt8] = [], text: String = ""
  ) -> Oracle.Probe {
    let header =
      bytes(UInt32(from) << 16 | UInt32(to)) + bytes(seq) + bytes(ack)
      + [UInt8(5 + options.count / 4) << 4, flags, 0x20, 0, 0, 0, 0, 0]
    let payload = header + options + (0..<data).map { UInt8($0 & 255) } + Array(text.utf8)
    return packet(6, source, target, payload, checksum: 16, face: face)
  }

  static func ping(_ source: String, _ target: String, face: Int = 0, id: UInt8 = 42, type: UInt8 = 128)
    -> Oracle.Probe
  {
    packet(58, source, target, [type, 0, 0, 0, 0, id, 0, 7] + (0..<20), checksum: 2, face: face)
  }

  /// An error about a packet.
  static func error(
    _ type: UInt8, _ code: UInt8, about frame: [UInt8], from source: String, to target: String, face: Int
  ) -> Oracle.Probe {
    packet(58, source, target, [type, code, 0, 0, 0, 0, 0, 0] + frame.dropFirst(14), checksum: 2, face: face)
  }

  private func compare(_ name: String, _ text: String, _ probes: [Oracle.Probe]) throws {
    let router = try KernelOracleTests.Router(.dual)
    try Oracle.prepare(router)
    _ = try router.answers(to: nil, wait: .seconds(2))
    for difference in try Oracle.differences(text, probes, router, .dual) {
      Issue.record("\(name): \(difference)")
    }
  }

  private static let probes: [Oracle.Probe] = [
    udp(client, 1000, server, 53), udp(server, 53, wan, 1000, face: 1),
    udp(server, 53, client, 1001, face: 1),
    udp(client, 1000, server, 54), ping(client, server, id: 9), ping(server, wan, face: 1, id: 9, type: 129),
    ping(server, client, face: 1, id: 9, type: 129), udp(server, 4444, wan, 53, face: 1),
    tcp(client, 3000, "2001:db8:1::8", 80, 2, seq: 100, options: [2, 4, 5, 180]),
    tcp("2001:db8:1::8", 80, client, 3000, 0x12, seq: 4, ack: 101, face: 1),
    tcp(server, 8080, client, 3000, 0x12, seq: 4, ack: 101, face: 1),
    tcp(client, 3000, "2001:db8:1::8", 80, 0x10, seq: 101, ack: 5),
    tcp(client, 3001, server, 22, 2, seq: 7), udp(client, 1000, gateway, 99), ping(client, gateway),
    udp(server, 53, wan, 4000, face: 1),
    udp(client, 1002, server, 53, hopLimit: 1),
    error(1, 4, about: udp(wan, 1000, server, 53).frame, from: server, to: wan, face: 1),
    error(1, 4, about: udp(client, 1000, server, 53).frame, from: server, to: client, face: 1),
    error(2, 0, about: udp(client, 9, server, 9).frame, from: server, to: client, face: 1),
    packet(
      17, client, server, [0x03, 0xe8, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4], checksum: 6, face: 0,
      headers: [(60, [0, 1, 4, 0, 0, 0, 0])]),
    Oracle.udp("10.0.0.9", 1000, "10.0.1.9", 53), Oracle.udp("10.0.1.9", 53, "10.0.1.1", 1000, face: 1),
    Oracle.ping("10.0.0.9", "10.0.1.9"),
  ]

  @Test(
    "NAT of IPv6",
    arguments: [
      "table ip6 t {\nchain p { type nat hook postrouting priority 100; oifname \"t1\" counter masquerade }\n}",
      "table ip6 t {\nchain p { type nat hook postrouting priority 100; oifname \"t1\" snat to 2001:db8:1::77 }\n}",
      "table ip6 t {\nchain p { type nat hook postrouting priority 100; meta l4proto udp snat to [2001:db8:1::1]:4000 }\n}",
      """
      table ip6 t {
      chain d { type nat hook prerouting priority -100; iifname "t1" udp dport 53 dnat to [2001:db8::9]:1000; ip6 daddr 2001:db8:1::8 tcp dport 80 counter dnat to [2001:db8:1::9]:8080 }
      chain p { type nat hook postrouting priority 100; oifname "t1" counter masquerade }
      }
      """,
      "table ip6 t {\nchain d { type nat hook prerouting priority -100; ip6 daddr 2001:db8::1 udp dport 99 redirect to :5000 }\n}",
      "table ip6 t {\nchain p { type nat hook postrouting priority 100; snat ip6 prefix to ip6 saddr map { 2001:db8::/64 : 2001:db8:1::/64 } }\n}",
      "table inet t {\nchain p { type nat hook postrouting priority 100; oifname \"t1\" counter masquerade }\n}",
      "table inet t {\nchain p { type nat hook postrouting priority 100; meta nfproto ipv6 snat ip6 to 2001:db8:1::77-2001:db8:1::78; snat ip to 10.0.1.77 }\n}",
    ])
  func translation(_ table: String) throws { try compare(table, table, Self.probes) }

  @Test(
    "Matches, tracking and refusals of IPv6",
    arguments: [
      "ct state new counter; ct state established counter; ct state related counter; ct state invalid counter drop; counter",
      "ip6 saddr 2001:db8::/64 counter; ip6 daddr 2001:db8:1::8-2001:db8:1::9 counter; ip6 hoplimit 32 counter; ip6 nexthdr udp counter; exthdr dst exists counter",
      "icmpv6 type echo-request counter drop; meta nfproto ipv6 counter; meta nfproto ipv4 counter; ip6 length > 20 counter",
      "udp dport 53 counter reject; tcp dport 22 counter reject with tcp reset; counter",
      "counter reject with icmpx admin-prohibited",
      "ct original ip6 saddr 2001:db8::9 counter; ct reply ip6 daddr 2001:db8::9 counter; ct mark set 7; ct mark 7 counter",
      "ip6 daddr set 2001:db8:1::8 counter; udp dport set 5353 counter",
      "ip6 saddr . udp dport vmap { 2001:db8::9 . 53 : drop, 2001:db8::9 . 54 : accept }; counter",
      "ct state vmap { established : accept, related : accept, invalid : drop }; iifname \"t0\" counter accept; counter drop",
    ])
  func rules(_ rules: String) throws {
    let table = "table inet t {\nchain f { type filter hook forward priority 0; \(rules) }\n}"
    try compare(rules, table, Self.probes + Self.probes)
  }

  @Test("What FTP says of IPv6 is written anew", arguments: [false, true])
  func ftp(isTranslated: Bool) throws {
    let outside = isTranslated ? "2001:db8:1::77" : Self.client
    let nat =
      isTranslated
      ? "chain p { type nat hook postrouting priority 100; oifname \"t1\" snat to 2001:db8:1::77 }" : ""
    let line = "EPRT |2|2001:db8::9|4000|\r\n"
    let length = UInt32(line.utf8.count)
    try compare(
      "ftp",
      """
      table ip6 t {
      ct helper fh { type "ftp" protocol tcp; }
      chain v { type filter hook prerouting priority -150; ct state invalid counter drop; }
      chain f { type filter hook forward priority 0; tcp dport 21 ct helper set "fh"; ct state related counter; counter; }
      \(nat)
      }
      """,
      [
        Self.tcp(Self.client, 3000, Self.server, 21, 2, seq: 99),
        Self.tcp(Self.server, 21, outside, 3000, 0x12, seq: 499, ack: 100, face: 1),
        Self.tcp(Self.client, 3000, Self.server, 21, 0x18, seq: 100, ack: 500, text: "USER x\r\n"),
        Self.tcp(Self.client, 3000, Self.server, 21, 0x18, seq: 108, ack: 500, text: line),
        Self.tcp(Self.server, 21, outside, 3000, 0x10, seq: 500, ack: 108, face: 1),
        Self.tcp(Self.client, 3000, Self.server, 21, 0x18, seq: 108 + length, ack: 500, text: "NOOP\r\n"),
        Self.tcp(Self.server, 20, outside, 4000, 2, seq: 7, face: 1),
        Self.tcp(Self.client, 4000, Self.server, 20, 0x12, seq: 9, ack: 8),
      ])
  }

  @Test("What SIP says of IPv6 is expected and written anew", arguments: [false, true])
  func sip(isTranslated: Bool) throws {
    let outside = isTranslated ? "2001:db8:1::77" : Self.client
    let nat =
      isTranslated
      ? "chain p { type nat hook postrouting priority 100; oifname \"t1\" snat to 2001:db8:1::77 }" : ""
    func ask(_ first: String, _ sequence: String, _ contact: String, _ body: [String] = []) -> Oracle.Probe {
      let text = SIPText.message(
        "\(first) sip:b@[\(Self.server)] SIP/2.0", from: "[\(Self.client)]:5060", to: "[\(Self.server)]:5060",
        contact: contact, "\(sequence) \(first)", body: body)
      return Self.udp(Self.client, 5060, Self.server, 5060, Array(text.text.utf8))
    }
    func answer(_ sequence: String, _ contact: String, _ body: [String] = []) -> Oracle.Probe {
      let text = SIPText.message(
        "SIP/2.0 200 OK", from: "[\(Self.server)]:5060", to: "[\(outside)]:5060",
        via: "[\(outside)]:5060;received=\(outside);rport=5060", contact: contact, sequence, body: body)
      return Self.udp(Self.server, 5060, outside, 5060, face: 1, Array(text.text.utf8))
    }
    let session = SIPText.session(Self.client, ["audio 4000", "video 4004"], version: "IP6")
    try compare(
      "sip",
      """
      table ip6 t {
      ct helper sh { type "sip" protocol udp; }
      chain f { type filter hook forward priority 0; udp dport 5060 ct helper set "sh"; ct state related counter; counter; }
      \(nat)
      }
      """,
      [
        ask("REGISTER", "1", "<sip:a@[\(Self.client)]:5070>;expires=60"),
        answer("1 REGISTER", "<sip:a@[\(outside)]:5070>;expires=60"),
        Self.udp(Self.server, 6000, outside, 5070, face: 1), ask("INVITE", "2", "<sip:a@x>", session),
        Self.udp(Self.server, 6001, outside, 4000, face: 1),
        Self.udp(Self.server, 6001, outside, 4005, face: 1),
        answer(
          "2 INVITE", "<sip:b@[\(Self.server)]>",
          SIPText.session(Self.server, ["audio 6100"], version: "IP6", streamAddress: Self.server)),
        Self.udp(Self.client, 4100, Self.server, 6100), ask("BYE", "3", "<sip:a@x>"),
        Self.udp(Self.server, 6003, outside, 4001, face: 1),
      ])
  }
}
