// SPDX-License-Identifier: GPL-2.0-or-later

// Bytes of the packet: loaded into a register, or stored from one.

/// Where offsets count from (NFT_PAYLOAD_*_HEADER).
public enum NftPayloadBase: UInt32, Hashable, CaseIterable, Codable, Sendable {
  case link = 0
  case network = 1
  case transport = 2
  case inner = 3
}

/// Loads packet bytes; the rule does not match when the packet has none there.
public struct NftPayload: Hashable, Codable, Sendable {
  public var base: NftPayloadBase
  /// Bytes from the base.
  public var offset: UInt32
  /// Bytes to load, 1 to 64.
  public var length: UInt32
  public var destination: NftRegister

  public init(base: NftPayloadBase, offset: UInt32, length: UInt32, destination: NftRegister) {
    self.base = base
    self.offset = offset
    self.length = length
    self.destination = destination
  }
}

/// Stores a register into the packet and mends checksums.
public struct NftPayloadWrite: Hashable, Codable, Sendable {
  public var base: NftPayloadBase
  public var offset: UInt32
  public var length: UInt32
  public var source: NftRegister
  /// NFT_PAYLOAD_CSUM_*: 0 none, 1 internet checksum, 2 SCTP's CRC.
  public var checksumType: UInt32
  /// Where the checksum lies, from the same base.
  public var checksumOffset: UInt32
  /// 1: the transport checksum covers a pseudo header that changes too.
  public var checksumFlags: UInt32

  public init(
    base: NftPayloadBase, offset: UInt32, length: UInt32, source: NftRegister, checksumType: UInt32 = 0,
    checksumOffset: UInt32 = 0, checksumFlags: UInt32 = 0
  ) {
    self.base = base
    self.offset = offset
    self.length = length
    self.source = source
    self.checksumType = checksumType
    self.checksumOffset = checksumOffset
    self.checksumFlags = checksumFlags
  }
}
