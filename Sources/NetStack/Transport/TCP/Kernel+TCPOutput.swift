// SPDX-License-Identifier: GPL-2.0-or-later

// TCP on its way down (net/ipv4/tcp_output.c): what may be sent now, and segments made of it.

import NetTypes

extension Kernel {
  // MARK: What may be sent

  /// How to send.
  enum TCPPush {
    /// As Nagle's rule has it.
    case plain
    /// Also what Nagle's rule would keep back (TCP_NAGLE_PUSH).
    case withoutNagle
    /// The same, but one packet (tcp_push_one).
    case one
    /// One segment, whatever the congestion window says: a tail's probe.
    case probe
    /// No part of a segment: more follows (MSG_MORE).
    case corked
  }

  /// Sends what the windows, Nagle's rule, pacing and the queue below allow (tcp_write_xmit). The answer is how many went.
  @discardableResult
  mutating func tcpPush(_ index: TCPIndex, _ how: TCPPush = .plain) -> Int {
    guard tcps[index].hasUnsent else { return 0 }
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    tcps[index].mstamp = cpu.now
    var isLimited = false
    if tcps[index].sent.isEmpty { tcps[index].restartAfterIdle(namespaces[namespace].tcp) }
    tcpFollowPath(index)
    guard var count = how == .one || how == .probe ? 0 : tcpProbeMTU(index) else { return 0 }
    let mss = tcps[index].currentMSS
    let most =
      tcps[index].unsentBytes <= mss ? 1 : tcps[index].largestBurst(mss, namespaces[namespace].tcp)
    while tcps[index].hasUnsent {
      if tcpMustPace(index) { break }
      var quota = tcps[index].windowQuota
      if quota == 0 {
        guard how == .probe else {
          isLimited = true
          break
        }
        quota = 1
      }
      quota = how == .probe ? 1 : min(quota, most, tcps[index].sent.room)
      guard quota > 0 else { break }
      let available = tcps[index].unsentBytes
      let (reach, endsRecord) = tcps[index].writeQueue.reach(from: tcps[index].sendNext, quota * mss)
      var length = min(reach, quota * mss)
      // A part of a segment would only make a narrow window narrower (RFC 9293 3.8.6.2.1); the probe sends it in the
      // end.
      let first = min(length, mss)
      let end =
        tcps[index].sendNext &+ UInt32(first) &+ (first == available && tcps[index].isFinQueued ? 1 : 0)
      guard !isAfter(end, tcps[index].windowEnd) else {
        tcps[index].statistics.begin(.windowLimited, cpu.now)
        break
      }
      tcps[index].statistics.end(.windowLimited, isEmpty: false, cpu.now)
      if reach > mss {
        if how != .one, how != .probe,
          let reason = tcps[index].deferral(
            reach, endsRecord: endsRecord, most: most, mss, namespaces[namespace].tcp)
        {
          isLimited = reason == .congestionWindow
          if reason == .window { tcps[index].statistics.begin(.windowLimited, cpu.now) }
          break
        }
        length = tcps[index].splitPoint(reach, quota: quota, mss, holdsPart: tcpMustWait(index, how))
      }
      let isLast = length == available
      let hasFin = isLast && tcps[index].isFinQueued
      if reach < mss, isLast, !hasFin, tcpMustWait(index, how) { break }
      if how != .probe, tcpQueueIsFull(index, length) { break }
      guard let segments = tcpTransmitNew(index, length, mss, hasFin: hasFin) else { break }
      count += segments
      if how == .one || how == .probe { break }
    }
    isLimited = isLimited || tcps[index].inFlight >= tcps[index].congestionWindow
    let isStarved = !tcps[index].awaitsRoom
    if count > 0 || isLimited {
      tcps[index].validateWindow(isLimited: isLimited, namespaces[namespace].tcp, isStarved: isStarved)
    }
    if count > 0 {
      if tcps[index].isReducing { tcps[index].reductionSent += count }
      if how != .probe {
        _ = tcps[index].scheduleTailProbe(isAdvancing: false, namespaces[namespace].tcp)
      }
      if !isStarved, !tcps[index].hasUnsent { tcps[index].statistics.begin(.bufferLimited, cpu.now) }
    } else if tcps[index].sent.isEmpty, tcps[index].pending == .none, tcps[index].hasUnsent,
      !tcps[index].isPacingArmed
    {
      // Nothing on its way and something to send that may not go: the window is probed (tcp_check_probe_timer).
      tcps[index].setTimer(
        .probe, after: max(tcps[index].rtt.timeout, namespaces[namespace].tcp.minimumTimeout))
    }
    tcpSettleTimer(index)
    return count
  }

