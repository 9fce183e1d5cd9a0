// SPDX-License-Identifier: GPL-2.0-or-later

// The client's side of the control socket.

import CLinux
import Glibc
public import LabCore
import Synchronization
public import SystemPackage

/// A connection to a lab process. Any number of requests may be under way at a time. Closed with the object.
public final class LabConnection: Sendable {
  typealias Answer = (reply: ControlReply, payload: [UInt8], descriptors: [OwnedDescriptor])

  /// Who takes an event that answers a request; false for an answer that is none: the last.
  typealias Follower = @Sendable (ControlReply) -> Bool

  /// Who waits for the answers to a request.
  private struct Pending: Sendable {
    var follow: Follower = { _ in false }
    var finish: @Sendable (Result<Answer, DatapathError>) -> Void
  }

  private struct State {
    var next: UInt64 = 1
    var pending: [UInt64: Pending] = [:]
    var failure: DatapathError?
    var peer: ControlGreeting?
    var greeted: CheckedContinuation<Result<ControlGreeting, DatapathError>, Never>?
  }

  /// Where the lab process writes what happens to it.
  public let log: String
  private let channel: ControlChannel
  private let state = Mutex(State())

  /// The lab process's number, as this process sees it.
  public let processID: Int32

  /// Connects to the lab process of the lab in `folder`. `notFound` when there is none.
  public static func open(folder: String) async throws(DatapathError) -> LabConnection {
    try await open(folder: folder, timeout: .seconds(10))
  }

  static func open(folder: String, timeout: Duration) async throws(DatapathError) -> LabConnection {
    let operation = "talk to the lab process of \(folder)"
    let directory = try LabServer.openFolder(folder)
    let socket = nf_control_connect(directory.descriptor.rawValue, LabServer.socketName)
    guard socket >= 0 else {
      if -socket == ENOENT || -socket == ECONNREFUSED {
        throw DatapathError(
          .notFound, operation: operation, errno: -socket, cause: "it does not run",
          remedy: "\(folder)/\(LabProcess.logName) says why it ended; bring the lab up again")
      }
      throw DatapathError(
        -socket == EACCES ? .permission : .unavailable, operation: operation, errno: -socket,
        cause: "\(Errno(rawValue: -socket))",
        remedy: -socket == EACCES ? "use the account that brought it up" : nil)
    }
    let file = FileDescriptor(rawValue: socket)
    var pid: pid_t = 0
    var uid: uid_t = 0
    guard nf_peer(socket, &pid, &uid) == 0, uid == geteuid() || geteuid() == 0 else {
      Glibc.close(socket)
      throw DatapathError(
        .permission, operation: operation, cause: "the process at the other end is user \(uid)'s",
        remedy: "use the account that brought the lab up")
    }
    return try await open(file, processID: pid, log: "\(folder)/\(LabProcess.logName)", timeout: timeout)
  }

  /// The number of the process that listens on the lab's control socket, without talking to it.
  static func peer(folder: String) -> Int32? {
    guard let directory = try? LabServer.openFolder(folder) else { return nil }
    let socket = nf_control_connect(directory.descriptor.rawValue, LabServer.socketName)
    guard socket >= 0 else { return nil }
    defer { Glibc.close(socket) }
    var pid: pid_t = 0
    var uid: uid_t = 0
    return nf_peer(socket, &pid, &uid) == 0 && pid > 1 ? pid : nil
  }

  /// Greets the other side of a connected socket, which is taken over.
  static func open(
    _ socket: FileDescriptor, processID: Int32, log: String, timeout: Duration = .seconds(10)
  ) async throws(DatapathError) -> LabConnection {
    let reactor: Reactor
    do {
      reactor = try Reactor.clients.get()
    } catch {
      Glibc.close(socket.rawValue)
      throw error
    }
    let connection = LabConnection(ControlChannel(socket, on: reactor), processID: processID, log: log)
    let operation = "talk to lab process \(processID)"
    let greeting = try ControlCoding.encode(ControlGreeting(pid: getpid(), lab: nil))
    let result = await withCheckedContinuation { continuation in
      connection.state.withLock { $0.greeted = continuation }
      connection.channel.send(greeting)
      connection.listen()
      reactor.after(timeout) { [weak connection] in
        connection?.greeted(
          .failure(
            DatapathError(.timeout, operation: operation, cause: "it does not answer", remedy: "see \(log)")))
      }
    }
    let peer = try result.get()
    if let complaint = peer.complaint {
      connection.close()
      throw DatapathError(
        .malformed, operation: operation, cause: complaint,
        remedy:
          "use the netforge that brought the lab up, or take it down with that and bring it up with this")
    }
    return connection
  }

