// SPDX-License-Identifier: GPL-2.0-or-later

// Free indices, last in first out, so that what was used last, and is still in the cache, is used next. Indices never
// used are behind a watermark and cost no memory.

/// The free ones of `capacity` indices.
@safe struct IndexStack: ~Copyable {
  private let items: UnsafeMutablePointer<UInt32>
  private var count = 0
  private var watermark: UInt32 = 0
  private let base: UInt32
  let capacity: UInt32

  /// Hands out `base` and the `capacity - 1` indices behind it.
  init(capacity: Int, base: Int = 0) {
    self.capacity = UInt32(capacity)
    self.base = UInt32(base)
    unsafe items = .allocate(capacity: max(capacity, 1))
  }

  deinit { unsafe items.deallocate() }

  /// Nil when all are in use.
  @inline(__always) mutating func pop() -> UInt32? {
    if count > 0 {
      count &-= 1
      return unsafe items[count]
    }
    guard watermark < capacity else { return nil }
    watermark &+= 1
    return base &+ watermark &- 1
  }

  @inline(__always) mutating func push(_ index: UInt32) {
    assert(count < Int(capacity), "an index was freed twice")
    unsafe items[count] = index
    count &+= 1
  }

  var available: Int { count + Int(capacity - watermark) }
}
