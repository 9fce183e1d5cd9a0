// SPDX-License-Identifier: GPL-2.0-or-later

// A netlink socket for requests: many messages in one system call, each failure told of the message that failed,
// dumps that are whole. It belongs to the network namespace in which it was opened, whoever uses it.
//
// The kernel works through a batch while sendmsg runs, goes on after an error, and has queued every answer when it
// returns; so an acknowledgement of the last message alone says that all went before it.

import CLinux
import CMnl
import Glibc
public import Rtnetlink
import Synchronization
public import SystemPackage

/// Sees each message before it is sent, with the label of the socket's namespace, and may answer it with an error
/// in the kernel's place. For tests that make any message of an operation fail.
public typealias NetlinkInterposer = @Sendable (NetlinkMessage, String) -> Errno?

/// A socket to one of the kernel's netlink families.
public final class NetlinkSocket: Sendable {
  /// The part of the kernel that a socket speaks to.
  public enum Family: Int32, Sendable {
    case route = 0  // NETLINK_ROUTE
    case socketDiagnosis = 4  // NETLINK_SOCK_DIAG
    case netfilter = 12  // NETLINK_NETFILTER
  }

  /// Which messages of a batch the kernel acknowledges. Errors come back in any case.
  public enum Acknowledgement: Sendable {
    /// The last: fewest answers, and the same knowledge.
    case last
    /// All: warnings beside success are told too.
    case each
  }

  /// What became of one message of a batch.
  public struct Outcome: Sendable {
    /// Nil when it was done.
    public var error: NetlinkError?
    /// What the kernel answered to a GET or an echo.
    public var answers: [NetlinkMessage] = []
    /// The kernel's words beside success.
    public var warning: String?
  }

  /// What errors call the namespace of the socket.
  public let label: String
  /// The socket's address in netlink, chosen by the kernel.
  public let port: UInt32
  /// For poll(2) and for libraries that do their own input and output. The socket stays its owner.
  public let descriptor: Int32

  private let family: Family
  private let interposer: NetlinkInterposer?
  private let state: Mutex<State>

  /// Answers longer than this are an error; the kernel fills at most 32 KiB at once in a dump.
  static let receiveBufferSize = 65536
  /// Asked for; the kernel may give less to who is not root.
  static let socketBufferSize: Int32 = 1 << 20
  static let dumpAttempts = 16
  /// The kernel answers while the request is sent, so that a wait is a fault of ours or of the kernel's.
  static let answerTimeoutSeconds = 30

  /// Opens a socket in the calling thread's network namespace.
  public init(
    _ family: Family = .route, label: String = "host", interposer: NetlinkInterposer? = nil
  ) throws(NetlinkError) {
    guard let socket = mnl_socket_open2(family.rawValue, Int32(SOCK_CLOEXEC.rawValue)) else {
      throw .system("opening a netlink socket in namespace '\(label)'", -errno)
    }
    guard mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 else {
      let number = errno
      mnl_socket_close(socket)
      throw .system("binding a netlink socket in namespace '\(label)'", -number)
    }
    self.label = label
    self.family = family
    self.interposer = interposer
    port = mnl_socket_get_portid(socket)
    descriptor = mnl_socket_get_fd(socket)
    Self.setOptions(socket, descriptor, strict: family == .route)
    state = Mutex(State(handle: MnlHandle(socket, receiveBufferSize: Self.receiveBufferSize)))
  }

