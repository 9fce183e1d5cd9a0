// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import LabProcess
import NetTypes
import Reconcile
import TopologyModel

/// `netforge status`: a lab as the kernel has it now.
struct Status: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract:
      "Show a lab as it is now: nodes, interfaces, peers, programs, and what differs from its topology.",
    aliases: ["inspect"])

  @Argument(help: "The lab's topology file, or its name.")
  var file: String?

  @OptionGroup var selection: LabOptions
  @OptionGroup var filter: NodeFilter
  @OptionGroup var output: OutputOptions

  @Flag(name: .shortAndLong, help: "Show what interfaces carry, again and again, until interrupted.")
  var watch = false

  @Option(help: ArgumentHelp("How long from one look to the next.", valueName: "1s"))
  var interval = TimeArgument(.seconds(1))

  func validate() throws {
    guard interval.interval >= .milliseconds(10) else {
      throw ValidationError("--interval takes 10ms or more")
    }
  }

  func run() async throws {
    let folder = try await selection.folder(file)
    if watch { return try await watchRates(of: folder) }
    let (loaded, resolution) = try folder.recordedResolution()
    let nodes = try filter.choose(from: loaded.topology)
    let lab = try await RunningLab.open(folder)
    let observation = try await lab.datapath.observe(lab.name, scope: Scope(covering: [resolution.state]))
    let plan = try await Reconciler(datapath: lab.datapath, folder: folder, runtime: resolution.runtime).plan(
      resolution.state, sources: resolution.sources)
    let process = try await lab.connection?.status()
    let document = StatusDocument(
      lab: lab, record: try folder.record(), nodes: nodes, topology: loaded.topology,
      observation: observation,
      process: process, drift: plan)
    try output.print(document) { document.text }
  }
}

extension Status {
  private func watchRates(of folder: LabFolder) async throws {
    let live = try await LiveLab.open(folder)
    try await StatusWatch(
      live: live, nodes: try filter.choose(from: live.topology), interval: interval.interval,
      output: output.format
    ).run()
  }
}

/// What `status` prints.
struct StatusDocument: Encodable {
  struct Interface: Encodable {
    var name: String
    var kind: String
    var up: Bool
    var mac: String?
    var mtu: UInt32?
    var index: UInt32?
    var addresses: [String]
    /// `node:interface`, or the lab's bridge.
    var peer: String?
  }

  struct Node: Encodable {
    var name: String
    var kind: String
    var labels: [String: String]
    /// False when the namespace is not there.
    var present: Bool
    var interfaces: [Interface]
    var programs: [LabProcessStatus.Program]
    var services: [LabProcessStatus.Service]
    var hostPorts: [LabProcessStatus.PublishedPort]
    /// Objects made by hand that netforge leaves alone.
    var unmarked: [String]
  }

  struct Bridge: Encodable {
    var name: String
    var subnets: [String]
    var ports: [String]
  }

  struct Process: Encodable {
    var pid: Int32
    /// Threads of an emulated kernel.
    var cpus: Int
    var since: Int64
    var log: String
  }

  var schemaVersion = 1
  var lab: String
  var datapath: String
  var topologyFile: String?
  var since: Int64?
  var process: Process?
  /// Services and programs that should run but have no process.
  var servicesGone: Bool
  var nodes: [Node]
  var bridges: [Bridge]
  /// Paths of what differs from the topology.
  var drift: [String]

