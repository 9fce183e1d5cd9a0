// SPDX-License-Identifier: GPL-2.0-or-later

// Ranges of sequence numbers as SACK options carry them (RFC 2018), and the receiver's list of what came before its
// turn, the newest first (tcp_sack_new_ofo_skb, tcp_sack_remove).

/// A range of sequence numbers.
struct TCPRange: BitwiseCopyable, Equatable {
  var start: UInt32
  var end: UInt32
}

/// Up to four ranges.
struct SACKBlocks: BitwiseCopyable {
  private var blocks = InlineArray<4, TCPRange>(repeating: TCPRange(start: 0, end: 0))
  private(set) var count = 0

  @inline(__always) var isEmpty: Bool { count == 0 }

  @inline(__always) subscript(place: Int) -> TCPRange { blocks[place] }

  /// Where the last range ends.
  var end: UInt32? {
    var end: UInt32?
    for place in 0..<count where end.map({ isAfter(blocks[place].end, $0) }) ?? true {
      end = blocks[place].end
    }
    return end
  }

  /// One more than four is left out.
  mutating func append(_ range: TCPRange) {
    guard count < 4 else { return }
    blocks[count] = range
    count += 1
  }

  private mutating func remove(at place: Int) {
    for next in place + 1..<max(count, place + 1) { blocks[next - 1] = blocks[next] }
    count -= 1
  }

  private mutating func putFirst(_ range: TCPRange) {
    for place in stride(from: min(count, 3), to: 0, by: -1) { blocks[place] = blocks[place - 1] }
    blocks[0] = range
    count = min(count + 1, 4)
  }

  /// Whether a segment's range would not be among the first two (TCP_SACK_BLOCKS_EXPECTED).
  func isOverExpectation(_ range: TCPRange) -> Bool {
    guard count >= 2 else { return false }
    return (0..<2).allSatisfy {
      isAfter(blocks[$0].start, range.end) || isBefore(blocks[$0].end, range.start)
    }
  }

  /// A segment has come before its turn: the range that it belongs to is told first.
  mutating func add(_ range: TCPRange) {
    var whole = range
    var place = 0
    while place < count {
      let other = blocks[place]
      if isAfter(other.start, whole.end) || isBefore(other.end, whole.start) {
        place += 1
        continue
      }
      if isBefore(other.start, whole.start) { whole.start = other.start }
      if isAfter(other.end, whole.end) { whole.end = other.end }
      remove(at: place)
      // What was passed over may touch the larger range.
      place = 0
    }
    putFirst(whole)
  }

  /// What is before RCV.NXT has had its turn.
  mutating func removeBefore(_ next: UInt32) {
    var place = 0
    while place < count {
      if isAfter(blocks[place].end, next) { place += 1 } else { remove(at: place) }
    }
  }
}
