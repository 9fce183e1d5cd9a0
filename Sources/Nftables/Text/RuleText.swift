// SPDX-License-Identifier: GPL-2.0-or-later

// A rule's expressions read back into nft's language: what each register holds is followed from load to use.
// What a selector presumes is not written where nft would put it back by itself.

import NetTypes

/// Writes one rule.
struct RuleText {
  private let family: NftFamily
  private var items: [Item] = []
  private var registers: [Int: Operand] = [:]
  /// The words loaded since the last match: what a key of a named set is made of.
  private var fresh: Set<Int> = []
  private var network: EtherType?
  private var transport: IPProtocol?

  /// A part of the rule's text.
  private struct Item {
    var text: String
    /// The selector's name of a match that only says what a later one presumes.
    var guards: Guard?
    /// What it presumes itself.
    var needs: Set<Guard> = []
  }

  /// A match that nft puts before others by itself.
  private enum Guard: Hashable {
    case network(UInt16)
    case transport(UInt8)
    case ethernet
    case vlan
  }

  /// What a register holds.
  private struct Operand {
    var text: String
    var type: NftDataType
    var bytes: Int
    var payload: NftPayload?
    var selector: Selector?
    var constant: NftData?
    var mask: NftData?
    var flip: NftData?
    var isSwapped = false
    var needs: Set<Guard> = []
  }

  /// An expression that nft's language, or this writer, has no words for.
  private struct Unwritable: Error {}

  init(family: NftFamily) {
    self.family = family
    switch family {
    case .ip: network = .ipv4
    case .ip6: network = .ipv6
    case .arp: network = .arp
    default: break
    }
  }

  /// The rule's line; a comment when it holds an expression that cannot be written.
  static func line(_ rule: NftRule, family: NftFamily) -> String {
    var writer = RuleText(family: family)
    do {
      try writer.run(rule.expressions)
    } catch {
      let text = rule.expressions.map(\.description).joined(separator: " ; ")
      return "# a rule that cannot be written in this language: \(text)"
    }
    var text = writer.joined
    if let comment = rule.comment { text += (text.isEmpty ? "" : " ") + "comment \(quoted(comment))" }
    return text
  }

  private var joined: String {
    var kept = [Bool](repeating: true, count: items.count)
    for (index, item) in items.enumerated() where !item.needs.isEmpty {
      var before = index - 1
      while before >= 0, let guarded = items[before].guards, item.needs.contains(guarded) {
        kept[before] = false
        before -= 1
      }
    }
    return zip(items, kept).filter(\.1).map(\.0.text).joined(separator: " ")
  }

  private mutating func run(_ expressions: [NftExpression]) throws(Unwritable) {
    var index = 0
    while index < expressions.count {
      if case .cmp(let low) = expressions[index], low.operation == .greaterOrEqual,
        index + 1 < expressions.count,
        case .cmp(let high) = expressions[index + 1], high.operation == .lessOrEqual,
        high.source == low.source
      {
        try range(low.source, low.data, high.data, negated: false)
        index += 2
        continue
      }
      try write(expressions[index])
      index += 1
    }
  }

  private mutating func say(_ text: String, needs: Set<Guard> = [], guards: Guard? = nil) {
    items.append(Item(text: text, guards: guards, needs: needs))
    fresh = []
  }

  private func operand(_ register: NftRegister) throws(Unwritable) -> Operand {
    guard let word = register.word, let operand = registers[word] else { throw Unwritable() }
    return operand
  }

  private mutating func put(_ operand: Operand, _ register: NftRegister) throws(Unwritable) {
    guard let word = register.word else { throw Unwritable() }
    registers[word] = operand
    fresh.insert(word)
  }

  // MARK: Expressions

