// SPDX-License-Identifier: GPL-2.0-or-later

// One client of the lab process. Requests run beside each other; what the client opened and started is closed and
// ended with its connection.

import CLinux
import Glibc
import LabCore
import Logging
import NetTypes
import Synchronization
import SystemPackage

final class LabSession: Sendable {
  /// Requests of one client that run at a time, and things that it may hold open.
  static let requestLimit = 1024
  static let handleLimit = 65536
  /// Bytes that one `receive` gives.
  static let receiveLimit = 16 << 20

  private struct State {
    var tasks: [UInt64: Task<Void, Never>] = [:]
    var processes: [UInt64: any NodeProcess] = [:]
    var endpoints: [UInt64: any NodeEndpoint] = [:]
    var next: UInt64 = 1
    /// The client has gone: what is opened or started from now on has no owner.
    var isOver = false
  }

  private let server: LabServer
  private let channel: ControlChannel
  private let state = Mutex(State())

  init(_ server: LabServer, _ channel: ControlChannel) {
    self.server = server
    self.channel = channel
  }

  /// Serves the client until its connection ends.
  func run() async {
    var isGreeted = false
    for await packet in channel.packets {
      do throws(DatapathError) {
        if isGreeted {
          try await handle(packet)
        } else {
          try greet(packet)
          isGreeted = true
        }
      } catch {
        // Who does not keep to the protocol is told so and left.
        server.logger.warning("ended a connection: \(error)")
        answer(0, .failure(error))
        channel.close(error.cause)
        break
      }
    }
    await finish()
  }

  private func greet(_ packet: ControlPacket) throws(DatapathError) {
    let greeting = try ControlCoding.decode(ControlGreeting.self, from: packet.bytes)
    channel.send(try ControlCoding.encode(ControlGreeting(pid: getpid(), lab: server.lab)))
    if let complaint = greeting.complaint {
      throw DatapathError(.malformed, operation: "talk to process \(greeting.pid)", cause: complaint)
    }
  }

  private func handle(_ packet: ControlPacket) async throws(DatapathError) {
    let envelope = try ControlCoding.decode(ControlEnvelope<ControlRequest>.self, from: packet.bytes)
    let id = envelope.id
    if case .cancel(let other) = envelope.body {
      state.withLock { $0.tasks[other] }?.cancel()
      return
    }
    let complaint: String? = state.withLock { state in
      if state.tasks[id] != nil { return "the number \(id) is in use" }
      return state.tasks.count < Self.requestLimit ? nil : "more than \(Self.requestLimit) requests at a time"
    }
    if let complaint { throw DatapathError(.malformed, operation: "take a request", cause: complaint) }
    // The task must find itself in the table when it removes itself.
    state.withLock { state in
      state.tasks[id] = Task {
        do throws(DatapathError) {
          try await self.perform(envelope.body, id, packet)
        } catch {
          self.answer(id, .failure(error))
        }
        self.state.withLock { _ = $0.tasks.removeValue(forKey: id) }
      }
    }
  }

  private func answer(
    _ id: UInt64, _ reply: ControlReply, payload: [UInt8] = [], _ descriptors: [OwnedDescriptor] = []
  ) {
    do {
      let message = try ControlCoding.encode(ControlEnvelope(id: id, body: reply))
      channel.send(message, payload: payload, descriptors)
    } catch {
      channel.close(error.cause)
    }
  }

  /// Ends what the client left behind.
  private func finish() async {
    let left = state.withLock { state in
      defer { state = State(isOver: true) }
      return state
    }
    for task in left.tasks.values { task.cancel() }
    for endpoint in left.endpoints.values { await endpoint.close() }
    for process in left.processes.values {
      // One that has ended already is as wanted.
      try? await process.signal(SIGKILL)
      _ = try? await process.wait()
    }
  }

  // MARK: Requests

