// SPDX-License-Identifier: GPL-2.0-or-later

// What a run of rules decides, in numbers (enum nft_verdicts, NF_*), and what a chain says of a packet in the end.

/// A verdict inside a run.
struct NftVerdictCode: BitwiseCopyable {
  /// NF_* or NFT_*.
  var code: Int32
  /// Of jump and goto.
  var chain: UInt32 = .max

  static let `continue` = NftVerdictCode(code: -1)
  static let `break` = NftVerdictCode(code: -2)
  static let drop = NftVerdictCode(code: 0)
  static let accept = NftVerdictCode(code: 1)
  static let stolen = NftVerdictCode(code: 2)
}
