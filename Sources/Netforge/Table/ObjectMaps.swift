// SPDX-License-Identifier: GPL-2.0-or-later

// Objects of a table by a field: in a rule, and in named maps.

/// What a table holds by name for its rules: a limit, a quota, a counter, what connections are given.
public protocol TableObject: Sendable {
  /// What the rendered topology calls the kind.
  static var kind: String { get }
  /// The object as maps name it.
  var reference: ObjectReference { get }
}

/// An object of a table by its name.
public struct ObjectReference: Sendable {
  let name: String
  let declaration: TableDeclaration?

  init(_ declaration: TableDeclaration) {
    name = declaration.name
    self.declaration = declaration
  }

  init(counter name: String) {
    self.name = name
    declaration = nil
  }
}

extension NamedLimit: TableObject {
  /// A limit.
  public static let kind = "limit"
  /// This limit.
  public var reference: ObjectReference { ObjectReference(declaration) }
}

extension NamedQuota: TableObject {
  /// A quota.
  public static let kind = "quota"
  /// This quota.
  public var reference: ObjectReference { ObjectReference(declaration) }
}

extension ConnectionHelper: TableObject {
  /// A helper.
  public static let kind = "helper"
  /// This helper.
  public var reference: ObjectReference { ObjectReference(declaration) }
}

extension ConnectionTimeouts: TableObject {
  /// Times.
  public static let kind = "timeouts"
  /// These times.
  public var reference: ObjectReference { ObjectReference(declaration) }
}

extension ConnectionExpectation: TableObject {
  /// An expectation.
  public static let kind = "expectation"
  /// This expectation.
  public var reference: ObjectReference { ObjectReference(declaration) }
}

extension NamedSynProxy: TableObject {
  /// A SYN proxy.
  public static let kind = "synProxy"
  /// This SYN proxy.
  public var reference: ObjectReference { ObjectReference(declaration) }
}

extension Counter: TableObject {
  /// A counter.
  public static let kind = "counter"
  /// This counter, which should have a name.
  public var reference: ObjectReference { ObjectReference(counter: name ?? "") }
}

/// A named map from values of a selector to objects of one kind.
public struct NamedObjectMap<Key: SelectorValue, Object: TableObject>: Sendable {
  let name: String
  private(set) var declaration: TableDeclaration
  /// The objects that it leads to.
  private(set) var objects: [TableDeclaration]

  /// - Parameters:
  ///   - name: unique among the table's sets and maps.
  ///   - key: gives the type of the keys, `TCP.destinationPort`.
  ///   - kind: what they lead to, `NamedLimit.self`.
  ///   - elements: keys and the objects that they lead to.
  ///   - interval: whether keys may be prefixes and ranges.
  ///   - timeout: when elements leave again.
  ///   - size: the most elements that it holds.
  ///   - comment: kept with the map.
  public init(
    _ name: String, from key: Selector<Key>, to kind: Object.Type, _ elements: [(Key, Object)] = [],
    interval: Bool? = nil, timeout: Duration? = nil, size: Int? = nil, comment: String? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    self.name = name
    objects = elements.compactMap(\.1.reference.declaration)
    declaration = TableDeclaration(
      name,
      .set(
        name, key: Key.types, object: kind.kind, interval: interval, timeout: timeout, size: size,
        comment: comment), elements: elements.map { .element($0.0.texts, [$0.1.reference.name], nil) },
      file: file, line: line)
  }

  /// The map with one more element: `.with(8080, to: fast, comment: "guest")`.
  /// - Parameters:
  ///   - key: a value.
  ///   - object: what it leads to.
  ///   - timeout: when it leaves; left out, as the map says. The next `up` puts it back.
  ///   - comment: kept with the element.
  public func with(_ key: Key, to object: Object, timeout: Duration? = nil, comment: String? = nil)
    -> NamedObjectMap
  {
    var map = self
    map.declaration = declaration.with(
      .element(key.texts, [object.reference.name], timeout: timeout, comment: comment))
    if let declaration = object.reference.declaration { map.objects.append(declaration) }
    return map
  }
}

extension Selector {
  /// Keeps the limit that the field leads to; a field that is not there goes on to the next rule:
  /// `TCP.destinationPort.object([(22, slow), (80, fast)])`.
  public func object(_ elements: [(Value, NamedLimit)]) -> ObjectLookup { look(up: elements) }
  /// Keeps the quota that the field leads to.
  public func object(_ elements: [(Value, NamedQuota)]) -> ObjectLookup { look(up: elements) }
  /// Gives the connection the helper that the field leads to.
  public func object(_ elements: [(Value, ConnectionHelper)]) -> ObjectLookup { look(up: elements) }
  /// Gives the connection the times that the field leads to.
  public func object(_ elements: [(Value, ConnectionTimeouts)]) -> ObjectLookup { look(up: elements) }
  /// Expects the connections that the field leads to.
  public func object(_ elements: [(Value, ConnectionExpectation)]) -> ObjectLookup { look(up: elements) }
  /// Has the SYN proxy answer that the field leads to.
  public func object(_ elements: [(Value, NamedSynProxy)]) -> ObjectLookup { look(up: elements) }
  /// Counts with the counter that the field leads to; each has a name.
  public func object(_ elements: [(Value, Counter)]) -> ObjectLookup { look(up: elements) }

  /// The same by a named map: `TCP.destinationPort.object(byPort)`.
  public func object<Object: TableObject>(_ map: NamedObjectMap<Value, Object>) -> ObjectLookup {
    var record = lookup(of: Object.self)
    record.add("map", map.name)
    return ObjectLookup(statement: RuleStatement(record, map.objects + [map.declaration]))
  }

  private func look<Object: TableObject>(up elements: [(Value, Object)]) -> ObjectLookup {
    var record = lookup(of: Object.self)
    record.add("elements", elements.map { Record.element($0.0.texts, [$0.1.reference.name], nil) })
    return ObjectLookup(statement: RuleStatement(record, elements.compactMap(\.1.reference.declaration)))
  }

  private func lookup<Object: TableObject>(of object: Object.Type) -> Record {
    var record = Record("objectMap")
    record.add("object", object.kind)
    record.add("selectors", names)
    return record
  }
}
