// SPDX-License-Identifier: GPL-2.0-or-later

// Bob Jenkins' lookup3 as the kernel has it (include/linux/jhash.h): what `jhash` of a rule gives, and what spreads
// sources over a range of NAT addresses, must be the kernel's numbers.

/// The kernel's jhash.
enum JenkinsHash {
  private static let initial: UInt32 = 0xdead_beef

  /// jhash2: over whole words.
  static func hash(_ words: [UInt32], seed: UInt32) -> UInt32 {
    var registers = NftRegisters()
    for (position, word) in words.prefix(16).enumerated() { registers[position] = word }
    return hash(registers, 0, length: words.count * 4, seed: seed)
  }

  /// jhash over bytes of the registers, which for whole words is the same.
  static func hash(_ registers: NftRegisters, _ word: Int, length: Int, seed: UInt32) -> UInt32 {
    var a = initial &+ UInt32(length) &+ seed
    var b = a
    var c = a
    var place = word
    var rest = length
    func load(_ place: Int, _ bytes: Int) -> UInt32 {
      bytes <= 0 ? 0 : registers[place] & (bytes >= 4 ? .max : NftRegisters.tailMask(bytes))
    }
    while rest > 12 {
      a &+= registers[place]
      b &+= registers[place + 1]
      c &+= registers[place + 2]
      a &-= c; a ^= rotate(c, 4); c &+= b
      b &-= a; b ^= rotate(a, 6); a &+= c
      c &-= b; c ^= rotate(b, 8); b &+= a
      a &-= c; a ^= rotate(c, 16); c &+= b
      b &-= a; b ^= rotate(a, 19); a &+= c
      c &-= b; c ^= rotate(b, 4); b &+= a
      place += 3
      rest -= 12
    }
    guard rest > 0 else { return c }
    a &+= load(place, rest)
    b &+= load(place + 1, rest - 4)
    c &+= load(place + 2, rest - 8)
    c ^= b; c &-= rotate(b, 14)
    a ^= c; a &-= rotate(c, 11)
    b ^= a; b &-= rotate(a, 25)
    c ^= b; c &-= rotate(b, 16)
    a ^= c; a &-= rotate(c, 4)
    b ^= a; b &-= rotate(a, 14)
    c ^= b; c &-= rotate(b, 24)
    return c
  }

  /// A hash as a number below `bound` (reciprocal_scale).
  static func scale(_ hash: UInt32, _ bound: UInt32) -> UInt32 {
    UInt32(truncatingIfNeeded: (UInt64(hash) &* UInt64(bound)) &>> 32)
  }

  private static func rotate(_ value: UInt32, _ count: UInt32) -> UInt32 {
    value << count | value >> (32 - count)
  }
}
