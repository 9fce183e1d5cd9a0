// SPDX-License-Identifier: GPL-2.0-or-later

// Labs for a user's own tests, with Swift Testing or XCTest: a topology comes up, the test works with sockets in its
// nodes, and the lab goes away. What each expectation means is docs/expectations.md.

import LabCore
import LabHost
import Manifest
import NetTypes
import Reconcile
import SystemPackage
import TopologyModel

/// Where a lab runs.
public enum LabDatapath: Sendable {
  /// In the test's own process and in virtual time; needs nothing of the host.
  case emulated
  /// In the test's own process, in the host's time.
  case emulatedInRealTime
  /// In the host's kernel, as root.
  case kernel
  /// In the host's kernel, inside a user namespace.
  case rootless
}

/// A lab that is up.
///
///     let lab = try await Lab("shop.swift", on: .emulated)
///     let connection = try await lab["web1"].connect(to: "db", port: 5432)
///     try await lab.expect("db", cannotReach: "web1", on: .tcp(22))
///     try await lab.down()
public final class Lab: Sendable {
  private let standing: TestBed.Standing
  let book: NodeAddresses

  /// Brings a topology up.
  /// - Parameters:
  ///   - file: a `topology.swift` or rendered JSON.
  ///   - datapath: where it runs.
  ///   - seed: of all that is left to chance; a run on virtual time is the same again with the same seed.
  ///   - variables: what the file reads with `lab.variable`.
  public convenience init(
    _ file: String, on datapath: LabDatapath = .emulated, seed: UInt64? = nil,
    variables: [String: String] = [:]
  ) async throws {
    try await self.init(
      try await Self.declarations(file, variables), on: datapath, seed: seed)
  }

  /// Brings a topology up that is rendered already.
  public convenience init(
    rendered json: String, on datapath: LabDatapath = .emulated, seed: UInt64? = nil
  ) async throws {
    try await self.init(try Declarations(json: Array(json.utf8)), on: datapath, seed: seed)
  }

  private init(_ declarations: Declarations, on datapath: LabDatapath, seed: UInt64?) async throws {
    let kind: DatapathKind =
      switch datapath {
      case .emulated, .emulatedInRealTime: .emulated
      case .kernel: .kernel
      case .rootless: .rootless
      }
    var bed = TestBed(kind, seed: seed)
    if case .emulatedInRealTime = datapath { bed.isRealTime = true }
    standing = try await bed.bringUp(declarations)
    book = NodeAddresses(standing.lab.resolution.state)
  }

  /// Brings a topology up, has `body` work with it, and takes it away whatever happens.
  public static func with<Value: Sendable>(
    _ file: String, on datapath: LabDatapath = .emulated, seed: UInt64? = nil,
    variables: [String: String] = [:],
    _ body: (Lab) async throws -> Value
  ) async throws -> Value {
    let lab = try await Lab(file, on: datapath, seed: seed, variables: variables)
    let result: Result<Value, any Error>
    do { result = .success(try await body(lab)) } catch { result = .failure(error) }
    try await lab.down()
    return try result.get()
  }

  private static func declarations(
    _ file: String, _ variables: [String: String]
  ) async throws -> Declarations {
    var options = ManifestOptions()
    options.variables = variables
    return try await Manifest.load(file, options: options).declarations()
  }

  /// Takes the lab away. An emulated one goes by itself with the last reference to it.
  public func down() async throws { try await standing.takeDown() }

  var lab: LabUnderTest { standing.lab }

  // MARK: Nodes

  /// The lab's name; on the host's kernel one of its own.
  public var name: String { lab.name.text }

  /// The names of its nodes, in the order of the topology.
  public var nodes: [String] { lab.topology.nodes.map(\.name.text) }

  /// A node by its name. Whether there is such a node shows when it is used.
  public subscript(node: String) -> LabNode { LabNode(lab: self, name: node) }

  func node(_ name: String) throws(LabError) -> NodeName {
    guard let node = NodeName(name), lab.topology.nodes.contains(where: { $0.name == node }) else {
      throw LabError("lab '\(self.name)' has no node '\(name)'; it has \(nodes.joined(separator: ", "))")
    }
    return node
  }

  /// What a word means: a node (then its address on the subnet that the way leads to), `node:interface`, or an address.
  func target(_ word: String, from source: NodeName) throws(LabError) -> Topology.Expectation.Target {
    if let address = IPAddress(word) { return .address(address) }
    let parts = word.split(separator: ":", maxSplits: 1).map(String.init)
    let node = try node(parts.first ?? word)
    guard parts.count == 2 else { return .node(node) }
    guard book.link(parts[1], of: node) != nil else {
      throw LabError("node '\(node)' has no interface '\(parts[1])'")
    }
    return .device(Topology.DeviceReference(node, parts[1]))
  }

  func address(_ word: String, from source: NodeName) throws(LabError) -> IPAddress {
    let address: IPAddress? =
      switch try target(word, from: source) {
      case .address(let own): own
      case .node(let node): book.address(of: node, from: source)
      case .device(let device): book.address(of: device.node, interface: device.device)
      }
    guard let address else { throw LabError("'\(word)' has no address") }
    return address
  }

  // MARK: Time

  /// The lab's time.
  public var clock: LabTime { LabTime(clock: lab.datapath.clock) }

  /// Does two things at a time. On virtual time this, not `async let`, is the way: time moves only while both wait.
  public func together<A: Sendable, B: Sendable>(
    _ a: @Sendable () async throws -> A, _ b: @escaping @Sendable () async throws -> B
  ) async throws -> (A, B) {
    let clock = lab.datapath.clock
    let first = FirstToEnd()
    await clock.enter()
    async let other = Self.ending(first, clock, b)
    let own = await Self.ending(first, clock, a)
    return (try own.get(), try await other.get())
  }

  private static func ending<Value>(
    _ first: FirstToEnd, _ clock: any LabClock, _ body: @Sendable () async throws -> Value
  ) async -> Result<Value, any Error> {
    let result: Result<Value, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    if first.claim() { await clock.leave() }
    return result
  }
}

/// The time of a lab.
public struct LabTime: Sendable {
  let clock: any LabClock

  /// Since the lab's clock began.
  public var now: Duration { .nanoseconds(clock.now().nanoseconds) }

  /// Whether time moves only while everybody waits.
  public var isVirtual: Bool { clock.isVirtual }

  /// Lets so much time pass. On virtual time that costs what happens meanwhile.
  public func advance(by time: Duration) async {
    await clock.sleep(until: clock.now() + Interval(time))
  }
}

/// What a test asked for that the lab has not.
public struct LabError: Error, CustomStringConvertible, Sendable {
  public let description: String

  init(_ description: String) { self.description = description }
}

extension Interval {
  init(_ duration: Duration) {
    let (seconds, attoseconds) = duration.components
    let most: Int64 = 9_000_000_000
    self.init(nanoseconds: min(max(seconds, -most), most) * 1_000_000_000 + attoseconds / 1_000_000_000)
  }
}
