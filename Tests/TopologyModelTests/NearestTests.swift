// SPDX-License-Identifier: GPL-2.0-or-later

// What a misspelt name was probably meant to be.

import Testing

@testable import TopologyModel

@Suite("The nearest name")
struct NearestTests {
  @Test(
    "is the one a slip of the finger away",
    arguments: [
      ("lan1", ["lan0", "wan0"], "lan0"), ("etho", ["eth0", "eth1"], "eth0"),
      ("nmae", ["name", "note"], "name"),
      ("Gateway", ["gateway"], "gateway"),
    ])
  func near(name: String, candidates: [String], expected: String) {
    #expect(nearest(name, among: candidates) == expected)
  }

  @Test("is none when nothing is near", arguments: ["", "zzz", String(repeating: "x", count: 500)])
  func far(name: String) {
    #expect(nearest(name, among: ["lan0", "dmz0"]) == nil)
  }
}
