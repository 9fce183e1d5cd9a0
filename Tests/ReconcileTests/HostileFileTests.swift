// SPDX-License-Identifier: GPL-2.0-or-later

import Foundation
import LabCore
import Seeds
import Testing

@testable import Reconcile

@Suite("Hostile files of a lab's folder")
struct HostileFileTests {
  /// A journal that holds a bit of everything, as its file.
  private func journal(_ folder: LabFolder, seed: UInt64) throws -> [UInt8] {
    var source = RandomLab(seed: seed)
    let state = source.draw()
    try folder.setJournal(
      Journal(touched: state.namespaces.map(\.id), before: state, hostSettings: ["a": "b"], processID: 1))
    return Array(try Data(contentsOf: URL(filePath: folder.path + "/journal")))
  }

  @Test("Bytes changed at random are known as damaged")
  func damaged() throws {
    let labs = try TemporaryFolders()
    let folder = try labs.folders.make(LabFolderTests.lab)
    var random = SplitMix(1)
    let whole = try journal(folder, seed: 1)
    for round in 0..<Rounds.of(300) {
      var bytes = whole
      bytes.damage(&random)
      guard bytes != whole else { continue }
      try Data(bytes).write(to: URL(filePath: folder.path + "/journal"))
      #expect(throws: LabFolderError.self, "round \(round)") { try folder.journal() }
    }
  }

  @Test("Content that is not what its seal promises is refused or read, never trapped on")
  func content() throws {
    let labs = try TemporaryFolders()
    let folder = try labs.folders.make(LabFolderTests.lab)
    var random = SplitMix(2)
    for seed in 0..<UInt64(4) {
      let whole = try journal(folder, seed: seed)
      let body = Array(whole.drop { $0 != 0x0a }.dropFirst())
      for _ in 0..<Rounds.of(75) {
        var bytes = body
        bytes.damage(&random)
        for kind in ["journal", "record", "allocations", "host-settings"] {
          try Data(SealedFile(kind: kind).seal(bytes)).write(to: URL(filePath: "\(folder.path)/\(kind)"))
        }
        _ = try? folder.journal()
        _ = try? folder.record()
        _ = try? folder.allocations()
        _ = try? folder.hostSettings()
      }
    }
  }
}
