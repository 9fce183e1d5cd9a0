// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import LabCore
import LabHost
import NetTypes

/// `netforge ss NODE`.
struct Sockets: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ss", abstract: "Show the sockets of a node, as `ss` shows the host's.", aliases: ["sockets"]
  )

  @OptionGroup var selection: LabOptions

  @Argument(help: "The node.")
  var node: String

  @Flag(help: "TCP only; with others, these too.")
  var tcp = false

  @Flag(help: "UDP only; with others, these too.")
  var udp = false

  @Flag(help: "Raw sockets only; with others, these too.")
  var raw = false

  @Flag(name: [.short, .long], help: "Only those that listen.")
  var listening = false

  @Flag(name: [.short, .long], help: "What TCP knows of each connection: windows, times, losses.")
  var info = false

  @Flag(name: [.short, .long], help: "The memory of each.")
  var memory = false

  @Flag(name: [.customShort("o"), .long], help: "What timer runs for each.")
  var options = false

  @OptionGroup var output: OutputOptions

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var node: String
    var sockets: [SocketReport]
  }

  func run() async throws {
    let (lab, name) = try await selection.node(node)
    let answer = try await lab.datapath.inspect(.sockets, in: .node(name), of: lab.name)
    guard case .sockets(let all) = answer else { throw Failure.unexpectedAnswer }
    let kinds = [(tcp, SocketReport.Kind.tcp), (udp, .udp), (raw, .raw)].filter(\.0).map(\.1)
    let sockets = all.filter { socket in
      (kinds.isEmpty || kinds.contains(socket.kind))
        && (!listening || socket.state == "LISTEN" || socket.state == "UNCONN")
    }
    try output.print(Document(lab: lab.name.text, node: name.text, sockets: sockets)) {
      var table = Table("Netid", "State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port")
      for socket in sockets {
        table.add(
          socket.kind.rawValue, socket.state, "\(socket.receiveQueue)", "\(socket.sendQueue)",
          socket.text(of: socket.local), socket.text(of: socket.peer))
      }
      let lines = table.text.split(separator: "\n").map(String.init)
      return zip(lines, [""] + sockets.map(details)).map { $0 + $1 }.joined(separator: "\n")
    }
  }

  private func details(of socket: SocketReport) -> String {
    var text = ""
    if options, let timer = socket.timer { text += "  " + timer.text }
    var second: [String] = []
    if memory, let memory = socket.memory { second.append(memory.text) }
    if info, let report = socket.tcp { second.append(report.text(isListening: socket.state == "LISTEN")) }
    return second.isEmpty ? text : text + "\n\t " + second.joined(separator: " ")
  }
}
