// SPDX-License-Identifier: GPL-2.0-or-later

// Statements: what a rule does.

import NetTypes

extension RuleCompiler {
  mutating func compile(_ statement: Statement) throws(Fault) {
    switch statement {
    case .match(let match): try compile(match)
    case .verdict(let verdict): emit(.verdict(verdict))
    case .counter: emit(.counter(NftCounter()))
    case .object(let kind, let name):
      try admit(object: name, kind)
      emit(.objectReference(NftObjectReference(target: .named(type: kind.rawValue, name: name))))
    case .objectMap(let kind, let selectors, let map): try compile(kind, selectors, map)
    case .limit(let limit):
      guard limit.rate > 0, [1, 60, 3600, 86400, 604_800].contains(limit.unitSeconds) else {
        throw Fault("a limit needs a rate of at least 1 in a second, minute, hour, day or week")
      }
      emit(.limit(limit.normalized))
    case .quota(let quota): emit(.quota(quota))
    case .connections(let connlimit): emit(.connlimit(connlimit))
    case .log(let log): try compile(log)
    case .reject(let reason): try compile(reason)
    case .notrack:
      guard family == .ip || family == .ip6 || family == .inet else {
        throw Fault("notrack in the \(family.rawValue) family")
      }
      emit(.notrack)
    case .translate(let translation): try compile(translation)
    case .masquerade(let ports, let flags):
      let (first, last) = try load(ports)
      emit(.masquerade(NftMasquerade(portMin: first, portMax: last, flags: marked(flags, ports))))
    case .redirect(let ports, let flags):
      let (first, last) = try load(ports)
      emit(.redirect(NftRedirect(portMin: first, portMax: last, flags: marked(flags, ports))))
    case .verdictMap(let selectors, let map): try compile(selectors, map)
    case .store(let selector, let source): try store(selector, source)
    case .removeOption(let type):
      emit(.exthdrWrite(NftExthdrWrite(operation: .tcpOption, type: type, source: nil)))
    case .updateSet(let update): try compile(update)
    case .synproxy(let proxy):
      guard family == .ip || family == .ip6 || family == .inet else {
        throw Fault("synproxy in the \(family.rawValue) family")
      }
      emit(.synproxy(proxy))
    case .tproxy(let address, let port): try tproxy(address, port)
    case .addFlow(let name):
      guard flowtables.contains(where: { $0.name == name }) else {
        throw Fault("there is no flowtable '\(name)' in the table")
      }
      emit(.flowOffload(name))
    case .dup(let address, let device): try duplicate(address, device)
    case .fwd(let device, let address): try forward(device, address)
    }
  }

  private func admit(object name: String, _ kind: NftObjectKind) throws(Fault) {
    guard objects.contains(where: { $0.name == name && $0.kind == kind }) else {
      throw Fault("there is no \(kind.name) '\(name)' in the table")
    }
  }

  private mutating func compile(_ log: NftLog) throws(Fault) {
    if let prefix = log.prefix { try Nftables.admit(text: prefix, as: "a log prefix") }
    guard (log.level ?? 4) <= 8 else { throw Fault("a log level is 0 to 8") }
    guard log.group == nil || log.level == nil && log.flags == 0 else {
      throw Fault("a log group takes no level and no flags")
    }
    emit(.log(log))
  }

  private mutating func compile(_ reason: RejectReason) throws(Fault) {
    guard family != .arp else { throw Fault("reject in the arp family") }
    switch reason {
    case .standard:
      switch (family, addressFamily) {
      case (.ip, _): emit(.reject(NftReject(kind: .icmp, code: 3)))
      case (.ip6, _): emit(.reject(NftReject(kind: .icmp, code: 4)))
      default: emit(.reject(NftReject(kind: .icmpx, code: 1)))
      }
    case .tcpReset:
      try require(transport: .tcp)
      emit(.reject(NftReject(kind: .tcpReset)))
    case .icmp(let code):
      try require(.network(.ipv4))
      emit(.reject(NftReject(kind: .icmp, code: code)))
    case .icmpv6(let code):
      try require(.network(.ipv6))
      emit(.reject(NftReject(kind: .icmp, code: code)))
    case .icmpx(let code):
      guard code < 4 else { throw Fault("an icmpx code is 0 to 3") }
      switch family {
      case .ip: emit(.reject(NftReject(kind: .icmp, code: [0, 3, 1, 13][Int(code)])))
      case .ip6: emit(.reject(NftReject(kind: .icmp, code: [0, 4, 3, 1][Int(code)])))
      default: emit(.reject(NftReject(kind: .icmpx, code: code)))
      }
    }
  }

