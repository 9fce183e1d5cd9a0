// SPDX-License-Identifier: GPL-2.0-or-later

// The only source of chance in the stack: xoshiro256**, seeded from outside. One seed, one run.

/// A random state.
public struct RandomState: RandomNumberGenerator, Sendable {
  private var a: UInt64
  private var b: UInt64
  private var c: UInt64
  private var d: UInt64

  /// The four words come from SplitMix64, so that close seeds give unlike runs.
  public init(seed: UInt64) {
    var state = seed
    func split() -> UInt64 {
      state &+= 0x9e37_79b9_7f4a_7c15
      var word = state
      word = (word ^ (word &>> 30)) &* 0xbf58_476d_1ce4_e5b9
      word = (word ^ (word &>> 27)) &* 0x94d0_49bb_1331_11eb
      return word ^ (word &>> 31)
    }
    a = split()
    b = split()
    c = split()
    d = split()
  }

  /// The next 64 bits.
  public mutating func next() -> UInt64 {
    let product = b &* 5
    let result = (product &<< 7 | product &>> 57) &* 9
    let shifted = b &<< 17
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = d &<< 45 | d &>> 19
    return result
  }

  /// A number below `bound`, which is not zero; the bias of a multiplication is below anything a protocol can see.
  public mutating func below(_ bound: UInt64) -> UInt64 { next().multipliedFullWidth(by: bound).high }
}
