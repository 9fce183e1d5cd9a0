// SPDX-License-Identifier: GPL-2.0-or-later

// Selectors of what stands in a packet only now and then: extension headers of IPv6 (RFC 8200, RFC 8754, RFC 6275),
// options of IPv4 (RFC 791, RFC 2113) and TCP (RFC 9293, RFC 2018, RFC 7323, RFC 8684), chunks of SCTP (RFC 9260).
// Positions are in bits from the header's, option's or chunk's first byte; nft's words.

import NetTypes

extension Selector {
  static let headerSelectors: [Selector] = extensionHeaders + ipOptions + tcpOptions + sctpChunks

  /// A field by its name behind its header's, where it begins, and how many bits it has.
  private typealias Part = (name: String, type: NftDataType, bit: UInt32, width: UInt32)

  /// Whether it is there at all.
  private static let presence: Part = ("", .boolean, 0, 8)
  private static let byte = NftDataType.integer(1)
  private static let short = NftDataType.integer(2)
  private static let long = NftDataType.integer(4)

  private static func fields(
    _ operation: NftExthdrOperation, _ name: String, _ number: UInt8, _ parts: [Part],
    requires requirement: Requirement = .nothing
  ) -> [Selector] {
    parts.map { part in
      Selector(
        part.name.isEmpty ? name : "\(name) \(part.name)", part.type,
        .exthdr(operation, type: number, bit: part.bit, width: part.width, presence: part.name.isEmpty),
        requires: requirement)
    }
  }

  // MARK: IPv6

  private static let extensionHeaders: [Selector] = [
    header("exthdr hbh", 0, [presence]), header("exthdr rt", 43, [presence]),
    header("exthdr frag", 44, [presence]), header("exthdr dst", 60, [presence]),
    header("exthdr mh", 135, [presence]),
    header("hbh", 0, [next, ("hdrlength", byte, 8, 8)]),
    header("rt", 43, [next, ("hdrlength", byte, 8, 8), ("type", byte, 16, 8), ("seg-left", byte, 24, 8)]),
    header("srh", 43, [("last-entry", byte, 32, 8), ("flags", byte, 40, 8), ("tag", short, 48, 16)]),
    // Counted from one; nft has words for two.
    header("srh", 43, [("sid[1]", .ipv6Address, 64, 128), ("sid[2]", .ipv6Address, 192, 128)]),
    header(
      "frag", 44,
      [
        next, ("reserved", byte, 8, 8), ("frag-off", short, 16, 13), ("reserved2", byte, 29, 2),
        ("more-fragments", byte, 31, 1), ("id", long, 32, 32),
      ]),
    header("dst", 60, [next, ("hdrlength", byte, 8, 8)]),
    header(
      "mh", 135,
      [
        next, ("hdrlength", byte, 8, 8), ("type", .mobilityType, 16, 8), ("reserved", byte, 24, 8),
        ("checksum", short, 32, 16),
      ]),
  ].flatMap { (parts: [Selector]) in parts }

  private static let next: Part = ("nexthdr", .ipProtocol, 0, 8)

  private static func header(_ name: String, _ number: UInt8, _ parts: [Part]) -> [Selector] {
    fields(.ipv6, name, number, parts, requires: .network(.ipv6))
  }

  // MARK: IPv4

  private static let ipOptions: [Selector] = [
    ipOption("rr", 7, route), ipOption("lsrr", 131, route), ipOption("ssrr", 137, route),
    ipOption("ra", 148, [("type", byte, 0, 8), ("length", byte, 8, 8), ("value", short, 16, 16)]),
  ].flatMap { (parts: [Selector]) in parts }

  private static let route: [Part] = [
    ("type", byte, 0, 8), ("length", byte, 8, 8), ("ptr", byte, 16, 8), ("addr", long, 24, 32),
  ]

  private static func ipOption(_ name: String, _ number: UInt8, _ parts: [Part]) -> [Selector] {
    fields(.ipv4Option, "ip option \(name)", number, [presence] + parts, requires: .network(.ipv4))
  }

  // MARK: TCP

