// SPDX-License-Identifier: GPL-2.0-or-later

// Where compiled things are kept between runs: `/var/cache/netforge` for root, else `$XDG_CACHE_HOME/netforge` or
// `~/.cache/netforge`. Nobody but the owner may write there. When no such folder can be had, a temporary one serves this
// run. Everything in it is written under another name and renamed, so that no reader meets half a file.

import Glibc
import Synchronization

/// The cache of one user.
final class CacheFolder: Sendable {
  let path: String
  /// Whether it goes away with this object.
  let isTemporary: Bool
  private let counter = Atomic<Int>(0)

  /// Seconds after which what an interrupted run left behind goes, and a language that nobody has used.
  private static let scratchAge = 86_400
  private static let languageAge = 60 * 86_400

  /// Results that are kept; the oldest go first.
  static let maximumResults = 200

  /// Opens the cache, making it where it is missing.
  /// - Parameter override: a folder to use instead of the user's.
  init(_ override: String?, environment: [String: String]) throws(ManifestError) {
    var candidates: [String] = []
    if let override {
      candidates = [override]
    } else if geteuid() == 0 {
      candidates = ["/var/cache/netforge"]
    } else {
      // The specification of XDG says that a relative path is to be ignored.
      if let base = environment["XDG_CACHE_HOME"], base.hasPrefix("/") {
        candidates.append("\(base)/netforge")
      }
      if let home = environment["HOME"], home.hasPrefix("/") { candidates.append("\(home)/.cache/netforge") }
    }
    for candidate in candidates where Self.isOurs(candidate) {
      path = Files.resolved(candidate) ?? candidate
      isTemporary = false
      return
    }
    if let override {
      throw ManifestError(
        .system, "cannot use '\(override)' as the cache: it must be a folder that only you can write")
    }
    var template = Array("\(environment["TMPDIR"] ?? "/tmp")/netforge-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw ManifestError(
        .system, "cannot make a temporary folder in \(environment["TMPDIR"] ?? "/tmp"): \(FileError(errno))")
    }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    isTemporary = true
  }

  deinit {
    if isTemporary { Files.removeAll(path) }
  }

  /// Makes the folder if it is missing; true when it is a folder, ours, and closed to others' writing.
  private static func isOurs(_ path: String) -> Bool {
    var prefix = ""
    for part in path.split(separator: "/") {
      prefix += "/\(part)"
      mkdir(prefix, 0o700)
    }
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var info = stat()
    guard fstat(descriptor, &info) == 0, info.st_uid == geteuid(), info.st_mode & 0o022 == 0 else {
      return false
    }
    return access(path, W_OK) == 0
  }

  /// A new empty folder inside the cache, for work that is renamed into place when it is done.
  func makeScratch() throws(ManifestError) -> String {
    mkdir("\(path)/tmp", 0o700)
    var template = Array("\(path)/tmp/XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw ManifestError(.system, "cannot make a folder in '\(path)/tmp': \(FileError(errno))")
    }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Removes what has not been of use for long.
  func sweep() {
    for (folder, age) in [("\(path)/tmp", Self.scratchAge), ("\(path)/language", Self.languageAge)] {
      for name in Files.names(in: folder) ?? [] {
        var info = stat()
        guard lstat("\(folder)/\(name)", &info) == 0, info.st_mtim.tv_sec < time(nil) - age else { continue }
        Files.removeAll("\(folder)/\(name)")
      }
    }
  }

  /// The bytes of a stored result.
  func result(_ key: String) -> [UInt8]? {
    let path = "\(path)/results/\(key)"
    guard case .success(let bytes) = Files.read(path, limit: 256 << 20) else { return nil }
    // Its time says when it was last of use.
    utimensat(AT_FDCWD, path, nil, 0)
    return bytes
  }

  /// Stores a result; a cache that cannot be written to only costs time.
  func store(_ bytes: [UInt8], as key: String) {
    let folder = "\(path)/results"
    mkdir(folder, 0o700)
    let number = counter.wrappingAdd(1, ordering: .relaxed).newValue
    let temporary = "\(folder)/.\(key).\(getpid()).\(number)"
    do throws(FileError) {
      try Files.write(bytes, to: temporary)
      if rename(temporary, "\(folder)/\(key)") != 0 { unlink(temporary) }
    } catch {
      unlink(temporary)
    }
    prune(folder)
  }

  private func prune(_ folder: String) {
    let names = Files.names(in: folder) ?? []
    guard names.count > Self.maximumResults else { return }
    let aged = names.map { name in
      var info = stat()
      _ = stat("\(folder)/\(name)", &info)
      return (info.st_mtim.tv_sec, name)
    }
    for (_, name) in aged.sorted(by: { $0 < $1 }).prefix(names.count - Self.maximumResults * 3 / 4) {
      unlink("\(folder)/\(name)")
    }
  }
}
