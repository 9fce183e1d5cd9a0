// SPDX-License-Identifier: GPL-2.0-or-later

// TCP's timers (net/ipv4/tcp_timer.c; RFC 6298, RFC 8985 for the probe of a tail, RFC 9293 3.8.6.1 for that of a closed
// window): sending has one, whose purpose is `pending`; delayed acknowledgments, keepalive, and the states that time
// ends have one each.

extension Kernel {
  // MARK: The timer of sending

  /// Brings the wheel to what `pending` says. A timer that is due too early is left: it finds nothing to do and is set
  /// anew, so that an acknowledgment costs nothing here.
  mutating func tcpSettleTimer(_ index: TCPIndex) {
    guard tcps[index].pending != .none else { return }
    if tcps[index].retransmitTimer != .none, tcps[index].armedFor <= tcps[index].deadline { return }
    tcps[index].armedFor = tcps[index].deadline
    cpu.wheel.rearm(
      &tcps[index].retransmitTimer, TimerEvent(kind: .tcpRetransmit, index: index.rawValue),
      at: tcps[index].deadline)
  }

  mutating func tcpRetransmitTimer(_ index: TCPIndex) {
    guard tcps.contains(index) else { return }
    tcps[index].retransmitTimer = .none
    tcps[index].mstamp = cpu.now
    guard tcps[index].deadline <= cpu.now else {
      tcpSettleTimer(index)
      return
    }
    let pending = tcps[index].pending
    // The others count RTO from the first segment on, as long as they are what is pending (tcp_rearm_rto).
    if pending == .retransmit || pending == .probe { tcps[index].pending = .none }
    switch pending {
    case .none: return
    case .retransmit:
      let isSYN = tcps[index].state == .synSent || tcps[index].state == .synReceived
      if isSYN { tcpSynTimeOut(index) } else if !tcps[index].sent.isEmpty { tcpTimeOut(index) }
    case .probe: tcpProbeWindow(index)
    case .lossProbe: tcpProbeTail(index)
    case .reorder:
      let namespace = sockets[tcps[index].socket].namespace
      if tcps[index].reorderTimeout(&namespaces[namespace]) { tcpRetransmitQueue(index) }
      if tcps[index].pending != .retransmit { tcps[index].setRetransmitTimer() }
    }
    if tcps.contains(index) { tcpSettleTimer(index) }
  }

  /// A SYN, or the answer to one, was not acknowledged in time.
  private mutating func tcpSynTimeOut(_ index: TCPIndex) {
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    let isActive = tcps[index].state == .synSent
    let retries = sockets[socket].options.synRetries ?? namespaces[namespace].tcp[.synRetries]
    let most = retries + (isActive ? namespaces[namespace].tcp[.synLinearTimeouts] : 0)
    let limit = sockets[socket].options.userTimeout
    guard tcps[index].retransmits < most,
      !(limit > 0 && tcps[index].hasTimedOut(retries, limit, namespaces[namespace].tcp))
    else {
      tcpTimedOut(index)
      return
    }
    namespaces[namespace].snmp[.tcpExtTCPTimeouts] &+= 1
    namespaces[namespace].snmp[.tcpRetransSegs] &+= 1
    namespaces[namespace].snmp[.tcpExtTCPSynRetrans] &+= 1
    tcps[index].noteTimeout()
    // An old router may drop what asks for ECN (RFC 3168 6.1.1.1).
    if tcps[index].retransmits > 1, namespaces[namespace].tcp.isOn(.ecnFallback) {
      tcps[index].ecn.isOn = false
    }
    var flags: TCPFlags = isActive ? .syn : [.syn, .ack]
    if tcps[index].ecn.isOn { flags.formUnion(isActive ? [.ece, .cwr] : .ece) }
    tcpTransmit(index, tcps[index].initialSend, 0, flags)
    tcps[index].totalRetransmits &+= 1
    // The first few SYNs are sent a second apart (tcp_syn_linear_timeouts).
    if !isActive || tcps[index].totalTimeouts > namespaces[namespace].tcp[.synLinearTimeouts] {
      tcps[index].backOff(namespaces[namespace].tcp)
    }
    tcps[index].setTimer(.retransmit, after: tcps[index].clampedTimeout(limit))
  }

