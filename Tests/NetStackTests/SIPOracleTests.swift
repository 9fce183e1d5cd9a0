// SPDX-License-Identifier: GPL-2.0-or-later

// The helper of SIP beside the host's kernel: what it expects, what it drops, and how it writes addresses anew.

import Glibc
import NetTypes
import Nftables
import Testing

@testable import NetStack

@Suite(
  "SIP beside the kernel", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft")
      && access("/sys/module/nf_conntrack_sip", F_OK) == 0,
    "needs root, /dev/net/tun, nft and a kernel with nf_conntrack_sip"))
struct SIPOracleTests {
  typealias Oracle = NetfilterOracleTests

  static let (client, server, outside) = ("10.0.0.9", "10.0.1.9", "10.0.1.77")

  /// A datagram with these bytes.
  static func udp(
    _ source: String, _ from: UInt16, _ target: String, _ to: UInt16, face: Int = 0, _ bytes: [UInt8]
  ) -> Oracle.Probe {
    let length = 8 + bytes.count
    let segment: [UInt8] =
      [UInt8(from >> 8), UInt8(from & 255), UInt8(to >> 8), UInt8(to & 255), UInt8(length >> 8)]
      + [UInt8(length & 255), 0, 0] + bytes
    let payload = Oracle.summed(segment, 17, Oracle.address(source), Oracle.address(target), at: 6)
    return Oracle.packet(17, source, target, payload, face: face)
  }

  static func udp(
    _ source: String, _ from: UInt16, _ target: String, _ to: UInt16, face: Int = 0, _ text: SIPText
  ) -> Oracle.Probe { udp(source, from, target, to, face: face, Array(text.text.utf8)) }

  private static let counted =
    "ct state established counter; ct state related counter; ct state new counter; ct status expected counter; ct helper \"sip\" counter"

  static func table(_ nat: String = "") -> String {
    """
    table ip t {
    ct helper su { type "sip" protocol udp; }
    ct helper st { type "sip" protocol tcp; }
    chain f { type filter hook forward priority 0; udp dport 5060 ct helper set "su"; tcp dport 5060 ct helper set "st"; \(counted); }
    \(nat)
    }
    """
  }

  static let source = "chain p { type nat hook postrouting priority 100; oifname \"t1\" snat to 10.0.1.77 }"
  static let port =
    "chain p { type nat hook postrouting priority 100; oifname \"t1\" ip protocol udp snat to 10.0.1.77:7000 }"
  static let target =
    "chain d { type nat hook prerouting priority -100; ip daddr 10.0.1.77 dnat to 10.0.1.9 }"

  /// Who speaks: as each knows itself, and as the other knows it.
  struct Ends {
    let client = SIPOracleTests.client
    var seen = SIPOracleTests.client
    var port: UInt16 = 5060
    var seenPort: UInt16 = 5060
    let server = SIPOracleTests.server
    var known = SIPOracleTests.server

    /// From the client; the text names what the client knows.
    func ask(
      _ first: String, _ sequence: String, contact: String? = nil, via: String? = nil, extra: [String] = [],
      body: [String] = []
    ) -> Oracle.Probe {
      udp(
        client, port, known, 5060,
        .message(
          first, from: "\(client):\(port)", to: "\(known):5060", via: via, contact: contact, sequence,
          extra: extra, body: body))
    }

    /// From the server, to the client as it knows it.
    func answer(
      _ first: String, _ sequence: String, contact: String? = nil, parameters: String = "",
      extra: [String] = [], body: [String] = []
    ) -> Oracle.Probe {
      udp(
        server, 5060, seen, seenPort, face: 1,
        .message(
          first, from: "\(server):5060", to: "\(seen):\(seenPort)", via: "\(seen):\(seenPort)\(parameters)",
          contact: contact, sequence, extra: extra, body: body))
    }

    /// A stream's packet to the client, and one back.
    func media(_ from: UInt16, _ to: UInt16) -> Oracle.Probe {
      Oracle.udp(server, from, seen, to, face: 1)
    }

    func back(_ from: UInt16, _ to: UInt16) -> Oracle.Probe { Oracle.udp(client, from, known, to) }
  }

