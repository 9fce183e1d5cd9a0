// SPDX-License-Identifier: GPL-2.0-or-later

// Packets through the network emulator (net/sched/sch_netem.c, netem_enqueue and netem_dequeue): lost, doubled,
// damaged, then put under way until their time, which is exact in nanoseconds. Those of one time leave together.

import Rtnetlink

extension Kernel {
  mutating func netemEnqueue(_ slot: Slot, into index: QdiscIndex, _ netem: TableIndex<Netem>) -> Bool {
    var copies = !pool[slot].isCopy && netems[netem].isDuplicated() ? 2 : 1
    if netems[netem].isLost() {
      if netems[netem].explicitCongestion, markCongestion(slot) {
        // The kernel counts a mark among the drops.
        qdiscs[index].statistics.drops &+= 1
        netems[netem].counters.marked &+= 1
      } else {
        copies -= 1
      }
    }
    guard copies > 0 else {
      netems[netem].counters.lost &+= 1
      queueDrops(slot, by: index, .netemLoss)
      return false
    }
    // What is under way has left its host: its sender is charged for it no longer, and small queues do not wait for it
    // (skb_orphan_partial).
    if netems[netem].isOnItsWay { pool.orphan(slot) }
    let copy = copies > 1 ? pool.clone(slot) : .none
    guard netems[netem].isCorrupted() else { return netemAdmit(slot, copy, SlotQueue(), into: index, netem) }
    guard pool[slot].gsoType == .none else { return netemCut(slot, copy, into: index, netem) }
    guard corrupt(slot, netem) else {
      queueDrops(slot, by: index, .noMemory)
      netemDrop(copy, by: index)
      return false
    }
    return netemAdmit(slot, copy, SlotQueue(), into: index, netem)
  }

  /// Puts a packet under way, where there is room, and its copy in at the top of the device's tree, since those outside
  /// expect one packet. Without room the segments that would follow it end with it.
  private mutating func netemAdmit(
    _ slot: Slot, _ copy: Slot, _ rest: consuming SlotQueue, into index: QdiscIndex,
    _ netem: TableIndex<Netem>
  ) -> Bool {
    guard qdiscs[index].statistics.queueLength < Int(qdiscs[index].limit) else {
      queueDrops(slot, by: index)
      netemDrop(copy, by: index)
      while !rest.isEmpty { netemDrop(rest.pop(pool), by: index) }
      return false
    }
    if copy != .none {
      pool[copy].marks.insert(.copy)
      netems[netem].counters.duplicated &+= 1
      enqueue(copy, into: devices[qdiscs[index].device].qdisc)
    }
    netemDelay(slot, into: index, netem)
    return true
  }

  /// Ends what a packet that is counted already takes along.
  private mutating func netemDrop(_ slot: Slot, by index: QdiscIndex) {
    if slot != .none { drop(slot, .qdiscDrop, in: devices[qdiscs[index].device].namespace) }
  }

  /// Puts a packet under way.
  private mutating func netemDelay(_ slot: Slot, into index: QdiscIndex, _ netem: TableIndex<Netem>) {
    let bytes = length(of: slot)
    queueGrows(index, by: bytes)
    guard netems[netem].keepsOrder() else {
      netems[netem].sinceReorder = 0
      netems[netem].counters.reordered &+= 1
      qdiscs[index].bands[0].prepend(slot, pool)
      qdiscs[index].statistics.requeues &+= 1
      return
    }
    netems[netem].sinceReorder &+= 1
    netems[netem].delayed.insert(slot, at: arrival(bytes, netem))
  }

  /// Of a packet of many segments one is damaged; the others meet their own chances (netem_segment).
  private mutating func netemCut(
    _ slot: Slot, _ copy: Slot, into index: QdiscIndex, _ netem: TableIndex<Netem>
  ) -> Bool {
    let whole = length(of: slot)
    var pieces = cut(slot, hasLinkHeader: true, in: devices[qdiscs[index].device].namespace)
    guard !pieces.isEmpty else {
      qdiscs[index].statistics.drops &+= 1
      netemDrop(copy, by: index)
      return false
    }
    var (packets, bytes) = (0, 0)
    let first = pieces.pop(pool)
    if corrupt(first, netem) {
      let size = length(of: first)
      guard netemAdmit(first, copy, pieces, into: index, netem) else { return false }
      (packets, bytes) = (1, size)
    } else {
      queueDrops(first, by: index, .noMemory)
      netemDrop(copy, by: index)
    }
    while !pieces.isEmpty {
      let piece = pieces.pop(pool)
      let size = length(of: piece)
      guard netemEnqueue(piece, into: index, netem) else { continue }
      packets += 1
      bytes += size
    }
    guard packets > 0 else { return false }
    changeBacklog(around: index, packets: packets - 1, bytes: bytes - whole)
    return true
  }

