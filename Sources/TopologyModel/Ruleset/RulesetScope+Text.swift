// SPDX-License-Identifier: GPL-2.0-or-later

// Rules that fill maps, from nft's text: up to version 1.0.6 its JSON has no words for them, and holds the statement as it
// would be listed, `update @m { ip saddr timeout 5s : 0x00000001 }`.

import NetTypes
import Nftables

extension RulesetScope {
  func update(text: String) throws(RulesetError) -> SetUpdate {
    var words = text.split(separator: " ").map(String.init)[...]
    guard words.count > 4, let operation = Self.operations[words.removeFirst()],
      let name = words.popFirst(), name.hasPrefix("@"), words.popFirst() == "{", words.popLast() == "}",
      let colon = words.lastIndex(of: ":")
    else { throw RulesetError("the statement '\(text)' is not understood") }
    var update = SetUpdate(set: String(name.dropFirst()), operation: operation, selectors: [])
    var key = words[..<colon]
    if let place = key.firstIndex(of: "timeout"), place + 1 < key.endIndex {
      update.timeout = try Self.milliseconds(key[place + 1])
      key.removeSubrange(place..<(place + 2))
    }
    for part in Self.parts(key) {
      guard let selector = Selector(named: part) else {
        throw RulesetError("in '\(text)', '\(part)' is not understood; write the rule in Swift")
      }
      update.selectors.append(selector)
    }
    let types = try dataTypes(of: update.set)
    let data = Self.parts(words[(colon + 1)...])
    guard data.count == types.count else {
      throw RulesetError("\(data.count) values stand where \(types.count) should")
    }
    for (part, type) in zip(data, types) {
      if let selector = Selector(named: part) {
        update.data.append(.selector(selector))
      } else if let value = type.data(part.filter { $0 != "\"" }) {
        update.data.append(.value(value))
      } else {
        throw RulesetError("in '\(text)', '\(part)' is no \(type.name); write the rule in Swift")
      }
    }
    return update
  }

  /// The types of what a map of the table leads to.
  func dataTypes(of name: String) throws(RulesetError) -> [NftDataType] {
    guard case .value(let types)? = sets.first(where: { $0.name == name })?.data else {
      throw RulesetError("there is no map '\(name)' to values in the table")
    }
    return types
  }

  /// The fields of a concatenation.
  private static func parts(_ words: ArraySlice<String>) -> [String] {
    words.split(separator: ".", omittingEmptySubsequences: false).map { $0.joined(separator: " ") }
  }

  /// `1m30s`, as nft lists times.
  private static func milliseconds(_ text: String) throws(RulesetError) -> UInt64 {
    let units: [(name: String, size: UInt64)] = [
      ("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000),
    ]
    var rest = text[...]
    var total: UInt64 = 0
    while !rest.isEmpty {
      let digits = rest.prefix { ("0"..."9").contains($0) }
      rest = rest.dropFirst(digits.count)
      guard let count = UInt64(digits), let unit = units.first(where: { rest.hasPrefix($0.name) }) else {
        throw RulesetError("'\(text)' is no time")
      }
      rest = rest.dropFirst(unit.name.count)
      let (product, overflow) = count.multipliedReportingOverflow(by: unit.size)
      let (sum, carried) = total.addingReportingOverflow(product)
      guard !overflow, !carried else { throw RulesetError("'\(text)' is no time") }
      total = sum
    }
    return total
  }
}
