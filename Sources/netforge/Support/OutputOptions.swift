// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import FoundationEssentials

enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  case table, json
}

/// `-f table|json`, shared by every verb that prints data.
struct OutputOptions: ParsableArguments {
  @Option(name: .shortAndLong, help: "How to print: table or json.")
  var format: OutputFormat = OutputFormat(rawValue: Environment["FORMAT"] ?? "") ?? .table

  /// Prints `document` as JSON or what `table` makes of it.
  func print<Document: Encodable>(
    _ document: @autoclosure () -> Document, table: () -> String
  ) throws {
    switch format {
    case .table:
      let text = table()
      if !text.isEmpty { Terminal.print(text) }
    case .json: Terminal.print(try JSONText.of(document()))
    }
  }
}

/// JSON as every verb prints it: sorted keys, two spaces, no escaped slashes.
enum JSONText {
  static func of(_ document: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(document), as: UTF8.self)
  }

  /// One line, for streams of documents.
  static func line(of document: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(document), as: UTF8.self)
  }
}
