// SPDX-License-Identifier: GPL-2.0-or-later

// The TCP options that a SYN proxy reads and writes (synproxy_parse_options, synproxy_build_options in
// net/netfilter/nf_synproxy_core.c), and the timestamp that remembers a client's while nothing else does.
//
//    MSS 4 │ SACK permitted and timestamp 12, or one of them behind NOPs │ NOP, window scale 4

/// A segment's options, as far as a SYN proxy passes them on (struct synproxy_options).
struct SynproxyOptions {
  /// NF_SYNPROXY_OPT_*.
  struct Flags: OptionSet {
    var rawValue: UInt32
    static let segment = Flags(rawValue: 1)
    static let scale = Flags(rawValue: 2)
    static let sack = Flags(rawValue: 4)
    static let timestamp = Flags(rawValue: 8)
    static let congestion = Flags(rawValue: 16)
  }

  /// The largest shift (TCP_MAX_WSCALE).
  private static let largestScale: UInt8 = 14

  var flags: Flags = []
  var segmentSize: UInt16 = 0
  var scale: UInt8 = 0
  var stamp: UInt32 = 0
  var echo: UInt32 = 0

  init() {}

  /// Reads them from a TCP header; nil when that is cut short.
  init?(_ segment: PacketBytes) {
    guard segment.count >= 20 else { return nil }
    let end = Int(segment.u8(12) >> 4) * 4
    guard end >= 20, end <= segment.count else { return nil }
    var options = TCPOptionCursor(segment, end: end)
    while let (kind, place, length) = options.next() {
      switch (kind, length) {
      case (2, 4):
        segmentSize = segment.u16(place + 2)
        flags.insert(.segment)
      case (3, 3):
        scale = min(segment.u8(place + 2), Self.largestScale)
        flags.insert(.scale)
      case (4, 2): flags.insert(.sack)
      case (8, 10):
        stamp = segment.u32(place + 2)
        echo = segment.u32(place + 6)
        flags.insert(.timestamp)
      default: break
      }
    }
  }

  /// Bytes of them.
  var size: Int {
    (flags.contains(.segment) ? 4 : 0) + (flags.contains(.timestamp) ? 12 : flags.contains(.sack) ? 4 : 0)
      + (flags.contains(.scale) ? 4 : 0)
  }

  /// Writes them behind a TCP header.
  func write(to bytes: PacketBytes) {
    var place = 0
    func word(_ value: UInt32) {
      bytes.set(place, u32: value)
      place += 4
    }
    if flags.contains(.segment) { word(0x0204_0000 | UInt32(segmentSize)) }
    if flags.contains(.timestamp) {
      word(flags.contains(.sack) ? 0x0402_080a : 0x0101_080a)
      word(stamp)
      word(echo)
    } else if flags.contains(.sack) {
      word(0x0101_0402)
    }
    if flags.contains(.scale) { word(0x0103_0300 | UInt32(scale)) }
  }

  // MARK: What is remembered

  /// Keeps the client's options in the timestamp that it will echo, and offers the proxy's own scale
  /// (synproxy_init_timestamp_cookie).
  mutating func keep(offering scale: UInt8, milliseconds: UInt32) {
    echo = stamp
    let hasScale = flags.contains(.scale)
    stamp =
      milliseconds & ~63
      | SynCookie.bits(
        scale: hasScale ? self.scale : nil, hasSACK: flags.contains(.sack),
        hasECN: flags.contains(.congestion))
    if hasScale { self.scale = scale }
  }

  /// The options that an echoed timestamp has kept (synproxy_check_timestamp_cookie).
  mutating func recall() {
    let kept = SynCookie.options(of: echo)
    if let shift = kept.scale {
      scale = shift
      flags.insert(.scale)
    }
    if kept.hasSACK { flags.insert(.sack) }
    if kept.hasECN { flags.insert(.congestion) }
  }
}

/// What a connection behind a SYN proxy is off by (struct nf_conn_synproxy).
struct SynproxyState: BitwiseCopyable {
  /// Whether a proxy has begun it.
  var isOn = false
  /// The number that the proxy began with.
  var initialSequence: UInt32 = 0
  /// The timestamp that it gave the client.
  var initialStamp: UInt32 = 0
  /// How far the server's timestamps are ahead of those that the client was given.
  var stampOffset: UInt32 = 0
}
