// SPDX-License-Identifier: GPL-2.0-or-later

// What a rule asks of a packet.

public import NetTypes

/// A condition: what one selector, or several together, must be.
public struct Match: Hashable, Codable, Sendable {
  /// One, or several for a concatenation.
  public var selectors: [Selector]
  public var relation: NftComparisonOperator
  public var operand: Operand

  public enum Operand: Hashable, Codable, Sendable {
    /// One of these; each has as many values as there are selectors.
    case elements([[FieldValue]])
    /// An element of a named set of the table.
    case set(String)
  }

  public init(selectors: [Selector], relation: NftComparisonOperator = .equal, operand: Operand) {
    self.selectors = selectors
    self.relation = relation
    self.operand = operand
  }

  /// One selector against values of which it must be one.
  public init(_ selector: Selector, _ relation: NftComparisonOperator = .equal, _ values: [FieldValue]) {
    self.init(selectors: [selector], relation: relation, operand: .elements(values.map { [$0] }))
  }

  /// The field has this value; for sets of flags: any of these flags.
  public static func `is`<V: NftValue>(_ field: Field<V>, _ value: V) -> Match {
    Match(field.selector, .equal, [.value(value.nftData)])
  }

  /// The field has another value; for sets of flags: none of these flags.
  public static func isNot<V: NftValue>(_ field: Field<V>, _ value: V) -> Match {
    Match(field.selector, .notEqual, [.value(value.nftData)])
  }

  /// The field has one of these values.
  public static func isOne<V: NftValue>(of values: [V], _ field: Field<V>) -> Match {
    Match(field.selector, .equal, values.map { .value($0.nftData) })
  }

  /// The field lies in this range.
  public static func isIn<V: NftValue & Comparable>(_ field: Field<V>, _ range: ClosedRange<V>) -> Match {
    Match(field.selector, .equal, [.range(range.lowerBound.nftData, range.upperBound.nftData)])
  }

  /// The field is in that named set.
  public static func isIn<V: NftValue>(_ field: Field<V>, set: String) -> Match {
    Match(selectors: [field.selector], operand: .set(set))
  }

  /// The bits of the field under the mask are these.
  public static func masked<V: NftValue>(_ field: Field<V>, _ mask: V, is value: V) -> Match {
    Match(field.selector, .equal, [.masked(mask.nftData, value.nftData)])
  }

  /// The source is in one of the prefixes, all of one family.
  public static func source(in prefixes: [IPPrefix], relation: NftComparisonOperator = .equal) -> Match {
    address("saddr", prefixes, relation)
  }

  /// The destination is in one of the prefixes, all of one family.
  public static func destination(in prefixes: [IPPrefix], relation: NftComparisonOperator = .equal) -> Match {
    address("daddr", prefixes, relation)
  }

  private static func address(_ field: String, _ prefixes: [IPPrefix], _ relation: NftComparisonOperator)
    -> Match
  {
    let isIPv6 = prefixes.first?.family == .ipv6
    let selector: Field<IPv4Address>? = isIPv6 ? nil : (field == "saddr" ? .ipSource : .ipDestination)
    let selector6: Field<IPv6Address> = field == "saddr" ? .ip6Source : .ip6Destination
    return Match(selector?.selector ?? selector6.selector, relation, prefixes.map { FieldValue($0) })
  }

  /// The same condition turned round.
  public var negated: Match {
    var match = self
    match.relation = relation == .equal ? .notEqual : .equal
    return match
  }
}

/// What one selector is compared with: bytes as they lie in its register.
public enum FieldValue: Hashable, Codable, Sendable {
  /// One value; flags of which any; of an interface name shorter than 16 bytes, how it begins.
  case value(NftData)
  /// First and last.
  case range(NftData, NftData)
  /// The first bits.
  case prefix(NftData, Int)
  /// The bits under the mask (first) have this value (second).
  case masked(NftData, NftData)
  /// Flags that are these and no others.
  case exact(NftData)

  public init(_ prefix: IPPrefix) {
    let network = prefix.network
    self =
      prefix.isHost
      ? .value(NftData(prefix.address.bytes)) : .prefix(NftData(network.address.bytes), prefix.length)
  }
}
