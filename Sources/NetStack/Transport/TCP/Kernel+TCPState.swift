// SPDX-License-Identifier: GPL-2.0-or-later

// The state machine (RFC 9293 3.10.7, RFC 5961; net/ipv4/tcp_input.c tcp_rcv_state_process,
// tcp_rcv_synsent_state_process).

import NetTypes

extension Kernel {
  /// Takes a segment for a connection. The packet is gone afterwards.
  mutating func tcpProcess(_ index: TCPIndex, _ segment: TCPSegment) {
    let namespace = sockets[tcps[index].socket].namespace
    tcps[index].mstamp = cpu.now
    tcps[index].statistics.segmentsIn &+= segment.count
    switch tcps[index].state {
    case .synSent: tcpProcessSynSent(index, segment)
    case .timeWait, .close, .listen: drop(segment.slot, .noSocket, in: namespace)
    case .synReceived, .established, .finWait1, .finWait2, .closeWait, .lastAck, .closing:
      guard tcpValidate(index, segment) else {
        drop(segment.slot, .tcpOutOfWindow, in: namespace)
        return
      }
      tcpProcessSynchronized(index, segment)
    }
  }

  // MARK: SYN-SENT

  private mutating func tcpProcessSynSent(_ index: TCPIndex, _ segment: TCPSegment) {
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    let flags = segment.flags
    if flags.contains(.ack) {
      let isGood =
        isAfter(segment.acknowledgment, tcps[index].initialSend)
        && !isAfter(segment.acknowledgment, tcps[index].sendNext)
      guard isGood else {
        if let peer = sockets[socket].peer {
          tcpReplyReset(to: segment, sockets[socket].local, peer, in: namespace)
        }
        drop(segment.slot, .tcpInvalidACK, in: namespace)
        // What an earlier connection has left may have kept our SYN from being heard.
        if tcps[index].retransmits == 0 {
          tcps[index].setTimer(.retransmit, after: TCPSock.leastTimer)
          tcpSettleTimer(index)
        }
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
      tcps[index].ecn.isOn = tcps[index].ecn.isOn && flags.isSuperset(of: [.ece, .cwr])
      tcpTransmit(
        index, tcps[index].initialSend, 0, tcps[index].ecn.isOn ? [.syn, .ack, .ece] : [.syn, .ack])
      pool.free(segment.slot, .consumed)
      return
    }
    tcpTakeHandshakeRTT(index, segment)
    tcps[index].ecn.isOn =
      tcps[index].ecn.isOn && flags.contains(.ece) && !flags.contains(.cwr)
    tcps[index].sendUnacknowledged = segment.acknowledgment
    tcps[index].statistics.bytesAcknowledged = 1
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
    tcps[index].setMSS(namespaces[sockets[tcps[index].socket].namespace].tcp)
    tcps[index].receivedMSS = min(tcps[index].mss, 536)
  }

  /// The time that the handshake took: by the clock if the SYN was sent once, else by timestamps.
  private mutating func tcpTakeHandshakeRTT(_ index: TCPIndex, _ segment: TCPSegment) {
    let namespace = sockets[tcps[index].socket].namespace
    tcps[index].echo = segment.options.timestamp?.echo ?? 0
    var sample: Int64?
    if tcps[index].totalRetransmits == 0 {
      sample = (cpu.now - tcps[index].delivery.firstSentAt) / 1000
    } else if tcps[index].hasTimestamps, tcps[index].echo != 0 {
      sample = tcps[index].echoRTT
    }
    guard let sample else { return }
    tcps[index].rtt.minimum.reset(cpu.now, max(sample, 1))
    tcps[index].takeSample(max(sample, 1), namespaces[namespace].tcp)
  }

  /// The handshake is complete (tcp_finish_connect, tcp_init_transfer).
  private mutating func tcpEstablish(_ index: TCPIndex) {
    // A SYN that was lost twice says that the network is full (RFC 5681 3.1), unless its first sending was answered.
    let wasAnswered =
      tcps[index].hasTimestamps && tcps[index].echo != 0
      && isBefore(tcps[index].echo, tcps[index].retransmitTimestamp)
    tcps[index].state = .established
    tcps[index].pending = .none
    if tcps[index].totalRetransmits > 1, !wasAnswered { tcps[index].congestionWindow = 1 }
    tcpBeginTransfer(index)
    tcpSetMSS(index)
    notify(tcps[index].socket, [.out, .writeNormal])
  }

  /// What begins with the first segment that may have data, on either side.
  mutating func tcpBeginTransfer(_ index: TCPIndex) {
    tcps[index].mstamp = cpu.now
    tcps[index].backoff = 0
    tcps[index].retransmits = 0
    tcps[index].totalTimeouts = 0
    tcps[index].retransmitStamp = 0
    tcps[index].recoveryPoint = tcps[index].sendNext
    tcps[index].lastHeard = cpu.now
    tcps[index].lastReceived = cpu.now
    tcps[index].windowStamp = cpu.now
    let namespace = sockets[tcps[index].socket].namespace
    tcps[index].reordering = namespaces[namespace].tcp[.reordering]
    // Nothing is known of the path (RFC 6298 5.7).
    if tcps[index].rtt.smoothed == 0 { tcps[index].rtt.timeout = 3_000_000_000 }
    tcps[index].bbr.chance = cpu.random.next() | 1
    tcps[index].maximumPacingRate = sockets[tcps[index].socket].options.maximumPacingRate
    tcps[index].isPaced = tcps[index].maximumPacingRate != .max
    let family = sockets[tcps[index].socket].peer?.address.family
    tcps[index].beginMTUProbing(
      headers: (family == .ipv6 ? IPv6Header.length : IPv4Header.length) + TCPHeader.length,
      namespaces[namespace].tcp)
    tcps[index].beginCongestionControl()
    if tcps[index].algorithm != .bbr { tcps[index].updatePacingRate(namespaces[namespace].tcp) }
    // The SYN was the first that arrived.
    tcps[index].delivery.delivered = 1
    tcpExpandSendBuffer(index)
    tcpBeginReceiving(index)
    tcpBeginKeepalive(index)
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
        !isAfter(segment.acknowledgment, tcps[index].sendNext)
      else {
        if let peer = sockets[tcps[index].socket].peer {
          tcpReplyReset(to: segment, sockets[tcps[index].socket].local, peer, in: namespace)
        }
        drop(segment.slot, .tcpInvalidACK, in: namespace)
        return
      }
      tcpTakeHandshakeRTT(index, segment)
      tcps[index].sendUnacknowledged = tcps[index].initialSend &+ 1
      tcpEstablish(index)
      tcps[index].sendWindow =
        segment.window << UInt32(segment.flags.contains(.syn) ? 0 : tcps[index].sendScale)
      if segment.flags.contains(.syn) { tcpSendACK(index) }
      if sockets[tcps[index].socket].shutdown.contains(.send) { tcpSendFin(index) }
    }
    switch tcpAcknowledge(index, segment) {
    case .good: break
    case .unsent, .tooOld:
      tcpChallenge(index, namespace)
      drop(segment.slot, .tcpInvalidACK, in: namespace)
      return
    }
    let isFinAcknowledged =
      tcps[index].isFinQueued && isAfter(tcps[index].sendUnacknowledged, tcps[index].finSequence)
    switch tcps[index].state {
    case .finWait1 where isFinAcknowledged:
      tcps[index].state = .finWait2
      sockets[tcps[index].socket].shutdown.insert(.send)
      if tcps[index].isOrphan {
        guard sockets[tcps[index].socket].options.linger2 ?? 0 >= 0 else {
          namespaces[namespace].snmp[.tcpExtTCPAbortOnData] &+= 1
          drop(segment.slot, .tcpAbortOnData, in: namespace)
          tcpDone(index)
          return
        }
        if segment.end != segment.sequence {
          tcpArmState(index, tcpFinTime(index))
        } else {
          tcpAwaitFin(index)
        }
        guard tcps.contains(index) else {
          drop(segment.slot, .consumed, in: namespace)
          return
        }
      }
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
    tcpReadUrgent(index, segment)
    switch tcps[index].state {
    case .closeWait, .closing, .lastAck:
      guard isBefore(segment.sequence, tcps[index].receiveNext) else {
        // Nothing comes behind a FIN.
        drop(segment.slot, .consumed, in: namespace)
        tcpPush(index)
        tcpCheckACK(index)
        return
      }
      if tcpAbortsOnData(index, segment) { return }
    case .finWait1, .finWait2: if tcpAbortsOnData(index, segment) { return }
    default: break
    }
    tcpReceiveData(index, segment)
    guard tcps.contains(index), tcps[index].state.isSynchronized else { return }
    tcpPush(index)
    tcpCheckACK(index)
  }

  /// Data for who wants none any more is answered with a reset (RFC 9293 3.10.7.4, RFC 1122 4.2.2.13).
  private mutating func tcpAbortsOnData(_ index: TCPIndex, _ segment: TCPSegment) -> Bool {
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    let end = segment.end &- (segment.flags.contains(.fin) ? 1 : 0)
    guard sockets[socket].shutdown.contains(.receive), segment.end != segment.sequence,
      isAfter(end, tcps[index].receiveNext)
    else { return false }
    namespaces[namespace].snmp[.tcpExtTCPAbortOnData] &+= 1
    if let peer = sockets[socket].peer {
      tcpReplyReset(to: segment, sockets[socket].local, peer, in: namespace)
    }
    drop(segment.slot, .tcpAbortOnData, in: namespace)
    tcpReset(index)
    return true
  }

  /// The other end has sent all (tcp_fin). Its acknowledgment may wait where this end may have more to say.
  mutating func tcpReceiveFin(_ index: TCPIndex) {
    let socket = tcps[index].socket
    tcps[index].isDone = true
    tcps[index].owesACK = true
    sockets[socket].shutdown.insert(.receive)
    switch tcps[index].state {
    case .synReceived, .established:
      tcps[index].state = .closeWait
      tcps[index].isInteractive = true
    case .finWait1:
      tcpSendACK(index)
      tcps[index].state = .closing
    case .finWait2:
      tcpSendACK(index)
      tcpTimeWait(index)
      guard tcps.contains(index) else { return }
    case .closeWait, .closing, .lastAck, .close, .listen, .synSent, .timeWait: break
    }
    guard tcps.contains(index) else { return }
    // Nothing can come behind it, and nothing more is told of what came twice (tcp_sack_reset).
    tcpDropOutOfOrder(index)
    notify(
      socket,
      tcps[index].state == .timeWait
        ? [.in, .readNormal, .readHangUp, .hangUp] : [.in, .readNormal, .readHangUp])
  }

  // MARK: Ends

  /// The other end has reset the connection (tcp_reset).
  mutating func tcpReset(_ index: TCPIndex) {
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
