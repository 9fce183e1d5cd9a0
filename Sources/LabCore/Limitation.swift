// SPDX-License-Identifier: GPL-2.0-or-later

/// Something that a datapath cannot do for a lab, known before anything is changed.
public struct Limitation: Hashable, Codable, Sendable {
  /// The object that needs it; the whole lab when nil.
  public var path: StatePath?
  /// What is missing: `the kernel has no netem queueing discipline (CONFIG_NET_SCH_NETEM)`.
  public var cause: String
  /// What the user can do about it.
  public var remedy: String

  public init(path: StatePath?, cause: String, remedy: String) {
    self.path = path
    self.cause = cause
    self.remedy = remedy
  }
}

extension Limitation: CustomStringConvertible {
  public var description: String { (path.map { "\($0): " } ?? "") + "\(cause); \(remedy)" }
}
