// SPDX-License-Identifier: GPL-2.0-or-later

// One element of a set or map.

/// An element: a key or an inclusive interval of keys, and what a map gives for it.
public struct NftSetElement: Hashable, Codable, Sendable, Comparable {
  /// The key, or the first of an interval; empty for the catch-all element.
  public var key: NftData
  /// The last key of an interval, itself in it; nil for a single key.
  public var keyEnd: NftData?
  public var value: NftElementValue?
  /// Milliseconds from insertion; nil when it stays or takes the set's default.
  public var timeout: UInt64?
  /// Milliseconds left, as observed.
  public var expiration: UInt64?
  public var comment: String?
  /// Stateful expressions of the element: counter, limit, quota.
  public var expressions: [NftExpression]

  public init(
    key: NftData, keyEnd: NftData? = nil, value: NftElementValue? = nil, timeout: UInt64? = nil,
    expiration: UInt64? = nil, comment: String? = nil, expressions: [NftExpression] = []
  ) {
    self.key = key
    self.keyEnd = keyEnd == key ? nil : keyEnd
    self.value = value
    self.timeout = timeout
    self.expiration = expiration
    self.comment = comment
    self.expressions = expressions
  }

  /// The catch-all element `*`.
  public static func catchAll(_ value: NftElementValue? = nil) -> NftSetElement {
    NftSetElement(key: NftData([]), value: value)
  }

  public var isCatchAll: Bool { key.isEmpty }

  /// True for what a rule put there or what goes by itself: it carries its own lifetime.
  public var isDynamic: Bool { expiration != nil }

  /// Without counts and ages.
  public var normalized: NftSetElement {
    guard isDynamic || !expressions.isEmpty else { return self }
    var element = self
    element.expiration = nil
    element.expressions = expressions.map(\.normalized)
    return element
  }

  /// What tells an element from the others of its set.
  public var place: Place { Place(key: key, keyEnd: keyEnd) }

  public struct Place: Hashable, Sendable {
    public let key: NftData
    public let keyEnd: NftData?
  }

  public static func < (a: Self, b: Self) -> Bool {
    a.key == b.key ? (a.keyEnd ?? a.key) < (b.keyEnd ?? b.key) : a.key < b.key
  }
}

extension [NftSetElement] {
  /// Sorted by key. Most come sorted already; of others, keys and their places are sorted, which are a fraction of an
  /// element's size.
  var sortedByKey: [NftSetElement] {
    let isSorted = indices.dropFirst().allSatisfy { !(self[$0] < self[$0 - 1]) }
    guard !isSorted else { return self }
    var places = indices.map { (key: self[$0].key, place: $0) }
    places.sort { a, b in a.key == b.key ? self[a.place] < self[b.place] : a.key < b.key }
    return places.map { self[$0.place] }
  }
}

/// What a map's element holds.
public enum NftElementValue: Hashable, Codable, Sendable {
  case data(NftData)
  case verdict(NftVerdict)
  /// The name of an object (object maps).
  case object(String)
}
