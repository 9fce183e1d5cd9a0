// SPDX-License-Identifier: GPL-2.0-or-later

// A datapath that answers with what it was asked, so that a test sees what travelled.

import Foundation
import LabCore
import NetTypes
import Spawn
import Synchronization
import SystemPackage

@testable import LabProcess

final class FakeDatapath: Datapath {
  let clock: any LabClock = MonotonicClock()
  let applied = Mutex<[Plan.Batch]>([])
  let removed = Mutex<[LabName]>([])
  let captureEnded = Atomic(false)
  let changesEnded = Atomic(false)
  let events = Mutex<AsyncStream<ChangeEvent>.Continuation?>(nil)
  let failure: DatapathError?
  static let gateway = IPAddress.v4(IPv4Address(10, 0, 0, 1))

  init(failure: DatapathError? = nil) { self.failure = failure }

  private func check() throws(DatapathError) {
    if let failure { throw failure }
  }

  func limitations(
    for desired: LabState, running runtime: LabRuntime
  ) async throws(DatapathError) -> [Limitation] {
    try check()
    return desired.namespaces.map { Limitation(path: StatePath($0.id), cause: "cause", remedy: "remedy") }
  }

  func observe(_ lab: LabName, scope: Scope) async throws(DatapathError) -> Observation {
    try check()
    let names = (scope.namespaces ?? []).sorted()
    return Observation(
      owned: LabState(lab: lab, namespaces: names.map { NamespaceState(id: $0) }),
      unmarked: LabState(lab: lab),
      foreign: scope.claims.sorted().map { ForeignObject(path: $0, detail: "theirs") })
  }

  func apply(_ batch: Plan.Batch, to lab: LabName) async throws(DatapathError) {
    try check()
    applied.withLock { $0.append(batch) }
  }

  func remove(_ lab: LabName) async throws(DatapathError) {
    try check()
    removed.withLock { $0.append(lab) }
  }

  func changes(of lab: LabName) async throws(DatapathError) -> ChangeStream {
    try check()
    let (stream, continuation) = AsyncStream<ChangeEvent>.makeStream()
    continuation.onTermination = { _ in self.changesEnded.store(true, ordering: .releasing) }
    events.withLock { $0 = continuation }
    return ChangeStream(stream)
  }

  func spawn(
    _ command: Command, in node: NodeName, of lab: LabName, io: ProcessIO
  ) async throws(DatapathError) -> any NodeProcess {
    try check()
    let entry = NodeEntry(node: node, namespaces: .path("/proc/self/ns/net"), view: .empty)
    return FakeProcess(child: try entry.spawn(command, io: io))
  }

  func endpoint(
    _ request: EndpointRequest, in node: NodeName, of lab: LabName
  ) async throws(DatapathError) -> any NodeEndpoint {
    try check()
    return FakeEndpoint()
  }

  func connectionEvents(
    in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> AsyncStream<ConnectionEvent> {
    try check()
    return AsyncStream { continuation in
      continuation.yield(ConnectionEvent(.gap, nil))
      continuation.finish()
    }
  }

  func inspect(
    _ question: Inspection, in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> InspectionAnswer {
    try check()
    return .neighbors([
      NeighborReport(
        link: "\(namespace)", address: Self.gateway, mac: nil, state: "\(question)", isRouter: true,
        isProxy: false)
    ])
  }

  func trace(_ request: TraceRequest, of lab: LabName) async throws(DatapathError) -> TraceReport {
    try check()
    return TraceReport(untold: [request.node.text])
  }

  func capture(
    _ request: CaptureRequest, into descriptor: FileDescriptor, of lab: LabName
  ) async throws(DatapathError) {
    try check()
    _ = try? descriptor.writeAll(Array("captured \(request.snapLength)".utf8))
    while !Task.isCancelled { try? await Task.sleep(for: .seconds(60)) }
    captureEnded.store(true, ordering: .releasing)
  }
}

struct FakeProcess: NodeProcess {
  let child: ChildProcess
  var processID: Int32 { child.pid }

  func signal(_ number: Int32) async throws(DatapathError) { child.kill(number) }

  func wait() async throws(DatapathError) -> ProcessExit {
    while true {
      if let exit = NodePrograms.exit(of: child) { return exit }
      try? await Task.sleep(for: .milliseconds(10))
    }
  }
}

/// Gives back what is sent, and connects to itself.
final class FakeEndpoint: NodeEndpoint {
  let sent = Mutex<[UInt8]>([])
  static let place = SocketEndpoint(.v4(IPv4Address(127, 0, 0, 1)), 80)

  func localEndpoint() async throws(DatapathError) -> SocketEndpoint { Self.place }

  func accept(
    timeout: Interval
  ) async throws(DatapathError) -> (connection: any NodeEndpoint, peer: SocketEndpoint) {
    (FakeEndpoint(), Self.place)
  }

  func send(_ bytes: [UInt8], to destination: SocketEndpoint?) async throws(DatapathError) {
    sent.withLock { $0 += bytes }
  }

  func receive(limit: Int, timeout: Interval) async throws(DatapathError) -> Datagram {
    guard timeout.nanoseconds > 0 else {
      throw DatapathError(.timeout, operation: "receive", cause: "nothing came")
    }
    return Datagram(bytes: sent.withLock { Array($0.prefix(limit)) }, source: Self.place, hopLimit: 63)
  }

  func finish() async throws(DatapathError) {}

  func close() async {}
}
