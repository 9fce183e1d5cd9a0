// SPDX-License-Identifier: GPL-2.0-or-later

// What rules look at, and what they compare it with, from nft's JSON.

import NetTypes
import Nftables

/// What a rule's JSON is read against.
struct RulesetScope {
  let family: NftFamily
  let sets: [SetDeclaration]

  // MARK: Selectors

  /// One selector, or those of a concatenation.
  func selectors(_ value: JSON) throws(RulesetError) -> [Selector] {
    guard case .array(let parts)? = value["concat"] else { return [try selector(value)] }
    var selectors: [Selector] = []
    for part in parts { selectors.append(try selector(part)) }
    return selectors
  }

  func selector(_ value: JSON) throws(RulesetError) -> Selector {
    guard case .object(let members) = value, members.count == 1, let member = members.first else {
      throw RulesetError("\(value.kindName) stands where a field should")
    }
    let item = member.value
    switch member.key {
    case "payload": return try payload(item)
    case "meta":
      let key = try item.requiredText("key")
      return try known(["meta \(key)", key])
    case "ct":
      let direction = try item.text("dir").map { "\($0) " } ?? ""
      return try known(["ct \(direction)\(try item.requiredText("key"))"])
    case "fib": return try fib(item)
    case "rt":
      let key = try item.requiredText("key")
      let family = try item.text("family").map { "\($0) " } ?? ""
      return try known([key == "mtu" ? "rt tcpmss" : "rt \(family)\(key)"])
    case "socket": return try known(["socket \(try item.requiredText("key"))"])
    case "tcp option" where item["base"] != nil:
      guard let number = try number32(item, "base").flatMap({ UInt8(exactly: $0) }),
        let bit = try number32(item, "offset"), let width = try number32(item, "len"),
        bit <= 320, (1...320).contains(width)
      else { throw RulesetError("an option of raw bytes is not understood") }
      return .tcpOption(number, bit: bit, width: width)
    case "exthdr", "tcp option", "ip option", "sctp chunk":
      let name = try item.requiredText("name")
      let field = try item.text("field")
      let prefix = member.key == "exthdr" ? (field == nil ? "exthdr " : "") : "\(member.key) "
      return try known(["\(prefix)\(name)\(field.map { " \($0)" } ?? "")"])
    case "numgen":
      let mode = try item.requiredText("mode")
      guard mode == "inc" || mode == "random" else { throw RulesetError("numgen has no mode '\(mode)'") }
      return .numgen(
        random: mode == "random", modulus: try modulus(item), offset: try number32(item, "offset") ?? 0)
    case "symhash": return .symhash(modulus: try modulus(item), offset: try number32(item, "offset") ?? 0)
    case "jhash":
      guard let hashed = item["expr"] else { throw RulesetError("jhash without what is hashed") }
      return .jhash(
        try selectors(hashed), modulus: try modulus(item), seed: try number32(item, "seed"),
        offset: try number32(item, "offset") ?? 0)
    default: throw RulesetError("the field '\(member.key)' is not understood")
    }
  }

  private func known(_ names: [String]) throws(RulesetError) -> Selector {
    for name in names {
      if let selector = Selector(named: name) { return selector }
    }
    throw RulesetError("the field '\(names[0])' is not understood")
  }

  private func modulus(_ item: JSON) throws(RulesetError) -> UInt32 {
    guard let modulus = try number32(item, "mod"), modulus > 0 else {
      throw RulesetError("'mod' should be 1 at least")
    }
    return modulus
  }

  func number32(_ item: JSON, _ key: String) throws(RulesetError) -> UInt32? {
    guard let number = try item.integer(key) else { return nil }
    guard let small = UInt32(exactly: number) else { throw RulesetError("'\(key)' is out of range") }
    return small
  }

  private func payload(_ item: JSON) throws(RulesetError) -> Selector {
    guard let base = try item.text("base") else {
      return try known(["\(try item.requiredText("protocol")) \(try item.requiredText("field"))"])
    }
    let bases: [String: NftPayloadBase] = ["ll": .link, "nh": .network, "th": .transport, "ih": .inner]
    guard let known = bases[base], let offset = try number32(item, "offset"),
      let length = try number32(item, "len"), (1...512).contains(length), offset <= 1 << 16
    else { throw RulesetError("a field of raw bytes is not understood") }
    return Selector(
      "@\(base),\(offset),\(length)", .integer(Int(length + 7) / 8),
      .payload(known, bit: offset, width: length))
  }

