// SPDX-License-Identifier: GPL-2.0-or-later

// What rules do with the elements of dynamic sets and maps, and what each element keeps for itself.

/// Adds the packet's fields to a dynamic set, or renews them there. What stands in its body each element has for itself:
/// `Update(clients, with: IP.source) { Limit(5, per: .second) }` holds as long as one source sends no faster.
public struct Update: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - set: a set that is `dynamic`.
  ///   - selector: the fields.
  ///   - timeout: when the element leaves again; left out, as the set says.
  ///   - body: at most two of `Limit`, `Quota`, `Counter` and `ConnectionLimit`, of each element.
  public init<Value: SelectorValue>(
    _ set: NamedSet<Value>, with selector: Selector<Value>, timeout: Duration? = nil,
    @ElementBody _ body: () -> [RuleStatement] = { [] }
  ) {
    statement = .change(set.declaration, nil, selector.names, nil, timeout, body())
  }

  /// The same of a map, whose element leads to a value; one that is there keeps what it leads to.
  /// - Parameters:
  ///   - map: a map that is `dynamic`.
  ///   - selector: the fields.
  ///   - data: what it leads to.
  ///   - timeout: when the element leaves again; left out, as the map says.
  ///   - body: at most two of `Limit`, `Quota`, `Counter` and `ConnectionLimit`, of each element.
  public init<Key: SelectorValue, Data: SelectorValue>(
    _ map: NamedMap<Key, Data>, with selector: Selector<Key>, to data: Data, timeout: Duration? = nil,
    @ElementBody _ body: () -> [RuleStatement] = { [] }
  ) {
    statement = .change(map.declaration, nil, selector.names, .values(data.texts), timeout, body())
  }

  /// The same of a map, whose element leads to what a field says; one that is there keeps what it leads to.
  /// - Parameters:
  ///   - map: a map that is `dynamic`.
  ///   - selector: the fields.
  ///   - data: the field, of the map's type.
  ///   - timeout: when the element leaves again; left out, as the map says.
  ///   - body: at most two of `Limit`, `Quota`, `Counter` and `ConnectionLimit`, of each element.
  public init<Key: SelectorValue, Data: SelectorValue>(
    _ map: NamedMap<Key, Data>, with selector: Selector<Key>, to data: Selector<Data>,
    timeout: Duration? = nil, @ElementBody _ body: () -> [RuleStatement] = { [] }
  ) {
    statement = .change(map.declaration, nil, selector.names, .selectors(data.names), timeout, body())
  }
}

/// Adds the packet's fields to a dynamic set; an element that is there already lives on as long as it would have.
public struct Add: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - set: a set that is `dynamic`.
  ///   - selector: the fields.
  ///   - timeout: when the element leaves again; left out, as the set says.
  ///   - body: at most two of `Limit`, `Quota`, `Counter` and `ConnectionLimit`, of each element.
  public init<Value: SelectorValue>(
    _ set: NamedSet<Value>, with selector: Selector<Value>, timeout: Duration? = nil,
    @ElementBody _ body: () -> [RuleStatement] = { [] }
  ) {
    statement = .change(set.declaration, "add", selector.names, nil, timeout, body())
  }

  /// The same of a map, whose element leads to a value; one that is there keeps what it leads to.
  /// - Parameters:
  ///   - map: a map that is `dynamic`.
  ///   - selector: the fields.
  ///   - data: what it leads to.
  ///   - timeout: when the element leaves again; left out, as the map says.
  ///   - body: at most two of `Limit`, `Quota`, `Counter` and `ConnectionLimit`, of each element.
  public init<Key: SelectorValue, Data: SelectorValue>(
    _ map: NamedMap<Key, Data>, with selector: Selector<Key>, to data: Data, timeout: Duration? = nil,
    @ElementBody _ body: () -> [RuleStatement] = { [] }
  ) {
    statement = .change(map.declaration, "add", selector.names, .values(data.texts), timeout, body())
  }

  /// The same of a map, whose element leads to what a field says; one that is there keeps what it leads to.
  /// - Parameters:
  ///   - map: a map that is `dynamic`.
  ///   - selector: the fields.
  ///   - data: the field, of the map's type.
  ///   - timeout: when the element leaves again; left out, as the map says.
  ///   - body: at most two of `Limit`, `Quota`, `Counter` and `ConnectionLimit`, of each element.
  public init<Key: SelectorValue, Data: SelectorValue>(
    _ map: NamedMap<Key, Data>, with selector: Selector<Key>, to data: Selector<Data>,
    timeout: Duration? = nil, @ElementBody _ body: () -> [RuleStatement] = { [] }
  ) {
    statement = .change(map.declaration, "add", selector.names, .selectors(data.names), timeout, body())
  }
}

/// Takes the packet's fields out of a dynamic set or map, if they are in it.
public struct Remove: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - set: a set that is `dynamic`.
  ///   - selector: the fields.
  public init<Value: SelectorValue>(_ set: NamedSet<Value>, with selector: Selector<Value>) {
    statement = .change(set.declaration, "remove", selector.names, nil, nil, [])
  }

  /// - Parameters:
  ///   - map: a map that is `dynamic`.
  ///   - selector: the fields; what they lead to does not matter.
  public init<Key: SelectorValue, Data: SelectorValue>(
    _ map: NamedMap<Key, Data>, with selector: Selector<Key>
  ) {
    statement = .change(map.declaration, "remove", selector.names, nil, nil, [])
  }
}

/// What an element that a rule puts into a map leads to.
private enum ElementData {
  case values([String])
  case selectors([String])
}

extension RuleStatement {
  fileprivate static func change(
    _ set: TableDeclaration, _ operation: String?, _ selectors: [String], _ data: ElementData?,
    _ timeout: Duration?, _ statements: [RuleStatement]
  ) -> RuleStatement {
    var record = Record("updateSet")
    record.add("set", set.name)
    record.add("operation", operation)
    record.add("selectors", selectors)
    switch data {
    case .values(let texts)?: record.add("data", texts)
    case .selectors(let names)?: record.add("dataSelectors", names)
    case nil: break
    }
    record.add("timeoutNanoseconds", timeout)
    record.add("statements", statements.map(\.record))
    return RuleStatement(record: record, declared: set)
  }
}

/// Builds what each element of a set keeps for itself.
@resultBuilder
public enum ElementBody: ListBuilder {
  /// A statement.
  public typealias Item = RuleStatement

  /// Counts what the element was met by.
  public static func buildExpression(_ item: Counter) -> [RuleStatement] { [item.statement] }
  /// The element's rate.
  public static func buildExpression(_ item: Limit) -> [RuleStatement] { [item.statement] }
  /// The element's sum of bytes.
  public static func buildExpression(_ item: Quota) -> [RuleStatement] { [item.statement] }
  /// The element's number of connections.
  public static func buildExpression(_ item: ConnectionLimit) -> [RuleStatement] { [item.statement] }
  /// Refused by name, so that the compiler's message is ours.
  @available(*, unavailable, message: "an element keeps Limit(…), Quota(…), Counter() and ConnectionLimit(…)")
  public static func buildExpression<Other>(_ other: Other) -> [RuleStatement] { [] }
}
