// SPDX-License-Identifier: GPL-2.0-or-later

/// An IPv4 address (RFC 791). Ordered as the number that it is.
public struct IPv4Address: Hashable, Comparable, Sendable {
  /// The address as a number in host byte order: 10.0.0.1 is 0x0a000001.
  public var rawValue: UInt32

  public init(rawValue: UInt32) { self.rawValue = rawValue }

  public init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
    rawValue = UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d)
  }

  /// Parses dotted decimal with exactly four parts and no leading zeros, as `inet_pton` does.
  public init?(_ text: some StringProtocol) {
    var value: UInt32 = 0
    var dots = 0
    var octet: UInt32 = 0
    var digits = 0
    // A string of its own: bytes of any text are had one by one through a table of witnesses, ten times as slowly.
    for byte in String(text).utf8 {
      if byte == UInt8(ascii: ".") {
        guard digits > 0, dots < 3 else { return nil }
        value = value << 8 | octet
        (octet, digits, dots) = (0, 0, dots + 1)
        continue
      }
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte), digits == 0 || octet > 0
      else { return nil }
      octet = octet * 10 + UInt32(byte - UInt8(ascii: "0"))
      digits += 1
      guard octet <= 255 else { return nil }
    }
    guard digits > 0, dots == 3 else { return nil }
    rawValue = value << 8 | octet
  }

  /// The four bytes in network order.
  public var bytes: [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: rawValue >> UInt32($0)) }
  }

  public init?(bytes: some Collection<UInt8>) {
    guard bytes.count == 4 else { return nil }
    rawValue = bytes.reduce(0) { $0 << 8 | UInt32($1) }
  }

  public static let any = IPv4Address(rawValue: 0)
  public static let loopback = IPv4Address(127, 0, 0, 1)
  public static let broadcast = IPv4Address(rawValue: .max)

  public var isLoopback: Bool { rawValue >> 24 == 127 }
  public var isMulticast: Bool { rawValue >> 28 == 0xe }
  public var isLinkLocal: Bool { rawValue >> 16 == 0xa9fe }

  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

extension IPv4Address: CustomStringConvertible {
  public var description: String { bytes.map(String.init).joined(separator: ".") }
}
