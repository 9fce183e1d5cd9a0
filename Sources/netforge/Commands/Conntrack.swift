// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import NetTypes
import TopologyModel

/// `netforge conntrack NODE`.
struct Conntrack: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "conntrack",
    abstract: "Show, delete or follow the connections that a node tracks.",
    discussion: """
      Prints what conntrack(8) prints. A node tracks connections once it has a rule that asks for them: NAT, or \
      `.established`. With --watch and -f json a document a line.
      """)

  @OptionGroup var selection: LabOptions

  @Argument(help: "The node.")
  var node: String

  @Flag(help: "Make the node forget the chosen connections.")
  var delete = false

  @Flag(help: "With --delete and no choice: forget all of them.")
  var all = false

  @Flag(help: "Follow what becomes of connections, until interrupted.")
  var watch = false

  @Option(name: [.customShort("p"), .customLong("proto")], help: "Of this protocol: tcp, udp, icmp, 47.")
  var proto: String?

  @Option(name: [.customShort("s"), .customLong("src")], help: "Begun by this address or prefix.")
  var source: String?

  @Option(name: [.customShort("d"), .customLong("dst")], help: "Begun towards this address or prefix.")
  var destination: String?

  @Option(name: .customLong("reply-src"), help: "Answered by this address or prefix.")
  var replySource: String?

  @Option(name: .customLong("reply-dst"), help: "Answered to this address or prefix.")
  var replyDestination: String?

  @Option(name: .customLong("sport"), help: "Begun from this port.")
  var sourcePort: UInt16?

  @Option(name: .customLong("dport"), help: "Begun towards this port.")
  var destinationPort: UInt16?

  @Option(help: "TCP connections in this state: ESTABLISHED.")
  var state: String?

  @Option(help: "With this mark.")
  var mark: UInt32?

  @Option(help: "In this zone.")
  var zone: UInt16?

  @OptionGroup var output: OutputOptions

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var node: String
    /// Whether they are forgotten now.
    var deleted: Bool
    var connections: [ConnectionReport]
  }

  struct EventDocument: Encodable {
    var schemaVersion = 1
    var kind: String
    var connection: ConnectionReport?
  }

  func validate() throws {
    guard !(delete && watch) else { throw ValidationError("--delete and --watch exclude each other") }
    guard !all || delete else { throw ValidationError("--all is for --delete") }
    let filter = try filter()
    guard !delete || all || filter != ConnectionFilter() else {
      throw ValidationError("--delete wants a choice of connections, or --all")
    }
  }

  func run() async throws {
    let (lab, name) = try await selection.node(node)
    let filter = try filter()
    if watch { return try await follow(lab, name, filter) }
    let question: Inspection = delete ? .forget(filter) : .connections(filter)
    let answer = try await lab.datapath.inspect(question, in: .node(name), of: lab.name)
    guard case .connections(let connections) = answer else { throw Failure.unexpectedAnswer }
    let document = Document(
      lab: lab.name.text, node: name.text, deleted: delete, connections: connections)
    try output.print(document) {
      guard !connections.isEmpty else {
        return filter == ConnectionFilter()
          ? "node '\(name)' tracks no connections" : "node '\(name)' tracks no such connection"
      }
      return connections.map(\.text).joined(separator: "\n")
    }
  }

  private func follow(_ lab: RunningLab, _ name: NodeName, _ filter: ConnectionFilter) async throws {
    for await event in try await lab.datapath.connectionEvents(in: .node(name), of: lab.name) {
      // That some were lost concerns every choice.
      guard event.connection.map(filter.accepts) ?? true else { continue }
      switch output.format {
      case .table: Terminal.print(event.text)
      case .json:
        Terminal.print(
          try JSONText.line(of: EventDocument(kind: event.kind.rawValue, connection: event.connection)))
      }
    }
  }

  private func filter() throws -> ConnectionFilter {
    var filter = ConnectionFilter()
    if let proto {
      guard let number = ConnectionReport.protocolNumber(proto) else {
        throw ValidationError("'\(proto)' is no protocol that is known here; its number will do")
      }
      filter.protocolNumber = number
    }
    filter.source = try Self.prefix(source)
    filter.destination = try Self.prefix(destination)
    filter.replySource = try Self.prefix(replySource)
    filter.replyDestination = try Self.prefix(replyDestination)
    filter.sourcePort = sourcePort
    filter.destinationPort = destinationPort
    filter.state = state?.uppercased()
    filter.mark = mark
    filter.zone = zone
    return filter
  }

  private static func prefix(_ text: String?) throws -> IPPrefix? {
    guard let text else { return nil }
    if let address = IPAddress(text) { return IPPrefix(host: address) }
    guard let prefix = IPPrefix(text) else { throw ValidationError("'\(text)' is no address or prefix") }
    return prefix
  }
}
