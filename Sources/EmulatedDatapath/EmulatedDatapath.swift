// SPDX-License-Identifier: GPL-2.0-or-later

// A datapath over a kernel of our own: one lab in this process, which needs no privilege for it. What it does is what the
// host's kernel would do with the same plans, since both speak `LinuxObjects`; what it cannot do it says beforehand.

import Glibc
public import LabCore
import LinuxObjects
import NetStack
import NetTypes
import Rtnetlink
import Synchronization

/// A lab in the emulated kernel.
public final class EmulatedDatapath: Datapath {
  /// The lab that this kernel is for.
  public let lab: LabName
  public let clock: any LabClock

  /// One a CPU.
  let threads: [KernelThread]
  let placement: Placement
  private let standstill: Standstill
  /// What the lab may do in the host's own network.
  let host: HostNetwork
  /// The last lab that was asked about, and what was answered.
  let rehearsed = Mutex<(state: LabState, limitations: [Limitation])?>(nil)

  /// CPUs at most.
  public static let maximumCPUs = Machine.maximumCPUs

  /// Starts an emulated kernel with nothing in it.
  /// - Parameters:
  ///   - seed: of everything that the kernel leaves to chance; left out, the lab's name chooses.
  ///   - time: the host's, or a virtual one that moves only while everybody waits.
  ///   - cpus: threads that carry the packets. Virtual time has one.
  ///   - host: what the lab may do in the host's own network.
  public init(
    lab: LabName, seed: UInt64? = nil, time: TimeKind = .real, cpus: Int = 1,
    host: HostAccess = .none
  ) throws(DatapathError) {
    self.lab = lab
    self.host = HostNetwork(host, time)
    let virtual = time == .virtual ? VirtualTime() : nil
    placement = Placement(cpus: time == .virtual ? 1 : max(1, min(cpus, Self.maximumCPUs)))
    standstill = try Standstill(cpus: placement.cpus)
    threads = try KernelThread.start(
      lab: lab, seed: seed ?? UInt64(Ownership.hash(lab.text, seed: 0)), placement, virtual)
    if let virtual { clock = VirtualClock(threads[0], virtual) } else { clock = MonotonicClock() }
  }

  /// What moves an emulated kernel's clock.
  public enum TimeKind: Hashable, Sendable { case real, virtual }

  /// The thread of the CPU that a namespace stands on.
  func thread(of namespace: NamespaceID) -> KernelThread { threads[placement.cpu(of: namespace)] }

  /// Does a piece of work on the kernel that a namespace stands in.
  func perform<Value: Sendable>(
    on lab: LabName, in namespace: NamespaceID, _ operation: String,
    _ body: @Sendable @escaping (EmulatedKernel) throws(DatapathError) -> Value
  ) async throws(DatapathError) -> Value {
    try await perform(on: lab, by: thread(of: namespace), operation, body)
  }

  /// Does a piece of work on one CPU's kernel.
  func perform<Value: Sendable>(
    on lab: LabName, by thread: KernelThread, _ operation: String,
    _ body: @Sendable @escaping (EmulatedKernel) throws(DatapathError) -> Value
  ) async throws(DatapathError) -> Value {
    guard lab == self.lab else {
      throw DatapathError(
        .notFound, operation: operation, cause: "this emulated kernel is lab '\(self.lab)'s alone")
    }
    let result: Result<Value, DatapathError> = await thread.perform { kernel in
      do throws(DatapathError) { return .success(try body(kernel)) } catch { return .failure(error) }
    }
    return try result.get()
  }

  /// Does a piece of work on the lab as a whole, while all its CPUs stand still.
  func performTogether<Value: Sendable>(
    on lab: LabName, _ operation: String,
    _ body: @Sendable @escaping (EmulatedMachine) throws(DatapathError) -> Value
  ) async throws(DatapathError) -> Value {
    let (standstill, others) = (standstill, Array(threads.dropFirst()))
    return try await perform(on: lab, by: threads[0], operation) { (kernel) throws(DatapathError) in
      let result: Result<Value, DatapathError> = standstill.with(kernel, others) { kernels in
        let machine = EmulatedMachine(kernels)
        machine.settle()
        defer { machine.settle() }
        do throws(DatapathError) { return .success(try body(machine)) } catch { return .failure(error) }
      }
      return try result.get()
    }
  }

