// SPDX-License-Identifier: GPL-2.0-or-later

// What of a packet does not stand in its data block: page fragments, and the list of further sk_buffs
// (net/core/skbuff.c: __pskb_pull_tail, ___pskb_trim, skb_copy_bits, skb_checksum). None of it is touched by packets
// that fit into a block.

extension BufferPool {
  // MARK: Making

  /// A packet with room for `linear` bytes in its data block and `paged` bytes in pages behind it, which are part of
  /// its length already; `none` when the pool has no more. Pages are small unless that would take more than four.
  mutating func allocate(linear: Int, paged: Int) -> Slot {
    let slot = allocate(linear)
    guard slot != .none else { return .none }
    guard appendPages(paged, to: slot) else {
      free(slot, .noMemory)
      return .none
    }
    return slot
  }

  /// Puts bytes that are still to be written at the packet's end, in pages. False when there are no more.
  private mutating func appendPages(_ count: Int, to slot: Slot) -> Bool {
    let large = count > 4 * PagePool.smallSize
    var rest = count
    while rest > 0 {
      let page = pages.allocate(large: large)
      let length = min(rest, large ? PagePool.largeSize : PagePool.smallSize)
      guard page != .none else { return false }
      guard append(PageFragment(page: page, offset: 0, length: UInt16(length)), to: slot) else {
        pages.release(page)
        return false
      }
      rest -= length
    }
    return true
  }

  /// Puts other bytes in place of all from `offset` on. False when there is no room for them: the packet is cut then.
  mutating func replaceTail(of slot: Slot, from offset: Int, by bytes: [UInt8]) -> Bool {
    guard offset <= Int(self[slot].length), mayPull(slot, offset) else { return false }
    trim(slot, to: offset)
    if makeRoom(slot, offset + bytes.count) {
      guard put(slot, bytes.count) else { return false }
    } else {
      guard makeWritable(slot), appendPages(bytes.count, to: slot) else { return false }
    }
    store(unsafe bytes.span.bytes, in: slot, at: offset)
    return true
  }

  /// A packet of `length` bytes whose content is still to be written: in its data block if it fits there, else the
  /// first 256 bytes there and the others in pages.
  @inline(__always) mutating func allocate(length: Int) -> Slot {
    guard length <= Self.maximumLinear else { return allocatePaged(length) }
    let slot = allocate(length)
    if slot != .none { self[slot].length = UInt32(truncatingIfNeeded: length) }
    return slot
  }

  @inline(never) private mutating func allocatePaged(_ length: Int) -> Slot {
    guard length <= Self.maximumLength else { return .none }
    let slot = allocate(linear: Self.headerLength, paged: length - Self.headerLength)
    if slot != .none { self[slot].length &+= UInt32(Self.headerLength) }
    return slot
  }

  /// Puts a part of a page at the packet's end; with it goes the caller's reference to the page. False, and nothing
  /// changed, when the packet has four fragments already, a fragment list, or no room for so many bytes.
  mutating func append(_ fragment: PageFragment, to slot: Slot) -> Bool {
    guard Int(self[slot].length) + Int(fragment.length) <= Self.maximumLength else { return false }
    openShared(slot)
    guard self[shared: slot].fragmentList == .none else { return false }
    let count = Int(self[slot].fragmentCount)
    if count > 0 {
      let last = self[shared: slot].fragments[count - 1]
      if last.page == fragment.page, Int(last.offset) + Int(last.length) == Int(fragment.offset) {
        self[shared: slot].fragments[count - 1].length += fragment.length
        pages.release(fragment.page)
        grow(slot, by: Int(fragment.length))
        return true
      }
    }
    guard count < 4 else { return false }
    self[shared: slot].fragments[count] = fragment
    self[slot].fragmentCount += 1
    grow(slot, by: Int(fragment.length))
    return true
  }

  /// Makes the packets of a list that is threaded by `next` the end of a packet (reassembly, GRO). They end as packets
  /// of their own. False, and nothing changed, when together they would be too long.
  mutating func append(list: Slot, to slot: Slot) -> Bool {
    var total = Int(self[slot].length)
    var member = list
    while member != .none {
      total += Int(self[member].length)
      member = self[member].next
    }
    guard total <= Self.maximumLength else { return false }
    openShared(slot)
    var last = self[shared: slot].fragmentList
    while last != .none, self[last].next != .none { last = self[last].next }
    member = list
    while member != .none {
      let next = self[member].next
      self[member].next = .none
      grow(slot, by: Int(self[member].length))
      countMerged()
      let followers = takeList(of: member)
      if self[member].length == 0 {
        releaseHead(member)
      } else {
        if last == .none { self[shared: slot].fragmentList = member } else { self[last].next = member }
        last = member
      }
      if followers != .none {
        // A list is flat: what a member had as its own stands behind it.
        if last == .none { self[shared: slot].fragmentList = followers } else { self[last].next = followers }
        last = followers
        while self[last].next != .none { last = self[last].next }
      }
      member = next
    }
    return true
  }

