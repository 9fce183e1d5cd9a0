// SPDX-License-Identifier: GPL-2.0-or-later

// Rulesets that nft tells as JSON: read and compiled here they are what nft itself made of them.

import Foundation
import Nftables
import Testing
import TopologyModel

@testable import Netlink

@Suite(
  "Rulesets from nft's JSON",
  .enabled(
    if: Requirements.isRoot && FileManager.default.isExecutableFile(atPath: "/usr/sbin/nft"),
    "needs root and nft: makes network namespaces"))
struct RulesetReaderTests {
  @Test("Every sample's bytecode is the same from JSON as from nft's text")
  func samples() throws {
    for sample in NftablesSample.all where sample.family != "netdev" {
      for rule in sample.rules { try compare(sample, rule) }
    }
  }

  private func compare(_ sample: NftablesSample, _ rule: String) throws {
    let bench = try NftablesBench("json")
    let one = NftablesSample(family: sample.family, chain: sample.chain, rules: [rule])
    // What this kernel does not have it cannot tell.
    guard try bench.load(one.file) == "" else { return }
    let expected = try bench.socket.observe().tables
    let json = try bench.run("nft -j list ruleset")
    let position = NftSourcePosition(file: "t.swift", line: 1)
    let tables: [NftTable]
    do {
      tables = try Compiler.compile(RulesetReader.read(Array(json.utf8), at: position)).get()
    } catch {
      Issue.record("\(sample.family) \(rule): \(error)")
      return
    }
    for (ours, theirs) in zip(tables.map(\.normalized), expected.map(\.normalized)) {
      let mine = ours.chain("c")?.rules.map(\.expressions) ?? []
      let kernels = theirs.chain("c")?.rules.map(\.expressions) ?? []
      if mine != kernels {
        let text = { (rules: [[NftExpression]]) in
          rules.map { $0.map(\.description).joined(separator: "; ") }.joined(separator: " | ")
        }
        Issue.record("\(sample.family) \(rule)\n  ours \(text(mine))\n  nft  \(text(kernels))")
      }
      #expect(ours.objects.map(\.normalized) == theirs.objects.map(\.normalized))
      #expect(ours.sets.map(\.name) == theirs.sets.map(\.name))
      for (a, b) in zip(ours.sets, theirs.sets) {
        #expect(a.elements.map(\.key) == b.elements.map(\.key), "\(a.name)")
        #expect(a.elements.map(\.value) == b.elements.map(\.value), "\(a.name)")
        #expect(a.elements.map(\.expressions) == b.elements.map(\.expressions), "\(a.name)")
        #expect(a.expressions == b.expressions, "\(a.name)")
      }
    }
  }
}
