// SPDX-License-Identifier: GPL-2.0-or-later

// What an editor needs to complete and check topology files: sourcekit-lsp, which comes with the toolchain, reads
// compile_commands.json beside them and finds the module Netforge through it.

import FoundationEssentials
import Glibc

extension Manifest {
  /// One topology in compile_commands.json.
  private struct Entry: Codable {
    var directory: String
    var file: String
    var arguments: [String]
  }

  /// The names of the Swift files in a folder that make a topology, sorted.
  public static func topologies(in folder: String) -> [String] {
    (Files.names(in: folder) ?? []).filter { name in
      guard name.hasSuffix(".swift"), !name.hasPrefix("."),
        case .success(let bytes) = Files.read("\(folder)/\(name)", limit: SourceSet.maximumSize)
      else { return false }
      let words = SwiftWords(bytes)
      return words.importsNetforge && words.makesTopology
    }
  }

  /// Prepares the folder of a topology for editors, for all topologies in it, and gives the paths of what was written.
  public static func prepareEditing(
    of path: String, options: ManifestOptions = ManifestOptions()
  ) async throws(ManifestError) -> [String] {
    let result = await DedicatedThread.run { () -> Result<[String], ManifestError> in
      do throws(ManifestError) {
        return .success(try prepare(path, options))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private static func prepare(_ path: String, _ options: ManifestOptions) throws(ManifestError) -> [String] {
    guard Files.exists(path), !Files.isFolder(path), let folder = Files.resolved(Files.folder(of: path))
    else {
      throw ManifestError(.unreadable, "cannot read '\(path)': \(FileError(ENOENT))")
    }
    guard let toolchain = Toolchain.find(options.environment) else {
      throw ManifestError(
        .toolchain, "editing needs a Swift toolchain, which brings sourcekit-lsp; none is in PATH")
    }
    let cache = try CacheFolder(options.cache, environment: options.environment)
    guard !cache.isTemporary else {
      throw ManifestError(
        .system, "editing needs a cache that lasts: set XDG_CACHE_HOME to a folder of yours")
    }
    let language = try Language.prepare(with: toolchain, runsAsOther: false, in: cache)
    var names = topologies(in: folder)
    let name = Files.name(of: path)
    if !names.contains(name) { names.append(name) }

    var entries: [Entry] = []
    for name in names {
      guard case .success(let bytes) = Files.read("\(folder)/\(name)", limit: SourceSet.maximumSize) else {
        continue
      }
      let main = SourceSet.File(path: name, name: name, bytes: bytes)
      let helpers = try SourceSet(main: main, folder: folder, isInFolder: true).helpers.map(\.name)
      let flags = [
        toolchain.driver, "-module-name", "main", "-swift-version", "6", "-default-isolation", "MainActor",
        "-I",
        language.folder,
      ]
      // Among several files Swift lets statements stand in main.swift only.
      let files = name == "main.swift" ? [name] + helpers : [name]
      entries.append(Entry(directory: folder, file: name, arguments: flags + files))
      for helper in helpers where !entries.contains(where: { $0.file == helper }) {
        entries.append(
          Entry(directory: folder, file: helper, arguments: flags + ["-parse-as-library"] + helpers))
      }
    }

    let commands = "\(folder)/compile_commands.json"
    if case .success(let bytes) = Files.read(commands, limit: 1 << 24) {
      let old = try? JSONDecoder().decode([Entry].self, from: Data(bytes))
      guard old?.allSatisfy({ $0.arguments.contains { $0.contains("/language/") } }) == true else {
        throw ManifestError(.system, "'\(commands)' is not netforge's; move it away to edit topologies here")
      }
    }
    let configuration = "\(folder)/.sourcekit-lsp/config.json"
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    guard let text = try? encoder.encode(entries) else {
      throw ManifestError(.bug, "cannot encode compile_commands.json")
    }
    var written = [commands]
    try replace(commands, with: Array(text))
    if !Files.exists(configuration) {
      mkdir("\(folder)/.sourcekit-lsp", 0o755)
      try replace(configuration, with: Array("{\"defaultWorkspaceType\": \"compilationDatabase\"}\n".utf8))
      written.append(configuration)
    }
    return written
  }

  private static func replace(_ path: String, with bytes: [UInt8]) throws(ManifestError) {
    let temporary = "\(path).\(getpid())"
    unlink(temporary)
    do throws(FileError) {
      try Files.write(bytes, to: temporary, mode: 0o644)
      guard rename(temporary, path) == 0 else { throw FileError(errno) }
    } catch {
      unlink(temporary)
      throw ManifestError(.system, "cannot write '\(path)': \(error)")
    }
  }
}
