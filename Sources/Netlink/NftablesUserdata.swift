// SPDX-License-Identifier: GPL-2.0-or-later

// The userdata that nf_tables keeps with its objects and never reads: records of one byte type, one byte
// length and value. nft gives the low types; the rule's key has one of its own, which nft passes over.

import Nftables

/// Records of an object's userdata.
struct NftablesUserdata {
  var records: [(type: UInt8, value: [UInt8])] = []

  /// Comments of tables, chains, rules, elements and objects.
  static let comment: UInt8 = 0
  /// Ours: a rule's key.
  static let ruleKey: UInt8 = 0x4b
  static let setKeyByteOrder: UInt8 = 0
  static let setDataByteOrder: UInt8 = 1
  static let setMergeElements: UInt8 = 2
  static let setComment: UInt8 = 7

  init() {}

  /// Reads records; what does not hold together ends the reading, for anyone may have written it.
  init(_ bytes: [UInt8]) {
    var index = 0
    while index + 2 <= bytes.count {
      let length = Int(bytes[index + 1])
      guard index + 2 + length <= bytes.count else { return }
      records.append((bytes[index], Array(bytes[index + 2..<index + 2 + length])))
      index += 2 + length
    }
  }

  var bytes: [UInt8] {
    records.flatMap { [$0.type, UInt8(truncatingIfNeeded: $0.value.count)] + $0.value }
  }

  /// A zero ends the text, as nft wants it.
  mutating func add(_ type: UInt8, text: String?) throws(NftablesValueError) {
    guard let text else { return }
    let bytes = Array(text.utf8)
    guard bytes.count <= 127, !bytes.contains(0) else {
      throw NftablesValueError(text: "a comment has at most 127 bytes and no zero")
    }
    records.append((type, bytes + [0]))
  }

  mutating func add(_ type: UInt8, number: UInt32) {
    records.append((type, withUnsafeBytes(of: number) { [UInt8]($0) }))
  }

  func text(_ type: UInt8) -> String? {
    guard let value = records.first(where: { $0.type == type })?.value, value.last == 0 else { return nil }
    return String(decoding: value.prefix { $0 != 0 }, as: UTF8.self)
  }

  func number(_ type: UInt8) -> UInt32? {
    guard let value = records.first(where: { $0.type == type })?.value, value.count == 4 else { return nil }
    return value.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
  }
}
