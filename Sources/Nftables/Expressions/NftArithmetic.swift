// SPDX-License-Identifier: GPL-2.0-or-later

// Expressions that change what a register holds.

/// Changes bits: mask and flip, or shift.
public struct NftBitwise: Hashable, Codable, Sendable {
  public var source: NftRegister
  public var destination: NftRegister
  public var length: UInt32
  public var operation: Operation

  public init(source: NftRegister, destination: NftRegister, length: UInt32, operation: Operation) {
    self.source = source
    self.destination = destination
    self.length = length
    self.operation = operation
  }

  public enum Operation: Hashable, Codable, Sendable {
    /// (source AND mask) XOR flip, byte by byte.
    case mask(NftData, flip: NftData)
    case shiftLeft(UInt32)
    case shiftRight(UInt32)
  }
}

/// Swaps bytes between the network's and the host's order.
public struct NftByteorder: Hashable, Codable, Sendable {
  public var source: NftRegister
  public var destination: NftRegister
  /// hton instead of ntoh; the two do the same.
  public var toNetwork: Bool
  /// Bytes in all.
  public var length: UInt32
  /// Bytes of each number: 2, 4 or 8.
  public var size: UInt32

  public init(source: NftRegister, destination: NftRegister, toNetwork: Bool, length: UInt32, size: UInt32) {
    self.source = source
    self.destination = destination
    self.toNetwork = toNetwork
    self.length = length
    self.size = size
  }
}

/// Puts a constant into a register, or decides.
public struct NftImmediate: Hashable, Codable, Sendable {
  public var destination: NftRegister
  public var value: Value

  public init(destination: NftRegister, value: Value) {
    self.destination = destination
    self.value = value
  }

  public enum Value: Hashable, Codable, Sendable {
    case data(NftData)
    case verdict(NftVerdict)
  }

  /// Decides about the packet.
  public static func verdict(_ verdict: NftVerdict) -> NftImmediate {
    NftImmediate(destination: .verdict, value: .verdict(verdict))
  }

  public static func data(_ data: NftData, in register: NftRegister) -> NftImmediate {
    NftImmediate(destination: register, value: .data(data))
  }
}
