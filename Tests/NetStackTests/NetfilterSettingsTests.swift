// SPDX-License-Identifier: GPL-2.0-or-later

// The settings of connection tracking beside the host's kernel; labels beside it; the time of day, and the kinds of devices,
// without it.

import Glibc
import NetTypes
import Netlink
import Nftables
import Testing

@testable import NetStack

@Suite(
  "Settings of connection tracking beside the kernel", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct NetfilterSettingsTests {
  typealias Oracle = NetfilterOracleTests

  static let (client, server) = ("10.0.0.9", "10.0.1.9")

  @Test("Their names and what they are by themselves")
  func defaults() throws {
    let router = try KernelOracleTests.Router()
    for setting in ConntrackSetting.allCases where setting != .maximum {
      let value = try Shell.run(
        "sh", ["-c", "cat /proc/sys/\(setting.path) 2>/dev/null || true"], in: router.name)
      // A kernel without flowtables has not theirs; how many there may be is the machine's.
      if value.isEmpty {
        #expect([.flowtableTCP, .flowtableUDP].contains(setting), "\(setting.path)")
      } else {
        #expect(value.filter { !$0.isWhitespace } == "\(setting.standard)", "\(setting.path)")
      }
    }
  }

  private static let probes: [Oracle.Probe] = {
    var broken = Oracle.udp(client, 1005, server, 53).frame
    broken[40] ^= 1
    return [
      Oracle.udp(client, 1000, server, 53), Oracle.udp(server, 53, client, 1000, face: 1),
      Oracle.ping(client, server), Oracle.Probe(broken),
      Oracle.tcp(client, 3000, server, 80, 2, seq: 100),
      Oracle.tcp(server, 80, client, 3000, 0x12, seq: 900, ack: 101, face: 1),
      Oracle.tcp(client, 3000, server, 80, 0x10, seq: 101, ack: 901),
      // Out of every window; a reset that does not fit; one that begins in the middle.
      Oracle.tcp(server, 80, client, 3000, 0x10, seq: 9_000_000, ack: 101, face: 1),
      Oracle.tcp(client, 3000, server, 80, 4, seq: 77),
      Oracle.tcp(client, 3002, server, 82, 0x18, seq: 7, ack: 8, data: 3),
      Oracle.tcp(client, 3003, server, 80, 2, seq: 100),
      Oracle.tcp(server, 80, client, 3003, 0x14, seq: 0, ack: 101, face: 1),
      Oracle.udp(client, 1001, server, 7), Oracle.udp(client, 1002, server, 7),
    ]
  }()

  @Test(
    "What they do",
    arguments: [
      ("acct", "1"), ("checksum", "0"), ("checksum", "1"), ("tcp_loose", "0"), ("tcp_be_liberal", "1"),
      ("tcp_ignore_invalid_rst", "1"), ("udp_timeout", "1"), ("udp_timeout_stream", "2"),
      ("icmp_timeout", "1"),
      ("tcp_timeout_established", "1"), ("tcp_timeout_syn_sent", "1"), ("tcp_timeout_close", "1"),
    ])
  func effects(_ name: String, _ value: String) throws {
    var setup = OracleSetup.ipv4
    setup.settings.append(("net/netfilter/nf_conntrack_\(name)", value))
    let router = try KernelOracleTests.Router(setup)
    try Oracle.prepare(router)
    if name == "tcp_loose" {
      try Shell.run("sysctl", ["-q", "-w", "net.netfilter.nf_conntrack_tcp_loose=0"], in: router.name)
    }
    let text = """
      table ip t {
      chain f { type filter hook forward priority 0; ct state new counter; ct state established counter; ct state invalid counter; ct packets > 1 counter; counter }
      }
      """
    var probes = Self.probes
    // What lasts a second or two is over after three.
    if name.contains("timeout") { probes[probes.count - 1].pause = 3_200 }
    for difference in try Oracle.differences(text, probes, router, setup) {
      Issue.record("\(name) = \(value): \(difference)")
    }
  }

  @Test(
    "Labels of connections, and what is asked of devices and the CPU",
    arguments: [
      "ct label set 3 counter; ct label 3 counter; ct label 4 counter; ct label set 127; ct label 127 counter; ct label 3 counter",
      "udp dport 53 ct label set 5; ct label 5 counter; ct label != 5 counter; counter",
      "meta cpu < 64 counter; meta iifkind \"bridge\" counter; meta oifkind \"veth\" counter; meta iifgroup 0 counter",
    ])
  func labels(_ rules: String) throws {
    let text = "chain f { type filter hook forward priority 0; \(rules) }"
    try Oracle().compare(rules, text, Oracle.mixed + Oracle.mixed)
  }
}

@Suite("Times and kinds that rules ask for")
struct NetfilterTimeTests {
  /// What a chain at forward counts for a datagram, its rules given as what is loaded and compared.
  private func counts(_ tests: [(NftMetaKey, NftData)], epoch: Int64) throws -> [UInt64] {
    try counts(
      tests.map { key, data in
        [
          .meta(NftMeta(key: key, destination: .r1)),
          .cmp(NftCmp(operation: .equal, source: .r1, data: data)),
        ]
      }, epoch: epoch)
  }

  private func counts(_ tests: [[NftExpression]], epoch: Int64) throws -> [UInt64] {
    var options = Kernel.Options(seed: 1)
    options.epoch = epoch
    var kernel = Kernel(options, now: Instant(nanoseconds: 0))
    let (client, router, server) = (try kernel.node(), try kernel.node(), try kernel.node())
    try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: router)
    try kernel.veth("eth0", client, "c0", router)
    try kernel.veth("eth0", server, "s0", router)
    try kernel.address("10.0.0.2/24", "eth0", client)
    try kernel.address("10.0.0.1/24", "c0", router)
    try kernel.address("10.0.1.1/24", "s0", router)
    try kernel.address("10.0.1.2/24", "eth0", server)
    try kernel.route("default", via: "10.0.0.1", client)
    let rules = tests.map { NftRule(expressions: $0 + [.counter(NftCounter())]) }
    let table = NftTable(
      family: .ip, name: "t", chains: [NftChain(name: "c", base: NftBaseChain(hook: .forward), rules: rules)])
    try kernel.commit(table.creation, in: router)
    let sender = try kernel.makeSocket(.udp(.ipv4), in: client)
    try kernel.send([1], on: sender, to: SocketAddress(.v4(v4("10.0.1.2")), 9))
    kernel.run(for: .milliseconds(1))
    let seen = try #require(kernel.nftables(nil, in: router).tables.first?.chains.first?.rules)
    return seen.map { rule in
      if case .counter(let counter)? = rule.expressions.last { counter.packets } else { 0 }
    }
  }

  private static func name(_ text: String) -> NftData {
    NftData(Array(text.utf8) + [UInt8](repeating: 0, count: 16 - text.utf8.count))
  }

  @Test("The day of the week, and the kinds of devices")
  func day() throws {
    // 1970-01-01 was a Thursday; Sunday is 0.
    for day in 0..<8 {
      let epoch = Int64(day) * 86_400_000_000_000 + 43_200_000_000_000
      let wanted = UInt8((4 + day) % 7)
      let counted = try counts(
        [
          (.timeDay, NftData([wanted])), (.timeDay, NftData([(wanted + 1) % 7])),
          (.inputKind, Self.name("veth")), (.outputKind, Self.name("bridge")),
          (.cpu, NftData(host: 0, width: 4)),
        ], epoch: epoch)
      #expect(counted == [1, 0, 1, 0, 1], "day \(day)")
    }
  }

  @Test("The second of the day, and the time in nanoseconds")
  func hour() throws {
    let seconds = UInt64(20_000 * 86_400 + 6 * 3600 + 7)
    let counted = try counts(
      [
        (.timeHour, NftData(host: 6 * 3600 + 7, width: 4)),
        (.timeHour, NftData(host: 6 * 3600 + 8, width: 4)),
      ],
      epoch: Int64(seconds) * 1_000_000_000)
    #expect(counted == [1, 0])
  }

  @Test("The time that nft compares, in nanoseconds since 1970")
  func time() throws {
    // 2026-02-03 04:05:06.
    let epoch: Int64 = 1_770_091_506_000_000_000
    func rule(_ operation: NftComparisonOperator, _ seconds: Int64) -> [NftExpression] {
      let moment = NftData(bigEndian: UInt64(epoch + seconds * 1_000_000_000), width: 8)
      return [
        .meta(NftMeta(key: .timeNanoseconds, destination: .r1)),
        .byteorder(
          NftByteorder(source: .r1, destination: .r1, toNetwork: true, length: 8, size: 8)),
        .cmp(NftCmp(operation: operation, source: .r1, data: moment)),
      ]
    }
    let counted = try counts(
      [
        rule(.greaterOrEqual, 0), rule(.less, 1), rule(.less, 0), rule(.greaterOrEqual, 1),
        rule(.greater, -86_400),
      ], epoch: epoch)
    #expect(counted == [1, 1, 0, 0, 1])
  }
}
