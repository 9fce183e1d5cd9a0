// SPDX-License-Identifier: GPL-2.0-or-later

// A namespace's tables as configuration sees them, and how a transaction changes them: all of its steps or none
// (nf_tables_commit). Every refused step is one error with its number; the first is what a caller is told.

import Nftables

/// Why a transaction was refused.
public struct NftTransactionError: Error, Sendable {
  /// The step; nil when it was none of them alone.
  public let index: Int?
  /// The kernel's number and words.
  public let error: KernelError
}

/// Tables, and what tells their parts apart.
struct NftRuleset {
  private(set) var tables: [NftTable] = []
  /// For each chain, in the order of its rules.
  private(set) var handles: [NftChainKey: [UInt64]] = [:]
  /// When each base chain and flowtable came: of one priority the younger comes first.
  struct Ages {
    var chains: [NftChainKey: UInt64] = [:]
    var flowtables: [NftSetKey: UInt64] = [:]
  }

  private(set) var ages = Ages()
  private(set) var generation: UInt32 = 1
  private var lastHandle: UInt64 = 0
  /// Which step brought a rule, for the errors of what is checked at the end.
  private var steps: [UInt64: Int] = [:]

  /// The ruleset after the steps.
  func applying(_ changes: [NftChange]) throws(NftTransactionError) -> NftRuleset {
    var result = self
    result.steps = [:]
    for (index, change) in changes.enumerated() {
      do throws(KernelError) { try result.apply(change, index) } catch {
        throw NftTransactionError(index: index, error: error)
      }
    }
    result.generation &+= 1
    return result
  }

  func rule(_ handle: UInt64, of key: NftChainKey) -> NftRule? {
    guard let position = handles[key]?.firstIndex(of: handle),
      let table = tables.first(where: { $0.key == key.table })
    else { return nil }
    return table.chains.first { $0.name == key.chain }?.rules[position]
  }

  /// The step that brought a rule.
  func step(of handle: UInt64?) -> Int? { handle.flatMap { steps[$0] } }

  // MARK: Steps

  private func place(_ key: NftTableKey) throws(KernelError) -> Int {
    guard let place = tables.firstIndex(where: { $0.key == key }) else { throw .noSuchEntry }
    return place
  }

  private func place(_ name: String, in table: Int) throws(KernelError) -> Int {
    guard let place = tables[table].chains.firstIndex(where: { $0.name == name }) else { throw .noSuchEntry }
    return place
  }

  private mutating func apply(_ change: NftChange, _ index: Int) throws(KernelError) {
    switch change {
    case .addTable(let table): try add(table)
    case .deleteTable(let key):
      let table = try place(key)
      for chain in tables[table].chains { forget(NftChainKey(table: key, chain: chain.name)) }
      for flowtable in tables[table].flowtables { forget(flowtable.name, of: key) }
      tables.remove(at: table)
    case .addChain(let key, let chain): try add(chain, to: key)
    case .deleteChain(let key, let name):
      let table = try place(key)
      let chain = try place(name, in: table)
      guard !isReferenced(name, in: tables[table]) else { throw .busy }
      tables[table].chains.remove(at: chain)
      forget(NftChainKey(table: key, chain: name))
    case .flushChain(let key, let name):
      let table = try place(key)
      tables[table].chains[try place(name, in: table)].rules = []
      handles[NftChainKey(table: key, chain: name)] = []
    case .addSet(let key, let set): try add(set, to: key)
    case .deleteSet(let key, let name):
      let table = try place(key)
      guard let set = tables[table].sets.firstIndex(where: { $0.name == name }) else { throw .noSuchEntry }
      guard !isUsed(set: name, in: tables[table]) else { throw .busy }
      tables[table].sets.remove(at: set)
    case .addElements(let key, let set, let elements): try add(elements, to: set.name, key)
    case .deleteElements(let key, let set, let elements): try delete(elements, from: set.name, key)
    case .addObject(let key, let object):
      let table = try place(key)
      let same = tables[table].objects.firstIndex { $0.type == object.type && $0.name == object.name }
      if let same {
        guard tables[table].objects[same].normalized == object.normalized else { throw .exists }
      } else {
        tables[table].objects.append(object)
        tables[table].objects.sort()
      }
    case .deleteObject(let key, let object):
      let table = try place(key)
      let same = tables[table].objects.firstIndex { $0.type == object.type && $0.name == object.name }
      guard let same else { throw .noSuchEntry }
      guard !isUsed(object: object, in: tables[table]) else { throw .busy }
      tables[table].objects.remove(at: same)
    case .addFlowtable(let key, let flowtable): try add(flowtable, to: key)
    case .deleteFlowtable(let key, let name):
      let table = try place(key)
      guard let place = tables[table].flowtables.firstIndex(where: { $0.name == name }) else {
        throw .noSuchEntry
      }
      guard !isUsed(flowtable: name, in: tables[table]) else { throw .busy }
      tables[table].flowtables.remove(at: place)
      forget(name, of: key)
    case .appendRule(let key, let chain, let rule):
      try insert(rule, in: key, chain, index) { $0.count }
    case .prependRule(let key, let chain, let rule):
      try insert(rule, in: key, chain, index) { _ in 0 }
    case .insertRule(let key, let chain, let rule, let after):
      try insert(rule, in: key, chain, index) { $0.firstIndex(of: after).map { $0 + 1 } }
    case .replaceRule(let key, let chain, let rule, let handle):
      let (table, place, position) = try find(handle, key, chain)
      tables[table].chains[place].rules[position] = rule
      lastHandle += 1
      steps[lastHandle] = index
      handles[NftChainKey(table: key, chain: chain)]?[position] = lastHandle
    case .deleteRule(let key, let chain, let handle):
      let (table, place, position) = try find(handle, key, chain)
      tables[table].chains[place].rules.remove(at: position)
      handles[NftChainKey(table: key, chain: chain)]?.remove(at: position)
    }
  }