  /// Nothing was acknowledged in time (tcp_retransmit_timer, tcp_write_timeout).
  private mutating func tcpTimeOut(_ index: TCPIndex) {
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    let limit = sockets[socket].options.userTimeout
    if tcps[index].sendWindow == 0, !tcps[index].isOrphan {
      // The window was taken back: the first segment asks for it, for as long as somebody answers.
      let silence = cpu.now - tcps[index].lastHeard
      let effort = tcps[index].retransmitStamp == 0 ? 0 : cpu.now - tcps[index].retransmitStamp
      let most =
        limit > 0
        ? min(limit, 2 * namespaces[namespace].tcp.maximumTimeout)
        : 2 * namespaces[namespace].tcp.maximumTimeout
      guard silence <= most || effort <= most else {
        tcpTimedOut(index)
        return
      }
      tcps[index].enterLoss(&namespaces[namespace])
      _ = tcpRetransmit(index, tcps[index].sent.head)
      tcps[index].backOff(namespaces[namespace].tcp)
      tcps[index].setTimer(.retransmit, after: tcps[index].clampedTimeout(limit))
      return
    }
    namespaces[namespace].snmp[.tcpExtTCPTimeouts] &+= 1
    if tcps[index].hasTimedOut(namespaces[namespace].tcp[.retries1], 0, namespaces[namespace].tcp) {
      tcps[index].suspectBlackHole(namespaces[namespace].tcp)
    }
    var retries = namespaces[namespace].tcp[.retries2]
    if tcps[index].isOrphan {
      let isAlive = tcps[index].rtt.timeout < namespaces[namespace].tcp.maximumTimeout
      retries = tcps[index].orphanRetries(isAlive, namespaces[namespace].tcp)
      let isLate = tcps[index].hasTimedOut(retries, 0, namespaces[namespace].tcp)
      if tcpIsOutOfResources(index, resets: isAlive || !isLate) { return }
    }
    guard !tcps[index].hasTimedOut(retries, limit, namespaces[namespace].tcp) else {
      tcpTimedOut(index)
      return
    }
    if tcps[index].retransmits == 0 { tcpCountTimeout(index, namespace) }
    tcps[index].enterLoss(&namespaces[namespace])
    tcps[index].noteTimeout()
    guard tcpRetransmit(index, tcps[index].sent.head) else {
      // What the queues below did not take is tried again soon.
      tcps[index].setTimer(.retransmit, after: TCPSock.resourceInterval)
      return
    }
    tcps[index].backOff(namespaces[namespace].tcp)
    tcps[index].setTimer(.retransmit, after: tcps[index].clampedTimeout(limit))
  }

  /// In which phase the timer came.
  private mutating func tcpCountTimeout(_ index: TCPIndex, _ namespace: NamespaceIndex) {
    let hasSACK = tcps[index].hasSACK
    switch tcps[index].congestion {
    case .recovery:
      namespaces[namespace].snmp[hasSACK ? .tcpExtTCPSackRecoveryFail : .tcpExtTCPRenoRecoveryFail] &+= 1
    case .loss: namespaces[namespace].snmp[.tcpExtTCPLossFailures] &+= 1
    case .open, .disorder, .cwr:
      guard tcps[index].congestion == .disorder || tcps[index].sackedOut > 0 else { return }
      namespaces[namespace].snmp[hasSACK ? .tcpExtTCPSackFailures : .tcpExtTCPRenoFailures] &+= 1
    }
  }

  /// tcp_write_err.
  mutating func tcpTimedOut(_ index: TCPIndex) {
    let namespace = sockets[tcps[index].socket].namespace
    namespaces[namespace].snmp[.tcpExtTCPAbortOnTimeout] &+= 1
    let soft = tcps[index].softError
    tcpFail(index, soft == 0 ? .timedOut : KernelError(soft))
  }

  // MARK: A closed window

