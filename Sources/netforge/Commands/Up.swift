// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import EmulatedDatapath
import LabCore
import LabHost
import NetTypes
import Reconcile
import TopologyModel

/// `netforge up`: makes what the file says, and only what differs.
struct Up: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "up",
    abstract: "Bring a topology up, or make a lab that is up as its file says.",
    discussion: """
      Only what differs is changed, in place where the kernel allows. When something fails, the lab goes back to what it \
      was. A plan that disrupts what runs is asked about on a terminal, and needs --yes elsewhere.
      """,
    aliases: ["apply", "deploy"])

  @OptionGroup var source: TopologyOptions
  @OptionGroup var datapath: DatapathOptions

  @Flag(name: .shortAndLong, help: "Carry out a disruptive plan without asking.")
  var yes = Environment.isSet("YES")

  @Flag(help: "Print the plan and change nothing, as `netforge plan` does.")
  var dryRun = false

  @Option(help: ArgumentHelp("How long the kernel may take to settle.", valueName: "seconds"))
  var timeout: Int = Int(Environment["TIMEOUT"] ?? "") ?? 10

  @Option(help: "Threads that carry the packets of an emulated lab.")
  var cpus: Int?

  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard cpus.map({ (1...EmulatedDatapath.maximumCPUs).contains($0) }) ?? true else {
      throw ValidationError("--cpus takes 1 to \(EmulatedDatapath.maximumCPUs)")
    }
    guard (1...3600).contains(timeout) else { throw ValidationError("--timeout takes 1 to 3600 seconds") }
  }

  func run() async throws {
    let progress = Progress("read the topology")
    let loaded = try await source.load()
    progress.stage("resolve \(loaded.topology.nodes.count) nodes")
    if dryRun {
      return try await PlanCommand.show(loaded, datapath: datapath, output: output, detailed: false)
    }

    let folder = try LabFolders.ofCaller.make(loaded.topology.name)
    let lock = try folder.lock()
    let known = try folder.record()
    let kind = try datapath.kind(recorded: known?.datapath)
    guard cpus == nil || kind == .emulated else {
      throw Failure(
        .usage, "--cpus: on the \(kind.rawValue) datapath the host's kernel carries the packets",
        "add --datapath emulated")
    }
    do {
      let previous = try folder.allocations()
      let resolution = try Resolver(previous: previous ?? Allocations()).resolve(loaded.topology)
      progress.stage("reach the \(kind.rawValue) datapath")
      var lab = try await RunningLab.prepare(folder, kind: kind, cpus: cpus)
      let plan = try await reconcile(loaded, resolution, previous, lab, lock, progress)
      progress.stage("start programs and services")
      try await lab.run(resolution.runtime)
      progress.stage(nil)
      try report(plan, loaded.topology, kind, progress)
    } catch {
      // Nothing of a lab that never was stays behind; where going back failed too, the journal keeps the folder.
      if known == nil { try await discard(folder) }
      throw error
    }
  }

  private func reconcile(
    _ loaded: LoadedTopology, _ resolution: Resolution, _ previous: Allocations?, _ lab: RunningLab,
    _ lock: LabLock, _ progress: Progress
  ) async throws -> Plan {
    var reconciler = Reconciler(datapath: lab.datapath, folder: lab.folder, runtime: resolution.runtime)
    reconciler.deadline = .seconds(Int64(timeout))
    reconciler.progress = { progress.follow($0) }
    let agreed = yes
    return try await reconciler.up(
      resolution.state,
      as: Reconciler.Description(
        datapath: lab.kind, sources: resolution.sources, allocations: resolution.allocations,
        previousAllocations: previous, topology: loaded.rendered, topologyFile: loaded.file),
      holding: lock,
      confirm: { plan in
        if agreed { return true }
        guard Terminal.isInteractive else { return false }
        Terminal.say(plan.text())
        return Terminal.confirm("This disrupts what runs in lab '\(plan.lab)'. Go on?")
      })
  }

  private func report(_ plan: Plan, _ topology: Topology, _ kind: DatapathKind, _ progress: Progress) throws {
    try output.print(plan.document) {
      plan.isEmpty
        ? "lab '\(topology.name)' is as its topology says: no changes"
        : "lab '\(topology.name)' is up on the \(kind.rawValue) datapath: \(topology.nodes.count) nodes, "
          + "\(plan.changes.count) changes in \(progress.elapsed)"
    }
  }

  private func discard(_ folder: LabFolder) async throws {
    let isLeft = try LabFolders.ofCaller.find(folder.lab) != nil
    guard isLeft, try folder.journal() == nil, try folder.record() == nil else { return }
    try await RunningLab.release(folder)
    try folder.remove()
  }
}
