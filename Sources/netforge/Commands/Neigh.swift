// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import NetTypes
import TopologyModel

/// `netforge neigh NODE`.
struct Neigh: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "neigh",
    abstract: "Show the neighbours that a node knows.", aliases: ["neighbors"])

  @OptionGroup var selection: LabOptions

  @Argument(help: "The node.")
  var node: String

  @OptionGroup var output: OutputOptions

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var node: String
    var neighbors: [NeighborReport]
  }

  func run() async throws {
    let (lab, name) = try await selection.node(node)
    let answer = try await lab.datapath.inspect(.neighbors, in: .node(name), of: lab.name)
    guard case .neighbors(let neighbors) = answer else { throw Failure.unexpectedAnswer }
    try output.print(Document(lab: lab.name.text, node: name.text, neighbors: neighbors)) {
      guard !neighbors.isEmpty else { return "node '\(name)' knows no neighbours" }
      var table = Table("ADDRESS", "INTERFACE", "MAC", "STATE")
      for neighbor in neighbors {
        table.add(
          neighbor.address.description, neighbor.link, neighbor.mac?.description ?? "-",
          neighbor.state + (neighbor.isRouter ? " router" : ""))
      }
      return table.text
    }
  }
}
