// SPDX-License-Identifier: GPL-2.0-or-later

// What TCP keeps beside what every socket has (struct tcp_sock, inet_connection_sock): the variables of RFC 9293 3.3.1
// under the names that the RFC spells out, the sender's scoreboard with its counters, and those of timers and congestion
// control. Times are nanoseconds, windows of congestion segments.

import NetTypes

/// The place of a connection in the kernel's table.
typealias TCPIndex = TableIndex<TCPSock>

/// A connection's state, with the kernel's numbers (`TCP_*`).
public enum TCPState: UInt8, Sendable, CaseIterable {
  case established = 1
  case synSent, synReceived, finWait1, finWait2, timeWait, close, closeWait, lastAck, listen, closing

  /// Both ends know each other's numbers.
  var isSynchronized: Bool {
    switch self {
    case .established, .finWait1, .finWait2, .closeWait, .lastAck, .closing: true
    case .synSent, .synReceived, .timeWait, .close, .listen: false
    }
  }
}

/// What the one timer of sending is for (`ICSK_TIME_*`).
enum TCPPendingTimer: UInt8 {
  case none
  /// RTO.
  case retransmit
  /// A window that is closed is asked about (PROBE0).
  case probe
  /// The end of a flight is sent again before RTO (TLP).
  case lossProbe
  /// What should have come by now, were it only reordered, is lost (RACK).
  case reorder
}

/// A connection.
struct TCPSock: ~Copyable {
  private let passing = PassedByAddress()
  let socket: SocketIndex
  var state = TCPState.close
  var key: FlowKey?
  /// The time of what is being done (tcp_mstamp).
  var mstamp: Int64 = 0

  // MARK: Sending

  /// ISS, SND.UNA, SND.NXT.
  var initialSend: UInt32 = 0
  var sendUnacknowledged: UInt32 = 0
  var sendNext: UInt32 = 0
  /// SND.WND, scaled; SND.WL1; the largest that it ever was.
  var sendWindow: UInt32 = 0
  var windowSequence: UInt32 = 0
  var largestWindow: UInt32 = 0
  var sendScale: UInt8 = 0
  /// From `sendUnacknowledged` on, but for a SYN.
  var unacknowledged = ByteQueue()
  /// Where the last segment ended that was not full.
  var smallSegmentEnd: UInt32?
  /// Somebody found no room and is to hear when there is.
  var awaitsRoom = false
  /// A FIN stands behind the bytes.
  var isFinQueued = false
  /// Its sequence number.
  var finSequence: UInt32 = 0
  /// What was never sent, as packets; packets that were sent and are not acknowledged as a whole.
  var writeQueue = WriteQueue()
  var sentPackets = 0
  /// Writes whose last byte somebody wants to be told of, and where bytes are counted from (sk_tskey).
  var stamps: [TransmitStamp] = []
  var stampOrigin: UInt32 = 0
  /// The end of what was pushed last (pushed_seq).
  var pushedEnd: UInt32 = 0
  /// SND.UP: behind the urgent byte, while it is not acknowledged.
  var sendUrgent: UInt32?
  /// When data went out last; 0: never (lsndtime).
  var lastSent: Int64 = 0

  // MARK: The scoreboard

  /// What is on its way.
  var sent = SentSegments()
  /// sacked_out (without SACK: duplicates), lost_out, retrans_out.
  var sackedOut = 0
  var lostOut = 0
  var retransmittedOut = 0
  /// Where the highest block of SACK ends.
  var highestSacked: UInt32 = 0
  /// The blocks of the last acknowledgment, which are not looked at again (recv_sack_cache).
  var knownBlocks = SACKBlocks()
  /// Where looking for what to send again goes on (retransmit_skb_hint).
  var retransmitHint: UInt32?
  /// tp->lost, total_retrans, bytes_retrans and the like, as TCP_INFO tells them.
  var lost: UInt32 = 0
  var totalRetransmits: UInt32 = 0
  var statistics = TCPStatistics()
  var delivery = DeliveryRate()

