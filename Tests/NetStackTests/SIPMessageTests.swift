// SPDX-License-Identifier: GPL-2.0-or-later

// What the helper of SIP reads of messages, and that no text of any kind does harm: cut at every byte, changed at random,
// through a translation and without one.

import NetTypes
import Nftables
import Testing

@testable import NetStack

@Suite("Messages of SIP")
struct SIPMessageTests {
  private static func message(_ text: String, isIPv6: Bool = false) -> SIPMessage {
    SIPMessage(Array(text.utf8), isIPv6: isIPv6)
  }

  private static let address: UInt128 = 0x0a00_0009

  @Test(
    "Headers are found by either name, over several lines, and among several values",
    arguments: [
      "Contact: <sip:a@10.0.0.9:5070>\r\n", "contact:sip:10.0.0.9:5070;x=1\n",
      "m : <SIP:a@10.0.0.9:5070>\r\n",
      "m:\r\n  <sip:a@10.0.0.9:5070>\r\n", "Contact: \"A,\r\n B\" <sip:a@10.0.0.9:5070>\r\n",
      "Contact: <sip:a@example.com>, <sip:a@10.0.0.9:5070>\r\nX: y\r\n",
      "Contact: <sip:a@example.com>\r\nContact: <sip:a@10.0.0.9:5070>\r\n",
    ])
  func contacts(_ line: String) {
    let message = Self.message("REGISTER sip:x SIP/2.0\r\n\(line)\r\n")
    var position = SIPMessage.Position()
    let first = message.nextPeer(.contact, &position)
    // Of a list's first value that cannot be read Linux goes on with the next header.
    guard !line.contains("example.com>,") else {
      #expect(first == nil)
      return
    }
    #expect(first?.address == Self.address)
    #expect(first?.port == 5070)
    #expect(message.nextPeer(.contact, &position) == nil)
  }

  @Test("Several contacts come one after the other")
  func several() {
    let message = Self.message(
      "SIP/2.0 200 OK\r\nContact: <sip:a@10.0.0.9>, <sip:a@10.0.0.9:5071>;q=1\r\nm: sip:10.0.0.9:5072\r\n\r\n"
    )
    var position = SIPMessage.Position()
    var ports: [UInt16] = []
    while let peer = message.nextPeer(.contact, &position) { ports.append(peer.port) }
    #expect(ports == [5060, 5071, 5072])
  }

  @Test("Numbers are of 32 bits, and of eleven digits at most")
  func numbers() {
    let numbers: [(String, UInt32?)] = [
      ("0", 0), ("7", 7), ("4294967295", .max), ("04294967295", .max), ("4294967296", nil),
      ("000000000001", nil),
    ]
    for (text, value) in numbers {
      let read = Self.message(text + " INVITE").number(at: 0)
      #expect(read.value == value ?? 0, "\(text)")
      #expect(read.end == (value == nil ? 0 : text.utf8.count), "\(text)")
    }
  }

  @Test(
    "Addresses and ports that are none are none",
    arguments: [
      "10.0.0", "10.0.0.256", "10.0.0.9.", "10.0.0.9a", "10..0.9", "10.0.0.9:", "10.0.0.9:80",
      "10.0.0.9:65536", "10.0.0.9:005060", "",
    ])
  func bad(_ text: String) {
    #expect(Self.message("X\r\nm: sip:\(text)\r\n").firstPeer(.contact) == nil)
    #expect(Self.message("X\r\nm: sip:10.0.0.9:05060;\r\n").firstPeer(.contact)?.port == 5060)
  }

  @Test("IPv6 stands in brackets in headers, and without them in a session")
  func ipv6() {
    let text =
      "X\r\nm: <sip:a@[2001:db8::9]:5070>\r\nv: SIP/2.0/UDP 2001:db8::9\r\n\r\n"
      + "v=0\r\nc=IN IP6 2001:db8::9\r\n"
    let message = Self.message(text, isIPv6: true)
    let address = UInt128(0x2001_0db8_0000_0000) << 64 | 9
    #expect(message.firstPeer(.contact).map { [$0.address, UInt128($0.port)] } == [address, 5070])
    #expect(message.firstPeer(.viaUDP) == nil)
    #expect(message.connection(from: 0) == address)
  }

  // MARK: Hostile

  static let texts: [String] = {
    let own = "10.0.0.9:5060"
    let server = "10.0.1.9:5060"
    let session = SIPText.session("10.0.0.9", ["audio 4000", "video 4002", "image 4004", "text 9"])
    return [
      SIPText.message(
        "REGISTER sip:\(server) SIP/2.0", from: own, to: server,
        contact: "<sip:a@\(own)>;expires=60,\r\n <sip:a@10.0.0.9:5070>", "1 REGISTER", extra: ["Expires: 90"]),
      SIPText.message("INVITE sip:b@\(server) SIP/2.0", from: own, to: server, "2 INVITE", body: session),
      SIPText.message(
        "SIP/2.0 200 OK", from: own, to: server, via: server, "2 INVITE",
        body: SIPText.session("10.0.0.9", ["audio 4000"], streamAddress: "10.0.0.9")),
      SIPText.message(
        "SIP/2.0 200 OK", from: own, to: server,
        via: "\(server);received=10.0.1.9;rport=5060;maddr=10.0.0.9", "1 REGISTER", extra: ["Expires: 9"]),
    ].map(\.text)
  }()

