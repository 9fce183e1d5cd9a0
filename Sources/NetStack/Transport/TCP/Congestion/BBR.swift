// SPDX-License-Identifier: GPL-2.0-or-later

// BBR version 1 as Linux has it (net/ipv4/tcp_bbr.c; draft-cardwell-iccrg-bbr-congestion-control-00): a model of the
// path, the most that it delivers and the least time that it takes, decides how fast and how much is sent.
//
//    startup ─▶ drain ─▶ probe bandwidth (eight phases a cycle) ◀─▶ probe round-trip time (every ten seconds)
//
// Gains are in 256ths, bandwidths in segments a microsecond times 2²⁴. Products wrap as the kernel's do; whatever comes
// of a rate that nobody has is bounded before it becomes a window.

/// What BBR keeps of a connection (struct bbr).
struct BBR {
  enum Mode { case startup, drain, probeBandwidth, probeRTT }
  var mode = Mode.startup
  /// Microseconds; when it was taken, and when probing ends (0: not yet known).
  var minimumRTT = Int64.max
  var minimumStamp: Int64 = 0
  var probeDone: Int64 = 0
  /// Of the last ten round trips.
  var bandwidth = WindowedExtreme(start: 0)
  var roundTrips: Int64 = 0
  /// What is to be delivered before the round ends.
  var nextRound: UInt32 = 0
  var cycleStamp: Int64 = 0
  var cycle = 0
  var priorPhase = CongestionPhase.open
  var conservesPackets = false
  var isRoundStart = false
  var isIdleRestart = false
  var isProbeRoundDone = false
  var pacingGain: UInt64 = 0
  var windowGain: UInt64 = 0
  var isPipeFull = false
  var fullCount = 0
  var fullBandwidth: UInt64 = 0
  var hasSeenRTT = false
  var priorWindow = 0

  // A policer's rate, from losses (lt_bw).
  var isPolicedSampling = false
  var usesPolicedRate = false
  var policedRoundTrips = 0
  var policedBandwidth: UInt64 = 0
  var policedDelivered: UInt32 = 0
  var policedStamp: Int64 = 0
  var policedLost: UInt32 = 0

  // Acknowledgments that come together (extra_acked).
  var epochStamp: Int64 = 0
  var epochAcknowledged: UInt64 = 0
  var extraRoundTrips = 0
  var extraIndex = 0
  var extra = InlineArray<2, UInt64>(repeating: 0)
  /// The state of its choice among phases.
  var chance: UInt64 = 1

  static let unit: UInt64 = 256
  static let bandwidthScale: UInt64 = 24
  /// 2 / ln 2, and its inverse.
  static let highGain: UInt64 = 739
  static let drainGain: UInt64 = 88
  static let leastWindow = 4

  /// 5/4, 3/4, then 1.
  static func gain(ofPhase phase: Int) -> UInt64 { phase == 0 ? 320 : phase == 1 ? 192 : unit }
}

extension TCPSock {
  private var milliseconds: Int64 { mstamp / 1_000_000 }
  private var bandwidth: UInt64 {
    bbr.usesPolicedRate ? bbr.policedBandwidth : UInt64(bbr.bandwidth.value)
  }
  private var mostBandwidth: UInt64 { UInt64(bbr.bandwidth.value) }

  mutating func beginBBR() {
    let chance = bbr.chance
    bbr = BBR()
    bbr.chance = chance
    slowStartThreshold = Self.infiniteThreshold
    bbr.nextRound = delivery.delivered
    bbr.minimumRTT = rtt.minimum.value
    bbr.minimumStamp = milliseconds
    bbr.epochStamp = mstamp
    bbr.pacingGain = BBR.highGain
    bbr.windowGain = BBR.highGain
    resetPolicedSampling()
    beginBBRPacing()
    isPaced = true
  }

  // MARK: Rate

  private mutating func beginBBRPacing() {
    var time: UInt64 = 1000
    if rtt.smoothed > 0 {
      time = UInt64(max(rtt.smoothed >> 3, 1))
      bbr.hasSeenRTT = true
    }
    pacingRate = bbrRate(UInt64(congestionWindow) << BBR.bandwidthScale / time, BBR.highGain)
  }

  /// Bytes a second, a hundredth less than the bandwidth (bbr_rate_bytes_per_sec).
  private func bbrBytes(_ bandwidth: UInt64, _ gain: UInt64) -> UInt64 {
    var rate = bandwidth &* UInt64(mss) &* gain
    rate = (rate >> 8) &* 990_000
    return rate >> BBR.bandwidthScale
  }

  private func bbrRate(_ bandwidth: UInt64, _ gain: UInt64) -> UInt64 {
    min(bbrBytes(bandwidth, gain), maximumPacingRate)
  }

