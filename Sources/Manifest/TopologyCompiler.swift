// SPDX-License-Identifier: GPL-2.0-or-later

// From the sources of a topology to a program that declares it. The topology file is staged as main.swift under
// #sourceLocation, so that the compiler's messages and #line say the user's file.

import Glibc
import Spawn

/// Compiles one topology in a folder of its own.
struct TopologyCompiler {
  let language: Language
  let cache: CacheFolder
  /// How long the compiler may take.
  let timeout: Duration

  /// The path of the program, inside `scratch`.
  func compile(_ sources: SourceSet, in scratch: String) throws(ManifestError) -> String {
    let files = try stage(sources, in: scratch)
    let object = "\(scratch)/netforge-topology.o"
    let program = "\(scratch)/netforge-topology"

    let toolchain = language.toolchain
    var arguments = [toolchain.frontend, "-c"]
    if files.count == 1 { arguments.append("-primary-file") }
    arguments += files + ["-module-name", "main", "-target", language.recipe.triple, "-disable-objc-interop"]
    arguments += ["-default-isolation", "MainActor", "-swift-version", "6", "-I", language.folder, "-Onone"]
    arguments += ["-module-cache-path", "\(cache.path)/clang", "-diagnostic-style", "llvm", "-o", object]
    let output = try Toolchain.run(toolchain.frontend, arguments, timeout: timeout)
    if output.ending == .timedOut {
      throw ManifestError(
        .compile,
        "\(sources.main.path): error: the compiler did not end within \(timeout.components.seconds) s; "
          + "an expression may be too large for it, split it or name its type")
    }
    guard output.status == .exited(0) else {
      let log = output.text(1) + output.text(2)
      if case .signaled = output.status {
        throw ManifestError(
          .compile, "\(sources.main.path): error: the Swift compiler crashed (\(output.status))", log: log)
      }
      throw ManifestError(.compile, "\(sources.main.path): the topology does not compile", log: log)
    }

    if let link = language.recipe.link {
      let words = link.map { word in
        switch word {
        case Language.outputPlaceholder: program
        case Language.objectPlaceholder: object
        default: word
        }
      }
      let linked = try Toolchain.run(words[0], words, timeout: timeout)
      if linked.status == .exited(0) { return program }
    }
    return try compileWithDriver(files, to: program, sources)
  }

  /// The slow way, which knows every library that an import may need.
  private func compileWithDriver(
    _ files: [String], to program: String, _ sources: SourceSet
  ) throws(ManifestError) -> String {
    let driver = language.toolchain.driver
    var arguments =
      [driver] + files + [language.object, "-o", program, "-module-name", "main", "-swift-version", "6"]
    arguments += ["-default-isolation", "MainActor", "-I", language.folder, "-Onone", "-module-cache-path"]
    arguments += ["\(cache.path)/clang", "-use-ld=lld", "-suppress-warnings"]
    if language.recipe.isStatic { arguments.append("-static-stdlib") }
    let output = try Toolchain.run(driver, arguments, folder: Files.folder(of: program), timeout: timeout)
    guard output.status == .exited(0) else {
      throw ManifestError(
        .compile, "\(sources.main.path): error: the topology compiles but does not link (\(output.status))",
        log: output.text(1) + output.text(2))
    }
    return program
  }

  /// The paths of the staged files, main.swift first.
  private func stage(_ sources: SourceSet, in scratch: String) throws(ManifestError) -> [String] {
    var paths: [String] = []
    for (index, file) in sources.all.enumerated() {
      let path = "\(scratch)/\(index == 0 ? "main.swift" : file.name)"
      do throws(FileError) {
        try Files.write(Self.located(file), to: path)
      } catch {
        throw ManifestError(.system, "cannot write '\(path)': \(error)")
      }
      paths.append(path)
    }
    return paths
  }

  /// The file's text behind a line that names it.
  static func located(_ file: SourceSet.File) -> [UInt8] {
    var quoted: [UInt8] = []
    for byte in file.path.utf8 {
      if byte == 0x22 || byte == 0x5C { quoted.append(0x5C) }
      quoted.append(byte < 0x20 ? 0x5F : byte)
    }
    var bytes = file.bytes
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes.removeFirst(3) }
    // A script's first line means something in the first line only.
    if bytes.starts(with: Array("#!".utf8)) { bytes.replaceSubrange(0..<2, with: Array("//".utf8)) }
    return Array("#sourceLocation(file: \"".utf8) + quoted + Array("\", line: 1)\n".utf8) + bytes
  }
}
