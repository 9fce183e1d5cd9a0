// SPDX-License-Identifier: GPL-2.0-or-later

// Values by index: devices, namespaces, neighbours. Elements are used in place, never copied out; an index stays the
// same for as long as its element lives and is given again when it is gone, the one freed last first.

/// The place of an element in a `Table`.
public struct TableIndex<Element: ~Copyable>: Hashable, Sendable, BitwiseCopyable {
  /// The number itself.
  public let rawValue: UInt32

  init(_ rawValue: UInt32) { self.rawValue = rawValue }

  /// No element.
  static var none: TableIndex { TableIndex(.max) }
  var isNone: Bool { rawValue == .max }
}

/// A growing array of elements that may not be copied, with holes.
@safe struct Table<Element: ~Copyable>: ~Copyable {
  private var elements: UnsafeMutablePointer<Element>
  private var occupied: UnsafeMutablePointer<Bool>
  private var capacity: Int
  /// One behind the highest index ever used.
  private(set) var end = 0
  private(set) var count = 0
  private var holes: [UInt32] = []
  private let limit: Int

  init(limit: Int) {
    self.limit = min(limit, Int(UInt32.max) - 1)
    capacity = min(8, max(limit, 1))
    unsafe elements = .allocate(capacity: capacity)
    unsafe occupied = .allocate(capacity: capacity)
  }

  deinit {
    for index in 0..<end where unsafe occupied[index] { unsafe (elements + index).deinitialize(count: 1) }
    unsafe elements.deallocate()
    unsafe occupied.deallocate()
  }

  /// Nil when the table is full; the element is gone then.
  mutating func insert(_ element: consuming Element) -> TableIndex<Element>? {
    let index: Int
    if let hole = holes.popLast() {
      index = Int(hole)
    } else {
      guard end < limit else { return nil }
      if end == capacity { grow() }
      index = end
      end += 1
    }
    unsafe (elements + index).initialize(to: element)
    unsafe occupied[index] = true
    count += 1
    return TableIndex(UInt32(index))
  }

  mutating func remove(_ index: TableIndex<Element>) {
    guard contains(index) else { return }
    unsafe (elements + Int(index.rawValue)).deinitialize(count: 1)
    unsafe occupied[Int(index.rawValue)] = false
    count -= 1
    holes.append(index.rawValue)
  }

  @inline(__always) func contains(_ index: TableIndex<Element>) -> Bool {
    guard index.rawValue < end else { return false }
    return unsafe occupied[Int(index.rawValue)]
  }

  /// An element that is there.
  @inline(__always) subscript(index: TableIndex<Element>) -> Element {
    unsafeAddress {
      assert(contains(index))
      return unsafe UnsafePointer(elements + Int(index.rawValue))
    }
    unsafeMutableAddress {
      assert(contains(index))
      return unsafe elements + Int(index.rawValue)
    }
  }

  /// The indices in use, from the smallest.
  var indices: [TableIndex<Element>] {
    (0..<end).filter { unsafe occupied[$0] }.map { TableIndex(UInt32($0)) }
  }

  private mutating func grow() {
    let larger = min(capacity * 2, limit)
    let fresh = UnsafeMutablePointer<Element>.allocate(capacity: larger)
    let marks = UnsafeMutablePointer<Bool>.allocate(capacity: larger)
    for index in 0..<end {
      unsafe marks[index] = occupied[index]
      if unsafe occupied[index] { unsafe (fresh + index).moveInitialize(from: elements + index, count: 1) }
    }
    unsafe elements.deallocate()
    unsafe occupied.deallocate()
    unsafe elements = fresh
    unsafe occupied = marks
    capacity = larger
  }
}