  static let setups: [(name: String, rules: String, ends: Ends)] = [
    ("plain", "", Ends()), ("snat", source, Ends(seen: outside)),
    ("snat to a port", port, Ends(seen: outside, seenPort: 7000)),
    ("from another port", source, Ends(seen: outside, port: 6060, seenPort: 6060)),
    ("dnat", target, Ends(known: outside)),
  ]

  private func compare(_ name: String, _ setup: Int, _ probes: (Ends) -> [Oracle.Probe]) throws {
    let setup = Self.setups[setup]
    try Oracle().compare("\(name), \(setup.name)", Self.table(setup.rules), probes(setup.ends))
  }

  // MARK: Registrations

  @Test("Who registers is called where it has said, when the registrar agrees", arguments: setups.indices)
  func registration(_ setup: Int) throws {
    try compare("register", setup) { ends in
      let contact = "<sip:a@\(ends.client):5070>;expires=60"
      return [
        ends.ask("REGISTER sip:\(ends.known) SIP/2.0", "1 REGISTER", contact: contact),
        // Not yet.
        Oracle.udp(ends.server, 6000, ends.seen, 5070, face: 1),
        ends.answer("SIP/2.0 100 Trying", "1 REGISTER"),
        Oracle.udp(ends.server, 6001, ends.seen, 5070, face: 1),
        ends.answer(
          "SIP/2.0 200 OK", "1 REGISTER", contact: "<sip:a@\(ends.seen):5070>;expires=30",
          parameters: ";received=\(ends.seen);rport=\(ends.seenPort)"),
        ends.media(6002, 5070), ends.media(6003, 5070),
        // Who has been called has the helper too.
        Self.udp(
          ends.server, 6004, ends.seen, 5070, face: 1,
          .message(
            "INVITE sip:a@\(ends.seen):5070 SIP/2.0", from: "\(ends.server):6004", to: "\(ends.seen):5070",
            "7 INVITE", body: SIPText.session(ends.server, ["audio 6010"]))),
        ends.back(4000, 6010), ends.back(4001, 6011),
        // It goes away again.
        ends.ask(
          "REGISTER sip:\(ends.known) SIP/2.0", "2 REGISTER", contact: "<sip:a@\(ends.client):5070>;expires=0"
        ),
        ends.answer("SIP/2.0 200 OK", "2 REGISTER"), ends.media(6005, 5070),
      ]
    }
  }

  @Test("At the own port, by Expires, with several contacts", arguments: setups.indices)
  func ownPort(_ setup: Int) throws {
    try compare("register at the own port", setup) { ends in
      let contacts =
        "<sip:a@\(ends.client):\(ends.port)>, <sip:a@\(ends.client):\(ends.port)>;q=1,\r\n <sip:b@10.0.0.8>"
      return [
        ends.ask(
          "REGISTER sip:\(ends.known) SIP/2.0", "1 REGISTER", contact: contacts, extra: ["Expires: 600"]),
        ends.answer(
          "SIP/2.0 200 OK", "1 REGISTER", contact: "<sip:a@\(ends.seen):\(ends.seenPort)>",
          extra: ["Expires: 600"]),
        ends.media(6002, ends.seenPort), ends.media(5060, ends.seenPort),
        ends.ask("REGISTER sip:\(ends.known) SIP/2.0", "2 REGISTER", extra: ["Expires: 600"]),
        ends.answer("SIP/2.0 401 Unauthorized", "2 REGISTER"), ends.media(6003, ends.seenPort),
        // By another protocol, for another, and not to be read.
        ends.ask(
          "REGISTER sip:x SIP/2.0", "3 REGISTER", contact: "<sip:a@\(ends.client):5071;transport=tcp>",
          extra: ["Expires: 600"]),
        ends.ask(
          "REGISTER sip:x SIP/2.0", "4 REGISTER", contact: "<sip:a@10.0.0.8:5071>", extra: ["Expires: 600"]),
        ends.ask("REGISTER sip:x SIP/2.0", "5 REGISTER", contact: "<sip:a@\(ends.client)>;expires=soon"),
        ends.ask("REGISTER sip:x SIP/2.0", "6 REGISTER", contact: "*", extra: ["Expires: 0"]),
      ]
    }
  }

  // MARK: Calls

