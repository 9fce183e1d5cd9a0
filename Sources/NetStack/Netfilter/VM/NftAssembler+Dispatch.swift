// SPDX-License-Identifier: GPL-2.0-or-later

// Rules one after the other that ask the same of a packet and differ in one value, or in the interval that it lies in, become
// one lookup. nf_tables has nothing like it: there each rule is tried. What a packet meets is the same, and so is what is counted, since a rule whose value
// is another's does nothing.
//
//    before    │ rule 22 │ rule 80 │ rule 22 │ end │
//    after     │ prelude: load the port │ dispatch │ rule 22 ─┐ │ rule 80 ─┐ │ rule 22 ─┐ │ end │
//                                           └─ by value ─▶    └──────────────▶         └─▶

import Nftables

extension NftAssembler {
  /// Fewer are tried one by one.
  private static let fewest = 8

  /// Rebuilds the rules of a chain, whose first instruction is at `start` and whose last has been appended.
  mutating func groupRules(from start: Int) {
    let rules = Self.ranges(assembly.instructions, from: start)
    guard rules.count >= Self.fewest else { return }
    let old = assembly.instructions
    var groups: [NftDispatchGroup] = []
    var first = 0
    while first < rules.count {
      if let group = group(old, rules, first) {
        groups.append(group)
        first = group.rules.upperBound
      } else {
        first += 1
      }
    }
    guard !groups.isEmpty else { return }
    assembly.instructions.removeSubrange(start...)
    /// Where each instruction has gone.
    var moved: [Int: Int] = [:]
    var next = 0
    for group in groups {
      for rule in next..<group.rules.lowerBound { append(rules[rule], old, &moved) }
      append(group: group, rules, old, &moved)
      next = group.rules.upperBound
    }
    for rule in next..<rules.count { append(rules[rule], old, &moved) }
    moveJumps(from: start, moved)
  }

  private mutating func append(_ rule: Range<Int>, _ old: [NftInstruction], _ moved: inout [Int: Int]) {
    let first = assembly.instructions.count
    for place in rule {
      moved[place] = assembly.instructions.count
      assembly.instructions.append(old[place])
    }
    assembly.instructions[first].a = UInt32(assembly.instructions.count)
  }

  private mutating func append(
    group: NftDispatchGroup, _ rules: [Range<Int>], _ old: [NftInstruction], _ moved: inout [Int: Int]
  ) {
    let model = rules[group.rules.lowerBound]
    let prelude = assembly.instructions.count
    assembly.instructions.append(NftInstruction(.prelude))
    assembly.instructions += old[model.lowerBound + 1..<model.lowerBound + group.length]
    let dispatch = assembly.instructions.count
    assembly.instructions.append(NftInstruction(.dispatch))
    var starts: [UInt32] = []
    var skips: [Int] = []
    for rule in group.rules {
      starts.append(UInt32(assembly.instructions.count))
      append(rules[rule], old, &moved)
      skips.append(assembly.instructions.count)
      assembly.instructions.append(NftInstruction(.skip))
    }
    let end = UInt32(assembly.instructions.count)
    // Behind a rule comes the next that may hold for the same value.
    for (position, following) in group.following.enumerated() {
      let next = following.map { starts[$0] } ?? end
      assembly.instructions[Int(starts[position])].a = next
      assembly.instructions[skips[position]].a = next
    }
    assembly.instructions[prelude].a = end
    var instruction = group.instruction
    instruction.a = UInt32(assembly.constants.count)
    let (words, size) = group.table(places: starts)
    instruction.c = size
    assembly.instructions[dispatch] = instruction
    assembly.constants += words
  }

  // MARK: What belongs together

  /// The rules of a chain, as ranges of instructions.
  private static func ranges(_ instructions: [NftInstruction], from start: Int) -> [Range<Int>] {
    var ranges: [Range<Int>] = []
    for place in start..<instructions.count where instructions[place].operation == .rule {
      if let last = ranges.indices.last { ranges[last] = ranges[last].lowerBound..<place }
      ranges.append(place..<instructions.count)
    }
    return ranges
  }

  /// The rules from one on that are the same up to a test of one value, and how many instructions they share.
  private func group(
    _ instructions: [NftInstruction], _ rules: [Range<Int>], _ first: Int
  ) -> NftDispatchGroup? {
    guard first + Self.fewest <= rules.count else { return nil }
    let model = rules[first]
    var length = 1
    // The test that the first two differ in.
    let second = rules[first + 1]
    while length < model.count, length < second.count,
      Self.isSame(instructions[model.lowerBound + length], instructions[second.lowerBound + length])
    {
      length += 1
    }
    guard length > 1, Self.isHarmless(instructions, model, length) else { return nil }
    var tests: [NftDispatchTest] = []
    while first + tests.count < rules.count,
      let test = test(instructions, model, rules[first + tests.count], length),
      tests.isEmpty || test.isComparable(with: tests[0])
    {
      tests.append(test)
    }
    return tests.count >= Self.fewest
      ? NftDispatchGroup(rules: first..<first + tests.count, length: length, tests: tests) : nil
  }

  /// What a rule tests when it begins as another does and leaves the packet as it is; nil otherwise.
  private func test(
    _ instructions: [NftInstruction], _ model: Range<Int>, _ rule: Range<Int>, _ length: Int
  ) -> NftDispatchTest? {
    for offset in 1..<length {
      guard offset < rule.count,
        Self.isSame(instructions[model.lowerBound + offset], instructions[rule.lowerBound + offset])
      else { return nil }
    }
    guard length < rule.count, rule.dropFirst(length).allSatisfy({ Self.leavesPacket(instructions[$0]) })
    else { return nil }
    return NftDispatchTest(instructions[rule.dropFirst(length)], assembly.constants)
  }

  /// Whether what the rules share can be done once for all of them.
  private static func isHarmless(
    _ instructions: [NftInstruction], _ model: Range<Int>, _ length: Int
  ) -> Bool {
    model.dropFirst().prefix(length - 1).allSatisfy { place in
      switch instructions[place].operation {
      case .compareWord, .compare, .range, .mask, .shiftLeft, .shiftRight, .byteorder, .payload, .ct, .fib,
        .rt,
        .exthdr:
        true
      case .meta: instructions[place].flags != UInt8(NftMetaKey.random.rawValue)
      default: false
      }
    }
  }

  /// Whether what the rules share is the same after an instruction as before.
  private static func leavesPacket(_ instruction: NftInstruction) -> Bool {
    switch instruction.operation {
    case .payloadWrite, .metaSet, .ctSet, .exthdrWrite, .notrack, .duplicate, .forward: false
    // What a jump leads to may do anything, and comes back.
    case .verdict: Int32(bitPattern: instruction.a) != -3
    case .lookup: instruction.flags & 4 == 0
    default: true
    }
  }

  private static func isSame(_ a: NftInstruction, _ b: NftInstruction) -> Bool {
    a.operation == b.operation && a.source == b.source && a.destination == b.destination && a.flags == b.flags
      && a.length == b.length && a.offset == b.offset && a.a == b.a && a.b == b.b && a.c == b.c
  }
}
