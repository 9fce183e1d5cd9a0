// SPDX-License-Identifier: GPL-2.0-or-later

// An IPv4 route as configuration gives it, and what a lookup answers.

import Rtnetlink

/// A route.
struct Route: Hashable, Sendable {
  /// In host byte order, host bits cleared.
  var destination: UInt32
  /// 0 to 32.
  var length: UInt8
  /// 254 main, 255 local.
  var table: UInt32
  /// The metric; the smallest wins.
  var priority: UInt32
  var type: RouteType
  var scope: RouteScope
  var origin: RouteProtocol
  /// None for routes that end here (blackhole, unreachable, prohibit).
  var device: DeviceIndex
  /// 0 for a destination on the link.
  var gateway: UInt32
  /// 0 for the device's own choice.
  var preferredSource: UInt32
  /// RTNH_F_ONLINK.
  var isOnLink = false

  static let mainTable: UInt32 = 254
  static let localTable: UInt32 = 255

  static func mask(_ length: UInt8) -> UInt32 { length == 0 ? 0 : UInt32.max << UInt32(32 - length) }

  func covers(_ address: UInt32) -> Bool { address & Self.mask(length) == destination }
}

/// Where a packet goes.
struct RouteResult {
  enum Outcome: UInt8 {
    case unicast, local, broadcast, blackhole, unreachable, prohibit
    /// No route (ENETUNREACH).
    case none
  }

  var type: Outcome
  var device: DeviceIndex = .none
  var gateway: UInt32 = 0
  var preferredSource: UInt32 = 0
  /// The destination is on the link, for redirects and source selection.
  var scope: UInt8 = 0

  static let none = RouteResult(type: .none)
}
