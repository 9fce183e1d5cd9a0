// SPDX-License-Identifier: GPL-2.0-or-later

// The SYN proxy beside the host's kernel: a client and a server speak through both, each with the cookies and timestamps
// that it was given, and all that comes out must say the same.

import Glibc
import NetTypes
import Nftables
import Testing

@testable import NetStack

@Suite(
  "The SYN proxy beside the kernel's", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct SynproxyOracleTests {
  typealias Oracle = NetfilterOracleTests
  typealias Oracle6 = Netfilter6OracleTests

  /// What one of the two kernels has told a client: the number that its connection begins with, and its timestamp.
  struct Told {
    var cookie: UInt32 = 0
    var stamp: UInt32 = 0
  }

  /// A segment of the client's or the server's, made from what was told.
  struct Step {
    var name: String
    var face: Int
    var flags: UInt8
    var sequence: (Told) -> UInt32
    var acknowledgement: (Told) -> UInt32
    var options: (Told) -> [UInt8] = { _ in [] }
    var data = 0
    var port: UInt16 = 3000
  }

  static let isn: UInt32 = 1000
  static let serverISN: UInt32 = 777_000
  static let serverStamp: UInt32 = 900_000
  /// The client's timestamp, far from the kernels'.
  static let began: UInt32 = 0x4000_1388

  private static func bytes(_ value: UInt32) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
  }

  private static func stamps(_ value: UInt32, _ echo: UInt32) -> [UInt8] {
    [1, 1, 8, 10] + bytes(value) + bytes(echo)
  }

  /// A conversation from the client's SYN on, whose options it begins with.
  static func steps(_ options: [UInt8]) -> [Step] {
    let stamped = options.contains(8)
    func client(_ value: UInt32) -> (Told) -> [UInt8] {
      { stamped && $0.stamp != 0 ? stamps(value, $0.stamp) : [] }
    }
    func server(_ value: UInt32, _ echo: UInt32, _ more: [UInt8] = []) -> (Told) -> [UInt8] {
      { more + (stamped && $0.stamp != 0 ? stamps(value, echo) : []) }
    }
    return [
      Step(
        name: "SYN", face: 0, flags: 2, sequence: { _ in isn }, acknowledgement: { _ in 0 },
        options: { _ in options }),
      Step(
        name: "a wrong cookie", face: 0, flags: 0x10, sequence: { _ in isn + 1 },
        acknowledgement: { $0.cookie &+ 77 }, options: client(began + 1)),
      Step(
        name: "the cookie", face: 0, flags: 0x10, sequence: { _ in isn + 1 },
        acknowledgement: { $0.cookie &+ 1 }, options: client(began + 2)),
      Step(
        name: "a keepalive", face: 0, flags: 0x10, sequence: { _ in isn },
        acknowledgement: { $0.cookie &+ 1 },
        options: client(began + 3)),
      Step(
        name: "the server's SYN-ACK", face: 1, flags: 0x12, sequence: { _ in serverISN },
        acknowledgement: { _ in isn + 1 },
        options: server(serverStamp, began + 2, [2, 4, 5, 0x64, 1, 3, 3, 3])),
      Step(
        name: "data", face: 0, flags: 0x18, sequence: { _ in isn + 1 }, acknowledgement: { $0.cookie &+ 1 },
        options: client(began + 4), data: 11),
      Step(
        name: "an answer", face: 1, flags: 0x18, sequence: { _ in serverISN + 1 },
        acknowledgement: { _ in isn + 12 }, options: server(900_010, began + 4), data: 20),
      Step(
        name: "its acknowledgement", face: 0, flags: 0x10, sequence: { _ in isn + 12 },
        acknowledgement: { $0.cookie &+ 21 }, options: client(began + 5)),
      Step(
        name: "with a block", face: 0, flags: 0x10, sequence: { _ in isn + 12 },
        acknowledgement: { $0.cookie &+ 21 },
        options: { [1, 1, 5, 10] + bytes($0.cookie &+ 31) + bytes($0.cookie &+ 41) }),
      Step(
        name: "a FIN", face: 1, flags: 0x11, sequence: { _ in serverISN + 21 },
        acknowledgement: { _ in isn + 12 }, options: server(900_020, began + 5)),
      Step(
        name: "another", face: 0, flags: 0x11, sequence: { _ in isn + 12 },
        acknowledgement: { $0.cookie &+ 22 }, options: client(began + 6)),
      Step(
        name: "the last", face: 1, flags: 0x10, sequence: { _ in serverISN + 22 },
        acknowledgement: { _ in isn + 13 }, options: server(900_030, began + 6)),
      Step(name: "a RST", face: 0, flags: 4, sequence: { _ in 5 }, acknowledgement: { _ in 0 }, port: 3001),
    ]
  }

  private static func frame(_ step: Step, _ told: Told, _ isIPv6: Bool) -> Oracle.Probe {
    let isClient = step.face == 0
    let (from, to) = isClient ? (step.port, 80) : (80, step.port)
    let (sequence, acknowledgement) = (step.sequence(told), step.acknowledgement(told))
    let options = step.options(told)
    guard isIPv6 else {
      let (client, server) = ("10.0.0.9", "10.0.1.9")
      return Oracle.tcp(
        isClient ? client : server, from, isClient ? server : client, to, step.flags, seq: sequence,
        ack: acknowledgement, face: step.face, data: step.data, options: options)
    }
    return Oracle6.tcp(
      isClient ? Oracle6.client : Oracle6.server, from, isClient ? Oracle6.server : Oracle6.client, to,
      step.flags, seq: sequence, ack: acknowledgement, face: step.face, data: step.data, options: options)
  }

  /// What segments say, numbers near those that were told as distances; and what was told, by the first SYN-ACK.
  private static func read(_ answers: [[[UInt8]]], _ told: inout Told) -> [String] {
    var lines: [String] = []
    for (face, frames) in answers.enumerated() {
      for frame in frames {
        let isIPv6 = frame[12] == 0x86
        let start = isIPv6 ? 54 : 14 + Int(frame[14] & 15) * 4
        let next = isIPv6 ? frame[20] : frame[23]
        guard next == 6, frame.count >= start + 20 else {
          lines.append("t\(face) no TCP \(next)")
          continue
        }
        let segment = Array(frame[start...])
        func word(_ place: Int) -> UInt32 { segment[place..<place + 4].reduce(0) { $0 << 8 | UInt32($1) } }
        let header = Int(segment[12] >> 4) * 4
        if face == 0, segment[13] & 0x12 == 0x12, told.cookie == 0 {
          told.cookie = word(4)
          var place = 20
          while place + 10 <= header, told.stamp == 0 {
            if segment[place] == 8 { told.stamp = word(place + 2) }
            place += segment[place] <= 1 ? 1 : Int(max(segment[place + 1], 1))
          }
        }
        // Linux, and so this, adds what the server's timestamps are ahead to the proxy's own echo too.
        let twice = 2 &* serverStamp &- told.stamp
        func near(_ value: UInt32, _ base: UInt32, _ name: String) -> String {
          if told.stamp != 0, value == twice { return "twice" }

          let distance = Int32(bitPattern: value &- base)
          return base != 0 && abs(Int(distance)) < 100_000 ? "\(name)+\(distance)" : "\(value)"
        }
        var options: [String] = []
        var place = 20
        while place < header {
          let kind = segment[place]
          let length = kind <= 1 ? 1 : Int(max(segment[place + 1], 1))
          if kind == 8, length == 10 {
            // The last bits of a timestamp are what it remembers.
            let bits = word(place + 2) == told.stamp ? " \(told.stamp & 63)" : ""
            options.append(
              "8:\(near(word(place + 2), told.stamp, "stamp"))\(bits),\(near(word(place + 6), told.stamp, "stamp"))"
            )
          } else if kind == 5 {
            options.append(
              "5:"
                + stride(from: place + 2, to: place + length, by: 4)
                .map { near(word($0), told.cookie, "cookie") }.joined(separator: ","))
          } else {
            options.append("\(segment[place..<min(place + length, header)])")
          }
          place += length
        }
        // The sum must be right; what it is follows from the cookie.
        let pseudo = isIPv6 ? Array(frame[22..<54]) : Array(frame[26..<34])
        let sum = KernelOracleTests.checksum(
          pseudo + [0, 6, UInt8(segment.count >> 8), UInt8(segment.count & 255)] + segment)
        lines.append(
          "t\(face) \(frame[..<14]) \(isIPv6 ? frame[21] : frame[22]) \(pseudo) \(segment[..<4])"
            + " seq \(near(word(4), told.cookie, "cookie")) ack \(near(word(8), told.cookie, "cookie"))"
            + " flags \(segment[13]) window \(segment[14..<16]) \(options) data \(segment.count - header) \(sum)"
        )
      }
    }
    return lines
  }

  /// An emulated router that has read the rules back from the host's kernel.
  private static func prepared(
    _ table: String, _ router: KernelOracleTests.Router, _ setup: OracleSetup
  ) throws -> KernelOracleTests.Emulated {
    var emulated = try KernelOracleTests.Emulated(setup)
    _ = emulated.answers(to: nil, wait: .seconds(2))
    let tables = try Oracle.load(table, into: router)
    try emulated.kernel.commit(tables.flatMap(\.creation), in: emulated.node)
    try Oracle.prepare(&emulated)
    // An ACK begins nothing, or nothing would be left to the proxy.
    try emulated.kernel.setSysctl("net/netfilter/nf_conntrack_tcp_loose", to: "0", in: emulated.node)
    return emulated
  }

  private func converse(_ table: String, _ steps: [Step]) throws {
    let router = try KernelOracleTests.Router()
    try Oracle.prepare(router)
    var emulated = try Self.prepared(table, router, .ipv4)
    try router.set("net/netfilter/nf_conntrack_tcp_loose", "0")
    _ = try router.answers(to: nil)
    var (theirs, ours) = (Told(), Told())
    for step in steps {
      let there = Self.frame(step, theirs, false)
      let here = Self.frame(step, ours, false)
      let expected = Self.read(try router.answers(to: there.frame, by: there.face), &theirs)
      let got = Self.read(emulated.answers(to: here.frame, by: here.face), &ours)
      #expect(got == expected, "\(step.name)")
    }
    let counted = try Oracle.observe(router).tables.flatMap(Oracle.lines)
    #expect(emulated.kernel.nftables(nil, in: emulated.node).tables.flatMap(Oracle.lines) == counted)
    let connections = Oracle.connections(emulated.kernel, emulated.node)
    #expect(try connections == Oracle.connections(router))
    #expect(emulated.kernel.accounting.isClosed)
  }

  /// With a proxy that has a name, or stands in the rule.
  private static func table(_ family: String, _ proxy: String, isNamed: Bool = true) -> String {
    let statement = isNamed ? "name \"sp\"" : proxy.replacing(";", with: "")
    return """
      table \(family) t {
      \(isNamed ? "synproxy sp { \(proxy); }" : "")
      chain r { type filter hook prerouting priority -300; iifname "t0" tcp dport 80 tcp flags syn notrack; }
      chain f { type filter hook forward priority 0; tcp dport 80 ct state invalid,untracked synproxy \(statement); ct state invalid counter drop; counter; }
      }
      """
  }

  private static let client: [UInt8] = [
    2, 4, 5, 180, 4, 2, 8, 10, 0x40, 0, 0x13, 0x88, 0, 0, 0, 0, 1, 3, 3, 5,
  ]

  @Test(
    "What client and server see of each other",
    arguments: [
      "mss 1400; wscale 7; timestamp sack-perm", "mss 1460; wscale 7", "mss 536; wscale 2; timestamp",
    ],
    [[], [2, 4, 5, 180], client, [4, 2, 1, 1]] as [[UInt8]])
  func conversation(proxy: String, options: [UInt8]) throws {
    try converse(Self.table("ip", proxy), Self.steps(options))
  }

  @Test(
    "A proxy without a name is one with it, whatever it leaves out",
    arguments: [
      "mss 1400; wscale 7; timestamp sack-perm", "mss 1460", "wscale 7; timestamp", "sack-perm", "",
    ])
  func unnamed(_ proxy: String) throws {
    try converse(Self.table("ip", proxy, isNamed: false), Self.steps(Self.client))
  }

  /// Linux sums IPv6's segments as if they were IPv4's (nf_ip_checksum) and drops what no card has summed before, which
  /// taps do not; what is here is held to IPv4's conversation.
  @Test("The same of IPv6, but for the sizes that cookies hold", arguments: ["ip6", "inet"])
  func ofIPv6(_ family: String) throws {
    let router = try KernelOracleTests.Router()
    let proxy = "mss 1400; wscale 7; timestamp sack-perm"
    var four = try Self.prepared(Self.table("ip", proxy), router, .ipv4)
    var six = try Self.prepared(Self.table(family, proxy), router, .dual)
    var (told4, told6) = (Told(), Told())
    // A keepalive's number makes of a cookie the next size, if there is one.
    for step in Self.steps(Self.client) where step.name != "a keepalive" {
      let (probe4, probe6) = (Self.frame(step, told4, false), Self.frame(step, told6, true))
      let expected = Self.read(four.answers(to: probe4.frame, by: probe4.face), &told4)
      let got = Self.read(six.answers(to: probe6.frame, by: probe6.face), &told6)
      func said(_ line: String) -> Substring {
        line.replacing("[2, 4, 34, 236]", with: "size").replacing("[2, 4, 5, 160]", with: "size")
          .replacing("[2, 4, 5, 180]", with: "size").replacing("[2, 4, 2, 24]", with: "size")
          .drop { $0 != "s" }
      }
      #expect(got.map(said) == expected.map(said), "\(step.name)")
      #expect(got.map { $0.prefix(2) } == expected.map { $0.prefix(2) }, "\(step.name)")
    }
    #expect(six.kernel.accounting.isClosed)
  }

  @Test("A server that resets, and a connection that is opened again")
  func reopened() throws {
    var steps = Array(Self.steps(Self.client).prefix(6))
    steps += [
      Step(
        name: "the server resets", face: 1, flags: 0x14, sequence: { _ in Self.serverISN + 1 },
        acknowledgement: { _ in Self.isn + 12 }),
      Step(
        name: "data too late", face: 0, flags: 0x18, sequence: { _ in Self.isn + 12 },
        acknowledgement: { $0.cookie &+ 1 }, data: 3),
    ]
    try converse(
      Self.table("ip", "mss 1400; wscale 7; timestamp sack-perm"), steps)
    var refused = Array(Self.steps([2, 4, 5, 180]).prefix(3))
    refused.append(
      Step(
        name: "the server refuses", face: 1, flags: 0x14, sequence: { _ in 0 },
        acknowledgement: { _ in Self.isn + 1 }))
    try converse(Self.table("ip", "mss 1400; wscale 7"), refused)
  }

  @Test("A proxy has its place for what comes in and what goes through only", arguments: [true, false])
  func refusals(isNamed: Bool) throws {
    let proxy = NftSynproxy(maximumSegment: 1400, windowScale: 7, flags: 3)
    for hook in ["prerouting", "output", "postrouting", "input", "forward"] {
      let statement = isNamed ? "name \"sp\"" : "mss 1400 wscale 7"
      let table =
        "table ip t {\nsynproxy sp { mss 1400; wscale 7; }\nchain c { type filter hook \(hook) priority 0; synproxy \(statement); }\n}"
      let router = try KernelOracleTests.Router()
      var tables: [NftTable] = []
      var isTaken = true
      do { tables = try Oracle.load(table, into: router) } catch { isTaken = false }
      guard !isTaken else {
        var emulated = try KernelOracleTests.Emulated()
        try emulated.kernel.commit(tables.flatMap(\.creation), in: emulated.node)
        continue
      }
      let rule = NftRule(expressions: [
        isNamed
          ? .objectReference(NftObjectReference(target: .named(type: 10, name: "sp"))) : .synproxy(proxy)
      ])
      let chain = NftChain(
        name: "c", base: NftBaseChain(hook: try #require(NftHook(rawValue: hook))), rules: [rule])
      let made = NftTable(
        family: .ip, name: "t", chains: [chain],
        objects: [NftObject(name: "sp", state: .synproxy(proxy))])
      var emulated = try KernelOracleTests.Emulated()
      #expect(throws: NftTransactionError.self, "\(hook)") {
        try emulated.kernel.commit(made.creation, in: emulated.node)
      }
    }
  }
}
