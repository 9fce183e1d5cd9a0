// SPDX-License-Identifier: GPL-2.0-or-later

// The other side of `lab.read`. The topology's program can open nothing; it asks over descriptor 4 for a file beneath the
// topology's folder, and what it was given is part of what its result depends on.
//
// A question is a path and a newline; a zero byte before the path asks for what nft makes of the file. The answer is a decimal number and a newline: the count of bytes that follow, or an
// errno with a minus before it.

import CLinux
import Glibc

/// Reads files for one run of a topology.
final class FileBroker {
  /// A file that was asked for, and what it held: a SHA-256, or `-` when it could not be read.
  struct Read: Equatable {
    var path: String
    var digest: String
  }
  private let folder: String
  private(set) var reads: [Read] = []

  /// Bytes a file may have, and all of them together.
  static let maximumSize = 64 << 20
  static let maximumCount = 1000
  private var total = 0

  init(folder: String) { self.folder = folder }

  /// Takes one question from what was received; nil when the program does not keep to the rules.
  func answer(_ received: inout [UInt8]) -> [UInt8]? {
    guard let end = received.firstIndex(of: 0x0A) else { return received.count > 4096 ? nil : [] }
    let isRuleset = received.first == 0
    let path = String(decoding: received[(isRuleset ? 1 : 0)..<end], as: UTF8.self)
    received.removeSubrange(...end)
    guard reads.count < Self.maximumCount else { return nil }
    switch Self.contents(of: path, beneath: folder) {
    case .success(let bytes):
      total += bytes.count
      guard total <= Self.maximumSize else { return Array("-\(EFBIG)\n".utf8) }
      reads.append(Read(path: path, digest: SHA256.digest(bytes)))
      let answer = isRuleset ? NftTranslator.json(of: path, bytes) : bytes
      return Array("\(answer.count)\n".utf8) + answer
    case .failure(let error):
      reads.append(Read(path: path, digest: "-"))
      return Array("-\(error.errno)\n".utf8)
    }
  }

  /// The bytes of a regular file beneath the folder. Neither `..` nor a symbolic link leads out of it.
  static func contents(of path: String, beneath folder: String) -> Result<[UInt8], FileError> {
    let descriptor = nf_open_beneath(folder, path)
    guard descriptor >= 0 else { return .failure(FileError(-descriptor)) }
    defer { close(descriptor) }
    return Files.read(descriptor, limit: maximumSize, onlyRegular: true)
  }

  /// Whether a file is now what it was.
  static func isUnchanged(_ read: Read, beneath folder: String) -> Bool {
    switch contents(of: read.path, beneath: folder) {
    case .success(let bytes): SHA256.digest(bytes) == read.digest
    case .failure: read.digest == "-"
    }
  }
}
