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
  /// Called for each failure while the lab is as it was when it happened.
  public var onFailure: @Sendable (CheckResult) async -> Void = { _ in }
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
    // What nodes have learned and counted is asked for when everything that they can learn from has happened, and
    // the lab as a whole when nobody is at work in it.
    report.results = await together(plain.filter { $0.expectation.claim.turn == .first })
    report.results += await together(plain.filter { $0.expectation.claim.turn == .memory })
    for check in plain where check.expectation.claim.turn == .whole && !Task.isCancelled {
      report.results.append(await attempt(check, Examination(lab)))
    }
    await explain(&report.results)
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
      return CheckResult(
        check: check, verdict: verdict, seen: seen, details: finding.details, attempts: attempts,
        duration: clock.now() - begin, recovered: recovered,
        packet: verdict == .pass ? nil : examination.packet(of: check, finding))
    }
  }

  // MARK: Failures

  /// Sends a packet for each failure to see its way. One at a time, and when the others of the same state of the lab have
  /// been tried, since it is one packet more than they sent.
  private func explain(_ results: inout [CheckResult]) async {
    let tracer = PacketTracer(
      lab.datapath, lab: lab.name, lab.resolution, LabPoints(lab.topology, lab.resolution.state))
    for index in results.indices where results[index].hasFailed && !Task.isCancelled {
      if let packet = results[index].packet {
        do throws(DatapathError) {
          var way = try await tracer.story(of: packet)
          way.remark(on: results[index].check.expectation.claim)
          results[index].way = way
        } catch {
          results[index].details.append("its packet's way cannot be told: \(error)")
        }
      }
      await onFailure(results[index])
    }
  }

  // MARK: Changes

  /// The lab before a change, with who the nodes are of which an expectation says that they stay.
  private func recognizable(for checks: [Check]) async -> LabUnderTest {
    var known = lab
    for check in checks {
      guard case .keeps(let nodes) = check.expectation.claim else { continue }
      for node in nodes where known.origin[node] == nil {
        known.origin[node] = try? await lab.identity(of: node)
      }
    }
    return known
  }

  private func play(_ scenario: Topology.Scenario, _ checks: [Check], into report: inout TestReport) async {
    let known = await recognizable(for: checks)
    do throws(DatapathError) {
      try await lab.perform(scenario.actions)
      let since = clock.now()
      let examination = Examination(known)
      var results: [CheckResult] = []
      for check in checks where !Task.isCancelled {
        results.append(await attempt(check, examination, since: since))
      }
      await explain(&results)
      report.results += results
    } catch {
      report.results += unplayed(checks, error)
    }
    await undo("scenario '\(scenario.name)'", &report)
  }

  private func playTimeline(_ checks: [Check], into report: inout TestReport) async {
    let examination = Examination(await recognizable(for: checks))
    let begin = clock.now()
    var events = lab.topology.events.sorted { $0.at < $1.at }[...]
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
      var result = [await attempt(check, examination)]
      await explain(&result)
      report.results += result
      rest = rest.dropFirst()
    }
    await undo("the timeline", &report)
  }

  private func unplayed(_ checks: [Check], _ error: DatapathError) -> [CheckResult] {
    checks.map { check in
      CheckResult(
        check: check, verdict: .inconclusive, seen: "the change before it failed: \(error)", details: [],
        attempts: 0, duration: .zero, recovered: nil)
    }
  }

  private func undo(_ what: String, _ report: inout TestReport) async {
    do throws(DatapathError) { try await lab.settle() } catch {
      report.notes.append("\(what) could not be undone: \(error)")
    }
  }
}

extension Topology.Expectation.Claim {
  fileprivate enum Turn {
    case first
    /// It is about what the other expectations' packets leave behind.
    case memory
    /// It is about the lab as a whole.
    case whole
  }

  fileprivate var turn: Turn {
    switch self {
    case .neighbor, .learned, .counts: .memory
    case .differences, .keeps, .cleanDown: .whole
    default: .first
    }
  }
}

extension Examination {
  /// The nodes whose counters and ports an expectation's probes need for themselves.
  func nodes(of claim: Claim) -> Set<NodeName> {
    switch claim {
    case .reaches(let flow, _, _), .cannotReach(let flow, _), .appears(let flow, _), .path(let flow, _),
      .spread(let flow, _, _), .stays(let flow, _), .pathMTU(let flow, _), .throughput(let flow, _, _),
      .loss(let flow, _, _):
      return nodes(of: flow)
    case .samePort(let flows, _): return flows.reduce(into: []) { $0.formUnion(nodes(of: $1)) }
    case .dropped(let flow, let node, _): return nodes(of: flow).union([node])
    case .route(let node, _, _, _), .neighbor(let node, _, _, _, _), .counts(let node, _, _),
      .runs(let node, _, _, _):
      return [node]
    case .learned(_, let device, let port): return [device.node, port.node]
    case .isolated(let groups, _): return Set(groups.flatMap { $0 })
    case .mesh(let nodes, _, _): return Set(nodes)
    case .differences, .keeps, .cleanDown: return []
    }
  }

  private func nodes(of flow: Flow) -> Set<NodeName> {
    Set([flow.source, request(flow)?.target].compactMap { $0 })
  }

  /// A packet like those that an expectation is about; nil where it is about none.
  func packet(of check: Check, _ finding: Finding) -> TracedPacket? {
    let mark = StableHash.of("\(lab.seed ?? 0)/\(lab.topology.name)/\(check.number)/packet") | 1
    var packet: TracedPacket?
    switch check.expectation.claim {
    case .reaches(let flow, _, _), .cannotReach(let flow, _), .appears(let flow, _), .path(let flow, _),
      .spread(let flow, _, _), .stays(let flow, _), .throughput(let flow, _, _), .loss(let flow, _, _),
      .dropped(let flow, _, _):
      packet = self.packet(of: flow, mark)
    case .samePort(let flows, let port):
      packet = (finding.flow ?? flows.first).flatMap { self.packet(of: $0, mark) }
      packet?.sourcePort = port
    case .pathMTU(let flow, let bytes):
      packet = self.packet(of: flow, mark)
      let headers = (packet?.address.family == .ipv6 ? 40 : 20) + EchoMessage.headerLength
      packet?.payloadLength = bytes - headers
    case .route(let node, let address, _, _): packet = TracedPacket(from: node, to: address, mark: mark)
    case .isolated, .mesh: packet = finding.flow.flatMap { self.packet(of: $0, mark) }
    case .neighbor, .learned, .counts, .runs, .differences, .keeps, .cleanDown: break
    }
    packet?.wait = (prober.clock.isVirtual ? .seconds(3) : .milliseconds(500)) + slack
    return packet
  }

  func packet(of flow: Flow, _ mark: UInt64) -> TracedPacket? {
    guard let request = request(flow) else { return nil }
    let kind: TracedPacket.Kind =
      switch request.kind {
      case .echo: .echo
      case .datagram(let port): .datagram(port)
      case .connection(let port), .http(let port, _): .connection(port)
      }
    var packet = TracedPacket(from: request.source, to: request.address, kind, mark: mark)
    packet.source = request.sourceAddress
    return packet
  }
}
