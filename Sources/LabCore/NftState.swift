// SPDX-License-Identifier: GPL-2.0-or-later

// An nftables table taken apart into the objects that a plan creates, updates and deletes one by one.

public import Nftables

/// A rule and where it stands.
public struct NftRuleState: Hashable, Codable, Sendable {
  public var table: NftTableKey
  public var chain: String
  public var rule: NftRule
  /// The key of the rule before it in its chain as it shall be; nil for the first.
  public var predecessor: String?

  public init(table: NftTableKey, chain: String, rule: NftRule, predecessor: String?) {
    self.table = table
    self.chain = chain
    self.rule = rule
    self.predecessor = predecessor
  }
}

extension NftTable {
  /// The table and its parts, each declared before it is used: objects, sets with their elements, chains, rules.
  public var stateObjects: [StateObject] {
    var result: [StateObject] = [.nftTable(declaration)]
    result += objects.map { .nftObject(key, $0) }
    result += flowtables.map { .nftFlowtable(key, $0) }
    result += sets.map { .nftSet(key, $0) }
    result += chains.map { .nftChain(key, $0.declaration) }
    for chain in chains {
      var predecessor: String?
      for rule in chain.rules {
        result.append(
          .nftRule(NftRuleState(table: key, chain: chain.name, rule: rule, predecessor: predecessor)))
        predecessor = rule.key
      }
    }
    return result
  }

  /// The table without what is in it.
  public var declaration: NftTable { NftTable(family: family, name: name, flags: flags, comment: comment) }

  var attributes: [StateAttribute] {
    var list = AttributeList()
    list.add(AttributeName("flags"), number: flags)
    list.add(.comment, text: comment)
    return list.attributes
  }
}

extension NftChain {
  /// The chain without its rules.
  public var declaration: NftChain { NftChain(name: name, base: base, comment: comment) }

  var attributes: [StateAttribute] {
    var list = AttributeList()
    list.add(.type, text: base.map { "\($0.type)" })
    list.add(.hook, text: base.map { "\($0.hook)" })
    list.add(.priority, number: base?.priority)
    list.add(.policy, text: base.map { "\($0.policy)" })
    list.add(.devices, base.map { .list($0.devices.map { .text($0) }) })
    list.add(.comment, text: comment)
    return list.attributes
  }
}

extension NftFlowtable {
  var attributes: [StateAttribute] {
    var list = AttributeList()
    list.add(.priority, number: priority)
    list.add(.devices, .list(devices.map { .text($0) }))
    return list.attributes
  }
}

extension NftSet {
  /// The set without its elements.
  public var declaration: NftSet {
    var set = self
    set.elements = []
    return set
  }

  var attributes: [StateAttribute] {
    var list = AttributeList()
    list.add(.type, .list(keyTypes.map { .text("\($0)") }))
    list.add(AttributeName("flags"), number: flags.rawValue)
    list.add(AttributeName("data"), text: data.map { "\($0)" })
    list.add(AttributeName("size"), number: size)
    list.add(AttributeName("timeout"), number: timeout)
    list.add(AttributeName("gc-interval"), number: gcInterval)
    list.add(.comment, text: comment)
    return list.attributes
  }
}

extension NftSetElement {
  /// The key and the end of the interval in hexadecimal, as a path shows them.
  public var pathKey: String {
    guard !isCatchAll else { return "*" }
    return "\(key)" + (keyEnd.map { "-\($0)" } ?? "")
  }
}

extension AttributeName {
  public static let type = AttributeName("type")
  public static let hook = AttributeName("hook")
  public static let policy = AttributeName("policy")
  public static let devices = AttributeName("devices")
  public static let comment = AttributeName("comment")
}
