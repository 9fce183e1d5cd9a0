// SPDX-License-Identifier: GPL-2.0-or-later

// A socket in a node of an emulated lab, for probes and verbs: a task asks, the kernel's thread does it, or looks after
// the socket until it can be done.

import Glibc
import LabCore
import LinuxObjects
import NetStack
import NetTypes
import Synchronization

final class EmulatedEndpoint: NodeEndpoint {
  private let thread: KernelThread
  private let node: NodeName
  private let socket: SocketIndex
  /// Whether it pings.
  private let isEcho: Bool
  /// The number of the last echo request.
  private let sequence = Mutex<UInt16>(0)

  private init(_ thread: KernelThread, _ node: NodeName, _ socket: SocketIndex, isEcho: Bool) {
    self.thread = thread
    self.node = node
    self.socket = socket
    self.isEcho = isEcho
  }

  deinit { Self.close(socket, on: thread) }

  private static func close(_ socket: SocketIndex, on thread: KernelThread) {
    thread.submit { kernel in kernel.closeSocket(socket) }
  }

  /// Opens what is asked for. On the kernel's thread.
  static func open(
    _ request: EndpointRequest, in node: NodeName, _ kernel: EmulatedKernel, _ thread: KernelThread
  ) throws(TransportError) -> EmulatedEndpoint {
    let namespace = try kernel.index(of: .node(node))
    switch request {
    case .listenTCP, .connectTCP:
      throw TransportError(
        errno: EPROTONOSUPPORT, text: "the emulated datapath opens no TCP sockets for probes yet")
    case .bindUDP(let local):
      let socket = try kernel.openSocket(.udp(local.address.family), in: namespace) {
        (stack, socket) throws(KernelError) in
        try stack.bind(socket, to: SocketAddress(local.address, local.port))
      }
      return EmulatedEndpoint(thread, node, socket, isEcho: false)
    case .echo(let family, let hopLimit):
      let socket = try kernel.openSocket(.ping(family), in: namespace) {
        (stack, socket) throws(KernelError) in
        try stack.setOption(.receiveErrors(true), on: socket)
        if let hopLimit { try stack.setOption(.ttl(Int(hopLimit)), on: socket) }
      }
      return EmulatedEndpoint(thread, node, socket, isEcho: true)
    }
  }

  // MARK: NodeEndpoint

  func localEndpoint() async throws(DatapathError) -> SocketEndpoint {
    let socket = socket
    let result: Result<SocketEndpoint, TransportError> = await thread.perform { kernel in
      do throws(KernelError) {
        let name = try kernel.stack.localName(of: socket)
        return .success(SocketEndpoint(name.address, name.port))
      } catch {
        return .failure(TransportError(error))
      }
    }
    return try get(result, "read the address of a socket")
  }

  func accept(
    timeout: Interval
  ) async throws(DatapathError) -> (connection: any NodeEndpoint, peer: SocketEndpoint) {
    throw failure("accept a connection", TransportError(errno: EOPNOTSUPP))
  }

  func send(_ bytes: [UInt8], to destination: SocketEndpoint?) async throws(DatapathError) {
    var message = bytes
    if isEcho {
      let number = sequence.withLock { number in
        number &+= 1
        return number
      }
      message = EchoMessage.header(destination?.address.family ?? .ipv4, number: number) + bytes
    }
    let (socket, data) = (socket, message)
    let peer = destination.map { SocketAddress($0.address, $0.port) }
    let result: Result<Void, TransportError> = await wait(for: .out, Self.sendPatience) {
      (kernel) throws(KernelError) in
      try kernel.stack.send(data, on: socket, to: peer)
    }
    try get(result, "send \(bytes.count) bytes" + (destination.map { " to \($0)" } ?? ""))
  }

  /// A queue that does not empty for so long is stuck.
  private static let sendPatience = Interval.seconds(30)

  func receive(limit: Int, timeout: Interval) async throws(DatapathError) -> Datagram {
    let (socket, isEcho) = (socket, isEcho)
    let header = isEcho ? EchoMessage.headerLength : 0
    let result = await wait(for: .in, timeout) { (kernel) throws(KernelError) in
      if isEcho, let report = kernel.takeICMPError(of: socket) { return report }
      var bytes: [UInt8] = []
      let message = try kernel.stack.receive(socket, into: &bytes, limit: max(limit, 0) + header)
      bytes.removeFirst(min(header, bytes.count))
      let source = message.source ?? SocketAddress(.v4(.any))
      return Datagram(
        bytes: bytes, source: SocketEndpoint(source.address, isEcho ? 0 : source.port), hopLimit: message.ttl)
    }
    return try get(result, "receive")
  }

  func close() async { Self.close(socket, on: thread) }

  // MARK: Waiting

  /// What `body` gives as soon as it does not say EAGAIN any more.
  private func wait<Value: Sendable>(
    for interest: Readiness, _ timeout: Interval,
    _ body: @Sendable @escaping (EmulatedKernel) throws(KernelError) -> Value
  ) async -> Result<Value, TransportError> {
    let (socket, thread) = (socket, thread)
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        thread.submit { kernel in
          kernel.wait(for: interest, on: socket, until: kernel.stack.now + timeout) { kernel in
            do throws(KernelError) {
              continuation.resume(returning: .success(try body(kernel)))
            } catch {
              if error.errno == EAGAIN { return false }
              continuation.resume(returning: .failure(TransportError(error)))
            }
            return true
          } expire: { error in
            continuation.resume(returning: .failure(error))
          }
        }
      }
    } onCancel: {
      thread.submit { kernel in
        kernel.endWait(on: socket, TransportError(errno: ECANCELED, text: "nobody waits any longer"))
      }
    }
  }

  private func get<Value>(
    _ result: Result<Value, TransportError>, _ operation: String
  ) throws(DatapathError) -> Value {
    do throws(TransportError) { return try result.get() } catch { throw failure(operation, error) }
  }

  private func failure(_ operation: String, _ error: TransportError) -> DatapathError {
    DatapathError(
      error.errno == ETIMEDOUT ? .timeout : .refused, operation: operation, path: StatePath(.node(node)),
      errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
  }
}

extension EmulatedKernel {
  /// Makes a socket and prepares it; it is closed again when that fails.
  func openSocket(
    _ kind: SocketKind, in namespace: NamespaceIndex,
    _ prepare: (inout Kernel, SocketIndex) throws(KernelError) -> Void
  ) throws(TransportError) -> SocketIndex {
    do throws(KernelError) {
      let socket = try stack.makeSocket(kind, in: namespace)
      do throws(KernelError) { try prepare(&stack, socket) } catch {
        stack.close(socket)
        throw error
      }
      return socket
    } catch {
      throw TransportError(error)
    }
  }

  /// Closes a socket; who waits for it is told.
  func closeSocket(_ socket: SocketIndex) {
    endWait(on: socket, TransportError(errno: EBADF, text: "the socket is closed"))
    stack.close(socket)
  }

  /// The oldest ICMP error about what the socket has sent; nil when there is none.
  func takeICMPError(of socket: SocketIndex) -> Datagram? {
    // What the error is about it tells itself; that there is none is no error.
    while let report = try? stack.receiveError(socket) {
      guard report.origin != .local, let offender = report.offender else { continue }
      return Datagram(
        bytes: [], source: SocketEndpoint(offender, 0),
        error: ICMPError(type: report.type, code: report.code, family: offender.family))
    }
    return nil
  }
}
