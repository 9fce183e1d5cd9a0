// SPDX-License-Identifier: GPL-2.0-or-later

// A plan for people and for programs. A device that is deleted to be created again is one step to them: a replacement.

public import LabCore

/// A step of a plan as it is shown.
public struct PlanLine: Hashable, Encodable, Sendable {
  /// As an RFC 6901 pointer.
  public var path: String
  public var op: Change.Operation
  public var before: StateDocument?
  public var after: StateDocument?
  public var disruptive: Bool
  public var reason: String
}

/// An object's or an attribute's value in a document.
public enum StateDocument: Hashable, Encodable, Sendable {
  case value(StateValue)
  case object([StateAttribute])

  private struct Key: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init(_ name: String) { stringValue = name }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  public func encode(to encoder: any Encoder) throws {
    switch self {
    case .value(let value): try value.encode(to: encoder)
    case .object(let attributes):
      var container = encoder.container(keyedBy: Key.self)
      for attribute in attributes {
        try container.encode(attribute.value, forKey: Key(attribute.name.rawValue))
      }
    }
  }
}

/// How many steps of each sort a plan has.
public struct PlanCounts: Hashable, Codable, Sendable {
  public var create = 0
  public var update = 0
  public var replace = 0
  public var delete = 0
}

/// What `plan -f json` prints.
public struct PlanDocument: Encodable, Sendable {
  public var schemaVersion = 1
  public var lab: String
  public var changes: [PlanLine]
  public var counts: PlanCounts
  public var disruptive: Bool
}

extension Plan {
  /// The steps as they are shown, in the order in which they are carried out.
  public var lines: [PlanLine] {
    var deleted: [StatePath: Int] = [:]
    var lines: [PlanLine] = []
    for change in changes {
      if change.operation == .create, let index = deleted.removeValue(forKey: change.path) {
        lines[index].op = .replace
        lines[index].after = change.document(change.after, value: change.valueAfter)
        continue
      }
      if change.operation == .delete { deleted[change.path] = lines.count }
      lines.append(
        PlanLine(
          path: change.path.description, op: change.operation,
          before: change.document(change.before, value: change.valueBefore),
          after: change.document(change.after, value: change.valueAfter), disruptive: change.isDisruptive,
          reason: change.reason))
    }
    return lines
  }

  /// For `-f json`.
  public var document: PlanDocument {
    let lines = lines
    return PlanDocument(
      lab: lab.text, changes: lines, counts: Self.counts(of: lines),
      disruptive: lines.contains(where: \.disruptive))
  }

  private static func counts(of lines: [PlanLine]) -> PlanCounts {
    var counts = PlanCounts()
    for line in lines {
      switch line.op {
      case .create: counts.create += 1
      case .update: counts.update += 1
      case .replace: counts.replace += 1
      case .delete: counts.delete += 1
      }
    }
    return counts
  }

  /// `2 to create, 1 to update`; `no changes` when there are none.
  public var summary: String {
    let counts = Self.counts(of: lines)
    let parts = [
      (counts.create, "create"), (counts.update, "update"), (counts.replace, "replace"),
      (counts.delete, "delete"),
    ]
    let text = parts.filter { $0.0 > 0 }.map { "\($0.0) to \($0.1)" }.joined(separator: ", ")
    return text.isEmpty ? "no changes" : text
  }

  /// One line a step, then the summary. Settings of a namespace that is itself new are counted, not listed, unless
  /// `verbose`.
  public func text(verbose: Bool = false) -> String {
    let lines = lines
    let newSpaces = Set(
      changes.filter { $0.operation == .create && $0.path.kind == .namespace }.map(\.path.namespace))
    var settings: [String: Int] = [:]
    var hidden: Set<String> = []
    if !verbose {
      for change in changes where change.path.kind == .sysctl && newSpaces.contains(change.path.namespace) {
        settings[StatePath(change.path.namespace).description, default: 0] += 1
        hidden.insert(change.path.description)
      }
    }
    var text: [String] = []
    for line in lines where !hidden.contains(line.path) {
      var words = "\(Self.sign(of: line.op)) \(line.path)"
      if let count = settings[line.path], line.op == .create { words += " (\(count) settings)" }
      if line.op != .create || line.reason != PlanWork.missing { words += "  # \(line.reason)" }
      if line.disruptive { words += " (disruptive)" }
      text.append(words)
    }
    text.append(summary)
    return text.joined(separator: "\n")
  }

  private static func sign(of operation: Change.Operation) -> String {
    switch operation {
    case .create: "  +"
    case .update: "  ~"
    case .replace: "-/+"
    case .delete: "  -"
    }
  }
}

extension Change {
  fileprivate func document(_ object: StateObject?, value: StateValue?) -> StateDocument? {
    guard let object else { return nil }
    if path.attribute != nil { return value.map { .value($0) } }
    return .object(object.attributes)
  }
}
