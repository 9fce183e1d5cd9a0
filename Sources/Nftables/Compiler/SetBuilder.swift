// SPDX-License-Identifier: GPL-2.0-or-later

// From the values that a rule or declaration lists to the elements of a set, with intervals where there are
// any.

/// Turns listed keys into elements.
struct SetBuilder {
  /// One a field of the key.
  var types: [NftDataType]
  /// Bits by which a field's value is shifted in its load, and the load's bytes, where that is not the value
  /// itself.
  var windows: [Window?]
  /// Listed keys and their values, in the order given.
  private var entries: [Entry] = []

  struct Window: Hashable {
    var shift: Int
    var bytes: Int
  }

  private struct Entry {
    var bounds: [(first: NftData, last: NftData)]
    var value: NftElementValue?
    var timeout: UInt64?
    var comment: String?
    var expressions: [NftExpression]

    func element(_ key: NftData, _ keyEnd: NftData? = nil) -> NftSetElement {
      NftSetElement(
        key: key, keyEnd: keyEnd, value: value, timeout: timeout, comment: comment, expressions: expressions)
    }
  }

  init(types: [NftDataType], windows: [Window?]? = nil) {
    self.types = types
    self.windows = windows ?? types.map { _ in nil }
  }

  /// True when a key spans more than one value, so that the set must keep intervals.
  private(set) var needsIntervals = false

  mutating func add(
    _ key: [FieldValue], value: NftElementValue? = nil, timeout: UInt64? = nil, comment: String? = nil,
    expressions: [NftExpression] = []
  ) throws(Fault) {
    var entry = Entry(bounds: [], value: value, timeout: timeout, comment: comment, expressions: expressions)
    guard !key.isEmpty else {
      entries.append(entry)
      return
    }
    guard key.count == types.count else {
      throw Fault("a key of \(key.count) values where \(types.count) are looked up")
    }
    for (index, field) in key.enumerated() {
      let span = try bound(field, index)
      if span.first != span.last { needsIntervals = true }
      entry.bounds.append((span.first, span.last))
    }
    entries.append(entry)
  }

  private func bound(_ field: FieldValue, _ index: Int) throws(Fault) -> (first: NftData, last: NftData) {
    let type = types[index]
    let width = windows[index]?.bytes ?? type.size
    switch field {
    case .value(let data), .exact(let data):
      if type == .interfaceName, data.count < 16 {
        let missing = 16 - data.count
        return (
          NftData(data.bytes + [UInt8](repeating: 0, count: missing)),
          NftData(data.bytes + [UInt8](repeating: 0xff, count: missing))
        )
      }
      let value = try placed(data, index)
      guard value.count == width else { throw Fault("a value of \(data.count) bytes for a \(type.name)") }
      return (value, value)
    case .range(let low, let high):
      let first = try placed(low, index)
      let last = try placed(high, index)
      guard first.count == width, last.count == width else { throw Fault("a range of the wrong width") }
      let ordered =
        type.isHostOrder && type != .interfaceName ? first.reversed <= last.reversed : first <= last
      guard ordered else { throw Fault("a range whose end is before its begin") }
      return (first, last)
    case .prefix(let data, let length):
      guard data.count == width, (0...width * 8).contains(length), !type.isHostOrder, windows[index] == nil
      else {
        throw Fault("a prefix of \(length) bits for a \(type.name)")
      }
      let mask = prefixMask(length, bytes: width)
      return (
        NftData(zip(data.bytes, mask.bytes).map { $0 & $1 }),
        NftData(zip(data.bytes, mask.bytes).map { $0 | ~$1 })
      )
    case .masked:
      throw Fault("a mask cannot stand in a set")
    }
  }

  private func placed(_ data: NftData, _ index: Int) throws(Fault) -> NftData {
    guard let window = windows[index] else { return data }
    return NftData(bigEndian: data.bigEndianValue << UInt64(window.shift), width: window.bytes)
  }

