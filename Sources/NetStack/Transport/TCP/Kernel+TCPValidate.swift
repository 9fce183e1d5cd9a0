// SPDX-License-Identifier: GPL-2.0-or-later

// Whether a connection looks at a segment: its timestamp, its place, RST and SYN, in this order (RFC 9293 3.10.7.4,
// RFC 7323 5, RFC 5961; tcp_validate_incoming), and how those are answered that it does not look at.

extension TCPSock {
  /// Whether a timestamp is older than what was seen, by more than `slack`. What was seen counts for 24 days, and not at
  /// all when it was zero, which some say in their SYN (tcp_paws_check).
  @inline(__always)
  static func isOld(_ value: UInt32, _ recent: UInt32, seen: Int64, at now: Int64, slack: Int32 = 0) -> Bool {
    Int32(bitPattern: recent &- value) > slack && recent != 0 && now - seen < 24 * 86400 * 1_000_000_000
  }

  /// An acknowledgment that says nothing new may have been overtaken on its way (tcp_disordered_ack).
  fileprivate func isOvertaken(_ segment: TCPSegment, _ timestamp: UInt32) -> Bool {
    segment.flags.contains(.ack) && segment.isBare && segment.sequence == receiveNext
      && segment.acknowledgment == sendUnacknowledged && !mayTakeWindow(segment)
      && Int64(Int32(bitPattern: recentTimestamp &- timestamp)) <= rtt.timeout * 12 / 10_000_000
  }

  /// Whether a reset ends the connection: with the very next number, the one that would have been it before the other
  /// end's FIN or had nothing been lost (RFC 5961 3.2, tcp_reset_check).
  fileprivate func isEnded(byResetAt sequence: UInt32) -> Bool {
    if sequence == receiveNext || hasSACK && sequence == selective.end { return true }
    return isBeforeFin(sequence)
  }

  fileprivate func isBeforeFin(_ sequence: UInt32) -> Bool {
    (state == .closeWait || state == .lastAck || state == .closing) && sequence == receiveNext &- 1
  }

  /// tcp_sequence; `isRead`: nothing that was received waits.
  fileprivate func place(of segment: TCPSegment, isRead: Bool) -> SegmentPlace {
    if isBefore(segment.end, windowUpdate) { return .outside }
    let limit = receiveNext &+ openWindow
    // A FIN may stand behind the window.
    guard isAfter(segment.end &- (segment.flags.contains(.fin) ? 1 : 0), limit) else { return .inside }
    if isAfter(segment.sequence, limit) { return .outside }
    return isRead ? .inside : .beyond
  }
}

/// Where a segment lies.
private enum SegmentPlace {
  case inside
  case outside
  /// Its end is behind the window.
  case beyond
}

extension Kernel {
  /// Whether a segment may be looked at.
  mutating func tcpValidate(_ index: TCPIndex, _ segment: TCPSegment) -> Bool {
    let namespace = sockets[tcps[index].socket].namespace
    let isRST = segment.flags.contains(.rst)
    // A reset counts even when it is old.
    if !isRST, let timestamp = segment.options.timestamp, tcps[index].hasTimestamps,
      TCPSock.isOld(
        timestamp.value, tcps[index].recentTimestamp, seen: tcps[index].recentTimestampTime, at: cpu.now,
        slack: 1),
      !tcps[index].isOvertaken(segment, timestamp.value)
    {
      refuseOld(index, segment, namespace)
      return false
    }
    let place = tcps[index].place(of: segment, isRead: sockets[tcps[index].socket].receiveQueue.isEmpty)
    guard place == .inside else {
      if place == .beyond { namespaces[namespace].snmp[.tcpExtBeyondWindow] &+= 1 }
      if isRST {
        if tcps[index].isBeforeFin(segment.sequence) { tcpReset(index) }
      } else if segment.flags.contains(.syn) {
        challengeSYN(index, namespace)
      } else {
        answerOutOfWindow(index, segment, .tcpExtTCPACKSkippedSeq, namespace)
      }
      return false
    }
    if isRST {
      if tcps[index].isEnded(byResetAt: segment.sequence) {
        tcpReset(index)
      } else {
        tcpChallenge(index, namespace)
      }
      return false
    }
    if segment.flags.contains(.syn), !tcpIsOtherSYNACK(index, segment) {
      challengeSYN(index, namespace)
      return false
    }
    return true
  }