  private mutating func write(_ expression: NftExpression) throws(Unwritable) {
    switch expression {
    case .payload(let e): try put(load(e), e.destination)
    case .meta(let e):
      let selector = Selector.all.first { $0.load == .meta(e.key) }
      guard let selector else { throw Unwritable() }
      try put(
        Operand(text: selector.name, type: selector.type, bytes: selector.type.size, selector: selector),
        e.destination)
    case .ct(let e): try load(.ct(e.key, e.direction), e.destination)
    case .fib(let e): try load(e.isPresence ? .fibPresence(e.flags) : .fib(e.flags, e.result), e.destination)
    case .rt(let e):
      guard e.key == .tcpMSS else { throw Unwritable() }
      try put(Operand(text: "rt mtu", type: .integer(2), bytes: 2), e.destination)
    case .socket(let e): try load(.socket(e.key), e.destination)
    case .exthdr(let e):
      try load(
        .exthdr(e.operation, type: e.type, offset: e.offset, length: e.length, presence: e.isPresence),
        e.destination)
    case .numgen(let e):
      let selector = Selector.numgen(random: e.isRandom, modulus: e.modulus, offset: e.offset)
      try put(Operand(text: selector.name, type: selector.type, bytes: 4), e.destination)
    case .hash(let e): try hash(e)
    case .byteorder(let e):
      var operand = try operand(e.source)
      operand.isSwapped.toggle()
      try put(operand, e.destination)
    case .bitwise(let e):
      guard case .mask(let mask, let flip) = e.operation else { throw Unwritable() }
      var operand = try operand(e.source)
      guard operand.mask == nil else { throw Unwritable() }
      operand.mask = mask
      operand.flip = flip
      try put(operand, e.destination)
    case .cmp(let e): try compare(e)
    case .range(let e): try range(e.source, e.from, e.to, negated: e.isNegated)
    case .lookup(let e): try lookup(e)
    case .immediate(let e):
      switch e.value {
      case .verdict(let verdict): say("\(verdict)")
      case .data(let data):
        try put(
          Operand(text: "", type: .integer(data.count), bytes: data.count, constant: data), e.destination)
      }
    default: try writeStatement(expression)
    }
  }

  private mutating func writeStatement(_ expression: NftExpression) throws(Unwritable) {
    if let text = Self.stateful(expression) {
      say(text)
      return
    }
    switch expression {
    case .log(let e): say(Self.log(e))
    case .notrack: say("notrack")
    case .reject(let e): say(reject(e))
    case .objectReference(let e):
      guard case .named(let type, let name) = e.target, let kind = ObjectText.names[type] else {
        throw Unwritable()
      }
      say("\(kind) name \(quoted(name))")
    case .metaSet(let e):
      guard e.key == .mark || e.key == .nftrace || e.key == .priority else { throw Unwritable() }
      say("meta \(e.key.name) set \(try assigned(e.source, e.key == .nftrace ? .integer(1) : .mark))")
    case .ctSet(let e):
      guard e.key == .mark else { throw Unwritable() }
      say("ct mark set \(try assigned(e.source, .mark))")
    case .exthdrWrite(let e):
      guard e.operation == .tcpOption, e.type == 2, e.offset == 2, e.length == 2, let source = e.source else {
        throw Unwritable()
      }
      say("tcp option maxseg size set \(try assigned(source, .integer(2)))", needs: [.transport(6)])
    case .dynset(let e): try dynset(e)
    case .nat(let e): try nat(e)
    case .masquerade(let e):
      say("masquerade" + (try ports(e.portMin, e.portMax).map { " to :\($0)" } ?? "") + Self.flags(e.flags))
    case .redirect(let e):
      say("redirect" + (try ports(e.portMin, e.portMax).map { " to :\($0)" } ?? "") + Self.flags(e.flags))
    case .tproxy(let e):
      let address = try e.address.map { register throws(Unwritable) in try self.address(register) } ?? ""
      let port = try ports(e.port, nil).map { ":\($0)" } ?? ""
      let word = family == .inet && e.family != .inet ? " \(e.family.rawValue)" : ""
      say("tproxy\(word) to \(address)\(port)")
    case .dup(let e):
      guard e.device == nil, let register = e.address else { throw Unwritable() }
      say("dup to \(try address(register))")
    default: throw Unwritable()
    }
  }

  // MARK: Loads

