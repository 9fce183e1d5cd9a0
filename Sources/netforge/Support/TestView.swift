// SPDX-License-Identifier: GPL-2.0-or-later

// A test's runs for people: a table, what to type to see a failure again, and what GitHub shows beside the lines.

import LabCore
import NetTypes
import Reconcile
import TopologyModel

struct TestView {
  var topology: Topology
  /// As the user named it.
  var file: String
  var variables: [String]
  /// What `--loss` said.
  var loss: Double?
  var elapsed: Interval
  /// Whether there is a run for each of many seeds, of which only the bad ones are shown.
  var isSweep: Bool

  // MARK: Table

  func text(of reports: [TestReport]) -> String {
    var lines: [String] = []
    for report in reports where !isSweep || report.exitCode != 0 {
      lines.append(heading(report))
      let width = report.results.map(\.check.title.count).max() ?? 0
      for result in report.results where !isSweep || result.verdict != .pass {
        let title = result.check.title
        let gap = String(repeating: " ", count: width - title.count + 2)
        lines.append("  \(Self.mark(result.verdict))  \(title)\(gap)\(result.seen)")
        guard result.verdict != .pass else { continue }
        lines += (["at \(result.check.expectation.location)"] + result.details.prefix(10)).map {
          "        \($0)"
        }
        lines += explanation(result)
      }
      if let packets = report.packets { lines.append("  packets: \(packets)") }
      lines += report.notes.map { "  note: \($0)" }
      if report.exitCode != 0 { lines.append("  again: \(command(report))") }
      lines.append("")
    }
    for difference in reports.differences {
      let verdicts = difference.verdicts.sorted { $0.key < $1.key }.map { "\($0.value) on \($0.key)" }
      lines.append("the datapaths differ: \(difference.name): \(verdicts.joined(separator: ", "))")
    }
    lines.append(summary(reports))
    return lines.joined(separator: "\n")
  }

  /// The way of a packet; of many runs only its end.
  private func explanation(_ result: CheckResult) -> [String] {
    guard let way = result.way else { return [] }
    let steps = isSweep ? [] : way.table().text.split(separator: "\n").map(String.init)
    return (["\(way.packet): \(way.end)"] + steps).map { "        \($0)" }
  }

  private func heading(_ report: TestReport) -> String {
    let time = report.isVirtual ? ", virtual time" : ""
    let seed = report.seed.map { ", seed \($0)" } ?? ""
    return "lab '\(topology.name)' on the \(report.datapath.rawValue) datapath\(time)\(seed)"
  }

  private func summary(_ reports: [TestReport]) -> String {
    let words: [(Verdict, String)] = [
      (.pass, "hold"), (.fail, "fail"), (.warning, "warn"), (.inconclusive, "inconclusive"),
    ]
    let total = reports.reduce(0) { $0 + $1.results.count }
    let parts = words.compactMap { verdict, word -> String? in
      let count = reports.reduce(0) { $0 + $1.count(verdict) }
      return count > 0 ? "\(count) \(word)" : nil
    }
    let runs = reports.count > 1 ? " in \(reports.count) runs" : ""
    let bad = reports.filter { $0.exitCode != 0 }.compactMap { $0.seed.map { "\($0)" } }
    let seeds =
      isSweep && !bad.isEmpty
      ? "; seeds that do not pass: \(bad.prefix(20).joined(separator: ", "))\(bad.count > 20 ? ", …" : "")"
      : ""
    return
      "\(total) expectation\(total == 1 ? "" : "s")\(runs): \(parts.joined(separator: ", ")) (\(elapsed.brief))\(seeds)"
  }

  private static func mark(_ verdict: Verdict) -> String {
    let (word, color) =
      switch verdict {
      case .pass: ("pass", 32)
      case .warning: ("warn", 33)
      case .inconclusive: ("????", 35)
      case .fail: ("FAIL", 31)
      }
    return Terminal.usesColor(on: 1) ? "\u{1b}[\(color)m\(word)\u{1b}[0m" : word
  }

  /// What to type to see a run again.
  private func command(_ report: TestReport) -> String {
    var words = ["netforge", "test", file, "--datapath", report.datapath.rawValue]
    if let seed = report.seed { words += ["--seed", "\(seed)"] }
    if report.datapath == .emulated, !report.isVirtual { words.append("--real-time") }
    if let loss { words += ["--loss", Topology.Expectation.Claim.number(loss)] }
    for variable in variables { words += ["--var", variable] }
    let bad = report.results.filter { $0.verdict != .pass }
    if bad.count == 1, let only = bad.first {
      words += ["--only", "\(only.check.expectation.location.line)"]
    }
    return words.map(Self.quoted).joined(separator: " ")
  }

  private static func quoted(_ word: String) -> String {
    let isPlain = word.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-_./:=,+@".contains($0)) }
    return isPlain && !word.isEmpty ? word : "'" + word.replacing("'", with: "'\\''") + "'"
  }

  // MARK: GitHub

  /// Marks the lines of what does not hold, where GitHub runs the test.
  func annotate(_ reports: [TestReport]) {
    guard Environment.variable("GITHUB_ACTIONS") == "true" else { return }
    for report in reports {
      for result in report.results where result.verdict != .pass {
        let location = result.check.expectation.location
        let seen = ([result.seen] + (result.way.map { [$0.end] } ?? [])).joined(separator: "\n")
        let level = result.verdict == .fail ? "error" : "warning"
        let place = "file=\(Self.property(location.file)),line=\(location.line)"
        let title = Self.property("\(result.check.title) (\(report.datapath.rawValue))")
        Terminal.print("::\(level) \(place),title=\(title)::\(Self.escaped(seen))")
      }
    }
  }

  private static func escaped(_ text: String) -> String {
    text.replacing("%", with: "%25").replacing("\r", with: "%0D").replacing("\n", with: "%0A")
  }

  private static func property(_ text: String) -> String {
    escaped(text).replacing(":", with: "%3A").replacing(",", with: "%2C")
  }
}