  /// The list of a packet that was put together of pieces, if it could be taken apart into them again: each but the last
  /// a multiple of eight bytes, the first counted without `header`, and none larger than `most`.
  func members(of slot: Slot, behind header: Int, atMost most: Int) -> Slot {
    guard self[slot].dataLength != 0, self[shared: slot].fragmentList != .none else { return .none }
    let first = Int(self[slot].length) - header - listLength(of: slot)
    guard first <= most, first & 7 == 0 else { return .none }
    let list = self[shared: slot].fragmentList
    var member = list
    while member != .none {
      let (length, next) = (Int(self[member].length), self[member].next)
      guard length <= most, length & 7 == 0 || next == .none else { return .none }
      member = next
    }
    return list
  }

  /// Bytes in a packet's list.
  func listLength(of slot: Slot) -> Int {
    var total = 0
    var member = self[slot].dataLength != 0 ? self[shared: slot].fragmentList : .none
    while member != .none {
      total += Int(self[member].length)
      member = self[member].next
    }
    return total
  }

  /// Says how a packet is to be cut.
  func setSegmentation(_ slot: Slot, _ type: GSOType, size: UInt16, segments: UInt16) {
    openShared(slot)
    self[slot].gsoType = type
    self[shared: slot].gsoSize = size
    self[shared: slot].gsoSegments = segments
  }

  private func openShared(_ slot: Slot) {
    if self[slot].dataLength == 0, self[slot].gsoType == .none { self[shared: slot] = SharedInfo() }
  }

  private func grow(_ slot: Slot, by count: Int) {
    self[slot].length &+= UInt32(count)
    self[slot].dataLength &+= UInt32(count)
  }

  /// Parts a member from its own list, whose bytes it counts no longer.
  private func takeList(of member: Slot) -> Slot {
    guard self[member].dataLength != 0 else { return .none }
    let list = self[shared: member].fragmentList
    self[shared: member].fragmentList = .none
    var follower = list
    while follower != .none {
      self[member].length &-= self[follower].length
      self[member].dataLength &-= self[follower].length
      follower = self[follower].next
    }
    return list
  }

  // MARK: Sharing and giving back

  /// Lets a copy of a packet's sk_buff share its fragments. False when there was no place for its list.
  mutating func shareFragments(of slot: Slot, with copy: Slot) -> Bool {
    self[shared: copy] = self[shared: slot]
    self[shared: copy].fragmentList = .none
    for position in 0..<Int(self[slot].fragmentCount) {
      pages.retain(self[shared: slot].fragments[position].page)
    }
    var member = self[shared: slot].fragmentList
    var last = Slot.none
    while member != .none {
      let other = cloneHead(member)
      guard other != .none else {
        releaseFragments(copy)
        return false
      }
      if self[member].dataLength != 0 {
        self[shared: other] = self[shared: member]
        for position in 0..<Int(self[member].fragmentCount) {
          pages.retain(self[shared: member].fragments[position].page)
        }
      }
      if last == .none { self[shared: copy].fragmentList = other } else { self[last].next = other }
      last = other
      member = self[member].next
    }
    return true
  }

  /// Gives back all that is not in the data block.
  @inline(never) mutating func releaseFragments(_ slot: Slot) {
    for position in 0..<Int(self[slot].fragmentCount) {
      pages.release(self[shared: slot].fragments[position].page)
    }
    releaseList(self[shared: slot].fragmentList)
    self[slot].length &-= self[slot].dataLength
    self[slot].dataLength = 0
    self[slot].fragmentCount = 0
    self[shared: slot].fragmentList = .none
  }

  private mutating func releaseList(_ first: Slot) {
    var member = first
    while member != .none {
      let next = self[member].next
      if self[member].dataLength != 0 { releaseFragments(member) }
      releaseHead(member)
      member = next
    }
  }

  /// References to pages that a packet holds.
  func pageReferences(_ slot: Slot) -> Int {
    guard self[slot].dataLength != 0 else { return 0 }
    var count = Int(self[slot].fragmentCount)
    var member = self[shared: slot].fragmentList
    while member != .none {
      count += Int(self[member].fragmentCount)
      member = self[member].next
    }
    return count
  }

  /// What a part of a page counts for at least, so that nobody holds a page for a byte.
  private static let leastFragment = 1024

  func fragmentsTrueSize(_ slot: Slot) -> Int {
    var size = 0
    for position in 0..<Int(self[slot].fragmentCount) {
      let fragment = self[shared: slot].fragments[position]
      size += max(Int(fragment.length), Self.leastFragment)
    }
    var member = self[shared: slot].fragmentList
    while member != .none {
      size += trueSize(member)
      member = self[member].next
    }
    return size
  }