  private mutating func load(_ load: Selector.Load, _ destination: NftRegister) throws(Unwritable) {
    guard let selector = Selector.all.first(where: { $0.load == load }) else { throw Unwritable() }
    try put(
      Operand(
        text: selector.name, type: selector.type, bytes: selector.loadedBytes, selector: selector,
        needs: guards(of: selector.requirement)), destination)
  }

  private func load(_ payload: NftPayload) -> Operand {
    let selector = Selector.all.first { selector in
      guard case .payload(let base, let bit, let width) = selector.load else { return false }
      return base == payload.base && bit == payload.offset * 8 && width == payload.length * 8
        && fits(selector)
    }
    let raw =
      "@\(["ll", "nh", "th", "ih"][Int(payload.base.rawValue)]),\(payload.offset * 8),\(payload.length * 8)"
    return Operand(
      text: selector?.name ?? raw, type: selector?.type ?? .integer(Int(payload.length)),
      bytes: Int(payload.length),
      payload: payload, selector: selector, needs: selector.map { guards(of: $0.requirement) } ?? [])
  }

  /// True when what the selector presumes is known of the packet.
  private func fits(_ selector: Selector) -> Bool {
    switch selector.requirement {
    case .nothing: transport == nil || !selector.name.hasPrefix("th ")
    case .network(let type): network == type
    case .transport(let number): transport == number
    case .familyTransport(let number, let type): transport == number && network == type
    case .ethernet, .vlan: true
    }
  }

  private func guards(of requirement: Selector.Requirement) -> Set<Guard> {
    switch requirement {
    case .nothing: []
    case .network(let type): [.network(type.rawValue)]
    case .transport(let number): [.transport(number.rawValue)]
    case .familyTransport(let number, let type): [.transport(number.rawValue), .network(type.rawValue)]
    case .ethernet: [.ethernet]
    case .vlan: [.ethernet, .vlan]
    }
  }

  private mutating func hash(_ e: NftHash) throws(Unwritable) {
    let offset = e.offset == 0 ? "" : " offset \(e.offset)"
    guard let source = e.source else {
      try put(
        Operand(text: "symhash mod \(e.modulus)\(offset)", type: .hostInteger, bytes: 4), e.destination)
      return
    }
    let (text, needs) = try concatenation(source, bytes: Int(e.length))
    let seed = e.seed.map { " seed 0x\(String($0, radix: 16))" } ?? ""
    try put(
      Operand(
        text: "jhash \(text) mod \(e.modulus)\(seed)\(offset)", type: .hostInteger, bytes: 4, needs: needs),
      e.destination)
  }

  /// What stands side by side from a register on.
  private func concatenation(_ source: NftRegister, bytes: Int) throws(Unwritable) -> (String, Set<Guard>) {
    guard var word = source.word else { throw Unwritable() }
    let end = word + (bytes + 3) / 4
    var parts: [String] = []
    var needs: Set<Guard> = []
    while word < end {
      guard let operand = registers[word] else { throw Unwritable() }
      parts.append(operand.text)
      needs.formUnion(operand.needs)
      word += (operand.bytes + 3) / 4
    }
    return (parts.joined(separator: " . "), needs)
  }

  // MARK: Matches

  private mutating func compare(_ e: NftCmp) throws(Unwritable) {
    let operand = try operand(e.source)
    let op = e.operation.symbol.isEmpty ? "" : e.operation.symbol + " "
    if let mask = operand.mask {
      try compareMasked(operand, mask, e)
      return
    }
    if e.operation == .equal, learnGuard(operand, e.data) { return }
    if let payload = operand.payload, operand.selector == nil || operand.type.size != e.data.count {
      try comparePayload(payload, e)
      return
    }
    let text = ValueText(type: operand.type, isSwapped: operand.isSwapped).text(e.data)
    // A plain set of flags means any of them; the exact value wants its operator.
    let symbol = operand.type.isBitmask && e.operation == .equal ? "== " : op
    say("\(operand.text) \(symbol)\(text)", needs: operand.needs)
  }

