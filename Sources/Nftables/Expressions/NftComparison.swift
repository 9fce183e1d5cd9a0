// SPDX-License-Identifier: GPL-2.0-or-later

// Expressions that compare a register and end the rule when it does not hold. All compare as memcmp does: a
// number must lie in network order for less and greater to mean what they say.

/// NFT_CMP_*.
public enum NftComparisonOperator: UInt32, Hashable, CaseIterable, Codable, Sendable {
  case equal = 0
  case notEqual = 1
  case less = 2
  case lessOrEqual = 3
  case greater = 4
  case greaterOrEqual = 5
}

extension NftComparisonOperator {
  /// As libnftnl prints it.
  public var mnemonic: String {
    switch self {
    case .equal: "eq"
    case .notEqual: "neq"
    case .less: "lt"
    case .lessOrEqual: "lte"
    case .greater: "gt"
    case .greaterOrEqual: "gte"
    }
  }

  /// As nft's rules write it; empty for equality.
  public var symbol: String {
    switch self {
    case .equal: ""
    case .notEqual: "!="
    case .less: "<"
    case .lessOrEqual: "<="
    case .greater: ">"
    case .greaterOrEqual: ">="
    }
  }
}

/// Compares a register with a constant.
public struct NftCmp: Hashable, Codable, Sendable {
  public var operation: NftComparisonOperator
  public var source: NftRegister
  public var data: NftData

  public init(operation: NftComparisonOperator, source: NftRegister, data: NftData) {
    self.operation = operation
    self.source = source
    self.data = data
  }
}

/// Asks whether a register lies in an inclusive range, or outside of it.
public struct NftRange: Hashable, Codable, Sendable {
  public var isNegated: Bool
  public var source: NftRegister
  public var from: NftData
  public var to: NftData

  public init(isNegated: Bool, source: NftRegister, from: NftData, to: NftData) {
    self.isNegated = isNegated
    self.source = source
    self.from = from
    self.to = to
  }
}

/// Looks a register up in a set or map; the rule does not match on a miss.
public struct NftLookup: Hashable, Codable, Sendable {
  public var set: NftSetReference
  public var source: NftRegister
  /// Where a map's value goes; `.verdict` for a verdict map, nil for a set.
  public var destination: NftRegister?
  /// Matches on a miss instead.
  public var isInverted: Bool

  public init(
    set: NftSetReference, source: NftRegister, destination: NftRegister? = nil, isInverted: Bool = false
  ) {
    self.set = set
    self.source = source
    self.destination = destination
    self.isInverted = isInverted
  }
}

/// The set that an expression uses.
public enum NftSetReference: Hashable, Codable, Sendable {
  /// A set of the same table.
  case named(String)
  /// A set of this expression alone; the kernel names it as it likes.
  case anonymous(NftSet)
}
