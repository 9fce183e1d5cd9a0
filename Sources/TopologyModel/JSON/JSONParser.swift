// SPDX-License-Identifier: GPL-2.0-or-later

// A strict JSON parser (RFC 8259): bounded in depth, no duplicate keys, no trailing anything. Whatever bytes it is given,
// the worst that happens is an error.

/// Why a text is not JSON, and where.
struct JSONError: Error, Hashable {
  var message: String
  /// From 1.
  var line: Int
  /// In bytes, from 1.
  var column: Int
}

/// Parses one text.
struct JSONParser {
  private let bytes: [UInt8]
  private var index = 0

  /// How deeply values may be nested.
  static let maximumDepth = 64

  private init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// The one value that the text is.
  static func parse(_ bytes: [UInt8]) throws(JSONError) -> JSON {
    var parser = JSONParser(bytes)
    parser.skipBlanks()
    let value = try parser.value(depth: 0)
    parser.skipBlanks()
    guard parser.index == bytes.count else {
      throw parser.error("there is more after the end of the document")
    }
    return value
  }

  private func error(_ message: String) -> JSONError {
    let before = bytes[..<min(index, bytes.count)]
    let line = before.count { $0 == 0x0a } + 1
    let start = before.lastIndex(of: 0x0a).map { $0 + 1 } ?? 0
    return JSONError(message: message, line: line, column: before.count - start + 1)
  }

  private var next: UInt8? { index < bytes.count ? bytes[index] : nil }

  private mutating func skipBlanks() {
    while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { index += 1 }
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSON {
    guard depth < Self.maximumDepth else { throw error("values are nested too deeply") }
    guard let byte = next else { throw error("the document ends too early") }
    switch byte {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"):
      try word("true")
      return .bool(true)
    case UInt8(ascii: "f"):
      try word("false")
      return .bool(false)
    case UInt8(ascii: "n"):
      try word("null")
      return .null
    case UInt8(ascii: "-"), 0x30...0x39: return .number(try number())
    default: throw error("a value should stand here")
    }
  }

  private mutating func word(_ word: String) throws(JSONError) {
    let expected = Array(word.utf8)
    guard bytes[index...].prefix(expected.count).elementsEqual(expected) else {
      throw error("a value should stand here")
    }
    index += expected.count
  }

  private func missing(_ what: String) -> JSONError {
    error(next == nil ? "the document ends too early" : "\(what) should stand here")
  }

  private mutating func object(depth: Int) throws(JSONError) -> JSON {
    index += 1
    var members: [JSON.Member] = []
    var keys: Set<String> = []
    skipBlanks()
    if next == UInt8(ascii: "}") {
      index += 1
      return .object([])
    }
    while true {
      skipBlanks()
      guard next == UInt8(ascii: "\"") else { throw missing("a key in quotation marks") }
      let key = try string()
      guard keys.insert(key).inserted else { throw error("the key '\(key)' stands twice in one object") }
      skipBlanks()
      guard next == UInt8(ascii: ":") else { throw missing("a ':'") }
      index += 1
      skipBlanks()
      members.append(JSON.Member(key: key, value: try value(depth: depth + 1)))
      skipBlanks()
      if next == UInt8(ascii: ",") {
        index += 1
      } else if next == UInt8(ascii: "}") {
        index += 1
        return .object(members)
      } else {
        throw missing("a ',' or '}'")
      }
    }
  }

  private mutating func array(depth: Int) throws(JSONError) -> JSON {
    index += 1
    var values: [JSON] = []
    skipBlanks()
    if next == UInt8(ascii: "]") {
      index += 1
      return .array([])
    }
    while true {
      skipBlanks()
      values.append(try value(depth: depth + 1))
      skipBlanks()
      if next == UInt8(ascii: ",") {
        index += 1
      } else if next == UInt8(ascii: "]") {
        index += 1
        return .array(values)
      } else {
        throw missing("a ',' or ']'")
      }
    }
  }

  private mutating func number() throws(JSONError) -> String {
    let start = index
    if next == UInt8(ascii: "-") { index += 1 }
    guard let first = next, (0x30...0x39).contains(first) else { throw error("a digit should stand here") }
    if first == 0x30 { index += 1 } else { skipDigits() }
    if next == UInt8(ascii: ".") {
      index += 1
      guard let digit = next, (0x30...0x39).contains(digit) else { throw error("a digit should stand here") }
      skipDigits()
    }
    if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
      index += 1
      if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { index += 1 }
      guard let digit = next, (0x30...0x39).contains(digit) else { throw error("a digit should stand here") }
      skipDigits()
    }
    guard index - start <= 40 else { throw error("the number is too long") }
    return String(decoding: bytes[start..<index], as: UTF8.self)
  }

  private mutating func skipDigits() {
    while let byte = next, (0x30...0x39).contains(byte) { index += 1 }
  }

  private mutating func string() throws(JSONError) -> String {
    index += 1
    var text: [UInt8] = []
    while true {
      guard let byte = next else { throw error("the document ends inside a text") }
      index += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let result = String(validating: text, as: UTF8.self) else {
          throw error("the text is not UTF-8")
        }
        return result
      case UInt8(ascii: "\\"): text += Array(String(try escape()).utf8)
      case 0..<0x20: throw error("a control character stands in a text")
      default: text.append(byte)
      }
    }
  }

  private mutating func escape() throws(JSONError) -> Character {
    guard let byte = next else { throw error("the document ends inside a text") }
    index += 1
    switch byte {
    case UInt8(ascii: "\""): return "\""
    case UInt8(ascii: "\\"): return "\\"
    case UInt8(ascii: "/"): return "/"
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{c}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
      let unit = try codeUnit()
      if let scalar = Unicode.Scalar(unit) { return Character(scalar) }
      // The first half of a surrogate pair needs the second.
      guard unit < 0xdc00, bytes[index...].prefix(2).elementsEqual([UInt8(ascii: "\\"), UInt8(ascii: "u")])
      else {
        throw error("half of a surrogate pair stands alone")
      }
      index += 2
      let low = try codeUnit()
      guard (0xdc00...0xdfff).contains(low),
        let scalar = Unicode.Scalar(0x10000 + (UInt32(unit) - 0xd800) << 10 + (UInt32(low) - 0xdc00))
      else { throw error("half of a surrogate pair stands alone") }
      return Character(scalar)
    default: throw error("an unknown escape stands in a text")
    }
  }

  private mutating func codeUnit() throws(JSONError) -> UInt16 {
    let digits = bytes[index...].prefix(4)
    guard digits.count == 4,
      digits.allSatisfy({
        (0x30...0x39).contains($0) || (0x41...0x46).contains($0) || (0x61...0x66).contains($0)
      }),
      let unit = UInt16(String(decoding: digits, as: UTF8.self), radix: 16)
    else { throw error("four hexadecimal digits should stand here") }
    index += 4
    return unit
  }
}
