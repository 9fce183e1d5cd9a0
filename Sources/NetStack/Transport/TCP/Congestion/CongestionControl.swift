// SPDX-License-Identifier: GPL-2.0-or-later

// Which congestion control a connection has, and Reno, the plainest (net/ipv4/tcp_cong.c; RFC 5681). What the kernel
// reaches by `tcp_congestion_ops` is a switch here. Windows count segments.

/// A congestion control.
public enum CongestionAlgorithm: UInt8, Sendable, CaseIterable {
  case reno, cubic, bbr

  /// As TCP_CONGESTION and `tcp_congestion_control` call it.
  public var name: String {
    switch self {
    case .reno: "reno"
    case .cubic: "cubic"
    case .bbr: "bbr"
    }
  }

  init?(name: String) {
    guard let found = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = found
  }
}

/// What the sender thinks of the network (`TCP_CA_*`), in the order of how bad it is.
public enum CongestionPhase: UInt8, Sendable, Comparable {
  /// All is well.
  case open
  /// Something came out of order, or was lost.
  case disorder
  /// The network said that it is full; no loss.
  case cwr
  /// What was lost is sent again.
  case recovery
  /// A timeout: all that was on its way counts as lost.
  case loss

  /// By how bad it is.
  public static func < (a: CongestionPhase, b: CongestionPhase) -> Bool { a.rawValue < b.rawValue }
}

/// What a congestion control hears of (`CA_EVENT_*`).
enum CongestionEvent {
  /// The first segment after nothing was on its way.
  case transmitStart
  case loss
  case completeCWR
}

extension TCPSock {
  static let infiniteThreshold = 0x7fff_ffff

  var isInSlowStart: Bool { congestionWindow < slowStartThreshold }
  /// While PRR says what may be sent (tcp_in_cwnd_reduction).
  var isReducing: Bool { congestion == .cwr || congestion == .recovery }

  /// Begins with a congestion control, at the beginning or later (tcp_init_congestion_control).
  mutating func beginCongestionControl() {
    priorThreshold = 0
    switch algorithm {
    case .reno: break
    case .cubic:
      cubic = Cubic()
      resetHyStart()
    case .bbr: beginBBR()
    }
  }

  mutating func setCongestion(_ phase: CongestionPhase) {
    if phase == .loss {
      switch algorithm {
      case .reno: break
      case .cubic:
        cubic = Cubic()
        resetHyStart()
      case .bbr: bbrEnterLoss()
      }
    }
    congestion = phase
  }

  /// What the threshold becomes when the network is too full (ssthresh).
  mutating func reducedThreshold() -> Int {
    switch algorithm {
    case .reno: return max(congestionWindow >> 1, 2)
    case .cubic: return cubicThreshold()
    case .bbr:
      saveBBRWindow()
      return slowStartThreshold
    }
  }

  /// The window to go back to when a reduction was a mistake (undo_cwnd).
  mutating func undoneWindow() -> Int {
    if algorithm == .bbr { return bbrUndo() }
    return max(congestionWindow, priorWindow)
  }

  mutating func congestionEvent(_ event: CongestionEvent) {
    guard event == .transmitStart else { return }
    switch algorithm {
    case .reno: break
    case .cubic: cubicRestart()
    case .bbr: bbrRestart()
    }
  }

  /// tcp_cong_control: how much may be on its way from now on.
  mutating func controlCongestion(
    _ flags: ACKFlags, _ sample: RateSample, _ net: inout NetNamespace
  ) {
    if algorithm == .bbr {
      bbrControl(sample)
      return
    }
    if isReducing {
      reduceWindow(sample.acknowledged, lost: sample.losses, flags)
    } else if mayRaiseWindow(flags, net.tcp[.reordering]) {
      guard isWindowLimited else {
        updatePacingRate(net.tcp)
        return
      }
      var acknowledged = sample.acknowledged
      if isInSlowStart {
        acknowledged = slowStart(acknowledged)
      }
      if acknowledged > 0 {
        avoidCongestion(
          algorithm == .cubic ? cubicCount(acknowledged) : congestionWindow, acknowledged)
      }
    }
    updatePacingRate(net.tcp)
  }

  /// tcp_may_raise_cwnd: while packets are known to be reordered, SACK is progress too.
  private func mayRaiseWindow(_ flags: ACKFlags, _ standard: Int) -> Bool {
    reordering > standard
      ? !flags.isDisjoint(with: .forwardProgress) : flags.contains(.dataAcknowledged)
  }

  /// tcp_is_cwnd_limited.
  var isWindowLimited: Bool {
    wasWindowLimited || isInSlowStart && congestionWindow < 2 * mostOut
  }

  /// tcp_slow_start; the answer is what is left for congestion avoidance.
  private mutating func slowStart(_ acknowledged: Int) -> Int {
    let window = min(congestionWindow + acknowledged, slowStartThreshold)
    let rest = acknowledged - (window - congestionWindow)
    congestionWindow = window
    return rest
  }

