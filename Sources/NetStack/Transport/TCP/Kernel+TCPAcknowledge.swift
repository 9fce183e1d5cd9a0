// SPDX-License-Identifier: GPL-2.0-or-later

// Acknowledgments (net/ipv4/tcp_input.c tcp_ack): what they say of the windows, the scoreboard, the time and the network,
// and what is sent again because of them.

/// What an acknowledgment was.
enum TCPAcknowledgment {
  case good
  /// Of what was never sent.
  case unsent
  /// Older than any window was wide (RFC 5961 5.2).
  case tooOld
}

extension Kernel {
  /// tcp_ack.
  mutating func tcpAcknowledge(_ index: TCPIndex, _ segment: TCPSegment) -> TCPAcknowledgment {
    let namespace = sockets[tcps[index].socket].namespace
    let acknowledged = segment.acknowledgment
    let before = tcps[index].sendUnacknowledged
    guard !isAfter(acknowledged, tcps[index].sendNext) else { return .unsent }
    if isBefore(acknowledged, before) {
      let most = min(UInt64(tcps[index].largestWindow), tcps[index].statistics.bytesAcknowledged)
      if isBefore(acknowledged, before &- UInt32(most)) { return .tooOld }
      guard !segment.options.blocks.isEmpty else { return .good }
      // Old, but its blocks may be news.
      var ack = tcps[index].beginAcknowledgment(before)
      tcps[index].takeBlocks(
        segment.options.blocks, acknowledging: acknowledged, &ack, &namespaces[namespace])
      tcps[index].alert(&ack, isDuplicate: false, &namespaces[namespace])
      tcpTransmitRecovery(index, ack.transmission)
      tcpSettleTimer(index)
      return .good
    }
    if let timestamp = segment.options.timestamp, tcps[index].hasTimestamps,
      !isAfter(segment.sequence, tcps[index].windowUpdate),
      !TCPSock.isOld(
        timestamp.value, tcps[index].recentTimestamp, seen: tcps[index].recentTimestampTime, at: cpu.now)
    {
      tcps[index].recentTimestamp = timestamp.value
      tcps[index].recentTimestampTime = cpu.now
    }
    let firstByte = tcps[index].firstByte
    let bytes = min(
      max(Int(Int32(bitPattern: acknowledged &- firstByte)), 0), tcps[index].unacknowledged.count)
    if bytes > 0 { tcps[index].unacknowledged.removeFirst(bytes, &pool) }
    tcps[index].statistics.bytesAcknowledged &+= UInt64(acknowledged &- before)
    let transmission = tcps[index].acknowledge(segment, before, &namespaces[namespace])
    if stampedSockets > 0 { tcpStampAcknowledged(index) }
    if segment.isCWR, tcps[index].ecn.demandsCWR {
      // The other end has a small window now and waits for us.
      tcps[index].ecn.demandsCWR = false
      if segment.end != segment.sequence { tcps[index].acksNow = true }
    }
    tcpTransmitRecovery(index, transmission)
    tcpSettleTimer(index)
    if bytes > 0 {
      tcpExpandSendBuffer(index)
      if tcps[index].awaitsRoom, streamIsWritable(tcps[index].socket) {
        tcps[index].awaitsRoom = false
        tcps[index].statistics.end(
          .bufferLimited, isEmpty: tcps[index].hasEverything && !tcps[index].hasUnsent, cpu.now)
        notify(tcps[index].socket, [.out, .writeNormal])
      }
    }
    return .good
  }

  /// tcp_xmit_recovery.
  private mutating func tcpTransmitRecovery(_ index: TCPIndex, _ what: RecoveryTransmission) {
    switch what {
    case .nothing: return
    case .new:
      tcpPush(index, .withoutNagle)
      if isAfter(tcps[index].sendNext, tcps[index].recoveryPoint) { return }
      tcps[index].isFRTO = false
    case .lost: break
    }
    tcpRetransmitQueue(index)
  }

  /// The send buffer grows with the congestion window, up to tcp_wmem's maximum (tcp_sndbuf_expand).
  mutating func tcpExpandSendBuffer(_ index: TCPIndex) {
    let socket = tcps[index].socket
    guard !sockets[socket].options.isSendBufferLocked else { return }
    // A segment with header room and what stands behind it, as the kernel's memory comes, and its descriptor.
    let block = max(tcps[index].mss, min(tcps[index].peerMSS, tcps[index].ownMSS)) + 320 + 320
    let each = 1 << (Int.bitWidth - (block - 1).leadingZeroBitCount) + 256
    let packets = max(TCPSock.initialWindow, tcps[index].congestionWindow, tcps[index].reordering + 1)
    let factor = tcps[index].algorithm == .bbr ? 3 : 2
    let wanted = factor * packets * each
    if wanted > sockets[socket].options.sendBuffer {
      let most = namespaces[sockets[socket].namespace].tcp.sendMemory.maximum
      sockets[socket].options.sendBuffer = max(min(wanted, most), sockets[socket].options.sendBuffer)
    }
  }
}

