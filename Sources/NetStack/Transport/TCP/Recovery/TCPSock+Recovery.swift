// SPDX-License-Identifier: GPL-2.0-or-later

// The sender's phases: open, disorder, CWR, recovery and loss, and the ways between them (tcp_fastretrans_alert and what
// it calls; RFC 5681, RFC 6582, F-RTO of RFC 5682, undo by Eifel's timestamps of RFC 3522 and by D-SACK of RFC 3708).
//
//    open ─▶ disorder ─▶ recovery ─▶ open          each ends when SND.UNA has passed `recoveryPoint`,
//      └────▶ CWR ─────────┘   any ─▶ loss ─▶ open  or earlier when it is found to have been a mistake

extension TCPSock {
  // MARK: Acknowledgments

  /// tcp_fastretrans_alert.
  mutating func alert(
    _ ack: inout ACKState, isDuplicate: Bool, _ net: inout NetNamespace
  ) {
    let isMarked = ack.flags.contains(.congestionEcho)
    if sent.isEmpty, sackedOut > 0 { sackedOut = 0 }
    if isMarked { priorThreshold = 0 }
    if ack.flags.contains(.reneging) {
      // Soon all counts as lost, unless the receiver thinks better of it (tcp_check_sack_reneging).
      setTimer(.retransmit, after: max(rtt.smoothed >> 4 * 1000, 10_000_000))
      ack.flags.remove(.setsTimer)
      return
    }
    if congestion == .open {
      retransmitStamp = 0
    } else if !isBefore(sendUnacknowledged, recoveryPoint) {
      switch congestion {
      case .cwr:
        // One acknowledgment past it, so that nothing of before is taken for news.
        if sendUnacknowledged != recoveryPoint {
          endReduction()
          setCongestion(.open)
        }
      case .recovery:
        if !hasSACK { sackedOut = 0 }
        if undoRecovery(&net) { return }
        endReduction()
      case .open, .disorder, .loss: break
      }
    }
    switch congestion {
    case .recovery:
      if !ack.flags.contains(.advanced) {
        if !hasSACK, isDuplicate { addDuplicate(isMarked: isMarked, &net) }
      } else if undoPart(ack.priorUnacknowledged, &net) {
        return
      }
      if undoByDuplicates(&net) { tryToOpen(isMarked) }
      identifyLosses(&ack, &net)
      if congestion != .recovery {
        guard lostOut > 0 else { return }
        enterRecovery(isMarked: isMarked, &net)
      }
    case .loss:
      processLoss(&ack, isDuplicate: isDuplicate, &net)
      identifyLosses(&ack, &net)
      guard congestion == .open || ack.flags.contains(.lostRetransmission) else { return }
      // The window is as it was, or what was sent again is lost: a recovery may follow.
      considerRecovery(&ack, isDuplicate: isDuplicate, &net)
      return
    case .open, .disorder, .cwr:
      considerRecovery(&ack, isDuplicate: isDuplicate, &net)
      return
    }
    ack.transmission = .lost
  }

  private mutating func considerRecovery(
    _ ack: inout ACKState, isDuplicate: Bool, _ net: inout NetNamespace
  ) {
    let isMarked = ack.flags.contains(.congestionEcho)
    if !hasSACK {
      if ack.flags.contains(.advanced) { sackedOut = 0 }
      if isDuplicate { addDuplicate(isMarked: isMarked, &net) }
    }
    if congestion <= .disorder { _ = undoByDuplicates(&net) }
    identifyLosses(&ack, &net)
    guard lostOut > 0 else {
      tryToOpen(isMarked)
      return
    }
    if !losesMTUProbe(&net) { enterRecovery(isMarked: isMarked, &net) }
    ack.transmission = .lost
  }

  /// tcp_identify_packet_loss.
  private mutating func identifyLosses(_ ack: inout ACKState, _ net: inout NetNamespace) {
    guard !sent.isEmpty else { return }
    guard hasSACK else {
      findFirstLost(hasAdvanced: ack.flags.contains(.advanced), &net)
      return
    }
    let before = retransmittedOut
    if findLosses(&net) { ack.flags.remove(.setsTimer) }
    if before > retransmittedOut { ack.flags.insert(.lostRetransmission) }
  }