  private init(_ channel: ControlChannel, processID: Int32, log: String) {
    self.channel = channel
    self.processID = processID
    self.log = log
  }

  deinit { channel.close() }

  /// Ends the connection; what is under way fails.
  public func close() { channel.close() }

  private func listen() {
    // Weak between packets: the connection ends with its last user, not with its reader.
    let packets = channel.packets
    Task { [weak self] in
      for await packet in packets {
        guard let self else { return }
        self.take(packet)
      }
      self?.ended()
    }
  }

  private func greeted(_ result: Result<ControlGreeting, DatapathError>) {
    let continuation = state.withLock { state in
      defer { state.greeted = nil }
      if case .success(let peer) = result { state.peer = peer }
      return state.greeted
    }
    continuation?.resume(returning: result)
  }

  private func take(_ packet: ControlPacket) {
    do throws(DatapathError) {
      guard state.withLock({ $0.peer != nil }) else {
        if let envelope = try? ControlCoding.decode(ControlEnvelope<ControlReply>.self, from: packet.bytes) {
          return deliver(envelope, packet)
        }
        return greeted(.success(try ControlCoding.decode(ControlGreeting.self, from: packet.bytes)))
      }
      let envelope = try ControlCoding.decode(ControlEnvelope<ControlReply>.self, from: packet.bytes)
      deliver(envelope, packet)
    } catch {
      fail(error)
      channel.close(error.cause)
    }
  }

  private func deliver(_ envelope: ControlEnvelope<ControlReply>, _ packet: ControlPacket) {
    if let pending = state.withLock({ $0.pending[envelope.id] }), pending.follow(envelope.body) { return }
    let pending = state.withLock { $0.pending.removeValue(forKey: envelope.id) }
    switch (pending, envelope.body) {
    case (let pending?, .failure(let error)): pending.finish(.failure(error))
    case (let pending?, let reply): pending.finish(.success((reply, packet.payload, packet.descriptors)))
    case (nil, .failure(let error)) where envelope.id == 0: fail(error)
    case (nil, _): break
    }
  }

  private func ended() {
    let reason = channel.failure.map { ": \($0)" } ?? ""
    fail(
      DatapathError(
        .unavailable, operation: "talk to lab process \(processID)",
        cause: "it has ended the connection\(reason)",
        remedy: "\(log) may say why; see netforge status"))
  }

  /// Fails all that is under way and all that will come. The first error counts.
  private func fail(_ error: DatapathError) {
    let (pending, failure) = state.withLock { state in
      defer { state.pending = [:] }
      let failure = state.failure ?? error
      state.failure = failure
      return (Array(state.pending.values), failure)
    }
    greeted(.failure(failure))
    for one in pending { one.finish(.failure(failure)) }
  }

  // MARK: Requests

  /// Sends a request and waits for its answer; `follow` takes events that come before it. A cancelled task cancels the
  /// request and still waits for its end.
  func request(
    _ request: ControlRequest, payload: [UInt8] = [], _ descriptors: [OwnedDescriptor] = [],
    follow: @escaping Follower = { _ in false }
  ) async throws(DatapathError) -> Answer {
    let id = number()
    let bytes = try ControlCoding.encode(ControlEnvelope(id: id, body: request))
    let answer = await withTaskCancellationHandler {
      await withCheckedContinuation {
        (continuation: CheckedContinuation<Result<Answer, DatapathError>, Never>) in
        let pending = Pending(follow: follow) { continuation.resume(returning: $0) }
        if let failure = enter(id, pending) {
          continuation.resume(returning: .failure(failure))
        } else {
          channel.send(bytes, payload: payload, descriptors)
          // Cancelled before it was sent: the first word of that came too early.
          if Task.isCancelled { cancel(id) }
        }
      }
    } onCancel: {
      cancel(id)
    }
    return try answer.get()
  }

  /// The same, for a request that is answered by `done`.
  func perform(
    _ request: ControlRequest, payload: [UInt8] = [], _ descriptors: [OwnedDescriptor] = []
  ) async throws(DatapathError) {
    guard case .done = try await self.request(request, payload: payload, descriptors).reply else {
      throw unexpected()
    }
  }

