// SPDX-License-Identifier: GPL-2.0-or-later

// What data does (net/ipv4/tcp_input.c tcp_data_queue, tcp_data_queue_ofo, __tcp_ack_snd_check): it is put where it
// belongs, and acknowledged now or with what goes next.

extension Kernel {
  // MARK: Data

  /// Puts a segment's data, and its FIN, where they belong. The packet is gone afterwards (tcp_data_queue).
  mutating func tcpReceiveData(_ index: TCPIndex, _ segment: TCPSegment) {
    let namespace = sockets[tcps[index].socket].namespace
    var start = segment.sequence
    if segment.flags.contains(.syn) { start &+= 1 }
    let hasFin = segment.flags.contains(.fin)
    guard segment.length > 0 || hasFin, !tcps[index].isDone else {
      if segment.length > 0 || hasFin { tcpNoteOldData(index, TCPRange(start: start, end: segment.end)) }
      pool.free(segment.slot, .consumed)
      return
    }
    let range = TCPRange(start: start, end: start &+ UInt32(segment.length))
    let end = range.end &+ (hasFin ? 1 : 0)
    guard isAfter(end, tcps[index].receiveNext) else {
      tcpNoteOldData(index, TCPRange(start: range.start, end: end))
      drop(segment.slot, .tcpOldData, in: namespace)
      return
    }
    guard isBefore(range.start, tcps[index].receiveNext &+ max(tcps[index].openWindow, 1)) else {
      tcpEnterQuickACK(index)
      tcps[index].owesACK = true
      drop(segment.slot, .tcpOutOfWindow, in: namespace)
      return
    }
    if segment.length > 0 {
      tcps[index].statistics.dataSegmentsIn &+= segment.count
      tcpNoteArrival(index, segment)
    }
    let piece = OutOfOrder(range: range, slot: segment.slot, isLast: hasFin)
    guard !isAfter(range.start, tcps[index].receiveNext) else {
      tcpKeepOutOfOrder(index, piece)
      return
    }
    if isBefore(range.start, tcps[index].receiveNext) {
      // A part of it is known.
      tcpSetDuplicate(index, TCPRange(start: range.start, end: tcps[index].receiveNext))
    }
    guard tcpAppend(index, piece) else { return }
    let hadGap = !tcps[index].outOfOrder.isEmpty
    let high = tcps[index].receiveNext
    while let first = tcps[index].outOfOrder.isEmpty ? nil : tcps[index].outOfOrder[0],
      !isAfter(first.range.start, tcps[index].receiveNext)
    {
      _ = tcps[index].outOfOrder.removeFirst()
      if isBefore(first.range.start, high) {
        // What came before its turn has come again (tcp_ofo_queue).
        let end = isBefore(first.range.end, high) ? first.range.end : high
        tcpExtendDuplicate(index, TCPRange(start: first.range.start, end: end))
      }
      sockets[tcps[index].socket].receiveQueue.charged -= pool.trueSize(first.slot)
      guard tcpAppend(index, first) else { return }
    }
    if hadGap {
      tcps[index].selective.removeBefore(tcps[index].receiveNext)
      // A gap that has been filled is told at once (RFC 5681 4.2).
      if tcps[index].outOfOrder.isEmpty {
        tcps[index].selective = SACKBlocks()
        tcps[index].acksNow = true
      }
    }
    if segment.length > 0, !tcps[index].isOrphan { notify(tcps[index].socket, [.in, .readNormal]) }
  }

