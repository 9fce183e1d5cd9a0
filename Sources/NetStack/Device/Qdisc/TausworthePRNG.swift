// SPDX-License-Identifier: GPL-2.0-or-later

// The kernel's seedable random numbers (lib/random32.c, prandom_u32_state): L'Ecuyer's combined Tausworthe generator
// of four words ("Tables of maximally equidistributed combined LFSR generators", 1999). netem draws from it, so that
// one seed loses the same packets here and in Linux.

/// A state of the kernel's `struct rnd_state`.
struct TausworthePRNG: BitwiseCopyable {
  private var s1: UInt32
  private var s2: UInt32
  private var s3: UInt32
  private var s4: UInt32

  /// As prandom_seed_state does it: no state may be below its least value.
  init(seed: UInt64) {
    let mixed = UInt32(truncatingIfNeeded: seed >> 32 ^ seed << 10 ^ seed)
    func least(_ minimum: UInt32) -> UInt32 { mixed < minimum ? mixed + minimum : mixed }
    s1 = least(2)
    s2 = least(8)
    s3 = least(16)
    s4 = least(128)
  }

  /// The next 32 bits.
  mutating func next() -> UInt32 {
    s1 = (s1 & 0xffff_fffe) &<< 18 ^ ((s1 &<< 6) ^ s1) &>> 13
    s2 = (s2 & 0xffff_fff8) &<< 2 ^ ((s2 &<< 2) ^ s2) &>> 27
    s3 = (s3 & 0xffff_fff0) &<< 7 ^ ((s3 &<< 13) ^ s3) &>> 21
    s4 = (s4 & 0xffff_ff80) &<< 13 ^ ((s4 &<< 3) ^ s4) &>> 12
    return s1 ^ s2 ^ s3 ^ s4
  }
}
