// SPDX-License-Identifier: GPL-2.0-or-later

// How connection tracking follows TCP: the state that both sides are thought to be in, and the windows that tell a
// segment of the connection from a stray or forged one (nf_conntrack_proto_tcp.c, after Guido van Rooij's "Real stateful
// TCP packet filtering").

/// The states of a tracked connection.
enum TCPTrackerState: UInt8, BitwiseCopyable, CaseIterable {
  case none, synSent, synReceived, established, finWait, closeWait, lastAck, timeWait, close, synSent2
  /// It may belong to the connection or not: whoever receives it shall say.
  case ignore
  /// It belongs to no connection that this could be.
  case invalid

  /// As `conntrack -L` prints it.
  var name: String {
    switch self {
    case .none: "NONE"
    case .synSent: "SYN_SENT"
    case .synReceived: "SYN_RECV"
    case .established: "ESTABLISHED"
    case .finWait: "FIN_WAIT"
    case .closeWait: "CLOSE_WAIT"
    case .lastAck: "LAST_ACK"
    case .timeWait: "TIME_WAIT"
    case .close: "CLOSE"
    case .synSent2: "SYN_SENT2"
    case .ignore, .invalid: "NONE"
    }
  }
}

/// A segment as tracking sees it.
struct TrackedSegment {
  /// What its flags mean (get_conntrack_index).
  enum Kind: UInt8 {
    case syn, synAck, fin, ack, reset, none
  }

  var kind: Kind
  var isSYN: Bool
  var isACK: Bool
  var isReset: Bool
  var sequence: UInt32
  var acknowledgement: UInt32
  /// The highest sequence that it acknowledges, by SACK too.
  var highestAcknowledged: UInt32
  var window: UInt32
  /// The sequence behind its last byte, SYN and FIN counted.
  var end: UInt32
  var windowScale: UInt8?
  var permitsSACK: Bool
}

/// What tracking makes of a segment.
enum TCPTrackerVerdict {
  case accept
  /// Let through without an effect on the connection.
  case ignore
  case invalid
  /// The connection is over, and this begins another one.
  case reopen
  /// The connection is over with this.
  case kill
}

/// The tracked state of one connection.
struct TCPTracker: BitwiseCopyable {
  /// What is known of one side (struct ip_ct_tcp_state).
  struct Side: BitwiseCopyable {
    struct Flags: OptionSet, BitwiseCopyable {
      var rawValue: UInt8
      static let windowScale = Flags(rawValue: 1)
      static let sackPermitted = Flags(rawValue: 2)
      static let closeInit = Flags(rawValue: 4)
      static let beLiberal = Flags(rawValue: 8)
      static let dataUnacknowledged = Flags(rawValue: 16)
      static let maximumAckSet = Flags(rawValue: 32)
    }

    /// Highest sequence sent and its end.
    var end: UInt32 = 0
    /// Highest end that the other side has allowed.
    var maximumEnd: UInt32 = 0
    var maximumWindow: UInt32 = 0
    var maximumAck: UInt32 = 0
    var scale: UInt8 = 0
    var flags: Flags = []
  }

  private static let maximumAckWindow: UInt32 = 66000

  private(set) var state = TCPTrackerState.none
  private var original = Side()
  private var reply = Side()
  private var lastDirection = ConntrackDirection.original
  private var lastKind = TrackedSegment.Kind.none
  private var lastSequence: UInt32 = 0
  private var lastAcknowledgement: UInt32 = 0
  private var lastEnd: UInt32 = 0
  private var lastWindow: UInt32 = 0
  private var lastScale: UInt8 = 0
  private var lastFlags: Side.Flags = []
  private var expectsChallenge = false
  private var isSimultaneous = false
  private var retransmissions: UInt8 = 0

  init() {}

  private subscript(direction: ConntrackDirection) -> Side {
    get { direction == .original ? original : reply }
    set {
      if direction == .original { original = newValue } else { reply = newValue }
    }
  }

  // MARK: The table

