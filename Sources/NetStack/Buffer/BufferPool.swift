// SPDX-License-Identifier: GPL-2.0-or-later

// All packets of one CPU: sk_buffs, data blocks and pages, side by side, bounded when the pool is made. Memory is
// reserved, not touched: what was never used costs nothing. Clones share a block and pages by counts of references.
//
//    sk_buffs    │ 64 SKBuff, 64 SharedInfo │ …   one a slot
//    references  │ 2 │ 1 │ 0 │ …                  one a block
//    blocks      │ 2048 + 64 │ 2048 + 64 │ … │ 4096 + 64 │ …     a cache line off the power of two, so that the
//                                                                 first bytes of packets spread over the cache's sets

/// The packets of one CPU. Every packet that comes from `allocate` or `clone` ends in `free`, with its reason.
@safe public struct BufferPool: ~Copyable {
  /// How large a pool is.
  public struct Configuration: Sendable {
    /// sk_buffs, and blocks of 2 KiB.
    public var packets: Int
    /// Blocks of 4 KiB, for packets that do not fit into 2.
    public var largeBlocks: Int
    /// Pages of 4 KiB.
    public var smallPages: Int
    /// Pages of 32 KiB.
    public var largePages: Int

    /// The default takes 180 MiB of address space, and as much memory as is ever in use at once.
    public init(
      packets: Int = 32768, largeBlocks: Int = 2048, smallPages: Int = 8192, largePages: Int = 2048
    ) {
      self.packets = max(64, min(packets, 1 << 24))
      self.largeBlocks = max(1, min(largeBlocks, 1 << 22))
      self.smallPages = max(1, min(smallPages, 1 << 22))
      self.largePages = max(1, min(largePages, 1 << 20))
    }
  }

  /// Bytes before a received packet's first: XDP's own, and enough for any tunnel's headers.
  public static let headroom = 256
  static let smallSize = 2048
  static let largeSize = 4096
  /// The most bytes that stand in one data block behind the headroom.
  static let maximumLinear = largeSize - headroom
  /// The most bytes that one packet can hold: an IP datagram of 64 KiB and the headers of what carries it.
  public static let maximumLength = 65536 + headroom
  /// Bytes that a packet with fragments has in its data block when it is made: all headers but for odd ones, as
  /// drivers do it (eth_get_headlen).
  static let headerLength = 256

  private static let smallStride = smallSize + 64
  private static let largeStride = largeSize + 64
  private static let metadataStride = 128

  private let passing = PassedByAddress()
  private let metadata: UnsafeMutableRawPointer
  private let blocks: UnsafeMutableRawPointer
  private let references: UnsafeMutablePointer<UInt16>
  /// The numbers of packets that are watched; of others they mean nothing.
  private let watches: UnsafeMutablePointer<UInt32>
  private let smallCount: UInt32
  private var freeSlots: IndexStack
  private var freeSmall: IndexStack
  private var freeLarge: IndexStack
  var pages: PagePool
  /// What sockets have on its way out.
  var writers: WriteAccounts
  /// Where a packet with fragments is put together for who wants it in one piece.
  private var assembled: UnsafeMutableRawPointer?

  /// Packets begun, by allocation or by cloning.
  public private(set) var allocated: UInt64 = 0
  /// Packets ended, for any reason; one that became part of another has ended too.
  public private(set) var freed: UInt64 = 0
  /// Allocations that found no slot or block.
  public private(set) var failures: UInt64 = 0
  /// Blocks given to devices to write to.
  private(set) var buffersTaken: UInt64 = 0
  /// Blocks that devices have given back, most of them as packets.
  private(set) var buffersReturned: UInt64 = 0
  /// Why packets ended.
  public private(set) var reasons = DropCounters()

  /// A pool of the given size.
  public init(_ configuration: Configuration = Configuration()) {
    precondition(
      MemoryLayout<SKBuff>.size <= 64
        && MemoryLayout<SharedInfo>.stride + MemoryLayout<ConntrackReference>.stride
          + MemoryLayout<IPv4Control>.stride <= 64,
      "the halves of an sk_buff are a cache line each")
    let small = configuration.packets
    let large = configuration.largeBlocks
    smallCount = UInt32(small)
    unsafe metadata = .allocate(byteCount: small * Self.metadataStride, alignment: 128)
    unsafe blocks = .allocate(byteCount: small * Self.smallStride + large * Self.largeStride, alignment: 64)
    unsafe references = .allocate(capacity: small + large)
    unsafe watches = .allocate(capacity: small)
    freeSlots = IndexStack(capacity: small)
    freeSmall = IndexStack(capacity: small)
    freeLarge = IndexStack(capacity: large, base: small)
    pages = PagePool(small: configuration.smallPages, large: configuration.largePages)
    writers = WriteAccounts(packets: small)
  }

