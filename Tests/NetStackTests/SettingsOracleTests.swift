// SPDX-License-Identifier: GPL-2.0-or-later

// Settings of IPv4 beside the host's kernel: the same frames into both routers, with one setting after the other
// changed, and what each knows of its neighbours afterwards.

import Glibc
import NetTypes
import Netlink
import Nftables
import Rtnetlink
import Testing

@testable import NetStack

extension KernelOracleTests.Twins {
  /// What both know of their neighbours. A state that time alone changes counts as stale.
  mutating func compareNeighbors(_ name: String, _ family: AddressFamily = .ipv4) throws {
    func text(_ messages: [NetlinkMessage]) throws -> [String] {
      try messages.map { try NeighborMessage($0) }.filter {
        $0.family == family && $0.state != .noARP && $0.index > 1
      }.map { entry in
        let isKnown = !entry.state.isDisjoint(with: [.reachable, .stale, .delay, .probe])
        let mac = entry.linkAddress.map { "\($0)" } ?? "-"
        return "\(entry.index) \(entry.destination.map { "\($0)" } ?? "-") \(mac) "
          + "\(isKnown ? NeighborState.stale.rawValue : entry.state.rawValue) \(entry.flags.rawValue)"
      }.sorted()
    }
    let ours = try text(emulated.kernel.dump(NeighborMessage.dump(family), in: emulated.node))
    let theirs = try text(router.socket.dump(NeighborMessage.dump(family)))
    #expect(ours == theirs, "\(name)")
  }
}

@Suite(
  "Settings beside the kernel",
  .enabled(if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0, "needs root and /dev/net/tun"))
struct SettingsOracleTests {
  private typealias IP = KernelOracleTests.IP
  private typealias Twins = KernelOracleTests.Twins

  private static let broadcast: [UInt8] = [255, 255, 255, 255, 255, 255]

  private static func arp(
    _ operation: UInt8, _ sender: [UInt8], _ target: [UInt8], mac: [UInt8] = KernelOracleTests.sender,
    to link: [UInt8] = broadcast, targetMAC: [UInt8] = [0, 0, 0, 0, 0, 0]
  ) -> [UInt8] {
    link + mac + [8, 6, 0, 1, 8, 0, 6, 4, 0, operation] + mac + sender + targetMAC + target
  }

  private static let conf = "net/ipv4/conf/t0/"

  @Test("arp_announce chooses whose address a question tells")
  func announce() throws {
    for level in 0...2 {
      var twins = try Twins()
      try twins.set("\(Self.conf)arp_announce", "\(level)")
      twins.perform(OracleSetup.address("10.0.0.2/24", 0), "a second address")
      twins.perform(OracleSetup.address("10.0.8.1/24", 0), "another subnet")
      for (number, destination) in [[10, 0, 1, 1], [10, 0, 0, 2], [10, 0, 8, 1], [10, 0, 0, 1]].enumerated() {
        // The answer is for somebody who is not known yet.
        for stranger: [UInt8] in [[10, 0, 0, UInt8(70 + number)], [10, 0, 8, UInt8(70 + number)]] {
          try twins.compare(
            "level \(level), \(destination) to \(stranger)",
            IP(source: stranger, destination: destination.map { UInt8($0) }).frame)
        }
      }
      try twins.compare(
        "level \(level), passed on", IP(source: [10, 0, 1, 9], destination: [10, 0, 0, 88]).frame, by: 1)
    }
  }

  @Test("arp_filter, arp_ignore and arp_accept decide who is answered and learned from", arguments: 0...1)
  func filter(isOn: Int) throws {
    var twins = try Twins()
    try twins.set("\(Self.conf)arp_filter", "\(isOn)")
    let senders: [[UInt8]] = [[10, 0, 0, 5], [10, 0, 1, 5], [10, 2, 0, 5], [192, 0, 2, 5], [0, 0, 0, 0]]
    for ignore in [0, 1, 2, 3, 8] {
      try twins.set("\(Self.conf)arp_ignore", "\(ignore)")
      for sender in senders {
        for target: [UInt8] in [[10, 0, 0, 1], [10, 0, 1, 1]] {
          try twins.compare("ignore \(ignore): \(sender) asks for \(target)", Self.arp(1, sender, target))
        }
      }
    }
    try twins.compareNeighbors("filter \(isOn)")
  }

