// SPDX-License-Identifier: GPL-2.0-or-later

// The module Netforge, built from the source in this binary by the toolchain of this machine: a compiled module loads only
// in the very compiler that made it. Built once for a toolchain and a version of the language, and kept in the cache.

import CDSLSource
import FoundationEssentials
import Glibc
import Spawn

/// The source of the language, as it was when this binary was built.
enum LanguageSource {
  static let files: [(name: String, bytes: [UInt8])] = (0..<nf_dsl_file_count).map { index in
    let file = nf_dsl_file_at(index)
    return (String(cString: file.name), Array(UnsafeBufferPointer(start: file.bytes, count: file.count)))
  }

  static let digest: String = {
    var hash = SHA256()
    for file in files {
      hash.field(file.name)
      hash.field(file.bytes)
    }
    return hash.finish()
  }()
}

/// The language as one toolchain has built it, and what that toolchain needs to be told to compile a topology.
struct Language {
  /// Holds the module, its object file and this description.
  let folder: String
  let toolchain: Toolchain
  let recipe: Recipe

  struct Recipe: Codable {
    var triple: String
    /// The linker and its arguments, with placeholders; nil when they could not be found out and the driver must do it.
    var link: [String]?
    /// Whether Swift's runtime is part of the program, for those who cannot reach the toolchain's folder.
    var isStatic: Bool
  }

  /// Changes with whatever changes the result of a build.
  static let version = "1"
  static let features = ["ExistentialAny", "InternalImportsByDefault", "MemberImportVisibility"]
  static let outputPlaceholder = "netforge-output"
  static let objectPlaceholder = "netforge-object.o"

  var object: String { "\(folder)/Netforge.o" }

  /// Where the module of this toolchain is kept.
  private static func folder(_ toolchain: Toolchain, isStatic: Bool, in cache: CacheFolder) -> String {
    var hash = SHA256()
    hash.field(version)
    hash.field(toolchain.identity)
    hash.field(LanguageSource.digest)
    hash.field(isStatic ? "static" : "dynamic")
    return "\(cache.path)/language/\(hash.finish().prefix(32))"
  }

