// SPDX-License-Identifier: GPL-2.0-or-later

// A first-in, first-out ring of packets with a limit. It takes no memory before its first packet and doubles up to
// the limit, so that ten thousand idle devices cost nothing.

/// A bounded queue of packets.
@safe struct SlotRing: ~Copyable {
  private var items: UnsafeMutablePointer<UInt32>?
  private var size: UInt32 = 0
  private var head: UInt32 = 0
  private var tail: UInt32 = 0
  /// The most that the ring holds; a power of two is used up in full.
  let limit: UInt32

  init(limit: Int) { self.limit = UInt32(clamping: max(limit, 1)) }

  deinit { unsafe items?.deallocate() }

  @inline(__always) var count: Int { Int(tail &- head) }
  @inline(__always) var isEmpty: Bool { head == tail }

  /// What stands at a place, counted from the oldest.
  subscript(position: Int) -> UInt32 {
    assert(position < count)
    return unsafe items.unsafelyUnwrapped[Int((head &+ UInt32(position)) & (size &- 1))]
  }

  /// False when the ring is full.
  @inline(__always) mutating func push(_ slot: Slot) -> Bool { push(slot.index) }

  @inline(__always) mutating func push(_ value: UInt32) -> Bool {
    let used = tail &- head
    if used == size {
      guard used < limit else { return false }
      grow()
    } else if used >= limit {
      return false
    }
    unsafe items.unsafelyUnwrapped[Int(tail & (size &- 1))] = value
    tail &+= 1
    return true
  }

  @inline(__always) mutating func pop() -> UInt32? {
    guard head != tail else { return nil }
    defer { head &+= 1 }
    return unsafe items.unsafelyUnwrapped[Int(head & (size &- 1))]
  }

  /// Takes back what was pushed last.
  mutating func popLast() -> UInt32? {
    guard head != tail else { return nil }
    tail &-= 1
    return unsafe items.unsafelyUnwrapped[Int(tail & (size &- 1))]
  }

  /// Moves up to `most` packets to the end of a burst that has room for them.
  @inline(__always) mutating func pop(_ most: Int, into burst: inout Burst) {
    let taken = min(count, most, Burst.capacity &- burst.count)
    guard taken > 0 else { return }
    let base = unsafe items.unsafelyUnwrapped
    for _ in 0..<taken {
      burst.append(Slot(index: unsafe base[Int(head & (size &- 1))]))
      head &+= 1
    }
  }

  /// Visits the packets from the oldest to the newest.
  func forEach(_ body: (Slot) -> Void) {
    for offset in 0..<(tail &- head) {
      body(Slot(index: unsafe items.unsafelyUnwrapped[Int((head &+ offset) & (size &- 1))]))
    }
  }

  /// Takes out all that are `value`; the others keep their order.
  mutating func remove(_ value: UInt32) {
    for _ in 0..<count {
      guard let other = pop(), other != value else { continue }
      _ = push(other)
    }
  }

  @inline(never) private mutating func grow() {
    let larger = max(size * 2, 8)
    let fresh = UnsafeMutablePointer<UInt32>.allocate(capacity: Int(larger))
    let used = tail &- head
    if let old = unsafe items {
      for offset in 0..<used { unsafe fresh[Int(offset)] = old[Int((head &+ offset) & (size &- 1))] }
      unsafe old.deallocate()
    }
    unsafe items = fresh
    size = larger
    head = 0
    tail = used
  }
}