  /// Nagle as Minshall has it: a small segment waits for the one before it, not for large ones (tcp_nagle_check).
  private func tcpMustWait(_ index: TCPIndex, _ how: TCPPush) -> Bool {
    let socket = tcps[index].socket
    switch how {
    case .plain: break
    case .withoutNagle, .one, .probe: return false
    case .corked: return true
    }
    if let urgent = tcps[index].sendUrgent, isAfter(urgent, tcps[index].sendNext) { return false }
    if sockets[socket].options.isCorked { return true }
    guard !sockets[socket].options.noDelay, !tcps[index].sent.isEmpty,
      let small = tcps[index].smallSegmentEnd
    else { return false }
    return isAfter(small, tcps[index].sendUnacknowledged)
  }

  /// Not more than a millisecond's worth stands in the queues below (TCP small queues; tcp_small_queue_check); a
  /// packet that leaves them goes on with sending.
  mutating func tcpQueueIsFull(_ index: TCPIndex, _ length: Int) -> Bool {
    let socket = tcps[index].socket
    let charged = pool.writers.charged(to: socket.rawValue)
    guard charged > 4096 else { return false }
    var limit = Int(min(tcps[index].pacingRate >> 10, 1 << 30))
    if !tcps[index].isPaced {
      limit = min(limit, namespaces[sockets[socket].namespace].tcp[.limitOutputBytes])
    }
    // Two packets always may, with what they hold beside their data.
    limit = max(limit, 2 * (length + 856))
    // What has nothing on its way but this goes, or nobody would ever go on.
    guard charged > limit, tcps[index].sent.count > 1 else { return false }
    pool.writers.await(socket.rawValue, limit)
    return true
  }

  /// Whether the next segment's time has not come; then an event comes with it (tcp_pacing_check).
  mutating func tcpMustPace(_ index: TCPIndex) -> Bool {
    guard tcps[index].isPaced, tcps[index].pacingStamp > cpu.now else { return false }
    if !tcps[index].isPacingArmed {
      tcps[index].isPacingArmed = true
      cpu.heap.schedule(
        TimerEvent(kind: .tcpPacing, index: index.rawValue), at: tcps[index].pacingStamp)
    }
    return true
  }

  /// The next segment may leave (tcp_pace_kick).
  mutating func tcpPacingTimer(_ index: TCPIndex) {
    guard tcps.contains(index) else { return }
    tcps[index].isPacingArmed = false
    guard tcps[index].state.isSynchronized else { return }
    tcpGoOn(index)
  }

  /// Goes on with what had to wait: what is lost first (tcp_tsq_write).
  mutating func tcpGoOn(_ index: TCPIndex) {
    tcps[index].mstamp = cpu.now
    if tcps[index].lostOut > tcps[index].retransmittedOut,
      tcps[index].congestionWindow > tcps[index].inFlight
    {
      tcpRetransmitQueue(index)
    }
    tcpPush(index)
  }

  // MARK: New segments

  /// Sends the next bytes, or a FIN. The answer is how many segments that were; nil: there was no memory, and a timer
  /// tries again.
  mutating func tcpTransmitNew(
    _ index: TCPIndex, _ wanted: Int, _ mss: Int, hasFin: Bool, isPushed: Bool = false
  ) -> Int? {
    var (length, hasFin) = (wanted, hasFin)
    if length > mss {
      let offset = Int(tcps[index].sendNext &- tcps[index].firstByte)
      let reach = tcps[index].unacknowledged.reach(offset, length, pool)
      if reach < length {
        // More pages than one packet has room for.
        length = max(reach / mss, 1) * mss
        hasFin = false
      }
    }
    let start = tcps[index].sendNext
    let end = start &+ UInt32(length) &+ (hasFin ? 1 : 0)
    var flags: TCPFlags = .ack
    if hasFin { flags.insert(.fin) }
    let isPushed = isPushed || tcps[index].writeQueue.isPushed(before: start &+ UInt32(length))
    // Several in one packet say so, that the receiver does not wait for more to join (__tcp_transmit_skb).
    if length > 0, isPushed || length > mss { flags.insert(.psh) }
    if length > 0, tcps[index].ecn.queuesCWR { flags.insert(.cwr) }
    let wasIdle = tcps[index].inFlight == 0
    if wasIdle { tcps[index].congestionEvent(.transmitStart) }
    guard tcpTransmit(index, start, length, flags, segmentSize: mss, isNew: true) else { return nil }
    tcps[index].writeQueue.remove(before: start &+ UInt32(length))
    tcps[index].ecn.queuesCWR = false
    // tcp_minshall_update.
    if length % mss != 0 { tcps[index].smallSegmentEnd = end }
    let hadNone = tcps[index].sent.isEmpty
    let segments = tcps[index].noteSent(from: start, to: end, length, mss, isPushed: isPushed)
    tcps[index].statistics.begin(.busy, cpu.now)
    namespaces[sockets[tcps[index].socket].namespace].snmp[.tcpExtTCPOrigDataSent] &+= UInt64(segments)
    if length > 0 {
      tcps[index].lastSent = cpu.now
      if cpu.now - tcps[index].lastReceived < tcps[index].ackTimeout { tcps[index].isInteractive = true }
    }
    if hadNone || tcps[index].pending == .lossProbe { tcps[index].setRetransmitTimer() }
    return segments
  }

