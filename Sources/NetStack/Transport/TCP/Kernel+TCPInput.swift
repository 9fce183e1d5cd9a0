// SPDX-License-Identifier: GPL-2.0-or-later

// What acknowledgments and data do (net/ipv4/tcp_input.c tcp_ack, tcp_data_queue, __tcp_ack_snd_check).

/// What an acknowledgment was.
enum TCPAcknowledgment {
  case good
  /// Of what was never sent.
  case unsent
  /// Older than any window was wide (RFC 5961 5.2).
  case tooOld
}

extension Kernel {
  // MARK: Acknowledgments

  /// tcp_ack.
  mutating func tcpAcknowledge(_ index: TCPIndex, _ segment: TCPSegment) -> TCPAcknowledgment {
    let ack = segment.acknowledgment
    let unacknowledged = tcps[index].sendUnacknowledged
    if isAfter(ack, tcps[index].sendMaximum) { return .unsent }
    if isBefore(ack, unacknowledged) {
      return isBefore(ack, unacknowledged &- max(tcps[index].largestWindow, 1)) ? .tooOld : .good
    }
    if let timestamp = segment.options.timestamp, tcps[index].hasTimestamps,
      !isAfter(segment.sequence, tcps[index].windowUpdate),
      !isBefore(timestamp.value, tcps[index].recentTimestamp)
    {
      tcps[index].recentTimestamp = timestamp.value
      tcps[index].recentTimestampTime = cpu.now
    }
    let hasWindowNews = tcpTakeWindow(index, segment)
    tcps[index].probes = 0
    if tcps[index].isProbing, tcps[index].sendWindow > 0 {
      // The window is open: what waits goes with the next push.
      cpu.wheel.cancel(&tcps[index].retransmitTimer)
      tcps[index].isProbing = false
      tcps[index].backoff = 0
    }
    guard ack != unacknowledged else {
      let isDuplicate =
        segment.length == 0 && !hasWindowNews && !tcps[index].hasEverything
        && segment.flags.isDisjoint(with: [.syn, .fin])
      if isDuplicate { tcpCongestionDuplicate(index) }
      return .good
    }
    tcpTakeAcknowledgment(index, ack, segment.options.timestamp?.echo)
    return .good
  }

  /// The window that the other end offers (tcp_ack_update_window).
  private mutating func tcpTakeWindow(_ index: TCPIndex, _ segment: TCPSegment) -> Bool {
    let scale = segment.flags.contains(.syn) ? 0 : UInt32(tcps[index].sendScale)
    let window = segment.window << scale
    let mayUpdate =
      isAfter(segment.acknowledgment, tcps[index].sendUnacknowledged)
      || isAfter(segment.sequence, tcps[index].windowSequence)
      || segment.sequence == tcps[index].windowSequence && (window > tcps[index].sendWindow || window == 0)
    guard mayUpdate else { return false }
    tcps[index].windowSequence = segment.sequence
    guard tcps[index].sendWindow != window else { return false }
    tcps[index].sendWindow = window
    tcps[index].largestWindow = max(tcps[index].largestWindow, window)
    return true
  }

  private mutating func tcpTakeAcknowledgment(_ index: TCPIndex, _ ack: UInt32, _ echo: UInt32?) {
    let old = tcps[index].sendUnacknowledged
    let newly = Int(ack &- old)
    let wasLimited =
      (tcps[index].flight + tcps[index].mss) * 2 > tcps[index].congestionWindow * tcps[index].mss
    let firstByte = tcps[index].firstByte
    let bytes = min(
      max(Int(Int32(bitPattern: ack &- firstByte)), 0), tcps[index].unacknowledged.count)
    tcps[index].unacknowledged.removeFirst(bytes, &pool)
    tcps[index].sendUnacknowledged = ack
    if isBefore(tcps[index].sendNext, ack) { tcps[index].sendNext = ack }
    if let echo, tcps[index].hasTimestamps, echo != 0 {
      tcpSampleTimestamp(index, echo)
      tcps[index].timedAt = nil
    } else if let sentAt = tcps[index].timedAt, !isBefore(ack, tcps[index].timedSequence) {
      tcps[index].takeRTT(cpu.now - sentAt)
      tcps[index].timedAt = nil
    }
    tcps[index].backoff = 0
    tcps[index].retransmits = 0
    tcpCongestionAcknowledged(index, newly, wasLimited: wasLimited)
    if tcps[index].hasEverything {
      cpu.wheel.cancel(&tcps[index].retransmitTimer)
    } else {
      tcpArmRetransmit(index)
    }
    if bytes > 0 {
      tcpExpandSendBuffer(index)
      if tcps[index].awaitsRoom, streamIsWritable(tcps[index].socket) {
        tcps[index].awaitsRoom = false
        notify(tcps[index].socket, [.out, .writeNormal])
      }
    }
  }

