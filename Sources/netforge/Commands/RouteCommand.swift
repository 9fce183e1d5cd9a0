// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import NetTypes
import Reconcile
import TopologyModel

/// `netforge route get NODE TO`.
struct RouteCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "route", abstract: "Ask a node where it would send a packet.", subcommands: [Get.self])

  struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "get",
      abstract: "Show the way that a packet of a node's takes.",
      discussion: "TO is a node, node:interface, or an address. Exit code 1 when there is no way.")

    @OptionGroup var selection: LabOptions

    @Argument(help: "The node that sends.")
    var node: String

    @Argument(help: "A node, node:interface, or an address.")
    var to: String

    @OptionGroup var output: OutputOptions

    struct Document: Encodable {
      var schemaVersion = 1
      var lab: String
      var node: String
      var route: RouteReport
    }

    func run() async throws {
      let folder = try await selection.folder()
      let (loaded, resolution) = try folder.recordedResolution()
      let name = try loaded.topology.node(named: node).name
      let target = try NodeAddresses(resolution.state).resolve(to, from: name, in: loaded.topology)
      let lab = try await RunningLab.open(folder)
      let answer = try await lab.datapath.inspect(.route(to: target.address), in: .node(name), of: lab.name)
      guard case .route(let route) = answer else { throw Failure.unexpectedAnswer }
      try output.print(Document(lab: lab.name.text, node: name.text, route: route)) {
        var words = [route.type == "unicast" ? "" : route.type, route.destination.description]
        if let gateway = route.gateway { words.append("via \(gateway)") }
        if let link = route.link { words.append("dev \(link)") }
        if let source = route.source { words.append("src \(source)") }
        if let mtu = route.mtu { words.append("mtu \(mtu)") }
        return words.filter { !$0.isEmpty }.joined(separator: " ")
      }
    }
  }
}
