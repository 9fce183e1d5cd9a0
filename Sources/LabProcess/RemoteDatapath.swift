// SPDX-License-Identifier: GPL-2.0-or-later

// A datapath at the other end of a control socket. Errors come as the hosted datapath threw them.

import CLinux
import Glibc
public import LabCore
import NetTypes
public import SystemPackage

/// The datapath that a lab process hosts.
public struct RemoteDatapath: Datapath {
  /// The lab process behind it.
  public let connection: LabConnection
  /// The host's own clock: both ends stand on one machine.
  public let clock: any LabClock = MonotonicClock()

  init(_ connection: LabConnection) { self.connection = connection }

  public func limitations(
    for desired: LabState, running runtime: LabRuntime
  ) async throws(DatapathError) -> [Limitation] {
    let reply = try await connection.request(.limitations(desired, runtime)).reply
    guard case .limitations(let list) = reply else { throw connection.unexpected() }
    return list
  }

  public func observe(_ lab: LabName, scope: Scope) async throws(DatapathError) -> Observation {
    guard case .observation(let observation) = try await connection.request(.observe(lab, scope)).reply else {
      throw connection.unexpected()
    }
    return observation
  }

  public func apply(_ batch: Plan.Batch, to lab: LabName) async throws(DatapathError) {
    try await connection.perform(.apply(batch, lab))
  }

  public func remove(_ lab: LabName) async throws(DatapathError) {
    try await connection.perform(.remove(lab))
  }

  public func changes(of lab: LabName) async throws(DatapathError) -> ChangeStream {
    ChangeStream(
      try connection.events(.changes(lab)) { reply in
        if case .event(let event) = reply { event } else { nil }
      })
  }

  public func connectionEvents(
    in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> AsyncStream<ConnectionEvent> {
    try connection.events(.connectionEvents(namespace, lab)) { reply in
      if case .connectionEvent(let event) = reply { event } else { nil }
    }
  }

  public func spawn(
    _ command: Command, in node: NodeName, of lab: LabName, io: ProcessIO
  ) async throws(DatapathError) -> any NodeProcess {
    var descriptors: [OwnedDescriptor] = []
    for file in [io.input, io.output, io.error] { descriptors.append(try Self.copy(of: file)) }
    let reply = try await connection.request(.spawn(command, node, lab), descriptors).reply
    guard case .process(let handle, let pid) = reply else { throw connection.unexpected() }
    return RemoteProcess(connection, handle, processID: pid)
  }

  public func endpoint(
    _ request: EndpointRequest, in node: NodeName, of lab: LabName
  ) async throws(DatapathError) -> any NodeEndpoint {
    let reply = try await connection.request(.endpoint(request, node, lab)).reply
    guard case .endpoint(let handle) = reply else { throw connection.unexpected() }
    return RemoteEndpoint(connection, handle)
  }

  public func inspect(
    _ question: Inspection, in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> InspectionAnswer {
    let reply = try await connection.request(.inspect(question, namespace, lab)).reply
    guard case .inspected(let answer) = reply else { throw connection.unexpected() }
    return answer
  }

  public func capture(
    _ request: CaptureRequest, into descriptor: FileDescriptor, of lab: LabName
  ) async throws(DatapathError) {
    try await connection.perform(.capture(request, lab), [try Self.copy(of: descriptor)])
  }

  public func trace(_ request: TraceRequest, of lab: LabName) async throws(DatapathError) -> TraceReport {
    guard case .traced(let report) = try await connection.request(.trace(request, lab)).reply else {
      throw connection.unexpected()
    }
    return report
  }

  /// The caller's descriptor stays the caller's; a copy travels.
  static func copy(of file: FileDescriptor) throws(DatapathError) -> OwnedDescriptor {
    let copy = fcntl(file.rawValue, F_DUPFD_CLOEXEC, 3)
    guard copy >= 0 else {
      throw DatapathError(
        .unavailable, operation: "hand descriptor \(file.rawValue) over", errno: errno,
        cause: "\(Errno(rawValue: errno))")
    }
    return OwnedDescriptor(FileDescriptor(rawValue: copy))
  }
}

/// A program that a lab process started; it ends with the connection.
struct RemoteProcess: NodeProcess {
  let processID: Int32
  private let connection: LabConnection
  private let handle: UInt64

  init(_ connection: LabConnection, _ handle: UInt64, processID: Int32) {
    self.connection = connection
    self.handle = handle
    self.processID = processID
  }

  func signal(_ number: Int32) async throws(DatapathError) {
    try await connection.perform(.signal(process: handle, number))
  }

  func wait() async throws(DatapathError) -> ProcessExit {
    guard case .exit(let exit) = try await connection.request(.wait(process: handle)).reply else {
      throw connection.unexpected()
    }
    return exit
  }
}

/// A socket that a lab process holds.
struct RemoteEndpoint: NodeEndpoint {
  private let connection: LabConnection
  private let handle: UInt64

  init(_ connection: LabConnection, _ handle: UInt64) {
    self.connection = connection
    self.handle = handle
  }

  func localEndpoint() async throws(DatapathError) -> SocketEndpoint {
    guard case .local(let endpoint) = try await connection.request(.localEndpoint(handle)).reply else {
      throw connection.unexpected()
    }
    return endpoint
  }

  func accept(
    timeout: Interval
  ) async throws(DatapathError) -> (connection: any NodeEndpoint, peer: SocketEndpoint) {
    guard
      case .accepted(let accepted, let peer) = try await connection.request(.accept(handle, timeout)).reply
    else {
      throw connection.unexpected()
    }
    return (RemoteEndpoint(connection, accepted), peer)
  }

  func send(_ bytes: [UInt8], to destination: SocketEndpoint?) async throws(DatapathError) {
    try await connection.perform(.send(handle, destination), payload: bytes)
  }

  func receive(limit: Int, timeout: Interval) async throws(DatapathError) -> Datagram {
    let answer = try await connection.request(.receive(handle, limit: limit, timeout))
    guard case .datagram(let source, let hopLimit, let error) = answer.reply else {
      throw connection.unexpected()
    }
    return Datagram(bytes: answer.payload, source: source, hopLimit: hopLimit, error: error)
  }

  func finish() async throws(DatapathError) { try await connection.perform(.finish(handle)) }

  func close() async {
    // A connection that has ended has closed it.
    try? await connection.perform(.close(handle))
  }
}
