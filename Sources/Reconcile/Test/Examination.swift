// SPDX-License-Identifier: GPL-2.0-or-later

// One expectation against a lab: what is seen becomes a verdict (docs/expectations.md, "Verdicts").

import Glibc
import LabCore
public import NetTypes
import TopologyModel

/// What an examination found.
struct Finding: Sendable {
  var verdict: Verdict
  var seen: String
  var details: [String] = []
  /// Of an expectation about several pairs: the first that is not as it should be.
  var flow: Topology.Expectation.Flow?

  init(_ verdict: Verdict, _ seen: String, details: [String] = []) {
    self.verdict = verdict
    self.seen = seen
    self.details = details
  }

  init(_ holds: Bool, _ seen: String) { self.init(holds ? .pass : .fail, seen) }

  static func inconclusive(_ error: DatapathError) -> Finding { Finding(.inconclusive, error.description) }
}

/// Tries expectations on one lab.
struct Examination: Sendable {
  typealias Claim = Topology.Expectation.Claim
  typealias Flow = Topology.Expectation.Flow

  let lab: LabUnderTest
  let prober: Prober
  let book: NodeAddresses
  /// How much longer than in a network without delays an answer may take.
  let slack: Interval
  /// Whether a failure is tried again: then one attempt need not be thorough.
  var isBrief = false

  init(_ lab: LabUnderTest) {
    self.lab = lab
    prober = Prober(lab.datapath, lab: lab.name)
    book = NodeAddresses(lab.resolution.state)
    slack = Self.slack(of: lab.topology)
  }

  /// Twice the delays of all links one after the other, at most half a minute.
  private static func slack(of topology: Topology) -> Interval {
    let delays = topology.nodes.flatMap(\.devices).compactMap(\.impairment).map {
      ($0.delay ?? .zero).nanoseconds + ($0.jitter ?? .zero).nanoseconds
    }
    return Interval(nanoseconds: min(2 * delays.reduce(0, +), 30_000_000_000))
  }

  var datapath: any Datapath { lab.datapath }

  func examine(_ claim: Claim) async -> Finding {
    switch claim {
    case .reaches(let flow, let within, let ttl): await reaches(flow, within, ttl)
    case .cannotReach(let flow, let cause): await cannotReach(flow, cause)
    case .appears(let flow, let address): await appears(flow, address)
    case .path(let flow, let hops): await path(flow, hops)
    case .spread(let flow, let nodes, let count): await spread(flow, nodes, count)
    case .stays(let flow, let count): await stays(flow, count)
    case .samePort(let flows, let port): await samePort(flows, port)
    case .pathMTU(let flow, let bytes): await pathMTU(flow, bytes)
    case .throughput(let flow, let bounds, let time): await throughput(flow, bounds, time)
    case .loss(let flow, let bounds, let count): await loss(flow, bounds, count)
    case .dropped(let flow, let node, let reason): await dropped(flow, node, reason)
    case .route(let node, let address, let gateway, let device): await route(node, address, gateway, device)
    case .neighbor(let node, let address, let mac, let device, let state):
      await neighbor(node, address, mac, device, state)
    case .learned(let bridge, let device, let port): await learned(bridge, device, port)
    case .counts(let node, let rule, let bounds): await counts(node, rule, bounds)
    case .runs(let node, let words, let code, let text): await runs(node, words, code, text)
    case .isolated(let groups, let probe): await isolated(groups, probe)
    case .mesh(let nodes, let probe, let ttl): await mesh(nodes, probe, ttl)
    case .differences(let count): await differences(count)
    case .keeps(let nodes): await keeps(nodes)
    case .cleanDown: Finding(.inconclusive, "the lab is not taken down")
    }
  }

  // MARK: Flows

  /// The probe of a flow; nil where the target has no address, which the file's check has seen to.
  func request(_ flow: Flow) -> ProbeRequest? {
    let (address, target): (IPAddress?, NodeName?)
    switch flow.target {
    case .node(let node): (address, target) = (book.address(of: node, from: flow.source), node)
    case .device(let device):
      (address, target) = (book.address(of: device.node, interface: device.device), device.node)
    case .address(let own): (address, target) = (own, book.owner(of: own))
    }
    guard let address else { return nil }
    let kind: ProbeRequest.Kind
    switch flow.probe {
    case .ping: kind = .echo
    case .port(.tcp, let port): kind = .connection(port)
    case .port(.udp, let port): kind = .datagram(port)
    case .http(let port, let question): kind = .http(port, path: question.path)
    }
    var request = ProbeRequest(source: flow.source, address: address, target: target, kind: kind)
    request.tries = tries
    if let device = flow.sourceDevice {
      request.sourceAddress = book.address(of: flow.source, interface: device, family: address.family)
    }
    return request
  }

