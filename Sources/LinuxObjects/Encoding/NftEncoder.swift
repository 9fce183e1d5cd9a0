// SPDX-License-Identifier: GPL-2.0-or-later

// Changes of nftables objects become one transaction of a namespace. All keep the plan's order but for new rules: those
// of a chain are placed together, so that each can be said relative to a rule whose handle the kernel has told.

import LabCore
import Nftables

/// The rules that stand in a namespace: their keys in order, with the kernel's handles.
struct NftRuleHandles {
  struct Entry {
    var key: String
    /// Nil for a rule of the transaction that is being made.
    var handle: UInt64?
  }

  var chains: [NftChainKey: [Entry]] = [:]

  init() {}

  init(_ observation: NftObservation) {
    for table in observation.tables {
      for chain in table.chains {
        let key = NftChainKey(table: table.key, chain: chain.name)
        chains[key] = chain.rules.enumerated().map { index, rule in
          Entry(key: rule.key, handle: observation.handles.rule(index, of: chain.name, in: table.key))
        }
      }
    }
  }

  mutating func forget(_ table: NftTableKey) { chains = chains.filter { $0.key.table != table } }
}

/// Makes the transaction for the changes of one namespace.
struct NftEncoder {
  private let changes: [Change]
  var handles = NftRuleHandles()

  private var steps: [NftChange] = []
  private var origins: [Int] = []
  /// New rules that wait for their chain's last one.
  private var waiting: [NftChainKey: [(rule: NftRuleState, change: Int)]] = [:]

  init(_ changes: [Change]) { self.changes = changes }

  /// Whether rules stand already that the transaction is about.
  var needsHandles: Bool {
    let newTables = Set(changes.filter { $0.path.kind == .nftTable && $0.operation == .create }.map(\.path))
    return changes.contains { $0.path.kind == .nftRule && !newTables.contains(tablePath($0.path)) }
  }

  /// The tables that the changes are about.
  var tables: [NftTableKey] {
    var seen: Set<NftTableKey> = []
    return changes.compactMap { ($0.after ?? $0.before)?.tableKey }.filter { seen.insert($0).inserted }
  }

  private func tablePath(_ path: StatePath) -> StatePath {
    StatePath(path.namespace, .nftTable, key: Array(path.key.prefix(1)))
  }

  /// The steps, and for each the position of its change.
  mutating func transaction() -> (steps: [NftChange], origins: [Int]) {
    var remaining: [NftChainKey: Int] = [:]
    for change in changes where change.operation != .delete {
      if case .nftRule(let rule) = change.after { remaining[rule.chainKey, default: 0] += 1 }
    }
    for (index, change) in changes.enumerated() {
      if change.operation == .delete || change.operation == .replace { delete(change.before, index) }
      guard change.operation != .delete, let after = change.after else { continue }
      if case .nftRule(let rule) = after {
        if change.operation == .update { delete(change.before, index) }
        waiting[rule.chainKey, default: []].append((rule, index))
        remaining[rule.chainKey, default: 0] -= 1
        if remaining[rule.chainKey] == 0 { place(rule.chainKey) }
      } else {
        add(after, replacing: change.operation == .update ? change.before : nil, index)
      }
    }
    return (steps, origins)
  }

  private mutating func say(_ step: NftChange, _ index: Int) {
    steps.append(step)
    origins.append(index)
  }

  private mutating func add(_ object: StateObject, replacing before: StateObject?, _ index: Int) {
    switch object {
    case .nftTable(let table): say(.addTable(table.declaration), index)
    case .nftChain(let table, let chain): say(.addChain(table, chain.declaration), index)
    case .nftObject(let table, let object): say(.addObject(table, object), index)
    case .nftFlowtable(let table, let flowtable): say(.addFlowtable(table, flowtable), index)
    case .nftSet(let table, let set): say(.addSet(table, set), index)
    case .nftElement(let table, let set, let element):
      if case .nftElement(_, _, let old) = before {
        say(.deleteElements(table, set.declaration, [old]), index)
      }
      say(.addElements(table, set.declaration, [element]), index)
    default: break
    }
  }

  private mutating func delete(_ object: StateObject?, _ index: Int) {
    switch object {
    case .nftTable(let table):
      say(.deleteTable(table.key), index)
      handles.forget(table.key)
    case .nftChain(let table, let chain):
      say(.deleteChain(table, name: chain.name), index)
      handles.chains[NftChainKey(table: table, chain: chain.name)] = nil
    case .nftObject(let table, let object): say(.deleteObject(table, object), index)
    case .nftFlowtable(let table, let flowtable):
      say(.deleteFlowtable(table, name: flowtable.name), index)
    case .nftSet(let table, let set): say(.deleteSet(table, name: set.name), index)
    case .nftElement(let table, let set, let element):
      say(.deleteElements(table, set.declaration, [element]), index)
    case .nftRule(let rule):
      let key = rule.chainKey
      // A rule that is gone with its table or by hand needs no deletion.
      guard let place = handles.chains[key]?.firstIndex(where: { $0.key == rule.rule.key }) else { return }
      if let handle = handles.chains[key]?.remove(at: place).handle {
        say(.deleteRule(rule.table, chain: rule.chain, handle: handle), index)
      }
    default: break
    }
  }

  /// Says the new rules of a chain where each belongs.
  private mutating func place(_ key: NftChainKey) {
    let new = waiting.removeValue(forKey: key) ?? []
    var entries = handles.chains[key] ?? []
    var byKey: [String: (rule: NftRuleState, change: Int)] = [:]
    for rule in new {
      byKey[rule.rule.rule.key] = rule
      let entry = NftRuleHandles.Entry(key: rule.rule.rule.key, handle: nil)
      if let predecessor = rule.rule.predecessor {
        let place = entries.firstIndex { $0.key == predecessor }.map { $0 + 1 } ?? entries.count
        entries.insert(entry, at: place)
      } else {
        entries.insert(entry, at: 0)
      }
    }
    var start = 0
    while start < entries.count {
      guard entries[start].handle == nil else {
        start += 1
        continue
      }
      let end = entries[start...].firstIndex { $0.handle != nil } ?? entries.count
      let segment = entries[start..<end].compactMap { byKey[$0.key] }
      if end == entries.count {
        for (rule, index) in segment { say(.appendRule(key.table, chain: key.chain, rule.rule), index) }
      } else {
        // Each goes directly behind the same rule, so the last is said first.
        let anchor = start > 0 ? entries[start - 1].handle : nil
        for (rule, index) in segment.reversed() {
          if let anchor {
            say(.insertRule(key.table, chain: key.chain, rule.rule, after: anchor), index)
          } else {
            say(.prependRule(key.table, chain: key.chain, rule.rule), index)
          }
        }
      }
      start = end
    }
    handles.chains[key] = entries
  }
}

extension NftRuleState {
  var chainKey: NftChainKey { NftChainKey(table: table, chain: chain) }
}

extension StateObject {
  /// The table that an nftables object belongs to.
  var tableKey: NftTableKey? {
    switch self {
    case .nftTable(let table): table.key
    case .nftChain(let table, _), .nftSet(let table, _), .nftObject(let table, _),
      .nftFlowtable(let table, _), .nftElement(let table, _, _):
      table
    case .nftRule(let rule): rule.table
    default: nil
    }
  }
}
