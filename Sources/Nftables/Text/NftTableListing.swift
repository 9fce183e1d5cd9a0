// SPDX-License-Identifier: GPL-2.0-or-later

// Tables as values for `-f json`: names as nft has them, each rule with its text, so that a reader needs no
// knowledge of expressions. Encode with any encoder.

/// A table as JSON shows it.
public struct NftTableListing: Hashable, Codable, Sendable {
  public var family: NftFamily
  public var name: String
  public var comment: String?
  public var objects: [ObjectListing]
  /// Nil when it has none.
  public var flowtables: [NftFlowtable]?
  public var sets: [SetListing]
  public var chains: [ChainListing]

  public struct ChainListing: Hashable, Codable, Sendable {
    public var name: String
    public var comment: String?
    public var type: String?
    public var hook: String?
    public var priority: Int32?
    public var policy: String?
    public var devices: [String]?
    public var rules: [RuleListing]
  }

  public struct RuleListing: Hashable, Codable, Sendable {
    public var key: String
    public var handle: UInt64?
    public var comment: String?
    /// The rule in nft's language, its comment and counts left out.
    public var rule: String
    /// The first counter of the rule.
    public var packets: UInt64?
    public var bytes: UInt64?
  }

  public struct SetListing: Hashable, Codable, Sendable {
    public var name: String
    public var kind: String
    public var type: String
    public var comment: String?
    public var flags: [String]
    public var size: UInt32?
    /// Milliseconds.
    public var timeout: UInt64?
    /// What each element keeps of its own; nil when nothing.
    public var statements: [String]?
    public var elements: [String]
  }

  public struct ObjectListing: Hashable, Codable, Sendable {
    public var name: String
    public var kind: String
    public var comment: String?
    public var packets: UInt64?
    public var bytes: UInt64?
  }

  /// `handles` as observed with the table, when it was.
  public init(_ table: NftTable, handles: NftHandles = NftHandles()) {
    family = table.family
    name = table.name
    comment = table.comment
    objects = table.objects.map(ObjectListing.init)
    flowtables = table.flowtables.isEmpty ? nil : table.flowtables
    sets = table.sets.map(SetListing.init)
    chains = table.chains.map { chain in
      ChainListing(
        name: chain.name, comment: chain.comment, type: chain.base?.type.rawValue,
        hook: chain.base?.hook.rawValue,
        priority: chain.base?.priority, policy: chain.base?.policy.rawValue,
        devices: chain.base.flatMap { $0.devices.isEmpty ? nil : $0.devices },
        rules: chain.rules.enumerated().map { index, rule in
          RuleListing(rule, handles.rule(index, of: chain.name, in: table.key), table)
        })
    }
  }
}

extension NftTableListing.RuleListing {
  init(_ rule: NftRule, _ handle: UInt64?, _ table: NftTable) {
    var plain = rule
    plain.comment = nil
    var counter: NftCounter?
    for case .counter(let found) in rule.expressions where counter == nil { counter = found }
    plain.expressions = rule.expressions.map { expression in
      if case .counter = expression { .counter(NftCounter()) } else { expression }
    }
    self.init(
      key: rule.key, handle: handle, comment: rule.comment,
      rule: NftText.text(plain, family: table.family, sets: table.sets),
      packets: counter?.packets, bytes: counter?.bytes)
  }
}

extension NftTableListing.SetListing {
  init(_ set: NftSet) {
    let writer = SetText(set: set)
    let names: [(NftSetFlags, String)] = [
      (.constant, "constant"), (.interval, "interval"), (.timeout, "timeout"), (.dynamic, "dynamic"),
    ]
    self.init(
      name: set.name, kind: set.isMap ? "map" : "set", type: writer.type, comment: set.comment,
      flags: names.filter { set.flags.contains($0.0) }.map(\.1), size: set.size, timeout: set.timeout,
      statements: set.expressions.isEmpty
        ? nil : set.expressions.map(\.normalized).compactMap { RuleText.stateful($0) },
      elements: set.elements.map(writer.text))
  }
}

extension NftTableListing.ObjectListing {
  init(_ object: NftObject) {
    self.init(
      name: object.name, kind: ObjectText.name(object.type) ?? "type \(object.type)", comment: object.comment
    )
    switch object.state {
    case .counter(let counter):
      packets = counter.packets
      bytes = counter.bytes
    case .quota(let quota): bytes = quota.consumed
    case .limit, .connlimit, .ctHelper, .ctTimeout, .ctExpectation, .synproxy, .unknown: break
    }
  }
}