  /// Puts data whose turn it is behind what has been received. False: that was the end of a state.
  private mutating func tcpAppend(_ index: TCPIndex, _ segment: OutOfOrder) -> Bool {
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    let known = Int(tcps[index].receiveNext &- segment.range.start)
    let length = Int(segment.range.end &- segment.range.start)
    if known >= length {
      pool.free(segment.slot, .consumed)
      // An end is taken also where no data would be, but who sent it is told at once (tcp_data_queue).
      if sockets[socket].receiveQueue.charged > sockets[socket].options.receiveBuffer {
        tcps[index].acksNow = true
      }
    } else {
      if known > 0 { pool.skip(segment.slot, known) }
      guard tcpEnqueue(index, segment.slot) else {
        tcps[index].acksNow = true
        tcps[index].owesACK = true
        namespaces[namespace].snmp[
          tcps[index].openWindow == 0 ? .tcpExtTCPZeroWindowDrop : .tcpExtTCPRcvQDrop] &+= 1
        drop(segment.slot, .socketReceiveBuffer, in: namespace)
        return true
      }
      tcps[index].statistics.bytesReceived &+= UInt64(length - known)
      tcps[index].receiveNext = segment.range.end
    }
    tcps[index].owesACK = true
    if segment.isLast, tcps[index].receiveNext == segment.range.end {
      tcps[index].receiveNext &+= 1
      tcpReceiveFin(index)
      return false
    }
    return true
  }

  /// A stream's queue takes a segment while its buffer is not full; small ones share a block (tcp_try_coalesce).
  private mutating func tcpEnqueue(_ index: TCPIndex, _ slot: Slot) -> Bool {
    let socket = tcps[index].socket
    let tail = sockets[socket].receiveQueue.tail
    let length = Int(pool[slot].length)
    if sockets[socket].receiveQueue.count > 0, pool[tail].dataLength == 0, pool[slot].dataLength == 0,
      !pool.isShared(tail), pool.tailroom(tail) >= length
    {
      pool.tail(tail).copy(from: pool.bytes(slot))
      _ = pool.put(tail, length)
      pool.free(slot, .consumed)
      namespaces[sockets[socket].namespace].snmp[.tcpExtTCPRcvCoalesce] &+= 1
      return true
    }
    if sockets[socket].receiveQueue.charged > sockets[socket].options.receiveBuffer {
      // What came before its turn gives way to what comes in it (tcp_prune_queue).
      tcpPruneOutOfOrder(index, behind: tcps[index].receiveNext, for: 0)
    }
    return appendReceived(slot, on: socket)
  }

  // MARK: Out of order

  private mutating func tcpKeepOutOfOrder(_ index: TCPIndex, _ segment: OutOfOrder) {
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    let size = pool.trueSize(segment.slot)
    tcps[index].owesACK = true
    if tcps[index].hasSACK { tcps[index].statistics.outOfOrder &+= 1 }
    if tcps[index].outOfOrder.isFull
      || sockets[socket].receiveQueue.charged + size > sockets[socket].options.receiveBuffer
    {
      tcpPruneOutOfOrder(index, behind: segment.range.start, for: size)
    }
    guard !tcps[index].outOfOrder.isFull,
      sockets[socket].receiveQueue.charged + size <= sockets[socket].options.receiveBuffer
    else {
      namespaces[namespace].snmp[.tcpExtTCPOFODrop] &+= 1
      drop(segment.slot, .socketReceiveBuffer, in: namespace)
      return
    }
    var place = tcps[index].outOfOrder.place(of: segment.range.start)
    if place > 0 {
      let before = tcps[index].outOfOrder[place - 1]
      if !isAfter(segment.range.end, before.range.end), before.isLast || !segment.isLast {
        namespaces[namespace].snmp[.tcpExtTCPOFOMerge] &+= 1
        tcpSetDuplicate(index, segment.range)
        drop(segment.slot, .tcpOldData, in: namespace)
        return
      }
      if isAfter(before.range.end, segment.range.start) {
        tcpSetDuplicate(index, TCPRange(start: segment.range.start, end: before.range.end))
        if before.range.start == segment.range.start, segment.isLast || !before.isLast {
          // The longer one takes its place.
          place -= 1
          tcpForgetOutOfOrder(index, at: place, .tcpOldData)
        }
      }
    }
    while place < tcps[index].outOfOrder.count {
      let next = tcps[index].outOfOrder[place]
      guard isAfter(segment.range.end, next.range.start) else { break }
      let isWhole = !isAfter(next.range.end, segment.range.end) && (segment.isLast || !next.isLast)
      tcpExtendDuplicate(
        index, TCPRange(start: next.range.start, end: isWhole ? next.range.end : segment.range.end))
      guard isWhole else { break }
      namespaces[namespace].snmp[.tcpExtTCPOFOMerge] &+= 1
      tcpForgetOutOfOrder(index, at: place, .tcpOldData)
    }
    tcps[index].outOfOrder.insert(segment, at: place)
    pool.orphan(segment.slot)
    sockets[socket].receiveQueue.charged += size
    namespaces[namespace].snmp[.tcpExtTCPOFOQueue] &+= 1
    guard tcps[index].hasSACK else { return }
    if tcps[index].selective.isOverExpectation(segment.range) { tcpSendCompressed(index) }
    tcps[index].selective.add(segment.range)
  }

