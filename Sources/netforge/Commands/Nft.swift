// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import Nftables
import TopologyModel

/// `netforge nft`.
struct Nft: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "nft",
    abstract: "Look at a node's firewall and NAT.", subcommands: [NftList.self])
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
