// SPDX-License-Identifier: GPL-2.0-or-later

// The small values that a route message is made of.

import CLinux

/// What a route does with a packet (`RTN_*`).
public struct RouteType: RawRepresentable, Hashable, Sendable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  init(_ number: Int) { rawValue = UInt8(truncatingIfNeeded: number) }

  public static let unspecified = RouteType(RTN_UNSPEC)
  public static let unicast = RouteType(RTN_UNICAST)
  public static let local = RouteType(RTN_LOCAL)
  public static let broadcast = RouteType(RTN_BROADCAST)
  public static let anycast = RouteType(RTN_ANYCAST)
  public static let multicast = RouteType(RTN_MULTICAST)
  /// Dropped in silence.
  public static let blackhole = RouteType(RTN_BLACKHOLE)
  public static let unreachable = RouteType(RTN_UNREACHABLE)
  public static let prohibit = RouteType(RTN_PROHIBIT)
  /// Look on in the next table.
  public static let `throw` = RouteType(RTN_THROW)
}

/// Who made a route or a rule (`RTPROT_*`).
public struct RouteProtocol: RawRepresentable, Hashable, Sendable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let unspecified = RouteProtocol(rawValue: UInt8(RTPROT_UNSPEC))
  public static let redirect = RouteProtocol(rawValue: UInt8(RTPROT_REDIRECT))
  public static let kernel = RouteProtocol(rawValue: UInt8(RTPROT_KERNEL))
  public static let boot = RouteProtocol(rawValue: UInt8(RTPROT_BOOT))
  public static let `static` = RouteProtocol(rawValue: UInt8(RTPROT_STATIC))
  public static let routerAdvertisement = RouteProtocol(rawValue: UInt8(RTPROT_RA))
  public static let dhcp = RouteProtocol(rawValue: UInt8(RTPROT_DHCP))
}

/// How far away a destination is (`RT_SCOPE_*`).
public struct RouteScope: RawRepresentable, Hashable, Sendable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  init(_ scope: rt_scope_t) { rawValue = UInt8(truncatingIfNeeded: scope.rawValue) }

  public static let universe = RouteScope(RT_SCOPE_UNIVERSE)
  public static let site = RouteScope(RT_SCOPE_SITE)
  public static let link = RouteScope(RT_SCOPE_LINK)
  public static let host = RouteScope(RT_SCOPE_HOST)
  public static let nowhere = RouteScope(RT_SCOPE_NOWHERE)
}

/// A route's or next hop's flags (`RTM_F_*`, `RTNH_F_*`).
public struct RouteFlags: OptionSet, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  init(_ flag: Int32) { rawValue = UInt32(bitPattern: flag) }

  public static let dead = RouteFlags(RTNH_F_DEAD)
  /// The gateway is taken to be on the link, whatever the addresses say.
  public static let onLink = RouteFlags(RTNH_F_ONLINK)
  public static let linkDown = RouteFlags(RTNH_F_LINKDOWN)
  public static let notify = RouteFlags(RTM_F_NOTIFY)
  /// A cached exception, no route of a table.
  public static let cloned = RouteFlags(RTM_F_CLONED)
  public static let lookupTable = RouteFlags(RTM_F_LOOKUP_TABLE)
  /// A GET answers with the route that matched, in place of the answer for the one destination.
  public static let fibMatch = RouteFlags(RTM_F_FIB_MATCH)
}

/// How routers prefer an IPv6 route (`ICMPV6_ROUTER_PREF_*`, RFC 4191).
public enum RoutePreference: UInt8, Hashable, Sendable {
  case medium = 0
  case high = 1
  case invalid = 2
  case low = 3
}

/// What the kernel remembers of a route's use (`struct rta_cacheinfo`).
public struct RouteCacheInfo: Hashable, Sendable {
  public var references: UInt32
  /// Hundredths of a second.
  public var lastUse: UInt32
  public var expires: Int32
  public var error: UInt32
  public var used: UInt32