  // MARK: Recovery

  var congestion = CongestionPhase.open
  /// What must be acknowledged before a loss is over (`recover`, high_seq).
  var recoveryPoint: UInt32 = 0
  /// SND.UNA when the window was reduced; nil: there is nothing to undo.
  var undoMarker: UInt32?
  /// Retransmissions that no D-SACK has told of; -1: none was made (undo_retrans).
  var undoRetransmits = 0
  /// When the first of what is on its way again was sent again, in the ticks of timestamps and as time (retrans_stamp).
  var retransmitTimestamp: UInt32 = 0
  var retransmitStamp: Int64 = 0
  /// F-RTO is under way (RFC 5682).
  var isFRTO = false
  var reordering = 3
  var reorderingSeen: UInt32 = 0
  var duplicateSegments: UInt32 = 0
  /// The receiver took back what it had said to have (is_sack_reneg).
  var isReneging = false
  var rack = RACK()
  /// How many segments were sent, for the first time or again.
  var sendings: UInt32 = 0
  /// SND.NXT when a tail was probed; 0: no probe is on its way (tlp_high_seq).
  var tailProbeEnd: UInt32 = 0
  var isTailProbeRetransmission = false

  // MARK: Receiving

  /// IRS, RCV.NXT, what the user has read to, and RCV.NXT when the last window was told.
  var initialReceive: UInt32 = 0
  var receiveNext: UInt32 = 0
  var copied: UInt32 = 0
  var windowUpdate: UInt32 = 0
  /// RCV.WND as it was told last.
  var receiveWindow: UInt32 = 0
  var receiveScale: UInt8 = 0
  /// Bytes of the queue's first packet that have been read.
  var readOffset = 0
  var outOfOrder = OutOfOrderQueue()
  /// What is told of it.
  var selective = SACKBlocks()
  /// What came twice, told once (duplicate_sack).
  var duplicate: TCPRange?
  var compressed = CompressedACKs()
  /// The FIN has been received: nothing comes any more.
  var isDone = false
  var space = ReceiveSpace()
  /// The place of the urgent byte, and the byte.
  var urgent = UrgentData()

  // MARK: Options

  var hasTimestamps = false
  var hasSACK = false
  var hasWindowScale = false
  var ecn = TCPECN()
  var timestampOffset: UInt32 = 0
  /// TS.Recent and when it was taken; the echo of the segment that is being read.
  var recentTimestamp: UInt32 = 0
  var recentTimestampTime: Int64 = 0
  var echo: UInt32 = 0
  /// What the other end takes; what one segment has now, options not counted.
  var peerMSS = 536
  var mss = 536
  var ownMSS = 536
  /// What the way takes now (icsk_pmtu_cookie, less headers).
  var pathMSS = Int.max
  var probing = MTUProbing()
  /// TCP_MAXSEG; 0: nobody has said.
  var userMSS = 0

  var rtt = RoundTripTime()
  var way = TCPWay()

  // MARK: Congestion

  var algorithm = CongestionAlgorithm.cubic
  var congestionWindow = TCPSock.initialWindow
  var slowStartThreshold = TCPSock.infiniteThreshold
  /// Acknowledged segments that count towards the next of congestion avoidance.
  var acknowledgedCount = 0
  /// What they were before a reduction.
  var priorWindow = 0
  var priorThreshold = 0
  /// PRR's two counts.
  var reductionDelivered = 0
  var reductionSent = 0
  /// Whether the window was what held sending up, and how much of it was used.
  var wasWindowLimited = false
  var mostOut = 0
  var windowUsageSequence: UInt32 = 0
  var windowUsed = 0
  var windowStamp: Int64 = 0
  var cubic = Cubic()
  var bbr = BBR()
  /// Bytes a second; when the next segment may leave; whether somebody keeps to it (sk_pacing_status).
  var pacingRate = UInt64.max
  var maximumPacingRate = UInt64.max
  var pacingStamp: Int64 = 0
  var isPaced = false
  /// An event is on its way that goes on with sending.
  var isPacingArmed = false

