// SPDX-License-Identifier: GPL-2.0-or-later

// A socket in a node. It belongs to the node's namespace since it was opened there, and is used from anywhere.

import CLinux
import Glibc
import LabCore
import LabProcess
import LinuxObjects
import NetTypes
import Netlink
import Synchronization

/// A TCP, UDP or ICMP echo socket. Never blocks by itself: every wait is a poll with a deadline.
final class NodeSocket: NodeEndpoint {
  private enum Kind: Sendable {
    case listener, datagram
    /// With its other end, which the kernel forgets before the last bytes are read.
    case stream(SocketEndpoint)
    case echo(IPFamily)
    case arrivals(IPFamily)
  }

  private let node: NodeName
  private let kind: Kind
  /// -1 when it is closed.
  private let descriptor: Mutex<Int32>
  /// The number of the last echo request.
  private let sequence = Mutex<UInt16>(0)

  private init(_ node: NodeName, _ kind: Kind, _ descriptor: Int32) {
    self.node = node
    self.kind = kind
    self.descriptor = Mutex(descriptor)
  }

  deinit { Self.close(descriptor) }

  private static func close(_ descriptor: borrowing Mutex<Int32>) {
    descriptor.withLock { number in
      if number >= 0 { _ = Glibc.close(number) }
      number = -1
    }
  }

  // MARK: Opening

  /// Opens what is asked for in the namespace of the calling thread; a connection has yet to be made.
  static func open(_ request: EndpointRequest, in node: NodeName) throws(TransportError) -> NodeSocket {
    switch request {
    case .listenTCP(let local):
      let socket = try make(node, .listener, local.address.family, SOCK_STREAM, 0)
      try socket.set(SOL_SOCKET, SO_REUSEADDR, 1)
      try socket.bind(local)
      try check(Glibc.listen(socket.number, 128))
      return socket
    case .connectTCP(let remote, let source, _):
      let socket = try make(node, .stream(remote), remote.address.family, SOCK_STREAM, 0)
      if let source {
        // One that has ended keeps its port for a while.
        if source.port != 0 { try socket.set(SOL_SOCKET, SO_REUSEADDR, 1) }
        try socket.bind(source)
      }
      return socket
    case .bindUDP(let local):
      let socket = try make(node, .datagram, local.address.family, SOCK_DGRAM, 0)
      try socket.tellHopLimit(local.address.family)
      try socket.bind(local)
      return socket
    case .echo(let family, let options):
      let number = family == .ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6
      let socket = try make(node, .echo(family), family, SOCK_DGRAM, Int32(number))
      try socket.tellHopLimit(family)
      let level = Int32(family == .ipv4 ? IPPROTO_IP : IPPROTO_IPV6)
      try socket.set(level, family == .ipv4 ? IP_RECVERR : IPV6_RECVERR, 1)
      if let hopLimit = options.hopLimit {
        try socket.set(level, family == .ipv4 ? IP_TTL : IPV6_UNICAST_HOPS, Int32(hopLimit))
      }
      if options.isWhole {
        let option = family == .ipv4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER
        try socket.set(level, option, family == .ipv4 ? IP_PMTUDISC_PROBE : IPV6_PMTUDISC_PROBE)
      }
      if let source = options.source { try socket.bind(SocketEndpoint(source, 0)) }
      return socket
    case .arrivals(let family, let number):
      let socket = try make(node, .arrivals(family), family, SOCK_RAW, Int32(number))
      try socket.tellHopLimit(family)
      return socket
    }
  }

