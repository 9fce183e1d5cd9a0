// SPDX-License-Identifier: GPL-2.0-or-later

// What is sent again (net/ipv4/tcp_output.c tcp_xmit_retransmit_queue, __tcp_retransmit_skb, tcp_send_loss_probe).

extension Kernel {
  /// Sends what is lost, from the first on, as far as the congestion window allows (tcp_xmit_retransmit_queue).
  mutating func tcpRetransmitQueue(_ index: TCPIndex) {
    guard !tcps[index].sent.isEmpty else { return }
    tcps[index].mstamp = cpu.now
    let namespace = sockets[tcps[index].socket].namespace
    var number = tcps[index].sent.head
    if let hint = tcps[index].retransmitHint, tcps[index].sent.contains(hint) { number = hint }
    var setsTimer = false
    // Whether the segment before this one went again just now, out of the same packet.
    var goesOn = false
    while number != tcps[index].sent.tail {
      if tcpMustPace(index) { break }
      tcps[index].retransmitHint = number
      guard tcps[index].inFlight < tcps[index].congestionWindow,
        tcps[index].retransmittedOut < tcps[index].lostOut
      else { break }
      let flags = tcps[index].sent[number].flags
      guard flags.contains(.lost), flags.isDisjoint(with: [.sacked, .retransmitted]) else {
        number &+= 1
        goesOn = false
        continue
      }
      if tcpQueueIsFull(index, tcps[index].mss) { break }
      // What was sent as one packet is sent again as one, as far as it is lost, and says PSH.
      let isFollowed = !flags.contains(.endsPacket) && tcps[index].isToFollow(number)
      guard tcpRetransmit(index, number, endsSeveral: goesOn && !isFollowed) else { break }
      goesOn = isFollowed
      namespaces[namespace].snmp[
        tcps[index].congestion == .loss ? .tcpExtTCPSlowStartRetrans : .tcpExtTCPFastRetrans] &+= 1
      if tcps[index].isReducing { tcps[index].reductionSent += 1 }
      if number == tcps[index].sent.head, tcps[index].pending != .reorder { setsTimer = true }
      number &+= 1
    }
    if setsTimer { tcps[index].setTimer(.retransmit, after: tcps[index].rtt.timeout) }
    tcpSettleTimer(index)
  }

  /// Sends one segment again and counts it as on its way (tcp_retransmit_skb). False: the window is closed to it, or
  /// there was no memory.
  mutating func tcpRetransmit(_ index: TCPIndex, _ number: UInt32, endsSeveral: Bool = false) -> Bool {
    guard tcpResend(index, number, isPushed: endsSeveral) else {
      namespaces[sockets[tcps[index].socket].namespace].snmp[.tcpExtTCPRetransFail] &+= 1
      return false
    }
    if !tcps[index].sent[number].flags.contains(.retransmitted) { tcps[index].retransmittedOut += 1 }
    tcps[index].sent[number].flags.formUnion([.retransmitted, .everRetransmitted])
    tcps[index].sent.relink(number)
    tcps[index].noteFirstRetransmission()
    return true
  }

