// SPDX-License-Identifier: GPL-2.0-or-later

// What a test found: a verdict for each expectation, and all of a run together.

public import LabCore
public import NetTypes
public import TopologyModel

/// How an expectation stands.
public enum Verdict: String, Hashable, Codable, CaseIterable, Sendable {
  case pass, warning, inconclusive, fail
}

/// What came of one expectation.
public struct CheckResult: Sendable {
  public var check: Check
  public var verdict: Verdict
  /// What was seen, in one line.
  public var seen: String
  /// What else is known of it: other outcomes, a program's words.
  public var details: [String]
  /// The way of a packet like the one that it is about, sent when the expectation had failed.
  public var way: TraceStory?
  /// How often it was tried.
  public var attempts: Int
  /// On the lab's clock.
  public var duration: Interval
  /// Of an expectation that failed at first: the time from the change, or from the first try, until it held.
  public var recovered: Interval?
  /// What would tell more of a failure.
  var packet: TracedPacket?

  /// Whether it is to be explained.
  public var hasFailed: Bool { verdict == .fail || verdict == .warning }

  /// All that reports say below what was seen, a line each.
  var explanation: [String] {
    var lines = details
    if let way {
      lines.append("\(way.packet): \(way.end)")
      lines += way.steps.map { "  \($0)" }
      lines += way.untold.map { "  not told by this kernel: \($0)" }
    }
    return lines
  }
}

/// An expectation with its place in the file's order, and how reports call it.
public struct Check: Sendable {
  /// From 1.
  public var number: Int
  public var expectation: Topology.Expectation
  public var title: String

  public init(_ number: Int, _ expectation: Topology.Expectation) {
    self.number = number
    self.expectation = expectation
    title = expectation.name ?? expectation.claim.description
  }
}

/// One run on one lab.
public struct TestReport: Sendable {
  public var lab: LabName
  public var datapath: DatapathKind
  public var isVirtual: Bool
  public var seed: UInt64?
  /// In the file's order.
  public var results: [CheckResult]
  /// Where its packets were written to.
  public var packets: String?
  /// What should be known besides: a scenario that could not be undone.
  public var notes: [String] = []

  public func count(_ verdict: Verdict) -> Int { results.count { $0.verdict == verdict } }

  /// The exit code of `netforge test`.
  public var exitCode: Int32 {
    if results.isEmpty { return 2 }
    if count(.fail) > 0 { return 1 }
    if count(.inconclusive) > 0 { return 4 }
    return count(.warning) > 0 ? 3 : 0
  }
}

