// SPDX-License-Identifier: GPL-2.0-or-later

// A test's runs as the Test Anything Protocol, version 14: one stream, a point an expectation.

import LabCore
import NetTypes
import TopologyModel

public struct TAPReport: Sendable {
  private let reports: [TestReport]

  public init(_ reports: [TestReport]) { self.reports = reports }

  public var text: String {
    let results = reports.flatMap { report in report.results.map { (report, $0) } }
    var lines = ["TAP version 14", "1..\(results.count)"]
    for (index, (report, result)) in results.enumerated() {
      let mark = result.verdict == .pass || result.verdict == .warning ? "ok" : "not ok"
      let suffix =
        reports.count > 1 ? " (\(report.datapath.rawValue)\(report.seed.map { " seed \($0)" } ?? ""))" : ""
      lines.append("\(mark) \(index + 1) - \(Self.escaped(result.check.title + suffix))")
      guard result.verdict != .pass else { continue }
      lines.append("  ---")
      lines.append("  verdict: \(result.verdict.rawValue)")
      lines.append("  seen: \(Self.quoted(result.seen))")
      lines.append("  at: \(Self.quoted("\(result.check.expectation.location)"))")
      if !result.details.isEmpty {
        lines.append("  details:")
        lines += result.details.map { "    - \(Self.quoted($0))" }
      }
      if let way = result.way {
        lines.append("  packet: \(Self.quoted(way.packet))")
        lines.append("  end: \(Self.quoted(way.end))")
        lines.append("  way:")
        lines += way.steps.map { "    - \(Self.quoted("\($0)"))" }
      }
      lines.append("  ...")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// What would begin a directive or end a line.
  private static func escaped(_ text: String) -> String {
    text.replacing("\\", with: "\\\\").replacing("#", with: "\\#").replacing("\n", with: " ")
  }

  /// A YAML string in single quotes.
  private static func quoted(_ text: String) -> String {
    "'" + text.replacing("'", with: "''").replacing("\n", with: " ") + "'"
  }
}
