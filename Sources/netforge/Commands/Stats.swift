// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import NetTypes
import TopologyModel

/// `netforge stats [NODE]`.
struct Stats: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stats",
    abstract:
      "Show what nodes have counted: devices, protocols, queues of listeners, drops by reason, polls.",
    discussion: """
      With a node all of its counters, without one a line a node. Of each TCP listener both queues are shown, and how many \
      handshakes they did not take; why is among the counters (TcpExtListenOverflows, TcpExtTCPReqQFull...). The emulated \
      kernel also tells why packets ended and where all of them are; the host's kernel does not.
      """)

  @OptionGroup var selection: LabOptions

  @Argument(help: "The node.")
  var node: String?

  @OptionGroup var output: OutputOptions

  struct Node: Encodable {
    var name: String
    var links: [StatisticsReport.Link]
    var listeners: [ListenReport]
    var counters: [StatisticsReport.Counter]
    var drops: [StatisticsReport.Counter]?
  }

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var nodes: [Node]
    /// Of the whole kernel, a list a CPU.
    var softnet: [[StatisticsReport.Counter]]
    /// Of the whole kernel; nil where it does not tell.
    var accounting: StatisticsReport.Accounting?
  }

  func run() async throws {
    let folder = try await selection.folder()
    let topology = try folder.recordedTopology().topology
    let chosen = try node.map { [try topology.node(named: $0)] } ?? topology.nodes
    let lab = try await RunningLab.open(folder)
    var document = Document(lab: lab.name.text, nodes: [], softnet: [])
    for node in chosen {
      let answer = try await lab.datapath.inspect(.statistics, in: .node(node.name), of: lab.name)
      guard case .statistics(let report) = answer,
        case .sockets(let sockets) = try await lab.datapath.inspect(
          .sockets, in: .node(node.name), of: lab.name)
      else { throw Failure.unexpectedAnswer }
      document.nodes.append(
        Node(
          name: node.name.text, links: report.links, listeners: ListenReport.listeners(among: sockets),
          counters: report.counters, drops: report.drops))
      document.softnet = report.softnet
      document.accounting = report.accounting
    }
    let isAlone = node != nil
    let complete = document
    try output.print(complete) { Self.text(of: complete, isAlone: isAlone) }
  }

  private static func text(of document: Document, isAlone: Bool) -> String {
    var lines: [String] = []
    if isAlone, let node = document.nodes.first {
      lines.append(links(of: node))
      if !node.listeners.isEmpty { lines.append(listeners(of: node)) }
      if !node.counters.isEmpty { lines.append("counters: " + words(node.counters)) }
      if let drops = node.drops { lines.append("ends: " + (drops.isEmpty ? "none" : words(drops))) }
      for link in node.links where !link.driver.isEmpty {
        lines.append("driver of \(link.name): " + words(link.driver))
      }
    } else {
      var table = Table("NODE", "RX PACKETS", "RX DROPPED", "TX PACKETS", "TX DROPPED", "FORWARDED", "DROPS")
      for node in document.nodes {
        let others = node.links.filter { $0.name != "lo" }
        let sum = { (value: (StatisticsReport.Link) -> UInt64) in "\(others.map(value).reduce(0, +))" }
        let forwarded = node.counters.first { $0.name == "IpForwDatagrams" }?.value ?? 0
        let drops = node.drops.map { drops in
          "\(drops.filter { $0.name != "consumed" }.map(\.value).reduce(0, +))"
        }
        table.add(
          node.name, sum(\.received.packets), sum { $0.received.dropped + $0.received.missed },
          sum(\.transmitted.packets), sum(\.transmitted.dropped), "\(forwarded)", drops ?? "-")
      }
      lines.append(table.text)
    }
    for (number, cpu) in document.softnet.enumerated() { lines.append("cpu \(number): " + words(cpu)) }
    if let accounting = document.accounting {
      lines.append(
        "packets: \(accounting.allocated) begun, \(accounting.freed) ended, \(accounting.held) held"
          + (accounting.isClosed ? "" : "; THE ACCOUNT IS NOT CLOSED"))
    }
    return lines.joined(separator: "\n")
  }

  private static func links(of node: Node) -> String {
    var table = Table("INTERFACE", "", "PACKETS", "BYTES", "ERRORS", "DROPPED", "MISSED", "MULTICAST")
    for link in node.links {
      for (way, counted) in [("rx", link.received), ("tx", link.transmitted)] {
        table.add(
          way == "rx" ? link.name : "", way, "\(counted.packets)", "\(counted.bytes)", "\(counted.errors)",
          "\(counted.dropped)", way == "rx" ? "\(counted.missed)" : "-",
          way == "rx" ? "\(counted.multicast)" : "-")
      }
    }
    return table.text
  }

  private static func listeners(of node: Node) -> String {
    var table = Table("LISTENER", "SYN QUEUE", "ACCEPT QUEUE", "OF", "DROPPED")
    for listener in node.listeners {
      table.add(
        listener.local.text(isV6Only: listener.isV6Only), "\(listener.synQueue)", "\(listener.acceptQueue)",
        "\(listener.backlog)", listener.drops.map(String.init) ?? "-")
    }
    return table.text
  }

  private static func words(_ counters: [StatisticsReport.Counter]) -> String {
    counters.map { "\($0.name) \($0.value)" }.joined(separator: ", ")
  }
}
