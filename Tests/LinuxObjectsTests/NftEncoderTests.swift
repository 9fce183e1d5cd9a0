// SPDX-License-Identifier: GPL-2.0-or-later

import LabCore
import NetTypes
import Nftables
import Testing

@testable import LinuxObjects

@Suite("Placing rules")
struct NftEncoderTests {
  static let table = NftTableKey(family: .inet, name: "t")
  static let chain = NftChainKey(table: table, chain: "c")

  static func change(_ operation: Change.Operation, _ key: String, after predecessor: String? = nil) -> Change
  {
    let state = StateObject.nftRule(
      NftRuleState(
        table: table, chain: "c", rule: NftRule(expressions: [], key: key), predecessor: predecessor))
    return Change(
      path: state.path(in: .switch), operation: operation, before: operation == .create ? nil : state,
      after: operation == .delete ? nil : state, reason: "test")
  }

  /// What stands in the chain after the transaction, as nf_tables would have it.
  static func outcome(of changes: [Change], on keys: [String]) throws -> [String] {
    var encoder = NftEncoder(changes)
    for (index, key) in keys.enumerated() {
      encoder.handles.chains[chain, default: []].append(.init(key: key, handle: UInt64(index + 1)))
    }
    var rules = keys.enumerated().map { (key: $0.element, handle: UInt64($0.offset + 1)) }
    for step in encoder.transaction().steps {
      switch step {
      case .appendRule(_, _, let rule): rules.append((rule.key, 0))
      case .prependRule(_, _, let rule): rules.insert((rule.key, 0), at: 0)
      case .insertRule(_, _, let rule, let handle):
        let place = try #require(rules.firstIndex { $0.handle == handle })
        rules.insert((rule.key, 0), at: place + 1)
      case .deleteRule(_, _, let handle):
        rules.remove(at: try #require(rules.firstIndex { $0.handle == handle }))
      default: Issue.record("\(step)")
      }
    }
    return rules.map(\.key)
  }

  @Test("New rules stand behind their predecessors, old and new ones")
  func placement() throws {
    let changes = [
      Self.change(.create, "x"), Self.change(.create, "y", after: "x"), Self.change(.create, "p", after: "a"),
      Self.change(.create, "q", after: "p"), Self.change(.create, "z", after: "b"),
    ]
    #expect(try Self.outcome(of: changes, on: ["a", "b"]) == ["x", "y", "a", "p", "q", "b", "z"])
  }

  @Test("A rule that goes is no landmark, and one that stands elsewhere moves")
  func movement() throws {
    let changes = [
      Self.change(.delete, "a"), Self.change(.delete, "b"), Self.change(.create, "a", after: "c"),
      Self.change(.create, "n", after: "a"),
    ]
    #expect(try Self.outcome(of: changes, on: ["a", "b", "c", "d"]) == ["c", "a", "n", "d"])
  }

  @Test("A rule that was changed by hand is made anew in its place")
  func replacement() throws {
    #expect(
      try Self.outcome(of: [Self.change(.replace, "b", after: "a")], on: ["a", "b", "c"]) == ["a", "b", "c"])
  }

  @Test("What is gone already needs no deletion")
  func absence() throws {
    #expect(try Self.outcome(of: [Self.change(.delete, "z")], on: ["a"]) == ["a"])
  }
}
