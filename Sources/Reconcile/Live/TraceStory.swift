// SPDX-License-Identifier: GPL-2.0-or-later

// From what a kernel tells of a packet to its way as people read it. A node's part of the way is a visit: from the device
// that the packet came in by, or from the node that sends it, to the devices that it leaves by, or to its end. Kernels
// tell devices and rules apart from each other, so the steps of a visit are put into the order in which every kernel
// does them: the hooks before routing, routing, the hooks behind it.

import Capture
public import LabCore
public import NetTypes
public import Nftables
import TopologyModel

/// A packet's way.
public struct TraceStory: Sendable {
  /// One thing that happened to it.
  public struct Step: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable {
      case send, receive, transmit, bridge, route, neighbor, rule, policy, nat, drop, deliver
      /// It comes to stand in a device's ring, and NAPI takes it out. Only a kernel of our own tells.
      case ring, napi
      /// What came back, at a device.
      case answer
    }

    /// A node, a bridge, or `node:interface`.
    public var place: String
    public var kind: Kind
    public var text: String
    /// Since the packet was first seen at a device.
    public var after: Interval?
    /// The line of the topology that says so.
    public var location: SourceLocation?
    /// Of a rule: what it has written to registers, where a kernel tells.
    public var writes: [NftRegisterWrite] = []
    /// Of a route: the kernel chose it among several that are as good.
    var isOneOfSeveral = false
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

  public internal(set) var steps: [Step] = []
  public private(set) var verdict: Verdict
  /// What made it end there, in words: the rule with its line, the route that is missing, the neighbour that is silent.
  public internal(set) var cause: String?
  public internal(set) var answer: Answer?
  public let untold: [String]
  /// The packet as it was sent.
  public var packet: String { request.probe.words }

  /// Where a way must lead on, and it is not told why it does not.
  struct OpenEnd: Hashable, Sendable {
    var namespace: NamespaceID
    /// Where to.
    var address: IPAddress
    /// The packet came to its host, and what is missing is the way of its answer.
    var isAnswer: Bool
    /// It was too long for the way.
    var isTooLong = false
  }

  /// What the lab says of an open end.
  struct Missing: Sendable {
    var words: String
    /// The kernel's names of what a packet is dropped for then.
    var reasons: [String] = []
    /// The packet should perhaps not have come there.
    var isMisled = false
  }

  /// What is to be looked for in the lab.
  var openEnd: OpenEnd?
  /// Where it was delivered, and as what it came.
  var target: (namespace: NamespaceID, flow: PacketFlow)?

  let request: TraceRequest
  let report: TraceReport
  let resolution: Resolution
  let points: LabPoints
  let begin: UInt64
  /// Where it came by, in order.
  private(set) var nodes: [NodeName] = []
  /// Which routes of the topology it has followed, in order.
  private(set) var turns: [Turn] = []
  /// The last rule that has given it another destination.
  private(set) var translation: String?
  /// What an expectation has to say besides.
  var remark: String?
  /// The kernel's names of what it must have been dropped for, by what is missing where it ended.
  private(set) var impliedReasons: [String] = []
  /// Whether a rule or a policy dropped it.
  private(set) var isByRule = false
  /// What let it through last.
  var passage: String?
  /// Rules of visits that have not been told yet, the oldest first.
  private var rules: [NamespaceID: [[TraceReport.RuleStep]]] = [:]
  /// What is known of rings and has not been told yet, by point, the oldest first.
  private var rings: [Int: [TraceReport.Note]] = [:]

  /// `found`: what the lab says of an open end.
  init(
    _ request: TraceRequest, _ report: TraceReport, _ resolution: Resolution, _ points: LabPoints,
    found: Missing? = nil
  ) {
    self.request = request
    self.report = Self.upwards(report, request, resolution)
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
    for note in report.notes {
      switch note.kind {
      case .ring(let point, _, _), .polled(let point, _): rings[point, default: []].append(note)
      case .dropped, .answerDropped, .waitsForNeighbor: continue
      }
    }
    add(request.node.text, .send, request.probe.words)
    let visits = visits()
    nodes = visits.compactMap(\.namespace.node)
    for (index, visit) in visits.enumerated() { tell(visit, isLast: index == visits.count - 1) }
    tellAnswer()
    if let openEnd, let found {
      close(openEnd, found)
      impliedReasons = openEnd.isAnswer ? [] : found.reasons
    }
  }

  mutating func add(
    _ place: String, _ kind: Step.Kind, _ text: String, at time: UInt64? = nil,
    location: SourceLocation? = nil, writes: [NftRegisterWrite] = []
  ) {
    let after = time.map { Interval(nanoseconds: Int64(clamping: $0 - min($0, begin))) }
    steps.append(
      Step(place: place, kind: kind, text: text, after: after, location: location, writes: writes))
  }

