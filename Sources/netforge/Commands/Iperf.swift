// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import Glibc
import LabCore
import LabHost
import NetTypes
import Reconcile
import TopologyModel

/// `netforge iperf FROM TO`.
struct Iperf: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "iperf",
    abstract: "Measure what TCP carries from a node to an iperf3 server.",
    discussion: """
      TO is a node, node:interface, or an address where an iperf3 server listens: Service(.iperf(port: 5201)) in the \
      topology, or iperf3 -s in a node. The client needs no program, so it works on every datapath.
      """)

  @Argument(help: "The node that measures.")
  var from: String

  @Argument(help: "A node, node:interface, or an address.")
  var to: String

  @Option(help: "The lab's name.")
  var name: String?

  @Option(help: "The lab of this topology file.", completion: .file(extensions: ["swift", "json"]))
  var topology: String?

  @Option(name: .shortAndLong, help: "The server's port.")
  var port: UInt16 = 5201

  @Option(name: [.customShort("t"), .long], help: "Seconds.")
  var time: Int = 10

  @Option(name: [.customShort("P"), .long], help: "Connections side by side.")
  var parallel: Int = 1

  @Flag(name: [.customShort("R"), .long], help: "The server sends.")
  var reverse = false

  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard port > 0, (1...86_400).contains(time), (1...128).contains(parallel) else {
      throw ValidationError("--port takes 1 to 65535, --time 1 to 86400, --parallel 1 to 128")
    }
  }

  struct Side: Encodable {
    var bytes: UInt64
    var bitsPerSecond: Double
  }

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var from: String
    var to: String
    var address: String
    var reverse: Bool
    var seconds: Double
    /// Bytes of each second, as this side has them.
    var intervals: [UInt64]
    var sender: Side
    var receiver: Side
    /// Segments that were sent again; nil when the server sends.
    var retransmits: Int64?
  }

  func run() async throws {
    // -t is the time, as iperf3 has it.
    let words = [("--name", name), ("--topology", topology)].flatMap { word, value in
      value.map { [word, $0] } ?? []
    }
    let live = try await LiveLab.open(try LabOptions.parse(words))
    let source = try live.topology.node(named: from).name
    let target = try NodeAddresses(live.resolution.state).resolve(to, from: source, in: live.topology).address
    let client = IperfClient(
      datapath: live.lab.datapath, lab: live.lab.name, node: source, server: SocketEndpoint(target, port),
      duration: .seconds(Int64(time)), streams: parallel, isReverse: reverse)
    let outcome: IperfClient.Outcome
    do { outcome = try await client.run() } catch let error as DatapathError where error.errno == ECONNREFUSED
    {
      throw Failure(
        .failed, "nobody listens on \(SocketEndpoint(target, port))",
        "give the node a server: Service(.iperf(port: \(port))), or run iperf3 -s in it")
    }
    let seconds = Double(outcome.time.nanoseconds) / 1e9
    func side(_ streams: [UInt64]) -> Side {
      let bytes = streams.reduce(0, +)
      return Side(bytes: bytes, bitsPerSecond: Double(bytes) * 8 / seconds)
    }
    let document = Document(
      lab: live.lab.name.text, from: from, to: to, address: "\(target)", reverse: reverse, seconds: seconds,
      intervals: outcome.intervals, sender: side(outcome.sent), receiver: side(outcome.received),
      retransmits: outcome.retransmits)
    try output.print(document) {
      var table = Table("SECONDS", "BYTES", "RATE", "")
      for (second, bytes) in document.intervals.enumerated() {
        // What is left of a last second is no interval, unless it is the only one.
        let length = min(1, seconds - Double(second))
        guard length >= 0.1 || second == 0 else { continue }
        table.add("\(second)-\(second + 1)", "\(bytes)", Self.rate(Double(bytes) * 8 / length), "")
      }
      let again = document.retransmits.map { ", \($0) sent again" } ?? ""
      table.add("all", "\(document.sender.bytes)", Self.rate(document.sender.bitsPerSecond), "sent\(again)")
      table.add("all", "\(document.receiver.bytes)", Self.rate(document.receiver.bitsPerSecond), "received")
      return table.text
    }
  }

  private static func rate(_ bits: Double) -> String { Topology.Expectation.Claim.rate(bits) }
}
