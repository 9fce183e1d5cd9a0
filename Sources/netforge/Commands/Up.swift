// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import EmulatedDatapath
import LabCore
import LabHost
import LabProcess
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
    guard (1...WantedLab.longestTimeout).contains(timeout) else {
      throw ValidationError("--timeout takes 1 to \(WantedLab.longestTimeout) seconds")
    }
  }

  func run() async throws {
    let progress = Progress("read the topology")
    let loaded = try await source.load()
    if dryRun {
      progress.stage(nil)
      return try await PlanCommand.show(loaded, datapath: datapath, output: output, detailed: false)
    }

    let folder = try LabFolders.ofCaller.make(loaded.topology.name)
    let lock = try folder.lock()
    defer { withExtendedLifetime(lock) {} }
    let known = try folder.record()
    let kind = try datapath.kind(recorded: known?.datapath)
    guard cpus == nil || kind == .emulated else {
      throw Failure(
        .usage, "--cpus: on the \(kind.rawValue) datapath the host's kernel carries the packets",
        "add --datapath emulated")
    }
    do {
      progress.stage("reach the \(kind.rawValue) datapath")
      let lab = try await RunningLab.prepare(folder, kind: kind, cpus: cpus)
      let result =
        if kind.livesInProcess, let connection = lab.connection {
          try await order(loaded, from: connection, lock, progress)
        } else {
          try await bringUp(loaded, lab, lock, progress)
        }
      progress.stage(nil)
      report(result, loaded.topology, kind, progress)
    } catch {
      // Nothing of a lab that never was stays behind; where going back failed too, the journal keeps the folder.
      if known == nil { try await discard(folder) }
      throw error
    }
  }

  private struct Summary {
    var changes: Int
    /// The plan's, for `-f json`.
    var document: String
  }

  /// Has the lab's own process do it, where the datapath is.
  private func order(
    _ loaded: LoadedTopology, from connection: LabConnection, _ lock: LabLock, _ progress: Progress
  ) async throws -> Summary {
    var order = UpOrder(
      topologyFile: loaded.file, timeout: .seconds(Int64(timeout)), isAgreed: yes,
      wantsDocument: output.format == .json)
    while true {
      progress.stage("hand the topology over")
      let (outcome, document) = try await connection.up(
        order, topology: loaded.rendered, lock: lock.descriptor, follow: { progress.follow($0) })
      switch outcome {
      case .done(let changes):
        return Summary(changes: changes, document: String(decoding: document, as: UTF8.self))
      case .disruptive(let plan, let failure):
        guard !order.isAgreed, Self.isAgreed(plan, loaded.topology.name) else { throw Failure(failure) }
        order.isAgreed = true
      case .failed(let failure): throw Failure(failure)
      }
    }
  }

  /// On the host's kernel, from here.
  private func bringUp(
    _ loaded: LoadedTopology, _ lab: RunningLab, _ lock: LabLock, _ progress: Progress
  ) async throws -> Summary {
    var wanted = WantedLab(topology: loaded.topology, rendered: loaded.rendered)
    wanted.file = loaded.file
    wanted.timeout = .seconds(Int64(timeout))
    let agreed = yes
    let (plan, resolution) = try await wanted.bringUp(
      lab.folder, on: lab.datapath, kind: lab.kind, holding: lock, tell: { progress.follow($0) },
      confirm: { plan in agreed || Self.isAgreed(plan.text(), plan.lab) })
    progress.follow(.runtime)
    var lab = lab
    try await lab.run(resolution.runtime)
    return Summary(
      changes: plan.changes.count, document: output.format == .json ? try JSONText.of(plan.document) : "")
  }

  /// Asks about a disruptive plan, where somebody can answer.
  private static func isAgreed(_ plan: String, _ lab: LabName) -> Bool {
    guard Terminal.isInteractive else { return false }
    Terminal.say(plan)
    return Terminal.confirm("This disrupts what runs in lab '\(lab)'. Go on?")
  }

  private func report(_ result: Summary, _ topology: Topology, _ kind: DatapathKind, _ progress: Progress) {
    switch output.format {
    case .json: Terminal.print(result.document)
    case .table:
      Terminal.print(
        result.changes == 0
          ? "lab '\(topology.name)' is as its topology says: no changes"
          : "lab '\(topology.name)' is up on the \(kind.rawValue) datapath: \(topology.nodes.count) nodes, "
            + "\(result.changes) changes in \(progress.elapsed)")
    }
  }

  private func discard(_ folder: LabFolder) async throws {
    let isLeft = try LabFolders.ofCaller.find(folder.lab) != nil
    guard isLeft, try folder.journal() == nil, try folder.record() == nil else { return }
    try await RunningLab.release(folder)
    try folder.remove()
  }
}