  /// Learns the packet's protocol from a match on it and says it as one that may be left out.
  private mutating func learnGuard(_ operand: Operand, _ data: NftData) -> Bool {
    let value = data.bigEndianValue
    let text = ValueText(type: operand.type).text(data)
    switch operand.text {
    case "meta l4proto", "ip protocol", "ip6 nexthdr":
      transport = IPProtocol(rawValue: UInt8(truncatingIfNeeded: value))
      let only = operand.text == "meta l4proto" ? Guard.transport(UInt8(truncatingIfNeeded: value)) : nil
      say("\(operand.text) \(text)", needs: operand.needs, guards: only)
    case "meta nfproto":
      network = value == 10 ? .ipv6 : .ipv4
      say("meta nfproto \(text)", guards: .network(value == 10 ? 0x86dd : 0x0800))
    case "meta protocol", "vlan type":
      network = EtherType(rawValue: UInt16(truncatingIfNeeded: value))
      say(
        "\(operand.text) \(text)", needs: operand.needs, guards: .network(UInt16(truncatingIfNeeded: value)))
    case "iiftype":
      say(
        "iiftype \(data.hostValue == 1 ? "ether" : "\(data.hostValue)")",
        guards: data.hostValue == 1 ? .ethernet : nil)
    case "ether type":
      if value == 0x8100 {
        say("ether type vlan", needs: operand.needs, guards: .vlan)
      } else {
        network = EtherType(rawValue: UInt16(truncatingIfNeeded: value))
        say("ether type \(text)", needs: operand.needs)
      }
    default: return false
    }
    return true
  }

  private mutating func compareMasked(_ operand: Operand, _ mask: NftData, _ e: NftCmp) throws(Unwritable) {
    guard operand.flip?.bytes.allSatisfy({ $0 == 0 }) ?? true, mask.count == e.data.count else {
      throw Unwritable()
    }
    let isZero = e.data.bytes.allSatisfy { $0 == 0 }
    let values = ValueText(type: operand.type)
    let op = e.operation.symbol.isEmpty ? "" : e.operation.symbol + " "
    if let (selector, shift) = field(operand, mask) {
      let value = NftData(bigEndian: e.data.bigEndianValue >> UInt64(shift), width: selector.type.size)
      say(
        "\(selector.name) \(op)\(ValueText(type: selector.type).text(value))",
        needs: guards(of: selector.requirement))
      return
    }
    if operand.type.isBitmask, isZero, !e.operation.symbol.isEmpty || e.operation == .equal,
      e.operation.isEquality
    {
      say("\(operand.text) \(e.operation == .notEqual ? "" : "! ")\(values.text(mask))", needs: operand.needs)
      return
    }
    if let length = Self.length(of: mask), operand.type == .ipv4Address || operand.type == .ipv6Address {
      say("\(operand.text) \(op)\(values.text(e.data))/\(length)", needs: operand.needs)
      return
    }
    let symbol = e.operation == .equal ? "==" : e.operation.symbol
    if operand.type.isBitmask {
      let bits = values.text(mask).replacingCommas
      say(
        "\(operand.text) & (\(bits)) \(symbol) \(isZero ? "0x0" : values.text(e.data).replacingCommas)",
        needs: operand.needs)
      return
    }
    say(
      "\(operand.text) & \(Self.number(mask, operand.type)) \(symbol) \(Self.number(e.data, operand.type))",
      needs: operand.needs)
  }

  /// The field narrower than its bytes that a mask leaves of a load.
  private func field(_ operand: Operand, _ mask: NftData) -> (Selector, Int)? {
    guard let payload = operand.payload else { return nil }
    for selector in Selector.all {
      guard case .payload(let base, let bit, let width) = selector.load, let window = selector.window,
        base == payload.base, bit / 8 == payload.offset, window.bytes == Int(payload.length), fits(selector),
        mask == NftData(bigEndian: ((1 << UInt64(width)) - 1) << UInt64(window.shift), width: window.bytes)
      else { continue }
      return (selector, window.shift)
    }
    return nil
  }

