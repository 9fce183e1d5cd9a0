// SPDX-License-Identifier: GPL-2.0-or-later

// A ruleset from the JSON of `nft -j list ruleset` (libnftables-json(5)), as source to be compiled. What it says and
// what is not understood here is an error with its place; nothing is left out in silence.

import LabCore
import NetTypes
public import Nftables

/// Why a ruleset is not taken.
public struct RulesetError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Where and what, one line.
  public var description: String

  init(_ description: String) { self.description = description }
}

/// Reads rulesets.
public struct RulesetReader {
  /// Where the rules are said to stand.
  let position: NftSourcePosition
  var tables: [Ruleset.Table] = []
  /// Sets that rules fill, which a listing does not always say.
  var filled: [NftTableKey: Set<String>] = [:]

  init(_ position: NftSourcePosition) { self.position = position }

  /// The most objects of a document: what the kernel's tables could not hold either is not read.
  static let maximumObjects = 1 << 20

  /// The ruleset that a document describes.
  public static func read(_ json: [UInt8], at position: NftSourcePosition) throws(RulesetError) -> Ruleset {
    let document: JSON
    do throws(JSONError) {
      document = try JSONParser.parse(json)
    } catch {
      throw RulesetError("line \(error.line), column \(error.column): \(error.message)")
    }
    guard case .array(let items)? = document["nftables"] else {
      throw RulesetError("this is no document of nft: it has no list 'nftables'")
    }
    guard items.count <= maximumObjects else { throw RulesetError("more than \(maximumObjects) objects") }
    var reader = RulesetReader(position)
    // Tables before what is in them, sets and objects before the rules that name them.
    let order = [["table"], ["chain"], objectKinds, ["flowtable"], ["set", "map"], ["rule"]]
    for kinds in order {
      for item in items {
        guard case .object(let members) = item, let member = members.first, members.count == 1 else {
          throw RulesetError("an object is expected that has one kind, not \(item.kindName)")
        }
        guard member.key == "metainfo" || order.contains(where: { $0.contains(member.key) }) else {
          throw RulesetError("'\(member.key)' is not understood")
        }
        if kinds.contains(member.key) { try reader.add(member.key, member.value) }
      }
    }
    reader.markFilled()
    return Ruleset(tables: reader.tables)
  }

  private static let objectKinds = [
    "counter", "quota", "limit", "ct helper", "ct timeout", "ct expectation", "synproxy",
  ]

  private mutating func markFilled() {
    for table in tables.indices {
      let names = filled[NftTableKey(family: tables[table].family, name: tables[table].name)] ?? []
      for set in tables[table].sets.indices where names.contains(tables[table].sets[set].name) {
        tables[table].sets[set].flags.insert(.dynamic)
      }
    }
  }

  // MARK: Objects

  private mutating func add(_ kind: String, _ item: JSON) throws(RulesetError) {
    let familyName = try item.requiredText("family")
    guard let family = NftFamily(rawValue: familyName) else {
      throw RulesetError("\(kind): there is no family '\(familyName)'")
    }
    let name = try item.requiredText(kind == "table" || kind != "rule" ? "name" : "table")
    guard kind != "table" else {
      guard !tables.contains(where: { $0.family == family && $0.name == name }) else {
        throw RulesetError("table \(familyName) \(name) is there twice")
      }
      if item["flags"] != nil { throw RulesetError("table \(familyName) \(name): flags are not understood") }
      tables.append(Ruleset.Table(family: family, name: name, comment: try item.text("comment")))
      return
    }
    let tableName = try item.requiredText("table")
    guard let table = tables.firstIndex(where: { $0.family == family && $0.name == tableName }) else {
      throw RulesetError("\(kind) '\(name)': there is no table \(familyName) \(tableName)")
    }
    let place = "table \(familyName) \(tableName), \(kind) '\(name)'"
    switch kind {
    case "chain": tables[table].chains.append(try chain(item, name, place))
    case "set", "map": tables[table].sets.append(try set(item, name, place))
    case "rule": try addRule(item, to: table)
    case "flowtable":
      guard try item.requiredText("hook") == "ingress" else {
        throw RulesetError("\(place): a flowtable hangs at ingress")
      }
      tables[table].flowtables.append(
        NftFlowtable(
          name: name, priority: try item.integer("prio").map { Int32(clamping: $0) } ?? 0,
          devices: try item.texts("dev"), counts: try item.texts("flags").contains("counter")))
    default:
      let state = try place.prefixing { () throws(RulesetError) in try object(kind, item) }
      tables[table].objects.append(NftObject(name: name, state: state, comment: try item.text("comment")))
    }
  }

