// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import LabProcess
import Reconcile
import TopologyModel

/// `netforge plan`: what `up` would do.
struct PlanCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan", abstract: "Show what `up` would change, and change nothing.",
    discussion: "With --detailed-exitcode: 0 when nothing differs, 2 when something does.")

  @OptionGroup var source: TopologyOptions
  @OptionGroup var datapath: DatapathOptions

  @Flag(help: "Exit with 2 when there are changes.")
  var detailedExitcode = false

  @Flag(name: .shortAndLong, help: "List the settings of new namespaces too.")
  var verbose = false

  @OptionGroup var output: OutputOptions

  func run() async throws {
    try await Self.show(
      try await source.load(), datapath: datapath, output: output, verbose: verbose,
      detailed: detailedExitcode)
  }

  static func show(
    _ loaded: LoadedTopology, datapath: DatapathOptions, output: OutputOptions, verbose: Bool = false,
    detailed: Bool
  ) async throws {
    let plan = try await plan(loaded, datapath: datapath)
    try output.print(plan.document) { plan.text(verbose: verbose) }
    if detailed, !plan.isEmpty { throw ExitCode(2) }
  }

  private static func plan(_ loaded: LoadedTopology, datapath: DatapathOptions) async throws -> Plan {
    let name = loaded.topology.name
    let known = try LabFolders.ofCaller.find(name)
    let kind = try datapath.kind(recorded: known?.record()?.datapath)
    let resolution = try Resolver(previous: known?.allocations() ?? Allocations()).resolve(loaded.topology)
    let folder = try known ?? LabFolders.ofCaller.make(name)
    let isUp = LabProcess.isRunning(folder: folder.path)
    do {
      let lab = try await RunningLab.prepare(folder, kind: kind)
      let plan = try await Reconciler(datapath: lab.datapath, folder: folder, runtime: resolution.runtime)
        .plan(
          resolution.state, sources: resolution.sources)
      try await cleanUp(folder, isKnown: known != nil, isUp: isUp)
      return plan
    } catch {
      try await cleanUp(folder, isKnown: known != nil, isUp: isUp)
      throw error
    }
  }

  /// Looking leaves nothing behind.
  private static func cleanUp(_ folder: LabFolder, isKnown: Bool, isUp: Bool) async throws {
    if !isUp { try await RunningLab.release(folder) }
    if !isKnown { try folder.remove() }
  }
}