  /// Sends a request that is answered by events, as which `read` takes the answers.
  func events<Event: Sendable>(
    _ request: ControlRequest, _ read: @Sendable @escaping (ControlReply) -> Event?
  ) throws(DatapathError) -> AsyncStream<Event> {
    let id = number()
    let bytes = try ControlCoding.encode(ControlEnvelope(id: id, body: request))
    let (stream, continuation) = AsyncStream<Event>.makeStream()
    let pending = Pending(
      follow: { reply in
        guard let event = read(reply) else { return false }
        continuation.yield(event)
        return true
      }, finish: { _ in continuation.finish() })
    if let failure = enter(id, pending) { throw failure }
    // The stream keeps the connection, so that a follower needs nothing else.
    continuation.onTermination = { _ in self.cancel(id) }
    channel.send(bytes)
    return stream
  }

  func unexpected() -> DatapathError {
    DatapathError(
      .malformed, operation: "talk to lab process \(processID)", cause: "it answered what was not asked",
      remedy: "see \(log)")
  }

  private func number() -> UInt64 {
    state.withLock { state in
      defer { state.next += 1 }
      return state.next
    }
  }

  /// Notes who waits for an answer; the error when there can be none any more.
  private func enter(_ id: UInt64, _ pending: Pending) -> DatapathError? {
    state.withLock { state in
      if state.failure == nil { state.pending[id] = pending }
      return state.failure
    }
  }

  private func cancel(_ id: UInt64) {
    // Encoding a number cannot fail.
    guard let bytes = try? ControlCoding.encode(ControlEnvelope(id: 0, body: ControlRequest.cancel(id)))
    else { return }
    channel.send(bytes)
  }

  // MARK: The lab process itself

  /// The datapath that the lab process hosts.
  public var datapath: RemoteDatapath { RemoteDatapath(self) }

  /// Has the lab process make its lab as the rendered topology says. `lock`: the lab's, which the caller holds and lends
  /// until the answer is there. The document is the plan's, where the order wants it.
  public func up(
    _ order: UpOrder, topology: [UInt8], lock: FileDescriptor, follow: @escaping @Sendable (UpEvent) -> Void
  ) async throws(DatapathError) -> (outcome: UpOutcome, document: [UInt8]) {
    let answer = try await request(
      .up(order), payload: topology, [try RemoteDatapath.copy(of: lock)],
      follow: { reply in
        guard case .upEvent(let event) = reply else { return false }
        follow(event)
        return true
      })
    guard case .up(let outcome) = answer.reply else { throw unexpected() }
    return (outcome, answer.payload)
  }

  /// Makes programs, services and files of the nodes as `runtime` says.
  public func configure(_ runtime: LabRuntime) async throws(DatapathError) {
    try await perform(.configure(runtime))
  }

  /// Starts the programs and services of a node again.
  public func restart(_ node: NodeName) async throws(DatapathError) { try await perform(.restart(node)) }

  /// What the lab process is and what it keeps running.
  public func status() async throws(DatapathError) -> LabProcessStatus {
    guard case .status(let status) = try await request(.status).reply else { throw unexpected() }
    return status
  }

  /// The way into a node, for `exec` and `shell`.
  public func entry(_ node: NodeName) async throws(DatapathError) -> NodeEntry {
    let (reply, _, descriptors) = try await request(.entry(node))
    guard case .view(let view) = reply, descriptors.count == 1 || descriptors.count == 3 else {
      throw unexpected()
    }
    let isRootless = descriptors.count == 3
    return NodeEntry(
      node: node,
      namespaces: .held(
        user: isRootless ? descriptors[1] : nil, mount: isRootless ? descriptors[2] : nil,
        network: descriptors[0]),
      view: view)
  }

  /// Ends programs, services and the process itself. A rootless lab ends with it.
  public func shutdown() async throws(DatapathError) { try await perform(.shutdown) }

  /// The same; the connection ends when there is no answer in time.
  func shutdown(within limit: Duration) async throws(DatapathError) {
    let channel = channel
    try? Reactor.clients.get().after(limit) { channel.close("no answer in time") }
    try await shutdown()
  }
}

extension Reactor {
  /// The one thread for all connections of a client.
  static let clients: Result<Reactor, DatapathError> = {
    do throws(DatapathError) { return .success(try Reactor()) } catch { return .failure(error) }
  }()
}
