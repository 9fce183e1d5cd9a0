// SPDX-License-Identifier: GPL-2.0-or-later

// How CPUs call each other: a bit for each pair of devices that crosses, set by whoever has put something into its
// ring or changed its end, cleared by the CPU that answers. Three levels of words, so that it looks only where bits
// are. Setting a bit twice is setting it once, so that nothing can overflow and no call is lost.

import Synchronization

/// A CPU's doorbell, which other CPUs ring.
@safe public final class Doorbell: Sendable {
  /// Pairs that cross at most on one CPU.
  static let limit = 1 << 16

  /// Whose it is.
  let cpu: Int
  private nonisolated(unsafe) let bits: UnsafeMutablePointer<Atomic<UInt64>>
  private nonisolated(unsafe) let words: UnsafeMutablePointer<Atomic<UInt64>>
  private let top = Atomic<UInt64>(0)

  init(cpu: Int) {
    self.cpu = cpu
    unsafe bits = .allocate(capacity: Self.limit / 64)
    unsafe words = .allocate(capacity: Self.limit / 4096)
    for index in 0..<Self.limit / 64 { unsafe (bits + index).initialize(to: Atomic(0)) }
    for index in 0..<Self.limit / 4096 { unsafe (words + index).initialize(to: Atomic(0)) }
  }

  deinit {
    unsafe bits.deinitialize(count: Self.limit / 64).deallocate()
    unsafe words.deinitialize(count: Self.limit / 4096).deallocate()
  }

  /// Whether somebody has rung.
  public var isRung: Bool { top.load(ordering: .acquiring) != 0 }

  func ring(_ number: UInt32) {
    let bit: UInt64 = 1 << UInt64(number & 63)
    let word = Int(number >> 6)
    let before = unsafe bits[word].bitwiseOr(bit, ordering: .acquiringAndReleasing).oldValue
    // Whoever set it first also tells the levels above.
    guard before & bit == 0 else { return }
    _ = unsafe words[word >> 6].bitwiseOr(1 << UInt64(word & 63), ordering: .acquiringAndReleasing)
    _ = top.bitwiseOr(1 << UInt64(word >> 6), ordering: .acquiringAndReleasing)
  }

  /// Takes all numbers that have been rung for, from the smallest.
  func answer() -> [UInt32] {
    var numbers: [UInt32] = []
    func forEachBit(_ word: UInt64, _ body: (Int) -> Void) {
      var rest = word
      while rest != 0 {
        body(rest.trailingZeroBitCount)
        rest &= rest &- 1
      }
    }
    forEachBit(top.exchange(0, ordering: .acquiringAndReleasing)) { group in
      forEachBit(unsafe words[group].exchange(0, ordering: .acquiringAndReleasing)) { word in
        let place = group * 64 + word
        forEachBit(unsafe bits[place].exchange(0, ordering: .acquiringAndReleasing)) { bit in
          numbers.append(UInt32(place * 64 + bit))
        }
      }
    }
    return numbers
  }
}
