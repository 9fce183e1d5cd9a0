// SPDX-License-Identifier: GPL-2.0-or-later

// Statements from nft's JSON.

import NetTypes
import Nftables

extension RulesetScope {
  func statement(_ expression: JSON) throws(RulesetError) -> [Statement] {
    // What nft has no JSON for it tells as text: up to 1.0.6 rules that fill maps.
    if case .string(let text) = expression { return [.updateSet(try update(text: text))] }
    guard case .object(let members) = expression, members.count == 1, let member = members.first else {
      throw RulesetError("a statement is an object with one key, not \(expression.kindName)")
    }
    let item = member.value
    switch member.key {
    case "match": return try match(item)
    case "accept", "drop", "continue", "return", "jump", "goto": return [.verdict(try verdict(expression))]
    case "counter":
      if case .string(let name) = item { return [.object(.counter, name)] }
      if item["map"] != nil { return [try objectMap(.counter, item)] }
      return [.counter]
    case "limit":
      if case .string(let name) = item { return [.object(.limit, name)] }
      if item["map"] != nil { return [try objectMap(.limit, item)] }
      return [.limit(try Self.limit(item))]
    case "quota":
      if case .string(let name) = item { return [.object(.quota, name)] }
      if item["map"] != nil { return [try objectMap(.quota, item)] }
      return [.quota(try Self.quota(item))]
    case "synproxy":
      if case .string(let name) = item { return [.object(.synproxy, name)] }
      if item["map"] != nil { return [try objectMap(.synproxy, item)] }
      return [.synproxy(try Self.synproxy(item))]
    case "ct helper", "ct timeout", "ct expectation":
      guard let kind = NftObjectKind.allCases.first(where: { $0.name == member.key }) else { return [] }
      return [item["map"] == nil ? .object(kind, try name(item)) : try objectMap(kind, item)]
    case "ct count":
      guard let count = try number32(item, "val") else { throw RulesetError("ct count without a number") }
      return [.connections(NftConnlimit(count: count, isInverted: try item.flag("inv")))]
    case "notrack": return [.notrack]
    case "vmap": return [try verdictMap(item)]
    case "mangle": return [try store(item)]
    case "reset":
      guard case .exthdr(.tcpOption, let type, _, _, _) = try selector(item).load else {
        throw RulesetError("a reset of anything but a TCP option is not understood")
      }
      return [.removeOption(type)]
    case "log": return [.log(try log(item))]
    case "reject": return [.reject(try reject(item))]
    case "set", "map": return [try update(item, member.key)]
    case "snat": return [.translate(try translation(.source, item))]
    case "dnat": return [.translate(try translation(.destination, item))]
    case "masquerade":
      return [.masquerade(ports: try ports(item["port"]), flags: try Self.flags(item))]
    case "redirect": return [.redirect(ports: try ports(item["port"]), flags: try Self.flags(item))]
    case "tproxy":
      let address = try item.text("addr").map { (text) throws(RulesetError) in try Self.address(text) }
      let port = try ports(item["port"])
      guard port.map({ $0.first == $0.last }) ?? true else { throw RulesetError("tproxy to several ports") }
      return [.tproxy(address, port: port?.first)]
    case "flow":
      guard try item.requiredText("op") == "add", let name = try item.text("flowtable"), name.hasPrefix("@")
      else { throw RulesetError("of flowtables only 'flow add @name' is understood") }
      return [.addFlow(String(name.dropFirst()))]
    case "dup":
      guard item["dev"] == nil, family != .netdev else {
        throw RulesetError("a copy by a device is not understood: its number is not known here")
      }
      return [.dup(to: try Self.address(try item.requiredText("addr")), device: nil)]
    default: throw RulesetError("the statement '\(member.key)' is not understood")
    }
  }

  private func name(_ item: JSON) throws(RulesetError) -> String {
    guard case .string(let name) = item else { throw RulesetError("an object's name is missing") }
    return name
  }

  static func address(_ text: String) throws(RulesetError) -> IPAddress {
    guard let address = IPAddress(text) else { throw RulesetError("'\(text)' is no address") }
    return address
  }

  // MARK: Matches

