// SPDX-License-Identifier: GPL-2.0-or-later

// CUBIC (RFC 9438) with HyStart, as Linux has it (net/ipv4/tcp_cubic.c): the window follows a cubic function of the time
// since the last loss; slow start ends when a train of acknowledgments is long or round trips have grown.

/// What CUBIC keeps of a connection (struct bictcp). Times are milliseconds unless told otherwise.
struct Cubic {
  /// A segment more for so many acknowledged.
  var count = 0
  var lastMaximum = 0
  var lastWindow = 0
  var lastTime: Int64 = 0
  /// Where the cubic function is flat, and when, in 1/1024 s.
  var originPoint = 0
  var timeToOrigin: Int64 = 0
  /// Microseconds; 0: unknown.
  var minimumDelay: Int64 = 0
  /// 0: no epoch has begun.
  var epochStart: Int64 = 0
  var acknowledged = 0
  /// What Reno's window would be.
  var renoWindow = 0

  // HyStart; microseconds.
  var hasFoundExit = false
  var samples = 0
  var roundStart: Int64 = 0
  var roundEnd: UInt32 = 0
  var lastACK: Int64 = 0
  var currentDelay = Int64.max

  /// 717/1024 and C = 0.4 as 410/1024.
  static let beta = 717
  static let scale: UInt64 = 410
  /// 8 (1 + β) / 3 / (1 - β).
  static let renoScale = 15
  static let lowWindow = 16
  static let trainGap: Int64 = 2000
}

extension TCPSock {
  private var milliseconds: Int64 { mstamp / 1_000_000 }

  mutating func resetHyStart() {
    cubic.roundStart = mstamp / 1000
    cubic.lastACK = cubic.roundStart
    cubic.roundEnd = sendNext
    cubic.currentDelay = .max
    cubic.samples = 0
  }

  /// After silence the epoch goes on where it was (cubictcp_cwnd_event).
  mutating func cubicRestart() {
    let idle = milliseconds - lastSent / 1_000_000
    if cubic.epochStart != 0, lastSent != 0, idle > 0 {
      cubic.epochStart = min(cubic.epochStart + idle, milliseconds)
    }
  }

  mutating func cubicThreshold() -> Int {
    cubic.epochStart = 0
    // Fast convergence: a flow that has come late is given room.
    cubic.lastMaximum =
      congestionWindow < cubic.lastMaximum
      ? congestionWindow * (1024 + Cubic.beta) / 2048 : congestionWindow
    return max(congestionWindow * Cubic.beta / 1024, 2)
  }

  /// For how many acknowledged segments the window grows by one (bictcp_update).
  mutating func cubicCount(_ acknowledged: Int) -> Int {
    cubic.acknowledged += acknowledged
    let (now, window) = (milliseconds, congestionWindow)
    if cubic.lastWindow == window, now - cubic.lastTime <= 31 { return max(cubic.count, 2) }
    if cubic.epochStart == 0 || now != cubic.lastTime { cubicFollow(now, window, acknowledged) }
    // Never slower than Reno would be (RFC 9438 4.3).
    let step = max((window * Cubic.renoScale) >> 3, 1)
    if cubic.acknowledged > step {
      let steps = (cubic.acknowledged - 1) / step
      cubic.acknowledged -= steps * step
      cubic.renoWindow += steps
    }
    if cubic.renoWindow > window { cubic.count = min(cubic.count, window / (cubic.renoWindow - window)) }
    cubic.count = max(cubic.count, 2)
    return cubic.count
  }

  private mutating func cubicFollow(_ now: Int64, _ window: Int, _ acknowledged: Int) {
    cubic.lastWindow = window
    cubic.lastTime = now
    if cubic.epochStart == 0 {
      cubic.epochStart = now
      cubic.acknowledged = acknowledged
      cubic.renoWindow = window
      if cubic.lastMaximum <= window {
        cubic.timeToOrigin = 0
        cubic.originPoint = window
      } else {
        cubic.timeToOrigin = Self.cubeRoot(
          ((1 << 40) / Cubic.scale) &* UInt64(cubic.lastMaximum - window))
        cubic.originPoint = cubic.lastMaximum
      }
    }
    let time = (now - cubic.epochStart + (cubic.minimumDelay + 999) / 1000) * 1024 / 1000
    let offset = UInt64(min(abs(time - cubic.timeToOrigin), 1 << 17))
    let delta = Int((Cubic.scale &* offset &* offset &* offset) >> 40)
    let target = time < cubic.timeToOrigin ? cubic.originPoint - delta : cubic.originPoint + delta
    cubic.count = target > window ? window / (target - window) : 100 * window
    // While nothing is known of the network the window grows faster than the flat part would.
    if cubic.lastMaximum == 0 { cubic.count = min(cubic.count, 20) }
  }

  /// The integer cube root, digit by digit.
  private static func cubeRoot(_ value: UInt64) -> Int64 {
    var (rest, root) = (value, UInt64(0))
    for shift in stride(from: UInt64(63), through: 0, by: -3) {
      root <<= 1
      let step = 3 &* root &* (root &+ 1) &+ 1
      if rest >> shift >= step {
        rest &-= step << shift
        root += 1
      }
    }
    return Int64(root)
  }

  /// Takes a round-trip time (cubictcp_acked); microseconds.
  mutating func cubicSample(_ sample: Int64, _ net: inout NetNamespace) {
    // Right after a recovery, samples tell of the queue that was.
    if cubic.epochStart != 0, milliseconds - cubic.epochStart < 1000 { return }
    let delay = max(sample, 1)
    if cubic.minimumDelay == 0 || cubic.minimumDelay > delay { cubic.minimumDelay = delay }
    if !cubic.hasFoundExit, isInSlowStart { updateHyStart(delay, &net) }
  }

  private mutating func updateHyStart(_ delay: Int64, _ net: inout NetNamespace) {
    if isAfter(sendUnacknowledged, cubic.roundEnd) { resetHyStart() }
    guard congestionWindow >= Cubic.lowWindow else { return }
    let now = mstamp / 1000
    if now - cubic.lastACK <= Cubic.trainGap {
      cubic.lastACK = now
      // What a burst of the largest size takes at this rate, a millisecond at most (hystart_ack_delay).
      let burst = pacingRate == 0 ? 0 : Int64(min(1000, 4 * 65536 * 1_000_000 / pacingRate))
      var limit = cubic.minimumDelay + burst
      if !isPaced { limit >>= 1 }
      if now - cubic.roundStart > limit {
        leaveSlowStart(&net, .tcpExtTCPHystartTrainDetect, .tcpExtTCPHystartTrainCwnd)
      }
    }
    cubic.currentDelay = min(cubic.currentDelay, delay)
    if cubic.samples < 8 {
      cubic.samples += 1
    } else if !cubic.hasFoundExit,
      cubic.currentDelay > cubic.minimumDelay + min(max(cubic.minimumDelay >> 3, 4000), 16_000)
    {
      leaveSlowStart(&net, .tcpExtTCPHystartDelayDetect, .tcpExtTCPHystartDelayCwnd)
    }
  }

  private mutating func leaveSlowStart(
    _ net: inout NetNamespace, _ found: SNMPCounter, _ window: SNMPCounter
  ) {
    cubic.hasFoundExit = true
    net.snmp[found] &+= 1
    net.snmp[window] &+= UInt64(congestionWindow)
    slowStartThreshold = congestionWindow
  }
}