extension TCPSock {
  mutating func beginAcknowledgment(_ before: UInt32) -> ACKState {
    var ack = ACKState(
      priorUnacknowledged: before, priorHighest: hasSACK ? highestSackedEnd : before,
      reordered: sendNext)
    ack.sample.priorInFlight = inFlight
    return ack
  }

  /// The sender's part of an acknowledgment that is not old.
  fileprivate mutating func acknowledge(
    _ segment: TCPSegment, _ before: UInt32, _ net: inout NetNamespace
  ) -> RecoveryTransmission {
    let acknowledged = segment.acknowledgment
    var ack = beginAcknowledgment(before)
    let hadSegments = !sent.isEmpty
    let (deliveredBefore, lostBefore) = (delivery.delivered, lost)
    let markedBefore = delivery.deliveredCE
    if isAfter(acknowledged, before) {
      ack.flags.insert(.advanced)
      retransmits = 0
    }
    if segment.length > 0 { ack.flags.insert(.data) } else { net.snmp[.tcpExtTCPPureAcks] &+= 1 }
    echo = segment.options.timestamp?.echo ?? 0
    if takeWindow(segment, net.tcp) { ack.flags.insert(.windowUpdate) }
    sendUnacknowledged = acknowledged
    if hasSACK, !segment.options.blocks.isEmpty {
      takeBlocks(segment.options.blocks, acknowledging: acknowledged, &ack, &net)
    }
    if ecn.isOn, segment.isCongestionEcho { ack.flags.insert(.congestionEcho) }
    softError = 0
    lastHeard = mstamp
    probes = 0
    guard hadSegments else {
      if ack.flags.contains(.duplicateTold) { alert(&ack, isDuplicate: false, &net) }
      acknowledgeProbe(net.tcp)
      if tailProbeEnd != 0 { noteTailProbe(acknowledged, ack.flags, &net) }
      return ack.transmission
    }
    removeAcknowledged(&ack, &net)
    updateReorderingWindow(ack.sample, net.tcp)
    if tailProbeEnd != 0 { noteTailProbe(acknowledged, ack.flags, &net) }
    let isDubious =
      ack.flags.isDisjoint(with: .notDuplicate) || !ack.flags.isDisjoint(with: .alert) || congestion != .open
    if isDubious {
      let isDuplicate = ack.flags.isDisjoint(with: [.advanced, .notDuplicate, .duplicateTold])
      if isDuplicate { statistics.duplicateACKs &+= 1 }
      alert(&ack, isDuplicate: isDuplicate, &net)
    }
    if ack.flags.contains(.setsTimer) { setSendTimer(net.tcp) }
    let delivered = Int(delivery.delivered &- deliveredBefore)
    net.snmp[.tcpExtTCPDelivered] &+= UInt64(delivered)
    net.snmp[.tcpExtTCPDeliveredCE] &+= UInt64(delivery.deliveredCE &- markedBefore)
    ack.sample.isAcknowledgmentDelayed = ack.flags.contains(.maybeDelayed)
    delivery.finish(
      &ack.sample, acknowledged: delivered, lost: Int(lost &- lostBefore), isReneging: isReneging,
      now: mstamp, minimumRTT: rtt.minimum.value == .max ? 0 : rtt.minimum.value)
    controlCongestion(ack.flags, ack.sample, &net)
    if sent.isEmpty {
      if pending != .probe { pending = .none }
      statistics.end(.busy, isEmpty: !hasUnsent, mstamp)
    }
    return ack.transmission
  }

  /// The window that the other end offers (tcp_ack_update_window).
  private mutating func takeWindow(_ segment: TCPSegment, _ settings: TCPSettings) -> Bool {
    guard mayTakeWindow(segment) else { return false }
    let window = offeredWindow(segment)
    windowSequence = segment.sequence
    if sendWindow != window {
      sendWindow = window
      if window > largestWindow {
        largestWindow = window
        setMSS(settings)
      }
    }
    return true
  }

  @inline(__always) private func offeredWindow(_ segment: TCPSegment) -> UInt32 {
    segment.window << (segment.flags.contains(.syn) ? 0 : UInt32(sendScale))
  }

  /// tcp_may_update_window.
  @inline(__always) func mayTakeWindow(_ segment: TCPSegment) -> Bool {
    if isAfter(segment.acknowledgment, sendUnacknowledged) || isAfter(segment.sequence, windowSequence) {
      return true
    }
    let window = offeredWindow(segment)
    return segment.sequence == windowSequence && (window > sendWindow || window == 0)
  }

  /// With nothing on its way an acknowledgment is about the window alone (tcp_ack_probe).
  private mutating func acknowledgeProbe(_ settings: TCPSettings) {
    guard hasUnsent else { return }
    let next = min(UInt32(unsentBytes), UInt32(mss))
    if !isAfter(sendNext &+ next, windowEnd) {
      backoff = 0
      probesBegan = 0
      if pending == .probe { pending = .none }
    } else {
      setTimer(.probe, after: probeInterval(settings))
    }
  }

  /// tcp_probe0_when.
  func probeInterval(_ settings: TCPSettings) -> Int64 {
    let base = max(rtt.timeout, settings.minimumTimeout)
    return min(base << Int64(min(backoff, 10)), settings.maximumTimeout)
  }
}
