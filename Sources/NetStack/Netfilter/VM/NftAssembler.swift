// SPDX-License-Identifier: GPL-2.0-or-later

// Makes a program of tables: their chains one after the other, each rule's expressions as instructions, sets as lookup
// structures, state carried over from the program before. What the kernel refuses when it loads a rule is refused here
// with the kernel's error numbers (nf_tables_api.c); what Linux has and this machine has not, by name.

import NetTypes
import Nftables

/// Why a ruleset cannot be: an error, and the rule that it lies in where it lies in one.
struct NftAssemblyError: Error {
  var error: KernelError
  var chain: NftChainKey?
  /// The rule's handle.
  var handle: UInt64?
}

/// Builds one program.
struct NftAssembler: ~Copyable {
  var assembly = NftAssembly()
  /// Sets by place.
  var sets = Table<NftElements>(limit: 1 << 20)
  /// The first instruction of each chain.
  private var starts: [NftChainKey: UInt32] = [:]
  /// Jumps whose chain has no place yet: the instruction, or the element of a set.
  private var jumps: [(instruction: Int, chain: NftChainKey)] = []
  private var elementJumps: [(set: UInt32, element: UInt32, chain: NftChainKey)] = []
  private var constantPlaces: [[UInt32]: UInt32] = [:]
  private let seed: UInt32
  private let now: Int64
  /// Whether rules that differ in one value become one lookup.
  private let groups: Bool

  init(seed: UInt32, now: Int64, groups: Bool) {
    self.seed = seed
    self.now = now
    self.groups = groups
  }

  /// Jumps of a chain's instructions, which have been moved.
  mutating func moveJumps(from start: Int, _ moved: [Int: Int]) {
    for place in jumps.indices where jumps[place].instruction >= start {
      jumps[place].instruction = moved[jumps[place].instruction] ?? jumps[place].instruction
    }
  }

  // MARK: The whole

  /// All tables; what has state takes it from `old` where it was there before.
  mutating func assemble(
    _ tables: [NftTable], _ handles: [NftChainKey: [UInt64]], order: NftRuleset.Ages,
    states: inout NftStates, old: borrowing NftProgram
  ) throws(NftAssemblyError) {
    for table in tables {
      assembly.family = table.family
      for object in table.objects { try add(object, of: table.key, &states, old) }
      for flowtable in table.flowtables {
        let number = state(.flowtable(table.key, name: flowtable.name), .init(), &states, old)
        assembly.flowtables[number] = flowtable
      }
      for set in table.sets { try add(set, of: table, &states, old) }
    }
    for table in tables {
      assembly.family = table.family
      for chain in table.chains {
        let key = NftChainKey(table: table.key, chain: chain.name)
        starts[key] = UInt32(assembly.instructions.count)
        assembly.chainNames[UInt32(assembly.instructions.count)] = key
        for (position, rule) in chain.rules.enumerated() {
          let handle = handles[key]?[position] ?? 0
          do throws(KernelError) {
            try add(rule, handle, in: key, table, &states, old)
          } catch {
            throw NftAssemblyError(error: error, chain: key, handle: handle)
          }
        }
        if groups { groupRules(from: Int(starts[key] ?? 0)) }
        assembly.instructions.append(NftInstruction(.end))
      }
    }
    try resolveJumps()
    try addHooks(tables, order)
  }

  private mutating func resolveJumps() throws(NftAssemblyError) {
    for (instruction, chain) in jumps {
      guard let start = starts[chain] else {
        throw NftAssemblyError(error: .noSuchEntry, chain: chain, handle: nil)
      }
      assembly.instructions[instruction].b = start
    }
    for (set, element, chain) in elementJumps {
      guard let start = starts[chain] else {
        throw NftAssemblyError(error: .noSuchEntry, chain: chain, handle: nil)
      }
      sets[TableIndex(set)][element].verdict.chain = start
    }
  }

