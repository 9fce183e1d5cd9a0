// SPDX-License-Identifier: GPL-2.0-or-later

/// What a rule's expression has put into registers while a packet was in it.
public struct NftRegisterWrite: Hashable, Codable, Sendable, CustomStringConvertible {
  /// The first word, of the sixteen of four bytes each (NFT_REG32_00 is 0).
  public var word: Int
  /// As the bytes lie there: of fields in network order, of numbers in the host's.
  public var bytes: [UInt8]

  public init(word: Int, bytes: [UInt8]) {
    self.word = word
    self.bytes = bytes
  }

  /// `reg 1 = 0x0016`, the register as nft counts it.
  public var description: String {
    let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    return "reg \(word % 4 == 0 ? word / 4 + 1 : word + 8) = 0x\(digits)"
  }
}
