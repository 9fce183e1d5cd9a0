// SPDX-License-Identifier: GPL-2.0-or-later

// A table in its compiled form: what the kernel holds and what the planner compares. Parts are kept sorted by
// name, so that two tables with the same content are equal; rules keep their order.

/// An nf_tables table with all that it holds.
public struct NftTable: Hashable, Codable, Sendable {
  public var family: NftFamily
  public var name: String
  /// NFT_TABLE_F_*: 1 dormant, 2 owned by a socket, 4 persistent.
  public var flags: UInt32
  public var comment: String?
  /// Sorted by name.
  public var chains: [NftChain]
  /// Named sets and maps, sorted by name. Anonymous ones are in the expressions that use them.
  public var sets: [NftSet]
  /// Sorted by kind and name.
  public var objects: [NftObject]
  /// Sorted by name.
  public var flowtables: [NftFlowtable]

  public init(
    family: NftFamily, name: String, flags: UInt32 = 0, comment: String? = nil,
    chains: [NftChain] = [], sets: [NftSet] = [], objects: [NftObject] = [],
    flowtables: [NftFlowtable] = []
  ) {
    self.family = family
    self.name = name
    self.flags = flags
    self.comment = comment
    self.chains = chains.sorted { $0.name < $1.name }
    self.sets = sets.sorted { $0.name < $1.name }
    self.objects = objects.sorted()
    self.flowtables = flowtables.sorted()
  }

  /// What tells this table from every other in a namespace.
  public var key: NftTableKey { NftTableKey(family: family, name: name) }

  /// The table without what counts packets or is a default spelt out: equal when the rules mean the same.
  public var normalized: NftTable {
    NftTable(
      family: family, name: name, flags: flags, comment: comment,
      chains: chains.map { spelt($0.normalized) }, sets: sets.map(\.normalized),
      objects: objects.map(\.normalized),
      flowtables: flowtables)
  }

  /// Rules that put elements into a set that says what each holds say it as well; the kernel leaves it out of what it
  /// tells (nft_dynset_dump).
  private func spelt(_ chain: NftChain) -> NftChain {
    guard sets.contains(where: { !$0.expressions.isEmpty }) else { return chain }
    var chain = chain
    for rule in chain.rules.indices {
      for index in chain.rules[rule].expressions.indices {
        guard case .dynset(var update) = chain.rules[rule].expressions[index], update.operation != .delete,
          update.expressions.isEmpty, let set = set(update.setName), !set.expressions.isEmpty
        else { continue }
        update.expressions = set.expressions.map(\.normalized)
        chain.rules[rule].expressions[index] = .dynset(update)
      }
    }
    return chain
  }

  /// The chain of that name.
  public func chain(_ name: String) -> NftChain? { chains.first { $0.name == name } }

  /// The named set or map of that name.
  public func set(_ name: String) -> NftSet? { sets.first { $0.name == name } }
}

/// A table's identity: its family and name.
public struct NftTableKey: Hashable, Comparable, Codable, Sendable, CustomStringConvertible {
  public var family: NftFamily
  public var name: String

  public init(family: NftFamily, name: String) {
    self.family = family
    self.name = name
  }

  public static func < (a: Self, b: Self) -> Bool {
    (a.family.rawValue, a.name) < (b.family.rawValue, b.name)
  }

  /// As nft names it: `inet filter`.
  public var description: String { "\(family.rawValue) \(name)" }
}