  // MARK: Moving bytes and ends

  /// Sees that the first `count` bytes stand in the data block, where headers are read; views of it are void
  /// afterwards. False when the packet is shorter, or there is no block for so many.
  @inline(__always) mutating func mayPull(_ slot: Slot, _ count: Int) -> Bool {
    self[slot].linearLength >= count || pullTail(slot, count)
  }

  @inline(never) private mutating func pullTail(_ slot: Slot, _ count: Int) -> Bool {
    let linear = self[slot].linearLength
    guard count <= Int(self[slot].length), makeRoom(slot, count) else { return false }
    copyBytes(of: slot, from: linear, into: tail(slot).prefix(count - linear))
    dropPaged(count - linear, of: slot)
    return true
  }

  /// Takes `count` bytes off the front, wherever they stand. The caller has checked that there are so many.
  mutating func skip(_ slot: Slot, _ count: Int) {
    let linear = min(count, self[slot].linearLength)
    pull(slot, linear)
    guard count > linear else { return }
    self[slot].length &-= UInt32(count - linear)
    dropPaged(count - linear, of: slot)
  }

  /// Takes bytes off the front of what is not in the data block.
  private mutating func dropPaged(_ count: Int, of slot: Slot) {
    self[slot].dataLength &-= UInt32(count)
    var rest = dropFirst(count, fragmentsOf: slot)
    while rest > 0 {
      let member = self[shared: slot].fragmentList
      let whole = min(rest, self[member].linearLength)
      pull(member, whole)
      rest -= whole
      let left = dropFirst(rest, fragmentsOf: member)
      self[member].length &-= UInt32(rest - left)
      self[member].dataLength &-= UInt32(rest - left)
      rest = left
      if self[member].length == 0 {
        self[shared: slot].fragmentList = self[member].next
        releaseHead(member)
      }
    }
  }

  /// Takes bytes off the front of an sk_buff's own fragments; the answer is how many there were too few.
  private mutating func dropFirst(_ count: Int, fragmentsOf slot: Slot) -> Int {
    var rest = count
    while rest > 0, self[slot].fragmentCount > 0 {
      let first = self[shared: slot].fragments[0]
      let taken = min(rest, Int(first.length))
      rest -= taken
      if taken < Int(first.length) {
        self[shared: slot].fragments[0].offset += UInt16(taken)
        self[shared: slot].fragments[0].length -= UInt16(taken)
        return 0
      }
      pages.release(first.page)
      self[slot].fragmentCount -= 1
      for position in 0..<Int(self[slot].fragmentCount) {
        self[shared: slot].fragments[position] = self[shared: slot].fragments[position + 1]
      }
    }
    return rest
  }

  @inline(never) mutating func trimFragments(_ slot: Slot, to length: Int) {
    let linear = self[slot].linearLength
    guard length > linear else {
      releaseFragments(slot)
      self[slot].length = UInt32(length)
      return
    }
    var room = keepFirst(length - linear, fragmentsOf: slot)
    var member = self[shared: slot].fragmentList
    var last = Slot.none
    while member != .none, room > 0 {
      let size = Int(self[member].length)
      if size > room { trim(member, to: room) }
      room = max(room - size, 0)
      last = member
      member = self[member].next
    }
    releaseList(member)
    if last == .none { self[shared: slot].fragmentList = .none } else { self[last].next = .none }
    self[slot].length = UInt32(length)
    self[slot].dataLength = UInt32(length - linear)
  }

  /// Cuts an sk_buff's own fragments; the answer is how many of the bytes to keep are not in them.
  private mutating func keepFirst(_ count: Int, fragmentsOf slot: Slot) -> Int {
    var rest = count
    var kept = 0
    for position in 0..<Int(self[slot].fragmentCount) {
      let fragment = self[shared: slot].fragments[position]
      if rest == 0 {
        pages.release(fragment.page)
      } else {
        self[shared: slot].fragments[position].length = UInt16(min(rest, Int(fragment.length)))
        rest -= min(rest, Int(fragment.length))
        kept += 1
      }
    }
    self[slot].fragmentCount = UInt8(kept)
    return rest
  }

