// SPDX-License-Identifier: GPL-2.0-or-later

// A rule in its compiled form: the expressions that the kernel runs, and the key by which the planner knows
// it.

/// One rule.
public struct NftRule: Hashable, Codable, Sendable {
  public var expressions: [NftExpression]
  /// Content hash and ordinal among equals in the chain (`9f86d081884c7d65.0`); kept in the rule's userdata.
  /// It stays with the rule when its counters move.
  public var key: String
  public var comment: String?

  public init(expressions: [NftExpression], key: String = "", comment: String? = nil) {
    self.expressions = expressions
    self.key = key
    self.comment = comment
  }

  /// The rule without counters' values and with the kernel's defaults spelt one way.
  public var normalized: NftRule {
    NftRule(expressions: expressions.map(\.normalized), key: key, comment: comment)
  }

  /// The hash of what the rule does: sixteen hexadecimal digits.
  public var contentHash: String {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    let text = normalized.expressions.map(\.description).joined(separator: "\n") + "\n#" + (comment ?? "")
    for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}

extension Array where Element == NftRule {
  /// The rules with `key` filled in where it is empty: content hash and ordinal among equals.
  public var keyed: [NftRule] {
    var seen: [String: Int] = [:]
    return map { rule in
      let hash = rule.contentHash
      let ordinal = seen[hash, default: 0]
      seen[hash] = ordinal + 1
      guard rule.key.isEmpty else { return rule }
      var rule = rule
      rule.key = "\(hash).\(ordinal)"
      return rule
    }
  }
}
