// SPDX-License-Identifier: GPL-2.0-or-later

// The emulated kernel under the reconciler: what a plan makes is what is observed, and a failure leaves what was.

import Glibc
import LabCore
import NetTypes
import Reconcile
import SystemPackage
import Testing

@testable import EmulatedDatapath

@Suite("Emulated datapath")
struct EmulatedDatapathTests {
  @Test("A lab comes up, needs nothing more, and is changed in place", arguments: [1, 3])
  func lifecycle(cpus: Int) async throws {
    let lab = try StarLab("emu-lifecycle", cpus: cpus)
    let state = try lab.star(nodes: 5)
    #expect(try await !lab.up(state).isEmpty)
    #expect(try await lab.up(state).isEmpty)
    let other = try lab.star(nodes: 5, mtu: 1300)
    let plan = try await lab.up(other)
    #expect(
      plan.changes.allSatisfy { $0.operation == .update && $0.path.attribute == .mtu }, "\(plan.text())")
    #expect(try await lab.plan(other).isEmpty)
    // A setting that is not asked for any more goes back to what a new namespace has.
    var set = other
    let node = try #require(set.namespaces.firstIndex { $0.id.node != nil })
    set.namespaces[node].sysctls.append(SysctlState(name: "net/ipv4/ip_default_ttl", value: "33"))
    set.namespaces[node].sort()
    try await lab.up(set)
    #expect(try await lab.observe(set).namespaces[node].sysctls.contains { $0.value == "33" })
    try await lab.up(other)
    #expect(try await lab.observe(set).namespaces[node].sysctls.contains { $0.value == "64" })
    // A node more and a node less leave the others as they are.
    let smaller = try lab.star(nodes: 3, mtu: 1300)
    try await lab.up(smaller)
    #expect(try await lab.observe(smaller).namespaces.count == 4)
    try await lab.datapath.remove(lab.name)
    #expect(try await lab.observe(smaller).namespaces.isEmpty)
  }

  @Test("A change that fails half way leaves the lab as it was", arguments: [1, 7, 20, 33], [1, 2])
  func rollback(changes: Int, cpus: Int) async throws {
    let lab = try StarLab("emu-rollback-\(changes)", cpus: cpus)
    let state = try lab.star(nodes: 3)
    try await lab.up(state)
    let before = try await lab.observe(state)
    await #expect(throws: ReconcileError.self) {
      try await lab.up(lab.star(nodes: 6, mtu: 1300), by: FailingDatapath(lab.datapath, after: changes))
    }
    #expect(try await lab.observe(state) == before)
    #expect(try await lab.plan(state).isEmpty)
  }

  @Test("What the kernel does not know is said with its object, before anything is changed")
  func limitations() async throws {
    let lab = try StarLab("emu-limits")
    var state = try lab.star(nodes: 2)
    let space = try #require(state.namespaces.firstIndex { $0.id.node != nil })
    state.namespaces[space].links.append(LinkState(name: "wg0", kind: .other("wireguard")))
    state.namespaces.append(
      NamespaceState(id: .host, links: [LinkState(name: "up0", kind: .veth(peer: nil))]))
    let place = SourceLocation(file: "x.swift", line: 7)
    let node = try #require(state.namespaces[space].id.node)
    let runtime = LabRuntime(
      lab: lab.name,
      nodes: [NodeRuntime(node: node, programs: [NodeProgram(arguments: ["true"], location: place)])])
    let limitations = try await lab.datapath.limitations(for: state, running: runtime)
    let paths = limitations.map { $0.path?.description ?? "" }
    #expect(paths.contains("/nodes/n0/links/wg0"), "\(limitations)")
    #expect(paths.contains("/host/links/up0"), "\(limitations)")
    #expect(limitations.contains { $0.location == place }, "\(limitations)")
    #expect(try await lab.observe(state).namespaces.isEmpty)
    #expect(
      try await lab.datapath.limitations(for: lab.star(nodes: 2), running: LabRuntime(lab: lab.name)) == [])
  }

  @Test("Whoever follows a lab hears of devices, addresses and neighbours")
  func changes() async throws {
    let lab = try StarLab("emu-events")
    try await lab.up(lab.star(nodes: 2))
    let stream = try await lab.datapath.changes(of: lab.name)
    let collected = Task {
      var events: [ChangeEvent] = []
      for await event in stream {
        events.append(event)
        if events.count > 500 || event.path.namespace.node?.text == "n2" { break }
      }
      return events
    }
    let node = try #require(NodeName("n0"))
    let echo = try await lab.datapath.endpoint(.echo(.ipv4), in: node, of: lab.name)
    try await echo.send([1], to: SocketEndpoint(.v4(IPv4Address(10, 77, 0, 2)), 0))
    _ = try await echo.receive(limit: 10, timeout: .seconds(5))
    try await lab.up(lab.star(nodes: 2, mtu: 1300))
    // A node that comes later is followed too, and ends the wait.
    try await lab.up(lab.star(nodes: 3, mtu: 1300))
    let lines = await collected.value.map { "\($0.action.rawValue) \($0.path): \($0.summary)" }
    func has(_ text: String) -> Bool { lines.contains { $0.contains(text) } }
    #expect(has("/nodes/n0/neighbors/eth0/10.77.0.2"), "\(lines)")
    #expect(has("changed /nodes/n1/links/eth0: link eth0 up"), "\(lines)")
    #expect(has("/switch/links/p0"), "\(lines)")
    #expect(has("added /switch/fdb/p0/02:00:00:00:00:01"), "\(lines)")
  }

  @Test("An idle lab of a hundred nodes sleeps")
  func idle() async throws {
    let lab = try StarLab("emu-idle")
    try await lab.up(lab.star(nodes: 100))
    let begin = await Self.threadTime(lab)
    try await Task.sleep(for: .seconds(2))
    let used = await Self.threadTime(lab) - begin
    #expect(used < .milliseconds(20), "\(used) of 2 s")
  }

  private static func threadTime(_ lab: StarLab) async -> Duration {
    await lab.datapath.threads[0].perform { _ in
      var time = timespec()
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
      return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }
  }
}

