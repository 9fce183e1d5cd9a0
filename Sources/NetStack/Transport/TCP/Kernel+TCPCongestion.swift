// SPDX-License-Identifier: GPL-2.0-or-later

// Congestion control: NewReno (RFC 5681, RFC 6582, RFC 3042; net/ipv4/tcp_input.c, tcp_cong.c), windows in segments.

extension Kernel {
  /// An acknowledgment has moved the left edge.
  mutating func tcpCongestionAcknowledged(_ index: TCPIndex, _ bytes: Int, wasLimited: Bool) {
    let segments = max((bytes + tcps[index].mss - 1) / tcps[index].mss, 1)
    let isPast = !isBefore(tcps[index].sendUnacknowledged, tcps[index].recoveryPoint)
    switch tcps[index].congestion {
    case .open:
      tcps[index].duplicateACKs = 0
      if wasLimited { tcps[index].grow(segments) }
    case .recovery:
      guard isPast else {
        // A partial acknowledgment: the next hole begins where it ends.
        tcpRetransmitFirst(index)
        tcps[index].congestionWindow = max(tcps[index].congestionWindow - segments + 1, 1)
        return
      }
      tcps[index].congestion = .open
      tcps[index].duplicateACKs = 0
      tcps[index].congestionWindow = tcps[index].slowStartThreshold
    case .loss:
      if isPast { tcps[index].congestion = .open }
      tcps[index].duplicateACKs = 0
      tcps[index].grow(segments)
    }
  }

  /// An acknowledgment that says nothing new: something behind the left edge has arrived.
  mutating func tcpCongestionDuplicate(_ index: TCPIndex) {
    tcps[index].duplicateACKs += 1
    switch tcps[index].congestion {
    case .open:
      guard tcps[index].duplicateACKs >= 3,
        !isBefore(tcps[index].sendUnacknowledged, tcps[index].recoveryPoint)
      else { return }
      let namespace = sockets[tcps[index].socket].namespace
      namespaces[namespace].snmp[.tcpExtTCPRenoRecovery] &+= 1
      tcps[index].reduceThreshold()
      tcps[index].congestion = .recovery
      tcps[index].recoveryPoint = tcps[index].sendMaximum
      tcps[index].congestionWindow = tcps[index].slowStartThreshold + 3
      tcpRetransmitFirst(index)
    case .recovery: tcps[index].congestionWindow += 1
    case .loss: break
    }
  }

  /// A timeout: all that is on its way counts as lost (tcp_enter_loss).
  mutating func tcpEnterLoss(_ index: TCPIndex) {
    if tcps[index].congestion != .loss { tcps[index].reduceThreshold() }
    tcps[index].congestion = .loss
    tcps[index].duplicateACKs = 0
    tcps[index].recoveryPoint = tcps[index].sendMaximum
    tcps[index].congestionWindow = 1
    tcps[index].acknowledgedCount = 0
  }
}

extension TCPSock {
  /// Slow start up to the threshold, then one segment a window.
  fileprivate mutating func grow(_ segments: Int) {
    var rest = segments
    if congestionWindow < slowStartThreshold {
      let step = min(rest, slowStartThreshold - congestionWindow)
      congestionWindow += step
      rest -= step
    }
    guard rest > 0 else { return }
    acknowledgedCount += rest
    if acknowledgedCount >= congestionWindow {
      acknowledgedCount -= congestionWindow
      congestionWindow += 1
    }
  }

  /// Half of what is on its way, and two at least (RFC 5681, equation 4).
  fileprivate mutating func reduceThreshold() {
    let outstanding = Int(sendMaximum &- sendUnacknowledged) / max(mss, 1)
    slowStartThreshold = max(min(outstanding, congestionWindow) / 2, 2)
  }
}
