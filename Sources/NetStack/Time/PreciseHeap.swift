// SPDX-License-Identifier: GPL-2.0-or-later

// Events in nanoseconds, for what a tick is too coarse for: coalesced interrupts, pacing, delays of links. A binary
// heap in one array; those of one time come in the order in which they were scheduled.

/// Events ordered by time to the nanosecond.
struct PreciseHeap: ~Copyable {
  private struct Item: BitwiseCopyable {
    var deadline: Int64
    var sequence: UInt64
    var event: TimerEvent

    func isBefore(_ other: Item) -> Bool {
      deadline != other.deadline ? deadline < other.deadline : sequence < other.sequence
    }
  }

  private var items: [Item] = []
  private var sequence: UInt64 = 0

  var count: Int { items.count }
  var nextDeadline: Int64? { items.first?.deadline }

  /// An event of this heap is not cancelled: who handles it looks whether it still has a meaning.
  mutating func schedule(_ event: TimerEvent, at deadline: Int64) {
    sequence += 1
    items.append(Item(deadline: deadline, sequence: sequence, event: event))
    var child = items.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard items[child].isBefore(items[parent]) else { return }
      items.swapAt(child, parent)
      child = parent
    }
  }

  /// The next event that is due at `now`.
  mutating func popDue(now: Int64) -> TimerEvent? {
    guard let first = items.first, first.deadline <= now else { return nil }
    let last = items.removeLast()
    guard !items.isEmpty else { return first.event }
    items[0] = last
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < items.count && items[child].isBefore(items[least]) {
        least = child
      }
      guard least != parent else { return first.event }
      items.swapAt(parent, least)
      parent = least
    }
  }
}
