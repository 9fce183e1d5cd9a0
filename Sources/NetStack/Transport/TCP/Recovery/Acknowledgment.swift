// SPDX-License-Identifier: GPL-2.0-or-later

// What one acknowledgment says, as it is worked out step by step (the FLAG_* and tcp_sacktag_state of
// net/ipv4/tcp_input.c).

/// What an acknowledgment has done (`FLAG_*`).
struct ACKFlags: OptionSet {
  var rawValue: UInt32

  /// The segment had data.
  static let data = ACKFlags(rawValue: 0x1)
  static let windowUpdate = ACKFlags(rawValue: 0x2)
  /// New data was acknowledged.
  static let dataAcknowledged = ACKFlags(rawValue: 0x4)
  /// Some of it had been sent again.
  static let retransmissionAcknowledged = ACKFlags(rawValue: 0x8)
  static let dataSacked = ACKFlags(rawValue: 0x20)
  static let congestionEcho = ACKFlags(rawValue: 0x40)
  /// A retransmission was lost.
  static let lostRetransmission = ACKFlags(rawValue: 0x80)
  /// Something never sent again was told of.
  static let originalSacked = ACKFlags(rawValue: 0x200)
  /// SND.UNA has moved.
  static let advanced = ACKFlags(rawValue: 0x400)
  static let duplicateTold = ACKFlags(rawValue: 0x800)
  static let setsTimer = ACKFlags(rawValue: 0x1000)
  static let reneging = ACKFlags(rawValue: 0x2000)
  static let maybeDelayed = ACKFlags(rawValue: 0x10000)
  /// A D-SACK of the probe of a tail.
  static let probeDuplicateTold = ACKFlags(rawValue: 0x20000)

  static let notDuplicate: ACKFlags = [.data, .windowUpdate, .dataAcknowledged]
  static let alert: ACKFlags = [.dataSacked, .congestionEcho, .duplicateTold]
  static let forwardProgress: ACKFlags = [.dataAcknowledged, .dataSacked]
}

/// What is to be sent when an acknowledgment has been read.
enum RecoveryTransmission { case nothing, lost, new }

/// An acknowledgment on its way through the sender.
struct ACKState {
  var flags: ACKFlags = []
  /// SND.UNA, the highest block's end and the segments in flight before it.
  var priorUnacknowledged: UInt32
  var priorHighest: UInt32
  /// When the first and the last of the segments that are told of for the first time were sent.
  var firstSacked: Int64?
  var lastSacked: Int64?
  /// The lowest segment that has come behind a higher one.
  var reordered: UInt32
  /// Segments that SACK has told of.
  var delivered = 0
  var sample = RateSample()
  var isReneging = false
  var transmission = RecoveryTransmission.nothing
}

extension TCPSock {
  /// Where the highest block that the receiver has told of ends (tcp_highest_sack_seq).
  var highestSackedEnd: UInt32 { sackedOut == 0 ? sendUnacknowledged : highestSacked }

  var leftOut: Int { sackedOut + lostOut }

  /// Whether what is on its way holds anything that was sent again (tcp_any_retrans_done).
  var hasRetransmitted: Bool {
    if retransmittedOut > 0 { return true }
    return !sent.isEmpty && sent[sent.head].flags.contains(.everRetransmitted)
  }

  /// Segments that have arrived (tcp_count_delivered).
  mutating func countDelivered(_ count: Int, isMarked: Bool) {
    delivery.delivered &+= UInt32(count)
    if isMarked { delivery.deliveredCE &+= UInt32(count) }
  }

  // MARK: What is acknowledged