  // MARK: Translation

  private func marked(_ flags: NftNATFlags, _ ports: PortRange?) -> NftNATFlags {
    ports == nil ? flags.chosen : flags.chosen.union(.portSpecified)
  }

  /// Puts ports into the registers from a wide one on.
  private mutating func load(_ ports: PortRange?, from word: Int = 0) throws(Fault) -> (
    NftRegister?, NftRegister?
  ) {
    guard let ports else { return (nil, nil) }
    try requirePorts()
    guard ports.first <= ports.last else { throw Fault("a port range whose end is before its begin") }
    let first = try immediate(NftData(bigEndian: UInt64(ports.first), width: 2), word: word)
    guard ports.first != ports.last else { return (first, nil) }
    return (first, try immediate(NftData(bigEndian: UInt64(ports.last), width: 2), word: word + 4))
  }

  private mutating func immediate(_ data: NftData, word: Int) throws(Fault) -> NftRegister {
    guard let register = NftRegister(word: word) else { throw Fault("no register is left") }
    emit(.immediate(.data(data, in: register)))
    return register
  }

  /// The family of a translation must be the rule's, where that is settled.
  private func admit(_ target: IPFamily) throws(Fault) {
    guard let known = addressFamily, known != target else { return }
    throw Fault(
      "an \(target == .ipv4 ? "IPv4" : "IPv6") target in a rule of \(known == .ipv4 ? "IPv4" : "IPv6")")
  }

  private mutating func compile(_ translation: Translation) throws(Fault) {
    guard family == .ip || family == .ip6 || family == .inet else {
      throw Fault("address translation in the \(family.rawValue) family")
    }
    switch translation.target {
    case .address(let first, let last, let ports):
      try admit(first.family)
      var nat = NftNAT(kind: translation.kind, family: first.family)
      nat.addressMin = try immediate(NftData(first.bytes), word: 0)
      var word = 4
      if let last, last != first {
        guard last.family == first.family, first < last else {
          throw Fault("an address range whose end is before its begin")
        }
        nat.addressMax = try immediate(NftData(last.bytes), word: word)
        word += 4
      }
      (nat.portMin, nat.portMax) = try load(ports, from: word)
      nat.flags = marked(translation.flags, ports)
      emit(.nat(nat))
    case .ports(let ports, let target):
      try admit(target)
      var nat = NftNAT(kind: translation.kind, family: target)
      (nat.portMin, nat.portMax) = try load(ports)
      nat.flags = marked(translation.flags, ports)
      emit(.nat(nat))
    case .map(let selectors, let entries): try translate(translation, selectors, entries)
    case .namedMap(let selectors, let name, let target, let withPort):
      try admit(target)
      if withPort { try requireAfter(selectors) }
      let address: NftDataType = target == .ipv4 ? .ipv4Address : .ipv6Address
      try lookup(selectors, named: name, data: .value(withPort ? [address, .port] : [address]))
      try emitMapped(translation, target, withPort: withPort)
    }
  }

  /// Ports of a map need a protocol that has them; the selectors may be what settles it.
  private mutating func requireAfter(_ selectors: [Selector]) throws(Fault) {
    try requireAll(selectors)
    try requirePorts()
  }

