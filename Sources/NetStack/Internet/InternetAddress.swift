// SPDX-License-Identifier: GPL-2.0-or-later

// What IPv4 and IPv6 share is written once, over numbers in host byte order: `UInt32` and `UInt128`. Everything that
// is generic over them is used with one of the two in this module, so that the compiler makes two plain versions.

import NetTypes

/// An address of a family, as a number in host byte order.
protocol InternetAddress: FixedWidthInteger, UnsignedInteger, BitwiseCopyable, Sendable {
  static var family: IPFamily { get }
  /// Nil for an address of the other family.
  init?(_ address: IPAddress)
  var address: IPAddress { get }
  /// The namespace's routes of this family.
  static func withRoutes<Result, Failure>(
    of namespace: inout NetNamespace,
    _ body: (inout ForwardingInformationBase<Self>) throws(Failure) -> Result
  ) throws(Failure) -> Result
}

extension InternetAddress {
  /// The bits of a prefix.
  @inline(__always) static func mask(_ length: UInt8) -> Self {
    length == 0 ? 0 : Self.max << Self(truncatingIfNeeded: bitWidth - Int(length))
  }

  /// The prefix of that length that this address begins.
  func prefix(_ length: UInt8) -> IPPrefix {
    IPPrefix(address, length: Int(length)) ?? .everything(Self.family)
  }
}

extension UInt32: InternetAddress {
  static var family: IPFamily { .ipv4 }

  init?(_ address: IPAddress) {
    guard case .v4(let value) = address else { return nil }
    self = value.rawValue
  }

  var address: IPAddress { .v4(IPv4Address(rawValue: self)) }

  static func withRoutes<Result, Failure>(
    of namespace: inout NetNamespace,
    _ body: (inout ForwardingInformationBase<UInt32>) throws(Failure) -> Result
  ) throws(Failure) -> Result { try body(&namespace.routes) }
}

extension UInt128: InternetAddress {
  static var family: IPFamily { .ipv6 }

  init?(_ address: IPAddress) {
    guard case .v6(let value) = address else { return nil }
    self = UInt128(value.high) << 64 | UInt128(value.low)
  }

  var address: IPAddress {
    .v6(IPv6Address(high: UInt64(truncatingIfNeeded: self >> 64), low: UInt64(truncatingIfNeeded: self)))
  }

  static func withRoutes<Result, Failure>(
    of namespace: inout NetNamespace,
    _ body: (inout ForwardingInformationBase<UInt128>) throws(Failure) -> Result
  ) throws(Failure) -> Result { try body(&namespace.routes6) }
}