  /// A packet has one time on its way up through the devices of a node, or down, and who listens at each tells it: from a
  /// port to its bridge, and from a bridge to its port.
  private static func upwards(
    _ report: TraceReport, _ request: TraceRequest, _ resolution: Resolution
  ) -> TraceReport {
    var report = report
    func isBridge(_ link: LinkReference) -> Bool {
      guard
        case .bridge? = resolution.state[link.namespace]?.links.first(where: { $0.name == link.name })?.kind
      else { return false }
      return true
    }
    for last in report.sightings.indices.dropFirst() {
      let (a, b) = (report.sightings[last - 1], report.sightings[last])
      let (first, second) = (request.points[a.point].link, request.points[b.point].link)
      guard a.time == b.time, a.direction == b.direction, first.namespace == second.namespace else {
        continue
      }
      if a.direction == .received
        ? isBridge(first) && !isBridge(second) : !isBridge(first) && isBridge(second)
      {
        report.sightings.swapAt(last - 1, last)
      }
    }
    return report
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
    for seen in visit.arrived {
      tellRing(of: seen)
      add(points.name(of: seen.link), .receive, seen.flow.words, at: seen.time)
    }
    guard visit.namespace != .switch else { return tellBridge(visit) }
    let place = visit.namespace.node?.text ?? "host"
    let met = takeRules(of: visit)
    let early = met.filter { ["ingress", "prerouting", "output"].contains($0.hook) }
    let before = visit.arrived.last?.flow ?? request.probe.flow
    let after = visit.departed.first?.flow
    tell(early, at: place)
    tellTranslation(from: before, to: after, isSource: false, at: place)
    if let after, after.to != before.to, let rule = early.last(where: { $0.rule != nil }) {
      translation = "\(place)'s \(words(of: rule))"
    }
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

  /// What is known of a device's ring, up to the turn that has taken the packet out of it.
  private mutating func tellRing(of seen: Seen) {
    let point = report.sightings[seen.index].point
    while let note = rings[point]?.first, note.time ?? 0 <= seen.time {
      rings[point]?.removeFirst()
      switch note.kind {
      case .ring(_, let fill, let size):
        add(points.name(of: seen.link), .ring, "\(fill) of \(size) in its receive ring", at: note.time)
      case .polled(_, let place):
        add(
          points.name(of: seen.link), .napi, "taken out as number \(place) of NAPI's turn", at: note.time)
        return
      case .dropped, .answerDropped, .waitsForNeighbor: continue
      }
    }
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
      let reason =
        reason(in: .switch) ?? report.drops.last { $0 != Self.elsewhere } ?? "no port to send it to"
      add(place, .drop, reason)
      verdict = .dropped(at: place, reason)
      if let seen = visit.arrived.last {
        let length = report.sightings[seen.index].bytes.count - Self.linkHeader
        cause = narrowness(of: seen.flow, length: length)
      }
    case 1: add(place, .bridge, "forwards to \(ports[0])")
    default: add(place, .bridge, "floods to \(ports.sorted().joined(separator: ", "))")
    }
    for seen in visit.departed { add(points.name(of: seen.link), .transmit, seen.flow.words, at: seen.time) }
    follow(visit)
  }

  /// What left a device and is not seen at the other end was lost between them.
  private mutating func follow(_ visit: Visit) {
    // Nobody looks for it on the host.
    guard let last = visit.departed.last, let peer = points.point(last.link)?.peer, peer.namespace != .host
    else { return }
    let arrived = report.sightings[last.index...].contains { sighting in
      sighting.direction == .received && request.points[sighting.point].link == peer
    }
    if !arrived, visit.departed.count == 1 {
      let why = reason(in: peer.namespace).map { ": \($0)" } ?? ""
      verdict = .dropped(
        at: points.name(of: last.link), "lost on its way to \(points.name(of: peer))\(why)")
    }
  }

  // MARK: Steps of a node

  private mutating func takeRules(of visit: Visit) -> [TraceReport.RuleStep] {
    guard rules[visit.namespace]?.isEmpty == false else { return [] }
    var taken = rules[visit.namespace]?.removeFirst() ?? []
    // A host's kernel counts a packet anew where its bridges have shown it to the rules of IP (br_netfilter).
    while let next = rules[visit.namespace]?.first, let first = next.first, let last = taken.last,
      Self.rank(first.hook) > Self.rank(last.hook)
    {
      taken += next
      rules[visit.namespace]?.removeFirst()
    }
    return taken
  }

  /// When on its way through a host a packet meets a hook.
  private static func rank(_ hook: String) -> Int {
    switch hook {
    case "ingress": 0
    case "prerouting": 1
    case "postrouting": 3
    case "egress": 4
    default: 2
    }
  }

