// SPDX-License-Identifier: GPL-2.0-or-later

// Connections that are expected of others (net/netfilter/nf_conntrack_expect.c): a helper has read of them in the
// connection that they come of. There are few, so that they stand in a list; the oldest of a connection makes room.

/// Who reads along in a connection.
enum ConntrackHelper: UInt8, BitwiseCopyable {
  case none, ftp, tftp, sip

  /// As `ct helper` loads it.
  var name: String {
    switch self {
    case .none: ""
    case .ftp: "ftp"
    case .tftp: "tftp"
    case .sip: "sip"
    }
  }

  /// Nil for those that the emulated kernel does not have.
  init?(_ name: String, transport: UInt8) {
    switch (name, transport) {
    case ("ftp", 6): self = .ftp
    case ("tftp", 17): self = .tftp
    case ("sip", 6), ("sip", 17): self = .sip
    default: return nil
    }
  }

  /// How many of a kind it expects of a connection, and for how long in nanoseconds (ftp_exp_policy, tftp_exp_policy,
  /// sip_exp_policy).
  func policy(_ kind: ConntrackExpectation.Kind) -> (limit: Int, patience: Int64) {
    guard self == .sip else { return (1, 300_000_000_000) }
    let limit =
      switch kind {
      case .plain: 1
      case .audio, .video: 4
      case .image: 2
      }
    return (limit, 180_000_000_000)
  }
}

/// A connection that is expected.
struct ConntrackExpectation {
  /// What is counted apart (enum sip_expectation_classes); others than SIP expect one kind alone.
  enum Kind {
    case plain, audio, video, image
  }

  /// Whose it will be.
  var master: ConntrackIndex
  /// The master's, whose place may be another's by now.
  var masterID: UInt32
  /// From which address to which address and port; from any port.
  var tuple: ConntrackTuple
  var kind = Kind.plain
  /// Whose helper has read of it, and which helper it gets.
  var expectedBy: ConntrackHelper
  var helper = ConntrackHelper.none
  /// The address and port that the master's translation has hidden (saved_addr, saved_proto).
  var savedAddress: UInt128 = 0
  var savedPort: UInt16 = 0
  /// The direction that it will go in, seen from the master; nil where nothing is translated.
  var translated: ConntrackDirection?
  /// Whether it is still expected after it has come (NF_CT_EXPECT_PERMANENT).
  var isPermanent = false
  /// Whether it is not to be taken yet (NF_CT_EXPECT_INACTIVE).
  var isInactive = false
  var deadline: Int64

  /// Whether the master's translation has changed where it goes to.
  var isHidden: Bool { savedAddress != tuple.destination || savedPort != tuple.destinationPort }
}

/// The expected connections of a namespace.
struct ConntrackExpectations {
  /// All together (nf_conntrack_expect_max of a small table).
  static let limit = 1024

  private var all: [ConntrackExpectation] = []
  /// Of FTP's connections, by id: behind which sequence numbers a line begins, two each way.
  private var lines: [UInt32: [[UInt32]]] = [:]
  /// Of SIP's, by id.
  private var dialogs: [UInt32: SIPDialog] = [:]

  var isEmpty: Bool { all.isEmpty }

  /// What became of a connection that was to be expected.
  enum Outcome {
    case done
    /// Another master expects the same.
    case busy
    /// The same is expected already, as another kind or of another master that it may be shared with.
    case already
    case tooMany
  }

  /// Expects a connection (nf_ct_expect_related). Of a master that expects `limit` of the kind already the oldest goes;
  /// nil: none. `isShared`: another master may expect the same (NF_CT_EXP_F_SKIP_MASTER).
  mutating func expect(
    _ expectation: ConntrackExpectation, limit: Int?, isShared: Bool, now: Int64
  ) -> Outcome {
    all.removeAll { $0.deadline <= now }
    if let place = all.firstIndex(where: { $0.tuple == expectation.tuple }) {
      let isOwn = all[place].masterID == expectation.masterID
      guard isOwn || isShared else { return .busy }
      guard isOwn, all[place].kind == expectation.kind else { return .already }
      all.remove(at: place)
    }
    if let limit, count(of: expectation.masterID, expectation.kind) >= limit,
      let oldest = all.firstIndex(where: {
        $0.masterID == expectation.masterID && $0.kind == expectation.kind
      })
    {
      all.remove(at: oldest)
    }
    guard all.count < Self.limit else { return .tooMany }
    all.append(expectation)
    return .done
  }