  private mutating func tcpForgetOutOfOrder(_ index: TCPIndex, at place: Int, _ reason: DropReason) {
    let segment = tcps[index].outOfOrder[place]
    tcps[index].outOfOrder.remove(at: place)
    sockets[tcps[index].socket].receiveQueue.charged -= pool.trueSize(segment.slot)
    drop(segment.slot, reason, in: sockets[tcps[index].socket].namespace)
  }

  /// Drops the last of what came before its turn until there is room for what is before it (tcp_prune_ofo_queue). The
  /// other end is told no more of it.
  private mutating func tcpPruneOutOfOrder(_ index: TCPIndex, behind start: UInt32, for size: Int) {
    let socket = tcps[index].socket
    var isPruned = false
    while let last = tcps[index].outOfOrder.last, isAfter(last.range.start, start),
      tcps[index].outOfOrder.isFull
        || sockets[socket].receiveQueue.charged + size > sockets[socket].options.receiveBuffer
    {
      tcpForgetOutOfOrder(index, at: tcps[index].outOfOrder.count - 1, .socketReceiveBuffer)
      isPruned = true
    }
    if isPruned { tcps[index].selective = SACKBlocks() }
  }

  mutating func tcpDropOutOfOrder(_ index: TCPIndex) {
    let socket = tcps[index].socket
    while let segment = tcps[index].outOfOrder.removeFirst() {
      sockets[socket].receiveQueue.charged -= pool.trueSize(segment.slot)
      drop(segment.slot, .socketClosed, in: sockets[socket].namespace)
    }
    tcps[index].selective = SACKBlocks()
    tcps[index].duplicate = nil
  }

  // MARK: Duplicates

  /// Something came twice: the next acknowledgment says so (RFC 2883; tcp_dsack_set).
  mutating func tcpSetDuplicate(_ index: TCPIndex, _ range: TCPRange) {
    let namespace = sockets[tcps[index].socket].namespace
    guard tcps[index].hasSACK, namespaces[namespace].tcp.isOn(.dsack) else { return }
    let isOld = isBefore(range.start, tcps[index].receiveNext)
    namespaces[namespace].snmp[isOld ? .tcpExtTCPDSACKOldSent : .tcpExtTCPDSACKOfoSent] &+= 1
    tcps[index].duplicate = range
  }

  /// tcp_dsack_extend.
  private mutating func tcpExtendDuplicate(_ index: TCPIndex, _ range: TCPRange) {
    guard var known = tcps[index].duplicate else {
      tcpSetDuplicate(index, range)
      return
    }
    guard !isAfter(range.start, known.end), !isAfter(known.start, range.end) else { return }
    if isBefore(range.start, known.start) { known.start = range.start }
    if isAfter(range.end, known.end) { known.end = range.end }
    tcps[index].duplicate = known
  }

  // MARK: When to acknowledge