  private func chain(_ item: JSON, _ name: String, _ place: String) throws(RulesetError) -> Ruleset.Chain {
    var chain = Ruleset.Chain(name: name, comment: try item.text("comment"), position: position)
    guard let hookName = try item.text("hook") else { return chain }
    guard let hook = NftHook(rawValue: hookName) else {
      throw RulesetError("\(place): there is no hook '\(hookName)'")
    }
    let typeName = try item.requiredText("type")
    guard let type = NftChainType(rawValue: typeName) else {
      throw RulesetError("\(place): there is no type '\(typeName)'")
    }
    guard let priority = try item.integer("prio").flatMap({ Int32(exactly: $0) }) else {
      throw RulesetError("\(place): it has no priority")
    }
    let policyName = try item.text("policy") ?? "accept"
    guard let policy = NftPolicy(rawValue: policyName) else {
      throw RulesetError("\(place): there is no policy '\(policyName)'")
    }
    let devices = try item.texts("dev")
    if (hook == .ingress || hook == .egress) && devices.isEmpty {
      throw RulesetError("\(place): this version of nft does not tell its device; write the chain in Swift")
    }
    chain.base = NftBaseChain(type: type, hook: hook, priority: priority, policy: policy, devices: devices)
    return chain
  }

  private mutating func addRule(_ item: JSON, to table: Int) throws(RulesetError) {
    let chainName = try item.requiredText("chain")
    let tableName = "table \(tables[table].family.rawValue) \(tables[table].name)"
    guard let chain = tables[table].chains.firstIndex(where: { $0.name == chainName }) else {
      throw RulesetError("\(tableName): a rule stands in chain '\(chainName)', which is not there")
    }
    let number = tables[table].chains[chain].rules.count + 1
    let place = "\(tableName), chain '\(chainName)', rule \(number)"
    guard case .array(let expressions)? = item["expr"] else {
      throw RulesetError("\(place): it has no list 'expr'")
    }
    let key = NftTableKey(family: tables[table].family, name: tables[table].name)
    let scope = RulesetScope(family: tables[table].family, sets: tables[table].sets)
    var statements: [Statement] = []
    for expression in expressions {
      let made = try place.prefixing { () throws(RulesetError) in try scope.statement(expression) }
      for case .updateSet(let update) in made { filled[key, default: []].insert(update.set) }
      statements += made
    }
    tables[table].chains[chain].rules.append(
      Rule(statements, comment: try item.text("comment"), position: position))
  }

  // MARK: Sets

  private func set(_ item: JSON, _ name: String, _ place: String) throws(RulesetError) -> SetDeclaration {
    try place.prefixing { () throws(RulesetError) in try set(item, name) }
  }

  private func set(_ item: JSON, _ name: String) throws(RulesetError) -> SetDeclaration {
    var declaration = SetDeclaration(
      name: name, keyTypes: try types(item["type"]), comment: try item.text("comment"), position: position)
    if let map = item["map"] {
      if case .string("verdict") = map {
        declaration.data = .verdict
      } else if case .string(let word) = map,
        let kind = NftObjectKind.allCases.first(where: { $0.name == word })
      {
        declaration.data = .object(kind.rawValue)
      } else {
        declaration.data = .value(try types(map))
      }
    }
    for flag in try item.texts("flags") {
      switch flag {
      case "constant": declaration.flags.insert(.constant)
      case "interval": declaration.flags.insert(.interval)
      case "timeout": declaration.flags.insert(.timeout)
      case "dynamic": declaration.flags.insert(.dynamic)
      default: throw RulesetError("there is no flag '\(flag)'")
      }
    }
    declaration.size = try item.integer("size").map { UInt32(clamping: $0) }
    declaration.timeout = try item.integer("timeout").map { UInt64(clamping: $0) &* 1000 }
    let scope = RulesetScope(family: .inet, sets: [])
    if let statements = item["stmt"] { declaration.expressions = try scope.perElement(statements) }
    guard case .array(let elements)? = item["elem"] else { return declaration }
    for element in elements { declaration.elements.append(try self.element(element, declaration, scope)) }
    return declaration
  }