  // MARK: Timers

  /// The timer of the wheel, which may come too early and is then set anew; what it is for, and when it is due.
  var retransmitTimer = TimerID.none
  var armedFor: Int64 = 0
  var pending = TCPPendingTimer.none
  var deadline: Int64 = 0
  var retransmits = 0
  var backoff = 0
  var totalTimeouts = 0
  var probes = 0
  var probesBegan: Int64 = 0
  var delayedACKTimer = TimerID.none
  /// An acknowledgment is owed.
  var owesACK = false
  /// It may not wait (ICSK_ACK_NOW).
  var acksNow = false
  /// ACKs that are not to be delayed.
  var quickACKs = 0
  var ackTimeout: Int64 = 0
  var lastReceived: Int64 = 0
  /// When the other end was heard last (rcv_tstamp).
  var lastHeard: Int64 = 0
  /// Times an interactive exchange has been seen (icsk_ack.pingpong).
  var isInteractive = false
  /// The size that the other end's full segments seem to have (icsk_ack.rcv_mss).
  var receivedMSS = 536
  var lastOutOfWindowACK: Int64 = .min
  /// FIN-WAIT-2.
  var stateTimer = TimerID.none
  var keepaliveTimer = TimerID.none
  /// An error that may pass (sk_err_soft).
  var softError: Int32 = 0

  // MARK: Listening

  var backlog = 0
  /// Connections that nobody has accepted, oldest first.
  var acceptQueue: [TCPIndex] = []
  /// The SYN queue.
  var requests: [TCPRequestIndex] = []
  /// Whoever it was asked of, until it is accepted.
  var listener = TCPIndex.none
  /// When a cookie had to be sent last (`tcp_synq_overflow`).
  var lastOverflow: Int64 = .min

  /// How the user's connect stands (`socket->state`).
  enum Connection {
    case none, pending, complete
    /// It was shut down before it stood (SS_DISCONNECTING).
    case ending
  }
  var connection = Connection.none
  /// Nobody uses it any more; it ends what it has begun.
  var isOrphan = false
  /// It is one of `Kernel.orphans`, or, in FIN-WAIT-2, one of its namespace's that wait.
  var isCountedOrphan = false
  var isCountedWaiting = false

  init(socket: SocketIndex) { self.socket = socket }

  // MARK: Constants

  static let initialTimeout: Int64 = 1_000_000_000
  static let delayedACKMinimum: Int64 = 40_000_000
  static let delayedACKMaximum: Int64 = 200_000_000
  /// TCP_RESOURCE_PROBE_INTERVAL: what could not be done for want of memory is tried again.
  static let resourceInterval: Int64 = 500_000_000
  static let initialWindow = 10
  static let quickACKMaximum = 16

  /// Segments that are on their way now (tcp_packets_in_flight).
  @inline(__always) var inFlight: Int { sent.count - sackedOut - lostOut + retransmittedOut }

  /// What is not acknowledged, in numbers, of which a SYN and a FIN take one each (write_seq - snd_una).
  var unacknowledgedNumbers: Int {
    max(0, Int(Int32(bitPattern: writeEnd &- sendUnacknowledged)) + (isFinQueued ? 1 : 0))
  }

  /// Where the bytes end: the sequence number of a FIN.
  var writeEnd: UInt32 { isFinQueued ? finSequence : firstByte &+ UInt32(unacknowledged.count) }

  /// The sequence number of the first byte that is kept.
  var firstByte: UInt32 {
    isBefore(sendUnacknowledged, initialSend &+ 1) ? initialSend &+ 1 : sendUnacknowledged
  }

