// SPDX-License-Identifier: GPL-2.0-or-later

// What rules do less often: counting connections, objects by map, sockets, copies and detours, the hooks of bridges,
// masqueraded connections that end with their address, pieces made whole before tracking.

import Glibc
import NetTypes
import Nftables
import Rtnetlink
import Testing

@testable import NetStack

@Suite(
  "Rarer rules beside the kernel", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct NetfilterRarerTests {
  typealias Oracle = NetfilterOracleTests

  /// A datagram cut into two, the second piece first when `isSwapped`.
  static func pieces(isSwapped: Bool, first: Int = 400) -> [Oracle.Probe] {
    let whole = Oracle.udp("10.0.0.9", 1000, "10.0.1.9", 53, data: 700).frame
    let payload = Array(whole[34...])
    func piece(_ range: Range<Int>, more: Bool) -> Oracle.Probe {
      var ip = KernelOracleTests.IP(
        source: Oracle.address("10.0.0.9"), destination: Oracle.address("10.0.1.9"), proto: 17, ttl: 33)
      ip.payload = Array(payload[range])
      ip.fragment = UInt16(range.lowerBound / 8) | (more ? 0x2000 : 0)
      ip.link = KernelOracleTests.macs[0]
      return Oracle.Probe(ip.frame)
    }
    let both = [piece(0..<first, more: true), piece(first..<payload.count, more: false)]
    return isSwapped ? both.reversed() : both
  }

  @Test(
    "Connections counted, objects by map, sets with limits, owners, copies, sockets",
    arguments: [
      "chain f { type filter hook forward priority 0; ct count over 2 counter drop; counter }",
      "chain f { type filter hook forward priority 0; ct count 1 counter accept; counter drop }",
      """
      set s { type ipv4_addr; flags dynamic; }
      chain f { type filter hook forward priority 0; add @s { ip saddr ct count over 2 } counter drop; counter }
      """,
      """
      counter a { packets 0 bytes 0; }
      counter b { packets 0 bytes 0; }
      chain f { type filter hook forward priority 0; counter name udp dport map { 53 : "a", 80 : "b" }; counter }
      """,
      """
      counter a { packets 0 bytes 0; }
      map m { type inet_service : counter; flags interval; elements = { 50-60 : "a" }; }
      chain f { type filter hook forward priority 0; counter name udp dport map @m; counter }
      """,
      """
      counter a { packets 0 bytes 0; }
      map m { type mark : counter; flags interval; elements = { 0x5-0x105 : "a" }; }
      chain f { type filter hook forward priority 0; meta mark set 0x100; counter name meta mark map @m; counter }
      """,
      """
      map m { type ipv4_addr : mark; flags dynamic; size 100; }
      chain f { type filter hook forward priority 0; meta mark set ip daddr map @m counter; udp dport 53 add @m { ip saddr : 0x7 } counter; meta mark 0x7 counter; counter }
      """,
      """
      map m { type ipv4_addr : inet_service; flags dynamic; size 100; elements = { 10.0.0.8 : 1 }; }
      chain f { type filter hook forward priority 0; udp dport 80 delete @m { ip saddr : 0 } counter; add @m { ip saddr : udp dport } counter; delete @m { ip daddr : 0 } counter; counter }
      """,
      """
      map m { type ipv4_addr : mark; flags dynamic; size 100; elements = { 10.0.0.9 : 1, 10.0.0.8 : 2 }; }
      chain f { type filter hook forward priority 0; delete @m { ip saddr : 0 } counter; meta mark set ip saddr map @m counter; counter }
      """,
      """
      map m { type ipv4_addr . inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 1h; size 2; }
      chain f { type filter hook forward priority 0; update @m { ip saddr . udp sport timeout 2h : ip daddr . udp dport } counter; counter }
      """,
      """
      map m { type ipv4_addr : mark; flags dynamic; size 100; }
      chain f { type filter hook forward priority 0; add @m { ip saddr limit rate 2/hour burst 2 packets : 0x3 } counter accept; counter drop }
      """,
      """
      quota q { over 100 bytes; }
      quota r { over 1 mbytes; }
      chain f { type filter hook forward priority 0; quota name ip protocol map { udp : "q", tcp : "r" } counter drop; counter }
      """,
      """
      limit l { rate 2/hour burst 3 packets; }
      chain f { type filter hook forward priority 0; limit name "l" counter accept; counter drop }
      """,
      """
      set s { type ipv4_addr; flags dynamic; }
      chain f { type filter hook forward priority 0; update @s { ip saddr limit rate 2/hour burst 2 packets } counter accept; counter drop }
      """,
      "chain p { type filter hook postrouting priority 0; iifname \"t0\" counter drop; meta iif 1 counter; counter }",
      "chain o { type filter hook output priority 0; meta skuid 0 counter; meta skgid 0 counter; counter }",
      "chain p { type filter hook prerouting priority -300; ip protocol udp notrack; }\nchain f { type filter hook forward priority 0; ct state untracked counter drop; counter }",
      "chain p { type filter hook prerouting priority 0; ip protocol udp dup to 10.0.1.8 device \"t1\"; }\nchain f { type filter hook forward priority 0; counter }",
      "chain p { type filter hook postrouting priority 0; ip protocol udp dup to 10.0.1.8; counter }",
      "chain p { type filter hook prerouting priority -300; socket transparent 0 counter; socket wildcard 1 counter; socket mark 0 counter; counter }",
    ])
  func rules(_ body: String) throws {
    try Oracle().compare(body, body, Oracle.mixed + Oracle.mixed)
  }

  @Test(
    "Frames sent on by the rules of a device, and the family inet at a device",
    arguments: [
      "table netdev t {\nchain i { type filter hook ingress device t0 priority 0; udp dport 53 fwd to \"t1\"; counter; }\n}",
      "table netdev t {\nchain i { type filter hook ingress device t0 priority 0; udp dport 53 dup to \"t1\"; counter; }\n}",
      "table netdev t {\nchain e { type filter hook egress device t1 priority 0; udp dport 53 dup to \"t0\"; counter; }\n}",
      "table inet t {\nchain i { type filter hook ingress device t0 priority 0; udp dport 53 counter drop; ip ttl 33 counter; counter; }\n}",
      "table inet t {\nchain i { type filter hook ingress device t0 priority 0; policy drop; meta nfproto ipv4 counter accept; }\n}",
    ])
  func devices(_ table: String) throws {
    let question = Oracle.Probe(KernelOracleTests.arp(1, sender: [10, 0, 0, 9], target: [10, 0, 0, 1]))
    try Oracle().compare(table, table, [question] + Oracle.mixed + [question])
  }

  @Test(
    "Pieces are made whole before rules that follow connections, and leave as pieces",
    arguments: [false, true])
  func pieces(isSwapped: Bool) throws {
    let body =
      "chain f { type filter hook forward priority 0; udp dport 53 ct state new counter; ct state invalid counter; counter }"
    try Oracle().compare(
      body, body, Self.pieces(isSwapped: isSwapped) + Self.pieces(isSwapped: isSwapped, first: 200))
  }
}

@Suite("Rarer rules")
struct NetfilterRarerFaceTests {
  @Test("Masqueraded connections end with their address, and with their device")
  func masqueradeEnds() throws {
    var lab = try Netfilter6Tests.Lab()
    let outside = try #require(InterfacePattern("s0"))
    try lab.load(.postrouting, .nat, [.match(.is(.outputInterface, outside)), .masquerade()])
    #expect(try lab.exchange() == .v6(v6("2001:db8:2::1")))
    #expect(lab.kernel.connections(in: lab.gateway).count == 1)
    var address = AddressMessage(family: .ipv6, index: lab.kernel.ifindex("c0", lab.gateway))
    address.address = .v6(v6("2001:db8:1::1"))
    address.prefixLength = 64
    try lab.kernel.perform(address.request(.delete), in: lab.gateway)
    #expect(lab.kernel.connections(in: lab.gateway).count == 1, "another device's address")
    address.index = lab.kernel.ifindex("s0", lab.gateway)
    address.address = .v6(v6("2001:db8:2::1"))
    try lab.kernel.perform(address.request(.delete), in: lab.gateway)
    #expect(lab.kernel.connections(in: lab.gateway).isEmpty)
    var other = try Netfilter6Tests.Lab()
    try other.load(.postrouting, .nat, [.match(.is(.outputInterface, outside)), .masquerade()])
    _ = try other.exchange()
    #expect(other.kernel.connections(in: other.gateway).count == 1)
    var link = LinkMessage(index: other.kernel.ifindex("s0", other.gateway))
    link.changeMask = .up
    try other.kernel.perform(link.request(.change), in: other.gateway)
    #expect(other.kernel.connections(in: other.gateway).isEmpty)
    #expect(other.kernel.accounting.isClosed)
  }

  @Test("Large datagrams of IPv6 meet rules as a whole, and go on in pieces")
  func pieces6() throws {
    var lab = try Netfilter6Tests.Lab()
    try lab.load(.forward, .filter, [.match(.is(.conntrackState, .new)), .counter])
    let sender = try lab.kernel.makeSocket(.udp(.ipv6), in: lab.client)
    let receiver = try lab.kernel.makeSocket(.udp(.ipv6), in: lab.server)
    try lab.kernel.bind(receiver, to: SocketAddress(.v6(.any), 53))
    let sent = (0..<4000).map { UInt8(truncatingIfNeeded: $0) }
    try lab.kernel.send(sent, on: sender, to: SocketAddress(.v6(v6("2001:db8:2::2")), 53))
    lab.kernel.run(for: .seconds(1))
    var bytes: [UInt8] = []
    _ = try lab.kernel.receive(receiver, into: &bytes)
    #expect(bytes == sent)
    let rule = try #require(lab.kernel.nftables(nil, in: lab.gateway).tables.first?.chains.first?.rules.first)
    guard case .counter(let counter)? = rule.expressions.last else {
      Issue.record("the rule ends with a counter")
      return
    }
    #expect(counter.packets == 1 && counter.bytes == 4048, "\(counter)")
    #expect(lab.kernel.connections(in: lab.gateway).count == 1)
    #expect(lab.kernel.accounting.isClosed)
  }
}
