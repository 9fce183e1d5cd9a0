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
  private enum Kind: Sendable {
    case listener, datagram, echo
    /// With its other end.
    case stream(SocketEndpoint)
    case arrivals(IPFamily)
  }

  private let handle: SocketHandle
  private let kind: Kind
  /// The number of the last echo request.
  private let sequence = Mutex<UInt16>(0)

  private init(_ thread: KernelThread, _ node: NodeName, _ socket: SocketIndex, _ kind: Kind) {
    self.thread = thread
    self.node = node
    handle = SocketHandle(socket)
    self.kind = kind
  }

  private var isEcho: Bool { if case .echo = kind { true } else { false } }

  deinit { thread.submit { [handle] kernel in kernel.close(handle) } }

  /// Opens what is asked for; a connection has yet to stand. On the kernel's thread.
  static func open(
    _ request: EndpointRequest, in node: NodeName, _ kernel: EmulatedKernel, _ thread: KernelThread
  ) throws(TransportError) -> EmulatedEndpoint {
    let namespace = try kernel.index(of: .node(node))
    switch request {
    case .listenTCP(let local):
      let socket = try kernel.openSocket(.tcp(local.address.family), in: namespace) {
        (stack, socket) throws(KernelError) in
        try stack.setOption(.reuseAddress(true), on: socket)
        try stack.bind(socket, to: SocketAddress(local.address, local.port))
        try stack.listen(socket, backlog: 512)
      }
      return EmulatedEndpoint(thread, node, socket, .listener)
    case .connectTCP(let remote, let source, _):
      let socket = try kernel.openSocket(.tcp(remote.address.family), in: namespace) {
        (stack, socket) throws(KernelError) in
        if let source {
          if source.port != 0 { try stack.setOption(.reuseAddress(true), on: socket) }
          try stack.bind(socket, to: SocketAddress(source.address, source.port))
        }
        do throws(KernelError) {
          try stack.connect(socket, to: SocketAddress(remote.address, remote.port))
        } catch {
          guard error.errno == EINPROGRESS else { throw error }
        }
      }
      return EmulatedEndpoint(thread, node, socket, .stream(remote))
    case .bindUDP(let local):
      let socket = try kernel.openSocket(.udp(local.address.family), in: namespace) {
        (stack, socket) throws(KernelError) in
        try stack.bind(socket, to: SocketAddress(local.address, local.port))
      }
      return EmulatedEndpoint(thread, node, socket, .datagram)
    case .echo(let family, let options):
      let socket = try kernel.openSocket(.ping(family), in: namespace) {
        (stack, socket) throws(KernelError) in
        try stack.setOption(.receiveErrors(true), on: socket)
        if let hopLimit = options.hopLimit { try stack.setOption(.ttl(Int(hopLimit)), on: socket) }
        if options.isWhole { try stack.setOption(.pathMTUDiscovery(.probe), on: socket) }
        if let source = options.source { try stack.bind(socket, to: SocketAddress(source, 0)) }
      }
      return EmulatedEndpoint(thread, node, socket, .echo)
    case .arrivals(let family, let number):
      let socket = try kernel.openSocket(.raw(family, number), in: namespace) { _, _ in }
      return EmulatedEndpoint(thread, node, socket, .arrivals(family))
    }
  }

  /// Returns when the connection stands.
  func finishConnecting(to remote: SocketEndpoint, timeout: Interval) async throws(DatapathError) {
    let socket = handle.index
    let result: Result<Void, TransportError> = await wait(for: .out, timeout) {
      (kernel) throws(TransportError) in
      let ready = kernel.stack.readiness(of: socket)
      guard !ready.isDisjoint(with: [.out, .error, .hangUp]) else { throw TransportError(errno: EAGAIN) }
      let error = kernel.stack.takeError(of: socket)
      guard error == 0 else { throw TransportError(errno: error) }
    }
    try get(result, "connect to \(remote)")
  }

  // MARK: NodeEndpoint

  func localEndpoint() async throws(DatapathError) -> SocketEndpoint {
    let handle = handle
    let result: Result<SocketEndpoint, TransportError> = await thread.perform { kernel in
      guard handle.isOpen else { return .failure(SocketHandle.closed) }
      do throws(KernelError) {
        let name = try kernel.stack.localName(of: handle.index)
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
    let socket = handle.index
    let result = await waitForKernel(for: .in, timeout) { (kernel) throws(KernelError) in
      let connection = try kernel.stack.accept(socket)
      do throws(KernelError) { return (connection, try kernel.stack.peerName(of: connection)) } catch {
        // It has ended already.
        kernel.stack.close(connection)
        throw error
      }
    }
    let (connection, peer) = try get(result, "accept a connection")
    let name = SocketEndpoint(peer.address, peer.port)
    return (EmulatedEndpoint(thread, node, connection, .stream(name)), name)
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
    let socket = handle.index
    let peer = destination.map { SocketAddress($0.address, $0.port) }
    // A stream takes as much as there is room for, a datagram goes whole.
    var sent = 0
    repeat {
      let data = sent == 0 ? message : Array(message[sent...])
      let result = await waitForKernel(for: .out, Self.sendPatience) { (kernel) throws(KernelError) in
        try kernel.stack.send(data, on: socket, to: peer)
      }
      sent += try get(result, "send \(bytes.count) bytes" + (destination.map { " to \($0)" } ?? ""))
    } while sent < message.count
  }

  /// A queue that does not empty for so long is stuck.
  private static let sendPatience = Interval.seconds(30)

  func receive(limit: Int, timeout: Interval) async throws(DatapathError) -> Datagram {
    let (socket, kind, isEcho) = (handle.index, kind, isEcho)
    let header = isEcho ? EchoMessage.headerLength : 0
    let result: Result<Datagram, TransportError> = await wait(for: .in, timeout) {
      (kernel) throws(TransportError) in
      if isEcho, let report = kernel.takeICMPError(of: socket) { return report }
      var bytes: [UInt8] = []
      let message: ReceivedMessage
      do throws(KernelError) {
        message = try kernel.stack.receive(socket, into: &bytes, limit: max(limit, 0) + header)
      } catch {
        throw TransportError(error)
      }
      bytes.removeFirst(min(header, bytes.count))
      if case .stream(let peer) = kind { return Datagram(bytes: bytes, source: peer) }
      guard let source = message.source else { throw TransportError(errno: ENOTCONN) }
      var datagram = Datagram(
        bytes: bytes, source: SocketEndpoint(source.address, isEcho ? 0 : source.port),
        hopLimit: message.ttl)
      if case .arrivals(let family) = kind { datagram.removeRawHeader(family) }
      return datagram
    }
    return try get(result, "receive")
  }

  func finish() async throws(DatapathError) {
    let handle = handle
    let result: Result<Void, TransportError> = await thread.perform { kernel in
      guard handle.isOpen else { return .failure(SocketHandle.closed) }
      do throws(KernelError) { return .success(try kernel.stack.shutdown(handle.index, .send)) } catch {
        return .failure(TransportError(error))
      }
    }
    try get(result, "end a connection")
  }

  /// Returns when it is closed: of several that a task closes, each has a turn of its own, the same in every run.
  func close() async { await thread.perform { [handle] kernel in kernel.close(handle) } }

  // MARK: Waiting

  /// What the kernel gives as soon as it does not say EAGAIN any more.
  private func waitForKernel<Value: Sendable>(
    for interest: Readiness, _ timeout: Interval,
    _ body: @Sendable @escaping (EmulatedKernel) throws(KernelError) -> Value
  ) async -> Result<Value, TransportError> {
    await wait(for: interest, timeout) { (kernel) throws(TransportError) in
      do throws(KernelError) { return try body(kernel) } catch { throw TransportError(error) }
    }
  }

  private func wait<Value: Sendable>(
    for interest: Readiness, _ timeout: Interval,
    _ body: @Sendable @escaping (EmulatedKernel) throws(TransportError) -> Value
  ) async -> Result<Value, TransportError> {
    let (handle, thread, cancellation) = (handle, thread, Cancellation())
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        thread.submit { kernel in
          guard !cancellation.isRequested else {
            return continuation.resume(returning: .failure(Cancellation.error))
          }
          guard handle.isOpen else { return continuation.resume(returning: .failure(SocketHandle.closed)) }
          kernel.wait(
            for: interest, on: handle.index, until: kernel.stack.now + timeout, isTask: true
          ) { kernel in
            do throws(TransportError) {
              continuation.resume(returning: .success(try body(kernel)))
            } catch {
              if error.errno == EAGAIN { return false }
              continuation.resume(returning: .failure(error))
            }
            return true
          } expire: { error in
            continuation.resume(returning: .failure(error))
          }
        }
      }
    } onCancel: {
      cancellation.request()
      thread.submit { kernel in
        if handle.isOpen { kernel.endWait(on: handle.index, Cancellation.error) }
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

/// A socket of an endpoint: once it is closed, its number may be another's. Sendable because only the kernel's thread
/// touches what changes.
private final class SocketHandle: @unchecked Sendable {
  let index: SocketIndex
  var isOpen = true

  init(_ index: SocketIndex) { self.index = index }

  static let closed = TransportError(errno: EBADF, text: "the socket is closed")
}

/// Says that a wait that may not have begun yet is wanted no longer.
final class Cancellation: Sendable {
  private let flag = Atomic(false)

  var isRequested: Bool { flag.load(ordering: .acquiring) }

  func request() { flag.store(true, ordering: .releasing) }

  static let error = TransportError(errno: ECANCELED, text: "nobody waits any longer")
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

  fileprivate func close(_ handle: SocketHandle) {
    guard handle.isOpen else { return }
    handle.isOpen = false
    closeSocket(handle.index)
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
