// SPDX-License-Identifier: GPL-2.0-or-later

// Named sets, maps and verdict maps, and what they have in common with named objects: a rule that uses one declares it
// in its table; a line of its own in the table's body does so as well.

/// A set, map or object as its table holds it.
struct TableDeclaration: Sendable {
  let record: Record
  /// Whether it is an object: a limit, a quota, what connections are given.
  let isObject: Bool

  init(object record: Record) {
    self.record = record
    isObject = true
  }

  init(
    _ name: String, key: [String], data: [String], isVerdictMap: Bool, interval: Bool?, dynamic: Bool?,
    timeout: Duration?, size: Int?, elements: [Record], file: StaticString, line: UInt
  ) {
    var record = Record()
    record.add("name", name)
    record.add("key", key)
    record.add("data", data)
    record.add("verdicts", isVerdictMap ? true : nil)
    record.add("interval", interval)
    record.add("dynamic", dynamic)
    record.add("timeoutNanoseconds", timeout)
    record.add("size", size)
    record.add("elements", elements)
    record.add(file: file, line: line)
    self.record = record
    isObject = false
  }
}

/// A named set of values of a selector.
public struct NamedSet<Value: SelectorValue>: Sendable {
  let name: String
  let declaration: TableDeclaration

  /// - Parameters:
  ///   - name: unique among the table's sets and maps.
  ///   - selector: gives the type of the values, `IP.source`.
  ///   - elements: what is in it.
  ///   - interval: whether elements may be prefixes and ranges.
  ///   - dynamic: whether rules may add to it.
  ///   - timeout: when elements leave again.
  ///   - size: the most elements that it holds.
  public init(
    _ name: String, of selector: Selector<Value>, _ elements: [Value] = [], interval: Bool? = nil,
    dynamic: Bool? = nil, timeout: Duration? = nil, size: Int? = nil, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    self.name = name
    declaration = TableDeclaration(
      name, key: Value.types, data: [], isVerdictMap: false, interval: interval, dynamic: dynamic,
      timeout: timeout, size: size, elements: elements.map { Record.element($0.texts, [], nil) }, file: file,
      line: line)
  }
}

/// A named map from values of one selector to values of another.
public struct NamedMap<Key: SelectorValue, Data: SelectorValue>: Sendable {
  let name: String
  let declaration: TableDeclaration

  /// - Parameters:
  ///   - name: unique among the table's sets and maps.
  ///   - key: gives the type of the keys, `TCP.destinationPort`.
  ///   - data: gives the type of what they lead to, `IP.destination`.
  ///   - elements: keys and what they lead to.
  ///   - interval: whether keys may be prefixes and ranges.
  public init(
    _ name: String, from key: Selector<Key>, to data: Selector<Data>, _ elements: [(Key, Data)],
    interval: Bool? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    self.name = name
    declaration = TableDeclaration(
      name, key: Key.types, data: Data.types, isVerdictMap: false, interval: interval, dynamic: nil,
      timeout: nil, size: nil, elements: elements.map { Record.element($0.0.texts, $0.1.texts, nil) },
      file: file, line: line)
  }
}

/// A named map from values of a selector to verdicts.
public struct VerdictMap<Key: SelectorValue>: Sendable {
  let name: String
  let declaration: TableDeclaration

  /// - Parameters:
  ///   - name: unique among the table's sets and maps.
  ///   - selector: gives the type of the keys, `TCP.destinationPort`.
  ///   - elements: keys and their verdicts.
  ///   - interval: whether keys may be prefixes and ranges.
  public init(
    _ name: String, of selector: Selector<Key>, _ elements: [(Key, Verdict)], interval: Bool? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    self.name = name
    declaration = TableDeclaration(
      name, key: Key.types, data: [], isVerdictMap: true, interval: interval, dynamic: nil, timeout: nil,
      size: nil, elements: elements.map { Record.element($0.0.texts, [], $0.1) }, file: file, line: line)
  }
}