  /// Takes what stands before SND.UNA off the scoreboard, and the times that it took (tcp_clean_rtx_queue).
  mutating func removeAcknowledged(_ ack: inout ACKState, _ net: inout NetNamespace) {
    var (first, last): (Int64?, Int64?) = (nil, nil)
    var low = sendNext
    var count = 0
    let hadSacked = sackedOut > 0
    let isMarked = ack.flags.contains(.congestionEcho)
    while !sent.isEmpty {
      let number = sent.head
      let segment = sent[number]
      guard !isAfter(segment.end, sendUnacknowledged) else {
        // A part of it: what is left begins later, but the last segment of a packet stays whole until it is sent again.
        if isAfter(sendUnacknowledged, segment.start), !segment.flags.contains(.endsPacket) {
          sent[number].start = sendUnacknowledged
        }
        break
      }
      if segment.isRetransmission {
        if segment.flags.contains(.retransmitted) { retransmittedOut -= 1 }
        ack.flags.insert(.retransmissionAcknowledged)
      } else if !segment.flags.contains(.sacked) {
        last = segment.sentAt
        if first == nil { first = segment.sentAt }
        if isBefore(segment.start, low) { low = segment.start }
        if !isAfter(segment.end, recoveryPoint) { ack.flags.insert(.originalSacked) }
      }
      if segment.flags.contains(.sacked) {
        sackedOut -= 1
      } else if hasSACK {
        countDelivered(1, isMarked: isMarked)
        if !isSpuriousRetransmission(segment) { advanceRACK(segment) }
      }
      if segment.flags.contains(.lost) { lostOut -= 1 }
      delivery.arrived(&sent[number], &ack.sample)
      ack.flags.insert(.dataAcknowledged)
      count += 1
      if retransmitHint == number { retransmitHint = nil }
      if segment.flags.contains(.endsPacket) { sentPackets -= 1 }
      sent.removeFirst()
    }
    if let urgent = sendUrgent, !isAfter(urgent, sendUnacknowledged) { sendUrgent = nil }
    if !sent.isEmpty, sent[sent.head].flags.contains(.sacked) { ack.flags.insert(.reneging) }

    var (sequenceRTT, sackRTT, pathRTT): (Int64, Int64, Int64) = (-1, -1, -1)
    if let first, let last, !ack.flags.contains(.retransmissionAcknowledged) {
      sequenceRTT = (mstamp - first) / 1000
      pathRTT = (mstamp - last) / 1000
      if count == 1, !hadSacked, Int(sendUnacknowledged &- ack.priorUnacknowledged) < mss,
        ack.sample.priorDelivered &+ 1 == delivery.delivered, ack.flags.isDisjoint(with: .alert)
      {
        ack.flags.insert(.maybeDelayed)
      }
    }
    if let firstSacked = ack.firstSacked, let lastSacked = ack.lastSacked {
      sackRTT = (mstamp - firstSacked) / 1000
      pathRTT = (mstamp - lastSacked) / 1000
    }
    let isMeasured = takeRTT(&ack, sequenceRTT, sackRTT, pathRTT, net.tcp)
    if ack.flags.contains(.dataAcknowledged) {
      ack.flags.insert(.setsTimer)
      noteMTUProbe(&net)
      if !hasSACK {
        removeDuplicates(count, isMarked: isMarked, &net)
        if ack.flags.contains(.retransmissionAcknowledged) { ack.flags.remove(.originalSacked) }
      } else if isBefore(low, ack.priorHighest) {
        noteReordering(low, byTimestamp: false, &net)
      }
    } else if isMeasured, sackRTT >= 0, !sent.isEmpty,
      sackRTT > (mstamp - sent[sent.head].sentAt) / 1000
    {
      // The timer is of the head, and the head was sent after what tells of the path now.
      ack.flags.insert(.setsTimer)
    }
    if algorithm == .cubic, count > 0 || ack.firstSacked != nil, ack.sample.roundTripTime >= 0 {
      cubicSample(ack.sample.roundTripTime, &net)
    }
  }

  /// Karn's rule, SACK and timestamps in this order (tcp_ack_update_rtt).
  private mutating func takeRTT(
    _ ack: inout ACKState, _ sequenceRTT: Int64, _ sackRTT: Int64, _ pathRTT: Int64,
    _ settings: TCPSettings
  ) -> Bool {
    var sample = sequenceRTT >= 0 ? sequenceRTT : sackRTT
    var path = pathRTT
    if sample < 0, hasTimestamps, echo != 0, ack.flags.contains(.dataAcknowledged), let time = echoRTT {
      sample = time
      path = time
    }
    ack.sample.roundTripTime = path
    guard sample >= 0 else { return false }
    rtt.minimum.takeMinimum(
      Int64(settings[.minimumRTTWindow]) * 1_000_000_000, mstamp, max(path, 1))
    takeSample(sample, settings)
    backoff = 0
    return true
  }