  @Test("The streams of a call are expected, from its INVITE to its BYE", arguments: setups.indices)
  func call(_ setup: Int) throws {
    try compare("call", setup) { ends in
      [
        ends.ask(
          "INVITE sip:b@\(ends.known) SIP/2.0", "1 INVITE",
          body: SIPText.session(ends.client, ["audio 4000", "video 4010", "text 4020", "audio 0"])),
        ends.media(6000, 4000), ends.media(6001, 4001), ends.media(6002, 4020),
        ends.answer(
          "SIP/2.0 183 Progress", "1 INVITE", body: SIPText.session(ends.server, ["audio 6100"])),
        ends.answer("SIP/2.0 200 OK", "1 INVITE", body: SIPText.session(ends.server, ["audio 6100"])),
        ends.ask("ACK sip:b@\(ends.known):5060 SIP/2.0", "1 ACK"),
        ends.back(4000, 6100), ends.back(4001, 6101), ends.media(6100, 4000), ends.media(6011, 4011),
        ends.ask("BYE sip:b@\(ends.known):5060 SIP/2.0", "2 BYE"), ends.media(6012, 4010),
        ends.answer("SIP/2.0 200 OK", "2 BYE"),
      ]
    }
  }

  @Test("A call that is refused, updated, or asks for what cannot be", arguments: setups.indices)
  func refused(_ setup: Int) throws {
    try compare("refused", setup) { ends in
      let audio = { (port: Int) in SIPText.session(ends.client, ["audio \(port)"]) }
      return [
        ends.ask("INVITE sip:b@\(ends.known) SIP/2.0", "1 INVITE", body: audio(4000)),
        ends.answer("SIP/2.0 486 Busy", "9 INVITE"), ends.answer("SIP/2.0 486 Busy", "1 INVITE"),
        ends.media(6000, 4000),
        ends.ask("UPDATE sip:b@\(ends.known) SIP/2.0", "2 UPDATE", body: audio(4002)),
        ends.ask("PRACK sip:b@\(ends.known) SIP/2.0", "3 PRACK", body: audio(4005)),
        ends.media(6001, 4002), ends.media(6001, 4004),
        ends.ask("INVITE sip:b@\(ends.known) SIP/2.0", "4 INVITE", body: audio(80)),
        ends.ask("INVITE sip:b@\(ends.known) SIP/2.0", "x INVITE", body: audio(4000)),
        ends.ask("CANCEL sip:b@\(ends.known) SIP/2.0", "4 CANCEL"),
        ends.ask(
          "INVITE sip:b@\(ends.known) SIP/2.0", "5 INVITE",
          body: Array(audio(4000).filter { !$0.hasPrefix("c=") })),
        ends.ask(
          "INVITE sip:b@\(ends.known) SIP/2.0", "6 INVITE",
          body: SIPText.session("10.0.0.8", ["audio 4006"], streamAddress: ends.client)),
        ends.media(6002, 4006),
        ends.ask(
          "INVITE sip:b@\(ends.known) SIP/2.0", "7 INVITE", body: SIPText.session("10.0.0.8", ["audio 4008"])),
        ends.ask(
          "INVITE sip:b@\(ends.known) SIP/2.0", "8 INVITE",
          body: Array(audio(4000).filter { !$0.hasPrefix("o=") })),
      ]
    }
  }

  @Test("Two calls that name the same ports", arguments: setups.indices)
  func twoCalls(_ setup: Int) throws {
    try compare("two calls", setup) { ends in
      var other = ends
      other.port = 5062
      if other.seenPort != 7000 { other.seenPort = 5062 }
      let body = SIPText.session(ends.client, ["audio 4000", "video 4000"])
      return [
        ends.ask("INVITE sip:b@\(ends.known) SIP/2.0", "1 INVITE", body: body),
        other.ask("INVITE sip:b@\(ends.known) SIP/2.0", "1 INVITE", body: body),
        ends.media(6000, 4000), ends.media(6001, 4002), ends.media(6002, 4001),
        other.ask("INVITE sip:b@\(ends.known) SIP/2.0", "2 INVITE", body: body), ends.media(6003, 4000),
      ]
    }
  }