  private mutating func translate(
    _ translation: Translation, _ selectors: [Selector], _ entries: [Translation.MapEntry]
  ) throws(Fault) {
    guard let sample = entries.first else { throw Fault("a translation map without entries") }
    let target = sample.address.family
    let withPort = sample.port != nil
    guard entries.allSatisfy({ $0.address.family == target && ($0.port != nil) == withPort }) else {
      throw Fault("the targets must be all of one family, and all with a port or all without")
    }
    try admit(target)
    if withPort { try requireAfter(selectors) }
    var builder = SetBuilder(types: selectors.map(\.type), windows: selectors.map(\.window))
    for entry in entries {
      var value = entry.address.bytes
      if let port = entry.port { value += NftData(bigEndian: UInt64(port), width: 2).padded.bytes }
      try builder.add(entry.key, value: .data(NftData(value)))
    }
    let address: NftDataType = target == .ipv4 ? .ipv4Address : .ipv6Address
    try lookup(selectors, builder, data: .value(withPort ? [address, .port] : [address]))
    try emitMapped(translation, target, withPort: withPort)
  }

  private mutating func emitMapped(
    _ translation: Translation, _ target: IPFamily, withPort: Bool
  ) throws(Fault) {
    var nat = NftNAT(kind: translation.kind, family: target, addressMin: .r1)
    if withPort { nat.portMin = NftRegister(word: target == .ipv4 ? 1 : 4) }
    nat.flags = translation.flags.chosen
    emit(.nat(nat))
  }

  // MARK: Maps, sets, marks

  private mutating func compile(_ selectors: [Selector], _ map: VerdictMap) throws(Fault) {
    guard !selectors.isEmpty else { throw Fault("a verdict map without a selector") }
    switch map {
    case .named(let name): try lookup(selectors, named: name, data: .verdict)
    case .entries(let entries):
      guard !entries.isEmpty else { throw Fault("a verdict map without entries") }
      var builder = SetBuilder(types: selectors.map(\.type), windows: selectors.map(\.window))
      for entry in entries { try builder.add(entry.key, value: .verdict(entry.verdict)) }
      try lookup(selectors, builder, data: .verdict)
    }
  }

  private mutating func compile(_ update: SetUpdate) throws(Fault) {
    guard let set = sets[update.set] else { throw Fault("there is no set '\(update.set)' in the table") }
    guard !set.flags.contains(.constant), !set.isInterval else {
      throw Fault("set '\(update.set)' cannot be filled by rules: it is constant or keeps intervals")
    }
    guard set.keyTypes.map(\.size) == update.selectors.map(\.type.size) else {
      throw Fault("set '\(update.set)' holds \(set.keyTypes.map(\.name).joined(separator: " . "))")
    }
    guard update.timeout == nil || set.flags.contains(.timeout) else {
      throw Fault("set '\(update.set)' keeps no timeouts")
    }
    guard update.expressions.isEmpty || set.flags.contains(.dynamic) else {
      throw Fault("set '\(update.set)' must be dynamic to hold a limit, quota or counter for each element")
    }
    var expressions = update.expressions.map(\.normalized)
    // What the set gives every element (nft_dynset_init refuses anything else).
    if update.operation != .delete, !set.expressions.isEmpty {
      guard expressions.isEmpty || expressions == set.expressions else {
        throw Fault("each element of set '\(update.set)' holds what the set says, nothing else")
      }
      expressions = set.expressions
    }
    let types = try dataTypes(of: update, set)
    try requireAll(update.selectors)
    for case .selector(let selector) in update.data { try requireAll([selector]) }
    // The data begins at the wide register behind the key.
    let word = (try loadAll(update.selectors) + 15) / 16 * 4
    try load(update.data, as: types, word: word)
    emit(
      .dynset(
        NftDynset(
          setName: update.set, operation: update.operation, key: .r1,
          data: types.isEmpty ? nil : NftRegister(word: word), timeout: update.timeout ?? 0,
          expressions: expressions)))
  }

  /// Of what types the data of a rule's element is; none in a set (nft_dynset_init).
  private func dataTypes(of update: SetUpdate, _ set: NftSet) throws(Fault) -> [NftDataType] {
    switch set.data {
    case nil:
      guard update.data.isEmpty else {
        throw Fault("'\(update.set)' is a set, whose elements lead to nothing")
      }
      return []
    case .value(let types)?:
      // What is removed is found by its key.
      guard update.data.count == types.count || update.operation == .delete && update.data.isEmpty else {
        throw Fault("map '\(update.set)' leads to \(types.map(\.name).joined(separator: " . "))")
      }
      return types
    case .verdict?, .object?:
      throw Fault("map '\(update.set)' leads to verdicts or objects, which rules cannot put there")
    }
  }

