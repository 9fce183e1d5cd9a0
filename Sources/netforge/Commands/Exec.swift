// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import LabProcess
import Reconcile
import TopologyModel

/// `netforge exec NODE -- CMD`.
struct Exec: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "exec",
    abstract: "Run a command in a node.",
    discussion: """
      The command has the node's network, hosts file, files and variables, and this terminal. The exit code is its own; \
      126 and 127 when it could not be started.
      """)

  @OptionGroup var selection: LabOptions

  @Argument(help: "The node.")
  var node: String

  @Argument(parsing: .postTerminator, help: "The command, after --.")
  var command: [String] = []

  func validate() throws {
    guard !command.isEmpty else {
      throw ValidationError("say the command after --: netforge exec \(node) -- ip addr")
    }
  }

  func run() async throws {
    try await NodeProgram.become(command, in: node, of: selection.folder())
  }
}

/// `netforge shell NODE`.
struct Shell: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "shell", abstract: "Open a shell in a node.")

  @OptionGroup var selection: LabOptions

  @Argument(help: "The node.")
  var node: String

  func run() async throws {
    let shell = Environment.variable("SHELL") ?? "/bin/sh"
    try await NodeProgram.become([shell], in: node, of: selection.folder())
  }
}

extension NodeProgram {
  /// Goes into the node and becomes the program; returns only by failing.
  fileprivate static func become(_ arguments: [String], in node: String, of folder: LabFolder) async throws
    -> Never
  {
    let (loaded, resolution) = try folder.recordedResolution()
    let name = try loaded.topology.node(named: node).name
    let lab = try await RunningLab.open(folder)
    try await lab.entry(name, runtime: resolution.runtime).become(Command(arguments))
  }
}
