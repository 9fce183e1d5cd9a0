// SPDX-License-Identifier: GPL-2.0-or-later

// Segments that have come before their turn (the kernel's out_of_order_queue, a tree there): sorted, in a ring, so that
// what comes in order behind a gap and what leaves when the gap is filled cost the same however many there are. What
// comes in between moves the shorter side; with the limit that is 32 KiB at most.

/// A segment that came before its turn.
struct OutOfOrder: BitwiseCopyable {
  var range: TCPRange
  var slot: Slot
  var isLast: Bool
}

/// Segments in order of their sequence numbers.
@safe struct OutOfOrderQueue: ~Copyable {
  static let limit = 4096

  private var items: UnsafeMutablePointer<OutOfOrder>?
  private var mask = 0
  private var head = 0
  private(set) var count = 0

  init() {}

  deinit { unsafe items?.deallocate() }

  @inline(__always) var isEmpty: Bool { count == 0 }
  @inline(__always) var isFull: Bool { count >= Self.limit }
  var last: OutOfOrder? { count == 0 ? nil : self[count - 1] }

  /// One that is there, from the first.
  subscript(place: Int) -> OutOfOrder {
    assert(place >= 0 && place < count)
    return unsafe items.unsafelyUnwrapped[(head &+ place) & mask]
  }

  /// Before which one a segment that begins there belongs; most belong at the end.
  func place(of start: UInt32) -> Int {
    if count == 0 || !isAfter(self[count - 1].range.start, start) { return count }
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) >> 1
      if isAfter(self[middle].range.start, start) { high = middle } else { low = middle + 1 }
    }
    return low
  }

  /// There is room.
  mutating func insert(_ segment: OutOfOrder, at place: Int) {
    assert(!isFull && place >= 0 && place <= count)
    if unsafe items == nil || count > mask { grow() }
    let base = unsafe items.unsafelyUnwrapped
    if place >= count / 2 {
      var index = count
      while index > place {
        unsafe base[(head &+ index) & mask] = base[(head &+ index &- 1) & mask]
        index -= 1
      }
    } else {
      head = (head &- 1) & mask
      for index in 0..<place { unsafe base[(head &+ index) & mask] = base[(head &+ index &+ 1) & mask] }
    }
    unsafe base[(head &+ place) & mask] = segment
    count += 1
  }

  mutating func removeFirst() -> OutOfOrder? {
    guard count > 0 else { return nil }
    defer {
      head = (head &+ 1) & mask
      count -= 1
    }
    return self[0]
  }

  mutating func removeLast() -> OutOfOrder? {
    guard count > 0 else { return nil }
    count -= 1
    return unsafe items.unsafelyUnwrapped[(head &+ count) & mask]
  }

  mutating func remove(at place: Int) {
    let base = unsafe items.unsafelyUnwrapped
    for index in place + 1..<max(count, place + 1) {
      unsafe base[(head &+ index &- 1) & mask] = base[(head &+ index) & mask]
    }
    count -= 1
  }

  private mutating func grow() {
    let larger = max((mask + 1) * 2, 8)
    let fresh = UnsafeMutablePointer<OutOfOrder>.allocate(capacity: larger)
    if let old = unsafe items {
      for place in 0..<count { unsafe fresh[place] = old[(head &+ place) & mask] }
      unsafe old.deallocate()
    }
    unsafe items = fresh
    mask = larger - 1
    head = 0
  }
}