  /// Several fields in one load, or the first bytes of one.
  private mutating func comparePayload(_ payload: NftPayload, _ e: NftCmp) throws(Unwritable) {
    var offset = payload.offset * 8
    let end = (payload.offset + payload.length) * 8
    var parts: [(String, Set<Guard>)] = []
    while offset < end {
      let found = Selector.all.first { selector in
        guard case .payload(let base, let bit, let width) = selector.load else { return false }
        return base == payload.base && bit == offset && bit % 8 == 0 && width % 8 == 0 && fits(selector)
      }
      guard let selector = found, case .payload(_, _, let width) = selector.load else { break }
      let start = Int(offset / 8 - payload.offset)
      let values = ValueText(type: selector.type)
      let op = e.operation.symbol.isEmpty ? "" : e.operation.symbol + " "
      if offset + width > end {
        guard selector.type == .ipv4Address || selector.type == .ipv6Address, parts.isEmpty else { break }
        let missing = selector.type.size - e.data.count
        let address = NftData(e.data.bytes + [UInt8](repeating: 0, count: max(0, missing)))
        parts.append(
          (
            "\(selector.name) \(op)\(values.text(address))/\(e.data.count * 8)",
            guards(of: selector.requirement)
          ))
      } else {
        guard start + Int(width / 8) <= e.data.count else { break }
        let data = NftData(Array(e.data.bytes[start..<start + Int(width / 8)]))
        parts.append(("\(selector.name) \(op)\(values.text(data))", guards(of: selector.requirement)))
      }
      offset += width
    }
    guard offset >= end, parts.count == 1 || e.operation == .equal else {
      let raw =
        "@\(["ll", "nh", "th", "ih"][Int(payload.base.rawValue)]),\(payload.offset * 8),\(payload.length * 8)"
      let op = e.operation == .equal ? "" : e.operation.symbol + " "
      say("\(raw) \(op)0x\(e.data)")
      return
    }
    for (text, needs) in parts { say(text, needs: needs) }
  }

  private mutating func range(
    _ register: NftRegister, _ low: NftData, _ high: NftData, negated: Bool
  ) throws(Unwritable) {
    let operand = try operand(register)
    let op = negated ? "!= " : ""
    if let mask = operand.mask {
      guard let (selector, shift) = field(operand, mask) else { throw Unwritable() }
      let values = ValueText(type: selector.type)
      let ends = [low, high].map {
        values.text(NftData(bigEndian: $0.bigEndianValue >> UInt64(shift), width: selector.type.size))
      }
      say("\(selector.name) \(op)\(ends[0])-\(ends[1])", needs: guards(of: selector.requirement))
      return
    }
    let values = ValueText(type: operand.type, isSwapped: operand.isSwapped)
    say("\(operand.text) \(op)\(values.text(low))-\(values.text(high))", needs: operand.needs)
  }

  private mutating func lookup(_ e: NftLookup) throws(Unwritable) {
    let anonymous: NftSet? = if case .anonymous(let set) = e.set { set } else { nil }
    guard let start = e.source.word else { throw Unwritable() }
    var words = [start]
    if let set = anonymous {
      words = []
      var word = start
      for type in set.keyTypes {
        words.append(word)
        word += type.paddedSize / 4
      }
    } else {
      // A named set takes as many fields as were loaded side by side.
      var word = start
      while fresh.contains(word), let operand = registers[word] {
        if !words.contains(word) { words.append(word) }
        word += (operand.bytes + 3) / 4
      }
    }
    var parts: [String] = []
    var needs: Set<Guard> = []
    var swapped: Set<Int> = []
    for (index, word) in words.enumerated() {
      guard let operand = registers[word] else { throw Unwritable() }
      if let mask = operand.mask {
        guard let (selector, _) = field(operand, mask) else { throw Unwritable() }
        parts.append(selector.name)
        needs.formUnion(guards(of: selector.requirement))
      } else {
        parts.append(operand.text)
        needs.formUnion(operand.needs)
      }
      if operand.isSwapped { swapped.insert(index) }
    }
    let content: String =
      switch e.set {
      case .named(let name): "@\(name)"
      case .anonymous(let set): SetText(set: unshifted(set, words), swapped: swapped).elements
      }
    let key = parts.joined(separator: " . ")
    switch e.destination {
    case nil: say("\(key) \(e.isInverted ? "!= " : "")\(content)", needs: needs)
    case NftRegister.verdict?: say("\(key) vmap \(content)", needs: needs)
    case let register?:
      fresh = []
      let text = "\(key) map \(content)"
      try put(Operand(text: text, type: .integer(4), bytes: 4, needs: needs), register)
    }
  }

