// SPDX-License-Identifier: GPL-2.0-or-later

// From what a kernel tells of a packet to its way as people read it. A node's part of the way is a visit: from the device
// that the packet came in by, or from the node that sends it, to the devices that it leaves by, or to its end. Kernels
// tell devices and rules apart from each other, so the steps of a visit are put into the order in which every kernel
// does them: the hooks before routing, routing, the hooks behind it.

import Capture
public import LabCore
public import NetTypes
import Nftables
import TopologyModel

/// A packet's way.
public struct TraceStory: Sendable {
  /// One thing that happened to it.
  public struct Step: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable {
      case send, receive, transmit, bridge, route, neighbor, rule, policy, nat, drop, deliver
    }

    /// A node, a bridge, or `node:interface`.
    public var place: String
    public var kind: Kind
    public var text: String
    /// Since the packet was first seen at a device.
    public var after: Interval?
    /// The line of the topology that says so.
    public var location: SourceLocation?
  }

  public enum Verdict: Hashable, Sendable {
    case delivered(to: String)
    /// Where, and the kernel's reason, or what was seen.
    case dropped(at: String, String)
  }

  /// What came back.
  public struct Answer: Hashable, Sendable {
    /// `SYN,ACK`, `echo reply`, `port unreachable`.
    public var kind: String
    public var from: String
    public var after: Interval
  }

  public private(set) var steps: [Step] = []
  public private(set) var verdict: Verdict
  public private(set) var answer: Answer?
  public let untold: [String]

  private let request: TraceRequest
  private let report: TraceReport
  private let resolution: Resolution
  private let points: LabPoints
  private let begin: UInt64
  /// Rules of visits that have not been told yet, the oldest first.
  private var rules: [NamespaceID: [[TraceReport.RuleStep]]] = [:]

  public init(
    _ request: TraceRequest, _ report: TraceReport, _ resolution: Resolution, _ points: LabPoints
  ) {
    self.request = request
    self.report = report
    self.resolution = resolution
    self.points = points
    untold = report.untold
    begin = report.sightings.first?.time ?? 0
    verdict = .dropped(at: request.node.text, "it did not leave")
    for step in report.rules {
      if let index = rules[step.namespace]?.indices.last,
        rules[step.namespace]?[index].last?.visit == step.visit
      {
        rules[step.namespace]?[index].append(step)
      } else {
        rules[step.namespace, default: []].append([step])
      }
    }
    add(request.node.text, .send, request.probe.words)
    let visits = visits()
    for (index, visit) in visits.enumerated() { tell(visit, isLast: index == visits.count - 1) }
    answer = findAnswer()
  }

  private mutating func add(
    _ place: String, _ kind: Step.Kind, _ text: String, at time: UInt64? = nil,
    location: SourceLocation? = nil
  ) {
    let after = time.map { Interval(nanoseconds: Int64(clamping: $0 - min($0, begin))) }
    steps.append(Step(place: place, kind: kind, text: text, after: after, location: location))
  }

  // MARK: Visits

  /// The packet at a device.
  private struct Seen {
    var index: Int
    var link: LinkReference
    var flow: PacketFlow
    var time: UInt64
  }

  /// Where the packet is for a while.
  private struct Visit {
    var namespace: NamespaceID
    /// As it came in, by a device and what stands on that; empty in the node that sends it.
    var arrived: [Seen] = []
    var departed: [Seen] = []
  }

  private func visits() -> [Visit] {
    var visits = [Visit(namespace: .node(request.node))]
    for (index, sighting) in report.sightings.enumerated() {
      let point = request.points[sighting.point]
      guard let flow = PacketFlow(sighting.bytes, point.linkType), request.probe.isCarried(by: flow) else {
        continue
      }
      let seen = Seen(index: index, link: point.link, flow: flow, time: sighting.time)
      let here = visits.lastIndex { $0.namespace == point.link.namespace }
      switch (sighting.direction, here) {
      case (.transmitted, let here?): visits[here].departed.append(seen)
      // Up through the devices of one node: a tunnel, a bridge, a VLAN.
      case (.received, let here?)
      where visits[here].departed.isEmpty && !visits[here].arrived.isEmpty
        && point.link.namespace != .switch && points.point(point.link)?.peer == nil:
        visits[here].arrived.append(seen)
      case (.received, _): visits.append(Visit(namespace: point.link.namespace, arrived: [seen]))
      case (.transmitted, nil): continue
      }
    }
    return visits
  }

  private mutating func tell(_ visit: Visit, isLast: Bool) {
    for seen in visit.arrived { add(points.name(of: seen.link), .receive, seen.flow.words, at: seen.time) }
    guard visit.namespace != .switch else { return tellBridge(visit) }
    let place = visit.namespace.node?.text ?? "host"
    let met = takeRules(of: visit)
    let early = met.filter { ["ingress", "prerouting", "output"].contains($0.hook) }
    let before = visit.arrived.last?.flow ?? request.probe.flow
    let after = visit.departed.first?.flow
    tell(early, at: place)
    tellTranslation(from: before, to: after, isSource: false, at: place)
    if let departed = visit.departed.first { tellRoute(departed, at: place) }
    tell(met.filter { step in !early.contains(step) }, at: place)
    tellTranslation(from: before, to: after, isSource: true, at: place)
    if report.notes.contains(where: { $0.namespace == visit.namespace && $0.kind == .waitsForNeighbor }) {
      add(place, .neighbor, "waits until its next hop has answered")
    }
    for seen in visit.departed { add(points.name(of: seen.link), .transmit, seen.flow.words, at: seen.time) }
    guard visit.departed.isEmpty else { return follow(visit) }
    // What a node sends to itself is seen only when it comes back by `lo`.
    if isLast || !visit.arrived.isEmpty { end(visit, met, at: place) }
  }

  private mutating func tellBridge(_ visit: Visit) {
    let bridge = visit.arrived.first.map {
      points.name(of: $0.link).split(separator: ":").first.map(String.init) ?? ""
    }
    let place = bridge ?? "switch"
    let ports = visit.departed.map {
      points.name(of: $0.link).split(separator: ":").last.map(String.init) ?? ""
    }
    switch ports.count {
    case 0:
      add(place, .drop, reason(in: .switch) ?? "no port to send it to")
      verdict = .dropped(at: place, reason(in: .switch) ?? "no port to send it to")
    case 1: add(place, .bridge, "forwards to \(ports[0])")
    default: add(place, .bridge, "floods to \(ports.sorted().joined(separator: ", "))")
    }
    for seen in visit.departed { add(points.name(of: seen.link), .transmit, seen.flow.words, at: seen.time) }
    follow(visit)
  }

  /// What left a device and is not seen at the other end was lost between them.
  private mutating func follow(_ visit: Visit) {
    guard let last = visit.departed.last, let peer = points.point(last.link)?.peer else { return }
    let arrived = report.sightings[last.index...].contains { sighting in
      sighting.direction == .received && request.points[sighting.point].link == peer
    }
    if !arrived, visit.departed.count == 1 {
      verdict = .dropped(at: points.name(of: last.link), "lost on its way to \(points.name(of: peer))")
    }
  }

  // MARK: Steps of a node

  private mutating func takeRules(of visit: Visit) -> [TraceReport.RuleStep] {
    guard rules[visit.namespace]?.isEmpty == false else { return [] }
    return rules[visit.namespace]?.removeFirst() ?? []
  }

  private mutating func tell(_ met: [TraceReport.RuleStep], at place: String) {
    for step in met {
      let chain = "\(step.hook), \(step.chain.table) \(step.chain.chain)"
      guard !step.isPolicy else {
        add(place, .policy, "\(chain): policy \(step.verdict)")
        continue
      }
      let text = step.rule.map { NftText.text($0, family: step.chain.table.family) } ?? "a rule that is gone"
      let path = step.rule.map { rule in
        StatePath(step.namespace, .nftRule, key: [step.chain.table.description, step.chain.chain, rule.key])
      }
      add(
        place, .rule, "\(chain): \(text) => \(step.verdict)",
        location: path.flatMap { resolution.sources.location(of: $0) })
    }
  }

  private mutating func tellTranslation(
    from before: PacketFlow, to after: PacketFlow?, isSource: Bool, at place: String
  ) {
    guard let after else { return }
    let (old, new) = isSource ? (before.from, after.from) : (before.to, after.to)
    if old != new { add(place, .nat, "\(isSource ? "source" : "destination") \(old) -> \(new)") }
  }

  private mutating func tellRoute(_ departed: Seen, at place: String) {
    let device = points.name(of: departed.link).split(separator: ":").last.map(String.init) ?? ""
    var text = "\(departed.flow.destination) dev \(device)"
    if let mac = departed.flow.nextHop, let owner = owner(of: mac) { text += " to \(owner)" }
    add(place, .route, text)
  }

  private func owner(of mac: MACAddress) -> String? {
    for space in resolution.state.namespaces {
      if let link = space.links.first(where: { $0.mac == mac }) {
        return points.name(of: LinkReference(space.id, link.name))
      }
    }
    return nil
  }

  /// A visit that nothing left: the packet ended there.
  private mutating func end(_ visit: Visit, _ met: [TraceReport.RuleStep], at place: String) {
    if let seen = visit.arrived.last, let mac = seen.flow.nextHop, mac.rawValue >> 40 & 1 == 0,
      let own = resolution.state[visit.namespace]?.links.first(where: { $0.name == seen.link.name })?.mac,
      own != mac
    {
      // A bridge has sent it to all; it is not this node's.
      return add(place, .drop, "for another host")
    }
    let target = visit.arrived.last?.flow ?? request.probe.flow
    let isOwn =
      resolution.state[visit.namespace]?.addresses.contains { $0.prefix.address == target.destination }
      ?? false
    let told = reason(in: visit.namespace)
    // It has come to its host, which answers that nobody takes it; other kernels tell only the answer.
    if isOwn, told == "no_socket" {
      add(place, .deliver, target.to)
      verdict = .delivered(to: place)
      return
    }
    if let reason = told
      ?? met.last(where: { $0.verdict == .drop }).map({ _ in "by the rule above" })
    {
      add(place, .drop, reason)
      verdict = .dropped(at: place, reason)
      return
    }
    if isOwn || target.destination.isMulticast {
      add(place, .deliver, target.to)
      verdict = .delivered(to: place)
    } else {
      let isWaiting = report.notes.contains {
        $0.namespace == visit.namespace && $0.kind == .waitsForNeighbor
      }
      let reason =
        isWaiting
        ? "its next hop has not answered"
        : visit.arrived.isEmpty ? "it did not leave" : "not for this node, and it goes no further"
      add(place, .drop, reason)
      verdict = .dropped(at: place, reason)
    }
  }

  private func reason(in namespace: NamespaceID) -> String? {
    for note in report.notes.reversed() where note.namespace == namespace {
      if case .dropped(let reason) = note.kind, reason != "otherhost" { return reason }
    }
    return nil
  }

  // MARK: The answer

  private func findAnswer() -> Answer? {
    for sighting in report.sightings {
      let point = request.points[sighting.point]
      guard point.link.namespace == .node(request.node), sighting.direction == .received,
        let flow = PacketFlow(sighting.bytes, point.linkType), let kind = request.probe.answer(in: flow)
      else { continue }
      return Answer(
        kind: kind, from: flow.from,
        after: Interval(nanoseconds: Int64(clamping: sighting.time - min(sighting.time, begin))))
    }
    return nil
  }
}

extension PacketFlow {
  /// As a device has it.
  fileprivate var words: String {
    "\(from) > \(to), ttl \(hopLimit)"
      + (tunnels > 0 ? ", in \(tunnels == 1 ? "a tunnel" : "\(tunnels) tunnels")" : "")
  }
}

extension TraceStory {
  /// What of two stories of one packet differs, a line each: `-` what only this one has, `+` what only the other.
  public func difference(from other: TraceStory) -> [String] {
    let (mine, theirs) = (comparable, other.comparable)
    return theirs.difference(from: mine).map { change in
      switch change {
      case .insert(_, let line, _): "+ \(line)"
      case .remove(_, let line, _): "- \(line)"
      }
    }
  }

  /// The steps that every kernel tells, without times; why a packet was dropped only some do.
  private var comparable: [String] {
    var lines = steps.filter { $0.kind != .neighbor }.map { step in
      step.kind == .drop ? "\(step.place) drop" : "\(step.place) \(step.kind.rawValue) \(step.text)"
    }
    if let answer { lines.append("answer \(answer.kind) from \(answer.from)") }
    return lines
  }
}