  private func match(_ item: JSON) throws(RulesetError) -> [Statement] {
    guard let left = item["left"], let right = item["right"] else {
      throw RulesetError("a match without its two sides")
    }
    let relations: [String: NftComparisonOperator] = [
      "==": .equal, "!=": .notEqual, "<": .less, "<=": .lessOrEqual, ">": .greater, ">=": .greaterOrEqual,
      "in": .equal, "!": .notEqual,
    ]
    let sign = try item.requiredText("op")
    guard let relation = relations[sign] else { throw RulesetError("there is no comparison '\(sign)'") }
    if case .array(let sides)? = left["&"], sides.count == 2 {
      let selector = try selector(sides[0])
      let type = selector.type
      guard type != .connectionLabel else { throw RulesetError("labels are compared without a mask") }
      guard let mask = type.data(try bits(sides[1], type)), let value = type.data(try bits(right, type))
      else {
        throw RulesetError("the mask does not fit")
      }
      return [.match(Match(selector, relation, [.masked(mask, value)]))]
    }
    let selectors = try selectors(left)
    if case .string(let text) = right, text.hasPrefix("@") {
      return [
        .match(Match(selectors: selectors, relation: relation, operand: .set(String(text.dropFirst()))))
      ]
    }
    let types = selectors.map(\.type)
    if case .array(let elements)? = right["set"] {
      var rows: [[FieldValue]] = []
      for element in elements { rows.append(try key(element["elem"]?["val"] ?? element, types)) }
      return [.match(Match(selectors: selectors, relation: relation, operand: .elements(rows)))]
    }
    guard selectors.count == 1 else {
      return [
        .match(Match(selectors: selectors, relation: relation, operand: .elements([try key(right, types)])))
      ]
    }
    // Flags are asked for with `in`, and by their exact value with `==`.
    if types[0].isBitmask, sign == "==" || sign == "!=" {
      return [.match(Match(selectors[0], relation, [.exact(try value(right, types[0]))]))]
    }
    return [.match(Match(selectors[0], relation, [try field(right, types[0])]))]
  }

  private func verdictMap(_ item: JSON) throws(RulesetError) -> Statement {
    guard let left = item["key"], let data = item["data"] else { throw RulesetError("an empty verdict map") }
    let selectors = try selectors(left)
    if case .string(let text) = data, text.hasPrefix("@") {
      return .verdictMap(selectors, .named(String(text.dropFirst())))
    }
    var entries: [VerdictMap.Entry] = []
    for (key, value) in try pairs(data) {
      entries.append(
        VerdictMap.Entry(key: try self.key(key, selectors.map(\.type)), verdict: try verdict(value)))
    }
    return .verdictMap(selectors, .entries(entries))
  }

  private func objectMap(_ kind: NftObjectKind, _ item: JSON) throws(RulesetError) -> Statement {
    guard let left = item["map"]?["key"], let data = item["map"]?["data"] else {
      throw RulesetError("an empty map of objects")
    }
    let selectors = try selectors(left)
    if case .string(let text) = data, text.hasPrefix("@") {
      return .objectMap(kind, selectors, .named(String(text.dropFirst())))
    }
    var entries: [ObjectMap.Entry] = []
    for (key, value) in try pairs(data) {
      entries.append(
        ObjectMap.Entry(key: try self.key(key, selectors.map(\.type)), name: try name(value)))
    }
    return .objectMap(kind, selectors, .entries(entries))
  }

  private func pairs(_ data: JSON) throws(RulesetError) -> [(key: JSON, value: JSON)] {
    guard case .array(let items)? = data["set"] else { throw RulesetError("a map has a list of pairs") }
    var pairs: [(key: JSON, value: JSON)] = []
    for item in items {
      guard case .array(let pair) = item, pair.count == 2 else {
        throw RulesetError("an element of a map is a key and a value")
      }
      pairs.append((pair[0]["elem"]?["val"] ?? pair[0], pair[1]))
    }
    return pairs
  }

  // MARK: Storing

  private func store(_ item: JSON) throws(RulesetError) -> Statement {
    guard let key = item["key"], let value = item["value"] else { throw RulesetError("nothing is stored") }
    if key["meta"]?["key"] == .string("nftrace") { return .trace }
    let target = try selector(key)
    return .store(target, try source(value, target.type))
  }

