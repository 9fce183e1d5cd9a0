// SPDX-License-Identifier: GPL-2.0-or-later

// Matches: loads, comparisons and lookups.

import NetTypes

/// A selector's value in a register.
struct Loaded {
  var register: NftRegister
  var bytes: Int
  /// Set when the value lies within the loaded bytes.
  var window: SetBuilder.Window?
}

extension RuleCompiler {
  mutating func compile(_ match: Match) throws(Fault) {
    guard !match.selectors.isEmpty else { throw Fault("a match without a selector") }
    for selector in match.selectors { try admit(selector) }
    switch match.operand {
    case .elements(let elements):
      guard !elements.isEmpty else { throw Fault("\(match.subject) is compared with nothing") }
      if match.selectors.count == 1, elements.count == 1, let field = elements[0].first {
        try compare(match.selectors[0], match.relation, field)
      } else {
        guard match.relation.isEquality else {
          throw Fault("\(match.subject) is compared by order with more than one value")
        }
        var builder = SetBuilder(types: match.selectors.map(\.type), windows: match.selectors.map(\.window))
        for element in elements { try builder.add(element) }
        try lookup(match.selectors, builder, data: nil, inverted: match.relation == .notEqual)
      }
    case .set(let name):
      guard match.relation.isEquality else { throw Fault("\(match.subject) is compared by order with a set") }
      try lookup(match.selectors, named: name, data: nil, inverted: match.relation == .notEqual)
    }
    learn(from: match)
  }

  /// Refuses selectors that the family does not have.
  private func admit(_ selector: Selector) throws(Fault) {
    switch (selector.load, family) {
    case (.ct, .netdev), (.ct, .arp):
      throw Fault("\(selector.name): there is no connection tracking in the \(family.rawValue) family")
    case (.fib, .bridge), (.fib, .arp), (.fibPresence, .bridge), (.fibPresence, .arp), (.rt, .bridge),
      (.rt, .arp),
      (.rt, .netdev), (.socket, .bridge), (.socket, .arp), (.socket, .netdev):
      throw Fault("\(selector.name) is not to be had in the \(family.rawValue) family")
    case (.meta(.bridgeInputName), _) where family != .bridge,
      (.meta(.bridgeOutputName), _) where family != .bridge:
      throw Fault("\(selector.name) is to be had in the bridge family only")
    case (.numgen(_, let modulus, _), _), (.symhash(let modulus, _), _):
      guard modulus > 0 else { throw Fault("\(selector.name): the modulus must be at least 1") }
    case (.jhash(let fields, let modulus, _, _), _):
      guard modulus > 0, !fields.isEmpty else {
        throw Fault("\(selector.name): nothing to hash, or modulus 0")
      }
      for field in fields { try admit(field) }
    default: break
    }
  }

  // MARK: Loads

  /// Emits what brings a selector's value into the register at a word.
  mutating func load(_ selector: Selector, word: Int = 0, bytes: Int? = nil) throws(Fault) -> Loaded {
    guard let register = NftRegister(word: word) else { throw Fault("\(selector.name): no register is left") }
    var length = selector.type.size
    switch selector.load {
    case .payload(let base, let bit, let width):
      let first = bit / 8
      length = bytes ?? Int((bit + width + 7) / 8 - first)
      emit(.payload(NftPayload(base: base, offset: first, length: UInt32(length), destination: register)))
      if let window = selector.window { return try cut(register, width, window, selector.name) }
    case .meta(let key): emit(.meta(NftMeta(key: key, destination: register)))
    // nft_ct_get_init.
    case .ct(.eventMask, _): throw Fault("\(selector.name) can be set, but not asked for")
    case .ct(let key, let direction): emit(.ct(NftCt(key: key, direction: direction, destination: register)))
    case .fib(let flags, let result): emit(.fib(NftFib(flags: flags, result: result, destination: register)))
    case .fibPresence(let flags):
      emit(.fib(NftFib(flags: flags, result: .outputIndex, isPresence: true, destination: register)))
    case .rt(let key): emit(.rt(NftRt(key: key, destination: register)))
    case .socket(let key): emit(.socket(NftSocket(key: key, destination: register)))
    case .numgen(let isRandom, let modulus, let offset):
      emit(.numgen(NftNumgen(isRandom: isRandom, modulus: modulus, offset: offset, destination: register)))
    case .symhash(let modulus, let offset):
      emit(.hash(NftHash(source: nil, modulus: modulus, offset: offset, destination: register)))
    case .jhash(let fields, let modulus, let seed, let offset):
      // The result takes a whole wide register, the fields come after it.
      let start = word + 4
      let total = try loadAll(fields, word: start)
      guard let source = NftRegister(word: start) else {
        throw Fault("\(selector.name): no register is left")
      }
      emit(
        .hash(
          NftHash(
            source: source, length: UInt32(total), modulus: modulus, seed: seed, offset: offset,
            destination: register)))
    case .exthdr(let operation, let type, let bit, let width, let presence):
      length = Int((bit + width + 7) / 8 - bit / 8)
      emit(
        .exthdr(
          NftExthdr(
            operation: operation, type: type, offset: bit / 8, length: UInt32(length), isPresence: presence,
            destination: register)))
      if let window = selector.window { return try cut(register, width, window, selector.name) }
    }
    return Loaded(register: register, bytes: length, window: nil)
  }

