// SPDX-License-Identifier: GPL-2.0-or-later

// Packets through the network emulator (net/sched/sch_netem.c, netem_enqueue and netem_dequeue): lost, doubled,
// damaged, then put under way until their time, which is exact in nanoseconds. Those of one time leave together.

import Rtnetlink

extension Kernel {
  mutating func netemEnqueue(_ slot: Slot, into index: QdiscIndex, _ netem: TableIndex<Netem>) -> Bool {
    var copies = netems[netem].isDuplicated() ? 2 : 1
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
    if netems[netem].isCorrupted() {
      guard pool[slot].gsoType == .none else {
        if copy != .none { duplicateAtRoot(copy, index, netem) }
        return netemCut(slot, into: index, netem)
      }
      guard corrupt(slot, netem) else {
        queueDrops(slot, by: index, .noMemory)
        if copy != .none { duplicateAtRoot(copy, index, netem) }
        return false
      }
    }
    guard netems[netem].delayed.count < Int(qdiscs[index].limit) else {
      queueDrops(slot, by: index)
      if copy != .none { drop(copy, .qdiscDrop, in: devices[qdiscs[index].device].namespace) }
      return false
    }
    if copy != .none { duplicateAtRoot(copy, index, netem) }
    netemDelay(slot, into: index, netem)
    return true
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
  private mutating func netemCut(_ slot: Slot, into index: QdiscIndex, _ netem: TableIndex<Netem>) -> Bool {
    let whole = length(of: slot)
    var pieces = cut(slot, hasLinkHeader: true, in: devices[qdiscs[index].device].namespace)
    var (packets, bytes) = (0, 0)
    var isFirst = true
    while !pieces.isEmpty {
      let piece = pieces.pop(pool)
      let size = length(of: piece)
      if isFirst {
        isFirst = false
        let isFull = netems[netem].delayed.count >= Int(qdiscs[index].limit)
        guard corrupt(piece, netem), !isFull else {
          queueDrops(piece, by: index, isFull ? .qdiscDrop : .noMemory)
          continue
        }
        netemDelay(piece, into: index, netem)
      } else if !netemEnqueue(piece, into: index, netem) {
        continue
      }
      packets += 1
      bytes += size
    }
    guard packets > 0 else { return false }
    changeBacklog(around: index, packets: packets - 1, bytes: bytes - whole)
    return true
  }

  /// A copy goes in at the top of the device's tree, since those outside expect one packet; it is not doubled again.
  private mutating func duplicateAtRoot(_ copy: Slot, _ index: QdiscIndex, _ netem: TableIndex<Netem>) {
    let probability = netems[netem].duplicate
    netems[netem].counters.duplicated &+= 1
    netems[netem].duplicate = 0
    enqueue(copy, into: devices[qdiscs[index].device].qdisc)
    netems[netem].duplicate = probability
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
    guard pool.bytes(slot).count >= EthernetHeader.length + 20, pool.makeWritable(slot) else { return false }
    let bytes = pool.bytes(slot)
    let header = bytes.dropFirst(EthernetHeader.length)
    switch bytes.u16(EthernetHeader.type) {
    case 0x0800:
      let old = header.u16(IPv4Header.versionAndLength)
      guard old & 3 != 0 else { return false }
      header.set(IPv4Header.versionAndLength, u16: old | 3)
      // RFC 1624: the sum loses the old word and takes the new one.
      let sum = UInt64(~header.u16(IPv4Header.checksum)) + UInt64(~old) + UInt64(old | 3)
      header.set(IPv4Header.checksum, u16: ~foldChecksum(sum))
      return true
    case 0x86dd:
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
    while let time = netems[netem].delayed.earliest, time <= cpu.now {
      let slot = netems[netem].delayed.removeFirst()
      guard !child.isNone else { return netemDeliver(slot, from: index) }
      let bytes = length(of: slot)
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
    if let time = netems[netem].delayed.earliest { scheduleQueue(index, at: time) }
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
