// SPDX-License-Identifier: GPL-2.0-or-later

// The state machine (RFC 9293 3.10.7, RFC 5961; net/ipv4/tcp_input.c tcp_rcv_state_process, tcp_validate_incoming,
// tcp_rcv_synsent_state_process; tcp_minisocks.c for TIME-WAIT).

extension Kernel {
  /// Takes a segment for a connection. The packet is gone afterwards.
  mutating func tcpProcess(_ index: TCPIndex, _ segment: TCPSegment) {
    let namespace = sockets[tcps[index].socket].namespace
    switch tcps[index].state {
    case .synSent: tcpProcessSynSent(index, segment)
    case .timeWait: tcpProcessTimeWait(index, segment)
    case .close, .listen: drop(segment.slot, .noSocket, in: namespace)
    case .synReceived, .established, .finWait1, .finWait2, .closeWait, .lastAck, .closing:
      guard tcpValidate(index, segment) else {
        drop(segment.slot, .tcpOutOfWindow, in: namespace)
        return
      }
      tcpProcessSynchronized(index, segment)
    }
  }

  // MARK: Validation

  /// Whether a segment may be looked at: timestamps, sequence, RST and SYN, in this order (tcp_validate_incoming).
  private mutating func tcpValidate(_ index: TCPIndex, _ segment: TCPSegment) -> Bool {
    let isRST = segment.flags.contains(.rst)
    if let timestamp = segment.options.timestamp, tcps[index].hasTimestamps, !isRST,
      isBefore(timestamp.value, tcps[index].recentTimestamp),
      cpu.now - tcps[index].recentTimestampTime < 24 * 86400 * 1_000_000_000
    {
      // PAWS: older than what has been seen (RFC 7323 5.3).
      let namespace = sockets[tcps[index].socket].namespace
      namespaces[namespace].snmp[.tcpExtPAWSEstab] &+= 1
      tcpAnswerOutOfWindow(index, segment)
      return false
    }
    let windowEnd = tcps[index].receiveNext &+ tcps[index].openWindow
    let isInWindow =
      !isBefore(segment.end, tcps[index].windowUpdate) && !isAfter(segment.sequence, windowEnd)
    guard isInWindow else {
      if !isRST {
        if segment.flags.contains(.syn) { tcpChallenge(index) } else { tcpAnswerOutOfWindow(index, segment) }
      }
      return false
    }
    if isRST {
      // Only the very next number ends a connection; any other in the window is asked about (RFC 5961 3.2).
      if segment.sequence == tcps[index].receiveNext {
        tcpReset(index)
      } else {
        tcpChallenge(index)
      }
      return false
    }
    if segment.flags.contains(.syn), tcps[index].state != .synReceived {
      tcpChallenge(index)
      return false
    }
    return true
  }

  /// What is outside the window is answered with where we are, twice a second at most if it has no data (RFC 9293
  /// 3.10.7.4, tcp_oow_rate_limited).
  private mutating func tcpAnswerOutOfWindow(_ index: TCPIndex, _ segment: TCPSegment) {
    if segment.length == 0, !segment.flags.contains(.syn) {
      guard tcpMayChallenge(index) else { return }
    }
    if segment.end != segment.sequence, isBefore(segment.sequence, tcps[index].receiveNext) {
      tcpEnterQuickACK(index)
    }
    tcpSendACK(index)
  }

  /// RFC 5961's challenge.
  private mutating func tcpChallenge(_ index: TCPIndex) {
    guard tcpMayChallenge(index) else { return }
    let namespace = sockets[tcps[index].socket].namespace
    namespaces[namespace].snmp[.tcpExtTCPChallengeACK] &+= 1
    tcpSendACK(index)
  }

  private mutating func tcpMayChallenge(_ index: TCPIndex) -> Bool {
    let last = tcps[index].lastOutOfWindowACK
    if last != .min, cpu.now - last < 500_000_000 { return false }
    tcps[index].lastOutOfWindowACK = cpu.now
    return true
  }

  // MARK: SYN-SENT

