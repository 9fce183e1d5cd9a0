// SPDX-License-Identifier: GPL-2.0-or-later

// Files in a folder that is ours alone: opened beneath the folder's own descriptor, no symbolic link followed, written
// to a temporary name, flushed and renamed, so that a reader sees the old text or the new one and never a part.

import Glibc
import SystemPackage

struct FolderFiles: Sendable {
  let path: String

  /// Opens the folder, making it and its ancestors under `root` when they are not there. Every one of them has to be
  /// a folder of the caller's that nobody else may write to.
  static func make(_ path: String, mode: mode_t = 0o700) throws(LabFolderError) -> FolderFiles {
    if mkdir(path, mode) != 0, errno != EEXIST { throw .last("make the folder", path) }
    let files = FolderFiles(path: path)
    close(try files.open())
    return files
  }

  /// A descriptor of the folder itself, checked. The caller closes it.
  func open() throws(LabFolderError) -> Int32 {
    let descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ELOOP || errno == ENOTDIR {
        throw LabFolderError(
          .permission, "'\(path)' is not a folder but a file or a symbolic link; remove it")
      }
      throw .last("open the folder", path)
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      let error = LabFolderError.last("examine", path)
      close(descriptor)
      throw error
    }
    guard status.st_uid == geteuid() else {
      close(descriptor)
      throw LabFolderError(
        .permission,
        "'\(path)' belongs to user \(status.st_uid), not to \(geteuid()); remove it or run as its owner")
    }
    guard status.st_mode & 0o022 == 0 else {
      close(descriptor)
      throw LabFolderError(.permission, "others may write to '\(path)'; run `chmod 700 \(path)` or remove it")
    }
    return descriptor
  }

  /// The file's bytes, or nil when there is none.
  func read(_ name: String) throws(LabFolderError) -> [UInt8]? {
    let folder = try open()
    defer { close(folder) }
    let descriptor = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw .last("read", path + "/" + name)
    }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0 {
        if errno == EINTR { continue }
        throw .last("read", path + "/" + name)
      }
      if count == 0 { return bytes }
      bytes += chunk[..<count]
    }
  }

  /// Replaces the file by `bytes`, at once and for good.
  func write(_ bytes: [UInt8], to name: String) throws(LabFolderError) {
    let folder = try open()
    defer { close(folder) }
    let temporary = ".\(name).\(getpid())"
    let descriptor = openat(folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .last("write", path + "/" + name) }
    do throws(LabFolderError) {
      defer { close(descriptor) }
      try Self.writeAll(bytes, to: descriptor, path: path + "/" + name)
      guard fsync(descriptor) == 0 else { throw .last("flush", path + "/" + name) }
      guard renameat(folder, temporary, folder, name) == 0 else { throw .last("replace", path + "/" + name) }
    } catch {
      unlinkat(folder, temporary, 0)
      throw error
    }
    fsync(folder)
  }

  private static func writeAll(_ bytes: [UInt8], to descriptor: Int32, path: String) throws(LabFolderError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 {
        if errno == EINTR { continue }
        throw .last("write", path)
      }
      rest = rest.dropFirst(count)
    }
  }

  /// Removes the file; no error when it is gone.
  func remove(_ name: String) throws(LabFolderError) {
    let folder = try open()
    defer { close(folder) }
    if unlinkat(folder, name, 0) != 0, errno != ENOENT { throw .last("remove", path + "/" + name) }
  }

  /// The names in the folder, sorted; nothing when it is not there.
  static func names(in path: String) -> [String] {
    guard let stream = opendir(path) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// Removes the folder and what is directly in it; folders in it too, links never followed.
  static func removeTree(_ path: String) throws(LabFolderError) {
    for name in names(in: path) {
      let child = path + "/" + name
      var status = stat()
      guard lstat(child, &status) == 0 else { continue }
      if status.st_mode & S_IFMT == S_IFDIR {
        try removeTree(child)
      } else if unlink(child) != 0, errno != ENOENT {
        throw .last("remove", child)
      }
    }
    if rmdir(path) != 0, errno != ENOENT { throw .last("remove", path) }
  }
}
