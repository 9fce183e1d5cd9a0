// SPDX-License-Identifier: GPL-2.0-or-later

// The sender's scoreboard (RFC 6675 2; the kernel's tcp_rtx_queue with tcp_skb_cb, and its tsorted_sent_queue): what is
// on its way, a record a segment, in order of sequence numbers in a ring and in order of sending by links. A record
// keeps its number for as long as it stands here; numbers count on and wrap.
//
//    head ─▶ │ una … │ sacked │ lost │ retransmitted │ … │ ◀─ tail        oldest ─▶ by time ─▶ newest

/// A segment that was sent and is not acknowledged.
struct SentSegment: BitwiseCopyable {
  /// SYN has no record; a FIN is counted in `end`.
  var start: UInt32
  var end: UInt32
  var flags: Flags = []
  /// Which of the others was sent before and after it, while it is linked.
  fileprivate var earlier: UInt32 = 0
  fileprivate var later: UInt32 = 0
  /// Which sending of the connection's was its last, and when that was.
  var sending: UInt32 = 0
  var sentAt: Int64
  /// What had been delivered when it was sent, when that was last noted, and when the sample began (tcp_rate.c).
  var delivered: UInt32 = 0
  var deliveredCE: UInt32 = 0
  var deliveredAt: Int64 = 0
  var firstSentAt: Int64 = 0
  /// Segments on their way behind it.
  var inFlight: UInt32 = 0

  init(start: UInt32, end: UInt32, sentAt: Int64) {
    self.start = start
    self.end = end
    self.sentAt = sentAt
  }

  /// `TCPCB_*`.
  struct Flags: OptionSet, BitwiseCopyable {
    var rawValue: UInt8
    /// The receiver has it (SACKED_ACKED).
    static let sacked = Flags(rawValue: 1)
    /// It has been sent again, and that is on its way (SACKED_RETRANS).
    static let retransmitted = Flags(rawValue: 2)
    static let lost = Flags(rawValue: 4)
    /// It has ever been sent again (EVER_RETRANS).
    static let everRetransmitted = Flags(rawValue: 8)
    /// The sender had no more to send behind it.
    static let applicationLimited = Flags(rawValue: 16)
    /// It stands in the order of sending.
    static let linked = Flags(rawValue: 32)
    /// Its end says PSH.
    static let pushed = Flags(rawValue: 64)
    /// It is the last of those that went in one packet, which counts in the send buffer until then.
    static let endsPacket = Flags(rawValue: 128)
  }

  @inline(__always) var isRetransmission: Bool {
    !flags.isDisjoint(with: [.retransmitted, .everRetransmitted])
  }
}

/// What is on its way, in order.
@safe struct SentSegments: ~Copyable {
  /// Records at most; with all in use nothing new is sent.
  static let limit = 1 << 15

  private var items: UnsafeMutablePointer<SentSegment>?
  private var mask: UInt32 = 0
  private(set) var head: UInt32 = 0
  private(set) var tail: UInt32 = 0
  /// The ends of the order of sending; without a meaning while `linked` is 0.
  private var oldestNumber: UInt32 = 0
  private var newestNumber: UInt32 = 0
  private var linked = 0

  init() {}

  deinit { unsafe items?.deallocate() }

  @inline(__always) var count: Int { Int(tail &- head) }
  @inline(__always) var isEmpty: Bool { head == tail }
  @inline(__always) var isFull: Bool { count >= Self.limit }
  /// Records that there is still room for.
  @inline(__always) var room: Int { Self.limit - count }
  /// The number of the one that was sent first of those that are linked.
  var oldest: UInt32? { linked == 0 ? nil : oldestNumber }
  /// The number of the one sent next after a linked one.
  @inline(__always) func later(_ number: UInt32) -> UInt32? {
    number == newestNumber ? nil : self[number].later
  }

  @inline(__always) func contains(_ number: UInt32) -> Bool { number &- head < tail &- head }

