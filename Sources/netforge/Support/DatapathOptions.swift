// SPDX-License-Identifier: GPL-2.0-or-later

// Where a lab is to run, and how to get there.

import ArgumentParser
import LabCore
import LabHost
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
    case .auto: return RunningLab.firstKind
    }
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