  /// The elements. `swapped`: fields that the rule turns into network order before the lookup. Overlaps and
  /// duplicates are an error, but merged when `merging` and there are no values to lose.
  func elements(intervals: Bool, swapped: Set<Int>, merging: Bool) throws(Fault) -> [NftSetElement] {
    var result: [NftSetElement] = []
    for entry in entries {
      guard !entry.bounds.isEmpty else {
        result.append(entry.element([]))
        continue
      }
      var first: [UInt8] = []
      var last: [UInt8] = []
      for (index, bound) in entry.bounds.enumerated() {
        let low = swapped.contains(index) ? bound.first.reversed : bound.first
        let high = swapped.contains(index) ? bound.last.reversed : bound.last
        first += types.count > 1 ? low.padded.bytes : low.bytes
        last += types.count > 1 ? high.padded.bytes : high.bytes
      }
      result.append(entry.element(NftData(first), intervals ? NftData(last) : nil))
    }
    result = result.sortedByKey
    return types.count == 1
      ? try disjoint(result, intervals: intervals, merging: merging)
      : try distinct(result, intervals: intervals, merging: merging)
  }

  private func disjoint(_ elements: [NftSetElement], intervals: Bool, merging: Bool) throws(Fault)
    -> [NftSetElement]
  {
    var result: [NftSetElement] = []
    for element in elements {
      guard var previous = result.last, !element.isCatchAll, !previous.isCatchAll else {
        if result.last?.isCatchAll == true, element.isCatchAll {
          throw Fault("two entries for all other keys")
        }
        result.append(element)
        continue
      }
      let end = previous.keyEnd ?? previous.key
      let touches = intervals && merging && end.successor == element.key && element.value == nil
      guard element.key <= end || touches else {
        result.append(element)
        continue
      }
      guard merging, element.value == previous.value else {
        let same = element.key == previous.key && element.keyEnd == previous.keyEnd
        throw Fault(same ? "the same key twice: \(element.key)" : "overlapping intervals at \(element.key)")
      }
      let last = max(end, element.keyEnd ?? element.key)
      previous.keyEnd = last == previous.key ? nil : last
      result[result.count - 1] = previous
    }
    return result
  }

  private func distinct(_ elements: [NftSetElement], intervals: Bool, merging: Bool) throws(Fault)
    -> [NftSetElement]
  {
    var result: [NftSetElement] = []
    var boxes: [[(NftData, NftData)]] = []
    for element in elements {
      if let previous = result.last, previous.key == element.key, previous.keyEnd == element.keyEnd {
        guard merging, previous.value == element.value else {
          throw Fault("the same key twice: \(element.key)")
        }
        continue
      }
      if intervals, !element.isCatchAll {
        let box = fields(element)
        // The kernel refuses intervals of several fields that overlap without being equal.
        for other in boxes where zip(box, other).allSatisfy({ $0.0 <= $1.1 && $1.0 <= $0.1 }) {
          throw Fault("overlapping intervals at \(element.key)")
        }
        if boxes.count < 512 { boxes.append(box) }
      }
      result.append(element)
    }
    return result
  }

  private func fields(_ element: NftSetElement) -> [(NftData, NftData)] {
    let end = (element.keyEnd ?? element.key).bytes
    var offset = 0
    return types.indices.map { index in
      let width = ((windows[index]?.bytes ?? types[index].size) + 3) / 4 * 4
      defer { offset += width }
      let range = min(offset, end.count)..<min(offset + width, end.count)
      return (NftData(Array(element.key.bytes[range])), NftData(Array(end[range])))
    }
  }
}

/// The first `length` bits set.
func prefixMask(_ length: Int, bytes: Int) -> NftData {
  NftData(
    (0..<bytes).map { index in
      let bits = min(8, max(0, length - index * 8))
      return bits == 0 ? 0 : UInt8(truncatingIfNeeded: 0xff00 >> bits)
    })
}
