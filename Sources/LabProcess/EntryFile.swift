// SPDX-License-Identifier: GPL-2.0-or-later

// The sealed memory file that tells a re-executed netforge, before its first thread, what to become. nf_enter.h has its
// format.

import CLinux
import Glibc
import LabCore
import SystemPackage

/// A list of tags and values for `nf_enter.h`.
struct EntryFile {
  private var strings: [String] = [NF_ENTRY_MAGIC]

  mutating func add(_ tag: String, _ value: String) { strings += [tag, value] }

  /// The file; fails on a text that holds a NUL, and when the list is too long.
  func sealed(for operation: String) throws(DatapathError) -> OwnedDescriptor {
    var bytes: [UInt8] = []
    for text in strings {
      guard !text.utf8.contains(0) else {
        throw DatapathError(.refused, operation: operation, cause: "a text holds a NUL character")
      }
      bytes += text.utf8
      bytes.append(0)
    }
    guard bytes.count <= Int(NF_ENTRY_LIMIT) else {
      throw DatapathError(.refused, operation: operation, cause: "arguments and environment are over 4 MiB")
    }
    let file = nf_sealed_file(bytes, bytes.count)
    guard file >= 0 else {
      throw DatapathError(
        .unavailable, operation: operation, errno: -file, cause: "\(Errno(rawValue: -file))")
    }
    return OwnedDescriptor(FileDescriptor(rawValue: file))
  }

  /// The value of a tag in such a file.
  static func value(of tag: String, in file: FileDescriptor) -> String? {
    guard let bytes = ControlChannel.contents(of: file, limit: Int(NF_ENTRY_LIMIT)) else { return nil }
    let strings = bytes.split(separator: 0, omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    guard strings.first == NF_ENTRY_MAGIC else { return nil }
    var index = 1
    while index + 1 < strings.count {
      if strings[index] == tag { return strings[index + 1] }
      index += 2
    }
    return nil
  }

  /// The error in what was written to the `status` descriptor: five strings, each ended by a NUL.
  static func failure(in bytes: [UInt8]) -> DatapathError? {
    let parts = bytes.split(separator: 0, omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    guard parts.count >= 5 else { return nil }
    let code: DatapathError.Code =
      switch parts[0] {
      case "permission": .permission
      case "not-started": .notStarted
      case "bug": .bug
      default: .unavailable
      }
    return DatapathError(
      code, operation: parts[2], errno: Int32(parts[1]), cause: parts[3],
      remedy: parts[4].isEmpty ? nil : parts[4])
  }

  /// The same, to be written.
  static func bytes(of error: DatapathError) -> [UInt8] {
    let code =
      switch error.code {
      case .permission: "permission"
      case .notStarted: "not-started"
      case .bug: "bug"
      default: "unavailable"
      }
    let parts = [code, "\(error.errno ?? 0)", error.operation, error.cause, error.remedy ?? ""]
    return parts.flatMap { Array($0.utf8.filter { $0 != 0 }) + [0] }
  }

  /// This program's own file, which stays what it is though another takes its place on the disk.
  static func ownProgram(for operation: String) throws(DatapathError) -> OwnedDescriptor {
    let file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else {
      throw DatapathError(
        .unavailable, operation: operation, errno: errno, cause: "/proc/self/exe: \(Errno(rawValue: errno))")
    }
    return OwnedDescriptor(FileDescriptor(rawValue: file))
  }

  /// Reads until the other side closes or `timeout` has passed; blocks the calling thread.
  static func readAll(_ file: FileDescriptor, timeout: Duration) -> (bytes: [UInt8], ended: Bool) {
    var result: [UInt8] = []
    let deadline = ContinuousClock.now + timeout
    var buffer = [UInt8](repeating: 0, count: 4096)
    while result.count < 65536 {
      let left = (deadline - .now).components
      guard left.seconds > 0 || (left.seconds == 0 && left.attoseconds > 0) else { return (result, false) }
      var entry = pollfd(fd: file.rawValue, events: Int16(POLLIN), revents: 0)
      let milliseconds = Int32(
        clamping: min(left.seconds, 1_000_000) * 1000 + left.attoseconds / 1_000_000_000_000_000 + 1)
      guard poll(&entry, 1, milliseconds) > 0 else { continue }
      let count = read(file.rawValue, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return (result, true) }
      result += buffer.prefix(count)
    }
    return (result, true)
  }
}