  deinit {
    unsafe metadata.deallocate()
    unsafe blocks.deallocate()
    unsafe references.deallocate()
    unsafe watches.deallocate()
    unsafe assembled?.deallocate()
  }

  /// Packets that somebody holds now.
  public var held: UInt64 { allocated - freed }

  // MARK: Beginning and ending

  /// A packet without bytes that can take `size` of them behind the headroom; `none` when the pool has no more, or
  /// no block is so large.
  @inline(__always) mutating func allocate(_ size: Int, headroom: Int = BufferPool.headroom) -> Slot {
    let needed = size &+ headroom
    guard needed <= Self.smallSize else { return allocateLarge(needed, headroom) }
    guard let block = freeSmall.pop() else {
      failures &+= 1
      return .none
    }
    return begin(block, headroom)
  }

  @inline(never) private mutating func allocateLarge(_ needed: Int, _ headroom: Int) -> Slot {
    guard needed <= Self.largeSize, let block = freeLarge.pop() else {
      failures &+= 1
      return .none
    }
    return begin(block, headroom)
  }

  @inline(__always) private mutating func begin(_ block: UInt32, _ headroom: Int) -> Slot {
    guard let index = freeSlots.pop() else {
      releaseBlock(block)
      failures &+= 1
      return .none
    }
    unsafe references[Int(block)] = 1
    var buffer = SKBuff()
    buffer.block = block
    buffer.dataOffset = UInt16(truncatingIfNeeded: headroom)
    unsafe skb(index).initialize(to: buffer)
    allocated &+= 1
    return Slot(index: index)
  }

  /// Ends a packet.
  @inline(__always) mutating func free(_ slot: Slot, _ reason: DropReason) {
    if unsafe skb(slot.index).pointee.flags.contains(.charged) { releaseCharge(slot) }
    if unsafe skb(slot.index).pointee.dataLength != 0 { releaseFragments(slot) }
    releaseHead(slot)
    freed &+= 1
    reasons[reason] &+= 1
  }

  /// Gives back an sk_buff and its reference to a block.
  @inline(__always) mutating func releaseHead(_ slot: Slot) {
    dropReference(unsafe skb(slot.index).pointee.block)
    freeSlots.push(slot.index)
  }

  @inline(__always) private mutating func dropReference(_ block: UInt32) {
    let count = unsafe references[Int(block)] &- 1
    unsafe references[Int(block)] = count
    if count == 0 { releaseBlock(block) }
  }

  /// A packet has become part of another, in which its sk_buff lives on.
  mutating func countMerged() {
    freed &+= 1
    reasons[.consumed] &+= 1
  }

  /// What has been a part of another packet is one of its own again.
  mutating func countParted() { allocated &+= 1 }

  @inline(__always) private mutating func releaseBlock(_ block: UInt32) {
    if block < smallCount { freeSmall.push(block) } else { freeLarge.push(block) }
  }

  /// Another packet with the same bytes, shared until one of them makes its own; `none` when the pool has no more.
  mutating func clone(_ slot: Slot) -> Slot {
    let copy = cloneHead(slot)
    guard copy != .none else { return .none }
    if unsafe skb(slot.index).pointee.dataLength != 0 {
      guard shareFragments(of: slot, with: copy) else {
        releaseHead(copy)
        return .none
      }
    } else if unsafe skb(slot.index).pointee.gsoType != .none {
      self[shared: copy] = self[shared: slot]
    }
    allocated &+= 1
    return copy
  }