  // MARK: Segments

  /// Sends an acknowledgment alone.
  mutating func tcpSendACK(_ index: TCPIndex) {
    tcpTransmit(index, tcps[index].sendNext, 0, .ack)
  }

  /// Ends a connection that the other end still takes for one (tcp_send_active_reset).
  mutating func tcpSendReset(_ index: TCPIndex) {
    let namespace = sockets[tcps[index].socket].namespace
    namespaces[namespace].snmp[.tcpOutRsts] &+= 1
    tcpTransmit(index, tcps[index].sendNext, 0, [.rst, .ack])
  }

  /// Makes a segment and sends it, or several in one packet, when there are more bytes than one has
  /// (__tcp_transmit_skb).
  @discardableResult
  mutating func tcpTransmit(
    _ index: TCPIndex, _ sequence: UInt32, _ length: Int, _ flags: TCPFlags, segmentSize: Int = .max,
    isNew: Bool = false
  ) -> Bool {
    let socket = tcps[index].socket
    guard let peer = sockets[socket].peer else { return false }
    let options = tcps[index].options(flags, now: cpu.now)
    let headerLength = TCPHeader.length + options.size
    let isLarge = length > segmentSize
    let slot = pool.allocate(length: headerLength + (isLarge ? 0 : length))
    guard slot != .none else { return false }
    var flags = flags
    if tcps[index].ecn.demandsCWR, flags.isDisjoint(with: [.syn, .rst]) { flags.insert(.ece) }
    let window =
      flags.contains(.syn)
      ? min(tcps[index].receiveWindow, 65535) : tcpSelectWindow(index) >> UInt32(tcps[index].receiveScale)
    let bytes = pool.bytes(slot)
    if let urgent = tcps[index].sendUrgent, isBefore(sequence, urgent), !flags.contains(.syn) {
      // Where urgent data ends, if that can be said (RFC 9293 3.8.5).
      let distance = urgent &- sequence
      if distance < 0x10000 {
        bytes.set(TCPHeader.urgent, u16: UInt16(distance))
        flags.insert(.urg)
      } else {
        bytes.set(TCPHeader.urgent, u16: 0)
      }
    } else {
      bytes.set(TCPHeader.urgent, u16: 0)
    }
    bytes.set(TCPHeader.sequence, u32: sequence)
    bytes.set(TCPHeader.acknowledgment, u32: flags.contains(.ack) ? tcps[index].receiveNext : 0)
    bytes.set(TCPHeader.dataOffset, u8: UInt8(headerLength / 4) << 4)
    bytes.set(TCPHeader.flags, u8: flags.rawValue)
    bytes.set(TCPHeader.window, u16: UInt16(clamping: window))
    options.write(to: bytes.dropFirst(TCPHeader.length))
    var segments = 1
    if length > 0 {
      let offset = Int(sequence &- tcps[index].firstByte)
      if isLarge {
        segments = (length + segmentSize - 1) / segmentSize
        tcps[index].unacknowledged.share(offset, length, with: slot, &pool)
        pool.setSegmentation(
          slot, peer.address.family == .ipv6 ? .tcp6 : .tcp4, size: UInt16(clamping: segmentSize),
          segments: UInt16(clamping: segments))
      } else {
        tcps[index].unacknowledged.copy(offset, length, into: slot, at: headerLength, pool)
      }
    }
    if flags.contains(.ack) { tcpAcknowledged(index) }
    tcps[index].noteTransmission(length: length, segments: segments, now: cpu.now)
    var typeOfService = sockets[socket].options.typeOfService
    if tcps[index].ecn.isOn {
      // New data alone may be marked (RFC 3168 6.1.5).
      typeOfService = typeOfService & ~3 | (isNew && length > 0 ? 2 : 0)
    }
    let route = tcpRoute(index, to: peer, typeOfService)
    pool.charge(slot, to: socket.rawValue)
    tcpSend(slot, by: route, sockets[socket].local.port, peer.port, in: sockets[socket].namespace)
    return true
  }