  /// A set on a field narrower than its bytes, with the values themselves as keys.
  private func unshifted(_ set: NftSet, _ words: [Int]) -> NftSet {
    guard words.count == 1, let operand = registers[words[0]], let mask = operand.mask,
      let (selector, shift) = field(operand, mask)
    else { return set }
    var result = set
    let value = { (data: NftData) in
      NftData(bigEndian: data.bigEndianValue >> UInt64(shift), width: selector.type.size)
    }
    result.keyTypes = [selector.type]
    result.elements = set.elements.map {
      NftSetElement(key: value($0.key), keyEnd: $0.keyEnd.map(value), value: $0.value)
    }
    return result
  }

  private static func length(of mask: NftData) -> Int? {
    (0...mask.count * 8).first { prefixMask($0, bytes: mask.count) == mask }
  }

  private static func number(_ data: NftData, _ type: NftDataType) -> String {
    let value = type.isHostOrder ? data.hostValue : data.bigEndianValue
    return "0x" + String(value, radix: 16)
  }

  // MARK: Statements

  /// The value that a statement takes from a register.
  private func assigned(_ register: NftRegister, _ type: NftDataType) throws(Unwritable) -> String {
    let operand = try operand(register)
    if let constant = operand.constant { return ValueText(type: type).text(constant) }
    guard let mask = operand.mask, let flip = operand.flip else { return operand.text }
    return "\(operand.text) & \(Self.number(mask, type)) ^ \(Self.number(flip, type))"
  }

  private func address(_ register: NftRegister) throws(Unwritable) -> String {
    let operand = try operand(register)
    guard let constant = operand.constant, let address = IPAddress(bytes: constant.bytes) else {
      throw Unwritable()
    }
    return address.family == .ipv6 ? "[\(address)]" : "\(address)"
  }

  private func ports(_ min: NftRegister?, _ max: NftRegister?) throws(Unwritable) -> String? {
    guard let min else { return nil }
    guard let low = try operand(min).constant else { throw Unwritable() }
    guard let max, max != min else { return "\(low.bigEndianValue)" }
    guard let high = try operand(max).constant else { throw Unwritable() }
    return low == high ? "\(low.bigEndianValue)" : "\(low.bigEndianValue)-\(high.bigEndianValue)"
  }

  private mutating func nat(_ e: NftNAT) throws(Unwritable) {
    let word = e.kind == .source ? "snat" : "dnat"
    let name = e.family == .ipv4 ? "ip" : "ip6"
    guard let minimum = e.addressMin else {
      guard let ports = try ports(e.portMin, e.portMax) else { throw Unwritable() }
      say("\(word) \(family == .inet ? name + " " : "")to :\(ports)\(Self.flags(e.flags))")
      return
    }
    let operand = try operand(minimum)
    guard operand.constant != nil else {
      say("\(word) \(name) to \(operand.text)\(Self.flags(e.flags))", needs: operand.needs)
      return
    }
    let ports = try ports(e.portMin, e.portMax)
    var text = try address(minimum)
    if let maximum = e.addressMax, maximum != minimum { text += "-\(try address(maximum))" }
    if ports == nil { text = String(text.filter { $0 != "[" && $0 != "]" }) }
    say(
      "\(word) \(family == .inet ? name + " " : "")to \(text)\(ports.map { ":\($0)" } ?? "")\(Self.flags(e.flags))"
    )
  }

  static func flags(_ flags: NftNATFlags) -> String {
    let names: [(NftNATFlags, String)] = [
      (.random, "random"), (.fullyRandom, "fully-random"), (.persistent, "persistent"),
    ]
    let words = names.filter { flags.contains($0.0) }.map(\.1)
    return words.isEmpty ? "" : " " + words.joined(separator: ",")
  }

