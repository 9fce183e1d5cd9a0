// SPDX-License-Identifier: GPL-2.0-or-later

// The register file of nf_tables: a verdict, and sixteen words of four bytes that are also four registers of
// sixteen bytes.
//
//   word    0  1  2  3   4  5  6  7   8  9 10 11  12 13 14 15
//   wide    1            2            3            4
//   narrow  8  9 10 11  12 13 14 15  16 17 18 19  20 21 22 23

/// A register, by the number that the kernel gives it in a dump: 0 the verdict, 1 to 4 where sixteen bytes
/// begin, 9 to 23 for the words between.
public struct NftRegister: RawRepresentable, Hashable, Comparable, Codable, Sendable {
  public let rawValue: UInt32

  /// Narrow names of aligned words become the wide ones, as the kernel does; nil for numbers that no register
  /// has.
  public init?(rawValue: UInt32) {
    switch rawValue {
    case 0...4: self.rawValue = rawValue
    case 8...23: self.rawValue = rawValue % 4 == 0 ? rawValue / 4 - 1 : rawValue
    default: return nil
    }
  }

  /// The register that begins at a word; nil past the sixteenth.
  public init?(word: Int) {
    guard (0..<16).contains(word) else { return nil }
    rawValue = word % 4 == 0 ? UInt32(1 + word / 4) : UInt32(8 + word)
  }

  private init(known: UInt32) { rawValue = known }

  public static let verdict = NftRegister(known: 0)
  public static let r1 = NftRegister(known: 1)
  public static let r2 = NftRegister(known: 2)
  public static let r3 = NftRegister(known: 3)
  public static let r4 = NftRegister(known: 4)

  /// The word where it begins; nil for the verdict.
  public var word: Int? {
    switch rawValue {
    case 0: nil
    case 1...4: Int(rawValue - 1) * 4
    default: Int(rawValue) - 8
    }
  }

  public static func < (a: Self, b: Self) -> Bool { (a.word ?? -1) < (b.word ?? -1) }
}

extension NftRegister: CustomStringConvertible {
  public var description: String { String(rawValue) }
}
