// SPDX-License-Identifier: GPL-2.0-or-later

// Where a lab is to run, and how to get there.

import ArgumentParser
import Glibc
import KernelDatapath
import LabCore
import LabProcess
import Reconcile
import TopologyModel

enum DatapathChoice: String, ExpressibleByArgument, CaseIterable {
  case auto, kernel, rootless, emulated
}

/// `--datapath`.
struct DatapathOptions: ParsableArguments {
  @Option(help: "auto, kernel, rootless or emulated.")
  var datapath: DatapathChoice = DatapathChoice(rawValue: Environment["DATAPATH"] ?? "") ?? .auto

  /// The datapath meant: the one of a lab that is up, else the first that the host allows.
  func kind(recorded: DatapathKind?) throws -> DatapathKind {
    if let recorded {
      guard datapath == .auto || datapath.rawValue == recorded.rawValue else {
        throw Failure(
          .failed,
          "the lab is up on the \(recorded.rawValue) datapath; take it down before it comes up on \(datapath.rawValue)"
        )
      }
      return recorded
    }
    switch datapath {
    case .kernel: return .kernel
    case .rootless:
      if let limitation = LabProcess.rootlessLimitation() {
        throw Failure(.unavailable, limitation.description)
      }
      return .rootless
    case .emulated: return .emulated
    case .auto: return Self.first
    }
  }

  /// The first datapath that this host allows; the emulated one needs nothing of it.
  static var first: DatapathKind {
    if mayChangeTheKernel { return .kernel }
    return LabProcess.rootlessLimitation() == nil ? .rootless : .emulated
  }

  /// CAP_NET_ADMIN and CAP_SYS_ADMIN in effect, by what the kernel says of this process.
  static let mayChangeTheKernel: Bool = {
    guard geteuid() == 0, let file = fopen("/proc/self/status", "re") else { return false }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), file) != nil {
      let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      guard text.hasPrefix("CapEff:") else { continue }
      let mask = UInt64(text.dropFirst(7).filter(\.isHexDigit), radix: 16) ?? 0
      return mask & (1 << 12) != 0 && mask & (1 << 21) != 0
    }
    return false
  }()
}

/// A lab and the way to its datapath.
struct RunningLab {
  var folder: LabFolder
  var kind: DatapathKind
  var datapath: any Datapath
  /// Nil when no process serves the lab.
  var connection: LabConnection?

  var name: LabName { folder.lab }

  /// The way to a lab that is up.
  static func open(_ folder: LabFolder) async throws -> RunningLab {
    guard let record = try folder.record() else {
      // A first `up` that was killed: what it left is the kernel's, or went with its process.
      return RunningLab(folder: folder, kind: .kernel, datapath: try KernelDatapath(), connection: nil)
    }
    let connection =
      LabProcess.isRunning(folder: folder.path) ? try await LabConnection.open(folder: folder.path) : nil
    switch record.datapath {
    case .kernel:
      return RunningLab(folder: folder, kind: .kernel, datapath: try KernelDatapath(), connection: connection)
    case .rootless, .emulated:
      guard let connection else {
        throw Failure(
          .failed, "lab '\(folder.lab)' is gone: the process that held it has ended",
          "\(folder.path)/\(LabProcess.logName) says why; `netforge up` makes it anew, `netforge down` forgets it"
        )
      }
      return RunningLab(
        folder: folder, kind: record.datapath, datapath: connection.datapath, connection: connection)
    }
  }

  /// The way to a lab that is to come up, with a lab process where the datapath lives in one.
  static func prepare(_ folder: LabFolder, kind: DatapathKind) async throws -> RunningLab {
    var connection: LabConnection?
    if LabProcess.isRunning(folder: folder.path) {
      connection = try await LabConnection.open(folder: folder.path)
    } else if kind.livesInProcess {
      _ = try LabProcess.start(lab: folder.lab, folder: folder.path, datapath: kind)
      connection = try await LabConnection.open(folder: folder.path)
    }
    if kind.livesInProcess, let connection {
      return RunningLab(folder: folder, kind: kind, datapath: connection.datapath, connection: connection)
    }
    return RunningLab(folder: folder, kind: .kernel, datapath: try KernelDatapath(), connection: connection)
  }

  /// Makes what runs in the nodes as `runtime` says, with a lab process only where one is needed.
  mutating func run(_ runtime: LabRuntime) async throws {
    if connection == nil, runtime.needsProcess {
      _ = try LabProcess.start(lab: name, folder: folder.path, datapath: kind)
      connection = try await LabConnection.open(folder: folder.path)
    }
    if let connection {
      try await connection.configure(runtime)
      if kind == .kernel, !runtime.needsProcess { try await connection.shutdown() }
    } else if runtime.nodes.contains(where: { !$0.commands.isEmpty }) {
      try await LabSupervisor(lab: name, folder: folder.path).configure(runtime)
    }
  }

  /// The way into a node for a program.
  func entry(_ node: NodeName, runtime: @autoclosure () throws -> LabRuntime) async throws -> NodeEntry {
    if let connection { return try await connection.entry(node) }
    let runtime = try runtime()
    if let own = runtime.nodes.first(where: { $0.node == node }) {
      _ = try NodeView.layOut(own, hosts: runtime.hosts, folder: folder.path)
    }
    return try NodeEntry.local(node, of: name, folder: folder.path)
  }
}

extension LabFolder {
  /// The topology that the lab was last brought up with.
  func recordedTopology() throws -> LoadedTopology {
    guard let rendered = try topology() else {
      throw Failure(
        .failed, "lab '\(lab)' was never fully up",
        "`netforge up` brings it up, `netforge down --name \(lab)` clears it away")
    }
    do throws(TopologyErrors) {
      return try LoadedTopology(rendered: rendered)
    } catch {
      throw LabFolderError(
        .damaged,
        "the topology of lab '\(lab)' is damaged (\(error.errors.first?.message ?? "unreadable")): "
          + "'\(path)/topology.json'; `netforge up` with its file writes it anew, `netforge down --name \(lab)` "
          + "removes the lab")
    }
  }

  /// The state that the lab shall have.
  func recordedResolution() throws -> (topology: LoadedTopology, resolution: Resolution) {
    let loaded = try recordedTopology()
    let resolution = try Resolver(previous: allocations() ?? Allocations()).resolve(loaded.topology)
    return (loaded, resolution)
  }
}
