// SPDX-License-Identifier: GPL-2.0-or-later

// Named sets, maps and verdict maps, and what they have in common with named objects: a rule that uses one declares it
// in its table; a line of its own in the table's body does so as well.

/// A set, map or object as its table holds it.
struct TableDeclaration: Sendable {
  private let base: Record
  private var elements: [Record] = []
  private var place: (file: StaticString, line: UInt)?

  /// Unique among those of its kind.
  let name: String

  init(object name: String, _ record: Record) {
    self.name = name
    base = record
  }

  init(_ name: String, _ set: Record, elements: [Record], file: StaticString, line: UInt) {
    self.name = name
    base = set
    self.elements = elements
    place = (file, line)
  }

  /// Whether it is an object: a limit, a quota, what connections are given.
  var isObject: Bool { place == nil }

  var record: Record {
    guard let place else { return base }
    var record = base
    record.add("elements", elements)
    record.add(file: place.file, line: place.line)
    return record
  }

  /// With one more element.
  func with(_ element: Record) -> TableDeclaration {
    var copy = self
    copy.elements.append(element)
    return copy
  }
}

extension Record {
  /// What a set or map is, but for its elements.
  static func set(
    _ name: String, key: [String], data: [String] = [], verdicts: Bool? = nil, object: String? = nil,
    interval: Bool?, dynamic: Bool? = nil, counters: Bool? = nil, timeout: Duration?, size: Int?,
    comment: String?
  ) -> Record {
    var record = Record()
    record.add("name", name)
    record.add("key", key)
    record.add("data", data)
    record.add("verdicts", verdicts)
    record.add("object", object)
    record.add("interval", interval)
    record.add("dynamic", dynamic)
    record.add("counters", counters)
    record.add("timeoutNanoseconds", timeout)
    record.add("size", size)
    record.add("comment", comment)
    return record
  }

  /// An element of a named set or map.
  static func element(
    _ key: [String], _ data: [String] = [], verdict: Verdict? = nil, timeout: Duration?, comment: String?
  ) -> Record {
    var record = element(key, data, verdict)
    record.add("timeoutNanoseconds", timeout)
    record.add("comment", comment)
    return record
  }
}

/// A named set of values of a selector.
public struct NamedSet<Value: SelectorValue>: Sendable {
  let name: String
  private(set) var declaration: TableDeclaration

  /// - Parameters:
  ///   - name: unique among the table's sets and maps.
  ///   - selector: gives the type of the values, `IP.source`.
  ///   - elements: what is in it.
  ///   - interval: whether elements may be prefixes and ranges.
  ///   - dynamic: whether rules may add to it and remove from it.
  ///   - counters: whether each element counts the packets that it was found for.
  ///   - timeout: when elements leave again.
  ///   - size: the most elements that it holds.
  ///   - comment: kept with the set.
  public init(
    _ name: String, of selector: Selector<Value>, _ elements: [Value] = [], interval: Bool? = nil,
    dynamic: Bool? = nil, counters: Bool? = nil, timeout: Duration? = nil, size: Int? = nil,
    comment: String? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    self.name = name
    declaration = TableDeclaration(
      name,
      .set(
        name, key: Value.types, interval: interval, dynamic: dynamic, counters: counters, timeout: timeout,
        size: size, comment: comment), elements: elements.map { .element($0.texts, [], nil) }, file: file,
      line: line)
  }

  /// The set with one more element: `.with("10.0.0.9", timeout: .seconds(600), comment: "guest")`.
  /// - Parameters:
  ///   - element: a value.
  ///   - timeout: when it leaves; left out, as the set says. The next `up` puts it back.
  ///   - comment: kept with the element.
  public func with(_ element: Value, timeout: Duration? = nil, comment: String? = nil) -> NamedSet {
    var set = self
    set.declaration = declaration.with(.element(element.texts, timeout: timeout, comment: comment))
    return set
  }
}

/// A named map from values of one selector to values of another.
public struct NamedMap<Key: SelectorValue, Data: SelectorValue>: Sendable {
  let name: String
  private(set) var declaration: TableDeclaration

  /// - Parameters:
  ///   - name: unique among the table's sets and maps.
  ///   - key: gives the type of the keys, `TCP.destinationPort`.
  ///   - data: gives the type of what they lead to, `IP.destination`.
  ///   - elements: keys and what they lead to.
  ///   - interval: whether keys may be prefixes and ranges.
  ///   - dynamic: whether rules may add to it and remove from it.
  ///   - counters: whether each element counts the packets that it was found for.
  ///   - timeout: when elements leave again.
  ///   - size: the most elements that it holds.
  ///   - comment: kept with the map.
  public init(
    _ name: String, from key: Selector<Key>, to data: Selector<Data>, _ elements: [(Key, Data)] = [],
    interval: Bool? = nil, dynamic: Bool? = nil, counters: Bool? = nil, timeout: Duration? = nil,
    size: Int? = nil, comment: String? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    self.name = name
    declaration = TableDeclaration(
      name,
      .set(
        name, key: Key.types, data: Data.types, interval: interval, dynamic: dynamic, counters: counters,
        timeout: timeout, size: size, comment: comment),
      elements: elements.map { .element($0.0.texts, $0.1.texts, nil) },
      file: file, line: line)
  }

  /// The map with one more element: `.with(81, to: "10.0.0.9", comment: "guest")`.
  /// - Parameters:
  ///   - key: a value.
  ///   - data: what it leads to.
  ///   - timeout: when it leaves; left out, as the map says. The next `up` puts it back.
  ///   - comment: kept with the element.
  public func with(_ key: Key, to data: Data, timeout: Duration? = nil, comment: String? = nil) -> NamedMap {
    var map = self
    map.declaration = declaration.with(
      .element(key.texts, data.texts, timeout: timeout, comment: comment))
    return map
  }
}

/// A named map from values of a selector to verdicts.
public struct VerdictMap<Key: SelectorValue>: Sendable {
  let name: String
  private(set) var declaration: TableDeclaration

  /// - Parameters:
  ///   - name: unique among the table's sets and maps.
  ///   - selector: gives the type of the keys, `TCP.destinationPort`.
  ///   - elements: keys and their verdicts.
  ///   - interval: whether keys may be prefixes and ranges.
  ///   - counters: whether each element counts the packets that it was found for.
  ///   - timeout: when elements leave again.
  ///   - size: the most elements that it holds.
  ///   - comment: kept with the map.
  public init(
    _ name: String, of selector: Selector<Key>, _ elements: [(Key, Verdict)], interval: Bool? = nil,
    counters: Bool? = nil, timeout: Duration? = nil, size: Int? = nil, comment: String? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    self.name = name
    declaration = TableDeclaration(
      name,
      .set(
        name, key: Key.types, verdicts: true, interval: interval, counters: counters, timeout: timeout,
        size: size, comment: comment), elements: elements.map { .element($0.0.texts, [], $0.1) }, file: file,
      line: line)
  }

  /// The map with one more element: `.with(2222, .accept, comment: "guest")`.
  /// - Parameters:
  ///   - key: a value.
  ///   - verdict: what becomes of packets that have it.
  ///   - timeout: when it leaves; left out, as the map says. The next `up` puts it back.
  ///   - comment: kept with the element.
  public func with(_ key: Key, _ verdict: Verdict, timeout: Duration? = nil, comment: String? = nil)
    -> VerdictMap
  {
    var map = self
    map.declaration = declaration.with(
      .element(key.texts, verdict: verdict, timeout: timeout, comment: comment))
    return map
  }
}
