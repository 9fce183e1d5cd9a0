// SPDX-License-Identifier: GPL-2.0-or-later

// The source form: tables, chains, sets and rules as a topology declares them, each with the line that it
// stands on.

/// Where in a file something was declared; never part of what is compared.
public struct NftSourcePosition: Hashable, Codable, Sendable {
  public var file: String
  public var line: Int

  public init(file: String, line: Int) {
    self.file = file
    self.line = line
  }
}

/// All tables of a namespace.
public struct Ruleset: Hashable, Codable, Sendable {
  public var tables: [Table]

  public init(tables: [Table] = []) { self.tables = tables }

  public struct Table: Hashable, Codable, Sendable {
    public var family: NftFamily
    public var name: String
    public var comment: String?
    public var chains: [Chain]
    public var sets: [SetDeclaration]
    public var objects: [NftObject]
    public var flowtables: [NftFlowtable]

    public init(
      family: NftFamily, name: String, comment: String? = nil, chains: [Chain] = [],
      sets: [SetDeclaration] = [],
      objects: [NftObject] = [], flowtables: [NftFlowtable] = []
    ) {
      self.family = family
      self.name = name
      self.comment = comment
      self.chains = chains
      self.sets = sets
      self.objects = objects
      self.flowtables = flowtables
    }
  }

  public struct Chain: Hashable, Codable, Sendable {
    public var name: String
    public var base: NftBaseChain?
    public var comment: String?
    public var rules: [Rule]
    public var position: NftSourcePosition?

    public init(
      name: String, base: NftBaseChain? = nil, comment: String? = nil, rules: [Rule] = [],
      position: NftSourcePosition? = nil
    ) {
      self.name = name
      self.base = base
      self.comment = comment
      self.rules = rules
      self.position = position
    }

    public static func == (a: Chain, b: Chain) -> Bool {
      a.name == b.name && a.base == b.base && a.comment == b.comment && a.rules == b.rules
    }

    public func hash(into hasher: inout Hasher) {
      hasher.combine(name)
      hasher.combine(rules)
    }
  }
}

/// A rule: its parts from left to right.
public struct Rule: Hashable, Codable, Sendable {
  public var statements: [Statement]
  public var comment: String?
  public var position: NftSourcePosition?

  public init(_ statements: [Statement], comment: String? = nil, position: NftSourcePosition? = nil) {
    self.statements = statements
    self.comment = comment
    self.position = position
  }

  public static func == (a: Rule, b: Rule) -> Bool { a.statements == b.statements && a.comment == b.comment }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(statements)
    hasher.combine(comment)
  }
}

/// A named set, map or verdict map.
public struct SetDeclaration: Hashable, Codable, Sendable {
  public var name: String
  public var keyTypes: [NftDataType]
  /// Nil for a set.
  public var data: NftSetData?
  /// Interval is worked out when an element needs it; give it for a set that is filled later.
  public var flags: NftSetFlags
  public var size: UInt32?
  /// Milliseconds.
  public var timeout: UInt64?
  public var comment: String?
  /// Limit, quota, counter or connlimit, kept for each element.
  public var expressions: [NftExpression]
  public var elements: [Element]
  public var position: NftSourcePosition?

  public struct Element: Hashable, Codable, Sendable {
    /// One value a key type; empty for all other keys.
    public var key: [FieldValue]
    /// The map's value, as it lies in registers: each field of a concatenation padded to four bytes.
    public var value: NftElementValue?
    /// Milliseconds; nil takes the set's.
    public var timeout: UInt64?
    public var comment: String?
    /// Its own; empty takes the set's.
    public var expressions: [NftExpression]

    public init(
      key: [FieldValue], value: NftElementValue? = nil, timeout: UInt64? = nil, comment: String? = nil,
      expressions: [NftExpression] = []
    ) {
      self.key = key
      self.value = value
      self.timeout = timeout
      self.comment = comment
      self.expressions = expressions
    }
  }

  public init(
    name: String, keyTypes: [NftDataType], data: NftSetData? = nil, flags: NftSetFlags = [],
    size: UInt32? = nil,
    timeout: UInt64? = nil, comment: String? = nil, expressions: [NftExpression] = [],
    elements: [Element] = [], position: NftSourcePosition? = nil
  ) {
    self.name = name
    self.keyTypes = keyTypes
    self.data = data
    self.flags = flags
    self.size = size
    self.timeout = timeout
    self.comment = comment
    self.expressions = expressions
    self.elements = elements
    self.position = position
  }

  public static func == (a: Self, b: Self) -> Bool {
    a.name == b.name && a.keyTypes == b.keyTypes && a.data == b.data && a.flags == b.flags && a.size == b.size
      && a.timeout == b.timeout && a.comment == b.comment && a.expressions == b.expressions
      && a.elements == b.elements
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(name)
    hasher.combine(elements)
  }
}
