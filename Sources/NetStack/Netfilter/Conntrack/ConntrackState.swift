// SPDX-License-Identifier: GPL-2.0-or-later

// Connection tracking of one namespace: its connections, its settings, and what it counts as `conntrack -S` names it.

/// A namespace's connection tracking.
struct ConntrackState: ~Copyable {
  /// net.netfilter.nf_conntrack_max.
  static let defaultMaximum = 262_144

  var table: ConntrackTable
  var maximum = ConntrackState.defaultMaximum
  var checksum = true
  var loose = true
  var accounting = false
  var statistics = ConntrackStatistics()
  /// Numbers the entries.
  var nextID: UInt32 = 1

  init(seed: UInt64) { table = ConntrackTable(seed: seed) }
}

/// Counters of connection tracking.
public struct ConntrackStatistics: Hashable, Sendable {
  /// Packets that fit no connection and begin none.
  public var invalid: UInt64 = 0
  /// Entries that another one's tuple kept out.
  public var insertFailed: UInt64 = 0
  /// Packets dropped because there were too many entries.
  public var drop: UInt64 = 0
  /// Entries that made room for others.
  public var earlyDrop: UInt64 = 0
  /// ICMP errors that fit no connection.
  public var icmpError: UInt64 = 0

  /// All zero.
  public init() {}
}

/// A connection as it is listed.
public struct ConntrackListing: Hashable, Sendable {
  /// One direction's addresses and ports.
  public struct Tuple: Hashable, Sendable {
    /// As text of the family.
    public var source: String
    /// As text of the family.
    public var destination: String
    /// Port, or echo identifier.
    public var sourcePort: UInt16
    /// Port, or ICMP type and code.
    public var destinationPort: UInt16
  }

  /// Different for each entry.
  public var id: UInt32
  /// IPv6, else IPv4.
  public var isIPv6: Bool
  /// IPPROTO_*.
  public var proto: UInt8
  /// Seconds it has left.
  public var timeout: Int64
  /// Of TCP, as `conntrack -L` names it.
  public var state: String?
  /// Who began, as it was seen.
  public var original: Tuple
  /// What answers look like.
  public var reply: Tuple
  /// IPS_* bits.
  public var status: UInt32
  /// `ct mark`.
  public var mark: UInt32
  /// The zone; 0 for none.
  public var zone: UInt16
}