  /// tcp_probe_timer, tcp_send_probe0.
  private mutating func tcpProbeWindow(_ index: TCPIndex) {
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    guard tcps[index].sent.isEmpty, tcps[index].hasUnsent else {
      tcps[index].probes = 0
      tcps[index].probesBegan = 0
      return
    }
    let limit = sockets[socket].options.userTimeout
    if tcps[index].probesBegan == 0 {
      tcps[index].probesBegan = cpu.now
    } else if limit > 0, cpu.now - tcps[index].probesBegan >= limit {
      tcpTimedOut(index)
      return
    }
    var most = namespaces[namespace].tcp[.retries2]
    if tcps[index].isOrphan {
      let isAlive =
        tcps[index].probeInterval(namespaces[namespace].tcp) < namespaces[namespace].tcp.maximumTimeout
      most = tcps[index].orphanRetries(isAlive, namespaces[namespace].tcp)
      if !isAlive, tcps[index].backoff >= most {
        tcpTimedOut(index)
        return
      }
      if tcpIsOutOfResources(index, resets: true) { return }
    }
    guard tcps[index].probes < most else {
      tcpTimedOut(index)
      return
    }
    let isSent = tcpWakeUp(index, .tcpExtTCPWinProbe)
    guard tcps[index].sent.isEmpty, tcps[index].hasUnsent else {
      tcps[index].probes = 0
      tcps[index].backoff = 0
      return
    }
    tcps[index].probes += 1
    if isSent, tcps[index].backoff < namespaces[namespace].tcp[.retries2] { tcps[index].backoff += 1 }
    var interval = isSent ? tcps[index].probeInterval(namespaces[namespace].tcp) : TCPSock.resourceInterval
    if limit > 0 { interval = min(interval, max(tcps[index].probesBegan + limit - cpu.now, 1_000_000)) }
    tcps[index].setTimer(.probe, after: interval)
  }

  /// Sends what the window has room for, or something old that draws an answer (tcp_write_wakeup). False: there was no
  /// memory.
  private mutating func tcpWakeUp(_ index: TCPIndex, _ counter: SNMPCounter) -> Bool {
    let room = Int32(bitPattern: tcps[index].windowEnd &- tcps[index].sendNext)
    if tcps[index].hasUnsent, room > 0 {
      let mss = tcps[index].currentMSS
      let length = min(tcps[index].unsentBytes, Int(room), mss)
      let isLast = length == tcps[index].unsentBytes
      let hasFin = isLast && tcps[index].isFinQueued && Int(room) > length
      return tcpTransmitNew(index, length, mss, hasFin: hasFin, isPushed: true) != nil
    }
    namespaces[sockets[tcps[index].socket].namespace].snmp[counter] &+= 1
    return tcpTransmit(index, tcps[index].sendUnacknowledged &- 1, 0, .ack)
  }

  // MARK: Keepalive

  /// SO_KEEPALIVE was set or cleared (tcp_set_keepalive).
  mutating func tcpSetKeepalive(_ index: TCPIndex, _ isOn: Bool) {
    cpu.wheel.cancel(&tcps[index].keepaliveTimer)
    switch tcps[index].state {
    case .close, .listen: return
    default: if isOn { tcpArmKeepalive(index, tcpKeepaliveTime(index)) }
    }
  }

  /// The connection stands: from now on it is asked about.
  mutating func tcpBeginKeepalive(_ index: TCPIndex) {
    if sockets[tcps[index].socket].options.keepAlive { tcpSetKeepalive(index, true) }
  }

  private func tcpKeepaliveTime(_ index: TCPIndex) -> Int64 {
    let socket = tcps[index].socket
    let seconds =
      sockets[socket].options.keepAliveTime
      ?? namespaces[sockets[socket].namespace].tcp[.keepaliveTime]
    return Int64(seconds) * 1_000_000_000
  }

  private mutating func tcpArmKeepalive(_ index: TCPIndex, _ interval: Int64) {
    cpu.wheel.rearm(
      &tcps[index].keepaliveTimer, TimerEvent(kind: .tcpKeepalive, index: index.rawValue),
      at: cpu.now + interval)
  }

  /// tcp_keepalive_timer.
  mutating func tcpKeepaliveTimer(_ index: TCPIndex) {
    guard tcps.contains(index) else { return }
    tcps[index].keepaliveTimer = .none
    tcps[index].mstamp = cpu.now
    let socket = tcps[index].socket
    guard sockets[socket].options.keepAlive else { return }
    switch tcps[index].state {
    case .close, .listen, .synSent, .timeWait: return
    default: break
    }
    let namespace = sockets[socket].namespace
    let time = tcpKeepaliveTime(index)
    // What is on its way, or waits, is alive without being asked.
    guard tcps[index].sent.isEmpty, !tcps[index].hasUnsent else {
      tcpArmKeepalive(index, time)
      return
    }
    let silence = cpu.now - max(tcps[index].lastReceived, tcps[index].lastHeard)
    guard silence >= time else {
      tcpArmKeepalive(index, time - silence)
      return
    }
    let probes = sockets[socket].options.keepAliveProbes ?? namespaces[namespace].tcp[.keepaliveProbes]
    let isOver =
      sockets[socket].options.userTimeout > 0
      ? silence >= sockets[socket].options.userTimeout && tcps[index].probes > 0
      : tcps[index].probes >= probes
    guard !isOver else {
      tcpSendReset(index)
      tcpTimedOut(index)
      return
    }
    guard tcpWakeUp(index, .tcpExtTCPKeepAlive) else {
      tcpArmKeepalive(index, TCPSock.resourceInterval)
      return
    }
    tcps[index].probes += 1
    let interval = sockets[socket].options.keepAliveInterval ?? namespaces[namespace].tcp[.keepaliveInterval]
    tcpArmKeepalive(index, Int64(interval) * 1_000_000_000)
  }