  @Test("A stream leaves from where its other half is expected, or not at all", arguments: [false, true])
  func pair(isTaken: Bool) throws {
    try compare("pair", 1) { ends in
      (isTaken ? [Oracle.udp("10.0.0.8", 4000, ends.server, 6100)] : []) + [
        ends.ask(
          "INVITE sip:b@\(ends.known) SIP/2.0", "1 INVITE", body: SIPText.session(ends.client, ["audio 4000"])
        ),
        ends.answer("SIP/2.0 200 OK", "1 INVITE", body: SIPText.session(ends.server, ["audio 6100"])),
        ends.back(4000, 6100), ends.back(4001, 6101), ends.media(6100, 4000), ends.media(6101, 4001),
      ]
    }
  }

  @Test("A telephone that is to be answered at another port than it asks from", arguments: [0, 1, 4])
  func otherPort(_ setup: Int) throws {
    try compare("cisco", setup) { ends in
      var ends = ends
      (ends.port, ends.seenPort) = (50_000, 50_000)
      return [
        ends.ask(
          "REGISTER sip:\(ends.known) SIP/2.0", "1 REGISTER",
          contact: "<sip:a@\(ends.client):5060>;expires=60", via: "\(ends.client):5060"),
        ends.answer("SIP/2.0 200 OK", "1 REGISTER", contact: "<sip:a@\(ends.seen):5060>;expires=60"),
        ends.media(6000, 5060), ends.media(6000, 50_000),
      ]
    }
  }

  @Test("Between two behind the same translation", arguments: [false, true])
  func hairpin(isTranslated: Bool) throws {
    let ends = Ends(seen: isTranslated ? Self.outside : Self.client)
    let relayed = ends.seen
    try Oracle().compare(
      "hairpin", Self.table(isTranslated ? Self.source : ""),
      [
        ends.ask(
          "INVITE sip:b@\(ends.known) SIP/2.0", "1 INVITE", body: SIPText.session(ends.client, ["audio 4000"])
        ),
        // The server passes the call on, to another behind the router, as it knows the caller.
        Self.udp(
          "10.0.0.8", 5061, Self.server, 5060,
          .message(
            "INVITE sip:b@\(Self.server) SIP/2.0", from: "10.0.0.8:5061", to: "\(Self.server):5060",
            "1 INVITE", body: SIPText.session(relayed, ["audio 4000"]))),
        ends.media(6000, 4000), ends.media(6001, 4001),
      ])
  }

  /// Who asks in the name of a translated address is told the address behind it, and streams come to that.
  @Test("What is expected behind a translation is told to whoever names it", arguments: [4000, 4007])
  func direct(_ stream: Int) throws {
    let ends = Ends(seen: Self.outside)
    let rules =
      "chain p { type nat hook postrouting priority 100; ip saddr 10.0.0.9 snat to 10.0.1.77; ip saddr 10.0.1.77 snat to 10.0.1.8 }"
    try Oracle().compare(
      "direct", Self.table(rules),
      [
        ends.ask(
          "INVITE sip:b@\(ends.known) SIP/2.0", "1 INVITE",
          body: SIPText.session(ends.client, ["audio \(stream)"])),
        Self.udp(
          Self.outside, 5062, Self.server, 5060,
          .message(
            "INVITE sip:b@\(Self.server) SIP/2.0", from: "\(Self.outside):5062", to: "\(Self.server):5060",
            "1 INVITE", body: SIPText.session(Self.outside, ["audio \(stream)"]))),
        ends.media(6000, 4000), ends.media(6000, 4006),
        Oracle.udp(Self.server, 6001, Self.client, 4000, face: 1),
        Oracle.udp(Self.server, 6001, Self.client, 4006, face: 1),
      ])
  }

  @Test("Addresses that become shorter")
  func shorter() throws {
    let client = "10.0.0.109"
    let rules =
      "chain p { type nat hook postrouting priority 100; oifname \"t1\" ip protocol udp snat to 10.0.1.8:1024 }"
    let one = "<sip:a@\(client):50000>"
    let contact = "\(one),\(one), \(one)\r\nm: sip:a@\(client):50000;x=1"
    func ask(_ first: String, _ body: [String] = []) -> Oracle.Probe {
      Self.udp(
        client, 50_000, Self.server, 5060,
        .message(
          "\(first) sip:b@\(Self.server) SIP/2.0", from: "\(client):50000", to: Self.server, contact: contact,
          "1 \(first)", extra: ["Expires: 60"], body: body))
    }
    try Oracle().compare(
      "shorter", Self.table(rules),
      [
        ask("REGISTER"), ask("OPTIONS"),
        ask("INVITE", SIPText.session(client, ["audio 4000", "video 4100"])),
        ask("INVITE", SIPText.session(client, ["audio 4000", "video 4100"], streamAddress: client)),
      ])
  }

