// SPDX-License-Identifier: GPL-2.0-or-later

// Reading and writing whole files, and the few questions about paths that this module asks.

import Glibc

enum Files {
  /// The bytes of a file, or the errno. Longer than `limit` is EFBIG, not a regular file EINVAL or EISDIR.
  static func read(_ path: String, limit: Int) -> Result<[UInt8], FileError> {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return .failure(FileError(errno)) }
    defer { close(descriptor) }
    return read(descriptor, limit: limit, onlyRegular: true)
  }

  static func read(_ descriptor: Int32, limit: Int, onlyRegular: Bool) -> Result<[UInt8], FileError> {
    var info = stat()
    guard fstat(descriptor, &info) == 0 else { return .failure(FileError(errno)) }
    if onlyRegular {
      if info.st_mode & S_IFMT == S_IFDIR { return .failure(FileError(EISDIR)) }
      guard info.st_mode & S_IFMT == S_IFREG else { return .failure(FileError(EINVAL)) }
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(min(limit, max(0, Int(info.st_size))))
    return withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 16) { buffer in
      while true {
        let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
        if count < 0 && errno == EINTR { continue }
        guard count >= 0 else { return .failure(FileError(errno)) }
        guard count > 0 else { return .success(bytes) }
        bytes.append(contentsOf: buffer[..<count])
        guard bytes.count <= limit else { return .failure(FileError(EFBIG)) }
      }
    }
  }

  /// Writes a new file; one that is there already is an error.
  static func write(_ bytes: [UInt8], to path: String, mode: mode_t = 0o600) throws(FileError) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)
    guard descriptor >= 0 else { throw FileError(errno) }
    var failure: FileError?
    bytes.withUnsafeBytes { buffer in
      var rest = buffer[...]
      while !rest.isEmpty {
        let count = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else {
          failure = FileError(errno)
          return
        }
        rest = rest.dropFirst(count)
      }
    }
    close(descriptor)
    if let failure { throw failure }
  }

  static func isExecutable(_ path: String) -> Bool { access(path, X_OK) == 0 && !isFolder(path) }
  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  static func isFolder(_ path: String) -> Bool {
    var info = stat()
    return stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFDIR
  }

  /// Whether every user can reach and read this file or folder.
  static func isPublic(_ path: String) -> Bool {
    var prefix = resolved(path) ?? path
    var wanted: mode_t = 0o004
    while !prefix.isEmpty {
      var info = stat()
      guard stat(prefix, &info) == 0, info.st_mode & wanted == wanted else { return false }
      wanted = 0o001
      guard prefix != "/" else { return true }
      prefix = folder(of: prefix)
    }
    return false
  }

  /// The path without symbolic links.
  static func resolved(_ path: String) -> String? {
    guard let result = realpath(path, nil) else { return nil }
    defer { free(result) }
    return String(cString: result)
  }

  static func folder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  static func name(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return path }
    return String(path[path.index(after: slash)...])
  }

  /// The names in a folder, sorted; nil when it cannot be read.
  static func names(in folder: String) -> [String]? {
    guard let directory = opendir(folder) else { return nil }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// Removes a folder and all beneath it; symbolic links are removed, not followed.
  static func removeAll(_ path: String) {
    if unlink(path) == 0 { return }
    for name in names(in: path) ?? [] { removeAll("\(path)/\(name)") }
    rmdir(path)
  }
}

/// An errno and its text.
struct FileError: Error, CustomStringConvertible {
  let errno: Int32
  init(_ errno: Int32) { self.errno = errno }
  var description: String { String(cString: strerror(errno)) }
}
