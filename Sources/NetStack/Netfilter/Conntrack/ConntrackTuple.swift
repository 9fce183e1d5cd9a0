// SPDX-License-Identifier: GPL-2.0-or-later

// What tells a connection's packets from all others (struct nf_conntrack_tuple): addresses, protocol and what stands
// for ports in it, seen from the sender.

/// One direction of a connection.
struct ConntrackTuple: Hashable, BitwiseCopyable {
  /// In host byte order; an IPv4 address stands in the low 32 bits.
  var source: UInt128 = 0
  var destination: UInt128 = 0
  /// A port, an echo's identifier, or 0.
  var sourcePort: UInt16 = 0
  /// A port, or an ICMP message's type and code.
  var destinationPort: UInt16 = 0
  var proto: UInt8 = 0
  var isIPv6 = false
  var zone: UInt16 = 0

  /// The tuple of the answers (nf_ct_invert_tuple); nil for ICMP messages that have none.
  @inline(__always) var inverted: ConntrackTuple? {
    var other = self
    other.source = destination
    other.destination = source
    if isICMP {
      guard let type = Self.reply(to: UInt8(destinationPort >> 8), isIPv6: isIPv6) else { return nil }
      other.destinationPort = UInt16(type) << 8 | destinationPort & 0xff
    } else {
      other.sourcePort = destinationPort
      other.destinationPort = sourcePort
    }
    return other
  }

  var isICMP: Bool { proto == (isIPv6 ? 58 : 1) }

  /// The message that answers one (icmp_pkt_to_tuple's invmap).
  static func reply(to type: UInt8, isIPv6: Bool) -> UInt8? {
    if isIPv6 {
      switch type {
      case 128: 129
      case 129: 128
      // Node information.
      case 139: 140
      case 140: 139
      default: nil
      }
    } else {
      switch type {
      case 8: 0
      case 0: 8
      case 13: 14
      case 14: 13
      case 15: 16
      case 16: 15
      case 17: 18
      case 18: 17
      default: nil
      }
    }
  }

  /// Mixed with a seed that nobody outside knows.
  @inline(__always) func hash(_ seed: UInt64) -> UInt64 {
    let ports = UInt64(sourcePort) << 16 | UInt64(destinationPort)
    let kind = UInt64(proto) << 32 | UInt64(zone) << 40 | (isIPv6 ? 1 << 63 : 0)
    guard isIPv6 else {
      let addresses = UInt64(truncatingIfNeeded: source) << 32 ^ UInt64(truncatingIfNeeded: destination)
      return Self.mix(Self.mix(seed, addresses), ports | kind)
    }
    var state = Self.mix(seed, UInt64(truncatingIfNeeded: source))
    state = Self.mix(state, UInt64(truncatingIfNeeded: source >> 64))
    state = Self.mix(state, UInt64(truncatingIfNeeded: destination))
    state = Self.mix(state, UInt64(truncatingIfNeeded: destination >> 64))
    return Self.mix(state, ports | kind)
  }

  @inline(__always) private static func mix(_ state: UInt64, _ word: UInt64) -> UInt64 {
    let product = (state ^ word).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
    return product.high ^ product.low
  }

  /// Fields that differ most often first.
  @inline(__always) static func == (a: Self, b: Self) -> Bool {
    a.sourcePort == b.sourcePort && a.source == b.source && a.destinationPort == b.destinationPort
      && a.destination == b.destination && a.proto == b.proto && a.isIPv6 == b.isIPv6 && a.zone == b.zone
  }
}

/// Which way a packet goes, seen from who began (enum ip_conntrack_dir).
enum ConntrackDirection: UInt8, BitwiseCopyable {
  case original = 0
  case reply = 1

  var other: ConntrackDirection { self == .original ? .reply : .original }

  /// An entry of a table and the direction whose tuple is meant, in one number.
  struct Of<Entry: ~Copyable>: BitwiseCopyable {
    var index: TableIndex<Entry>
    var direction: ConntrackDirection

    @inline(__always) var rawValue: UInt32 { index.rawValue << 1 | UInt32(direction.rawValue) }

    @inline(__always) init(_ index: TableIndex<Entry>, _ direction: ConntrackDirection) {
      self.index = index
      self.direction = direction
    }

    @inline(__always) init(_ rawValue: UInt32) {
      index = TableIndex(rawValue >> 1)
      direction = rawValue & 1 == 0 ? .original : .reply
    }
  }
}
