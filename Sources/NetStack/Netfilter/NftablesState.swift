// SPDX-License-Identifier: GPL-2.0-or-later

// nftables of one namespace: the configured ruleset, the program made of it, and the state of its expressions.

import Nftables

/// A namespace's nftables.
struct NftablesState: ~Copyable {
  private(set) var ruleset = NftRuleset()
  var program: NftProgram
  var states = NftStates()
  var steps = NetfilterSteps([], tracks: [])
  /// Whether packets meet anything at all.
  private(set) var isActive = false
  /// Whether connections may go past the rules.
  private(set) var offloads = false
  /// Whether rules ask for what connections have counted.
  private(set) var asksForCounts = false
  /// Of which families connections are tracked (nf_ct_netns_get).
  private(set) var tracks: TrackedFamilies = []
  /// Which packets are traced without a rule.
  var traced: NftTraceFilter? {
    didSet { isTraced = traced != nil }
  }
  /// Whether any are.
  private(set) var isTraced = false

  init() { program = NftProgram(NftAssembly(), sets: Table(limit: 1)) }

  /// Makes the program of a ruleset and puts both in force, or only asks whether that could be. State that nothing has
  /// afterwards is given back.
  mutating func install(
    _ new: NftRuleset, seed: UInt32, now: Int64, groups: Bool, dryRun: Bool
  ) throws(NftTransactionError) {
    var assembler = NftAssembler(seed: seed, now: now, groups: groups)
    do throws(NftAssemblyError) {
      try assembler.assemble(new.tables, new.handles, order: new.ages, states: &states, old: program)
    } catch {
      release(assembler.assembly.states, keeping: program.states)
      throw NftTransactionError(index: new.step(of: error.handle), error: error.error)
    }
    let assembly = assembler.assembly
    guard !dryRun else {
      release(assembly.states, keeping: program.states)
      return
    }
    release(program.states, keeping: assembly.states)
    ruleset = new
    // Once asked for, tracking stays until the last table is gone, so that its connections do not forget.
    tracks = assembly.tracked.union(new.tables.isEmpty ? [] : tracks)
    offloads = !assembly.flowtables.isEmpty
    asksForCounts = assembly.needsAccounting
    steps = NetfilterSteps(assembly.hooks, tracks: tracks, proxies: assembly.proxied)
    isActive = !tracks.isEmpty || assembly.hooks.contains { !$0.isEmpty }
    program = NftProgram(assembly, sets: assembler.takeSets())
  }

  /// Gives back what is in one program and not in the other.
  private mutating func release(
    _ gone: [NftProgram.StateKey: UInt32], keeping kept: [NftProgram.StateKey: UInt32]
  ) {
    let known = Set(kept.values)
    for state in gone.values.filter({ !known.contains($0) }).sorted() { states.release(state) }
  }

  mutating func forgetExpired(now: Int64) {
    for table in ruleset.tables {
      for set in table.sets {
        let key = NftSetKey(table: table.key, name: set.name)
        guard let place = program.setPlaces[key] else { continue }
        let index = TableIndex<NftElements>(place)
        let expired = program.sets[index].expired(now: now)
        guard !expired.isEmpty else { continue }
        let keys = Set(expired.map { program.sets[index].key($0) })
        for element in expired { program.sets[index].remove(element) }
        ruleset.removeElements(of: key) { keys.contains(NftRegisters.words($0.key.bytes)) }
      }
    }
  }

  /// Forgets that an element was declared, which a rule takes out.
  mutating func forget(_ element: UInt32, of index: TableIndex<NftElements>) {
    guard let key = program.setPlaces.first(where: { $0.value == index.rawValue })?.key else { return }
    let words = program.sets[index].key(element)
    ruleset.removeElements(of: key) { NftRegisters.words($0.key.bytes) == words }
  }

  // MARK: Observing

  /// What is there, with counts.
  func observation(_ wanted: [NftTableKey]?, now: Int64) -> NftObservation {
    var tables: [NftTable] = []
    var handles: [NftChainKey: [UInt64]] = [:]
    for var table in ruleset.tables where wanted?.contains(table.key) ?? true {
      let key = table.key
      for chain in table.chains.indices {
        let chainKey = NftChainKey(table: key, chain: table.chains[chain].name)
        let known = ruleset.handles[chainKey] ?? []
        handles[chainKey] = known
        for (position, handle) in known.enumerated() {
          for expression in table.chains[chain].rules[position].expressions.indices {
            guard let state = program.states[.rule(key, handle: handle, expression)] else { continue }
            let old = table.chains[chain].rules[position].expressions[expression]
            table.chains[chain].rules[position].expressions[expression] = counted(old, states[state])
          }
        }
      }
      for object in table.objects.indices {
        let old = table.objects[object]
        guard let state = program.states[.object(key, type: old.type, name: old.name)] else { continue }
        switch old.state {
        case .counter:
          table.objects[object].state = .counter(
            NftCounter(packets: states[state].first, bytes: states[state].second))
        case .quota(var quota):
          quota.consumed = min(states[state].first, quota.bytes)
          table.objects[object].state = .quota(quota)
        case .limit, .connlimit, .ctHelper, .ctTimeout, .ctExpectation, .synproxy, .unknown: break
        }
      }
      for set in table.sets.indices { observe(&table.sets[set], of: key, now) }
      tables.append(table)
    }
    return NftObservation(tables: tables, handles: NftHandles(rules: handles), generation: ruleset.generation)
  }

  private func counted(_ expression: NftExpression, _ value: NftStates.Value) -> NftExpression {
    switch expression {
    case .counter: return .counter(NftCounter(packets: value.first, bytes: value.second))
    case .quota(var quota):
      // More than the quota is not told (nft_quota_do_dump).
      quota.consumed = min(value.first, quota.bytes)
      return .quota(quota)
    default: return expression
    }
  }

  private func observe(_ set: inout NftSet, of table: NftTableKey, _ now: Int64) {
    guard let place = program.setPlaces[NftSetKey(table: table, name: set.name)] else { return }
    let index = TableIndex<NftElements>(place)
    for element in set.elements.indices {
      let words = NftRegisters.words(set.elements[element].key.bytes)
      for expression in set.elements[element].expressions.indices {
        let key = NftProgram.StateKey.element(table, set: set.name, key: words, expression)
        guard let state = program.states[key] else { continue }
        set.elements[element].expressions[expression] = counted(
          set.elements[element].expressions[expression], states[state])
      }
    }
    let dynamic = program.sets[index].all.filter { program.sets[index][$0].isDynamic }
    for element in dynamic {
      let item = program.sets[index][element]
      var seen = NftSetElement(
        key: NftData(NftRegisters.bytes(program.sets[index].key(element), set.keyLength)))
      if case .value? = set.data {
        let words = (0..<program.sets[index].valueWords).map { program.sets[index].value(element, $0) }
        seen.value = .data(NftData(NftRegisters.bytes(words, set.data?.length ?? 0)))
      }
      if item.lifetime > 0 {
        // The set's own is not told (nf_tables_fill_setelem).
        let lifetime = UInt64(item.lifetime / 1_000_000)
        if lifetime != set.timeout { seen.timeout = lifetime }
        seen.expiration = UInt64(max(item.expires - now, 0) / 1_000_000)
      } else {
        seen.expiration = 0
      }
      seen.expressions = program.sets[index].expressions.enumerated().map { offset, expression in
        item.state == .max ? expression : counted(expression, states[item.state + UInt32(offset)])
      }
      set.elements.append(seen)
    }
    set.elements.sort()
  }
}