  private static func tables(isTranslated: Bool) -> [NftChange] {
    let transports: [UInt8] = [6, 17]
    let helpers = transports.map { transport in
      NftObject(name: "s\(transport)", state: .ctHelper(NftCtHelper(helper: "sip", transport: transport)))
    }
    let rules = transports.map { transport in
      NftRule(expressions: [
        .meta(NftMeta(key: .l4proto, destination: .r1)),
        .cmp(NftCmp(operation: .equal, source: .r1, data: [transport])),
        .objectReference(NftObjectReference(target: .named(type: 3, name: "s\(transport)"))),
      ])
    }
    var chains = [NftChain(name: "f", base: NftBaseChain(hook: .forward), rules: rules)]
    if isTranslated {
      chains.append(
        NftChain(
          name: "n", base: NftBaseChain(type: .nat, hook: .postrouting, priority: 100),
          rules: [NftRule(expressions: [.masquerade(NftMasquerade())])]))
    }
    return NftTable(family: .ip, name: "t", chains: chains, objects: helpers).creation
  }

  @Test("A message that is cut or changed anywhere does no harm", arguments: [false, true])
  func hostile(isTranslated: Bool) throws {
    var emulated = try KernelOracleTests.Emulated(.ipv4)
    try emulated.kernel.commit(Self.tables(isTranslated: isTranslated), in: emulated.node)
    try NetfilterOracleTests.prepare(&emulated)
    var generator = RandomState(seed: 11)
    var port: UInt16 = 2000
    func send(_ bytes: [UInt8], from: UInt16) {
      let probe = SIPOracleTests.udp("10.0.0.9", from, "10.0.1.9", 5060, bytes)
      _ = emulated.answers(to: probe.frame, by: probe.face, wait: .milliseconds(1))
    }
    for text in Self.texts {
      let bytes = Array(text.utf8)
      for end in 0..<bytes.count {
        port += end % 16 == 0 ? 1 : 0
        send(Array(bytes[..<end]), from: end % 3 == 0 ? 5060 : port)
      }
      for _ in 0..<200 {
        var changed = bytes
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
          let place = Int.random(in: 0..<changed.count, using: &generator)
          switch Int.random(in: 0..<4, using: &generator) {
          case 0: changed[place] = UInt8.random(in: 0...255, using: &generator)
          case 1: changed.remove(at: place)
          case 2: changed.insert(UInt8.random(in: 0...255, using: &generator), at: place)
          default: changed[place] = [0x0d, 0x0a, 0x20, 0x3a, 0x2c, 0x3b][place % 6]
          }
        }
        port += 1
        send(changed, from: Bool.random(using: &generator) ? 5060 : port)
      }
    }
    #expect(emulated.kernel.accounting.isClosed)
  }

  @Test("Expectations are few of a connection, and not many of all")
  func bounds() {
    func stream(_ master: UInt32, _ port: UInt16) -> ConntrackExpectation {
      var tuple = ConntrackTuple()
      tuple.destinationPort = port
      var stream = ConntrackExpectation(
        master: ConntrackIndex(0), masterID: master, tuple: tuple, expectedBy: .sip, deadline: 9)
      stream.kind = .audio
      return stream
    }
    var expectations = ConntrackExpectations()
    let limit = ConntrackHelper.sip.policy(.audio).limit
    for port in 0..<9 as Range<UInt16> {
      #expect(expectations.expect(stream(0, port), limit: limit, isShared: true, now: 1) == .done)
    }
    #expect(expectations.count(of: 0, .audio) == 4)
    for number in 1...UInt16(ConntrackExpectations.limit) {
      let outcome = expectations.expect(
        stream(UInt32(number), number + 100), limit: limit, isShared: true, now: 1)
      #expect(outcome == (number + 4 <= ConntrackExpectations.limit ? .done : .tooMany))
    }
  }

  @Test("A stream of messages that are cut or too long does no harm")
  func stream() throws {
    var emulated = try KernelOracleTests.Emulated(.ipv4)
    try emulated.kernel.commit(Self.tables(isTranslated: true), in: emulated.node)
    try NetfilterOracleTests.prepare(&emulated)
    let text = Self.texts.joined()
    for number in 0..<200 {
      let port = 3000 + UInt16(number)
      let part = String(text.dropFirst(number * 3 % 900).prefix(1200)).replacing(
        "Content-Length: ", with: number % 3 == 0 ? "Content-Length: 9" : "l: ")
      for probe in [
        NetfilterOracleTests.tcp("10.0.0.9", port, "10.0.1.9", 5060, 2, seq: 99),
        NetfilterHelperTests.tcp("10.0.0.9", port, "10.0.1.9", 5060, seq: 100, ack: 500, face: 0, part),
      ] {
        _ = emulated.answers(to: probe.frame, by: probe.face, wait: .milliseconds(1))
      }
    }
    #expect(emulated.kernel.accounting.isClosed)
  }
}
