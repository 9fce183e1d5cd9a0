// SPDX-License-Identifier: GPL-2.0-or-later

// Statements: what the rule does, with the constants that stand in its registers.

import NetTypes

extension RuleText {
  mutating func writeStatement(_ expression: NftExpression) throws(Unwritable) {
    if let text = Self.stateful(expression) {
      say(text)
      return
    }
    switch expression {
    case .log(let e): say(Self.log(e))
    case .notrack: say("notrack")
    case .flowOffload(let name): say("flow add @\(name)")
    case .reject(let e): say(reject(e))
    case .objectReference(let e): try reference(e)
    case .metaSet(let e):
      guard let type = Self.settable[e.key] else { throw Unwritable() }
      say("meta \(e.key.name) set \(try assigned(e.source, type))")
    case .ctSet(let e):
      switch e.key {
      case .mark: say("ct mark set \(try assigned(e.source, .mark))")
      case .labels: say("ct label set \(try assigned(e.source, .connectionLabel))")
      case .zone:
        let zone = try assigned(e.source, NftDataType(rawValue: 4, size: 2, hostOrder: true))
        say("ct \(e.direction.map { "\($0) " } ?? "")zone set \(zone)")
      case .eventMask: say("ct event set \(try assigned(e.source, .connectionEvent))")
      default: throw Unwritable()
      }
    case .payloadWrite(let e): try store(e)
    case .exthdrWrite(let e):
      guard e.operation == .tcpOption else { throw Unwritable() }
      guard let source = e.source else {
        guard let name = Self.options[e.type] else { throw Unwritable() }
        say("reset tcp option \(name)")
        return
      }
      let load = Selector.Load.exthdr(
        .tcpOption, type: e.type, bit: e.offset * 8, width: e.length * 8, presence: false)
      guard let selector = Selector.all.first(where: { $0.load == load }) else { throw Unwritable() }
      say("\(selector.name) set \(try assigned(source, selector.type))")
    case .dynset(let e): try dynset(e)
    case .nat(let e): try nat(e)
    case .masquerade(let e):
      say("masquerade" + (try ports(e.portMin, e.portMax).map { " to :\($0)" } ?? "") + Self.flags(e.flags))
    case .redirect(let e):
      say("redirect" + (try ports(e.portMin, e.portMax).map { " to :\($0)" } ?? "") + Self.flags(e.flags))
    case .synproxy(let e): say((["synproxy"] + e.words).joined(separator: " "))
    case .tproxy(let e):
      let address = try e.address.map { register throws(Unwritable) in try self.address(register) } ?? ""
      let port = try ports(e.port, nil).map { ":\($0)" } ?? ""
      let word = family == .inet && e.family != .inet ? " \(e.family.rawValue)" : ""
      say("tproxy\(word) to \(address)\(port)")
    case .dup(let e):
      let device = try e.device.map { register throws(Unwritable) in try self.device(register) }
      guard let register = e.address else {
        guard let device else { throw Unwritable() }
        say("dup to \(device)")
        return
      }
      say("dup to \(try bareAddress(register))\(device.map { " device \($0)" } ?? "")")
    case .fwd(let e):
      guard let register = e.address else {
        say("fwd to \(try device(e.device))")
        return
      }
      let word = e.family == 10 ? "ip6" : "ip"
      say("fwd \(word) to \(try bareAddress(register)) device \(try device(e.device))")
    default: throw Unwritable()
    }
  }

  /// What can be set beside a packet, and of which type it is.
  private static let settable: [NftMetaKey: NftDataType] = [
    .mark: .mark, .priority: .classID, .nftrace: .integer(1), .packetType: .packetType,
  ]

  /// TCP's options that can be taken out.
  private static let options: [UInt8: String] = [
    2: "maxseg", 3: "window", 4: "sack-perm", 5: "sack", 8: "timestamp",
  ]

  private mutating func reference(_ e: NftObjectReference) throws(Unwritable) {
    switch e.target {
    case .named(let type, let name):
      guard let kind = NftObjectKind(rawValue: type) else { throw Unwritable() }
      switch kind {
      case .ctHelper, .ctTimeout, .ctExpectation: say("\(kind.name) set \(quoted(name))")
      default: say("\(kind.name) name \(quoted(name))")
      }
    case .map(let reference, let source):
      let found: NftSet?
      let content: String
      switch reference {
      case .anonymous(let set): (found, content) = (set, SetText(set: set, swapped: []).elements)
      case .named(let name): (found, content) = (sets.first { $0.name == name }, "@\(name)")
      }
      guard let set = found, case .object(let type)? = set.data, let kind = NftObjectKind(rawValue: type)
      else { throw Unwritable() }
      let word =
        switch kind {
        case .ctHelper, .ctTimeout, .ctExpectation: "set"
        default: "name"
        }
      let (key, needs) = try concatenation(source, bytes: set.keyLength)
      say("\(kind.name) \(word) \(key) map \(content)", needs: needs)
    }
  }