  private mutating func tell(_ met: [TraceReport.RuleStep], at place: String) {
    for step in met {
      if step.hook == "forward" || step.hook == "input", step.verdict == .accept {
        passage = "\(place) lets it through by \(words(of: step))"
      }
      let chain = "\(step.hook), \(step.chain.table) \(step.chain.chain)"
      guard !step.isPolicy else {
        add(place, .policy, "\(chain): policy \(step.verdict)", location: location(of: step))
        continue
      }
      let text = step.text ?? "a rule that is gone"
      add(
        place, .rule, "\(chain): \(text) => \(step.verdict)", location: location(of: step),
        writes: step.writes)
    }
  }

  private func location(of step: TraceReport.RuleStep) -> SourceLocation? {
    let chain = [step.chain.table.description, step.chain.chain]
    let path =
      step.rule.map { StatePath(step.namespace, .nftRule, key: chain + [$0.key]) }
      ?? StatePath(step.namespace, .nftChain, key: chain)
    return resolution.sources.location(of: path)
  }

  /// What dropped the packet: `rule 'tcp dport 22 drop' of inet zones forward (firewall.swift:24)`.
  private func words(of step: TraceReport.RuleStep) -> String {
    let text = step.text.map { "rule '\($0)'" }
    let line = location(of: step).map { " (\($0))" } ?? ""
    return (step.isPolicy ? "the policy" : text ?? "a rule that is gone")
      + " of \(step.chain.table) \(step.chain.chain)\(line)"
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
    let leading = route(of: departed)
    if let table = leading.route?.table, table != RouteState.mainTable { text += " table \(table)" }
    add(place, .route, text, location: leading.path.flatMap { resolution.sources.location(of: $0) })
    steps[steps.count - 1].isOneOfSeveral = leading.route?.nextHops.count ?? 0 > 1
    if let node = departed.link.namespace.node, let words = leading.words {
      turns.append(Turn(node: node, words: "\(node)'s \(words)"))
    }
  }

  /// The topology's object that leads there: the longest of its routes by that device, or the address of its subnet.
  private func route(of departed: Seen) -> (path: StatePath?, route: RouteState?, words: String?) {
    let namespace = departed.link.namespace
    let subnets = resolution.state[namespace]?.addresses.filter {
      $0.link == departed.link.name && $0.prefix.contains(departed.flow.destination)
    }
    let found = resolution.route(to: departed.flow.destination, by: departed.link.name, in: namespace)
    if let subnet = subnets?.max(by: { $0.prefix.length < $1.prefix.length }),
      subnet.prefix.length > found?.route.destination.length ?? -1
    {
      return (StateObject.address(subnet).path(in: namespace), nil, nil)
    }
    return (found.map { StateObject.route($0.route).path(in: namespace) }, found?.route, found?.words)
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
    // Of reasons without a place, one for which a packet ends in its own host; its answer may have ended for another.
    let told =
      reason(in: visit.namespace)
      ?? report.drops.last { isOwn ? Self.ofInput.contains($0) : $0 != Self.elsewhere }
    // It has come to its host, which answers that nobody takes it; other kernels tell only the answer.
    if isOwn, told == "no_socket" {
      deliver(target, visit, at: place)
      return
    }
    let rule = met.last { $0.verdict == .drop }
    if let rule, told == nil || told == Self.byRules {
      cause = words(of: rule)
      isByRule = true
    }
    if !isOwn, let limit = visit.arrived.last?.flow.hopLimit, limit <= 1, rule == nil {
      cause = circle() ?? "its hop limit ends"
    }
    openEnd =
      cause == nil
      ? OpenEnd(
        namespace: visit.namespace, address: target.destination, isAnswer: false,
        isTooLong: told.map { Self.tooLong.contains($0) } ?? false) : nil
    if let reason = told ?? rule.map({ _ in "by the rule above" }) {
      add(place, .drop, reason)
      verdict = .dropped(at: place, reason)
      return
    }
    if isOwn || target.destination.isMulticast {
      openEnd = nil
      deliver(target, visit, at: place)
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

  /// The nodes between which it goes round, with the routes that lead it.
  private func circle() -> String? {
    guard let last = nodes.last, let first = nodes.dropLast().lastIndex(of: last) else { return nil }
    let way = nodes[first...].dropLast().map { turn(at: $0) ?? $0.text }.joined(separator: ", ")
    return "it goes round until its hop limit ends: \(way)"
  }

  private mutating func deliver(_ flow: PacketFlow, _ visit: Visit, at place: String) {
    add(place, .deliver, flow.to)
    verdict = .delivered(to: place)
    target = (visit.namespace, flow)
  }

  /// Bytes of an Ethernet header.
  private static let linkHeader = 14

  // The kernel's names for what its rules drop, and for what a bridge has sent to a host that it is not for.
  static let byRules = "netfilter_drop"
  static let elsewhere = "otherhost"
  private static let ofInput = ["no_socket", "ip_rpfilter"]
  private static let tooLong = ["pkt_too_big", "nf_larger_than_mtu"]

  private func reason(in namespace: NamespaceID) -> String? {
    for note in report.notes.reversed() where note.namespace == namespace {
      if case .dropped(let reason) = note.kind, reason != Self.elsewhere { return reason }
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
