// SPDX-License-Identifier: GPL-2.0-or-later

// A lab that comes up to be tried and goes away again, whatever happens meanwhile. An emulated one stands in this process
// alone; the host's kernel has the others under a name of their own, so that a lab that is up is never touched.

import EmulatedDatapath
import Glibc
public import LabCore
import LabProcess
import NetTypes
public import Reconcile
public import TopologyModel

/// Where and how labs are to be tried.
public struct TestBed: Sendable {
  public var kind: DatapathKind
  /// Of everything that is left to chance; nil: what the lab's name chooses.
  public var seed: UInt64?
  /// The host's clock on the emulated datapath too.
  public var isRealTime = false
  /// Leaves the lab up; an emulated one stands in a process of its own then, and in the host's time.
  public var isKept = false
  /// Per cent of what each interface sends that is lost.
  public var loss: Double?
  /// The limitations are known to be none.
  public var isRehearsed = false

  public init(_ kind: DatapathKind, seed: UInt64? = nil) {
    self.kind = kind
    self.seed = seed
  }

  /// A lab that is up, and how it goes away.
  public struct Standing: Sendable {
    public var lab: LabUnderTest
    /// Also where the calling task is cancelled.
    public var takeDown: @Sendable () async throws -> Void
  }

  /// Brings the lab of what is written up. When that fails, nothing is left of it.
  public func bringUp(_ written: Declarations) async throws -> Standing {
    let declarations = try loss.map { try written.losing(percent: $0) } ?? written
    // An emulated lab goes with the last reference to it.
    if kind == .emulated, !isKept {
      return Standing(lab: try await emulated(try Topology(declarations)), takeDown: {})
    }
    let folder = try Self.makeFolder(for: try Topology(declarations).name)
    // By a task of its own: whoever gave up the calling one still wants it done.
    let takeDown: @Sendable () async throws -> Void = {
      try await Task { try await RunningLab.takeAway(folder) }.value
    }
    let own = declarations.renamed(folder.lab.text)
    do {
      let lab = try await onHost(try Topology(own), Array(own.json.utf8), folder)
      return Standing(lab: lab, takeDown: takeDown)
    } catch {
      try await takeDown()
      throw error
    }
  }

  /// Brings a lab up, has `body` try it, and takes it away, also when the task is cancelled.
  public func run<Value: Sendable>(
    _ declarations: Declarations, _ body: @Sendable (LabUnderTest) async -> Value
  ) async throws -> Value {
    let standing = try await bringUp(declarations)
    let value = await body(standing.lab)
    if !isKept { try await standing.takeDown() }
    return value
  }

  // MARK: In this process

  /// Brings a lab up in an emulated kernel of this process. It goes with the last reference to it.
  public func emulated(_ topology: Topology) async throws -> LabUnderTest {
    let resolution = try Resolver(seed: seed).resolve(topology)
    let datapath = try EmulatedDatapath(
      lab: topology.name, seed: seed, time: isRealTime ? .real : .virtual)
    if !isRehearsed {
      let limitations = try await datapath.limitations(for: resolution.state, running: resolution.runtime)
      guard limitations.isEmpty else { throw ReconcileError.limitations(limitations, resolution.sources) }
    }
    let services = EmulatedServices(datapath, resolution.runtime)
    let lab = LabUnderTest(
      name: topology.name, kind: .emulated, datapath: datapath, topology: topology, resolution: resolution,
      seed: seed
    ) { (node) throws(DatapathError) in try await services.restart(node) }
    try await lab.settle()
    for node in resolution.runtime.nodes { try await services.start(node.node) }
    return lab
  }

  // MARK: On the host's kernel

  /// `shop-t4711`, or the next number that is free.
  private static func makeFolder(for lab: LabName) throws -> LabFolder {
    for number in 0..<1000 {
      let suffix = "-t\(getpid())" + (number == 0 ? "" : "x\(number)")
      // A lab's name has 31 characters.
      var stem = lab.text.prefix(31 - suffix.utf8.count)
      while stem.last == "-" { stem = stem.dropLast() }
      guard let name = LabName(stem + suffix), try LabFolders.ofCaller.find(name) == nil else { continue }
      return try LabFolders.ofCaller.make(name)
    }
    throw LabFolderError(.failed, "no name is free for a test of lab '\(lab)'")
  }

  private func onHost(
    _ topology: Topology, _ rendered: [UInt8], _ folder: LabFolder
  ) async throws -> LabUnderTest {
    let lock = try folder.lock()
    defer { withExtendedLifetime(lock) {} }
    var running = try await RunningLab.prepare(folder, kind: kind)
    var wanted = WantedLab(topology: topology, rendered: rendered)
    wanted.seed = seed
    let (_, resolution) = try await wanted.bringUp(folder, on: running.datapath, kind: kind, holding: lock)
    try await running.run(resolution.runtime)
    let connection = running.connection
    return LabUnderTest(
      name: folder.lab, kind: kind, datapath: running.datapath, topology: topology, resolution: resolution,
      seed: seed
    ) { (node) throws(DatapathError) in
      guard let connection else {
        throw DatapathError(
          .notFound, operation: "restart node '\(node)'", cause: "nothing runs in the lab's nodes")
      }
      try await connection.restart(node)
    }
  }
}

/// The services of the nodes of an emulated lab in this process.
actor EmulatedServices {
  private let datapath: EmulatedDatapath
  private let runtime: LabRuntime
  private var open: [NodeName: [any OpenService]] = [:]

  init(_ datapath: EmulatedDatapath, _ runtime: LabRuntime) {
    self.datapath = datapath
    self.runtime = runtime
  }

  func start(_ node: NodeName) async throws(DatapathError) {
    var services: [any OpenService] = []
    for service in runtime.nodes.first(where: { $0.node == node })?.services ?? [] {
      services.append(try await datapath.open(service, in: node, of: runtime.lab))
    }
    open[node] = services
  }

  func restart(_ node: NodeName) async throws(DatapathError) {
    for service in open.removeValue(forKey: node) ?? [] { service.close() }
    try await start(node)
  }
}
