// SPDX-License-Identifier: GPL-2.0-or-later

/// A 48-bit Ethernet address (IEEE 802).
public struct MACAddress: Hashable, Comparable, Sendable {
  /// The address as a number, first byte most significant; the upper 16 bits are zero.
  public let rawValue: UInt64

  public init(rawValue: UInt64) { self.rawValue = rawValue & 0xffff_ffff_ffff }

  /// Parses six pairs of hexadecimal digits joined by colons or hyphens.
  public init?(_ text: some StringProtocol) {
    let separator: Character = text.contains("-") ? "-" : ":"
    let parts = text.split(separator: separator, omittingEmptySubsequences: false)
    guard parts.count == 6 else { return nil }
    var value: UInt64 = 0
    for part in parts {
      guard part.utf8.count == 2, part.allSatisfy(\.isHexDigit), let byte = UInt8(part, radix: 16) else {
        return nil
      }
      value = value << 8 | UInt64(byte)
    }
    rawValue = value
  }

  public init?(bytes: some Collection<UInt8>) {
    guard bytes.count == 6 else { return nil }
    rawValue = bytes.reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// The six bytes in wire order.
  public var bytes: [UInt8] {
    stride(from: 40, through: 0, by: -8).map { UInt8(truncatingIfNeeded: rawValue >> UInt64($0)) }
  }

  public static let zero = MACAddress(rawValue: 0)
  public static let broadcast = MACAddress(rawValue: 0xffff_ffff_ffff)

  public var isMulticast: Bool { rawValue >> 40 & 1 == 1 }
  public var isLocallyAdministered: Bool { rawValue >> 40 & 2 == 2 }

  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

extension MACAddress: CustomStringConvertible {
  public var description: String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
  }
}
