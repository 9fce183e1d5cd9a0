// SPDX-License-Identifier: GPL-2.0-or-later

/// Something that a datapath cannot do for a lab, known before anything is changed.
public struct Limitation: Hashable, Codable, Sendable {
  /// The object that needs it; the whole lab when nil.
  public var path: StatePath?
  /// Where it was declared, when `path` does not tell.
  public var location: SourceLocation?
  /// What is missing: `the kernel has no netem queueing discipline (CONFIG_NET_SCH_NETEM)`.
  public var cause: String
  /// What the user can do about it.
  public var remedy: String

  public init(path: StatePath?, location: SourceLocation? = nil, cause: String, remedy: String) {
    self.path = path
    self.location = location
    self.cause = cause
    self.remedy = remedy
  }
}

extension Limitation: CustomStringConvertible {
  public var description: String { (path.map { "\($0): " } ?? "") + "\(cause); \(remedy)" }
}