  private mutating func forget(_ key: NftChainKey) {
    handles[key] = nil
    ages.chains[key] = nil
  }

  private mutating func forget(_ flowtable: String, of table: NftTableKey) {
    ages.flowtables[NftSetKey(table: table, name: flowtable)] = nil
  }

  /// nf_tables_newflowtable. A device belongs to one flowtable of a table.
  private mutating func add(_ flowtable: NftFlowtable, to key: NftTableKey) throws(KernelError) {
    let table = try place(key)
    guard [.ip, .ip6, .inet].contains(key.family) else { throw .noSuchEntry }
    guard !flowtable.name.isEmpty, flowtable.name.utf8.count < 256, flowtable.devices.count <= 256 else {
      throw .invalidArgument
    }
    if let known = tables[table].flowtables.first(where: { $0.name == flowtable.name }) {
      guard known == flowtable else { throw .exists }
      return
    }
    for other in tables[table].flowtables where !Set(other.devices).isDisjoint(with: flowtable.devices) {
      throw .exists
    }
    tables[table].flowtables.append(flowtable)
    tables[table].flowtables.sort()
    lastHandle += 1
    ages.flowtables[NftSetKey(table: key, name: flowtable.name)] = lastHandle
  }

  private mutating func add(_ table: NftTable) throws(KernelError) {
    guard !table.name.isEmpty, table.name.utf8.count < 256 else { throw .invalidArgument }
    guard table.flags & ~1 == 0 else {
      throw .notSupported("the emulated kernel's tables have no owner and do not persist by themselves")
    }
    if let known = tables.firstIndex(where: { $0.key == table.key }) {
      tables[known].flags = table.flags
      return
    }
    tables.append(
      NftTable(family: table.family, name: table.name, flags: table.flags, comment: table.comment))
    tables.sort { $0.key < $1.key }
  }

  private mutating func add(_ chain: NftChain, to key: NftTableKey) throws(KernelError) {
    let table = try place(key)
    guard !chain.name.isEmpty, chain.name.utf8.count < 256 else { throw .invalidArgument }
    if let known = tables[table].chains.firstIndex(where: { $0.name == chain.name }) {
      let old = tables[table].chains[known].base
      guard let base = chain.base else { return }
      guard let old, old.type == base.type, old.hook == base.hook, old.priority == base.priority else {
        throw .exists
      }
      tables[table].chains[known].base?.policy = base.policy
      return
    }
    if let base = chain.base {
      guard base.hook.number(in: key.family) != nil else { throw KernelError(95) }
      // Devices' hooks name their devices, and no other does.
      guard (base.hook == .ingress || base.hook == .egress) != base.devices.isEmpty else {
        throw .invalidArgument
      }
    }
    tables[table].chains.append(NftChain(name: chain.name, base: chain.base, comment: chain.comment))
    tables[table].chains.sort { $0.name < $1.name }
    let chainKey = NftChainKey(table: key, chain: chain.name)
    handles[chainKey] = []
    lastHandle += 1
    ages.chains[chainKey] = lastHandle
  }

  private mutating func insert(
    _ rule: NftRule, in key: NftTableKey, _ name: String, _ index: Int, at position: ([UInt64]) -> Int?
  ) throws(KernelError) {
    let table = try place(key)
    let chain = try place(name, in: table)
    let chainKey = NftChainKey(table: key, chain: name)
    guard let place = position(handles[chainKey] ?? []) else { throw .noSuchEntry }
    lastHandle += 1
    steps[lastHandle] = index
    tables[table].chains[chain].rules.insert(rule, at: place)
    handles[chainKey, default: []].insert(lastHandle, at: place)
  }

  private func find(
    _ handle: UInt64, _ key: NftTableKey, _ name: String
  ) throws(KernelError) -> (table: Int, chain: Int, position: Int) {
    let table = try place(key)
    let chain = try place(name, in: table)
    let known = handles[NftChainKey(table: key, chain: name)]
    guard let position = known?.firstIndex(of: handle) else { throw .noSuchEntry }
    return (table, chain, position)
  }

  // MARK: Sets

