// SPDX-License-Identifier: GPL-2.0-or-later

// netforge's own services as real sockets in a node: each on IPv4 and IPv6, echo, discard and chargen on TCP and UDP. All are
// served by the reactor's thread; every connection has a limit of memory and of time.

import CLinux
import Glibc
import LabCore
import NetTypes
import Synchronization
import SystemPackage

/// The open sockets of one service of one node. Closed with the object.
final class NodeServiceListener: OpenService {
  /// Connections of one listener at a time; more are closed at once.
  static let connectionLimit = 1024

  let service: NodeService
  var label: String { "\(service.kind)" }
  private let reactor: Reactor
  private let program: any ServiceProgram
  private let clock = MonotonicClock()
  private let sockets: [Int32]
  private let connections = Mutex<[Int32: ServiceConnection]>([:])
  private let isSweeping = Atomic(false)

  /// Opens the service's sockets in the network namespace that `netns` holds.
  init(
    _ service: NodeService, node: NodeName, lab: LabName, netns: FileDescriptor, reactor: Reactor
  ) throws(DatapathError) {
    self.service = service
    self.reactor = reactor
    program = service.program(of: node, in: lab)
    var sockets: [Int32] = []
    var failure: DatapathError?
    let takesDatagrams = service.kind.takesDatagrams
    let types = takesDatagrams ? [SOCK_STREAM, SOCK_DGRAM] : [SOCK_STREAM]
    open: for type in types {
      for domain in [AF_INET, AF_INET6] {
        let socket = nf_socket_in(netns.rawValue, domain, Int32(type.rawValue | SOCK_NONBLOCK.rawValue), 0)
        if socket == -EAFNOSUPPORT && domain == AF_INET6 { continue }
        var error = -socket
        if socket >= 0 {
          sockets.append(socket)
          error = -nf_bind_any(socket, domain, service.port)
        }
        guard error > 0 else { continue }
        let transport = type == SOCK_STREAM ? "TCP" : "UDP"
        failure = DatapathError(
          .refused,
          operation:
            "open the \(service.kind) service on \(transport) port \(service.port) (\(service.location))",
          path: StatePath(.node(node)), errno: error, cause: "\(Errno(rawValue: error))",
          remedy: error == EADDRINUSE
            ? "another program of the node listens there: give one of them another port" : nil)
        break open
      }
    }
    self.sockets = sockets
    if let failure {
      for socket in sockets { Glibc.close(socket) }
      throw failure
    }
    for (index, socket) in sockets.enumerated() {
      let isStream = !takesDatagrams || index < sockets.count / 2
      reactor.add(socket, Reactor.readable) { [weak self] _ in
        if isStream { self?.accept(from: socket) } else { self?.answerDatagrams(of: socket) }
      }
    }
  }

  /// Closes the sockets and every connection.
  func close() {
    for socket in sockets {
      reactor.remove(socket)
      Glibc.close(socket)
    }
    for connection in connections.withLock({ Array($0.values) }) { end(connection) }
  }

  private func answerDatagrams(of socket: Int32) {
    guard let answer = program.datagramAnswer else {
      _ = nf_answer_datagrams(socket, NF_ANSWER_NONE, nil, 0)
      return
    }
    let kind = answer.isEmpty ? NF_ANSWER_ECHO : NF_ANSWER_FIXED
    _ = answer.withUnsafeBytes { nf_answer_datagrams(socket, kind, $0.baseAddress, $0.count) }
  }

  private func accept(from listener: Int32) {
    for _ in 0..<64 {
      let socket = nf_accept(listener)
      guard socket >= 0 else {
        guard [-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM].contains(socket) else { return }
        // The connection stays in the queue, so the listener would be readable without end.
        reactor.change(listener, 0)
        reactor.after(.seconds(1)) { [weak self] in self?.resume(listener) }
        return
      }
      guard connections.withLock({ $0.count }) < Self.connectionLimit else {
        Glibc.close(socket)
        continue
      }
      let connection = ServiceConnection(socket, program.behavior(), clock)
      connections.withLock { $0[socket] = connection }
      reactor.add(socket, Reactor.readable) { [weak self] _ in self?.attend(connection) }
      sweepLater()
      // Some speak first.
      attend(connection)
    }
  }

  private func resume(_ listener: Int32) {
    if sockets.contains(listener) { reactor.change(listener, Reactor.readable) }
  }

  private func attend(_ connection: ServiceConnection) {
    serve(connection)
    guard program.takeNews() else { return }
    for other in connections.withLock({ Array($0.values) }) { serve(other) }
  }

  private func serve(_ connection: ServiceConnection) {
    switch connection.serve() {
    case .reading: reactor.change(connection.socket, Reactor.readable)
    case .writing: reactor.change(connection.socket, Reactor.writable)
    case .over: end(connection)
    }
  }

  private func end(_ connection: ServiceConnection) {
    guard connections.withLock({ $0.removeValue(forKey: connection.socket) }) != nil else { return }
    connection.end()
    reactor.remove(connection.socket)
    Glibc.close(connection.socket)
  }

  /// Ends what is idle, once a second as long as there are connections.
  private func sweepLater() {
    guard !isSweeping.exchange(true, ordering: .acquiringAndReleasing) else { return }
    reactor.after(.seconds(1)) { [weak self] in
      guard let self else { return }
      isSweeping.store(false, ordering: .releasing)
      let now = ContinuousClock.now
      let all = connections.withLock { Array($0.values) }
      for connection in all where connection.deadline < now { end(connection) }
      if !all.isEmpty { sweepLater() }
    }
  }
}
