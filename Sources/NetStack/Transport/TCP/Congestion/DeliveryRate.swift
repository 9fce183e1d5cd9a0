// SPDX-License-Identifier: GPL-2.0-or-later

// How fast the network delivers, by each acknowledgment (net/ipv4/tcp_rate.c; draft-cheng-iccrg-delivery-rate-estimation):
// every segment remembers what had been delivered when it was sent; what has been since, over the longer of the times
// that sending and acknowledging took, is a sample.

/// What one acknowledgment says of the path's rate (struct rate_sample).
struct RateSample {
  /// When `priorDelivered` was noted; 0: no segment was delivered.
  var priorTime: Int64 = 0
  var priorDelivered: UInt32 = 0
  var priorDeliveredCE: UInt32 = 0
  /// Segments over `interval`; -1: no sample.
  var delivered = -1
  var deliveredCE = 0
  /// Microseconds.
  var interval: Int64 = -1
  var sendInterval: Int64 = 0
  /// Of the segment acknowledged last; -1: unknown.
  var roundTripTime: Int64 = -1
  var losses = 0
  /// Segments that this acknowledgment says have arrived.
  var acknowledged = 0
  var priorInFlight = 0
  var lastEnd: UInt32 = 0
  var isApplicationLimited = false
  var isRetransmission = false
  var isAcknowledgmentDelayed = false
}

/// Whether a segment was sent after another (tcp_skb_sent_after): those of one moment go by their numbers.
@inline(__always) func wasSentAfter(_ time: Int64, _ end: UInt32, _ otherTime: Int64, _ otherEnd: UInt32)
  -> Bool
{
  time > otherTime || time == otherTime && isAfter(end, otherEnd)
}

/// What a connection keeps for it.
struct DeliveryRate {
  /// tp->delivered, delivered_ce: segments.
  var delivered: UInt32 = 0
  var deliveredCE: UInt32 = 0
  var deliveredAt: Int64 = 0
  var firstSentAt: Int64 = 0
  /// What will have been delivered when the last segment that the sender was short of data for is; 0: it is not.
  var applicationLimited: UInt32 = 0
  /// The best sample of late: segments over microseconds.
  var segments: Int64 = 0
  var interval: Int64 = 0
  var isApplicationLimited = false

  /// A segment goes out (tcp_rate_skb_sent).
  mutating func sent(_ segment: inout SentSegment, isFirst: Bool, inFlight: Int) {
    if isFirst {
      firstSentAt = segment.sentAt
      deliveredAt = segment.sentAt
    }
    segment.firstSentAt = firstSentAt
    segment.deliveredAt = deliveredAt
    segment.delivered = delivered
    segment.deliveredCE = deliveredCE
    segment.inFlight = UInt32(clamping: inFlight)
    if applicationLimited != 0 {
      segment.flags.insert(.applicationLimited)
    } else {
      segment.flags.remove(.applicationLimited)
    }
  }

  /// A segment has arrived (tcp_rate_skb_delivered). One that is counted by SACK is not counted again.
  mutating func arrived(_ segment: inout SentSegment, _ sample: inout RateSample) {
    guard segment.deliveredAt != 0 else { return }
    if sample.priorTime == 0
      || wasSentAfter(segment.sentAt, segment.end, firstSentAt, sample.lastEnd)
    {
      sample.priorDelivered = segment.delivered
      sample.priorDeliveredCE = segment.deliveredCE
      sample.priorTime = segment.deliveredAt
      sample.isApplicationLimited = segment.flags.contains(.applicationLimited)
      sample.isRetransmission = segment.isRetransmission
      sample.lastEnd = segment.end
      firstSentAt = segment.sentAt
      sample.sendInterval = (segment.sentAt - segment.firstSentAt) / 1000
    }
    if segment.flags.contains(.sacked) { segment.deliveredAt = 0 }
  }

  /// Makes the sample of an acknowledgment (tcp_rate_gen).
  mutating func finish(
    _ sample: inout RateSample, acknowledged: Int, lost: Int, isReneging: Bool, now: Int64, minimumRTT: Int64
  ) {
    if applicationLimited != 0, isAfter(delivered, applicationLimited) { applicationLimited = 0 }
    if acknowledged != 0 { deliveredAt = now }
    sample.acknowledged = acknowledged
    sample.losses = lost
    guard sample.priorTime != 0, !isReneging else {
      sample.delivered = -1
      sample.interval = -1
      return
    }
    sample.delivered = Int(delivered &- sample.priorDelivered)
    sample.deliveredCE = Int(deliveredCE &- sample.priorDeliveredCE)
    sample.interval = max(sample.sendInterval, (now - sample.priorTime) / 1000)
    // Faster than the path can answer is no rate but a mistake of acknowledgments.
    guard sample.interval >= minimumRTT else {
      sample.interval = -1
      return
    }
    guard sample.interval > 0 else { return }
    if !sample.isApplicationLimited
      || Int64(sample.delivered) * interval >= segments * sample.interval
    {
      segments = Int64(sample.delivered)
      interval = sample.interval
      isApplicationLimited = sample.isApplicationLimited
    }
  }
}

extension TCPSock {
  /// The sender has no more to send, though it could (tcp_rate_check_app_limited).
  mutating func noteApplicationLimit(charged: Int) {
    guard unsentBytes < mss, charged < 2304, inFlight < congestionWindow, lostOut <= retransmittedOut else {
      return
    }
    delivery.applicationLimited = max(delivery.delivered &+ UInt32(inFlight), 1)
  }
}
