// SPDX-License-Identifier: GPL-2.0-or-later

// Expressions that keep state of their own.

/// Counts packets and bytes.
public struct NftCounter: Hashable, Codable, Sendable {
  public var packets: UInt64
  public var bytes: UInt64

  public init(packets: UInt64 = 0, bytes: UInt64 = 0) {
    self.packets = packets
    self.bytes = bytes
  }
}

/// A token bucket: matches while there are tokens, or (inverted) when there are none.
public struct NftLimit: Hashable, Codable, Sendable {
  /// Packets or bytes in a unit.
  public var rate: UInt64
  /// 1, 60, 3600, 86400 or 604800.
  public var unitSeconds: UInt64
  /// Tokens beyond the rate; for packets 0 means the kernel's default of 5.
  public var burst: UInt32
  public var countsBytes: Bool
  /// Matches what is over the limit.
  public var isInverted: Bool

  public init(
    rate: UInt64, unitSeconds: UInt64, burst: UInt32 = 0, countsBytes: Bool = false,
    isInverted: Bool = false
  ) {
    self.rate = rate
    self.unitSeconds = unitSeconds
    self.burst = burst
    self.countsBytes = countsBytes
    self.isInverted = isInverted
  }

  public var normalized: NftLimit {
    var limit = self
    if !countsBytes, burst == 0 { limit.burst = 5 }
    return limit
  }
}

/// Matches until so many bytes have passed, or (inverted) after.
public struct NftQuota: Hashable, Codable, Sendable {
  public var bytes: UInt64
  public var consumed: UInt64
  public var isInverted: Bool

  public init(bytes: UInt64, consumed: UInt64 = 0, isInverted: Bool = false) {
    self.bytes = bytes
    self.consumed = consumed
    self.isInverted = isInverted
  }
}

/// Matches while there are at most so many flows, or (inverted) when there are more.
public struct NftConnlimit: Hashable, Codable, Sendable {
  public var count: UInt32
  public var isInverted: Bool

  public init(count: UInt32, isInverted: Bool = false) {
    self.count = count
    self.isInverted = isInverted
  }
}

/// Puts a register's value into a set, with stateful expressions of its own.
public struct NftDynset: Hashable, Codable, Sendable {
  public var setName: String
  public var operation: Operation
  public var key: NftRegister
  public var data: NftRegister?
  /// Milliseconds; 0 takes the set's default.
  public var timeout: UInt64
  public var expressions: [NftExpression]
  public var isInverted: Bool

  public init(
    setName: String, operation: Operation, key: NftRegister, data: NftRegister? = nil, timeout: UInt64 = 0,
    expressions: [NftExpression] = [], isInverted: Bool = false
  ) {
    self.setName = setName
    self.operation = operation
    self.key = key
    self.data = data
    self.timeout = timeout
    self.expressions = expressions
    self.isInverted = isInverted
  }

  /// NFT_DYNSET_OP_*.
  public enum Operation: UInt32, Hashable, Codable, Sendable {
    case add = 0
    /// As add, and a present element lives anew.
    case update = 1
    case delete = 2
  }
}

/// Runs a named object: one by name, or the one that a map gives.
public struct NftObjectReference: Hashable, Codable, Sendable {
  public var target: Target

  public init(target: Target) {
    self.target = target
  }

  public enum Target: Hashable, Codable, Sendable {
    /// NFT_OBJECT_* and its name.
    case named(type: UInt32, name: String)
    case map(NftSetReference, source: NftRegister)
  }
}