  @Test("Gratuitous ARP is news, unless it is to be dropped", arguments: [0, 1], [0, 1, 2])
  func gratuitous(drops: Int, accepts: Int) throws {
    var twins = try Twins()
    try twins.set("\(Self.conf)drop_gratuitous_arp", "\(drops)")
    try twins.set("\(Self.conf)arp_accept", "\(accepts)")
    let second: [UInt8] = [2, 0, 0, 0, 7, 7]
    try twins.compare("a question makes a neighbour", Self.arp(1, [10, 0, 0, 20], [10, 0, 0, 1]))
    let frames = [
      Self.arp(1, [10, 0, 0, 20], [10, 0, 0, 20], mac: second),
      Self.arp(2, [10, 0, 0, 21], [10, 0, 0, 21], mac: second, targetMAC: second),
      Self.arp(2, [10, 0, 0, 22], [10, 0, 0, 22], mac: second),
      Self.arp(1, [10, 0, 0, 23], [10, 0, 0, 23], mac: second),
      Self.arp(2, [10, 0, 0, 24], [10, 0, 0, 1], mac: second, to: KernelOracleTests.macs[0]),
      Self.arp(1, [192, 0, 2, 25], [192, 0, 2, 25], mac: second),
      Self.arp(1, [10, 0, 0, 1], [10, 0, 0, 1], mac: second),
      Self.arp(1, [10, 0, 0, 9], [10, 0, 0, 9], mac: second),
    ]
    for (number, frame) in frames.enumerated() {
      try twins.compare("frame \(number)", frame)
      try twins.compareNeighbors("frame \(number)")
    }
  }

  @Test("What a program has learned stands as an address on the link says, and is nobody's to collect")
  func externallyLearned() throws {
    var twins = try Twins()
    for (number, state) in [NeighborState.reachable, .stale, .permanent].enumerated() {
      twins.perform(
        OracleSetup.neighbor("10.0.0.\(30 + number)", 0, OracleSetup.mac(3)) {
          $0.state = state
          $0.flags = .externallyLearned
        })
    }
    try twins.compareNeighbors("made")
    for number: UInt8 in 30...32 {
      try twins.compare("\(number) speaks", Self.arp(1, [10, 0, 0, number], [10, 0, 0, 1]))
      try twins.compareNeighbors("\(number) spoke")
      try twins.compare("an answer", IP(source: [10, 0, 0, number]).frame)
    }
    twins.perform(
      OracleSetup.neighbor("10.0.0.30", 0, OracleSetup.mac(4)) { $0.state = .reachable }, "no longer")
    try twins.compareNeighbors("changed by hand")
  }

  @Test("Sources are checked as the settings say")
  func sources() throws {
    let probes: [(String, [UInt8], Int)] = [
      ("from its own link", IP().frame, 0),
      ("from the other link's subnet", IP(source: [10, 0, 1, 9]).frame, 0),
      ("from behind the other link", IP(source: [10, 2, 0, 9], destination: [10, 0, 1, 9]).frame, 0),
      ("from nowhere", IP(source: [192, 0, 2, 9]).frame, 0),
      ("from a black hole", IP(source: [10, 3, 0, 9]).frame, 0),
      ("from this host", IP(source: [10, 0, 1, 1]).frame, 0),
      ("from this very address", IP(source: [10, 0, 0, 1]).frame, 0),
      ("from a broadcast address", IP(source: [10, 0, 1, 255]).frame, 0),
      ("from the loopback network", IP(source: [127, 0, 0, 9]).frame, 0),
      ("to the loopback network", IP(destination: [127, 0, 0, 1]).frame, 0),
      ("to the other subnet's all", IP(destination: [10, 0, 1, 255]).frame, 0),
      ("to all", IP(destination: [10, 0, 0, 255], link: Self.broadcast).frame, 0),
    ]
    let settings = [
      ("rp_filter", ["1", "2", "0"]), ("accept_local", ["1", "0"]), ("route_localnet", ["1", "0"]),
      ("bc_forwarding", ["1", "0"]),
    ]
    var twins = try Twins()
    for (setting, values) in settings {
      for value in values {
        for scope in ["all", "t0"] where setting != "bc_forwarding" || value == "0" || scope == "t0" {
          try twins.set("net/ipv4/conf/\(scope)/\(setting)", value)
        }
        if setting == "bc_forwarding" { try twins.set("net/ipv4/conf/all/bc_forwarding", value) }
        for (name, frame, face) in probes {
          try twins.compare("\(setting) \(value): \(name)", frame, by: face)
        }
      }
    }
    #expect(twins.emulated.kernel.accounting.isClosed)
  }

