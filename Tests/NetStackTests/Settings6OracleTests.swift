// SPDX-License-Identifier: GPL-2.0-or-later

// Settings of IPv6 beside the host's kernel: proxies, redirects, paths, limits, which address speaks, addresses kept
// through a link's fall, and listeners as MLDv1 has them.

import Glibc
import NetTypes
import Netlink
import Rtnetlink
import Testing

@testable import NetStack

@Suite(
  "IPv6 settings beside the kernel",
  .enabled(if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0, "needs root and /dev/net/tun"))
struct Settings6OracleTests {
  private typealias IP = IPv6OracleTests.IP
  private typealias Twins = KernelOracleTests.Twins

  private static func twins(
    _ settings: [(String, String)] = [], _ requests: [NetlinkMessage] = []
  ) throws -> Twins {
    var setup = IPv6OracleTests.setup
    setup.settings += settings
    setup.requests += requests
    return try Twins(setup, settled: .milliseconds(1500))
  }

  @Test("A router answers for others where it is told to", arguments: ["0", "1"])
  func proxy(isOn: String) throws {
    var twins = try Self.twins([], [OracleSetup.neighbor("2001:db8::50", 0, []) { $0.flags = .proxy }])
    try twins.set("net/ipv6/conf/t0/proxy_ndp", isOn)
    try twins.set("net/ipv6/neigh/t0/proxy_delay", "0")
    for (name, frame) in [
      ("asked by all", IPv6OracleTests.solicit("2001:db8::50")),
      ("asked alone", IPv6OracleTests.solicit("2001:db8::50", to: "2001:db8::1")),
      ("detection", IPv6OracleTests.solicit("2001:db8::50", from: "::", options: [])),
      ("of another", IPv6OracleTests.solicit("2001:db8::51")),
    ] {
      try twins.compare("\(isOn): \(name)", frame, normal: IPv6OracleTests.normal)
    }
    try twins.set("net/ipv6/conf/all/proxy_ndp", isOn)
    for (name, packet) in [
      ("to the proxied", IP(destination: "2001:db8::50")),
      ("from the other side", IP(source: "2001:db8:1::9", destination: "2001:db8::50")),
    ] {
      try twins.compare(
        "\(isOn): \(name)", packet.frame, by: name.hasPrefix("from") ? 1 : 0, normal: IPv6OracleTests.normal)
    }
  }

  // MARK: What routers say

  private static func redirect(
    _ target: String, _ destination: String, from router: String = "fe80::9",
    mac: [UInt8]? = [2, 0, 0, 0, 7, 7],
    quote: [UInt8]? = nil, hopLimit: UInt8 = 255
  ) -> [UInt8] {
    var payload: [UInt8] = [137, 0, 0, 0, 0, 0, 0, 0] + v6(target).bytes + v6(destination).bytes
    if let mac { payload += [2, 1] + mac }
    if let quote {
      let whole = quote + [UInt8](repeating: 0, count: (8 - quote.count % 8) % 8)
      payload += [4, UInt8(whole.count / 8 + 1), 0, 0, 0, 0, 0, 0] + whole
    }
    return IP(source: router, destination: "2001:db8::1", hopLimit: hopLimit, payload: payload).frame
  }

  @Test("Better ways are believed as the settings say", arguments: ["", "accept_redirects", "forwarding"])
  func redirects(change: String) throws {
    var twins = try Self.twins(
      [("net/ipv6/conf/all/forwarding", "0"), ("net/ipv6/conf/default/forwarding", "0")],
      [OracleSetup.via("2001:db8:9::/48", "fe80::9", face: 0)])
    if !change.isEmpty { try twins.set("net/ipv6/conf/t0/\(change)", change == "forwarding" ? "1" : "0") }
    func about(_ destination: String, proto: UInt8 = 58) -> [UInt8] {
      Array(
        IP(
          source: "2001:db8::1", destination: destination, next: proto,
          payload: [129, 0, 0, 0, 0, 42, 0, 7, 1, 2, 3, 4], checksum: nil
        ).frame.dropFirst(14))
    }
    func far(_ number: Int) -> String { "2001:db8:9::\(number)" }
    let cases: [(String, [UInt8])] = [
      ("to a router", Self.redirect("fe80::8", far(1), quote: about(far(1)))),
      ("that quotes nothing", Self.redirect("fe80::8", far(2))),
      ("without a link address", Self.redirect("fe80::8", far(3), mac: nil)),
      ("from a stranger", Self.redirect("fe80::8", far(4), from: "fe80::66")),
      ("from an address that is not the link's", Self.redirect("fe80::8", far(5), from: "2001:db8::9")),
      ("to the destination itself", Self.redirect(far(6), far(6))),
      ("to an address of the subnet", Self.redirect("2001:db8::8", far(7))),
      ("that was forwarded", Self.redirect("fe80::8", far(8), hopLimit: 254)),
      ("about somebody else's UDP", Self.redirect("fe80::8", far(9), quote: about(far(9), proto: 17))),
      ("about somebody else's TCP", Self.redirect("fe80::8", far(10), quote: about(far(10), proto: 6))),
      ("with a quote too short", Self.redirect("fe80::8", far(11), quote: [96, 0, 0, 0, 0, 0, 0, 0])),
    ]
    for (number, (name, frame)) in cases.enumerated() {
      let source = far(number + 1)
      try twins.compare("\(name): before", IP(source: source).frame, normal: IPv6OracleTests.normal)
      try twins.compare("\(name): told", frame, normal: IPv6OracleTests.normal)
      try twins.compare("\(name): after", IP(source: source).frame, normal: IPv6OracleTests.normal)
    }
    try twins.compareNeighbors("in the end", .ipv6)
  }

