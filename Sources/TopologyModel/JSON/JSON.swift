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
  /// On one line, without blanks.
  var compact: String {
    var text = ""
    write(into: &text)
    return text
  }

  private func write(into text: inout String) {
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .number(let digits): text += digits
    case .string(let value): Self.quote(value, into: &text)
    case .array(let values):
      text += "["
      for (index, value) in values.enumerated() {
        if index > 0 { text += "," }
        value.write(into: &text)
      }
      text += "]"
    case .object(let members):
      text += "{"
      for (index, member) in members.enumerated() {
        if index > 0 { text += "," }
        Self.quote(member.key, into: &text)
        text += ":"
        member.value.write(into: &text)
      }
      text += "}"
    }
  }

  /// With line breaks where a value does not fit on its line.
  var pretty: String {
    var text = ""
    write(into: &text, indentation: 0, column: 0)
    return text
  }

  private static let width = 120

  private func write(into text: inout String, indentation: Int, column: Int) {
    let line = compact
    let inner = indentation + 2
    let pad = String(repeating: " ", count: inner)
    guard line.utf8.count + column > Self.width else {
      text += line
      return
    }
    switch self {
    case .array(let values):
      text += "[\n"
      for (index, value) in values.enumerated() {
        text += pad
        value.write(into: &text, indentation: inner, column: inner)
        text += index == values.count - 1 ? "\n" : ",\n"
      }
      text += String(repeating: " ", count: indentation) + "]"
    case .object(let members):
      text += "{\n"
      for (index, member) in members.enumerated() {
        text += pad
        Self.quote(member.key, into: &text)
        text += ": "
        member.value.write(into: &text, indentation: inner, column: inner + member.key.utf8.count + 4)
        text += index == members.count - 1 ? "\n" : ",\n"
      }
      text += String(repeating: " ", count: indentation) + "}"
    case .null, .bool, .number, .string: text += line
    }
  }

  private static func quote(_ value: String, into text: inout String) {
    text += "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      default:
        if scalar.value < 0x20 {
          let digits = String(scalar.value, radix: 16)
          text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        } else {
          text.unicodeScalars.append(scalar)
        }
      }
    }
    text += "\""
  }
}
