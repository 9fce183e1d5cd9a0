// SPDX-License-Identifier: GPL-2.0-or-later

// Values as nft's language writes them, by their type.

import NetTypes

/// Writes values of a type.
struct ValueText {
  let type: NftDataType
  /// True when the bytes were turned into network order for a comparison.
  var isSwapped = false

  func text(_ data: NftData) -> String {
    let data = isSwapped ? data.reversed : data
    switch type {
    case .ipv4Address: return IPv4Address(bytes: data.bytes)?.description ?? number(data)
    case .ipv6Address: return IPv6Address(bytes: data.bytes)?.description ?? number(data)
    case .etherAddress: return MACAddress(bytes: data.bytes)?.description ?? number(data)
    case .interfaceName:
      let name = String(decoding: data.bytes.prefix { $0 != 0 }, as: UTF8.self)
      return data.count < 16 ? "\"\(name)*\"" : "\"\(name)\""
    case .string: return quoted(String(decoding: data.bytes.prefix { $0 != 0 }, as: UTF8.self))
    case .time: return "\(value(data))ms"
    // Numbers, which nft reads alike in each zone. What it cannot read is better refused than read as another time.
    case .date:
      let (seconds, rest) = value(data).quotientAndRemainder(dividingBy: 1_000_000_000)
      return rest == 0 ? "\(seconds)" : "\(seconds).\(rest)"
    case .weekday:
      return quoted(Self.names[type.rawValue]?.first { $0.value == value(data) }?.name ?? number(data))
    case .mark, .classID, .realm: return "0x" + Self.padded(value(data))
    default: break
    }
    if type == .connectionLabel { return labels(data) }
    if type.isBitmask { return flags(data) }
    return Self.names[type.rawValue]?.first { $0.value == value(data) }?.name ?? number(data)
  }

  /// An inclusive interval; a prefix where it is one.
  func text(_ first: NftData, _ last: NftData) -> String {
    if first == last { return text(first) }
    if type == .ipv4Address || type == .ipv6Address, let length = Self.prefixLength(first, last) {
      return "\(text(first))/\(length)"
    }
    if type == .interfaceName, let stem = Self.stem(first, last) { return "\"\(stem)*\"" }
    return "\(text(first))-\(text(last))"
  }

  /// The bits of flags by name; a number where one has none.
  private func flags(_ data: NftData) -> String {
    let names = Self.flagNames[type.rawValue] ?? []
    var rest = value(data)
    var parts: [String] = []
    for (name, bit) in names where rest & bit != 0 {
      // Elsewhere these are words of nft's own, which it takes for events between quotes only.
      let isReserved = type == .connectionEvent && ["helper", "mark", "secmark"].contains(name)
      parts.append(isReserved ? quoted(name) : name)
      rest &= ~bit
    }
    if rest != 0 || parts.isEmpty { parts.append("0x" + String(rest, radix: 16)) }
    return parts.joined(separator: ",")
  }

  /// The numbers of the labels that are set.
  private func labels(_ data: NftData) -> String {
    let bytes = NftData.hostIsLittleEndian ? data.bytes : data.bytes.reversed()
    let numbers = (0..<bytes.count * 8).filter { bytes[$0 / 8] & 1 << UInt8($0 % 8) != 0 }
    return numbers.isEmpty ? "0x0" : numbers.map(String.init).joined(separator: ",")
  }

  private func value(_ data: NftData) -> UInt64 { type.isHostOrder ? data.hostValue : data.bigEndianValue }

  private func number(_ data: NftData) -> String {
    data.count <= 8 ? String(value(data)) : "0x\(data)"
  }

