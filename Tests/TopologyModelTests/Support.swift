// SPDX-License-Identifier: GPL-2.0-or-later

// Declarations as tests write them: one a line, its number its line in the file.

import Testing

@testable import TopologyModel

/// Makes a document of declarations; each line of `text` is one, without `file` and `line`, which it gets from its place.
/// Items of a body say neither as well: they get those of their line.
func document(_ text: String) -> [UInt8] {
  let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
  var declarations: [String] = []
  for (index, line) in lines.enumerated() where !line.allSatisfy(\.isWhitespace) {
    declarations.append(located(String(line), line: index + 1))
  }
  return Array(
    #"{"schemaVersion":{"major":1,"minor":0},"declarations":[\#(declarations.joined(separator: ","))]}"#.utf8)
}

/// Puts `file` and `line` wherever `@` stands.
private func located(_ text: String, line: Int) -> String {
  text.split(separator: "@", omittingEmptySubsequences: false)
    .joined(separator: #""file":"topology.swift","line":\#(line)"#)
}

/// The topology of a text.
func topology(_ text: String) throws(TopologyErrors) -> Topology {
  try Topology(try Declarations(json: document(text)))
}

/// The complaints about a text, as a user reads them.
func complaints(_ text: String) -> [String] {
  do throws(TopologyErrors) {
    _ = try topology(text)
    return []
  } catch {
    return error.errors.map(\.description)
  }
}

/// A declaration of each sort, short to write.
func head(_ name: String = "lab") -> String { #"{"kind":"topology","name":"\#(name)",@}"# }
func bridge(_ name: String, _ subnets: String..., options: String = "") -> String {
  #"{"kind":"bridge","name":"\#(name)","subnets":[\#(subnets.map { "\"\($0)\"" }.joined(separator: ","))],\#(options)@}"#
}
func node(_ name: String, _ body: String..., kind: String = "node") -> String {
  #"{"kind":"\#(kind)","name":"\#(name)","body":[\#(body.joined(separator: ","))],@}"#
}
func router(_ name: String, _ body: String...) -> String {
  #"{"kind":"router","name":"\#(name)","body":[\#(body.joined(separator: ","))],@}"#
}
func interface(_ name: String, on bridge: String? = nil, _ addresses: String..., more: String = "") -> String
{
  let on = bridge.map { #""on":"\#($0)","# } ?? ""
  let list = addresses.map { "\"\($0)\"" }.joined(separator: ",")
  return #"{"kind":"interface","name":"\#(name)",\#(on)"addresses":[\#(list)],\#(more)@}"#
}
func item(_ kind: String, _ fields: String) -> String { #"{"kind":"\#(kind)",\#(fields),@}"# }
func route(_ destination: String, via hops: String...) -> String {
  item("route", #""destination":"\#(destination)","via":[\#(hops.joined(separator: ","))]"#)
}
func link(_ a: String, _ ai: String, _ b: String, _ bi: String) -> String {
  #"{"kind":"link","a":{"node":"\#(a)","interface":"\#(ai)"},"b":{"node":"\#(b)","interface":"\#(bi)"},@}"#
}
func lines(_ declarations: String...) -> String { declarations.joined(separator: "\n") }
