// SPDX-License-Identifier: GPL-2.0-or-later

// The data registers of a run of rules (struct nft_regs without its verdict): sixteen words of four bytes, which the
// wide registers of older programs are four each of. A word holds the bytes as they lie on the wire, so that on the
// little-endian machines that netforge runs on the first byte is the lowest.

/// Sixteen words.
struct NftRegisters {
  private var words = InlineArray<16, UInt32>(repeating: 0)

  /// Programs are checked when they are loaded: no word is beyond the last. The mask lets the compiler know it too.
  @inline(__always) subscript(word: Int) -> UInt32 {
    get { words[word & 15] }
    set { words[word & 15] = newValue }
  }

  /// Stores a number of the host's order, as `nft_reg_store64` and its kin do.
  @inline(__always) mutating func store(_ value: UInt64, at word: Int) {
    self[word] = UInt32(truncatingIfNeeded: value)
    self[word &+ 1] = UInt32(truncatingIfNeeded: value &>> 32)
  }

  /// One byte of the registers, counted from a word's first.
  @inline(__always) func byte(_ word: Int, _ offset: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: self[word &+ offset &>> 2] &>> UInt32((offset & 3) &* 8))
  }

  @inline(__always) mutating func setByte(_ word: Int, _ offset: Int, _ value: UInt8) {
    let shift = UInt32((offset & 3) &* 8)
    let index = word &+ offset &>> 2
    self[index] = self[index] & ~(0xff &<< shift) | UInt32(value) &<< shift
  }

  /// Which bytes of a last word belong to a value of `length` bytes.
  @inline(__always) static func tailMask(_ length: Int) -> UInt32 {
    let rest = length & 3
    return rest == 0 ? .max : (1 &<< UInt32(rest &* 8)) &- 1
  }

  /// Bytes as words, the last one filled up with zeros.
  static func words(_ bytes: [UInt8]) -> [UInt32] {
    stride(from: 0, to: bytes.count, by: 4).map { start in
      (0..<4).reduce(UInt32(0)) { word, offset in
        start + offset < bytes.count ? word | UInt32(bytes[start + offset]) << UInt32(offset * 8) : word
      }
    }
  }

  /// The first `length` bytes that words hold.
  static func bytes(_ words: [UInt32], _ length: Int) -> [UInt8] {
    (0..<length).map { UInt8(truncatingIfNeeded: words[$0 / 4] >> UInt32($0 % 4 * 8)) }
  }
}