  public init(
    references: UInt32 = 0, lastUse: UInt32 = 0, expires: Int32 = 0, error: UInt32 = 0, used: UInt32 = 0
  ) {
    self.references = references
    self.lastUse = lastUse
    self.expires = expires
    self.error = error
    self.used = used
  }

  init(_ info: rta_cacheinfo) {
    references = info.rta_clntref
    lastUse = info.rta_lastuse
    expires = info.rta_expires
    error = info.rta_error
    used = info.rta_used
  }

  var kernel: rta_cacheinfo {
    rta_cacheinfo(
      rta_clntref: references, rta_lastuse: lastUse, rta_expires: expires, rta_error: error, rta_used: used,
      rta_id: 0, rta_ts: 0, rta_tsage: 0)
  }
}

/// A route's metrics (`RTAX_*`): what TCP takes from it.
public struct RouteMetrics: Hashable, Sendable {
  /// A bit for each metric, by its number, that must not change.
  public var lock: UInt32?
  public var mtu: UInt32?
  public var window: UInt32?
  /// Eighths of a millisecond.
  public var roundTripTime: UInt32?
  /// Quarters of a millisecond.
  public var roundTripVariance: UInt32?
  public var slowStartThreshold: UInt32?
  public var congestionWindow: UInt32?
  public var advertisedMSS: UInt32?
  public var reordering: UInt32?
  public var hopLimit: UInt32?
  public var initialCongestionWindow: UInt32?
  public var features: UInt32?
  /// Milliseconds.
  public var minimumRTO: UInt32?
  public var initialReceiveWindow: UInt32?
  public var quickAcknowledge: UInt32?
  public var congestionControl: String?

  public init() {}

  /// Whether there is none.
  public var isEmpty: Bool { self == RouteMetrics() }

  func encode(into writer: inout NetlinkWriter) {
    writer.u32(RTAX_LOCK, lock)
    writer.u32(RTAX_MTU, mtu)
    writer.u32(RTAX_WINDOW, window)
    writer.u32(RTAX_RTT, roundTripTime)
    writer.u32(RTAX_RTTVAR, roundTripVariance)
    writer.u32(RTAX_SSTHRESH, slowStartThreshold)
    writer.u32(RTAX_CWND, congestionWindow)
    writer.u32(RTAX_ADVMSS, advertisedMSS)
    writer.u32(RTAX_REORDERING, reordering)
    writer.u32(RTAX_HOPLIMIT, hopLimit)
    writer.u32(RTAX_INITCWND, initialCongestionWindow)
    writer.u32(RTAX_FEATURES, features)
    writer.u32(RTAX_RTO_MIN, minimumRTO)
    writer.u32(RTAX_INITRWND, initialReceiveWindow)
    writer.u32(RTAX_QUICKACK, quickAcknowledge)
    writer.string(RTAX_CC_ALGO, congestionControl)
  }

  init(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    var reader = content
    while let attribute = try reader.next() {
      switch attribute.type {
      case RTAX_LOCK: lock = try attribute.u32()
      case RTAX_MTU: mtu = try attribute.u32()
      case RTAX_WINDOW: window = try attribute.u32()
      case RTAX_RTT: roundTripTime = try attribute.u32()
      case RTAX_RTTVAR: roundTripVariance = try attribute.u32()
      case RTAX_SSTHRESH: slowStartThreshold = try attribute.u32()
      case RTAX_CWND: congestionWindow = try attribute.u32()
      case RTAX_ADVMSS: advertisedMSS = try attribute.u32()
      case RTAX_REORDERING: reordering = try attribute.u32()
      case RTAX_HOPLIMIT: hopLimit = try attribute.u32()
      case RTAX_INITCWND: initialCongestionWindow = try attribute.u32()
      case RTAX_FEATURES: features = try attribute.u32()
      case RTAX_RTO_MIN: minimumRTO = try attribute.u32()
      case RTAX_INITRWND: initialReceiveWindow = try attribute.u32()
      case RTAX_QUICKACK: quickAcknowledge = try attribute.u32()
      case RTAX_CC_ALGO: congestionControl = attribute.string()
      default: break
      }
    }
  }
}