  /// A segment more for every `count` that were acknowledged (tcp_cong_avoid_ai).
  private mutating func avoidCongestion(_ count: Int, _ acknowledged: Int) {
    if acknowledgedCount >= count {
      acknowledgedCount = 0
      congestionWindow += 1
    }
    acknowledgedCount += acknowledged
    if acknowledgedCount >= count {
      let steps = acknowledgedCount / count
      acknowledgedCount -= steps * count
      congestionWindow += steps
    }
  }

  // MARK: Proportional rate reduction

  /// tcp_init_cwnd_reduction.
  mutating func beginReduction() {
    recoveryPoint = sendNext
    tailProbeEnd = 0
    acknowledgedCount = 0
    priorWindow = congestionWindow
    reductionDelivered = 0
    reductionSent = 0
    slowStartThreshold = reducedThreshold()
    queueWindowReduced()
  }

  /// PRR: what was delivered decides what may be sent (RFC 6937; tcp_cwnd_reduction).
  mutating func reduceWindow(_ delivered: Int, lost: Int, _ flags: ACKFlags) {
    guard delivered > 0, priorWindow > 0 else { return }
    let room = slowStartThreshold - inFlight
    reductionDelivered += delivered
    var count: Int
    if room < 0 {
      count =
        (slowStartThreshold * reductionDelivered + priorWindow - 1) / priorWindow - reductionSent
    } else {
      count = max(reductionDelivered - reductionSent, delivered)
      if flags.contains(.advanced), lost == 0 { count += 1 }
      count = min(room, count)
    }
    // The first retransmission goes whatever the window says.
    count = max(count, reductionSent > 0 ? 0 : 1)
    congestionWindow = max(inFlight + count, 1)
  }

  /// tcp_end_cwnd_reduction.
  mutating func endReduction() {
    guard algorithm != .bbr else { return }
    if slowStartThreshold < Self.infiniteThreshold, congestion == .cwr || undoMarker != nil {
      congestionWindow = slowStartThreshold
      windowStamp = mstamp
    }
    congestionEvent(.completeCWR)
  }

  /// The window shrinks, though nothing was lost (tcp_enter_cwr).
  mutating func enterReduction() {
    priorThreshold = 0
    guard congestion < .cwr else { return }
    undoMarker = nil
    beginReduction()
    setCongestion(.cwr)
  }

  // MARK: Validation

  /// tcp_current_ssthresh: what a window reduced now would have been.
  var currentThreshold: Int {
    isReducing
      ? slowStartThreshold : max(slowStartThreshold, (congestionWindow >> 1) + (congestionWindow >> 2))
  }

  /// A window that was not used is not a window that the network has agreed to (RFC 7661 in spirit; tcp_cwnd_validate).
  mutating func validateWindow(isLimited: Bool, _ settings: TCPSettings, isStarved: Bool) {
    if !isBefore(sendUnacknowledged, windowUsageSequence) || isLimited
      || !wasWindowLimited && sent.count > mostOut
    {
      wasWindowLimited = isLimited
      mostOut = sent.count
      windowUsageSequence = sendNext
    }
    if isWindowLimited {
      windowUsed = 0
      windowStamp = mstamp
      return
    }
    windowUsed = max(windowUsed, sent.count)
    if settings.isOn(.slowStartAfterIdle), mstamp - windowStamp >= rtt.timeout, algorithm != .bbr,
      congestion == .open, isStarved
    {
      // tcp_cwnd_application_limited.
      let used = max(windowUsed, Self.initialWindow)
      if used < congestionWindow {
        slowStartThreshold = currentThreshold
        congestionWindow = (congestionWindow + used) >> 1
      }
      windowUsed = 0
      windowStamp = mstamp
    }
  }

  /// After silence nobody knows what the network takes (RFC 2861; tcp_slow_start_after_idle_check).
  mutating func restartAfterIdle(_ settings: TCPSettings) {
    guard settings.isOn(.slowStartAfterIdle), sent.isEmpty, algorithm != .bbr, lastSent != 0 else { return }
    var idle = mstamp - lastSent
    guard idle > rtt.timeout else { return }
    slowStartThreshold = currentThreshold
    let least = min(Self.initialWindow, congestionWindow)
    idle -= rtt.timeout
    while idle > 0, congestionWindow > least {
      congestionWindow >>= 1
      idle -= rtt.timeout
    }
    congestionWindow = max(congestionWindow, least)
    windowStamp = mstamp
    windowUsed = 0
  }

  // MARK: Pacing

  /// Twice the window a round trip in slow start, a fifth more than it otherwise (tcp_update_pacing_rate).
  mutating func updatePacingRate(_ settings: TCPSettings) {
    let ratio =
      congestionWindow < slowStartThreshold / 2
      ? settings[.pacingSlowStartRatio] : settings[.pacingAvoidanceRatio]
    var rate = UInt64(max(mss, 1)) &* 80_000 &* UInt64(ratio) &* UInt64(max(congestionWindow, sent.count))
    if rtt.smoothed > 0 { rate /= UInt64(rtt.smoothed) }
    pacingRate = min(rate, maximumPacingRate)
  }
}