  private static let tcpOptions: [Selector] = [
    tcpOption("eol", 0, []), tcpOption("nop", 1, []),
    tcpOption("maxseg", 2, [length, ("size", short, 16, 16)]),
    tcpOption("window", 3, [length, ("count", byte, 16, 8)]), tcpOption("sack-perm", 4, [length]),
    tcpOption("sack", 5, [length, ("left", long, 16, 32), ("right", long, 48, 32)]),
    fields(.tcpOption, "tcp option sack1", 5, [("left", long, 80, 32), ("right", long, 112, 32)]),
    fields(.tcpOption, "tcp option sack2", 5, [("left", long, 144, 32), ("right", long, 176, 32)]),
    fields(.tcpOption, "tcp option sack3", 5, [("left", long, 208, 32), ("right", long, 240, 32)]),
    tcpOption("timestamp", 8, [length, ("tsval", long, 16, 32), ("tsecr", long, 48, 32)]),
    tcpOption("md5sig", 19, [length]), tcpOption("mptcp", 30, [length, ("subtype", byte, 16, 4)]),
    tcpOption("fastopen", 34, [length]),
  ].flatMap { (parts: [Selector]) in parts }

  private static let length: Part = ("length", byte, 8, 8)

  private static func tcpOption(_ name: String, _ number: UInt8, _ parts: [Part]) -> [Selector] {
    fields(.tcpOption, "tcp option \(name)", number, [presence] + parts)
  }

  /// Bits of a TCP option by its number; the first byte asks whether it is there.
  public static func tcpOption(_ number: UInt8, bit: UInt32, width: UInt32) -> Selector {
    let isPresence = bit == 0 && width == 8
    return Selector(
      "tcp option " + (isPresence ? "\(number)" : "@\(number),\(bit),\(width)"),
      isPresence ? .boolean : .integer(Int(width + 7) / 8),
      .exthdr(.tcpOption, type: number, bit: bit, width: width, presence: isPresence))
  }

  // MARK: SCTP

  private static let sctpChunks: [Selector] = [
    chunk(
      "data", 0,
      [("tsn", long, 32, 32), ("stream", short, 64, 16), ("ssn", short, 80, 16), ("ppid", long, 96, 32)]),
    chunk("init", 1, beginning), chunk("init-ack", 2, beginning),
    chunk(
      "sack", 3,
      [
        ("cum-tsn-ack", long, 32, 32), ("a-rwnd", long, 64, 32), ("num-gap-ack-blocks", short, 96, 16),
        ("num-dup-tsns", short, 112, 16),
      ]),
    chunk("heartbeat", 4, []), chunk("heartbeat-ack", 5, []), chunk("abort", 6, []),
    chunk("shutdown", 7, [("cum-tsn-ack", long, 32, 32)]), chunk("shutdown-ack", 8, []),
    chunk("error", 9, []), chunk("cookie-echo", 10, []), chunk("cookie-ack", 11, []),
    chunk("ecne", 12, [("lowest-tsn", long, 32, 32)]), chunk("cwr", 13, [("lowest-tsn", long, 32, 32)]),
    chunk("shutdown-complete", 14, []), chunk("asconf-ack", 128, [("seqno", long, 32, 32)]),
    chunk("forward-tsn", 192, [("new-cum-tsn", long, 32, 32)]),
    chunk("asconf", 193, [("seqno", long, 32, 32)]),
  ].flatMap { (parts: [Selector]) in parts }

  private static let beginning: [Part] = [
    ("init-tag", long, 32, 32), ("a-rwnd", long, 64, 32), ("num-outbound-streams", short, 96, 16),
    ("num-inbound-streams", short, 112, 16), ("initial-tsn", long, 128, 32),
  ]

  private static func chunk(_ name: String, _ number: UInt8, _ parts: [Part]) -> [Selector] {
    let common: [Part] = [presence, ("type", byte, 0, 8), ("flags", byte, 8, 8), ("length", short, 16, 16)]
    return fields(.sctpChunk, "sctp chunk \(name)", number, common + parts)
  }
}
