// SPDX-License-Identifier: GPL-2.0-or-later

// What is wrong with a topology. All of it is found in one run and shown sorted by line.

public import LabCore

/// One thing that is wrong, and where.
public struct TopologyError: Error, Hashable, Sendable {
  /// Nil when the document as a whole is wrong.
  public var location: SourceLocation?
  /// Which object, what is wrong with it, and what would mend it; one line.
  public var message: String

  public init(_ message: String, at location: SourceLocation?) {
    self.message = message
    self.location = location
  }
}

extension TopologyError: CustomStringConvertible {
  /// As compilers say it: `topology.swift:23: error: …`.
  public var description: String { (location.map { "\($0): " } ?? "") + "error: \(message)" }
}

/// Everything that is wrong with one topology, at least one thing, sorted by file and line.
public struct TopologyErrors: Error, Hashable, Sendable {
  public var errors: [TopologyError]

  public init(_ errors: [TopologyError]) {
    var seen: Set<TopologyError> = []
    self.errors = errors.filter { seen.insert($0).inserted }.enumerated()
      .sorted { a, b in
        switch (a.element.location, b.element.location) {
        case (nil, nil): a.offset < b.offset
        case (nil, _): true
        case (_, nil): false
        case (let left?, let right?): left == right ? a.offset < b.offset : left < right
        }
      }
      .map(\.element)
  }
}

extension TopologyErrors: CustomStringConvertible {
  public var description: String { errors.map(\.description).joined(separator: "\n") }
}
