// SPDX-License-Identifier: GPL-2.0-or-later

// What rules give to connections, beside the host's kernel: helpers that read of connections to come, and times.

import Glibc
import NetTypes
import Netlink
import Nftables
import Rtnetlink
import Testing

@testable import NetStack

@Suite(
  "Helpers and timeouts beside the kernel", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct NetfilterHelperTests {
  typealias Oracle = NetfilterOracleTests

  static let (client, server) = ("10.0.0.9", "10.0.1.9")

  /// A segment with text in it.
  static func tcp(
    _ source: String, _ from: UInt16, _ target: String, _ to: UInt16, seq: UInt32, ack: UInt32, face: Int,
    _ text: String
  ) -> Oracle.Probe {
    func bytes(_ value: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) } }
    let segment: [UInt8] =
      [UInt8(from >> 8), UInt8(from & 255), UInt8(to >> 8), UInt8(to & 255)] + bytes(seq) + bytes(ack)
      + [0x50, 0x18, 0x20, 0, 0, 0, 0, 0] + Array(text.utf8)
    let payload = Oracle.summed(segment, 6, Oracle.address(source), Oracle.address(target), at: 16)
    return Oracle.packet(6, source, target, payload, face: face)
  }

  /// A control connection with these lines, each from the client (true) or the server, then data connections from both.
  static func control(_ lines: [(Bool, String)], then others: [Oracle.Probe]) -> [Oracle.Probe] {
    control(
      from: client, seenAs: client, to: server, seenAs: server, lines, isAcknowledged: false, then: others)
  }

  private static let counted =
    "ct state established counter; ct state related counter; ct state new counter; ct status expected counter; ct helper \"ftp\" counter; ct helper \"tftp\" counter"

  @Test("TFTP's answers from another port are related, through a translation too", arguments: [false, true])
  func tftp(isTranslated: Bool) throws {
    let nat =
      isTranslated
      ? "chain p { type nat hook postrouting priority 100; oifname \"t1\" snat to 10.0.1.77 }" : ""
    let target = isTranslated ? "10.0.1.77" : Self.client
    try Oracle().compare(
      "tftp",
      """
      table ip t {
      ct helper tf { type "tftp" protocol udp; }
      chain f { type filter hook forward priority 0; udp dport 69 ct helper set "tf"; \(Self.counted); }
      \(nat)
      }
      """,
      [
        Oracle.udp(Self.client, 1000, Self.server, 69), Oracle.udp(Self.server, 5555, target, 1000, face: 1),
        Oracle.udp(Self.client, 1000, Self.server, 5555),
        Oracle.udp(Self.server, 5556, target, 1000, face: 1),
        // Neither data nor an acknowledgement asks for anything.
        Oracle.udp(Self.client, 1001, Self.server, 69, data: 1),
        Oracle.udp(Self.server, 5555, target, 1001, face: 1),
      ])
  }

  static let dialogues: [(name: String, lines: [(Bool, String)])] = [
    ("a port", [(false, "220 hello\r\n"), (true, "USER x\r\n"), (true, "PORT 10,0,0,9,15,160\r\n")]),
    ("a port of another", [(true, "USER x\r\n"), (true, "PORT 10,0,0,8,15,160\r\n")]),
    ("an extended port", [(true, "USER x\r\n"), (true, "eprt |1|10.0.0.9|4000|\r\n")]),
    (
      "passive",
      [(false, "220 hello\r\n"), (true, "PASV\r\n"), (false, "227 Entering (10,0,1,9,19,136).\r\n")]
    ),
    (
      "extended passive",
      [(false, "220 hello\r\n"), (true, "EPSV\r\n"), (false, "229 Entering (|||5000|)\r\n")]
    ),
    ("half a command", [(true, "USER x\r\n"), (true, "PORT 10,0,0"), (true, "PORT 10,0,0,9,15,160\r\n")]),
    (
      "nonsense",
      [(true, "USER x\r\n"), (true, "PORT 10,0,0,999,15,160\r\n"), (true, "PORTX\r\n"), (true, "P")]
    ),
  ]

  @Test("FTP's data connections are related", arguments: dialogues.indices)
  func ftp(_ index: Int) throws {
    let dialogue = Self.dialogues[index]
    try Oracle().compare(
      "ftp: \(dialogue.name)",
      """
      table ip t {
      ct helper fh { type "ftp" protocol tcp; }
      chain f { type filter hook forward priority 0; tcp dport 21 ct helper set "fh"; \(Self.counted); }
      }
      """,
      Self.control(
        dialogue.lines.map { ($0.0, $0.1.replacing("\\\\r\\\n", with: "\r\n")) },
        then: [
          Oracle.tcp(Self.server, 20, Self.client, 4000, 2, seq: 7, face: 1),
          Oracle.tcp(Self.client, 4100, Self.server, 5000, 2, seq: 7),
          Oracle.tcp(Self.server, 20, Self.client, 4000, 2, seq: 7, face: 1),
          Oracle.tcp(Self.client, 4101, Self.server, 5001, 2, seq: 7),
        ]))
  }

  @Test("Connections last as long as a rule's object says")
  func timeouts() throws {
    guard Shell.has("conntrack") else { return }
    let router = try KernelOracleTests.Router()
    try Oracle.prepare(router)
    let tables = try Oracle.load(
      """
      table ip t {
      ct timeout tt { protocol tcp; policy = { syn_sent : 77, established : 1000 }; }
      ct timeout tu { protocol udp; policy = { unreplied : 55, replied : 99 }; }
      chain f { type filter hook forward priority 0; ip protocol tcp ct timeout set "tt"; ip protocol udp ct timeout set "tu"; }
      }
      """, into: router)
    var emulated = try KernelOracleTests.Emulated()
    try emulated.kernel.commit(tables.flatMap(\.creation), in: emulated.node)
    try Oracle.prepare(&emulated)
    let probes = [
      Oracle.tcp(Self.client, 1, Self.server, 80, 2, seq: 1), Oracle.udp(Self.client, 2, Self.server, 53),
      Oracle.tcp(Self.client, 3, Self.server, 80, 2, seq: 1),
      Oracle.tcp(Self.server, 80, Self.client, 3, 0x12, seq: 1, ack: 2, face: 1),
      Oracle.tcp(Self.client, 3, Self.server, 80, 0x10, seq: 2, ack: 2),
    ]
    for probe in probes {
      _ = emulated.answers(to: probe.frame, by: probe.face)
      _ = try router.answers(to: probe.frame, by: probe.face)
    }
    let here = Dictionary(
      uniqueKeysWithValues: emulated.kernel.connections(in: emulated.node).map {
        ($0.original.sourcePort, $0.timeout ?? 0)
      })
    let listing = try Shell.run("conntrack", ["-L"], in: router.name)
    for (port, expected) in [(1, 77), (2, 55), (3, 1000)] as [(UInt16, Int64)] {
      #expect((expected - 3...expected).contains(here[port] ?? 0), "\(port): \(here[port] ?? 0)")
      let line = listing.split(separator: "\n").first { $0.contains(" sport=\(port) ") } ?? ""
      let theirs = line.split(separator: " ").dropFirst(2).first.flatMap { Int64($0) } ?? 0
      #expect((expected - 3...expected).contains(theirs), "Linux, \(port): \(line)")
    }
  }

  // MARK: FTP through NAT

  /// A control connection in which the server knows the client by another address; or the same, with or without
  /// acknowledgements of every line.
  static func control(
    from client: String, seenAs outside: String, to server: String, seenAs inside: String,
    _ lines: [(Bool, String)], isAcknowledged: Bool = true, then others: [Oracle.Probe]
  ) -> [Oracle.Probe] {
    let permitted: [UInt8] = isAcknowledged ? [4, 2, 1, 1] : []
    var probes = [
      Oracle.tcp(client, 3000, server, 21, 2, seq: 99, options: permitted),
      Oracle.tcp(inside, 21, outside, 3000, 0x12, seq: 499, ack: 100, face: 1, options: permitted),
      Oracle.tcp(client, 3000, server, 21, 0x10, seq: 100, ack: 500),
    ]
    var (mine, theirs): (UInt32, UInt32) = (100, 500)
    for (isClient, line) in lines {
      if isClient {
        probes.append(tcp(client, 3000, server, 21, seq: mine, ack: theirs, face: 0, line))
        mine += UInt32(line.utf8.count)
      } else {
        probes.append(tcp(inside, 21, outside, 3000, seq: theirs, ack: mine, face: 1, line))
        theirs += UInt32(line.utf8.count)
      }
      guard isAcknowledged else { continue }
      // Acknowledgements of what has been changed, and a block of what came out of order.
      let block = [1, 1, 5, 10].map { UInt8($0) } + [theirs + 5, theirs + 9].flatMap(bytes)
      let blockBack = [1, 1, 5, 10].map { UInt8($0) } + [mine + 5, mine + 9].flatMap(bytes)
      probes += [
        Oracle.tcp(client, 3000, server, 21, 0x10, seq: mine, ack: theirs, options: block),
        Oracle.tcp(inside, 21, outside, 3000, 0x10, seq: theirs, ack: mine, face: 1, options: blockBack),
        Oracle.tcp(inside, 21, outside, 3000, 0x10, seq: theirs, ack: mine + 3, face: 1),
      ]
    }
    return probes + others
  }

  private static func bytes(_ value: UInt32) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
  }

  @Test("What FTP says of addresses is written anew behind a translated source", arguments: dialogues.indices)
  func translatedClient(_ index: Int) throws {
    let lines = Self.dialogues[index].lines + [(false, "200 fine\r\n"), (true, "NOOP\r\n")]
    try Oracle().compare(
      "ftp behind snat: \(Self.dialogues[index].name)",
      """
      table ip t {
      ct helper fh { type "ftp" protocol tcp; }
      chain v { type filter hook prerouting priority -150; ct state invalid counter drop; }
      chain f { type filter hook forward priority 0; tcp dport 21 ct helper set "fh"; \(Self.counted); }
      chain p { type nat hook postrouting priority 100; oifname "t1" snat to 10.0.1.77 }
      }
      """,
      Self.control(
        from: Self.client, seenAs: "10.0.1.77", to: Self.server, seenAs: Self.server, lines,
        then: [
          Oracle.tcp(Self.server, 20, "10.0.1.77", 4000, 2, seq: 7, face: 1),
          Oracle.tcp(Self.client, 4000, Self.server, 20, 0x12, seq: 9, ack: 8),
          Oracle.tcp(Self.client, 4100, Self.server, 5000, 2, seq: 7),
          Oracle.tcp(Self.server, 20, "10.0.1.77", 4000, 2, seq: 7, face: 1),
        ]))
  }

  @Test("and before a translated destination", arguments: dialogues.indices)
  func translatedServer(_ index: Int) throws {
    let lines = Self.dialogues[index].lines + [(false, "200 fine\r\n"), (true, "NOOP\r\n")]
    try Oracle().compare(
      "ftp before dnat: \(Self.dialogues[index].name)",
      """
      table ip t {
      ct helper fh { type "ftp" protocol tcp; }
      chain d { type nat hook prerouting priority -100; ip daddr 10.0.1.77 dnat to 10.0.1.9 }
      chain v { type filter hook prerouting priority -150; ct state invalid counter drop; }
      chain f { type filter hook forward priority 0; tcp dport 21 ct helper set "fh"; \(Self.counted); }
      }
      """,
      Self.control(
        from: Self.client, seenAs: Self.client, to: "10.0.1.77", seenAs: Self.server, lines,
        then: [
          Oracle.tcp(Self.server, 20, Self.client, 4000, 2, seq: 7, face: 1),
          Oracle.tcp(Self.client, 4100, "10.0.1.77", 5000, 2, seq: 7),
          Oracle.tcp(Self.server, 5000, Self.client, 4100, 0x12, seq: 9, ack: 8, face: 1),
        ]))
  }

  // MARK: Expected by rule

  @Test("A rule expects connections, as many as its object says", arguments: [1, 2])
  func expectation(_ size: Int) throws {
    try Oracle().compare(
      "ct expectation",
      """
      table ip t {
      ct expectation e { protocol tcp; dport 5000; timeout 1m; size \(size); l3proto ip; }
      ct expectation o { protocol udp; dport 5001; timeout 1m; size \(size); l3proto ip; }
      chain f { type filter hook forward priority 0; udp dport 53 ct expectation set "e" counter; udp dport 53 ct expectation set "o" counter; \(Self.counted); }
      }
      """,
      [
        // Nothing is expected of who has not been let through yet.
        Oracle.tcp(Self.server, 4000, Self.client, 5000, 2, seq: 7, face: 1),
        Oracle.udp(Self.client, 1000, Self.server, 53),
        Oracle.udp(Self.server, 53, Self.client, 1000, face: 1),
        Oracle.tcp(Self.server, 4001, Self.client, 5000, 2, seq: 7, face: 1),
        Oracle.tcp(Self.server, 4002, Self.client, 5000, 2, seq: 7, face: 1),
        Oracle.udp(Self.server, 4000, Self.client, 5001, face: 1),
        // Another connection between the same two expects the same: it is dropped while the first expects.
        Oracle.udp(Self.client, 1001, Self.server, 53), Oracle.udp(Self.client, 1002, Self.server, 53),
        Oracle.tcp(Self.server, 4003, Self.client, 5000, 2, seq: 7, face: 1),
      ])
  }

  @Test("Nothing is expected any more of a connection whose first packet is dropped")
  func dropped() throws {
    try Oracle().compare(
      "ct expectation, dropped",
      """
      table ip t {
      ct expectation e { protocol tcp; dport 5000; timeout 1m; size 9; l3proto ip; }
      chain f { type filter hook forward priority 0; udp dport 53 ct expectation set "e" counter drop; \(Self.counted); }
      }
      """,
      [
        Oracle.udp(Self.client, 1000, Self.server, 53), Oracle.udp(Self.client, 1001, Self.server, 53),
        Oracle.tcp(Self.server, 4001, Self.client, 5000, 2, seq: 7, face: 1),
      ])
  }

  // MARK: Transparent sockets

  private static func diversion(_ family: AddressFamily) -> [NetlinkMessage] {
    var route = OracleSetup.message("default", family) { _ in }
    route.type = .local
    route.scope = .host
    route.table = 100
    route.outputIndex = 1
    var rule = RuleMessage(family: family)
    rule.table = 100
    rule.mark = 1
    return [route.request(.create), rule.request(.create)]
  }

  /// A transparent socket of the host's kernel in a router, bound to any address.
  private static func socket(
    _ type: Int32, _ port: UInt16, isIPv6: Bool, in router: KernelOracleTests.Router
  ) throws -> Int32 {
    try router.namespace.run { (_) throws(NetlinkError) in
      let descriptor = Glibc.socket(isIPv6 ? AF_INET6 : AF_INET, type | Int32(SOCK_NONBLOCK.rawValue), 0)
      var on: Int32 = 1
      // IP_TRANSPARENT, IPV6_TRANSPARENT.
      _ = unsafe setsockopt(descriptor, isIPv6 ? SOL_IPV6 : SOL_IP, isIPv6 ? 75 : 19, &on, 4)
      // Family and port stand at the same place in both kinds of names, and the rest is zero.
      var name = sockaddr_in6()
      name.sin6_family = sa_family_t(isIPv6 ? AF_INET6 : AF_INET)
      name.sin6_port = port.bigEndian
      let length = isIPv6 ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size
      let bound = unsafe withUnsafeBytes(of: &name) {
        unsafe bind(
          descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t(length))
      }
      guard bound == 0, type != Int32(SOCK_STREAM.rawValue) || listen(descriptor, 8) == 0 else {
        throw NetlinkError(.refused, "make a transparent socket")
      }
      return descriptor
    }
  }

  /// Who answers whom, and how.
  private static func shape(_ answers: [[[UInt8]]]) -> [[[UInt8]]] {
    answers.map {
      IPv6OracleTests.normal(KernelOracleTests.normal($0)).map { frame in
        let (start, flags) = frame[12] == 0x86 ? (22..<58, 67) : (26..<38, 47)
        return frame.count > flags ? Array(frame[start]) + [frame[flags]] : frame
      }
    }
  }

  private static func acknowledgement(of answers: [[[UInt8]]]) -> UInt32? {
    answers[0].first.map { frame in
      frame.dropFirst(frame[12] == 0x86 ? 58 : 38).prefix(4).reduce(0) { $0 << 8 | UInt32($1) } &+ 1
    }
  }

  @Test("A packet for somebody else is given to a transparent socket", arguments: [false, true])
  func transparent(isIPv6: Bool) throws {
    typealias Oracle6 = Netfilter6OracleTests
    let setup: OracleSetup = isIPv6 ? .dual : .ipv4
    let (client, server) = isIPv6 ? (Oracle6.client, Oracle6.server) : (Self.client, Self.server)
    func udp(_ from: UInt16, _ to: UInt16) -> Oracle.Probe {
      isIPv6 ? Oracle6.udp(client, from, server, to) : Oracle.udp(client, from, server, to)
    }
    func tcp(_ from: UInt16, _ to: UInt16, _ flags: UInt8, seq: UInt32, ack: UInt32 = 0) -> Oracle.Probe {
      isIPv6
        ? Oracle6.tcp(client, from, server, to, flags, seq: seq, ack: ack)
        : Oracle.tcp(client, from, server, to, flags, seq: seq, ack: ack)
    }
    let router = try KernelOracleTests.Router(setup)
    try Oracle.prepare(router)
    if isIPv6 { _ = try router.answers(to: nil, wait: .seconds(2)) }
    let tables = try Oracle.load(
      """
      table \(isIPv6 ? "ip6" : "ip") t {
      chain p { type filter hook prerouting priority -150; tcp dport 80 tproxy to :8080 meta mark set 1 counter accept; udp dport 53 tproxy to :5353 meta mark set 1 counter accept; udp dport 54 tproxy to \(isIPv6 ? "[2001:db8::1]" : "10.0.0.1"):5354 counter; tcp dport 81 tproxy to :8081 counter; meta l4proto { tcp, udp } counter }
      }
      """, into: router)
    var emulated = try KernelOracleTests.Emulated(setup)
    if isIPv6 { _ = emulated.answers(to: nil, wait: .seconds(2)) }
    try emulated.kernel.commit(tables.flatMap(\.creation), in: emulated.node)
    try Oracle.prepare(&emulated)
    for request in Self.diversion(isIPv6 ? .ipv6 : .ipv4) {
      #expect(router.perform(request) == 0)
      try emulated.kernel.perform(request, in: emulated.node)
    }
    let stream = try Self.socket(Int32(SOCK_STREAM.rawValue), 8080, isIPv6: isIPv6, in: router)
    let datagrams = try Self.socket(Int32(SOCK_DGRAM.rawValue), 5353, isIPv6: isIPv6, in: router)
    defer { for descriptor in [stream, datagrams] { close(descriptor) } }
    let any: IPAddress = isIPv6 ? .v6(.any) : .v4(.any)
    let listener = try emulated.kernel.makeSocket(.tcp(isIPv6 ? .ipv6 : .ipv4), in: emulated.node)
    try emulated.kernel.setOption(.transparent(true), on: listener)
    try emulated.kernel.bind(listener, to: SocketAddress(any, 8080))
    try emulated.kernel.listen(listener, backlog: 8)
    let receiver = try emulated.kernel.makeSocket(.udp(isIPv6 ? .ipv6 : .ipv4), in: emulated.node)
    try emulated.kernel.setOption(.transparent(true), on: receiver)
    try emulated.kernel.bind(receiver, to: SocketAddress(any, 5353))
    for probe in [udp(1000, 53), udp(1000, 54), tcp(3001, 81, 2, seq: 7), udp(1001, 53)] {
      let expected = Self.shape(try router.answers(to: probe.frame, by: probe.face))
      #expect(Self.shape(emulated.answers(to: probe.frame, by: probe.face)) == expected)
    }
    let syn = tcp(3000, 80, 2, seq: 100)
    let (theirs, mine) = (try router.answers(to: syn.frame), emulated.answers(to: syn.frame))
    #expect(Self.shape(mine) == Self.shape(theirs))
    #expect(mine[0].count == 1)
    let last = try [theirs, mine].map { answers in
      tcp(3000, 80, 0x10, seq: 101, ack: try #require(Self.acknowledgement(of: answers)))
    }
    _ = try router.answers(to: last[0].frame)
    _ = emulated.answers(to: last[1].frame)
    let accepted = try emulated.kernel.accept(listener)
    #expect(try emulated.kernel.localName(of: accepted) == SocketAddress(try #require(IPAddress(server)), 80))
    let there = accept(stream, nil, nil)
    #expect(there >= 0)
    if there >= 0 { close(there) }
    var bytes = [UInt8](repeating: 0, count: 64)
    for number in 0..<3 {
      let heard = unsafe recv(datagrams, &bytes, bytes.count, 0)
      var data: [UInt8] = []
      let got = try? emulated.kernel.receive(receiver, into: &data)
      #expect((got != nil) == (heard >= 0), "datagram \(number)")
    }
    let counted = try Oracle.observe(router).tables.flatMap(Oracle.lines)
    #expect(emulated.kernel.nftables(nil, in: emulated.node).tables.flatMap(Oracle.lines) == counted)
    #expect(emulated.kernel.accounting.isClosed)
  }
}
