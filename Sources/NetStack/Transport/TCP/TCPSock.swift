// SPDX-License-Identifier: GPL-2.0-or-later

// What TCP keeps beside what every socket has (struct tcp_sock, inet_connection_sock): the variables of RFC 9293 3.3.1
// under the names that the RFC spells out, and those of timers, congestion control (RFC 5681, 6582) and round-trip time
// (RFC 6298). Times are nanoseconds.

import NetTypes

/// The place of a connection in the kernel's table.
typealias TCPIndex = TableIndex<TCPSock>

/// A connection's state, with the kernel's numbers (`TCP_*`).
public enum TCPState: UInt8, Sendable, CaseIterable {
  case established = 1
  case synSent, synReceived, finWait1, finWait2, timeWait, close, closeWait, lastAck, listen, closing
}

/// A segment that came before its turn.
struct OutOfOrder {
  var range: TCPRange
  var slot: Slot
  var isLast: Bool
}

/// A connection.
struct TCPSock: ~Copyable {
  let socket: SocketIndex
  var state = TCPState.close
  var key: FlowKey?

  // MARK: Sending

  /// ISS, SND.UNA.
  var initialSend: UInt32 = 0
  var sendUnacknowledged: UInt32 = 0
  /// The next to be sent: behind `sendMaximum` while what was lost is sent again.
  var sendNext: UInt32 = 0
  /// SND.NXT: behind everything that was ever sent.
  var sendMaximum: UInt32 = 0
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
  var outOfOrder: [OutOfOrder] = []
  /// Where the newest of them begins, which is told first (RFC 2018 4).
  var newestOutOfOrder: UInt32 = 0
  /// The FIN has been received: nothing comes any more.
  var isDone = false

  // MARK: Options

  var hasTimestamps = false
  var hasSACK = false
  var hasWindowScale = false
  var timestampOffset: UInt32 = 0
  /// TS.Recent and when it was taken.
  var recentTimestamp: UInt32 = 0
  var recentTimestampTime: Int64 = 0
  /// What the other end takes; what one segment has now, options not counted.
  var peerMSS = 536
  var mss = 536
  var ownMSS = 536
  /// What the path takes, when less than the device has been heard of.
  var pathMSS = Int.max

  // MARK: Round-trip time

  var smoothedRTT: Int64 = 0
  var rttVariance: Int64 = 0
  var retransmissionTimeout: Int64 = TCPSock.initialTimeout
  /// A segment that is timed: its end, and when it was sent; only while nothing is sent twice (Karn).
  var timedSequence: UInt32 = 0
  var timedAt: Int64?

  // MARK: Congestion

  enum Congestion { case open, recovery, loss }
  var congestion = Congestion.open
  /// In segments.
  var congestionWindow = 10
  var slowStartThreshold = Int.max
  /// Acknowledged segments that count towards the next of congestion avoidance.
  var acknowledgedCount = 0
  var duplicateACKs = 0
  /// What must be acknowledged before a loss is over (`recover`, high_seq).
  var recoveryPoint: UInt32 = 0

  // MARK: Timers

  var retransmitTimer = TimerID.none
  /// The retransmission timer probes a closed window instead.
  var isProbing = false
  var retransmits = 0
  var backoff = 0
  var probes = 0
  var delayedACKTimer = TimerID.none
  /// An acknowledgment is owed.
  var owesACK = false
  /// It may not wait (ICSK_ACK_NOW).
  var acksNow = false
  /// ACKs that are not to be delayed.
  var quickACKs = 0
  var ackTimeout: Int64 = 0
  var lastReceived: Int64 = 0
  /// Times an interactive exchange has been seen (icsk_ack.pingpong).
  var isInteractive = false
  /// The size that the other end's full segments seem to have (icsk_ack.rcv_mss).
  var receivedMSS = 536
  var lastOutOfWindowACK: Int64 = .min
  /// FIN-WAIT-2, TIME-WAIT.
  var stateTimer = TimerID.none

  // MARK: Listening

  var backlog = 0
  /// Connections that nobody has accepted, oldest first.
  var acceptQueue: [TCPIndex] = []
  /// The SYN queue.
  var requests: [TCPRequestIndex] = []
  /// Whoever it was asked of, until it is accepted.
  var listener = TCPIndex.none

  /// How the user's connect stands (`socket->state`).
  enum Connection { case none, pending, complete }
  var connection = Connection.none
  /// Nobody uses it any more; it ends what it has begun.
  var isOrphan = false

  init(socket: SocketIndex) { self.socket = socket }

  // MARK: Constants

  static let initialTimeout: Int64 = 1_000_000_000
  static let minimumTimeout: Int64 = 200_000_000
  static let maximumTimeout: Int64 = 120_000_000_000
  static let delayedACKMinimum: Int64 = 40_000_000
  static let delayedACKMaximum: Int64 = 200_000_000
  static let timeWaitLength: Int64 = 60_000_000_000
  static let synRetries = 6
  static let synACKRetries = 5
  /// tcp_retries2 and tcp_orphan_retries.
  static let retries = 15
  static let orphanRetries = 8
  static let initialWindow = 10
  static let quickACKMaximum = 16
  static let outOfOrderLimit = 1024
  /// What tcp_rmem and tcp_wmem begin with, and the scale that the maximum of the former needs.
  static let receiveBuffer = 131_072
  static let sendBuffer = 16_384
  static let windowScale: UInt8 = 7
  /// net.core.somaxconn.
  static let backlogMaximum = 4096

  /// Bytes that are sent and not acknowledged.
  var flight: Int { Int(sendNext &- sendUnacknowledged) }

  /// Where the bytes end: the sequence number of a FIN.
  var writeEnd: UInt32 { isFinQueued ? finSequence : firstByte &+ UInt32(unacknowledged.count) }

  /// The sequence number of the first byte that is kept.
  var firstByte: UInt32 {
    isBefore(sendUnacknowledged, initialSend &+ 1) ? initialSend &+ 1 : sendUnacknowledged
  }

  /// What the other end may still send (tcp_receive_window).
  var openWindow: UInt32 {
    let window = Int32(bitPattern: windowUpdate &+ receiveWindow &- receiveNext)
    return window < 0 ? 0 : UInt32(window)
  }

  var hasEverything: Bool { sendUnacknowledged == sendMaximum }

  /// Forgets a connection that has failed, before another one begins.
  mutating func restart() {
    readOffset = 0
    isFinQueued = false
    isDone = false
    smallSegmentEnd = nil
    smoothedRTT = 0
    retransmissionTimeout = Self.initialTimeout
    congestion = .open
    congestionWindow = Self.initialWindow
    slowStartThreshold = .max
    duplicateACKs = 0
    retransmits = 0
    backoff = 0
    probes = 0
    pathMSS = .max
    sendScale = 0
    recentTimestamp = 0
  }

  /// Takes a sample (RFC 6298 2, with the kernel's floor: the variance is never below what keeps RTO 200 ms over RTT).
  mutating func takeRTT(_ sample: Int64) {
    let sample = max(sample, 1000)
    if smoothedRTT == 0 {
      smoothedRTT = sample
      rttVariance = sample / 2
    } else {
      rttVariance += (abs(smoothedRTT - sample) - rttVariance) / 4
      smoothedRTT += (sample - smoothedRTT) / 8
    }
    retransmissionTimeout = min(
      smoothedRTT + max(4 * rttVariance, Self.minimumTimeout), Self.maximumTimeout)
  }
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
  var recentTimestamp: UInt32
  var timestampOffset: UInt32
  var receiveWindow: UInt32
  var timer = TimerID.none
  var retransmits = 0
  var sentAt: Int64
}
