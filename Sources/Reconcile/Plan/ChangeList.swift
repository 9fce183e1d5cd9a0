// SPDX-License-Identifier: GPL-2.0-or-later

// The changes of one batch while it is written.

import LabCore

struct ChangeList {
  private(set) var changes: [Change] = []

  var isEmpty: Bool { changes.isEmpty }

  mutating func create(_ object: StateObject, in namespace: NamespaceID, reason: String) {
    changes.append(
      Change(path: object.path(in: namespace), operation: .create, before: nil, after: object, reason: reason)
    )
  }

  mutating func delete(
    _ object: StateObject, in namespace: NamespaceID, disruptive: Bool = false, reason: String
  ) {
    changes.append(
      Change(
        path: object.path(in: namespace), operation: .delete, before: object, after: nil,
        isDisruptive: disruptive,
        reason: reason))
  }

  /// `attribute` is nil when several change at once, in one message.
  mutating func update(
    _ before: StateObject?, to after: StateObject, attribute: AttributeName?, in namespace: NamespaceID,
    disruptive: Bool = false, reason: String? = nil
  ) {
    var path = after.path(in: namespace)
    path.attribute = attribute
    var change = Change(
      path: path, operation: .update, before: before, after: after, isDisruptive: disruptive,
      reason: reason ?? "")
    if reason == nil {
      let old = change.valueBefore?.description ?? "unset"
      let new = change.valueAfter?.description ?? "unset"
      change.reason = attribute.map { "\($0.rawValue) \(old) -> \(new)" } ?? "its settings differ"
    }
    changes.append(change)
  }

  mutating func replace(
    _ before: StateObject, with after: StateObject, in namespace: NamespaceID, disruptive: Bool = false,
    reason: String
  ) {
    changes.append(
      Change(
        path: after.path(in: namespace), operation: .replace, before: before, after: after,
        isDisruptive: disruptive,
        reason: reason))
  }

  mutating func append(_ other: ChangeList) { changes += other.changes }
}