  /// Pieces of a datagram choose their number freely.
  private static func normal(_ frames: [[UInt8]]) -> [[UInt8]] {
    IPv6OracleTests.normal(frames).map { frame in
      var frame = frame
      guard frame.count > 62, frame[12] == 0x86, frame[20] == 44 else { return frame }
      for place in 58..<62 { frame[place] = 0 }
      return frame
    }
  }

  @Test("What routers say of a path's MTU is believed of what this host has sent")
  func pathMTU() throws {
    var twins = try Self.twins([], [OracleSetup.via("2001:db8:9::/48", "2001:db8::9", face: 0)])
    func long(_ count: Int) -> [UInt8] {
      [128, 0, 0, 0, 0, 42, 0, 8] + (0..<count).map { UInt8($0 & 255) }
    }
    for (number, mtu) in [1400, 1280, 1200, 1600, 0].enumerated() {
      for (kind, proto) in [UInt8(58), 17, 6, 200].enumerated() {
        let far = "2001:db8:9::\(number)\(kind)"
        let quote = IP(
          source: "2001:db8::1", destination: far, next: proto, payload: [129, 0] + long(40).dropFirst(2),
          checksum: nil
        ).frame.dropFirst(14)
        let told = IP(payload: [2, 0, 0, 0, 0, 0, UInt8(mtu >> 8), UInt8(mtu & 255)] + quote)
        try twins.compare("\(mtu) of \(proto): told", told.frame, normal: Self.normal)
        try twins.compare(
          "\(mtu) of \(proto): an answer", IP(source: far, payload: long(1390)).frame, normal: Self.normal)
        try twins.compare(
          "\(mtu) of \(proto): passed on",
          IP(source: "2001:db8:1::9", destination: far, payload: long(1240)).frame,
          by: 1, normal: Self.normal)
      }
    }
  }

  // Kernels before 6.18 let wider routes hear more.
  @Test("Errors are limited for each destination")
  func limits() throws {
    var twins = try Self.twins(
      [
        ("net/ipv6/icmp/ratemask", "0-1,3-127"), ("net/ipv6/icmp/ratelimit", "60000"),
      ], [OracleSetup.via("2001:db9::/16", "2001:db8::9")])
    for number in 0..<10 {
      for source in ["2001:db8::9", "2001:db8::8", "2001:dead::1", "fe80::9"] {
        try twins.compare(
          "\(number) to \(source)", IP(source: source, destination: "2001:db8:2::7", hopLimit: 1).frame,
          normal: IPv6OracleTests.normal)
      }
      try twins.compare(
        "\(number), too big",
        IP(destination: "2001:db8:1::9", payload: [128, 0, 0, 0] + [UInt8](repeating: 1, count: 1300)).frame,
        normal: IPv6OracleTests.normal)
      try twins.compare("\(number), an echo", IP().frame, normal: IPv6OracleTests.normal)
    }
  }

  // MARK: Addresses

  @Test("The kernel's address speaks to each destination (RFC 6724)")
  func sourceSelection() throws {
    var twins = try Self.twins(
      [],
      [
        OracleSetup.via("::/0", "2001:db8::9"), OracleSetup.address("fd00:1::1/64", 0),
        OracleSetup.address("2002:c000:204::1/64", 0), OracleSetup.address("2001:0:1234::1/64", 1),
        OracleSetup.address("fec0::1/64", 1), OracleSetup.address("2001:db8:0:0:1::1/80", 0),
        OracleSetup.address("3ffe::1/64", 1),
      ])
    for (text, preferred) in [("2001:db8:77::1/64", UInt32(0)), ("2001:db8:78::1/64", 900)] {
      var message = AddressMessage(prefix(text), index: 2)
      message.lifetime = AddressLifetime(preferred: preferred, valid: 1000)
      twins.perform(message.request(.create), text)
    }
    // The kernel takes a while for an address to become its own.
    for _ in 0..<300 {
      let addresses = try twins.router.socket.dump(AddressMessage.dump(.ipv6)).map { try AddressMessage($0) }
      guard addresses.contains(where: { $0.flags.contains(.tentative) }) else { break }
      usleep(10_000)
    }
    twins.emulated.kernel.run(for: .milliseconds(200))
    let destinations = [
      "2001:db8::9", "2001:db8:1::9", "2001:db8:77::5", "2001:db8:78::5", "fd00:1::5", "fd00:2::5",
      "2002:1::1",
      "2001:0:5678::1", "fec0::5", "fec0:0:0:1::1", "3ffe:1::1", "::ffff:10.0.0.1", "::10.0.0.1", "2600::1",
      "2001:db8::1:0:0:5", "2001:db8:ffff::1", "2001:db8::1", "2001:10::1",
    ]
    func answer(_ text: String, _ face: Int?) -> NetlinkMessage {
      var question = RouteMessage(family: .ipv6)
      question.destination = IPPrefix("\(text)/128")
      if let face { question.outputIndex = Int32(face) + 2 }
      return question.message(.getRoute, .request)
    }
    func speaker(_ messages: [NetlinkMessage]) throws -> String {
      try messages.first.map { try RouteMessage($0) }?.preferredSource.map { "\($0)" } ?? "-"
    }
    for text in destinations + ["ff02::1", "ff05::1", "ff0e::1", "fe80::9"] {
      for face in [nil, 0, 1]
      where face != nil || !text.hasPrefix("f") || text.hasPrefix("fd") || text.hasPrefix("fec") {
        let ours = try? speaker(twins.emulated.kernel.dump(answer(text, face), in: twins.emulated.node))
        let theirs = try? speaker(twins.router.socket.request(answer(text, face)))
        #expect(ours == theirs, "to \(text) by \(face.map { "t\($0)" } ?? "any")")
      }
    }
  }