  private func fib(_ item: JSON) throws(RulesetError) -> Selector {
    var flags: NftFib.Flags = []
    let words = try item.texts("flags")
    for word in words {
      switch word {
      case "saddr": flags.insert(.sourceAddress)
      case "daddr": flags.insert(.destinationAddress)
      case "mark": flags.insert(.mark)
      case "iif": flags.insert(.inputInterface)
      case "oif": flags.insert(.outputInterface)
      default: throw RulesetError("fib has no flag '\(word)'")
      }
    }
    let result = try item.requiredText("result")
    let name = "fib \(words.joined(separator: " . ")) \(result)"
    switch result {
    case "type": return Selector(name, .routeType, .fib(flags, .addressType))
    case "oif": return Selector(name, .interfaceIndex, .fib(flags, .outputIndex))
    case "oifname": return Selector(name, .interfaceName, .fib(flags, .outputName))
    case "check", "exists": return Selector(name, .boolean, .fibPresence(flags))
    default: throw RulesetError("fib has no result '\(result)'")
    }
  }

  // MARK: Values

  /// A single value as a register of the type holds it.
  func value(_ value: JSON, _ type: NftDataType) throws(RulesetError) -> NftData {
    let data: NftData?
    switch value {
    case .number(let digits): data = UInt64(digits).flatMap { type.data($0) }
    case .string(let word): data = type.data(word)
    case .bool(let flag): data = type.data(flag ? 1 : 0)
    case .array(let labels) where type == .connectionLabel:
      var bytes = [UInt8](repeating: 0, count: type.size)
      for label in labels { bytes = zip(bytes, try self.value(label, type).bytes).map { $0 | $1 } }
      data = NftData(bytes)
    case .array where type.isBitmask: data = type.data(try bits(value, type))
    case .object where value["|"] != nil: data = type.data(try bits(value, type))
    case .array, .object, .null: data = nil
    }
    guard let data else {
      if case .string(let word) = value { throw RulesetError("'\(word)' is no \(type.name)") }
      throw RulesetError("\(value.kindName) is no \(type.name)")
    }
    return data
  }

  /// Flags, one or several.
  func bits(_ value: JSON, _ type: NftDataType) throws(RulesetError) -> UInt64 {
    var parts: [JSON] = [value]
    if case .array(let list) = value { parts = list }
    if case .array(let list)? = value["|"] { parts = list }
    guard parts.count > 1 || parts.first != value else {
      let data = try self.value(value, type)
      return type.isHostOrder ? data.hostValue : data.bigEndianValue
    }
    var bits: UInt64 = 0
    for part in parts { bits |= try self.bits(part, type) }
    return bits
  }

  /// What a selector is compared with, or an element's key.
  func field(_ value: JSON, _ type: NftDataType) throws(RulesetError) -> FieldValue {
    if let prefix = value["prefix"] {
      guard let address = prefix["addr"], let length = try prefix.integer("len") else {
        throw RulesetError("a prefix is an address and a length")
      }
      let data = try self.value(address, type)
      guard (0...data.count * 8).contains(length) else { throw RulesetError("a prefix of \(length) bits") }
      return length == data.count * 8 ? .value(data) : .prefix(data, length)
    }
    if let range = value["range"] {
      guard case .array(let ends) = range, ends.count == 2 else { throw RulesetError("a range has two ends") }
      return .range(try self.value(ends[0], type), try self.value(ends[1], type))
    }
    return .value(try self.value(value, type))
  }

  /// One value for each type; none for all other keys.
  func key(_ value: JSON, _ types: [NftDataType]) throws(RulesetError) -> [FieldValue] {
    if case .string("*") = value, types.first != .interfaceName { return [] }
    guard case .array(let parts)? = value["concat"] else {
      guard types.count == 1 else { throw RulesetError("one value stands where \(types.count) should") }
      return [try field(value, types[0])]
    }
    guard parts.count == types.count else {
      throw RulesetError("\(parts.count) values stand where \(types.count) should")
    }
    var fields: [FieldValue] = []
    for (part, type) in zip(parts, types) { fields.append(try field(part, type)) }
    return fields
  }

  /// What a map gives: as it lies in registers.
  func data(_ value: JSON, _ types: [NftDataType]) throws(RulesetError) -> NftData {
    guard case .array(let parts)? = value["concat"] else {
      guard types.count == 1 else { throw RulesetError("one value stands where \(types.count) should") }
      return try self.value(value, types[0])
    }
    guard parts.count == types.count else {
      throw RulesetError("\(parts.count) values stand where \(types.count) should")
    }
    var bytes: [UInt8] = []
    for (part, type) in zip(parts, types) { bytes += try self.value(part, type).padded.bytes }
    return NftData(bytes)
  }

  func verdict(_ value: JSON) throws(RulesetError) -> NftVerdict {
    guard case .object(let members) = value, members.count == 1, let member = members.first else {
      throw RulesetError("\(value.kindName) is no verdict")
    }
    switch member.key {
    case "accept": return .accept
    case "drop": return .drop
    case "continue": return .continue
    case "return": return .return
    case "jump": return .jump(try member.value.requiredText("target"))
    case "goto": return .goto(try member.value.requiredText("target"))
    default: throw RulesetError("there is no verdict '\(member.key)'")
    }
  }
}
