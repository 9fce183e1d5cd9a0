// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import NetTypes
import Reconcile
import TopologyModel

/// `netforge netem set|show|reset`.
struct Netem: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "netem",
    abstract: "Impair what interfaces of a running lab send: delay, loss, rate and their kin.",
    discussion: """
      The topology stays what the lab shall be: `netforge plan` shows what differs from it, `netem reset` and \
      `netforge up` take it back.
      """,
    subcommands: [Set.self, Show.self, Reset.self])

  /// Whose packets: what an interface sends, what its other end sends to it, or both.
  enum Direction: String, ExpressibleByArgument, CaseIterable {
    case out, `in`, both
  }

  struct Selection: ParsableArguments {
    @Argument(help: LiveLab.wordsHelp)
    var points: [String] = []

    @Option(help: "out: what the interface sends; in: what its other end sends to it; both.")
    var direction: Direction = .out

    @OptionGroup var selection: LabOptions
    @OptionGroup var output: OutputOptions

    /// The devices whose sending is meant.
    func devices(of live: LiveLab) throws -> [LabPoints.Point] {
      var result: [LabPoints.Point] = []
      for point in try live.select(points) {
        var ends: [LabPoints.Point] = direction == .in ? [] : [point]
        if direction != .out {
          guard let peer = point.peer else {
            throw Failure(.failed, "\(point.name) has no other end whose packets could be impaired")
          }
          guard let other = live.points.point(peer) else {
            throw Failure(.failed, "the other end of \(point.name) is not the lab's")
          }
          ends.append(other)
        }
        for end in ends where !result.contains(end) { result.append(end) }
      }
      return result
    }
  }

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "set",
      abstract: "Merge into the impairment of interfaces, or replace it.",
      discussion: "What is not named stays as it is; 0 takes it away; --replace begins from nothing.")

    @OptionGroup var chosen: Selection

    @Option(help: ArgumentHelp("How long a packet takes.", valueName: "20ms"))
    var delay: TimeArgument?
    @Option(help: ArgumentHelp("By how much the delay varies.", valueName: "5ms"))
    var jitter: TimeArgument?
    @Option(help: ArgumentHelp("The share that is lost.", valueName: "0.5%"))
    var loss: PercentArgument?
    @Option(help: ArgumentHelp("The share that arrives twice.", valueName: "0.5%"))
    var duplicate: PercentArgument?
    @Option(help: ArgumentHelp("The share that overtakes others; needs a delay.", valueName: "0.5%"))
    var reorder: PercentArgument?
    @Option(help: ArgumentHelp("The share that arrives with a wrong bit.", valueName: "0.5%"))
    var corrupt: PercentArgument?
    @Option(help: ArgumentHelp("Bits a second.", valueName: "100mbit"))
    var rate: RateArgument?
    @Option(help: "Packets that may wait.")
    var limit: UInt32?
    @Option(help: "Of the random choices.")
    var seed: UInt64?
    @Flag(help: "Begin from nothing.")
    var replace = false

    private var isEmpty: Bool {
      delay == nil && jitter == nil && loss == nil && duplicate == nil && reorder == nil && corrupt == nil
        && rate == nil && limit == nil && seed == nil
    }

    func validate() throws {
      guard !chosen.points.isEmpty else { throw ValidationError("say which interfaces are meant") }
      guard replace || !isEmpty else { throw ValidationError("say what to impair, such as --delay 20ms") }
      guard limit != 0 else { throw ValidationError("--limit takes 1 or more") }
    }

    func run() async throws {
      let live = try await LiveLab.open(chosen.selection)
      let devices = try chosen.devices(of: live)
      let impairment = Topology.Impairment(
        rate: rate?.bitsPerSecond, delay: delay?.interval, jitter: jitter?.interval, loss: loss?.value,
        duplicate: duplicate?.value, reorder: reorder?.value, corrupt: corrupt?.value,
        limit: limit.map { Int($0) },
        seed: seed, location: SourceLocation(file: "netem set", line: 1))
      let lock = try live.lab.folder.lock()
      defer { _ = lock }
      for device in devices {
        try await live.intervention.impair(device.link, impairment, replacing: replace)
      }
      try await live.show(devices, chosen.output)
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "show",
      abstract: "Show what befalls what interfaces send, as the kernel has it.")

    @OptionGroup var chosen: Selection

    func run() async throws {
      let live = try await LiveLab.open(chosen.selection)
      try await live.show(try chosen.devices(of: live), chosen.output)
    }
  }

  struct Reset: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "reset",
      abstract: "Impair interfaces as their topology says; without points all of the lab.")

    @OptionGroup var chosen: Selection

    func run() async throws {
      let live = try await LiveLab.open(chosen.selection)
      let devices = chosen.points.isEmpty ? live.points.all : try chosen.devices(of: live)
      let lock = try live.lab.folder.lock()
      defer { _ = lock }
      for device in devices { try await live.intervention.resetImpairment(of: device.link) }
      try await live.show(
        devices.filter { live.declared($0) != nil || !chosen.points.isEmpty }, chosen.output)
    }
  }

  /// A line of what is shown.
  struct Row: Encodable {
    var interface: String
    /// `netem`, `tbf`, or nil when nothing is impaired.
    var kind: String?
    /// For people.
    var impairment: String?
    /// By the names that plans use; durations and rates in nanoseconds and bytes a second.
    var values: [String: StateValue]
    /// Whether the topology says so too.
    var declared: Bool
  }

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var impairments: [Row]
  }
}

extension LiveLab {
  /// What the topology says of a device.
  fileprivate func declared(_ point: LabPoints.Point) -> QdiscKind? {
    resolution.state[point.link.namespace]?.qdiscs.first { $0.link == point.link.name }?.kind
  }

  fileprivate func show(_ points: [LabPoints.Point], _ output: OutputOptions) async throws {
    let kinds = try await intervention.impairments(of: points.map(\.link))
    let rows = points.map { point in
      let kind = kinds[point.link]
      let attributes = kind.map { QdiscState(link: point.link.name, kind: $0).attributes } ?? []
      return Netem.Row(
        interface: point.name, kind: kind?.name, impairment: kind?.words,
        values: Dictionary(attributes.dropFirst().map { ($0.name.rawValue, $0.value) }) { first, _ in first },
        declared: intervention.isAsDeclared(point.link, kind))
    }
    try output.print(Netem.Document(lab: lab.name.text, impairments: rows)) {
      guard !rows.isEmpty else { return "nothing is impaired" }
      var table = Table("INTERFACE", "SENDS", "TOPOLOGY")
      for (row, point) in zip(rows, points) {
        table.add(
          row.interface, row.impairment ?? "-",
          row.declared ? "the same" : self.declared(point)?.words ?? "nothing")
      }
      return table.text
    }
  }
}
