// SPDX-License-Identifier: GPL-2.0-or-later

// The address families, hooks and chain types of nf_tables. The numbers are the kernel's
// (linux/netfilter.h, linux/netfilter/nf_tables.h).

/// The address family of a table.
public enum NftFamily: String, Hashable, Comparable, CaseIterable, Codable, Sendable {
  case ip, ip6, inet, arp, bridge, netdev

  /// NFPROTO_*.
  public var number: UInt8 {
    switch self {
    case .inet: 1
    case .ip: 2
    case .arp: 3
    case .netdev: 5
    case .bridge: 7
    case .ip6: 10
    }
  }

  /// Nil for a family that nf_tables does not have.
  public init?(number: UInt8) {
    guard let family = Self.allCases.first(where: { $0.number == number }) else { return nil }
    self = family
  }

  /// True when rules of the table may meet packets of both internet families or of none.
  public var isMixed: Bool { self == .inet || self == .bridge || self == .netdev }

  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// The place in a packet's way where a base chain is called.
public enum NftHook: String, Hashable, CaseIterable, Codable, Sendable {
  case prerouting, input, forward, output, postrouting, ingress, egress

  /// The hook's number in a family; nil when the family does not have it.
  public func number(in family: NftFamily) -> UInt32? {
    switch (family, self) {
    case (.netdev, .ingress): 0
    case (.netdev, .egress): 1
    case (.netdev, _): nil
    case (.arp, .input): 0
    case (.arp, .output): 1
    case (.arp, _): nil
    case (_, .prerouting): 0
    case (_, .input): 1
    case (_, .forward): 2
    case (_, .output): 3
    case (_, .postrouting): 4
    case (.inet, .ingress): 5
    default: nil
    }
  }

  /// Nil when the family has no hook of that number.
  public init?(number: UInt32, family: NftFamily) {
    guard let hook = Self.allCases.first(where: { $0.number(in: family) == number }) else { return nil }
    self = hook
  }
}

/// What a base chain is for.
public enum NftChainType: String, Hashable, CaseIterable, Codable, Sendable {
  case filter, nat, route
}

/// What happens to a packet that no rule of a base chain has decided on.
public enum NftPolicy: String, Hashable, CaseIterable, Codable, Sendable {
  case accept, drop
}
