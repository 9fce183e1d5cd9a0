// SPDX-License-Identifier: GPL-2.0-or-later

// A test's runs as one page: complete in itself, without a script, for people and for an archive.

public import LabCore
import NetTypes
import TopologyModel

public struct HTMLReport: Sendable {
  /// How the topology is shown.
  public enum Drawing: Sendable {
    case svg(String)
    /// Its source, where nothing could draw it.
    case text(String)
  }

  private let topology: LabName
  private let reports: [TestReport]
  private let drawing: Drawing

  public init(_ topology: LabName, _ reports: [TestReport], _ drawing: Drawing) {
    self.topology = topology
    self.reports = reports
    self.drawing = drawing
  }

  public var page: String {
    var lines = [
      "<!DOCTYPE html>", "<html lang=\"en\">", "<head>", "<meta charset=\"utf-8\">",
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
      "<title>\(Self.escaped("\(topology): \(summary(reports.flatMap(\.results)))"))</title>",
      "<style>\n\(Self.style)\n</style>", "</head>", "<body>",
      "<h1>\(Self.escaped(topology.text))</h1>",
      "<p class=\"summary\">\(Self.escaped(summary(reports.flatMap(\.results))))</p>",
    ]
    lines.append("<figure>")
    switch drawing {
    case .svg(let text): lines.append(Self.inlined(text))
    case .text(let text): lines.append("<pre>\(Self.escaped(text))</pre>")
    }
    lines.append("</figure>")
    let differences = reports.differences
    if !differences.isEmpty {
      lines.append("<h2>The datapaths differ</h2>\n<ul>")
      for difference in differences {
        let verdicts = difference.verdicts.sorted { $0.key < $1.key }.map { "\($0.value) on \($0.key)" }
        lines.append("<li>\(Self.escaped("\(difference.name): \(verdicts.joined(separator: ", "))"))</li>")
      }
      lines.append("</ul>")
    }
    for report in reports { lines += section(report) }
    lines += ["</body>", "</html>"]
    return lines.joined(separator: "\n") + "\n"
  }

  private func section(_ report: TestReport) -> [String] {
    var title = "\(report.datapath.rawValue)"
    if report.isVirtual { title += ", virtual time" }
    if let seed = report.seed { title += ", seed \(seed)" }
    var lines = [
      "<h2>\(Self.escaped(title))</h2>", "<div class=\"table\"><table>",
      "<thead><tr><th>Verdict</th><th>Expectation</th><th>Seen</th><th>Time</th></tr></thead>", "<tbody>",
    ]
    for result in report.results {
      let place = "\(result.check.expectation.location)"
      let scenario =
        result.check.expectation.scenario.map { "<br><small>while: \(Self.escaped($0))</small>" } ?? ""
      var seen = Self.escaped(result.seen)
      if !result.details.isEmpty {
        let list = result.details.map { "<li>\(Self.escaped($0))</li>" }.joined()
        seen +=
          "<details\(result.verdict == .pass ? "" : " open")><summary>details</summary><ul>\(list)</ul></details>"
      }
      if let way = result.way { seen += Self.told(way) }
      lines.append(
        "<tr class=\"\(result.verdict.rawValue)\"><td>\(result.verdict.rawValue)</td><td>\(Self.escaped(result.check.title))<br><small>\(Self.escaped(place))</small>\(scenario)</td><td>\(seen)</td><td>\(Self.escaped(result.duration.brief))</td></tr>"
      )
    }
    lines += ["</tbody>", "</table></div>"]
    if let packets = report.packets {
      lines.append("<p>Packets: <a href=\"\(Self.escaped(packets))\">\(Self.escaped(packets))</a></p>")
    }
    lines += report.notes.map { "<p class=\"note\">\(Self.escaped($0))</p>" }
    return lines
  }

  /// A packet's way: its end at once, the steps below.
  private static func told(_ way: TraceStory) -> String {
    let rows = way.steps.map { step in
      let line = step.location.map { " <small>\(escaped("\($0)"))</small>" } ?? ""
      return
        "<tr><td>\(escaped(step.after?.brief ?? ""))</td><td>\(escaped(step.place))</td><td>\(step.kind.rawValue)</td><td>\(escaped(step.text))\(line)</td></tr>"
    }
    let untold = way.untold.map { "<p><small>Not told by this kernel: \(escaped($0))</small></p>" }
    return
      "<p class=\"end\">\(escaped(way.end))</p><details open><summary>the way of \(escaped(way.packet))</summary><div class=\"way\"><table><tbody>\(rows.joined())</tbody></table></div>\(untold.joined())</details>"
  }

  private func summary(_ results: [CheckResult]) -> String {
    let parts = Verdict.allCases.compactMap { verdict -> String? in
      let count = results.count { $0.verdict == verdict }
      return count > 0 ? "\(count) \(verdict.rawValue)" : nil
    }
    return parts.isEmpty ? "nothing to test" : parts.joined(separator: ", ")
  }

  /// The drawing without what belongs before a document of its own.
  private static func inlined(_ svg: String) -> String {
    svg.firstRange(of: "<svg").map { String(svg[$0.lowerBound...]) } ?? svg
  }

  private static func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
      .replacing("\"", with: "&quot;")
  }

  private static let style = """
    :root { color-scheme: light dark; --line: #8884; --pass: #1a7f37; --fail: #cf222e; --warn: #9a6700; --unclear: #8250df; }
    @media (prefers-color-scheme: dark) { :root { --pass: #3fb950; --fail: #f85149; --warn: #d29922; --unclear: #a371f7; } }
    body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 0 auto; padding: 1rem; }
    h1 { margin-bottom: 0; }
    .summary { margin-top: 0; opacity: .8; }
    figure { margin: 1rem 0; padding: .5rem; overflow-x: auto; background: #fff; border: 1px solid var(--line); border-radius: 6px; }
    figure svg { max-width: 100%; height: auto; }
    figure pre { color: #000; }
    table { border-collapse: collapse; }
    .table > table { width: 100%; table-layout: fixed; }
    .table > table > thead th:nth-child(1) { width: 6.5rem; }
    .table > table > thead th:nth-child(2) { width: 15rem; }
    .table > table > thead th:nth-child(4) { width: 5rem; }
    th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
    tr[class] > td:first-child { font-weight: 600; white-space: nowrap; }
    tr[class] > td:last-child { white-space: nowrap; }
    tr.pass > td:first-child { color: var(--pass); }
    tr.fail > td:first-child { color: var(--fail); }
    tr.warning > td:first-child { color: var(--warn); }
    tr.inconclusive > td:first-child { color: var(--unclear); }
    small { opacity: .7; }
    .end { margin: .4rem 0 0; font-weight: 600; }
    .way { overflow-x: auto; font-size: 13px; }
    .way td { padding: .1rem .8rem .1rem 0; white-space: nowrap; }
    .way td:last-child { white-space: normal; min-width: 18rem; }
    @media (max-width: 45rem) {
      figure svg { max-width: none; }
      .table > table, .table > table > tbody { display: block; }
      .table thead { display: none; }
      tr[class] { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
      tr[class] > td { display: block; padding: .1rem 0; border: 0; }
    }
    .note { border-left: 3px solid var(--warn); padding-left: .6rem; }
    """
}
