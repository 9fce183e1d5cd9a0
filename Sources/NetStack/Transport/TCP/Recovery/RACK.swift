// SPDX-License-Identifier: GPL-2.0-or-later

// Loss found by time (RACK-TLP, RFC 8985; net/ipv4/tcp_recovery.c): a segment is lost when one that was sent after it has
// arrived and a round trip, with some room for reordering, has passed since it was sent. The kernel finds losses in no
// other way since RFC 6675's counting of duplicates went out of it (6.17); without SACK, duplicates are counted.

/// What RACK keeps of a connection (tp->rack).
struct RACK {
  /// The segment sent last of those that have arrived: when, its end, and the microseconds that it took.
  var sentAt: Int64 = 0
  var sending: UInt32 = 0
  var end: UInt32 = 0
  var roundTripTime: Int64 = 0
  /// Something has arrived since losses were looked for.
  var hasAdvanced = false
  /// The window for reordering: quarters of the least round-trip time; recoveries that it is kept for.
  var steps = 1
  var persistence = 0
  var hasDSACK = false
  var lastDelivered: UInt32 = 0

  /// Whether what has arrived was sent after this (rack_sent_after). Time stands still while a burst is worked on, which
  /// the kernel's does not: of what was sent at one time, the number tells what went first.
  func isLater(than segment: SentSegment) -> Bool {
    guard sentAt == segment.sentAt else { return sentAt > segment.sentAt }
    return sending == segment.sending ? isAfter(end, segment.end) : isAfter(sending, segment.sending)
  }

  static let persistentRecoveries = 16
  /// `tcp_recovery`: the window never grows; three duplicates do not close it.
  static let staticWindow = 2
  static let noDuplicateThreshold = 4
}

extension TCPSock {
  /// A segment has arrived (tcp_rack_advance).
  mutating func advanceRACK(_ segment: SentSegment) {
    let time = (mstamp - segment.sentAt) / 1000
    // Faster than the path: this may be of the first sending.
    if segment.isRetransmission, time < rtt.minimum.value { return }
    rack.hasAdvanced = true
    rack.roundTripTime = time
    if !rack.isLater(than: segment) {
      rack.sentAt = segment.sentAt
      rack.sending = segment.sending
      rack.end = segment.end
    }
  }

  /// How long reordering is waited for (tcp_rack_reo_wnd).
  private func reorderingWindow(_ settings: TCPSettings) -> Int64 {
    if reorderingSeen == 0 {
      if congestion >= .recovery { return 0 }
      if sackedOut >= reordering, settings[.recovery] & RACK.noDuplicateThreshold == 0 { return 0 }
    }
    let least = rtt.minimum.value == .max ? Int64(UInt32.max) : rtt.minimum.value
    return min((least >> 2) * Int64(rack.steps), rtt.smoothed >> 3)
  }

  /// Microseconds until a segment counts as lost (tcp_rack_skb_timeout).
  func timeLeft(_ segment: SentSegment, window: Int64) -> Int64 {
    rack.roundTripTime + window - (mstamp - segment.sentAt) / 1000
  }

  /// Marks what is lost; the answer is when to look again, in microseconds, 0 for never (tcp_rack_detect_loss).
  private mutating func detectLoss(_ net: inout NetNamespace) -> Int64 {
    let window = reorderingWindow(net.tcp)
    var timeout: Int64 = 0
    var next = sent.oldest
    while let number = next {
      next = sent.later(number)
      let segment = sent[number]
      // Those that are lost already and wait to be sent again.
      if segment.flags.contains(.lost), !segment.flags.contains(.retransmitted) { continue }
      guard rack.isLater(than: segment) else { break }
      let left = timeLeft(segment, window: window)
      if left <= 0 {
        markLost(number, &net)
        sent.unlink(number)
      } else {
        timeout = max(timeout, left)
      }
    }
    return timeout
  }

  /// tcp_rack_mark_lost; true: a timer waits for what may be reordered.
  mutating func findLosses(_ net: inout NetNamespace) -> Bool {
    guard rack.hasAdvanced else { return false }
    rack.hasAdvanced = false
    let timeout = detectLoss(&net)
    guard timeout > 0 else { return false }
    setTimer(.reorder, after: min(timeout * 1000 + Self.leastTimer, rtt.timeout))
    return true
  }

  /// The timer that waited for reordering (tcp_rack_reo_timeout); true: something is to be sent again.
  mutating func reorderTimeout(_ net: inout NetNamespace) -> Bool {
    let (before, lostBefore) = (inFlight, lost)
    _ = detectLoss(&net)
    guard before != inFlight else { return false }
    if congestion != .recovery {
      enterRecovery(isMarked: false, &net)
      if algorithm != .bbr { reduceWindow(1, lost: Int(lost &- lostBefore), []) }
    }
    return true
  }

