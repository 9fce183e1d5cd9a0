// SPDX-License-Identifier: GPL-2.0-or-later

// What a value of a declaration may look like. The shapes of all kinds are one table (`Shape+Kinds.swift`), which is
// what decoding goes by, what gives rendered JSON its order of keys, and what the documentation is held to.

/// What a JSON value may look like.
indirect enum Shape: Sendable {
  case text
  /// A whole number of 64 bits.
  case integer
  /// Up to UInt64.max.
  case unsigned
  case number
  case flag
  /// An object whose keys are free and whose values are text.
  case labels
  case list(Shape)
  case object([Field])
  /// An object whose key `kind` says which of these it is.
  case kinds([Kind])
}

/// A key of an object.
struct Field: Sendable {
  var key: String
  var shape: Shape
  var isRequired: Bool

  init(_ key: String, _ shape: Shape, required: Bool = false) {
    self.key = key
    self.shape = shape
    isRequired = required
  }
}

/// A kind of declaration.
struct Kind: Sendable {
  var name: String
  var fields: [Field]

  init(_ name: String, _ fields: [Field]) {
    self.name = name
    self.fields = fields + [Field("file", .text, required: true), Field("line", .integer, required: true)]
  }
}

/// Holds a value to a shape, collecting what is wrong, and puts its keys in order.
struct ShapeCheck {
  /// What is wrong, each with the pointer of the value.
  private(set) var problems: [(path: String, message: String, location: (file: String, line: Int)?)] = []
  /// More than this tells nobody anything.
  private static let maximumProblems = 50
  private var locations: [(file: String, line: Int)] = []

  mutating func check(_ value: JSON, _ shape: Shape, path: String) -> JSON {
    guard problems.count < Self.maximumProblems else { return value }
    switch (shape, value) {
    case (.text, .string), (.flag, .bool): return value
    case (.integer, .number(let digits)):
      if Int64(digits) == nil { fail(path, "\(digits) is not a whole number of 64 bits") }
      return value
    case (.unsigned, .number(let digits)):
      if UInt64(digits) == nil { fail(path, "\(digits) is not a whole number from 0 to \(UInt64.max)") }
      return value
    case (.number, .number(let digits)):
      if Double(digits).map(\.isFinite) != true { fail(path, "\(digits) is not a number of reasonable size") }
      return value
    case (.labels, .object(let members)):
      for member in members {
        guard case .string = member.value else {
          fail(path + "/" + Self.escape(member.key), "should be text, not \(member.value.kindName)")
          continue
        }
      }
      return .object(members.sorted { $0.key < $1.key })
    case (.list(let element), .array(let values)):
      return .array(values.enumerated().map { check($1, element, path: path + "/\($0)") })
    case (.object(let fields), .object(let members)):
      return object(members, fields, prefix: [], path: path)
    case (.kinds(let kinds), .object(let members)):
      guard let tag = members.first(where: { $0.key == "kind" }), case .string(let name) = tag.value else {
        fail(path, "has no 'kind'")
        return value
      }
      guard let kind = kinds.first(where: { $0.name == name }) else {
        let near = nearest(name, among: kinds.map(\.name)).map { "; did you mean '\($0)'?" } ?? ""
        fail(path + "/kind", "'\(name)' is no kind of declaration that may stand here\(near)")
        return value
      }
      return object(members.filter { $0.key != "kind" }, kind.fields, prefix: [tag], path: path)
    default:
      fail(path, "should be \(shape.name), not \(value.kindName)")
      return value
    }
  }

  private mutating func object(
    _ members: [JSON.Member], _ fields: [Field], prefix: [JSON.Member], path: String
  ) -> JSON {
    var location: (file: String, line: Int)?
    if case .string(let file)? = members.first(where: { $0.key == "file" })?.value,
      case .number(let digits)? = members.first(where: { $0.key == "line" })?.value, let line = Int(digits)
    {
      location = (file, line)
      locations.append((file, line))
    }
    defer { if location != nil { locations.removeLast() } }
    var result = prefix
    for field in fields {
      if let member = members.first(where: { $0.key == field.key }) {
        result.append(
          JSON.Member(key: field.key, value: check(member.value, field.shape, path: path + "/" + field.key)))
      } else if field.isRequired {
        fail(path, "has no '\(field.key)'")
      }
    }
    for member in members where !fields.contains(where: { $0.key == member.key }) {
      let near = nearest(member.key, among: fields.map(\.key)).map { "; did you mean '\($0)'?" } ?? ""
      fail(path + "/" + Self.escape(member.key), "unknown key\(near)")
    }
    return .object(result)
  }

  private mutating func fail(_ path: String, _ message: String) {
    problems.append((path.isEmpty ? "/" : path, message, locations.last))
  }

  private static func escape(_ key: String) -> String {
    String(key.flatMap { $0 == "~" ? "~0" : $0 == "/" ? "~1" : String($0) })
  }
}

extension Shape {
  /// For messages.
  var name: String {
    switch self {
    case .text: "text"
    case .integer, .unsigned: "a whole number"
    case .number: "a number"
    case .flag: "true or false"
    case .labels, .object, .kinds: "an object"
    case .list: "a list"
    }
  }
}
