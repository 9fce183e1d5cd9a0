// SPDX-License-Identifier: GPL-2.0-or-later

// How a verb fails: one line on standard error and the exit code that scripts rely on.

import ArgumentParser

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
  }

  var code: Code
  /// Lines for standard error, the first one the message.
  var lines: [String]

  init(_ code: Code, _ lines: String...) {
    self.code = code
    self.lines = lines
  }

  init(_ code: Code, lines: [String]) {
    self.code = code
    self.lines = lines
  }
}
