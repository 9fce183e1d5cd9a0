// SPDX-License-Identifier: GPL-2.0-or-later

// A declaration whose shape is known, as the checks read it.

import LabCore

/// An object of a declaration. Its shape was checked, so a key that is there has a value of its type.
struct Reader {
  let json: JSON
  /// Its own, or that of the declaration it is part of.
  let location: SourceLocation

  init(_ json: JSON, in parent: SourceLocation? = nil) {
    self.json = json
    location = SourceLocation(of: json) ?? parent ?? SourceLocation(file: "?", line: 0)
  }

  /// Its kind, where it has one.
  var kind: String { text("kind") ?? "" }

  func text(_ key: String) -> String? {
    if case .string(let text)? = json[key] { text } else { nil }
  }

  /// A key that the shape requires.
  func required(_ key: String) -> String { text(key) ?? "" }

  func integer(_ key: String) -> Int? {
    if case .number(let digits)? = json[key] { Int(digits) } else { nil }
  }

  func unsigned(_ key: String) -> UInt64? {
    if case .number(let digits)? = json[key] { UInt64(digits) } else { nil }
  }

  func number(_ key: String) -> Double? {
    if case .number(let digits)? = json[key] { Double(digits) } else { nil }
  }

  func flag(_ key: String) -> Bool? {
    if case .bool(let flag)? = json[key] { flag } else { nil }
  }

  func texts(_ key: String) -> [String] {
    values(key).compactMap { if case .string(let text) = $0 { text } else { nil } }
  }

  func integers(_ key: String) -> [Int] {
    values(key).compactMap { if case .number(let digits) = $0 { Int(digits) } else { nil } }
  }

  func values(_ key: String) -> [JSON] {
    if case .array(let values)? = json[key] { values } else { [] }
  }

  func object(_ key: String) -> Reader? { json[key].map { Reader($0, in: location) } }

  func objects(_ key: String) -> [Reader] { values(key).map { Reader($0, in: location) } }

  func labels(_ key: String) -> [String: String] {
    guard case .object(let members)? = json[key] else { return [:] }
    var labels: [String: String] = [:]
    for member in members {
      if case .string(let value) = member.value { labels[member.key] = value }
    }
    return labels
  }
}
