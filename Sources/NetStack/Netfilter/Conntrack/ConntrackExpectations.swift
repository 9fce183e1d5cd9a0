// SPDX-License-Identifier: GPL-2.0-or-later

// Connections that are expected of others (net/netfilter/nf_conntrack_expect.c): a helper has read of them in the
// connection that they come of. There are few, so that they stand in a list; the oldest of a connection makes room.

/// Who reads along in a connection.
enum ConntrackHelper: UInt8, BitwiseCopyable {
  case none, ftp, tftp

  /// As `ct helper` loads it.
  var name: String {
    switch self {
    case .none: ""
    case .ftp: "ftp"
    case .tftp: "tftp"
    }
  }

  /// Nil for those that the emulated kernel does not have.
  init?(_ name: String, transport: UInt8) {
    switch (name, transport) {
    case ("ftp", 6): self = .ftp
    case ("tftp", 17): self = .tftp
    default: return nil
    }
  }

  /// How long it expects what it has read of, in nanoseconds (ftp_exp_policy, tftp_exp_policy).
  static let patience: Int64 = 300_000_000_000
}

/// A connection that is expected.
struct ConntrackExpectation {
  /// Whose it will be.
  var master: ConntrackIndex
  /// The master's, whose place may be another's by now.
  var masterID: UInt32
  /// From which address to which address and port; from any port.
  var tuple: ConntrackTuple
  /// The port that the master's translation has hidden (saved_proto).
  var savedPort: UInt16
  /// The direction that it will go in, seen from the master; nil where nothing is translated.
  var translated: ConntrackDirection?
  var deadline: Int64
}

/// The expected connections of a namespace.
struct ConntrackExpectations {
  /// All together (nf_conntrack_expect_max of a small table).
  static let limit = 1024

  private var all: [ConntrackExpectation] = []
  /// Of FTP's connections, by id: behind which sequence numbers a line begins, two each way.
  private var lines: [UInt32: [[UInt32]]] = [:]

  var isEmpty: Bool { all.isEmpty }

  /// What became of a connection that was to be expected.
  enum Outcome {
    case done
    /// Another master expects the same.
    case busy
    case tooMany
  }

  /// Expects a connection (nf_ct_expect_related). Of a master that expects `limit` already the oldest goes; nil: none.
  mutating func expect(_ expectation: ConntrackExpectation, limit: Int?, now: Int64) -> Outcome {
    all.removeAll { $0.deadline <= now }
    if all.contains(where: { $0.tuple == expectation.tuple && $0.masterID != expectation.masterID }) {
      return .busy
    }
    all.removeAll { $0.tuple == expectation.tuple }
    if let limit, count(of: expectation.masterID) >= limit,
      let oldest = all.firstIndex(where: { $0.masterID == expectation.masterID })
    {
      all.remove(at: oldest)
    }
    guard all.count < Self.limit else { return .tooMany }
    all.append(expectation)
    return .done
  }

  func count(of master: UInt32) -> Int { all.count { $0.masterID == master } }

  /// What a first packet was expected by, which it is no more then (nf_ct_find_expectation).
  /// A master whose own first packet has not left yet cannot have told anybody.
  mutating func take(
    _ tuple: ConntrackTuple, now: Int64, where isKnown: (ConntrackExpectation) -> Bool
  ) -> ConntrackExpectation? {
    var plain = tuple
    plain.sourcePort = 0
    guard let place = all.firstIndex(where: { $0.tuple == plain && $0.deadline > now }), isKnown(all[place])
    else { return nil }
    return all.remove(at: place)
  }

  /// A connection has ended, and with it what was expected of it.
  mutating func forget(_ master: UInt32) {
    if !all.isEmpty { all.removeAll { $0.masterID == master } }
    lines[master] = nil
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
}
