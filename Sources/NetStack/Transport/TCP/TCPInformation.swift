// SPDX-License-Identifier: GPL-2.0-or-later

// TCP_INFO (include/uapi/linux/tcp.h struct tcp_info, tcp_get_info): what a connection knows of itself, in the kernel's
// units: microseconds, segments, bytes a second. What the kernel has and this one has not (fast open, MPTCP, the
// counters of accurate ECN) is left out, not zero.

/// What a connection knows of itself.
public struct TCPInformation: Hashable, Sendable {
  /// tcpi_state, tcpi_ca_state.
  public var state: TCPState
  public var phase: CongestionPhase
  /// TCP_CONGESTION.
  public var congestionControl: CongestionAlgorithm
  /// tcpi_retransmits, probes, backoff.
  public var retransmits: Int
  public var probes: Int
  public var backoff: Int
  /// TCPI_OPT_*: what was agreed to; whether a mark of ECN has been seen.
  public var hasTimestamps: Bool
  public var hasSACK: Bool
  public var hasWindowScale: Bool
  public var hasECN: Bool
  public var hasSeenECN: Bool
  /// tcpi_snd_wscale, rcv_wscale.
  public var sendScale: UInt8
  public var receiveScale: UInt8
  /// tcpi_delivery_rate_app_limited.
  public var isApplicationLimited: Bool
  /// tcpi_rto, ato, rtt, rttvar, rcv_rtt, min_rtt.
  public var timeout: Int64
  public var acknowledgmentTimeout: Int64
  public var roundTripTime: Int64
  public var roundTripVariance: Int64
  public var receiveRoundTripTime: Int64
  public var minimumRoundTripTime: Int64
  /// tcpi_snd_mss, rcv_mss, advmss.
  public var sendMSS: Int
  public var receiveMSS: Int
  public var advertisedMSS: Int
  /// tcpi_unacked, sacked, lost, retrans; a listener's two queues stand in the first two.
  public var unacknowledged: Int
  public var sacked: Int
  public var lost: Int
  public var retransmitted: Int
  /// tcpi_last_data_sent, last_data_recv, last_ack_recv: milliseconds ago.
  public var lastDataSent: Int64
  public var lastDataReceived: Int64
  public var lastACKReceived: Int64
  /// tcpi_snd_ssthresh, snd_cwnd, reordering, snd_wnd, rcv_ssthresh, rcv_space, rcv_wnd.
  public var slowStartThreshold: Int
  public var congestionWindow: Int
  public var reordering: Int
  public var sendWindow: Int
  public var receiveThreshold: Int
  public var receiveSpace: Int
  public var receiveWindow: Int
  /// tcpi_total_retrans, reord_seen, dsack_dups, rcv_ooopack, total_rto.
  public var totalRetransmits: Int
  public var reorderingSeen: Int
  public var duplicateSegments: Int
  public var outOfOrder: Int
  /// tcpi_pacing_rate, max_pacing_rate; without a limit the largest number.
  public var pacingRate: UInt64
  public var maximumPacingRate: UInt64
  /// tcpi_bytes_acked, bytes_received, bytes_sent, bytes_retrans, notsent_bytes.
  public var bytesAcknowledged: UInt64
  public var bytesReceived: UInt64
  public var bytesSent: UInt64
  public var bytesRetransmitted: UInt64
  public var unsentBytes: Int
  /// tcpi_segs_out, segs_in, data_segs_out, data_segs_in.
  public var segmentsOut: Int
  public var segmentsIn: Int
  public var dataSegmentsOut: Int
  public var dataSegmentsIn: Int
  /// tcpi_delivery_rate, delivered, delivered_ce.
  public var deliveryRate: UInt64
  public var delivered: Int
  public var deliveredCE: Int
  /// tcpi_busy_time, rwnd_limited, sndbuf_limited.
  public var busyTime: Int64
  public var windowLimitedTime: Int64
  public var bufferLimitedTime: Int64
}

extension Kernel {
  /// What a connection knows of itself (TCP_INFO); nil: it is no stream.
  public func information(of socket: SocketIndex) -> TCPInformation? {
    guard isOpen(socket), sockets[socket].kind.isStream else { return nil }
    return tcps[sockets[socket].tcp].information(now: cpu.now)
  }
}

extension TCPSock {
  fileprivate borrowing func information(now: Int64) -> TCPInformation {
    let isListening = state == .listen
    let since = { (time: Int64) in (now - time) / 1_000_000 }
    var rate: UInt64 = 0
    if delivery.interval > 0 {
      rate = UInt64(delivery.segments) &* UInt64(mss) &* 1_000_000 / UInt64(delivery.interval)
    }
    return TCPInformation(
      state: state, phase: congestion, congestionControl: algorithm, retransmits: retransmits,
      probes: probes, backoff: backoff, hasTimestamps: hasTimestamps, hasSACK: hasSACK,
      hasWindowScale: hasWindowScale, hasECN: ecn.isOn, hasSeenECN: ecn.hasSeen, sendScale: sendScale,
      receiveScale: receiveScale, isApplicationLimited: delivery.isApplicationLimited,
      timeout: rtt.timeout / 1000, acknowledgmentTimeout: ackTimeout / 1000,
      roundTripTime: rtt.smoothed >> 3, roundTripVariance: rtt.deviation >> 2,
      receiveRoundTripTime: space.roundTripTime >> 3,
      minimumRoundTripTime: rtt.minimum.value == .max ? Int64(UInt32.max) : rtt.minimum.value,
      sendMSS: mss, receiveMSS: receivedMSS, advertisedMSS: advertisedMSS,
      unacknowledged: isListening ? acceptQueue.count : sent.count,
      sacked: isListening ? backlog : sackedOut, lost: lostOut, retransmitted: retransmittedOut,
      lastDataSent: since(lastSent), lastDataReceived: since(lastReceived), lastACKReceived: since(lastHeard),
      slowStartThreshold: slowStartThreshold, congestionWindow: congestionWindow, reordering: reordering,
      sendWindow: Int(sendWindow), receiveThreshold: space.threshold, receiveSpace: space.read,
      receiveWindow: Int(receiveWindow), totalRetransmits: Int(totalRetransmits),
      reorderingSeen: Int(reorderingSeen), duplicateSegments: Int(duplicateSegments),
      outOfOrder: Int(statistics.outOfOrder), pacingRate: pacingRate, maximumPacingRate: maximumPacingRate,
      bytesAcknowledged: statistics.bytesAcknowledged, bytesReceived: statistics.bytesReceived,
      bytesSent: statistics.bytesSent, bytesRetransmitted: statistics.bytesRetransmitted,
      unsentBytes: unsentBytes, segmentsOut: Int(statistics.segmentsOut),
      segmentsIn: Int(statistics.segmentsIn), dataSegmentsOut: Int(statistics.dataSegmentsOut),
      dataSegmentsIn: Int(statistics.dataSegmentsIn), deliveryRate: rate,
      delivered: Int(delivery.delivered), deliveredCE: Int(delivery.deliveredCE),
      busyTime: statistics.time(.busy, now) / 1000,
      windowLimitedTime: statistics.time(.windowLimited, now) / 1000,
      bufferLimitedTime: statistics.time(.bufferLimited, now) / 1000)
  }
}