  /// Another sk_buff for the same block, which has no fragments yet.
  mutating func cloneHead(_ slot: Slot) -> Slot {
    let block = unsafe skb(slot.index).pointee.block
    guard unsafe references[Int(block)] < .max, let index = freeSlots.pop() else {
      failures &+= 1
      return .none
    }
    unsafe references[Int(block)] &+= 1
    unsafe skb(index).initialize(to: skb(slot.index).pointee)
    unsafe skb(index).pointee.next = .none
    unsafe skb(index).pointee.flags.remove(.charged)
    if unsafe skb(index).pointee.flags.contains(.tracked) {
      unsafe conntrackPlace(index).initialize(to: conntrackPlace(slot.index).pointee)
    }
    if unsafe skb(index).pointee.flags.contains(.controlled) {
      unsafe controlPlace(index).initialize(to: controlPlace(slot.index).pointee)
    }
    if unsafe skb(index).pointee.isWatched {
      unsafe watches[Int(index)] = watches[Int(slot.index)]
    }
    return Slot(index: index)
  }

  /// Gives a packet that shares its bytes a copy of its own before they are written to. False, and nothing changed,
  /// when there is no block for it.
  @inline(__always) mutating func makeWritable(_ slot: Slot) -> Bool {
    let block = unsafe skb(slot.index).pointee.block
    return unsafe references[Int(block)] == 1 || copyBlock(slot, block)
  }

  @inline(never) private mutating func copyBlock(_ slot: Slot, _ shared: UInt32) -> Bool {
    replaceBlock(slot, by: shared < smallCount ? freeSmall.pop() : freeLarge.pop())
  }

  /// Sees that `count` bytes behind the packet's first can be written to in its block.
  mutating func makeRoom(_ slot: Slot, _ count: Int) -> Bool {
    let end = Int(self[slot].dataOffset) + count
    let size = self[slot].block < smallCount ? Self.smallSize : Self.largeSize
    if end <= size, !isShared(slot) { return true }
    guard end <= Self.largeSize else { return false }
    return replaceBlock(slot, by: end <= Self.smallSize ? freeSmall.pop() : freeLarge.pop())
  }

  private mutating func replaceBlock(_ slot: Slot, by own: UInt32?) -> Bool {
    guard let own else {
      failures &+= 1
      return false
    }
    let buffer = unsafe skb(slot.index).pointee
    let first = Int(min(buffer.dataOffset, buffer.linkHeader, buffer.networkHeader))
    let end = Int(buffer.dataOffset) + buffer.linearLength
    unsafe address(own, first).copyMemory(from: address(buffer.block, first), byteCount: max(end - first, 0))
    dropReference(buffer.block)
    unsafe references[Int(own)] = 1
    unsafe skb(slot.index).pointee.block = own
    return true
  }

  // MARK: Blocks of devices

  /// Bytes that a device can write into a block behind the headroom.
  static let bufferLength = smallSize - headroom

  /// A block to be posted to a device; nil when there is none.
  mutating func takeBuffer() -> UInt32? {
    guard let block = freeSmall.pop() else { return nil }
    unsafe references[Int(block)] = 1
    buffersTaken &+= 1
    return block
  }

  /// A posted block that no packet was made of.
  mutating func returnBuffer(_ block: UInt32) {
    releaseBlock(block)
    buffersReturned &+= 1
  }

  /// What a device writes to.
  func bufferBytes(_ block: UInt32) -> PacketBytes {
    unsafe PacketBytes(base: address(block, Self.headroom), count: Self.bufferLength)
  }

  /// Makes a packet of a block that a device has written to (build_skb); `none`, and the block still the caller's,
  /// when there is no sk_buff.
  @inline(__always) mutating func wrap(_ block: UInt32, _ length: Int) -> Slot {
    guard let index = freeSlots.pop() else {
      failures &+= 1
      return .none
    }
    var buffer = SKBuff()
    buffer.block = block
    buffer.dataOffset = UInt16(Self.headroom)
    buffer.length = UInt32(truncatingIfNeeded: length)
    unsafe skb(index).initialize(to: buffer)
    allocated &+= 1
    buffersReturned &+= 1
    return Slot(index: index)
  }

  // MARK: Metadata and bytes

  @inline(__always) private func skb(_ index: UInt32) -> UnsafeMutablePointer<SKBuff> {
    unsafe (metadata + Int(index) &* Self.metadataStride).assumingMemoryBound(to: SKBuff.self)
  }

  @inline(__always) private func address(_ block: UInt32, _ offset: Int) -> UnsafeMutableRawPointer {
    let small = Int(smallCount)
    let index = Int(block)
    return index < small
      ? unsafe blocks + (index &* Self.smallStride &+ offset)
      : unsafe blocks + (small &* Self.smallStride &+ (index &- small) &* Self.largeStride &+ offset)
  }

