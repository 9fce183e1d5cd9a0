// SPDX-License-Identifier: GPL-2.0-or-later

// A route as configuration gives it, and what a lookup answers (net/ipv4/fib_semantics.c's fib_info, net/ipv6's
// fib6_info).

import Rtnetlink

/// A route.
struct Route<Address: InternetAddress>: Hashable, Sendable {
  /// Host bits cleared.
  var destination: Address
  var length: UInt8
  /// 254 main, 255 local.
  var table: UInt32
  /// Zero for any.
  var typeOfService: UInt8 = 0
  /// The metric; the smallest wins.
  var priority: UInt32 = 0
  var type: RouteType
  var scope = RouteScope.universe
  var origin: RouteProtocol
  /// 0 for the device's own choice.
  var preferredSource: Address = 0
  /// None for routes that end here (blackhole, unreachable, prohibit, throw).
  var hops: [RouteHop<Address>] = []
  var metrics = RouteMetrics()
  /// IPv6: how routers prefer it (RFC 4191).
  var preference = RoutePreference.medium
  /// IPv6: when it ends, in nanoseconds.
  var expires: Int64?

  static var mainTable: UInt32 { 254 }
  static var localTable: UInt32 { 255 }
  static var defaultTable: UInt32 { 253 }

  /// The device of the first next hop.
  var device: DeviceIndex { hops.first?.device ?? .none }
  /// The gateway of the first next hop; 0 for a destination on the link.
  var gateway: Address { hops.first?.gateway ?? 0 }

  func covers(_ address: Address) -> Bool { address & Address.mask(length) == destination }

  /// Whether a next hop leads by the device.
  func uses(_ device: DeviceIndex) -> Bool { hops.contains { $0.device == device } }

  /// Whether configuration says the same of both; what became of their next hops since does not count.
  func isSame(as other: Route) -> Bool {
    guard hops.count == other.hops.count,
      hops.indices.allSatisfy({ hops[$0].isSame(as: other.hops[$0]) })
    else { return false }
    var (mine, theirs) = (self, other)
    mine.hops = []
    theirs.hops = []
    return mine == theirs
  }
}

/// One way to a route's destination.
struct RouteHop<Address: InternetAddress>: Hashable, Sendable {
  var device: DeviceIndex
  /// 0 for a destination on the link.
  var gateway: Address = 0
  /// 1 to 256: its share of the flows.
  var weight: UInt16 = 1
  /// RTNH_F_ONLINK.
  var isOnLink = false
  /// RTNH_F_DEAD: its device is down, and other next hops keep the route alive.
  var isDead = false
  /// RTNH_F_LINKDOWN: its device has no carrier.
  var isLinkDown = false
  /// It has no carrier, and its device's settings say that such routes do not count.
  var isIgnored = false
  /// The address that its device speaks from (nh_saddr); kept for routes with several next hops only.
  var source: Address = 0
  /// Of the first of several default routes: which of them was taken last (fa_default); -1 for none.
  var lastDefault: Int32 = -1

  /// Whether configuration says the same of both.
  func isSame(as other: RouteHop) -> Bool {
    device == other.device && gateway == other.gateway && weight == other.weight && isOnLink == other.isOnLink
  }
}

/// What a route says of a packet.
enum RouteOutcome: UInt8, BitwiseCopyable {
  case unicast, local, broadcast, multicast, anycast, blackhole, unreachable, prohibit
  /// No route (ENETUNREACH).
  case none
  /// Nothing in this table; the next rule is asked (EAGAIN).
  case again

  init(_ type: RouteType) {
    switch type {
    case .unicast: self = .unicast
    case .local: self = .local
    case .broadcast: self = .broadcast
    case .multicast: self = .multicast
    case .anycast: self = .anycast
    case .blackhole: self = .blackhole
    case .unreachable: self = .unreachable
    case .prohibit: self = .prohibit
    case .throw: self = .again
    default: self = .none
    }
  }

  /// Whether it says no.
  @inline(__always) var isError: Bool { rawValue >= RouteOutcome.blackhole.rawValue }

  /// What a sender is told (fib_props).
  var error: KernelError? {
    switch self {
    case .unicast, .local, .broadcast, .multicast, .anycast: nil
    case .blackhole: .invalidArgument
    case .unreachable: .hostUnreachable
    case .prohibit: .accessDenied
    case .none, .again: .networkUnreachable
    }
  }
}

/// Where a packet goes.
struct RouteResult<Address: InternetAddress>: BitwiseCopyable {
  var type: RouteOutcome
  var scope: UInt8 = 0
  var prefixLength: UInt8 = 0
  /// The destination alone has decided: a flow that differs elsewhere goes the same way.
  var isSimple = false
  var device = DeviceIndex.none
  var gateway: Address = 0
  var preferredSource: Address = 0
  /// RTAX_MTU, or 0 for the device's.
  var mtu: UInt32 = 0
  /// No message about the path changes the MTU (RTAX_LOCK).
  var isMTULocked = false
  /// RTAX_HOPLIMIT, or 0 for the namespace's.
  var hopLimit: UInt8 = 0
  /// Of the route that the tables gave.
  var typeOfService: UInt8 = 0
  var table: UInt32 = 0
  /// The place of the route in its table, until the table changes.
  var route: UInt32 = .max

  static var none: RouteResult { RouteResult(type: .none) }
  static var again: RouteResult { RouteResult(type: .again) }
}

/// What forwarding needs of a route that the destination alone decides.
struct SimpleRoute<Address: InternetAddress>: BitwiseCopyable {
  var type: RouteOutcome
  var device: DeviceIndex
  var gateway: Address
  var mtu: UInt32
}