  static let noAddress = Finding(.inconclusive, "the target has no address")

  /// How often an unanswered packet is sent: on virtual time, where waiting costs nothing, so often that a wire that loses
  /// some of them is no failure.
  var tries: Int { isBrief ? 1 : prober.clock.isVirtual ? 10 : 3 }

  /// How long to wait for an answer that is expected.
  func patience(for kind: ProbeRequest.Kind) -> Interval {
    guard !isBrief else { return .milliseconds(250) + slack }
    guard prober.clock.isVirtual else { return .seconds(2) + slack }
    // A connection's packets are sent again by the kernel, each time after twice as long.
    return switch kind {
    case .echo, .datagram: .seconds(10) + slack
    case .connection, .http: .seconds(120) + slack
    }
  }

  func answered(_ flow: Flow) async -> ProbeReport? {
    guard var request = request(flow) else { return nil }
    request.patience = patience(for: request.kind)
    return await prober.probe(request)
  }

  private func reaches(_ flow: Flow, _ within: Interval?, _ ttl: Int?) async -> Finding {
    guard let report = await answered(flow) else { return Self.noAddress }
    switch report.outcome {
    case .couldNotProbe: return Finding(.inconclusive, report.text)
    case .answered:
      if let within, let time = report.time, time > within {
        return Finding(.fail, "\(report.text); that is more than \(within)")
      }
      if let ttl, let hops = report.hopLimit, Int(hops) != ttl {
        return Finding(.fail, "\(report.text), with TTL \(hops) and not \(ttl)")
      }
      if case .http(_, let question) = flow.probe { return http(report, question) }
      return Finding(.pass, report.text)
    case .connected:
      // A program that holds the port need not speak first; the prober's own listener would have answered.
      if case .http = flow.probe { return Finding(.fail, report.text) }
      return Finding(report.arrivedFrom == nil || mayBeSilent(flow), report.text)
    case .noAnswer where report.arrivedFrom != nil && mayBeSilent(flow):
      return Finding(.pass, "it arrived, and who holds the port says nothing")
    case .rejected, .noAnswer, .noRoute, .notSent: return Finding(.fail, report.text)
    }
  }

  /// Whether who holds the port of a flow need not answer: a program, or a service that only takes.
  private func mayBeSilent(_ flow: Flow) -> Bool {
    guard case .port(_, let port) = flow.probe, let target = request(flow)?.target,
      let node = lab.resolution.runtime.nodes.first(where: { $0.node == target })
    else { return false }
    return !node.programs.isEmpty || node.services.contains { $0.port == port && $0.kind == .discard }
  }

  private func http(_ report: ProbeReport, _ question: Topology.Expectation.HTTPQuestion) -> Finding {
    guard let status = report.status else { return Finding(.fail, "\(report.text), but not over HTTP") }
    if let wanted = question.status, wanted != status {
      return Finding(.fail, "\(report.text) with status \(status) and not \(wanted)")
    }
    if let part = question.body, report.body?.contains(part) != true {
      return Finding(
        .fail, "\(report.text) with status \(status), but its body does not hold '\(part)'",
        details: ["body: \(report.body?.prefix(200) ?? "")"])
    }
    return Finding(.pass, "\(report.text) with status \(status)")
  }

  private func cannotReach(_ flow: Flow, _ cause: Topology.Expectation.Cause?) async -> Finding {
    guard let request = request(flow) else { return Self.noAddress }
    return Self.judgeSilence(await silence(request), cause)
  }

  /// A probe that is to get lost: shorter than one that is to be answered, and watched at both ends.
  func silence(_ request: ProbeRequest) async -> ProbeReport {
    var request = request
    request.patience = (prober.clock.isVirtual ? .seconds(3) : .milliseconds(400)) + slack
    return await prober.probe(request, watching: true)
  }

