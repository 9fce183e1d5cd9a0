// SPDX-License-Identifier: GPL-2.0-or-later

// Which bytes that were never sent stand in which packet of the kernel's write queue (tcp_sendmsg_locked, tcp_grow_skb).
// The bytes themselves are one stream (`ByteQueue`), of which every transmission takes what it may; what remains of the
// kernel's packets is where PSH is said, where a record ends (MSG_EOR), and what they count for in the send buffer.

/// The packets that wait to be sent for the first time, oldest first.
struct WriteQueue {
  struct Packet {
    /// The sequence number behind it.
    var end: UInt32
    /// A user's call ended here, or half of the other end's window did (tcp_mark_push).
    var isPushed = false
    /// Nothing may be joined to it (MSG_EOR).
    var endsRecord = false
  }

  /// What a packet counts for beside its bytes: the kernel's descriptor and header room.
  static let overhead = 832

  /// All but the last, from `first` on.
  private var closed: [Packet] = []
  private var first = 0
  /// The one that more may be appended to.
  private(set) var last: Packet?

  var count: Int { closed.count - first + (last == nil ? 0 : 1) }

  private subscript(place: Int) -> Packet? {
    first + place < closed.count ? closed[first + place] : place < count ? last : nil
  }

  // MARK: Writing

  /// Bytes that the last packet has, when nothing before `sendNext` is here.
  func lastLength(from sendNext: UInt32) -> Int {
    guard let last else { return 0 }
    return Int(last.end &- (first < closed.count ? closed[closed.count - 1].end : sendNext))
  }

  /// Bytes up to `end` have been written, in a packet of their own if so wanted. A call that goes on with an older
  /// packet takes its mark.
  mutating func write(to end: UInt32, isNew: Bool, takesMark: Bool) {
    if isNew || last == nil {
      if let last { closed.append(last) }
      last = Packet(end: end)
    } else {
      last?.end = end
      if takesMark { last?.isPushed = false }
    }
  }

  mutating func markPush() { last?.isPushed = true }
  mutating func markRecord() { last?.endsRecord = true }

  // MARK: Sending

  /// How many bytes go together from `start` on, `wanted` of them or the first packet: packets that follow are joined to
  /// it as far as they make up what is missing (tcp_grow_skb).
  func reach(from start: UInt32, _ wanted: Int) -> (length: Int, endsRecord: Bool) {
    var place = 0
    var length = 0
    var endsRecord = false
    while let packet = self[place] {
      let end = Int(packet.end &- start)
      guard place > 0 else {
        (length, endsRecord) = (end, packet.endsRecord)
        place += 1
        continue
      }
      guard length < wanted, !endsRecord else { break }
      endsRecord = end <= wanted && packet.endsRecord
      length = min(end, wanted)
      place += 1
    }
    return (length, endsRecord)
  }

  /// Whether what ends at `end` says PSH: a packet that was pushed ends within it.
  func isPushed(before end: UInt32) -> Bool {
    var place = 0
    while let packet = self[place], !isAfter(packet.end, end) {
      if packet.isPushed { return true }
      place += 1
    }
    return false
  }

  /// Everything before `end` has been sent.
  mutating func remove(before end: UInt32) {
    while first < closed.count, !isAfter(closed[first].end, end) { first += 1 }
    guard first == closed.count else {
      // A sender that always has more than one packet waiting keeps no trace of those that have gone.
      if first > 64, first > closed.count / 2 {
        closed.removeFirst(first)
        first = 0
      }
      return
    }
    if first > 0 {
      closed.removeAll(keepingCapacity: true)
      first = 0
    }
    if let packet = last, !isAfter(packet.end, end) { last = nil }
  }
}
