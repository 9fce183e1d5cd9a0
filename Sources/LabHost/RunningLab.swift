// SPDX-License-Identifier: GPL-2.0-or-later

// A lab and the way to its datapath: in this process or by the lab's own. What brings labs up and takes them away, for
// verbs and tests alike.

import Glibc
import KernelDatapath
public import LabCore
public import LabProcess
public import Reconcile

/// A lab and the way to its datapath.
public struct RunningLab: Sendable {
  public var folder: LabFolder
  public var kind: DatapathKind
  public var datapath: any Datapath
  /// Nil when no process serves the lab.
  public var connection: LabConnection?

  public var name: LabName { folder.lab }

  /// The way to a lab that is up.
  public static func open(_ folder: LabFolder) async throws -> RunningLab {
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
        throw LabFolderError(
          .failed,
          "lab '\(folder.lab)' is gone: the process that held it has ended; \(folder.path)/\(LabProcess.logName) says why; `netforge up` makes it anew, `netforge down` forgets it"
        )
      }
      return RunningLab(
        folder: folder, kind: record.datapath, datapath: connection.datapath, connection: connection)
    }
  }

  /// The way to a lab that is to come up, with a lab process where the datapath lives in one. `cpus`: threads of an emulated
  /// kernel; nil for those that it has, or one.
  public static func prepare(
    _ folder: LabFolder, kind: DatapathKind, cpus: Int? = nil
  ) async throws -> RunningLab {
    var connection: LabConnection?
    if LabProcess.isRunning(folder: folder.path) {
      let open = try await LabConnection.open(folder: folder.path)
      let running = cpus == nil ? nil : try await open.status().cpus
      guard running == cpus else {
        throw LabFolderError(
          .failed,
          "lab '\(folder.lab)' is up on \(running ?? 1) CPUs; take it down before it comes up on \(cpus ?? 1)"
        )
      }
      connection = open
    } else if kind.livesInProcess {
      _ = try LabProcess.start(
        lab: folder.lab, folder: folder.path, datapath: kind, cpus: cpus ?? 1)
      connection = try await LabConnection.open(folder: folder.path)
    }
    if kind.livesInProcess, let connection {
      return RunningLab(folder: folder, kind: kind, datapath: connection.datapath, connection: connection)
    }
    return RunningLab(folder: folder, kind: .kernel, datapath: try KernelDatapath(), connection: connection)
  }

  /// Makes what runs in the nodes as `runtime` says, with a lab process only where one is needed.
  public mutating func run(_ runtime: LabRuntime) async throws {
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
  public func entry(_ node: NodeName, runtime: @autoclosure () throws -> LabRuntime) async throws -> NodeEntry
  {
    if let connection { return try await connection.entry(node) }
    let runtime = try runtime()
    if let own = runtime.nodes.first(where: { $0.node == node }) {
      _ = try NodeView.layOut(own, hosts: runtime.hosts, folder: folder.path)
    }
    return try NodeEntry.local(node, of: name, folder: folder.path)
  }
}

extension RunningLab {
  /// The first datapath that this host allows; the emulated one needs nothing of it.
  public static var firstKind: DatapathKind {
    if mayChangeTheKernel { return .kernel }
    return LabProcess.rootlessLimitation() == nil ? .rootless : .emulated
  }

  /// CAP_NET_ADMIN and CAP_SYS_ADMIN in effect, by what the kernel says of this process.
  public static let mayChangeTheKernel: Bool = {
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

extension RunningLab {
  /// Removes all of a lab, whatever state it is in.
  public static func takeAway(_ folder: LabFolder) async throws {
    // What its process is still at is for nobody.
    if folder.isLockedByNobody { try await release(folder) }
    let lock = try folder.lock()
    let record = (try? folder.record()) ?? nil
    let touched = (record?.namespaces ?? []) + ((try? folder.journal())??.touched ?? [])
    // First, so that a process that does not answer cannot stand in the way.
    try await release(folder)
    let isKernels =
      switch record?.datapath {
      case .kernel: true
      case .rootless: false
      // It goes with its process, but for what it has on the host.
      case .emulated: mayChangeTheKernel && touched.contains(.host)
      // What a crashed first `up` left behind is the kernel's.
      case nil: mayChangeTheKernel
      }
    guard isKernels else { return try folder.remove() }
    try await Reconciler(datapath: try KernelDatapath(), folder: folder).down(holding: lock)
  }

  /// Ends the lab's process, when it has one, and what programs of its nodes left running.
  public static func release(_ folder: LabFolder) async throws {
    try await LabProcess.end(folder: folder.path)
  }
}
