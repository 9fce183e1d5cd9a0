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
    changes.append(
      Change(
        path: path, operation: .update, before: before, after: after, isDisruptive: disruptive,
        reason: reason ?? Self.difference(before, after, attribute)))
  }

  /// `mtu 1500 -> 1400`, for each attribute that differs.
  private static func difference(_ before: StateObject?, _ after: StateObject, _ attribute: AttributeName?)
    -> String
  {
    let (old, new) = (before?.attributes ?? [], after.attributes)
    func value(of name: AttributeName, in attributes: [StateAttribute]) -> StateValue? {
      attributes.first { $0.name == name }?.value
    }
    let names =
      attribute.map { [$0] } ?? new.filter { value(of: $0.name, in: old) != $0.value }.map(\.name)
    return names.map { name in
      let (before, after) = (value(of: name, in: old), value(of: name, in: new))
      return "\(name.rawValue) \(before?.description ?? "unset") -> \(after?.description ?? "unset")"
    }.joined(separator: ", ")
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

  /// The changes that are in another namespace what `pattern` is in its own.
  mutating func append(_ pattern: [Change], in namespace: NamespaceID) {
    for var change in pattern {
      change.path.namespace = namespace
      changes.append(change)
    }
  }
}
