// SPDX-License-Identifier: GPL-2.0-or-later

// What tests by chance share: numbers that a seed repeats, and how many rounds there are. `make fuzz` lengthens all of
// them alike, whatever a round of theirs costs.

import Glibc

/// A small generator whose numbers are the same on every machine (SplitMix64), so that a failing case can be had again.
public struct SplitMix: RandomNumberGenerator {
  private var state: UInt64

  public init(_ seed: some BinaryInteger) { state = UInt64(truncatingIfNeeded: seed) }

  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
    return value ^ (value >> 31)
  }
}

/// How often a parser is tried.
public enum Rounds {
  /// Rounds of the packet path in an ordinary run; NETFORGE_FUZZ_ROUNDS says how many it shall be.
  private static let ordinary = 3000

  /// `usual` in an ordinary run, and as much more as the packet path has more.
  public static func of(_ usual: Int) -> Int {
    guard let text = getenv("NETFORGE_FUZZ_ROUNDS"), let asked = Int(String(cString: text)) else {
      return usual
    }
    return usual * max(1, asked / ordinary)
  }
}

extension Array where Element == UInt8 {
  /// Changes, drops, adds and exchanges some bytes.
  public mutating func damage(_ random: inout SplitMix) {
    for _ in 0...Int.random(in: 0..<4, using: &random) where !isEmpty {
      let place = Int.random(in: indices, using: &random)
      switch Int.random(in: 0..<5, using: &random) {
      case 0: self[place] = .random(in: 0...255, using: &random)
      case 1: remove(at: place)
      case 2: insert(.random(in: 0x30...0x39, using: &random), at: place)
      case 3: swapAt(place, Int.random(in: indices, using: &random))
      default: removeLast(Int.random(in: 0...Swift.min(8, count), using: &random))
      }
    }
  }
}
