// SPDX-License-Identifier: GPL-2.0-or-later

// A connection as connection tracking knows it (struct nf_conn).

/// An entry's place in the table.
public typealias ConntrackIndex = TableIndex<ConntrackEntry>

/// A tracked connection.
public struct ConntrackEntry: ~Copyable {
  /// IPS_*.
  struct Status: OptionSet, Hashable, BitwiseCopyable {
    var rawValue: UInt32
    static let expected = Status(rawValue: 1 << 0)
    static let seenReply = Status(rawValue: 1 << 1)
    static let assured = Status(rawValue: 1 << 2)
    static let confirmed = Status(rawValue: 1 << 3)
    static let sourceNAT = Status(rawValue: 1 << 4)
    static let destinationNAT = Status(rawValue: 1 << 5)
    static let sequenceAdjusted = Status(rawValue: 1 << 6)
    static let sourceNATDone = Status(rawValue: 1 << 7)
    static let destinationNATDone = Status(rawValue: 1 << 8)
    static let dying = Status(rawValue: 1 << 9)
    static let fixedTimeout = Status(rawValue: 1 << 10)
    static let helped = Status(rawValue: 1 << 13)
    /// It goes past the rules.
    static let offload = Status(rawValue: 1 << 14)

    static let nat: Status = [.sourceNAT, .destinationNAT]
    static let natDone: Status = [.sourceNATDone, .destinationNATDone]
  }

  // What every packet looks at comes first, so that it lies together.
  var original: ConntrackTuple
  var reply: ConntrackTuple
  var status: Status = []
  var mark: UInt32 = 0
  /// Until the entry is confirmed how long it is to live, then when it dies; nanoseconds.
  var timeout: Int64 = 0
  /// When a UDP exchange may be called a stream; nanoseconds.
  var streamTime: Int64 = 0
  /// The device that a masqueraded connection leaves by.
  var masqueradeDevice = DeviceIndex.none
  /// The next entry in a hash chain: of the tuple's original, its reply, and its source.
  var nextOriginal: UInt32 = .max
  var nextReply: UInt32 = .max
  var nextSource: UInt32 = .max
  /// How long its states last where a rule has said so: a number in the program's `timeouts`.
  var timeouts: UInt32 = .max
  /// Who reads along, and who had read of this connection in another.
  var helper = ConntrackHelper.none
  var expectedBy = ConntrackHelper.none
  /// Whether its packets are counted: as the setting was when it began.
  var countsPackets = false
  /// Whether somebody listened to events when it began; else none are kept for it (nf_ct_ecache_ext_add).
  var isWatched = false
  /// What has happened to it that nobody was told yet.
  var events: ConntrackEvent.Cause = []
  /// What is told of it at all, as a rule has said (nf_conntrack_ecache.ctmask).
  var toldEvents = ConntrackEvent.Cause.all
  var tcp = TCPTracker()
  /// Of one that a SYN proxy has begun.
  var synproxy = SynproxyState()
  let namespace: NamespaceIndex
  /// A bit for each label.
  var labels: UInt128 = 0
  /// Told to who asks for it; different for every entry of a run.
  let id: UInt32
  var timer = TimerID.none
  /// What its sequence numbers are off by.
  private var adjustments = InlineArray<2, SequenceAdjustment>(repeating: SequenceAdjustment())
  var packets = InlineArray<2, UInt64>(repeating: 0)
  var bytes = InlineArray<2, UInt64>(repeating: 0)

  init(namespace: NamespaceIndex, original: ConntrackTuple, reply: ConntrackTuple, id: UInt32) {
    self.namespace = namespace
    self.original = original
    self.reply = reply
    self.id = id
  }

  mutating func track(
    _ segment: TrackedSegment, _ direction: ConntrackDirection, _ settings: ConntrackSettings
  ) -> (verdict: TCPTrackerVerdict, timeout: Int64?) {
    if synproxy.isOn, tcp.isAskedAgain(segment, direction) { return (.ignore, nil) }
    return tcp.track(segment, direction, settings, &status)
  }

  func adjustment(_ direction: ConntrackDirection) -> SequenceAdjustment {
    adjustments[Int(direction.rawValue)]
  }

  mutating func adjust(_ direction: ConntrackDirection, _ difference: Int, at sequence: UInt32) {
    adjustments[Int(direction.rawValue)].add(difference, at: sequence)
  }

  /// All of a direction's sequence numbers are off by the same (nf_ct_seqadj_init).
  mutating func adjust(_ direction: ConntrackDirection, allBy offset: UInt32) {
    guard offset != 0 else { return }
    status.insert(.sequenceAdjusted)
    adjustments[Int(direction.rawValue)].set(offset)
  }

  func tuple(_ direction: ConntrackDirection) -> ConntrackTuple {
    direction == .original ? original : reply
  }
}

/// How a packet stands to its connection (enum ip_conntrack_info).
enum ConntrackInfo: UInt8, BitwiseCopyable {
  case established = 0
  case related = 1
  case new = 2
  case establishedReply = 3
  case relatedReply = 4
  /// It has no entry: nobody tracked it, or it fits none.
  case none = 6
  /// It is not to be tracked.
  case untracked = 7

  var direction: ConntrackDirection {
    self == .establishedReply || self == .relatedReply ? .reply : .original
  }

  /// NF_CT_STATE_BIT, as `ct state` loads it.
  var stateBit: UInt32 {
    switch self {
    case .established, .establishedReply: 2
    case .related, .relatedReply: 4
    case .new: 8
    case .none: 1
    case .untracked: 0x40
    }
  }
}

/// A packet's connection, and how it stands to it.
struct ConntrackReference: BitwiseCopyable {
  var index: ConntrackIndex
  var info: ConntrackInfo
  /// Where it is to be tracked, as a rule said before tracking saw it.
  var zone: UInt16 = 0
  /// The packet's number in traces; 0: it is not traced. It stays whatever tracking says.
  var trace: UInt32 = 0

  static let none = ConntrackReference(index: .none, info: .none)
  static let untracked = ConntrackReference(index: .none, info: .untracked)
  /// Of the first packet of a connection that a SYN proxy begins (the template of synproxy_net).
  static let proxied = ConntrackReference(index: .none, info: .new)
}
