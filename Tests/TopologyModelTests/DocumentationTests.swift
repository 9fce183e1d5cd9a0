// SPDX-License-Identifier: GPL-2.0-or-later

// docs/rendered-json.md says every kind and every key, as the decoder has them.

import Foundation
import Testing

@testable import TopologyModel

@Suite("The documentation of rendered JSON")
struct DocumentationTests {
  static let page = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "docs/rendered-json.md")

  /// A shape in the words of the page.
  static func words(_ shape: Shape) -> String {
    switch shape {
    case .text: "text"
    case .integer: "integer"
    case .unsigned: "integer from 0"
    case .number: "number"
    case .flag: "true or false"
    case .labels: "object of text"
    case .list(let element): "list of \(words(element))"
    case .object(let fields):
      "{"
        + fields.map { "`\($0.key)`\($0.isRequired ? "*" : ""): \(words($0.shape))" }.joined(separator: "; ")
        + "}"
    case .kinds: "kinds"
    }
  }

  /// A kind's line on the page.
  static func line(_ kind: Kind) -> String {
    let fields = kind.fields.filter { $0.key != "file" && $0.key != "line" }
      .map { "`\($0.key)`\($0.isRequired ? "*" : ""): \(words($0.shape))" }
    return "- **\(kind.name)** "
      + (fields.isEmpty ? "has no keys of its own" : fields.joined(separator: "; ")) + "."
  }

  @Test("has a line for every kind, with its keys")
  func complete() throws {
    let sections = [
      ("declarations", Shape.topLevel), ("body", Shape.body), ("statements", Shape.statements),
      ("objects", Shape.objects),
    ]
    var text = try String(contentsOf: Self.page, encoding: .utf8)
    if ProcessInfo.processInfo.environment["NETFORGE_UPDATE_GOLDEN"] != nil {
      for (name, kinds) in sections {
        let begin = "<!-- \(name) -->\n"
        let end = "<!-- end of \(name) -->"
        guard let first = text.range(of: begin), let last = text.range(of: end) else { continue }
        text.replaceSubrange(
          first.upperBound..<last.lowerBound, with: kinds.map { Self.line($0) + "\n" }.joined())
      }
      try text.write(to: Self.page, atomically: true, encoding: .utf8)
    }
    let lines = Set(text.split(separator: "\n").map(String.init))
    for (_, kinds) in sections {
      for kind in kinds { #expect(lines.contains(Self.line(kind))) }
    }
  }
}
