// SPDX-License-Identifier: GPL-2.0-or-later

// Comparisons and lookups: where an expression's constant becomes a value of the selector that was loaded.

import NetTypes

extension RuleText {
  mutating func compare(_ e: NftCmp) throws(Unwritable) {
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
    guard !operand.text.isEmpty else { throw Unwritable() }
    var text = ValueText(type: operand.type, isSwapped: operand.isSwapped).text(e.data)
    if operand.type == .ipv4Address || operand.type == .ipv6Address, e.data.count < operand.type.size {
      // The first bytes of an address are a prefix.
      let rest = [UInt8](repeating: 0, count: operand.type.size - e.data.count)
      text = ValueText(type: operand.type).text(NftData(e.data.bytes + rest)) + "/\(e.data.count * 8)"
    }
    // A plain set of flags means any of them; the exact value wants its operator.
    let symbol = operand.type.isBitmask && e.operation == .equal ? "== " : op
    say("\(operand.text) \(symbol)\(text)", needs: operand.needs)
  }

  /// Learns the packet's protocol from a match on it and says it as one that may be left out.
  mutating func learnGuard(_ operand: Operand, _ data: NftData) -> Bool {
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

  mutating func compareMasked(_ operand: Operand, _ mask: NftData, _ e: NftCmp) throws(Unwritable) {
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
    guard !operand.text.isEmpty else { throw Unwritable() }
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
  func field(_ operand: Operand, _ mask: NftData) -> (Selector, Int)? {
    for selector in Selector.all {
      guard let window = selector.window, let (_, width) = selector.bits,
        operand.payload.map({ selector.isPart(of: $0) && fits(selector) }) ?? operand.header.map({
          selector.isPart(of: $0)
        }) ?? false,
        mask == NftData(bigEndian: ((1 << UInt64(width)) - 1) << UInt64(window.shift), width: window.bytes)
      else { continue }
      return (selector, window.shift)
    }
    return nil
  }

  /// Several fields in one load, or the first bytes of one.
  mutating func comparePayload(_ payload: NftPayload, _ e: NftCmp) throws(Unwritable) {
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

  mutating func range(
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
    guard !operand.text.isEmpty else { throw Unwritable() }
    let values = ValueText(type: operand.type, isSwapped: operand.isSwapped)
    say("\(operand.text) \(op)\(values.text(low))-\(values.text(high))", needs: operand.needs)
  }

  mutating func lookup(_ e: NftLookup) throws(Unwritable) {
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
        guard !operand.text.isEmpty else { throw Unwritable() }
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
  func unshifted(_ set: NftSet, _ words: [Int]) -> NftSet {
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

  static func length(of mask: NftData) -> Int? {
    (0...mask.count * 8).first { prefixMask($0, bytes: mask.count) == mask }
  }

  static func number(_ data: NftData, _ type: NftDataType) -> String {
    let value = type.isHostOrder ? data.hostValue : data.bigEndianValue
    return "0x" + String(value, radix: 16)
  }
}

extension String {
  /// Flags joined as an expression joins them.
  fileprivate var replacingCommas: String { String(map { $0 == "," ? "|" : $0 }) }
}

extension Selector {
  /// Whether the field lies in the bytes that the expression loads, and does not fill them.
  func isPart(of payload: NftPayload) -> Bool {
    guard case .payload(let base, let bit, _) = load, let window else { return false }
    return base == payload.base && bit / 8 == payload.offset && window.bytes == Int(payload.length)
  }

  /// The same of a header, option or chunk.
  func isPart(of header: NftExthdr) -> Bool {
    guard case .exthdr(let operation, let type, let bit, _, presence: false) = load, let window else {
      return false
    }
    return operation == header.operation && type == header.type && bit / 8 == header.offset
      && window.bytes == Int(header.length) && !header.isPresence
  }
}