  /// Sends the bytes of a segment again (__tcp_retransmit_skb).
  private mutating func tcpResend(_ index: TCPIndex, _ number: UInt32, isPushed: Bool = false) -> Bool {
    let namespace = sockets[tcps[index].socket].namespace
    tcps[index].mstamp = cpu.now
    tcpFollowPath(index)
    if isBefore(tcps[index].sent[number].start, tcps[index].sendUnacknowledged) {
      tcps[index].sent[number].start = tcps[index].sendUnacknowledged
    }
    var segment = tcps[index].sent[number]
    let dataEnd =
      tcps[index].isFinQueued && isAfter(segment.end, tcps[index].finSequence)
      ? tcps[index].finSequence : segment.end
    var length = Int(dataEnd &- segment.start)
    // A window that was made smaller is not passed, but by the first segment, which asks for it.
    var room = Int(Int32(bitPattern: tcps[index].windowEnd &- segment.start))
    if room <= 0 {
      guard segment.start == tcps[index].sendUnacknowledged else { return false }
      room = tcps[index].currentMSS
    }
    let most = min(tcps[index].currentMSS, room)
    if length > most {
      guard !tcps[index].sent.isFull else { return false }
      // The path takes less than it did.
      tcps[index].sent.split(number, at: segment.start &+ UInt32(most))
      tcps[index].noteSplit(number)
      segment = tcps[index].sent[number]
      length = most
    }
    var flags: TCPFlags = .ack
    let hasFin = tcps[index].isFinQueued && isAfter(segment.end, tcps[index].finSequence)
    if hasFin { flags.insert(.fin) }
    if length > 0, isPushed || segment.flags.contains(.pushed) { flags.insert(.psh) }
    guard tcpTransmit(index, segment.start, length, flags) else {
      return false
    }
    namespaces[namespace].snmp[.tcpRetransSegs] &+= 1
    tcps[index].totalRetransmits &+= 1
    tcps[index].statistics.bytesRetransmitted &+= UInt64(length)
    tcps[index].noteRetransmission(number)
    return true
  }

  /// Sends something new, or the last segment again, so that a lost tail is found before the timeout
  /// (tcp_send_loss_probe).
  mutating func tcpProbeTail(_ index: TCPIndex) {
    let namespace = sockets[tcps[index].socket].namespace
    defer {
      tcps[index].setRetransmitTimer()
      tcpSettleTimer(index)
    }
    // One at a time.
    guard tcps[index].tailProbeEnd == 0, !tcps[index].sent.isEmpty else { return }
    tcps[index].isTailProbeRetransmission = false
    let next = min(UInt32(tcps[index].unsentBytes), UInt32(tcps[index].currentMSS))
    let isOpen = !isAfter(tcps[index].sendNext &+ next, tcps[index].windowEnd)
    if tcps[index].hasUnsent, isOpen {
      guard tcpPush(index, .probe) > 0 else { return }
    } else {
      guard tcpResend(index, tcps[index].sent.tail &- 1) else { return }
      let last = tcps[index].sent.tail &- 1
      tcps[index].sent[last].flags.insert(.everRetransmitted)
      if tcps[index].sent[last].flags.contains(.linked) { tcps[index].sent.relink(last) }
      tcps[index].isTailProbeRetransmission = true
    }
    tcps[index].tailProbeEnd = tcps[index].sendNext
    namespaces[namespace].snmp[.tcpExtTCPLossProbes] &+= 1
    tcps[index].pending = .none
  }
}

extension TCPSock {
  /// Whether the segment behind one that is sent again will be as well, within the congestion window.
  fileprivate func isToFollow(_ number: UInt32) -> Bool {
    let next = number &+ 1
    guard next != sent.tail, inFlight + 1 < congestionWindow, retransmittedOut + 1 < lostOut else {
      return false
    }
    return sent[next].flags.contains(.lost) && sent[next].flags.isDisjoint(with: [.sacked, .retransmitted])
  }

  /// A segment has become two: what is counted of it is counted twice.
  fileprivate mutating func noteSplit(_ number: UInt32) {
    let flags = sent[number].flags
    if flags.contains(.sacked) { sackedOut += 1 }
    if flags.contains(.lost) { lostOut += 1 }
    if flags.contains(.retransmitted) { retransmittedOut += 1 }
    sentPackets += 1
    retransmitHint = nil
  }

  fileprivate mutating func noteRetransmission(_ number: UInt32) {
    sendings &+= 1
    sent[number].sending = sendings
    sent[number].sentAt = mstamp
    delivery.sent(&sent[number], isFirst: false, inFlight: inFlight)
  }

  /// What undoing is judged by.
  fileprivate mutating func noteFirstRetransmission() {
    if retransmitStamp == 0 {
      retransmitStamp = mstamp
      retransmitTimestamp = timestamp(at: mstamp)
    }
    undoRetransmits = max(undoRetransmits, 0) + 1
  }
}
