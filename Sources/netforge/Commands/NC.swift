// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import Glibc
import LabCore
import LabHost
import LabProcess
import NetTypes
import Reconcile
import SystemPackage
import TopologyModel

/// `netforge nc FROM TO PORT` and `netforge nc -l NODE PORT`.
struct NC: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "nc",
    abstract: "Connect this terminal to a port, from within a node, or listen there.",
    discussion: """
      netforge nc web1 db 5432 sends what comes on standard input and prints what comes back; netforge nc -l db 9000 \
      waits for who connects. It needs no program in the node, so it works on every datapath. TO is a node, \
      node:interface, or an address. Exit code 1 when no connection comes to be.
      """)

  @Flag(name: [.customShort("l"), .long], help: "Wait for a connection, or for datagrams.")
  var listen = false

  @Flag(name: [.customShort("u"), .long], help: "Datagrams: each read of standard input is one.")
  var udp = false

  @Flag(name: [.customShort("6"), .customLong("ipv6")], help: "Listen on IPv6.")
  var isIPv6 = false

  @Option(
    name: [.customShort("w"), .long],
    help: ArgumentHelp(
      "How long to wait for a connection; of datagrams, how long behind the end of the input for answers.",
      valueName: "10s"))
  var wait: TimeArgument?

  @OptionGroup var selection: LabOptions

  @Argument(help: ArgumentHelp("FROM TO PORT, or with -l: NODE PORT.", valueName: "node"))
  var words: [String]

  func validate() throws {
    guard words.count == (listen ? 2 : 3) else {
      throw ValidationError(listen ? "say netforge nc -l NODE PORT" : "say netforge nc FROM TO PORT")
    }
    guard let port = words.last.flatMap({ Port($0) }), port > 0 else {
      throw ValidationError("'\(words.last ?? "")' is no port; it takes 1 to 65535")
    }
  }

  func run() async throws {
    let live = try await LiveLab.open(selection)
    let node = try live.topology.node(named: words[0]).name
    let port = Port(words[words.count - 1]) ?? 0
    let (datapath, lab) = (live.lab.datapath, live.lab.name)
    let patience = wait?.interval ?? .seconds(10)
    guard !listen else {
      let local = SocketEndpoint(.any(isIPv6 ? .ipv6 : .ipv4), port)
      guard !udp else {
        let socket = try await datapath.endpoint(.bindUDP(local), in: node, of: lab)
        var datagrams = Datagrams(socket: socket, peer: nil, patience: wait?.interval)
        return try await datagrams.run()
      }
      let listener = try await datapath.endpoint(.listenTCP(local), in: node, of: lab)
      Terminal.say("listening on \(node), port \(port)")
      let (connection, peer) = try await Self.accept(listener, wait?.interval)
      await listener.close()
      Terminal.say("connection from \(peer)")
      return try await Self.join(connection)
    }
    let target = try NodeAddresses(live.resolution.state).resolve(words[1], from: node, in: live.topology)
    let peer = SocketEndpoint(target.address, port)
    guard !udp else {
      let local = SocketEndpoint(.any(peer.address.family), 0)
      let socket = try await datapath.endpoint(.bindUDP(local), in: node, of: lab)
      var datagrams = Datagrams(socket: socket, peer: peer, patience: wait?.interval)
      return try await datagrams.run()
    }
    try await Self.join(
      try await datapath.endpoint(.connectTCP(to: peer, from: nil, timeout: patience), in: node, of: lab))
  }

  /// The next connection, however long it takes, or until `patience` ends.
  private static func accept(
    _ listener: any NodeEndpoint, _ patience: Interval?
  ) async throws -> (any NodeEndpoint, SocketEndpoint) {
    while true {
      do throws(DatapathError) {
        return try await listener.accept(timeout: patience ?? .seconds(3600))
      } catch {
        guard error.code == .timeout, patience == nil else { throw error }
      }
    }
  }

  /// Both ways until both ends have ended, or the other one alone where a terminal has not.
  private static func join(_ connection: any NodeEndpoint) async throws {
    let sending = Task { () -> DatapathError? in
      do throws(DatapathError) {
        while let bytes = await StandardInput.next() { try await connection.send(bytes, to: nil) }
        try await connection.finish()
        return nil
      } catch {
        return error
      }
    }
    while true {
      do throws(DatapathError) {
        let bytes = try await connection.receive(limit: 65_536, timeout: .seconds(3600)).bytes
        guard !bytes.isEmpty else { break }
        StandardInput.answer(bytes)
      } catch {
        guard error.code == .timeout else { throw error }
      }
    }
    // What comes from a file or a pipe is sent to its end, the other has only ended its own way; whoever types is not
    // waited for.
    let refusal = isatty(STDIN_FILENO) == 0 ? await sending.value : nil
    await connection.close()
    sending.cancel()
    if let refusal { throw refusal }
  }
}

/// Datagrams to a peer, or to whoever sends first.
private struct Datagrams {
  let socket: any NodeEndpoint
  var peer: SocketEndpoint?
  let patience: Interval?

  private static let slice = Interval.milliseconds(200)

  mutating func run() async throws {
    // A listener has to hear first whom to answer.
    if peer == nil {
      let first = try await receive(for: patience)
      guard let first else { return }
      Terminal.say("from \(first.source)")
      peer = first.source
      StandardInput.answer(first.bytes)
    }
    let (socket, peer) = (socket, peer)
    let sending = Task { () -> DatapathError? in
      do throws(DatapathError) {
        while let bytes = await StandardInput.next() { try await socket.send(bytes, to: peer) }
        return nil
      } catch {
        return error
      }
    }
    let ended = Ending()
    Task {
      ended.end(with: await sending.value)
    }
    var idle = Interval.zero
    while true {
      if let message = try await receive(for: Self.slice) {
        idle = .zero
        StandardInput.answer(message.bytes)
      } else if ended.hasEnded {
        if let error = ended.error { throw error }
        idle = idle + Self.slice
        if idle >= patience ?? .seconds(1) { break }
      }
    }
    await socket.close()
  }

  /// The next datagram; nil when the time ends.
  private func receive(for patience: Interval?) async throws -> Datagram? {
    while true {
      do throws(DatapathError) {
        return try await socket.receive(limit: 65_536, timeout: patience ?? .seconds(3600))
      } catch {
        guard error.code == .timeout else { throw error }
        if patience != nil { return nil }
      }
    }
  }
}