  private mutating func setBBRPacing(_ bandwidth: UInt64, _ gain: UInt64) {
    let rate = bbrRate(bandwidth, gain)
    if !bbr.hasSeenRTT, rtt.smoothed > 0 { beginBBRPacing() }
    if bbr.isPipeFull || rate > pacingRate { pacingRate = rate }
  }

  /// Segments that leave together at this rate (bbr_tso_segs_goal).
  private var bbrBurst: Int {
    let bytes = min(pacingRate >> 10, 65_535 - 320)
    return min(max(Int(bytes) / max(mss, 1), pacingRate < 150_000 ? 1 : 2), 127)
  }

  // MARK: Window

  mutating func saveBBRWindow() {
    bbr.priorWindow =
      bbr.priorPhase < .recovery && bbr.mode != .probeRTT
      ? congestionWindow : max(bbr.priorWindow, congestionWindow)
  }

  private func bbrProduct(_ bandwidth: UInt64, _ gain: UInt64) -> Int {
    guard bbr.minimumRTT != .max else { return Self.initialWindow }
    let product = (bandwidth &* UInt64(bbr.minimumRTT) &* gain) >> 8
    return Int(min((product &+ (1 << BBR.bandwidthScale) &- 1) >> BBR.bandwidthScale, 1 << 24))
  }

  private func withBudget(_ window: Int) -> Int {
    var window = (window + 3 * bbrBurst + 1) & ~1
    if bbr.mode == .probeBandwidth, bbr.cycle == 0 { window += 2 }
    return window
  }

  private func bbrInFlight(_ bandwidth: UInt64, _ gain: UInt64) -> Int {
    withBudget(bbrProduct(bandwidth, gain))
  }

  /// What is in the network when the next segment may leave (bbr_packets_in_net_at_edt).
  private func bbrInNetwork(_ now: Int) -> Int {
    let wait = UInt64(max(pacingStamp - mstamp, 0) / 1000)
    let delivered = Int(min((bandwidth &* wait) >> BBR.bandwidthScale, 1 << 24))
    let then = now + (bbr.pacingGain > BBR.unit ? bbrBurst : 0)
    return max(then - delivered, 0)
  }

  private mutating func setBBRWindow(_ sample: RateSample, _ bandwidth: UInt64, _ gain: UInt64) {
    var window = congestionWindow
    if sample.acknowledged > 0, !bbrRecover(sample, &window) {
      var target = bbrProduct(bandwidth, gain)
      if bbr.isPipeFull {
        // 100 ms of what comes together at most.
        let most = (bandwidth &* 100_000) >> BBR.bandwidthScale
        target += Int(min(max(bbr.extra[0], bbr.extra[1]), most, 1 << 24))
      }
      target = withBudget(target)
      if bbr.isPipeFull {
        window = min(window + sample.acknowledged, target)
      } else if window < target || delivery.delivered < UInt32(Self.initialWindow) {
        window += sample.acknowledged
      }
      window = max(window, BBR.leastWindow)
    }
    congestionWindow = max(window, 1)
    if bbr.mode == .probeRTT { congestionWindow = min(congestionWindow, BBR.leastWindow) }
  }

  /// A recovery's first round sends what was delivered; its end brings the window back.
  private mutating func bbrRecover(_ sample: RateSample, _ window: inout Int) -> Bool {
    let (before, now) = (bbr.priorPhase, congestion)
    if sample.losses > 0 { window = max(window - sample.losses, 1) }
    if now == .recovery, before != .recovery {
      bbr.conservesPackets = true
      bbr.nextRound = delivery.delivered
      window = inFlight + sample.acknowledged
    } else if before >= .recovery, now < .recovery {
      window = max(window, bbr.priorWindow)
      bbr.conservesPackets = false
    }
    bbr.priorPhase = now
    if bbr.conservesPackets { window = max(window, inFlight + sample.acknowledged) }
    return bbr.conservesPackets
  }

  // MARK: Model

  /// bbr_main.
  mutating func bbrControl(_ sample: RateSample) {
    bbrTakeBandwidth(sample)
    bbrTakeAggregation(sample)
    if bbr.mode == .probeBandwidth, isNextPhase(sample) { nextPhase() }
    checkFullPipe(sample)
    checkDrain()
    bbrTakeRTT(sample)
    switch bbr.mode {
    case .startup: (bbr.pacingGain, bbr.windowGain) = (BBR.highGain, BBR.highGain)
    case .drain: (bbr.pacingGain, bbr.windowGain) = (BBR.drainGain, BBR.highGain)
    case .probeBandwidth:
      (bbr.pacingGain, bbr.windowGain) = (
        bbr.usesPolicedRate ? BBR.unit : BBR.gain(ofPhase: bbr.cycle), 512
      )
    case .probeRTT: (bbr.pacingGain, bbr.windowGain) = (BBR.unit, BBR.unit)
    }
    setBBRPacing(bandwidth, bbr.pacingGain)
    setBBRWindow(sample, bandwidth, bbr.windowGain)
  }

