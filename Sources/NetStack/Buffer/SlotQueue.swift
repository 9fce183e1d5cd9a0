// SPDX-License-Identifier: GPL-2.0-or-later

// A queue that is threaded through the packets themselves (`struct sk_buff_head`, `struct qdisc_skb_head`): it takes no
// memory of its own, however long it becomes.

/// A first-in, first-out list of packets.
struct SlotQueue: BitwiseCopyable {
  private(set) var head = Slot.none
  private(set) var tail = Slot.none
  private(set) var count: UInt32 = 0

  @inline(__always) var isEmpty: Bool { count == 0 }

  @inline(__always) mutating func append(_ slot: Slot, _ pool: borrowing BufferPool) {
    pool[slot].next = .none
    if count == 0 { head = slot } else { pool[tail].next = slot }
    tail = slot
    count &+= 1
  }

  /// Puts a packet before all others.
  mutating func prepend(_ slot: Slot, _ pool: borrowing BufferPool) {
    pool[slot].next = head
    if count == 0 { tail = slot }
    head = slot
    count &+= 1
  }

  /// The first packet, or `none`.
  @inline(__always) mutating func pop(_ pool: borrowing BufferPool) -> Slot {
    guard count > 0 else { return .none }
    let slot = head
    head = pool[slot].next
    pool[slot].next = .none
    count &-= 1
    return slot
  }

  func forEach(_ pool: borrowing BufferPool, _ body: (Slot) -> Void) {
    var slot = head
    for _ in 0..<count {
      body(slot)
      slot = pool[slot].next
    }
  }
}