  private static func make(
    _ node: NodeName, _ kind: Kind, _ family: IPFamily, _ type: __socket_type, _ number: Int32
  ) throws(TransportError) -> NodeSocket {
    let flags = Int32(type.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let descriptor = socket(family == .ipv4 ? AF_INET : AF_INET6, flags, number)
    try check(descriptor)
    return NodeSocket(node, kind, descriptor)
  }

  private static func check(_ result: Int32) throws(TransportError) {
    if result < 0 { throw TransportError(errno: errno) }
  }

  private var number: Int32 { descriptor.withLock { $0 } }

  private func set(_ level: Int32, _ option: Int32, _ value: Int32) throws(TransportError) {
    var value = value
    try Self.check(setsockopt(number, level, option, &value, socklen_t(MemoryLayout<Int32>.size)))
  }

  private func tellHopLimit(_ family: IPFamily) throws(TransportError) {
    if family == .ipv4 {
      try set(Int32(IPPROTO_IP), IP_RECVTTL, 1)
    } else {
      try set(Int32(IPPROTO_IPV6), IPV6_RECVHOPLIMIT, 1)
    }
  }

  private func bind(_ local: SocketEndpoint) throws(TransportError) {
    let address = SocketAddress(local)
    try Self.check(address.withPointer { Glibc.bind(number, $0, $1) })
  }

  // MARK: NodeEndpoint

  func connect(to remote: SocketEndpoint, timeout: Interval) async throws(DatapathError) {
    try await run("connect to \(remote)") { (number) throws(TransportError) in
      let address = SocketAddress(remote)
      if address.withPointer({ Glibc.connect(number, $0, $1) }) == 0 { return }
      guard errno == EINPROGRESS else { throw TransportError(errno: errno) }
      try Self.wait(number, POLLOUT, timeout)
      var failure: Int32 = 0
      var length = socklen_t(MemoryLayout<Int32>.size)
      try Self.check(getsockopt(number, SOL_SOCKET, SO_ERROR, &failure, &length))
      if failure != 0 { throw TransportError(errno: failure) }
    }
  }

  func localEndpoint() async throws(DatapathError) -> SocketEndpoint {
    do throws(TransportError) {
      return try SocketAddress.reading { getsockname(number, $0, $1) }
    } catch {
      throw failure("read the address of a socket", error)
    }
  }

  func accept(timeout: Interval) async throws(DatapathError) -> (
    connection: any NodeEndpoint, peer: SocketEndpoint
  ) {
    let node = node
    let (descriptor, peer) = try await run("accept a connection") { (number) throws(TransportError) in
      try Self.wait(number, POLLIN, timeout)
      var descriptor: Int32 = -1
      let peer = try SocketAddress.reading { address, length in
        descriptor = Glibc.accept(number, address, length)
        return descriptor < 0 ? -1 : 0
      }
      // accept4(2) is hidden from Swift.
      _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
      _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
      return (descriptor, peer)
    }
    return (NodeSocket(node, .stream(peer), descriptor), peer)
  }

  func send(_ bytes: [UInt8], to destination: SocketEndpoint?) async throws(DatapathError) {
    let message: [UInt8]
    if case .echo(let family) = kind {
      message = EchoMessage.header(family, number: nextNumber()) + bytes
    } else {
      message = bytes
    }
    try await run("send \(bytes.count) bytes" + (destination.map { " to \($0)" } ?? "")) {
      (number) throws(TransportError) in
      var sent = 0
      repeat {
        let rest = message[sent...]
        let count = rest.withUnsafeBytes { buffer in
          guard let destination else {
            return Glibc.send(number, buffer.baseAddress, buffer.count, Self.noSignal)
          }
          return SocketAddress(destination).withPointer {
            sendto(number, buffer.baseAddress, buffer.count, Self.noSignal, $0, $1)
          }
        }
        if count >= 0 {
          sent += count
        } else if errno == EAGAIN {
          try Self.wait(number, POLLOUT, Self.sendPatience)
        } else if errno != EINTR {
          throw TransportError(errno: errno)
        }
      } while sent < message.count
    }
  }

  private static var noSignal: Int32 { Int32(truncatingIfNeeded: MSG_NOSIGNAL) }

  /// A receiver that takes nothing for so long is gone.
  private static let sendPatience = Interval.seconds(30)

  func receive(limit: Int, timeout: Interval) async throws(DatapathError) -> Datagram {
    let isEcho = if case .echo = kind { true } else { false }
    let peer: SocketEndpoint? = if case .stream(let peer) = kind { peer } else { nil }
    let size = min(max(limit, 0), 1 << 20) + (isEcho ? EchoMessage.headerLength : 0)
    var datagram = try await run("receive") { (number) throws(TransportError) in
      while true {
        try Self.wait(number, POLLIN, timeout)
        do throws(TransportError) { return try Reception.receive(number, size, peer: peer) } catch {
          // What the socket's error is about, its error queue tells.
          if isEcho, let report = Reception.report(number) { return report }
          guard error.errno == EAGAIN || error.errno == EINTR else { throw error }
        }
      }
    }
    if isEcho { datagram.bytes.removeFirst(min(EchoMessage.headerLength, datagram.bytes.count)) }
    if case .arrivals(let family) = kind { datagram.removeRawHeader(family) }
    return datagram
  }

  func finish() async throws(DatapathError) {
    try await run("end a connection") { (number) throws(TransportError) in
      try Self.check(Glibc.shutdown(number, Int32(SHUT_WR)))
    }
  }

  func close() async { Self.close(descriptor) }

  private func nextNumber() -> UInt16 {
    sequence.withLock { number in
      number &+= 1
      return number
    }
  }

  // MARK: Waiting

  private func run<Value: Sendable>(
    _ operation: String, _ body: @Sendable @escaping (Int32) throws(TransportError) -> Value
  ) async throws(DatapathError) -> Value {
    let number = number
    guard number >= 0 else {
      throw failure(operation, TransportError(errno: EBADF, text: "the socket is closed"))
    }
    let result: Result<Value, TransportError> = await blocking {
      do throws(TransportError) { return .success(try body(number)) } catch { return .failure(error) }
    }
    do throws(TransportError) { return try result.get() } catch { throw failure(operation, error) }
  }

  private func failure(_ operation: String, _ error: TransportError) -> DatapathError {
    DatapathError(
      error.errno == ETIMEDOUT ? .timeout : .refused, operation: operation, path: StatePath(.node(node)),
      errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
  }

  private static func wait(_ number: Int32, _ events: Int32, _ timeout: Interval) throws(TransportError) {
    let clock = MonotonicClock()
    let deadline = clock.now() + timeout
    while true {
      let left = max((deadline - clock.now()).nanoseconds, 0)
      var entry = pollfd(fd: number, events: Int16(truncatingIfNeeded: events), revents: 0)
      let count = poll(&entry, 1, Int32(clamping: (left + 999_999) / 1_000_000))
      if count > 0 { return }
      if count == 0 { throw TransportError(errno: ETIMEDOUT, text: "nothing came in time") }
      if errno != EINTR { throw TransportError(errno: errno) }
    }
  }
}
