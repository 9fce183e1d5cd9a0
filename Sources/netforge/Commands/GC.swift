// SPDX-License-Identifier: GPL-2.0-or-later

import ArgumentParser
import Glibc
import KernelDatapath
import LabCore
import LabHost
import LabProcess
import Reconcile

/// `netforge gc`: clears away what crashed labs left behind.
struct GC: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gc",
    abstract: "Clear away what is left of labs that are gone.",
    discussion: """
      Folders of labs whose namespaces or process no longer exist, and namespaces that carry a lab's mark without a \
      folder. Labs that are up, and all that carries no mark, are left alone.
      """)

  @Flag(help: "Say what would be cleared away, and do nothing.")
  var dryRun = Environment.isSet("DRY_RUN")

  @OptionGroup var output: OutputOptions

  struct Document: Encodable {
    var schemaVersion = 1
    var dryRun: Bool
    var removed: [Leftover]
  }

  struct Leftover: Encodable {
    var lab: String
    var what: String
  }

  func run() async throws {
    var removed: [Leftover] = []
    for folder in LabFolders.ofCaller.list() {
      guard let reason = try await Self.reason(toRemove: folder) else { continue }
      removed.append(Leftover(lab: folder.lab.text, what: reason))
      if !dryRun { try await RunningLab.takeAway(folder) }
    }
    if RunningLab.mayChangeTheKernel {
      let datapath = try KernelDatapath()
      let known = Set(LabFolders.ofCaller.list().map(\.lab))
      for lab in try await datapath.markedLabs() where !known.contains(lab) {
        removed.append(Leftover(lab: lab.text, what: "namespaces without a lab's folder"))
        if !dryRun { try await datapath.remove(lab) }
      }
    }
    try output.print(Document(dryRun: dryRun, removed: removed)) {
      removed.isEmpty
        ? "nothing is left behind"
        : removed.map { "\(dryRun ? "would remove" : "removed") \($0.lab): \($0.what)" }.joined(
          separator: "\n")
    }
  }

  /// Why the lab of a folder is none any more; nil when it is, or when somebody works on it.
  private static func reason(toRemove folder: LabFolder) async throws -> String? {
    guard let lock = try? folder.lock() else { return nil }
    defer { withExtendedLifetime(lock) {} }
    guard let record = try folder.record() else { return "a first `up` that did not end" }
    switch record.datapath {
    case .rootless, .emulated:
      return LabProcess.isRunning(folder: folder.path) ? nil : "its process has ended, and the lab with it"
    case .kernel:
      let present = record.namespaces.contains { id in
        id.netnsName(in: folder.lab).map { access("\(NodeEntry.namespaceFolder)/\($0)", F_OK) == 0 } ?? false
      }
      return present ? nil : "its namespaces are gone"
    }
  }
}
