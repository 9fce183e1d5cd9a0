// SPDX-License-Identifier: GPL-2.0-or-later

// The one request and answer of a connection's probe (RFC 9112): a web server understands it, an echo service gives it
// back, and netforge's own listener answers it.

enum HTTPExchange {
  static func request(path: String, host: String, token: String, isLast: Bool = true) -> [UInt8] {
    let connection = isLast ? "Connection: close\r\n" : ""
    return Array("GET \(path) HTTP/1.1\r\nHost: \(host)\r\nX-Netforge: \(token)\r\n\(connection)\r\n".utf8)
  }

  /// What the prober's own listener says to a request.
  static func answer(of request: [UInt8]) -> [UInt8] {
    Array("HTTP/1.1 200 OK\r\nContent-Length: \(request.count)\r\nConnection: close\r\n\r\n".utf8) + request
  }

  /// Whether nothing more is needed of what has come.
  static func isComplete(_ bytes: [UInt8], echoing question: [UInt8]) -> Bool {
    if bytes == question { return true }
    guard let head = head(of: bytes), let length = head.length else { return false }
    return bytes.count >= head.end + length
  }

  static func parse(_ bytes: [UInt8]) -> (status: Int, body: String)? {
    guard let head = head(of: bytes) else { return nil }
    return (head.status, String(decoding: bytes[head.end...], as: UTF8.self))
  }

  /// `web1` of `web1 in lab shop`, as netforge's own web servers say it.
  static func name(in body: String) -> String? {
    let words = body.split(whereSeparator: \.isWhitespace)
    return words.count == 4 && words[1] == "in" && words[2] == "lab" ? String(words[0]) : nil
  }

  private static func head(of bytes: [UInt8]) -> (status: Int, length: Int?, end: Int)? {
    guard bytes.starts(with: Array("HTTP/1.".utf8)) else { return nil }
    var end = 0
    while end + 4 <= bytes.count, bytes[end..<end + 4] != [13, 10, 13, 10] { end += 1 }
    guard end + 4 <= bytes.count else { return nil }
    let lines = String(decoding: bytes[..<end], as: UTF8.self).split(separator: "\r\n")
    let words = lines.first?.split(separator: " ") ?? []
    guard words.count > 1, let status = Int(words[1]) else { return nil }
    let field = lines.dropFirst().first { $0.lowercased().hasPrefix("content-length:") }
    let length = field.flatMap { line in Int(line.drop { $0 != ":" }.dropFirst().filter { $0 != " " }) }
    return (status, length.map { max($0, 0) }, end + 4)
  }
}
