// SPDX-License-Identifier: GPL-2.0-or-later

// From what the user names (a topology.swift, rendered JSON, standard input) to declarations. What they mean is judged by
// TopologyModel; here a Swift file is compiled, run as a program that is not trusted, and its result kept by the content
// of everything that it came from.

import Glibc
import Spawn
public import TopologyModel

/// How a topology is to be loaded.
public struct ManifestOptions: Sendable {
  /// `--var name=value`.
  public var variables: [String: String] = [:]
  /// A folder for the cache instead of the user's own.
  public var cache: String?
  /// Whether a kept result may be used.
  public var usesCache = true
  public var limits = RunLimits()
  /// How long the compiler may take.
  public var compileTimeout: Duration = .seconds(120)
  /// The caller's environment: PATH, HOME, XDG_CACHE_HOME, SUDO_UID, NETFORGE_TOOLCHAIN are looked at.
  public var environment: [String: String]

  public init(environment: [String: String] = Manifest.environment) { self.environment = environment }
}

/// A topology as it came out of its file.
public struct LoadedManifest: Sendable {
  /// What kind of text `bytes` is.
  public enum Format: Sendable {
    /// The lines that a topology's program writes: a header, a declaration each, an end marker.
    case program
    /// Rendered JSON, one document.
    case rendered
  }
  /// Where it came from.
  public enum Origin: Sendable {
    case rendered, cache, compiled
  }
  public var format: Format
  public var bytes: [UInt8]
  public var origin: Origin
  /// File names as the program says them, and as messages shall say them.
  public var paths: [String: String]
  /// What the topology printed, whole lines; to be shown on standard error.
  public var printed: String
}

extension LoadedManifest {
  /// What it declares.
  public func declarations() throws(TopologyErrors) -> Declarations {
    switch format {
    case .rendered: return try Declarations(json: bytes)
    case .program:
      let stream = try DeclarationStream(bytes, paths: paths)
      guard stream.failures.isEmpty else { throw TopologyErrors(stream.failures) }
      return stream.declarations
    }
  }
}

/// Loading topologies.
public enum Manifest {
  /// The longest document that is taken, in bytes.
  public static let maximumSize = 64 << 20

  /// This process's environment.
  public static var environment: [String: String] {
    var result: [String: String] = [:]
    var entry = environ
    while let text = entry.pointee {
      let line = String(cString: text)
      if let equals = line.firstIndex(of: "=") {
        result[String(line[..<equals])] = String(line[line.index(after: equals)...])
      }
      entry += 1
    }
    return result
  }

  /// Where the Swift toolchain that compiles topologies is; nil when this machine has none in PATH.
  public static func toolchain(environment: [String: String] = environment) -> String? {
    Toolchain.find(environment)?.folder
  }

