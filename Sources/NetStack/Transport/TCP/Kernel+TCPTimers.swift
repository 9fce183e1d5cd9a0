// SPDX-License-Identifier: GPL-2.0-or-later

// TCP's timers (net/ipv4/tcp_timer.c; RFC 6298, RFC 9293 3.8.6.1): retransmission and the probe of a closed window
// share one; delayed acknowledgments, and the states that time ends, have one each.

extension Kernel {
  mutating func tcpArmRetransmit(_ index: TCPIndex) {
    cpu.wheel.cancel(&tcps[index].retransmitTimer)
    tcps[index].isProbing = false
    tcps[index].retransmitTimer = cpu.wheel.arm(
      TimerEvent(kind: .tcpRetransmit, index: index.rawValue), at: cpu.now + tcps[index].currentTimeout)
  }

  /// With nothing on its way and something to send that may not go, the window is probed (tcp_check_probe_timer).
  mutating func tcpArmProbe(_ index: TCPIndex) {
    guard tcps[index].retransmitTimer == .none, tcps[index].hasEverything, tcps[index].hasUnsent else {
      return
    }
    tcps[index].isProbing = true
    tcps[index].retransmitTimer = cpu.wheel.arm(
      TimerEvent(kind: .tcpRetransmit, index: index.rawValue), at: cpu.now + tcps[index].currentTimeout)
  }

  mutating func tcpRetransmitTimer(_ index: TCPIndex) {
    guard tcps.contains(index) else { return }
    tcps[index].retransmitTimer = .none
    if tcps[index].isProbing {
      tcpProbe(index)
    } else if !tcps[index].hasEverything {
      tcpTimeOut(index)
    }
  }

  /// Nothing was acknowledged in time (tcp_retransmit_timer).
  private mutating func tcpTimeOut(_ index: TCPIndex) {
    let isSYN = tcps[index].state == .synSent || tcps[index].state == .synReceived
    let most = isSYN ? TCPSock.synRetries : tcps[index].isOrphan ? TCPSock.orphanRetries : TCPSock.retries
    guard tcps[index].retransmits < most else {
      tcpFail(index, .timedOut)
      return
    }
    let namespace = sockets[tcps[index].socket].namespace
    namespaces[namespace].snmp[.tcpExtTCPTimeouts] &+= 1
    tcps[index].retransmits += 1
    if tcps[index].backoff < 10 { tcps[index].backoff += 1 }
    tcps[index].timedAt = nil
    if isSYN {
      namespaces[namespace].snmp[.tcpRetransSegs] &+= 1
      tcpTransmit(
        index, tcps[index].initialSend, 0, tcps[index].state == .synSent ? .syn : [.syn, .ack])
      tcpArmRetransmit(index)
      return
    }
    tcpEnterLoss(index)
    // From here all is sent again, as acknowledgments let it (RFC 5681 3.1); the first segment whatever the window.
    tcps[index].sendNext = tcps[index].firstByte
    tcpRetransmitFirst(index)
    tcpArmRetransmit(index)
  }

  /// Asks whether the window is still closed, with a byte that it has or with what fits (tcp_send_probe0).
  private mutating func tcpProbe(_ index: TCPIndex) {
    guard tcps[index].hasEverything, tcps[index].hasUnsent else { return }
    let most = tcps[index].isOrphan ? TCPSock.orphanRetries : TCPSock.retries
    guard tcps[index].probes < most else {
      tcpFail(index, .timedOut)
      return
    }
    tcps[index].probes += 1
    if tcps[index].backoff < 10 { tcps[index].backoff += 1 }
    let start = tcps[index].sendNext
    let available = Int(Int32(bitPattern: tcps[index].writeEnd &- start))
    let length = min(available, Int(tcps[index].sendWindow), tcps[index].currentMSS)
    if length > 0 {
      let isLast = length == available
      var flags: TCPFlags = [.ack, .psh]
      if isLast, tcps[index].isFinQueued { flags.insert(.fin) }
      tcpTransmitData(index, start, length, flags)
    } else {
      tcpTransmit(index, tcps[index].sendUnacknowledged &- 1, 0, .ack)
      tcpArmProbe(index)
    }
  }

  mutating func tcpDelayedACKTimer(_ index: TCPIndex) {
    guard tcps.contains(index) else { return }
    tcps[index].delayedACKTimer = .none
    guard tcps[index].owesACK, tcps[index].state != .close else { return }
    if tcps[index].isInteractive {
      tcps[index].isInteractive = false
      tcps[index].ackTimeout = TCPSock.delayedACKMinimum
    } else {
      tcps[index].ackTimeout = min(tcps[index].ackTimeout * 2, tcps[index].retransmissionTimeout)
    }
    tcpSendACK(index)
  }

  /// FIN-WAIT-2 of who has gone, and TIME-WAIT, end with time.
  mutating func tcpStateTimer(_ index: TCPIndex) {
    guard tcps.contains(index) else { return }
    tcps[index].stateTimer = .none
    tcpDone(index)
  }

  mutating func tcpArmState(_ index: TCPIndex, _ interval: Int64) {
    cpu.wheel.cancel(&tcps[index].stateTimer)
    tcps[index].stateTimer = cpu.wheel.arm(
      TimerEvent(kind: .tcpState, index: index.rawValue), at: cpu.now + interval)
  }
}

extension TCPSock {
  var currentTimeout: Int64 { min(retransmissionTimeout << Int64(backoff), Self.maximumTimeout) }

  /// Bytes, or a FIN, that were never sent.
  var hasUnsent: Bool {
    guard state != .synSent, state != .synReceived, state != .listen, state != .close else { return false }
    let end = writeEnd &+ (isFinQueued ? 1 : 0)
    return isBefore(sendMaximum, end)
  }
}
