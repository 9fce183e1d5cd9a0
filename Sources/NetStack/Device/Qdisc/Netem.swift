// SPDX-License-Identifier: GPL-2.0-or-later

// The network emulator's settings and memory (net/sched/sch_netem.c), and its questions to chance: loss, correlation,
// the distribution of delays. Chance comes from the kernel's own generator, so that a seed means here what it means
// in Linux; what the kernel takes from elsewhere (which bit is corrupted, where a correlation begins) comes from a
// second state of the same seed.

import Rtnetlink

/// What a netem has beside its place in the tree.
struct Netem: ~Copyable {
  /// A choice that remembers the last one (`struct crndstate`).
  struct CorrelatedChance {
    /// How much of the last number is in the next one, of 2^32.
    var correlation: UInt32 = 0
    var last: UInt32 = 0
  }

  enum LossState: UInt8 {
    /// Of four states: sent within a gap, lost within a gap, lost within a burst, sent within a burst.
    case sentInGap, lostInGap, lostInBurst, sentInBurst
    /// Of Gilbert-Elliott's two.
    case good, bad
  }

  /// The distribution's table counts in 1/8192 of the jitter.
  static let distributionScale: Int64 = 8192
  static let distributionLimit = 16384

  // MARK: Settings

  /// Nanoseconds.
  var latency: Int64 = 0
  var jitter: Int64 = 0
  /// Probabilities of 2^32 - 1.
  var loss: UInt32 = 0
  var duplicate: UInt32 = 0
  var reorder: UInt32 = 0
  var corrupt: UInt32 = 0
  var gap: UInt32 = 0
  var lossModel: NetemLossModel?
  var explicitCongestion = false
  /// Nil or 0 bytes a second: none.
  var rate = NetemRate(bytesPerSecond: 0)
  var distribution: [Int16] = []
  var slot = NetemSlot()
  var slotDistribution: [Int16] = []
  var seed: UInt64

  // MARK: Memory

  var chance: TausworthePRNG
  var otherChance: RandomState
  var delayChance = CorrelatedChance()
  var lossChance = CorrelatedChance()
  var duplicateChance = CorrelatedChance()
  var reorderChance = CorrelatedChance()
  var corruptChance = CorrelatedChance()
  var lossState = LossState.sentInGap
  /// Packets since the last one that went out of turn.
  var sinceReorder: UInt32 = 0
  var delayed = DelayHeap()
  /// When the slot opens, or has opened, and what may still leave in it; nil where there are no slots.
  var slotOpens: Int64?
  var slotPackets: Int32 = 0
  var slotBytes: Int64 = 0
  /// A qdisc that takes packets at the end of their delay.
  var child = QdiscIndex.none
  var counters = NetemCounters()

  init(seed: UInt64) {
    self.seed = seed
    chance = TausworthePRNG(seed: seed)
    otherChance = RandomState(seed: seed)
  }

  /// Whether a packet takes time.
  var isOnItsWay: Bool { latency != 0 || jitter != 0 || rate.bytesPerSecond != 0 }

  // MARK: Chance

  /// get_crandom.
  private static func draw(_ chance: inout TausworthePRNG, _ memory: inout CorrelatedChance) -> UInt32 {
    let value = UInt64(chance.next())
    guard memory.correlation != 0 else { return UInt32(truncatingIfNeeded: value) }
    let weight = UInt64(memory.correlation) &+ 1
    // The kernel's sum wraps at 64 bits as well; it cannot, since the weights add up to 2^32.
    let answer = (value &* ((1 << 32) &- weight) &+ UInt64(memory.last) &* weight) &>> 32
    memory.last = UInt32(truncatingIfNeeded: answer)
    return memory.last
  }

  mutating func isDuplicated() -> Bool {
    duplicate != 0 && duplicate >= Self.draw(&chance, &duplicateChance)
  }

  mutating func isCorrupted() -> Bool {
    corrupt != 0 && corrupt >= Self.draw(&chance, &corruptChance)
  }

