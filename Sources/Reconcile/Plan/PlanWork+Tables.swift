// SPDX-License-Identifier: GPL-2.0-or-later

// nftables: rules one by one, sets by element, so that counters and dynamic elements live on; a whole table only when
// the kernel cannot change what differs.

import LabCore
import NetTypes
import Nftables

extension PlanWork {
  mutating func planTables(of space: NamespaceState, _ seen: PlannedNamespace) {
    guard !space.tables.isEmpty || !seen.tables.isEmpty else { return }
    for table in space.tables {
      let table = table.withKeyedRules
      guard let old = seen.tables.removeValue(forKey: table.key)?.withKeyedRules else {
        create(table, in: space.id, reason: reason(for: .nftTable(table), in: space.id))
        continue
      }
      let wanted = table.normalized
      let present = old.normalized(beside: wanted)
      if wanted == present { continue }
      if let reason = wanted.replacementReason(from: present) {
        firewalls.delete(
          .nftTable(old), in: space.id, disruptive: true,
          reason: "made anew: \(reason); its counters and dynamic elements are lost")
        create(table, in: space.id, reason: "made anew")
      } else {
        change(present, to: wanted, in: space.id)
      }
    }
    for key in seen.tables.keys.sorted() {
      guard let old = seen.tables[key] else { continue }
      firewalls.delete(.nftTable(old), in: space.id, disruptive: true, reason: Self.unwanted)
    }
    seen.tables = Dictionary(space.tables.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
  }

  /// Chains before sets, whose verdicts may name them; rules last.
  private mutating func create(_ table: NftTable, in id: NamespaceID, reason: String) {
    let key = table.key
    firewalls.create(.nftTable(table.declaration), in: id, reason: reason)
    for chain in table.chains { firewalls.create(.nftChain(key, chain.declaration), in: id, reason: reason) }
    for object in table.objects { firewalls.create(.nftObject(key, object), in: id, reason: reason) }
    for flowtable in table.flowtables {
      firewalls.create(.nftFlowtable(key, flowtable), in: id, reason: reason)
    }
    for set in table.sets { firewalls.create(.nftSet(key, set), in: id, reason: reason) }
    for chain in table.chains {
      var predecessor: String?
      for rule in chain.rules {
        let state = NftRuleState(table: key, chain: chain.name, rule: rule, predecessor: predecessor)
        firewalls.create(.nftRule(state), in: id, reason: reason)
        predecessor = rule.key
      }
    }
  }

  private mutating func change(_ old: NftTable, to new: NftTable, in id: NamespaceID) {
    let key = new.key
    if new.flags != old.flags {
      firewalls.update(
        .nftTable(old.declaration), to: .nftTable(new.declaration), attribute: AttributeName("flags"), in: id)
    }
    let oldChains = Dictionary(old.chains.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    let oldSets = Dictionary(old.sets.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    let newChains = Set(new.chains.map(\.name))
    let newSets = Set(new.sets.map(\.name))
    for chain in new.chains {
      if let seen = oldChains[chain.name] {
        guard seen.base?.policy != chain.base?.policy else { continue }
        firewalls.update(
          .nftChain(key, seen.declaration), to: .nftChain(key, chain.declaration), attribute: .policy, in: id)
      } else {
        firewalls.create(.nftChain(key, chain.declaration), in: id, reason: Self.missing)
      }
    }
    for object in new.objects
    where !old.objects.contains(where: { $0.type == object.type && $0.name == object.name }) {
      firewalls.create(.nftObject(key, object), in: id, reason: Self.missing)
    }
    for flowtable in new.flowtables where !old.flowtables.contains(where: { $0.name == flowtable.name }) {
      firewalls.create(.nftFlowtable(key, flowtable), in: id, reason: Self.missing)
    }
    for set in new.sets {
      if let seen = oldSets[set.name] {
        changeElements(of: seen, to: set, table: key, in: id)
      } else {
        firewalls.create(.nftSet(key, set), in: id, reason: Self.missing)
      }
    }
    for chain in old.chains where !newChains.contains(chain.name) {
      changeRules(of: chain, to: [], table: key, in: id)
    }
    for chain in new.chains {
      changeRules(
        of: oldChains[chain.name] ?? NftChain(name: chain.name), to: chain.rules, table: key, in: id)
    }
    for set in old.sets where !newSets.contains(set.name) {
      firewalls.delete(
        .nftSet(key, set), in: id, disruptive: set.flags.contains(.dynamic), reason: Self.unwanted)
    }
    for object in old.objects
    where !new.objects.contains(where: { $0.type == object.type && $0.name == object.name }) {
      firewalls.delete(.nftObject(key, object), in: id, reason: Self.unwanted)
    }
    for flowtable in old.flowtables where !new.flowtables.contains(where: { $0.name == flowtable.name }) {
      firewalls.delete(.nftFlowtable(key, flowtable), in: id, reason: Self.unwanted)
    }
    for chain in old.chains where !newChains.contains(chain.name) {
      firewalls.delete(.nftChain(key, chain.declaration), in: id, reason: Self.unwanted)
    }
  }

  private mutating func changeElements(of old: NftSet, to new: NftSet, table: NftTableKey, in id: NamespaceID)
  {
    guard old.elements != new.elements else { return }
    let declaration = new.declaration
    var missing: [(element: NftSetElement, reason: String)] = []
    // Both are sorted by key: one walk finds what stands in one of them only.
    var position = 0
    func delete(_ element: NftSetElement, _ reason: String) {
      firewalls.delete(.nftElement(table, declaration, element), in: id, reason: reason)
    }
    func deleteUnwanted(before next: NftSetElement?) {
      while position < old.elements.count, next.map({ old.elements[position] < $0 }) ?? true {
        // What rules put there is theirs.
        if !old.flags.contains(.dynamic) { delete(old.elements[position], Self.unwanted) }
        position += 1
      }
    }
    for element in new.elements {
      deleteUnwanted(before: element)
      guard position < old.elements.count, !(element < old.elements[position]) else {
        missing.append((element, Self.missing))
        continue
      }
      if old.elements[position] != element {
        delete(old.elements[position], "its value differs")
        missing.append((element, "its value differs"))
      }
      position += 1
    }
    deleteUnwanted(before: nil)
    for (element, reason) in missing {
      firewalls.create(.nftElement(table, declaration, element), in: id, reason: reason)
    }
  }

  private mutating func changeRules(
    of old: NftChain, to rules: [NftRule], table: NftTableKey, in id: NamespaceID
  ) {
    guard old.rules != rules else { return }
    let positions = Dictionary(
      old.rules.enumerated().map { ($0.element.key, $0.offset) }, uniquingKeysWith: { first, _ in first })
    let kept = Set(longestIncreasingSubsequence(of: rules.compactMap { positions[$0.key] }))
    let wanted = Dictionary(rules.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
    for (index, rule) in old.rules.enumerated() where !kept.contains(index) {
      let state = NftRuleState(
        table: table, chain: old.name, rule: rule, predecessor: index > 0 ? old.rules[index - 1].key : nil)
      firewalls.delete(
        .nftRule(state), in: id, reason: wanted[rule.key] == nil ? Self.unwanted : "stands elsewhere")
    }
    var predecessor: String?
    for rule in rules {
      let state = NftRuleState(table: table, chain: old.name, rule: rule, predecessor: predecessor)
      predecessor = rule.key
      if let index = positions[rule.key], kept.contains(index) {
        guard old.rules[index].normalized != rule.normalized else { continue }
        var before = state
        before.rule = old.rules[index]
        firewalls.replace(.nftRule(before), with: .nftRule(state), in: id, reason: "it was changed by hand")
      } else {
        firewalls.create(
          .nftRule(state), in: id, reason: positions[rule.key] == nil ? Self.missing : "stands elsewhere")
      }
    }
  }
}

extension NftTable {
  /// With a key in every rule.
  fileprivate var withKeyedRules: NftTable {
    guard chains.contains(where: { $0.rules.contains { $0.key.isEmpty } }) else { return self }
    var table = self
    for index in table.chains.indices { table.chains[index].rules = table.chains[index].rules.keyed }
    return table
  }

  /// Normalised, but elements of dynamic sets that `wanted` declares stay, though they age like those of rules.
  fileprivate func normalized(beside wanted: NftTable) -> NftTable {
    var table = normalized
    for index in table.sets.indices where table.sets[index].flags.contains(.dynamic) {
      let name = table.sets[index].name
      guard let seen = set(name), let declared = wanted.set(name), !declared.elements.isEmpty else {
        continue
      }
      let keys = Set(declared.elements.map(\.place))
      table.sets[index].elements = seen.elements.map(\.normalized).filter { keys.contains($0.place) }
    }
    return table
  }

  /// Why the kernel cannot change `old` into this, or nil when it can. Both normalised.
  fileprivate func replacementReason(from old: NftTable) -> String? {
    if comment != old.comment { return "its comment differs" }
    let chains = Dictionary(old.chains.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    for chain in self.chains {
      guard let seen = chains[chain.name] else { continue }
      if chain.base?.type != seen.base?.type { return "chain '\(chain.name)' changes its type" }
      if chain.base?.hook != seen.base?.hook { return "chain '\(chain.name)' changes its hook" }
      if chain.base?.priority != seen.base?.priority { return "chain '\(chain.name)' changes its priority" }
      if chain.base?.devices != seen.base?.devices { return "chain '\(chain.name)' changes its devices" }
    }
    let sets = Dictionary(old.sets.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    for set in self.sets {
      guard let seen = sets[set.name] else { continue }
      if set.keyTypes != seen.keyTypes || set.data != seen.data {
        return "set '\(set.name)' changes its type"
      }
      if set.flags != seen.flags { return "set '\(set.name)' changes its flags" }
      if let size = set.size, size != seen.size { return "set '\(set.name)' changes its size" }
      if set.timeout != seen.timeout { return "set '\(set.name)' changes its timeout" }
      if set.comment != seen.comment { return "set '\(set.name)' changes its comment" }
      if set.expressions != seen.expressions { return "set '\(set.name)' changes what its elements keep" }
    }
    for object in objects {
      guard let seen = old.objects.first(where: { $0.type == object.type && $0.name == object.name }) else {
        continue
      }
      if seen.state != object.state { return "'\(object.name)' changes its settings" }
    }
    for flowtable in flowtables {
      guard let seen = old.flowtables.first(where: { $0.name == flowtable.name }) else { continue }
      if seen != flowtable { return "flowtable '\(flowtable.name)' changes its devices or settings" }
    }
    return nil
  }
}

/// The longest increasing subsequence, in O(n log n): what need not move when one order becomes another.
func longestIncreasingSubsequence(of values: [Int]) -> [Int] {
  // tails[k]: index of the smallest last value of an increasing subsequence of length k + 1.
  var tails: [Int] = []
  var previous = [Int](repeating: -1, count: values.count)
  for (index, value) in values.enumerated() {
    var low = 0
    var high = tails.count
    while low < high {
      let middle = (low + high) / 2
      if values[tails[middle]] < value { low = middle + 1 } else { high = middle }
    }
    if low > 0 { previous[index] = tails[low - 1] }
    if low == tails.count { tails.append(index) } else { tails[low] = index }
  }
  var result: [Int] = []
  var index = tails.last ?? -1
  while index >= 0 {
    result.append(values[index])
    index = previous[index]
  }
  return result.reversed()
}