  /// Brings an element's data into the registers from a word on; zeros where it has none.
  private mutating func load(
    _ data: [SetUpdate.Datum], as types: [NftDataType], word: Int
  ) throws(Fault) {
    var next = word
    for (index, type) in types.enumerated() {
      switch data.isEmpty ? .value(NftData([UInt8](repeating: 0, count: type.size))) : data[index] {
      case .value(let value):
        guard value.count == type.size else {
          throw Fault("a value of \(value.count) bytes for a \(type.name)")
        }
        _ = try immediate(value, word: next)
      case .selector(let selector):
        guard selector.type.rawValue == type.rawValue || selector.type.rawValue == 4 || type.rawValue == 4
        else { throw Fault("\(selector.name) is no \(type.name)") }
        try place(selector, as: type, word: next)
      }
      next += type.paddedSize / 4
    }
    guard next <= 16 else { throw Fault("no register is left for what the element leads to") }
  }

  private mutating func compile(
    _ kind: NftObjectKind, _ selectors: [Selector], _ map: ObjectMap
  ) throws(Fault) {
    guard !selectors.isEmpty else { throw Fault("a map of objects without a selector") }
    let source: NftSetReference
    switch map {
    case .named(let name):
      guard try loadKey(selectors, of: name).data == .object(kind.rawValue) else {
        throw Fault("'\(name)' is no map to a \(kind.name)")
      }
      source = .named(name)
    case .entries(let entries):
      guard !entries.isEmpty else { throw Fault("a map of objects without entries") }
      var builder = SetBuilder(types: selectors.map(\.type), windows: selectors.map(\.window))
      for entry in entries {
        try admit(object: entry.name, kind)
        try builder.add(entry.key, value: .object(entry.name))
      }
      source = .anonymous(try anonymous(selectors, builder, data: .object(kind.rawValue)))
    }
    emit(.objectReference(NftObjectReference(target: .map(source, source: .r1))))
  }

  private mutating func tproxy(_ address: IPAddress?, _ port: Port?) throws(Fault) {
    guard address != nil || port != nil else { throw Fault("tproxy needs an address or a port") }
    guard family == .ip || family == .ip6 || family == .inet else {
      throw Fault("tproxy in the \(family.rawValue) family")
    }
    try requirePorts()
    if let address { try admit(address.family) }
    var tproxy = NftTproxy(family: address.map { $0.family == .ipv4 ? .ip : .ip6 } ?? family)
    var word = 0
    if let address {
      tproxy.address = try immediate(NftData(address.bytes), word: word)
      word += 4
    }
    if let port { tproxy.port = try immediate(NftData(bigEndian: UInt64(port), width: 2), word: word) }
    emit(.tproxy(tproxy))
  }

  // MARK: Copies

  private mutating func duplicate(_ address: IPAddress?, _ device: UInt32?) throws(Fault) {
    switch family {
    case .netdev:
      guard address == nil, let device else { throw Fault("dup in the netdev family names a device alone") }
      emit(.dup(NftDup(device: try immediate(NftData(host: UInt64(device), width: 4), word: 0))))
    case .ip, .ip6:
      guard let address else { throw Fault("dup in the \(family.rawValue) family names an address") }
      try admit(address.family)
      var dup = NftDup(address: try immediate(NftData(address.bytes), word: 0))
      if let device { dup.device = try immediate(NftData(host: UInt64(device), width: 4), word: 4) }
      emit(.dup(dup))
    case .inet, .arp, .bridge:
      throw Fault("dup stands in the families ip, ip6 and netdev, not in \(family.rawValue)")
    }
  }

  private mutating func forward(_ device: UInt32, _ address: IPAddress?) throws(Fault) {
    guard family == .netdev else { throw Fault("fwd stands in the netdev family, not in \(family.rawValue)") }
    var fwd = NftFwd(device: try immediate(NftData(host: UInt64(device), width: 4), word: 0))
    if let address {
      fwd.address = try immediate(NftData(address.bytes), word: 4)
      fwd.family = address.family == .ipv4 ? 2 : 10
    }
    emit(.fwd(fwd))
  }
}
