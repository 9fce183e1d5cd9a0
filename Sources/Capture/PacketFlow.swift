// SPDX-License-Identifier: GPL-2.0-or-later

// Whose packet a frame carries: what NAT and routers change of it on its way.

public import NetTypes

/// The addresses, ports and lifetime of a packet.
public struct PacketFlow: Hashable, Sendable {
  public var source: IPAddress
  public var destination: IPAddress
  /// IPPROTO_*.
  public var proto: UInt8
  /// Of TCP and UDP.
  public var sourcePort: UInt16?
  public var destinationPort: UInt16?
  /// TTL, or hop limit.
  public var hopLimit: UInt8
  /// Where the frame goes next: its link header's destination.
  public var nextHop: MACAddress?
  /// How many tunnels it is in.
  public var tunnels: Int
  /// The transport header and what follows; of later fragments what they carry.
  public var transport: ArraySlice<UInt8>
  public var isLaterFragment: Bool

  /// Reads a frame or packet; nil when it carries no IP. What VXLAN carries is what counts.
  public init?(_ bytes: [UInt8], _ linkType: LinkType) { self.init(bytes[...], linkType, depth: 0) }

  /// A probe as its sender sends it.
  init(_ probe: ProbePacket) {
    (source, destination, proto, hopLimit) = (probe.source, probe.destination, probe.proto, probe.hopLimit)
    (nextHop, tunnels, transport, isLaterFragment) = (nil, 0, [], false)
    switch probe.transport {
    case .icmp: break
    case .tcp(let from, let to), .udp(let from, let to): (sourcePort, destinationPort) = (from, to)
    }
  }

  private init?(_ bytes: ArraySlice<UInt8>, _ linkType: LinkType, depth: Int) {
    var rest = bytes
    nextHop = nil
    if linkType == .ethernet {
      let view = PacketView(bytes)
      var offset = 12
      guard var type = view.u16(offset) else { return nil }
      while type == 0x8100 || type == 0x88a8 {
        offset += 4
        guard let inner = view.u16(offset) else { return nil }
        type = inner
      }
      guard type == 0x0800 || type == 0x86dd, let high = view.u16(0), let low = view.u32(2) else {
        return nil
      }
      nextHop = MACAddress(rawValue: UInt64(high) << 32 | UInt64(low))
      rest = bytes.dropFirst(offset + 2)
    }
    let view = PacketView(rest)
    switch view.u8(0).map({ $0 >> 4 }) {
    case 4:
      guard let first = view.u8(0), let limit = view.u8(8), let number = view.u8(9),
        let fragment = view.u16(6),
        let from = view.ipv4(12), let to = view.ipv4(16), let total = view.u16(2)
      else { return nil }
      (source, destination, proto, hopLimit) = (.v4(from), .v4(to), number, limit)
      isLaterFragment = fragment & 0x1fff != 0
      transport = rest.prefix(Int(total)).dropFirst(Int(first & 15) * 4)
    case 6:
      guard var next = view.u8(6), let limit = view.u8(7), let from = view.ipv6(8), let to = view.ipv6(24),
        let length = view.u16(4)
      else { return nil }
      (source, destination, hopLimit) = (.v6(from), .v6(to), limit)
      var payload = rest.prefix(40 + Int(length)).dropFirst(40)
      var isLater = false
      while [0, 43, 44, 60].contains(next) {
        let header = PacketView(payload)
        guard let following = header.u8(0), let units = header.u8(1) else { return nil }
        if next == 44 { isLater = isLater || (header.u16(2) ?? 0) & 0xfff8 != 0 }
        payload = payload.dropFirst(next == 44 ? 8 : (Int(units) + 1) * 8)
        next = following
      }
      (proto, transport, isLaterFragment) = (next, payload, isLater)
    default: return nil
    }
    (sourcePort, destinationPort, tunnels) = (nil, nil, depth)
    guard !isLaterFragment, proto == 6 || proto == 17 else { return }
    let ports = PacketView(transport)
    (sourcePort, destinationPort) = (ports.u16(0), ports.u16(2))
    // RFC 7348, section 5: eight bytes of UDP, eight of VXLAN.
    if proto == 17, destinationPort == 4789, depth < 4,
      let inner = PacketFlow(transport.dropFirst(16), .ethernet, depth: depth + 1)
    {
      self = inner
    }
  }

  /// Who sends: `10.0.0.1:4711`.
  public var from: String { Self.end(source, sourcePort) }
  /// Who is sent to: `[fd00::1]:80`.
  public var to: String { Self.end(destination, destinationPort) }

  private static func end(_ address: IPAddress, _ port: UInt16?) -> String {
    guard let port else { return "\(address)" }
    return address.family == .ipv6 ? "[\(address)]:\(port)" : "\(address):\(port)"
  }
}
