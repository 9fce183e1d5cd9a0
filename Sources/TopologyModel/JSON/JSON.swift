// SPDX-License-Identifier: GPL-2.0-or-later

// A JSON value with the order of its keys. Numbers stay text, so that none loses a digit.

/// A JSON value.
indirect enum JSON: Hashable, Sendable {
  case null
  case bool(Bool)
  /// As it was written.
  case number(String)
  case string(String)
  case array([JSON])
  case object([Member])

  /// A key and its value.
  struct Member: Hashable, Sendable {
    var key: String
    var value: JSON
  }

  /// The value of a key of an object; nil for every other value.
  subscript(_ key: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.key == key }?.value
  }

  /// What kind of value it is, for messages.
  var kindName: String {
    switch self {
    case .null: "null"
    case .bool: "a truth value"
    case .number: "a number"
    case .string: "text"
    case .array: "a list"
    case .object: "an object"
    }
  }
}

extension JSON {
  /// With line breaks where a value does not fit on its line.
  var pretty: String {
    var text = JSONText()
    text.write(self, indentation: 0, column: 0)
    return String(decoding: text.bytes, as: UTF8.self)
  }
}

/// Writes values as UTF-8.
private struct JSONText {
  private(set) var bytes: [UInt8] = []

  private static let width = 120

  mutating func write(_ value: JSON, indentation: Int, column: Int) {
    let start = bytes.count
    if writeLine(value, end: start + max(0, Self.width - column)) { return }
    let inner = indentation + 2
    switch value {
    case .array(let values):
      bytes.removeLast(bytes.count - start)
      add("[\n")
      for (index, value) in values.enumerated() {
        pad(inner)
        write(value, indentation: inner, column: inner)
        add(index == values.count - 1 ? "\n" : ",\n")
      }
      pad(indentation)
      add("]")
    case .object(let members):
      bytes.removeLast(bytes.count - start)
      add("{\n")
      for (index, member) in members.enumerated() {
        pad(inner)
        quote(member.key)
        add(": ")
        write(member.value, indentation: inner, column: inner + member.key.utf8.count + 4)
        add(index == members.count - 1 ? "\n" : ",\n")
      }
      pad(indentation)
      add("}")
    // One that cannot be broken stays as long as it is.
    case .null, .bool, .number, .string: break
    }
  }

  /// Writes the value on one line without blanks. False when it reaches beyond `end`: lists and objects are left off
  /// there, for what does not fit is written anew.
  private mutating func writeLine(_ value: JSON, end: Int) -> Bool {
    switch value {
    case .null: add("null")
    case .bool(let value): add(value ? "true" : "false")
    case .number(let digits): add(digits)
    case .string(let value): quote(value)
    case .array(let values):
      add("[")
      for (index, value) in values.enumerated() {
        if index > 0 { add(",") }
        guard writeLine(value, end: end) else { return false }
      }
      add("]")
    case .object(let members):
      add("{")
      for (index, member) in members.enumerated() {
        if index > 0 { add(",") }
        quote(member.key)
        add(":")
        guard writeLine(member.value, end: end) else { return false }
      }
      add("}")
    }
    return bytes.count <= end
  }

  private mutating func add(_ text: String) { bytes.append(contentsOf: text.utf8) }

  private mutating func pad(_ count: Int) { bytes.append(contentsOf: repeatElement(0x20, count: count)) }

  private mutating func quote(_ value: String) {
    bytes.append(0x22)
    for byte in value.utf8 {
      switch byte {
      case 0x22: add("\\\"")
      case 0x5c: add("\\\\")
      case 0x0a: add("\\n")
      case 0x0d: add("\\r")
      case 0x09: add("\\t")
      case ..<0x20:
        let digits = String(byte, radix: 16)
        add("\\u" + String(repeating: "0", count: 4 - digits.count) + digits)
      default: bytes.append(byte)
      }
    }
    bytes.append(0x22)
  }
}
