// SPDX-License-Identifier: GPL-2.0-or-later

import Glibc
import SystemPackage

/// What went wrong with a lab's folder.
public struct LabFolderError: Error, Hashable, Sendable {
  public enum Code: String, Hashable, Sendable {
    /// Another netforge works on the lab (exit code 75).
    case locked
    /// There is no such lab (1).
    case notFound
    /// The folder belongs to somebody else, or others may write to it (77).
    case permission
    /// A file in it is damaged (65).
    case damaged
    /// The file system refused (1).
    case failed
  }

  public var code: Code
  public var message: String

  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  /// For a failed call; reads the thread's errno.
  static func last(_ operation: String, _ path: String) -> LabFolderError {
    let error = Errno(rawValue: errno)
    let code: Code = error == .permissionDenied || error == .notPermitted ? .permission : .failed
    return LabFolderError(code, "cannot \(operation) '\(path)': \(error)")
  }
}

extension LabFolderError: CustomStringConvertible {
  public var description: String { message }
}
