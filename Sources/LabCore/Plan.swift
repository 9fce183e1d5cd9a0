// SPDX-License-Identifier: GPL-2.0-or-later

/// One step from what is to what shall be.
public struct Change: Hashable, Codable, Sendable {
  public enum Operation: String, Hashable, Codable, Sendable {
    case create, update, replace, delete
  }

  /// The object; with `update`, the one attribute that changes.
  public var path: StatePath
  public var operation: Operation
  /// The whole object as it was; nil for `create`.
  public var before: StateObject?
  /// The whole object as it shall be; nil for `delete`.
  public var after: StateObject?
  /// Traffic, connections or learned state are lost by it.
  public var isDisruptive: Bool
  /// Why the step is there, for people: `mtu 1500 -> 1400`, `put back after eth0 goes down`.
  public var reason: String

  public init(
    path: StatePath, operation: Operation, before: StateObject?, after: StateObject?,
    isDisruptive: Bool = false,
    reason: String
  ) {
    self.path = path
    self.operation = operation
    self.before = before
    self.after = after
    self.isDisruptive = isDisruptive
    self.reason = reason
  }

  /// The value that `path` names, before: an attribute's, or nil.
  public var valueBefore: StateValue? { Self.value(of: path.attribute, in: before) }
  /// The value that `path` names, after.
  public var valueAfter: StateValue? { Self.value(of: path.attribute, in: after) }

  private static func value(of name: AttributeName?, in object: StateObject?) -> StateValue? {
    object?.attributes.first { $0.name == name }?.value
  }
}

/// The ordered changes that make a lab as desired.
public struct Plan: Hashable, Codable, Sendable {
  /// Changes that a datapath carries out in one call, in order. Between two batches the lab may be left by a crash.
  public struct Batch: Hashable, Codable, Sendable {
    /// What the batch is for, as `up` prints it: `create namespaces`, `configure nodes`.
    public var title: String
    public var changes: [Change]

    public init(title: String, changes: [Change]) {
      self.title = title
      self.changes = changes
    }
  }

  public var lab: LabName
  /// None of them empty.
  public var batches: [Batch]

  public init(lab: LabName, batches: [Batch] = []) {
    self.lab = lab
    self.batches = batches.filter { !$0.changes.isEmpty }
  }

  public var changes: [Change] { batches.flatMap(\.changes) }
  public var isEmpty: Bool { batches.isEmpty }
  public var isDisruptive: Bool { batches.contains { $0.changes.contains(where: \.isDisruptive) } }
}