extension Topology.Expectation.Claim: CustomStringConvertible {
  /// As a sentence: `web1 reaches db on tcp 5432`.
  public var description: String {
    switch self {
    case .reaches(let flow, let within, let ttl):
      "\(flow.source) reaches \(flow.to)" + (within.map { " within \($0)" } ?? "")
        + (ttl.map { " with TTL \($0)" } ?? "")
    case .cannotReach(let flow, let cause):
      "\(flow.source) cannot reach \(flow.to)" + (cause.map { " (\($0.rawValue))" } ?? "")
    case .appears(let flow, let address): "\(flow.source) appears as \(address) to \(flow.to)"
    case .path(let flow, let hops):
      "\(flow.source) reaches \(flow.to) through \(hops.map(\.description).joined(separator: ", "))"
    case .spread(let flow, let nodes, let count):
      "\(count) connections from \(flow.source) to \(flow.target) are spread over \(nodes.map(\.text).joined(separator: ", "))"
    case .stays(let flow, let count):
      "\(count) requests on one connection from \(flow.source) to \(flow.target) are answered by one server"
    case .samePort(let flows, let port):
      "\(flows.map(\.source.text).joined(separator: ", ")) reach \(flows.first?.to ?? "") from one port, \(port)"
    case .pathMTU(let flow, let bytes): "the path MTU from \(flow.source) to \(flow.target) is \(bytes)"
    case .throughput(let flow, let bounds, _):
      "\(flow.source) sends \(bounds.text { Self.rate($0) }) to \(flow.target)"
    case .loss(let flow, let bounds, _):
      "\(bounds.text { Self.number($0) + " %" }) of the packets from \(flow.source) to \(flow.target) are lost"
    case .dropped(let flow, let node, let reason):
      "\(node) drops what \(flow.source) sends to \(flow.to)" + (reason.map { " (\($0))" } ?? "")
    case .route(let node, let address, let gateway, let device):
      "\(node) routes \(address)" + (gateway.map { " via \($0)" } ?? "") + (device.map { " on \($0)" } ?? "")
    case .neighbor(let node, let address, let mac, let device, let state):
      "\(node) has the neighbour \(address)" + (mac.map { " at \($0)" } ?? "")
        + (device.map { " on \($0)" } ?? "") + (state.map { " (\($0))" } ?? "")
    case .learned(let bridge, let device, let port):
      "\(bridge) has learned \(device.node):\(device.device)"
        + (device == port ? "" : " behind \(port.node):\(port.device)")
    case .counts(let node, let rule, let bounds):
      "rule '\(rule)' of \(node) counts \(bounds.text { Self.number($0) }) packets"
    case .runs(let node, let words, let code, _):
      "\(node) runs '\(words.joined(separator: " "))'" + (code == 0 ? "" : ", exit code \(code)")
    case .isolated(let groups, let probe):
      "groups are isolated"
        + (probe == .ping ? "" : " on \(probe)") + ": "
        + groups.map { $0.map(\.text).joined(separator: ", ") }.joined(separator: " | ")
    case .mesh(let nodes, let probe, let ttl):
      "\(nodes.map(\.text).joined(separator: ", ")) reach each other" + (probe == .ping ? "" : " on \(probe)")
        + (ttl.map { " with TTL \($0)" } ?? "")
    case .differences(0): "the lab is as its topology says"
    case .differences(let count): "the lab differs from its topology in \(count) step\(count == 1 ? "" : "s")"
    case .keeps(let nodes): "\(nodes.map(\.text).joined(separator: ", ")) are not made anew"
    case .cleanDown: "nothing is left when the lab is taken down"
    }
  }

  public static func rate(_ value: Double) -> String {
    let units = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")]
    let (unit, name) = units.first { value >= $0.0 } ?? (1, "bit/s")
    return "\(number(value / unit)) \(name)"
  }

  /// At most two digits behind the point.
  public static func number(_ value: Double) -> String {
    let rounded = (value * 100).rounded() / 100
    return rounded == rounded.rounded() && rounded.magnitude < 1e15 ? "\(Int64(rounded))" : "\(rounded)"
  }
}

extension Topology.Expectation.Flow {
  /// The target with what it is tried on.
  fileprivate var to: String { probe == .ping ? "\(target)" : "\(target) on \(probe)" }
}

extension Topology.Expectation.Target: CustomStringConvertible {
  public var description: String {
    switch self {
    case .node(let name): name.text
    case .device(let device): "\(device.node):\(device.device)"
    case .address(let address): "\(address)"
    }
  }
}

extension Topology.Expectation.Probe: CustomStringConvertible {
  public var description: String {
    switch self {
    case .ping: "ping"
    case .port(let transport, let port): "\(transport.rawValue) \(port)"
    case .http(let port, let question):
      "http \(port)" + (question.path == "/" ? "" : " \(question.path)")
        + (question.status.map { ", status \($0)" } ?? "") + (question.body.map { ", '\($0)'" } ?? "")
    }
  }
}

extension Topology.Expectation.Bounds {
  fileprivate func text(_ words: (Double) -> String) -> String {
    switch (minimum, maximum) {
    case (let low?, let high?): "\(words(low)) to \(words(high))"
    case (let low?, nil): "at least \(words(low))"
    case (nil, let high?): "at most \(words(high))"
    case (nil, nil): "any"
    }
  }
}