  private func source(_ value: JSON, _ type: NftDataType) throws(RulesetError) -> ValueSource {
    if let map = value["map"] {
      guard let left = map["key"], let data = map["data"] else { throw RulesetError("an empty map") }
      let selectors = try selectors(left)
      if case .string(let text) = data, text.hasPrefix("@") {
        return .namedMap(selectors, String(text.dropFirst()))
      }
      var entries: [ValueSource.MapEntry] = []
      for (key, value) in try pairs(data) {
        entries.append(
          ValueSource.MapEntry(
            key: try self.key(key, selectors.map(\.type)), value: try self.value(value, type)))
      }
      return .map(selectors, entries)
    }
    if let changed = try bitChange(value, type) { return changed }
    if case .object = value, value["|"] == nil { return .selector(try selector(value)) }
    return .value(try self.value(value, type))
  }

  /// `x & mask`, `x | bits`, `x ^ bits`, and the first within the others.
  private func bitChange(_ value: JSON, _ type: NftDataType) throws(RulesetError) -> ValueSource? {
    let all: UInt64 = type.size >= 8 ? .max : (1 << UInt64(type.size * 8)) - 1
    guard type.size <= 8 else { return nil }
    func source(_ inner: JSON, _ mask: UInt64, _ flip: UInt64) throws(RulesetError) -> ValueSource {
      guard let mask = type.data(mask), let flip = type.data(flip) else {
        throw RulesetError("too many bits")
      }
      return .bits(try selector(inner), mask: mask, flip: flip)
    }
    if case .array(let sides)? = value["&"], sides.count == 2 {
      return try source(sides[0], try bits(sides[1], type), 0)
    }
    for word in ["|", "^"] {
      guard case .array(let sides)? = value[word], sides.count == 2, case .object = sides[0] else { continue }
      let changed = try bits(sides[1], type)
      var inner = sides[0]
      var mask = all
      if case .array(let within)? = inner["&"], within.count == 2 {
        inner = within[0]
        mask = try bits(within[1], type)
      }
      return try source(inner, word == "|" ? mask & ~changed : mask, changed)
    }
    return nil
  }

  private func update(_ item: JSON, _ kind: String) throws(RulesetError) -> Statement {
    let word = try item.requiredText("op")
    let name = try item.requiredText(kind)
    guard let operation = Self.operations[word], var element = item["elem"], name.hasPrefix("@") else {
      throw RulesetError("a set's update is not understood")
    }
    var update = SetUpdate(set: String(name.dropFirst()), operation: operation, selectors: [])
    if let inner = element["elem"], let value = inner["val"] {
      update.timeout = try inner.integer("timeout").map { UInt64(clamping: $0) &* 1000 }
      element = value
    }
    update.selectors = try selectors(element)
    if kind == "map" {
      guard let data = item["data"] else { throw RulesetError("an element of a map leads to something") }
      update.data = try self.data(data, of: update.set)
    }
    guard let statements = item["stmt"] else { return .updateSet(update) }
    update.expressions = try perElement(statements)
    return .updateSet(update)
  }

  static let operations: [String: NftDynset.Operation] = ["add": .add, "update": .update, "delete": .delete]

  /// What a rule's element leads to, as the map has it.
  private func data(_ item: JSON, of map: String) throws(RulesetError) -> [SetUpdate.Datum] {
    let types = try dataTypes(of: map)
    var parts = [item]
    if case .array(let list)? = item["concat"] { parts = list }
    guard parts.count == types.count else {
      throw RulesetError("\(parts.count) values stand where \(types.count) should")
    }
    var data: [SetUpdate.Datum] = []
    for (part, type) in zip(parts, types) {
      if case .object = part, part["|"] == nil {
        data.append(.selector(try selector(part)))
      } else {
        data.append(.value(try value(part, type)))
      }
    }
    return data
  }

  /// What an element keeps for itself.
  func perElement(_ statements: JSON) throws(RulesetError) -> [NftExpression] {
    guard case .array(let list) = statements else { throw RulesetError("'stmt' is not a list") }
    var expressions: [NftExpression] = []
    for one in list {
      let made: [Statement] = try statement(one)
      switch made.first {
      case .counter?: expressions.append(.counter(NftCounter()))
      case .limit(let limit)?: expressions.append(.limit(limit))
      case .quota(let quota)?: expressions.append(.quota(quota))
      case .connections(let limit)?: expressions.append(.connlimit(limit))
      default: throw RulesetError("an element holds counters, limits, quotas and ct count")
      }
    }
    return expressions
  }

