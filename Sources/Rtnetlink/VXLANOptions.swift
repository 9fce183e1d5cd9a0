// SPDX-License-Identifier: GPL-2.0-or-later

// A VXLAN device's settings (RFC 7348, IFLA_VXLAN_*; drivers/net/vxlan).

import CLinux
public import NetTypes

/// The settings of a VXLAN device. What is nil is left as it is, or was not told.
public struct VXLANOptions: Hashable, Sendable {
  /// The VNI, 24 bits.
  public var identifier: UInt32?
  /// A multicast group or one remote endpoint.
  public var remote: IPAddress?
  public var local: IPAddress?
  /// The device that carries the outer packets.
  public var lowerIndex: Int32?
  /// The destination's UDP port. The kernel's own default is 8472, IANA's is 4789.
  public var port: UInt16?
  /// Source ports.
  public var portRange: VXLANPortRange?
  /// 0 takes the route's.
  public var timeToLive: UInt8?
  /// 1 takes the inner packet's.
  public var typeOfService: UInt8?
  public var learning: Bool?
  /// Seconds.
  public var ageing: UInt32?
  /// The most FDB entries; 0 for no limit.
  public var limit: UInt32?
  /// 0 never, 1 always, 2 the inner packet's.
  public var dontFragment: UInt8?
  public var proxy: Bool?
  public var routeShortCircuit: Bool?
  public var l2MissNotify: Bool?
  public var l3MissNotify: Bool?
  public var collectMetadata: Bool?
  public var udpChecksum: Bool?
  public var zeroChecksumTransmit6: Bool?
  public var zeroChecksumReceive6: Bool?

  public init() {}

  func encode(into writer: inout NetlinkWriter) {
    writer.u32(IFLA_VXLAN_ID, identifier)
    writer.i32(IFLA_VXLAN_LINK, lowerIndex)
    writer.be16(IFLA_VXLAN_PORT, port)
    writer.u8(IFLA_VXLAN_TTL, timeToLive)
    writer.u8(IFLA_VXLAN_TOS, typeOfService)
    writer.bool(IFLA_VXLAN_LEARNING, learning)
    writer.u32(IFLA_VXLAN_AGEING, ageing)
    writer.u32(IFLA_VXLAN_LIMIT, limit)
    writer.u8(IFLA_VXLAN_DF, dontFragment)
    writer.bool(IFLA_VXLAN_PROXY, proxy)
    writer.bool(IFLA_VXLAN_RSC, routeShortCircuit)
    writer.bool(IFLA_VXLAN_L2MISS, l2MissNotify)
    writer.bool(IFLA_VXLAN_L3MISS, l3MissNotify)
    writer.bool(IFLA_VXLAN_COLLECT_METADATA, collectMetadata)
    writer.bool(IFLA_VXLAN_UDP_CSUM, udpChecksum)
    writer.bool(IFLA_VXLAN_UDP_ZERO_CSUM6_TX, zeroChecksumTransmit6)
    writer.bool(IFLA_VXLAN_UDP_ZERO_CSUM6_RX, zeroChecksumReceive6)
    if let remote { writer.address(remote.family == .ipv4 ? IFLA_VXLAN_GROUP : IFLA_VXLAN_GROUP6, remote) }
    if let local { writer.address(local.family == .ipv4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, local) }
    if let portRange {
      writer.structure(
        IFLA_VXLAN_PORT_RANGE,
        ifla_vxlan_port_range(low: portRange.low.bigEndian, high: portRange.high.bigEndian))
    }
  }

  init(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    var reader = content
    while let attribute = try reader.next() {
      switch attribute.type {
      case IFLA_VXLAN_ID: identifier = try attribute.u32()
      case IFLA_VXLAN_LINK: lowerIndex = try attribute.i32()
      case IFLA_VXLAN_PORT: port = try attribute.be16()
      case IFLA_VXLAN_TTL: timeToLive = try attribute.u8()
      case IFLA_VXLAN_TOS: typeOfService = try attribute.u8()
      case IFLA_VXLAN_LEARNING: learning = try attribute.bool()
      case IFLA_VXLAN_AGEING: ageing = try attribute.u32()
      case IFLA_VXLAN_LIMIT: limit = try attribute.u32()
      case IFLA_VXLAN_DF: dontFragment = try attribute.u8()
      case IFLA_VXLAN_PROXY: proxy = try attribute.bool()
      case IFLA_VXLAN_RSC: routeShortCircuit = try attribute.bool()
      case IFLA_VXLAN_L2MISS: l2MissNotify = try attribute.bool()
      case IFLA_VXLAN_L3MISS: l3MissNotify = try attribute.bool()
      case IFLA_VXLAN_COLLECT_METADATA: collectMetadata = try attribute.bool()
      case IFLA_VXLAN_UDP_CSUM: udpChecksum = try attribute.bool()
      case IFLA_VXLAN_UDP_ZERO_CSUM6_TX: zeroChecksumTransmit6 = try attribute.bool()
      case IFLA_VXLAN_UDP_ZERO_CSUM6_RX: zeroChecksumReceive6 = try attribute.bool()
      case IFLA_VXLAN_GROUP, IFLA_VXLAN_GROUP6: remote = try attribute.address()
      case IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6: local = try attribute.address()
      case IFLA_VXLAN_PORT_RANGE:
        let range = try attribute.structure(ifla_vxlan_port_range.self)
        portRange = VXLANPortRange(low: UInt16(bigEndian: range.low), high: UInt16(bigEndian: range.high))
      default: break
      }
    }
  }
}

/// The source ports that a VXLAN device spreads its flows over; both 0 takes the host's local range.
public struct VXLANPortRange: Hashable, Sendable {
  public var low: UInt16
  public var high: UInt16

  public init(low: UInt16, high: UInt16) {
    self.low = low
    self.high = high
  }
}