  /// The pieces of a datagram that is too large for a link.
  private static func pieces(_ probe: Oracle.Probe) -> [Oracle.Probe] {
    let payload = Array(probe.frame[34...])
    return stride(from: 0, to: payload.count, by: 1400).map { start in
      let end = min(start + 1400, payload.count)
      var ip = KernelOracleTests.IP(destination: Oracle.address(server), proto: 17, ttl: 33)
      ip.fragment = UInt16(start / 8) | (end < payload.count ? 0x2000 : 0)
      ip.payload = Array(payload[start..<end])
      return Oracle.Probe(ip.frame)
    }
  }

  @Test(
    "A message of several pieces, and of more bytes than a block has", arguments: [1, 2], [900, 3900, 5000])
  func pieces(_ setup: Int, _ length: Int) throws {
    try compare("pieces", setup) { ends in
      let padding = "X: " + String(repeating: "x", count: length)
      return Self.pieces(
        ends.ask(
          "INVITE sip:b@\(ends.known) SIP/2.0", "1 INVITE", extra: [padding],
          body: SIPText.session(ends.client, ["audio 4000", "video 4010"]))) + [
          ends.media(6000, 4000), ends.media(6000, 4011),
        ]
    }
  }

  // MARK: Time

  /// What is expected, and for how many seconds.
  private struct Expected: Hashable, Comparable {
    var words: String
    var seconds: Int

    static func < (a: Self, b: Self) -> Bool { a.words < b.words }
  }

  @Test("Calls, streams and the connection itself last as long as Linux lets them")
  func times() throws {
    guard Shell.has("conntrack") else { return }
    let router = try KernelOracleTests.Router()
    try Oracle.prepare(router)
    let tables = try Oracle.load(Self.table(Self.source), into: router)
    var emulated = try KernelOracleTests.Emulated()
    try emulated.kernel.commit(tables.flatMap(\.creation), in: emulated.node)
    try Oracle.prepare(&emulated)
    let ends = Self.setups[1].ends
    let contact = "<sip:a@\(ends.client):5070>"
    let steps: [[Oracle.Probe]] = [
      [
        ends.ask("REGISTER sip:x SIP/2.0", "1 REGISTER", contact: contact, extra: ["Expires: 900"]),
        ends.ask(
          "INVITE sip:x SIP/2.0", "2 INVITE",
          body: SIPText.session(ends.client, ["audio 4000", "image 4010"])),
      ],
      [
        ends.answer(
          "SIP/2.0 200 OK", "1 REGISTER", contact: "<sip:a@\(ends.seen):5070>;expires=90",
          extra: ["Expires: 900"])
      ],
    ]
    for step in steps {
      for probe in step {
        _ = emulated.answers(to: probe.frame, by: probe.face)
        _ = try router.answers(to: probe.frame, by: probe.face)
      }
      let there = try Shell.run("conntrack", ["-L", "expect"], in: router.name).split(separator: "\n").map {
        line in
        let words = line.split(separator: " ")
        let isWaiting = line.contains("INACTIVE")
        return Expected(
          words: "\(words[2]) \(words[3]) \(words[5])\(isWaiting ? " waits" : "")",
          seconds: Int(words[0]) ?? 0)
      }.sorted()
      let connections = emulated.kernel.connections(in: emulated.node)
      let now = emulated.kernel.cpu.now
      let here = emulated.kernel.namespaces[emulated.node].conntrack.expectations
        .expected(of: connections[0].id, now: now).map { expectation in
          let (source, target) = (expectation.tuple.source, expectation.tuple.destination)
          func text(_ address: UInt128) -> String {
            "\(IPv4Address(rawValue: UInt32(truncatingIfNeeded: address)))"
          }
          return Expected(
            words: "src=\(text(source)) dst=\(text(target)) dport=\(expectation.tuple.destinationPort)"
              + (expectation.isInactive ? " waits" : ""),
            seconds: Int((expectation.deadline - now) / 1_000_000_000))
        }.sorted()
      #expect(here.map(\.words) == there.map(\.words))
      for (mine, theirs) in zip(here, there) {
        #expect((theirs.seconds - 3...theirs.seconds + 3).contains(mine.seconds), "\(mine), \(theirs)")
      }
      #expect((3597...3600).contains(connections[0].timeout ?? 0))
      let lines = try Shell.run("conntrack", ["-L"], in: router.name)
      let seconds = lines.split(separator: " ").dropFirst(2).first.flatMap { Int($0) } ?? 0
      #expect((3595...3600).contains(seconds), "Linux: \(lines)")
    }
    emulated.kernel.run(for: .seconds(89))
    let call = ends.media(6000, 5070)
    let late = ends.media(6001, 5070)
    _ = emulated.answers(to: call.frame, by: call.face)
    emulated.kernel.run(for: .seconds(3))
    _ = emulated.answers(to: late.frame, by: late.face)
    let statuses = Dictionary(
      uniqueKeysWithValues: emulated.kernel.connections(in: emulated.node).map {
        ($0.original.sourcePort, $0.status & 1)
      })
    #expect(statuses[6000] == 1)
    #expect(statuses[6001] == 0)
  }

