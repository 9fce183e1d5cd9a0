// SPDX-License-Identifier: GPL-2.0-or-later

// tbf: a bucket of time that a rate fills and packets empty (net/sched/sch_tbf.c), and a second, small one for the
// peak rate. What waits stands in a queue inside, a bfifo unless another was put there.

/// What a tbf has beside its place in the tree.
struct TokenBucketFilter: ~Copyable {
  var rate: RateConfiguration
  /// Nil: what is in the bucket goes out at once.
  var peak: RateConfiguration?
  /// The buckets' depths in nanoseconds.
  var buffer: Int64
  var peakBuffer: Int64
  /// Longer packets could never pass.
  var longest: UInt32
  /// What is in the buckets, in nanoseconds.
  var tokens: Int64
  var peakTokens: Int64
  /// When that was.
  var checked: Int64
  var child = QdiscIndex.none

  /// Full buckets.
  mutating func refill(now: Int64) {
    tokens = buffer
    peakTokens = peakBuffer
    checked = now
  }

  /// What would be in the buckets after a packet; below zero when it must wait.
  @inline(__always) func after(_ length: Int, now: Int64) -> (tokens: Int64, peakTokens: Int64) {
    let size = UInt32(truncatingIfNeeded: length)
    let passed = min(now &- checked, buffer)
    var peakLeft: Int64 = 0
    if let peak {
      peakLeft = min(passed &+ peakTokens, peakBuffer) &- peak.time(size)
    }
    return (min(passed &+ tokens, buffer) &- rate.time(size), peakLeft)
  }
}

extension Kernel {
  mutating func tokenBucketEnqueue(
    _ slot: Slot, into index: QdiscIndex, _ bucket: TableIndex<TokenBucketFilter>
  ) -> Bool {
    let bytes = length(of: slot)
    guard bytes <= Int(tokenBuckets[bucket].longest), !tokenBuckets[bucket].child.isNone else {
      if pool[slot].gsoType != .none, pool.longestFrame(slot) <= Int(tokenBuckets[bucket].longest) {
        return tokenBucketCut(slot, into: index, bucket)
      }
      queueDrops(slot, by: index)
      return false
    }
    guard enqueue(slot, into: tokenBuckets[bucket].child) else {
      qdiscs[index].statistics.drops &+= 1
      return false
    }
    queueGrows(index, by: bytes)
    return true
  }

  /// What could never pass as one passes as its segments (tbf_segment). Those outside, who count one packet, are told how
  /// many there are.
  private mutating func tokenBucketCut(
    _ slot: Slot, into index: QdiscIndex, _ bucket: TableIndex<TokenBucketFilter>
  ) -> Bool {
    let whole = length(of: slot)
    var pieces = cut(slot, hasLinkHeader: true, in: devices[qdiscs[index].device].namespace)
    var (packets, bytes) = (0, 0)
    while !pieces.isEmpty {
      let piece = pieces.pop(pool)
      let size = length(of: piece)
      guard tokenBucketEnqueue(piece, into: index, bucket) else { continue }
      packets += 1
      bytes += size
    }
    guard packets > 0 else { return false }
    changeBacklog(around: index, packets: packets - 1, bytes: bytes - whole)
    return true
  }

  mutating func tokenBucketDequeue(
    from index: QdiscIndex, _ bucket: TableIndex<TokenBucketFilter>
  ) -> Slot {
    let child = tokenBuckets[bucket].child
    guard !child.isNone else { return .none }
    let slot = peek(into: child)
    guard slot != .none else { return .none }
    let bytes = length(of: slot)
    let (tokens, peakTokens) = tokenBuckets[bucket].after(bytes, now: cpu.now)
    guard tokens >= 0, peakTokens >= 0 else {
      scheduleQueue(index, at: cpu.now &+ max(-tokens, -peakTokens))
      qdiscs[index].statistics.overlimits &+= 1
      return .none
    }
    _ = dequeue(from: child)
    tokenBuckets[bucket].checked = cpu.now
    tokenBuckets[bucket].tokens = tokens
    tokenBuckets[bucket].peakTokens = peakTokens
    queueShrinks(index, by: bytes)
    queueSends(index, slot, bytes)
    return slot
  }
}
