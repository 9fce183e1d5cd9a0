// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import LabProcess
import TopologyModel

/// `netforge restart NODE`: its programs and services; its links stay.
struct Restart: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restart",
    abstract: "Start a node's programs and services again; its network stays as it is.")

  @OptionGroup var selection: LabOptions

  @Argument(help: "The nodes.")
  var nodes: [String]

  func run() async throws {
    let folder = try await selection.folder()
    let topology = try folder.recordedTopology().topology
    let chosen = try nodes.map { try topology.node(named: $0) }
    let lab = try await RunningLab.open(folder)
    for node in chosen {
      guard let connection = lab.connection,
        !(node.programs.isEmpty && node.services.isEmpty && node.hostPorts.isEmpty)
      else {
        throw Failure(.failed, "node '\(node.name)' has no Run and no Service that could be started again")
      }
      try await connection.restart(node.name)
      Terminal.say("node '\(node.name)': programs and services started again")
    }
  }
}
