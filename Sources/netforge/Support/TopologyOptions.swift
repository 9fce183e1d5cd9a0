// SPDX-License-Identifier: GPL-2.0-or-later

// Which topology, which lab: the rules that every verb shares.

import ArgumentParser
import Glibc
import LabCore
import LabHost
import Manifest
import Reconcile
import SystemPackage
import TopologyModel

/// A topology that passed every check.
struct LoadedTopology {
  var topology: Topology
  /// The canonical document of it.
  var rendered: [UInt8]
  /// As the user named it; nil when it came from a lab's folder.
  var file: String?

  init(topology: Topology, rendered: [UInt8], file: String?) {
    self.topology = topology
    self.rendered = rendered
    self.file = file
  }

  /// From the canonical document.
  init(rendered: [UInt8]) throws(TopologyErrors) {
    self.init(topology: try Topology(try Declarations(json: rendered)), rendered: rendered, file: nil)
  }
}

/// The file of a topology, and the name that its lab shall have.
struct TopologyOptions: ParsableArguments {
  @Argument(
    help:
      "A topology.swift or rendered JSON; - for standard input. Without one, the only topology of this folder.",
    completion: .file(extensions: ["swift", "json"]))
  var file: String?

  @Option(
    name: .shortAndLong, help: "The same as the argument.", completion: .file(extensions: ["swift", "json"]))
  var topology: String?

  @Option(help: "Bring it up as a lab of this name; alone, mean the lab of this name.")
  var name: String?

  @Option(
    name: .customLong("var"),
    help: ArgumentHelp(
      "A variable that the file reads with lab.variable; may be repeated.", valueName: "name=value"))
  var variables: [String] = Environment.list("VAR")

  /// The topology that is meant.
  func load() async throws -> LoadedTopology {
    let lab = try LabOptions.parse(name)
    if let path = file ?? topology ?? Environment["TOPOLOGY"] {
      return try await Self.load(path, named: lab, variables: variables)
    }
    if let lab, let folder = try LabFolders.ofCaller.find(lab), let rendered = try folder.topology() {
      return try LoadedTopology(rendered: rendered)
    }
    return try await Self.load(try Self.onlyTopologyHere(), named: lab, variables: variables)
  }

  static func load(
    _ path: String, named lab: LabName?, variables: [String]
  ) async throws -> LoadedTopology {
    var options = ManifestOptions()
    for variable in variables {
      let parts = variable.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2 else {
        throw Failure(.usage, "--var takes name=value, not '\(variable)'")
      }
      options.variables[String(parts[0])] = String(parts[1])
    }
    let manifest = try await Manifest.load(path, options: options)
    if !manifest.printed.isEmpty { Terminal.write(manifest.printed, to: .standardError) }
    var declarations: Declarations
    do throws(TopologyErrors) {
      declarations = try manifest.declarations()
    } catch {
      if case .rendered = manifest.format { throw Failure(error, in: path == "-" ? "standard input" : path) }
      throw error
    }
    if let lab { declarations = declarations.renamed(lab.text) }
    // Written while it is checked.
    async let rendered = Self.rendered(declarations)
    return LoadedTopology(topology: try Topology(declarations), rendered: await rendered, file: path)
  }

  @concurrent
  private static func rendered(_ declarations: Declarations) async -> [UInt8] {
    Array(declarations.json.utf8)
  }

  /// The one Swift file of the working folder that makes a topology.
  static func onlyTopologyHere() throws -> String {
    let found = Manifest.topologies(in: ".")
    guard let first = found.first else {
      throw Failure(
        .usage, "no topology file is named and this folder has none",
        "name one: netforge \(CommandLine.arguments.dropFirst().first ?? "up") topology.swift; `netforge init` writes a first one"
      )
    }
    guard found.count == 1 else {
      throw Failure(
        .usage, "this folder has \(found.count) topologies; name one: \(found.joined(separator: ", "))")
    }
    return first
  }
}

/// Which running lab a verb means: `--name`, a file, or the only one there is.
struct LabOptions: ParsableArguments {
  @Option(
    help: "The lab's name.", completion: .custom { _, _, _ in LabFolders.ofCaller.list().map(\.lab.text) })
  var name: String?

