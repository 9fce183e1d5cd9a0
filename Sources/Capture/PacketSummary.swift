// SPDX-License-Identifier: GPL-2.0-or-later

// A packet in one line, in the words that tcpdump(8) has for it with -n, so that whoever knows those reads these. The
// sequence numbers of a TCP connection count from its first segment that was seen.

import NetTypes

/// Tells packets in a line each. Of one capture: it remembers the connections.
public struct PacketSummary: Sendable {
  var conversations = TCPConversations()

  public init() {}

  /// What a packet is.
  public mutating func describe(_ packet: CapturedPacket, _ linkType: LinkType) -> String {
    let view = PacketView(packet.bytes[...])
    switch linkType {
    case .ethernet: return ethernet(view, length: packet.length)
    case .raw:
      switch view.u8(0).map({ $0 >> 4 }) {
      case 4: return ipv4(view)
      case 6: return ipv6(view)
      default: return "unknown ip version"
      }
    }
  }

  private mutating func ethernet(_ view: PacketView, length: Int) -> String {
    var offset = 12
    guard var type = view.u16(offset) else { return "[|ether]" }
    while type == 0x8100 || type == 0x88a8 {
      offset += 4
      guard let inner = view.u16(offset) else { return "[|vlan]" }
      type = inner
    }
    let body = view.from(offset + 2)
    switch type {
    case 0x0800: return ipv4(body)
    case 0x86dd: return ipv6(body)
    case 0x0806: return arp(body)
    case ..<0x0600:
      let isSpanningTree = body.u16(0) == 0x4242
      return (isSpanningTree ? "STP 802.1d" : "802.3") + ", length \(type)"
    default:
      return "\(Self.mac(view, 6) ?? "?") > \(Self.mac(view, 0) ?? "?"), ethertype Unknown "
        + "(0x\(Self.hex(UInt64(type), 4))), length \(length)"
    }
  }

  private func arp(_ view: PacketView) -> String {
    guard view.u16(0) == 1, view.u16(2) == 0x0800, let operation = view.u16(6),
      let from = view.ipv4(14), let to = view.ipv4(24), let mac = Self.mac(view, 8)
    else { return "[|arp]" }
    switch operation {
    case 1: return "ARP, Request who-has \(to) tell \(from), length \(view.count)"
    case 2: return "ARP, Reply \(from) is-at \(mac), length \(view.count)"
    default: return "ARP, Unknown (\(operation)), length \(view.count)"
    }
  }

  // MARK: IP

  mutating func ipv4(_ view: PacketView) -> String {
    guard let first = view.u8(0), let total = view.u16(2), let fragment = view.u16(6),
      let number = view.u8(9),
      let source = view.ipv4(12), let destination = view.ipv4(16)
    else { return "IP [|ip]" }
    let header = Int(first & 0x0f) * 4
    guard header >= 20, Int(total) >= header else { return "IP bad-hlen \(header)" }
    let addresses = ("\(source)", "\(destination)")
    let payload = view.prefix(Int(total)).from(header)
    let length = Int(total) - header
    guard fragment & 0x1fff == 0 else {
      return "IP \(addresses.0) > \(addresses.1): ip-proto-\(number)"
    }
    return "IP " + transport(payload, number, length, addresses, .ipv4)
  }

  mutating func ipv6(_ view: PacketView) -> String {
    guard let payloadLength = view.u16(4), var next = view.u8(6), let source = view.ipv6(8),
      let destination = view.ipv6(24)
    else { return "IP6 [|ip6]" }
    let addresses = ("\(source)", "\(destination)")
    var payload = view.prefix(40 + Int(payloadLength)).from(40)
    var length = Int(payloadLength)
    var words = ""
    // Headers in front of the transport's (RFC 8200, section 4).
    while true {
      switch next {
      case 0, 43, 60:
        guard let following = payload.u8(0), let units = payload.u8(1) else { return "IP6 [|ip6]" }
        let size = (Int(units) + 1) * 8
        words += next == 0 ? "HBH " : next == 43 ? "srcrt " : "DSTOPT "
        (next, payload, length) = (following, payload.from(size), length - size)
      case 44:
        guard let following = payload.u8(0), let place = payload.u16(2) else { return "IP6 [|frag]" }
        let (offset, size) = (place & 0xfff8, length - 8)
        words += "frag (\(offset)|\(size)) "
        (next, payload, length) = (following, payload.from(8), size)
        if offset != 0 { return "IP6 \(addresses.0) > \(addresses.1): \(words.dropLast())" }
      default:
        let text = transport(payload, next, length, addresses, .ipv6)
        guard !words.isEmpty, let colon = text.firstRange(of: ": ") else { return "IP6 " + text }
        return "IP6 " + text[..<colon.upperBound] + words + text[colon.upperBound...]
      }
    }
  }

  private mutating func transport(
    _ view: PacketView, _ number: UInt8, _ length: Int, _ addresses: (String, String), _ family: IPFamily
  ) -> String {
    let between = "\(addresses.0) > \(addresses.1): "
    switch number {
    case 1 where family == .ipv4: return between + icmp(view, length)
    case 2 where family == .ipv4: return between + Self.igmp(view)
    case 58 where family == .ipv6: return between + icmpv6(view, length)
    case 6: return tcp(view, length, addresses)
    case 17:
      guard let source = view.u16(0), let destination = view.u16(2), let size = view.u16(4) else {
        return between + "[|udp]"
      }
      return "\(addresses.0).\(source) > \(addresses.1).\(destination): UDP, length \(max(Int(size) - 8, 0))"
    default: return between + " ip-proto-\(number) \(length)"
    }
  }

  /// RFC 3376.
  private static func igmp(_ view: PacketView) -> String {
    let group = view.ipv4(4)?.description ?? "?"
    switch view.u8(0) {
    case 0x16: return "igmp v2 report \(group)"
    case 0x17: return "igmp leave \(group)"
    case 0x22: return "igmp v3 report, \(view.u16(6) ?? 0) group record(s)"
    default: return "igmp type \(view.u8(0) ?? 0)"
    }
  }

  // MARK: Words

  static func name(ofProtocol number: UInt8) -> String {
    switch number {
    case 1: "icmp"
    case 6: "tcp"
    case 17: "udp"
    case 58: "icmp6"
    default: "ip-proto-\(number)"
    }
  }

  static func hex(_ value: UInt64, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(digits - text.count, 0)) + text
  }

  static func mac(_ view: PacketView, _ offset: Int) -> String? {
    let bytes = (0..<6).compactMap { view.u8(offset + $0) }
    guard bytes.count == 6 else { return nil }
    return bytes.map { hex(UInt64($0), 2) }.joined(separator: ":")
  }
}