  /// tcp_conntracks: by direction, kind and state before.
  private static let transitions: [TCPTrackerState] = {
    let no = TCPTrackerState.none
    let ss = TCPTrackerState.synSent
    let sr = TCPTrackerState.synReceived
    let es = TCPTrackerState.established
    let fw = TCPTrackerState.finWait
    let cw = TCPTrackerState.closeWait
    let la = TCPTrackerState.lastAck
    let tw = TCPTrackerState.timeWait
    let cl = TCPTrackerState.close
    let s2 = TCPTrackerState.synSent2
    let ig = TCPTrackerState.ignore
    let iv = TCPTrackerState.invalid
    let original: [[TCPTrackerState]] = [
      [ss, ss, ig, ig, ig, ig, ig, ss, ss, s2],
      [iv, iv, sr, iv, iv, iv, iv, iv, iv, sr],
      [iv, iv, fw, fw, la, la, la, tw, cl, iv],
      [es, iv, es, es, cw, cw, tw, tw, cl, iv],
      [iv, cl, cl, cl, cl, cl, cl, cl, cl, cl],
      [iv, iv, iv, iv, iv, iv, iv, iv, iv, iv],
    ]
    let reply: [[TCPTrackerState]] = [
      [iv, s2, iv, iv, iv, iv, iv, ss, iv, s2],
      [iv, sr, ig, ig, ig, ig, ig, ig, ig, sr],
      [iv, iv, fw, fw, la, la, la, tw, cl, iv],
      [iv, ig, sr, es, cw, cw, tw, tw, cl, ig],
      [iv, cl, cl, cl, cl, cl, cl, cl, cl, cl],
      [iv, iv, iv, iv, iv, iv, iv, iv, iv, iv],
    ]
    return (original + reply).flatMap { $0 }
  }()

  private static func next(
    _ state: TCPTrackerState, _ kind: TrackedSegment.Kind, _ direction: ConntrackDirection
  ) -> TCPTrackerState {
    transitions[(Int(direction.rawValue) * 6 + Int(kind.rawValue)) * 10 + Int(state.rawValue)]
  }

  // MARK: Behind a SYN proxy

  /// The largest window that the client has announced.
  var clientWindow: UInt32 { original.maximumWindow }

  /// Whether a client asks with a keepalive for a connection that the server has not answered yet.
  func isAskedAgain(_ segment: TrackedSegment, _ direction: ConntrackDirection) -> Bool {
    state == .synSent && segment.kind == .ack && direction == .original && lastDirection == .original
      && original.end &- 1 == segment.sequence
  }

  // MARK: Past the rules

  /// Whatever the windows say is let through: not every segment is seen (nft_flow_offload_eval).
  mutating func beLiberal() {
    original.flags.insert(.beLiberal)
    reply.flags.insert(.beLiberal)
  }

  /// The next segment of each side begins its window anew (flow_offload_fixup_tcp).
  mutating func forgetWindows() {
    original.maximumWindow = 0
    reply.maximumWindow = 0
  }

  // MARK: A segment

  /// Begins with a connection's first segment (tcp_new). False: no connection begins like this.
  mutating func begin(_ segment: TrackedSegment) -> Bool {
    let new = Self.next(.none, segment.kind, .original)
    guard new != .invalid else { return false }
    self = TCPTracker()
    original.end = segment.end
    original.maximumWindow = max(segment.window, 1)
    if new == .synSent {
      original.maximumEnd = segment.end
      takeOptions(segment, &original)
    } else {
      // It was there before anybody looked: nothing is known of its windows' scale.
      original.maximumEnd = segment.end &+ original.maximumWindow
      original.flags = [.sackPermitted, .beLiberal]
      reply.flags = [.sackPermitted, .beLiberal]
    }
    return true
  }

