// SPDX-License-Identifier: GPL-2.0-or-later

// A view over bytes of a packet. Its length is checked once by whoever parses a header; after that the accessors are
// single loads and stores. Debug builds check each of them, which is what the tests with hostile packets rely on.

/// Bytes of a packet, valid until it is freed or given a copy of its own.
@safe struct PacketBytes {
  private let base: UnsafeMutableRawPointer
  let count: Int

  @inline(__always) init(base: UnsafeMutableRawPointer, count: Int) {
    unsafe self.base = base
    self.count = count
  }

  /// Bytes that are only read; nil when there are none.
  init?(reading bytes: UnsafeRawBufferPointer) {
    guard let first = bytes.baseAddress else { return nil }
    unsafe base = UnsafeMutableRawPointer(mutating: first)
    count = bytes.count
  }

  @inline(__always) private func load<T: BitwiseCopyable>(_ offset: Int, _: T.Type) -> T {
    assert(offset >= 0 && offset &+ MemoryLayout<T>.size <= count, "read beyond a packet's end")
    return unsafe base.loadUnaligned(fromByteOffset: offset, as: T.self)
  }

  @inline(__always) private func store<T: BitwiseCopyable>(_ value: T, _ offset: Int) {
    assert(offset >= 0 && offset &+ MemoryLayout<T>.size <= count, "write beyond a packet's end")
    unsafe base.storeBytes(of: value, toByteOffset: offset, as: T.self)
  }

  @inline(__always) func u8(_ offset: Int) -> UInt8 { load(offset, UInt8.self) }
  /// In host byte order, as all that follow.
  @inline(__always) func u16(_ offset: Int) -> UInt16 { UInt16(bigEndian: load(offset, UInt16.self)) }
  @inline(__always) func u32(_ offset: Int) -> UInt32 { UInt32(bigEndian: load(offset, UInt32.self)) }
  @inline(__always) func u64(_ offset: Int) -> UInt64 { UInt64(bigEndian: load(offset, UInt64.self)) }
  /// Six bytes as a number.
  @inline(__always) func u48(_ offset: Int) -> UInt64 {
    UInt64(u32(offset)) &<< 16 | UInt64(u16(offset &+ 4))
  }

  @inline(__always) func set(_ offset: Int, u8 value: UInt8) { store(value, offset) }
  @inline(__always) func set(_ offset: Int, u16 value: UInt16) { store(value.bigEndian, offset) }
  @inline(__always) func set(_ offset: Int, u32 value: UInt32) { store(value.bigEndian, offset) }
  @inline(__always) func set(_ offset: Int, u64 value: UInt64) { store(value.bigEndian, offset) }
  @inline(__always) func set(_ offset: Int, u48 value: UInt64) {
    set(offset, u32: UInt32(truncatingIfNeeded: value &>> 16))
    set(offset &+ 4, u16: UInt16(truncatingIfNeeded: value))
  }

  /// What is behind `offset`, which lies within.
  @inline(__always) func dropFirst(_ offset: Int) -> PacketBytes {
    assert(offset >= 0 && offset <= count)
    return unsafe PacketBytes(base: base + offset, count: count &- offset)
  }

  /// The first `length` bytes, of which there are so many.
  @inline(__always) func prefix(_ length: Int) -> PacketBytes {
    assert(length >= 0 && length <= count)
    return unsafe PacketBytes(base: base, count: length)
  }

  /// Copies all of `source` to the front.
  func copy(from source: PacketBytes) {
    precondition(source.count <= count)
    unsafe base.copyMemory(from: source.base, byteCount: source.count)
  }

  func copy(from source: borrowing RawSpan) {
    precondition(source.byteCount <= count)
    unsafe source.withUnsafeBytes { bytes in
      if let from = bytes.baseAddress { unsafe base.copyMemory(from: from, byteCount: bytes.count) }
    }
  }

  func fill(_ value: UInt8) {
    unsafe _ = base.initializeMemory(as: UInt8.self, repeating: value, count: count)
  }

  /// Puts a copy of the bytes behind what an array has.
  func append(to array: inout [UInt8]) {
    unsafe array.append(contentsOf: UnsafeRawBufferPointer(start: base, count: count))
  }

  /// A copy of the bytes.
  var array: [UInt8] { unsafe [UInt8](UnsafeRawBufferPointer(start: base, count: count)) }

  /// Lends the bytes to code that reads them at once.
  func withSpan<Result>(_ body: (RawSpan) -> Result) -> Result {
    body(unsafe RawSpan(_unsafeBytes: UnsafeRawBufferPointer(start: base, count: count)))
  }

  /// Lends the bytes to code that writes them at once.
  func withMutableSpan<Result>(_ body: (inout MutableRawSpan) -> Result) -> Result {
    var span = unsafe MutableRawSpan(
      _unsafeBytes: UnsafeMutableRawBufferPointer(start: base, count: count))
    return body(&span)
  }

  /// The sum of the bytes as 16-bit words (RFC 1071) added to `initial`, not folded, not complemented.
  @inline(__always) func sum(_ initial: UInt64 = 0) -> UInt64 {
    var total = initial
    var offset = 0
    // Words are added as they lie in memory: the one's complement sum does not mind the byte order (RFC 1071 2B).
    while offset &+ 8 <= count {
      let word = unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      total &+= word & 0xffff_ffff &+ (word &>> 32)
      offset &+= 8
    }
    while offset &+ 2 <= count {
      total &+= UInt64(unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
      offset &+= 2
    }
    if offset < count {
      let last = UInt16(load(offset, UInt8.self))
      total &+= UInt64(UInt16(littleEndian: last))
    }
    return total
  }

  /// Writes the checksum that a sum gives. Zero is written as its other form, since to UDP it means that there is
  /// none (CSUM_MANGLED_0).
  func setChecksum(_ offset: Int, sum: UInt64) {
    let checksum = ~foldChecksum(sum)
    store(checksum == 0 ? UInt16.max : checksum, offset)
  }

  /// The Internet checksum of the bytes, in host byte order; zero over bytes that hold their right checksum.
  @inline(__always) func checksum() -> UInt16 { UInt16(bigEndian: ~foldChecksum(sum())) }
}

/// A sum of 16-bit words folded to one.
@inline(__always) func foldChecksum(_ sum: UInt64) -> UInt16 {
  var folded = (sum & 0xffff_ffff) &+ (sum &>> 32)
  folded = (folded & 0xffff) &+ (folded &>> 16)
  folded = (folded & 0xffff) &+ (folded &>> 16)
  folded = (folded & 0xffff) &+ (folded &>> 16)
  return UInt16(truncatingIfNeeded: folded)
}