  /// SND.UNA + SND.WND.
  var windowEnd: UInt32 { sendUnacknowledged &+ sendWindow }

  /// What the other end may still send (tcp_receive_window).
  var openWindow: UInt32 {
    let window = Int32(bitPattern: windowUpdate &+ receiveWindow &- receiveNext)
    return window < 0 ? 0 : UInt32(window)
  }

  var hasEverything: Bool { sendUnacknowledged == sendNext }

  /// Bytes, or a FIN, that were never sent (tcp_send_head).
  var hasUnsent: Bool {
    guard state.isSynchronized else { return false }
    return isBefore(sendNext, writeEnd &+ (isFinQueued ? 1 : 0))
  }

  /// What is to be sent and what is not acknowledged count for so much in the send buffer (sk_wmem_queued).
  var queuedMemory: Int { unacknowledged.count + WriteQueue.overhead * (writeQueue.count + sentPackets) }

  /// Bytes that were never sent.
  var unsentBytes: Int { max(Int(Int32(bitPattern: writeEnd &- sendNext)), 0) }

  /// Forgets a connection that has failed, before another one begins.
  mutating func restart() {
    readOffset = 0
    isFinQueued = false
    writeQueue = WriteQueue()
    sentPackets = 0
    isDone = false
    smallSegmentEnd = nil
    sendUrgent = nil
    urgent = UrgentData()
    sent.removeAll()
    (sackedOut, lostOut, retransmittedOut) = (0, 0, 0)
    retransmitHint = nil
    knownBlocks = SACKBlocks()
    selective = SACKBlocks()
    duplicate = nil
    compressed = CompressedACKs()
    delivery = DeliveryRate()
    statistics = TCPStatistics()
    (lost, totalRetransmits) = (0, 0)
    rtt = RoundTripTime()
    way.forget()
    rack = RACK()
    congestion = .open
    congestionWindow = Self.initialWindow
    slowStartThreshold = Self.infiniteThreshold
    undoMarker = nil
    tailProbeEnd = 0
    isReneging = false
    (retransmits, backoff, totalTimeouts, probes) = (0, 0, 0, 0)
    pending = .none
    pathMSS = .max
    probing = MTUProbing()
    sendScale = 0
    recentTimestamp = 0
    ecn = TCPECN()
  }
}

/// What TCP_INFO counts over a connection's life.
struct TCPStatistics {
  var bytesSent: UInt64 = 0
  var bytesRetransmitted: UInt64 = 0
  var bytesAcknowledged: UInt64 = 0
  var bytesReceived: UInt64 = 0
  var segmentsOut: UInt32 = 0
  var segmentsIn: UInt32 = 0
  var dataSegmentsOut: UInt32 = 0
  var dataSegmentsIn: UInt32 = 0
  var duplicateACKs: UInt32 = 0
  var outOfOrder: UInt32 = 0
  /// What the sender is doing, and since when.
  private var activity = Activity.idle
  private var activitySince: Int64 = 0
  private var times = InlineArray<4, Int64>(repeating: 0)

  /// What keeps a sender (`TCP_CHRONO_*`): later ones count before earlier ones.
  enum Activity: Int { case idle, busy, windowLimited, bufferLimited }

  private mutating func become(_ activity: Activity, _ now: Int64) {
    times[self.activity.rawValue] += now - activitySince
    self.activity = activity
    activitySince = now
  }

  /// tcp_chrono_start.
  mutating func begin(_ activity: Activity, _ now: Int64) {
    if activity.rawValue > self.activity.rawValue { become(activity, now) }
  }

  /// tcp_chrono_stop.
  mutating func end(_ activity: Activity, isEmpty: Bool, _ now: Int64) {
    if isEmpty {
      if self.activity != .idle { become(.idle, now) }
    } else if self.activity == activity, activity != .busy {
      become(.busy, now)
    }
  }

