// SPDX-License-Identifier: GPL-2.0-or-later

// Steps in words, for errors and plans.

extension NftChange: CustomStringConvertible {
  public var description: String {
    switch self {
    case .addTable(let table): "add table \(table.key)"
    case .deleteTable(let key): "delete table \(key)"
    case .addChain(let key, let chain): "add chain \(key) \(chain.name)"
    case .deleteChain(let key, let name): "delete chain \(key) \(name)"
    case .flushChain(let key, let name): "flush chain \(key) \(name)"
    case .addSet(let key, let set): "add \(set.isMap ? "map" : "set") \(key) \(set.name)"
    case .deleteSet(let key, let name): "delete set \(key) \(name)"
    case .addElements(let key, let set, let elements): "add \(elements.count) elements to \(key) \(set.name)"
    case .deleteElements(let key, let set, let elements):
      "delete \(elements.count) elements from \(key) \(set.name)"
    case .addObject(let key, let object): "add object \(key) \(object.name)"
    case .deleteObject(let key, let object): "delete object \(key) \(object.name)"
    case .addFlowtable(let key, let flowtable): "add flowtable \(key) \(flowtable.name)"
    case .deleteFlowtable(let key, let name): "delete flowtable \(key) \(name)"
    case .appendRule(let key, let chain, _): "add a rule to \(key) \(chain)"
    case .prependRule(let key, let chain, _): "insert a rule into \(key) \(chain)"
    case .insertRule(let key, let chain, _, let handle):
      "add a rule to \(key) \(chain) after handle \(handle)"
    case .replaceRule(let key, let chain, _, let handle):
      "replace the rule in \(key) \(chain), handle \(handle)"
    case .deleteRule(let key, let chain, let handle): "delete the rule in \(key) \(chain), handle \(handle)"
    }
  }

  /// The rule that the step puts somewhere.
  public var rule: NftRule? {
    switch self {
    case .appendRule(_, _, let rule), .prependRule(_, _, let rule), .insertRule(_, _, let rule, _),
      .replaceRule(_, _, let rule, _):
      rule
    default: nil
    }
  }
}
