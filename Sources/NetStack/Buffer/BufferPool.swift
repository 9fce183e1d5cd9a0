// SPDX-License-Identifier: GPL-2.0-or-later

// All packets of one CPU: sk_buffs and data blocks, side by side, bounded when the pool is made. Memory is reserved,
// not touched: what was never used costs nothing. Clones share a block by its count of references.
//
//    sk_buffs    │ 128 │ 128 │ 128 │ …            one a slot
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

    /// The default takes 70 MiB of address space, and as much memory as is ever in use at once.
    public init(packets: Int = 32768, largeBlocks: Int = 2048) {
      self.packets = max(64, min(packets, 1 << 24))
      self.largeBlocks = max(1, min(largeBlocks, 1 << 22))
    }
  }

  /// Bytes before a received packet's first: XDP's own, and enough for any tunnel's headers.
  public static let headroom = 256
  static let smallSize = 2048
  static let largeSize = 4096
  /// The most bytes that one packet can hold.
  public static let maximumLength = largeSize - headroom

  private static let smallStride = smallSize + 64
  private static let largeStride = largeSize + 64
  private static let metadataStride = 128

  private let metadata: UnsafeMutableRawPointer
  private let blocks: UnsafeMutableRawPointer
  private let references: UnsafeMutablePointer<UInt16>
  private let smallCount: UInt32
  private var freeSlots: IndexStack
  private var freeSmall: IndexStack
  private var freeLarge: IndexStack

  /// Packets begun, by allocation or by cloning.
  public private(set) var allocated: UInt64 = 0
  /// Packets ended, for any reason.
  public private(set) var freed: UInt64 = 0
  /// Allocations that found no slot or block.
  public private(set) var failures: UInt64 = 0
  /// Why packets ended.
  public private(set) var reasons = DropCounters()

  /// A pool of the given size.
  public init(_ configuration: Configuration = Configuration()) {
    precondition(MemoryLayout<SKBuff>.size <= 64, "the hot half of an sk_buff is one cache line")
    let small = configuration.packets
    let large = configuration.largeBlocks
    smallCount = UInt32(small)
    unsafe metadata = .allocate(byteCount: small * Self.metadataStride, alignment: 128)
    unsafe blocks = .allocate(byteCount: small * Self.smallStride + large * Self.largeStride, alignment: 64)
    unsafe references = .allocate(capacity: small + large)
    freeSlots = IndexStack(capacity: small)
    freeSmall = IndexStack(capacity: small)
    freeLarge = IndexStack(capacity: large, base: small)
  }

  deinit {
    unsafe metadata.deallocate()
    unsafe blocks.deallocate()
    unsafe references.deallocate()
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
    let block = unsafe skb(slot.index).pointee.block
    let count = unsafe references[Int(block)] &- 1
    unsafe references[Int(block)] = count
    if count == 0 { releaseBlock(block) }
    freeSlots.push(slot.index)
    freed &+= 1
    reasons[reason] &+= 1
  }

  @inline(__always) private mutating func releaseBlock(_ block: UInt32) {
    if block < smallCount { freeSmall.push(block) } else { freeLarge.push(block) }
  }

  /// Another packet with the same bytes, shared until one of them makes its own; `none` when the pool has no more.
  mutating func clone(_ slot: Slot) -> Slot {
    let block = unsafe skb(slot.index).pointee.block
    guard unsafe references[Int(block)] < .max, let index = freeSlots.pop() else {
      failures &+= 1
      return .none
    }
    unsafe references[Int(block)] &+= 1
    unsafe skb(index).initialize(to: skb(slot.index).pointee)
    unsafe skb(index).pointee.next = .none
    allocated &+= 1
    return Slot(index: index)
  }

  /// Gives a packet that shares its bytes a copy of its own before they are written to. False, and nothing changed,
  /// when there is no block for it.
  @inline(__always) mutating func makeWritable(_ slot: Slot) -> Bool {
    let block = unsafe skb(slot.index).pointee.block
    return unsafe references[Int(block)] == 1 || copyBlock(slot, block)
  }

  @inline(never) private mutating func copyBlock(_ slot: Slot, _ shared: UInt32) -> Bool {
    guard let own = shared < smallCount ? freeSmall.pop() : freeLarge.pop() else {
      failures &+= 1
      return false
    }
    let buffer = unsafe skb(slot.index).pointee
    let first = Int(min(buffer.dataOffset, buffer.linkHeader, buffer.networkHeader))
    let end = Int(buffer.dataOffset) + Int(buffer.length)
    unsafe address(own, first).copyMemory(from: address(shared, first), byteCount: max(end - first, 0))
    unsafe references[Int(shared)] &-= 1
    unsafe references[Int(own)] = 1
    unsafe skb(slot.index).pointee.block = own
    return true
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

  /// The packet's bytes from its first to its last.
  @inline(__always) func bytes(_ slot: Slot) -> PacketBytes {
    let buffer = unsafe skb(slot.index)
    return unsafe PacketBytes(
      base: address(buffer.pointee.block, Int(buffer.pointee.dataOffset)), count: Int(buffer.pointee.length))
  }

  /// The packet's bytes from an offset that metadata keeps (a header's start) to the last one.
  @inline(__always) func bytes(_ slot: Slot, from offset: UInt16) -> PacketBytes {
    let buffer = unsafe skb(slot.index)
    let end = unsafe Int(buffer.pointee.dataOffset) &+ Int(buffer.pointee.length)
    return unsafe PacketBytes(base: address(buffer.pointee.block, Int(offset)), count: end &- Int(offset))
  }

  // MARK: Moving the ends

  /// Takes `count` bytes off the front. The caller has checked that there are so many.
  @inline(__always) func pull(_ slot: Slot, _ count: Int) {
    assert(Int(self[slot].length) >= count)
    self[slot].dataOffset &+= UInt16(truncatingIfNeeded: count)
    self[slot].length &-= UInt16(truncatingIfNeeded: count)
  }

  /// Puts `count` bytes, as they stand in the headroom, in front. False when the headroom is used up.
  @inline(__always) func push(_ slot: Slot, _ count: Int) -> Bool {
    guard Int(self[slot].dataOffset) >= count else { return false }
    self[slot].dataOffset &-= UInt16(truncatingIfNeeded: count)
    self[slot].length &+= UInt16(truncatingIfNeeded: count)
    return true
  }

  /// Puts `count` bytes, as they stand in the tailroom, at the end. False when the tailroom is used up.
  func put(_ slot: Slot, _ count: Int) -> Bool {
    guard tailroom(slot) >= count else { return false }
    self[slot].length &+= UInt16(truncatingIfNeeded: count)
    return true
  }

  /// Cuts the packet to `length` bytes. The caller has checked that it has so many.
  @inline(__always) func trim(_ slot: Slot, to length: Int) {
    assert(Int(self[slot].length) >= length)
    self[slot].length = UInt16(truncatingIfNeeded: length)
  }

  /// Bytes that `put` can still add.
  func tailroom(_ slot: Slot) -> Int {
    let size = self[slot].block < smallCount ? Self.smallSize : Self.largeSize
    return size - Int(self[slot].dataOffset) - Int(self[slot].length)
  }

  /// What a packet holds of the pool, in bytes: its sk_buff and its block.
  func trueSize(_ slot: Slot) -> Int {
    Self.metadataStride + (self[slot].block < smallCount ? Self.smallSize : Self.largeSize)
  }

  /// Whether another packet has the same bytes.
  func isShared(_ slot: Slot) -> Bool { unsafe references[Int(self[slot].block)] > 1 }
}
