// SPDX-License-Identifier: GPL-2.0-or-later

// Bytes that a stream socket has taken from its user and that the other end has not acknowledged, in the pool's pages:
// first in, first out, and any range of them to be sent, or sent again, as fragments of packets that share the pages.
// Pages are never written to where they have been filled, so that what is on its way stays what it was.
//
//    positions[0] ─▶ │ page 0 ▒▒▒▓▓▓▓│ page 1 ▓▓▓▓▓▓▓▓▓▓▓▓│ page 2 ▓▓▓▓▓    │   ▒ acknowledged   ▓ kept
//                            begin ──┘                               └── end       positions wrap, as numbers do

/// Bytes in pages.
struct ByteQueue: ~Copyable {
  private static let limit = 1 << 16
  private var pages = SlotRing(limit: ByteQueue.limit)
  /// Where each page begins.
  private var positions = SlotRing(limit: ByteQueue.limit)
  private var begin: UInt32 = 0
  private var end: UInt32 = 0

  init() {}

  @inline(__always) var count: Int { Int(end &- begin) }

  // MARK: In and out

  /// Puts bytes at the end, as many as there are pages for; the answer is how many.
  mutating func append(_ bytes: borrowing RawSpan, _ pool: inout BufferPool) -> Int {
    var taken = 0
    while taken < bytes.byteCount {
      var room = lastRoom(pool)
      if room == 0 {
        room = addPage(for: bytes.byteCount - taken, &pool)
        guard room > 0 else { break }
      }
      let length = min(bytes.byteCount - taken, room)
      free(pool).copy(from: bytes.extracting(taken..<taken + length))
      taken += length
      end &+= UInt32(length)
    }
    return taken
  }

  /// Lends room at the end, at most `limit` bytes and no more than the last page has, and keeps as many of them as `body`
  /// says that it has written.
  mutating func append(
    atMost limit: Int, _ pool: inout BufferPool, _ body: (inout MutableRawSpan) -> Int
  ) -> Int {
    var room = lastRoom(pool)
    let isFresh = room == 0
    if isFresh { room = addPage(for: limit, &pool) }
    guard room > 0 else { return 0 }
    let place = free(pool).prefix(min(limit, room))
    let written = min(max(place.withMutableSpan(body), 0), place.count)
    if isFresh, written == 0 { dropLastPage(&pool) }
    end &+= UInt32(written)
    return written
  }

  /// Forgets the first bytes.
  mutating func removeFirst(_ length: Int, _ pool: inout BufferPool) {
    assert(length <= count)
    begin &+= UInt32(length)
    guard begin != end else {
      removeAll(&pool)
      return
    }
    while Int(begin &- positions[0]) >= pool.pages.size(PageIndex(rawValue: pages[0])) {
      releaseFirstPage(&pool)
    }
  }

  mutating func removeAll(_ pool: inout BufferPool) {
    while !pages.isEmpty { releaseFirstPage(&pool) }
    begin = end
  }

  // MARK: Pages

  /// How many pages it holds.
  var pageCount: Int { pages.count }

  /// Bytes that the last page has room for.
  private func lastRoom(_ pool: borrowing BufferPool) -> Int {
    guard !pages.isEmpty else { return 0 }
    let last = pages.count - 1
    return pool.pages.size(PageIndex(rawValue: pages[last])) - Int(end &- positions[last])
  }

  /// The free part of the last page.
  private func free(_ pool: borrowing BufferPool) -> PacketBytes {
    let last = pages.count - 1
    return pool.pages.bytes(PageIndex(rawValue: pages[last])).dropFirst(Int(end &- positions[last]))
  }

  /// One page more, a large one once small ones would be too many for one packet; the answer is its size, 0 when there
  /// is none.
  private mutating func addPage(for wanted: Int, _ pool: inout BufferPool) -> Int {
    let wantsLarge = count + wanted > 4 * PagePool.smallSize
    var page = pool.pages.allocate(large: wantsLarge)
    if page == .none, wantsLarge { page = pool.pages.allocate(large: false) }
    guard page != .none else { return 0 }
    guard pages.push(page.rawValue) else {
      pool.pages.release(page)
      return 0
    }
    _ = positions.push(end)
    return pool.pages.size(page)
  }

  private mutating func releaseFirstPage(_ pool: inout BufferPool) {
    guard let page = pages.pop(), positions.pop() != nil else { return }
    pool.pages.release(PageIndex(rawValue: page))
  }

  private mutating func dropLastPage(_ pool: inout BufferPool) {
    guard let page = pages.popLast(), positions.popLast() != nil else { return }
    pool.pages.release(PageIndex(rawValue: page))
  }

  // MARK: What packets are made of

  /// The page in which a byte is that is kept.
  private func find(_ position: UInt32) -> Int {
    var (low, high) = (0, pages.count - 1)
    while low < high {
      let middle = (low + high + 1) >> 1
      if isAfter(positions[middle], position) {
        high = middle - 1
      } else {
        low = middle
      }
    }
    return low
  }

  /// Visits a range of the bytes page by page, until `body` says that it is enough.
  private func visit(
    _ offset: Int, _ length: Int, _ pool: borrowing BufferPool,
    _ body: (_ page: PageIndex, _ start: Int, _ count: Int) -> Bool
  ) {
    var position = begin &+ UInt32(offset)
    var rest = length
    var number = rest > 0 ? find(position) : 0
    while rest > 0 {
      let page = PageIndex(rawValue: pages[number])
      let start = Int(position &- positions[number])
      let count = min(rest, pool.pages.size(page) - start)
      guard body(page, start, count) else { return }
      position &+= UInt32(count)
      rest -= count
      number += 1
    }
  }

  /// How much of a range four fragments hold, which is what one packet has room for.
  func reach(_ offset: Int, _ length: Int, _ pool: borrowing BufferPool) -> Int {
    var (reached, number) = (0, 0)
    visit(offset, length, pool) { _, _, count in
      reached += count
      number += 1
      return number < 4
    }
    return reached
  }

  /// Puts a range of the bytes, no more than `reach` tells, at the end of a packet, as fragments of pages that both
  /// have then.
  mutating func share(_ offset: Int, _ length: Int, with slot: Slot, _ pool: inout BufferPool) {
    var fragments = InlineArray<4, PageFragment>(repeating: PageFragment(page: .none, offset: 0, length: 0))
    var number = 0
    visit(offset, length, pool) { page, start, count in
      fragments[number] = PageFragment(page: page, offset: UInt16(start), length: UInt16(count))
      number += 1
      return number < 4
    }
    for place in 0..<number {
      pool.pages.retain(fragments[place].page)
      let isShared = pool.append(fragments[place], to: slot)
      assert(isShared, "a packet has room for four fragments")
    }
  }

  /// Copies a range of the bytes into a packet, which shares nothing.
  func copy(_ offset: Int, _ length: Int, into slot: Slot, at place: Int, _ pool: borrowing BufferPool) {
    var done = 0
    visit(offset, length, pool) { page, start, count in
      pool.pages.bytes(page).dropFirst(start).prefix(count).withSpan {
        pool.store($0, in: slot, at: place + done)
      }
      done += count
      return true
    }
  }
}
