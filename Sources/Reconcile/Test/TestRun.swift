// SPDX-License-Identifier: GPL-2.0-or-later

// One run of a topology's expectations on a lab that is up: those of the lab as it came up, each scenario's, and what the
// timeline has. Only what fails is tried again.

import LabCore
import NetTypes
public import TopologyModel

/// Which expectations are to be tried.
public struct TestSelection: Sendable {
  /// Words of which a name or a line must hold one; empty for all.
  public var only: [String]
  /// Tags of which one must be there; empty for all.
  public var tags: [String]

  public init(only: [String] = [], tags: [String] = []) {
    self.only = only
    self.tags = tags
  }

  /// The chosen of a topology, numbered as they stand in the file.
  public func checks(of topology: Topology) -> [Check] {
    topology.expectations.enumerated().map { Check($0.offset + 1, $0.element) }.filter { check in
      let expectation = check.expectation
      let isNamed =
        only.isEmpty
        || only.contains { word in
          check.title.contains(word) || "\(expectation.location)".hasSuffix(":\(word)")
            || "\(check.number)" == word
            || expectation.scenario == word
        }
      return isNamed && (tags.isEmpty || tags.contains { expectation.tags.contains($0) })
    }
  }
}

/// Tries expectations on one lab.
public struct TestRun: Sendable {
  let lab: LabUnderTest
  let checks: [Check]
  /// Told of each result as it comes.
  public var progress: @Sendable (CheckResult) -> Void = { _ in }
  /// How many are tried at a time where time is the host's.
  private static let width = 8

  public init(_ lab: LabUnderTest, _ checks: [Check]) {
    self.lab = lab
    self.checks = checks
  }

  private var clock: any LabClock { lab.datapath.clock }

  public func run() async -> TestReport {
    var report = TestReport(
      lab: lab.name, datapath: lab.kind, isVirtual: clock.isVirtual, seed: lab.seed, results: [])
    let plain = checks.filter { $0.expectation.scenario == nil && $0.expectation.at == nil }
    // What nodes have learned and counted is asked for when everything that they can learn from has happened.
    report.results = await together(plain.filter { !$0.expectation.claim.isMemory })
    report.results += await together(plain.filter(\.expectation.claim.isMemory))
    for scenario in lab.topology.scenarios {
      let own = checks.filter { $0.expectation.scenario == scenario.name }
      if !own.isEmpty, !Task.isCancelled { await play(scenario, own, into: &report) }
    }
    let timed = checks.filter { $0.expectation.at != nil }
    if !timed.isEmpty, !Task.isCancelled { await playTimeline(timed, into: &report) }
    report.results.sort { $0.check.number < $1.check.number }
    return report
  }

  // MARK: Order

  /// Tries expectations that do not depend on each other: on virtual time one after the other, else several at a time,
  /// but a node takes part in one at a time.
  private func together(_ checks: [Check]) async -> [CheckResult] {
    let examination = Examination(lab)
    guard !clock.isVirtual else {
      var results: [CheckResult] = []
      for check in checks where !Task.isCancelled { results.append(await attempt(check, examination)) }
      return results
    }
    return await withTaskGroup(of: CheckResult.self) { group in
      var waiting = checks
      var busy: Set<NodeName> = []
      var running = 0
      var results: [CheckResult] = []
      while true {
        while running < Self.width, !Task.isCancelled,
          let index = waiting.firstIndex(where: {
            examination.nodes(of: $0.expectation.claim).isDisjoint(with: busy)
          })
        {
          let check = waiting.remove(at: index)
          busy.formUnion(examination.nodes(of: check.expectation.claim))
          running += 1
          group.addTask { await attempt(check, examination) }
        }
        guard let result = await group.next() else { return results }
        running -= 1
        busy.subtract(examination.nodes(of: result.check.expectation.claim))
        results.append(result)
      }
    }
  }

