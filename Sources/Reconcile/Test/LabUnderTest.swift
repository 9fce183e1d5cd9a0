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
    guard let link else {
      throw DatapathError(
        .notFound, operation: "change \(device.node):\(device.device)", cause: "the lab has no such device")
    }
    do throws(ReconcileError) {
      try await body(Intervention(on: datapath, resolution), LinkReference(.node(device.node), link))
    } catch {
      if case .datapath(let error) = error { throw error }
      throw DatapathError(
        .unavailable, operation: "change \(device.node):\(device.device)", cause: error.description)
    }
  }

  /// Makes the lab as its topology says, from whatever it is.
  public func settle() async throws(DatapathError) {
    // What a change has brought about may show only after a moment: a link's routes, a carrier.
    for _ in 0..<Self.plans {
      if try await make(resolution.state) { return }
      await datapath.clock.sleep(until: datapath.clock.now() + .milliseconds(20))
    }
    throw DatapathError(
      .timeout, operation: "make lab '\(name)' as its topology says",
      cause: "it still differs after \(Self.plans) plans")
  }

  private static let plans = 5

  /// True when there was nothing to do.
  private func make(_ desired: LabState) async throws(DatapathError) -> Bool {
    let observation = try await datapath.observe(name, scope: Scope(covering: [desired]))
    let plan = Planner().plan(desired, from: observation)
    for batch in plan.batches { try await datapath.apply(batch, to: name) }
    return plan.isEmpty
  }
}
