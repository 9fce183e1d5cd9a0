// SPDX-License-Identifier: GPL-2.0-or-later

// A checksum after some of what it covers has changed (RFC 1624 eqn. 3): HC' = ~(~HC + ~m + m').

/// What has changed under a checksum, summed up.
struct ChecksumChange {
  private var sum: UInt32 = 0

  /// One word, in host byte order as all here.
  @inline(__always) mutating func replace(_ old: UInt16, by new: UInt16) {
    sum &+= UInt32(~old) &+ UInt32(new)
  }

  @inline(__always) mutating func replace(_ old: UInt32, by new: UInt32) {
    replace(UInt16(truncatingIfNeeded: old &>> 16), by: UInt16(truncatingIfNeeded: new &>> 16))
    replace(UInt16(truncatingIfNeeded: old), by: UInt16(truncatingIfNeeded: new))
  }

  /// An address of either family.
  mutating func replace(_ old: UInt128, by new: UInt128, isIPv6: Bool) {
    for shift in stride(from: 0, to: isIPv6 ? 128 : 32, by: 32) {
      replace(UInt32(truncatingIfNeeded: old >> shift), by: UInt32(truncatingIfNeeded: new >> shift))
    }
  }

  /// The checksum as it is now.
  @inline(__always) func applied(to checksum: UInt16) -> UInt16 { ~fold(UInt32(~checksum) &+ folded) }

  /// The same for a sum that is not complemented yet (CHECKSUM_PARTIAL).
  @inline(__always) func appliedToSum(_ partial: UInt16) -> UInt16 { fold(UInt32(partial) &+ folded) }

  private var folded: UInt32 { UInt32(fold(sum)) }

  private func fold(_ value: UInt32) -> UInt16 {
    let once = value & 0xffff &+ value &>> 16
    return UInt16(truncatingIfNeeded: once & 0xffff &+ once &>> 16)
  }
}

/// Where transports keep the checksum that covers their pseudo header too.
enum TransportChecksum {
  /// Bytes from the transport header; nil for those that have none.
  static func offset(_ proto: UInt8, isIPv6: Bool) -> Int? {
    switch proto {
    case 6: 16
    case 17, 136: 6
    case 33: 6
    case 58: isIPv6 ? 2 : nil
    default: nil
    }
  }
}
