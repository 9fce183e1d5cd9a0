// SPDX-License-Identifier: GPL-2.0-or-later

// Packets that go through a stage together. One call a burst instead of one a packet is what makes the stages cheap;
// the result is the same as with bursts of one, which a test holds.

/// Up to 64 packets, NAPI's budget, in order of arrival.
struct Burst: ~Copyable {
  static let capacity = 64

  private let passing = PassedByAddress()
  private var slots = InlineArray<64, Slot>(repeating: .none)
  private(set) var count = 0

  init() {}

  init(_ slot: Slot) {
    slots[0] = slot
    count = 1
  }

  @inline(__always) var isEmpty: Bool { count == 0 }
  @inline(__always) var isFull: Bool { count == Self.capacity }

  @inline(__always) subscript(index: Int) -> Slot {
    get { slots[index & 63] }
    set { slots[index & 63] = newValue }
  }

  @inline(__always) mutating func append(_ slot: Slot) {
    assert(count < Self.capacity)
    slots[count & 63] = slot
    count &+= 1
  }

  @inline(__always) mutating func removeAll() { count = 0 }
}
