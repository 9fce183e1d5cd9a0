// SPDX-License-Identifier: GPL-2.0-or-later

// What rules did to a packet that is traced (net/netfilter/nf_tables_trace.c): a record for each base chain that it
// meets, each rule that it passes or that decides, each policy, and each rewriting by NAT. A packet is traced from the
// rule that says so (`meta nftrace set 1`) or, without a rule, when its namespace is told to; until it leaves the
// namespace.

public import NetTypes
public import Nftables

/// One step of a traced packet.
public struct NftTraceRecord: Hashable, Sendable {
  /// When.
  public var time: Instant
  /// In which namespace.
  public var namespace: NamespaceIndex
  /// The same for all records of one packet in a namespace.
  public var id: UInt32
  /// What capture knows the packet by; 0 where it has not seen it yet.
  public var packet: UInt32
  /// Where the packet was.
  public var hook: NftHook
  /// What happened there.
  public var event: NftTraceEvent
  /// The packet's mark then.
  public var mark: UInt32
  /// What a rule has written to registers, in order; what `nft monitor trace` does not tell.
  public var writes: [NftRegisterWrite] = []
}

/// Which packets of a namespace are traced without a rule; what is nil is not asked about.
public struct NftTraceFilter: Hashable, Sendable {
  /// IPPROTO_*.
  public var proto: UInt8?
  /// Who sends.
  public var source: IPAddress?
  /// Who is sent to.
  public var destination: IPAddress?
  /// Of protocols that have ports.
  public var sourcePort: UInt16?
  /// Of protocols that have ports.
  public var destinationPort: UInt16?

  /// Every packet.
  public init() {}

  func accepts(_ flow: NftTracedFlow, proto: UInt8) -> Bool {
    (self.proto == nil || self.proto == proto) && (source == nil || source == flow.source)
      && (destination == nil || destination == flow.destination)
      && (sourcePort == nil || sourcePort == flow.sourcePort)
      && (destinationPort == nil || destinationPort == flow.destinationPort)
  }
}

/// Records that nobody has taken yet.
struct NftTraceLog: ~Copyable {
  static let limit = 1 << 14
  private var records: [NftTraceRecord] = []
  /// Records that came when there were too many already.
  private(set) var missed: UInt64 = 0
  private var lastID: UInt32 = 0
  /// Of the rule that a packet is in.
  private(set) var writes: [NftRegisterWrite] = []

  mutating func append(_ write: NftRegisterWrite) { writes.append(write) }

  mutating func forgetWrites() { writes.removeAll(keepingCapacity: true) }

  mutating func append(_ record: NftTraceRecord) {
    guard records.count < Self.limit else {
      missed &+= 1
      return
    }
    records.append(record)
  }

  mutating func take() -> [NftTraceRecord] {
    defer { records = [] }
    return records
  }

  /// A number for a packet; never 0.
  mutating func nextID() -> UInt32 {
    lastID = lastID == .max ? 1 : lastID + 1
    return lastID
  }
}