  @Test("Errors speak from the link that the packet came in by, if they are to", arguments: 0...1)
  func inbound(isOn: Int) throws {
    var twins = try Twins()
    try twins.set("net/ipv4/icmp_errors_use_inbound_ifaddr", "\(isOn)")
    twins.perform(OracleSetup.address("10.0.9.1/24", 0))
    let udp: [UInt8] = [0x30, 0x39, 0, 99, 0, 12, 0, 0, 1, 2, 3, 4]
    for source: [UInt8] in [[10, 0, 0, 9], [10, 0, 1, 9], [10, 2, 0, 9]] {
      for (name, packet) in [
        ("time", IP(source: source, destination: [10, 2, 0, 7], ttl: 1)),
        ("no route", IP(source: source, destination: [192, 0, 2, 1])),
        ("no port", IP(source: source, destination: [10, 0, 1, 1], proto: 17, payload: udp)),
        (
          "too big",
          IP(
            source: source, destination: [10, 0, 1, 9], fragment: 0x4000, payload: KernelOracleTests.echo(900)
          )
        ),
      ] {
        try twins.compare("\(name) to \(source)", packet.frame)
      }
    }
  }

  // MARK: What routers say

  private static func error(_ type: UInt8, _ code: UInt8, _ information: [UInt8], about packet: IP) -> IP {
    let quote = Array(packet.frame.dropFirst(14).prefix(28))
    var message = [type, code, 0, 0] + information + quote
    let sum = KernelOracleTests.checksum(message)
    message[2] = sum[0]
    message[3] = sum[1]
    return IP(payload: message)
  }

  private static func reply(from source: [UInt8] = [10, 0, 0, 1], to destination: [UInt8]) -> IP {
    IP(source: source, destination: destination, payload: KernelOracleTests.echo(56, type: 0))
  }

  @Test(
    "Better gateways are believed as the settings say",
    arguments: [
      ("", ""), ("accept_redirects", "0"), ("secure_redirects", "0"), ("shared_media", "0"),
      ("forwarding", "1"),
    ])
  func redirects(change: (String, String)) throws {
    var setup = OracleSetup.ipv4
    setup.settings.append(("net/ipv4/ip_forward", "0"))
    setup.requests += [
      OracleSetup.via("192.0.2.0/24", "10.0.0.9"), OracleSetup.via("198.51.100.0/24", "10.0.0.8"),
      OracleSetup.neighbor("10.0.0.8", 0, OracleSetup.mac(7)),
      OracleSetup.neighbor("10.0.0.7", 0, OracleSetup.mac(6)),
    ]
    var twins = try Twins(setup)
    if !change.0.isEmpty {
      for scope in ["all", "t0"] { try twins.set("net/ipv4/conf/\(scope)/\(change.0)", change.1) }
    }
    let far: [UInt8] = [192, 0, 2, 5]
    let about = Self.reply(to: far)
    let cases: [(String, IP)] = [
      (
        "from a stranger",
        {
          var ip = Self.error(5, 1, [10, 0, 0, 8], about: about); ip.source = [10, 0, 0, 66]; return ip
        }()
      ),
      ("to a gateway", Self.error(5, 1, [10, 0, 0, 8], about: about)),
      ("to another subnet", Self.error(5, 1, [172, 16, 0, 8], about: Self.reply(to: [192, 0, 2, 6]))),
      (
        "to a host that is no gateway",
        Self.error(5, 1, [10, 0, 0, 7], about: Self.reply(to: [192, 0, 2, 7]))
      ),
      ("of a network", Self.error(5, 0, [10, 0, 0, 8], about: Self.reply(to: [192, 0, 2, 8]))),
      ("with no code", Self.error(5, 9, [10, 0, 0, 8], about: Self.reply(to: [192, 0, 2, 9]))),
      ("to a group", Self.error(5, 1, [224, 0, 0, 8], about: Self.reply(to: [192, 0, 2, 10]))),
      ("to this host", Self.error(5, 1, [10, 0, 0, 1], about: Self.reply(to: [192, 0, 2, 11]))),
    ]
    for (number, (name, packet)) in cases.enumerated() {
      let destination: [UInt8] = number == 0 ? far : Array(packet.payload[24..<28])
      try twins.compare("\(name): before", IP(source: destination).frame)
      try twins.compare("\(name): told", packet.frame)
      try twins.compare("\(name): after", IP(source: destination).frame)
    }
  }