  private static func setOptions(_ socket: OpaquePointer, _ descriptor: Int32, strict: Bool) {
    // Kernels since 4.20 know all three; one that does not gives shorter answers and no harm is done.
    var on: Int32 = 1
    let size = socklen_t(MemoryLayout<Int32>.size)
    _ = mnl_socket_setsockopt(socket, NETLINK_EXT_ACK, &on, size)
    _ = mnl_socket_setsockopt(socket, NETLINK_CAP_ACK, &on, size)
    if strict { _ = mnl_socket_setsockopt(socket, NETLINK_GET_STRICT_CHK, &on, size) }
    var timeout = timeval(tv_sec: answerTimeoutSeconds, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
  }

  /// The number of the socket's namespace, which no other gets as long as the kernel runs (SO_NETNS_COOKIE).
  /// - Throws: ENOPROTOOPT before Linux 5.14.
  public func namespaceCookie() throws(NetlinkError) -> UInt64 {
    var cookie: UInt64 = 0
    var size = socklen_t(MemoryLayout<UInt64>.size)
    guard getsockopt(descriptor, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) == 0 else {
      throw .system("reading the cookie of namespace '\(label)'", -errno)
    }
    return cookie
  }

  /// Sends many messages and tells what became of each, in their order. Not atomic: the kernel goes on after an error.
  /// - Throws: when the socket itself failed, so that it is not known what became of the messages.
  public func transact(
    _ messages: [NetlinkMessage], acknowledge: Acknowledgement = .last
  ) throws(NetlinkError) -> [Outcome] {
    var outcomes = [Outcome](repeating: Outcome(), count: messages.count)
    var pending: [Int] = []
    pending.reserveCapacity(messages.count)
    for (index, message) in messages.enumerated() {
      if let error = refusal(of: message) { outcomes[index].error = error } else { pending.append(index) }
    }
    try exchange(messages, pending[...], acknowledge, &outcomes)
    return outcomes
  }

  /// Sends one message; its answers, none for most requests.
  @discardableResult
  public func request(_ message: NetlinkMessage) throws(NetlinkError) -> [NetlinkMessage] {
    let outcome = try transact([message])[0]
    if let error = outcome.error { throw error }
    return outcome.answers
  }

  /// Reads a whole table. A dump that the kernel marks as interrupted by a change is drained and asked for again.
  public func dump(_ message: NetlinkMessage) throws(NetlinkError) -> [NetlinkMessage] {
    if let error = refusal(of: message, isDump: true) { throw error }
    for _ in 0..<Self.dumpAttempts {
      if let answers = try state.withLock({ (state) throws(NetlinkError) in try dumpOnce(message, &state) }) {
        return answers
      }
    }
    throw NetlinkError(.dumpInterrupted, operation(of: message))
  }

  /// Reads a whole table of typed messages.
  public func dump<Message: RtnetlinkMessage>(
    _ request: NetlinkMessage, as type: Message.Type
  ) throws(NetlinkError) -> [Message] {
    var result: [Message] = []
    for answer in try dump(request) {
      do throws(NetlinkDecodingError) {
        result.append(try Message(answer))
      } catch {
        throw NetlinkError(.malformedAnswer, operation(of: request), detail: error.description)
      }
    }
    return result
  }

  // MARK: One exchange

  private func operation(of message: NetlinkMessage) -> String {
    // Each family counts its types by itself.
    let type = family == .socketDiagnosis ? "SOCK_DIAG_BY_FAMILY" : "\(message.type)"
    return "\(type) in namespace '\(label)'"
  }

  /// Why a message is not sent at all, if it is not.
  private func refusal(of message: NetlinkMessage, isDump: Bool = false) -> NetlinkError? {
    if let attribute = message.oversizedAttribute {
      return NetlinkError(
        .invalidRequest, operation(of: message), detail: "attribute \(attribute) is longer than 65535 bytes")
    }
    if message.flags.contains(.dump) != isDump, message.flags.isSuperset(of: .dump) || isDump {
      return NetlinkError(.invalidRequest, operation(of: message), detail: "dumps are sent one at a time")
    }
    if message.encodedLength > BatchLimits.smallest {
      let limits = state.withLock { $0.limits(descriptor) }
      if message.encodedLength > limits.bytes {
        return NetlinkError(
          .invalidRequest, operation(of: message),
          detail: "\(message.encodedLength) bytes are more than the socket's \(limits.bytes)")
      }
    }
    if let errno = interposer?(message, label) {
      return NetlinkError(.refused, operation(of: message), errno: errno, detail: "refused by a test")
    }
    return nil
  }

  private func exchange(
    _ messages: [NetlinkMessage], _ pending: ArraySlice<Int>, _ acknowledge: Acknowledgement,
    _ outcomes: inout [Outcome]
  ) throws(NetlinkError) {
    var rest = pending
    let limits = state.withLock { $0.limits(descriptor) }
    while !rest.isEmpty {
      let count = limits.prefix(of: rest, in: messages)
      let batch = rest.prefix(count)
      try state.withLock { (state) throws(NetlinkError) in
        try exchangeBatch(messages, batch, acknowledge, &outcomes, &state)
      }
      rest = rest.dropFirst(count)
    }
  }

  private func exchangeBatch(
    _ messages: [NetlinkMessage], _ batch: ArraySlice<Int>, _ acknowledge: Acknowledgement,
    _ outcomes: inout [Outcome], _ state: inout State
  ) throws(NetlinkError) {
    guard let lastIndex = batch.last else { return }
    let first = state.sequences(batch.count)
    state.sendBuffer.removeAll(keepingCapacity: true)
    for (position, index) in batch.enumerated() {
      var flags = messages[index].flags
      if index == lastIndex || acknowledge == .each { flags.insert(.acknowledge) }
      messages[index].encode(
        into: &state.sendBuffer, flags: flags, sequence: first &+ UInt32(truncatingIfNeeded: position))
    }
    try send(state, operation(of: messages[lastIndex]))
    var overrun = false
    defer { if overrun { setNonblocking(false) } }
    while true {
      let answers: [NetlinkMessage]
      do throws(NetlinkError) {
        answers = try receive(state, operation(of: messages[lastIndex]))
      } catch {
        // Answers are lost, the rest must still leave the queue; the last one may be among those lost.
        guard error.code == .overrun else { throw error }
        overrun = true
        setNonblocking(true)
        continue
      }
      guard !answers.isEmpty else { break }
      var isDone = false
      for answer in answers where answer.port == port {
        let position = Int(answer.sequence &- first)
        guard position < batch.count else { continue }
        let index = batch[batch.startIndex + position]
        try take(answer, of: messages[index], into: &outcomes[index])
        if answer.type == .error, index == lastIndex { isDone = true }
      }
      if isDone { break }
    }
    guard overrun else { return }
    throw NetlinkError(.overrun, "\(batch.count) messages in namespace '\(label)'", errno: .noBufferSpace)
  }

  private func take(
    _ answer: NetlinkMessage, of message: NetlinkMessage, into outcome: inout Outcome
  ) throws(NetlinkError) {
    guard answer.type == .error else {
      outcome.answers.append(answer)
      return
    }
    let acknowledgement = try acknowledgement(answer, of: message)
    if acknowledgement.isError {
      outcome.error = .refused(operation(of: message), acknowledgement)
    } else {
      outcome.warning = acknowledgement.text
    }
  }

  /// Nil when the dump was interrupted. All of it has been read when this returns or throws, else the kernel would
  /// answer the next dump with EBUSY.
  private func dumpOnce(
    _ message: NetlinkMessage, _ state: inout State
  ) throws(NetlinkError) -> [NetlinkMessage]? {
    let sequence = state.sequences(1)
    state.sendBuffer.removeAll(keepingCapacity: true)
    message.encode(into: &state.sendBuffer, flags: message.flags, sequence: sequence)
    try send(state, operation(of: message))
    var result: [NetlinkMessage] = []
    var interrupted = false
    var failure: NetlinkError?
    while true {
      let answers: [NetlinkMessage]
      do throws(NetlinkError) {
        answers = try receive(state, operation(of: message))
      } catch {
        guard [.truncatedAnswer, .malformedAnswer, .overrun].contains(error.code) else {
          throw failure ?? error
        }
        failure = failure ?? error
        continue
      }
      for answer in answers where answer.port == port && answer.sequence == sequence {
        if answer.flags.contains(.dumpInterrupted) { interrupted = true }
        guard answer.type == .done || answer.type == .error else {
          result.append(answer)
          continue
        }
        if let failure { throw failure }
        let end = try acknowledgement(answer, of: message)
        if end.isError { throw .refused(operation(of: message), end) }
        return interrupted ? nil : result
      }
    }
  }

  private func acknowledgement(
    _ answer: NetlinkMessage, of message: NetlinkMessage
  ) throws(NetlinkError) -> NetlinkAcknowledgement {
    do throws(NetlinkDecodingError) {
      return try NetlinkAcknowledgement(answer)
    } catch {
      throw NetlinkError(.malformedAnswer, operation(of: message), detail: error.description)
    }
  }

  private func send(
    _ state: borrowing State, _ operation: @autoclosure () -> String
  ) throws(NetlinkError) {
    let result = state.sendBuffer.withUnsafeBytes { bytes -> Int in
      while true {
        let sent = mnl_socket_sendto(state.handle.socket, bytes.baseAddress, bytes.count)
        if sent >= 0 { return sent }
        if errno != EINTR { return -Int(errno) }
      }
    }
    if result < 0 { throw .system("sending \(operation())", result) }
  }

  /// The messages of one datagram; none when the socket does not wait and nothing is there.
  private func receive(
    _ state: borrowing State, _ operation: @autoclosure () -> String
  ) throws(NetlinkError) -> [NetlinkMessage] {
    let buffer = state.handle.buffer
    while true {
      let count = mnl_socket_recvfrom(state.handle.socket, buffer.baseAddress, buffer.count)
      guard count < 0 else {
        do throws(NetlinkDecodingError) {
          return try NetlinkMessage.parse(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        } catch {
          throw NetlinkError(.malformedAnswer, operation(), detail: error.description)
        }
      }
      switch errno {
      case EINTR: continue
      case ENOSPC: throw NetlinkError(.truncatedAnswer, operation())
      case ENOBUFS: throw NetlinkError(.overrun, operation(), errno: .noBufferSpace)
      case EAGAIN where fcntl(descriptor, F_GETFL) & O_NONBLOCK != 0: return []
      case EAGAIN: throw NetlinkError(.noAnswer, operation())
      default: throw .system("receiving the answer to \(operation())", -errno)
      }
    }
  }

  private func setNonblocking(_ on: Bool) {
    let flags = fcntl(descriptor, F_GETFL)
    _ = fcntl(descriptor, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK)
  }
}

/// What one request at a time may touch.
private struct State: ~Copyable, Sendable {
  let handle: MnlHandle
  var sendBuffer: [UInt8] = []
  private var lastSequence: UInt32 = 0
  /// Nil until something is to be changed: reading goes by what a socket begins with.
  private var limits: BatchLimits?

  init(handle: consuming MnlHandle) { self.handle = handle }

  /// How much may be sent at once, now that room for it has been asked for.
  mutating func limits(_ descriptor: Int32) -> BatchLimits {
    if let limits { return limits }
    let size = NetlinkSocket.socketBufferSize
    SocketBuffer.enlarge(descriptor, send: size, receive: size)
    let limits = BatchLimits(descriptor)
    self.limits = limits
    return limits
  }

  /// The first of `count` numbers that no other request has.
  mutating func sequences(_ count: Int) -> UInt32 {
    let first = lastSequence &+ 1
    lastSequence = lastSequence &+ UInt32(truncatingIfNeeded: count)
    return first
  }
}

/// Owns libmnl's socket and the buffer that answers are received into.
private struct MnlHandle: ~Copyable, @unchecked Sendable {
  let socket: OpaquePointer
  let buffer: UnsafeMutableRawBufferPointer

  init(_ socket: OpaquePointer, receiveBufferSize: Int) {
    self.socket = socket
    buffer = .allocate(byteCount: receiveBufferSize, alignment: 16)
  }

  deinit {
    mnl_socket_close(socket)
    buffer.deallocate()
  }
}
