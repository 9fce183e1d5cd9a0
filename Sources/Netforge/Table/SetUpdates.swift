// SPDX-License-Identifier: GPL-2.0-or-later

// What rules do with the elements of dynamic sets, and what each element keeps for itself.

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
    statement = .change(set, nil, selector, timeout, body())
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
    statement = .change(set, "add", selector, timeout, body())
  }
}

/// Takes the packet's fields out of a dynamic set; where they are not in it, the next rule follows.
public struct Remove: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - set: a set that is `dynamic`.
  ///   - selector: the fields.
  public init<Value: SelectorValue>(_ set: NamedSet<Value>, with selector: Selector<Value>) {
    statement = .change(set, "remove", selector, nil, [])
  }
}

extension RuleStatement {
  fileprivate static func change<Value>(
    _ set: NamedSet<Value>, _ operation: String?, _ selector: Selector<Value>, _ timeout: Duration?,
    _ statements: [RuleStatement]
  ) -> RuleStatement {
    var record = Record("updateSet")
    record.add("set", set.name)
    record.add("operation", operation)
    record.add("selectors", selector.names)
    record.add("timeoutNanoseconds", timeout)
    record.add("statements", statements.map(\.record))
    return RuleStatement(record: record, declared: set.declaration)
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