  private func perform(
    _ request: ControlRequest, _ id: UInt64, _ packet: ControlPacket
  ) async throws(DatapathError) {
    let datapath = server.datapath
    switch request {
    case .limitations(let desired, let runtime):
      answer(id, .limitations(try await datapath.limitations(for: desired, running: runtime)))
    case .observe(let lab, let scope):
      answer(id, .observation(try await datapath.observe(own(lab), scope: scope)))
    case .apply(let batch, let lab):
      try await datapath.apply(batch, to: own(lab))
      answer(id, .done)
    case .remove(let lab):
      try await datapath.remove(own(lab))
      answer(id, .done)
    case .changes(let lab):
      for await event in try await datapath.changes(of: own(lab)) { answer(id, .event(event)) }
      answer(id, .done)
    case .inspect(let question, let namespace, let lab):
      answer(id, .inspected(try await datapath.inspect(question, in: namespace, of: own(lab))))
    case .connectionEvents(let namespace, let lab):
      for await event in try await datapath.connectionEvents(in: namespace, of: own(lab)) {
        answer(id, .connectionEvent(event))
      }
      answer(id, .done)
    case .capture(let wanted, let lab):
      guard let output = packet.descriptors.first else { throw Self.missingDescriptors }
      try await datapath.capture(wanted, into: output.descriptor, of: own(lab))
      answer(id, .done)
    case .trace(let wanted, let lab): answer(id, .traced(try await datapath.trace(wanted, of: own(lab))))
    case .up(let order): try await bringUp(order, id, packet)
    case .configure(let runtime):
      _ = try own(runtime.lab)
      try await server.supervisor.configure(runtime)
      answer(id, .done)
    case .restart(let node):
      try await server.supervisor.restart(node)
      answer(id, .done)
    case .status: answer(id, .status(await server.status()))
    case .entry(let node): try enter(node, id)
    case .shutdown:
      await server.supervisor.stop()
      answer(id, .done)
      server.logger.info("ending, as a client asked")
      server.onShutdown()
    case .cancel: break
    case .spawn, .signal, .wait: try await performOnProcess(request, id, packet.descriptors)
    case .endpoint, .localEndpoint, .accept, .send, .receive, .finish, .close:
      try await performOnEndpoint(request, id, payload: packet.payload)
    }
  }

  private func bringUp(_ order: UpOrder, _ id: UInt64, _ packet: ControlPacket) async throws(DatapathError) {
    guard let lock = packet.descriptors.first else { throw Self.missingDescriptors }
    // Until nothing more is done: whoever finds the lab unlocked can have it brought up.
    defer { withExtendedLifetime(lock) {} }
    let (outcome, document) = try await server.carryOut(
      UpWork(
        order: order, topology: packet.payload, lock: lock.descriptor, lab: server.lab, folder: server.folder,
        kind: server.kind, datapath: server.datapath, tell: { self.answer(id, .upEvent($0)) },
        configure: { (runtime) throws(DatapathError) in
          try await self.server.supervisor.configure(runtime)
        }))
    answer(id, .up(outcome), payload: document)
  }

  private func performOnProcess(
    _ request: ControlRequest, _ id: UInt64, _ descriptors: [OwnedDescriptor]
  ) async throws(DatapathError) {
    switch request {
    case .spawn(let command, let node, let lab):
      guard descriptors.count == 3 else { throw Self.missingDescriptors }
      guard !command.arguments.isEmpty else {
        throw DatapathError(.malformed, operation: "start a program", cause: "it is not named")
      }
      let io = ProcessIO(
        input: descriptors[0].descriptor, output: descriptors[1].descriptor, error: descriptors[2].descriptor)
      let process = try await server.datapath.spawn(command, in: node, of: own(lab), io: io)
      guard let handle = hold({ $0.processes[$1] = process }) else {
        try await process.signal(SIGKILL)
        _ = try await process.wait()
        throw Self.tooMuch
      }
      answer(id, .process(handle, pid: process.processID))
    case .signal(let handle, let number):
      try await process(handle).signal(number)
      answer(id, .done)
    case .wait(let handle):
      let exit = try await process(handle).wait()
      state.withLock { _ = $0.processes.removeValue(forKey: handle) }
      answer(id, .exit(exit))
    default: break
    }
  }