  private mutating func tcpProcessSynSent(_ index: TCPIndex, _ segment: TCPSegment) {
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    let flags = segment.flags
    if flags.contains(.ack) {
      let isGood =
        isAfter(segment.acknowledgment, tcps[index].initialSend)
        && !isAfter(segment.acknowledgment, tcps[index].sendMaximum)
      guard isGood else {
        if let peer = sockets[socket].peer {
          tcpReplyReset(to: segment, sockets[socket].local, peer, in: namespace)
        }
        drop(segment.slot, .tcpInvalidACK, in: namespace)
        return
      }
      if flags.contains(.rst) {
        drop(segment.slot, .tcpReset, in: namespace)
        tcpFail(index, .connectionRefused)
        return
      }
    }
    guard flags.contains(.syn), !flags.contains(.rst) else {
      drop(segment.slot, .tcpInvalidACK, in: namespace)
      return
    }
    tcpTakeOptions(index, segment)
    tcps[index].initialReceive = segment.sequence
    tcps[index].receiveNext = segment.sequence &+ 1
    tcps[index].copied = segment.sequence &+ 1
    tcps[index].windowUpdate = segment.sequence &+ 1
    tcps[index].windowSequence = segment.sequence
    // The window of a SYN is never scaled.
    tcps[index].sendWindow = segment.window
    tcps[index].largestWindow = segment.window
    guard flags.contains(.ack) else {
      // Both have asked at once (RFC 9293 3.5, figure 7).
      tcps[index].state = .synReceived
      tcpTransmit(index, tcps[index].initialSend, 0, [.syn, .ack])
      pool.free(segment.slot, .consumed)
      return
    }
    if let echo = segment.options.timestamp?.echo, tcps[index].hasTimestamps {
      tcpSampleTimestamp(index, echo)
    } else if let sentAt = tcps[index].timedAt {
      tcps[index].takeRTT(cpu.now - sentAt)
    }
    tcps[index].sendUnacknowledged = segment.acknowledgment
    tcpEstablish(index)
    pool.free(segment.slot, .consumed)
    if tcps[index].unacknowledged.count > 0 || tcps[index].isFinQueued {
      tcpPush(index)
      if !tcps[index].hasEverything { return }
    }
    tcpSendACK(index)
  }

  /// What the other end's SYN has agreed to.
  private mutating func tcpTakeOptions(_ index: TCPIndex, _ segment: TCPSegment) {
    let options = segment.options
    if let timestamp = options.timestamp, tcps[index].hasTimestamps {
      tcps[index].recentTimestamp = timestamp.value
      tcps[index].recentTimestampTime = cpu.now
    } else {
      tcps[index].hasTimestamps = false
    }
    tcps[index].hasSACK = tcps[index].hasSACK && options.isSACKPermitted
    if let scale = options.windowScale, tcps[index].hasWindowScale {
      tcps[index].sendScale = scale
    } else {
      tcps[index].hasWindowScale = false
      tcps[index].receiveScale = 0
    }
    tcps[index].peerMSS = options.maximumSegmentSize == 0 ? 536 : Int(options.maximumSegmentSize)
    tcpSetMSS(index)
  }

  /// A segment's share of what both ends and the path take, options counted (tcp_sync_mss).
  mutating func tcpSetMSS(_ index: TCPIndex) {
    let options = tcps[index].hasTimestamps ? 12 : 0
    tcps[index].mss = max(min(tcps[index].peerMSS, tcps[index].ownMSS, tcps[index].pathMSS) - options, 48)
    tcps[index].receivedMSS = min(tcps[index].mss, 536)
  }

  /// The handshake is complete (tcp_finish_connect).
  private mutating func tcpEstablish(_ index: TCPIndex) {
    tcps[index].state = .established
    tcps[index].backoff = 0
    tcps[index].retransmits = 0
    tcps[index].timedAt = nil
    cpu.wheel.cancel(&tcps[index].retransmitTimer)
    tcpEnterQuickACK(index)
    tcpExpandSendBuffer(index)
    notify(tcps[index].socket, [.out, .writeNormal])
  }

  // MARK: Synchronized states

  private mutating func tcpProcessSynchronized(_ index: TCPIndex, _ segment: TCPSegment) {
    let namespace = sockets[tcps[index].socket].namespace
    guard segment.flags.contains(.ack) else {
      drop(segment.slot, .tcpInvalidACK, in: namespace)
      return
    }
    if tcps[index].state == .synReceived {
      // Simultaneous open: the other SYN-ACK, or the acknowledgment of ours.
      guard isAfter(segment.acknowledgment, tcps[index].initialSend),
        !isAfter(segment.acknowledgment, tcps[index].sendMaximum)
      else {
        if let peer = sockets[tcps[index].socket].peer {
          tcpReplyReset(to: segment, sockets[tcps[index].socket].local, peer, in: namespace)
        }
        drop(segment.slot, .tcpInvalidACK, in: namespace)
        return
      }
      tcpEstablish(index)
      tcps[index].sendWindow =
        segment.window << UInt32(segment.flags.contains(.syn) ? 0 : tcps[index].sendScale)
      if segment.flags.contains(.syn) { tcpSendACK(index) }
    }
    switch tcpAcknowledge(index, segment) {
    case .good: break
    case .unsent:
      if tcps[index].state != .established { tcpChallenge(index) }
      drop(segment.slot, .tcpInvalidACK, in: namespace)
      return
    case .tooOld:
      tcpChallenge(index)
      drop(segment.slot, .tcpInvalidACK, in: namespace)
      return
    }
    let isFinAcknowledged =
      tcps[index].isFinQueued && isAfter(tcps[index].sendUnacknowledged, tcps[index].finSequence)
    switch tcps[index].state {
    case .finWait1 where isFinAcknowledged:
      tcps[index].state = .finWait2
      sockets[tcps[index].socket].shutdown.insert(.send)
      if tcps[index].isOrphan { tcpArmState(index, TCPSock.timeWaitLength) }
    case .closing where isFinAcknowledged:
      drop(segment.slot, .consumed, in: namespace)
      tcpTimeWait(index)
      return
    case .lastAck where isFinAcknowledged:
      drop(segment.slot, .consumed, in: namespace)
      tcpDone(index)
      return
    default: break
    }
    // Data for who has gone is answered with a reset (RFC 9293 3.10.7.4, RFC 1122 4.2.2.13).
    if tcps[index].isOrphan, segment.length > 0, isAfter(segment.end, tcps[index].receiveNext) {
      namespaces[namespace].snmp[.tcpExtTCPAbortOnData] &+= 1
      if let peer = sockets[tcps[index].socket].peer {
        tcpReplyReset(to: segment, sockets[tcps[index].socket].local, peer, in: namespace)
      }
      drop(segment.slot, .tcpAbortOnData, in: namespace)
      tcpDone(index)
      return
    }
    tcpReceiveData(index, segment)
    guard tcps.contains(index), tcps[index].state != .timeWait else { return }
    tcpPush(index)
    tcpCheckACK(index)
  }