  // MARK: State

  static func limit(_ item: JSON) throws(RulesetError) -> NftLimit {
    let units: [String: UInt64] = ["second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604_800]
    let rate = try item.integer("rate") ?? 0
    let per = try item.requiredText("per")
    guard rate > 0, let unit = units[per] else {
      throw RulesetError("a limit is a rate in a second, minute, hour, day or week")
    }
    let scale = try bytes(of: "rate_unit", item)
    let burstScale = try bytes(of: "burst_unit", item) ?? 1
    let burst = UInt64(clamping: try item.integer("burst") ?? 0).multipliedReportingOverflow(by: burstScale)
    let total = UInt64(rate).multipliedReportingOverflow(by: scale ?? 1)
    guard !burst.overflow, !total.overflow, let small = UInt32(exactly: burst.partialValue) else {
      throw RulesetError("a limit is out of range")
    }
    return NftLimit(
      rate: total.partialValue, unitSeconds: unit, burst: small, countsBytes: scale != nil,
      isInverted: try item.flag("inv"))
  }

  /// Bytes of a unit; nil for packets.
  private static func bytes(of key: String, _ item: JSON) throws(RulesetError) -> UInt64? {
    switch try item.text(key) {
    case nil, "packets"?: return nil
    case "bytes"?: return 1
    case "kbytes"?: return 1 << 10
    case "mbytes"?: return 1 << 20
    case let word?: throw RulesetError("there is no unit '\(word)'")
    }
  }

  static func quota(_ item: JSON) throws(RulesetError) -> NftQuota {
    // A statement calls it otherwise than an object does.
    let key = item["val"] == nil ? "bytes" : "val"
    guard let count = try item.integer(key), count >= 0 else {
      throw RulesetError("a quota without bytes")
    }
    let scale = try bytes(of: "val_unit", item) ?? 1
    let total = UInt64(count).multipliedReportingOverflow(by: scale)
    guard !total.overflow else { throw RulesetError("a quota is out of range") }
    return NftQuota(bytes: total.partialValue, isInverted: try item.flag("inv"))
  }

  private func log(_ item: JSON) throws(RulesetError) -> NftLog {
    if case .null = item { return NftLog(level: 4) }
    var log = NftLog(prefix: try item.text("prefix"))
    let levels = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit"]
    if let word = try item.text("level") {
      guard let level = levels.firstIndex(of: word) else { throw RulesetError("there is no level '\(word)'") }
      log.level = UInt32(level)
    }
    let bits: [String: UInt32] = [
      "tcp sequence": 1, "tcp options": 2, "ip options": 4, "skuid": 8, "ether": 0x20, "all": 0x2f,
    ]
    for word in try item.texts("flags") {
      guard let bit = bits[word] else { throw RulesetError("a log has no flag '\(word)'") }
      log.flags |= bit
    }
    log.group = try item.integer("group").map { UInt16(clamping: $0) }
    log.snaplen = try number32(item, "snaplen")
    log.queueThreshold = try item.integer("queue-threshold").map { UInt16(clamping: $0) }
    return log
  }

  private func reject(_ item: JSON) throws(RulesetError) -> RejectReason {
    guard let type = try item.text("type") else { return .standard }
    let codes: [String: [String: UInt8]] = [
      "icmp": [
        "net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3,
        "net-prohibited": 9, "host-prohibited": 10, "admin-prohibited": 13,
      ],
      "icmpv6": [
        "no-route": 0, "admin-prohibited": 1, "addr-unreachable": 3, "port-unreachable": 4,
        "policy-fail": 5, "reject-route": 6,
      ],
      "icmpx": ["no-route": 0, "port-unreachable": 1, "host-unreachable": 2, "admin-prohibited": 3],
    ]
    guard type != "tcp reset" else { return .tcpReset }
    let code: UInt8?
    switch item["expr"] {
    case .string(let word)?: code = codes[type]?[word]
    case .number(let digits)?: code = UInt8(digits)
    default: code = codes[type]?["port-unreachable"]
    }
    guard let code else { throw RulesetError("a reject with '\(type)' is not understood") }
    switch type {
    case "icmp": return .icmp(code)
    case "icmpv6": return .icmpv6(code)
    case "icmpx": return .icmpx(code)
    default: throw RulesetError("a reject with '\(type)' is not understood")
    }
  }
}
