// SPDX-License-Identifier: GPL-2.0-or-later

// A test's runs as one JSON document. `schemaVersion` counts its changes; a key is never given another meaning.

public import LabCore
import NetTypes
import TopologyModel

/// What `netforge test -f json` prints.
public struct TestDocument: Encodable, Sendable {
  public struct Run: Encodable, Sendable {
    public var lab: String
    public var datapath: String
    public var virtualTime: Bool
    public var seed: UInt64?
    public var exitCode: Int32
    public var counts: [String: Int]
    public var checks: [Result]
    /// A pcapng file.
    public var packets: String?
    public var notes: [String]
  }

  public struct Result: Encodable, Sendable {
    public var number: Int
    public var name: String
    public var verdict: String
    public var seen: String
    public var details: [String]
    /// Of a failure.
    public var way: TraceDocument?
    public var file: String
    public var line: Int
    public var scenario: String?
    public var tags: [String]
    public var attempts: Int
    public var durationNanoseconds: Int64
    public var recoveredAfterNanoseconds: Int64?
  }

  /// Of one expectation on several datapaths.
  public struct Difference: Encodable, Sendable {
    public var number: Int
    public var name: String
    /// By datapath.
    public var verdicts: [String: String]
  }

  public var schemaVersion = 1
  public var topology: String
  public var exitCode: Int32
  public var runs: [Run]
  public var differences: [Difference]

  public init(topology: LabName, _ reports: [TestReport]) {
    self.topology = topology.text
    exitCode = reports.exitCode
    differences = reports.differences
    runs = reports.map { report in
      Run(
        lab: report.lab.text, datapath: report.datapath.rawValue, virtualTime: report.isVirtual,
        seed: report.seed, exitCode: report.exitCode,
        counts: Dictionary(uniqueKeysWithValues: Verdict.allCases.map { ($0.rawValue, report.count($0)) }),
        checks: report.results.map(Result.init), packets: report.packets, notes: report.notes)
    }
  }
}

extension TestDocument.Result {
  fileprivate init(_ result: CheckResult) {
    let expectation = result.check.expectation
    self.init(
      number: result.check.number, name: result.check.title, verdict: result.verdict.rawValue,
      seen: result.seen,
      details: result.details, way: result.way.map { TraceDocument($0) }, file: expectation.location.file,
      line: expectation.location.line,
      scenario: expectation.scenario, tags: expectation.tags, attempts: result.attempts,
      durationNanoseconds: result.duration.nanoseconds,
      recoveredAfterNanoseconds: result.recovered?.nanoseconds)
  }
}

extension [TestReport] {
  /// Of several runs: what the worst of them has.
  public var exitCode: Int32 {
    for code: Int32 in [1, 4, 3] where contains(where: { $0.exitCode == code }) { return code }
    return contains { $0.exitCode == 0 } ? 0 : 2
  }

  /// The expectations that came out otherwise on another datapath, with the same seed.
  public var differences: [TestDocument.Difference] {
    var seen: [Int: (name: String, verdicts: [String: String])] = [:]
    for report in self where report.seed == first?.seed {
      for result in report.results {
        seen[result.check.number, default: (result.check.title, [:])].verdicts[report.datapath.rawValue] =
          result.verdict.rawValue
      }
    }
    return seen.filter { Set($0.value.verdicts.values).count > 1 }.sorted { $0.key < $1.key }.map {
      TestDocument.Difference(number: $0.key, name: $0.value.name, verdicts: $0.value.verdicts)
    }
  }
}