  /// Data that is known already: its sender has not heard us.
  private mutating func tcpNoteOldData(_ index: TCPIndex, _ range: TCPRange) {
    let namespace = sockets[tcps[index].socket].namespace
    namespaces[namespace].snmp[.tcpExtDelayedACKLost] &+= 1
    tcpSetDuplicate(index, range)
    tcpEnterQuickACK(index)
    tcps[index].owesACK = true
  }

  /// How data comes decides how long an acknowledgment may wait (tcp_event_data_recv).
  private mutating func tcpNoteArrival(_ index: TCPIndex, _ segment: TCPSegment) {
    tcpMeasureArrival(index, segment)
    let gap = cpu.now - tcps[index].lastReceived
    if tcps[index].ackTimeout == 0 {
      tcpEnterQuickACK(index)
      tcps[index].ackTimeout = TCPSock.delayedACKMinimum
    } else if gap <= TCPSock.delayedACKMinimum / 2 {
      tcps[index].ackTimeout = tcps[index].ackTimeout / 2 + TCPSock.delayedACKMinimum / 2
    } else if gap < tcps[index].ackTimeout {
      tcps[index].ackTimeout = min(tcps[index].ackTimeout / 2 + gap, tcps[index].rtt.timeout)
    } else if gap > tcps[index].rtt.timeout {
      // The other end has begun anew, with a small window: it needs acknowledgments.
      tcpEnterQuickACK(index)
    }
    tcps[index].lastReceived = cpu.now
    tcpNoteMark(index, segment)
  }

  /// The network's mark on data is echoed until the sender says that it has heard (RFC 3168 6.1.3;
  /// tcp_data_ecn_check).
  private mutating func tcpNoteMark(_ index: TCPIndex, _ segment: TCPSegment) {
    guard tcps[index].ecn.isOn else { return }
    switch segment.ecn {
    case 0:
      // Not marked where marks have been: something sent again.
      if tcps[index].ecn.hasSeen { tcpEnterQuickACK(index, most: 2) }
    case 3:
      if !tcps[index].ecn.demandsCWR {
        tcpEnterQuickACK(index, most: 2)
        tcps[index].ecn.demandsCWR = true
      }
      tcps[index].ecn.hasSeen = true
    default: tcps[index].ecn.hasSeen = true
    }
  }

  mutating func tcpEnterQuickACK(_ index: TCPIndex, most: Int = TCPSock.quickACKMaximum) {
    let count = Int(tcps[index].receiveWindow) / (2 * max(tcps[index].receivedMSS, 1))
    tcps[index].quickACKs = max(tcps[index].quickACKs, min(max(count, 2), most))
    tcps[index].isInteractive = false
    tcps[index].ackTimeout = TCPSock.delayedACKMinimum
  }

  /// Sends the acknowledgment that is owed, or lets it wait for data to go with (__tcp_ack_snd_check).
  mutating func tcpCheckACK(_ index: TCPIndex) {
    guard tcps[index].owesACK else { return }
    let owed = Int(tcps[index].receiveNext &- tcps[index].windowUpdate)
    let isQuick = tcps[index].quickACKs > 0 && !tcps[index].isInteractive
    if tcps[index].acksNow || isQuick
      || owed > tcps[index].receivedMSS && tcpFreeWindow(index) >= tcps[index].receiveWindow
    {
      tcpSendACK(index)
      return
    }
    guard tcps[index].outOfOrder.isEmpty else {
      if !tcpCompress(index) { tcpSendACK(index) }
      return
    }
    guard tcps[index].delayedACKTimer == .none else { return }
    // Who has never sent data has nothing for the acknowledgment to wait for.
    let least = tcps[index].ackTimeout == 0 ? 0 : TCPSock.delayedACKMinimum
    let wait = min(max(tcps[index].ackTimeout, least), TCPSock.delayedACKMaximum)
    tcps[index].delayedACKTimer = cpu.wheel.arm(
      TimerEvent(kind: .tcpDelayedACK, index: index.rawValue), at: cpu.now + wait)
  }
}
