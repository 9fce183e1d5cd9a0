// SPDX-License-Identifier: GPL-2.0-or-later

// The IPv4 header (RFC 791).
//
//    0         1      2               4               6                8
//    │ver│ihl  │ tos  │ total length  │ identification│flags│ offset   │ ttl │ protocol │ checksum │ …
//    12 source │ 16 destination │ 20 options …

/// Offsets within an IPv4 header.
enum IPv4Header {
  static let versionAndLength = 0
  static let typeOfService = 1
  static let totalLength = 2
  static let identification = 4
  static let fragment = 6
  static let ttl = 8
  static let proto = 9
  static let checksum = 10
  static let source = 12
  static let destination = 16
  static let length = 20

  /// What the length field can say, whatever the device could take (IP_MAX_MTU).
  static let maximumMTU = 65535

  static let dontFragment: UInt16 = 0x4000
  static let moreFragments: UInt16 = 0x2000
  static let offsetMask: UInt16 = 0x1fff

  static func isMulticast(_ address: UInt32) -> Bool { address >> 28 == 0xe }
  static func isLoopback(_ address: UInt32) -> Bool { address >> 24 == 127 }
}

extension PacketBytes {
  /// Bytes of the IPv4 header at the front.
  @inline(__always) var ipv4HeaderLength: Int { Int(u8(0) & 15) &* 4 }

  /// The checksum of an IPv4 header of 20 bytes; zero when it is right.
  @inline(__always) func ipv4Checksum() -> UInt16 {
    let a = u64(0)
    let b = u64(8)
    let c = UInt64(u32(16))
    let sum =
      (a &>> 32) &+ (a & 0xffff_ffff) &+ (b &>> 32) &+ (b & 0xffff_ffff) &+ c
    return ~foldChecksum(sum)
  }

  /// Takes one from the TTL and mends the checksum (RFC 1141; ip_decrease_ttl).
  @inline(__always) func decrementTTL() {
    let old = u16(IPv4Header.checksum)
    let sum = UInt32(old) &+ 0x0100
    set(IPv4Header.checksum, u16: UInt16(truncatingIfNeeded: sum &+ (sum >= 0xffff ? 1 : 0)))
    set(IPv4Header.ttl, u8: u8(IPv4Header.ttl) &- 1)
  }
}
