// SPDX-License-Identifier: GPL-2.0-or-later

// The IPv6 header (RFC 8200) and what addresses mean (RFC 4291; net/ipv6/addrconf_core.c).
//
//    0                 4                 6             7           8          24            40
//    │ver│class│ label │ payload length  │ next header │ hop limit │ source   │ destination  │ …

import NetTypes

/// Offsets within an IPv6 header.
enum IPv6Header {
  static let payloadLength = 4
  static let nextHeader = 6
  static let hopLimit = 7
  static let source = 8
  static let destination = 24
  static let length = 40

  /// The smallest MTU of a link (IPV6_MIN_MTU).
  static let minimumMTU = 1280
}

/// Numbers of headers that follow one another (`NEXTHDR_*`).
enum IPv6NextHeader {
  static let hopByHop: UInt8 = 0
  static let tcp: UInt8 = 6
  static let udp: UInt8 = 17
  static let routing: UInt8 = 43
  static let fragment: UInt8 = 44
  static let icmp: UInt8 = 58
  static let none: UInt8 = 59
  static let destination: UInt8 = 60
}

/// Addresses that have a name, and what others are.
enum IPv6 {
  static let loopback: UInt128 = 1
  /// ff02::1 and ff02::2.
  static let allNodes: UInt128 = 0xff02 << 112 | 1
  static let allRouters: UInt128 = 0xff02 << 112 | 2
  /// ff01::1 and ff01::2, ff05::2.
  static let allNodesOfInterface: UInt128 = 0xff01 << 112 | 1
  static let allRoutersOfInterface: UInt128 = 0xff01 << 112 | 2
  static let allRoutersOfSite: UInt128 = 0xff05 << 112 | 2
  /// ff02::16.
  static let allMLDv2Routers: UInt128 = 0xff02 << 112 | 0x16
  static let linkLocal: UInt128 = 0xfe80 << 112

  @inline(__always) static func isMulticast(_ address: UInt128) -> Bool { address &>> 120 == 0xff }
  @inline(__always) static func isLinkLocal(_ address: UInt128) -> Bool { address &>> 118 == 0x3fa }
  /// The scope of a group.
  @inline(__always) static func groupScope(_ address: UInt128) -> UInt8 {
    UInt8(truncatingIfNeeded: address &>> 112) & 15
  }
  static func isMapped(_ address: UInt128) -> Bool { address &>> 32 == 0xffff }

  /// ff02::1:ff00:0 and the last 24 bits (RFC 4291 2.7.1).
  static func solicitedNode(_ address: UInt128) -> UInt128 {
    0xff02 << 112 | 0x1_ff00_0000 | address & 0xff_ffff
  }

  /// 33:33 and the last 32 bits (RFC 2464 7).
  @inline(__always) static func mac(ofGroup address: UInt128) -> UInt64 {
    0x3333_0000_0000 | UInt64(truncatingIfNeeded: address & 0xffff_ffff)
  }

  /// The interface identifier that follows from a hardware address (RFC 4291 appendix A).
  static func eui64(_ mac: UInt64) -> UInt128 {
    let high = mac >> 24 ^ 0x02_0000
    return UInt128(high << 40 | 0xff_fe00_0000 | mac & 0xff_ffff)
  }

  /// How far an address reaches, as RFC 6724 3.1 compares it: a group's number, 2 for a link, 5 for a site, 14 for
  /// all.
  static func scope(_ address: UInt128) -> UInt8 {
    if isMulticast(address) { return groupScope(address) }
    if isLinkLocal(address) || address == loopback { return 2 }
    return address &>> 118 == 0x3fb ? 5 : 14
  }
}

extension UInt128 {
  init(_ address: IPv6Address) { self = UInt128(address.high) << 64 | UInt128(address.low) }
}

extension IPv6Address {
  init(_ number: UInt128) {
    self.init(
      high: UInt64(truncatingIfNeeded: number >> 64), low: UInt64(truncatingIfNeeded: number))
  }
}

extension PacketBytes {
  /// Sixteen bytes as a number.
  @inline(__always) func u128(_ offset: Int) -> UInt128 {
    UInt128(u64(offset)) &<< 64 | UInt128(u64(offset &+ 8))
  }

  @inline(__always) func set(_ offset: Int, u128 value: UInt128) {
    set(offset, u64: UInt64(truncatingIfNeeded: value &>> 64))
    set(offset &+ 8, u64: UInt64(truncatingIfNeeded: value))
  }

  @inline(__always) var ipv6Source: UInt128 { u128(IPv6Header.source) }
  @inline(__always) var ipv6Destination: UInt128 { u128(IPv6Header.destination) }

  /// The traffic class of the IPv6 header at the front.
  @inline(__always) var trafficClass: UInt8 { UInt8(truncatingIfNeeded: u16(0) &>> 4) }

  /// The sum of the addresses of the IPv6 header at the front, and of a length and a protocol, as RFC 8200 8.1 wants
  /// it added to the payload's; as words in memory order, as `sum` adds them.
  @inline(__always) func ipv6PseudoSum(length: Int, proto: UInt8) -> UInt64 {
    let addresses = dropFirst(IPv6Header.source).prefix(32).sum()
    let rest = foldChecksum(UInt64(length) &+ UInt64(proto))
    return addresses &+ UInt64(rest.bigEndian)
  }
}
