// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import Nftables
import Reconcile
import TopologyModel

/// `netforge nft`.
struct Nft: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "nft",
    abstract: "Look at a node's firewall and NAT.", subcommands: [NftList.self, NftExplain.self])
}

/// `netforge nft list NODE`: text that `nft -f` takes.
struct NftList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "Print a node's nftables ruleset as the kernel has it, as text that `nft -f` takes.")

  @OptionGroup var selection: LabOptions

  @Argument(help: "The node.")
  var node: String

  @OptionGroup var output: OutputOptions

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var node: String
    var tables: [NftTableListing]
  }

  func run() async throws {
    let folder = try await selection.folder()
    let name = try folder.recordedTopology().topology.node(named: node).name
    let lab = try await RunningLab.open(folder)
    let id = NamespaceID.node(name)
    let observation = try await lab.datapath.observe(lab.name, scope: Scope(namespaces: [id]))
    let tables = (observation.owned[id]?.tables ?? []) + (observation.unmarked[id]?.tables ?? [])
    try output.print(
      Document(lab: lab.name.text, node: name.text, tables: tables.map { NftTableListing($0) })
    ) {
      NftText.text(tables)
    }
  }
}

/// `netforge nft explain NODE RULE`: a rule's bytecode, and what each step of it is for.
struct NftExplain: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Show the bytecode of a rule, what each step is for, and the line that the rule comes from.",
    discussion: """
      RULE is a rule's key as `netforge nft list -f json` tells it, or CHAIN:NUMBER, the first rule being 1; TABLE:CHAIN:\
      NUMBER where several tables have the chain.
      """)

  @Argument(help: "The node.")
  var node: String

  @Argument(help: ArgumentHelp("Which rule.", valueName: "forward:2"))
  var rule: String

  @OptionGroup var selection: LabOptions

  @OptionGroup var output: OutputOptions

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var node: String
    var table: String
    var chain: String
    var number: Int
    var key: String
    var location: String?
    var explanation: RuleExplanation

    var text: String {
      let place = "table \(table), chain \(chain), rule \(number)" + (location.map { "  (\($0))" } ?? "")
      let width = explanation.steps.map(\.bytecode.count).max() ?? 0
      let steps = explanation.steps.map { step in
        let gap = String(repeating: " ", count: max(2, min(width, 56) - step.bytecode.count + 2))
        return step.meaning.isEmpty
          ? "  [ \(step.bytecode) ]" : "  [ \(step.bytecode) ]\(gap)\(step.meaning)"
      }
      return ([place, "  \(explanation.rule)"] + steps).joined(separator: "\n")
    }
  }

  func run() async throws {
    let live = try await LiveLab.open(selection)
    let name = try live.topology.node(named: node).name
    let id = NamespaceID.node(name)
    let observation = try await live.lab.datapath.observe(live.lab.name, scope: Scope(namespaces: [id]))
    let tables = (observation.owned[id]?.tables ?? []) + (observation.unmarked[id]?.tables ?? [])
    let found = matches(in: tables)
    guard let one = found.first, found.count == 1 else {
      throw ValidationError(
        found.isEmpty
          ? "node '\(name)' has no rule '\(rule)'; netforge nft list \(name) shows what it has"
          : "'\(rule)' is the name of \(found.count) rules; say TABLE:CHAIN:NUMBER")
    }
    let path = StatePath(id, .nftRule, key: [one.table.key.description, one.chain.name, one.rule.key])
    let document = Document(
      lab: live.lab.name.text, node: name.text, table: one.table.key.description, chain: one.chain.name,
      number: one.number, key: one.rule.key,
      location: live.resolution.sources.location(of: path).map { "\($0)" },
      explanation: RuleExplanation(one.rule, family: one.table.family, sets: one.table.sets))
    try output.print(document) { document.text }
  }

  private struct Found {
    var table: NftTable
    var chain: NftChain
    var number: Int
    var rule: NftRule
  }

  private func matches(in tables: [NftTable]) -> [Found] {
    let parts = rule.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    return tables.flatMap { table in
      table.chains.flatMap { chain in
        chain.rules.enumerated().compactMap { index, rule in
          let isMeant =
            switch parts.count {
            case 1: !rule.key.isEmpty && rule.key == parts[0]
            case 2: chain.name == parts[0] && parts[1] == "\(index + 1)"
            case 3: table.name == parts[0] && chain.name == parts[1] && parts[2] == "\(index + 1)"
            default: false
            }
          return isMeant ? Found(table: table, chain: chain, number: index + 1, rule: rule) : nil
        }
      }
    }
  }
}