  /// When a packet that comes now arrives.
  private mutating func arrival(_ bytes: Int, _ netem: TableIndex<Netem>) -> Int64 {
    var delay = netems[netem].delay()
    guard netems[netem].rate.bytesPerSecond != 0 else { return cpu.now &+ delay }
    var start = cpu.now
    // Behind others it begins when the last of them has passed, and has been under way since it came.
    if netems[netem].delayed.count > 0 {
      let last = netems[netem].delayed.latest
      delay = max(0, delay &- (last &- start))
      start = last
    }
    return start &+ delay &+ netems[netem].transmissionTime(bytes)
  }

  /// Turns a bit of a packet's bytes. False when there is no memory for bytes of its own.
  private mutating func corrupt(_ slot: Slot, _ netem: TableIndex<Netem>) -> Bool {
    // A checksum that is still to be made must not be made over what is damaged.
    guard pool[slot].checksumState != .partial || pool.completeChecksum(slot), pool.makeWritable(slot) else {
      return false
    }
    // Nor is it right any more because a card has found it so.
    pool[slot].checksumState = .none
    netems[netem].counters.corrupted &+= 1
    let bytes = pool.bytes(slot)
    guard bytes.count > 0 else { return true }
    let place = Int(netems[netem].otherChance.below(UInt64(bytes.count)))
    bytes.set(place, u8: bytes.u8(place) ^ 1 << UInt8(netems[netem].otherChance.below(8)))
    return true
  }

  /// Says of a packet that can be told so that it met congestion (INET_ECN_set_ce). False when it cannot.
  private mutating func markCongestion(_ slot: Slot) -> Bool {
    // A copy shares its bytes with its original, and the kernel marks both.
    guard pool.bytes(slot).count >= EthernetHeader.length + 20,
      pool[slot].isCopy || pool.makeWritable(slot)
    else { return false }
    let bytes = pool.bytes(slot)
    let header = bytes.dropFirst(EthernetHeader.length)
    switch bytes.u16(EthernetHeader.type) {
    case 0x0800:
      let old = header.u16(IPv4Header.versionAndLength)
      guard old & 3 != 0 else { return false }
      guard old & 3 != 3 else { return true }
      header.set(IPv4Header.versionAndLength, u16: old | 3)
      // IP_ECN_set_ce: the sum, right or wrong, gives up what the word has gained, and stays the zero that it was.
      let sum = UInt32(header.u16(IPv4Header.checksum)) + 0xfffb + UInt32((old + 1) & 3)
      header.set(IPv4Header.checksum, u16: UInt16(truncatingIfNeeded: sum + sum >> 16))
      return true
    case 0x86dd:
      guard header.count >= 40 else { return false }
      let old = header.u16(0)
      guard old & 0x30 != 0 else { return false }
      header.set(0, u16: old | 0x30)
      return true
    default: return false
    }
  }

  mutating func netemDequeue(from index: QdiscIndex, _ netem: TableIndex<Netem>) -> Slot {
    let overtaking = qdiscs[index].bands[0].pop(pool)
    if overtaking != .none { return netemDeliver(overtaking, from: index) }
    let child = netems[netem].child
    var next: Int64?
    while let time = netems[netem].delayed.earliest {
      let departure = netems[netem].departure(of: time, now: cpu.now)
      guard departure <= cpu.now else {
        next = departure
        break
      }
      let slot = netems[netem].delayed.removeFirst()
      let bytes = length(of: slot)
      netems[netem].takeFromSlot(bytes, now: cpu.now)
      guard !child.isNone else { return netemDeliver(slot, from: index) }
      if !enqueue(slot, into: child) {
        qdiscs[index].statistics.drops &+= 1
        queueShrinks(index, by: bytes)
        reduceBacklog(around: index, packets: 1, bytes: bytes)
      }
    }
    if !child.isNone {
      let slot = dequeue(from: child)
      if slot != .none { return netemDeliver(slot, from: index) }
    }
    if let next { scheduleQueue(index, at: next) }
    return .none
  }

  private mutating func netemDeliver(_ slot: Slot, from index: QdiscIndex) -> Slot {
    let bytes = length(of: slot)
    queueShrinks(index, by: bytes)
    queueSends(index, slot, bytes)
    return slot
  }

  /// What a device's netem has done; nil when it has none.
  public func netemCounters(of device: DeviceIndex) -> NetemCounters? {
    guard devices.contains(device), !devices[device].qdisc.isNone else { return nil }
    var rest = [devices[device].qdisc]
    while let index = rest.popLast() {
      if case .netem(let netem) = qdiscs[index].kind { return netems[netem].counters }
      rest += children(of: index).reversed()
    }
    return nil
  }
}
