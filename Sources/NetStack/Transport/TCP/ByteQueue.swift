// SPDX-License-Identifier: GPL-2.0-or-later

// Bytes that a stream socket has taken from its user and that the other end has not acknowledged, in the pool's pages:
// first in, first out, and any range of them to be read again for a retransmission.

/// Bytes in pages.
struct ByteQueue: ~Copyable {
  private var pages = SlotRing(limit: 1 << 16)
  /// Where in the first page the first byte is.
  private var start = 0
  private(set) var count = 0

  init() {}

  /// Puts bytes at the end, as many as there are pages for; the answer is how many.
  mutating func append(_ bytes: borrowing RawSpan, _ pool: inout BufferPool) -> Int {
    var taken = 0
    while taken < bytes.byteCount {
      let offset = (start + count) % PagePool.smallSize
      if offset == 0 || pages.isEmpty {
        let page = pool.pages.allocate(large: false)
        guard page != .none else { break }
        guard pages.push(page.rawValue) else {
          pool.pages.release(page)
          break
        }
      }
      let page = PageIndex(rawValue: pages[pages.count - 1])
      let length = min(bytes.byteCount - taken, PagePool.smallSize - offset)
      pool.pages.bytes(page).dropFirst(offset).copy(from: bytes.extracting(taken..<taken + length))
      taken += length
      count += length
    }
    return taken
  }

  /// Lends room at the end, at most `limit` bytes and no more than the last page has, and keeps as many of them as `body`
  /// says that it has written.
  mutating func append(
    atMost limit: Int, _ pool: inout BufferPool, _ body: (inout MutableRawSpan) -> Int
  ) -> Int {
    let offset = (start + count) % PagePool.smallSize
    let isFresh = offset == 0 || pages.isEmpty
    let page =
      isFresh ? pool.pages.allocate(large: false) : PageIndex(rawValue: pages[pages.count - 1])
    guard page != .none else { return 0 }
    let room = pool.pages.bytes(page).dropFirst(offset).prefix(min(limit, PagePool.smallSize - offset))
    let written = min(max(room.withMutableSpan(body), 0), room.count)
    if isFresh, written == 0 || !pages.push(page.rawValue) {
      pool.pages.release(page)
      return 0
    }
    count += written
    return written
  }

  /// Forgets the first bytes.
  mutating func removeFirst(_ length: Int, _ pool: inout BufferPool) {
    assert(length <= count)
    start += length
    count -= length
    while start >= PagePool.smallSize, let page = pages.pop() {
      pool.pages.release(PageIndex(rawValue: page))
      start -= PagePool.smallSize
    }
    if count == 0 { removeAll(&pool) }
  }

  mutating func removeAll(_ pool: inout BufferPool) {
    while let page = pages.pop() { pool.pages.release(PageIndex(rawValue: page)) }
    start = 0
    count = 0
  }

  /// Copies a range of the bytes into a packet, which shares nothing.
  func copy(_ offset: Int, _ length: Int, into slot: Slot, at place: Int, _ pool: borrowing BufferPool) {
    var done = 0
    while done < length {
      let position = start + offset + done
      let page = PageIndex(rawValue: pages[position / PagePool.smallSize])
      let within = position % PagePool.smallSize
      let piece = min(length - done, PagePool.smallSize - within)
      pool.pages.bytes(page).dropFirst(within).prefix(piece).withSpan {
        pool.store($0, in: slot, at: place + done)
      }
      done += piece
    }
  }

  /// How many pages it holds.
  var pageCount: Int { pages.count }
}
