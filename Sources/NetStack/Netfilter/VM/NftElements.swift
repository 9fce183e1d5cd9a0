// SPDX-License-Identifier: GPL-2.0-or-later

// The elements of a set as packets look them up. Which of three ways is used follows from the set's declaration, as the
// kernel chooses its back end, and with the same meaning: exact keys by hash (nft_set_hash.c), intervals of one field by
// sorted search (nft_set_rbtree.c), intervals of concatenated fields by the first element that holds the key, in order
// of insertion (nft_set_pipapo.c).
//
//    words:    │ key │ last key (intervals) │ value │   a row of them for each element
//    elements: │ verdict │ expiry │ state │ next in the hash's chain │

import Nftables

/// The elements of one set.
@safe struct NftElements: ~Copyable {
  /// How keys are found.
  enum Index { case hash, intervals, fields }

  /// What belongs to an element beside its words.
  struct Element: BitwiseCopyable {
    var verdict = NftVerdictCode.continue
    /// Nanoseconds; `max`: it stays.
    var expires = Int64.max
    /// Nanoseconds that it lives when it is made or made anew; 0: it stays.
    var lifetime: Int64 = 0
    /// Where its stateful expressions' state begins.
    var state: UInt32 = .max
    var next: UInt32 = .max
    var isUsed = false
    /// Put there by a rule.
    var isDynamic = false
  }

  static let none: UInt32 = .max

  let index: Index
  let keyWords: Int
  let valueWords: Int
  /// For `fields`: how many words each of the fields has.
  private let fieldWords: [Int]
  /// The stateful expressions that every element has.
  var expressions: [NftExpression] = []
  /// Their instructions, as one of the program's templates.
  var template: UInt32 = .max
  /// The most elements (NFTA_SET_DESC_SIZE); the catch-all element is not counted.
  let limit: Int
  private let seed: UInt32
  private let stride: Int

  private var words: UnsafeMutablePointer<UInt32>
  private var elements: UnsafeMutablePointer<Element>
  private var buckets: UnsafeMutablePointer<UInt32>
  private var bucketCount = 8
  private var capacity = 4
  private var used = 0
  private var holes: [UInt32] = []
  /// For intervals: the elements by first key; for fields: by insertion.
  private var order: [UInt32] = []
  /// Elements that are there, expired ones that nobody has met included.
  private(set) var count = 0
  /// The element that stands for every key that no other holds.
  private(set) var catchAll = NftElements.none

  init(index: Index, keyLengths: [Int], valueLength: Int, limit: Int?, seed: UInt32) {
    self.index = index
    fieldWords = keyLengths.map { ($0 + 3) / 4 }
    keyWords = fieldWords.reduce(0, +)
    valueWords = (valueLength + 3) / 4
    self.limit = limit ?? 1 << 24
    self.seed = seed
    stride = keyWords * (index == .hash ? 1 : 2) + valueWords
    unsafe words = .allocate(capacity: max(stride * capacity, 1))
    unsafe elements = .allocate(capacity: capacity)
    unsafe buckets = .allocate(capacity: bucketCount)
    unsafe buckets.initialize(repeating: Self.none, count: bucketCount)
  }

  deinit {
    unsafe words.deallocate()
    unsafe elements.deallocate()
    unsafe buckets.deallocate()
  }

  // MARK: Looking up

  /// The element that holds the key in the registers from a word on; none when there is none that is alive.
  @inline(__always) func find(_ registers: NftRegisters, _ word: Int, now: Int64) -> UInt32 {
    var found = Self.none
    switch index {
    case .hash: found = findExact(registers, word)
    case .intervals: found = findInterval(registers, word)
    case .fields: return findFields(registers, word, now: now)
    }
    return found != Self.none && isAlive(found, now) ? found : aliveCatchAll(now)
  }

  @inline(__always) private func isAlive(_ element: UInt32, _ now: Int64) -> Bool {
    unsafe elements[Int(element)].expires > now
  }

  @inline(__always) private func aliveCatchAll(_ now: Int64) -> UInt32 {
    catchAll != Self.none && isAlive(catchAll, now) ? catchAll : Self.none
  }