  /// Loads a topology file, rendered JSON, or with `-` either of them from standard input.
  public static func load(
    _ path: String, options: ManifestOptions = ManifestOptions()
  ) async throws(ManifestError) -> LoadedManifest {
    let result = await DedicatedThread.run { () -> Result<LoadedManifest, ManifestError> in
      do throws(ManifestError) {
        return .success(try loadBlocking(path, options))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  /// Loads a topology from text that is at hand.
  /// - Parameter folder: where `lab.read` finds its files.
  public static func load(
    text: [UInt8], name: String = "<stdin>", folder: String = ".",
    options: ManifestOptions = ManifestOptions()
  ) async throws(ManifestError) -> LoadedManifest {
    let result = await DedicatedThread.run { () -> Result<LoadedManifest, ManifestError> in
      do throws(ManifestError) {
        return .success(try load(SourceSet.File(path: name, name: name, bytes: text), folder, false, options))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private static func loadBlocking(
    _ path: String, _ options: ManifestOptions
  ) throws(ManifestError) -> LoadedManifest {
    if path == "-" {
      switch Files.read(0, limit: maximumSize, onlyRegular: false) {
      case .success(let bytes):
        return try load(SourceSet.File(path: "<stdin>", name: "<stdin>", bytes: bytes), ".", false, options)
      case .failure(let error): throw ManifestError(.unreadable, "cannot read standard input: \(error)")
      }
    }
    guard !path.utf8.contains(0) else { throw ManifestError(.unreadable, "a path cannot hold a NUL byte") }
    switch Files.read(path, limit: maximumSize) {
    case .success(let bytes):
      let file = SourceSet.File(path: path, name: Files.name(of: path), bytes: bytes)
      return try load(file, Files.folder(of: path), true, options)
    case .failure(let error):
      let what = error.errno == EFBIG ? "it is longer than \(maximumSize >> 20) MiB" : "\(error)"
      throw ManifestError(.unreadable, "cannot read '\(path)': \(what)")
    }
  }

  private static func load(
    _ file: SourceSet.File, _ folder: String, _ isInFolder: Bool, _ options: ManifestOptions
  ) throws(ManifestError) -> LoadedManifest {
    let blanks: [UInt8] = [0x20, 0x09, 0x0A, 0x0D]
    guard let first = file.bytes.first(where: { !blanks.contains($0) }) else {
      throw ManifestError(.unreadable, "\(file.path): error: the file is empty")
    }
    if first == 0x7B || file.name.hasSuffix(".json") {
      return LoadedManifest(
        format: .rendered, bytes: file.bytes, origin: .rendered, paths: [:], printed: "")
    }
    guard file.bytes.count <= SourceSet.maximumSize, !file.bytes.contains(0) else {
      throw ManifestError(.unreadable, "\(file.path): error: this is no Swift source")
    }
    for (name, value) in options.variables {
      guard !name.isEmpty, !name.contains("="), !name.utf8.contains(0), !value.utf8.contains(0) else {
        throw ManifestError(.unreadable, "the variable '\(name)' is not of the form name=value")
      }
    }
    guard let toolchain = Toolchain.find(options.environment) else {
      throw ManifestError(
        .toolchain,
        "\(file.path): a topology in Swift needs a Swift toolchain, and this machine has none in PATH; "
          + "install one from swift.org, or run `netforge render \(file.path) > topology.json` on a machine that has one "
          + "and use topology.json here")
    }
    let sources = try SourceSet(main: file, folder: folder, isInFolder: isInFolder)
    let identity = RunIdentity.choose(options.environment)
    let cache = try CacheFolder(options.cache, environment: options.environment)
    let key = key(of: sources, toolchain, options)
    if options.usesCache, let kept = cache.result(key).flatMap({ CachedResult($0) }),
      kept.reads.allSatisfy({ FileBroker.isUnchanged($0, beneath: sources.folder) })
    {
      return LoadedManifest(
        format: .program, bytes: kept.declarations, origin: .cache, paths: sources.paths,
        printed: kept.printed)
    }

    let language = try Language.prepare(with: toolchain, runsAsOther: identity != nil, in: cache)
    let scratch = try cache.makeScratch()
    defer { Files.removeAll(scratch) }
    let compiler = TopologyCompiler(language: language, cache: cache, timeout: options.compileTimeout)
    let program = try compiler.compile(sources, in: scratch)
    let run = TopologyRun(
      program: program, sources: sources, variables: options.variables, identity: identity,
      libraries: ["\(Files.folder(of: toolchain.folder))/lib/swift/linux"], limits: options.limits)
    let result = try run.run()
    cache.store(
      CachedResult(reads: result.reads, printed: result.printed, declarations: result.declarations).bytes,
      as: key)
    return LoadedManifest(
      format: .program, bytes: result.declarations, origin: .compiled, paths: sources.paths,
      printed: result.printed)
  }

  private static func key(of sources: SourceSet, _ toolchain: Toolchain, _ options: ManifestOptions) -> String
  {
    var hash = SHA256()
    hash.field(Language.version)
    hash.field(toolchain.identity)
    hash.field(LanguageSource.digest)
    for file in sources.all {
      hash.field(file.name)
      hash.field(file.bytes)
    }
    hash.field("variables")
    for (name, value) in options.variables.sorted(by: { $0.key < $1.key }) {
      hash.field(name)
      hash.field(value)
    }
    return hash.finish()
  }
}
