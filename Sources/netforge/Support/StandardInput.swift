// SPDX-License-Identifier: GPL-2.0-or-later

// This process's standard input and output as bytes, for verbs that join them to a socket of a node.

import Glibc
import LabCore
import LabProcess
import Synchronization
import SystemPackage

enum StandardInput {
  /// What has come; nil at the end.
  static func next() async -> [UInt8]? {
    let bytes = await blocking { () -> [UInt8] in
      var buffer = [UInt8](repeating: 0, count: 65_536)
      let count = read(0, &buffer, buffer.count)
      return count > 0 ? Array(buffer[..<count]) : []
    }
    return bytes.isEmpty ? nil : bytes
  }

  /// Writes to standard output; a reader that is gone is nobody to tell.
  static func answer(_ bytes: [UInt8]) { _ = try? FileDescriptor.standardOutput.writeAll(bytes) }
}

/// How a task ended that nobody waits for.
final class Ending: Sendable {
  private let state = Mutex<(hasEnded: Bool, error: DatapathError?)>((false, nil))

  var hasEnded: Bool { state.withLock(\.hasEnded) }
  var error: DatapathError? { state.withLock(\.error) }

  func end(with error: DatapathError?) { state.withLock { $0 = (true, error) } }
}