  private func performOnEndpoint(
    _ request: ControlRequest, _ id: UInt64, payload: [UInt8]
  ) async throws(DatapathError) {
    switch request {
    case .endpoint(let wanted, let node, let lab):
      let endpoint = try await server.datapath.endpoint(wanted, in: node, of: own(lab))
      answer(id, .endpoint(try await hold(endpoint)))
    case .localEndpoint(let handle): answer(id, .local(try await endpoint(handle).localEndpoint()))
    case .accept(let handle, let timeout):
      let (connection, peer) = try await endpoint(handle).accept(timeout: timeout)
      answer(id, .accepted(try await hold(connection), peer))
    case .send(let handle, let destination):
      try await endpoint(handle).send(payload, to: destination)
      answer(id, .done)
    case .receive(let handle, let limit, let timeout):
      let limit = min(max(limit, 0), Self.receiveLimit)
      let datagram = try await endpoint(handle).receive(limit: limit, timeout: timeout)
      answer(
        id, .datagram(datagram.source, hopLimit: datagram.hopLimit, error: datagram.error),
        payload: datagram.bytes)
    case .finish(let handle):
      try await endpoint(handle).finish()
      answer(id, .done)
    case .close(let handle):
      await state.withLock({ $0.endpoints.removeValue(forKey: handle) })?.close()
      answer(id, .done)
    default: break
    }
  }

  /// Hands over the namespaces of a node. The user and mount namespaces only when they are this process's own.
  private func enter(_ node: NodeName, _ id: UInt64) throws(DatapathError) {
    guard server.kind != .emulated else {
      throw DatapathError(
        .unavailable, operation: "start a program", path: StatePath(.node(node)),
        cause: "the emulated datapath runs no programs yet", remedy: "use --datapath kernel or rootless")
    }
    let view = try NodeView.read(of: node, folder: server.folder)
    let path = NodeEntry.path(of: node, in: server.lab)
    var descriptors = [try LabSupervisor.openNamespace(path, node: node, lab: server.lab)]
    if server.kind == .rootless {
      for own in ["user", "mnt"] {
        descriptors.append(
          try LabSupervisor.openNamespace("/proc/self/ns/\(own)", node: node, lab: server.lab))
      }
    }
    answer(id, .view(view), descriptors)
  }

  // MARK: What the client holds

  private static let missingDescriptors = DatapathError(
    .malformed, operation: "take a request", cause: "its descriptors did not come with it")

  private func own(_ lab: LabName) throws(DatapathError) -> LabName {
    guard lab == server.lab else {
      throw DatapathError(
        .notFound, operation: "work on lab '\(lab)'", cause: "this process serves lab '\(server.lab)'")
    }
    return lab
  }

  /// Nil when the client has gone or holds too much already.
  private func hold(_ keep: (inout State, UInt64) -> Void) -> UInt64? {
    state.withLock { state in
      guard !state.isOver, state.processes.count + state.endpoints.count < Self.handleLimit else {
        return nil
      }
      defer { state.next += 1 }
      keep(&state, state.next)
      return state.next
    }
  }

  private func hold(_ endpoint: any NodeEndpoint) async throws(DatapathError) -> UInt64 {
    if let handle = hold({ $0.endpoints[$1] = endpoint }) { return handle }
    await endpoint.close()
    throw Self.tooMuch
  }

  private static let tooMuch = DatapathError(
    .refused, operation: "take a request", cause: "too many sockets and programs are open")

  private func process(_ handle: UInt64) throws(DatapathError) -> any NodeProcess {
    guard let process = state.withLock({ $0.processes[handle] }) else {
      throw Self.unknown("program", handle)
    }
    return process
  }

  private func endpoint(_ handle: UInt64) throws(DatapathError) -> any NodeEndpoint {
    guard let endpoint = state.withLock({ $0.endpoints[handle] }) else {
      throw Self.unknown("socket", handle)
    }
    return endpoint
  }

  private static func unknown(_ what: String, _ handle: UInt64) -> DatapathError {
    DatapathError(.notFound, operation: "use \(what) \(handle)", cause: "it was closed or never opened")
  }
}