  /// PAWS: it is older than what has been seen (RFC 7323 5.3).
  private mutating func refuseOld(_ index: TCPIndex, _ segment: TCPSegment, _ namespace: NamespaceIndex) {
    if segment.flags.contains(.syn) { return challengeSYN(index, namespace) }
    if segment.flags.contains(.ack), segment.isBare, isBefore(segment.sequence, tcps[index].receiveNext) {
      // Acknowledgments are often overtaken.
      namespaces[namespace].snmp[.tcpExtPAWSOldAck] &+= 1
      return
    }
    namespaces[namespace].snmp[.tcpExtPAWSEstab] &+= 1
    answerOutOfWindow(index, segment, .tcpExtTCPACKSkippedPAWS, namespace)
  }

  /// In a simultaneous open the other end's SYN comes once more, with the acknowledgment of ours.
  private func tcpIsOtherSYNACK(_ index: TCPIndex, _ segment: TCPSegment) -> Bool {
    tcps[index].state == .synReceived && segment.flags.contains(.ack)
      && segment.end == segment.sequence &+ 1 && segment.end == tcps[index].receiveNext
      && segment.acknowledgment == tcps[index].sendNext
  }

  // MARK: Answers

  /// What is outside the window is answered with where we are (RFC 9293 3.10.7.4, tcp_send_dupack).
  private mutating func answerOutOfWindow(
    _ index: TCPIndex, _ segment: TCPSegment, _ skipped: SNMPCounter, _ namespace: NamespaceIndex
  ) {
    if segment.length == 0, !segment.flags.contains(.syn) {
      guard mayAnswer(index, namespace) else {
        namespaces[namespace].snmp[skipped] &+= 1
        return
      }
    }
    if segment.end != segment.sequence, isBefore(segment.sequence, tcps[index].receiveNext) {
      namespaces[namespace].snmp[.tcpExtDelayedACKLost] &+= 1
      tcpEnterQuickACK(index)
      let next = tcps[index].receiveNext
      let end = isAfter(segment.end, next) ? next : segment.end
      tcpSetDuplicate(index, TCPRange(start: segment.sequence, end: end))
    }
    tcpSendACK(index)
  }

  private mutating func challengeSYN(_ index: TCPIndex, _ namespace: NamespaceIndex) {
    namespaces[namespace].snmp[.tcpExtTCPSYNChallenge] &+= 1
    tcpChallenge(index, namespace)
  }

  /// RFC 5961's challenge.
  mutating func tcpChallenge(_ index: TCPIndex, _ namespace: NamespaceIndex) {
    guard mayAnswer(index, namespace) else {
      namespaces[namespace].snmp[.tcpExtTCPACKSkippedChallenge] &+= 1
      return
    }
    // One budget for all connections, each second (tcp_challenge_ack_limit).
    guard namespaces[namespace].challenges.take(namespaces[namespace].tcp[.challengeACKLimit], cpu.now) else {
      return
    }
    namespaces[namespace].snmp[.tcpExtTCPChallengeACK] &+= 1
    tcpSendACK(index)
  }

  private mutating func mayAnswer(_ index: TCPIndex, _ namespace: NamespaceIndex) -> Bool {
    guard tcpMayAnswerOutOfWindow(since: tcps[index].lastOutOfWindowACK, namespace) else { return false }
    tcps[index].lastOutOfWindowACK = cpu.now
    return true
  }

  /// Whether what bears neither data nor news may be answered again, so that two ends do not answer each other for ever
  /// (tcp_oow_rate_limited).
  func tcpMayAnswerOutOfWindow(since last: Int64, _ namespace: NamespaceIndex) -> Bool {
    last == .min || cpu.now - last >= Int64(namespaces[namespace].tcp[.invalidRateLimit]) * 1_000_000
  }
}
