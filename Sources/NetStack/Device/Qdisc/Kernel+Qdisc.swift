// SPDX-License-Identifier: GPL-2.0-or-later

// Packets into and out of queueing disciplines (net/core/dev.c, __dev_xmit_skb; net/sched/sch_generic.c, __qdisc_run).
// Every packet that is put in is followed by a look at what may leave, as in the kernel, so that a burst and packets
// one by one meet the same limits; what leaves goes to the device together.

extension Kernel {
  /// Takes frames for a device that has a queueing discipline. The burst is empty afterwards.
  mutating func queueTransmit(_ burst: inout Burst, by index: DeviceIndex) {
    let root = devices[index].qdisc
    var (packets, bytes) = (0, 0)
    for position in 0..<burst.count {
      packets &+= pool.segmentCount(burst[position])
      bytes &+= length(of: burst[position])
    }
    if qdiscs[root].statistics.queueLength == 0, qdiscs[root].canBypass,
      transmitRoom(of: index) >= (devices[index].features.takesLarge ? burst.count : packets)
    {
      qdiscs[root].statistics.packets &+= UInt64(packets)
      qdiscs[root].statistics.bytes &+= UInt64(bytes)
      startTransmit(&burst, by: index)
      return
    }
    var ready = Burst()
    for position in 0..<burst.count {
      enqueue(burst[position], into: root)
      fill(&ready, from: root)
      while ready.isFull {
        startTransmit(&ready, by: index)
        fill(&ready, from: root)
      }
    }
    burst.removeAll()
    if !ready.isEmpty { startTransmit(&ready, by: index) }
  }

  /// Sends what may leave a device's queue now: its time has come, or its ring has room again.
  mutating func runQueue(of index: DeviceIndex) {
    let root = devices[index].qdisc
    guard !root.isNone, devices[index].isUp else { return }
    var ready = Burst()
    while true {
      fill(&ready, from: root)
      guard !ready.isEmpty else { return }
      startTransmit(&ready, by: index)
    }
  }

  @inline(__always) private mutating func fill(_ ready: inout Burst, from root: QdiscIndex) {
    let device = qdiscs[root].device
    let room = transmitRoom(of: device)
    var taken = frameCount(ready, by: device)
    while !ready.isFull, taken < room {
      let slot = dequeue(from: root)
      guard slot != .none else { return }
      taken &+= frameCount(of: slot, by: device)
      guard taken <= room || ready.isEmpty && isIdle(device) else {
        // The ring has no room for all its segments: it goes next (dev_requeue_skb).
        qdiscs[root].peeked = slot
        queueGrows(root, by: length(of: slot))
        qdiscs[root].statistics.requeues &+= 1
        return
      }
      ready.append(slot)
    }
  }

  /// Frames that a device's ring takes for a packet.
  @inline(__always) private func frameCount(of slot: Slot, by index: DeviceIndex) -> Int {
    devices[index].features.takesLarge ? 1 : pool.segmentCount(slot)
  }

  @inline(__always) private func frameCount(_ burst: borrowing Burst, by index: DeviceIndex) -> Int {
    guard !devices[index].features.takesLarge else { return burst.count }
    var count = 0
    for position in 0..<burst.count { count &+= pool.segmentCount(burst[position]) }
    return count
  }

  /// Nothing stands in any of a device's rings, so that nothing will ever make more room.
  private func isIdle(_ index: DeviceIndex) -> Bool {
    guard let nic = nic(index) else { return true }
    return transmitRoom(of: index) >= nics[nic].ringSizes.transmit
  }

  // MARK: Kinds

  /// False when the packet was dropped, or lost on purpose; it has ended then.
  @discardableResult
  mutating func enqueue(_ slot: Slot, into index: QdiscIndex) -> Bool {
    switch qdiscs[index].kind {
    case .noQueue, .pfifo, .bfifo, .pfifoFast: fifoEnqueue(slot, into: index)
    case .tokenBucket(let bucket): tokenBucketEnqueue(slot, into: index, bucket)
    case .hierarchicalTokenBucket(let tree): treeEnqueue(slot, into: index, tree)
    case .netem(let netem): netemEnqueue(slot, into: index, netem)
    }
  }

  /// The next packet that may leave now, or `none`.
  mutating func dequeue(from index: QdiscIndex) -> Slot {
    let peeked = qdiscs[index].peeked
    if peeked != .none {
      qdiscs[index].peeked = .none
      queueShrinks(index, by: length(of: peeked))
      return peeked
    }
    return switch qdiscs[index].kind {
    case .noQueue, .pfifo, .bfifo, .pfifoFast: fifoDequeue(from: index)
    case .tokenBucket(let bucket): tokenBucketDequeue(from: index, bucket)
    case .hierarchicalTokenBucket(let tree): treeDequeue(from: index, tree)
    case .netem(let netem): netemDequeue(from: index, netem)
    }
  }

