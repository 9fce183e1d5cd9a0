// SPDX-License-Identifier: GPL-2.0-or-later

// A test's runs as JUnit's XML, as CI systems read it: a suite a run, a case an expectation. No more than the schema of
// Jenkins's xUnit plugin (junit-10.xsd) knows, which others read too.

public import LabCore
import NetTypes
import TopologyModel

public struct JUnitReport: Sendable {
  private let topology: LabName
  private let reports: [TestReport]

  public init(topology: LabName, _ reports: [TestReport]) {
    self.topology = topology
    self.reports = reports
  }

  public var xml: String {
    let all = reports.flatMap(\.results)
    var lines = [#"<?xml version="1.0" encoding="UTF-8"?>"#]
    lines.append(
      "<testsuites name=\(quoted(topology.text)) tests=\"\(all.count)\" failures=\"\(all.count { $0.verdict == .fail })\" errors=\"\(all.count { $0.verdict == .inconclusive })\" time=\"\(seconds(all))\">"
    )
    for report in reports { lines += suite(report) }
    lines.append("</testsuites>")
    return lines.joined(separator: "\n") + "\n"
  }

  private func suite(_ report: TestReport) -> [String] {
    let name =
      "\(topology) \(report.datapath.rawValue)" + (report.seed.map { " seed \($0)" } ?? "")
    let results = report.results
    let file = results.first.map { " file=\(quoted($0.check.expectation.location.file))" } ?? ""
    var lines = [
      "  <testsuite name=\(quoted(name)) tests=\"\(results.count)\" failures=\"\(report.count(.fail))\" errors=\"\(report.count(.inconclusive))\" skipped=\"0\" time=\"\(seconds(results))\"\(file)>",
      "    <properties>",
      "      <property name=\"datapath\" value=\(quoted(report.datapath.rawValue))/>",
      "      <property name=\"virtualTime\" value=\"\(report.isVirtual)\"/>",
    ]
    if let packets = report.packets {
      lines.append("      <property name=\"packets\" value=\(quoted(packets))/>")
    }
    if let seed = report.seed { lines.append("      <property name=\"seed\" value=\"\(seed)\"/>") }
    lines.append("    </properties>")
    for result in results { lines += testCase(result, suite: name) }
    if !report.notes.isEmpty {
      lines.append("    <system-err>\(escaped(report.notes.joined(separator: "\n")))</system-err>")
    }
    lines.append("  </testsuite>")
    return lines
  }

  private func testCase(_ result: CheckResult, suite: String) -> [String] {
    let location = result.check.expectation.location
    let head =
      "    <testcase name=\(quoted(result.check.title)) classname=\(quoted(suite)) time=\"\(seconds([result]))\""
    let text = escaped(([result.seen, "at \(location)"] + result.explanation).joined(separator: "\n"))
    let body: String
    switch result.verdict {
    case .pass: return [head + "/>"]
    case .fail: body = "<failure message=\(quoted(result.seen))>\(text)</failure>"
    case .inconclusive: body = "<error message=\(quoted("inconclusive: " + result.seen))>\(text)</error>"
    case .warning: body = "<system-out>warning: \(text)</system-out>"
    }
    return [head + ">", "      " + body, "    </testcase>"]
  }

  private func seconds(_ results: [CheckResult]) -> String {
    let nanoseconds = results.reduce(0) { $0 + $1.duration.nanoseconds }
    let fraction = String(nanoseconds / 1_000_000 % 1000)
    return "\(nanoseconds / 1_000_000_000)." + String(repeating: "0", count: 3 - fraction.count) + fraction
  }

  private func quoted(_ text: String) -> String { "\"" + escaped(text) + "\"" }

  /// XML 1.0 has no way to say most control characters.
  private func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "\n": result += "&#10;"
      case "\t": result += "&#9;"
      default: result.unicodeScalars.append(scalar.value < 0x20 || scalar.value == 0x7f ? "\u{fffd}" : scalar)
      }
    }
    return result
  }
}