  @Test(
    "Addresses stay through a link's fall where they are to",
    arguments: [("all", "1"), ("t0", "1"), ("t0", "0"), ("all", "-1")])
  func kept(scope: String, value: String) throws {
    var twins = try Self.twins([], [OracleSetup.via("2001:db8:9::/48", "2001:db8::9", face: 0)])
    try twins.set("net/ipv6/conf/\(scope)/keep_addr_on_down", value)
    if scope == "all" { try twins.set("net/ipv6/conf/t0/keep_addr_on_down", "1") }
    func state(_ name: String) throws {
      func ours() throws -> [[String]] {
        [
          try IPv6OracleTests.addresses(
            twins.emulated.kernel.dump(AddressMessage.dump(.ipv6), in: twins.emulated.node)),
          try IPv6OracleTests.routes(
            twins.emulated.kernel.dump(RouteMessage.dump(.ipv6), in: twins.emulated.node)),
        ]
      }
      func theirs() throws -> [[String]] {
        [
          try IPv6OracleTests.addresses(twins.router.socket.dump(AddressMessage.dump(.ipv6))),
          try IPv6OracleTests.routes(twins.router.socket.dump(RouteMessage.dump(.ipv6))),
        ]
      }
      twins.emulated.kernel.run(for: .milliseconds(100))
      let here = try ours()
      var there = try theirs()
      for _ in 0..<100 where there != here {
        usleep(10_000)
        there = try theirs()
      }
      #expect(here[0] == there[0], "addresses, \(name)")
      #expect(here[1] == there[1], "routes, \(name)")
    }
    try state("before")
    twins.perform(OracleSetup.up(0, false))
    try state("down")
    twins.perform(OracleSetup.up(0))
    try state("up again")
  }

  // MARK: Listeners

  /// The kernel's way of telling its groups in a while, in any order.
  private static func listeners(_ frames: [[UInt8]]) -> [[UInt8]] {
    frames.filter { frame in
      frame.count > 70 && frame[12] == 0x86 && frame[20] == 0 && frame[54] == 58
        && [131, 132].contains(frame[62])
    }.sorted { $0.lexicographicallyPrecedes($1) }
  }

  @Test("Groups are told as MLDv1 has it while a querier of it is there")
  func oldQuerier() throws {
    var twins = try Self.twins()
    func query(_ group: String, to destination: String, delay: UInt16) -> [UInt8] {
      var packet = IP(source: "fe80::9", destination: destination, hopLimit: 1)
      packet.headers = [(0, [0, 5, 2, 0, 0, 1, 0])]
      packet.payload = [130, 0, 0, 0, UInt8(delay >> 8), UInt8(delay & 255), 0, 0] + v6(group).bytes
      packet.link = [0x33, 0x33, 0, 0, 0, 1]
      return packet.frame
    }
    try twins.compare(
      "a question about all", query("::", to: "ff02::1", delay: 300), wait: .milliseconds(600),
      normal: Self.listeners)
    try twins.compare(
      "about one", query("ff02::1:ff00:1", to: "ff02::1:ff00:1", delay: 200), wait: .milliseconds(500),
      normal: Self.listeners)
    var deletion = AddressMessage(prefix("2001:db8::1/64"), index: 2)
    deletion.local = nil
    twins.perform(deletion.request(.delete), "removal")
    try twins.compare("a group left", nil, wait: .milliseconds(300), normal: Self.listeners)
    var unmarked = query("::", to: "ff02::1", delay: 200)
    unmarked[62 - 8 + 2] = 1
    try twins.compare("without a router alert", unmarked, wait: .milliseconds(400), normal: Self.listeners)
  }
}
