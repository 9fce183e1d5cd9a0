// SPDX-License-Identifier: GPL-2.0-or-later

// Every mistake gets its message, with the line it stands on. The mistakes stand in files beside this one, by topic.

import Testing

@Suite("A mistake in a topology")
struct MistakeTests {
  @Test(
    "is one complaint, at its line, that says what would mend it",
    arguments: names + devices + addresses + links + routing + translation + tables + programs + expectations
      + wholes)
  func complaint(mistake: Mistake) throws {
    let found = complaints(mistake.text)
    try #require(found.count == 1, "\(found)")
    #expect(found[0].hasPrefix("topology.swift:\(mistake.line): error: "), "\(found[0])")
    for part in mistake.parts { #expect(found[0].contains(part), "\(found[0])") }
    #expect(!found[0].contains("\n"))
  }

  @Test("is shown with all others in one run, sorted by line")
  func several() {
    let found = complaints(
      lines(
        head("Lab"), bridge("lan", "10.0.0.0/33"),
        node("a", interface("e", on: "wan"), interface("f", on: "lan", "x")),
        link("a", "g", "b", "e")))
    #expect(
      found.map { $0.prefix { $0 != " " } } == [
        "topology.swift:1:", "topology.swift:2:", "topology.swift:3:", "topology.swift:3:",
        "topology.swift:4:",
        "topology.swift:4:",
      ])
  }

  @Test("that a bridge has more than 1,023 ports is found at the first that is too many")
  func ports() {
    let nodes = (1...1025).map { node("n\($0)", interface("e", on: "lan")) }
    let found = complaints(([head(), bridge("lan")] + nodes).joined(separator: "\n"))
    #expect(found.count == 1)
    #expect(
      found.first?.hasPrefix(
        "topology.swift:1026: error: interface 'e' of node 'n1024': bridge 'lan' has 1023 ports already")
        == true)
  }
}
