// SPDX-License-Identifier: GPL-2.0-or-later

// What a transaction is made of, and how an observation names kernel objects: the words between the planner,
// which decides, and the encoder, which sends.

/// One step of an nftables transaction. Steps take effect together and in order.
public enum NftChange: Hashable, Codable, Sendable {
  /// The table alone, without what is in it; no error when it is there.
  case addTable(NftTable)
  /// The table with all that is in it.
  case deleteTable(NftTableKey)
  /// The chain alone, without its rules; an existing base chain takes the new policy.
  case addChain(NftTableKey, NftChain)
  /// Refused while a jump leads to it; its rules go with it.
  case deleteChain(NftTableKey, name: String)
  /// Removes the rules of a chain.
  case flushChain(NftTableKey, name: String)
  /// The set and its elements.
  case addSet(NftTableKey, NftSet)
  case deleteSet(NftTableKey, name: String)
  /// Elements into the set, whose declaration says how they are kept.
  case addElements(NftTableKey, NftSet, [NftSetElement])
  case deleteElements(NftTableKey, NftSet, [NftSetElement])
  case addObject(NftTableKey, NftObject)
  case deleteObject(NftTableKey, NftObject)
  case addFlowtable(NftTableKey, NftFlowtable)
  /// Refused while a rule puts connections into it.
  case deleteFlowtable(NftTableKey, name: String)
  /// At the end of the chain.
  case appendRule(NftTableKey, chain: String, NftRule)
  /// Before all others of the chain.
  case prependRule(NftTableKey, chain: String, NftRule)
  /// Directly after the rule with that handle.
  case insertRule(NftTableKey, chain: String, NftRule, after: UInt64)
  case replaceRule(NftTableKey, chain: String, NftRule, handle: UInt64)
  case deleteRule(NftTableKey, chain: String, handle: UInt64)

  public var table: NftTableKey {
    switch self {
    case .addTable(let table): table.key
    case .deleteTable(let key), .addChain(let key, _), .deleteChain(let key, _), .flushChain(let key, _),
      .addSet(let key, _), .deleteSet(let key, _), .addElements(let key, _, _),
      .deleteElements(let key, _, _),
      .addObject(let key, _), .deleteObject(let key, _), .addFlowtable(let key, _),
      .deleteFlowtable(let key, _), .appendRule(let key, _, _),
      .prependRule(let key, _, _),
      .insertRule(let key, _, _, _), .replaceRule(let key, _, _, _), .deleteRule(let key, _, _):
      key
    }
  }
}

extension NftTable {
  /// The steps that make this table where it is not: declarations first, so that rules find what they name.
  public var creation: [NftChange] {
    var changes: [NftChange] = [.addTable(self)]
    changes += chains.map { .addChain(key, $0) }
    changes += objects.map { .addObject(key, $0) }
    changes += flowtables.map { .addFlowtable(key, $0) }
    changes += sets.map { .addSet(key, $0) }
    for chain in chains {
      changes += chain.rules.map { .appendRule(key, chain: chain.name, $0) }
    }
    return changes
  }

  /// The steps that put this table in the place of whatever is there, at once; counters and dynamic elements
  /// begin anew.
  public var replacement: [NftChange] { [.addTable(self), .deleteTable(key)] + creation }
}

/// The handles that the kernel gave to rules.
public struct NftHandles: Hashable, Codable, Sendable {
  /// In the order of `NftChain.rules`, for each chain.
  public var rules: [NftChainKey: [UInt64]]

  public init(rules: [NftChainKey: [UInt64]] = [:]) { self.rules = rules }

  /// The handle of a chain's rule by position; nil when there is none.
  public func rule(_ index: Int, of chain: String, in table: NftTableKey) -> UInt64? {
    guard let handles = rules[NftChainKey(table: table, chain: chain)], handles.indices.contains(index) else {
      return nil
    }
    return handles[index]
  }
}

/// A chain's identity in a namespace.
public struct NftChainKey: Hashable, Comparable, Codable, Sendable {
  public var table: NftTableKey
  public var chain: String

  public init(table: NftTableKey, chain: String) {
    self.table = table
    self.chain = chain
  }

  public static func < (a: Self, b: Self) -> Bool { (a.table, a.chain) < (b.table, b.chain) }
}

/// The nftables state of a namespace at one generation.
public struct NftObservation: Hashable, Codable, Sendable {
  /// Sorted by family and name.
  public var tables: [NftTable]
  public var handles: NftHandles
  /// The ruleset's generation, which every change raises.
  public var generation: UInt32

  public init(tables: [NftTable] = [], handles: NftHandles = NftHandles(), generation: UInt32 = 0) {
    self.tables = tables.sorted { $0.key < $1.key }
    self.handles = handles
    self.generation = generation
  }

  /// The rule that the kernel knows by a handle.
  public func rule(_ handle: UInt64, of key: NftChainKey) -> NftRule? {
    guard let place = handles.rules[key]?.firstIndex(of: handle),
      let chain = tables.first(where: { $0.key == key.table })?.chains.first(where: { $0.name == key.chain }),
      chain.rules.indices.contains(place)
    else { return nil }
    return chain.rules[place]
  }
}
