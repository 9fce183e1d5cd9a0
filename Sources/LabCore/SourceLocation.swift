// SPDX-License-Identifier: GPL-2.0-or-later

/// A line of a topology file. Part of messages only, never of equality between states.
public struct SourceLocation: Hashable, Comparable, Codable, Sendable {
  /// As the user wrote it on the command line, or `<stdin>`.
  public var file: String
  /// From 1.
  public var line: Int

  public init(file: String, line: Int) {
    self.file = file
    self.line = line
  }

  public static func < (a: Self, b: Self) -> Bool { (a.file, a.line) < (b.file, b.line) }
}

extension SourceLocation: CustomStringConvertible {
  public var description: String { "\(file):\(line)" }
}

/// Where in the topology file each desired object was declared.
public struct SourceMap: Sendable {
  /// As they were recorded, without an index: every `up` writes all of it, and reads a line or two for its messages.
  private var locations: [(path: StatePath, location: SourceLocation)] = []

  public init() {}

  public mutating func record(_ path: StatePath, at location: SourceLocation) {
    locations.append((path, location))
  }

  /// The line of the object, or of the nearest thing around it that has one.
  public func location(of path: StatePath) -> SourceLocation? {
    var path = path
    while true {
      // Who recorded it last.
      if let found = locations.last(where: { $0.path == path }) { return found.location }
      guard let parent = path.parent else { return nil }
      path = parent
    }
  }
}