  /// A packet's metadata.
  @inline(__always) subscript(slot: Slot) -> SKBuff {
    unsafeAddress { unsafe UnsafePointer(skb(slot.index)) }
    nonmutating unsafeMutableAddress { unsafe skb(slot.index) }
  }

  /// The second half of a packet's metadata; see `SharedInfo` for when there is anything in it.
  subscript(shared slot: Slot) -> SharedInfo {
    unsafeAddress { unsafe UnsafePointer(shared(slot.index)) }
    nonmutating unsafeMutableAddress { unsafe shared(slot.index) }
  }

  private func shared(_ index: UInt32) -> UnsafeMutablePointer<SharedInfo> {
    unsafe (metadata + Int(index) * Self.metadataStride + 64).assumingMemoryBound(to: SharedInfo.self)
  }

  /// Which connection a packet belongs to (`skb->_nfct`). It stands behind `SharedInfo` and means nothing unless the
  /// flags say `tracked`.
  @inline(__always) func conntrack(_ slot: Slot) -> ConntrackReference {
    guard self[slot].flags.contains(.tracked) else { return .none }
    return unsafe conntrackPlace(slot.index).pointee
  }

  @inline(__always) func setConntrack(_ reference: ConntrackReference, of slot: Slot) {
    var reference = reference
    reference.trace = trace(slot)
    self[slot].flags.insert(.tracked)
    unsafe conntrackPlace(slot.index).initialize(to: reference)
  }

  /// A packet's number in traces; 0: it is not traced (`skb->nf_trace`).
  @inline(__always) func trace(_ slot: Slot) -> UInt32 { conntrack(slot).trace }

  func setTrace(_ number: UInt32, of slot: Slot) {
    var reference = conntrack(slot)
    reference.trace = number
    self[slot].flags.insert(.tracked)
    unsafe conntrackPlace(slot.index).initialize(to: reference)
  }

  @inline(__always)
  private func conntrackPlace(_ index: UInt32) -> UnsafeMutablePointer<ConntrackReference> {
    let offset = Int(index) &* Self.metadataStride &+ 64 &+ MemoryLayout<SharedInfo>.stride
    return unsafe (metadata + offset).assumingMemoryBound(to: ConntrackReference.self)
  }

  /// What IPv4 has found out about a packet (IPCB). It stands behind the connection and means nothing unless the flags
  /// say `controlled`.
  func ipv4Control(_ slot: Slot) -> IPv4Control {
    self[slot].flags.contains(.controlled) ? unsafe controlPlace(slot.index).pointee : IPv4Control()
  }

  func setIPv4Control(_ control: IPv4Control, of slot: Slot) {
    self[slot].flags.insert(.controlled)
    unsafe controlPlace(slot.index).initialize(to: control)
  }

  private func controlPlace(_ index: UInt32) -> UnsafeMutablePointer<IPv4Control> {
    let end = Int(index) * Self.metadataStride + Self.metadataStride
    return unsafe (metadata + end - MemoryLayout<IPv4Control>.stride).assumingMemoryBound(
      to: IPv4Control.self)
  }

  /// Gives a packet the number that capture knows it by.
  func watch(_ slot: Slot, as number: UInt32) {
    self[slot].isWatched = true
    unsafe watches[Int(slot.index)] = number
  }

  /// The number of a packet that is watched.
  func watchNumber(_ slot: Slot) -> UInt32 { unsafe watches[Int(slot.index)] }

  /// A piece of a packet is watched as the whole is.
  func watch(_ piece: Slot, asPartOf whole: Slot) {
    if self[whole].isWatched { watch(piece, as: watchNumber(whole)) }
  }

  /// The packet's bytes in its data block, from the first: all of it, unless it has fragments.
  @inline(__always) func bytes(_ slot: Slot) -> PacketBytes {
    let buffer = unsafe skb(slot.index)
    return unsafe PacketBytes(
      base: address(buffer.pointee.block, Int(buffer.pointee.dataOffset)), count: buffer.pointee.linearLength)
  }