  init(
    lab: RunningLab, record: LabRecord?, nodes: [Topology.Node], topology: Topology, observation: Observation,
    process: LabProcessStatus?, drift plan: Plan
  ) {
    self.lab = lab.name.text
    datapath = lab.kind.rawValue
    topologyFile = record?.topologyFile
    since = record?.time
    self.process = process.map { Process(pid: $0.pid, cpus: $0.cpus, since: $0.since, log: $0.log) }
    servicesGone =
      process == nil
      && topology.nodes.contains {
        !$0.programs.isEmpty || !$0.services.isEmpty || !$0.hostPorts.isEmpty
      }
    let fabric = observation.owned[.switch]
    let states = Dictionary(
      observation.owned.namespaces.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    let strange = Dictionary(
      observation.unmarked.namespaces.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    let masters = Dictionary(
      (fabric?.links ?? []).compactMap { link in link.master.map { (link.name, $0) } },
      uniquingKeysWith: { first, _ in first })
    let running = Dictionary(
      (process?.nodes ?? []).map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    self.nodes = nodes.map { node in
      let id = NamespaceID.node(node.name)
      let state = states[id]
      return Node(
        name: node.name.text, kind: node.kind.rawValue, labels: node.labels, present: state != nil,
        interfaces: state.map { Self.interfaces(of: $0, masters: masters) } ?? [],
        programs: running[node.name]?.programs ?? [], services: running[node.name]?.services ?? [],
        hostPorts: running[node.name]?.hostPorts ?? [],
        unmarked: (strange[id]?.objects.dropFirst() ?? []).map { $0.path(in: id).description })
    }
    bridges = topology.bridges.map { bridge in
      Bridge(
        name: bridge.name.text, subnets: bridge.subnets.map(\.description),
        ports: (fabric?.links ?? []).filter { $0.master?.text == bridge.name.text }.map(\.name.text))
    }
    drift = plan.changes.map(\.path.description)
  }

  private static func interfaces(
    of state: NamespaceState, masters: [InterfaceName: InterfaceName]
  ) -> [Interface] {
    let addresses = Dictionary(grouping: state.addresses, by: \.link)
    return state.links.sorted { ($0.index ?? 0, $0.name) < ($1.index ?? 0, $1.name) }.map { link in
      var peer: String?
      if case .veth(let other?) = link.kind {
        switch other.namespace {
        case .switch: peer = masters[other.name]?.text ?? other.name.text
        case .host: peer = "host:\(other.name)"
        case .node(let node): peer = "\(node):\(other.name)"
        }
      }
      return Interface(
        name: link.name.text, kind: link.kind.name, up: link.isUp, mac: link.mac?.description, mtu: link.mtu,
        index: link.index, addresses: (addresses[link.name] ?? []).map(\.prefix.description),
        peer: peer ?? link.master.map(\.text))
    }
  }

  var text: String {
    var lines = ["lab \(lab) on the \(datapath) datapath: \(nodes.count) nodes, \(bridges.count) bridges"]
    var table = Table("NODE", "INTERFACE", "STATE", "ADDRESS", "PEER", "RUNS")
    for node in nodes {
      let runs =
        node.services.map { "\($0.kind):\($0.port)" }
        + node.hostPorts.map { "host:\($0.hostPort)->\($0.port)" }
        + node.programs.map { "\($0.arguments.first ?? "") (\($0.state.rawValue))" }
      var first = true
      for interface in node.interfaces where interface.name != "lo" || !interface.addresses.isEmpty {
        table.add(
          first ? node.name : "", interface.name, interface.up ? "up" : "down",
          interface.addresses.isEmpty ? "-" : interface.addresses.joined(separator: " "),
          interface.peer ?? "-",
          first ? runs.joined(separator: " ") : "")
        first = false
      }
      if first {
        table.add(node.name, "-", node.present ? "-" : "gone", "-", "-", runs.joined(separator: " "))
      }
    }
    lines.append(table.text)
    if servicesGone {
      lines.append("its programs and services are gone: no process serves the lab; `netforge up` starts it")
    }
    for node in nodes where !node.unmarked.isEmpty {
      lines.append("made by hand in \(node.name), left alone: \(node.unmarked.joined(separator: " "))")
    }
    lines.append(
      drift.isEmpty
        ? "as its topology says"
        : "\(drift.count) differences from its topology (`netforge plan` shows them): \(drift.prefix(5).joined(separator: " "))"
          + (drift.count > 5 ? " …" : ""))
    return lines.joined(separator: "\n")
  }
}