  /// A field that is written: as a whole, or some bits of the words that hold it.
  private mutating func store(_ e: NftPayloadWrite) throws(Unwritable) {
    let operand = try operand(e.source)
    let payload = NftPayload(base: e.base, offset: e.offset, length: e.length, destination: .r1)
    if operand.mask == nil {
      guard let selector = load(payload).selector else { throw Unwritable() }
      say(
        "\(selector.name) set \(try assigned(e.source, selector.type))",
        needs: guards(of: selector.requirement).union(operand.needs))
      return
    }
    guard let mask = operand.mask, let flip = operand.flip, operand.payload?.offset == e.offset,
      operand.payload?.base == e.base, mask.count == Int(e.length), mask.count <= 8
    else { throw Unwritable() }
    let changed = NftData(mask.bytes.map { ~$0 }).bigEndianValue
    for selector in Selector.all {
      guard case .payload(let base, let bit, let width) = selector.load, base == e.base, fits(selector),
        bit >= e.offset * 8, bit + width <= (e.offset + e.length) * 8, width < 64
      else { continue }
      let shift = UInt64((e.offset + e.length) * 8 - bit - width)
      guard changed == ((1 << UInt64(width)) - 1) << shift else { continue }
      let value = NftData(bigEndian: flip.bigEndianValue >> shift, width: selector.type.size)
      say(
        "\(selector.name) set \(ValueText(type: selector.type).text(value))",
        needs: guards(of: selector.requirement))
      return
    }
    throw Unwritable()
  }

  private func device(_ register: NftRegister) throws(Unwritable) -> String {
    guard let index = try operand(register).constant, index.count == 4 else { throw Unwritable() }
    return "\(index.hostValue)"
  }

  private func bareAddress(_ register: NftRegister) throws(Unwritable) -> String {
    try address(register).filter { $0 != "[" && $0 != "]" }
  }

  /// The value that a statement takes from a register.
  func assigned(_ register: NftRegister, _ type: NftDataType) throws(Unwritable) -> String {
    let operand = try operand(register)
    if let constant = operand.constant { return ValueText(type: type).text(constant) }
    guard let mask = operand.mask, let flip = operand.flip else { return operand.text }
    return "\(operand.text) & \(Self.number(mask, type)) ^ \(Self.number(flip, type))"
  }

  func address(_ register: NftRegister) throws(Unwritable) -> String {
    let operand = try operand(register)
    guard let constant = operand.constant, let address = IPAddress(bytes: constant.bytes) else {
      throw Unwritable()
    }
    return address.family == .ipv6 ? "[\(address)]" : "\(address)"
  }

  func ports(_ min: NftRegister?, _ max: NftRegister?) throws(Unwritable) -> String? {
    guard let min else { return nil }
    guard let low = try operand(min).constant else { throw Unwritable() }
    guard let max, max != min else { return "\(low.bigEndianValue)" }
    guard let high = try operand(max).constant else { throw Unwritable() }
    return low == high ? "\(low.bigEndianValue)" : "\(low.bigEndianValue)-\(high.bigEndianValue)"
  }

  mutating func nat(_ e: NftNAT) throws(Unwritable) {
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

  mutating func dynset(_ e: NftDynset) throws(Unwritable) {
    guard var word = e.key.word else { throw Unwritable() }
    let end = e.data?.word ?? 16
    var parts: [String] = []
    var needs: Set<Guard> = []
    while word < end, fresh.contains(word), let operand = registers[word] {
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
    if let register = e.data {
      guard case .value(let types)? = sets.first(where: { $0.name == e.setName })?.data else {
        throw Unwritable()
      }
      let (data, presumed) = try fields(register, types)
      text += " : \(data)"
      needs.formUnion(presumed)
    }
    say("\(e.operation) @\(e.setName) { \(text) }", needs: needs)
  }

  /// What a map's element leads to.
  private func fields(
    _ register: NftRegister, _ types: [NftDataType]
  ) throws(Unwritable) -> (String, Set<Guard>) {
    guard var word = register.word else { throw Unwritable() }
    var parts: [String] = []
    var needs: Set<Guard> = []
    for type in types {
      guard let operand = registers[word], operand.mask == nil else { throw Unwritable() }
      parts.append(operand.constant.map { ValueText(type: type).text($0) } ?? operand.text)
      needs.formUnion(operand.needs)
      word += type.paddedSize / 4
    }
    return (parts.joined(separator: " . "), needs)
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

  func reject(_ e: NftReject) -> String {
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
