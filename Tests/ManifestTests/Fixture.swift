// SPDX-License-Identifier: GPL-2.0-or-later

// Folders with topology files in them, and one cache for all tests of a run, so that the language is built once.

import Foundation
import Manifest

let hasToolchain =
  FileManager.default.isExecutableFile(atPath: "/opt/swift/usr/bin/swiftc")
  || (Manifest.environment["PATH"] ?? "").split(separator: ":").contains {
    FileManager.default.isExecutableFile(atPath: "\($0)/swiftc")
  }

/// A folder of its own, gone with the object.
final class Fixture: Sendable {
  let path: String

  init(_ files: [String: String] = [:]) throws {
    path = "/tmp/netforge-manifest-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    for (name, text) in files { try write(name, text) }
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ name: String, _ text: String) throws {
    try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
  }

  static let sharedCache: String = {
    let path = "/tmp/netforge-manifest-cache-\(getpid())"
    atexit { try? FileManager.default.removeItem(atPath: "/tmp/netforge-manifest-cache-\(getpid())") }
    return path
  }()

  func load(
    _ name: String = "topology.swift", _ change: (inout ManifestOptions) -> Void = { _ in }
  ) async throws(ManifestError) -> LoadedManifest {
    var options = ManifestOptions()
    options.cache = Self.sharedCache
    change(&options)
    return try await Manifest.load(name == "-" ? name : "\(path)/\(name)", options: options)
  }
}

extension LoadedManifest {
  var text: String { String(decoding: bytes, as: UTF8.self) }
}

/// A topology with `body` after its first line.
func topology(_ body: String) -> String { "import Netforge\nlet lab = Topology(\"x\")\n\(body)\n" }