  /// The other end has sent all (tcp_fin).
  mutating func tcpReceiveFin(_ index: TCPIndex) {
    let socket = tcps[index].socket
    tcps[index].isDone = true
    tcps[index].acksNow = true
    tcps[index].owesACK = true
    sockets[socket].shutdown.insert(.receive)
    switch tcps[index].state {
    case .synReceived, .established: tcps[index].state = .closeWait
    case .finWait1:
      tcpSendACK(index)
      tcps[index].state = .closing
    case .finWait2:
      tcpSendACK(index)
      tcpTimeWait(index)
    case .closeWait, .closing, .lastAck, .close, .listen, .synSent, .timeWait: break
    }
    guard tcps.contains(index) else { return }
    notify(
      socket,
      tcps[index].state == .timeWait
        ? [.in, .readNormal, .readHangUp, .hangUp] : [.in, .readNormal, .readHangUp])
  }

  // MARK: TIME-WAIT

  /// Both have sent all, and this end acknowledged last.
  mutating func tcpTimeWait(_ index: TCPIndex) {
    tcps[index].state = .timeWait
    cpu.wheel.cancel(&tcps[index].retransmitTimer)
    cpu.wheel.cancel(&tcps[index].delayedACKTimer)
    tcps[index].owesACK = false
    sockets[tcps[index].socket].shutdown = .both
    tcpDropOutOfOrder(index)
    tcpArmState(index, TCPSock.timeWaitLength)
  }

  private mutating func tcpProcessTimeWait(_ index: TCPIndex, _ segment: TCPSegment) {
    let namespace = sockets[tcps[index].socket].namespace
    defer { drop(segment.slot, .tcpTimeWait, in: namespace) }
    if segment.flags.contains(.rst) {
      if segment.sequence == tcps[index].receiveNext { tcpDone(index) }
      return
    }
    if segment.flags.contains(.fin) || isAfter(segment.end, tcps[index].receiveNext) {
      tcpArmState(index, TCPSock.timeWaitLength)
    }
    if segment.end != segment.sequence || segment.flags.contains(.syn) { tcpSendACK(index) }
  }

  /// Whether a SYN may begin the same connection anew (RFC 9293 3.6.1, RFC 6191; tcp_timewait_state_process).
  func tcpMayReopen(_ index: TCPIndex, _ segment: TCPSegment) -> Bool {
    guard segment.flags.contains(.syn), segment.flags.isDisjoint(with: [.rst, .ack, .fin]) else {
      return false
    }
    if isAfter(segment.sequence, tcps[index].receiveNext) { return true }
    guard let timestamp = segment.options.timestamp, tcps[index].hasTimestamps else { return false }
    return isAfter(timestamp.value, tcps[index].recentTimestamp)
  }

  // MARK: Ends

  /// The other end has reset the connection (tcp_reset).
  private mutating func tcpReset(_ index: TCPIndex) {
    let namespace = sockets[tcps[index].socket].namespace
    switch tcps[index].state {
    case .synReceived: namespaces[namespace].snmp[.tcpAttemptFails] &+= 1
    case .established, .closeWait: namespaces[namespace].snmp[.tcpEstabResets] &+= 1
    default: break
    }
    tcpFail(index, tcps[index].state == .closeWait ? .brokenPipe : .connectionReset)
  }

  /// A connection ends with an error.
  mutating func tcpFail(_ index: TCPIndex, _ error: KernelError) {
    let socket = tcps[index].socket
    if tcps[index].state == .synSent {
      namespaces[sockets[socket].namespace].snmp[.tcpAttemptFails] &+= 1
    }
    sockets[socket].error = error.errno
    tcpDone(index)
    if isOpen(socket) {
      notify(socket, [.error, .in, .readNormal, .out, .writeNormal, .readHangUp, .hangUp])
    }
  }
}
