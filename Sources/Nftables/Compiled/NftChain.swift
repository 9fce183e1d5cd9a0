// SPDX-License-Identifier: GPL-2.0-or-later

// A chain in its compiled form.

/// A chain and its rules, in the order in which packets meet them.
public struct NftChain: Hashable, Codable, Sendable {
  public var name: String
  /// Nil for a chain that is only jumped to.
  public var base: NftBaseChain?
  public var comment: String?
  public var rules: [NftRule]

  public init(name: String, base: NftBaseChain? = nil, comment: String? = nil, rules: [NftRule] = []) {
    self.name = name
    self.base = base
    self.comment = comment
    self.rules = rules
  }

  /// The chain with its rules normalised (`NftRule.normalized`).
  public var normalized: NftChain {
    NftChain(name: name, base: base, comment: comment, rules: rules.map(\.normalized))
  }
}

/// Where the kernel calls a chain.
public struct NftBaseChain: Hashable, Codable, Sendable {
  public var type: NftChainType
  public var hook: NftHook
  /// Lower runs earlier; conntrack stands at -200, destination NAT at -100, filter at 0, source NAT at 100.
  public var priority: Int32
  public var policy: NftPolicy
  /// The devices of an ingress or egress chain, sorted; empty elsewhere.
  public var devices: [String]

  public init(
    type: NftChainType = .filter, hook: NftHook, priority: Int32 = 0, policy: NftPolicy = .accept,
    devices: [String] = []
  ) {
    self.type = type
    self.hook = hook
    self.priority = priority
    self.policy = policy
    self.devices = devices.sorted()
  }
}
