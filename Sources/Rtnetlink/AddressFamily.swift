// SPDX-License-Identifier: GPL-2.0-or-later

// The address families that rtnetlink speaks of, and prefixes as its headers split them.

import CLinux
public import NetTypes

/// An address family (`AF_*`).
public struct AddressFamily: RawRepresentable, Hashable, Sendable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let unspecified = AddressFamily(rawValue: UInt8(AF_UNSPEC))
  public static let ipv4 = AddressFamily(rawValue: UInt8(AF_INET))
  public static let ipv6 = AddressFamily(rawValue: UInt8(AF_INET6))
  /// Bridges: forwarding databases, ports and their VLANs.
  public static let bridge = AddressFamily(rawValue: UInt8(AF_BRIDGE))

  public init(_ family: IPFamily) { self = family == .ipv4 ? .ipv4 : .ipv6 }

  /// The internet family, if it is one.
  public var internet: IPFamily? {
    switch self {
    case .ipv4: .ipv4
    case .ipv6: .ipv6
    default: nil
    }
  }
}

extension IPPrefix {
  /// A prefix from an attribute and the length that the fixed header has for it. A length without an address is
  /// refused; the kernel leaves the address out only when the length is zero.
  static func parsing(
    _ address: IPAddress?, length: UInt8, family: AddressFamily, _ field: String
  ) throws(NetlinkDecodingError) -> IPPrefix? {
    guard let address else {
      guard length == 0 else { throw .invalid("\(field) length without an address", value: UInt64(length)) }
      return nil
    }
    guard let prefix = IPPrefix(address, length: Int(length)) else {
      throw .invalid("\(field) prefix length", value: UInt64(length))
    }
    return prefix
  }
}