  private func types(_ value: JSON?) throws(RulesetError) -> [NftDataType] {
    var words: [String] = []
    switch value {
    case .string(let text)?: words = text.split(separator: " . ").map(String.init)
    case .array(let parts)?:
      for part in parts {
        guard case .string(let word) = part else { throw RulesetError("a type is a word") }
        words.append(word)
      }
    default: throw RulesetError("its type is not understood")
    }
    var types: [NftDataType] = []
    for word in words {
      guard let type = NftDataType(name: word) else { throw RulesetError("there is no type '\(word)'") }
      types.append(type)
    }
    return types
  }

  private func element(
    _ item: JSON, _ declaration: SetDeclaration, _ scope: RulesetScope
  ) throws(RulesetError) -> SetDeclaration.Element {
    var key = item
    var value: JSON?
    if declaration.data != nil {
      guard case .array(let pair) = item, pair.count == 2 else {
        throw RulesetError("an element of a map is a key and a value")
      }
      (key, value) = (pair[0], pair[1])
    }
    var element = SetDeclaration.Element(key: [])
    if let inner = key["elem"] {
      guard let plain = inner["val"] else { throw RulesetError("an element without its value") }
      element.timeout = try inner.integer("timeout").map { UInt64(clamping: $0) &* 1000 }
      element.comment = try inner.text("comment")
      for word in ["counter", "limit", "quota", "ct count"] {
        guard let kept = inner[word] else { continue }
        let statement = JSON.object([JSON.Member(key: word, value: kept)])
        element.expressions += try scope.perElement(.array([statement]))
      }
      key = plain
    }
    element.key = try scope.key(key, declaration.keyTypes)
    switch (declaration.data, value) {
    case (.verdict?, let value?): element.value = .verdict(try scope.verdict(value))
    case (.object?, .string(let name)?): element.value = .object(name)
    case (.value(let types)?, let value?): element.value = .data(try scope.data(value, types))
    case (nil, nil): break
    default: throw RulesetError("an element's value is not understood")
    }
    return element
  }
}

extension String {
  /// Does something whose errors begin with this.
  func prefixing<Value>(_ body: () throws(RulesetError) -> Value) throws(RulesetError) -> Value {
    do throws(RulesetError) { return try body() } catch { throw RulesetError("\(self): \(error)") }
  }
}

extension JSON {
  func text(_ key: String) throws(RulesetError) -> String? {
    switch self[key] {
    case .string(let text)?: return text
    case nil: return nil
    case let other?: throw RulesetError("'\(key)' is \(other.kindName), not text")
    }
  }

  func requiredText(_ key: String) throws(RulesetError) -> String {
    guard let text = try text(key) else { throw RulesetError("\(kindName) without '\(key)'") }
    return text
  }

  func integer(_ key: String) throws(RulesetError) -> Int? {
    guard let value = self[key] else { return nil }
    guard case .number(let digits) = value, let number = Int(digits) else {
      throw RulesetError("'\(key)' is not a whole number")
    }
    return number
  }

  /// One text or a list of them; empty when there is none.
  func texts(_ key: String) throws(RulesetError) -> [String] {
    guard let value = self[key] else { return [] }
    if case .string(let text) = value { return [text] }
    guard case .array(let values) = value else { throw RulesetError("'\(key)' is not text") }
    var texts: [String] = []
    for value in values {
      guard case .string(let text) = value else { throw RulesetError("'\(key)' is not a list of text") }
      texts.append(text)
    }
    return texts
  }

  func flag(_ key: String) throws(RulesetError) -> Bool {
    switch self[key] {
    case .bool(let flag)?: return flag
    case nil: return false
    default: throw RulesetError("'\(key)' is neither true nor false")
    }
  }
}
