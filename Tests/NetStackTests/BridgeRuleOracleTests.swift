// SPDX-License-Identifier: GPL-2.0-or-later

// Rules at the hooks of bridges beside the kernel's: rulesets by chance at a bridge of four ports that has an address of
// its own, and the same frames through both. What comes out of each port, what was counted and what the traces tell
// must be the same.

import Glibc
import NetTypes
import Netlink
import Nftables
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

@Suite(
  "Rules of a bridge beside the kernel's", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct BridgeRuleOracleTests {
  typealias Bridges = BridgeOracleTests

  private static let matches = [
    "ether saddr 02:00:00:00:09:01", "ether daddr 02:00:00:00:09:02", "ether daddr ff:ff:ff:ff:ff:ff",
    "ether type ip", "ether type arp", "ether type 0x88b5", "meta protocol ip", "meta protocol != arp",
    "ether saddr { 02:00:00:00:09:01, 02:00:00:00:09:03 }", "ether daddr & 01:00:00:00:00:00 != 0",
    "ether saddr . ether daddr { 02:00:00:00:09:01 . 02:00:00:00:09:02 }", "ether saddr != @hosts",
    "ip saddr 10.0.0.1-10.0.0.2", "ip daddr 10.0.0.254", "ip protocol icmp", "ip ttl < 33", "udp dport 99",
    "meta l4proto udp", "th dport { 53, 99 }", "icmp type echo-request", "arp operation request",
    "arp daddr ip 10.0.0.254", "arp htype 1", "meta length > 60", "meta length != 46", "meta mark 1",
    "meta pkttype host", "meta pkttype { broadcast, multicast }", "vlan id 10", "vlan pcp 3",
    "meta l4proto icmp", "@ll,0,8 2", "@ll,96,16 0x0806", "@nh,64,8 33", "@th,16,16 99",
    "limit rate over 2/hour burst 3 packets", "numgen inc mod 2 0",
  ]
  private static let statements = [
    "counter", "counter drop", "counter accept", "counter return", "counter meta mark set 1",
    "counter jump p", "counter goto p", "counter add @seen { ether saddr counter }", "counter ip ttl set 9",
    "counter ether daddr set 02:00:00:00:09:03", "ether type vmap { ip : jump p, arp : drop } counter",
    "counter ether saddr set 02:00:00:00:09:04",
  ]

  /// A ruleset by chance.
  private static func table(_ random: inout RandomState, traces: Bool) -> String {
    func one(of words: [String]) -> String { words[Int(random.below(UInt64(words.count)))] }
    func rules(_ hook: String) -> String {
      let input = ["iifname \"t0\"", "iifname != \"t1\"", "iifname \"t*\""]
      let output = ["oifname \"t1\"", "oifname != \"t2\"", "oifname \"br0\""]
      let devices =
        switch hook {
        case "prerouting", "input": input
        case "forward": input + output
        case "output", "postrouting": output
        default: ["meta mark 0"]
        }
      return (0..<1 + random.below(5)).map { _ in
        let parts = (0..<random.below(3)).map { _ in one(of: random.below(4) == 0 ? devices : matches) }
        let statement = one(
          of: hook == ""
            ? Array(statements.prefix(4))
            : hook == "prerouting" ? statements + ["counter meta pkttype set host"] : statements)
        return " " + (parts + [statement]).joined(separator: " ") + ";\n"
      }.joined()
    }
    var chains = ["chain p {\n\(rules(""))}"]
    for number in 0...random.below(3) {
      let hook = one(of: ["prerouting", "input", "forward", "forward", "output", "postrouting"])
      let priority = Int(random.below(3)) * 100 - 100
      let policy = random.below(5) == 0 ? "drop" : "accept"
      chains.append(
        "chain c\(number) {\n type filter hook \(hook) priority \(priority); policy \(policy);\n"
          + "\(rules(hook))}")
    }
    if traces {
      for hook in ["prerouting", "output"] {
        chains.append(
          "chain trace_\(hook) {\n type filter hook \(hook) priority -350;\n meta nftrace set 1;\n}")
      }
    }
    return """
      table bridge t {
      set hosts { type ether_addr; elements = { 02:00:00:00:09:01, 02:00:00:00:09:02 }; }
      set seen { type ether_addr; flags dynamic; }
      \(chains.joined(separator: "\n"))
      }
      """
  }

  private static func frame(_ random: inout RandomState) -> [UInt8] {
    let source = UInt8(1 + random.below(4))
    let destination = [
      Bridges.host(1), Bridges.host(2), Bridges.host(3), [2, 0, 0, 0, 0, 0xbb], [2, 0, 0, 0, 0, 0xbb],
      [255, 255, 255, 255, 255, 255], [1, 0, 0x5e, 1, 2, 3], [1, 0x80, 0xc2, 0, 0, 0x0e],
    ][Int(random.below(8))]
    var frame: [UInt8]
    switch random.below(5) {
    case 0: frame = Bridges.frame(source, to: destination)
    case 1:
      frame = KernelOracleTests.arp(1, sender: [10, 0, 0, source], target: [10, 0, 0, 254], to: destination)
    case 2: frame = KernelOracleTests.IP(source: [10, 0, 0, source], destination: [10, 0, 0, 254]).frame
    default:
      frame =
        NetfilterOracleTests.udp("10.0.0.\(source)", 1000, "10.0.0.2", random.below(2) == 0 ? 53 : 99).frame
    }
    frame.replaceSubrange(0..<12, with: destination + Bridges.host(source))
    if frame[12] == 8, frame[13] == 6 { frame.replaceSubrange(22..<28, with: Bridges.host(source)) }
    let tags: [[UInt8]] = [[0x81, 0, 0x60, 10], [0x81, 0, 0, 20], [0x88, 0xa8, 0, 10, 0x81, 0, 0, 20]]
    if random.below(6) == 0 { frame.insert(contentsOf: tags[Int(random.below(3))], at: 12) }
    return frame
  }

  @Test("Frames, counts, sets and traces are the same", arguments: 1...40 as ClosedRange<UInt64>)
  func rules(seed: UInt64) throws {
    var random = RandomState(seed: seed)
    var pair = try Bridges.Pair()
    try pair.setUp()
    try pair.change { numbers in
      AddressMessage(prefix("10.0.0.254/24"), index: numbers["br0"] ?? 0).request(.create)
    }
    for number: UInt8 in 1...4 {
      try pair.change { numbers in
        var neighbor = NeighborMessage(family: .ipv4, index: numbers["br0"] ?? 0)
        neighbor.destination = .v4(IPv4Address(rawValue: 0x0a00_0000 | UInt32(number)))
        neighbor.linkAddress = Bridges.host(number)
        neighbor.state = .permanent
        return neighbor.request(.create)
      }
    }
    // Some rules ask for what cannot be at once; nft says so.
    var text = ""
    var loaded: (rules: NftObservation, traces: NftTraceSocket)?
    for _ in 0..<50 where loaded == nil {
      text = Self.table(&random, traces: seed % 2 == 0)
      loaded = try? pair.load(text)
    }
    let (theirRules, traces) = try #require(loaded)
    try pair.kernel.commit(theirRules.tables.flatMap(\.creation), in: pair.node)
    let handles = pair.kernel.nftables(nil, in: pair.node).handles
    for number in 0..<40 {
      let frame = Self.frame(&random)
      let (got, expected) = try pair.send(frame, Int(random.below(4)))
      #expect(
        got.map(KernelOracleTests.normal) == expected.map(KernelOracleTests.normal),
        "frame \(number) \(frame)\n\(text)")
      let (mine, theirs) = (pair.kernel.takeTraces(), traces.take())
      #expect(
        OracleTrace(mine, handles).steps == OracleTrace(theirs, theirRules.handles).steps,
        "frame \(number) \(frame)\n\(text)")
    }
    let counted = try pair.observe().tables.flatMap(NetfilterOracleTests.lines)
    let ours = pair.kernel.nftables(nil, in: pair.node).tables.flatMap(NetfilterOracleTests.lines)
    #expect(ours == counted, "\(text)")
    #expect(pair.kernel.accounting.isClosed)
  }
}

extension BridgeOracleTests.Pair {
  /// Gives rules to the host's kernel, and listens to what packets meet there.
  fileprivate func load(_ text: String) throws -> (NftObservation, NftTraceSocket) {
    let traces = try namespace.run { (visitor) throws(NetlinkError) in
      // Where the kernel has that: no rules of IP for what a bridge carries.
      if access("/proc/sys/net/bridge/bridge-nf-call-iptables", F_OK) == 0 {
        for family in ["ip", "ip6", "arp"] {
          try visitor.writeSysctl("net/bridge/bridge-nf-call-\(family)tables", "0")
        }
      }
      return try NftTraceSocket()
    }
    let path = "/proc/\(getpid())/fd/\(namespace.descriptor.rawValue)"
    try Shell.run("nsenter", ["--net=\(path)", "nft", "-f", "-"], input: text)
    return (try observe(), traces)
  }

  fileprivate func observe() throws -> NftObservation {
    try namespace.run { (_) throws(NetlinkError) in
      do {
        return try NftablesSocket(label: "oracle").observe()
      } catch {
        throw NetlinkError(.refused, "observe the rules: \(error)")
      }
    }
  }
}