  private mutating func dynset(_ e: NftDynset) throws(Unwritable) {
    guard e.data == nil else { throw Unwritable() }
    guard var word = e.key.word else { throw Unwritable() }
    var parts: [String] = []
    var needs: Set<Guard> = []
    while fresh.contains(word), let operand = registers[word] {
      parts.append(operand.text)
      needs.formUnion(operand.needs)
      word += (operand.bytes + 3) / 4
    }
    guard !parts.isEmpty else { throw Unwritable() }
    var text = parts.joined(separator: " . ")
    if e.timeout != 0 { text += " timeout \(TimeText.text(e.timeout))" }
    for expression in e.expressions {
      guard let statement = Self.stateful(expression) else { throw Unwritable() }
      text += " \(statement)"
    }
    say("\(e.operation) @\(e.setName) { \(text) }", needs: needs)
  }

  /// Statements that may also stand in an element.
  static func stateful(_ expression: NftExpression) -> String? {
    switch expression {
    case .counter(let e): "counter packets \(e.packets) bytes \(e.bytes)"
    case .limit(let e): limit(e)
    case .quota(let e):
      "quota \(e.isInverted ? "over " : "")\(e.bytes) bytes"
        + (e.consumed == 0 ? "" : " used \(e.consumed) bytes")
    case .connlimit(let e): "ct count \(e.isInverted ? "over " : "")\(e.count)"
    default: nil
    }
  }

  static func limit(_ e: NftLimit) -> String {
    let unit = e.countsBytes ? " bytes/" : "/"
    let burst = e.burst == 0 ? "" : " burst \(e.burst) \(e.countsBytes ? "bytes" : "packets")"
    return "limit rate \(e.isInverted ? "over " : "")\(e.rate)\(unit)\(e.unitName)\(burst)"
  }

  static func log(_ e: NftLog) -> String {
    var text = "log"
    if let prefix = e.prefix, !prefix.isEmpty { text += " prefix \(quoted(prefix))" }
    if let group = e.group {
      text += " group \(group)"
      if let snaplen = e.snaplen, snaplen != 0 { text += " snaplen \(snaplen)" }
      if let threshold = e.queueThreshold, threshold != 0 { text += " queue-threshold \(threshold)" }
      return text
    }
    let levels = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit"]
    if let level = e.level, level != 4, Int(level) < levels.count { text += " level \(levels[Int(level)])" }
    guard e.flags != 0x2f else { return text + " flags all" }
    let names: [(UInt32, String)] = [
      (1, "tcp sequence"), (2, "tcp options"), (4, "ip options"), (8, "skuid"), (0x20, "ether"),
    ]
    if e.flags & 3 == 3 {
      text += " flags tcp sequence,options"
    } else {
      for (bit, name) in names.prefix(2) where e.flags & bit != 0 { text += " flags \(name)" }
    }
    for (bit, name) in names.dropFirst(2) where e.flags & bit != 0 { text += " flags \(name)" }
    return text
  }

  private func reject(_ e: NftReject) -> String {
    let code = Int(e.code)
    switch e.kind {
    case .tcpReset: return "reject with tcp reset"
    case .icmpx:
      let names = ["no-route", "port-unreachable", "host-unreachable", "admin-prohibited"]
      return "reject with icmpx " + (names.indices.contains(code) ? names[code] : "\(code)")
    case .icmp:
      let isIPv6 = network == .ipv6
      let names: [Int: String] =
        isIPv6
        ? [
          0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable",
          5: "policy-fail",
          6: "reject-route",
        ]
        : [
          0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable",
          9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited",
        ]
      return "reject with \(isIPv6 ? "icmpv6" : "icmp") \(names[code] ?? "\(code)")"
    }
  }
}

extension String {
  /// Flags joined as an expression joins them.
  fileprivate var replacingCommas: String { String(map { $0 == "," ? "|" : $0 }) }
}
