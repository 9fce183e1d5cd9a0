// SPDX-License-Identifier: GPL-2.0-or-later

// Expectations in a test's own code, and those of the topology's file.

import LabCore
import NetTypes
import Reconcile
import TopologyModel

/// How an expectation is tried.
public enum LabProbe: Sendable {
  case ping
  case tcp(Int)
  case udp(Int)
  case http(Int, path: String = "/", status: Int? = nil, body: String? = nil)
}

/// What came of an expectation.
public struct LabObservation: Sendable {
  public enum Verdict: String, Sendable { case pass, warning, inconclusive, fail }

  /// As reports call it.
  public var name: String
  public var verdict: Verdict
  /// What was seen.
  public var seen: String
  /// Of a failure about packets: where one like them ended, and why.
  public var end: String?
  /// Where it stands in the topology's file.
  public var file: String
  public var line: Int

  init(_ result: CheckResult) {
    name = result.check.title
    seen = result.seen
    end = result.way?.end
    file = result.check.expectation.location.file
    line = result.check.expectation.location.line
    verdict =
      switch result.verdict {
      case .pass: .pass
      case .warning: .warning
      case .inconclusive: .inconclusive
      case .fail: .fail
      }
  }
}

/// An expectation that does not hold, or could not be tried.
public struct ExpectationFailure: Error, CustomStringConvertible, Sendable {
  public let observation: LabObservation

  public var description: String {
    "\(observation.name): \(observation.verdict.rawValue): \(observation.seen)"
      + (observation.end.map { "; a packet like it was \($0)" } ?? "")
  }
}

extension Lab {
  /// Expects that packets get from one place to another and are answered.
  /// - Parameters:
  ///   - source: a node.
  ///   - target: a node, `node:interface` or an address.
  ///   - limit: how long the answer may take.
  ///   - patience: how long a failure is tried again.
  @discardableResult
  public func expect(
    _ source: String, reaches target: String, on probe: LabProbe = .ping, within limit: Duration? = nil,
    eventually patience: Duration? = nil
  ) async throws -> LabObservation {
    try await hold(
      .reaches(flow(source, target, probe), within: limit.map { Interval($0) }, ttl: nil), patience)
  }

  /// Expects that packets leave the source and do not arrive at the target.
  @discardableResult
  public func expect(
    _ source: String, cannotReach target: String, on probe: LabProbe = .ping,
    eventually patience: Duration? = nil
  ) async throws -> LabObservation {
    try await hold(.cannotReach(flow(source, target, probe), because: nil), patience)
  }

  /// Expects that the target sees the source's packets come from an address.
  @discardableResult
  public func expect(
    _ source: String, appearsTo target: String, as address: String, on probe: LabProbe = .ping,
    eventually patience: Duration? = nil
  ) async throws -> LabObservation {
    guard let address = IPAddress(address) else { throw LabError("'\(address)' is no address") }
    return try await hold(.appears(flow(source, target, probe), as: address), patience)
  }

  /// Tries the expectations of the topology's file, scenarios and all; but not what the file expects of the lab's end.
  /// - Parameters:
  ///   - only: words of which a name, a line or a scenario must hold one.
  ///   - tags: of which one must be there.
  public func tryExpectations(only: [String] = [], tags: [String] = []) async -> [LabObservation] {
    let checks = TestSelection(only: only, tags: tags).checks(of: lab.topology)
      .filter { $0.expectation.claim != .cleanDown }
    return await TestRun(lab, checks).run().results.map { LabObservation($0) }
  }

  private func flow(
    _ source: String, _ target: String, _ probe: LabProbe
  ) throws(LabError) -> Topology.Expectation.Flow {
    let node = try node(source)
    return Topology.Expectation.Flow(
      source: node, target: try self.target(target, from: node), probe: try Self.probe(probe))
  }

  private static func probe(_ probe: LabProbe) throws(LabError) -> Topology.Expectation.Probe {
    func port(_ number: Int) throws(LabError) -> Port {
      guard let port = Port(exactly: number), port > 0 else { throw LabError("\(number) is no port") }
      return port
    }
    switch probe {
    case .ping: return .ping
    case .tcp(let number): return .port(.tcp, try port(number))
    case .udp(let number): return .port(.udp, try port(number))
    case .http(let number, let path, let status, let body):
      return .http(
        try port(number), Topology.Expectation.HTTPQuestion(path: path, status: status, body: body))
    }
  }

  private func hold(
    _ claim: Topology.Expectation.Claim, _ patience: Duration?
  ) async throws -> LabObservation {
    let expectation = Topology.Expectation(
      claim: claim, eventually: patience.map { Interval($0) }, location: lab.topology.location)
    let report = await TestRun(lab, [Check(1, expectation)]).run()
    guard let result = report.results.first else { throw LabError("the task was cancelled") }
    let observation = LabObservation(result)
    guard observation.verdict == .pass else { throw ExpectationFailure(observation: observation) }
    return observation
  }
}