  private static func padded(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, 8 - digits.count)) + digits
  }

  /// The prefix that an interval is, if it is one.
  static func prefixLength(_ first: NftData, _ last: NftData) -> Int? {
    guard first.count == last.count else { return nil }
    for length in 0..<first.count * 8 {
      let mask = prefixMask(length, bytes: first.count).bytes
      let low = zip(first.bytes, mask).map { $0 & $1 }
      let high = zip(first.bytes, mask).map { $0 | ~$1 }
      if low == first.bytes, high == last.bytes { return length }
    }
    return nil
  }

  private static func stem(_ first: NftData, _ last: NftData) -> String? {
    let stem = Array(first.bytes.prefix { $0 != 0 })
    guard first.count == 16, last.bytes == stem + [UInt8](repeating: 0xff, count: 16 - stem.count) else {
      return nil
    }
    return String(decoding: stem, as: UTF8.self)
  }

  static let flagNames: [UInt32: [(name: String, bit: UInt64)]] = [
    15: [
      ("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 0x10), ("urg", 0x20), ("ecn", 0x40),
      ("cwr", 0x80),
    ],
    26: [("invalid", 1), ("established", 2), ("related", 4), ("new", 8), ("untracked", 0x40)],
    28: [
      ("expected", 1), ("seen-reply", 2), ("assured", 4), ("confirmed", 8), ("snat", 0x10), ("dnat", 0x20),
      ("dying", 0x200),
    ],
    // enum ip_conntrack_events.
    40: [
      ("new", 1), ("related", 2), ("destroy", 4), ("reply", 8), ("assured", 0x10), ("protoinfo", 0x20),
      ("helper", 0x40), ("mark", 0x80), ("seqadj", 0x100), ("secmark", 0x200), ("label", 0x400),
    ],
  ]

  static let names: [UInt32: [(name: String, value: UInt64)]] = [
    2: [("ipv4", 2), ("ipv6", 10)],
    10: [("ip", 0x0800), ("arp", 0x0806), ("vlan", 0x8100), ("ip6", 0x86dd), ("8021ad", 0x88a8)],
    11: [("request", 1), ("reply", 2)],
    12: [
      ("icmp", 1), ("igmp", 2), ("tcp", 6), ("udp", 17), ("dccp", 33), ("gre", 47), ("esp", 50), ("ah", 51),
      ("ipv6-icmp", 58), ("sctp", 132), ("udplite", 136),
    ],
    14: [
      ("echo-reply", 0), ("destination-unreachable", 3), ("source-quench", 4), ("redirect", 5),
      ("echo-request", 8), ("router-advertisement", 9), ("router-solicitation", 10), ("time-exceeded", 11),
      ("parameter-problem", 12), ("timestamp-request", 13), ("timestamp-reply", 14),
      ("info-request", 15), ("info-reply", 16), ("address-mask-request", 17), ("address-mask-reply", 18),
    ],
    // RFC 4340, RFC 6275.
    16: [
      ("request", 0), ("response", 1), ("data", 2), ("ack", 3), ("dataack", 4), ("closereq", 5), ("close", 6),
      ("reset", 7), ("sync", 8), ("syncack", 9),
    ],
    17: [
      ("binding-refresh-request", 0), ("home-test-init", 1), ("careof-test-init", 2), ("home-test", 3),
      ("careof-test", 4), ("binding-update", 5), ("binding-acknowledgement", 6), ("binding-error", 7),
      ("fast-binding-update", 8), ("fast-binding-acknowledgement", 9), ("fast-binding-advertisement", 10),
      ("experimental-mobility-header", 11), ("home-agent-switch-message", 12),
    ],
    27: [("original", 0), ("reply", 1)],
    29: [
      ("destination-unreachable", 1), ("packet-too-big", 2), ("time-exceeded", 3), ("parameter-problem", 4),
      ("echo-request", 128), ("echo-reply", 129), ("mld-listener-query", 130), ("mld-listener-report", 131),
      ("mld-listener-done", 132), ("nd-router-solicit", 133), ("nd-router-advert", 134),
      ("nd-neighbor-solicit", 135), ("nd-neighbor-advert", 136), ("nd-redirect", 137),
      ("router-renumbering", 138), ("ind-neighbor-solicit", 141), ("ind-neighbor-advert", 142),
      ("mld2-listener-report", 143),
    ],
    42: [
      ("membership-query", 0x11), ("membership-report-v1", 0x12), ("membership-report-v2", 0x16),
      ("leave-group", 0x17), ("membership-report-v3", 0x22),
    ],
    45: [
      ("Sunday", 0), ("Monday", 1), ("Tuesday", 2), ("Wednesday", 3), ("Thursday", 4), ("Friday", 5),
      ("Saturday", 6),
    ],
    31: [("host", 0), ("broadcast", 1), ("multicast", 2), ("other", 3)],
    38: [
      ("unspec", 0), ("unicast", 1), ("local", 2), ("broadcast", 3), ("anycast", 4), ("multicast", 5),
      ("blackhole", 6), ("unreachable", 7), ("prohibit", 8),
    ],
  ]
}
