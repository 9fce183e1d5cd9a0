// SPDX-License-Identifier: GPL-2.0-or-later

// An IPv6 address of a device (struct inet6_ifaddr), and what a device has of IPv6 beside its addresses (struct
// inet6_dev).

import NetTypes
import Rtnetlink

/// The place of an IPv6 address in the kernel's table.
typealias Address6Index = TableIndex<InterfaceAddress6>

/// An IPv6 address of a device.
struct InterfaceAddress6 {
  let device: DeviceIndex
  let address: UInt128
  /// The other end's on a point-to-point link; 0 for none.
  var peer: UInt128 = 0
  var prefixLength: UInt8
  var scope: RouteScope
  var flags: AddressFlags
  /// Who made it (IFAPROT_*).
  var protocolNumber: UInt8 = 0
  /// The metric of the prefix's route; 0 for the usual 256.
  var routePriority: UInt32 = 0
  /// Seconds; `AddressLifetime.forever` for no end.
  var preferred = AddressLifetime.forever
  var valid = AddressLifetime.forever
  /// Nanoseconds: when it was made, and when its lifetimes were last told.
  var created: Int64
  var updated: Int64
  var lifetimeTimer = TimerID.none
  var detection = Detection.notBegun
  /// Solicitations that duplicate address detection still sends.
  var probes = 0
  /// What those say of themselves (RFC 7527), 48 bits.
  var nonce: UInt64 = 0
  var detectionTimer = TimerID.none
  /// Whether the host hears what is for it: its route stands.
  var isInstalled = false

  /// How far duplicate address detection is (INET6_IFADDR_STATE_*).
  enum Detection {
    case notBegun, running, done, failed
  }

  var isTentative: Bool { flags.contains(.tentative) }
  var isDeprecated: Bool { flags.contains(.deprecated) }
  var isPermanent: Bool { flags.contains(.permanent) }
  /// Whether the device may speak from it.
  var isUsable: Bool { flags.isDisjoint(with: [.tentative, .dadFailed]) }
  var isLinkLocal: Bool { IPv6.isLinkLocal(address) }
  /// What the prefix's route is for; the other end of a point-to-point link has one of its own.
  var subnet: UInt128 { address & UInt128.mask(prefixLength) }

  func isOnSubnet(_ other: UInt128) -> Bool { (address ^ other) & UInt128.mask(prefixLength) == 0 }

  /// The scope that rtnetlink tells of an address (rt_scope).
  static func scope(_ address: UInt128) -> RouteScope {
    if address == IPv6.loopback { return .host }
    if IPv6.isLinkLocal(address) { return .link }
    return address >> 118 == 0x3fb ? .site : .universe
  }
}

/// What a device has of IPv6 beside its addresses and settings.
struct InterfaceIPv6 {
  /// In the kernel's order: by scope from wide to narrow, then the youngest first.
  var addresses: [Address6Index] = []
  /// Addresses that belong to all routers of a subnet, with how many addresses ask for it.
  var anycasts: [(address: UInt128, users: Int)] = []
  /// The MTU of its link as a router told it; 0: the device's.
  var mtu = 0
  /// Its link was ready once since it came up (IF_READY).
  var isReady = false
  /// Whether it had a carrier when that was last looked at.
  var hadCarrier = false
  var solicitation = RouterSolicitation()
  var listener = MulticastListener()
}

/// How a host looks for routers (RFC 4861 6.3.7).
struct RouterSolicitation {
  var timer = TimerID.none
  var sent: Int32 = 0
  /// Nanoseconds until the next.
  var interval: Int64 = 0
  /// A router has answered (IF_RA_RCVD).
  var isAnswered = false
}