  /// Nanoseconds spent so; being busy counts the others too.
  func time(_ activity: Activity, _ now: Int64) -> Int64 {
    let running = self.activity == activity ? now - activitySince : 0
    let own = times[activity.rawValue] + running
    return activity == .busy ? own + time(.windowLimited, now) + time(.bufferLimited, now) : own
  }
}

/// What a connection knows of explicit congestion notification (RFC 3168; tp->ecn_flags).
struct TCPECN {
  /// Both ends have agreed to it.
  var isOn = false
  /// The next new segment says CWR.
  var queuesCWR = false
  /// Acknowledgments say ECE until the sender says CWR.
  var demandsCWR = false
  /// A mark has been seen on any packet.
  var hasSeen = false
}

/// The place of a request in the kernel's table.
typealias TCPRequestIndex = TableIndex<TCPRequest>

/// A connection that a SYN has asked for, before the handshake is complete (struct request_sock): an entry of the SYN
/// queue.
struct TCPRequest {
  var listener: TCPIndex
  var key: FlowKey
  var local: SocketAddress
  var remote: SocketAddress
  var initialSend: UInt32
  var initialReceive: UInt32
  var peerMSS: Int
  var ownMSS: Int
  var sendScale: UInt8
  var receiveScale: UInt8
  var hasTimestamps: Bool
  var hasSACK: Bool
  var hasWindowScale: Bool
  var hasECN: Bool
  var recentTimestamp: UInt32
  var timestampOffset: UInt32
  var receiveWindow: UInt32
  var timer = TimerID.none
  /// How often the timer has expired, and SYN-ACKs were sent again, also for SYNs that came again (num_timeout,
  /// num_retrans).
  var timeouts = 0
  var retransmits = 0
  /// The handshake is complete but for data (TCP_DEFER_ACCEPT; inet_rsk->acked).
  var isAcknowledged = false
  /// When the first SYN-ACK was sent, and the last one.
  let sentAt: Int64
  var lastSentAt: Int64
  /// When what was not as it should be was answered last.
  var lastOutOfWindowACK = Int64.min

  /// What a SYN-ACK of that time says, or the acknowledgment of what is not as it should be.
  func timestamp(at now: Int64) -> UInt32 { TCPSock.timestamp(at: now, timestampOffset) }

  /// PAWS, of resets too: what was seen is not older than the SYN-ACK.
  func isOld(_ segment: TCPSegment, at now: Int64) -> Bool {
    guard hasTimestamps, let timestamp = segment.options.timestamp else { return false }
    return TCPSock.isOld(timestamp.value, recentTimestamp, seen: sentAt, at: now)
  }

  /// It echoes what no SYN-ACK said.
  func isEchoWrong(in segment: TCPSegment) -> Bool {
    guard hasTimestamps, let echo = segment.options.timestamp?.echo, echo != 0 else { return false }
    let first = timestamp(at: sentAt)
    return echo &- first > timestamp(at: lastSentAt) &- first
  }

  /// Whether a segment is in the window that the SYN-ACK offered (tcp_in_window).
  func takes(_ segment: TCPSegment) -> Bool {
    let start = initialReceive &+ 1
    let end = start &+ min(receiveWindow, 65535)
    return segment.sequence == start || isAfter(segment.end, start) && isBefore(segment.sequence, end)
      || segment.isBare && segment.sequence == end
  }
}

/// A budget of challenges a second (RFC 5961 7, tcp_send_challenge_ack); by default there is no limit.
struct ChallengeBudget {
  private var second: Int64 = -1
  private var left = 0

  mutating func take(_ limit: Int, _ now: Int64) -> Bool {
    guard limit != Int(Int32.max) else { return true }
    let current = now / 1_000_000_000
    if current != second {
      second = current
      left = max(limit, 0)
    }
    guard left > 0 else { return false }
    left -= 1
    return true
  }
}