  func count(of master: UInt32, _ kind: ConntrackExpectation.Kind) -> Int {
    all.count { $0.masterID == master && $0.kind == kind }
  }

  /// What expects a tuple, active or not (__nf_ct_expect_find).
  func find(_ tuple: ConntrackTuple, now: Int64) -> ConntrackExpectation? {
    all.first { $0.tuple == tuple && $0.deadline > now }
  }

  /// A master's, the newest first.
  func expected(of master: UInt32, now: Int64) -> some Sequence<ConntrackExpectation> {
    all.lazy.reversed().filter { $0.masterID == master && $0.deadline > now }
  }

  /// Expects it no more (nf_ct_unexpect_related).
  mutating func remove(_ expectation: ConntrackExpectation) {
    all.removeAll { $0.tuple == expectation.tuple && $0.masterID == expectation.masterID }
  }

  /// What a first packet was expected by, which it is no more then (nf_ct_find_expectation).
  /// A master whose own first packet has not left yet cannot have told anybody.
  mutating func take(
    _ tuple: ConntrackTuple, now: Int64, where isKnown: (ConntrackExpectation) -> Bool
  ) -> ConntrackExpectation? {
    var plain = tuple
    plain.sourcePort = 0
    guard let place = all.firstIndex(where: { $0.tuple == plain && $0.deadline > now }),
      !all[place].isInactive, isKnown(all[place])
    else { return nil }
    return all[place].isPermanent ? all[place] : all.remove(at: place)
  }

  /// A connection has ended, and with it what was expected of it.
  mutating func forget(_ master: UInt32) {
    if !all.isEmpty { all.removeAll { $0.masterID == master } }
    if !lines.isEmpty { lines[master] = nil }
    if !dialogs.isEmpty { dialogs[master] = nil }
  }

  // MARK: Lines of FTP

  func beginsLine(_ sequence: UInt32, of id: UInt32, _ direction: ConntrackDirection) -> Bool {
    lines[id]?[Int(direction.rawValue)].contains(sequence) ?? false
  }

  /// update_nl_seq: the older of two makes room.
  mutating func noteLine(_ sequence: UInt32, of id: UInt32, _ direction: ConntrackDirection) {
    var known = lines[id] ?? [[], []]
    let side = Int(direction.rawValue)
    guard !known[side].contains(sequence) else { return }
    if known[side].count < 2 {
      known[side].append(sequence)
    } else {
      let older = Int32(bitPattern: known[side][0] &- known[side][1]) < 0 ? 0 : 1
      known[side][older] = sequence
    }
    lines[id] = known
  }

  // MARK: Dialogs of SIP

  /// What SIP keeps of a connection.
  subscript(dialog id: UInt32) -> SIPDialog {
    get { dialogs[id] ?? SIPDialog() }
    set { dialogs[id] = newValue }
  }

  /// Ends what was expected of a call, or of a registration (flush_expectations).
  mutating func flush(_ master: UInt32, media: Bool) {
    all.removeAll { $0.masterID == master && ($0.kind != .plain) == media }
  }

  /// A registration has been confirmed: calls may come for so long (refresh_signalling_expectation). False: there is none.
  mutating func refresh(
    _ master: UInt32, to address: UInt128, port: UInt16, proto: UInt8, until deadline: Int64, now: Int64
  ) -> Bool {
    let place = all.firstIndex {
      $0.masterID == master && $0.kind == .plain && $0.deadline > now && $0.tuple.destination == address
        && $0.tuple.destinationPort == port && $0.tuple.proto == proto
    }
    guard let place else { return false }
    all[place].isInactive = false
    all[place].deadline = deadline
    return true
  }
}

/// What SIP keeps of a connection (struct nf_ct_sip_master).
struct SIPDialog {
  /// The numbers of the last REGISTER and INVITE that expect something.
  var registration: UInt32 = 0
  var invitation: UInt32 = 0
  /// Where answers are to be sent whatever port the requests come from; 0: where they come from.
  var forcedPort: UInt16 = 0
}
