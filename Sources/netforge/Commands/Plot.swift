// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import FoundationEssentials
import LabCore
import LabHost
import NetTypes
import Reconcile
import TopologyModel

/// `netforge plot FROM TO` and `netforge plot NODE --peer ADDRESS:PORT`.
struct Plot: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plot",
    abstract:
      "Follow a TCP connection over time: windows, round trips, what is on its way and what is delivered.",
    discussion: """
      With FROM and TO it sends as much as it can from one node to the other and follows that connection; with --peer it \
      follows one that is there (netforge ss NODE lists them). CSV goes to standard output unless --csv or --svg names a \
      file. With --virtual a topology's lab comes up in this process and in virtual time, so that a minute takes \
      what its packets take. The figures are the kernel's own (TCP_INFO), asked for from outside, on every datapath.
      """)

  @Argument(help: "The node whose connection is followed.")
  var from: String

  @Argument(help: "The node to send to.")
  var to: String?

  @Option(help: ArgumentHelp("The other end of a connection that is there.", valueName: "10.0.2.10:5432"))
  var peer: String?

  @OptionGroup var selection: LabOptions

  @Option(help: ArgumentHelp("How long to follow it.", valueName: "5s"))
  var during = TimeArgument(.seconds(5))

  @Option(help: ArgumentHelp("How often to look.", valueName: "20ms"))
  var every = TimeArgument(.milliseconds(20))

  @Flag(help: "In virtual time, in a lab of its own in this process; with --topology.")
  var virtual = false

  @Option(help: "Of all that is left to chance in virtual time.")
  var seed: UInt64?

  @Option(help: "Write CSV to this file.", completion: .file())
  var csv: String?

  @Option(help: "Write an SVG to this file.", completion: .file())
  var svg: String?

  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard (to == nil) != (peer == nil) else {
      throw ValidationError("say netforge plot FROM TO, or netforge plot NODE --peer ADDRESS:PORT")
    }
    guard !virtual || peer == nil else {
      throw ValidationError("--virtual has no connections but its own: say FROM and TO")
    }
    guard virtual || seed == nil else { throw ValidationError("--seed is for --virtual") }
    guard every.interval >= .milliseconds(1), during.interval >= every.interval else {
      throw ValidationError("--every takes 1 ms or more, and no more than --during")
    }
  }

  struct Document: Encodable {
    var schemaVersion = 1
    var lab: String
    var node: String
    var local: String
    var peer: String
    var samples: [ConnectionSample]
  }

  func run() async throws {
    let stage = try await stage()
    let node = try stage.topology.node(named: from).name
    if let peer {
      let (address, port) = try Self.endpoint(peer)
      let follower = Follower(stage: stage, node: node, port: nil, peer: (address, port))
      return try report(stage, node, try await follower.run(during: during.interval, every: every.interval))
    }
    let target = try stage.topology.node(named: to ?? "").name
    guard let address = NodeAddresses(stage.state).address(of: target, from: node) else {
      throw Failure(.failed, "\(target) has no address in lab '\(stage.topology.name)'")
    }
    let (datapath, lab) = (stage.datapath, stage.lab)
    let listener = try await datapath.endpoint(.listenTCP(SocketEndpoint(address, 0)), in: target, of: lab)
    let server = SocketEndpoint(address, try await listener.localEndpoint().port)
    let sender = try await datapath.endpoint(
      .connectTCP(to: server, from: nil, timeout: .seconds(10)), in: node, of: lab)
    let receiver = try await listener.accept(timeout: .seconds(10)).connection
    let local = try await sender.localEndpoint()
    // Each of the tasks uses the lab; virtual time waits for them.
    await datapath.clock.enter()
    let load = Task {
      let payload = [UInt8](repeating: 0x6e, count: 65_536)
      var sent = 0
      while !Task.isCancelled, sent < Self.mostBytes, (try? await sender.send(payload, to: nil)) != nil {
        sent += payload.count
      }
      await datapath.clock.leave()
    }
    await datapath.clock.enter()
    let drain = Task {
      while !Task.isCancelled,
        let bytes = try? await receiver.receive(limit: 1 << 18, timeout: .seconds(10)).bytes, !bytes.isEmpty
      {}
      await datapath.clock.leave()
    }
    let follower = Follower(stage: stage, node: node, port: local.port, peer: (address, server.port))
    let found = try await follower.run(during: during.interval, every: every.interval)
    load.cancel()
    drain.cancel()
    for endpoint in [sender, receiver, listener] { await endpoint.close() }
    try report(stage, node, found)
  }

  /// Where nothing limits the rate virtual time does not pass, and what is sent has to end.
  private static let mostBytes = 1 << 30

  /// The lab that is up, or with `--virtual` one of its own.
  private func stage() async throws -> Stage {
    guard virtual else {
      let live = try await LiveLab.open(selection)
      return Stage(
        datapath: live.lab.datapath, lab: live.lab.name, topology: live.topology, state: live.resolution.state
      )
    }
    guard let file = selection.topology else {
      throw Failure(.usage, "--virtual brings up a lab of its own: name its file with --topology")
    }
    let loaded = try await TopologyOptions.load(file, named: nil, variables: [])
    let lab = try await TestBed(.emulated, seed: seed).bringUp(try Declarations(json: loaded.rendered)).lab
    return Stage(datapath: lab.datapath, lab: lab.name, topology: lab.topology, state: lab.resolution.state)
  }

  /// A lab to look into.
  fileprivate struct Stage: Sendable {
    var datapath: any Datapath
    var lab: LabName
    var topology: Topology
    var state: LabState
  }

  private func report(_ stage: Stage, _ node: NodeName, _ found: Follower.Found) throws {
    let plot = ConnectionPlot(title: "\(node): \(found.local) > \(found.peer)", samples: found.samples)
    if let csv { try Self.write(plot.csv, to: csv) }
    if let svg { try Self.write(plot.svg, to: svg) }
    let document = Document(
      lab: stage.lab.text, node: node.text, local: found.local, peer: found.peer, samples: found.samples)
    if csv == nil, svg == nil {
      try output.print(document) { String(plot.csv.dropLast()) }
    } else if output.format == .json {
      try output.print(document) { "" }
    } else {
      Terminal.say("\(found.samples.count) samples of \(found.local) > \(found.peer)")
    }
  }

  private static func write(_ text: String, to path: String) throws {
    do { try Data(text.utf8).write(to: URL(filePath: path)) } catch {
      throw Failure(.failed, "cannot write '\(path)': \(error)")
    }
  }

  /// `10.0.0.1:80`, `[fd00::1]:80`.
  private static func endpoint(_ text: String) throws -> (IPAddress, Port) {
    guard let colon = text.lastIndex(of: ":"), let port = Port(text[text.index(after: colon)...]),
      let address = IPAddress(String(text[..<colon].filter { $0 != "[" && $0 != "]" }))
    else { throw Failure(.usage, "--peer takes an address and a port, as in 10.0.2.10:5432") }
    return (address, port)
  }
}

