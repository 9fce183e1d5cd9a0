// SPDX-License-Identifier: GPL-2.0-or-later

// htb: a tree of token buckets (net/sched/sch_htb.c; M. Devera's "HTB Linux queuing discipline manual"). A leaf sends
// on its own rate, or borrows from the nearest ancestor that has tokens, up to its ceiling; those that may send at
// one level are served by priority and within one by deficit round robin.
//
// The kernel keeps rows and feeds of who may send as trees, and moves classes when their buckets cross zero; here the
// modes are worked out from the buckets when a packet is wanted, which tells the same.

/// What an htb has beside its place in the tree.
struct HierarchicalTokenBucket: ~Copyable {
  static let levels = 8
  static let priorities = 8

  /// By identifier.
  var classes: [HTBClass] = []
  /// The minor number of the class for packets that name none.
  var defaultClass: UInt32
  var rateToQuantum: UInt32
  /// What of no class waits at most; it goes before all classes.
  var directLimit: UInt32
  var directPackets: UInt64 = 0
  /// For each level and priority: where the round robin goes on, as an identifier.
  var rows = InlineArray<64, UInt32>(repeating: 0)

  init(defaultClass: UInt32, rateToQuantum: UInt32, directLimit: UInt32) {
    self.defaultClass = defaultClass
    self.rateToQuantum = max(rateToQuantum, 1)
    self.directLimit = directLimit
  }

  func find(_ identifier: UInt32) -> Int? {
    var low = 0
    var high = classes.count
    while low < high {
      let middle = (low + high) / 2
      if classes[middle].identifier < identifier { low = middle + 1 } else { high = middle }
    }
    return low < classes.count && classes[low].identifier == identifier ? low : nil
  }

  mutating func insert(_ new: HTBClass) {
    let place = classes.firstIndex { $0.identifier > new.identifier } ?? classes.count
    classes.insert(new, at: place)
    relink()
  }

  mutating func remove(at position: Int) {
    classes.remove(at: position)
    relink()
  }

  /// Positions have changed.
  private mutating func relink() {
    for position in classes.indices {
      let parent = classes[position].parentIdentifier
      classes[position].parent = parent == 0 ? -1 : find(parent) ?? -1
    }
  }

  mutating func refill(now: Int64) {
    for position in classes.indices { classes[position].refill(now: now) }
  }
}

/// A class of an htb.
struct HTBClass {
  enum Mode: UInt8 {
    case cannotSend, mayBorrow, canSend
  }

  /// Longer than this no bucket is in debt or credit (a minute).
  static let longest: Int64 = 60_000_000_000

  let identifier: UInt32
  /// 0 for a class right under the qdisc.
  let parentIdentifier: UInt32
  var parent = -1
  /// 0 for a leaf, else 8 less its distance from the qdisc.
  var level = 0
  var rate: RateConfiguration
  var ceiling: RateConfiguration
  /// Depths of the buckets in nanoseconds.
  var buffer: Int64
  var ceilingBuffer: Int64
  var quantum: Int64
  var priority: UInt32
  var tokens: Int64
  var ceilingTokens: Int64
  var checked: Int64
  var mode = Mode.canSend
  /// A leaf's queue.
  var leaf = QdiscIndex.none
  var deficits = InlineArray<8, Int64>(repeating: 0)
  /// For each priority: where the round robin of the classes below goes on.
  var pointers = InlineArray<8, UInt32>(repeating: 0)
  /// While a packet is looked for: the priorities for which this class leads to one.
  var feeds: UInt8 = 0
  var statistics = QdiscCounters()
  /// Packets sent on its own tokens or for a class below, and on those of a class above.
  var lends: UInt64 = 0
  var borrows: UInt64 = 0

  mutating func refill(now: Int64) {
    tokens = buffer
    ceilingTokens = ceilingBuffer
    checked = now
    mode = .canSend
    deficits = InlineArray(repeating: 0)
  }

  /// What the class may do now, and how long until that can change (htb_class_mode).
  @inline(__always) func modeNow(_ now: Int64) -> (mode: Mode, wait: Int64) {
    let passed = min(now &- checked, Self.longest)
    let ceilingLeft = ceilingTokens &+ passed
    if ceilingLeft < 0 { return (.cannotSend, -ceilingLeft) }
    let left = tokens &+ passed
    return left >= 0 ? (.canSend, 0) : (.mayBorrow, -left)
  }

  /// Takes a packet's time out of the buckets; `own` is false when its tokens were another class's.
  mutating func charge(_ length: Int, own: Bool, now: Int64) {
    let size = UInt32(truncatingIfNeeded: length)
    let passed = min(now &- checked, Self.longest)
    if own {
      tokens = max(min(passed &+ tokens, buffer) &- rate.time(size), 1 &- Self.longest)
    } else {
      tokens &+= passed
    }
    ceilingTokens = max(
      min(passed &+ ceilingTokens, ceilingBuffer) &- ceiling.time(size), 1 &- Self.longest)
    checked = now
  }
}