  /// What a segment of a connection makes of it (nf_conntrack_tcp_packet), and how long it lives from now on, in
  /// nanoseconds; nil leaves that as it is.
  mutating func track(
    _ segment: TrackedSegment, _ direction: ConntrackDirection, _ settings: ConntrackSettings,
    _ status: inout ConntrackEntry.Status
  ) -> (verdict: TCPTrackerVerdict, timeout: Int64?) {
    var old = state
    var new = Self.next(old, segment.kind, direction)
    var isKnownGood = false
    switch new {
    case .synSent where old.rawValue >= TCPTrackerState.timeWait.rawValue:
      if original.flags.union(reply.flags).contains(.closeInit)
        || (lastDirection == direction && lastKind == .reset)
      {
        return (.reopen, nil)
      }
      if let outcome = ignore(segment, direction, &old, &new) { return (outcome, nil) }
    case .ignore:
      if let outcome = ignore(segment, direction, &old, &new) { return (outcome, nil) }
    case .invalid: return (.invalid, nil)
    case .timeWait:
      // An answer to a SYN out of place (RFC 5961 4.2) does not acknowledge the FIN.
      if old == .lastAck, segment.kind == .ack, lastDirection != direction, lastKind == .syn, expectsChallenge
      {
        expectsChallenge = false
        return (.invalid, nil)
      }
    case .synSent2: isSimultaneous = true
    case .synReceived:
      if direction == .reply, segment.kind == .ack, isSimultaneous { new = .established }
    case .close where segment.kind == .reset:
      switch judgeReset(segment, direction, old, &new, status, settings.isOn(.ignoreInvalidReset)) {
      case .invalid: return (.invalid, nil)
      case .ignore: isKnownGood = true
      default: break
      }
    default: break
    }
    if !isKnownGood {
      let verdict = isInWindow(segment, direction, settings.isOn(.beLiberal))
      guard verdict == .accept else { return (verdict, nil) }
    }
    lastKind = segment.kind
    lastDirection = direction
    state = new
    if old != new, new == .finWait { self[direction].flags.insert(.closeInit) }
    return settle(segment, old, new, settings, &status)
  }

  private func settle(
    _ segment: TrackedSegment, _ old: TCPTrackerState, _ new: TCPTrackerState,
    _ settings: ConntrackSettings, _ status: inout ConntrackEntry.Status
  ) -> (verdict: TCPTrackerVerdict, timeout: Int64?) {
    let usual = settings.time(of: new)
    let retransmission = settings.time(.retransmission)
    var timeout = usual
    if Int32(retransmissions) >= settings[.maximumRetransmissions], usual > retransmission {
      timeout = retransmission
    } else if segment.kind == .reset {
      timeout = settings.time(.close)
    } else if original.flags.union(reply.flags).contains(.dataUnacknowledged),
      usual > settings.time(.unacknowledged)
    {
      timeout = settings.time(.unacknowledged)
    } else if lastWindow == 0, usual > retransmission {
      timeout = retransmission
    }
    if !status.contains(.seenReply) {
      if segment.isReset { return (.kill, nil) }
      if segment.kind == .syn, old == .synSent { return (.accept, nil) }
      if new == .established { timeout = min(timeout, settings.time(.unacknowledged)) }
    } else if !status.contains(.assured), old == .synReceived || old == .established, new == .established {
      status.insert(.assured)
    }
    return (.accept, timeout)
  }

  /// A segment that may be right while what is known is wrong. Nil: it proves that what was ignored before is the
  /// connection, and goes on as its next step.
  private mutating func ignore(
    _ segment: TrackedSegment, _ direction: ConntrackDirection, _ old: inout TCPTrackerState,
    _ new: inout TCPTrackerState
  ) -> TCPTrackerVerdict? {
    if segment.kind == .synAck, lastKind == .syn, lastDirection != direction,
      segment.acknowledgement == lastEnd
    {
      old = .synSent
      new = .synReceived
      var side = Side()
      side.end = lastEnd
      side.maximumEnd = lastEnd
      side.maximumWindow = max(lastWindow, 1)
      side.scale = lastScale
      side.flags = lastFlags
      self[lastDirection] = side
      self[direction] = Side()
      expectsChallenge = false
      state = .synSent
      return nil
    }
    lastKind = segment.kind
    lastDirection = direction
    lastSequence = segment.sequence
    lastEnd = segment.end
    lastWindow = segment.window
    if segment.kind == .syn, direction == .original {
      lastFlags = []
      lastScale = 0
      if let scale = segment.windowScale {
        lastFlags.insert(.windowScale)
        lastScale = min(scale, 14)
      }
      if segment.permitsSACK { lastFlags.insert(.sackPermitted) }
      expectsChallenge = state == .lastAck
    }
    if state == .synSent, segment.kind == .ack, direction == .reply {
      lastAcknowledgement = segment.acknowledgement
    }
    return .ignore
  }

