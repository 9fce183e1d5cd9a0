// SPDX-License-Identifier: GPL-2.0-or-later

/// Why a ruleset cannot be made: what the kernel would refuse, found before it is asked.
public struct NftCompileError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The line of the rule, chain or set at fault, when it is known.
  public var position: NftSourcePosition?
  /// What it is about: `inet netforge-shop, chain forward, rule 3`.
  public var subject: String
  /// What is wrong and what would mend it.
  public var message: String

  public init(position: NftSourcePosition? = nil, subject: String, message: String) {
    self.position = position
    self.subject = subject
    self.message = message
  }

  public var description: String { "\(subject): \(message)" }
}

/// A fault without its place, which whoever walks the rules adds.
struct Fault: Error {
  var message: String
  init(_ message: String) { self.message = message }
}
