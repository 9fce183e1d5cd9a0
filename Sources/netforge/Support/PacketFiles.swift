// SPDX-License-Identifier: GPL-2.0-or-later

// Where the packets of a test's runs are written to.

import FoundationEssentials
import LabCore

/// What `--pcap` names: a file, or a folder with a file for each run.
struct PacketFiles: Sendable {
  private let path: String
  private let lab: LabName
  /// Whether several runs would write to one file.
  private let isShared: Bool
  private let isFolder: Bool

  init(_ path: String, lab: LabName, runs: Int) throws {
    self.path = path
    self.lab = lab
    isShared = runs > 1
    isFolder = !path.hasSuffix(".pcapng") && !path.hasSuffix(".pcap")
    guard isFolder else { return }
    do {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
      throw Failure(.failed, "cannot make the folder '\(path)': \(error)")
    }
  }

  /// `shop-emulated-seed7.pcapng` in the folder; of a file that several runs share, its name with the same words in it.
  func path(of job: Test.Job) -> String {
    let words = job.kind.rawValue + (job.seed.map { "-seed\($0)" } ?? "")
    if isFolder { return "\(path)\(path.hasSuffix("/") ? "" : "/")\(lab)-\(words).pcapng" }
    guard isShared, let dot = path.lastIndex(of: ".") else { return path }
    return "\(path[..<dot])-\(words)\(path[dot...])"
  }
}
