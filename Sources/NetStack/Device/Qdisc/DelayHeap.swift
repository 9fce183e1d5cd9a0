// SPDX-License-Identifier: GPL-2.0-or-later

// Packets under way, by the time at which they arrive (netem's tfifo: a list and a red-black tree in the kernel). A
// binary heap: a packet that is due after all others, the usual one, is put in without a move. Packets of one time
// leave in the order in which they came.

/// Packets that wait for their time.
@safe struct DelayHeap: ~Copyable {
  private struct Item: BitwiseCopyable {
    var time: Int64
    var sequence: UInt64
    var slot: Slot

    @inline(__always) func isBefore(_ other: Item) -> Bool {
      time != other.time ? time < other.time : sequence < other.sequence
    }
  }

  private var items: UnsafeMutablePointer<Item>?
  private var capacity = 0
  private(set) var count = 0
  private var sequence: UInt64 = 0
  /// The time of the last one, while there is any.
  private(set) var latest: Int64 = 0

  init() {}

  deinit { unsafe items?.deallocate() }

  /// The time of the first one; nil when there is none.
  @inline(__always) var earliest: Int64? { count == 0 ? nil : unsafe items.unsafelyUnwrapped[0].time }

  mutating func insert(_ slot: Slot, at time: Int64) {
    if count == capacity { grow() }
    let base = unsafe items.unsafelyUnwrapped
    sequence &+= 1
    latest = count == 0 ? time : max(latest, time)
    let item = Item(time: time, sequence: sequence, slot: slot)
    var child = count
    while child > 0 {
      let parent = (child &- 1) / 2
      guard unsafe item.isBefore(base[parent]) else { break }
      unsafe base[child] = base[parent]
      child = parent
    }
    unsafe (base + child).initialize(to: item)
    count &+= 1
  }

  /// Takes the first one out, which is there.
  mutating func removeFirst() -> Slot {
    precondition(count > 0)
    let base = unsafe items.unsafelyUnwrapped
    let slot = unsafe base[0].slot
    count &-= 1
    let last = unsafe base[count]
    var parent = 0
    while true {
      var least = 2 &* parent &+ 1
      guard least < count else { break }
      if least &+ 1 < count, unsafe base[least &+ 1].isBefore(base[least]) { least &+= 1 }
      guard unsafe base[least].isBefore(last) else { break }
      unsafe base[parent] = base[least]
      parent = least
    }
    if count > 0 { unsafe base[parent] = last }
    return slot
  }

  func forEach(_ body: (Slot) -> Void) {
    guard let base = unsafe items else { return }
    for index in 0..<count { unsafe body(base[index].slot) }
  }

  @inline(never) private mutating func grow() {
    let larger = max(capacity * 2, 16)
    let fresh = UnsafeMutablePointer<Item>.allocate(capacity: larger)
    if let old = unsafe items {
      unsafe fresh.moveInitialize(from: old, count: count)
      unsafe old.deallocate()
    }
    unsafe items = fresh
    capacity = larger
  }
}
