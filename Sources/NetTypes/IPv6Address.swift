// SPDX-License-Identifier: GPL-2.0-or-later

/// An IPv6 address (RFC 4291), printed as RFC 5952 asks. Ordered as the number that it is.
public struct IPv6Address: Hashable, Comparable, Sendable {
  /// The network half, in host byte order.
  public var high: UInt64
  /// The interface half, in host byte order.
  public var low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Parses the forms of RFC 4291 section 2.2, an embedded dotted quad included; no zone.
  public init?(_ text: some StringProtocol) {
    guard let groups = Self.groups(of: String(text)) else { return nil }
    high = groups[0..<4].reduce(0) { $0 << 16 | UInt64($1) }
    low = groups[4..<8].reduce(0) { $0 << 16 | UInt64($1) }
  }

  private static func groups(of text: String) -> [UInt16]? {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count >= 3, parts.count <= 9 else { return nil }
    // A leading or trailing "::" leaves two empty parts at that end, an inner one leaves one.
    var head: [UInt16] = []
    var tail: [UInt16] = []
    var gap = false
    var index = 0
    while index < parts.count {
      let part = parts[index]
      let isLast = index == parts.count - 1
      if part.isEmpty {
        let leading = index == 0 && parts[1].isEmpty
        let trailing = index == parts.count - 2 && parts[index + 1].isEmpty
        guard !gap, !isLast, index > 0 || leading else { return nil }
        gap = true
        if leading && trailing { return nil }
        index += leading || trailing ? 2 : 1
        if leading, index == 2, parts.count == 3, parts[2].isEmpty { return [UInt16](repeating: 0, count: 8) }
        continue
      }
      var values: [UInt16]
      if isLast, part.contains(".") {
        guard let quad = IPv4Address(part) else { return nil }
        values = [UInt16(quad.rawValue >> 16), UInt16(truncatingIfNeeded: quad.rawValue)]
      } else {
        guard part.utf8.count <= 4, part.utf8.first != 0x2b, part.utf8.first != 0x2d,
          let value = UInt16(part, radix: 16)
        else { return nil }
        values = [value]
      }
      if gap { tail += values } else { head += values }
      index += 1
    }
    let count = head.count + tail.count
    guard gap ? count <= 7 : count == 8 else { return nil }
    return head + [UInt16](repeating: 0, count: 8 - count) + tail
  }

  /// The sixteen bytes in network order.
  public var bytes: [UInt8] {
    [high, low].flatMap { half in
      stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: half >> UInt64($0)) }
    }
  }

  public init?(bytes: some Collection<UInt8>) {
    guard bytes.count == 16 else { return nil }
    high = bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    low = bytes.dropFirst(8).reduce(0) { $0 << 8 | UInt64($1) }
  }

  public static let any = IPv6Address(high: 0, low: 0)
  public static let loopback = IPv6Address(high: 0, low: 1)

  public var isMulticast: Bool { high >> 56 == 0xff }
  public var isLinkLocal: Bool { high >> 54 == 0x3fa }
  public var isLoopback: Bool { self == .loopback }
  /// ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).
  public var isIPv4Mapped: Bool { high == 0 && low >> 32 == 0xffff }

  public static func < (a: Self, b: Self) -> Bool { (a.high, a.low) < (b.high, b.low) }
}

extension IPv6Address: CustomStringConvertible {
  public var description: String {
    if isIPv4Mapped { return "::ffff:\(IPv4Address(rawValue: UInt32(truncatingIfNeeded: low)))" }
    let groups = [high, low].flatMap { half in
      [48, 32, 16, 0].map { UInt16(truncatingIfNeeded: half >> UInt64($0)) }
    }
    // RFC 5952 section 4.2: shorten the longest run of two or more zero groups, the first of equals.
    var best = 0..<0
    var start = 0
    while start < 8 {
      var end = start
      while end < 8, groups[end] == 0 { end += 1 }
      if end - start > max(best.count, 1) { best = start..<end }
      start = max(end, start + 1)
    }
    let hex = { (part: ArraySlice<UInt16>) in part.map { String($0, radix: 16) }.joined(separator: ":") }
    guard !best.isEmpty else { return hex(groups[...]) }
    return hex(groups[..<best.lowerBound]) + "::" + hex(groups[best.upperBound...])
  }
}
