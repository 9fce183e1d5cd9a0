// SPDX-License-Identifier: GPL-2.0-or-later

/// An address with a prefix length. Host bits are kept: `10.0.1.5/24` is what an interface carries, `.network` is its subnet.
public struct IPPrefix: Hashable, Comparable, Sendable {
  public var address: IPAddress
  /// 0...32 or 0...128.
  public var length: Int

  /// Nil when the length does not fit the family.
  public init?(_ address: IPAddress, length: Int) {
    guard (0...address.family.width).contains(length) else { return nil }
    self.address = address
    self.length = length
  }

  /// Parses `address/length`; an address alone is a host (/32 or /128).
  public init?(_ text: some StringProtocol) {
    let text = String(text)
    guard let slash = text.utf8.firstIndex(of: UInt8(ascii: "/")) else {
      guard let address = IPAddress(text) else { return nil }
      self.init(host: address)
      return
    }
    let digits = text[slash...].dropFirst()
    guard (1...3).contains(digits.utf8.count), digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let length = Int(digits), let address = IPAddress(text[..<slash])
    else { return nil }
    self.init(address, length: length)
  }

  /// The single-address prefix of `address`.
  public init(host address: IPAddress) {
    self.address = address
    length = address.family.width
  }

  /// 0.0.0.0/0 or ::/0.
  public static func everything(_ family: IPFamily) -> IPPrefix {
    var prefix = IPPrefix(host: .any(family))
    prefix.length = 0
    return prefix
  }

  public var family: IPFamily { address.family }

  /// The same prefix with its host bits cleared.
  public var network: IPPrefix {
    var result = self
    result.address = address.masked(to: length)
    return result
  }

  public var isHost: Bool { length == family.width }
  public var isEverything: Bool { length == 0 }

  /// The last address that the prefix covers; in IPv4, its directed broadcast.
  public var last: IPAddress {
    switch address.masked(to: length) {
    case .v4(let base):
      return .v4(IPv4Address(rawValue: base.rawValue | (length >= 32 ? 0 : UInt32.max >> UInt32(length))))
    case .v6(let base):
      let high = length >= 64 ? base.high : base.high | (UInt64.max >> UInt64(length))
      let low =
        length >= 128 ? base.low : base.low | (length <= 64 ? UInt64.max : UInt64.max >> UInt64(length - 64))
      return .v6(IPv6Address(high: high, low: low))
    }
  }

  public func contains(_ other: IPAddress) -> Bool {
    other.family == family && other.masked(to: length) == address.masked(to: length)
  }

  public func contains(_ other: IPPrefix) -> Bool { other.length >= length && contains(other.address) }

  public func overlaps(_ other: IPPrefix) -> Bool { contains(other) || other.contains(self) }

  public static func < (a: Self, b: Self) -> Bool {
    a.address == b.address ? a.length < b.length : a.address < b.address
  }
}

extension IPPrefix: CustomStringConvertible {
  public var description: String { "\(address)/\(length)" }
}