  @Test(
    "What routers say of a path's MTU is believed of what this host has sent, and of what it passes on if asked",
    arguments: 0...1)
  func pathMTU(usesWhenForwarding: Int) throws {
    var setup = OracleSetup.ipv4
    setup.settings.append(("net/ipv4/ip_forward_use_pmtu", "\(usesWhenForwarding)"))
    setup.requests.append(OracleSetup.via("192.0.2.0/24", "10.0.0.9"))
    var twins = try Twins(setup)
    for (number, mtu) in [1000, 560, 400, 1400, 0].enumerated() {
      let far: [UInt8] = [192, 0, 2, UInt8(10 + number)]
      let told = Self.error(
        3, 4, [0, 0, UInt8(mtu >> 8), UInt8(mtu & 255)], about: Self.reply(to: far))
      try twins.compare("\(mtu): told", told.frame)
      try twins.compare("\(mtu): an answer", IP(source: far, payload: KernelOracleTests.echo(1200)).frame)
      try twins.compare(
        "\(mtu): passed on",
        IP(source: [10, 0, 1, 9], destination: far, payload: KernelOracleTests.echo(1200)).frame, by: 1)
      try twins.compare(
        "\(mtu): passed on whole",
        IP(source: [10, 0, 1, 9], destination: far, fragment: 0x4000, payload: KernelOracleTests.echo(1200))
          .frame, by: 1)
    }
  }

  @Test("Errors are limited, all and for each destination")
  func limits() throws {
    var setup = OracleSetup.ipv4
    setup.settings += [("net/ipv4/icmp_ratemask", "6168"), ("net/ipv4/icmp_ratelimit", "60000")]
    var twins = try Twins(setup)
    for number in 0..<12 {
      try twins.compare("\(number)", IP(destination: [10, 2, 0, 7], ttl: 1).frame)
      try twins.compare(
        "\(number) to another", IP(source: [10, 0, 0, 8], destination: [10, 2, 0, 7], ttl: 1).frame)
      try twins.compare("\(number), which is not limited", IP().frame)
    }
  }

  @Test("What is passed on is sorted by its type of service, unless it is not to be", arguments: 0...1)
  func priority(isOn: Int) throws {
    var twins = try Twins()
    try twins.set("net/ipv4/ip_forward_update_priority", "\(isOn)")
    let rules = (0...6).map { "meta priority 0:\($0) counter" }.joined(separator: "\n")
    let tables = try NetfilterOracleTests.load(
      "chain p { type filter hook postrouting priority 0; \n\(rules) }", into: twins.router)
    try twins.emulated.kernel.commit(tables.flatMap(\.creation), in: twins.emulated.node)
    for tos: UInt8 in [0, 0x02, 0x04, 0x08, 0x10, 0x18, 0x1e, 0x20, 0xb8] {
      try twins.compare("\(tos)", IP(destination: [10, 0, 1, 9], tos: tos).frame)
      try twins.compare("\(tos), an answer", IP(tos: tos).frame)
    }
    let theirs = try NetfilterOracleTests.observe(twins.router).tables.flatMap(NetfilterOracleTests.lines)
    let ours = twins.emulated.kernel.nftables(nil, in: twins.emulated.node).tables
    #expect(ours.flatMap(NetfilterOracleTests.lines) == theirs)
  }

  @Test("What was put together for rules leaves in pieces that were good enough before")
  func refragmentation() throws {
    var twins = try Twins()
    let rules = "chain f { type filter hook forward priority 0; ct state established counter }"
    let tables = try NetfilterOracleTests.load(rules, into: twins.router)
    try twins.emulated.kernel.commit(tables.flatMap(\.creation), in: twins.emulated.node)
    let sizes: [(String, [(Int, Int)], Bool)] = [
      ("small pieces", [(0, 400), (400, 400), (800, 208)], false),
      ("small pieces that must not be cut", [(0, 400), (400, 400), (800, 208)], true),
      ("pieces too large", [(0, 800), (800, 208)], false),
      ("pieces too large that must not be cut", [(0, 800), (800, 208)], true),
      ("unequal pieces", [(0, 200), (200, 480), (680, 328)], true),
      ("small together", [(0, 200), (200, 208)], true),
    ]
    for (number, (name, pieces, isUncut)) in sizes.enumerated() {
      let whole = KernelOracleTests.echo((pieces.last.map { $0.0 + $0.1 } ?? 8) - 8)
      for (offset, length) in pieces {
        var packet = IP(destination: [10, 0, 1, 9])
        packet.payload = Array(whole[offset..<offset + length])
        packet.fragment =
          UInt16(offset / 8) | (offset + length < whole.count ? 0x2000 : 0) | (isUncut ? 0x4000 : 0)
        var frame = packet.frame
        frame[19] = UInt8(number)
        frame[24] = 0
        frame[25] = 0
        let sum = KernelOracleTests.checksum(frame[14..<34])
        frame[24] = sum[0]
        frame[25] = sum[1]
        try twins.compare("\(name), from \(offset)", frame)
      }
    }
    #expect(twins.emulated.kernel.accounting.isClosed)
  }
}