  private mutating func addHooks(_ tables: [NftTable], _ order: NftRuleset.Ages)
    throws(NftAssemblyError)
  {
    var found: [(hook: NftProgram.Hook, number: NetfilterHook, age: UInt64)] = []
    for table in tables where table.flags & 1 == 0 {
      let validator = NftChainValidator(table)
      for chain in table.chains {
        guard let base = chain.base else { continue }
        let key = NftChainKey(table: table.key, chain: chain.name)
        do throws(KernelError) { try validator.validate(chain, base) } catch {
          throw NftAssemblyError(error: error, chain: key, handle: nil)
        }
        let hook = NftProgram.Hook(
          family: table.family, type: base.type, priority: base.priority, start: starts[key] ?? 0,
          policy: base.policy == .drop ? 0 : 1, devices: base.devices.compactMap { InterfaceName($0) })
        found.append((hook, NetfilterHook(base.hook), order.chains[key] ?? 0))
      }
      for flowtable in table.flowtables where !flowtable.devices.isEmpty {
        let hook = NftProgram.Hook(
          family: table.family, type: .filter, priority: flowtable.priority, start: 0, policy: 1,
          devices: flowtable.devices.compactMap { InterfaceName($0) },
          flowtable: assembly.states[.flowtable(table.key, name: flowtable.name)])
        found.append((hook, .ingress, order.flowtables[.init(table: table.key, name: flowtable.name)] ?? 0))
      }
    }
    // Of one priority the one that came last comes first (nf_hook_entries_grow).
    found.sort { ($0.hook.priority, $1.age) < ($1.hook.priority, $0.age) }
    for (hook, number, _) in found {
      // A flowtable of whatever family hangs at devices.
      let families = hook.flowtable == nil ? NetfilterFamily.families(of: hook.family, number) : [.netdev]
      for family in families {
        assembly.hooks[NftProgram.place(family, number)].append(hook)
      }
    }
  }

  // MARK: Constants and state

  /// The place of some words; equal ones share it.
  mutating func constant(_ data: NftData) -> UInt32 {
    let words = NftRegisters.words(data.bytes)
    if let place = constantPlaces[words] { return place }
    let place = UInt32(assembly.constants.count)
    assembly.constants += words
    constantPlaces[words] = place
    return place
  }

  /// The state of something: what it was, or made now with the value that the configuration gives.
  mutating func state(
    _ key: NftProgram.StateKey, _ initial: NftStates.Value, _ states: inout NftStates,
    _ old: borrowing NftProgram
  ) -> UInt32 {
    if let known = assembly.states[key] { return known }
    let place: UInt32
    if let kept = old.states[key] {
      place = kept
    } else {
      place = states.allocate()
      states[place] = initial
    }
    assembly.states[key] = place
    return place
  }

  private mutating func add(
    _ object: NftObject, of table: NftTableKey, _ states: inout NftStates, _ old: borrowing NftProgram
  ) throws(NftAssemblyError) {
    let expression: NftExpression
    switch object.state {
    case .counter(let counter): expression = .counter(counter)
    case .quota(let quota): expression = .quota(quota)
    case .limit(let limit): expression = .limit(limit)
    case .connlimit(let limit):
      expression = .connlimit(limit)
    case .ctTimeout(let timeout):
      try addTimeouts(timeout, object, of: table, &states, old)
      return
    case .ctHelper(let helper):
      try addHelper(helper, object, of: table)
      return
    case .ctExpectation(let expectation):
      let key = NftProgram.StateKey.object(table, type: object.type, name: object.name)
      var instruction = NftInstruction(.ctExpectation)
      instruction.a = state(key, .init(), &states, old)
      assembly.expectations[instruction.a] = expectation
      assembly.track()
      assembly.objectPlaces[key] = UInt32(assembly.objects.count)
      assembly.objects.append(instruction)
      return
    case .synproxy(let proxy):
      let key = NftProgram.StateKey.object(table, type: object.type, name: object.name)
      let instruction: NftInstruction
      do throws(KernelError) {
        instruction = try NftRuleLoader.synproxy(proxy, &self)
      } catch {
        throw NftAssemblyError(error: error)
      }
      assembly.objectPlaces[key] = UInt32(assembly.objects.count)
      assembly.objects.append(instruction)
      return
    case .unknown:
      let kind = object.kind?.name ?? "object of type \(object.type)"
      throw NftAssemblyError(error: .notSupported("the emulated kernel has no \(kind)"))
    }
    let key = NftProgram.StateKey.object(table, type: object.type, name: object.name)
    do throws(KernelError) {
      var instruction = try NftRuleLoader.stateful(expression, &self)
      instruction.a = state(key, initialState(expression), &states, old)
      assembly.objectPlaces[key] = UInt32(assembly.objects.count)
      assembly.objects.append(instruction)
    } catch {
      throw NftAssemblyError(error: error)
    }
  }