/// Looks at one connection again and again.
private struct Follower {
  let stage: Plot.Stage
  let node: NodeName
  /// Nil: whichever has this peer.
  let port: Port?
  let peer: (address: IPAddress, port: Port)

  struct Found {
    var local: String
    var peer: String
    var samples: [ConnectionSample]
  }

  func run(during time: Interval, every step: Interval) async throws -> Found {
    let clock = stage.datapath.clock
    let begin = clock.now()
    var next = begin
    var found: Found?
    while next <= begin + time {
      await clock.sleep(until: next)
      let answer = try await stage.datapath.inspect(.sockets, in: .node(node), of: stage.lab)
      guard case .sockets(let all) = answer else { throw Failure.unexpectedAnswer }
      guard let socket = all.first(where: isMeant), let report = socket.tcp else {
        if found == nil {
          throw Failure(
            .failed, "node '\(node)' has no connection to \(SocketEndpoint(peer.address, peer.port))",
            "netforge ss \(node) lists those that it has")
        }
        break
      }
      found =
        found ?? Found(local: socket.text(of: socket.local), peer: socket.text(of: socket.peer), samples: [])
      found?.samples.append(ConnectionSample(report, after: clock.now() - begin))
      next = next + step
      // What a busy host has missed is not made up for.
      if clock.now() > next { next = clock.now() }
    }
    return found ?? Found(local: "", peer: "", samples: [])
  }

  private func isMeant(_ socket: SocketReport) -> Bool {
    socket.kind == .tcp && socket.state != "LISTEN" && socket.peer.address == peer.address
      && socket.peer.port == peer.port && (port == nil || socket.local.port == port)
  }
}
