// SPDX-License-Identifier: GPL-2.0-or-later

// What a driver and its device share in memory: rings of descriptors that the driver posts and the device uses, and a
// ring of completions that the device writes and the driver reads. Who may touch an entry is said by a bit in it, as
// in real hardware: a descriptor's owner bit, and in a completion the parity of the lap in which it was written.
//
//    clean ──▶ │ done │ done │ ▲ head: the device's next │ posted │ posted │ ▲ tail: the driver's next │ free │ …

/// Descriptors of one kind. A descriptor is the index of what it points to: a block to receive into, or a packet to
/// send.
@safe struct DescriptorRing: ~Copyable {
  private struct Descriptor: BitwiseCopyable {
    var value: UInt32
    var isDevices: Bool
  }

  private let descriptors: UnsafeMutablePointer<Descriptor>
  /// A power of two.
  let size: UInt32
  private var tail: UInt32 = 0
  private var head: UInt32 = 0
  private var clean: UInt32 = 0

  init(size: Int) {
    self.size = UInt32(size)
    unsafe descriptors = .allocate(capacity: size)
    unsafe descriptors.initialize(repeating: Descriptor(value: 0, isDevices: false), count: size)
  }

  deinit { unsafe descriptors.deallocate() }

  /// Descriptors that are posted or done: all that hold something.
  @inline(__always) var used: Int { Int(tail &- clean) }
  @inline(__always) var hasRoom: Bool { tail &- clean < size }
  /// Descriptors that the device has not used yet.
  @inline(__always) var posted: Int { Int(tail &- head) }

  private func entry(_ position: UInt32) -> UnsafeMutablePointer<Descriptor> {
    unsafe descriptors + Int(position & (size &- 1))
  }

  // MARK: The driver's side

  /// Hands something to the device. False when the ring is full.
  @inline(__always) mutating func post(_ value: UInt32) -> Bool {
    guard hasRoom else { return false }
    unsafe entry(tail).pointee = Descriptor(value: value, isDevices: true)
    tail &+= 1
    return true
  }

  /// Takes back the oldest that the device is done with.
  @inline(__always) mutating func reclaim() -> UInt32? {
    guard clean != tail, unsafe !entry(clean).pointee.isDevices else { return nil }
    defer { clean &+= 1 }
    return unsafe entry(clean).pointee.value
  }

  /// Takes back the oldest whoever owns it, since the device has been stopped; tells whether it was done.
  mutating func revoke() -> (value: UInt32, isDone: Bool)? {
    guard clean != tail else { return nil }
    let descriptor = unsafe entry(clean).pointee
    unsafe entry(clean).pointee.isDevices = false
    if head == clean { head &+= 1 }
    clean &+= 1
    return (descriptor.value, !descriptor.isDevices)
  }

  func forEach(_ body: (UInt32) -> Void) {
    var position = clean
    while position != tail {
      body(unsafe entry(position).pointee.value)
      position &+= 1
    }
  }

  // MARK: The device's side

  /// What the device is to use next; nil when the driver has posted nothing.
  @inline(__always) func next() -> UInt32? {
    let candidate = unsafe entry(head).pointee
    return head != tail && candidate.isDevices ? candidate.value : nil
  }

  /// Gives the next one back to the driver, done.
  @inline(__always) mutating func complete() {
    unsafe entry(head).pointee.isDevices = false
    head &+= 1
  }
}

/// What a device says about a descriptor that it is done with.
struct Completion: BitwiseCopyable {
  /// Of the frame, when `isHashed`.
  var hash: UInt32 = 0
  /// Bytes written into the block.
  var length: UInt16 = 0
  var flags: Flags = []

  struct Flags: OptionSet, BitwiseCopyable {
    var rawValue: UInt8
    /// A packet was sent; otherwise a block was filled.
    static let transmitted = Flags(rawValue: 1)
    /// The block holds the end of a frame.
    static let endOfPacket = Flags(rawValue: 2)
    static let isHashed = Flags(rawValue: 4)
    /// The transport's checksum is right.
    static let checksumGood = Flags(rawValue: 8)
    /// The lap's parity: the driver takes only what was written in the lap that it is in.
    static let phase = Flags(rawValue: 128)
  }
}

/// Completions, in the order in which the device was done. As large as both rings of its pair together, so that it
/// never overflows.
@safe struct CompletionRing: ~Copyable {
  private let completions: UnsafeMutablePointer<Completion>
  private let size: UInt32
  private var written: UInt32 = 0
  private var read: UInt32 = 0

  init(size: Int) {
    self.size = UInt32(size)
    unsafe completions = .allocate(capacity: size)
    unsafe completions.initialize(repeating: Completion(), count: size)
  }

  deinit { unsafe completions.deallocate() }

  /// The parity of the lap that a position is in: the first lap's entries have the bit, fresh ones have it not.
  @inline(__always) private func phase(_ position: UInt32) -> Completion.Flags {
    position & size == 0 ? .phase : []
  }

  /// The device's side.
  @inline(__always) mutating func write(_ completion: Completion) {
    assert(written &- read < size, "more completions than descriptors")
    var entry = completion
    entry.flags.formUnion(phase(written))
    unsafe completions[Int(written & (size &- 1))] = entry
    written &+= 1
  }

  /// The driver's side: the next one, if the device has written it.
  @inline(__always) mutating func next() -> Completion? {
    let entry = unsafe completions[Int(read & (size &- 1))]
    guard entry.flags.intersection(.phase) == phase(read) else { return nil }
    read &+= 1
    return entry
  }

  /// Whether the device has written one that the driver has not read.
  @inline(__always) var isEmpty: Bool {
    unsafe completions[Int(read & (size &- 1))].flags.intersection(.phase) != phase(read)
  }

  /// The device has been stopped: what it wrote last means nothing any more.
  mutating func reset() {
    unsafe completions.initialize(repeating: Completion(), count: Int(size))
    written = 0
    read = 0
  }
}
