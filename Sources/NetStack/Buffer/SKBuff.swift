// SPDX-License-Identifier: GPL-2.0-or-later

// What is known about a packet beside its bytes: `struct sk_buff`. All that the way through the stack touches is in
// the first cache line of the 128 bytes' stride; the second one is `SharedInfo`.
//
//    block ─┬─ headroom ─┬─ link header ─┬─ network header ─┬─ transport … ─┬─ tailroom ─┐
//           0        dataOffset ─────── length - dataLength ────────────────▶            class size
//                        ▲ moves right by pull, left by push
//    behind them ─ dataLength: ─┬─ fragments 0 … 3 ─┬─ each sk_buff of the fragment list, in the same way ─┐

/// A packet's metadata. Offsets count from the start of its data block.
struct SKBuff: BitwiseCopyable {
  /// The data block; clones share one.
  var block: UInt32 = .max
  /// Bytes of the whole packet (`skb->len`).
  var length: UInt32 = 0
  /// Those of them that stand in page fragments and the fragment list (`skb->data_len`). The packet has fragments
  /// exactly when this is not zero.
  var dataLength: UInt32 = 0
  /// Where the packet begins now.
  var dataOffset: UInt16 = 0
  var linkHeader: UInt16 = 0
  var networkHeader: UInt16 = 0
  var transportHeader: UInt16 = 0
  /// In host byte order, once the link header has been read.
  var etherType: UInt16 = 0
  /// The tag that is not in the bytes: priority, DEI and VLAN, when `vlanProtocol` is not zero.
  var vlanTag: UInt16 = 0
  /// The device that it came in by, or is to leave by: an index into the kernel's table.
  var device: UInt32 = .max
  /// The next of a list that is threaded through the packets themselves.
  var next: Slot = .none
  /// `skb->mark`: set by rules, forgotten at the border of a namespace.
  var mark: UInt32 = 0
  /// `skb->priority`: what a queueing discipline sorts by.
  var priority: UInt32 = 0
  /// The flow's hash as the device computed it; 0 when none did.
  var hash: UInt32 = 0
  var packetType: PacketType = .host
  /// What happened on the way down so far.
  var flags: Flags = []
  var checksumState: ChecksumState = .none
  /// Page fragments of this sk_buff itself.
  var fragmentCount: UInt8 = 0
  /// Nanoseconds; when it entered the stack.
  var timestamp: Int64 = 0
  /// Where summing begins, and where behind that the sum is to be written, when `checksumState` is `partial`.
  var checksumStart: UInt16 = 0
  var checksumOffset: UInt16 = 0
  /// 0x8100 or 0x88a8; 0: no tag beside the bytes.
  var vlanProtocol: UInt16 = 0
  /// How the packet is to be cut into several; its size stands in `SharedInfo`.
  var gsoType: GSOType = .none
  var marks: Marks = []

  /// Bytes in the data block.
  @inline(__always) var linearLength: Int { Int(length &- dataLength) }

  struct Flags: OptionSet, BitwiseCopyable {
    var rawValue: UInt8
    /// It is being forwarded, not sent by this host.
    static let forwarded = Flags(rawValue: 1)
    /// Its neighbour's failure must not be answered with another error.
    static let quiet = Flags(rawValue: 2)
    /// A socket's send buffer is charged for it.
    static let charged = Flags(rawValue: 4)
    /// Connection tracking has seen it.
    static let tracked = Flags(rawValue: 8)
    /// Every hop reads it (IP6SKB_ROUTERALERT).
    static let routerAlert = Flags(rawValue: 16)
    /// Its sender has said by which routers it goes (a routing header).
    static let sourceRouted = Flags(rawValue: 32)
    /// It came in pieces.
    static let reassembled = Flags(rawValue: 64)
    /// IPv4, which has no use for a bit of IPv6's: there is an `IPv4Control`.
    static let controlled = routerAlert
    /// It has waited for its answer already.
    static let delayed = Flags(rawValue: 128)
    /// IP, which has no use for a bit of ARP's: a rule has given it to a socket (`skb->sk`).
    static let assigned = delayed
  }
}

extension SKBuff {
  /// What follows a packet over all hops.
  struct Marks: OptionSet, BitwiseCopyable {
    var rawValue: UInt8
    static let watched = Marks(rawValue: 1)
    static let copy = Marks(rawValue: 2)
  }

  /// Capture has given the packet a number, and wants to know what becomes of it.
  @inline(__always) var isWatched: Bool {
    get { marks.contains(.watched) }
    set { if newValue { marks.insert(.watched) } else { marks.remove(.watched) } }
  }

  /// A netem has made it, and none doubles it again (`tc_depth`).
  @inline(__always) var isCopy: Bool { marks.contains(.copy) }
}

/// Whom a frame's destination address means (`PACKET_*`); what this host sends is outgoing where a socket sees it.
enum PacketType: UInt8, BitwiseCopyable {
  case host, broadcast, multicast, otherHost, outgoing
}

/// What is known of the transport's checksum (`CHECKSUM_*`).
enum ChecksumState: UInt8, BitwiseCopyable {
  /// Nothing: who receives it sums.
  case none
  /// It has been found right.
  case unnecessary
  /// Only the pseudo header is summed: whoever takes the packet out of the kernel sums the rest. Up to there it counts
  /// as right.
  case partial
}

/// How a packet larger than its flow's segments is cut (`SKB_GSO_*`).
enum GSOType: UInt8, BitwiseCopyable {
  case none, tcp4, tcp6
  /// All segments have one identification (SKB_GSO_TCP_FIXEDID).
  case tcp4FixedID
}

/// A part of a page that belongs to a packet (`skb_frag_t`).
struct PageFragment: BitwiseCopyable {
  var page: PageIndex
  var offset: UInt16
  var length: UInt16
}

/// The second cache line of a packet's metadata (`skb_shared_info`, but every clone has its own). Nothing in it is
/// set before the packet has its first fragment or becomes one to be cut.
struct SharedInfo: BitwiseCopyable {
  /// The first `fragmentCount` are there.
  var fragments = InlineArray<4, PageFragment>(
    repeating: PageFragment(page: .none, offset: 0, length: 0))
  /// sk_buffs behind the fragments, threaded by `next`. Only a packet's first sk_buff has a list.
  var fragmentList: Slot = .none
  /// Bytes of payload in each packet that this one is cut into.
  var gsoSize: UInt16 = 0
  /// How many those will be.
  var gsoSegments: UInt16 = 0
}