  /// D-SACKs widen the window for reordering, sixteen recoveries without one narrow it again
  /// (tcp_rack_update_reo_wnd).
  mutating func updateReorderingWindow(_ sample: RateSample, _ settings: TCPSettings) {
    guard settings[.recovery] & RACK.staticWindow == 0, sample.priorDelivered != 0 else { return }
    // A round trip must pass between two steps.
    if isBefore(sample.priorDelivered, rack.lastDelivered) { rack.hasDSACK = false }
    if rack.hasDSACK {
      rack.steps = min(rack.steps + 1, 255)
      rack.hasDSACK = false
      rack.lastDelivered = delivery.delivered
      rack.persistence = RACK.persistentRecoveries
    } else if rack.persistence == 0 {
      rack.steps = 1
    }
  }

  /// A segment counts as lost (tcp_mark_skb_lost).
  mutating func markLost(_ number: UInt32, _ net: inout NetNamespace) {
    let flags = sent[number].flags
    guard !flags.contains(.sacked) else { return }
    if let hint = retransmitHint, number &- sent.head < hint &- sent.head { retransmitHint = number }
    if flags.contains(.lost) {
      guard flags.contains(.retransmitted) else { return }
      // What was sent again is lost again.
      sent[number].flags.remove(.retransmitted)
      retransmittedOut -= 1
      net.snmp[.tcpExtTCPLostRetransmit] &+= 1
    } else {
      lostOut += 1
      sent[number].flags.insert(.lost)
    }
    lost &+= 1
  }

  // MARK: Without SACK

  /// NewReno (RFC 6582): enough duplicates, or a part of a recovery acknowledged, mean that the first is lost.
  mutating func findFirstLost(hasAdvanced: Bool, _ net: inout NetNamespace) {
    let isLost =
      congestion < .recovery ? sackedOut >= reordering : congestion == .recovery && hasAdvanced
    guard isLost, !sent[sent.head].flags.contains(.lost) else { return }
    markLost(sent.head, &net)
  }

  // MARK: Timer

  /// TCP_TIMEOUT_MIN: two ticks.
  static let leastTimer: Int64 = 2_000_000

  /// Sets the timer of sending, whatever it was for (tcp_reset_xmit_timer).
  mutating func setTimer(_ timer: TCPPendingTimer, after interval: Int64) {
    pending = timer
    deadline = mstamp + interval
  }

  /// RTO, counted from the sending of the first segment where another timer stands in between (tcp_rearm_rto).
  mutating func setRetransmitTimer() {
    guard !sent.isEmpty else {
      if pending != .probe { pending = .none }
      return
    }
    var timeout = rtt.timeout
    if pending == .reorder || pending == .lossProbe {
      timeout = max(sent[sent.head].sentAt + rtt.timeout - mstamp, 1000)
    }
    setTimer(.retransmit, after: timeout)
  }

  /// The tail of a flight is probed after two round trips (tcp_schedule_loss_probe).
  mutating func scheduleTailProbe(isAdvancing: Bool, _ settings: TCPSettings) -> Bool {
    let mode = settings[.earlyRetransmit]
    guard mode == 3 || mode == 4, !sent.isEmpty, hasSACK, congestion == .open || congestion == .cwr else {
      return false
    }
    var timeout = Self.initialTimeout
    if rtt.smoothed > 0 {
      timeout = (rtt.smoothed >> 2) * 1000
      timeout += sent.count == 1 ? settings.minimumTimeout : Self.leastTimer
    }
    let limit = isAdvancing ? rtt.timeout : sent[sent.head].sentAt + rtt.timeout - mstamp
    if limit > 0 { timeout = min(timeout, limit) }
    setTimer(.lossProbe, after: min(timeout, settings.maximumTimeout))
    return true
  }

  /// tcp_set_xmit_timer.
  mutating func setSendTimer(_ settings: TCPSettings) {
    if !scheduleTailProbe(isAdvancing: true, settings) { setRetransmitTimer() }
  }

  /// What an acknowledgment says of a tail's probe (tcp_process_tlp_ack).
  mutating func noteTailProbe(
    _ acknowledged: UInt32, _ flags: ACKFlags, _ net: inout NetNamespace
  ) {
    guard !isBefore(acknowledged, tailProbeEnd) else { return }
    if !isTailProbeRetransmission || flags.contains(.probeDuplicateTold) {
      tailProbeEnd = 0
    } else if isAfter(acknowledged, tailProbeEnd) {
      // The probe repaired a loss that nobody has told of: the network was full.
      beginReduction()
      setCongestion(.cwr)
      endReduction()
      keepOpen()
      net.snmp[.tcpExtTCPLossProbeRecovery] &+= 1
    } else if flags.isDisjoint(with: [.advanced, .notDuplicate, .dataSacked]) {
      tailProbeEnd = 0
    }
  }
}
