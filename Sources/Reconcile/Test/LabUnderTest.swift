// SPDX-License-Identifier: GPL-2.0-or-later

// A lab that is up to be tried, and what a test does to it.

import Glibc
public import LabCore
import NetTypes
import SystemPackage
public import TopologyModel

/// A lab that is up.
public struct LabUnderTest: Sendable {
  public var name: LabName
  public var kind: DatapathKind
  public var datapath: any Datapath
  public var topology: Topology
  public var resolution: Resolution
  public var seed: UInt64?
  /// Who the nodes were before a change; empty where no expectation asks.
  var origin: [NodeName: IdentityReport] = [:]
  /// Starts what runs in a node anew.
  public var restart: @Sendable (NodeName) async throws(DatapathError) -> Void

  public init(
    name: LabName, kind: DatapathKind, datapath: any Datapath, topology: Topology, resolution: Resolution,
    seed: UInt64?, restart: @escaping @Sendable (NodeName) async throws(DatapathError) -> Void
  ) {
    self.name = name
    self.kind = kind
    self.datapath = datapath
    self.topology = topology
    self.resolution = resolution
    self.seed = seed
    self.restart = restart
  }

  // MARK: Programs

  /// Runs a command in a node to its end and gives what it has printed; of one word with blanks the shell makes a command.
  public func output(
    of words: [String], in node: NodeName, limit: Int
  ) async throws(DatapathError) -> (exit: ProcessExit, output: String) {
    let isLine = words.count == 1 && words[0].contains(where: \.isWhitespace)
    let command = Command(isLine ? ["/bin/sh", "-c", words[0]] : words)
    let operation = "run '\(words.joined(separator: " "))'"
    do {
      let input = try FileDescriptor.open("/dev/null", .readWrite)
      defer { try? input.close() }
      var template = Array("/tmp/netforge-output-XXXXXX".utf8CString)
      let number = mkstemp(&template)
      guard number >= 0 else { throw Errno(rawValue: errno) }
      unlink(template)
      _ = fcntl(number, F_SETFD, FD_CLOEXEC)
      let output = FileDescriptor(rawValue: number)
      defer { try? output.close() }
      let process = try await datapath.spawn(
        command, in: node, of: name, io: ProcessIO(input: input, output: output, error: input))
      let exit = try await process.wait()
      var bytes = [UInt8](repeating: 0, count: limit)
      let count = try bytes.withUnsafeMutableBytes { try output.read(fromAbsoluteOffset: 0, into: $0) }
      return (exit, String(decoding: bytes[..<count], as: UTF8.self))
    } catch let error as DatapathError {
      throw error
    } catch let error as Errno {
      throw DatapathError(
        .unavailable, operation: operation, path: StatePath(.node(node)), errno: error.rawValue,
        cause: "\(error)")
    } catch {
      throw DatapathError(.bug, operation: operation, path: StatePath(.node(node)), cause: "\(error)")
    }
  }

  // MARK: Who is who

  /// Who a node is at the moment.
  func identity(of node: NodeName) async throws(DatapathError) -> IdentityReport {
    let answer = try await datapath.inspect(.identity, in: .node(node), of: name)
    guard case .identity(let identity) = answer else { throw Prober.unexpected }
    return identity
  }

  // MARK: Changes on the way

