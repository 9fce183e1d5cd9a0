// SPDX-License-Identifier: GPL-2.0-or-later

public import NetTypes
public import SystemPackage

/// A place where a lab can be made real: the host's kernel as root, the same inside a user namespace, or netforge's own
/// stack. `Reconcile` speaks to this and knows none of them.
public protocol Datapath: Sendable {
  /// What cannot be done here for `desired` and for what shall run in it. Changes nothing.
  func limitations(
    for desired: LabState, running runtime: LabRuntime
  ) async throws(DatapathError) -> [Limitation]
  /// What is there of the lab.
  func observe(_ lab: LabName, scope: Scope) async throws(DatapathError) -> Observation
  /// Carries out the batch in order, stops at the first error and names its object. What came before it stays.
  func apply(_ batch: Plan.Batch, to lab: LabName) async throws(DatapathError)
  /// Takes all of the lab away in bulk, and returns when it is gone.
  func remove(_ lab: LabName) async throws(DatapathError)
  /// What changes from now on, in all namespaces of the lab.
  func changes(of lab: LabName) async throws(DatapathError) -> ChangeStream
  /// Starts a program in a node, with the node's network, hosts file and resolver.
  func spawn(
    _ command: Command, in node: NodeName, of lab: LabName, io: ProcessIO
  ) async throws(DatapathError) -> any NodeProcess
  /// Opens a socket in a node, for probes and services.
  func endpoint(
    _ request: EndpointRequest, in node: NodeName, of lab: LabName
  ) async throws(DatapathError) -> any NodeEndpoint
  /// What the kernel knows or counts in a namespace.
  func inspect(
    _ question: Inspection, in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> InspectionAnswer
  /// What becomes of the connections that a namespace tracks, from now on.
  func connectionEvents(
    in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> AsyncStream<ConnectionEvent>
  /// Writes what passes some devices to `descriptor` as pcapng until the task is cancelled, or nobody reads it any
  /// more.
  func capture(
    _ request: CaptureRequest, into descriptor: FileDescriptor, of lab: LabName
  ) async throws(DatapathError)
  /// Sends a packet from a node, and tells what the kernel tells of its way.
  func trace(_ request: TraceRequest, of lab: LabName) async throws(DatapathError) -> TraceReport
  /// The lab's time: the host's, or virtual.
  var clock: any LabClock { get }
}

/// A clock of a lab.
public protocol LabClock: Sendable {
  func now() -> Instant
  /// Returns at `deadline` or when the task is cancelled.
  func sleep(until deadline: Instant) async
  /// A further task uses the lab from now on: virtual time does not move while it works.
  func enter() async
  /// A task that entered uses the lab no longer.
  func leave() async
  /// Whether time moves only while everybody waits, so that waiting costs nothing.
  var isVirtual: Bool { get }
}

extension LabClock {
  public func enter() async {}
  public func leave() async {}
  public var isVirtual: Bool { false }
}

/// The host's monotonic clock.
public struct MonotonicClock: LabClock {
  private let origin = ContinuousClock.now

  public init() {}

  public func now() -> Instant {
    let elapsed = (ContinuousClock.now - origin).components
    return Instant(nanoseconds: elapsed.seconds &* 1_000_000_000 &+ elapsed.attoseconds / 1_000_000_000)
  }

  public func sleep(until deadline: Instant) async {
    // A cancelled sleep ends early, which is what the caller is told to expect.
    try? await ContinuousClock().sleep(until: origin.advanced(by: .nanoseconds(deadline.nanoseconds)))
  }
}

/// Which datapath a lab runs on.
public enum DatapathKind: String, Hashable, CaseIterable, Codable, Sendable {
  case kernel, rootless, emulated

  /// Whether the lab process holds the lab, which then ends with it.
  public var livesInProcess: Bool { self != .kernel }
}
