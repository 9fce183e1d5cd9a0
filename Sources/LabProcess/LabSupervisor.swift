// SPDX-License-Identifier: GPL-2.0-or-later

// Keeps a lab's nodes as their runtimes say: files laid out, commands run once, programs and services up. A new runtime
// is compared with the present one, and only what differs is touched. Line numbers are no difference.

import CLinux
import Glibc
public import LabCore
import SystemPackage

/// What runs in the nodes of one lab. Also used without a lab process, for runtimes that leave nothing running.
public actor LabSupervisor {
  /// What of a node is up.
  private struct Node {
    var runtime: NodeRuntime
    var programs: [SupervisedProgram] = []
    var services: [any OpenService] = []
    var hostPorts: [HostPortListener] = []

    func closeSockets() {
      for service in services { service.close() }
      for port in hostPorts { port.close() }
    }
  }

  private let lab: LabName
  private let folder: String
  private let reactor: Reactor
  private let launcher: Launcher
  private let leftovers: Leftovers
  /// Keeps the services where sockets of the host do not reach into the nodes.
  private let host: (any ServiceHost)?
  /// The way from ports of the host into the nodes; nobody publishes one without a lab process.
  private let datapath: (any Datapath)?
  private var nodes: [NodeName: Node] = [:]
  private var hosts: [HostsEntry]?
  /// One change at a time: an actor alone would let a second one in wherever the first waits.
  private var isBusy = false
  private var waiting: [CheckedContinuation<Void, Never>] = []

  /// `folder` is the lab's own.
  public init(lab: LabName, folder: String) throws(DatapathError) {
    self.init(lab: lab, folder: folder, reactor: try Reactor())
  }

  init(lab: LabName, folder: String, reactor: Reactor, datapath: (any Datapath)? = nil) {
    self.lab = lab
    self.datapath = datapath
    host = datapath as? any ServiceHost
    self.folder = folder
    self.reactor = reactor
    launcher = Launcher(beside: reactor)
    leftovers = Leftovers(folder: folder)
  }

  /// Makes the lab as `runtime` says, several nodes at a time; a node with commands comes alone, after those before it,
  /// on which its commands may call. The namespaces of the nodes must be there. After a failure no further node is
  /// begun; what is up stays up, and the next call goes on from there.
  public func configure(_ runtime: LabRuntime) async throws(DatapathError) {
    await begin()
    defer { end() }
    let wanted = Set(runtime.nodes.map(\.node))
    for name in nodes.keys.sorted() where !wanted.contains(name) {
      await stop(name, [.program, .command])
      nodes[name] = nil
    }
    if hosts != runtime.hosts { try NodeView.layOutShared(runtime.hosts, folder: folder) }
    hosts = runtime.hosts
    var rest = runtime.nodes[...]
    while let first = rest.first {
      let together = first.commands.isEmpty ? rest.prefix { $0.commands.isEmpty } : rest.prefix(1)
      try await configure(Array(together))
      rest = rest.dropFirst(together.count)
    }
  }

  private func configure(_ nodes: [NodeRuntime]) async throws(DatapathError) {
    let failures = await withTaskGroup(
      of: (Int, DatapathError?).self, returning: [Int: DatapathError].self
    ) { group in
      var failures: [Int: DatapathError] = [:]
      for (position, node) in nodes.enumerated() {
        if position >= launcher.width, let (done, failure) = await group.next() { failures[done] = failure }
        guard failures.isEmpty else { break }
        group.addTask { (position, await self.outcome(node)) }
      }
      for await (position, failure) in group { failures[position] = failure }
      return failures
    }
    // The first in the topology's order, whichever failed first.
    if let first = failures.min(by: { $0.key < $1.key }) { throw first.value }
  }

  private func outcome(_ node: NodeRuntime) async -> DatapathError? {
    do throws(DatapathError) {
      try await configure(node)
      return nil
    } catch {
      return error
    }
  }

  /// Ends the programs and services of a node and starts them again, its commands too. Links stay as they are.
  public func restart(_ name: NodeName) async throws(DatapathError) {
    await begin()
    defer { end() }
    guard let runtime = nodes[name]?.runtime else {
      throw DatapathError(
        .notFound, operation: "restart node '\(name)' of lab '\(lab)'", cause: "nothing runs in it",
        remedy: "nodes with programs or services: \(nodes.keys.sorted().map(\.text).joined(separator: ", "))")
    }
    await stop(name, [.program, .command])
    nodes[name] = nil
    var view = try NodeView.read(of: name, folder: folder)
    if !view.finishedCommands.isEmpty {
      view.finishedCommands = []
      try view.write(of: name, folder: folder)
    }
    try await configure(runtime)
  }

  /// Ends every program and service. Daemons that commands started go on: they belong to their nodes.
  public func stop() async {
    await begin()
    defer { end() }
    for node in nodes.values { node.closeSockets() }
    let programs = nodes.values.flatMap(\.programs)
    await withTaskGroup { group in
      for program in programs { group.addTask { await program.stop() } }
    }
    if !programs.isEmpty { leftovers.end([.program]) }
    nodes = [:]
  }

  /// The nodes that have programs or services.
  var status: [LabProcessStatus.Node] {
    nodes.sorted { $0.key < $1.key }.compactMap { name, node in
      guard !node.programs.isEmpty || !node.services.isEmpty || !node.hostPorts.isEmpty else { return nil }
      return LabProcessStatus.Node(
        name: name, programs: node.programs.map(\.status),
        services: node.services.map { .init(kind: $0.label, port: $0.service.port) },
        hostPorts: node.hostPorts.map { .init(hostPort: $0.hostPort.hostPort, port: $0.hostPort.port) })
    }
  }

  // MARK: One node

  private func configure(_ runtime: NodeRuntime) async throws(DatapathError) {
    let wanted = runtime.withoutLocations
    let present = nodes[runtime.node]?.runtime.withoutLocations
    if present == wanted { return }
    if let host {
      var node = nodes[runtime.node] ?? Node(runtime: runtime)
      node.services = try await changeServices(node.services, to: runtime) {
        (service) async throws(DatapathError) in
        try await host.open(service, in: runtime.node, of: self.lab)
      }
      node.runtime = runtime
      nodes[runtime.node] = node
      try changeHostPorts(of: runtime)
      return
    }
    var view = try NodeView.layOutOwn(runtime, folder: folder)
    if present ?? runtime.empty == runtime.empty && wanted.startsNothing {
      nodes[runtime.node] = Node(runtime: runtime)
      return
    }
    let netns = try openNamespace(of: runtime.node)
    let identity = try Self.identity(of: netns)
    if view.namespace != identity {
      view.namespace = identity
      view.finishedCommands = []
    }
    let entry = NodeEntry(
      node: runtime.node, namespaces: .path(NodeEntry.path(of: runtime.node, in: lab)), view: view)
    // A program sees its variables and its set of files from its beginning on; a file's text it sees change.
    let seesTheSame =
      present.map { $0.environment == wanted.environment && $0.paths == wanted.paths } ?? false
    var node = nodes[runtime.node] ?? Node(runtime: runtime)
    node.runtime = runtime
    node.services = try await changeServices(node.services, to: runtime) {
      (service) async throws(DatapathError) in
      try NodeServiceListener(
        service, node: runtime.node, lab: self.lab, netns: netns.descriptor, reactor: self.reactor)
    }
    nodes[runtime.node] = node
    try changeHostPorts(of: runtime)
    try await runCommands(of: runtime, view: &view, entry: entry)
    try await changePrograms(of: runtime, entry: entry, keeping: seesTheSame)
  }

  private func changeServices(
    _ present: [any OpenService], to runtime: NodeRuntime,
    _ open: (NodeService) async throws(DatapathError) -> any OpenService
  ) async throws(DatapathError) -> [any OpenService] {
    var kept: [any OpenService] = []
    var rest = present
    var missing: [NodeService] = []
    for service in runtime.services {
      if let index = rest.firstIndex(where: {
        $0.service.kind == service.kind && $0.service.port == service.port
      }) {
        kept.append(rest.remove(at: index))
      } else {
        missing.append(service)
      }
    }
    for listener in rest { listener.close() }
    do {
      for service in missing { kept.append(try await open(service)) }
    } catch {
      nodes[runtime.node, default: Node(runtime: runtime.empty)].services = kept
      nodes[runtime.node]?.runtime = runtime.empty
      throw error
    }
    return kept
  }

  private func changeHostPorts(of runtime: NodeRuntime) throws(DatapathError) {
    var kept: [HostPortListener] = []
    var missing: [HostPort] = []
    var rest = nodes[runtime.node]?.hostPorts ?? []
    for port in runtime.hostPorts {
      if let index = rest.firstIndex(where: { $0.hostPort.withoutLocation == port.withoutLocation }) {
        kept.append(rest.remove(at: index))
      } else {
        missing.append(port)
      }
    }
    for listener in rest { listener.close() }
    nodes[runtime.node]?.hostPorts = kept
    guard let datapath else { return }
    do throws(DatapathError) {
      for port in missing {
        let listener = try HostPortListener(
          port, of: runtime.node, in: lab, datapath: datapath, reactor: reactor)
        nodes[runtime.node]?.hostPorts.append(listener)
      }
    } catch {
      // The next call tries again from here.
      nodes[runtime.node]?.runtime = runtime.empty
      throw error
    }
  }

  private func runCommands(
    of runtime: NodeRuntime, view: inout NodeView, entry: NodeEntry
  ) async throws(DatapathError) {
    var finished = view.finishedCommands
    var now: [[String]] = []
    for (index, command) in runtime.commands.enumerated() {
      if let done = finished.firstIndex(of: command.arguments) {
        finished.remove(at: done)
      } else {
        do {
          let log = try logFile(runtime.node, "exec-\(index + 1)")
          try await NodePrograms.run(
            command, entry: entry, environment: leftovers.mark(.command, runtime.node), log: log,
            reactor: reactor, launcher: launcher)
        } catch {
          // The next call tries again from here.
          nodes[runtime.node]?.runtime = runtime.empty
          view.finishedCommands = now
          try view.write(of: runtime.node, folder: folder)
          throw error
        }
      }
      now.append(command.arguments)
    }
    guard !runtime.commands.isEmpty || !view.finishedCommands.isEmpty else { return }
    view.finishedCommands = now
    try view.write(of: runtime.node, folder: folder)
  }

  private func changePrograms(
    of runtime: NodeRuntime, entry: NodeEntry, keeping: Bool
  ) async throws(DatapathError) {
    var rest = nodes[runtime.node]?.programs ?? []
    var slots: [SupervisedProgram?] = []
    for program in runtime.programs {
      let index = rest.firstIndex { keeping && $0.program.withoutLocation == program.withoutLocation }
      slots.append(index.map { rest.remove(at: $0) })
    }
    for program in rest { await program.stop() }
    var programs: [SupervisedProgram] = []
    for (index, program) in runtime.programs.enumerated() {
      if let kept = slots[index] {
        programs.append(kept)
        continue
      }
      do {
        let log = try logFile(runtime.node, "run-\(index + 1)")
        let supervised = SupervisedProgram(
          program, entry: entry, environment: leftovers.mark(.program, runtime.node), log: log,
          reactor: reactor, launcher: launcher)
        try await supervised.start()
        programs.append(supervised)
      } catch {
        nodes[runtime.node]?.programs = programs + slots[(index + 1)...].compactMap { $0 }
        nodes[runtime.node]?.runtime = runtime.empty
        throw error
      }
    }
    nodes[runtime.node]?.programs = programs
  }

  /// Ends what runs in a node, and what is left of these origins.
  private func stop(_ name: NodeName, _ origins: [Leftovers.Origin]) async {
    guard let node = nodes[name] else { return }
    node.closeSockets()
    await withTaskGroup { group in
      for program in node.programs { group.addTask { await program.stop() } }
    }
    if !node.runtime.startsNothing { leftovers.end(origins, node: name) }
  }

  private func logFile(_ node: NodeName, _ name: String) throws(DatapathError) -> String {
    let logs = "\(folder)/logs"
    try LabFile.makeFolder(logs)
    return "\(logs)/\(node)-\(name).log"
  }

  private func openNamespace(of node: NodeName) throws(DatapathError) -> OwnedDescriptor {
    try Self.openNamespace(NodeEntry.path(of: node, in: lab), node: node, lab: lab)
  }

  static func openNamespace(
    _ path: String, node: NodeName, lab: LabName
  ) throws(DatapathError) -> OwnedDescriptor {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else {
      throw DatapathError(
        errno == ENOENT ? .notFound : .unavailable, operation: "open \(path)", path: StatePath(.node(node)),
        errno: errno, cause: "\(Errno(rawValue: errno))", remedy: "see netforge status --name \(lab)")
    }
    return OwnedDescriptor(FileDescriptor(rawValue: file))
  }

  private static func identity(of netns: OwnedDescriptor) throws(DatapathError) -> String {
    var information = stat()
    guard fstat(netns.descriptor.rawValue, &information) == 0 else {
      throw DatapathError(
        .unavailable, operation: "look at a namespace", errno: errno, cause: "\(Errno(rawValue: errno))")
    }
    return "\(information.st_dev):\(information.st_ino)"
  }

  // MARK: One change at a time

  private func begin() async {
    if isBusy { await withCheckedContinuation { waiting.append($0) } }
    isBusy = true
  }

  private func end() {
    isBusy = false
    if !waiting.isEmpty { waiting.removeFirst().resume() }
  }
}

