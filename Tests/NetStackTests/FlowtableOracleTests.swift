// SPDX-License-Identifier: GPL-2.0-or-later

// Flowtables beside a kernel that has them (`make test-guest` brings one): the same connections through both, and what
// leaves, what rules still count, and what stands of the connections.

import Glibc
import NetTypes
import Nftables
import Testing

@testable import NetStack

@Suite(
  "Flowtables beside the kernel's", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct FlowtableOracleTests {
  typealias Oracle = NetfilterOracleTests
  typealias Flows = NetfilterFlowtableTests

  private static let translations = [
    "",
    "chain p { type nat hook postrouting priority 100; oifname \"t1\" masquerade; }",
    "chain d { type nat hook prerouting priority -100; dnat to 10.0.1.9; }",
  ]

  private static func table(_ family: String, _ rule: String, _ translation: String) -> String {
    """
    table \(family) t {
    flowtable f { hook ingress priority 0; devices = { t0, t1 }; counter; }
    chain c { type filter hook forward priority 0; \(rule); counter; }
    \(translation)
    }
    """
  }

  private func compare(_ name: String, _ text: String, _ probes: [Oracle.Probe], _ setup: OracleSetup) throws
  {
    let router = try KernelOracleTests.Router(setup)
    do {
      try Oracle.load(Self.table("ip", "flow add @f", ""), into: router)
    } catch {
      try Test.cancel("this kernel has no flowtables: \(error)")
    }
    try Oracle.prepare(router)
    if setup.settles { _ = try router.answers(to: nil, wait: .seconds(2)) }
    for difference in try Oracle.differences(text, probes, router, setup) {
      Issue.record("\(name): \(difference)")
    }
  }

  @Test("Connections by chance, translated and not", arguments: 0..<24 as Range<UInt64>)
  func traffic(_ number: UInt64) throws {
    var random = RandomState(seed: number)
    let way = Int(number % 3)
    // The client speaks first, so that no port is taken by chance. What is longer than its face's MTU an emulated card
    // does not take.
    let first = (0..<3).map { Oracle.udp(Flows.client, 1000 + $0, Flows.server, 53) }
    let traffic = Flows.traffic(&random, peer: way == 1 ? "10.0.1.1" : Flows.client)
    let probes = first + traffic.filter { $0.face == 0 || $0.frame.count <= 614 }
    let rule = ["flow add @f", "meta l4proto udp flow add @f", "ct state established flow add @f"]
    let family = number % 2 == 0 ? "ip" : "inet"
    let translation =
      family == "inet" && way == 2
      ? Self.translations[way].replacing("dnat to", with: "dnat ip to") : Self.translations[way]
    try compare(
      "case \(number)", Self.table(family, rule[Int(number / 3 % 3)], translation), probes, .ipv4)
  }

  @Test("The same of IPv6", arguments: ["ip6", "inet"])
  func trafficOfIPv6(_ family: String) throws {
    try compare(
      family, Self.table(family, "flow add @f", Self.translations[1]), Flows.traffic6(), .dual)
  }
}