  private mutating func bbrTakeBandwidth(_ sample: RateSample) {
    bbr.isRoundStart = false
    guard sample.delivered >= 0, sample.interval > 0 else { return }
    if !isBefore(sample.priorDelivered, bbr.nextRound) {
      bbr.nextRound = delivery.delivered
      bbr.roundTrips += 1
      bbr.isRoundStart = true
      bbr.conservesPackets = false
    }
    samplePolicer(sample)
    let bandwidth = Int64(sample.delivered) << Int64(BBR.bandwidthScale) / sample.interval
    if !sample.isApplicationLimited || bandwidth >= bbr.bandwidth.value {
      bbr.bandwidth.takeMaximum(10, bbr.roundTrips, bandwidth)
    }
  }

  private mutating func bbrTakeAggregation(_ sample: RateSample) {
    guard sample.acknowledged > 0, sample.delivered >= 0, sample.interval > 0 else { return }
    if bbr.isRoundStart {
      bbr.extraRoundTrips += 1
      if bbr.extraRoundTrips >= 5 {
        bbr.extraRoundTrips = 0
        bbr.extraIndex = 1 - bbr.extraIndex
        bbr.extra[bbr.extraIndex] = 0
      }
    }
    let epoch = UInt64(max(delivery.deliveredAt - bbr.epochStamp, 0) / 1000)
    var expected = (bandwidth &* epoch) >> BBR.bandwidthScale
    if bbr.epochAcknowledged <= expected || bbr.epochAcknowledged + UInt64(sample.acknowledged) >= 1 << 20 {
      bbr.epochAcknowledged = 0
      bbr.epochStamp = delivery.deliveredAt
      expected = 0
    }
    bbr.epochAcknowledged = min(0xfffff, bbr.epochAcknowledged + UInt64(sample.acknowledged))
    let extra = min(bbr.epochAcknowledged &- expected, UInt64(congestionWindow))
    bbr.extra[bbr.extraIndex] = max(bbr.extra[bbr.extraIndex], extra)
  }

  private func isNextPhase(_ sample: RateSample) -> Bool {
    let isFull = (delivery.deliveredAt - bbr.cycleStamp) / 1000 > bbr.minimumRTT
    if bbr.pacingGain == BBR.unit { return isFull }
    let there = bbrInNetwork(sample.priorInFlight)
    if bbr.pacingGain > BBR.unit {
      return isFull && (sample.losses > 0 || there >= bbrInFlight(mostBandwidth, bbr.pacingGain))
    }
    return isFull || there <= bbrInFlight(mostBandwidth, BBR.unit)
  }

  private mutating func nextPhase() {
    bbr.cycle = (bbr.cycle + 1) & 7
    bbr.cycleStamp = delivery.deliveredAt
  }

  /// Any phase but the one that drains comes first, by chance.
  private mutating func beginProbingBandwidth() {
    bbr.mode = .probeBandwidth
    bbr.chance ^= bbr.chance &<< 13
    bbr.chance ^= bbr.chance &>> 7
    bbr.chance ^= bbr.chance &<< 17
    bbr.cycle = 7 - Int(bbr.chance.multipliedFullWidth(by: 7).high)
    nextPhase()
  }

  private mutating func checkFullPipe(_ sample: RateSample) {
    guard !bbr.isPipeFull, bbr.isRoundStart, !sample.isApplicationLimited else { return }
    if mostBandwidth >= (bbr.fullBandwidth &* 320) >> 8 {
      bbr.fullBandwidth = mostBandwidth
      bbr.fullCount = 0
      return
    }
    bbr.fullCount += 1
    bbr.isPipeFull = bbr.fullCount >= 3
  }

  private mutating func checkDrain() {
    if bbr.mode == .startup, bbr.isPipeFull {
      bbr.mode = .drain
      slowStartThreshold = bbrInFlight(mostBandwidth, BBR.unit)
    }
    if bbr.mode == .drain, bbrInNetwork(inFlight) <= bbrInFlight(mostBandwidth, BBR.unit) {
      beginProbingBandwidth()
    }
  }