extension NodeRuntime {
  fileprivate static let nowhere = SourceLocation(file: "", line: 0)

  /// What is compared: a line that moved is no change.
  fileprivate var withoutLocations: NodeRuntime {
    NodeRuntime(
      node: node, environment: environment,
      files: files.map { NodeFile(path: $0.path, text: $0.text, location: Self.nowhere) },
      commands: commands.map(\.withoutLocation), programs: programs.map(\.withoutLocation),
      services: services.map { NodeService(kind: $0.kind, port: $0.port, location: Self.nowhere) },
      hostPorts: hostPorts.map(\.withoutLocation))
  }

  fileprivate var paths: [String] { files.map(\.path) }

  /// Whether a node of this kind has files and variables at most.
  fileprivate var startsNothing: Bool {
    commands.isEmpty && programs.isEmpty && services.isEmpty && hostPorts.isEmpty
  }

  /// A node of which nothing is known to be up.
  fileprivate var empty: NodeRuntime { NodeRuntime(node: node) }
}

extension HostPort {
  fileprivate var withoutLocation: HostPort {
    HostPort(hostPort: hostPort, port: port, location: NodeRuntime.nowhere)
  }
}

extension NodeProgram {
  fileprivate var withoutLocation: NodeProgram {
    NodeProgram(arguments: arguments, restart: restart, location: NodeRuntime.nowhere)
  }
}
