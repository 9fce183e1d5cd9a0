// SPDX-License-Identifier: GPL-2.0-or-later

// A port of the host's loopback, IPv4 and IPv6, whose connections go on to a port of a node: each is accepted on the
// reactor's thread and carried by two tasks, one a direction. What one end says is over is over at the other too, and
// what the other still sends comes back.

import CLinux
import Glibc
import LabCore
import NetTypes
import Synchronization
import SystemPackage

/// The open sockets of one published port. Closed with the object.
final class HostPortListener: Sendable {
  /// Connections at a time; more are closed at once.
  static let connectionLimit = 1024
  static let chunk = 64 << 10
  /// How long a node may take to answer, and how long both ends may be silent.
  static let connectPatience = Interval.seconds(30)
  static let idlePatience = Interval.seconds(3600)

  let hostPort: HostPort
  private let node: NodeName
  private let lab: LabName
  private let datapath: any Datapath
  private let reactor: Reactor
  private let sockets: [Int32]
  private let connections = Mutex<[Int32: Task<Void, Never>]>([:])

  init(
    _ hostPort: HostPort, of node: NodeName, in lab: LabName, datapath: any Datapath, reactor: Reactor
  ) throws(DatapathError) {
    self.hostPort = hostPort
    self.node = node
    self.lab = lab
    self.datapath = datapath
    self.reactor = reactor
    var open: [Int32] = []
    for domain in [AF_INET, AF_INET6] {
      let socket = nf_listen_loopback(domain, hostPort.hostPort)
      if [-EAFNOSUPPORT, -EADDRNOTAVAIL].contains(socket), domain == AF_INET6 { continue }
      guard socket >= 0 else {
        for other in open { Glibc.close(other) }
        throw DatapathError(
          .refused, operation: "publish port \(hostPort.hostPort) of the host (\(hostPort.location))",
          path: StatePath(.node(node)), errno: -socket, cause: "\(Errno(rawValue: -socket))",
          remedy: socket == -EADDRINUSE ? "something on the host has the port: publish another" : nil)
      }
      open.append(socket)
    }
    sockets = open
    for socket in open {
      reactor.add(socket, Reactor.readable) { [weak self] _ in self?.accept(from: socket) }
    }
  }

  /// Closes the sockets and every connection.
  func close() {
    for socket in sockets {
      reactor.remove(socket)
      Glibc.close(socket)
    }
    for task in connections.withLock({ Array($0.values) }) { task.cancel() }
  }

  private func accept(from listener: Int32) {
    for _ in 0..<64 {
      let socket = nf_accept(listener)
      guard socket >= 0 else { return }
      let outside = HostStream(socket, reactor)
      connections.withLock { connections in
        guard connections.count < Self.connectionLimit else { return outside.close() }
        connections[socket] = Task {
          await self.carry(outside)
          self.connections.withLock { _ = $0.removeValue(forKey: socket) }
          outside.close()
        }
      }
    }
  }

  private func carry(_ outside: HostStream) async {
    // A node that does not answer is told to the client by the end of its connection.
    guard let inside = await connect() else { return }
    await withTaskCancellationHandler {
      async let _ = Self.carryIn(outside, inside)
      await Self.carryOut(inside, outside)
    } onCancel: {
      outside.shutdown(SHUT_RDWR)
    }
    await inside.close()
  }

  private func connect() async -> (any NodeEndpoint)? {
    for address in [IPAddress.v4(.loopback), .v6(.loopback)] {
      let target = SocketEndpoint(address, hostPort.port)
      let request = EndpointRequest.connectTCP(to: target, from: nil, timeout: Self.connectPatience)
      if let endpoint = try? await datapath.endpoint(request, in: node, of: lab) { return endpoint }
    }
    return nil
  }

  private static func carryIn(_ outside: HostStream, _ inside: any NodeEndpoint) async {
    do {
      while let bytes = await outside.read(limit: chunk) { try await inside.send(bytes, to: nil) }
      try await inside.finish()
    } catch {
      // The node has ended the connection: the client is to hear that too.
      outside.shutdown(SHUT_RDWR)
    }
  }

  private static func carryOut(_ inside: any NodeEndpoint, _ outside: HostStream) async {
    do {
      while true {
        let bytes = try await inside.receive(limit: chunk, timeout: idlePatience).bytes
        guard !bytes.isEmpty else { break }
        guard await outside.write(bytes) else { throw Errno.brokenPipe }
      }
      outside.shutdown(SHUT_WR)
    } catch {
      outside.shutdown(SHUT_RDWR)
    }
  }
}