  /// What came in while all counts as lost (tcp_process_loss).
  private mutating func processLoss(
    _ ack: inout ACKState, isDuplicate: Bool, _ net: inout NetNamespace
  ) {
    let isOver = !isBefore(sendUnacknowledged, recoveryPoint)
    if ack.flags.contains(.advanced), undoLoss(byFRTO: false, &net) { return }
    if isFRTO {
      // What was never sent again has come: nothing was lost but time.
      if ack.flags.contains(.originalSacked), undoLoss(byFRTO: true, &net) { return }
      if isAfter(sendNext, recoveryPoint) {
        if ack.flags.contains(.dataSacked) || isDuplicate { isFRTO = false }
      } else if ack.flags.contains(.advanced), !isOver {
        recoveryPoint = sendNext
        // Something new goes now, and what is said of it decides.
        if hasUnsent, isAfter(windowEnd, sendNext) {
          ack.transmission = .new
          return
        }
        isFRTO = false
      }
    }
    if isOver {
      _ = undoRecovery(&net)
      return
    }
    if !hasSACK {
      // Duplicates of what was sent after the timeout count again.
      if isAfter(sendNext, recoveryPoint), isDuplicate {
        addDuplicate(isMarked: ack.flags.contains(.congestionEcho), &net)
      } else if ack.flags.contains(.advanced) {
        sackedOut = 0
      }
    }
    ack.transmission = .lost
  }

  // MARK: Entering

  /// tcp_enter_recovery.
  mutating func enterRecovery(isMarked: Bool, _ net: inout NetNamespace) {
    // The clock of what is sent again begins with this recovery.
    if !hasRetransmitted { retransmitStamp = 0 }
    net.snmp[hasSACK ? .tcpExtTCPSackRecovery : .tcpExtTCPRenoRecovery] &+= 1
    priorThreshold = 0
    beginUndo()
    if !isReducing {
      if !isMarked { priorThreshold = currentThreshold }
      beginReduction()
    }
    setCongestion(.recovery)
  }

  private mutating func beginUndo() {
    undoMarker = sendUnacknowledged
    undoRetransmits = retransmittedOut
    if tailProbeEnd != 0, isTailProbeRetransmission { undoRetransmits += 1 }
    if undoRetransmits == 0 { undoRetransmits = -1 }
  }

  /// A timeout: what was on its way counts as lost, but what was sent just now (tcp_enter_loss).
  mutating func enterLoss(_ net: inout NetNamespace) {
    let isNew = congestion < .recovery
    markAllLost(&net)
    if congestion <= .disorder || !isAfter(recoveryPoint, sendUnacknowledged)
      || congestion == .loss && retransmits == 0
    {
      priorThreshold = currentThreshold
      priorWindow = congestionWindow
      slowStartThreshold = reducedThreshold()
      congestionEvent(.loss)
      beginUndo()
    }
    congestionWindow = inFlight + 1
    acknowledgedCount = 0
    windowStamp = mstamp
    if congestion <= .disorder, sackedOut >= net.tcp[.reordering] {
      reordering = min(reordering, net.tcp[.reordering])
    }
    setCongestion(.loss)
    recoveryPoint = sendNext
    tailProbeEnd = 0
    queueWindowReduced()
    isFRTO = net.tcp.isOn(.frto) && (isNew || retransmits > 0)
  }

  /// tcp_timeout_mark_lost.
  private mutating func markAllLost(_ net: inout NetNamespace) {
    guard !sent.isEmpty else { return }
    isReneging = sent[sent.head].flags.contains(.sacked)
    if isReneging {
      net.snmp[.tcpExtTCPSACKReneging] &+= 1
      sackedOut = 0
    } else if !hasSACK {
      sackedOut = 0
    }
    var number = sent.head
    while number != sent.tail {
      if isReneging {
        sent[number].flags.remove(.sacked)
      } else if number != sent.head, hasSACK, timeLeft(sent[number], window: 0) > 0 {
        // Sent a moment ago: RACK will see.
        number &+= 1
        continue
      }
      markLost(number, &net)
      number &+= 1
    }
    retransmitHint = nil
  }

  // MARK: Undoing

  /// Whether a reduction was a mistake (tcp_may_undo): all that was sent again came twice, or the first acknowledgment
  /// is of what was sent before it.
  private var mayUndo: Bool { undoMarker != nil && (undoRetransmits == 0 || wasOnlyDelayed) }

  /// Eifel's detection (tcp_packet_delayed).
  private var wasOnlyDelayed: Bool {
    if retransmitStamp == 0 { return true }
    return hasTimestamps && echo != 0 && isBefore(echo, retransmitTimestamp)
  }

