// SPDX-License-Identifier: GPL-2.0-or-later

// A socket as a kernel has it now: what `ss -tuniom` shows of it, by the same names, for every datapath.

public import NetTypes

/// A socket of a namespace.
public struct SocketReport: Hashable, Codable, Sendable {
  public enum Kind: String, Hashable, Codable, Sendable { case tcp, udp, raw }

  /// An address and a port; an address of a link names its device.
  public struct Name: Hashable, Codable, Sendable {
    public var address: IPAddress
    /// A protocol's number for raw sockets; 0: none, or any.
    public var port: UInt16
    public var link: String?

    public init(_ address: IPAddress, _ port: UInt16, link: String? = nil) {
      self.address = address
      self.port = port
      self.link = link
    }
  }

  /// What runs for it.
  public struct Timer: Hashable, Codable, Sendable {
    /// `on` (retransmission), `keepalive`, `timewait`, `persist`.
    public var name: String
    /// Milliseconds until it expires.
    public var expires: UInt32
    /// How often it has expired in vain.
    public var retransmits: UInt32

    public init(name: String, expires: UInt32, retransmits: UInt32) {
      self.name = name
      self.expires = expires
      self.retransmits = retransmits
    }
  }

  /// Bytes of the kernel's memory (`skmem`).
  public struct Memory: Hashable, Codable, Sendable {
    /// `r` and `rb`.
    public var received: UInt32
    public var receiveLimit: UInt32
    /// `t` and `tb`.
    public var sent: UInt32
    public var sendLimit: UInt32
    /// `f`: reserved for either, and not used yet. An emulated kernel reserves nothing.
    public var reserved: UInt32
    /// `w`: written, and not acknowledged.
    public var queued: UInt32
    /// `o`: taken by options.
    public var options: UInt32
    /// `bl`: waits for whoever has the socket in use. An emulated kernel has nobody beside itself.
    public var backlog: UInt32
    /// `d`: packets that did not fit.
    public var drops: UInt32

    public init(
      received: UInt32, receiveLimit: UInt32, sent: UInt32, sendLimit: UInt32, reserved: UInt32 = 0,
      queued: UInt32, options: UInt32 = 0, backlog: UInt32 = 0, drops: UInt32
    ) {
      self.received = received
      self.receiveLimit = receiveLimit
      self.sent = sent
      self.sendLimit = sendLimit
      self.reserved = reserved
      self.queued = queued
      self.options = options
      self.backlog = backlog
      self.drops = drops
    }
  }

  public var kind: Kind
  /// As `ss` says it: `LISTEN`, `ESTAB`, `UNCONN`.
  public var state: String
  /// Bytes that wait to be read; a listener's connections that wait to be accepted.
  public var receiveQueue: UInt32
  /// Bytes that are not acknowledged; a listener's backlog.
  public var sendQueue: UInt32
  public var local: Name
  /// Address and port are none while it is not connected.
  public var peer: Name
  public var user: UInt32
  /// IPV6_V6ONLY: an unspecified IPv6 address does not mean IPv4's as well.
  public var isV6Only: Bool
  public var timer: Timer?
  public var memory: Memory?
  public var tcp: TCPReport?

  public init(
    kind: Kind, state: String, receiveQueue: UInt32, sendQueue: UInt32, local: Name, peer: Name, user: UInt32,
    isV6Only: Bool = false, timer: Timer? = nil, memory: Memory? = nil, tcp: TCPReport? = nil
  ) {
    self.kind = kind
    self.state = state
    self.receiveQueue = receiveQueue
    self.sendQueue = sendQueue
    self.local = local
    self.peer = peer
    self.user = user
    self.isV6Only = isV6Only
    self.timer = timer
    self.memory = memory
    self.tcp = tcp
  }

  /// What `ss` calls a state by the kernel's number of it (TCP_ESTABLISHED is 1); nil where there is none.
  public static func word(forState number: UInt8) -> String? {
    let words = [
      "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT",
      "LAST-ACK", "LISTEN", "CLOSING", "SYN-RECV",
    ]
    return number >= 1 && number <= words.count ? words[Int(number) - 1] : nil
  }
}

/// A connection as TCP has it (struct tcp_info). Times are microseconds, rates bytes a second, windows segments unless
/// a name says otherwise.
public struct TCPReport: Hashable, Codable, Sendable {
  /// `ts`, `sack`, `ecn`, `ecnseen` and such, in the order of `ss`.
  public var options: [String] = []
  public var congestionControl: String?
  /// Shifts of the windows, sent and received; nil without the option.
  public var windowScale: [UInt8]?
  public var retransmissionTimeout: UInt32 = 0
  public var backoff: UInt32 = 0
  public var roundTripTime: UInt32 = 0
  public var roundTripVariance: UInt32 = 0
  public var minimumRoundTripTime: UInt32 = 0
  public var ackTimeout: UInt32 = 0
  public var mss: UInt32 = 0
  public var pathMTU: UInt32 = 0
  public var receiveMSS: UInt32 = 0
  public var advertisedMSS: UInt32 = 0
  public var congestionWindow: UInt32 = 0
  /// Nil before the first loss.
  public var slowStartThreshold: UInt32?
  public var bytesSent: UInt64 = 0
  public var bytesRetransmitted: UInt64 = 0
  public var bytesAcknowledged: UInt64 = 0
  public var bytesReceived: UInt64 = 0
  public var segmentsSent: UInt32 = 0
  public var segmentsReceived: UInt32 = 0
  public var dataSegmentsSent: UInt32 = 0
  public var dataSegmentsReceived: UInt32 = 0
  /// Milliseconds ago.
  public var lastSent: UInt32 = 0
  public var lastReceived: UInt32 = 0
  public var lastAcknowledged: UInt32 = 0
  public var pacingRate: UInt64 = 0
  public var deliveryRate: UInt64 = 0
  public var delivered: UInt32 = 0
  public var isApplicationLimited = false
  public var busyTime: UInt64 = 0
  public var windowLimitedTime: UInt64 = 0
  public var bufferLimitedTime: UInt64 = 0
  /// Segments on their way.
  public var unacknowledged: UInt32 = 0
  public var retransmitted: UInt32 = 0
  public var totalRetransmissions: UInt32 = 0
  public var lost: UInt32 = 0
  public var sacked: UInt32 = 0
  public var duplicateSACKs: UInt32 = 0
  public var reordering: UInt32 = 0
  public var receiveRoundTripTime: UInt32 = 0
  public var receiveSpace: UInt32 = 0
  public var receiveSlowStartThreshold: UInt32 = 0
  public var notSent: UInt32 = 0
  public var sendWindow: UInt32 = 0

  public init() {}
}
