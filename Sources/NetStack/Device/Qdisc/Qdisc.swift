// SPDX-License-Identifier: GPL-2.0-or-later

// A queueing discipline: what stands between a device's transmit and its ring (net/sched, include/net/sch_generic.h).
// What all kinds have is here; what one kind has beside that stands in a table of its own, so that a queue of the
// simplest kind costs little. A device without one (`noqueue`) has none of this.

/// The place of a queueing discipline in the kernel's table.
typealias QdiscIndex = TableIndex<Qdisc>

/// A queueing discipline of one device.
struct Qdisc: ~Copyable {
  enum Kind {
    /// Nothing waits; only where configuration has asked for it by name.
    case noQueue
    /// Three bands by priority, each of the device's queue length.
    case pfifoFast
    /// One queue with a limit in packets.
    case pfifo
    /// One queue with a limit in bytes.
    case bfifo
    case tokenBucket(TableIndex<TokenBucketFilter>)
    case hierarchicalTokenBucket(TableIndex<HierarchicalTokenBucket>)
    case netem(TableIndex<Netem>)
  }

  let kind: Kind
  let device: DeviceIndex
  /// The qdisc that this one is inside of; none for the root.
  var parent: QdiscIndex = .none
  /// Major number in the upper half; 0 for a device's own choice.
  let handle: UInt32
  /// The class that this one stands in, or `TC_H_ROOT`.
  var place: UInt32 = Qdisc.root
  /// Made along with another, and not shown (TCQ_F_INVISIBLE).
  var isHidden = false
  /// Packets, or bytes, as the kind counts; of `pfifo_fast` for each band.
  var limit: UInt32
  var statistics = QdiscCounters()
  /// The bands of a FIFO, of which all but `pfifo_fast` use one; netem's packets that go out of turn.
  var bands = InlineArray<3, SlotQueue>(repeating: SlotQueue())
  /// Taken out already by a parent that only wanted to look (`gso_skb` of qdisc_peek_dequeued).
  var peeked = Slot.none
  /// When the device's queue is looked at again, by the latest event that stands in the heap.
  var watchdog = Int64.max

  static let root: UInt32 = .max

  init(_ kind: Kind, on device: DeviceIndex, handle: UInt32, limit: UInt32) {
    self.kind = kind
    self.device = device
    self.handle = handle
    self.limit = limit
  }

  /// An empty queue of this kind lets packets by (TCQ_F_CAN_BYPASS).
  var canBypass: Bool {
    switch kind {
    case .noQueue: true
    case .pfifoFast, .pfifo: limit > 0
    case .bfifo, .tokenBucket, .hierarchicalTokenBucket, .netem: false
    }
  }
}

/// What `tc -s qdisc` shows of a queue.
public struct QdiscCounters: Hashable, Sendable {
  /// Bytes that left it.
  public var bytes: UInt64 = 0
  /// Packets that left it.
  public var packets: UInt64 = 0
  /// Packets that it would not take, or lost on purpose.
  public var drops: UInt64 = 0
  /// How often it had to wait although something waited in it.
  public var overlimits: UInt64 = 0
  /// Packets that went out of turn.
  public var requeues: UInt64 = 0
  /// Packets that wait.
  public var queueLength: Int = 0
  /// Bytes that wait.
  public var backlog: Int = 0

  /// All zero.
  public init() {}
}