  private mutating func add(_ set: NftSet, to key: NftTableKey) throws(KernelError) {
    let table = try place(key)
    guard !set.name.isEmpty, set.name.utf8.count < 256 else { throw .invalidArgument }
    guard set.keyLength > 0, set.keyLength <= NftData.maximumLength else { throw .invalidArgument }
    if let known = tables[table].sets.first(where: { $0.name == set.name }) {
      var bare = set
      bare.elements = known.elements
      guard bare == known else { throw .exists }
    } else {
      var bare = set
      bare.elements = []
      tables[table].sets.append(bare)
      tables[table].sets.sort { $0.name < $1.name }
    }
    try add(set.elements, to: set.name, key)
  }

  private func set(_ name: String, _ key: NftTableKey) throws(KernelError) -> (table: Int, set: Int) {
    let table = try place(key)
    guard let set = tables[table].sets.firstIndex(where: { $0.name == name }) else { throw .noSuchEntry }
    return (table, set)
  }

  private mutating func add(
    _ elements: [NftSetElement], to name: String, _ key: NftTableKey
  ) throws(KernelError) {
    guard !elements.isEmpty else { return }
    let (table, set) = try set(name, key)
    let declaration = tables[table].sets[set]
    guard elements.allSatisfy({ $0.isCatchAll || $0.key.count == declaration.keyLength }) else {
      throw .invalidArgument
    }
    if let size = declaration.size {
      guard declaration.elements.count + elements.count <= Int(size) else { throw KernelError(23) }
    }
    // Sorted runs are merged, so that a hundred thousand elements cost what sorting them costs.
    let merged = (declaration.elements + elements).sorted()
    var result: [NftSetElement] = []
    result.reserveCapacity(merged.count)
    for element in merged {
      guard let last = result.last else {
        result.append(element)
        continue
      }
      if last.key == element.key, last.keyEnd == element.keyEnd {
        guard last.value == element.value else { throw .exists }
        continue
      }
      if declaration.keepsBoundaries, !last.isCatchAll {
        guard (last.keyEnd ?? last.key) < element.key else { throw .exists }
      }
      result.append(element)
    }
    tables[table].sets[set].elements = result
  }

  private mutating func delete(
    _ elements: [NftSetElement], from name: String, _ key: NftTableKey
  ) throws(KernelError) {
    let (table, set) = try set(name, key)
    let gone = Set(elements.map(\.place))
    let before = tables[table].sets[set].elements
    let rest = before.filter { !gone.contains($0.place) }
    guard before.count - rest.count == gone.count else { throw .noSuchEntry }
    tables[table].sets[set].elements = rest
  }

  /// Forgets elements that have died of age.
  mutating func removeElements(of key: NftSetKey, where isGone: (NftSetElement) -> Bool) {
    guard let table = tables.firstIndex(where: { $0.key == key.table }),
      let set = tables[table].sets.firstIndex(where: { $0.name == key.name })
    else { return }
    tables[table].sets[set].elements.removeAll(where: isGone)
  }

  // MARK: References

  private func isReferenced(_ chain: String, in table: NftTable) -> Bool {
    let elements = table.sets.flatMap(\.elements)
    if elements.contains(where: { $0.value?.target == chain }) { return true }
    return table.chains.contains { other in
      other.rules.contains { rule in
        rule.expressions.contains { expression in
          switch expression {
          case .immediate(let immediate):
            if case .verdict(let verdict) = immediate.value { verdict.target == chain } else { false }
          case .lookup(let lookup):
            if case .anonymous(let set) = lookup.set {
              set.elements.contains { $0.value?.target == chain }
            } else {
              false
            }
          default: false
          }
        }
      }
    }
  }

  private func isUsed(set name: String, in table: NftTable) -> Bool {
    table.chains.contains { chain in
      chain.rules.contains { rule in
        rule.expressions.contains { expression in
          switch expression {
          case .lookup(let lookup): lookup.set == .named(name)
          case .dynset(let dynset): dynset.setName == name
          case .objectReference(let reference):
            if case .map(let set, _) = reference.target { set == .named(name) } else { false }
          default: false
          }
        }
      }
    }
  }

  private func isUsed(flowtable name: String, in table: NftTable) -> Bool {
    table.chains.contains { $0.rules.contains { $0.expressions.contains(.flowOffload(name)) } }
  }

  private func isUsed(object: NftObject, in table: NftTable) -> Bool {
    let name = object.name
    if table.sets.contains(where: {
      $0.data == .object(object.type) && $0.elements.contains { $0.value == .object(name) }
    }) {
      return true
    }
    return table.chains.contains { chain in
      chain.rules.contains { rule in
        rule.expressions.contains { expression in
          if case .objectReference(let reference) = expression {
            reference.target == .named(type: object.type, name: name)
          } else {
            false
          }
        }
      }
    }
  }
}

extension NftElementValue {
  /// The chain that a verdict leads to.
  fileprivate var target: String? {
    if case .verdict(let verdict) = self { verdict.target } else { nil }
  }
}
