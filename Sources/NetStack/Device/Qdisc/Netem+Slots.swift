// SPDX-License-Identifier: GPL-2.0-or-later

// Slots, in which a medium that is shared lets packets through (net/sched/sch_netem.c, get_slot_next and netem_dequeue):
// a packet whose delay is over waits until one opens, and the next opens when so many packets or bytes have left in it.

import Rtnetlink

extension Netem {
  var hasSlots: Bool { slot.minimumDelay | slot.maximumDelay | slot.distributedJitter != 0 }

  /// get_slot.
  mutating func setSlot(_ slot: NetemSlot, now: Int64) {
    self.slot = slot
    self.slot.distributedJitter = min(slot.distributedJitter, Int64(Int32.max))
    refillSlot()
    slotOpens = hasSlots ? now : nil
  }

  private mutating func refillSlot() {
    slotPackets = slot.packets == 0 ? .max : slot.packets
    slotBytes = Int64(slot.bytes == 0 ? .max : slot.bytes)
  }

  /// When the packet that is due first, at `time`, may leave. A slot that has opened before a packet is due is over.
  mutating func departure(of time: Int64, now: Int64) -> Int64 {
    guard let opens = slotOpens else { return time }
    if opens < time { beginSlot(now) }
    return max(time, slotOpens ?? time)
  }

  /// A packet leaves.
  mutating func takeFromSlot(_ bytes: Int, now: Int64) {
    guard slotOpens != nil else { return }
    slotPackets &-= 1
    slotBytes &-= Int64(bytes)
    if slotPackets <= 0 || slotBytes <= 0 { beginSlot(now) }
  }

  /// Chooses when the next slot opens. Between a least and a most the kernel chooses without its seed; from a table it
  /// draws as for a delay, but without a correlation.
  private mutating func beginSlot(_ now: Int64) {
    let wait: Int64
    if slotDistribution.isEmpty {
      let range = UInt64(slot.maximumDelay - slot.minimumDelay)
      let (high, low) = range.multipliedFullWidth(by: otherChance.next() & 0xffff_ffff)
      wait = slot.minimumDelay &+ Int64(high << 32 | low >> 32)
    } else if slot.distributedJitter == 0 {
      wait = slot.distributedDelay
    } else {
      wait = Self.spread(slot.distributedDelay, slot.distributedJitter, slotDistribution, chance.next())
    }
    slotOpens = now &+ wait
    refillSlot()
  }
}
