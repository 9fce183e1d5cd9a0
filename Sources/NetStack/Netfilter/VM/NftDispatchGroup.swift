// SPDX-License-Identifier: GPL-2.0-or-later

// Rules that differ in one test, and the table by which a value finds the first of them: a hash of equal values, of up to
// four bytes or more, or sorted intervals. Rules that hold for one value have overlapping tests; so from a rule on only
// those are tried that it is bound to by overlaps, of which for equal values and disjoint intervals there are none.

import Nftables

/// What a rule asks of a register: equality, or an interval.
struct NftDispatchTest {
  var source: UInt8
  /// Bytes of the value.
  var length: Int
  /// As registers hold it, the bytes behind the last zero.
  var low: [UInt32]
  /// Nil for equality.
  var high: UInt32?

  /// Reads the test that instructions begin with; nil: it is none of these.
  init?(_ instructions: ArraySlice<NftInstruction>, _ constants: [UInt32]) {
    guard let first = instructions.first else { return nil }
    source = first.source
    switch first.operation {
    case .compareWord:
      guard first.flags == 0, let length = (1...4).first(where: { NftRegisters.tailMask($0) == first.b })
      else { return nil }
      self.length = length
      low = [first.a & first.b]
    case .compare where first.flags == UInt8(NftComparisonOperator.equal.rawValue):
      length = Int(first.length)
      low = Self.words(first.a, length, constants)
    case .compare where first.flags == UInt8(NftComparisonOperator.greaterOrEqual.rawValue):
      // nft writes a range as two comparisons.
      guard first.length <= 4, let second = instructions.dropFirst().first, second.operation == .compare,
        second.flags == UInt8(NftComparisonOperator.lessOrEqual.rawValue), second.source == first.source,
        second.length == first.length
      else { return nil }
      length = Int(first.length)
      low = Self.words(first.a, length, constants)
      high = Self.words(second.a, length, constants)[0]
    case .range where first.flags == 0 && first.length <= 4:
      length = Int(first.length)
      low = Self.words(first.a, length, constants)
      high = Self.words(first.b, length, constants)[0]
    default: return nil
    }
  }

  private static func words(_ place: UInt32, _ length: Int, _ constants: [UInt32]) -> [UInt32] {
    var words = Array(constants[Int(place)..<Int(place) + (length + 3) / 4])
    words[words.count - 1] &= NftRegisters.tailMask(length)
    return words
  }

  func isComparable(with other: NftDispatchTest) -> Bool { source == other.source && length == other.length }

  /// As memcmp orders values of up to four bytes.
  var interval: ClosedRange<UInt32> {
    let first = low[0].bigEndian
    let last = (high ?? low[0]).bigEndian
    // What no value lies in leads nowhere.
    return first...max(first, last)
  }
}

/// Rules of a chain that differ in one test only.
struct NftDispatchGroup {
  /// Among the chain's.
  let rules: Range<Int>
  /// Instructions that they share.
  let length: Int
  /// For each of them the next that may hold where it does; nil: none.
  let following: [Int?]
  private let tests: [NftDispatchTest]
  private let keepsIntervals: Bool

  init(rules: Range<Int>, length: Int, tests: [NftDispatchTest]) {
    self.rules = rules
    self.length = length
    self.tests = tests
    keepsIntervals = tests.contains { $0.high != nil }
    var last: [Int: Int] = [:]
    var following = [Int?](repeating: nil, count: tests.count)
    let bound = keepsIntervals ? Self.overlapping(tests.map(\.interval)) : Self.equal(tests.map(\.low))
    for position in tests.indices.reversed() {
      following[position] = last.updateValue(position, forKey: bound[position])
    }
    self.following = following
  }

  /// A number for each test, the same for those that are equal.
  private static func equal(_ keys: [[UInt32]]) -> [Int] {
    var numbers: [[UInt32]: Int] = [:]
    return keys.map { key in
      if let known = numbers[key] { return known }
      numbers[key] = numbers.count
      return numbers.count - 1
    }
  }

  /// A number for each interval, the same for those that are joined by overlaps.
  private static func overlapping(_ intervals: [ClosedRange<UInt32>]) -> [Int] {
    var numbers = [Int](repeating: 0, count: intervals.count)
    var end: UInt32?
    var number = 0
    for position in intervals.indices.sorted(by: { intervals[$0].lowerBound < intervals[$1].lowerBound }) {
      if let end, intervals[position].lowerBound > end { number += 1 }
      numbers[position] = number
      end = max(end ?? 0, intervals[position].upperBound)
    }
    return numbers
  }

  // MARK: Tables

  /// The lookup, but for where its table stands and how large that is.
  var instruction: NftInstruction {
    let test = tests[0]
    var instruction = NftInstruction(
      keepsIntervals ? .dispatchInterval : test.length > 4 ? .dispatchLong : .dispatch)
    instruction.source = test.source
    instruction.length = UInt16(test.length)
    instruction.b = NftRegisters.tailMask(test.length)
    return instruction
  }

  /// The table's words, and its size as the instruction tells it.
  func table(places: [UInt32]) -> (words: [UInt32], size: UInt32) {
    keepsIntervals ? intervals(places) : hash(places)
  }

  /// Values and where they lead to, by hash; a place that is empty leads to `max`.
  private func hash(_ places: [UInt32]) -> ([UInt32], UInt32) {
    let width = tests[0].low.count + 1
    var bits: UInt32 = 4
    while 1 << bits < tests.count * 2 { bits += 1 }
    var words = [UInt32](repeating: .max, count: width << Int(bits))
    for (test, place) in zip(tests, places) {
      var slot = Int(Self.hash(test.low) >> (32 - bits))
      while words[slot * width + width - 1] != .max,
        Array(words[slot * width..<slot * width + width - 1]) != test.low
      {
        slot = (slot + 1) & (1 << Int(bits) - 1)
      }
      // Of equal values the first counts.
      guard words[slot * width + width - 1] == .max else { continue }
      words.replaceSubrange(slot * width..<slot * width + width, with: test.low + [place])
    }
    return (words, bits)
  }

  private static func hash(_ words: [UInt32]) -> UInt32 { words.reduce(0) { mix($0, $1) } }

  /// One word more into a hash, whose upper bits are the better ones.
  @inline(__always) static func mix(_ hash: UInt32, _ word: UInt32) -> UInt32 {
    (hash &>> 15 ^ hash ^ word) &* 0x9e37_79b1
  }

  /// Where values begin to lead elsewhere, sorted: first, last, place.
  private func intervals(_ places: [UInt32]) -> ([UInt32], UInt32) {
    var edges: [(value: UInt64, rule: Int, begins: Bool)] = []
    for (position, test) in tests.enumerated() {
      edges.append((UInt64(test.interval.lowerBound), position, true))
      edges.append((UInt64(test.interval.upperBound) + 1, position, false))
    }
    edges.sort { $0.value < $1.value }
    var words: [UInt32] = []
    /// The rules that hold here, sorted.
    var active: [Int] = []
    var index = 0
    while index < edges.count {
      let start = edges[index].value
      while index < edges.count, edges[index].value == start {
        let place = active.firstIndex { $0 >= edges[index].rule } ?? active.count
        if edges[index].begins {
          active.insert(edges[index].rule, at: place)
        } else {
          active.remove(at: place)
        }
        index += 1
      }
      guard let first = active.first, index < edges.count else { continue }
      words += [UInt32(start), UInt32(edges[index].value - 1), places[first]]
    }
    return (words, UInt32(words.count / 3))
  }
}