  /// Tries an expectation until it holds or its time is over.
  private func attempt(_ check: Check, _ thorough: Examination, since: Instant? = nil) async -> CheckResult {
    let begin = clock.now()
    var examination = thorough
    examination.isBrief = check.expectation.eventually != nil
    let deadline = (since ?? begin) + (check.expectation.eventually ?? .zero)
    var attempts = 0
    while true {
      attempts += 1
      let tried = clock.now()
      let finding = await examination.examine(check.expectation.claim)
      let isOver = finding.verdict == .pass || clock.now() >= deadline || Task.isCancelled
      guard isOver else {
        await clock.sleep(until: min(clock.now() + .milliseconds(20), deadline))
        continue
      }
      var verdict = finding.verdict
      if verdict == .fail, check.expectation.isWarning { verdict = .warning }
      var seen = finding.seen
      let hasRecovered =
        verdict == .pass && (attempts > 1 || since != nil && check.expectation.eventually != nil)
      let recovered = hasRecovered ? tried - (since ?? begin) : nil
      if let recovered { seen += "; held after \(recovered.brief)" }
      if verdict != .pass, attempts > 1 {
        seen += "; tried \(attempts) times in \((clock.now() - begin).brief)"
      }
      let result = CheckResult(
        check: check, verdict: verdict, seen: seen, details: finding.details, attempts: attempts,
        duration: clock.now() - begin, recovered: recovered)
      progress(result)
      return result
    }
  }

  // MARK: Changes

  private func play(_ scenario: Topology.Scenario, _ checks: [Check], into report: inout TestReport) async {
    do throws(DatapathError) {
      try await lab.perform(scenario.actions)
      let since = clock.now()
      let examination = Examination(lab)
      for check in checks where !Task.isCancelled {
        report.results.append(await attempt(check, examination, since: since))
      }
    } catch {
      report.results += unplayed(checks, error)
    }
    await undo("scenario '\(scenario.name)'", &report)
  }

  private func playTimeline(_ checks: [Check], into report: inout TestReport) async {
    let begin = clock.now()
    var events = lab.topology.events.sorted { $0.at < $1.at }[...]
    let examination = Examination(lab)
    var rest = checks.sorted {
      ($0.expectation.at ?? .zero, $0.number) < ($1.expectation.at ?? .zero, $1.number)
    }[...]
    while let check = rest.first, !Task.isCancelled {
      let time = check.expectation.at ?? .zero
      do throws(DatapathError) {
        while let event = events.first, event.at <= time {
          events = events.dropFirst()
          await clock.sleep(until: begin + event.at)
          try await lab.perform([event.action])
        }
      } catch {
        report.results += unplayed(Array(rest), error)
        break
      }
      await clock.sleep(until: begin + time)
      report.results.append(await attempt(check, examination))
      rest = rest.dropFirst()
    }
    await undo("the timeline", &report)
  }

  private func unplayed(_ checks: [Check], _ error: DatapathError) -> [CheckResult] {
    checks.map { check in
      let result = CheckResult(
        check: check, verdict: .inconclusive, seen: "the change before it failed: \(error)", details: [],
        attempts: 0,
        duration: .zero, recovered: nil)
      progress(result)
      return result
    }
  }

  private func undo(_ what: String, _ report: inout TestReport) async {
    do throws(DatapathError) { try await lab.settle() } catch {
      report.notes.append("\(what) could not be undone: \(error)")
    }
  }
}

extension Topology.Expectation.Claim {
  /// Whether it is about what the other expectations' packets leave behind.
  fileprivate var isMemory: Bool {
    switch self {
    case .neighbor, .learned, .counts: true
    default: false
    }
  }
}

extension Examination {
  /// The nodes whose counters and ports an expectation's probes need for themselves.
  func nodes(of claim: Claim) -> Set<NodeName> {
    switch claim {
    case .reaches(let flow, _, _), .cannotReach(let flow, _), .appears(let flow, _), .path(let flow, _),
      .spread(let flow, _, _), .pathMTU(let flow, _), .throughput(let flow, _, _), .loss(let flow, _, _):
      return nodes(of: flow)
    case .dropped(let flow, let node, _): return nodes(of: flow).union([node])
    case .route(let node, _, _, _), .neighbor(let node, _, _, _, _), .counts(let node, _, _),
      .runs(let node, _, _, _):
      return [node]
    case .learned(_, let device, let port): return [device.node, port.node]
    case .isolated(let groups, _): return Set(groups.flatMap { $0 })
    case .mesh(let nodes, _, _): return Set(nodes)
    }
  }

  private func nodes(of flow: Flow) -> Set<NodeName> {
    Set([flow.source, request(flow)?.target].compactMap { $0 })
  }
}
