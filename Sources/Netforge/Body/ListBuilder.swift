// SPDX-License-Identifier: GPL-2.0-or-later

// What the builders of bodies have in common: items in order, with `if`, `else` and `for`.

/// A result builder whose result is a list of items.
public protocol ListBuilder {
  /// What the list holds.
  associatedtype Item
}

extension ListBuilder {
  /// Items that a function made.
  public static func buildExpression(_ items: [Item]) -> [Item] { items }
  /// A statement that yields nothing, such as `print`.
  public static func buildExpression(_ nothing: Void) -> [Item] { [] }
  /// All items in order.
  public static func buildBlock(_ parts: [Item]...) -> [Item] { parts.flatMap { $0 } }
  /// An `if` without `else`.
  public static func buildOptional(_ part: [Item]?) -> [Item] { part ?? [] }
  /// The first branch.
  public static func buildEither(first part: [Item]) -> [Item] { part }
  /// The other branch.
  public static func buildEither(second part: [Item]) -> [Item] { part }
  /// A `for` loop.
  public static func buildArray(_ parts: [[Item]]) -> [Item] { parts.flatMap { $0 } }
}