  mutating func takeSample(_ sample: Int64, _ settings: TCPSettings) {
    rtt.take(
      sample, unacknowledged: sendUnacknowledged, next: sendNext,
      minimumTimeout: Int64(settings[.rtoMinimum]), maximumTimeout: settings.maximumTimeout)
  }

  /// What the echo of a timestamp says, to the millisecond (tcp_rtt_tsopt_us); nil: nothing that can be.
  var echoRTT: Int64? {
    let elapsed = Int32(bitPattern: timestamp(at: mstamp) &- echo)
    guard elapsed >= 0, elapsed < 1 << 21 else { return nil }
    return max(Int64(elapsed) * 1000, 500)
  }

  /// Milliseconds, from a beginning that nobody outside can know (RFC 7323 5.4).
  func timestamp(at time: Int64) -> UInt32 { Self.timestamp(at: time, timestampOffset) }

  static func timestamp(at time: Int64, _ offset: UInt32) -> UInt32 {
    UInt32(truncatingIfNeeded: time / 1_000_000) &+ offset
  }

  /// An acknowledgment of a retransmission that is faster than the path: it is of the first sending
  /// (tcp_skb_spurious_retrans).
  private func isSpuriousRetransmission(_ segment: SentSegment) -> Bool {
    segment.isRetransmission && hasTimestamps && echo != 0
      && isBefore(echo, timestamp(at: segment.sentAt))
  }

  // MARK: Without SACK

  /// A duplicate tells that something has left the network (tcp_add_reno_sack).
  mutating func addDuplicate(isMarked: Bool, _ net: inout NetNamespace) {
    let before = sackedOut
    sackedOut += 1
    limitDuplicates(acknowledged: 0, &net)
    if sackedOut > before { countDelivered(sackedOut - before, isMarked: isMarked) }
  }

  /// What is acknowledged now has been counted as duplicates before (tcp_remove_reno_sacks).
  private mutating func removeDuplicates(_ count: Int, isMarked: Bool, _ net: inout NetNamespace) {
    if count > 0 {
      countDelivered(max(count - sackedOut, 1), isMarked: isMarked)
      sackedOut = max(sackedOut - (count - 1), 0)
    }
    limitDuplicates(acknowledged: count, &net)
  }

  /// More duplicates than segments behind the first that is lost: the network reorders
  /// (tcp_check_reno_reordering).
  private mutating func limitDuplicates(acknowledged: Int, _ net: inout NetNamespace) {
    let holes = min(max(lostOut, 1), sent.count)
    guard sackedOut + holes > sent.count else { return }
    sackedOut = sent.count - holes
    reordering = min(sent.count + acknowledged, net.tcp[.maxReordering])
    reorderingSeen &+= 1
    net.snmp[.tcpExtTCPRenoReorder] &+= 1
  }

  // MARK: Reordering

  /// Something has come after what was sent later: so far apart packets are swapped (tcp_check_sack_reordering).
  mutating func noteReordering(_ low: UInt32, byTimestamp: Bool, _ net: inout NetNamespace) {
    let high = highestSackedEnd
    guard isBefore(low, high) else { return }
    let distance = Int(high &- low)
    if distance > reordering * mss {
      reordering = min((distance + mss - 1) / mss, net.tcp[.maxReordering])
    }
    reorderingSeen &+= 1
    net.snmp[byTimestamp ? .tcpExtTCPTSReorder : .tcpExtTCPSACKReorder] &+= 1
  }
}

extension TCPSettings {
  /// tcp_rto_max_ms in nanoseconds.
  var maximumTimeout: Int64 { Int64(self[.rtoMaximum]) * 1_000_000 }
  /// tcp_rto_min_us.
  var minimumTimeout: Int64 { Int64(self[.rtoMinimum]) * 1000 }
}
