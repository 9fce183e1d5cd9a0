// SPDX-License-Identifier: GPL-2.0-or-later

// A datapath over the model kernel, with failures on demand.

import LabCore
import NetTypes
import Nftables
import Synchronization
import SystemPackage

final class ModelDatapath: Datapath, Sendable {
  struct State {
    var kernel = ModelKernel()
    var limitations: [Limitation] = []
    var foreign: [ForeignObject] = []
    /// Objects made by hand: those of them that are still there are observed as unmarked.
    var unmarked: Set<StatePath> = []
    /// The change that fails, counted from the first of all.
    var failingChange: Int?
    /// The batch before which the process dies: it and everything after it fails.
    var deathBefore: Int?
    var changes = 0
    var batches = 0
    var plans: [Plan.Batch] = []
  }

  let state = Mutex(State())
  let clock: any LabClock = ModelClock()

  var kernel: ModelKernel { state.withLock { $0.kernel } }

  func limitations(
    for desired: LabState, running runtime: LabRuntime
  ) async throws(DatapathError) -> [Limitation] {
    state.withLock { $0.limitations }
  }

  func observe(_ lab: LabName, scope: Scope) async throws(DatapathError) -> Observation {
    let (observation, isDead) = state.withLock { state in
      (
        state.kernel.observation(of: lab, scope: scope, unmarked: state.unmarked, foreign: state.foreign),
        state.isDead
      )
    }
    if isDead { throw Self.death }
    return observation
  }

  func apply(_ batch: Plan.Batch, to lab: LabName) async throws(DatapathError) {
    let result = state.withLock { state -> Result<Void, DatapathError> in
      guard !state.isDead else { return .failure(Self.death) }
      if state.deathBefore == state.batches {
        state.deathBefore = -1
        return .failure(Self.death)
      }
      state.batches += 1
      state.plans.append(batch)
      for change in batch.changes {
        defer { state.changes += 1 }
        if state.failingChange == state.changes {
          state.kernel.abandonHalf()
          return .failure(
            DatapathError(
              .refused, operation: "carry out \(change.operation)", path: change.path, errno: 12,
              cause: "ENOMEM"))
        }
        do throws(ModelRefusal) {
          try state.kernel.apply(change)
        } catch {
          state.kernel.abandonHalf()
          return .failure(
            DatapathError(
              .refused, operation: "carry out \(change.operation) \(change.path)", path: change.path,
              cause: error.cause))
        }
      }
      return .success(())
    }
    try result.get()
  }

  func remove(_ lab: LabName) async throws(DatapathError) {
    state.withLock { state in
      for id in state.kernel.namespaces.keys.sorted() { state.kernel.removeNamespace(id) }
      let host = state.kernel[.host]
      for name in host.links.keys where name != .loopback {
        state.kernel.removeLink(LinkReference(.host, name))
      }
      state.kernel[.host].tables = []
    }
  }

  func changes(of lab: LabName) async throws(DatapathError) -> ChangeStream { throw Self.unavailable }

  func spawn(
    _ command: Command, in node: NodeName, of lab: LabName, io: ProcessIO
  ) async throws(DatapathError) -> any NodeProcess { throw Self.unavailable }

  func endpoint(
    _ request: EndpointRequest, in node: NodeName, of lab: LabName
  ) async throws(DatapathError) -> any NodeEndpoint { throw Self.unavailable }

  func inspect(
    _ question: Inspection, in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> InspectionAnswer { throw Self.unavailable }

  func trace(_ request: TraceRequest, of lab: LabName) async throws(DatapathError) -> TraceReport {
    throw Self.unavailable
  }

  func connectionEvents(
    in namespace: NamespaceID, of lab: LabName
  ) async throws(DatapathError) -> AsyncStream<ConnectionEvent> { throw Self.unavailable }

  func capture(
    _ request: CaptureRequest, into descriptor: FileDescriptor, of lab: LabName
  ) async throws(DatapathError) { throw Self.unavailable }

  private static let death = DatapathError(.timeout, operation: "go on", cause: "the process is dead")
  private static let unavailable = DatapathError(
    .unavailable, operation: "do that", cause: "the model has no programs")
}

extension ModelDatapath.State {
  var isDead: Bool { deathBefore == -1 }
}

struct ModelClock: LabClock {
  func now() -> Instant { Instant(nanoseconds: 0) }
  func sleep(until deadline: Instant) async {}
}

extension ModelKernel {
  /// All that is there of the lab; the settings that the scope names, as the kernel would read them.
  func observation(
    of lab: LabName, scope: Scope, unmarked: Set<StatePath>, foreign: [ForeignObject]
  ) -> Observation {
    var owned: [NamespaceState] = []
    var others: [NamespaceState] = []
    for id in namespaces.keys.sorted() {
      guard let space = namespaces[id], scope.namespaces?.contains(id) ?? true else { continue }
      var state = NamespaceState(
        id: id, links: Array(space.links.values).filter { id != .host || $0.name != .loopback },
        addresses: space.addresses, routes: space.routes, policyRules: space.rules,
        neighbors: space.neighbors,
        fdb: space.fdb, qdiscs: space.qdiscs, tables: space.tables)
      state.sysctls = (scope.sysctls[id] ?? []).sorted().compactMap { name in
        let parts = name.split(separator: "/").map(String.init)
        if parts.count > 4, parts[2] == "conf", !["all", "default"].contains(parts[3]) {
          guard let link = InterfaceName(parts[3]), let device = space.links[link] else { return nil }
          if parts[1] == "ipv6", (device.mtu ?? 0) < 1280 { return nil }
        }
        return SysctlState(name: name, value: space.sysctls[name] ?? "0")
      }
      let (mine, theirs) = state.split { unmarked.contains($0.path(in: id)) }
      owned.append(mine)
      others.append(theirs)
    }
    owned.removeAll { $0.id == .host && !$0.hasAnything }
    return Observation(
      owned: LabState(lab: lab, namespaces: owned), unmarked: LabState(lab: lab, namespaces: others),
      foreign: foreign)
  }
}

extension NamespaceState {
  var hasAnything: Bool { objects.count > 1 }

  /// The objects that are marked, and those that are not.
  fileprivate func split(_ isUnmarked: (StateObject) -> Bool) -> (NamespaceState, NamespaceState) {
    let mine = NamespaceState(
      id: id, links: links.filter { !isUnmarked(.link($0)) },
      addresses: addresses.filter { !isUnmarked(.address($0)) },
      routes: routes.filter { !isUnmarked(.route($0)) },
      policyRules: policyRules.filter { !isUnmarked(.policyRule($0)) },
      neighbors: neighbors.filter { !isUnmarked(.neighbor($0)) }, fdb: fdb.filter { !isUnmarked(.fdb($0)) },
      sysctls: sysctls, qdiscs: qdiscs, tables: tables)
    let theirs = NamespaceState(
      id: id, links: links.filter { isUnmarked(.link($0)) },
      addresses: addresses.filter { isUnmarked(.address($0)) },
      routes: routes.filter { isUnmarked(.route($0)) },
      policyRules: policyRules.filter { isUnmarked(.policyRule($0)) },
      neighbors: neighbors.filter { isUnmarked(.neighbor($0)) }, fdb: fdb.filter { isUnmarked(.fdb($0)) })
    return (mine, theirs)
  }
}
