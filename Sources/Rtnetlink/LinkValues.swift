// SPDX-License-Identifier: GPL-2.0-or-later

// The small values that a link message is made of.

import CLinux

/// A device's flags (`IFF_*`).
public struct LinkFlags: OptionSet, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  init(_ flag: Int) { rawValue = UInt32(truncatingIfNeeded: flag) }

  public static let up = LinkFlags(IFF_UP)
  public static let broadcast = LinkFlags(IFF_BROADCAST)
  public static let loopback = LinkFlags(IFF_LOOPBACK)
  public static let pointToPoint = LinkFlags(IFF_POINTOPOINT)
  public static let running = LinkFlags(IFF_RUNNING)
  public static let noARP = LinkFlags(IFF_NOARP)
  public static let promiscuous = LinkFlags(IFF_PROMISC)
  public static let allMulticast = LinkFlags(IFF_ALLMULTI)
  public static let master = LinkFlags(IFF_MASTER)
  public static let slave = LinkFlags(IFF_SLAVE)
  public static let multicast = LinkFlags(IFF_MULTICAST)
  public static let lowerUp = LinkFlags(rawValue: 1 << 16)  // IFF_LOWER_UP, hidden by the C library's header
}

/// What a link can do right now (RFC 2863, `IF_OPER_*`).
public enum OperationalState: UInt8, Hashable, Sendable {
  case unknown, notPresent, down, lowerLayerDown, testing, dormant, up
}

/// How a device makes its own IPv6 addresses (`IN6_ADDR_GEN_MODE_*`).
public enum AddressGeneration: UInt8, Hashable, Sendable {
  case eui64, none, stablePrivacy, random
}

/// What a link dump tells beside the rest (`RTEXT_FILTER_*`).
public struct ExtendedLinkMask: OptionSet, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let bridgeVLANs = ExtendedLinkMask(rawValue: UInt32(RTEXT_FILTER_BRVLAN))
  /// VLANs as ranges.
  public static let bridgeVLANRanges = ExtendedLinkMask(rawValue: UInt32(RTEXT_FILTER_BRVLAN_COMPRESSED))
  /// No counters, which are a good part of a dump.
  public static let skipStatistics = ExtendedLinkMask(rawValue: UInt32(RTEXT_FILTER_SKIP_STATS))
}

/// A device's counters since it was made (`struct rtnl_link_stats64`).
public struct LinkStatistics: Hashable, Sendable {
  public var receivedPackets: UInt64 = 0
  public var transmittedPackets: UInt64 = 0
  public var receivedBytes: UInt64 = 0
  public var transmittedBytes: UInt64 = 0
  public var receiveErrors: UInt64 = 0
  public var transmitErrors: UInt64 = 0
  public var receiveDropped: UInt64 = 0
  public var transmitDropped: UInt64 = 0
  public var multicast: UInt64 = 0
  public var collisions: UInt64 = 0
  public var receiveLengthErrors: UInt64 = 0
  public var receiveMissed: UInt64 = 0

  public init() {}

  /// The kernel's structure has grown over the years; its first sixteen counters never moved.
  init(parsing attribute: NetlinkAttribute) throws(NetlinkDecodingError) {
    var reader = attribute.content
    receivedPackets = try reader.fixed(UInt64.self)
    transmittedPackets = try reader.fixed(UInt64.self)
    receivedBytes = try reader.fixed(UInt64.self)
    transmittedBytes = try reader.fixed(UInt64.self)
    receiveErrors = try reader.fixed(UInt64.self)
    transmitErrors = try reader.fixed(UInt64.self)
    receiveDropped = try reader.fixed(UInt64.self)
    transmitDropped = try reader.fixed(UInt64.self)
    multicast = try reader.fixed(UInt64.self)
    collisions = try reader.fixed(UInt64.self)
    receiveLengthErrors = try reader.fixed(UInt64.self)
    for _ in 0..<4 { _ = try reader.fixed(UInt64.self) }
    receiveMissed = try reader.fixed(UInt64.self)
  }

  var kernel: rtnl_link_stats64 {
    var stats = rtnl_link_stats64()
    stats.rx_packets = receivedPackets
    stats.tx_packets = transmittedPackets
    stats.rx_bytes = receivedBytes
    stats.tx_bytes = transmittedBytes
    stats.rx_errors = receiveErrors
    stats.tx_errors = transmitErrors
    stats.rx_dropped = receiveDropped
    stats.tx_dropped = transmitDropped
    stats.multicast = multicast
    stats.collisions = collisions
    stats.rx_length_errors = receiveLengthErrors
    stats.rx_missed_errors = receiveMissed
    return stats
  }
}

/// An XDP program on a link: what to attach, or what is attached.
public struct LinkXDP: Hashable, Sendable {
  /// A loaded program's descriptor; -1 detaches.
  public var descriptor: Int32?
  /// Attach only in the place of this program.
  public var expectedDescriptor: Int32?
  /// `XDP_FLAGS_*`.
  public var flags: UInt32?
  /// Where a program is attached (`XDP_ATTACHED_*`): 0 none, 1 driver, 2 generic, 3 hardware, 4 several.
  public var attached: UInt8?
  public var programID: UInt32?

  public init(descriptor: Int32? = nil, flags: UInt32? = nil) {
    self.descriptor = descriptor
    self.flags = flags
  }

  public static let genericMode = UInt32(XDP_FLAGS_SKB_MODE)
  public static let driverMode = UInt32(XDP_FLAGS_DRV_MODE)

  func encode(into writer: inout NetlinkWriter) {
    writer.i32(IFLA_XDP_FD, descriptor)
    writer.i32(IFLA_XDP_EXPECTED_FD, expectedDescriptor)
    writer.u32(IFLA_XDP_FLAGS, flags)
    writer.u8(IFLA_XDP_ATTACHED, attached)
    writer.u32(IFLA_XDP_PROG_ID, programID)
  }

  init(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    self.init()
    var reader = content
    while let attribute = try reader.next() {
      switch attribute.type {
      case IFLA_XDP_FD: descriptor = try attribute.i32()
      case IFLA_XDP_EXPECTED_FD: expectedDescriptor = try attribute.i32()
      case IFLA_XDP_FLAGS: flags = try attribute.u32()
      case IFLA_XDP_ATTACHED: attached = try attribute.u8()
      case IFLA_XDP_PROG_ID: programID = try attribute.u32()
      default: break
      }
    }
  }
}
