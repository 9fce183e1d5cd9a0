// SPDX-License-Identifier: GPL-2.0-or-later

// What hosts may expect of a translator, requirement by requirement (RFC 4787 for UDP, 5382 for TCP, 5508 for ICMP), and
// what the load balancer of the peers' examples does: asked of the host's kernel and of the emulated one alike. Where
// Linux does otherwise than an RFC wants, that is the expectation here, and said.

import Glibc
import Nftables
import Testing

@testable import NetStack

@Suite(
  "What translators promise", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct NATBehaviorTests {
  typealias Oracle = NetfilterOracleTests

  /// A packet that came out.
  struct Seen: Equatable {
    var face: Int
    var source: String
    var destination: String
    var proto: UInt8
    /// Ports, or type and code, and identifier.
    var first: UInt16
    var second: UInt16
    /// Of an error: what it quotes.
    var quoted: [UInt8] = []
  }

  struct Behavior: Sendable, CustomTestStringConvertible {
    var name: String
    var rules: String
    var probes: @Sendable () -> [Oracle.Probe]
    /// By probe what came out.
    var isKept: @Sendable ([[Seen]]) -> Bool

    var testDescription: String { name }
  }

  static let masquerade = "chain p { type nat hook postrouting priority 100; oifname \"t1\" masquerade }"
  static let (client, server, other, wan) = ("10.0.0.9", "10.0.1.9", "10.0.1.8", "10.0.1.1")
  static let hairpin = """
    chain d { type nat hook prerouting priority -100; ip daddr 10.0.1.1 udp dport 5000 dnat to 10.0.0.9:53 }
    chain p { type nat hook postrouting priority 100; oifname "t1" masquerade; ct status dnat masquerade }
    """

  static func source(_ seen: [Seen]) -> UInt16? { seen.first { $0.face == 1 }?.first }

  static let behaviors: [Behavior] = [
    Behavior(
      name: "RFC 4787 REQ-1: one mapping for all destinations, as long as nobody else has it",
      rules: masquerade,
      probes: {
        [
          Oracle.udp(client, 1000, server, 53), Oracle.udp(client, 1000, other, 80),
          Oracle.udp(client, 1000, server, 54),
        ]
      },
      isKept: { seen in Set(seen.map(source)) == [1000] }),
    Behavior(
      name: "RFC 4787 REQ-2: with `persistent` a host has one address for all destinations",
      rules:
        "chain p { type nat hook postrouting priority 100; oifname \"t1\" snat to 10.0.1.77-10.0.1.80 persistent }",
      probes: {
        [server, other, server].enumerated().map {
          Oracle.udp(client, UInt16(1000 + $0.offset), $0.element, 53)
        }
      },
      isKept: { seen in Set(seen.compactMap { $0.first { $0.face == 1 }?.source }).count == 1 }),
    Behavior(
      name: "RFC 4787 REQ-3, REQ-4: ports are kept, so also their parity, and below 1024 they stay there",
      rules: masquerade,
      probes: {
        [
          Oracle.udp(client, 999, server, 53), Oracle.udp(client, 1001, server, 53),
          Oracle.udp(client, 40_000, server, 53),
        ]
      },
      isKept: { seen in seen.map(source) == [999, 1001, 40_000] }),
    Behavior(
      name: "RFC 4787 REQ-8: only whom was sent to gets back in, address and port",
      rules: masquerade,
      probes: {
        [
          Oracle.udp(client, 1000, server, 53), Oracle.udp(server, 53, wan, 1000, face: 1),
          Oracle.udp(other, 53, wan, 1000, face: 1), Oracle.udp(server, 54, wan, 1000, face: 1),
        ]
      },
      isKept: { seen in
        seen[1].contains { $0.face == 0 && $0.destination == client && $0.second == 1000 }
          && !(seen[2] + seen[3]).contains { $0.face == 0 }
      }),
    Behavior(
      name: "RFC 4787 REQ-9: hairpinning, seen as coming from outside", rules: hairpin,
      probes: { [Oracle.udp(client, 1000, wan, 5000)] },
      isKept: { seen in
        seen[0].contains {
          $0.face == 0 && $0.destination == client && $0.second == 53 && $0.source != client
        }
      }),
    Behavior(
      name: "RFC 4787 REQ-10, RFC 5508 REQ-4: errors find who sent, inside and out", rules: masquerade,
      probes: {
        [
          Oracle.udp(client, 1000, server, 53),
          Oracle.packet(
            1, server, wan, Oracle.error(3, 3, about: Oracle.udp(wan, 1000, server, 53).frame), face: 1),
        ]
      },
      isKept: { seen in
        guard let error = seen[1].first(where: { $0.face == 0 }) else { return false }
        return error.destination == client && Array(error.quoted[12..<16]) == [10, 0, 0, 9]
      }),
    Behavior(
      name: "RFC 4787 REQ-14: pieces that come the wrong way round are put together and translated",
      rules: masquerade,
      probes: {
        let whole = Oracle.udp(client, 1000, server, 53, data: 40).frame
        return [false, true].map { isFirst in
          var ip = KernelOracleTests.IP(
            source: [10, 0, 0, 9], destination: [10, 0, 1, 9], proto: 17, ttl: 33)
          ip.link = KernelOracleTests.macs[0]
          ip.fragment = isFirst ? 0x2000 : 3
          ip.payload = isFirst ? Array(whole[34..<58]) : Array(whole[58...])
          return Oracle.Probe(ip.frame)
        }
      },
      isKept: { seen in seen[0].isEmpty && seen[1].contains { $0.face == 1 && $0.source == wan } }),
    Behavior(
      name: "RFC 5382 REQ-1: one mapping for a TCP port too", rules: masquerade,
      probes: {
        [Oracle.tcp(client, 3000, server, 80, 2, seq: 1), Oracle.tcp(client, 3000, other, 80, 2, seq: 1)]
      },
      isKept: { seen in Set(seen.map(source)) == [3000] }),
    Behavior(
      name: "RFC 5382 REQ-2: connections that both sides open at once", rules: masquerade,
      probes: {
        [
          Oracle.tcp(client, 3000, server, 80, 2, seq: 100),
          Oracle.tcp(server, 80, wan, 3000, 2, seq: 900, face: 1),
          Oracle.tcp(client, 3000, server, 80, 0x12, seq: 100, ack: 901),
        ]
      },
      isKept: { seen in
        seen[1].contains { $0.face == 0 && $0.destination == client } && source(seen[2]) == 3000
      }),
    Behavior(
      name:
        "RFC 5382 REQ-4: a SYN that nobody asked for is answered at once; Linux does not wait six seconds",
      rules: masquerade, probes: { [Oracle.tcp(server, 80, wan, 3999, 2, seq: 900, face: 1)] },
      isKept: { seen in seen[0].contains { $0.face == 1 && $0.proto == 6 && $0.destination == server } }),
    Behavior(
      name: "RFC 5382 REQ-10: an error does not end a mapping", rules: masquerade,
      probes: {
        [
          Oracle.tcp(client, 3000, server, 80, 2, seq: 100),
          Oracle.packet(
            1, server, wan, Oracle.error(3, 1, about: Oracle.tcp(wan, 3000, server, 80, 2, seq: 100).frame),
            face: 1),
          Oracle.tcp(server, 80, wan, 3000, 0x12, seq: 900, ack: 101, face: 1),
        ]
      },
      isKept: { seen in seen[2].contains { $0.face == 0 && $0.destination == client && $0.second == 3000 } }),
    Behavior(
      name: "RFC 5508 REQ-1: queries are told apart by their identifiers, and answers find back",
      rules: masquerade,
      probes: { [Oracle.ping(client, server, id: 7), Oracle.ping(server, wan, face: 1, id: 7, type: 0)] },
      isKept: { seen in seen[1].contains { $0.face == 0 && $0.destination == client && $0.second == 7 } }),
    Behavior(
      name: "RFC 5508 REQ-3: an error with a wrong sum goes nowhere inside", rules: masquerade,
      probes: {
        var broken = Oracle.error(3, 3, about: Oracle.udp(wan, 1000, server, 53).frame)
        broken[2] ^= 0xff
        return [Oracle.udp(client, 1000, server, 53), Oracle.packet(1, server, wan, broken, face: 1)]
      },
      isKept: { seen in !seen[1].contains { $0.face == 0 } }),
    Behavior(
      name: "RFC 5508 REQ-6: an error about nobody's packet goes nowhere inside", rules: masquerade,
      probes: {
        [
          Oracle.packet(
            1, server, wan, Oracle.error(3, 3, about: Oracle.udp(wan, 1234, server, 53).frame), face: 1)
        ]
      },
      isKept: { seen in !seen[0].contains { $0.face == 0 } }),
    Behavior(
      name: "Load balancer by turns: each new connection the next server, and a connection stays",
      rules:
        "chain d { type nat hook prerouting priority -100; ip daddr 10.0.0.1 udp dport 80 dnat to numgen inc mod 2 map { 0 : 10.0.1.9, 1 : 10.0.1.8 } }",
      probes: { [1000, 1001, 1000, 1002, 1001].map { Oracle.udp(client, $0, "10.0.0.1", 80) } },
      isKept: { seen in
        seen.map { $0.first { $0.face == 1 }?.destination } == [server, other, server, server, other]
      }),
    Behavior(
      name: "Load balancer by chance: three hundred connections land on both, answers come from its address",
      rules:
        "chain d { type nat hook prerouting priority -100; ip daddr 10.0.0.1 udp dport 80 dnat to numgen random mod 2 map { 0 : 10.0.1.9, 1 : 10.0.1.8 } }",
      probes: {
        (0..<60).flatMap { number in
          [
            Oracle.udp(client, UInt16(2000 + number), "10.0.0.1", 80),
            Oracle.udp(server, 80, client, UInt16(2000 + number), face: 1),
          ]
        }
      },
      isKept: { seen in
        let first = stride(from: 0, to: seen.count, by: 2).compactMap {
          seen[$0].first { $0.face == 1 }?.destination
        }
        let answers = seen.flatMap { $0.filter { $0.face == 0 && $0.second >= 2000 } }
        return first.count == 60 && first.filter { $0 == server }.count > 12
          && first.filter { $0 == other }.count > 12 && answers.contains { $0.source == "10.0.0.1" }
      }),
  ]

  // MARK: Running

  static func read(_ frame: [UInt8], _ face: Int) -> Seen? {
    guard frame.count >= 42, frame[12] == 8, frame[13] == 0 else { return nil }
    func address(_ place: Int) -> String { frame[place..<place + 4].map(String.init).joined(separator: ".") }
    func word(_ place: Int) -> UInt16 { UInt16(frame[place]) << 8 | UInt16(frame[place + 1]) }
    var seen = Seen(
      face: face, source: address(26), destination: address(30), proto: frame[23], first: word(34),
      second: word(36))
    if seen.proto == 1 {
      seen.second = word(38)
      if frame[34] == 3 { seen.quoted = Array(frame[42...]) }
    }
    return seen
  }

  static func read(_ answers: [[[UInt8]]]) -> [Seen] {
    answers.enumerated().flatMap { face, frames in frames.compactMap { read($0, face) } }
  }

  @Test("The host's kernel does it, and the emulated one", arguments: behaviors)
  func promised(_ behavior: Behavior) throws {
    let router = try KernelOracleTests.Router()
    try Oracle.prepare(router)
    let tables = try Oracle.load(behavior.rules, into: router)
    var emulated = try KernelOracleTests.Emulated()
    try emulated.kernel.commit(tables.flatMap(\.creation), in: emulated.node)
    try Oracle.prepare(&emulated)
    _ = try router.answers(to: nil)
    var here: [[Seen]] = []
    var there: [[Seen]] = []
    for probe in behavior.probes() {
      here.append(Self.read(emulated.answers(to: probe.frame, by: probe.face)))
      there.append(Self.read(try router.answers(to: probe.frame, by: probe.face)))
    }
    #expect(behavior.isKept(here), "here: \(here)")
    #expect(behavior.isKept(there), "Linux: \(there)")
  }
}
