// SPDX-License-Identifier: GPL-2.0-or-later

// A packet that is made to be recognised wherever it comes by: by bytes of its transport that no router and no
// translation changes. Of TCP that is the sequence number of a SYN, of UDP and echo requests the payload.

public import NetTypes

/// A packet with its mark.
public struct ProbePacket: Hashable, Codable, Sendable {
  public enum Transport: Hashable, Codable, Sendable {
    /// An echo request.
    case icmp
    case tcp(source: UInt16, destination: UInt16)
    case udp(source: UInt16, destination: UInt16)
  }

  public var source: IPAddress
  public var destination: IPAddress
  public var transport: Transport
  public var hopLimit: UInt8
  /// Bytes of payload, of UDP and ICMP; the mark is the first of them.
  public var payloadLength: Int
  /// What it is recognised by.
  public var mark: UInt64

  public init(
    from source: IPAddress, to destination: IPAddress, _ transport: Transport, hopLimit: UInt8 = 64,
    payloadLength: Int = 56, mark: UInt64
  ) {
    self.source = source
    self.destination = destination
    self.transport = transport
    self.hopLimit = hopLimit
    self.payloadLength = max(payloadLength, 8)
    self.mark = mark
  }

  /// IPPROTO_*.
  public var proto: UInt8 {
    switch transport {
    case .icmp: source.family == .ipv4 ? 1 : 58
    case .tcp: 6
    case .udp: 17
    }
  }

  /// Where the mark stands in the transport's bytes, and how it reads.
  public var place: (offset: Int, bytes: [UInt8]) {
    let bytes = (0..<8).map { UInt8(truncatingIfNeeded: mark >> (56 - 8 * $0)) }
    if case .tcp = transport { return (4, Array(bytes[..<4])) }
    return (8, bytes)
  }

  /// As it begins its way.
  public var flow: PacketFlow { PacketFlow(self) }

  /// `TCP SYN 10.0.0.1:4711 > 10.0.0.2:80`.
  public var words: String {
    let name =
      switch transport {
      case .icmp: "echo request"
      case .tcp: "TCP SYN"
      case .udp: "UDP datagram"
      }
    return "\(name) \(flow.from) > \(flow.to)"
  }

  // MARK: Recognising

  /// Whether a frame carries this packet, whatever its addresses are by now.
  public func isCarried(by flow: PacketFlow) -> Bool {
    guard flow.proto == proto, !flow.isLaterFragment, carriesMark(flow.transport) else { return false }
    switch transport {
    case .icmp: return PacketView(flow.transport).u8(0) == (source.family == .ipv4 ? 8 : 128)
    // What answers a SYN has its own number; what answers a datagram comes from where that went to.
    case .tcp: return true
    case .udp(_, let port): return flow.destinationPort == port || flow.sourcePort != port
    }
  }

  private func carriesMark(_ bytes: ArraySlice<UInt8>) -> Bool {
    bytes.dropFirst(place.offset).starts(with: place.bytes)
  }

  /// What a frame answers to this packet: `echo reply`, `SYN,ACK`; nil when it is no answer.
  public func answer(in flow: PacketFlow) -> String? {
    let view = PacketView(flow.transport)
    if flow.proto == (source.family == .ipv4 ? 1 : 58), let type = view.u8(0), quotes(flow) {
      let error = ICMPError(type: type, code: view.u8(1) ?? 0, family: source.family)
      return error.isError ? error.description : nil
    }
    guard flow.proto == proto else { return nil }
    switch transport {
    case .icmp:
      return view.u8(0) == (source.family == .ipv4 ? 0 : 129) && carriesMark(flow.transport)
        ? "echo reply" : nil
    case .udp(_, let port):
      return flow.sourcePort == port && carriesMark(flow.transport) ? "the same datagram" : nil
    case .tcp:
      guard view.u32(8) == UInt32(truncatingIfNeeded: mark >> 32) &+ 1, let flags = view.u8(13) else {
        return nil
      }
      return flags & 0x04 != 0 ? "RST" : flags & 0x02 != 0 ? "SYN,ACK" : nil
    }
  }

  /// Whether what answers this packet is an ICMP error.
  public func isError(_ flow: PacketFlow) -> Bool {
    guard flow.proto == (source.family == .ipv4 ? 1 : 58), let type = PacketView(flow.transport).u8(0) else {
      return false
    }
    return ICMPError(type: type, code: 0, family: source.family).isError
  }