  private mutating func addTimeouts(
    _ timeout: NftCtTimeout, _ object: NftObject, of table: NftTableKey, _ states: inout NftStates,
    _ old: borrowing NftProgram
  ) throws(NftAssemblyError) {
    guard NftCtTimeout.states(of: timeout.transport)?.count == timeout.seconds.count else {
      throw NftAssemblyError(error: .invalidArgument)
    }
    let key = NftProgram.StateKey.object(table, type: object.type, name: object.name)
    var instruction = NftInstruction(.ctTimeout)
    instruction.a = state(key, .init(), &states, old)
    instruction.flags = timeout.transport
    assembly.timeouts[instruction.a] = timeout
    assembly.track()
    assembly.objectPlaces[key] = UInt32(assembly.objects.count)
    assembly.objects.append(instruction)
  }

  private mutating func addHelper(
    _ helper: NftCtHelper, _ object: NftObject, of table: NftTableKey
  ) throws(NftAssemblyError) {
    guard let kind = ConntrackHelper(helper.helper, transport: helper.transport) else {
      throw NftAssemblyError(
        error: .notSupported("the emulated kernel has no helper '\(helper.helper)' of this protocol"))
    }
    var instruction = NftInstruction(.ctHelper)
    instruction.flags = helper.transport
    instruction.b = UInt32(kind.rawValue)
    instruction.c = helper.network.map { UInt32($0.rawValue) } ?? 0
    assembly.track()
    let key = NftProgram.StateKey.object(table, type: object.type, name: object.name)
    assembly.objectPlaces[key] = UInt32(assembly.objects.count)
    assembly.objects.append(instruction)
  }

  /// What a limit or quota begins with.
  func initialState(_ expression: NftExpression) -> NftStates.Value {
    switch expression {
    case .counter(let counter): .init(first: counter.packets, second: counter.bytes)
    case .quota(let quota): .init(first: quota.consumed)
    case .limit(let limit): .init(first: NftLimitParameters(limit).maximum, second: UInt64(now))
    default: .init()
    }
  }

  var hashSeed: UInt32 { seed }

  // MARK: Sets

  /// Puts a set and its elements in place; its number.
  @discardableResult
  mutating func add(
    _ set: NftSet, of table: NftTable, _ states: inout NftStates, _ old: borrowing NftProgram
  ) throws(NftAssemblyError) -> UInt32 {
    guard set.keyLength > 0, set.keyLength <= NftData.maximumLength else {
      throw NftAssemblyError(error: .invalidArgument)
    }
    var valueLength = 0
    if case .value? = set.data { valueLength = set.data?.length ?? 0 }
    if case .object? = set.data { valueLength = 4 }
    var elements = NftElements(
      index: set.isInterval ? (set.keyTypes.count > 1 ? .fields : .intervals) : .hash,
      keyLengths: set.keyTypes.map(\.size), valueLength: valueLength, limit: set.size.map(Int.init),
      seed: seed)
    let key = set.isAnonymous ? nil : NftSetKey(table: table.key, name: set.name)
    let place = UInt32(sets.end)
    for element in set.elements {
      do throws(KernelError) {
        try add(element, of: set, table, place, &elements, &states, old)
      } catch {
        throw NftAssemblyError(error: error)
      }
    }
    if let expressions = set.elements.first(where: { !$0.expressions.isEmpty })?.expressions {
      guard set.elements.allSatisfy({ $0.expressions.map(\.normalized) == expressions.map(\.normalized) })
      else {
        throw NftAssemblyError(
          error: .notSupported("the emulated kernel's sets have the same expressions in all elements"))
      }
      elements.expressions = expressions.map(\.normalized)
      do throws(KernelError) { elements.template = try template(expressions) } catch {
        throw NftAssemblyError(error: error)
      }
    }
    if let key { keepDynamic(&elements, set, key, &states, old) }
    guard let index = sets.insert(elements) else { throw NftAssemblyError(error: .noBuffers) }
    if let key { assembly.setPlaces[key] = index.rawValue }
    return index.rawValue
  }