  /// Leaves of a register what lies in the window.
  private mutating func cut(
    _ register: NftRegister, _ width: UInt32, _ window: SetBuilder.Window, _ name: String
  ) throws(Fault) -> Loaded {
    // Its values are moved to their place as numbers of 64 bits.
    guard window.bytes <= 8 else {
      throw Fault("\(name): more than eight bytes that begin or end within one")
    }
    let mask = NftData(bigEndian: ((1 << UInt64(width)) - 1) << UInt64(window.shift), width: window.bytes)
    emitMask(mask, in: register)
    return Loaded(register: register, bytes: window.bytes, window: window)
  }

  /// Loads several selectors side by side and gives the bytes that they take. Those in `swapped` are turned
  /// into network order.
  @discardableResult
  mutating func loadAll(_ selectors: [Selector], word: Int = 0, swapped: Set<Int> = []) throws(Fault) -> Int {
    var next = word
    for (index, selector) in selectors.enumerated() {
      let loaded = try load(selector, word: next)
      if swapped.contains(index) { emitByteorder(loaded) }
      next += (loaded.bytes + 3) / 4
    }
    guard next <= 16 else {
      throw Fault("a key of \((next - word) * 4) bytes; the kernel takes at most \(NftData.maximumLength)")
    }
    if selectors.count == 1 { return selectors[0].loadedBytes }
    return (next - word) * 4
  }

  mutating func requireAll(_ selectors: [Selector]) throws(Fault) {
    for selector in selectors {
      try require(selector.requirement)
      if case .jhash(let fields, _, _, _) = selector.load { try requireAll(fields) }
    }
  }

  private mutating func emitMask(_ mask: NftData, flip: NftData? = nil, in register: NftRegister) {
    let zero = NftData([UInt8](repeating: 0, count: mask.count))
    emit(
      .bitwise(
        NftBitwise(
          source: register, destination: register, length: UInt32(mask.count),
          operation: .mask(mask, flip: flip ?? zero))))
  }

  private mutating func emitByteorder(_ loaded: Loaded) {
    emit(
      .byteorder(
        NftByteorder(
          source: loaded.register, destination: loaded.register, toNetwork: true,
          length: UInt32(loaded.bytes),
          size: UInt32(loaded.bytes))))
  }

  private mutating func emitCmp(_ operation: NftComparisonOperator, _ register: NftRegister, _ data: NftData)
  {
    emit(.cmp(NftCmp(operation: operation, source: register, data: data)))
  }

  // MARK: Comparisons

  private mutating func compare(
    _ selector: Selector, _ relation: NftComparisonOperator, _ field: FieldValue
  ) throws(Fault) {
    let count = expressions.count
    try requireAll([selector])
    let mergeable = canMerge && expressions.count == count
    canMerge = false
    switch field {
    case .value(let data):
      try compare(selector, relation, value: data)
      if relation == .equal, selector.window == nil, case .payload = selector.load, !selector.type.isBitmask {
        if mergeable { merge() }
        canMerge = true
      }
    case .range(let first, let last):
      guard relation.isEquality else { throw Fault("\(selector.name) is compared by order with a range") }
      try compare(selector, first, last, negated: relation == .notEqual)
    case .prefix(let data, let length):
      guard relation.isEquality else { throw Fault("\(selector.name) is compared by order with a prefix") }
      try compare(selector, relation, prefix: data, length)
    case .exact(let data):
      guard relation.isEquality, data.count == selector.type.size, selector.window == nil else {
        throw Fault("\(selector.name): a value of \(data.count) bytes for a \(selector.type.name)")
      }
      emitCmp(relation, try load(selector).register, data)
    case .masked(let mask, let value):
      guard relation.isEquality, mask.count == selector.type.size, value.count == mask.count,
        selector.window == nil
      else { throw Fault("\(selector.name): the mask does not fit") }
      let loaded = try load(selector)
      emitMask(mask, in: loaded.register)
      emitCmp(relation, loaded.register, value)
    }
  }