  /// tcp_undo_cwnd_reduction.
  private mutating func undoReduction(unmarksLosses: Bool) {
    if unmarksLosses {
      var number = sent.head
      while number != sent.tail {
        sent[number].flags.remove(.lost)
        number &+= 1
      }
      lostOut = 0
      retransmitHint = nil
    }
    if priorThreshold > 0 {
      congestionWindow = undoneWindow()
      if priorThreshold > slowStartThreshold {
        slowStartThreshold = priorThreshold
        ecn.queuesCWR = false
      }
    }
    windowStamp = mstamp
    undoMarker = nil
    // What has been unmarked is looked at again.
    rack.hasAdvanced = true
  }

  /// A recovery is over (tcp_try_undo_recovery); true: it stays, so that without SACK old duplicates begin no new one.
  private mutating func undoRecovery(_ net: inout NetNamespace) -> Bool {
    if mayUndo {
      net.snmp[congestion == .loss ? .tcpExtTCPLossUndo : .tcpExtTCPFullUndo] &+= 1
      undoReduction(unmarksLosses: false)
    } else if rack.persistence > 0 {
      rack.persistence -= 1
    }
    if staysAtRecoveryPoint() { return true }
    setCongestion(.open)
    isReneging = false
    return false
  }

  /// tcp_is_non_sack_preventing_reopen.
  private mutating func staysAtRecoveryPoint() -> Bool {
    guard sendUnacknowledged == recoveryPoint, !hasSACK else { return false }
    if !hasRetransmitted { retransmitStamp = 0 }
    return true
  }

  /// tcp_try_undo_dsack.
  private mutating func undoByDuplicates(_ net: inout NetNamespace) -> Bool {
    guard undoMarker != nil, undoRetransmits == 0 else { return false }
    rack.persistence = min(RACK.persistentRecoveries, rack.persistence + 1)
    net.snmp[.tcpExtTCPDSACKUndo] &+= 1
    undoReduction(unmarksLosses: false)
    return true
  }

  /// tcp_try_undo_loss.
  private mutating func undoLoss(byFRTO: Bool, _ net: inout NetNamespace) -> Bool {
    guard byFRTO || mayUndo else { return false }
    undoReduction(unmarksLosses: true)
    net.snmp[.tcpExtTCPLossUndo] &+= 1
    if byFRTO { net.snmp[.tcpExtTCPSpuriousRTOs] &+= 1 }
    retransmits = 0
    if staysAtRecoveryPoint() { return true }
    if byFRTO || hasSACK {
      setCongestion(.open)
      isReneging = false
    }
    return true
  }

  /// A part of a recovery was acknowledged, of what was never sent again (tcp_try_undo_partial); true: what was sent
  /// again is still on its way, and nothing more goes before it.
  private mutating func undoPart(_ before: UInt32, _ net: inout NetNamespace) -> Bool {
    guard undoMarker != nil, wasOnlyDelayed else { return false }
    noteReordering(before, byTimestamp: true, &net)
    if retransmittedOut > 0 { return true }
    if !hasRetransmitted { retransmitStamp = 0 }
    undoReduction(unmarksLosses: true)
    net.snmp[.tcpExtTCPPartialUndo] &+= 1
    keepOpen()
    return false
  }

  // MARK: Opening

  /// tcp_try_keep_open.
  mutating func keepOpen() {
    let phase: CongestionPhase = leftOut > 0 || hasRetransmitted ? .disorder : .open
    guard congestion != phase else { return }
    setCongestion(phase)
    recoveryPoint = sendNext
  }

  /// tcp_try_to_open.
  private mutating func tryToOpen(_ isMarked: Bool) {
    if !hasRetransmitted { retransmitStamp = 0 }
    if isMarked { enterReduction() }
    if congestion != .cwr { keepOpen() }
  }

  /// What is longer than a path takes now is sent again at once, and the window stays (tcp_simple_retransmit).
  mutating func resendLarge(_ net: inout NetNamespace) {
    guard !sent.isEmpty else { return }
    if !hasSACK { sackedOut = 0 }
    let before = lostOut
    var number = sent.head
    while number != sent.tail {
      if Int(sent[number].end &- sent[number].start) > mss { markLost(number, &net) }
      number &+= 1
    }
    guard lostOut > before, congestion != .loss else { return }
    recoveryPoint = sendNext
    slowStartThreshold = currentThreshold
    priorThreshold = 0
    undoMarker = nil
    setCongestion(.loss)
  }

  // MARK: ECN

  /// The next new segment tells that the window is smaller (tcp_ecn_queue_cwr).
  mutating func queueWindowReduced() {
    if ecn.isOn { ecn.queuesCWR = true }
  }
}
