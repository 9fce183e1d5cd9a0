// SPDX-License-Identifier: GPL-2.0-or-later

// A running lab with the words for its devices: what verbs begin with that watch or disturb what runs.

import ArgumentParser
import LabCore
import LabHost
import Reconcile
import TopologyModel

/// A lab that is up, and how its devices are called.
struct LiveLab {
  var lab: RunningLab
  var topology: Topology
  /// The canonical document of it.
  var rendered: [UInt8]
  var resolution: Resolution
  var points: LabPoints

  static func open(_ selection: LabOptions) async throws -> LiveLab {
    try await open(try await selection.folder())
  }

  static func open(_ folder: LabFolder) async throws -> LiveLab {
    let (loaded, resolution) = try folder.recordedResolution()
    return LiveLab(
      lab: try await RunningLab.open(folder), topology: loaded.topology, rendered: loaded.rendered,
      resolution: resolution,
      points: LabPoints(loaded.topology, resolution.state))
  }

  var intervention: Intervention { Intervention(on: lab.datapath, resolution) }

  func select(_ words: [String], withLoopback: Bool = false) throws -> [LabPoints.Point] {
    do throws(LabPoints.Unknown) {
      return try points.select(words, withLoopback: withLoopback)
    } catch {
      throw Failure(.failed, error.description)
    }
  }

  static let wordsHelp = ArgumentHelp(
    "node:interface, a node, a bridge (its ports), or a--b for both ends of a link.", valueName: "points")
}