  @inline(__always) private func bucket(_ registers: NftRegisters, _ word: Int) -> Int {
    var hash = seed
    for position in 0..<keyWords {
      hash = (hash ^ registers[word &+ position]) &* 0x9e37_79b1
      hash ^= hash &>> 15
    }
    return Int(hash) & (bucketCount &- 1)
  }

  @inline(__always) private func findExact(_ registers: NftRegisters, _ word: Int) -> UInt32 {
    var candidate = unsafe buckets[bucket(registers, word)]
    while candidate != Self.none {
      let key = unsafe words + Int(candidate) &* stride
      var position = 0
      while position < keyWords, unsafe key[position] == registers[word &+ position] { position &+= 1 }
      if position == keyWords { return candidate }
      candidate = unsafe elements[Int(candidate)].next
    }
    return Self.none
  }

  /// Whether the key in the registers comes before (-1), is (0) or comes after (1) a stored one, as memcmp has it.
  @inline(__always)
  private func compare(
    _ registers: NftRegisters, _ word: Int, _ key: UnsafeMutablePointer<UInt32>, _ count: Int
  ) -> Int {
    for position in 0..<count {
      let mine = registers[word &+ position].bigEndian
      let other = unsafe key[position].bigEndian
      if mine != other { return mine < other ? -1 : 1 }
    }
    return 0
  }

  private func findInterval(_ registers: NftRegisters, _ word: Int) -> UInt32 {
    var low = 0
    var high = order.count
    while low < high {
      let middle = (low + high) / 2
      let key = unsafe words + Int(order[middle]) * stride
      if unsafe compare(registers, word, key, keyWords) < 0 { high = middle } else { low = middle + 1 }
    }
    guard low > 0 else { return Self.none }
    let last = unsafe words + Int(order[low - 1]) * stride + keyWords
    return unsafe compare(registers, word, last, keyWords) > 0 ? Self.none : order[low - 1]
  }

  private func findFields(_ registers: NftRegisters, _ word: Int, now: Int64) -> UInt32 {
    candidates: for candidate in order where isAlive(candidate, now) {
      let row = unsafe words + Int(candidate) * stride
      var place = 0
      for width in fieldWords {
        if unsafe compare(registers, word + place, row + place, width) < 0 { continue candidates }
        if unsafe compare(registers, word + place, row + keyWords + place, width) > 0 { continue candidates }
        place += width
      }
      return candidate
    }
    return aliveCatchAll(now)
  }

  // MARK: Elements

  @inline(__always) subscript(element: UInt32) -> Element {
    get { unsafe elements[Int(element)] }
    set { unsafe elements[Int(element)] = newValue }
  }

  /// A word of an element's value.
  @inline(__always) func value(_ element: UInt32, _ position: Int) -> UInt32 {
    unsafe words[Int(element) &* stride &+ stride &- valueWords &+ position]
  }

  @inline(__always) mutating func setValue(_ element: UInt32, _ position: Int, _ value: UInt32) {
    unsafe words[Int(element) &* stride &+ stride &- valueWords &+ position] = value
  }

  /// The words of an element's key; empty for the one that stands for every other.
  func key(_ element: UInt32) -> [UInt32] {
    guard element != catchAll else { return [] }
    return (0..<keyWords).map { unsafe words[Int(element) * stride + $0] }
  }

  /// The elements that are there, in no order that means anything but a stable one.
  var all: [UInt32] { (0..<used).filter { unsafe elements[$0].isUsed }.map(UInt32.init) }

  /// Puts an element in. The key is not there yet, and of intervals none overlaps; nil when the set is full.
  mutating func insert(key: [UInt32], last: [UInt32]? = nil, value: [UInt32], _ element: Element) -> UInt32? {
    guard count < limit, let place = take(element) else { return nil }
    let row = unsafe words + Int(place) * stride
    for (position, word) in key.enumerated() { unsafe row[position] = word }
    if index != .hash {
      for (position, word) in (last ?? key).enumerated() { unsafe row[keyWords + position] = word }
    }
    for (position, word) in value.enumerated() { unsafe row[stride - valueWords + position] = word }
    count += 1
    switch index {
    case .hash: enter(place)
    case .fields: order.append(place)
    case .intervals: order.insert(place, at: firstAfter(key))
    }
    return place
  }