  /// RSTs must fit exactly where that can be told (RFC 5961 3.2). `ignore` here: it answers something that was let
  /// through before, and needs no window.
  private func judgeReset(
    _ segment: TrackedSegment, _ direction: ConntrackDirection, _ old: TCPTrackerState,
    _ new: inout TCPTrackerState, _ status: ConntrackEntry.Status, _ ignoresInvalid: Bool
  ) -> TCPTrackerVerdict {
    let other = self[direction.other]
    if other.flags.contains(.maximumAckSet) {
      let isEstablished = old == .established && status.contains(.assured)
      // Most likely the answer to a SYN that was let through.
      if segment.sequence == 0, !isEstablished { return .accept }
      if Self.isBefore(segment.sequence, other.maximumAck), !ignoresInvalid { return .invalid }
      if !isEstablished || segment.sequence == other.maximumAck { return .accept }
      if lastKind == .ack, lastDirection == direction, segment.sequence == lastEnd { return .accept }
      new = old
    }
    let answersOurs =
      (status.contains(.seenReply) && lastKind == .syn) || (!status.contains(.assured) && lastKind == .ack)
    return answersOurs && segment.acknowledgement == lastEnd ? .ignore : .accept
  }

  // MARK: Windows

  private static func isBefore(_ a: UInt32, _ b: UInt32) -> Bool { Int32(bitPattern: a &- b) < 0 }
  private static func isAfter(_ a: UInt32, _ b: UInt32) -> Bool { isBefore(b, a) }

  private func takeOptions(_ segment: TrackedSegment, _ side: inout Side) {
    side.scale = 0
    side.flags.remove([.windowScale, .sackPermitted])
    if let scale = segment.windowScale {
      side.scale = min(scale, 14)
      side.flags.insert(.windowScale)
    }
    if segment.permitsSACK { side.flags.insert(.sackPermitted) }
  }

  /// Takes a SYN's word for its side (tcp_init_sender).
  private mutating func initialize(_ segment: TrackedSegment, _ direction: ConntrackDirection) {
    var sender = self[direction]
    sender.end = segment.end
    sender.maximumEnd = segment.end
    sender.maximumWindow = max(segment.window, 1)
    takeOptions(segment, &sender)
    self[direction] = sender
    // RFC 7323 2.2: both sides, or none.
    if direction == .reply, !(original.flags.contains(.windowScale) && reply.flags.contains(.windowScale)) {
      original.scale = 0
      reply.scale = 0
    }
  }

