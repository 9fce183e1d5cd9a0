// SPDX-License-Identifier: GPL-2.0-or-later

// Queues without a rate: pfifo and bfifo (net/sched/sch_fifo.c), and pfifo_fast (net/sched/sch_generic.c), whose three
// bands are served in order.

extension Kernel {
  /// The band of each priority; 0 is served first.
  static let priorityBands: InlineArray<16, UInt8> = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]

  mutating func fifoEnqueue(_ slot: Slot, into index: QdiscIndex) -> Bool {
    let bytes = length(of: slot)
    var band = 0
    let fits: Bool
    switch qdiscs[index].kind {
    case .pfifoFast:
      band = Int(Self.priorityBands[Int(pool[slot].priority & 15)])
      fits = qdiscs[index].bands[band].count < qdiscs[index].limit
    case .bfifo: fits = qdiscs[index].statistics.backlog &+ bytes <= Int(qdiscs[index].limit)
    case .noQueue: fits = true
    case .pfifo, .tokenBucket, .hierarchicalTokenBucket, .netem:
      fits = qdiscs[index].statistics.queueLength < Int(qdiscs[index].limit)
    }
    guard fits else {
      queueDrops(slot, by: index)
      return false
    }
    qdiscs[index].bands[band].append(slot, pool)
    queueGrows(index, by: bytes)
    return true
  }

  mutating func fifoDequeue(from index: QdiscIndex) -> Slot {
    for band in 0..<3 where !qdiscs[index].bands[band].isEmpty {
      let slot = qdiscs[index].bands[band].pop(pool)
      let bytes = length(of: slot)
      queueShrinks(index, by: bytes)
      queueSends(index, slot, bytes)
      return slot
    }
    return .none
  }
}
