// SPDX-License-Identifier: GPL-2.0-or-later

// What IPv4 finds out about a packet and needs again further on (struct inet_skb_parm, struct ip_options): which options
// it has, what is to be written into them, and the pieces that it came in.

/// A packet's options and pieces. Places count from the header's first byte; 0: it has no such option.
struct IPv4Control: BitwiseCopyable {
  struct Flags: OptionSet, BitwiseCopyable {
    var rawValue: UInt8
    /// The route recorded wants the address that the packet leaves by (rr_needaddr).
    static let recordsAddress = Flags(rawValue: 1)
    /// So does the timestamp (ts_needaddr), or the time (ts_needtime).
    static let stampsAddress = Flags(rawValue: 2)
    static let stampsTime = Flags(rawValue: 4)
    /// No router but those named may be on the way (is_strictroute).
    static let isStrict = Flags(rawValue: 8)
    /// This host is one of them, and `nextHop` the next (srr_is_hit).
    static let isOnSourceRoute = Flags(rawValue: 16)
    /// Its pieces must not be cut, so that what they are put together to leaves in pieces of their size (IPSKB_FRAG_PMTU).
    static let keepsPieces = Flags(rawValue: 32)
  }

  var sourceRoute: UInt8 = 0
  var recordRoute: UInt8 = 0
  var timestamp: UInt8 = 0
  var flags: Flags = []
  var nextHop: UInt32 = 0
  /// Bytes of the largest piece, header and all; 0: it came whole (frag_max_size).
  var largestPiece: UInt16 = 0
  /// Bytes of the options that an answer has between its header and its payload.
  var length: UInt8 = 0

  var hasOptions: Bool { sourceRoute | recordRoute | timestamp != 0 }
}

/// Types of options (`IPOPT_*`).
enum IPv4Option {
  static let end: UInt8 = 0
  static let noOperation: UInt8 = 1
  static let recordRoute: UInt8 = 7
  static let timestamp: UInt8 = 68
  static let looseSourceRoute: UInt8 = 131
  static let strictSourceRoute: UInt8 = 137
  static let routerAlert: UInt8 = 148

  /// Whether every piece of a datagram has it, not the first alone.
  static func isCopied(_ type: UInt8) -> Bool { type & 0x80 != 0 }

  /// What a timestamp option is filled with: times, addresses with times, or times of those that are named.
  static let timesOnly: UInt8 = 0
  static let timesWithAddresses: UInt8 = 1
  static let timesOfNamed: UInt8 = 3
}