  // MARK: Datapath

  public func apply(_ batch: Plan.Batch, to lab: LabName) async throws(DatapathError) {
    let usesStandIn = host.usesStandIn
    let share = try await performTogether(on: lab, "change lab '\(lab)'") {
      (machine) throws(DatapathError) in
      let share = HostShare(of: batch, edges: machine.edges)
      var applier = Applier(lab: lab, kernel: machine)
      applier.learn(machine.tables)
      do throws(DatapathError) {
        try applier.apply(share.inside)
        if usesStandIn, !share.outside.changes.isEmpty {
          try machine.makeStandIn()
          try applier.apply(share.outside)
        }
      } catch {
        machine.tables = [:]
        throw error
      }
      machine.tables = applier.known
      machine.follow(share)
      return share
    }
    guard !share.isInside else { return }
    if !usesStandIn, !share.outside.changes.isEmpty {
      try await host.datapath().apply(share.outside, to: lab)
    }
    try await performTogether(on: lab, "join lab '\(lab)' to the host") { (machine) throws(DatapathError) in
      if usesStandIn { try machine.openGateways() }
      try machine.openTaps(ofPairs: !usesStandIn)
    }
  }

  public func remove(_ lab: LabName) async throws(DatapathError) {
    try await performTogether(on: lab, "remove lab '\(lab)'") { (machine) throws(DatapathError) in
      machine.removeAll()
    }
    try await host.opened?.remove(lab)
  }

  public func observe(_ lab: LabName, scope: Scope) async throws(DatapathError) -> Observation {
    let (reading, edges) = try await performTogether(on: lab, "observe lab '\(lab)'") {
      (machine) throws(DatapathError) in
      do throws(TransportError) { return (try machine.read(scope), machine.edges) } catch {
        throw Self.misunderstood(error, lab)
      }
    }
    var observation: Observation
    do throws(TransportError) { observation = try await reading.observation(of: lab) } catch {
      throw Self.misunderstood(error, lab)
    }
    observation.join(edges)
    if host.usesStandIn { observation.unmarked.namespaces.removeAll { $0.id == .host } }
    guard host.refusal == nil, let part = scope.onHost, part.asksForSomething || host.opened != nil else {
      return observation
    }
    observation.add(host: try await host.datapath().observe(lab, scope: part))
    observation.join(edges)
    return observation
  }

  /// A kernel of ours that does not answer as it should.
  private static func misunderstood(_ error: TransportError, _ lab: LabName) -> DatapathError {
    DatapathError(
      .bug, operation: "observe lab '\(lab)'", errno: error.errno == 0 ? nil : error.errno,
      cause: error.cause, remedy: "please report it")
  }

  public func spawn(
    _ command: Command, in node: NodeName, of lab: LabName, io: ProcessIO
  ) async throws(DatapathError) -> any NodeProcess {
    throw Self.noPrograms(node)
  }

  /// Why no program runs in a node.
  static func noPrograms(_ node: NodeName) -> DatapathError {
    DatapathError(
      .unavailable, operation: "start a program", path: StatePath(.node(node)),
      cause: "the emulated datapath runs no programs yet", remedy: "use --datapath kernel or rootless")
  }

  public func endpoint(
    _ request: EndpointRequest, in node: NodeName, of lab: LabName
  ) async throws(DatapathError) -> any NodeEndpoint {
    let thread = thread(of: .node(node))
    let endpoint = try await perform(on: lab, by: thread, "open a socket") { (kernel) throws(DatapathError) in
      do throws(TransportError) {
        return try EmulatedEndpoint.open(request, in: node, kernel, thread)
      } catch {
        throw DatapathError(
          .refused, operation: "open a socket", path: StatePath(.node(node)),
          errno: error.errno == 0 ? nil : error.errno, cause: error.cause)
      }
    }
    if case .connectTCP(let remote, _, let timeout) = request {
      try await endpoint.finishConnecting(to: remote, timeout: timeout)
    }
    return endpoint
  }
}