  @Option(
    name: .shortAndLong, help: "The lab of this topology file.",
    completion: .file(extensions: ["swift", "json"]))
  var topology: String?

  static func parse(_ name: String?) throws -> LabName? {
    guard let name = name ?? Environment["NAME"] else { return nil }
    guard let lab = LabName(name) else {
      throw Failure(
        .usage, "'\(name)' cannot be a lab's name: it \(LabelRule.complaint(about: name) ?? "is not one")")
    }
    return lab
  }

  /// The lab that is meant; `argument` is a verb's positional file, or a lab's name.
  func lab(_ argument: String? = nil) async throws -> LabName {
    if let lab = try Self.parse(name) { return lab }
    if let path = argument ?? topology ?? Environment["TOPOLOGY"] {
      // A word that is no file is a lab's name; whether that lab is up, its folder says.
      if path != "-", access(path, F_OK) != 0, let lab = LabName(path) { return lab }
      return try await TopologyOptions.load(path, named: nil, variables: []).topology.name
    }
    let labs = LabFolders.ofCaller.list().map(\.lab)
    if labs.count == 1, let only = labs.first { return only }
    if let path = try? TopologyOptions.onlyTopologyHere() {
      return try await TopologyOptions.load(path, named: nil, variables: []).topology.name
    }
    guard !labs.isEmpty else {
      throw Failure(.failed, "no lab is up; `netforge up topology.swift` brings one up")
    }
    throw Failure(
      .usage, "\(labs.count) labs are up; say which with --name: \(labs.map(\.text).joined(separator: ", "))")
  }

  /// A node of the lab that is meant, and the way to the lab.
  func node(_ name: String) async throws -> (lab: RunningLab, node: NodeName) {
    let folder = try await folder()
    let node = try folder.recordedTopology().topology.node(named: name).name
    return (try await RunningLab.open(folder), node)
  }

  /// The folder of that lab.
  func folder(_ argument: String? = nil) async throws -> LabFolder {
    let lab = try await lab(argument)
    guard let folder = try LabFolders.ofCaller.find(lab) else {
      let others = LabFolders.ofCaller.list().map(\.lab.text)
      throw Failure(
        .failed,
        "lab '\(lab)' is not up"
          + (others.isEmpty ? "; no lab is" : "; these are: \(others.joined(separator: ", "))"))
    }
    return folder
  }
}

/// Choosing nodes: by name, by label, or all.
struct NodeFilter: ParsableArguments {
  @Option(help: ArgumentHelp("Only these nodes, separated by commas; may be repeated.", valueName: "a,b"))
  var node: [String] = Environment.list("NODE")

  @Option(help: ArgumentHelp("Only nodes with this label; may be repeated, all must hold.", valueName: "k=v"))
  var label: [String] = Environment.list("LABEL")

  /// The nodes chosen, in the topology's order. No match is an error.
  func choose(from topology: Topology) throws -> [Topology.Node] {
    var nodes = topology.nodes
    let names = node.flatMap { $0.split(separator: ",").map(String.init) }
    if !names.isEmpty {
      for name in names { _ = try topology.node(named: name) }
      nodes = nodes.filter { names.contains($0.name.text) }
    }
    for label in label {
      let parts = label.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2 else { throw Failure(.usage, "--label takes k=v, not '\(label)'") }
      nodes = nodes.filter { $0.labels[parts[0]] == parts[1] }
    }
    guard !nodes.isEmpty else { throw Failure(.failed, "no node of lab '\(topology.name)' has these labels") }
    return nodes
  }
}

extension Topology {
  /// The node of that name; an unknown one lists the known.
  func node(named name: String) throws -> Node {
    if let node = nodes.first(where: { $0.name.text == name }) { return node }
    let known = nodes.prefix(20).map(\.name.text).joined(separator: ", ") + (nodes.count > 20 ? ", …" : "")
    throw Failure(
      .failed, "lab '\(self.name)' has no node '\(name)'; it has \(known.isEmpty ? "none" : known)")
  }
}
