// SPDX-License-Identifier: GPL-2.0-or-later

// A small HTTP/1.1 server (RFC 9112): GET and HEAD of any target are answered by 200 and one body, requests are kept
// apart when they are pipelined, connections stay open. Chunked request bodies, upgrades and 100-continue are left out.

import NetTypes

/// The http service's side of one connection.
struct HTTPResponder: ServiceBehavior {
  /// Bytes of a request line and its fields.
  static let headLimit = 16 << 10
  /// Bytes of a request's own body, which is read and dropped.
  static let contentLimit = 1 << 20

  let idleLimit = 30
  let body: [UInt8]
  /// Bytes of the present request's body still to be dropped.
  private var toDrop = 0
  /// Bytes at the front of the input in which the end of a head was sought in vain.
  private var searched = 0

  init(body: [UInt8]) { self.body = body }

  mutating func take(_ input: inout [UInt8], into output: inout [UInt8], now: Instant) -> Bool {
    while true {
      let dropped = min(toDrop, input.count)
      input.removeFirst(dropped)
      toDrop -= dropped
      guard toDrop == 0 else { return false }
      // A robust server ignores an empty line before a request (RFC 9112, 2.2).
      while input.starts(with: [0x0d, 0x0a]) { input.removeFirst(2) }
      let end = Self.endOfHead(input, from: max(0, searched - 2))
      searched = input.count
      if end == nil, input.count <= Self.headLimit { return false }
      guard let end, end.start <= Self.headLimit else {
        respond(431, "Request Header Fields Too Large", keepingOpen: false, into: &output)
        return true
      }
      let head = HTTPRequestHead(input[..<end.start])
      input.removeFirst(end.after)
      searched = 0
      if answer(head, into: &output) { return true }
    }
  }

  /// Answers one request; true when the connection ends with it.
  private mutating func answer(_ head: HTTPRequestHead?, into output: inout [UInt8]) -> Bool {
    guard let head else {
      respond(400, "Bad Request", keepingOpen: false, into: &output)
      return true
    }
    guard head.version == "HTTP/1.1" || head.version == "HTTP/1.0" else {
      respond(505, "HTTP Version Not Supported", keepingOpen: false, into: &output)
      return true
    }
    guard head.version == "HTTP/1.0" || head.values(of: "host").count == 1 else {
      respond(400, "Bad Request", keepingOpen: false, into: &output)
      return true
    }
    guard head.values(of: "transfer-encoding").isEmpty else {
      respond(501, "Not Implemented", keepingOpen: false, into: &output)
      return true
    }
    let lengths = head.values(of: "content-length")
    if let text = lengths.first {
      guard Set(lengths).count == 1, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
        let length = Int(text)
      else {
        respond(400, "Bad Request", keepingOpen: false, into: &output)
        return true
      }
      guard length <= Self.contentLimit else {
        respond(413, "Content Too Large", keepingOpen: false, into: &output)
        return true
      }
      toDrop = length
    }
    let options = head.values(of: "connection").joined(separator: ",").lowercased()
      .split(whereSeparator: { $0 == "," || $0 == " " || $0 == "\t" })
    let staysOpen = head.version == "HTTP/1.1" ? !options.contains("close") : options.contains("keep-alive")
    switch head.method {
    case "GET": respond(200, "OK", keepingOpen: staysOpen, content: body, into: &output)
    case "HEAD": respond(200, "OK", keepingOpen: staysOpen, content: body, isHead: true, into: &output)
    default:
      respond(
        405, "Method Not Allowed", keepingOpen: staysOpen, fields: "Allow: GET, HEAD\r\n", into: &output)
    }
    return !staysOpen
  }

  private func respond(
    _ code: Int, _ reason: String, keepingOpen: Bool, content: [UInt8]? = nil, isHead: Bool = false,
    fields: String = "", into output: inout [UInt8]
  ) {
    let content = content ?? Array("\(code) \(reason)\n".utf8)
    output += Array(
      ("HTTP/1.1 \(code) \(reason)\r\nServer: netforge\r\nContent-Type: text/plain; charset=utf-8\r\n"
        + "Content-Length: \(content.count)\r\nConnection: \(keepingOpen ? "keep-alive" : "close")\r\n\(fields)\r\n")
        .utf8)
    if !isHead { output += content }
  }

  /// Where the head ends and what follows begins; nil when there is no empty line at `from` or after it.
  static func endOfHead(_ bytes: [UInt8], from: Int) -> (start: Int, after: Int)? {
    var index = from
    while let newline = bytes[index...].firstIndex(of: 0x0a) {
      let next = newline + 1
      if next < bytes.count, bytes[next] == 0x0a { return (newline, next + 1) }
      if next + 1 < bytes.count, bytes[next] == 0x0d, bytes[next + 1] == 0x0a { return (newline, next + 2) }
      index = next
    }
    return nil
  }
}

/// A request line and its fields.
struct HTTPRequestHead {
  let method: String
  let target: String
  let version: String
  private let fields: [(name: String, value: String)]

  /// Nil when it is malformed.
  init?(_ bytes: ArraySlice<UInt8>) {
    guard let text = String(validating: bytes, as: UTF8.self) else { return nil }
    // A carriage return and a newline are one Character, so lines are split by bytes.
    let lines = text.utf8.split(separator: 0x0a, omittingEmptySubsequences: false).map { line in
      String(decoding: line.last == 0x0d ? line.dropLast() : line, as: UTF8.self)
    }
    let words = lines[0].split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    guard words.count == 3, Self.isToken(words[0]), !words[1].isEmpty, words[2].hasPrefix("HTTP/") else {
      return nil
    }
    (method, target, version) = (words[0], words[1], words[2])
    var fields: [(name: String, value: String)] = []
    for line in lines.dropFirst() {
      guard let colon = line.firstIndex(of: ":"), Self.isToken(line[..<colon]), !line.utf8.contains(0x0d)
      else {
        return nil
      }
      let value = line[line.index(after: colon)...]
      let isBlank = { (character: Character) in character == " " || character == "\t" }
      let trimmed = value.drop(while: isBlank).reversed().drop(while: isBlank).reversed()
      fields.append((line[..<colon].lowercased(), String(trimmed)))
    }
    self.fields = fields
  }

  /// The values of a field, whose name is in lower case.
  func values(of name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }

  /// A token of RFC 9110, 5.6.2.
  private static func isToken(_ text: some StringProtocol) -> Bool {
    !text.isEmpty
      && text.utf8.allSatisfy { byte in
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
      }
  }
}