  // MARK: Others

  mutating func tcpDelayedACKTimer(_ index: TCPIndex) {
    guard tcps.contains(index) else { return }
    tcps[index].delayedACKTimer = .none
    guard tcps[index].owesACK, tcps[index].state != .close else { return }
    tcps[index].mstamp = cpu.now
    if tcps[index].isInteractive {
      tcps[index].isInteractive = false
      tcps[index].ackTimeout = TCPSock.delayedACKMinimum
    } else {
      tcps[index].ackTimeout = min(tcps[index].ackTimeout * 2, tcps[index].rtt.timeout)
    }
    let namespace = sockets[tcps[index].socket].namespace
    namespaces[namespace].snmp[.tcpExtDelayedACKs] &+= 1
    tcpSendACK(index)
  }

  /// FIN-WAIT-2 of who has gone ends with time.
  mutating func tcpStateTimer(_ index: TCPIndex) {
    guard tcps.contains(index) else { return }
    tcps[index].stateTimer = .none
    tcpDone(index)
  }

  mutating func tcpArmState(_ index: TCPIndex, _ interval: Int64) {
    cpu.wheel.rearm(
      &tcps[index].stateTimer, TimerEvent(kind: .tcpState, index: index.rawValue), at: cpu.now + interval)
  }

  /// How long the other end may take to end what this end has (tcp_fin_time).
  func tcpFinTime(_ index: TCPIndex) -> Int64 {
    let socket = tcps[index].socket
    let seconds =
      sockets[socket].options.linger2 ?? namespaces[sockets[socket].namespace].tcp[.finTimeout]
    let timeout = tcps[index].rtt.timeout
    return max(Int64(seconds) * 1_000_000_000, timeout << 2 - timeout >> 1)
  }
}

extension TCPSock {
  /// tcp_update_rto_stats.
  fileprivate mutating func noteTimeout() {
    retransmits += 1
    totalTimeouts += 1
    if retransmitStamp == 0 {
      retransmitStamp = mstamp
      retransmitTimestamp = timestamp(at: mstamp)
    }
  }

  /// The timeout doubles (RFC 6298 5.5).
  fileprivate mutating func backOff(_ settings: TCPSettings) {
    backoff += 1
    rtt.timeout = min(rtt.timeout << 1, settings.maximumTimeout)
  }

  /// Not beyond what the user waits for (tcp_clamp_rto_to_user_timeout).
  fileprivate func clampedTimeout(_ limit: Int64) -> Int64 {
    guard limit > 0, retransmitStamp != 0 else { return rtt.timeout }
    return min(rtt.timeout, max(retransmitStamp + limit - mstamp, 1_000_000))
  }

  /// How long so many retransmissions take (tcp_model_timeout).
  fileprivate func modelledTimeout(_ retries: Int, _ settings: TCPSettings) -> Int64 {
    let isSYN = state == .synSent || state == .synReceived
    let base = isSYN ? Self.initialTimeout : settings.minimumTimeout
    let ratio = max(settings.maximumTimeout / base, 1)
    let linear = 63 - ratio.leadingZeroBitCount
    let doublings = min(retries, linear)
    return ((2 << Int64(doublings)) - 1) * base + Int64(retries - doublings) * settings.maximumTimeout
  }

  /// Whether so many retransmissions, or so long a time, were in vain (retransmits_timed_out).
  fileprivate func hasTimedOut(_ retries: Int, _ limit: Int64, _ settings: TCPSettings) -> Bool {
    guard retransmits > 0, retransmitStamp != 0 else { return false }
    return mstamp - retransmitStamp >= (limit > 0 ? limit : modelledTimeout(retries, settings))
  }

  /// tcp_orphan_retries.
  fileprivate func orphanRetries(_ isAlive: Bool, _ settings: TCPSettings) -> Int {
    if softError != 0, !isAlive { return 0 }
    let retries = settings[.orphanRetries]
    return retries == 0 && isAlive ? 8 : retries
  }
}
