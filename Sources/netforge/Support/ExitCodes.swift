// SPDX-License-Identifier: GPL-2.0-or-later

// How a verb fails: lines on standard error and the exit code that scripts rely on.

import LabCore
import Manifest
import Reconcile
import TopologyModel

/// Why a verb ended without doing what it was asked.
struct Failure: Error {
  /// Codes 0 to 4 are each verb's own; these are common to all (sysexits.h).
  enum Code: Int32 {
    case failed = 1
    case usage = 64
    case badInput = 65
    case unavailable = 69
    case bug = 70
    case locked = 75
    case permission = 77
    case notExecutable = 126
    case commandNotFound = 127
    /// By SIGINT, as a shell reports it.
    case interrupted = 130
  }

  var code: Int32
  /// The message and what belongs to it.
  var lines: [String]
  /// The lines already say where and that they are errors, as a compiler's do.
  var isDiagnostics = false

  /// A datapath answered another question than it was asked.
  static let unexpectedAnswer = Failure(.bug, "the datapath answered what was not asked; please report it")

  init(_ code: Code, _ lines: String...) { self.init(code, lines: lines) }

  init(_ code: Code, lines: [String]) {
    self.code = code.rawValue
    self.lines = lines
  }

  /// What is wrong with a rendered document: where a declaration came from, else in `document`.
  init(_ errors: TopologyErrors, in document: String) {
    self.init(
      .badInput, lines: errors.errors.map { ($0.location == nil ? "\(document): " : "") + $0.description })
    isDiagnostics = true
  }

  /// What any module's error means to a user; nil for errors that are not ours.
  init?(_ error: any Error) {
    switch error {
    case let failure as Failure: self = failure
    case let error as ManifestError:
      self.init(.failed, lines: error.description.split(separator: "\n").map(String.init))
      code = error.exitCode
      isDiagnostics = error.code == .compile || error.message.contains(": error:")
    case let error as TopologyErrors:
      self.init(.badInput, lines: error.errors.map(\.description))
      isDiagnostics = true
    case let error as ReconcileError: self.init(Self.code(of: error), lines: error.lines)
    case let error as LabFolderError: self.init(Self.code(of: error), error.description)
    case let error as DatapathError: self.init(Self.code(of: error), error.description)
    default: return nil
    }
  }

  private static func code(of error: ReconcileError) -> Code {
    switch error {
    case .limitations: .unavailable
    case .foreign, .declined, .failed, .abandoned: .failed
    case .datapath(let error): code(of: error)
    case .folder(let error): code(of: error)
    }
  }

  private static func code(of error: LabFolderError) -> Code {
    switch error.code {
    case .locked: .locked
    case .permission: .permission
    case .damaged: .badInput
    case .notFound, .failed: .failed
    }
  }

  private static func code(of error: DatapathError) -> Code {
    switch error.code {
    case .permission: .permission
    case .unavailable: .unavailable
    case .bug: .bug
    case .notStarted: error.errno == 2 ? .commandNotFound : .notExecutable
    case .refused, .foreign, .notFound, .malformed, .timeout: .failed
    }
  }
}
