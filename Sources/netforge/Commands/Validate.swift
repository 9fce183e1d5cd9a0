// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import Reconcile
import TopologyModel

/// `netforge validate`: everything that can be known without a host.
struct Validate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "validate",
    abstract: "Check a topology without touching anything.",
    discussion: "Every mistake is reported in one run, with its line. Exit code 65 when there is one.")

  @OptionGroup var source: TopologyOptions
  @OptionGroup var output: OutputOptions

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var valid = true
    var nodes: Int
    var bridges: Int
    var links: Int
    var expectations: Int
  }

  func run() async throws {
    let topology = try await source.load().topology
    _ = try Resolver().resolve(topology)
    let document = Document(
      lab: topology.name.text, nodes: topology.nodes.count, bridges: topology.bridges.count,
      links: topology.links.count, expectations: topology.expectations.count)
    try output.print(document) {
      "\(topology.name) is valid: \(document.nodes) nodes, \(document.bridges) bridges, \(document.links) links"
    }
  }
}
