// SPDX-License-Identifier: GPL-2.0-or-later

// The short forms of a topology, compiled, made by the kernel and read back.

import Foundation
import NetTypes
import Nftables
import Testing

@testable import Netlink

private let isUsable = Requirements.isRoot && FileManager.default.isExecutableFile(atPath: "/usr/sbin/nft")

@Suite("The table of a lab", .enabled(if: isUsable, "needs root and nft: makes network namespaces"))
struct NftablesPresetTests {
  func everything() throws -> NftTable {
    let wan = try #require(InterfacePattern("wan0"))
    let lan = try #require(InterfacePattern("lan0"))
    let web = try ["10.0.1.11", "10.0.1.12"].map { try #require(IPAddress($0)) }
    var lab = LabTable(lab: "shop", comment: "made by netforge")
    lab.masquerade(out: wan)
    lab.masquerade(
      out: wan, source: try ["10.0.0.0/8", "fd00::/8"].map { try #require(IPPrefix($0)) }, family: nil)
    let outside = try ["203.0.113.2", "203.0.113.5"].map { try #require(IPAddress($0)) }
    lab.sourceNAT(out: lan, to: outside[0], through: outside[1])
    lab.publish(.tcp, ports: PortRange(8080), on: wan, to: [(web[0], 80)])
    lab.publish(
      .tcp, ports: PortRange(8081), to: web.map { ($0, 80) }, hairpin: [try #require(IPPrefix("10.0.1.0/24"))]
    )
    lab.publish(.udp, ports: PortRange(1000, 1009), address: outside[0], to: [(web[1], nil)])
    lab.redirect(.tcp, ports: PortRange(80), on: lan, toPort: 3128)
    let admins = AddressSet(
      name: "admins",
      prefixes: try ["10.0.1.200", "10.0.1.16/28", "fd00::1"].map { try #require(IPPrefix($0)) })
    lab.firewall(
      Firewall(
        policy: .drop,
        rules: [
          FirewallRule(.accept, states: [.established, .related]),
          FirewallRule(.accept, from: [lan], to: [wan]),
          FirewallRule(
            .accept, from: [lan],
            services: [.tcp([PortRange(5432)]), .udp([PortRange(53), PortRange(67, 68)])]),
          FirewallRule(.accept, services: [.tcp([PortRange(22)])], source: .set(admins), counts: true),
          FirewallRule(
            .accept, services: FirewallRule.Service.ping, limit: NftLimit(rate: 5, unitSeconds: 1)),
          FirewallRule(.reject(.icmpx(3)), source: .not(.prefixes([try #require(IPPrefix("10.0.0.0/8"))]))),
          FirewallRule(.drop, log: "gw-drop"),
        ]))
    lab.firewall(
      Firewall(on: .input, policy: .drop, rules: [FirewallRule(.accept, services: [.tcp([PortRange(22)])])]))
    return try Compiler.compile(try #require(lab.table))
  }

  @Test("is read back as it was sent, keys included, and nft's listing loads again")
  func roundTrip() throws {
    let table = try everything()
    let bench = try NftablesBench("presets")
    try bench.socket.check(table.creation)
    try bench.socket.apply(table.creation)
    let observed = try bench.socket.observe(only: table.key)
    #expect(observed.tables.map(\.normalized) == [table.normalized])
    let second = try NftablesBench("presets-text")
    #expect(try second.load(NftText.text(table)) == "")
    #expect(try second.load("flush ruleset\n" + bench.list()) == "")
    let relisted = try #require(try second.socket.observe().tables.first)
    for (a, b) in zip(table.chains, relisted.chains) {
      #expect(a.rules.map(\.normalized.expressions) == b.rules.map(\.normalized.expressions))
    }
  }

  @Test("every rule of it has its text")
  func text() throws {
    #expect(!NftText.text(try everything()).contains("cannot be written"))
  }
}