  // MARK: Streams of messages

  private static func connection(_ ends: Ends, _ texts: [(isClient: Bool, text: String)]) -> [Oracle.Probe] {
    var probes = [
      Oracle.tcp(ends.client, 5060, ends.known, 5060, 2, seq: 99),
      Oracle.tcp(ends.server, 5060, ends.seen, ends.seenPort, 0x12, seq: 499, ack: 100, face: 1),
      Oracle.tcp(ends.client, 5060, ends.known, 5060, 0x10, seq: 100, ack: 500),
    ]
    var (mine, theirs): (UInt32, UInt32) = (100, 500)
    for (isClient, text) in texts {
      let length = UInt32(text.utf8.count)
      if isClient {
        probes.append(
          NetfilterHelperTests.tcp(
            ends.client, 5060, ends.known, 5060, seq: mine, ack: theirs, face: 0, text))
        mine += length
      } else {
        probes.append(
          NetfilterHelperTests.tcp(
            ends.server, 5060, ends.seen, ends.seenPort, seq: theirs, ack: mine, face: 1, text))
        theirs += length
      }
      probes += [
        Oracle.tcp(ends.client, 5060, ends.known, 5060, 0x10, seq: mine, ack: theirs),
        Oracle.tcp(ends.server, 5060, ends.seen, ends.seenPort, 0x10, seq: theirs, ack: mine, face: 1),
      ]
    }
    return probes
  }

  @Test("Messages that come in a stream, several in a segment or cut", arguments: [0, 1, 4])
  func stream(_ setup: Int) throws {
    try compare("stream", setup) { ends in
      func message(_ first: String, _ sequence: String, _ body: [String] = [], contact: String? = nil)
        -> String
      {
        SIPText.message(
          first, from: "\(ends.client):5060", to: "\(ends.known):5060", contact: contact, transport: "TCP",
          sequence, body: body
        ).text
      }
      let invite = message(
        "INVITE sip:b@\(ends.known) SIP/2.0", "1 INVITE", SIPText.session(ends.client, ["audio 4000"]))
      let ack = message("ACK sip:b@\(ends.known) SIP/2.0", "1 ACK")
      let register = message(
        "REGISTER sip:b@\(ends.known) SIP/2.0", "3 REGISTER",
        contact: "<sip:a@\(ends.client):5070>;expires=60")
      let answer = SIPText.message(
        "SIP/2.0 200 OK", from: "\(ends.server):5060", to: "\(ends.seen):\(ends.seenPort)",
        via: "\(ends.seen):\(ends.seenPort)", transport: "TCP", "1 INVITE",
        body: SIPText.session(ends.server, ["audio 6100"])
      ).text
      let update = message(
        "UPDATE sip:b@\(ends.known) SIP/2.0", "2 UPDATE", SIPText.session(ends.client, ["audio 4002"]))
      return Self.connection(
        ends,
        [
          (true, invite), (false, answer), (true, ack + update + "\r\n"),
          (true, String(update.prefix(200))), (true, String(update.dropFirst(200))),
          (true, ack + String(update.prefix(300))), (true, register), (true, "\r\n\r\n"),
        ]) + [
          ends.media(6000, 4000), ends.media(6000, 4002), ends.back(4100, 6100),
          Oracle.tcp(ends.server, 6000, ends.seen, 5070, 2, seq: 7, face: 1),
        ]
    }
  }

