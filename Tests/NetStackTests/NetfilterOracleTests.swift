// SPDX-License-Identifier: GPL-2.0-or-later

// Linux is the judge of rules too: `nft` loads a ruleset into a router of the host's kernel, the compiled rules are read
// back from it and committed to an emulated one, the same frames go into both, and what comes out, what the rules have
// counted, and which connections there are must be the same.

import Foundation
import Glibc
import NetTypes
import Netlink
import Nftables
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

@Suite(
  "Rules beside the kernel", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct NetfilterOracleTests {
  typealias IP = KernelOracleTests.IP

  static let inside: [UInt8] = [10, 0, 0, 9]
  static let outside: [UInt8] = [10, 0, 1, 9]

  /// A frame and by which of the two taps it comes.
  struct Probe {
    var frame: [UInt8]
    var face = 0
    /// How long nothing happens afterwards, in milliseconds.
    var pause = 0

    init(_ frame: [UInt8], face: Int = 0, pause: Int = 0) {
      self.frame = frame
      self.face = face
      self.pause = pause
    }
  }

  /// The host's clock, which ours follows: a busy host takes its time.
  struct HostClock {
    private let start = ContinuousClock.now
    private var told: Int64 = 0

    /// How far it has gone on since this was last asked, in whole milliseconds.
    mutating func behind() -> Interval {
      let now = Int64((ContinuousClock.now - start) / .milliseconds(1))
      defer { told = now }
      return .milliseconds(now - told)
    }
  }

  // MARK: Frames

  static func address(_ text: String) -> [UInt8] { text.split(separator: ".").compactMap { UInt8($0) } }

  /// The transport's checksum over the pseudo header.
  static func summed(_ segment: [UInt8], _ proto: UInt8, _ source: [UInt8], _ target: [UInt8], at place: Int)
    -> [UInt8]
  {
    let pseudo = source + target + [0, proto, UInt8(segment.count >> 8), UInt8(segment.count & 255)]
    let sum = KernelOracleTests.checksum(pseudo + segment)
    var result = segment
    result[place] = sum[0]
    result[place + 1] = sum[1]
    return result
  }

  static func packet(
    _ proto: UInt8, _ source: String, _ target: String, _ payload: [UInt8], face: Int, ttl: UInt8 = 33
  ) -> Probe {
    var ip = IP(source: address(source), destination: address(target), proto: proto, ttl: ttl)
    ip.payload = payload
    ip.link = KernelOracleTests.macs[face]
    return Probe(ip.frame, face: face)
  }

  static func udp(
    _ source: String, _ from: UInt16, _ target: String, _ to: UInt16, face: Int = 0, data: Int = 4,
    ttl: UInt8 = 33
  ) -> Probe {
    let length = 8 + data
    let segment: [UInt8] =
      [UInt8(from >> 8), UInt8(from & 255), UInt8(to >> 8), UInt8(to & 255), UInt8(length >> 8)]
      + [UInt8(length & 255), 0, 0] + (0..<data).map { UInt8($0 & 255) }
    let payload = summed(segment, 17, address(source), address(target), at: 6)
    return packet(17, source, target, payload, face: face, ttl: ttl)
  }

  static func tcp(
    _ source: String, _ from: UInt16, _ target: String, _ to: UInt16, _ flags: UInt8, seq: UInt32,
    ack: UInt32 = 0, face: Int = 0, data: Int = 0, window: UInt16 = 8192, options: [UInt8] = []
  ) -> Probe {
    func bytes(_ value: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) } }
    let segment: [UInt8] =
      [UInt8(from >> 8), UInt8(from & 255), UInt8(to >> 8), UInt8(to & 255)] + bytes(seq) + bytes(ack)
      + [UInt8(5 + options.count / 4) << 4, flags, UInt8(window >> 8), UInt8(window & 255), 0, 0, 0, 0]
      + options + (0..<data).map { UInt8($0 & 255) }
    let payload = summed(segment, 6, address(source), address(target), at: 16)
    return packet(6, source, target, payload, face: face)
  }

  static func ping(_ source: String, _ target: String, face: Int = 0, id: UInt8 = 42, type: UInt8 = 8)
    -> Probe
  {
    var message: [UInt8] = [type, 0, 0, 0, 0, id, 0, 7] + (0..<20).map { UInt8($0) }
    let sum = KernelOracleTests.checksum(message)
    message[2] = sum[0]
    message[3] = sum[1]
    return packet(1, source, target, message, face: face)
  }

  // MARK: Both routers

  @discardableResult
  static func load(_ text: String, into router: KernelOracleTests.Router) throws -> [NftTable] {
    // nft wants a semicolon before the brace that closes a block on its own line.
    let lines = text.split(separator: "\n").map { line in
      line.hasSuffix(" }") && !line.hasSuffix("; }") ? line.dropLast(2) + "; }" : String(line)
    }
    let body = lines.joined(separator: "\n")
    let table = body.hasPrefix("table") ? body : "table ip t {\n\(body)\n}"
    try Shell.run("nft", ["-f", "-"], in: router.name, input: "flush ruleset\n\(table)\n")
    return try observe(router).tables
  }

  static func observe(_ router: KernelOracleTests.Router) throws -> NftObservation {
    try router.namespace.run { (_) throws(NetlinkError) in
      do {
        return try NftablesSocket(label: "oracle").observe()
      } catch {
        throw NetlinkError(.refused, "observe the rules: \(error)")
      }
    }
  }

  // MARK: Connections

  /// A connection as both kernels tell it, its time and number aside. What stands for ports is an echo's identifier,
  /// and its type and code.
  private static func words(
    _ state: String?, _ status: UInt32, _ mark: UInt32, _ proto: UInt8,
    _ tuples: [(source: IPAddress, destination: IPAddress, ports: (UInt16, UInt16))]
  ) -> String {
    let ends = tuples.map { tuple in
      let ports = [1, 6, 17, 58].contains(proto) ? " \(tuple.ports.0)>\(tuple.ports.1)" : ""
      return "src=\(tuple.source) dst=\(tuple.destination)\(ports)"
    }
    let flags = ConntrackMessage.Status(rawValue: status)
    return [
      state, "\(proto)", ends[0], flags.contains(.seenReply) ? nil : "[UNREPLIED]", ends[1],
      flags.contains(.assured) ? "[ASSURED]" : nil, flags.contains(.offload) ? "[OFFLOAD]" : nil,
      "mark=\(mark)",
    ].compactMap { $0 }.joined(separator: " ")
  }

  static func connections(_ router: KernelOracleTests.Router) throws -> [String] {
    let socket = try router.namespace.run { (visitor) throws(NetlinkError) in
      try visitor.socket(.netfilter)
    }
    return try socket.dump(ConntrackMessage.dump()).compactMap { answer in
      guard let entry = try ConntrackMessage(answer) else { return nil }
      let tuples = [entry.original, entry.reply].map { tuple in
        let type = UInt16(tuple.icmpType ?? 0) << 8 | UInt16(tuple.icmpCode ?? 0)
        let source = tuple.sourcePort ?? tuple.icmpID ?? 0
        return (tuple.source, tuple.destination, (source, tuple.destinationPort ?? type))
      }
      return words(
        entry.stateName, entry.status.rawValue, entry.mark ?? 0, entry.original.protocolNumber, tuples)
    }.sorted()
  }

  static func connections(_ kernel: borrowing Kernel, _ node: NamespaceIndex) -> [String] {
    kernel.connections(in: node).map { entry in
      let tuples = [entry.original, entry.reply].map {
        ($0.source, $0.destination, ($0.sourcePort, $0.destinationPort))
      }
      return words(entry.state, entry.status, entry.mark, entry.proto, tuples)
    }.sorted()
  }

  // MARK: Comparing

  /// Loads the rules, sends the frames, compares everything.
  func compare(_ name: String, _ text: String, _ probes: [Probe]) throws {
    let router = try KernelOracleTests.Router()
    try Self.prepare(router)
    for difference in try Self.differences(text, probes, router) { Issue.record("\(name): \(difference)") }
  }

  /// Neighbours that probes are sent on to.
  private static func neighbors() -> [NetlinkMessage] {
    ["10.0.1.8", "10.0.1.77"].map { OracleSetup.neighbor($0, 1, [2, 0, 0, 0, 8, 7]) }
  }

  /// Neighbours, and what a connection may begin with.
  static func prepare(_ router: KernelOracleTests.Router) throws {
    try router.set("net/netfilter/nf_conntrack_tcp_loose", "1")
    for request in neighbors() { try #require(router.perform(request) == 0) }
    usleep(50_000)
  }

  static func prepare(_ emulated: inout KernelOracleTests.Emulated) throws {
    for request in neighbors() { try emulated.kernel.perform(request, in: emulated.node) }
  }

  /// What an emulated router does differently from one of the host's kernel that has been prepared.
  static func differences(
    _ text: String, _ probes: [Probe], _ router: KernelOracleTests.Router, _ setup: OracleSetup = .ipv4
  ) throws -> [String] {
    var emulated = try KernelOracleTests.Emulated(setup)
    _ = emulated.answers(to: nil, wait: .seconds(setup.settles ? 2 : 0))
    try Self.load(text, into: router)
    let loaded = try Self.observe(router)
    try emulated.kernel.commit(loaded.tables.flatMap(\.creation), in: emulated.node)
    let handles = emulated.kernel.nftables(nil, in: emulated.node).handles
    try prepare(&emulated)
    _ = try router.answers(to: nil)
    let traces = try router.namespace.run { (_) throws(NetlinkError) in try NftTraceSocket() }
    var differences: [String] = []
    func compare(_ got: [String], _ expected: [String], _ what: String) {
      guard got != expected else { return }
      differences.append("\(what)\n  here:  \(got)\n  Linux: \(expected)")
    }
    // Within a jiffy, of up to ten milliseconds, Linux counts a connection as often as it meets it.
    let wait: Interval = text.contains("ct count") ? .milliseconds(11) : .milliseconds(3)
    var clock = HostClock()
    for (number, probe) in probes.enumerated() {
      emulated.kernel.run(for: clock.behind())
      let expected = Self.text(try router.answers(to: probe.frame, by: probe.face, wait: wait))
      let got = Self.text(
        emulated.answers(to: probe.frame, by: probe.face, wait: max(clock.behind(), wait)))
      compare(got, expected, "probe \(number)")
      let here = OracleTrace(emulated.kernel.takeTraces(), handles)
      let there = OracleTrace(traces.take(), loaded.handles)
      if !here.agrees(with: there) { compare(here.lines, there.lines, "trace of probe \(number)") }
      if probe.pause > 0 { usleep(UInt32(probe.pause) * 1000) }
    }
    emulated.kernel.run(for: clock.behind())
    let counted = try Self.observe(router).tables
    let emulatedTables = emulated.kernel.nftables(nil, in: emulated.node).tables
    compare(emulatedTables.flatMap(Self.lines), counted.flatMap(Self.lines), "what was counted")
    compare(Self.connections(emulated.kernel, emulated.node), try Self.connections(router), "connections")
    if !emulated.kernel.accounting.isClosed { differences.append("packets were lost") }
    return differences
  }

  /// Frames as text, by face.
  private static func text(_ answers: [[[UInt8]]]) -> [String] {
    answers.enumerated().flatMap { face, frames in
      IPv6OracleTests.normal(KernelOracleTests.normal(frames)).map { frame in
        "t\(face) " + frame.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
      }
    }
  }

  /// A table's rules, sets and objects with what they have counted; how long an element has left is left out.
  static func lines(_ table: NftTable) -> [String] {
    var lines = table.objects.map { "object \($0.name) \($0.state)" }
    for set in table.sets {
      lines += set.elements.map { "element of \(set.name): \($0.key) \($0.expressions)" }
    }
    for chain in table.chains {
      lines += chain.rules.map { rule in
        chain.name + ": "
          + rule.expressions.map { expression in
            // The kernel names anonymous sets as it likes, and tells no limit's tokens.
            if case .lookup = expression { return "lookup" }
            return expression.description
          }.joined(separator: "; ")
      }
    }
    return lines
  }

  // MARK: Rulesets

  static let mixed: [Probe] = [
    ping("10.0.0.9", "10.0.1.9"), ping("10.0.0.9", "10.0.0.1"), udp("10.0.0.9", 1000, "10.0.1.9", 53),
    udp("10.0.0.9", 1001, "10.0.1.9", 80), udp("10.0.0.9", 1002, "10.0.0.1", 99),
    tcp("10.0.0.9", 2000, "10.0.1.9", 80, 2, seq: 1), tcp("10.0.0.9", 2001, "10.0.1.9", 22, 2, seq: 1),
    udp("10.0.1.9", 53, "10.0.0.9", 1000, face: 1), udp("10.0.1.9", 53, "10.0.0.9", 1234, face: 1),
    ping("10.0.1.9", "10.0.0.9", face: 1), udp("10.0.0.9", 1003, "10.0.1.9", 5000, data: 200),
  ]

  @Test(
    "Matches, verdicts and counters",
    arguments: [
      "chain f { type filter hook forward priority 0; ip protocol udp counter drop; counter }",
      "chain f { type filter hook forward priority 0; policy drop; udp dport 53 counter accept; counter }",
      "chain f { type filter hook forward priority 0; udp dport { 53, 80, 1000-2000 } counter drop; counter }",
      "chain f { type filter hook forward priority 0; ip saddr 10.0.0.0/24 tcp dport 80 counter drop; counter }",
      "chain f { type filter hook forward priority 0; iifname \"t0\" oifname \"t1\" counter drop }",
      "chain f { type filter hook forward priority 0; iifname \"t1\" counter; oifname \"t*\" counter drop }",
      "chain f { type filter hook forward priority 0; meta length > 100 counter drop; counter }",
      "chain f { type filter hook forward priority 0; ip ttl 32 counter drop; ip ttl > 30 counter }",
      "chain i { type filter hook input priority 0; icmp type echo-request counter drop; counter }",
      "chain i { type filter hook input priority 0; udp dport 99 counter reject; counter }",
      "chain f { type filter hook forward priority 0; counter reject with icmp type admin-prohibited }",
      "chain f { type filter hook forward priority 0; tcp dport 22 counter reject with tcp reset; counter }",
      "chain o { type filter hook output priority 0; counter; icmp type echo-reply counter drop }",
      "chain p { type filter hook postrouting priority 0; oifname \"t1\" ip protocol icmp counter drop }",
      "chain p { type filter hook prerouting priority -300; udp sport 53 counter drop; counter }",
      """
      chain other { udp dport 53 counter accept; counter return; counter }
      chain f { type filter hook forward priority 0; policy drop; meta l4proto udp jump other; counter accept }
      """,
      """
      chain other { counter }
      chain f { type filter hook forward priority 0; policy drop; meta l4proto udp goto other; counter accept }
      """,
      """
      chain a { counter accept; }
      chain b { counter drop; }
      chain f { type filter hook forward priority 0; udp dport vmap { 53 : jump a, 80 : goto b }; counter }
      """,
      """
      set s { type ipv4_addr . inet_service; elements = { 10.0.1.9 . 53, 10.0.1.9 . 22 } }
      chain f { type filter hook forward priority 0; ip daddr . udp dport @s counter drop; counter }
      """,
      """
      set s { type ipv4_addr . inet_service; flags interval; elements = { 10.0.1.0/24 . 50-60 } }
      chain f { type filter hook forward priority 0; ip daddr . udp dport @s counter drop; counter }
      """,
      """
      set s { type ipv4_addr; flags interval; elements = { 10.0.0.8/31, 192.168.0.0/16 } }
      chain f { type filter hook forward priority 0; ip saddr @s counter drop; ip saddr != @s counter }
      """,
      """
      set s { type ipv4_addr; flags dynamic; timeout 1m; }
      chain f { type filter hook forward priority 0; add @s { ip saddr }; ip daddr @s counter drop; counter }
      """,
      """
      counter c { packets 0 bytes 0; }
      quota q { over 100 bytes; }
      chain f { type filter hook forward priority 0; counter name c; quota name "q" counter drop }
      """,
      "chain f { type filter hook forward priority 0; limit rate 2/hour burst 3 packets counter accept; counter drop }",
      "chain f { type filter hook forward priority 0; quota over 300 bytes counter drop; counter }",
      "chain f { type filter hook forward priority 0; numgen inc mod 3 vmap { 0 : drop, 1 : accept }; counter }",
      "chain f { type filter hook forward priority 0; jhash ip saddr . udp sport mod 8 seed 0xabcd < 4 counter drop }",
      "chain f { type filter hook forward priority 0; meta mark set 0x42 counter; meta mark 0x42 counter drop }",
      "chain f { type filter hook forward priority 0; ip dscp set cs3 counter }",
      "chain f { type filter hook forward priority 0; udp dport set 5353 counter }",
      "chain f { type filter hook forward priority 0; ip daddr set 10.0.1.8 counter }",
      "chain f { type filter hook forward priority 0; tcp flags syn counter drop; tcp flags & (syn|ack) == syn counter }",
      "chain f { type filter hook forward priority 0; @th,16,16 53 counter drop; @nh,64,8 32 counter }",
      "chain f { type filter hook forward priority 10; counter drop }\nchain g { type filter hook forward priority 5; counter accept }",
    ])
  func rules(_ body: String) throws {
    try compare(body, body, Self.mixed)
  }

  @Test(
    "Hooks of ARP and of devices",
    arguments: [
      "table arp t {\nchain i { type filter hook input priority 0; arp operation request counter drop; }\n}",
      "table arp t {\nchain i { type filter hook input priority 0; arp operation reply counter drop; counter; }\n}",
      "table arp t {\nchain o { type filter hook output priority 0; counter drop; }\n}",
      "table arp t {\nchain o { type filter hook output priority 0; arp daddr ip 10.0.0.9 counter; }\n}",
      "table netdev t {\nchain i { type filter hook ingress device t0 priority 0; ip protocol udp counter drop; counter; }\n}",
      "table netdev t {\nchain i { type filter hook ingress device t0 priority 0; ether type arp counter drop; counter; }\n}",
      "table netdev t {\nchain i { type filter hook ingress device t1 priority 0; policy drop; udp dport 1000 counter accept; }\n}",
      "table netdev t {\nchain e { type filter hook egress device t1 priority 0; udp dport 53 counter drop; counter; }\n}",
      "table netdev t {\nchain e { type filter hook egress device t0 priority 0; ether type arp counter drop; counter; }\n}",
    ])
  func families(_ table: String) throws {
    let question = Probe(KernelOracleTests.arp(1, sender: [10, 0, 0, 9], target: [10, 0, 0, 1]))
    try compare(table, table, [question] + Self.mixed + [question])
  }

  @Test(
    "Connection tracking",
    arguments: [
      "ct state new counter; ct state established counter; ct state related counter; ct state invalid counter drop",
      "ct state vmap { established : accept, related : accept, invalid : drop }; iifname \"t0\" counter accept; drop",
      "ct direction original counter; ct direction reply counter; ct status seen-reply counter; ct status assured counter",
      "ct original ip saddr 10.0.0.9 counter; ct reply ip saddr 10.0.1.9 counter; ct mark set 7; ct mark 7 counter",
      "ct protocol udp counter; ct l3proto ipv4 counter; ct zone 0 counter",
    ])
  func tracking(_ rules: String) throws {
    let client = "10.0.0.9"
    let server = "10.0.1.9"
    let probes: [Probe] = [
      Self.udp(client, 1000, server, 53), Self.udp(server, 53, client, 1000, face: 1),
      Self.udp(client, 1000, server, 53), Self.udp(server, 54, client, 1000, face: 1),
      Self.ping(client, server), Self.ping(server, client, face: 1, type: 0),
      Self.ping(server, client, face: 1, id: 43, type: 0),
      Self.tcp(client, 3000, server, 80, 2, seq: 100, options: [2, 4, 5, 180]),
      Self.tcp(server, 80, client, 3000, 0x12, seq: 900, ack: 101, face: 1),
      Self.tcp(client, 3000, server, 80, 0x10, seq: 101, ack: 901),
      Self.tcp(client, 3000, server, 80, 0x18, seq: 101, ack: 901, data: 50),
      Self.tcp(server, 80, client, 3000, 0x10, seq: 901, ack: 151, face: 1),
      // Out of every window, then from before it, then an acknowledgement of what was never sent.
      Self.tcp(server, 80, client, 3000, 0x10, seq: 9_000_000, ack: 151, face: 1),
      Self.tcp(client, 3000, server, 80, 0x10, seq: 151, ack: 9_000_000),
      Self.tcp(client, 3000, server, 80, 0x04, seq: 77, ack: 0),
      Self.tcp(client, 3000, server, 80, 0x11, seq: 151, ack: 901),
      Self.tcp(server, 80, client, 3000, 0x10, seq: 901, ack: 152, face: 1),
      Self.tcp(server, 80, client, 3000, 0x11, seq: 901, ack: 152, face: 1),
      Self.tcp(client, 3000, server, 80, 0x10, seq: 152, ack: 902),
      // A connection that is refused, one that begins in the middle, flags that nobody sends.
      Self.tcp(client, 3001, server, 81, 2, seq: 5),
      Self.tcp(server, 81, client, 3001, 0x14, seq: 0, ack: 6, face: 1),
      Self.tcp(client, 3002, server, 82, 0x18, seq: 7, ack: 8, data: 3),
      Self.tcp(client, 3003, server, 83, 0x03, seq: 7),
      Self.tcp(client, 3004, server, 83, 0x12, seq: 7, ack: 3),
      Self.udp(client, 1000, "10.0.1.9", 7, ttl: 1),
    ]
    try compare(
      rules, "chain f { type filter hook forward priority 0; \(rules); counter }", probes)
  }

  @Test(
    "NAT",
    arguments: [
      "chain p { type nat hook postrouting priority 100; oifname \"t1\" counter masquerade }",
      "chain p { type nat hook postrouting priority 100; oifname \"t1\" snat to 10.0.1.77 }",
      "chain p { type nat hook postrouting priority 100; ip protocol udp snat to 10.0.1.1:4000-4000 }",
      """
      chain d { type nat hook prerouting priority -100; iifname "t1" udp dport 53 dnat to 10.0.0.9:1000 }
      chain p { type nat hook postrouting priority 100; oifname "t1" masquerade }
      """,
      """
      chain d { type nat hook prerouting priority -100; ip daddr 10.0.1.8 tcp dport 80 counter dnat to 10.0.1.9:8080 }
      chain p { type nat hook postrouting priority 100; counter }
      """,
      "chain d { type nat hook prerouting priority -100; ip daddr 10.0.0.1 udp dport 99 redirect to :5000 }",
      "chain p { type nat hook postrouting priority 100; snat ip prefix to ip saddr map { 10.0.0.0/24 : 10.0.1.0/24 } }",
    ])
  func translation(_ body: String) throws {
    let client = "10.0.0.9"
    let server = "10.0.1.9"
    let gateway = "10.0.0.1"
    let wan = "10.0.1.1"
    let probes: [Probe] = [
      Self.udp(client, 1000, server, 53), Self.udp(server, 53, wan, 1000, face: 1),
      Self.udp(client, 1000, server, 54), Self.ping(client, server, id: 9),
      Self.ping(server, wan, face: 1, id: 9, type: 0), Self.udp(client, 999, server, 53),
      Self.udp(server, 4444, wan, 53, face: 1), Self.udp(client, 1000, server, 4444),
      Self.tcp(client, 3000, "10.0.1.8", 80, 2, seq: 100), Self.udp(client, 1000, gateway, 99),
      Self.tcp(server, 8080, client, 3000, 0x12, seq: 4, ack: 101, face: 1),
      Self.tcp(client, 3000, "10.0.1.8", 80, 0x10, seq: 101, ack: 5),
      Self.udp(server, 53, "10.0.1.77", 1000, face: 1), Self.udp(server, 53, wan, 4000, face: 1),
      Self.packet(
        1, server, wan,
        Self.error(3, 3, about: Self.udp(wan, 1000, server, 53).frame), face: 1),
    ]
    try compare(body, body, probes)
  }

  @Test(
    "Sources are spread over a range of addresses as the kernel spreads them",
    arguments: [
      "dnat to 10.0.1.8-10.0.1.9 persistent", "dnat to 10.0.1.8-10.0.1.9",
    ])
  func spreading(_ statement: String) throws {
    let probes = (1...20).map { Self.udp("10.0.0.\(200 + $0)", 1000, "10.0.1.77", UInt16($0)) }
    try compare(statement, "chain d { type nat hook prerouting priority -100; \(statement) }", probes)
  }

  @Test(
    "What the routing tables say",
    arguments: [
      "fib saddr oif \"t0\" counter; fib daddr oif \"t1\" counter; fib saddr . iif oif missing counter drop",
      "fib daddr type local counter drop; fib saddr type unicast counter; fib daddr type broadcast counter",
    ])
  func routes(_ rules: String) throws {
    try compare(
      rules, "chain p { type filter hook prerouting priority -300; \(rules); counter }",
      Self.mixed + [Self.udp("10.0.1.9", 1, "10.0.0.9", 2), Self.udp("10.9.9.9", 1, "10.0.1.9", 2)])
  }

  /// An ICMP error that quotes a frame's packet.
  static func error(_ type: UInt8, _ code: UInt8, about frame: [UInt8]) -> [UInt8] {
    var message: [UInt8] = [type, code, 0, 0, 0, 0, 0, 0] + frame[14..<min(frame.count, 42)]
    let sum = KernelOracleTests.checksum(message)
    message[2] = sum[0]
    message[3] = sum[1]
    return message
  }
}
