// SPDX-License-Identifier: GPL-2.0-or-later

// Expressions that log, refuse or leave tracking.

/// Writes a line to the kernel's log, or sends the packet to a log group.
public struct NftLog: Hashable, Codable, Sendable {
  /// At most 127 bytes.
  public var prefix: String?
  /// 0 emergency to 7 debug, 8 audit; nil means 4 (warning) unless there is a group.
  public var level: UInt32?
  /// NF_LOG_*: 1 TCP sequence, 2 TCP options, 4 IP options, 8 user, 0x20 MAC.
  public var flags: UInt32
  public var group: UInt16?
  public var snaplen: UInt32?
  public var queueThreshold: UInt16?

  public init(
    prefix: String? = nil, level: UInt32? = nil, flags: UInt32 = 0, group: UInt16? = nil,
    snaplen: UInt32? = nil, queueThreshold: UInt16? = nil
  ) {
    self.prefix = prefix
    self.level = level
    self.flags = flags
    self.group = group
    self.snaplen = snaplen
    self.queueThreshold = queueThreshold
  }

  public var normalized: NftLog {
    var log = self
    if group == nil, level == nil { log.level = 4 }
    if snaplen == 0 { log.snaplen = nil }
    if queueThreshold == 0 { log.queueThreshold = nil }
    return log
  }
}

/// Drops the packet and tells its sender.
public struct NftReject: Hashable, Codable, Sendable {
  public var kind: Kind
  /// An ICMP code of the packet's family, or an NFT_REJECT_ICMPX_* code.
  public var code: UInt8

  public init(kind: Kind, code: UInt8 = 0) {
    self.kind = kind
    self.code = code
  }

  /// NFT_REJECT_*.
  public enum Kind: UInt32, Hashable, Codable, Sendable {
    case icmp = 0
    case tcpReset = 1
    /// The same meaning in either family.
    case icmpx = 2
  }

  public var normalized: NftReject { kind == .tcpReset ? NftReject(kind: .tcpReset) : self }
}
