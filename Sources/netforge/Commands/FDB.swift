// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import NetTypes
import TopologyModel

/// `netforge fdb BRIDGE|NODE`.
struct FDB: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fdb", abstract: "Show which addresses a bridge knows, and behind which port.",
    discussion: "Of one of the lab's bridges, or of all bridges and tunnels of a node.")

  @OptionGroup var selection: LabOptions

  @Argument(help: "A bridge of the lab, or a node.")
  var place: String

  @OptionGroup var output: OutputOptions

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var place: String
    var entries: [ForwardingReport]
  }

  func run() async throws {
    let folder = try await selection.folder()
    let topology = try folder.recordedTopology().topology
    let bridge = topology.bridges.first { $0.name.text == place }
    let namespace: NamespaceID = try bridge == nil ? .node(topology.node(named: place).name) : .switch
    let lab = try await RunningLab.open(folder)
    let answer = try await lab.datapath.inspect(.forwardingEntries, in: namespace, of: lab.name)
    guard case .forwardingEntries(var entries) = answer else { throw Failure.unexpectedAnswer }
    if bridge != nil { entries.removeAll { $0.bridge != place } }
    let found = entries
    try output.print(Document(lab: lab.name.text, place: place, entries: found)) {
      guard !found.isEmpty else { return "'\(place)' has no forwarding entries" }
      var table = Table("MAC", "PORT", "BRIDGE", "VLAN", "KIND")
      for entry in found {
        table.add(
          entry.mac.description, entry.link + (entry.destination.map { " to \($0)" } ?? ""),
          entry.bridge ?? "-", entry.vlan.map { "\($0)" } ?? "-", entry.kind)
      }
      return table.text
    }
  }
}