  /// Whether a segment lies where both sides can be (tcp_in_window), and what it tells of them.
  private mutating func isInWindow(
    _ segment: TrackedSegment, _ direction: ConntrackDirection, _ acceptsAnything: Bool
  ) -> TCPTrackerVerdict {
    var sequence = segment.sequence
    var end = segment.end
    var acknowledged = segment.acknowledgement
    var highest = segment.acknowledgement
    if self[direction.other].flags.contains(.sackPermitted) { highest = segment.highestAcknowledged }
    if self[direction].maximumWindow == 0 {
      if segment.isSYN {
        initialize(segment, direction)
        if !segment.isACK { return .accept }
      } else {
        var sender = self[direction]
        sender.end = end
        sender.maximumWindow = max(segment.window << UInt32(sender.scale), 1)
        sender.maximumEnd = end &+ sender.maximumWindow
        self[direction] = sender
        if self[direction.other].maximumWindow == 0 {
          self[direction.other].end = highest
          self[direction.other].maximumEnd = highest
        } else if highest == self[direction.other].end &+ 1 {
          // Probably an answer to a keepalive.
          self[direction.other].end &+= 1
        }
      }
    } else if segment.isSYN, Self.isAfter(end, self[direction].end),
      state == .synSent || state == .synReceived
    {
      initialize(segment, direction)
      if direction == .reply, !segment.isACK { return .accept }
    }
    var sender = self[direction]
    var receiver = self[direction.other]
    if !segment.isACK || (segment.isReset && acknowledged == 0) {
      acknowledged = receiver.end
      highest = receiver.end
    }
    if segment.isReset, sequence == 0, state == .synSent {
      sequence = sender.end
      end = sender.end
    }
    let isLiberal = acceptsAnything || sender.flags.contains(.beLiberal)
    let ackWindow = max(sender.maximumWindow, Self.maximumAckWindow)
    let isAckRecent = Self.isAfter(highest, receiver.end &- ackWindow &- 1)
    guard Self.isBefore(sequence, sender.maximumEnd &+ 1) else {
      let overshot = end &- sender.maximumEnd &+ 1
      if receiver.maximumWindow > 0, Self.isAfter(end, sender.end &- receiver.maximumWindow &- 1),
        isAckRecent,
        overshot <= receiver.maximumWindow, Self.isBefore(highest, receiver.end &+ 1)
      {
        // Only too much: should the receiver take it, its acknowledgement must be known.
        self[direction].end = end
        self[direction].flags.insert(.dataUnacknowledged)
        return .ignore
      }
      return isLiberal ? .accept : .invalid
    }
    guard Self.isBefore(highest, receiver.end &+ 1) else { return isLiberal ? .accept : .invalid }
    guard receiver.maximumWindow == 0 || Self.isAfter(end, sender.end &- receiver.maximumWindow &- 1) else {
      return isLiberal ? .accept : .ignore
    }
    guard isAckRecent else { return isLiberal ? .accept : .ignore }
    let window = segment.isSYN ? segment.window : segment.window << UInt32(sender.scale)
    sender.maximumWindow = max(sender.maximumWindow, window &+ (highest &- acknowledged))
    if Self.isAfter(end, sender.end) {
      sender.end = end
      sender.flags.insert(.dataUnacknowledged)
    }
    if segment.isACK {
      if !sender.flags.contains(.maximumAckSet) {
        sender.maximumAck = acknowledged
        sender.flags.insert(.maximumAckSet)
      } else if Self.isAfter(acknowledged, sender.maximumAck) {
        sender.maximumAck = acknowledged
      }
    }
    if receiver.maximumWindow != 0, Self.isAfter(end, sender.maximumEnd) {
      receiver.maximumWindow &+= end &- sender.maximumEnd
    }
    if Self.isAfter(highest &+ window, receiver.maximumEnd &- 1) {
      receiver.maximumEnd = highest &+ window &+ (window == 0 ? 1 : 0)
    }
    if acknowledged == receiver.end { receiver.flags.remove(.dataUnacknowledged) }
    self[direction] = sender
    self[direction.other] = receiver
    if segment.kind == .ack {
      if lastDirection == direction, lastSequence == sequence, lastAcknowledgement == acknowledged,
        lastEnd == end, lastWindow == segment.window
      {
        retransmissions = retransmissions < .max ? retransmissions + 1 : .max
      } else {
        lastSequence = sequence
        lastAcknowledgement = acknowledged
        lastEnd = end
        lastWindow = segment.window
        retransmissions = 0
      }
    }
    return .accept
  }
}

extension TrackedSegment {
  /// Reads a segment; nil when its header or its flags are none that TCP knows (tcp_error).
  init?(_ bytes: PacketBytes, length: Int) {
    guard bytes.count >= 20 else { return nil }
    let header = Int(bytes.u8(12) >> 4) * 4
    guard header >= 20, header <= bytes.count, header <= length else { return nil }
    let flags = bytes.u8(13)
    // PSH, ECE and CWR say nothing here (tcp_valid_flags).
    switch flags & 0x37 {
    case 0x02, 0x22, 0x12, 0x04, 0x14, 0x11, 0x31, 0x10, 0x30: break
    default: return nil
    }
    isSYN = flags & 0x02 != 0
    isACK = flags & 0x10 != 0
    isReset = flags & 0x04 != 0
    kind =
      isReset
      ? .reset : isSYN ? (isACK ? .synAck : .syn) : flags & 0x01 != 0 ? .fin : isACK ? .ack : .none
    sequence = bytes.u32(4)
    acknowledgement = bytes.u32(8)
    highestAcknowledged = acknowledgement
    window = UInt32(bytes.u16(14))
    end =
      sequence &+ UInt32(truncatingIfNeeded: length - header) &+ (isSYN ? 1 : 0)
      &+ (flags & 0x01 != 0 ? 1 : 0)
    windowScale = nil
    permitsSACK = false
    var options = TCPOptionCursor(bytes, end: header)
    while let (option, offset, size) = options.next() {
      switch (option, size) {
      case (3, 3): windowScale = bytes.u8(offset + 2)
      case (4, 2): permitsSACK = true
      case (5, 10...) where (size - 2) % 8 == 0:
        for block in stride(from: offset + 2, to: offset + size, by: 8) {
          let right = bytes.u32(block + 4)
          if Int32(bitPattern: right &- highestAcknowledged) > 0 { highestAcknowledged = right }
        }
      default: break
      }
    }
  }
}