  /// The built language, building it when this toolchain has not done so yet. Of several that want it at once one builds
  /// and the others wait; where locks do not work all build, and the first to finish puts its folder in place.
  static func prepare(
    with toolchain: Toolchain, runsAsOther: Bool, in cache: CacheFolder
  ) throws(ManifestError) -> Language {
    let isStatic = runsAsOther && !Files.isPublic(toolchain.folder)
    let folder = folder(toolchain, isStatic: isStatic, in: cache)
    if let recipe = readRecipe(folder) {
      // Its time says when it was last of use.
      utimensat(AT_FDCWD, folder, nil, 0)
      return Language(folder: folder, toolchain: toolchain, recipe: recipe)
    }
    cache.sweep()
    mkdir("\(cache.path)/language", 0o700)
    let lock = open("\(folder).lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    defer { if lock >= 0 { close(lock) } }
    if lock >= 0 {
      while flock(lock, LOCK_EX) != 0 && errno == EINTR {}
      if let recipe = readRecipe(folder) {
        return Language(folder: folder, toolchain: toolchain, recipe: recipe)
      }
    }
    let scratch = try cache.makeScratch()
    defer { Files.removeAll(scratch) }
    let target = try toolchain.target()
    try build(with: toolchain, target, in: scratch, cache)
    var recipe = Recipe(triple: target.triple, link: nil, isStatic: isStatic)
    recipe.link = findLinkCommand(
      toolchain, target, isStatic: isStatic, object: "\(folder)/Netforge.o", in: scratch)
    do {
      try Files.write(Array(JSONEncoder().encode(recipe)), to: "\(scratch)/recipe.json")
    } catch {
      throw ManifestError(.system, "cannot write in '\(scratch)': \(error)")
    }
    if rename(scratch, folder) != 0 && readRecipe(folder) == nil {
      // Something unfinished stands there; a rename replaces only an empty folder.
      Files.removeAll(folder)
      guard rename(scratch, folder) == 0 || readRecipe(folder) != nil else {
        throw ManifestError(.system, "cannot put '\(folder)' in place: \(FileError(errno))")
      }
    }
    return Language(folder: folder, toolchain: toolchain, recipe: recipe)
  }

  private static func readRecipe(_ folder: String) -> Recipe? {
    guard case .success(let bytes) = Files.read("\(folder)/recipe.json", limit: 1 << 20) else { return nil }
    return try? JSONDecoder().decode(Recipe.self, from: Data(bytes))
  }

  private static func build(
    with toolchain: Toolchain, _ target: Toolchain.Target, in scratch: String, _ cache: CacheFolder
  ) throws(ManifestError) {
    var arguments = [toolchain.frontend, "-c", "-parse-as-library", "-wmo", "-Onone", "-swift-version", "6"]
    arguments += ["-module-name", "Netforge", "-target", target.triple, "-disable-objc-interop"]
    for feature in features { arguments += ["-enable-upcoming-feature", feature] }
    arguments += ["-module-cache-path", "\(cache.path)/clang", "-suppress-warnings"]
    arguments += ["-emit-module-path", "\(scratch)/Netforge.swiftmodule", "-emit-module-doc-path"]
    arguments += ["\(scratch)/Netforge.swiftdoc", "-o", "\(scratch)/Netforge.o"]
    mkdir("\(scratch)/source", 0o700)
    for file in LanguageSource.files {
      let path = "\(scratch)/source/\(file.name)"
      do throws(FileError) {
        try Files.write(file.bytes, to: path)
      } catch {
        throw ManifestError(.system, "cannot write '\(path)': \(error)")
      }
      arguments.append(path)
    }
    let output = try Toolchain.run(toolchain.frontend, arguments, timeout: .seconds(180))
    guard output.status == .exited(0) else {
      throw ManifestError(
        .toolchain,
        "the Swift toolchain in '\(toolchain.folder)' cannot build the module Netforge (\(output.status)); "
          + "Swift 6.2 or later is needed", log: output.text(1) + output.text(2))
    }
  }

  /// Asks clang, as the driver would call it, how it would call the linker.
  private static func findLinkCommand(
    _ toolchain: Toolchain, _ target: Toolchain.Target, isStatic: Bool, object: String, in scratch: String
  ) -> [String]? {
    let architecture = target.triple.prefix { $0 != "-" }
    let libraries = "\(target.resources)\(isStatic ? "_static" : "")/linux"
    var arguments = [
      toolchain.clang, "-###", "-pie", "-fuse-ld=lld", "--target=\(target.triple)", "-o", outputPlaceholder,
    ]
    arguments += ["\(libraries)/\(architecture)/swiftrt.o", objectPlaceholder, "Netforge.o", "-L", libraries]
    // Their order is the driver's; Glibc's overlay and libm are what the language itself and most topologies call.
    var names = [
      "swiftGlibc", "swiftSwiftOnoneSupport", "swiftCore", "swift_Concurrency", "swift_StringProcessing",
    ]
    if isStatic {
      names += ["swift_RegexParser"]
      arguments += ["-Wl,--gc-sections", "-Wl,--start-group"] + names.map { "-l\($0)" } + ["-Wl,--end-group"]
      arguments += ["dispatch", "BlocksRuntime", "stdc++", "dl", "pthread", "m"].map { "-l\($0)" }
    } else {
      arguments += ["-Xlinker", "-rpath", "-Xlinker", libraries] + names.map { "-l\($0)" } + ["-lm"]
    }
    // clang looks for its inputs even when it only prints.
    guard (try? Files.write([], to: "\(scratch)/\(objectPlaceholder)")) != nil,
      let output = try? Toolchain.run(toolchain.clang, arguments, folder: scratch, timeout: .seconds(30)),
      output.status == .exited(0)
    else { return nil }
    unlink("\(scratch)/\(objectPlaceholder)")
    let lines = output.text(2).split(separator: "\n")
    guard let line = lines.last(where: { $0.contains(objectPlaceholder) && $0.contains(outputPlaceholder) })
    else { return nil }
    let words = quotedWords(line).map { $0 == "Netforge.o" ? object : $0 }
    guard let linker = words.first, Files.isExecutable(linker), words.contains(outputPlaceholder) else {
      return nil
    }
    return words
  }
}
