// SPDX-License-Identifier: GPL-2.0-or-later

/// The two families of internet addresses.
public enum IPFamily: String, Hashable, Comparable, CaseIterable, Codable, Sendable {
  case ipv4, ipv6

  /// Bits in an address of this family.
  public var width: Int { self == .ipv4 ? 32 : 128 }

  public static func < (a: Self, b: Self) -> Bool { a.width < b.width }
}

/// An address of either family. IPv4 sorts before IPv6.
public enum IPAddress: Hashable, Comparable, Sendable {
  case v4(IPv4Address)
  case v6(IPv6Address)

  /// Parses either family's text.
  public init?(_ text: some StringProtocol) {
    if let v4 = IPv4Address(text) {
      self = .v4(v4)
    } else if let v6 = IPv6Address(text) {
      self = .v6(v6)
    } else {
      return nil
    }
  }

  /// From four or sixteen bytes in network order.
  public init?(bytes: some Collection<UInt8>) {
    if let v4 = IPv4Address(bytes: bytes) {
      self = .v4(v4)
    } else if let v6 = IPv6Address(bytes: bytes) {
      self = .v6(v6)
    } else {
      return nil
    }
  }

  /// The unspecified address of a family.
  public static func any(_ family: IPFamily) -> IPAddress { family == .ipv4 ? .v4(.any) : .v6(.any) }

  public var family: IPFamily {
    switch self {
    case .v4: .ipv4
    case .v6: .ipv6
    }
  }

  /// The bytes in network order.
  public var bytes: [UInt8] {
    switch self {
    case .v4(let address): address.bytes
    case .v6(let address): address.bytes
    }
  }

  public var isUnspecified: Bool { self == .any(family) }

  public var isLoopback: Bool {
    switch self {
    case .v4(let address): address.isLoopback
    case .v6(let address): address.isLoopback
    }
  }

  public var isMulticast: Bool {
    switch self {
    case .v4(let address): address.isMulticast
    case .v6(let address): address.isMulticast
    }
  }

  public var isLinkLocal: Bool {
    switch self {
    case .v4(let address): address.isLinkLocal
    case .v6(let address): address.isLinkLocal
    }
  }

  /// This address plus `offset`, wrapping within its family.
  public func advanced(by offset: UInt64) -> IPAddress {
    switch self {
    case .v4(let address):
      return .v4(IPv4Address(rawValue: address.rawValue &+ UInt32(truncatingIfNeeded: offset)))
    case .v6(let address):
      let (low, carry) = address.low.addingReportingOverflow(offset)
      return .v6(IPv6Address(high: address.high &+ (carry ? 1 : 0), low: low))
    }
  }

  /// This address with all but its first `length` bits cleared.
  public func masked(to length: Int) -> IPAddress {
    switch self {
    case .v4(let address):
      return .v4(
        IPv4Address(
          rawValue: length <= 0 ? 0 : address.rawValue & (UInt32.max << UInt32(32 - min(length, 32)))))
    case .v6(let address):
      let high = length <= 0 ? 0 : address.high & (UInt64.max << UInt64(64 - min(length, 64)))
      let low = length <= 64 ? 0 : address.low & (UInt64.max << UInt64(128 - min(length, 128)))
      return .v6(IPv6Address(high: high, low: low))
    }
  }
}

extension IPAddress: CustomStringConvertible {
  public var description: String {
    switch self {
    case .v4(let address): address.description
    case .v6(let address): address.description
    }
  }
}