  /// Visits `count` bytes from `offset` on, piece by piece; fewer when the packet ends before.
  func forEachPiece(of slot: Slot, from offset: Int, count: Int, _ body: (PacketBytes) -> Void) {
    var skip = offset
    var rest = count
    func visit(_ bytes: PacketBytes) {
      guard skip < bytes.count else {
        skip -= bytes.count
        return
      }
      let piece = bytes.dropFirst(skip).prefix(min(rest, bytes.count - skip))
      skip = 0
      rest -= piece.count
      if piece.count > 0 { body(piece) }
    }
    func visitFragments(_ part: Slot) {
      for position in 0..<Int(self[part].fragmentCount) where rest > 0 {
        let fragment = self[shared: part].fragments[position]
        visit(pages.bytes(fragment.page).dropFirst(Int(fragment.offset)).prefix(Int(fragment.length)))
      }
    }
    visit(bytes(slot))
    guard rest > 0, self[slot].dataLength != 0 else { return }
    visitFragments(slot)
    var member = self[shared: slot].fragmentList
    while member != .none, rest > 0 {
      visit(bytes(member))
      visitFragments(member)
      member = self[member].next
    }
  }

  /// Copies the bytes from `offset` on, as many as the target has (skb_copy_bits).
  func copyBytes(of slot: Slot, from offset: Int, into target: PacketBytes) {
    var place = 0
    forEachPiece(of: slot, from: offset, count: target.count) { piece in
      target.dropFirst(place).copy(from: piece)
      place += piece.count
    }
  }

  /// All bytes from `offset` on.
  func copyBytes(of slot: Slot, from offset: Int) -> [UInt8] {
    var copy: [UInt8] = []
    let count = max(Int(self[slot].length) - offset, 0)
    copy.reserveCapacity(count)
    forEachPiece(of: slot, from: offset, count: count) { piece in
      for place in 0..<piece.count { copy.append(piece.u8(place)) }
    }
    return copy
  }

  /// The same from a header on, whose offset metadata keeps.
  func copyBytes(of slot: Slot, fromHeader header: UInt16, into target: PacketBytes) {
    let linear = bytes(slot, from: header)
    let first = min(linear.count, target.count)
    target.copy(from: linear.prefix(first))
    copyBytes(of: slot, from: self[slot].linearLength, into: target.dropFirst(first))
  }

  /// Bytes from a header on to the packet's end.
  @inline(__always) func length(_ slot: Slot, fromHeader header: UInt16) -> Int {
    Int(self[slot].length) &+ Int(self[slot].dataOffset) &- Int(header)
  }

  /// Writes bytes from `offset` on into a packet that shares nothing (skb_store_bits).
  func store(_ source: borrowing RawSpan, in slot: Slot, at offset: Int = 0) {
    var place = 0
    forEachPiece(of: slot, from: offset, count: source.byteCount) { piece in
      piece.copy(from: source.extracting(place..<place + piece.count))
      place += piece.count
    }
  }

  /// Copies `count` bytes of a packet into another one, which shares nothing.
  func copyBytes(of slot: Slot, from offset: Int, count: Int, into target: Slot, at place: Int) {
    var next = offset
    forEachPiece(of: target, from: place, count: count) { piece in
      copyBytes(of: slot, from: next, into: piece)
      next += piece.count
    }
  }

  /// Makes the checksum that was left to a device (skb_checksum_help). False when there was no memory for a copy.
  mutating func completeChecksum(_ slot: Slot) -> Bool {
    let start = Int(self[slot].checksumStart) - Int(self[slot].dataOffset)
    let place = start + Int(self[slot].checksumOffset)
    guard mayPull(slot, place + 2), makeWritable(slot) else { return false }
    bytes(slot).dropFirst(start).setChecksum(
      Int(self[slot].checksumOffset), sum: sum(slot, from: start, count: Int(self[slot].length) - start))
    self[slot].checksumState = .none
    return true
  }

  /// The sum of `count` bytes from `offset` on as 16-bit words (RFC 1071) added to `initial`, not complemented.
  @inline(__always) func sum(_ slot: Slot, from offset: Int, count: Int, _ initial: UInt64 = 0) -> UInt64 {
    offset &+ count <= self[slot].linearLength
      ? bytes(slot).dropFirst(offset).prefix(count).sum(initial) : sumPieces(slot, offset, count, initial)
  }

  @inline(never) private func sumPieces(_ slot: Slot, _ offset: Int, _ count: Int, _ initial: UInt64)
    -> UInt64
  {
    var total = initial
    var isOdd = false
    forEachPiece(of: slot, from: offset, count: count) { piece in
      // Behind an odd number of bytes the halves of every word have changed places (RFC 1071 2B).
      let part = foldChecksum(piece.sum())
      total &+= UInt64(isOdd ? part.byteSwapped : part)
      if piece.count % 2 == 1 { isOdd.toggle() }
    }
    return total
  }

  /// The Internet checksum from `offset` to the end, in host byte order; zero over bytes that hold their right one.
  func checksum(_ slot: Slot, from offset: Int) -> UInt16 {
    UInt16(bigEndian: ~foldChecksum(sum(slot, from: offset, count: Int(self[slot].length) - offset)))
  }
}