  private mutating func bbrTakeRTT(_ sample: RateSample) {
    let hasExpired = milliseconds > bbr.minimumStamp + 10_000
    let time = sample.roundTripTime
    if time >= 0, time < bbr.minimumRTT || hasExpired && !sample.isAcknowledgmentDelayed {
      bbr.minimumRTT = time
      bbr.minimumStamp = milliseconds
    }
    if hasExpired, !bbr.isIdleRestart, bbr.mode != .probeRTT {
      bbr.mode = .probeRTT
      saveBBRWindow()
      bbr.probeDone = 0
    }
    if bbr.mode == .probeRTT {
      delivery.applicationLimited = max(delivery.delivered &+ UInt32(inFlight), 1)
      if bbr.probeDone == 0 {
        if inFlight <= BBR.leastWindow {
          bbr.probeDone = milliseconds + 200
          bbr.isProbeRoundDone = false
          bbr.nextRound = delivery.delivered
        }
      } else {
        if bbr.isRoundStart { bbr.isProbeRoundDone = true }
        if bbr.isProbeRoundDone { checkProbeDone() }
      }
    }
    if sample.delivered > 0 { bbr.isIdleRestart = false }
  }

  private mutating func checkProbeDone() {
    guard bbr.probeDone != 0, milliseconds > bbr.probeDone else { return }
    bbr.minimumStamp = milliseconds
    congestionWindow = max(congestionWindow, bbr.priorWindow)
    if bbr.isPipeFull { beginProbingBandwidth() } else { bbr.mode = .startup }
  }

  // MARK: Events

  mutating func bbrRestart() {
    guard delivery.applicationLimited != 0 else { return }
    bbr.isIdleRestart = true
    bbr.epochStamp = mstamp
    bbr.epochAcknowledged = 0
    switch bbr.mode {
    case .probeBandwidth: setBBRPacing(bandwidth, BBR.unit)
    case .probeRTT: checkProbeDone()
    case .startup, .drain: break
    }
  }

  mutating func bbrEnterLoss() {
    bbr.priorPhase = .loss
    bbr.fullBandwidth = 0
    bbr.isRoundStart = true
    var sample = RateSample()
    sample.losses = 1
    samplePolicer(sample)
  }

  mutating func bbrUndo() -> Int {
    bbr.fullBandwidth = 0
    bbr.fullCount = 0
    resetPolicedSampling()
    return congestionWindow
  }

  // MARK: Policers

  private mutating func resetPolicedInterval() {
    bbr.policedStamp = delivery.deliveredAt / 1_000_000
    bbr.policedDelivered = delivery.delivered
    bbr.policedLost = lost
    bbr.policedRoundTrips = 0
  }

  private mutating func resetPolicedSampling() {
    bbr.policedBandwidth = 0
    bbr.usesPolicedRate = false
    bbr.isPolicedSampling = false
    resetPolicedInterval()
  }

  /// Two intervals with much loss and the same rate mean a policer, whose rate is kept for 48 round trips.
  private mutating func samplePolicer(_ sample: RateSample) {
    if bbr.usesPolicedRate {
      guard bbr.mode == .probeBandwidth, bbr.isRoundStart else { return }
      bbr.policedRoundTrips += 1
      if bbr.policedRoundTrips >= 48 {
        resetPolicedSampling()
        beginProbingBandwidth()
      }
      return
    }
    if !bbr.isPolicedSampling {
      guard sample.losses > 0 else { return }
      resetPolicedInterval()
      bbr.isPolicedSampling = true
    }
    guard !sample.isApplicationLimited else {
      resetPolicedSampling()
      return
    }
    if bbr.isRoundStart { bbr.policedRoundTrips += 1 }
    guard bbr.policedRoundTrips >= 4 else { return }
    guard bbr.policedRoundTrips <= 16 else {
      resetPolicedSampling()
      return
    }
    guard sample.losses > 0 else { return }
    let lost = UInt64(self.lost &- bbr.policedLost)
    let delivered = UInt64(delivery.delivered &- bbr.policedDelivered)
    let time = delivery.deliveredAt / 1_000_000 - bbr.policedStamp
    guard delivered > 0, lost << 8 >= 50 * delivered, time >= 1 else { return }
    let bandwidth = delivered << BBR.bandwidthScale / UInt64(time * 1000)
    if bbr.policedBandwidth > 0 {
      let known = bbr.policedBandwidth
      let difference = max(bandwidth, known) - min(bandwidth, known)
      if difference &* 256 <= known &* 32 || bbrBytes(difference, BBR.unit) <= 500 {
        bbr.policedBandwidth = (bandwidth + known) >> 1
        bbr.usesPolicedRate = true
        bbr.pacingGain = BBR.unit
        bbr.policedRoundTrips = 0
        return
      }
    }
    bbr.policedBandwidth = bandwidth
    resetPolicedInterval()
  }
}
