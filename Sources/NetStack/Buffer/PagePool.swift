// SPDX-License-Identifier: GPL-2.0-or-later

// Pages for what does not fit behind a packet's headers, and for bytes that sockets queue: two classes, counted by
// reference, so that a byte that was copied in once is shared by every packet and queue that means it. As all of the
// pool, reserved when it is made and touched when used; freed pages come back last in, first out.

/// A page, by its number.
struct PageIndex: Hashable, BitwiseCopyable {
  var rawValue: UInt32
  static let none = PageIndex(rawValue: .max)
}

/// The pages of one CPU.
@safe struct PagePool: ~Copyable {
  static let smallSize = 4096
  static let largeSize = 32768

  // A cache line off the power of two, as the pool's blocks.
  private static let smallStride = smallSize + 64
  private static let largeStride = largeSize + 64

  private let base: UnsafeMutableRawPointer
  private let references: UnsafeMutablePointer<UInt32>
  private let smallCount: Int
  private var freeSmall: IndexStack
  private var freeLarge: IndexStack
  /// References taken: one with a page, one each time that it is shared.
  private(set) var taken: UInt64 = 0
  /// References given back.
  private(set) var released: UInt64 = 0
  /// Pages that were asked for when there was none.
  private(set) var failures: UInt64 = 0

  init(small: Int, large: Int) {
    smallCount = small
    unsafe base = .allocate(byteCount: small * Self.smallStride + large * Self.largeStride, alignment: 64)
    unsafe references = .allocate(capacity: small + large)
    freeSmall = IndexStack(capacity: small)
    freeLarge = IndexStack(capacity: large, base: small)
  }

  deinit {
    unsafe base.deallocate()
    unsafe references.deallocate()
  }

  /// A page with one reference; `none` when the class has no more.
  mutating func allocate(large: Bool) -> PageIndex {
    guard let index = large ? freeLarge.pop() : freeSmall.pop() else {
      failures &+= 1
      return .none
    }
    unsafe references[Int(index)] = 1
    taken &+= 1
    return PageIndex(rawValue: index)
  }

  /// One more reference.
  mutating func retain(_ page: PageIndex) {
    unsafe references[Int(page.rawValue)] &+= 1
    taken &+= 1
  }

  /// One reference less; the last one frees the page.
  mutating func release(_ page: PageIndex) {
    let index = Int(page.rawValue)
    assert(unsafe references[index] > 0, "a page was released once too often")
    let count = unsafe references[index] &- 1
    unsafe references[index] = count
    released &+= 1
    guard count == 0 else { return }
    if index < smallCount { freeSmall.push(page.rawValue) } else { freeLarge.push(page.rawValue) }
  }

  /// Whether somebody else refers to the page too.
  func isShared(_ page: PageIndex) -> Bool { unsafe references[Int(page.rawValue)] > 1 }

  func size(_ page: PageIndex) -> Int {
    Int(page.rawValue) < smallCount ? Self.smallSize : Self.largeSize
  }

  /// All bytes of a page.
  func bytes(_ page: PageIndex) -> PacketBytes {
    let index = Int(page.rawValue)
    return index < smallCount
      ? unsafe PacketBytes(base: base + index * Self.smallStride, count: Self.smallSize)
      : unsafe PacketBytes(
        base: base + smallCount * Self.smallStride + (index - smallCount) * Self.largeStride,
        count: Self.largeSize)
  }
}
