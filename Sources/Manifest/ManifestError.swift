// SPDX-License-Identifier: GPL-2.0-or-later

// Why no declarations came out of a topology file.

/// What went wrong between the topology file and its declarations.
public struct ManifestError: Error, Sendable, CustomStringConvertible {
  /// The kind of failure.
  public enum Code: Sendable {
    /// The file cannot be read.
    case unreadable
    /// The compiler refused it; `log` holds what it said.
    case compile
    /// The program crashed, ran too long, wrote too much or wrote what is no declaration.
    case program
    /// This machine has no Swift toolchain, or one that does not work.
    case toolchain
    /// The kernel or the file system refused something that should have worked.
    case system
    /// A mistake of ours; please report it.
    case bug
  }
  public let code: Code
  /// One line, with the file it is about and what would mend it.
  public let message: String
  /// The compiler's or the program's own words, whole lines, possibly none.
  public let log: String

  init(_ code: Code, _ message: String, log: String = "") {
    self.code = code
    self.message = message
    self.log = log
  }

  /// The exit code of a verb that fails for this.
  public var exitCode: Int32 {
    switch code {
    case .unreadable, .compile, .program: 65
    case .toolchain: 69
    case .system: 71
    case .bug: 70
    }
  }

  /// The log, where there is one, and the message after it.
  public var description: String {
    log.isEmpty || log.hasSuffix("\n") ? log + message : log + "\n" + message
  }
}
