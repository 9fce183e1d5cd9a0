// SPDX-License-Identifier: GPL-2.0-or-later

// netforge's own services in an emulated node, answered on the kernel's thread as their bytes and datagrams come.

import Glibc
public import LabCore
import LabProcess
import LinuxObjects
import NetStack
import NetTypes

extension EmulatedDatapath: ServiceHost {
  public func open(
    _ service: NodeService, in node: NodeName, of lab: LabName
  ) async throws(DatapathError) -> any OpenService {
    let thread = thread(of: .node(node))
    return try await perform(on: lab, by: thread, "open a service") { (kernel) throws(DatapathError) in
      do throws(TransportError) {
        return try EmulatedService(service, of: node, in: lab, kernel, thread)
      } catch {
        throw DatapathError(
          .refused,
          operation: "open the \(service.kind) service on port \(service.port) (\(service.location))",
          path: StatePath(.node(node)), errno: error.errno == 0 ? nil : error.errno, cause: error.cause,
          remedy: error.errno == EADDRINUSE ? "another service of the node has it: give it another port" : nil
        )
      }
    }
  }
}

/// An open service: listening sockets for connections, and where it takes them, sockets for datagrams.
struct EmulatedService: OpenService {
  let service: NodeService
  var label: String { "\(service.kind)" }
  private let thread: KernelThread
  private let connections: EmulatedConnections
  private let sockets: [SocketIndex]

  fileprivate init(
    _ service: NodeService, of node: NodeName, in lab: LabName, _ kernel: EmulatedKernel,
    _ thread: KernelThread
  ) throws(TransportError) {
    self.service = service
    self.thread = thread
    let program = service.program(of: node, in: lab)
    let connections = EmulatedConnections(program)
    self.connections = connections
    let namespace = try kernel.index(of: .node(node))
    var sockets: [SocketIndex] = []
    let kinds: [SocketKind] =
      [.tcp(.ipv4), .tcp(.ipv6)] + (service.kind.takesDatagrams ? [.udp(.ipv4), .udp(.ipv6)] : [])
    for kind in kinds {
      do throws(TransportError) {
        sockets.append(try Self.open(kind, for: service, program, connections, in: namespace, kernel))
      } catch {
        // A kernel, or a node, without IPv6.
        if error.errno == EAFNOSUPPORT { continue }
        for socket in sockets { kernel.closeSocket(socket) }
        throw error
      }
    }
    self.sockets = sockets
  }

  private static func open(
    _ kind: SocketKind, for service: NodeService, _ program: any ServiceProgram,
    _ connections: EmulatedConnections, in namespace: NamespaceIndex, _ kernel: EmulatedKernel
  ) throws(TransportError) -> SocketIndex {
    let socket = try kernel.openSocket(kind, in: namespace) { (stack, socket) throws(KernelError) in
      if kind == .tcp(.ipv6) || kind == .udp(.ipv6) { try stack.setOption(.v6Only(true), on: socket) }
      let any: IPAddress = kind == .tcp(.ipv4) || kind == .udp(.ipv4) ? .v4(.any) : .v6(.any)
      try stack.bind(socket, to: SocketAddress(any, service.port))
      if kind == .tcp(.ipv4) || kind == .tcp(.ipv6) { try stack.listen(socket, backlog: 512) }
    }
    let answer = program.datagramAnswer
    let isStream = kind == .tcp(.ipv4) || kind == .tcp(.ipv6)
    kernel.wait(for: .in, on: socket, until: nil) { kernel in
      if isStream { connections.accept(from: socket, kernel) } else { kernel.serve(socket, answer) }
      return false
    } expire: { _ in
    }
    return socket
  }

  func close() {
    let (sockets, connections) = (sockets, connections)
    thread.submit { kernel in
      for socket in sockets { kernel.closeSocket(socket) }
      connections.closeAll(kernel)
    }
  }
}

extension EmulatedKernel {
  /// Takes the datagrams that have come (RFC 862, 863, 864). A bounded number; the rest are news in the next turn.
  fileprivate func serve(_ socket: SocketIndex, _ answer: [UInt8]?) {
    var bytes: [UInt8] = []
    for _ in 0..<256 {
      do throws(KernelError) {
        let message = try stack.receive(socket, into: &bytes)
        guard let answer, let source = message.source else { continue }
        // An answer that finds no room is lost, as datagrams are.
        _ = try? stack.send(
          answer.isEmpty ? bytes : answer, on: socket, to: source,
          control: SendControl(source: message.destination))
      } catch {
        // Errors about answers that nobody took are told here too, and are nobody's business.
        if error.errno == EAGAIN { return }
      }
    }
    stack.wait(for: .in, on: socket, token: waiters.token(of: socket) ?? 0)
  }
}