  /// Whether a packet waits its turn; else it overtakes those that wait.
  mutating func keepsOrder() -> Bool {
    gap == 0 || sinceReorder < gap &- 1 || reorder < Self.draw(&chance, &reorderChance)
  }

  mutating func isLost() -> Bool {
    switch lossModel {
    case nil: loss != 0 && loss >= Self.draw(&chance, &lossChance)
    case .state(let p13, let p31, let p32, let p14, let p23):
      lossOfFourStates(p13: p13, p31: p31, p32: p32, p14: p14, p23: p23)
    case .gilbertElliott(let p, let r, let h, let k1): lossOfTwoStates(p, r, h, k1)
    }
  }

  /// Four states (S. Salsano et al., "Definition of a general and intuitive loss model"; loss_4state).
  private mutating func lossOfFourStates(p13: UInt32, p31: UInt32, p32: UInt32, p14: UInt32, p23: UInt32)
    -> Bool
  {
    let number = chance.next()
    switch lossState {
    case .sentInGap, .good, .bad:
      if number < p14 {
        lossState = .lostInGap
        return true
      }
      if number < p13 &+ p14 {
        lossState = .lostInBurst
        return true
      }
      lossState = .sentInGap
    case .sentInBurst:
      if number < p23 {
        lossState = .lostInBurst
        return true
      }
    case .lostInBurst:
      if number < p32 {
        lossState = .sentInBurst
      } else if number < p31 &+ p32 {
        lossState = .sentInGap
      } else {
        return true
      }
    case .lostInGap: lossState = .sentInGap
    }
    return false
  }

  /// Gilbert-Elliott (loss_gilb_ell): in the bad state all but `h` are lost, in the good one `k1`.
  private mutating func lossOfTwoStates(_ p: UInt32, _ r: UInt32, _ h: UInt32, _ k1: UInt32) -> Bool {
    if lossState == .bad {
      if chance.next() < r { lossState = .good }
      return chance.next() > h
    }
    if chance.next() < p { lossState = .bad }
    return chance.next() < k1
  }

  /// The next packet's delay in nanoseconds, which may be below zero.
  mutating func delay() -> Int64 {
    guard jitter != 0 else { return latency }
    let number = Self.draw(&chance, &delayChance)
    return Self.spread(latency, jitter, distribution, number)
  }

  /// A time that chance moves from its mean (tabledist).
  static func spread(_ mean: Int64, _ jitter: Int64, _ table: [Int16], _ number: UInt32) -> Int64 {
    guard !table.isEmpty else {
      return Int64(number % (2 &* UInt32(truncatingIfNeeded: jitter))) &+ mean &- jitter
    }
    let entry = Int64(table[Int(number) % table.count])
    var part = jitter % distributionScale * entry
    part += part >= 0 ? distributionScale / 2 : -distributionScale / 2
    return part / distributionScale + jitter / distributionScale * entry &+ mean
  }

  /// How long a packet takes at the rate (packet_time_ns). The kernel's unsigned sums may wrap; so do these.
  func transmissionTime(_ length: Int) -> Int64 {
    var length = UInt64(bitPattern: Int64(length) &+ Int64(rate.packetOverhead))
    let cell = UInt64(rate.cellSize)
    if cell != 0 {
      var cells = UInt64(UInt32(truncatingIfNeeded: length)) / cell
      if length > cells &* cell { cells &+= 1 }
      length = cells &* (cell &+ UInt64(bitPattern: Int64(rate.cellOverhead)))
    }
    return Int64(clamping: length &* 1_000_000_000 / rate.bytesPerSecond)
  }
}

/// What a netem has done to packets on purpose, beside delaying them.
public struct NetemCounters: Hashable, Sendable {
  /// Packets that it lost.
  public var lost: UInt64 = 0
  /// Copies that it made.
  public var duplicated: UInt64 = 0
  /// Packets of which it turned a bit.
  public var corrupted: UInt64 = 0
  /// Packets that overtook others.
  public var reordered: UInt64 = 0
  /// Packets that it marked in the place of losing them.
  public var marked: UInt64 = 0

  /// All zero.
  public init() {}
}