  /// Writes ports and the pseudo header's sum, and gives the segment to IP. What becomes of it, also without a route, is for the timers
  /// to find out.
  mutating func tcpSend(
    _ slot: Slot, by route: SocketRoute?, _ source: UInt16, _ destination: UInt16,
    in namespace: NamespaceIndex
  ) {
    namespaces[namespace].snmp[.tcpOutSegs] &+= UInt64(pool.segmentCount(slot))
    guard let route else {
      drop(slot, .ipOutNoRoutes, in: namespace)
      return
    }
    let length = Int(pool[slot].length)
    let bytes = pool.bytes(slot)
    bytes.set(TCPHeader.source, u16: source)
    bytes.set(TCPHeader.destination, u16: destination)
    // Whoever takes the packet out of the kernel sums the rest (CHECKSUM_PARTIAL).
    bytes.set(TCPHeader.checksum, u16: UInt16(bigEndian: foldChecksum(route.pseudoSum(6, length))))
    pool[slot].checksumState = .partial
    pool[slot].checksumStart = pool[slot].dataOffset
    pool[slot].checksumOffset = UInt16(TCPHeader.checksum)
    _ = output(slot, by: route, in: namespace)
  }

  /// An acknowledgment goes with whatever is sent now (tcp_event_ack_sent).
  private mutating func tcpAcknowledged(_ index: TCPIndex) {
    tcps[index].owesACK = false
    tcps[index].acksNow = false
    tcps[index].duplicate = nil
    if tcps[index].compressed.count > 0 { tcpEndCompression(index) }
    if tcps[index].quickACKs > 0 { tcps[index].quickACKs -= 1 }
    cpu.wheel.cancel(&tcps[index].delayedACKTimer)
  }
}

extension TCPSock {
  /// The options of the next segment (tcp_syn_options, tcp_established_options).
  fileprivate func options(_ flags: TCPFlags, now: Int64) -> TCPOptions {
    var options = TCPOptions()
    if flags.contains(.syn) {
      options.maximumSegmentSize = UInt16(clamping: advertisedMSS)
      options.isSACKPermitted = hasSACK
      if hasWindowScale { options.windowScale = receiveScale }
    } else if hasSACK {
      options.blocks = blocksToTell
    }
    if hasTimestamps {
      options.timestamp = (timestamp(at: now), flags.contains(.ack) ? recentTimestamp : 0)
    }
    return options
  }

  /// What this end says that it takes.
  var advertisedMSS: Int { userMSS > 0 ? min(userMSS, ownMSS) : ownMSS }

  /// What came twice, and what came before its turn, as far as there is room beside the timestamps.
  private var blocksToTell: SACKBlocks {
    guard duplicate != nil || !selective.isEmpty else { return SACKBlocks() }
    var blocks = SACKBlocks()
    let limit = hasTimestamps ? 3 : 4
    if let duplicate { blocks.append(duplicate) }
    for place in 0..<selective.count where blocks.count < limit { blocks.append(selective[place]) }
    return blocks
  }

  /// What one segment has room for now: what is told of takes its share (tcp_current_mss).
  var currentMSS: Int {
    guard hasSACK, duplicate != nil || !selective.isEmpty else { return mss }
    return max(mss - 4 - 8 * blocksToTell.count, 8)
  }

  /// Segments are on their way: each has a record of its own; the answer is how many.
  fileprivate mutating func noteSent(
    from start: UInt32, to end: UInt32, _ length: Int, _ mss: Int, isPushed: Bool
  ) -> Int {
    var segment = SentSegment(start: start, end: end, sentAt: mstamp)
    delivery.sent(&segment, isFirst: sent.isEmpty, inFlight: inFlight)
    var rest = length
    var count = 0
    repeat {
      segment.inFlight += 1
      sendings &+= 1
      segment.sending = sendings
      segment.end = rest > mss ? segment.start &+ UInt32(mss) : end
      sent.append(segment)
      segment.start = segment.end
      rest -= mss
      count += 1
    } while rest > 0
    sent[sent.tail &- 1].flags.formUnion(isPushed ? [.endsPacket, .pushed] : .endsPacket)
    sentPackets += 1
    sendNext = end
    return count
  }

  fileprivate mutating func noteTransmission(length: Int, segments: Int, now: Int64) {
    let prior = pacingStamp
    pacingStamp = max(pacingStamp, now)
    statistics.segmentsOut &+= UInt32(segments)
    guard length > 0 else { return }
    statistics.dataSegmentsOut &+= UInt32(segments)
    statistics.bytesSent &+= UInt64(length)
    guard isPaced else { return }
    // tcp_update_skb_after_send: the first ten go at once, and half of what was not used is made up for. Headers do not
    // count, as they do not in the rate.
    guard pacingRate != .max, pacingRate > 0, statistics.dataSegmentsOut >= 10 else { return }
    var wait = Int64(min(UInt64(length) * 1_000_000_000 / pacingRate, 1_000_000_000))
    wait -= min(wait / 2, pacingStamp - prior)
    pacingStamp += wait
  }
}