  mutating func insertCatchAll(value: [UInt32], _ element: Element) {
    guard let place = take(element) else { return }
    catchAll = place
    for (position, word) in value.enumerated() { setValue(place, position, word) }
  }

  /// Puts in what a rule met, with the key in the registers (nft_dynset_new); nil when the set is full.
  mutating func insert(
    _ registers: NftRegisters, key: Int, value: Int?, _ element: Element
  ) -> UInt32? {
    guard count < limit, let place = take(element) else { return nil }
    let row = unsafe words + Int(place) * stride
    for position in 0..<keyWords { unsafe row[position] = registers[key + position] }
    if let value {
      for position in 0..<valueWords { setValue(place, position, registers[value + position]) }
    }
    count += 1
    enter(place)
    return place
  }

  /// Takes an element out; its state is the caller's to release.
  mutating func remove(_ element: UInt32) {
    if element == catchAll {
      catchAll = Self.none
    } else {
      count -= 1
      if index == .hash { unlink(element) } else { order.removeAll { $0 == element } }
    }
    unsafe elements[Int(element)].isUsed = false
    holes.append(element)
  }

  /// An element that has expired, if there is any.
  func expired(now: Int64) -> [UInt32] { all.filter { unsafe elements[Int($0)].expires <= now } }

  private func firstAfter(_ key: [UInt32]) -> Int {
    var low = 0
    var high = order.count
    while low < high {
      let middle = (low + high) / 2
      let isLess = self.key(order[middle]).lexicographicallyPrecedes(key) { $0.bigEndian < $1.bigEndian }
      if isLess { low = middle + 1 } else { high = middle }
    }
    return low
  }

  private mutating func take(_ element: Element) -> UInt32? {
    if holes.isEmpty, used == capacity { grow() }
    let place = holes.popLast() ?? UInt32(used)
    if Int(place) == used { used += 1 }
    unsafe (elements + Int(place)).initialize(to: element)
    unsafe elements[Int(place)].isUsed = true
    unsafe elements[Int(place)].next = Self.none
    unsafe (words + Int(place) * stride).initialize(repeating: 0, count: stride)
    return place
  }

  private func storedBucket(_ element: UInt32) -> Int {
    var registers = NftRegisters()
    for position in 0..<keyWords { registers[position] = unsafe words[Int(element) * stride + position] }
    return bucket(registers, 0)
  }

  private mutating func link(_ element: UInt32) {
    let bucket = storedBucket(element)
    unsafe elements[Int(element)].next = buckets[bucket]
    unsafe buckets[bucket] = element
  }

  private mutating func unlink(_ element: UInt32) {
    let bucket = storedBucket(element)
    let next = unsafe elements[Int(element)].next
    guard unsafe buckets[bucket] != element else {
      unsafe buckets[bucket] = next
      return
    }
    var before = unsafe buckets[bucket]
    while before != Self.none {
      let after = unsafe elements[Int(before)].next
      if after == element {
        unsafe elements[Int(before)].next = next
        return
      }
      before = after
    }
  }

  /// Links a new element, all of them anew when there are more than buckets.
  private mutating func enter(_ element: UInt32) {
    guard count > bucketCount else {
      link(element)
      return
    }
    unsafe buckets.deallocate()
    bucketCount *= 2
    unsafe buckets = .allocate(capacity: bucketCount)
    unsafe buckets.initialize(repeating: Self.none, count: bucketCount)
    for element in all where element != catchAll { link(element) }
  }

  private mutating func grow() {
    let larger = capacity * 2
    let freshWords = UnsafeMutablePointer<UInt32>.allocate(capacity: max(stride * larger, 1))
    unsafe freshWords.initialize(from: words, count: stride * used)
    unsafe words.deallocate()
    unsafe words = freshWords
    let freshElements = UnsafeMutablePointer<Element>.allocate(capacity: larger)
    unsafe freshElements.initialize(from: elements, count: used)
    unsafe elements.deallocate()
    unsafe elements = freshElements
    capacity = larger
  }
}
