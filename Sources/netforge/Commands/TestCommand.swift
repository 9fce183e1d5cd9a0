// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import Glibc
import LabCore
import LabHost
import LabProcess
import NetTypes
import Reconcile
import TopologyModel

/// `netforge test`: brings a topology up by itself, tries what it says must hold, takes it away.
struct Test: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "test",
    abstract: "Bring a topology up, try its expectations, take it away.",
    discussion: """
      On the emulated datapath, where nothing is needed of the host, time is virtual: waiting costs nothing, and a seed \
      gives the same run again. On the host's kernel the lab has a name of its own and is always taken down.

      Exit codes: 0 all expectations hold, 1 one fails, 2 there is nothing to test, 3 there are warnings, 4 something \
      could not be tried.
      """)

  @OptionGroup var source: TopologyOptions

  @Option(
    help: ArgumentHelp(
      "emulated, kernel, rootless or auto; several to compare, separated by commas.", valueName: "a,b"))
  var datapath: String = Environment["DATAPATH"] ?? "emulated"

  @Option(help: "Of all that is left to chance.")
  var seed: UInt64?

  @Option(help: ArgumentHelp("A run for each of these seeds.", valueName: "first..last"))
  var seeds: String?

  @Option(name: .shortAndLong, help: "How many runs at a time; the processors of the host by itself.")
  var jobs: Int?

  @Flag(help: "The host's time on the emulated datapath, too.")
  var realTime = false

  @Flag(help: "List the expectations and try none.")
  var list = false

  @Option(
    help: "Only expectations with this in their name, or of this line, number or scenario; may be repeated.")
  var only: [String] = []

  @Option(help: "Only expectations with this tag; may be repeated.")
  var tag: [String] = []

  @Option(
    help: ArgumentHelp(
      "Lose so many per cent of what each interface sends that has no impairment of its own.",
      valueName: "5%"))
  var loss: PercentArgument?

  @Flag(help: "Leave the lab up; an emulated one then runs in the host's time.")
  var keep = false

  @Option(
    help: ArgumentHelp(
      "Write each run's packets: to this .pcapng file, or to a file for each run in this folder.",
      valueName: "file|folder"),
    completion: .file())
  var pcap: String?

  @Flag(help: "Open a shell in the node whose expectation fails first (kernel, rootless).")
  var shellOnFailure = false

  @OptionGroup var reports: ReportOptions
  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard seed == nil || seeds == nil else { throw ValidationError("--seed or --seeds, not both") }
    guard jobs.map({ (1...1024).contains($0) }) ?? true else {
      throw ValidationError("--jobs takes 1 to 1024")
    }
    guard pcap != "-" else {
      throw ValidationError("--pcap takes a file or a folder; a run's own table is on standard output")
    }
    _ = try allSeeds()
  }

  // MARK: What is asked for

  private func allSeeds() throws -> [UInt64?] {
    guard let seeds else { return [seed] }
    let ends = seeds.split(separator: ".", omittingEmptySubsequences: true).map { UInt64($0) }
    guard seeds.contains(".."), ends.count == 2, let first = ends[0], let last = ends[1], first <= last,
      last - first < 1_000_000
    else { throw ValidationError("--seeds takes two numbers, as in 1..1000") }
    return (first...last).map { $0 }
  }

  private func kinds() throws -> [DatapathKind] {
    let words = datapath.split(separator: ",").map(String.init)
    guard !words.isEmpty, Set(words).count == words.count else {
      throw Failure(.usage, "--datapath takes emulated, kernel, rootless or auto, each once")
    }
    return try words.map { word in
      guard let choice = DatapathChoice(rawValue: word) else {
        throw Failure(.usage, "--datapath: '\(word)' is none of emulated, kernel, rootless, auto")
      }
      guard choice != .rootless else {
        if let limitation = LabProcess.rootlessLimitation() {
          throw Failure(.unavailable, limitation.description)
        }
        return .rootless
      }
      return DatapathKind(rawValue: word) ?? RunningLab.firstKind
    }
  }

  // MARK: Running

  func run() async throws {
    let kinds = try kinds()
    let loaded = try await source.load()
    let checks = TestSelection(only: only, tags: tag).checks(of: loaded.topology)
    if list { return try printList(checks, loaded.topology) }
    guard !checks.isEmpty else {
      Terminal.say(
        loaded.topology.expectations.isEmpty
          ? "lab '\(loaded.topology.name)' expects nothing: there is nothing to test"
          : "none of the \(loaded.topology.expectations.count) expectations is meant: there is nothing to test"
      )
      throw ExitCode(2)
    }
    if shellOnFailure, kinds.contains(.emulated) {
      throw Failure(
        .unavailable, "--shell-on-failure: the emulated datapath runs no programs",
        "take --datapath kernel or rootless; --keep leaves the lab up for netforge's own verbs")
    }
    let seeds = try allSeeds()
    let jobs = kinds.flatMap { kind in seeds.map { Job(kind: kind, seed: $0) } }
    let plan = Plan(
      declarations: try Declarations(json: loaded.rendered), checks: checks, isRealTime: realTime,
      isKept: keep, loss: loss?.value, opensShell: shellOnFailure,
      packets: try pcap.map { try PacketFiles($0, lab: loaded.topology.name, runs: jobs.count) },
      host: keep ? nil : try await HostWatch(for: checks))
    let processors = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    // A terminal is one shell's at a time.
    let width = shellOnFailure ? 1 : self.jobs ?? processors
    let clock = MonotonicClock()
    let begin = clock.now()
    let work = Task { try await plan.run(jobs, width: width) }
    let watch = try Interruption.cancelling(work)
    defer { watch.cancel() }
    let reports = try await work.value
    guard !work.isCancelled else { throw Failure(.interrupted, "interrupted; nothing is left of the test") }
    let view = TestView(
      topology: loaded.topology, file: loaded.file ?? source.name ?? "-", variables: source.variables,
      loss: loss?.value, elapsed: clock.now() - begin, isSweep: self.seeds != nil)
    try output.print(TestDocument(topology: loaded.topology.name, reports)) { view.text(of: reports) }
    view.annotate(reports)
    try self.reports.write(reports, loaded.topology)
    if reports.exitCode != 0 { throw ExitCode(reports.exitCode) }
  }

  /// One run that is to be made.
  struct Job: Sendable {
    var kind: DatapathKind
    var seed: UInt64?
  }

  /// What all runs have in common.
  struct Plan: Sendable {
    var declarations: Declarations
    var checks: [Check]
    var isRealTime: Bool
    var isKept: Bool
    var loss: Double?
    var opensShell: Bool
    var packets: PacketFiles?
    /// Nil when nothing is expected of what is left.
    var host: HostWatch?

    /// Makes the runs, some at a time, and gives their reports in order. The first alone: what it finds that the
    /// datapath cannot do holds for all.
    func run(_ jobs: [Job], width: Int) async throws -> [TestReport] {
      try await withThrowingTaskGroup(of: (Int, TestReport).self) { group in
        var reports: [(Int, TestReport)] = []
        for (index, job) in jobs.enumerated() {
          let isFirst = index == 0 || job.kind != jobs[index - 1].kind
          while isFirst || index - reports.count >= width, let done = try await group.next() {
            reports.append(done)
          }
          if Task.isCancelled { break }
          group.addTask { (index, try await report(of: job, isRehearsed: !isFirst)) }
        }
        while let done = try await group.next() { reports.append(done) }
        return reports.sorted { $0.0 < $1.0 }.map(\.1)
      }
    }

    private func report(of job: Job, isRehearsed: Bool) async throws -> TestReport {
      var bed = TestBed(job.kind, seed: job.seed)
      bed.isRealTime = isRealTime
      bed.isKept = isKept
      bed.isRehearsed = isRehearsed
      bed.loss = loss
      let path = packets?.path(of: job)
      var report = try await bed.run(declarations) { lab in await self.tried(lab, writing: path) }
      await host?.judge(&report)
      if isKept {
        report.notes.append("the lab is kept: `netforge down --name \(report.lab)` takes it away")
      }
      return report
    }

    private func tried(_ lab: LabUnderTest, writing path: String?) async -> TestReport {
      var run = TestRun(lab, checks)
      if opensShell {
        let shell = FailureShell(of: lab)
        run.onFailure = { result in await shell.open(for: result) }
      }
      guard let path else { return await run.run() }
      let recording: PacketRecording
      do throws(DatapathError) { recording = try await PacketRecording(of: lab, to: path) } catch {
        var report = await run.run()
        report.notes.append("packets were not written: \(error)")
        return report
      }
      var report = await run.run()
      do throws(DatapathError) {
        try await recording.end()
        report.packets = path
      } catch {
        report.notes.append("not all packets were written: \(error)")
      }
      return report
    }
  }

  // MARK: Listing

  struct Listing: Encodable {
    struct Entry: Encodable {
      var number: Int
      var name: String
      var file: String
      var line: Int
      var tags: [String]
      var level: String
      var scenario: String?
    }
    var schemaVersion = 1
    var topology: String
    var expectations: [Entry]
  }

  private func printList(_ checks: [Check], _ topology: Topology) throws {
    let entries = checks.map { check in
      Listing.Entry(
        number: check.number, name: check.title, file: check.expectation.location.file,
        line: check.expectation.location.line, tags: check.expectation.tags,
        level: check.expectation.isWarning ? "warning" : "error", scenario: check.expectation.scenario)
    }
    try output.print(Listing(topology: topology.name.text, expectations: entries)) {
      var table = Table("#", "EXPECTATION", "LINE", "TAGS", "SCENARIO")
      for entry in entries {
        table.add(
          "\(entry.number)", entry.name + (entry.level == "error" ? "" : " (warning)"),
          "\(entry.file):\(entry.line)", entry.tags.joined(separator: ","), entry.scenario ?? "")
      }
      return table.text
    }
    if checks.isEmpty { throw ExitCode(2) }
  }
}