  private mutating func compare(
    _ selector: Selector, _ relation: NftComparisonOperator, value data: NftData
  ) throws(Fault) {
    let isWildcard = selector.type == .interfaceName && (1...16).contains(data.count)
    guard data.count == selector.type.size || isWildcard else {
      throw Fault("\(selector.name): a value of \(data.count) bytes for a \(selector.type.name)")
    }
    let loaded = try load(selector)
    if let window = loaded.window {
      guard selector.holds(data) else { throw Fault("\(selector.name): \(data.bigEndianValue) is too large") }
      let placed = NftData(bigEndian: data.bigEndianValue << UInt64(window.shift), width: window.bytes)
      emitCmp(relation, loaded.register, placed)
    } else if selector.type.isBitmask, relation.isEquality {
      emitMask(data, in: loaded.register)
      let zero = NftData([UInt8](repeating: 0, count: data.count))
      emitCmp(relation == .equal ? .notEqual : .equal, loaded.register, zero)
    } else if !relation.isEquality {
      guard !selector.type.isBitmask, selector.type != .interfaceName else {
        throw Fault("\(selector.name) has no order")
      }
      let swaps = selector.type.isHostOrder && loaded.bytes > 1
      if swaps { emitByteorder(loaded) }
      emitCmp(relation, loaded.register, swaps ? data.reversed : data)
    } else {
      emitCmp(relation, loaded.register, data)
    }
  }

  private mutating func compare(
    _ selector: Selector, _ first: NftData, _ last: NftData, negated: Bool
  ) throws(Fault) {
    guard first.count == selector.type.size, last.count == first.count, !selector.type.isBitmask,
      selector.type != .interfaceName, selector.holds(first), selector.holds(last)
    else { throw Fault("\(selector.name) has no such range") }
    let loaded = try load(selector)
    var low = first
    var high = last
    if let window = loaded.window {
      low = NftData(bigEndian: first.bigEndianValue << UInt64(window.shift), width: window.bytes)
      high = NftData(bigEndian: last.bigEndianValue << UInt64(window.shift), width: window.bytes)
    } else if selector.type.isHostOrder, loaded.bytes > 1 {
      emitByteorder(loaded)
      (low, high) = NftData.hostIsLittleEndian ? (first.reversed, last.reversed) : (first, last)
    }
    guard low <= high else { throw Fault("\(selector.name): a range whose end is before its begin") }
    if negated {
      emit(.range(NftRange(isNegated: true, source: loaded.register, from: low, to: high)))
    } else {
      emitCmp(.greaterOrEqual, loaded.register, low)
      emitCmp(.lessOrEqual, loaded.register, high)
    }
  }

  private mutating func compare(
    _ selector: Selector, _ relation: NftComparisonOperator, prefix data: NftData, _ length: Int
  ) throws(Fault) {
    let size = selector.type.size
    guard data.count == size, (0...size * 8).contains(length), !selector.type.isHostOrder,
      selector.window == nil
    else { throw Fault("\(selector.name): a prefix of \(length) bits does not fit") }
    let mask = prefixMask(length, bytes: size)
    let masked = NftData(zip(data.bytes, mask.bytes).map { $0 & $1 })
    if case .payload = selector.load, length % 8 == 0, length > 0 {
      let loaded = try load(selector, bytes: length / 8)
      emitCmp(relation, loaded.register, NftData(Array(masked.bytes.prefix(length / 8))))
    } else {
      let loaded = try load(selector)
      // Whole bytes need no mask: the others are not compared.
      let compared = length % 8 == 0 && length > 0 ? length / 8 : size
      if length < compared * 8 || length == 0 { emitMask(mask, in: loaded.register) }
      emitCmp(relation, loaded.register, NftData(Array(masked.bytes.prefix(compared))))
    }
  }

  /// Joins the last load and comparison with the one before when their bytes are neighbours and one load is
  /// no slower than two.
  private mutating func merge() {
    guard expressions.count >= 4 else { return }
    let tail = Array(expressions.suffix(4))
    guard case .payload(var first) = tail[0], case .cmp(let a) = tail[1], case .payload(let second) = tail[2],
      case .cmp(let b) = tail[3], first.base == second.base, first.offset + first.length == second.offset,
      a.operation == .equal, b.operation == .equal, a.data.count == Int(first.length),
      b.data.count == Int(second.length)
    else { return }
    let total = first.length + second.length
    let isFast = { (payload: NftPayload) in payload.base != .link && [1, 2, 4].contains(payload.length) }
    guard total <= 16, total <= 4 || first.base == .link || !isFast(first) || !isFast(second) else { return }
    first.length = total
    expressions.removeLast(4)
    emit(.payload(first))
    emit(.cmp(NftCmp(operation: .equal, source: a.source, data: NftData(a.data.bytes + b.data.bytes))))
  }

  // MARK: Lookups