  /// A record that is there.
  @inline(__always) subscript(number: UInt32) -> SentSegment {
    unsafeAddress {
      assert(contains(number))
      return unsafe UnsafePointer(items.unsafelyUnwrapped + Int(number & mask))
    }
    unsafeMutableAddress {
      assert(contains(number))
      return unsafe items.unsafelyUnwrapped + Int(number & mask)
    }
  }

  /// Puts what was sent just now at the end. There is room.
  mutating func append(_ segment: SentSegment) {
    assert(!isFull)
    if unsafe items == nil || tail &- head > mask { grow() }
    let number = tail
    tail &+= 1
    self[number] = segment
    link(number)
  }

  mutating func removeFirst() {
    unlink(head)
    head &+= 1
  }

  mutating func removeAll() {
    head = tail
    linked = 0
  }

  /// The first that ends behind a sequence number; `tail` when there is none.
  func find(_ sequence: UInt32) -> UInt32 {
    var low: UInt32 = 0
    var high = tail &- head
    while low < high {
      let middle = (low &+ high) >> 1
      if isAfter(self[head &+ middle].end, sequence) { high = middle } else { low = middle &+ 1 }
    }
    return head &+ low
  }

  // MARK: The order of sending

  private mutating func link(_ number: UInt32) {
    if linked == 0 {
      oldestNumber = number
    } else {
      self[newestNumber].later = number
      self[number].earlier = newestNumber
    }
    newestNumber = number
    self[number].flags.insert(.linked)
    linked += 1
  }

  /// Nothing happens to one that is not linked.
  mutating func unlink(_ number: UInt32) {
    guard self[number].flags.contains(.linked) else { return }
    let (earlier, later) = (self[number].earlier, self[number].later)
    let (isOldest, isNewest) = (number == oldestNumber, number == newestNumber)
    if isOldest { oldestNumber = later } else { self[earlier].later = later }
    if isNewest { newestNumber = earlier } else { self[later].earlier = earlier }
    // With both, nothing is left.
    if !isOldest, isNewest { newestNumber = earlier }
    self[number].flags.remove(.linked)
    linked -= 1
  }

  /// It has been sent again.
  mutating func relink(_ number: UInt32) {
    unlink(number)
    link(number)
  }

  // MARK: Cutting

  /// Makes two of one, the second of which begins at a sequence number within it (tcp_fragment). There is room.
  mutating func split(_ number: UInt32, at sequence: UInt32) {
    assert(!isFull && isAfter(sequence, self[number].start) && isBefore(sequence, self[number].end))
    if tail &- head > mask { grow() }
    let first = number &+ 1
    var place = tail
    tail &+= 1
    while place != first {
      self[place] = self[place &- 1]
      place &-= 1
    }
    // Whoever stood behind has another number now.
    func moved(_ old: UInt32) -> UInt32 { old &- head >= first &- head ? old &+ 1 : old }
    oldestNumber = moved(oldestNumber)
    newestNumber = moved(newestNumber)
    for place in 0..<(tail &- head) where head &+ place != first {
      self[head &+ place].earlier = moved(self[head &+ place].earlier)
      self[head &+ place].later = moved(self[head &+ place].later)
    }
    self[first] = self[number]
    self[first].start = sequence
    self[number].end = sequence
    self[number].flags.remove(.pushed)
    self[number].flags.insert(.endsPacket)
    guard self[number].flags.contains(.linked) else { return }
    // They were sent together.
    let later = self[number].later
    self[first].earlier = number
    self[number].later = first
    if newestNumber == number { newestNumber = first } else { self[later].earlier = first }
    linked += 1
  }

  private mutating func grow() {
    let larger = unsafe items == nil ? 16 : (mask &+ 1) * 2
    let fresh = UnsafeMutablePointer<SentSegment>.allocate(capacity: Int(larger))
    if let old = unsafe items {
      for place in 0..<(tail &- head) {
        let number = head &+ place
        unsafe fresh[Int(number & (larger - 1))] = old[Int(number & mask)]
      }
      unsafe old.deallocate()
    }
    unsafe items = fresh
    mask = larger - 1
  }
}