  /// Whether an ICMP message quotes this packet.
  private func quotes(_ flow: PacketFlow) -> Bool {
    guard let inner = PacketFlow(Array(flow.transport.dropFirst(8)), .raw) else { return false }
    // The quote may end before the mark does.
    let (offset, bytes) = place
    let quoted = inner.transport.dropFirst(offset)
    return inner.proto == proto && !quoted.isEmpty && bytes.starts(with: quoted.prefix(bytes.count))
  }

  // MARK: Making

  /// The whole packet from its IP header on, its checksums made.
  public var bytes: [UInt8] {
    let body = transportBytes
    return header(body.count) + body
  }

  /// The same from its transport header on.
  public var transportBytes: [UInt8] {
    var body: [UInt8] = []
    switch transport {
    case .icmp:
      body =
        [source.family == .ipv4 ? 8 : 128, 0, 0, 0] + Self.u16(UInt16(truncatingIfNeeded: mark)) + [0, 1]
      body += payload
      Self.setChecksum(&body, at: 2, pseudo: source.family == .ipv4 ? [] : pseudoHeader(body.count))
    case .udp(let from, let to):
      body = Self.u16(from) + Self.u16(to) + Self.u16(UInt16(clamping: 8 + payloadLength)) + [0, 0] + payload
      Self.setChecksum(&body, at: 6, pseudo: pseudoHeader(body.count))
    case .tcp(let from, let to):
      body = Self.u16(from) + Self.u16(to) + place.bytes + [0, 0, 0, 0]
      // A SYN with Linux's window, MSS 1460 and SACK permitted.
      body += [0x70, 0x02, 0xfa, 0xf0, 0, 0, 0, 0, 2, 4, 5, 0xb4, 4, 2, 1, 1]
      Self.setChecksum(&body, at: 16, pseudo: pseudoHeader(body.count))
    }
    return body
  }

  private var payload: [UInt8] {
    let mark = (0..<8).map { UInt8(truncatingIfNeeded: self.mark >> (56 - 8 * $0)) }
    return mark + (8..<payloadLength).map { UInt8(truncatingIfNeeded: $0) }
  }

  private func header(_ length: Int) -> [UInt8] {
    switch (source, destination) {
    case (.v4(let from), .v4(let to)):
      var header: [UInt8] = [0x45, 0] + Self.u16(UInt16(clamping: 20 + length))
      header += Self.u16(UInt16(truncatingIfNeeded: mark >> 16) | 1) + [0x40, 0, hopLimit, proto, 0, 0]
      header += Self.u32(from.rawValue) + Self.u32(to.rawValue)
      Self.setChecksum(&header, at: 10, pseudo: [])
      return header
    case (.v6(let from), .v6(let to)):
      return [0x60, 0, 0, 0] + Self.u16(UInt16(clamping: length)) + [proto, hopLimit]
        + Self.bytes(of: from) + Self.bytes(of: to)
    default: return []
    }
  }

  private func pseudoHeader(_ length: Int) -> [UInt8] {
    switch (source, destination) {
    case (.v4(let from), .v4(let to)):
      Self.u32(from.rawValue) + Self.u32(to.rawValue) + [0, proto] + Self.u16(UInt16(clamping: length))
    case (.v6(let from), .v6(let to)):
      Self.bytes(of: from) + Self.bytes(of: to) + Self.u32(UInt32(clamping: length)) + [0, 0, 0, proto]
    default: []
    }
  }

  private static func u16(_ value: UInt16) -> [UInt8] {
    [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)]
  }

  private static func u32(_ value: UInt32) -> [UInt8] {
    u16(UInt16(value >> 16)) + u16(UInt16(truncatingIfNeeded: value))
  }

  private static func bytes(of address: IPv6Address) -> [UInt8] {
    [address.high, address.low].flatMap { half in
      u32(UInt32(half >> 32)) + u32(UInt32(truncatingIfNeeded: half))
    }
  }

  /// RFC 1071.
  private static func setChecksum(_ bytes: inout [UInt8], at place: Int, pseudo: [UInt8]) {
    var sum: UInt32 = 0
    let all = pseudo + bytes + (bytes.count % 2 == 0 ? [] : [0])
    for index in stride(from: 0, to: all.count - 1, by: 2) {
      sum += UInt32(all[index]) << 8 | UInt32(all[index + 1])
    }
    while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
    let checksum = ~UInt16(sum)
    let value = u16(checksum == 0 ? 0xffff : checksum)
    (bytes[place], bytes[place + 1]) = (value[0], value[1])
  }
}