  /// Looks selectors up in a set of this rule alone.
  mutating func lookup(
    _ selectors: [Selector], _ builder: SetBuilder, data: NftSetData?, inverted: Bool = false
  ) throws(Fault) {
    let set = try anonymous(selectors, builder, data: data)
    emit(
      .lookup(
        NftLookup(
          set: .anonymous(set), source: .r1, destination: data.map { $0 == .verdict ? .verdict : .r1 },
          isInverted: inverted)))
  }

  /// Loads selectors and makes the set that they are looked up in.
  mutating func anonymous(
    _ selectors: [Selector], _ builder: SetBuilder, data: NftSetData?
  ) throws(Fault) -> NftSet {
    try requireAll(selectors)
    canMerge = false
    let intervals = builder.needsIntervals
    let swapped = Self.swapped(selectors.map(\.type), intervals: intervals)
    try loadAll(selectors, swapped: swapped)
    let elements = try builder.elements(intervals: intervals, swapped: swapped, merging: data == nil)
    var flags: NftSetFlags = [.anonymous, .constant]
    if intervals { flags.insert(.interval) }
    if intervals, selectors.count > 1 { flags.insert(.concatenation) }
    if case .object? = data { flags.insert(.objectMap) } else if data != nil { flags.insert(.map) }
    return NftSet(
      keyTypes: selectors.map {
        NftDataType(rawValue: $0.type.rawValue, size: $0.loadedBytes, hostOrder: $0.type.isHostOrder)
      },
      flags: flags, data: data, elements: elements)
  }

  /// Looks selectors up in a named set of the table.
  mutating func lookup(
    _ selectors: [Selector], named name: String, data: NftSetData?, inverted: Bool = false
  ) throws(Fault) {
    let set = try loadKey(selectors, of: name)
    switch (data, set.data) {
    case (nil, nil): break
    case (nil, _?): throw Fault("'\(name)' is a map, which older kernels do not take as a set")
    case (let wanted?, let given):
      guard wanted == given else { throw Fault("'\(name)' does not give what is wanted") }
    }
    emit(
      .lookup(
        NftLookup(
          set: .named(name), source: .r1, destination: data.map { $0 == .verdict ? .verdict : .r1 },
          isInverted: inverted)))
  }

  /// Loads selectors as the key of a named set of the table.
  mutating func loadKey(_ selectors: [Selector], of name: String) throws(Fault) -> NftSet {
    guard let set = sets[name] else { throw Fault("there is no set '\(name)' in the table") }
    try requireAll(selectors)
    canMerge = false
    let types = selectors.map(\.type)
    guard set.keyTypes.count == types.count,
      zip(set.keyTypes, types).allSatisfy({
        $0.size == $1.size && ($0.rawValue == $1.rawValue || $0.rawValue == 4 || $1.rawValue == 4)
      })
    else {
      func words(_ types: [NftDataType]) -> String {
        types.map { $0.rawValue == 4 ? "\($0.name) of \($0.size) bytes" : $0.name }.joined(separator: " . ")
      }
      throw Fault(
        "set '\(name)' holds \(words(set.keyTypes)), not \(words(types)); say the values in the rule")
    }
    try loadAll(selectors, swapped: Self.swapped(types, intervals: set.isInterval))
    return set
  }

  /// The fields that must be in network order, since intervals compare as memcmp does.
  static func swapped(_ types: [NftDataType], intervals: Bool) -> Set<Int> {
    guard intervals, NftData.hostIsLittleEndian else { return [] }
    return Set(
      types.indices.filter { index in
        let type = types[index]
        return type.isHostOrder && type != .interfaceName && type != .string && type.size > 1
      })
  }
}

extension NftComparisonOperator {
  var isEquality: Bool { self == .equal || self == .notEqual }
}

extension Match {
  var subject: String { selectors.map(\.name).joined(separator: " . ") }
}

extension Selector {
  /// Where a field begins, and how many bits it has; nil for what is no field of the packet.
  var bits: (bit: UInt32, width: UInt32)? {
    switch load {
    case .payload(_, let bit, let width), .exthdr(_, _, let bit, let width, presence: _): (bit, width)
    default: nil
    }
  }

  /// Where the value lies in the loaded bytes, when it does not fill them.
  var window: SetBuilder.Window? {
    guard let (bit, width) = bits, bit % 8 != 0 || width % 8 != 0 else { return nil }
    let bytes = Int((bit + width + 7) / 8 - bit / 8)
    return SetBuilder.Window(shift: bytes * 8 - Int(bit % 8 + width), bytes: bytes)
  }

  /// Bytes that the load puts into a register.
  var loadedBytes: Int { window?.bytes ?? type.size }

  /// True when a value has no more bits than the field.
  func holds(_ data: NftData) -> Bool {
    guard window != nil, let (_, width) = bits else { return true }
    return data.bigEndianValue < 1 << UInt64(width)
  }
}
