// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import LabProcess
import NetTypes
import Reconcile
import TopologyModel

/// `netforge play`: what a topology has happen at its times, or in one of its scenarios, in a lab that runs.
struct Play: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "play",
    abstract: "Have happen in a running lab what its topology says: the events of `lab.at`, or a scenario.",
    discussion: """
      The times count from the beginning of the verb. What is played stays as it is at the end, a difference that `netforge \
      plan` shows, unless --reset makes the lab as its topology says again; then that is also done when it is interrupted.
      """)

  @Argument(help: "A scenario's name; without one, the events.")
  var scenario: String?

  @Option(
    help: ArgumentHelp(
      "Play the events or the scenario of this topology file, which names the lab's nodes and interfaces.",
      valueName: "file"),
    completion: .file(extensions: ["swift", "json"]))
  var script: String?

  @Flag(help: "Make the lab as its topology says afterwards.")
  var reset = false

  @Flag(help: "Say what would happen, and when.")
  var list = false

  @OptionGroup var selection: LabOptions
  @OptionGroup var output: OutputOptions

  struct Document: Encodable {
    struct Entry: Encodable {
      var atNanoseconds: Int64?
      var action: String
    }
    var schemaVersion = 1
    var lab: String
    var scenario: String?
    var actions: [Entry]
  }

  func run() async throws {
    let live = try await LiveLab.open(selection)
    let source = try await topology(for: live)
    let acts = try acts(of: source)
    let document = Document(
      lab: live.lab.name.text, scenario: scenario,
      actions: acts.map { .init(atNanoseconds: $0.at?.nanoseconds, action: "\($0.action)") })
    if list {
      return try output.print(document) {
        var table = Table("AT", "WHAT HAPPENS")
        for act in acts { table.add(act.at?.brief ?? "", "\(act.action)") }
        return table.text
      }
    }
    let stage = stage(live)
    let isReset = reset
    let work = Task { try await Self.play(acts, on: stage, in: live.lab.folder, resetting: isReset) }
    let watch = try Interruption.cancelling(work)
    defer { watch.cancel() }
    try await work.value
    if work.isCancelled { throw ExitCode(130) }
    try output.print(document) { "" }
  }

  /// Something that happens, and when after the beginning; nil: after what comes before it.
  private struct Act: Sendable {
    var at: Interval?
    var action: Topology.Action
  }

  private func topology(for live: LiveLab) async throws -> Topology {
    guard let script else { return live.topology }
    return try await TopologyOptions.load(script, named: live.lab.name, variables: []).topology
  }

  private func acts(of topology: Topology) throws -> [Act] {
    guard let scenario else {
      guard !topology.events.isEmpty else {
        throw Failure(
          .failed, "the topology of lab '\(topology.name)' has no events",
          topology.scenarios.isEmpty
            ? "`lab.at(.seconds(2), .linkDown(r1[\"eth1\"]))` is one"
            : "it has scenarios: \(topology.scenarios.map { "'\($0.name)'" }.joined(separator: ", "))")
      }
      return topology.events.sorted { $0.at < $1.at }.map { Act(at: $0.at, action: $0.action) }
    }
    guard let chosen = topology.scenarios.first(where: { $0.name == scenario }) else {
      let known = topology.scenarios.map { "'\($0.name)'" }.joined(separator: ", ")
      throw Failure(
        .failed,
        "the topology of lab '\(topology.name)' has no scenario '\(scenario)'; it has \(known.isEmpty ? "none" : known)"
      )
    }
    return chosen.actions.map { Act(at: nil, action: $0) }
  }

  /// The lab as the runner of tests knows it, so that the same code does the same things.
  private func stage(_ live: LiveLab) -> LabUnderTest {
    let connection = live.lab.connection
    return LabUnderTest(
      name: live.lab.name, kind: live.lab.kind, datapath: live.lab.datapath, topology: live.topology,
      resolution: live.resolution, seed: nil
    ) { (node) throws(DatapathError) in
      guard let connection else {
        throw DatapathError(
          .notFound, operation: "restart node '\(node)'", cause: "nothing runs in the lab's nodes")
      }
      try await connection.restart(node)
    }
  }

  private static func play(
    _ acts: [Act], on stage: LabUnderTest, in folder: LabFolder, resetting: Bool
  ) async throws {
    let clock = stage.datapath.clock
    let begin = clock.now()
    var failure: (any Error)?
    for act in acts {
      if let time = act.at { await clock.sleep(until: begin + time) }
      if Task.isCancelled { break }
      Terminal.say("\((clock.now() - begin).brief): \(act.action)")
      do {
        let lock = try folder.lock()
        defer { withExtendedLifetime(lock) {} }
        try await stage.perform([act.action])
      } catch {
        failure = error
        break
      }
    }
    if resetting {
      // By a task of its own: an interruption ends the play, not this.
      try await Task {
        let lock = try folder.lock()
        defer { withExtendedLifetime(lock) {} }
        try await stage.settle()
      }.value
      Terminal.say("lab '\(stage.name)' is as its topology says")
    }
    if let failure { throw failure }
  }
}
