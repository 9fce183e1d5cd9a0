// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import NetTypes
import Reconcile
import TopologyModel

/// `netforge traceroute FROM TO`.
struct Traceroute: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "traceroute",
    abstract: "Show the routers between a node and another, by echo requests with a growing hop limit.",
    discussion: "TO is a node, node:interface, or an address. Exit code 1 when it is not reached.")

  @OptionGroup var selection: LabOptions

  @Argument(help: "The node that sends.")
  var from: String

  @Argument(help: "A node, node:interface, or an address.")
  var to: String

  @Option(name: .shortAndLong, help: "The most hops to look at.")
  var maxHops: Int = 30

  @Option(name: [.customShort("q"), .long], help: "Requests a hop.")
  var queries: Int = 3

  @Option(help: ArgumentHelp("How long to wait for an answer.", valueName: "milliseconds"))
  var wait: Int = 1000

  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard (1...255).contains(maxHops) else { throw ValidationError("--max-hops takes 1 to 255") }
    guard (1...100).contains(queries) else { throw ValidationError("--queries takes 1 to 100") }
    guard (1...3_600_000).contains(wait) else {
      throw ValidationError("--wait takes 1 to 3600000 milliseconds")
    }
  }

  struct Answer: Encodable {
    var address: String
    /// `node:interface`, when it is one of the lab's.
    var name: String?
    var milliseconds: Double
    /// What was answered instead of an echo reply.
    var error: String?
  }

  struct Hop: Encodable {
    var hopLimit: Int
    /// Fewer than were asked for when some did not come.
    var answers: [Answer]
  }

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var from: String
    var to: String
    var address: String
    var reached = false
    var hops: [Hop] = []
  }

  func run() async throws {
    let folder = try await selection.folder()
    let (loaded, resolution) = try folder.recordedResolution()
    let lab = try await RunningLab.open(folder)
    let book = NodeAddresses(resolution.state)
    let source = try loaded.topology.node(named: from).name
    let address = try book.resolve(to, from: source, in: loaded.topology).address
    var document = Document(
      lab: lab.name.text, from: source.text, to: to, address: address.description)
    for limit in 1...maxHops {
      let hop = try await self.hop(UInt8(limit), from: source, to: address, in: lab, book)
      document.hops.append(hop)
      document.reached = hop.answers.contains { $0.error == nil }
      // Who says that it cannot be reached is the end as well.
      if hop.answers.contains(where: { $0.error != Self.onTheWay }) { break }
    }
    try output.print(document) { Self.text(of: document, queries: queries) }
    if !document.reached { throw ExitCode(1) }
  }

  private static let onTheWay = "time exceeded"

  private func hop(
    _ limit: UInt8, from node: NodeName, to address: IPAddress, in lab: RunningLab, _ book: NodeAddresses
  ) async throws -> Hop {
    var hop = Hop(hopLimit: Int(limit), answers: [])
    let request = EndpointRequest.echo(address.family, EchoOptions(hopLimit: limit))
    let endpoint = try await lab.datapath.endpoint(request, in: node, of: lab.name)
    let clock = lab.datapath.clock
    for number in 0..<queries {
      let payload = [limit, UInt8(truncatingIfNeeded: number)] + [UInt8](repeating: 0x60, count: 30)
      let begin = clock.now()
      do throws(DatapathError) {
        try await endpoint.send(payload, to: SocketEndpoint(address, 0))
        let answer = try await endpoint.receive(limit: 2048, timeout: .milliseconds(Int64(wait)))
        let elapsed = Double((clock.now() - begin).nanoseconds) / 1_000_000
        hop.answers.append(
          Answer(
            address: answer.source.address.description, name: book.name(of: answer.source.address),
            milliseconds: elapsed,
            error: answer.error.map { $0.isTimeExceeded ? Self.onTheWay : $0.description }))
      } catch {
        // Without an answer the next one is tried; what keeps the node from sending at all is the end.
        if error.code != .timeout { throw error }
      }
    }
    await endpoint.close()
    return hop
  }

  private static func text(of document: Document, queries: Int) -> String {
    let lines = document.hops.map { hop in
      var line = "\(hop.hopLimit)".padded(to: 3) + " "
      var last: String?
      for answer in hop.answers {
        if answer.address != last { line += " " + answer.address + (answer.name.map { " (\($0))" } ?? "") }
        last = answer.address
        line += "  \((answer.milliseconds * 1000).rounded() / 1000) ms"
        if let error = answer.error, error != onTheWay { line += " \(error)" }
      }
      return line + String(repeating: "  *", count: queries - hop.answers.count)
    }
    return (["\(document.from) -> \(document.to) (\(document.address))"] + lines).joined(separator: "\n")
  }
}

extension String {
  fileprivate func padded(to width: Int) -> String {
    String(repeating: " ", count: max(width - count, 0)) + self
  }
}
