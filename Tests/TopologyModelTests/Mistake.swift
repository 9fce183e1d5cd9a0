// SPDX-License-Identifier: GPL-2.0-or-later

// A file with one mistake.

import Testing

/// A file with one mistake, and what is said about it.
struct Mistake: CustomTestStringConvertible, Sendable {
  var name: String
  var text: String
  /// What the one complaint says: its line, and parts of it.
  var line: Int
  var parts: [String]

  init(_ name: String, _ text: String, line: Int, _ parts: String...) {
    self.name = name
    self.text = text
    self.line = line
    self.parts = parts
  }

  var testDescription: String { name }
}

/// A bridge, and a node on it.
func onLAN(_ items: String...) -> String {
  lines(
    head(), bridge("lan", "10.0.0.0/24"),
    #"{"kind":"router","name":"gw","body":[\#(([interface("eth0", on: "lan", "10.0.0.1/24")] + items).joined(separator: ","))],@}"#
  )
}