  mutating func tcpSampleTimestamp(_ index: TCPIndex, _ echo: UInt32) {
    let elapsed = Int32(bitPattern: tcpTimestamp(tcps[index].timestampOffset) &- echo)
    guard elapsed >= 0 else { return }
    tcps[index].takeRTT(Int64(elapsed) * 1_000_000)
  }

  /// The send buffer grows with the congestion window, up to tcp_wmem's maximum (tcp_sndbuf_expand).
  mutating func tcpExpandSendBuffer(_ index: TCPIndex) {
    let socket = tcps[index].socket
    guard !sockets[socket].options.isSendBufferLocked else { return }
    let each = max(tcps[index].mss, 1) + 700
    let wanted = 2 * max(tcps[index].congestionWindow, TCPSock.initialWindow) * each
    if wanted > sockets[socket].options.sendBuffer {
      sockets[socket].options.sendBuffer = min(wanted, 4_194_304)
    }
  }

  // MARK: Data

  /// Puts a segment's data, and its FIN, where they belong. The packet is gone afterwards (tcp_data_queue).
  mutating func tcpReceiveData(_ index: TCPIndex, _ segment: TCPSegment) {
    let namespace = sockets[tcps[index].socket].namespace
    // Urgent data is taken for what it is otherwise: part of the stream (SO_OOBINLINE).
    var start = segment.sequence
    if segment.flags.contains(.syn) { start &+= 1 }
    let hasFin = segment.flags.contains(.fin)
    guard segment.length > 0 || hasFin, !tcps[index].isDone else {
      if segment.length > 0 || hasFin { tcpNoteOldData(index) }
      pool.free(segment.slot, .consumed)
      return
    }
    let range = TCPRange(start: start, end: start &+ UInt32(segment.length))
    let end = range.end &+ (hasFin ? 1 : 0)
    guard isAfter(end, tcps[index].receiveNext) else {
      tcpNoteOldData(index)
      drop(segment.slot, .tcpOldData, in: namespace)
      return
    }
    guard isBefore(range.start, tcps[index].receiveNext &+ max(tcps[index].openWindow, 1)) else {
      tcpNoteOldData(index)
      drop(segment.slot, .tcpOutOfWindow, in: namespace)
      return
    }
    tcpNoteArrival(index, segment.length)
    guard !isAfter(range.start, tcps[index].receiveNext) else {
      tcpKeepOutOfOrder(index, OutOfOrder(range: range, slot: segment.slot, isLast: hasFin))
      return
    }
    guard tcpAppend(index, OutOfOrder(range: range, slot: segment.slot, isLast: hasFin)) else { return }
    let hadGap = !tcps[index].outOfOrder.isEmpty
    while let first = tcps[index].outOfOrder.first, !isAfter(first.range.start, tcps[index].receiveNext) {
      tcps[index].outOfOrder.removeFirst()
      sockets[tcps[index].socket].receiveQueue.charged -= pool.trueSize(first.slot)
      guard tcpAppend(index, first) else { return }
    }
    // A gap that has been filled is told at once (RFC 5681 4.2).
    if hadGap, tcps[index].outOfOrder.isEmpty { tcps[index].acksNow = true }
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
    } else if known > 0, !pool.mayPull(segment.slot, known) {
      drop(segment.slot, .noMemory, in: namespace)
      return true
    } else {
      if known > 0 { pool.pull(segment.slot, known) }
      guard tcpEnqueue(segment.slot, on: socket) else {
        tcps[index].acksNow = true
        tcps[index].owesACK = true
        drop(segment.slot, .socketReceiveBuffer, in: namespace)
        return true
      }
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
  private mutating func tcpEnqueue(_ slot: Slot, on socket: SocketIndex) -> Bool {
    let tail = sockets[socket].receiveQueue.tail
    let length = Int(pool[slot].length)
    if sockets[socket].receiveQueue.count > 0, pool[tail].dataLength == 0, pool[slot].dataLength == 0,
      !pool.isShared(tail), pool.tailroom(tail) >= length
    {
      pool.tail(tail).copy(from: pool.bytes(slot))
      _ = pool.put(tail, length)
      pool.free(slot, .consumed)
      return true
    }
    return appendReceived(slot, on: socket)
  }

  private mutating func tcpKeepOutOfOrder(_ index: TCPIndex, _ segment: OutOfOrder) {
    let socket = tcps[index].socket
    let size = pool.trueSize(segment.slot)
    tcps[index].acksNow = true
    tcps[index].owesACK = true
    tcps[index].newestOutOfOrder = segment.range.start
    let queue = tcps[index].outOfOrder
    let isKnown = queue.contains {
      !isAfter($0.range.start, segment.range.start) && !isBefore($0.range.end, segment.range.end)
        && ($0.isLast || !segment.isLast)
    }
    let isFull =
      queue.count >= TCPSock.outOfOrderLimit
      || sockets[socket].receiveQueue.charged + size > sockets[socket].options.receiveBuffer
    guard !isKnown, !isFull else {
      drop(segment.slot, isKnown ? .tcpOldData : .socketReceiveBuffer, in: sockets[socket].namespace)
      return
    }
    let place = queue.firstIndex { isAfter($0.range.start, segment.range.start) } ?? queue.count
    tcps[index].outOfOrder.insert(segment, at: place)
    sockets[socket].receiveQueue.charged += size
    namespaces[sockets[socket].namespace].snmp[.tcpExtTCPOFOQueue] &+= 1
  }

  mutating func tcpDropOutOfOrder(_ index: TCPIndex) {
    let socket = tcps[index].socket
    for segment in tcps[index].outOfOrder {
      sockets[socket].receiveQueue.charged -= pool.trueSize(segment.slot)
      drop(segment.slot, .socketClosed, in: sockets[socket].namespace)
    }
    tcps[index].outOfOrder = []
  }

  // MARK: When to acknowledge

  /// Data that is known already: its sender has not heard us.
  private mutating func tcpNoteOldData(_ index: TCPIndex) {
    tcpEnterQuickACK(index)
    tcps[index].owesACK = true
  }

  /// How data comes decides how long an acknowledgment may wait (tcp_event_data_recv).
  private mutating func tcpNoteArrival(_ index: TCPIndex, _ length: Int) {
    if length >= tcps[index].receivedMSS { tcps[index].receivedMSS = min(length, tcps[index].ownMSS) }
    let gap = cpu.now - tcps[index].lastReceived
    if tcps[index].ackTimeout == 0 {
      tcpEnterQuickACK(index)
      tcps[index].ackTimeout = TCPSock.delayedACKMinimum
    } else if gap <= TCPSock.delayedACKMinimum / 2 {
      tcps[index].ackTimeout = tcps[index].ackTimeout / 2 + TCPSock.delayedACKMinimum / 2
    } else if gap < tcps[index].ackTimeout {
      tcps[index].ackTimeout = min(tcps[index].ackTimeout / 2 + gap, tcps[index].retransmissionTimeout)
    } else if gap > tcps[index].retransmissionTimeout {
      // The other end has begun anew, with a small window: it needs acknowledgments.
      tcpEnterQuickACK(index)
    }
    tcps[index].lastReceived = cpu.now
  }

  mutating func tcpEnterQuickACK(_ index: TCPIndex) {
    let count = Int(tcps[index].receiveWindow) / (2 * max(tcps[index].receivedMSS, 1))
    tcps[index].quickACKs = max(tcps[index].quickACKs, min(max(count, 2), TCPSock.quickACKMaximum))
    tcps[index].isInteractive = false
    tcps[index].ackTimeout = TCPSock.delayedACKMinimum
  }

  /// Sends the acknowledgment that is owed, or lets it wait for data to go with (__tcp_ack_snd_check).
  mutating func tcpCheckACK(_ index: TCPIndex) {
    guard tcps[index].owesACK else { return }
    let owed = Int(tcps[index].receiveNext &- tcps[index].windowUpdate)
    let isQuick = tcps[index].quickACKs > 0 && !tcps[index].isInteractive
    if tcps[index].acksNow || !tcps[index].outOfOrder.isEmpty || isQuick
      || owed > tcps[index].receivedMSS && tcpFreeWindow(index) >= tcps[index].receiveWindow
    {
      tcpSendACK(index)
      return
    }
    guard tcps[index].delayedACKTimer == .none else { return }
    let wait = min(max(tcps[index].ackTimeout, TCPSock.delayedACKMinimum), TCPSock.delayedACKMaximum)
    tcps[index].delayedACKTimer = cpu.wheel.arm(
      TimerEvent(kind: .tcpDelayedACK, index: index.rawValue), at: cpu.now + wait)
  }
}
