// SPDX-License-Identifier: GPL-2.0-or-later

// What a traced packet meets, beside what `nft monitor trace` tells of the same packet in the host's kernel.

import Foundation
import Glibc
import NetTypes
import Nftables
import Testing

@testable import NetStack

@Suite(
  "Traces", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct NetfilterTraceTests {
  typealias Frames = NetfilterOracleTests

  /// Numbers of packets as they come, without what nft leaves out for some families or writes as bytes.
  private static func normal(_ lines: [String]) -> [String] {
    var ids: [Substring] = []
    return lines.map { line in
      var words = line.split(separator: " ")
      guard words.count > 2 else { return line }
      let place = ids.firstIndex(of: words[2]) ?? ids.count
      if place == ids.count { ids.append(words[2]) }
      words[2] = "\(place)"
      if let raw = words.firstIndex(where: { $0.hasPrefix("@") }) { words.removeSubrange(raw...raw + 1) }
      guard words.contains("packet:") else { return words.joined(separator: " ") }
      for pair in [["ip", "protocol"], ["icmp", "code"]] {
        let places = words.indices.dropLast(2).first { Array(words[$0...$0 + 1]) == pair.map { $0[...] } }
        if let places { words.removeSubrange(places...places + 2) }
      }
      return words.joined(separator: " ")
    }
  }

  @Test(
    "Rules, verdicts, policies and headers are told as the kernel tells them",
    arguments: [
      """
      chain other { meta l4proto udp counter return; udp dport 53 accept; counter; }
      chain end { accept; }
      chain p { type filter hook prerouting priority -300; meta nftrace set 1; meta mark set 0x00000005; }
      chain f { type filter hook forward priority 0; policy drop; jump other; tcp dport 80 drop; ip protocol icmp goto end; udp dport 53 accept; }
      """,
      """
      chain p { type filter hook prerouting priority -300; udp dport 53 meta nftrace set 1; }
      chain d { type nat hook prerouting priority -100; udp dport 53 dnat to 10.0.1.8:5353; }
      chain f { type filter hook forward priority 0; udp dport 5353 meta nftrace set 0; udp dport 5353 accept; }
      """,
      """
      chain a { ip ttl 32 accept; }
      chain f { type filter hook forward priority 0; meta nftrace set 1; ip protocol vmap { tcp : jump a, udp : drop }; }
      """,
    ])
  func beside(_ body: String) throws {
    let router = try KernelOracleTests.Router()
    var emulated = try KernelOracleTests.Emulated()
    let tables = try Frames.load(body, into: router)
    try emulated.kernel.commit(tables.flatMap(\.creation), in: emulated.node)
    _ = try router.answers(to: nil)
    let monitor = try HostMonitor("nft", "monitor", "trace", in: router)
    var records: [NftTraceRecord] = []
    for probe in [
      Frames.ping("10.0.0.9", "10.0.1.9"), Frames.udp("10.0.0.9", 1000, "10.0.1.9", 53),
      Frames.tcp("10.0.0.9", 2000, "10.0.1.9", 80, 2, seq: 1), Frames.udp("10.0.0.9", 1002, "10.0.0.1", 99),
    ] {
      _ = try router.answers(to: probe.frame, by: probe.face)
      _ = emulated.answers(to: probe.frame, by: probe.face)
      records += emulated.kernel.takeTraces()
    }
    let expected = Self.normal(try monitor.lines())
    let got = records.compactMap { record -> String? in
      if case .translation = record.event { return nil }
      var rule: NftRule?
      if case .rule(let chain, let handle, _) = record.event {
        rule = emulated.kernel.rule(handle, of: chain, in: emulated.node)
      }
      return TraceText.line(record.event, id: record.id, mark: record.mark, rule: rule)
    }
    #expect(Self.normal(got) == expected)
    #expect(!expected.isEmpty)
  }
}

@Suite("Traces without a kernel beside")
struct NetfilterTraceFaceTests {
  @Test("Chosen packets are traced without a rule, and NAT's rewriting is told")
  func chosen() throws {
    var lab = try Netfilter6Tests.Lab()
    let outside = try #require(InterfacePattern("s0"))
    try lab.load(.postrouting, .nat, [.match(.is(.outputInterface, outside)), .masquerade()])
    var filter = NftTraceFilter()
    filter.destinationPort = 53
    lab.kernel.setTraced(filter, in: lab.gateway)
    _ = try lab.exchange()
    let records = lab.kernel.takeTraces()
    let hooks = records.map(\.hook)
    #expect(hooks == [.postrouting, .postrouting, .postrouting], "\(records)")
    guard records.count == 3, case .packet(let chain, let packet) = records[0].event,
      case .rule(_, _, let verdict) = records[1].event, case .translation(let old, let new) = records[2].event
    else {
      Issue.record("\(records)")
      return
    }
    #expect(
      chain.chain == "c" && packet.output == "s0" && packet.input == "c0"
        && packet.proto == 17)
    #expect(packet.connection?.state == "new" && packet.connection?.isReply == false)
    #expect(verdict == .accept)
    #expect(old.source == .v6(v6("2001:db8:1::2")) && new.source == .v6(v6("2001:db8:2::1")))
    #expect(old.destinationPort == 53 && new.destination == old.destination)
    _ = try lab.kernel.ping6("2001:db8:2::2", from: lab.client)
    #expect(lab.kernel.takeTraces().isEmpty, "no ping was chosen")
    lab.kernel.setTraced(NftTraceFilter(), in: lab.gateway)
    for _ in 0..<6000 { _ = try lab.exchange() }
    #expect(lab.kernel.takeTraces().count <= 1 << 14 && lab.kernel.tracesMissed > 0, "the log is bounded")
    lab.kernel.setTraced(nil, in: lab.gateway)
    _ = try lab.exchange()
    #expect(lab.kernel.takeTraces().isEmpty)
  }
}