  static func judgeSilence(_ report: ProbeReport, _ cause: Topology.Expectation.Cause?) -> Finding {
    if let source = report.arrivedFrom {
      return Finding(.fail, "it arrived, coming from \(source); \(report.outcome)")
    }
    switch (report.outcome, cause) {
    case (.answered, _), (.connected, _): return Finding(.fail, report.text)
    case (.couldNotProbe, _): return Finding(.inconclusive, report.text)
    case (.noRoute, .noRoute), (.notSent, .filteredAtSource): return Finding(.pass, report.text)
    case (.noRoute, nil):
      return Finding(
        .inconclusive, "\(report.text), so nothing left; say `because: .noRoute` if that is meant")
    case (.notSent, nil):
      return Finding(
        .inconclusive, "\(report.text), so nothing left; say `because: .filteredAtSource` if that is meant")
    case (.rejected, .rejected): return Finding(.pass, report.text)
    case (_, _?): return Finding(.fail, "\(report.text); that is another cause")
    case (.rejected, nil), (.noAnswer, nil):
      guard report.isWatched else {
        return Finding(
          .inconclusive, "\(report.text), but nobody of the lab has the address and could have seen it")
      }
      guard report.hasLeft == true else {
        return Finding(
          .inconclusive, "\(report.text), but nothing was seen to leave \(report.request.source)")
      }
      return Finding(.pass, "it left and did not arrive: \(report.outcome)")
    }
  }

  private func appears(_ flow: Flow, _ address: IPAddress) async -> Finding {
    guard let report = await answered(flow) else { return Self.noAddress }
    if case .couldNotProbe = report.outcome { return Finding(.inconclusive, report.text) }
    guard let source = report.arrivedFrom else {
      return Finding(.fail, "it did not arrive: \(report.outcome)")
    }
    return Finding(
      source == address, "it arrived coming from \(source)" + (source == address ? "" : " and not \(address)")
    )
  }

  // MARK: Groups

  private func isolated(_ groups: [[NodeName]], _ probe: Topology.Expectation.Probe) async -> Finding {
    var pairs: [(NodeName, NodeName)] = []
    for (index, group) in groups.enumerated() {
      for other in groups[(index + 1)...] {
        for a in group { for b in other { pairs += [(a, b), (b, a)] } }
      }
    }
    return await all(pairs, probe, "are kept apart") { flow in
      guard let request = request(flow) else { return Self.noAddress }
      let report = await silence(request)
      // Groups may be apart because no way leads from one to the other.
      if case .noRoute = report.outcome { return Finding(.pass, report.text) }
      return Self.judgeSilence(report, nil)
    }
  }

  private func mesh(_ nodes: [NodeName], _ probe: Topology.Expectation.Probe, _ ttl: Int?) async -> Finding {
    let pairs = nodes.flatMap { a in nodes.filter { $0 != a }.map { (a, $0) } }
    return await all(pairs, probe, "answer") { await reaches($0, nil, ttl) }
  }

  private func all(
    _ pairs: [(NodeName, NodeName)], _ probe: Topology.Expectation.Probe, _ what: String,
    _ body: (Flow) async -> Finding
  ) async -> Finding {
    var bad: [(String, Finding)] = []
    for (a, b) in pairs {
      let flow = Flow(source: a, target: .node(b), probe: probe)
      var finding = await body(flow)
      finding.flow = flow
      if finding.verdict != .pass { bad.append(("\(a) to \(b)", finding)) }
    }
    guard let first = bad.first(where: { $0.1.verdict == .fail }) ?? bad.first else {
      return Finding(.pass, "all \(pairs.count) pairs \(what)")
    }
    var all = Finding(
      first.1.verdict,
      "\(pairs.count - bad.count) of \(pairs.count) pairs \(what); \(first.0): \(first.1.seen)",
      details: bad.map { "\($0.0): \($0.1.seen)" })
    all.flow = first.1.flow
    return all
  }
}

extension ProbeReport {
  /// The outcome with where the probe went, and how long it took.
  var text: String {
    "\(request.address): \(outcome)" + (time.map { $0 > .zero ? " after \($0.brief)" : " at once" } ?? "")
  }
}

extension Interval {
  /// With three digits or so, for people.
  public var brief: String {
    for (unit, name) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")] as [(Int64, String)]
    where nanoseconds.magnitude >= unit {
      return "\(Topology.Expectation.Claim.number(Double(nanoseconds) / Double(unit))) \(name)"
    }
    return "\(nanoseconds) ns"
  }
}
