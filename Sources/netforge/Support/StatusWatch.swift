// SPDX-License-Identifier: GPL-2.0-or-later

// `netforge status --watch`: what the interfaces of a lab carry at the moment, again and again.

import Glibc
import LabCore
import LabHost
import NetTypes
import TopologyModel

/// Rates of a lab's interfaces, from one look to the next.
struct StatusWatch {
  struct Rate: Encodable {
    var packetsPerSecond: Double
    var bitsPerSecond: Double
    /// Since the last look; what no ring took is among them.
    var dropped: UInt64
  }

  struct Row: Encodable {
    var node: String
    var interface: String
    var received: Rate
    var transmitted: Rate
  }

  /// One look.
  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    /// Since the watch began.
    var nanoseconds: Int64
    var interfaces: [Row]
  }

  let live: LiveLab
  let nodes: [Topology.Node]
  let interval: Interval
  let output: OutputFormat

  private typealias Counts = [String: StatisticsReport.Link]

  /// Looks until a signal comes.
  func run() async throws {
    let interruption = try Interruption()
    let clock = MonotonicClock()
    let begin = clock.now()
    var (last, time) = (try await counts(), begin)
    while await !interruption.sleep(interval) {
      let (counts, now) = (try await counts(), clock.now())
      let seconds = Double(max((now - time).nanoseconds, 1)) / 1e9
      let document = Document(
        lab: live.lab.name.text, nanoseconds: (now - begin).nanoseconds,
        interfaces: rows(from: last, to: counts, seconds))
      switch output {
      case .table:
        // On a terminal each look takes the place of the one before.
        Terminal.print(
          (Terminal.outputIsTerminal ? "\u{1b}[H\u{1b}[2J" : "") + Self.text(of: document, nodes.count))
      case .json: Terminal.print(try JSONText.line(of: document))
      }
      (last, time) = (counts, now)
    }
  }

  private func counts() async throws -> Counts {
    var counts: Counts = [:]
    for node in nodes {
      let answer = try await live.lab.datapath.inspect(.statistics, in: .node(node.name), of: live.lab.name)
      guard case .statistics(let report) = answer else { throw Failure.unexpectedAnswer }
      for link in report.links { counts["\(node.name)/\(link.name)"] = link }
    }
    return counts
  }

  private func rows(from old: Counts, to new: Counts, _ seconds: Double) -> [Row] {
    nodes.flatMap { node in
      new.keys.filter { $0.hasPrefix("\(node.name)/") && !$0.hasSuffix("/lo") }.sorted().compactMap {
        key -> Row? in
        guard let after = new[key] else { return nil }
        // One that was made anew counts from nothing.
        let before = old[key]
        return Row(
          node: node.name.text, interface: after.name,
          received: Self.rate(before?.received, after.received, seconds),
          transmitted: Self.rate(before?.transmitted, after.transmitted, seconds))
      }
    }
  }

  private static func rate(
    _ before: StatisticsReport.Direction?, _ after: StatisticsReport.Direction, _ seconds: Double
  ) -> Rate {
    let grown = { (count: (StatisticsReport.Direction) -> UInt64) -> UInt64 in
      let old = before.map(count) ?? 0
      return count(after) >= old ? count(after) - old : count(after)
    }
    return Rate(
      packetsPerSecond: Double(grown(\.packets)) / seconds,
      bitsPerSecond: Double(grown(\.bytes)) * 8 / seconds,
      dropped: grown { $0.dropped + $0.missed })
  }

  private static func text(of document: Document, _ nodes: Int) -> String {
    var table = Table(
      "NODE", "INTERFACE", "RX PACKETS/S", "RX BITS/S", "TX PACKETS/S", "TX BITS/S", "DROPPED")
    var node = ""
    for row in document.interfaces {
      table.add(
        row.node == node ? "" : row.node, row.interface, words(row.received.packetsPerSecond),
        words(row.received.bitsPerSecond), words(row.transmitted.packetsPerSecond),
        words(row.transmitted.bitsPerSecond), "\(row.received.dropped + row.transmitted.dropped)")
      node = row.node
    }
    let seconds = document.nanoseconds / 1_000_000_000
    return "lab \(document.lab) after \(seconds) s: \(nodes) nodes; Ctrl-C ends\n" + table.text
  }

  /// Three digits and a unit: `1.25M`.
  private static func words(_ value: Double) -> String {
    for (unit, name) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] where value >= unit {
      let hundredths = Int((value / unit * 100).rounded())
      let fraction = hundredths % 100
      let whole = "\(hundredths / 100)"
      guard whole.count < 3, fraction > 0 else { return whole + name }
      let digits = (fraction < 10 ? "0" : "") + "\(fraction)"
      return whole + "." + (whole.count == 2 ? String(digits.prefix(1)) : digits) + name
    }
    return "\(Int(value.rounded()))"
  }
}
