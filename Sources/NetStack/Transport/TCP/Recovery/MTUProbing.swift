// SPDX-License-Identifier: GPL-2.0-or-later

// Path MTU discovery without anybody's help (RFC 4821; tcp_mtup_init, tcp_mtu_probe and what becomes of a probe): a segment
// that is larger than those before it is sent now and then, and whether it arrives says what the path takes. When large
// segments vanish, the search begins below them.

/// What is known of the path, as MTUs (icsk_mtup, tp->mtu_probe).
struct MTUProbing {
  var isEnabled = false
  /// What gets through, and what may (search_low, search_high).
  var low = 0
  var high = 0
  /// The headers that every segment has, options not counted.
  var headers = 0
  /// The probe on its way, its bytes from `start` to `end`; 0: there is none.
  var size = 0
  var start: UInt32 = 0
  var end: UInt32 = 0
  /// When the search began (probe_timestamp).
  var began: Int64 = 0
}

extension Kernel {
  /// Sends a probe if it is time for one (tcp_mtu_probe): how many were sent; nil: one will be when the windows allow it,
  /// and nothing else goes before it.
  mutating func tcpProbeMTU(_ index: TCPIndex) -> Int? {
    guard tcps[index].probing.isEnabled else { return 0 }
    let namespace = sockets[tcps[index].socket].namespace
    let size: Int
    switch tcps[index].nextMTUProbe(namespaces[namespace].tcp) {
    case .none: return 0
    case .awaited: return nil
    case .due(let length): size = length
    }
    guard !tcpMustPace(index) else { return 0 }
    let start = tcps[index].sendNext
    guard tcpTransmitNew(index, size, size, hasFin: false) != nil else { return 0 }
    // Two segments' worth at once.
    tcps[index].congestionWindow -= 1
    tcps[index].beginMTUProbe(from: start, size)
    return 1
  }
}

extension TCPSock {
  private var optionLength: Int { hasTimestamps ? 12 : 0 }

  /// What the other end takes at most (mss_clamp).
  private var clampedMSS: Int { userMSS > 0 ? min(userMSS, peerMSS) : peerMSS }

  /// What a segment has in a packet of so many bytes (tcp_mtu_to_mss).
  private func segmentSize(mtu: Int, _ settings: TCPSettings) -> Int {
    max(min(mtu - probing.headers, clampedMSS), settings[.minimumSendMSS]) - optionLength
  }

  /// tcp_mss_to_mtu.
  private func mtu(segmentSize: Int) -> Int { segmentSize + optionLength + probing.headers }

  /// What one segment has, from all that limits it (tcp_sync_mss).
  mutating func setMSS(_ settings: TCPSettings) {
    let most = min(clampedMSS, pathMSS)
    if pathMSS != .max { probing.high = min(probing.high, pathMSS + probing.headers) }
    mss = max(most, settings[.minimumSendMSS]) - optionLength
    // No more than half of a window (tcp_bound_to_half_wnd).
    let bound = Int(largestWindow > 536 ? largestWindow >> 1 : largestWindow)
    if bound > 0, mss > bound { mss = max(bound, 48 - optionLength) }
    if probing.isEnabled { mss = min(mss, segmentSize(mtu: probing.low, settings)) }
  }

  /// The search begins, or may (tcp_mtup_init). Who was asked goes on with what was agreed until the first probe or a wider
  /// window.
  mutating func beginMTUProbing(headers: Int, _ settings: TCPSettings) {
    probing = MTUProbing()
    probing.headers = headers
    probing.isEnabled = settings[.mtuProbing] > 1
    probing.high = clampedMSS + headers
    probing.low = mtu(segmentSize: settings[.baseMSS])
    probing.began = mstamp
  }

  /// Large segments vanish: smaller ones may not (RFC 4821 7.7; tcp_mtu_probing).
  mutating func suspectBlackHole(_ settings: TCPSettings) {
    guard settings.isOn(.mtuProbing) else { return }
    if probing.isEnabled {
      let half = segmentSize(mtu: probing.low, settings) >> 1
      probing.low = mtu(
        segmentSize: max(
          min(settings[.baseMSS], half), settings[.mtuProbeFloor], settings[.minimumSendMSS]))
    } else {
      probing.isEnabled = true
      probing.began = mstamp
    }
    setMSS(settings)
  }

  fileprivate enum NextMTUProbe {
    case none
    case awaited
    case due(Int)
  }

  /// Whether a probe is to be sent now, and how many bytes it has.
  fileprivate mutating func nextMTUProbe(_ settings: TCPSettings) -> NextMTUProbe {
    // Not while losses are mended, and not beside SACK's blocks, which change what fits.
    guard probing.size == 0, congestion == .open, congestionWindow >= 11, selective.isEmpty, duplicate == nil
    else { return .none }
    let size = segmentSize(mtu: (probing.high + probing.low) >> 1, settings)
    let isFound = probing.high - probing.low < settings[.probeThreshold]
    guard size <= segmentSize(mtu: probing.high, settings), !isFound else {
      searchAgain(settings)
      return .none
    }
    // What tells of its loss has to follow.
    let needed = size + (reordering + 1) * mss
    guard unsentBytes >= needed, Int(sendWindow) >= needed else { return .none }
    guard !isAfter(sendNext &+ UInt32(needed), windowEnd) else { return .awaited }
    if inFlight + 2 > congestionWindow { return inFlight == 0 ? .none : .awaited }
    return writeQueue.reach(from: sendNext, size).length >= size ? .due(size) : .none
  }

  /// After a while the path may take more (tcp_mtu_check_reprobe).
  private mutating func searchAgain(_ settings: TCPSettings) {
    guard mstamp - probing.began >= Int64(settings[.probeInterval]) * 1_000_000_000 else { return }
    probing.high = clampedMSS + probing.headers
    probing.low = mtu(segmentSize: mss)
    probing.began = mstamp
  }

  fileprivate mutating func beginMTUProbe(from start: UInt32, _ length: Int) {
    probing.size = mtu(segmentSize: length)
    probing.start = start
    probing.end = start &+ UInt32(length)
  }

  /// SND.UNA has passed the probe: the path takes it (tcp_mtup_probe_success).
  mutating func noteMTUProbe(_ net: inout NetNamespace) {
    guard probing.size > 0, !isAfter(probing.end, sendUnacknowledged) else { return }
    // As many bytes in fewer segments.
    congestionWindow = max(congestionWindow * mtu(segmentSize: mss) / probing.size, 1)
    acknowledgedCount = 0
    windowStamp = mstamp
    slowStartThreshold = currentThreshold
    probing.low = probing.size
    probing.size = 0
    setMSS(net.tcp)
    net.snmp[.tcpExtTCPMTUPSuccess] &+= 1
  }

  /// The probe is the first that is lost, which says nothing of congestion (tcp_mtup_probe_failed); true: it goes again in
  /// smaller segments.
  mutating func losesMTUProbe(_ net: inout NetNamespace) -> Bool {
    guard congestion < .cwr, probing.size > 0, sendUnacknowledged == probing.start else { return false }
    probing.high = probing.size - 1
    probing.size = 0
    congestionWindow += 1
    resendLarge(&net)
    net.snmp[.tcpExtTCPMTUPFail] &+= 1
    return true
  }
}