  // MARK: By chance

  /// A text with some bytes changed, taken out or put in.
  private func damaged(_ text: String, _ generator: inout RandomState) -> [UInt8] {
    let pieces = [
      "\r\n", "\n", " ", "\t", ",", ";", ":", "\r\n ", "sip:", "@", "0", "9", "<", ">", "m=", "v=0\r\n",
      "expires=", "UDP ", "IN IP4 ", "10.0.0.9", "audio ", "Contact", "\0", "transport=udp",
    ].map { Array($0.utf8) }
    var bytes = Array(text.utf8)
    for _ in 0..<Int.random(in: 0...3, using: &generator) {
      let place = Int.random(in: 0..<bytes.count, using: &generator)
      let piece = pieces[Int.random(in: 0..<pieces.count, using: &generator)]
      switch Int.random(in: 0..<4, using: &generator) {
      case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
      case 1:
        let end = min(place + Int.random(in: 1...9, using: &generator), bytes.count)
        bytes.removeSubrange(place..<end)
      case 2: bytes.replaceSubrange(place..<min(place + piece.count, bytes.count), with: piece)
      default: bytes.insert(contentsOf: piece, at: place)
      }
    }
    return bytes
  }

  @Test("Messages that are changed by chance are taken, changed and dropped as Linux does", arguments: 0..<8)
  func chance(_ round: Int) throws {
    var generator = RandomState(seed: UInt64(round) &* 77 &+ 5)
    let setup = Self.setups[[0, 1, 4, 1][round % 4]]
    let ends = setup.ends
    var probes: [Oracle.Probe] = []
    for number in 0..<60 {
      var own = ends
      own.port = 10_000 + UInt16(number)
      let at = "\(own.client):\(own.port)"
      let known = "\(own.known):5060"
      let text = [
        SIPText.message(
          "REGISTER sip:\(known) SIP/2.0", from: at, to: known, contact: "<sip:a@\(at)>;expires=60",
          "\(number) REGISTER"),
        SIPText.message(
          "INVITE sip:b@\(known) SIP/2.0", from: at, to: known, "\(number) INVITE",
          body: SIPText.session(own.client, ["audio \(20000 + number * 4)", "video \(30000 + number * 4)"])),
        SIPText.message(
          "INVITE sip:b@\(known) SIP/2.0", from: at, to: known,
          contact: "<sip:a@\(at)>,\r\n <sip:\(at);transport=udp>", "\(number) INVITE",
          body: SIPText.session(
            own.client, ["audio \(20000 + number * 4)"], streamAddress: own.client)),
      ][number % 3].text
      let answer = SIPText.message(
        "SIP/2.0 \(number % 5 == 0 ? 404 : 200) OK", from: known, to: "\(own.seen):\(own.port)",
        via: "\(own.seen):\(own.port);maddr=\(own.seen);received=\(own.seen);rport=\(own.port)",
        contact: "<sip:a@\(own.seen):\(own.port)>;expires=60",
        "\(number) \(number % 3 == 0 ? "REGISTER" : "INVITE")",
        body: number % 3 == 0 ? [] : SIPText.session(own.server, ["audio \(40000 + number * 4)"]))
      probes += [
        Self.udp(own.client, own.port, own.known, 5060, damaged(text, &generator)),
        Self.udp(own.server, 5060, own.seen, own.port, face: 1, damaged(answer.text, &generator)),
      ]
      probes.append(own.media(6000, UInt16(20000 + number * 4)))
    }
    try Oracle().compare("by chance, \(setup.name)", Self.table(setup.rules), probes)
  }
}
