// SPDX-License-Identifier: GPL-2.0-or-later

// A lab as it shall be, and the one way there: resolved, reconciled and written down. In the calling process for a lab on
// the host's kernel; in the lab's own where that has the datapath, so that state, plan and observation stay where they are.

public import LabCore
public import LabProcess
public import NetTypes
public import Reconcile
public import TopologyModel

/// A lab as it shall be.
public struct WantedLab: Sendable {
  public var topology: Topology
  /// The canonical document of it.
  public var rendered: [UInt8]
  /// The topology file as the user named it; nil for standard input.
  public var file: String?
  /// Of everything that is left to chance; nil: what the lab's name chooses.
  public var seed: UInt64?
  /// How long the kernel may take to settle.
  public var timeout = Interval.seconds(10)

  public init(topology: Topology, rendered: [UInt8]) {
    self.topology = topology
    self.rendered = rendered
  }

  /// Makes the lab of `folder` so, but for what runs in its nodes. `confirm` is asked only when the plan is disruptive.
  public func bringUp(
    _ folder: LabFolder, on datapath: any Datapath, kind: DatapathKind, holding lock: LabLock,
    tell: @escaping @Sendable (UpEvent) -> Void = { _ in },
    confirm: @Sendable (Plan) async -> Bool = { _ in true }
  ) async throws -> (plan: Plan, resolution: Resolution) {
    tell(.stage("resolve \(topology.nodes.count) nodes"))
    let previous = try folder.allocations()
    let resolution = try Resolver(previous: previous ?? Allocations(), seed: seed).resolve(topology)
    var reconciler = Reconciler(datapath: datapath, folder: folder, runtime: resolution.runtime)
    reconciler.deadline = timeout
    reconciler.progress = { tell(UpEvent($0)) }
    let plan = try await reconciler.up(
      resolution.state,
      as: Reconciler.Description(
        datapath: kind, sources: resolution.sources, allocations: resolution.allocations,
        previousAllocations: previous, topology: rendered, topologyFile: file),
      holding: lock, confirm: confirm)
    return (plan, resolution)
  }

  /// In the lab's own process: carries out what it was ordered, and starts what runs in the nodes. Returns the plan that
  /// was carried out.
  public static func bringUp(by work: UpWork) async throws -> Plan {
    let operation = "bring lab '\(work.lab)' up"
    guard (.zero ... .seconds(Int64(longestTimeout))).contains(work.order.timeout) else {
      throw DatapathError(.malformed, operation: operation, cause: "no lab is given so long to settle")
    }
    var wanted = WantedLab(
      topology: try Topology(try Declarations(json: work.topology)), rendered: work.topology)
    guard wanted.topology.name == work.lab else {
      throw DatapathError(
        .notFound, operation: operation, cause: "the topology is that of lab '\(wanted.topology.name)'")
    }
    wanted.file = work.order.topologyFile
    wanted.timeout = work.order.timeout
    guard let folder = try LabFolders(beside: work.folder, of: work.lab).find(work.lab) else {
      throw LabFolderError(.notFound, "the folder of lab '\(work.lab)' is gone: \(work.folder)")
    }
    let lock = try folder.lock(lent: work.lock)
    defer { withExtendedLifetime(lock) {} }
    let isAgreed = work.order.isAgreed
    let (plan, resolution) = try await wanted.bringUp(
      folder, on: work.datapath, kind: work.kind, holding: lock, tell: work.tell, confirm: { _ in isAgreed })
    work.tell(.runtime)
    try await work.configure(resolution.runtime)
    return plan
  }

  /// The seconds that a kernel is given to settle at most.
  public static let longestTimeout = 3600
}

extension UpEvent {
  /// What runs in the nodes is started.
  public static let runtime = UpEvent.stage("start programs and services")

  /// What the reconciler begins.
  init(_ stage: Reconciler.Stage) {
    switch stage {
    case .limitations: self = .stage("ask the datapath what it can do")
    case .observe: self = .stage("observe")
    case .plan: self = .stage("plan")
    case .journal: self = .stage("write the journal")
    case .apply(let title, let count): self = .stage("\(title): \(count) changes")
    case .verify: self = .stage("verify")
    case .record: self = .stage("record")
    case .rollBack: self = .notice("  a change failed; going back")
    }
  }
}
