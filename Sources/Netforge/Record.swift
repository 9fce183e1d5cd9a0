// SPDX-License-Identifier: GPL-2.0-or-later

// The language's own JSON writer: an object grows key by key, absent values leave their key out. There is no reader;
// what the values mean and whether they are right is not judged here.

/// A JSON object under construction.
struct Record: Sendable {
  private var text: String

  init(_ kind: String? = nil) {
    text = ""
    add("kind", kind)
  }

  /// The object as JSON.
  var json: String { "{" + text + "}" }

  var isEmpty: Bool { text.isEmpty }

  mutating func add(_ key: String, json value: String?) {
    guard let value else { return }
    if !text.isEmpty { text += "," }
    text += Self.quoted(key) + ":" + value
  }

  mutating func add(_ key: String, _ value: String?) { add(key, json: value.map(Self.quoted)) }
  mutating func add(_ key: String, _ value: Int?) { add(key, json: value.map { String($0) }) }
  mutating func add(_ key: String, _ value: Bool?) { add(key, json: value.map { $0 ? "true" : "false" }) }

  /// A number that JSON cannot say goes in as text, for the checker to refuse.
  mutating func add(_ key: String, _ value: Double?) {
    guard let value else { return }
    if value.isFinite {
      add(
        key, json: value == value.rounded() && value.magnitude < 1e15 ? String(Int64(value)) : String(value))
    } else {
      add(key, String(value))
    }
  }

  mutating func add(_ key: String, _ value: Duration?) {
    add(key, json: value.map { String($0.nanoseconds) })
  }

  mutating func add(_ key: String, _ values: [String]) {
    if !values.isEmpty { add(key, json: Self.list(values.map(Self.quoted))) }
  }

  mutating func add(_ key: String, _ values: [Record]) {
    if !values.isEmpty { add(key, json: Self.list(values.map(\.json))) }
  }

  mutating func add(_ key: String, _ value: Record?) { add(key, json: value?.json) }

  mutating func add(_ key: String, _ values: [String: String]) {
    guard !values.isEmpty else { return }
    var object = Record()
    for (name, value) in values.sorted(by: { $0.key < $1.key }) { object.add(name, value) }
    add(key, object)
  }

  /// Where the declaration stands; the last keys of every one.
  mutating func add(file: StaticString, line: UInt) {
    add("file", Self.name(of: file))
    add("line", Int(clamping: line))
  }

  /// A `#fileID` without its module.
  static func name(of file: StaticString) -> String {
    let text = file.description
    guard let slash = text.firstIndex(of: "/") else { return text }
    return String(text[text.index(after: slash)...])
  }

  static func list(_ values: [String]) -> String { "[" + values.joined(separator: ",") + "]" }

  static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\t": result += "\\t"
      case "\r": result += "\\r"
      default:
        if scalar.value < 0x20 {
          let digits = String(scalar.value, radix: 16)
          result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        } else {
          result.unicodeScalars.append(scalar)
        }
      }
    }
    return result + "\""
  }
}

extension Duration {
  /// Whole nanoseconds, at most what an Int64 holds.
  var nanoseconds: Int64 {
    let (seconds, attoseconds) = components
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, carried) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
    return overflow || carried ? (seconds < 0 ? .min : .max) : sum
  }
}