  /// The same from an offset that metadata keeps (a header's start).
  @inline(__always) func bytes(_ slot: Slot, from offset: UInt16) -> PacketBytes {
    let buffer = unsafe skb(slot.index)
    let end = unsafe Int(buffer.pointee.dataOffset) &+ buffer.pointee.linearLength
    return unsafe PacketBytes(base: address(buffer.pointee.block, Int(offset)), count: end &- Int(offset))
  }

  /// The room behind the packet's bytes in its data block.
  func tail(_ slot: Slot) -> PacketBytes {
    let buffer = self[slot]
    return unsafe PacketBytes(
      base: address(buffer.block, Int(buffer.dataOffset) + buffer.linearLength), count: tailroom(slot))
  }

  /// Lends a frame as a wire carries it, in one piece: its fragments behind each other, the tag that stands beside its
  /// bytes put in, the checksum made that was left to the device.
  mutating func withWire<Result>(_ slot: Slot, _ body: (RawSpan) -> Result) -> Result {
    let buffer = self[slot]
    guard buffer.dataLength != 0 || buffer.checksumState == .partial || buffer.vlanProtocol != 0 else {
      return bytes(slot).withSpan(body)
    }
    let place = unsafe assembled ?? .allocate(byteCount: Self.maximumLength + 4, alignment: 64)
    unsafe assembled = place
    let tag = buffer.vlanProtocol == 0 ? 0 : 4
    let frame = unsafe PacketBytes(base: place, count: Int(buffer.length) + tag)
    copyBytes(of: slot, from: 0, into: frame.dropFirst(tag))
    if tag != 0 {
      copyBytes(of: slot, from: 0, into: frame.prefix(EthernetHeader.type))
      frame.set(EthernetHeader.type, u16: buffer.vlanProtocol)
      frame.set(EthernetHeader.type + 2, u16: buffer.vlanTag)
    }
    if buffer.checksumState == .partial {
      let summed = frame.dropFirst(Int(buffer.checksumStart) - Int(buffer.dataOffset) + tag)
      summed.setChecksum(Int(buffer.checksumOffset), sum: summed.sum())
    }
    return frame.withSpan(body)
  }

  // MARK: Moving the ends

  /// Takes `count` bytes off the front. The caller has checked that the data block has so many.
  @inline(__always) func pull(_ slot: Slot, _ count: Int) {
    assert(self[slot].linearLength >= count)
    self[slot].dataOffset &+= UInt16(truncatingIfNeeded: count)
    self[slot].length &-= UInt32(truncatingIfNeeded: count)
  }

  /// Puts `count` bytes, as they stand in the headroom, in front. False when the headroom is used up.
  @inline(__always) func push(_ slot: Slot, _ count: Int) -> Bool {
    guard Int(self[slot].dataOffset) >= count else { return false }
    self[slot].dataOffset &-= UInt16(truncatingIfNeeded: count)
    self[slot].length &+= UInt32(truncatingIfNeeded: count)
    return true
  }

  /// Puts `count` bytes, as they stand in the tailroom, at the end of a packet without fragments. False when the
  /// tailroom is used up.
  func put(_ slot: Slot, _ count: Int) -> Bool {
    assert(self[slot].dataLength == 0)
    guard tailroom(slot) >= count else { return false }
    self[slot].length &+= UInt32(truncatingIfNeeded: count)
    return true
  }

  /// Cuts the packet to `length` bytes. The caller has checked that it has so many.
  @inline(__always) mutating func trim(_ slot: Slot, to length: Int) {
    assert(Int(self[slot].length) >= length)
    if self[slot].dataLength != 0 {
      trimFragments(slot, to: length)
    } else {
      self[slot].length = UInt32(truncatingIfNeeded: length)
    }
  }

  /// Bytes that `put` can still add.
  func tailroom(_ slot: Slot) -> Int {
    let size = self[slot].block < smallCount ? Self.smallSize : Self.largeSize
    return size - Int(self[slot].dataOffset) - self[slot].linearLength
  }

  /// What a packet holds of the pool, in bytes (`skb->truesize`): its sk_buffs, their blocks and its parts of pages.
  func trueSize(_ slot: Slot) -> Int {
    let size = Self.metadataStride + (self[slot].block < smallCount ? Self.smallSize : Self.largeSize)
    return self[slot].dataLength == 0 ? size : size + fragmentsTrueSize(slot)
  }

  /// Whether another packet has the same bytes.
  func isShared(_ slot: Slot) -> Bool { unsafe references[Int(self[slot].block)] > 1 }
}
