// SPDX-License-Identifier: GPL-2.0-or-later

// `emulated-bench FILE.json …` (`--cpus` has a file of its own): from a rendered topology to a verified lab in the emulated
// kernel, all in this process. Prints milliseconds for each stage and, apart from them, what the datapath alone took.

import EmulatedDatapath
import Glibc
import LabCore
import Reconcile
import Synchronization
import SystemPackage
import TopologyModel

/// Milliseconds since some moment.
func milliseconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) * 1000 + Double(time.tv_nsec) / 1_000_000
}

/// When each stage of the reconciler began.
final class Stages: Sendable {
  private let begun = Mutex<[(name: String, at: Double)]>([])

  func begin(_ name: String) { begun.withLock { $0.append((name, milliseconds())) } }

  var text: String {
    begun.withLock { begun in
      zip(begun, begun.dropFirst()).map { "\($0.name) \(Int($1.at - $0.at))" }.joined(separator: ", ")
    }
  }
}

/// An emulated datapath that is timed.
final class TimedDatapath: Datapath {
  private let inner: EmulatedDatapath
  private let spent = Mutex<[String: Double]>([:])

  init(_ inner: EmulatedDatapath) { self.inner = inner }

  var clock: any LabClock { inner.clock }

  var text: String {
    spent.withLock { spent in
      spent.sorted { $0.key < $1.key }.map { "\($0.key) \(Int($0.value))" }.joined(separator: ", ")
    }
  }

  private func timed<Value>(
    _ name: String, _ body: () async throws(DatapathError) -> Value
  ) async throws(DatapathError) -> Value {
    let begin = milliseconds()
    defer { spent.withLock { $0[name, default: 0] += milliseconds() - begin } }
    return try await body()
  }

  func limitations(
    for desired: LabState, running runtime: LabRuntime
  ) async throws(DatapathError) -> [Limitation] {
    try await timed("limitations") { () throws(DatapathError) in
      try await inner.limitations(for: desired, running: runtime)
    }
  }

  func observe(_ lab: LabName, scope: Scope) async throws(DatapathError) -> Observation {
    try await timed("observe") { () throws(DatapathError) in try await inner.observe(lab, scope: scope) }
  }

  func apply(_ batch: Plan.Batch, to lab: LabName) async throws(DatapathError) {
    try await timed("apply") { () throws(DatapathError) in try await inner.apply(batch, to: lab) }
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

/// The bytes of a file.
func read(_ path: String) throws -> [UInt8] {
  let file = try FileDescriptor.open(path, .readOnly)
  return try file.closeAfter {
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 1 << 20)
    while true {
      let count = try part.withUnsafeMutableBytes { try file.read(into: $0) }
      if count == 0 { return bytes }
      bytes += part.prefix(count)
    }
  }
}

if CommandLine.arguments.count == 3, CommandLine.arguments[1] == "--cpus" {
  try await measureCPUs(try read(CommandLine.arguments[2]))
  exit(0)
}
for path in CommandLine.arguments.dropFirst() {
  let document = try read(path)
  let stages = Stages()
  stages.begin("topology")
  let topology = try Topology(try Declarations(json: document))
  stages.begin("resolve")
  let resolution = try Resolver(previous: Allocations()).resolve(topology)
  let datapath = TimedDatapath(try EmulatedDatapath(lab: topology.name))
  let root = "/tmp/netforge-bench-\(getpid())"
  let folder = try LabFolders(root: root).make(topology.name)
  var reconciler = Reconciler(datapath: datapath, folder: folder, runtime: resolution.runtime)
  reconciler.progress = { stage in
    switch stage {
    case .apply: stages.begin("apply")
    default: stages.begin("\(stage)")
    }
  }
  let begin = milliseconds()
  _ = try await reconciler.up(
    resolution.state,
    as: Reconciler.Description(
      datapath: .emulated, sources: resolution.sources, allocations: resolution.allocations,
      topology: document),
    holding: try folder.lock())
  stages.begin("end")
  print("\(topology.nodes.count) nodes: \(Int(milliseconds() - begin)) ms after resolving")
  print("  stages: \(stages.text)")
  print("  of that the datapath: \(datapath.text)")
  try folder.remove()
  rmdir(root)
}