  /// The packet that `dequeue` would give, which stays (qdisc_peek_dequeued).
  mutating func peek(into index: QdiscIndex) -> Slot {
    let peeked = qdiscs[index].peeked
    if peeked != .none { return peeked }
    switch qdiscs[index].kind {
    case .pfifo, .bfifo: return qdiscs[index].bands[0].head
    case .noQueue, .pfifoFast, .tokenBucket, .hierarchicalTokenBucket, .netem:
      let slot = dequeue(from: index)
      guard slot != .none else { return .none }
      qdiscs[index].peeked = slot
      queueGrows(index, by: length(of: slot))
      return slot
    }
  }

  /// Ends all packets of a queue and of those inside it (qdisc_reset).
  mutating func resetQueue(_ index: QdiscIndex) {
    let namespace = devices[qdiscs[index].device].namespace
    for band in 0..<3 {
      while true {
        let slot = qdiscs[index].bands[band].pop(pool)
        guard slot != .none else { break }
        drop(slot, .qdiscDrop, in: namespace)
      }
    }
    let peeked = qdiscs[index].peeked
    if peeked != .none {
      qdiscs[index].peeked = .none
      drop(peeked, .qdiscDrop, in: namespace)
    }
    switch qdiscs[index].kind {
    case .noQueue, .pfifo, .bfifo, .pfifoFast: break
    case .tokenBucket(let bucket): tokenBuckets[bucket].refill(now: cpu.now)
    case .hierarchicalTokenBucket(let tree): trees[tree].refill(now: cpu.now)
    case .netem(let netem):
      while netems[netem].delayed.count > 0 {
        drop(netems[netem].delayed.removeFirst(), .qdiscDrop, in: namespace)
      }
    }
    for child in children(of: index) { resetQueue(child) }
    qdiscs[index].statistics.queueLength = 0
    qdiscs[index].statistics.backlog = 0
  }

  /// The qdiscs right inside one, in order of their classes.
  func children(of index: QdiscIndex) -> [QdiscIndex] {
    switch qdiscs[index].kind {
    case .noQueue, .pfifo, .bfifo, .pfifoFast: []
    case .tokenBucket(let bucket): tokenBuckets[bucket].child.isNone ? [] : [tokenBuckets[bucket].child]
    case .hierarchicalTokenBucket(let tree): trees[tree].classes.map(\.leaf).filter { !$0.isNone }
    case .netem(let netem): netems[netem].child.isNone ? [] : [netems[netem].child]
    }
  }

  // MARK: What all kinds do

  /// Bytes of a packet with its Ethernet header, and those of its segments (qdisc_pkt_len).
  @inline(__always) func length(of slot: Slot) -> Int { pool.wireLength(slot) }

  @inline(__always) mutating func queueGrows(_ index: QdiscIndex, by bytes: Int) {
    qdiscs[index].statistics.queueLength &+= 1
    qdiscs[index].statistics.backlog &+= bytes
  }

  @inline(__always) mutating func queueShrinks(_ index: QdiscIndex, by bytes: Int) {
    qdiscs[index].statistics.queueLength &-= 1
    qdiscs[index].statistics.backlog &-= bytes
  }

  /// Counts a packet that leaves (qdisc_bstats_update).
  @inline(__always) mutating func queueSends(_ index: QdiscIndex, _ slot: Slot, _ bytes: Int) {
    qdiscs[index].statistics.packets &+= UInt64(pool.segmentCount(slot))
    qdiscs[index].statistics.bytes &+= UInt64(bytes)
  }

  mutating func queueDrops(_ slot: Slot, by index: QdiscIndex, _ reason: DropReason = .qdiscDrop) {
    qdiscs[index].statistics.drops &+= 1
    drop(slot, reason, in: devices[qdiscs[index].device].namespace)
  }

  /// Tells those outside that packets which they count are gone (qdisc_tree_reduce_backlog).
  mutating func reduceBacklog(around index: QdiscIndex, packets: Int, bytes: Int) {
    changeBacklog(around: index, packets: -packets, bytes: -bytes)
    var outer = qdiscs[index].parent
    while !outer.isNone {
      qdiscs[outer].statistics.drops &+= UInt64(packets)
      outer = qdiscs[outer].parent
    }
  }

  /// Tells those outside that there are more packets, or fewer, than they count.
  mutating func changeBacklog(around index: QdiscIndex, packets: Int, bytes: Int) {
    var outer = qdiscs[index].parent
    while !outer.isNone {
      qdiscs[outer].statistics.queueLength &+= packets
      qdiscs[outer].statistics.backlog &+= bytes
      outer = qdiscs[outer].parent
    }
  }

  /// Sees that the device's queue is looked at again at `time` (qdisc_watchdog_schedule_ns).
  mutating func scheduleQueue(_ index: QdiscIndex, at time: Int64) {
    let device = qdiscs[index].device
    let root = devices[device].qdisc
    guard !root.isNone, time < qdiscs[root].watchdog else { return }
    qdiscs[root].watchdog = time
    cpu.heap.schedule(TimerEvent(kind: .queue, index: device.rawValue), at: time)
  }

  /// A device's queue is due. What an earlier qdisc of the device had asked for does no harm.
  mutating func queueTimer(_ index: DeviceIndex) {
    guard devices.contains(index), !devices[index].qdisc.isNone else { return }
    if qdiscs[devices[index].qdisc].watchdog <= cpu.now { qdiscs[devices[index].qdisc].watchdog = .max }
    runQueue(of: index)
  }
}
