// SPDX-License-Identifier: GPL-2.0-or-later

// Tables as the text that `nft -f` takes and that `nft list` prints.

/// Writes rulesets.
public enum NftText {
  /// Tables one after the other, each line with its end.
  public static func text(_ tables: [NftTable]) -> String {
    tables.map(text).joined(separator: "\n")
  }

  /// One table; each line with its end. The same table gives the same text.
  public static func text(_ table: NftTable) -> String {
    var lines: [String] = ["table \(table.key) {"]
    if let comment = table.comment { lines.append("\tcomment \(quoted(comment))") }
    if table.flags & 1 != 0 { lines.append("\tflags dormant") }
    for object in table.objects { lines += indented(ObjectText.declaration(object)) + [""] }
    for flowtable in table.flowtables { lines += indented(declaration(flowtable)) + [""] }
    for set in table.sets { lines += indented(SetText(set: set).declaration) + [""] }
    for chain in table.chains { lines += indented(declaration(chain, table)) + [""] }
    if lines.last?.isEmpty == true { lines.removeLast() }
    return (lines + ["}"]).joined(separator: "\n") + "\n"
  }

  /// One rule in a line; `sets` are those of its table, or of them that it names.
  public static func text(_ rule: NftRule, family: NftFamily, sets: [NftSet] = []) -> String {
    RuleText.line(rule, family: family, sets: sets)
  }

  /// The same without what it has counted, as `nft --stateless` has it.
  public static func statelessText(_ rule: NftRule, family: NftFamily, sets: [NftSet] = []) -> String {
    var rule = rule
    for index in rule.expressions.indices {
      guard case .counter = rule.expressions[index] else { continue }
      rule.expressions[index] = .counter(NftCounter())
    }
    return text(rule, family: family, sets: sets).replacing("counter packets 0 bytes 0", with: "counter")
  }

  private static func indented(_ lines: [String]) -> [String] { lines.map { "\t" + $0 } }

  private static func declaration(_ flowtable: NftFlowtable) -> [String] {
    var lines = ["flowtable \(flowtable.name) {", "\thook ingress priority \(flowtable.priority)"]
    if !flowtable.devices.isEmpty {
      lines.append("\tdevices = { \(flowtable.devices.map(quoted).joined(separator: ", ")) }")
    }
    if flowtable.counts { lines.append("\tcounter") }
    return lines + ["}"]
  }

  private static func declaration(_ chain: NftChain, _ table: NftTable) -> [String] {
    var lines = ["chain \(chain.name) {"]
    if let comment = chain.comment { lines.append("\tcomment \(quoted(comment))") }
    if let base = chain.base {
      let names = base.devices.map(quoted)
      let device =
        switch names.count {
        case 0: ""
        case 1: " device \(names[0])"
        default: " devices = { \(names.joined(separator: ", ")) }"
        }
      lines.append(
        "\ttype \(base.type.rawValue) hook \(base.hook.rawValue)\(device) priority \(base.priority);"
          + " policy \(base.policy.rawValue);")
    }
    lines += chain.rules.map { "\t" + RuleText.line($0, family: table.family, sets: table.sets) }
    return lines + ["}"]
  }
}

extension NftTable {
  /// The sets that a rule fills, or looks objects up in, without what is in them: its text needs their types.
  public func sets(of rule: NftRule) -> [NftSet] {
    var found: [NftSet] = []
    for expression in rule.expressions {
      let name: String
      switch expression {
      case .dynset(let update): name = update.setName
      case .objectReference(let reference):
        guard case .map(.named(let map), _) = reference.target else { continue }
        name = map
      default: continue
      }
      guard var set = set(name) else { continue }
      set.elements = []
      found.append(set)
    }
    return found
  }
}
