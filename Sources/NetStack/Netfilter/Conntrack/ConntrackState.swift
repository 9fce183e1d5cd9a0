// SPDX-License-Identifier: GPL-2.0-or-later

// Connection tracking of one namespace: its connections, its settings, and what it counts as `conntrack -S` names it.

public import NetTypes

/// A namespace's connection tracking.
struct ConntrackState: ~Copyable {
  var table: ConntrackTable
  var settings = ConntrackSettings() {
    didSet { usual = settings.usual }
  }
  /// What most packets ask of the settings.
  private(set) var usual = ConntrackSettings().usual
  var statistics = ConntrackStatistics()
  /// Connections that are expected of others.
  var expectations = ConntrackExpectations()
  /// Those that go past the rules.
  var flows: FlowOffloadTable
  /// Whether a connection was ever masqueraded.
  var masquerades = false
  /// Whether somebody listens to events (ctnetlink_has_listener).
  var isWatched = false
  /// Numbers the entries.
  var nextID: UInt32 = 1

  init(seed: UInt64) {
    table = ConntrackTable(seed: seed)
    flows = FlowOffloadTable(seed: seed)
  }
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
    /// Who sends.
    public var source: IPAddress
    /// Who is sent to.
    public var destination: IPAddress
    /// Port, or echo identifier.
    public var sourcePort: UInt16
    /// Port, or ICMP type and code.
    public var destinationPort: UInt16
    /// Counted with `net.netfilter.nf_conntrack_acct` only.
    public var packets: UInt64?
    /// Counted with `net.netfilter.nf_conntrack_acct` only.
    public var bytes: UInt64?
  }

  /// Different for each entry.
  public var id: UInt32
  /// IPv6, else IPv4.
  public var isIPv6: Bool
  /// IPPROTO_*.
  public var proto: UInt8
  /// Seconds it has left; nil for one that has ended by itself or that goes past the rules.
  public var timeout: Int64?
  /// Of TCP, as `conntrack -L` names it; nil while it goes past the rules.
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
