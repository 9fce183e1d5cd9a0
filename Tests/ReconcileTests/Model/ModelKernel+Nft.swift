// SPDX-License-Identifier: GPL-2.0-or-later

// nftables in the model: parts refer to each other and refuse to go while something needs them.

import LabCore
import Nftables

extension ModelKernel {
  private func index(_ key: NftTableKey, in id: NamespaceID) throws(ModelRefusal) -> Int {
    guard let index = self[id].tables.firstIndex(where: { $0.key == key }) else {
      throw ModelRefusal("no table \(key)")
    }
    return index
  }

  private func chain(_ name: String, _ table: Int, in id: NamespaceID) throws(ModelRefusal) -> Int {
    guard let index = self[id].tables[table].chains.firstIndex(where: { $0.name == name }) else {
      throw ModelRefusal("no chain \(name)")
    }
    return index
  }

  mutating func createNft(_ object: StateObject, in id: NamespaceID) throws(ModelRefusal) {
    switch object {
    case .nftTable(let table):
      guard !self[id].tables.contains(where: { $0.key == table.key }) else {
        throw ModelRefusal("table exists")
      }
      self[id].tables.append(table)
      self[id].tables.sort { $0.key < $1.key }
    case .nftChain(let key, let chain):
      let table = try index(key, in: id)
      guard self[id].tables[table].chain(chain.name) == nil else { throw ModelRefusal("chain exists") }
      self[id].tables[table].chains.append(chain)
      self[id].tables[table].chains.sort { $0.name < $1.name }
    case .nftSet(let key, let set):
      let table = try index(key, in: id)
      guard self[id].tables[table].set(set.name) == nil else { throw ModelRefusal("set exists") }
      self[id].tables[table].sets.append(set)
      self[id].tables[table].sets.sort { $0.name < $1.name }
    case .nftObject(let key, let object):
      let table = try index(key, in: id)
      self[id].tables[table].objects.append(object)
      self[id].tables[table].objects.sort()
    case .nftFlowtable(let key, let flowtable):
      let table = try index(key, in: id)
      guard !self[id].tables[table].flowtables.contains(where: { $0.name == flowtable.name }) else {
        throw ModelRefusal("flowtable exists")
      }
      self[id].tables[table].flowtables.append(flowtable)
      self[id].tables[table].flowtables.sort()
    case .nftElement(let key, let set, let element):
      let table = try index(key, in: id)
      guard let position = self[id].tables[table].sets.firstIndex(where: { $0.name == set.name })
      else {
        throw ModelRefusal("no set \(set.name)")
      }
      guard
        !self[id].tables[table].sets[position].elements.contains(where: {
          $0.pathKey == element.pathKey
        })
      else { throw ModelRefusal("element exists") }
      self[id].tables[table].sets[position].elements.append(element)
      self[id].tables[table].sets[position].elements.sort()
    case .nftRule(let state):
      let table = try index(state.table, in: id)
      let chain = try chain(state.chain, table, in: id)
      var rules = self[id].tables[table].chains[chain].rules
      var position = 0
      if let predecessor = state.predecessor {
        guard let found = rules.firstIndex(where: { $0.key == predecessor }) else {
          throw ModelRefusal("no rule \(predecessor)")
        }
        position = found + 1
      }
      rules.insert(state.rule, at: position)
      self[id].tables[table].chains[chain].rules = rules
    default: throw ModelRefusal("not of nftables")
    }
  }

  mutating func updateNft(_ object: StateObject, in id: NamespaceID) throws(ModelRefusal) {
    switch object {
    case .nftTable(let table): self[id].tables[try index(table.key, in: id)].flags = table.flags
    case .nftChain(let key, let state):
      let table = try index(key, in: id)
      let chain = try chain(state.name, table, in: id)
      let old = self[id].tables[table].chains[chain].base
      guard old?.hook == state.base?.hook, old?.type == state.base?.type,
        old?.priority == state.base?.priority
      else {
        throw ModelRefusal("a chain keeps its hook")
      }
      self[id].tables[table].chains[chain].base = state.base
    default: throw ModelRefusal("not of nftables")
    }
  }

  mutating func replaceRule(_ object: StateObject, in id: NamespaceID) throws(ModelRefusal) {
    guard case .nftRule(let state) = object else { throw ModelRefusal("no rule") }
    let table = try index(state.table, in: id)
    let chain = try chain(state.chain, table, in: id)
    guard
      let position = self[id].tables[table].chains[chain].rules.firstIndex(where: {
        $0.key == state.rule.key
      })
    else { throw ModelRefusal("no rule \(state.rule.key)") }
    self[id].tables[table].chains[chain].rules[position] = state.rule
  }

  mutating func deleteNft(_ object: StateObject, in id: NamespaceID) throws(ModelRefusal) {
    switch object {
    case .nftTable(let table): self[id].tables.removeAll { $0.key == table.key }
    case .nftChain(let key, let state):
      let table = try index(key, in: id)
      guard self[id].tables[table].chain(state.name)?.rules.isEmpty ?? true else {
        throw ModelRefusal("the chain has rules")
      }
      self[id].tables[table].chains.removeAll { $0.name == state.name }
    case .nftSet(let key, let set):
      self[id].tables[try index(key, in: id)].sets.removeAll { $0.name == set.name }
    case .nftObject(let key, let object):
      self[id].tables[try index(key, in: id)].objects.removeAll {
        $0.name == object.name && $0.type == object.type
      }
    case .nftFlowtable(let key, let flowtable):
      self[id].tables[try index(key, in: id)].flowtables.removeAll { $0.name == flowtable.name }
    case .nftElement(let key, let set, let element):
      let table = try index(key, in: id)
      guard let position = self[id].tables[table].sets.firstIndex(where: { $0.name == set.name })
      else { return }
      self[id].tables[table].sets[position].elements.removeAll { $0.pathKey == element.pathKey }
    case .nftRule(let state):
      let table = try index(state.table, in: id)
      let chain = try chain(state.chain, table, in: id)
      self[id].tables[table].chains[chain].rules.removeAll { $0.key == state.rule.key }
    default: throw ModelRefusal("not of nftables")
    }
  }
}