  private mutating func add(
    _ element: NftSetElement, of set: NftSet, _ table: NftTable, _ place: UInt32,
    _ elements: inout NftElements, _ states: inout NftStates, _ old: borrowing NftProgram
  ) throws(KernelError) {
    var item = NftElements.Element()
    var value: [UInt32] = []
    var target: NftChainKey?
    switch element.value {
    case .data(let data):
      guard data.count == set.data?.length else { throw .invalidArgument }
      value = NftRegisters.words(data.bytes)
    case .verdict(let verdict):
      item.verdict = NftVerdictCode(code: verdict.code)
      target = verdict.target.map { NftChainKey(table: table.key, chain: $0) }
    case .object(let name):
      guard case .object(let type)? = set.data,
        let object = assembly.objectPlaces[.object(table.key, type: type, name: name)]
      else { throw .noSuchEntry }
      value = [object]
    case nil: break
    }
    let words = Self.keyWords(element.key, set)
    let stable = NftSetKey(table: table.key, name: set.name)
    if let lifetime = element.timeout ?? set.timeout, lifetime > 0 {
      item.lifetime = Int64(clamping: lifetime) &* 1_000_000
      item.expires = now &+ item.lifetime
      if !set.isAnonymous, let before = Self.find(words, in: stable, old) {
        item.expires = before.expires
      }
    }
    if !element.expressions.isEmpty {
      let keys = element.expressions.indices.map {
        NftProgram.StateKey.element(table.key, set: set.name, key: words, $0)
      }
      item.state = try elementState(element.expressions, keys, &states, old)
    }
    if element.isCatchAll {
      elements.insertCatchAll(value: value, item)
      if let target { elementJumps.append((place, elements.catchAll, target)) }
      return
    }
    guard element.key.count == set.keyLength else { throw .invalidArgument }
    let last = element.keyEnd.map { Self.keyWords($0, set) }
    guard let made = elements.insert(key: words, last: last, value: value, item) else {
      throw KernelError(23)
    }
    if let target { elementJumps.append((place, made, target)) }
  }

  /// A key as the registers hold it: a field of a concatenation fills whole words already.
  static func keyWords(_ key: NftData, _ set: NftSet) -> [UInt32] { NftRegisters.words(key.bytes) }

  private static func find(
    _ words: [UInt32], in set: NftSetKey, _ old: borrowing NftProgram
  ) -> NftElements.Element? {
    guard let place = old.setPlaces[set] else { return nil }
    let index = TableIndex<NftElements>(place)
    guard old.sets[index].keyWords == words.count, words.count <= 16 else { return nil }
    var registers = NftRegisters()
    for (position, word) in words.enumerated() { registers[position] = word }
    let found = old.sets[index].find(registers, 0, now: .min)
    return found == NftElements.none ? nil : old.sets[index][found]
  }

  /// State blocks of an element stand side by side, so that one number names them all.
  private mutating func elementState(
    _ expressions: [NftExpression], _ keys: [NftProgram.StateKey], _ states: inout NftStates,
    _ old: borrowing NftProgram
  ) throws(KernelError) -> UInt32 {
    if let kept = old.states[keys[0]] {
      for (offset, key) in keys.enumerated() { assembly.states[key] = kept + UInt32(offset) }
      return kept
    }
    let first = states.allocate(expressions.count)
    for (offset, expression) in expressions.enumerated() {
      let place = first + UInt32(offset)
      states[place] = initialState(expression)
      assembly.states[keys[offset]] = place
    }
    return first
  }

