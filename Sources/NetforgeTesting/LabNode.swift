// SPDX-License-Identifier: GPL-2.0-or-later

// A node of a lab: its sockets, pings and programs, with typed results.

import LabCore
import NetTypes
import Reconcile
import TopologyModel

/// A node of a lab that is up.
public struct LabNode: Sendable {
  public let lab: Lab
  public let name: String

  private func open(_ request: EndpointRequest) async throws -> any NodeEndpoint {
    try await lab.lab.datapath.endpoint(request, in: try lab.node(name), of: lab.lab.name)
  }

  private func place(_ word: String, _ port: Int) throws -> SocketEndpoint {
    guard let port = Port(exactly: port) else { throw LabError("\(port) is no port") }
    return SocketEndpoint(try lab.address(word, from: lab.node(name)), port)
  }

  private func local(_ address: String?, _ port: Int, family: IPFamily = .ipv4) throws -> SocketEndpoint {
    guard let port = Port(exactly: port) else { throw LabError("\(port) is no port") }
    guard let address else { return SocketEndpoint(.any(family), port) }
    guard let own = IPAddress(address) else { throw LabError("'\(address)' is no address") }
    return SocketEndpoint(own, port)
  }

  // MARK: Sockets

  /// Connects to a node, `node:interface` or an address.
  /// - Parameter timeout: how long it may take on the lab's clock.
  public func connect(
    to target: String, port: Int, timeout: Duration = .seconds(5)
  ) async throws -> LabConnection {
    let peer = try place(target, port)
    let endpoint = try await open(.connectTCP(to: peer, from: nil, timeout: Interval(timeout)))
    return LabConnection(endpoint, peer: "\(peer)")
  }

  /// Listens for connections: a sequence of them.
  /// - Parameter address: one of the node's own; left out, all of IPv4.
  public func listen(port: Int, address: String? = nil) async throws -> LabListener {
    LabListener(try await open(.listenTCP(try local(address, port))), lab.lab.datapath.clock)
  }

  /// Opens a socket for datagrams: a sequence of those that come.
  /// - Parameter port: left out, a free one.
  public func bindUDP(port: Int = 0, address: String? = nil) async throws -> LabDatagramSocket {
    LabDatagramSocket(try await open(.bindUDP(try local(address, port))), self, lab.lab.datapath.clock)
  }

  func endpoint(of target: String, port: Int) throws -> SocketEndpoint { try place(target, port) }

  // MARK: Pings

  /// An answer to an echo request.
  public struct PingAnswer: Hashable, Sendable {
    public var from: String
    public var roundTrip: Duration
    /// The TTL or hop limit that it arrived with.
    public var ttl: Int?
  }

  /// Sends an echo request; nil when nothing answers.
  public func ping(_ target: String, timeout: Duration = .seconds(1)) async throws -> PingAnswer? {
    let source = try lab.node(name)
    let address = try lab.address(target, from: source)
    var request = ProbeRequest(
      source: source, address: address, target: lab.book.owner(of: address), kind: .echo)
    request.patience = Interval(timeout)
    request.tries = 1
    let report = await Prober(lab.lab.datapath, lab: lab.lab.name).probe(request)
    switch report.outcome {
    case .answered(let from, _):
      return PingAnswer(
        from: "\(from.address)", roundTrip: .nanoseconds(report.time?.nanoseconds ?? 0),
        ttl: report.hopLimit.map(Int.init))
    case .couldNotProbe(let why): throw LabError(why)
    case .connected, .rejected, .noAnswer, .noRoute, .notSent: return nil
    }
  }

  // MARK: Programs

  /// How a command ended.
  public struct CommandResult: Hashable, Sendable {
    public var exitCode: Int
    public var output: String
  }

  /// Runs a command to its end: its words, or one line for the shell. Not on the emulated datapath.
  public func run(_ command: String...) async throws -> CommandResult {
    let (exit, output) = try await lab.lab.output(of: command, in: try lab.node(name), limit: 1 << 20)
    return CommandResult(exitCode: Int(exit.code), output: output)
  }

  /// Starts what runs in the node anew.
  public func restart() async throws { try await lab.lab.restart(try lab.node(name)) }
}
