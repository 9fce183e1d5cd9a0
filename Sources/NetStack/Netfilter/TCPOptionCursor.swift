// SPDX-License-Identifier: GPL-2.0-or-later

// The options of a TCP header one after the other, as connection tracking and the SYN proxy read them (tcp_options,
// tcp_sack, synproxy_parse_options): up to the end of the list, or to the first that does not fit.

/// A place among a segment's options.
struct TCPOptionCursor {
  private let segment: PacketBytes
  private let end: Int
  private var place = 20

  /// - Parameter end: where the header ends; within the segment.
  @inline(__always) init(_ segment: PacketBytes, end: Int) {
    self.segment = segment
    self.end = end
  }

  /// The next option but for NOPs: its kind, where it begins, and its length with both.
  @inline(__always) mutating func next() -> (kind: UInt8, place: Int, length: Int)? {
    while place < end {
      let kind = segment.u8(place)
      if kind == 0 { return nil }
      if kind == 1 {
        place += 1
        continue
      }
      guard place + 1 < end else { return nil }
      let length = Int(segment.u8(place + 1))
      guard length >= 2, place + length <= end else { return nil }
      defer { place += length }
      return (kind, place, length)
    }
    return nil
  }
}
