// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import NetTypes
import Reconcile

/// `netforge link up|down|flap`.
struct LinkCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "link", abstract: "Take interfaces of a running lab down and up.",
    discussion: """
      The topology stays what the lab shall be: `netforge plan` shows an interface that is down as a difference, and \
      `netforge up` takes it up again.
      """,
    subcommands: [UpLink.self, DownLink.self, Flap.self])

  struct Selection: ParsableArguments {
    @Argument(help: LiveLab.wordsHelp)
    var points: [String]

    @OptionGroup var selection: LabOptions

    func set(up isUp: Bool) async throws {
      let live = try await LiveLab.open(selection)
      try await live.set(try live.select(points), up: isUp)
    }
  }

  struct UpLink: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "up", abstract: "Take interfaces up, and put back what went with them.")
    @OptionGroup var chosen: Selection

    func run() async throws { try await chosen.set(up: true) }
  }

  struct DownLink: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "down", abstract: "Take interfaces down.")
    @OptionGroup var chosen: Selection

    func run() async throws { try await chosen.set(up: false) }
  }

  struct Flap: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "flap",
      abstract: "Take interfaces down and up again, a number of times.",
      discussion: "Interrupted, it leaves them up.")

    @OptionGroup var chosen: Selection

    @Option(name: .shortAndLong, help: "How many times.")
    var count = 1

    @Option(help: ArgumentHelp("How long they stay down.", valueName: "500ms"))
    var down = TimeArgument(.milliseconds(500))

    @Option(help: ArgumentHelp("How long they stay up in between.", valueName: "500ms"))
    var up = TimeArgument(.milliseconds(500))

    func validate() throws {
      guard (1...1_000_000).contains(count) else { throw ValidationError("--count takes 1 to 1000000") }
    }

    func run() async throws {
      let live = try await LiveLab.open(chosen.selection)
      let points = try live.select(chosen.points)
      let interruption = try Interruption()
      for round in 1...count {
        try await live.set(points, up: false)
        let ended = await interruption.sleep(down.interval)
        try await live.set(points, up: true)
        if ended { throw ExitCode(130) }
        if round < count, await interruption.sleep(up.interval) { throw ExitCode(130) }
      }
    }
  }
}

extension LiveLab {
  fileprivate func set(_ points: [LabPoints.Point], up isUp: Bool) async throws {
    let lock = try lab.folder.lock()
    defer { _ = lock }
    for point in points { try await intervention.setLink(point.link, up: isUp) }
    for point in points { Terminal.say("\(point.name) is \(isUp ? "up" : "down")") }
  }
}