  /// Carries out actions one after the other.
  public func perform(_ actions: [Topology.Action]) async throws(DatapathError) {
    for action in actions {
      switch action {
      case .linkDown(let device):
        try await intervene(on: device) { (intervention, link) async throws(ReconcileError) in
          try await intervention.setLink(link, up: false)
        }
      case .linkUp(let device):
        try await intervene(on: device) { (intervention, link) async throws(ReconcileError) in
          try await intervention.setLink(link, up: true)
        }
      case .flap(let device, let time):
        try await intervene(on: device) { (intervention, link) async throws(ReconcileError) in
          try await intervention.setLink(link, up: false)
        }
        await datapath.clock.sleep(until: datapath.clock.now() + time)
        try await intervene(on: device) { (intervention, link) async throws(ReconcileError) in
          try await intervention.setLink(link, up: true)
        }
      case .impair(let device, var impairment?):
        if impairment.seed == nil, let seed {
          impairment.seed = StableHash.of("\(seed)/\(device.node)/\(device.device)/seed")
        }
        let own = impairment
        try await intervene(on: device) { (intervention, link) async throws(ReconcileError) in
          try await intervention.impair(link, own, replacing: true)
        }
      case .impair(let device, nil):
        try await intervene(on: device) { (intervention, link) async throws(ReconcileError) in
          try await intervention.resetImpairment(of: link)
        }
      case .addAddress(let device, let address):
        try await intervene(on: device) { (intervention, link) async throws(ReconcileError) in
          try await intervention.add(address, to: link)
        }
      case .removeAddress(let device, let address):
        try await intervene(on: device) { (intervention, link) async throws(ReconcileError) in
          try await intervention.remove(address, from: link)
        }
      case .setRoute(let node, let destination, let gateway, let device):
        let link = device.flatMap { NodeAddresses(resolution.state).link($0, of: node)?.name }
        let route = RouteState(
          destination: destination, nextHops: [RouteState.NextHop(gateway: gateway, link: link)])
        try await intervene("\(action)") { (intervention) async throws(ReconcileError) in
          try await intervention.set(route, in: .node(node))
        }
      case .removeRoute(let node, let destination):
        try await intervene("\(action)") { (intervention) async throws(ReconcileError) in
          try await intervention.removeRoute(to: destination, in: .node(node))
        }
      case .settle: try await settle()
      case .run(let node, let words): _ = try await output(of: words, in: node, limit: 4096)
      case .restart(let node): try await restart(node)
      case .wait(let time): await datapath.clock.sleep(until: datapath.clock.now() + time)
      }
    }
  }

  private func intervene(
    on device: Topology.DeviceReference,
    _ body: (Intervention, LinkReference) async throws(ReconcileError) -> Void
  ) async throws(DatapathError) {
    let link = NodeAddresses(resolution.state).link(device.device, of: device.node)?.name
    let operation = "change \(device.node):\(device.device)"
    guard let link else {
      throw DatapathError(.notFound, operation: operation, cause: "the lab has no such device")
    }
    try await intervene(operation) { (intervention) async throws(ReconcileError) in
      try await body(intervention, LinkReference(.node(device.node), link))
    }
  }

  private func intervene(
    _ operation: String, _ body: (Intervention) async throws(ReconcileError) -> Void
  ) async throws(DatapathError) {
    do throws(ReconcileError) { try await body(Intervention(on: datapath, resolution)) } catch {
      if case .datapath(let error) = error { throw error }
      throw DatapathError(.unavailable, operation: operation, cause: error.description)
    }
  }

  /// Makes the lab as its topology says, from whatever it is.
  public func settle() async throws(DatapathError) {
    // What a change has brought about may show only after a moment: a link's routes, a carrier.
    for _ in 0..<Self.plans {
      if try await make() { return }
      await datapath.clock.sleep(until: datapath.clock.now() + .milliseconds(20))
    }
    throw DatapathError(
      .timeout, operation: "make lab '\(name)' as its topology says",
      cause: "it still differs after \(Self.plans) plans")
  }

  private static let plans = 5

  /// What would make the lab as its topology says.
  func differences() async throws(DatapathError) -> Plan {
    let observation = try await datapath.observe(name, scope: Scope(covering: [resolution.state]))
    return Planner().plan(resolution.state, from: observation)
  }

  /// True when there was nothing to do.
  private func make() async throws(DatapathError) -> Bool {
    let plan = try await differences()
    for batch in plan.batches { try await datapath.apply(batch, to: name) }
    return plan.isEmpty
  }
}
