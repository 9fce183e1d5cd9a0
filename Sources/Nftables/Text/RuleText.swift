// SPDX-License-Identifier: GPL-2.0-or-later

// A rule's expressions read back into nft's language: what each register holds is followed from load to use.
// What a selector presumes is not written where nft would put it back by itself.

import NetTypes

/// Writes one rule.
struct RuleText {
  let family: NftFamily
  /// The named sets and maps that rules fill, or look objects up in: they know the types of what is in them.
  let sets: [NftSet]
  var items: [Item] = []
  var registers: [Int: Operand] = [:]
  /// The words loaded since the last match: what a key of a named set is made of.
  var fresh: Set<Int> = []
  var network: EtherType?
  var transport: IPProtocol?

  /// A part of the rule's text.
  struct Item {
    var text: String
    /// The selector's name of a match that only says what a later one presumes.
    var guards: Guard?
    /// What it presumes itself.
    var needs: Set<Guard> = []
  }

  /// A match that nft puts before others by itself.
  enum Guard: Hashable {
    case network(UInt16)
    case transport(UInt8)
    case ethernet
    case vlan
  }

  /// What a register holds.
  struct Operand {
    var text: String
    var type: NftDataType
    var bytes: Int
    var payload: NftPayload?
    var header: NftExthdr?
    var selector: Selector?
    var constant: NftData?
    var mask: NftData?
    var flip: NftData?
    var isSwapped = false
    var needs: Set<Guard> = []
  }

  /// An expression that nft's language, or this writer, has no words for.
  struct Unwritable: Error {}

  init(family: NftFamily, sets: [NftSet]) {
    self.family = family
    self.sets = sets
    switch family {
    case .ip: network = .ipv4
    case .ip6: network = .ipv6
    case .arp: network = .arp
    default: break
    }
  }

  /// The rule's line; a comment when it holds an expression that cannot be written.
  static func line(_ rule: NftRule, family: NftFamily, sets: [NftSet]) -> String {
    var writer = RuleText(family: family, sets: sets)
    do {
      try writer.run(rule.expressions)
    } catch {
      let text = rule.expressions.map(\.description).joined(separator: " ; ")
      // Text of others stands in it, and must not end the comment.
      return "# a rule that cannot be written in this language: "
        + String(text.map { $0.isNewline ? " " : $0 })
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

  mutating func say(_ text: String, needs: Set<Guard> = [], guards: Guard? = nil) {
    items.append(Item(text: text, guards: guards, needs: needs))
    fresh = []
  }

  func operand(_ register: NftRegister) throws(Unwritable) -> Operand {
    guard let word = register.word, let operand = registers[word] else { throw Unwritable() }
    return operand
  }

  mutating func put(_ operand: Operand, _ register: NftRegister) throws(Unwritable) {
    guard let word = register.word else { throw Unwritable() }
    registers[word] = operand
    fresh.insert(word)
  }

  // MARK: Expressions

  mutating func write(_ expression: NftExpression) throws(Unwritable) {
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
      guard let selector = Selector.all.first(where: { $0.load == .rt(e.key) }) else { throw Unwritable() }
      let name = e.key == .tcpMSS ? "rt mtu" : selector.name
      try put(Operand(text: name, type: selector.type, bytes: selector.type.size), e.destination)
    case .socket(let e): try load(.socket(e.key), e.destination)
    case .exthdr(let e): try put(load(e), e.destination)
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

  // MARK: Loads

  mutating func load(_ load: Selector.Load, _ destination: NftRegister) throws(Unwritable) {
    guard let selector = Selector.all.first(where: { $0.load == load }) else { throw Unwritable() }
    try put(
      Operand(
        text: selector.name, type: selector.type, bytes: selector.loadedBytes, selector: selector,
        needs: guards(of: selector.requirement)), destination)
  }

  func load(_ header: NftExthdr) throws(Unwritable) -> Operand {
    let (bit, width) = (header.offset * 8, header.length * 8)
    let load = Selector.Load.exthdr(
      header.operation, type: header.type, bit: bit, width: width, presence: header.isPresence)
    var selector = Selector.all.first { $0.load == load }
    if selector == nil, header.operation == .tcpOption {
      let raw = Selector.tcpOption(header.type, bit: bit, width: width)
      if raw.load == load { selector = raw }
    }
    var operand = Operand(text: "", type: .integer(Int(header.length)), bytes: Int(header.length))
    operand.header = header
    if let selector {
      operand.text = selector.name
      operand.type = selector.type
      operand.selector = selector
      operand.needs = guards(of: selector.requirement)
    } else {
      // Only a mask can say which field of these bytes is meant.
      guard Selector.headerSelectors.contains(where: { $0.isPart(of: header) }) else { throw Unwritable() }
    }
    return operand
  }

  func load(_ payload: NftPayload) -> Operand {
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
  func fits(_ selector: Selector) -> Bool {
    switch selector.requirement {
    case .nothing: transport == nil || !selector.name.hasPrefix("th ")
    case .network(let type): network == type
    case .transport(let number): transport == number
    case .familyTransport(let number, let type): transport == number && network == type
    case .ethernet, .vlan: true
    }
  }

  func guards(of requirement: Selector.Requirement) -> Set<Guard> {
    switch requirement {
    case .nothing: []
    case .network(let type): [.network(type.rawValue)]
    case .transport(let number): [.transport(number.rawValue)]
    case .familyTransport(let number, let type): [.transport(number.rawValue), .network(type.rawValue)]
    case .ethernet: [.ethernet]
    case .vlan: [.ethernet, .vlan]
    }
  }

  mutating func hash(_ e: NftHash) throws(Unwritable) {
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
  func concatenation(_ source: NftRegister, bytes: Int) throws(Unwritable) -> (String, Set<Guard>) {
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
}