/// A datapath that refuses the lab's first batch after some of its changes, and does all that comes later.
private final class FailingDatapath: Datapath {
  private let inner: EmulatedDatapath
  private let remaining: Remaining

  private actor Remaining {
    var changes: Int
    var hasFailed = false

    init(_ changes: Int) { self.changes = changes }

    /// How many changes of a batch may be carried out; nil for all.
    func allowed(of count: Int) -> Int? {
      guard !hasFailed, count > changes else {
        changes -= hasFailed ? 0 : count
        return nil
      }
      hasFailed = true
      return changes
    }
  }

  init(_ inner: EmulatedDatapath, after changes: Int) {
    self.inner = inner
    remaining = Remaining(changes)
  }

  var clock: any LabClock { inner.clock }

  func limitations(
    for desired: LabState, running runtime: LabRuntime
  ) async throws(DatapathError) -> [Limitation] {
    try await inner.limitations(for: desired, running: runtime)
  }

  func observe(_ lab: LabName, scope: Scope) async throws(DatapathError) -> Observation {
    try await inner.observe(lab, scope: scope)
  }

  func apply(_ batch: Plan.Batch, to lab: LabName) async throws(DatapathError) {
    guard let allowed = await remaining.allowed(of: batch.changes.count) else {
      return try await inner.apply(batch, to: lab)
    }
    try await inner.apply(
      Plan.Batch(title: batch.title, changes: Array(batch.changes.prefix(allowed))), to: lab)
    throw DatapathError(.refused, operation: "go on", cause: "refused by a test")
  }

  func remove(_ lab: LabName) async throws(DatapathError) { try await inner.remove(lab) }

  func changes(of lab: LabName) async throws(DatapathError) -> ChangeStream {
    try await inner.changes(of: lab)
  }

  func spawn(
    _ command: Command, in node: NodeName, of lab: LabName, io: ProcessIO
  ) async throws(DatapathError) -> any NodeProcess {
    try await inner.spawn(command, in: node, of: lab, io: io)
  }

  func endpoint(
    _ request: EndpointRequest, in node: NodeName, of lab: LabName
  ) async throws(DatapathError) -> any NodeEndpoint {
    try await inner.endpoint(request, in: node, of: lab)
  }

  func inspect(
    _ question: Inspection, in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> InspectionAnswer {
    try await inner.inspect(question, in: namespace, of: lab)
  }

  func trace(_ request: TraceRequest, of lab: LabName) async throws(DatapathError) -> TraceReport {
    try await inner.trace(request, of: lab)
  }

  func connectionEvents(
    in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> AsyncStream<ConnectionEvent> {
    try await inner.connectionEvents(in: namespace, of: lab)
  }

  func capture(
    _ request: CaptureRequest, into descriptor: FileDescriptor, of lab: LabName
  ) async throws(DatapathError) {
    try await inner.capture(request, into: descriptor, of: lab)
  }
}