  /// The expressions of a set's elements, each with its place in an element's state.
  private mutating func template(_ expressions: [NftExpression]) throws(KernelError) -> UInt32 {
    var instructions: [NftInstruction] = []
    for (offset, expression) in expressions.enumerated() {
      var instruction = try NftRuleLoader.stateful(expression, &self)
      instruction.a = UInt32(offset)
      instructions.append(instruction)
    }
    assembly.templates.append(instructions)
    return UInt32(assembly.templates.count - 1)
  }

  /// What elements that rules put into a set are to have.
  mutating func setTemplate(_ expressions: [NftExpression], of set: UInt32) throws(KernelError) {
    let index = TableIndex<NftElements>(set)
    let wanted = expressions.map(\.normalized)
    guard sets[index].expressions.isEmpty || sets[index].expressions == wanted else {
      throw .notSupported("the emulated kernel's sets have the same expressions in all elements")
    }
    guard sets[index].expressions.isEmpty else { return }
    sets[index].template = try template(wanted)
    sets[index].expressions = wanted
  }

  /// The sets, for the program.
  mutating func takeSets() -> Table<NftElements> {
    var taken = Table<NftElements>(limit: 1)
    swap(&taken, &sets)
    return taken
  }

  /// What rules have put into a set lives on.
  private mutating func keepDynamic(
    _ elements: inout NftElements, _ set: NftSet, _ key: NftSetKey, _ states: inout NftStates,
    _ old: borrowing NftProgram
  ) {
    guard let place = old.setPlaces[key] else { return }
    let index = TableIndex<NftElements>(place)
    guard old.sets[index].keyWords == elements.keyWords, old.sets[index].valueWords == elements.valueWords,
      elements.index == .hash
    else { return }
    for element in old.sets[index].all where old.sets[index][element].isDynamic {
      let item = old.sets[index][element]
      guard item.expires > now else { continue }
      let words = old.sets[index].key(element)
      var registers = NftRegisters()
      for (position, word) in words.enumerated() { registers[position] = word }
      guard elements.find(registers, 0, now: .min) == NftElements.none else { continue }
      let value = (0..<elements.valueWords).map { old.sets[index].value(element, $0) }
      _ = elements.insert(key: words, value: value, item)
    }
  }

  // MARK: Rules

  private mutating func add(
    _ rule: NftRule, _ handle: UInt64, in chain: NftChainKey, _ table: NftTable, _ states: inout NftStates,
    _ old: borrowing NftProgram
  ) throws(KernelError) {
    let first = assembly.instructions.count
    assembly.instructions.append(NftInstruction(.rule))
    assembly.instructions[first].b = UInt32(assembly.ruleNames.count)
    assembly.ruleNames.append((chain, handle))
    var loader = NftRuleLoader(table: table, handle: handle)
    for (position, expression) in rule.expressions.enumerated() {
      try loader.add(expression, position, to: &self, &states, old)
    }
    assembly.instructions[first].a = UInt32(assembly.instructions.count)
  }

  mutating func append(_ instruction: NftInstruction, jumpingTo chain: NftChainKey? = nil) {
    if let chain { jumps.append((assembly.instructions.count, chain)) }
    assembly.instructions.append(instruction)
  }
}

extension NetfilterHook {
  init(_ hook: NftHook) {
    switch hook {
    case .prerouting: self = .prerouting
    case .input: self = .input
    case .forward: self = .forward
    case .output: self = .output
    case .postrouting: self = .postrouting
    case .ingress: self = .ingress
    case .egress: self = .egress
    }
  }
}

extension NetfilterFamily {
  /// The packets that a table's chains of a hook meet.
  static func families(of family: NftFamily, _ hook: NetfilterHook) -> [NetfilterFamily] {
    switch family {
    case .ip: [.ipv4]
    case .ip6: [.ipv6]
    case .inet: hook == .ingress ? [.netdev] : [.ipv4, .ipv6]
    case .arp: [.arp]
    case .bridge: [.bridge]
    case .netdev: [.netdev]
    }
  }
}
