// SPDX-License-Identifier: GPL-2.0-or-later

// SYN cookies (net/ipv4/syncookies.c; RFC 4987 3.6): with a full SYN queue the answer's sequence number holds what must be
// remembered, and its timestamp the options.
//
//    sequence:   hash(names) + peer's number + minute << 24 + ((hash(names, minute) + MSS index) & 0xffffff)
//    timestamp:  milliseconds, the last six bits: ECN, SACK, window scale (15: none)

import NetTypes

/// A cookie's parts.
enum SynCookie {
  private static let segmentSizes4: [Int] = [536, 1300, 1440, 1460]
  private static let segmentSizes6: [Int] = [1220, 1420, 1440, 8940]
  /// Minutes in which it is taken back.
  private static let validMinutes: UInt32 = 2
  private static let noScale: UInt32 = 15
  private static let sackBit: UInt32 = 1 << 4
  private static let ecnBit: UInt32 = 1 << 5

  private static func sizes(_ family: IPFamily) -> [Int] { family == .ipv4 ? segmentSizes4 : segmentSizes6 }

  private static func minute(_ now: Int64) -> UInt32 { UInt32(truncatingIfNeeded: now / 60_000_000_000) }

  private static func hash(_ key: FlowKey, _ secret: UInt64, _ minute: UInt32, _ which: UInt64) -> UInt32 {
    let keyed = secret ^ (UInt64(minute) &* 0x9e37_79b9_7f4a_7c15) ^ (which &* 0xd1b5_4a32_d192_ed03)
    return UInt32(truncatingIfNeeded: key.hash(keyed) &>> 16)
  }

  /// The sequence number for a SYN.
  static func sequence(
    _ key: FlowKey, _ family: IPFamily, mss: Int, peer: UInt32, _ secret: UInt64, _ now: Int64
  ) -> UInt32 {
    let index = sizes(family).lastIndex { $0 <= mss } ?? 0
    let minute = minute(now)
    let data = (hash(key, secret, minute, 2) &+ UInt32(index)) & 0xff_ffff
    return hash(key, secret, 0, 1) &+ peer &+ minute << 24 &+ data
  }

  /// The segment size that a cookie holds; nil: it is none of ours, or too old.
  static func segmentSize(
    _ cookie: UInt32, _ key: FlowKey, _ family: IPFamily, peer: UInt32, _ secret: UInt64, _ now: Int64
  ) -> Int? {
    let rest = cookie &- hash(key, secret, 0, 1) &- peer
    let age = (minute(now) &- rest >> 24) & 0xff
    guard age < validMinutes else { return nil }
    let index = (rest &- hash(key, secret, minute(now) &- age, 2)) & 0xff_ffff
    let sizes = sizes(family)
    return index < sizes.count ? sizes[Int(index)] : nil
  }

  /// The timestamp that remembers the options, not later than `now` (cookie_init_timestamp).
  static func timestamp(_ now: UInt32, scale: UInt8?, hasSACK: Bool, hasECN: Bool) -> UInt32 {
    let stamp = now & ~63 | bits(scale: scale, hasSACK: hasSACK, hasECN: hasECN)
    return stamp > now ? stamp &- 64 : stamp
  }

  /// A timestamp's last six.
  static func bits(scale: UInt8?, hasSACK: Bool, hasECN: Bool) -> UInt32 {
    (scale.map { UInt32($0) } ?? noScale) | (hasSACK ? sackBit : 0) | (hasECN ? ecnBit : 0)
  }

  /// The options that a timestamp remembers.
  static func options(of stamp: UInt32) -> (scale: UInt8?, hasSACK: Bool, hasECN: Bool) {
    let scale = stamp & 15
    return (scale == noScale ? nil : UInt8(scale), stamp & sackBit != 0, stamp & ecnBit != 0)
  }
}
