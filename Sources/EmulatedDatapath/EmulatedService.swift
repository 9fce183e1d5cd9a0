// SPDX-License-Identifier: GPL-2.0-or-later

// netforge's own services in an emulated node, answered on the kernel's thread as their datagrams come.

import Glibc
public import LabCore
import LinuxObjects
import NetStack
import NetTypes

extension EmulatedDatapath: ServiceHost {
  public func open(
    _ service: NodeService, in node: NodeName, of lab: LabName
  ) async throws(DatapathError) -> any OpenService {
    let thread = thread
    return try await perform(on: lab, "open a service") { (kernel) throws(DatapathError) in
      do throws(TransportError) {
        return try EmulatedService(service, in: kernel.index(of: .node(node)), kernel, thread)
      } catch {
        throw DatapathError(
          .refused,
          operation: "open the \(service.kind) service on UDP port \(service.port) (\(service.location))",
          path: StatePath(.node(node)), errno: error.errno == 0 ? nil : error.errno, cause: error.cause,
          remedy: error.errno == EADDRINUSE ? "another service of the node has it: give it another port" : nil
        )
      }
    }
  }
}

/// An open service. There is no TCP yet, so it is UDP's half.
struct EmulatedService: OpenService {
  let service: NodeService
  var label: String { "\(service.kind)/udp" }
  private let thread: KernelThread
  private let sockets: [SocketIndex]

  fileprivate init(
    _ service: NodeService, in namespace: NamespaceIndex, _ kernel: EmulatedKernel, _ thread: KernelThread
  ) throws(TransportError) {
    self.service = service
    self.thread = thread
    let answers = service.kind == .echo
    var sockets: [SocketIndex] = []
    for family in [IPFamily.ipv4, .ipv6] {
      do throws(TransportError) {
        let socket = try kernel.openSocket(.udp(family), in: namespace) {
          (stack, socket) throws(KernelError) in
          if family == .ipv6 { try stack.setOption(.v6Only(true), on: socket) }
          let any: IPAddress = family == .ipv4 ? .v4(.any) : .v6(.any)
          try stack.bind(socket, to: SocketAddress(any, service.port))
        }
        sockets.append(socket)
        kernel.wait(for: .in, on: socket, until: nil) { kernel in
          kernel.serve(socket, answers: answers)
          return false
        } expire: { _ in
        }
      } catch {
        // A kernel, or a node, without IPv6.
        if family == .ipv6, error.errno == EAFNOSUPPORT { continue }
        for socket in sockets { kernel.stack.close(socket) }
        throw error
      }
    }
    self.sockets = sockets
  }

  func close() {
    let sockets = sockets
    thread.submit { kernel in
      for socket in sockets { kernel.closeSocket(socket) }
    }
  }
}

extension EmulatedKernel {
  /// Takes the datagrams that have come (RFC 862, RFC 863). A bounded number; the rest are news in the next turn.
  fileprivate func serve(_ socket: SocketIndex, answers: Bool) {
    var bytes: [UInt8] = []
    for _ in 0..<256 {
      do throws(KernelError) {
        let message = try stack.receive(socket, into: &bytes)
        guard answers, let source = message.source else { continue }
        // An answer that finds no room is lost, as datagrams are.
        _ = try? stack.send(bytes, on: socket, to: source, control: SendControl(source: message.destination))
      } catch {
        // Errors about answers that nobody took are told here too, and are nobody's business.
        if error.errno == EAGAIN { return }
      }
    }
    stack.wait(for: .in, on: socket, token: waiters.token(of: socket) ?? 0)
  }
}
