// SPDX-License-Identifier: GPL-2.0-or-later

// The TCP header and its options (RFC 9293 3.1, 7323, 2018).
//
//    0        2             4          8                12     13      14       16         18       20
//    │ source │ destination │ sequence │ acknowledgment │ length│ flags │ window │ checksum │ urgent │ options …

/// Offsets within a TCP header.
enum TCPHeader {
  static let source = 0
  static let destination = 2
  static let sequence = 4
  static let acknowledgment = 8
  static let dataOffset = 12
  static let flags = 13
  static let window = 14
  static let checksum = 16
  static let urgent = 18
  static let length = 20
  /// With the most options that fit.
  static let maximumLength = 60
}

/// The control bits.
struct TCPFlags: OptionSet, BitwiseCopyable {
  var rawValue: UInt8
  static let fin = TCPFlags(rawValue: 0x01)
  static let syn = TCPFlags(rawValue: 0x02)
  static let rst = TCPFlags(rawValue: 0x04)
  static let psh = TCPFlags(rawValue: 0x08)
  static let ack = TCPFlags(rawValue: 0x10)
  static let urg = TCPFlags(rawValue: 0x20)
  /// RFC 3168: a mark has been seen; the window has been made smaller for it.
  static let ece = TCPFlags(rawValue: 0x40)
  static let cwr = TCPFlags(rawValue: 0x80)
}

/// Sequence numbers are compared modulo 2³² (RFC 9293 3.4).
@inline(__always) func isBefore(_ a: UInt32, _ b: UInt32) -> Bool { Int32(bitPattern: a &- b) < 0 }
@inline(__always) func isAfter(_ a: UInt32, _ b: UInt32) -> Bool { isBefore(b, a) }

/// A segment that has come in, as the state machine reads it.
struct TCPSegment {
  var slot: Slot
  var sequence: UInt32
  /// Behind the last byte, SYN and FIN counted.
  var end: UInt32
  var acknowledgment: UInt32
  var flags: TCPFlags
  /// As it stands in the header, not scaled.
  var window: UInt32
  var options = TCPOptions()
  /// Bytes of data.
  var length: Int
  /// Segments that came as this one, and the data of each (gso_segs, gso_size).
  var count: UInt32 = 1
  var size: Int
  /// The urgent pointer as it stands in the header.
  var urgent: UInt16 = 0
  /// The two bits of ECN in the IP header.
  var ecn: UInt8 = 0

  /// It has neither data nor SYN nor FIN.
  var isBare: Bool { end == sequence }
  /// The network has marked it.
  var isMarked: Bool { ecn == 3 }
  var isCongestionEcho: Bool { flags.contains(.ece) && !flags.contains(.syn) }
  var isCWR: Bool { flags.contains(.cwr) && !flags.contains(.syn) }
}

/// The options of a segment.
struct TCPOptions {
  /// 0: none.
  var maximumSegmentSize: UInt16 = 0
  /// Nil: none.
  var windowScale: UInt8?
  var isSACKPermitted = false
  /// (value, echo); nil: none.
  var timestamp: (value: UInt32, echo: UInt32)?
  /// What the other end has, or has twice (SACK).
  var blocks = SACKBlocks()

  init() {}

  /// Reads what stands behind the fixed header; an option that claims more than there is ends it (tcp_parse_options).
  init(_ bytes: PacketBytes, isSYN: Bool) {
    var offset = 0
    while offset < bytes.count {
      let kind = bytes.u8(offset)
      if kind == 0 { return }
      if kind == 1 {
        offset += 1
        continue
      }
      guard offset + 1 < bytes.count else { return }
      let size = Int(bytes.u8(offset + 1))
      guard size >= 2, offset + size <= bytes.count else { return }
      switch (kind, size) {
      case (2, 4) where isSYN: maximumSegmentSize = bytes.u16(offset + 2)
      case (3, 3) where isSYN: windowScale = min(bytes.u8(offset + 2), 14)
      case (4, 2) where isSYN: isSACKPermitted = true
      case (5, 10...34) where !isSYN && (size - 2) % 8 == 0:
        for place in stride(from: offset + 2, to: offset + size, by: 8) {
          blocks.append(TCPRange(start: bytes.u32(place), end: bytes.u32(place + 4)))
        }
      case (8, 10): timestamp = (bytes.u32(offset + 2), bytes.u32(offset + 6))
      default: break
      }
      offset += size
    }
  }

  /// Bytes that `write` takes, a multiple of four.
  var size: Int {
    var size = maximumSegmentSize != 0 ? 4 : 0
    if timestamp != nil { size += 12 } else if isSACKPermitted { size += 4 }
    if windowScale != nil { size += 4 }
    return blocks.isEmpty ? size : size + 4 + 8 * blocks.count
  }

  /// Writes them in the order and with the padding that Linux has (tcp_options_write).
  func write(to bytes: PacketBytes) {
    var offset = 0
    func put(_ value: UInt32) {
      bytes.set(offset, u32: value)
      offset += 4
    }
    if maximumSegmentSize != 0 { put(0x0204_0000 | UInt32(maximumSegmentSize)) }
    if let timestamp {
      put(isSACKPermitted ? 0x0402_080a : 0x0101_080a)
      put(timestamp.value)
      put(timestamp.echo)
    } else if isSACKPermitted {
      put(0x0101_0402)
    }
    if let windowScale { put(0x0103_0300 | UInt32(windowScale)) }
    guard !blocks.isEmpty else { return }
    put(0x0101_0500 | UInt32(2 + 8 * blocks.count))
    for place in 0..<blocks.count {
      put(blocks[place].start)
      put(blocks[place].end)
    }
  }
}
