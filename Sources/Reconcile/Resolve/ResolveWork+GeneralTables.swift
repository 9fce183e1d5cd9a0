// SPDX-License-Identifier: GPL-2.0-or-later

// The general form of the firewall: tables, chains, rules, sets and maps as they were written.

import LabCore
import NetTypes
import Nftables
import TopologyModel

extension ResolveWork {
  mutating func general(_ table: Topology.Table, of node: Topology.Node, in id: NamespaceID) -> Ruleset.Table
  {
    var result = Ruleset.Table(
      family: NftFamily(table.family), name: table.name, comment: Ownership(lab: lab).alias(for: id))
    result.objects = table.counters.map { NftObject(name: $0, state: .counter(NftCounter())) }
    for object in table.objects {
      if case .flowtable(let devices, let priority, let counts) = object.state {
        result.flowtables.append(
          NftFlowtable(
            name: object.name, priority: priority, devices: devices.map { deviceName($0, in: id) },
            counts: counts))
      } else if let state = NftObject.State(object.state) {
        result.objects.append(NftObject(name: object.name, state: state))
      }
    }
    result.sets = table.sets.map { declaration(of: $0, in: id) }
    result.chains = table.chains.map { chain in
      Ruleset.Chain(
        name: chain.name, base: chain.base.map { base($0, in: id) },
        rules: chain.rules.map { rule in
          Rule(
            rule.statements.flatMap { statements($0, table: table, in: id, at: rule.location) },
            comment: rule.comment,
            position: NftSourcePosition(rule.location))
        }, position: NftSourcePosition(chain.location))
    }
    return result
  }

  private func base(_ base: Topology.Chain.Base, in id: NamespaceID) -> NftBaseChain {
    NftBaseChain(
      type: NftChainType(base.kind), hook: NftHook(base.hook), priority: base.priority,
      policy: base.policy == .drop ? .drop : .accept,
      devices: base.device.map { [deviceName($0, in: id)] } ?? [])
  }

  private func deviceName(_ written: String, in id: NamespaceID) -> String {
    names[id]?[written]?.text ?? written
  }

  // MARK: Sets and values

  private mutating func declaration(of set: Topology.ElementSet, in id: NamespaceID) -> SetDeclaration {
    var flags: NftSetFlags = []
    if set.isInterval { flags.insert(.interval) }
    if set.isDynamic { flags.insert(.dynamic) }
    let data: NftSetData? =
      switch set.data {
      case .none: nil
      case .values(let types): .value(types.map(\.dataType))
      case .verdict: .verdict
      case .objects(let kind): NftObjectKind(kind).map { .object($0.rawValue) }
      }
    var dataTypes: [Topology.ValueType] = []
    if case .values(let types) = set.data { dataTypes = types }
    return SetDeclaration(
      name: set.name, keyTypes: set.key.map(\.dataType), data: data, flags: flags,
      size: set.size.map { UInt32(clamping: $0) },
      timeout: set.timeout.map(Self.milliseconds), comment: set.comment,
      expressions: set.counts ? [.counter(NftCounter())] : [],
      elements: set.elements.map { element in
        SetDeclaration.Element(
          key: zip(element.key, set.key).map { value($0, as: $1.dataType, in: id) },
          value: elementValue(element, dataTypes, in: id), timeout: element.timeout.map(Self.milliseconds),
          comment: element.comment)
      }, position: NftSourcePosition(set.location))
  }

  static func milliseconds(_ time: Interval) -> UInt64 {
    UInt64(clamping: time.nanoseconds / 1_000_000)
  }

  private func elementValue(
    _ element: Topology.Element, _ types: [Topology.ValueType], in id: NamespaceID
  ) -> NftElementValue? {
    if let verdict = element.verdict { return .verdict(NftVerdict(verdict)) }
    if let object = element.object { return .object(object) }
    guard !element.data.isEmpty else { return nil }
    let fields = data(element.data, types, in: id)
    return .data(fields.count == 1 ? fields[0] : NftData(fields.flatMap(\.padded.bytes)))
  }

  /// Single values as they lie in registers of those types.
  private func data(
    _ values: [Topology.Value], _ types: [Topology.ValueType], in id: NamespaceID
  ) -> [NftData] {
    zip(values, types).compactMap { item, type in
      if case .value(let data) = value(item, as: type.dataType, in: id) { data } else { nil }
    }
  }

  /// A value as it lies in a register of that type.
  private func value(_ value: Topology.Value, as type: NftDataType, in id: NamespaceID) -> FieldValue {
    switch value {
    case .address(let address): return .value(NftData(address.bytes))
    case .prefix(let prefix): return FieldValue(prefix)
    case .addressRange(let range):
      return .range(NftData(range.lowerBound.bytes), NftData(range.upperBound.bytes))
    case .mac(let mac): return .value(mac.nftData)
    case .number(let number): return .value(Self.data(number, type))
    case .numberRange(let range):
      return .range(Self.data(range.lowerBound, type), Self.data(range.upperBound, type))
    case .name(let name) where type == .string:
      return .value(type.data(name) ?? NftData(Array(name.utf8)))
    case .name(let name):
      return .value(InterfacePattern(deviceName(name, in: id))?.nftData ?? NftData(Array(name.utf8)))
    }
  }

  private static func data(_ number: UInt64, _ type: NftDataType) -> NftData {
    if type == .connectionLabel, let label = type.data(number) { return label }
    return type.isHostOrder
      ? NftData(host: number, width: type.size) : NftData(bigEndian: number, width: type.size)
  }

  // MARK: Statements

  static func selector(_ selector: Topology.Selector) -> Selector {
    switch selector {
    case .field(let field): field.selector
    case .number(let random, let modulus, let offset):
      .numgen(random: random, modulus: modulus, offset: offset)
    case .hash(let fields, let modulus, let seed, let offset):
      .jhash(fields.map(\.selector), modulus: modulus, seed: seed, offset: offset)
    case .flowHash(let modulus, let offset): .symhash(modulus: modulus, offset: offset)
    }
  }

  private mutating func statements(
    _ statement: Topology.Statement, table: Topology.Table, in id: NamespaceID, at location: SourceLocation
  ) -> [Statement] {
    switch statement {
    case .match(let match): return [.match(self.match(match, in: id))]
    case .verdict(let verdict): return [.verdict(NftVerdict(verdict))]
    case .verdictMap(let keys, let source):
      let selectors = keys.map(Self.selector)
      switch source {
      case .named(let name): return [.verdictMap(selectors, .named(name))]
      case .anonymous(let elements):
        let entries = elements.compactMap { element in
          element.verdict.map {
            VerdictMap.Entry(
              key: zip(element.key, selectors).map { value($0, as: $1.type, in: id) }, verdict: NftVerdict($0)
            )
          }
        }
        return [.verdictMap(selectors, .entries(entries))]
      }
    case .counter(let name): return [name.map { .object(.counter, $0) } ?? .counter]
    case .object(let kind, let name): return [NftObjectKind(kind).map { .object($0, name) } ?? .addFlow(name)]
    case .objectMap(let kind, let keys, let source):
      let selectors = keys.map(Self.selector)
      let map: ObjectMap =
        switch source {
        case .named(let name): .named(name)
        case .anonymous(let elements):
          .entries(
            elements.map { element in
              ObjectMap.Entry(
                key: zip(element.key, selectors).map { value($0, as: $1.type, in: id) },
                name: element.object ?? "")
            })
        }
      return NftObjectKind(kind).map { [.objectMap($0, selectors, map)] } ?? []
    case .limit(let rate): return [.limit(NftLimit(rate))]
    case .quota(let bytes, let over): return [.quota(NftQuota(bytes: bytes, isInverted: over))]
    case .log(let prefix, let level, let group):
      return [
        .log(
          NftLog(
            prefix: prefix, level: level.map { UInt32(clamping: $0) },
            group: group.map { UInt16(clamping: $0) }))
      ]
    case .reject(let rejection): return [.reject(RejectReason(rejection))]
    case .masquerade(let ports, let flags):
      return [
        .masquerade(ports: ports.map { PortRange($0.lowerBound, $0.upperBound) }, flags: NftNATFlags(flags))
      ]
    case .redirect(let ports, let flags):
      return [
        .redirect(ports: ports.map { PortRange($0.lowerBound, $0.upperBound) }, flags: NftNATFlags(flags))
      ]
    case .sourceNAT(let target, let flags):
      return translation(.source, target, flags, table: table, in: id)
    case .destinationNAT(let target, let flags):
      return translation(.destination, target, flags, table: table, in: id)
    case .setMark(let kind, let value, let mask):
      let source: MarkSource = mask == .max ? .value(value) : .bits(mask: ~mask, flip: value & mask)
      return [kind == .packet ? .setMark(source) : .setConntrackMark(source)]
    case .chooseMark(let kind, let choice):
      return [.store(Self.mark(kind), .selector(Self.selector(choice)))]
    case .lookUpMark(let kind, let keys, let map):
      return [.store(Self.mark(kind), .namedMap(keys.map(Self.selector), map))]
    case .setField(let field, let value):
      guard case .value(let data) = self.value(value, as: field.selector.type, in: id) else { return [] }
      return [.store(field.selector, .value(data))]
    case .copyField(let field, let source):
      return [.store(field.selector, .selector(Self.selector(source)))]
    case .copyMark(_, let to): return [to == .packet ? .setMark(.other) : .setConntrackMark(.other)]
    case .noTrack: return [.notrack]
    case .updateSet(let update):
      let set = table.sets.first { $0.name == update.set }
      var result = SetUpdate(update, ages: set?.ages ?? false)
      switch update.data {
      case .selectors(let selectors)?: result.data = selectors.map { .selector(Self.selector($0)) }
      case .values(let values)?:
        guard case .values(let types)? = set?.data else { break }
        result.data = data(values, types, in: id).map { .value($0) }
      case nil: break
      }
      return [.updateSet(result)]
    case .synProxy(let proxy): return [.synproxy(NftSynproxy(proxy))]
    case .trace: return [.trace]
    case .connectionLimit(let count, let over):
      return [.connections(NftConnlimit(count: count, isInverted: over))]
    case .duplicate(let address, let device):
      guard let device else { return [.dup(to: address, device: nil)] }
      return index(of: device, in: id, at: location).map { [.dup(to: address, device: $0)] } ?? []
    case .sendBy(let device, let address):
      return index(of: device, in: id, at: location).map { [.fwd(device: $0, to: address)] } ?? []
    case .transparentProxy(let address, let port): return [.tproxy(address, port: port)]
    }
  }

  private static func mark(_ kind: Topology.MarkKind) -> Selector {
    kind == .packet ? Field<PacketMark>.mark.selector : Field<PacketMark>.conntrackMark.selector
  }

  /// Rules name devices that they send by as the kernel does: by index.
  private mutating func index(of device: String, in id: NamespaceID, at location: SourceLocation) -> UInt32? {
    if let index = deviceIndexes[id]?[deviceName(device, in: id)] { return index }
    errors.append(
      TopologyError("a rule cannot send by '\(device)', whose index the host decides", at: location))
    return nil
  }

  private func match(_ match: Topology.Match, in id: NamespaceID) -> Match {
    let selectors = match.selectors.map(Self.selector)
    let operand: Match.Operand =
      switch match.operand {
      case .set(let name): .set(name)
      case .bits(let bits, nil): .elements([[.exact(Self.data(bits, selectors[0].type))]])
      case .bits(let bits, let mask?):
        .elements([[.masked(Self.data(mask, selectors[0].type), Self.data(bits, selectors[0].type))]])
      // Any of several bits is one comparison (`ct label 5,70`).
      case .values(let rows) where selectors.count == 1 && selectors[0].type == .connectionLabel:
        .elements([
          [.value(rows.joined().reduce(NftData(host: 0, width: 16)) { $0.union(label: $1) })]
        ])
      case .values(let rows):
        .elements(rows.map { row in zip(row, selectors).map { value($0, as: $1.type, in: id) } })
      }
    return Match(selectors: selectors, relation: NftComparisonOperator(match.comparison), operand: operand)
  }

  private func translation(
    _ kind: NftNAT.Kind, _ target: Topology.Target, _ flags: [Topology.TranslationFlag],
    table: Topology.Table, in id: NamespaceID
  ) -> [Statement] {
    let flags = NftNATFlags(flags)
    switch target {
    case .address(let range, let ports):
      let ports = ports.map { PortRange($0.lowerBound, $0.upperBound) }
      if let range {
        let last = range.upperBound == range.lowerBound ? nil : range.upperBound
        return [
          .translate(Translation(kind, to: .address(range.lowerBound, last, ports: ports), flags: flags))
        ]
      }
      guard let ports else { return [] }
      return [
        .translate(Translation(kind, to: .ports(ports, table.family == .ip6 ? .ipv6 : .ipv4), flags: flags))
      ]
    case .map(let keys, .named(let name)):
      var types: [Topology.ValueType] = []
      if case .values(let values)? = table.sets.first(where: { $0.name == name })?.data { types = values }
      let family: IPFamily = types.first == .ipv6Address ? .ipv6 : .ipv4
      return [
        .translate(
          Translation(
            kind, to: .namedMap(keys.map(Self.selector), name, family, withPort: types.count > 1),
            flags: flags))
      ]
    case .map(let keys, .anonymous(let elements)):
      let selectors = keys.map(Self.selector)
      let entries = elements.compactMap { element -> Translation.MapEntry? in
        guard case .address(let address)? = element.data.first else { return nil }
        var port: Port?
        if case .number(let number)? = element.data.dropFirst().first { port = Port(clamping: number) }
        return Translation.MapEntry(
          key: zip(element.key, selectors).map { value($0, as: $1.type, in: id) }, address: address,
          port: port)
      }
      return [.translate(Translation(kind, to: .map(selectors, entries), flags: flags))]
    case .spread(let addresses, let port, let choice):
      let chooser = Self.selector(choice)
      var result = Translation.balanced(kind, over: addresses.map { ($0, port) }, by: chooser)
      result.flags = flags
      return [.translate(result)]
    }
  }
}

extension NftData {
  /// These labels with one more.
  fileprivate func union(label: Topology.Value) -> NftData {
    guard case .number(let number) = label, let bit = NftDataType.connectionLabel.data(number) else {
      return self
    }
    return NftData(zip(bytes, bit.bytes).map { $0 | $1 })
  }
}

extension NftFamily {
  init(_ family: Topology.Table.Family) {
    switch family {
    case .ip: self = .ip
    case .ip6: self = .ip6
    case .inet: self = .inet
    case .arp: self = .arp
    case .bridge: self = .bridge
    case .netdev: self = .netdev
    }
  }
}

extension NftChainType {
  init(_ kind: Topology.Chain.Kind) {
    switch kind {
    case .filter: self = .filter
    case .nat: self = .nat
    case .route: self = .route
    }
  }
}

extension NftHook {
  init(_ hook: Topology.Chain.Hook) {
    switch hook {
    case .prerouting: self = .prerouting
    case .input: self = .input
    case .forward: self = .forward
    case .output: self = .output
    case .postrouting: self = .postrouting
    case .ingress: self = .ingress
    case .egress: self = .egress
    }
  }
}

extension NftVerdict {
  init(_ verdict: Topology.Verdict) {
    switch verdict {
    case .accept: self = .accept
    case .drop: self = .drop
    case .proceed: self = .continue
    case .return: self = .return
    case .jump(let chain): self = .jump(chain)
    case .goto(let chain): self = .goto(chain)
    }
  }
}

extension NftObjectKind {
  /// Nil for flowtables, which nftables keeps apart.
  init?(_ kind: Topology.Object.Kind) {
    switch kind {
    case .counter: self = .counter
    case .limit: self = .limit
    case .quota: self = .quota
    case .helper: self = .ctHelper
    case .timeouts: self = .ctTimeout
    case .expectation: self = .ctExpectation
    case .synProxy: self = .synproxy
    case .flowtable: return nil
    }
  }
}

extension NftObject.State {
  /// Nil for flowtables.
  init?(_ state: Topology.Object.State) {
    switch state {
    case .limit(let rate): self = .limit(NftLimit(rate))
    case .quota(let bytes, let over): self = .quota(NftQuota(bytes: bytes, isInverted: over))
    case .helper(let name, let transport):
      self = .ctHelper(NftCtHelper(helper: name, transport: transport == .tcp ? 6 : 17))
    case .timeouts(let transport, let seconds):
      let number: UInt8 = transport == .tcp ? 6 : 17
      self =
        NftCtTimeout(transport: number, seconds: seconds).map { .ctTimeout($0) }
        ?? .unknown(NftObjectKind.ctTimeout.rawValue)
    case .expectation(let transport, let port, let timeout, let count):
      self = .ctExpectation(
        NftCtExpectation(
          transport: transport == .tcp ? 6 : 17, destinationPort: port,
          timeout: UInt32(clamping: timeout.nanoseconds / 1_000_000), size: count))
    case .synProxy(let proxy): self = .synproxy(NftSynproxy(proxy))
    case .flowtable: return nil
    }
  }
}

extension NftComparisonOperator {
  init(_ comparison: Topology.Match.Operator) {
    switch comparison {
    case .equal: self = .equal
    case .notEqual: self = .notEqual
    case .less: self = .less
    case .lessOrEqual: self = .lessOrEqual
    case .greater: self = .greater
    case .greaterOrEqual: self = .greaterOrEqual
    }
  }
}

extension NftNATFlags {
  init(_ flags: [Topology.TranslationFlag]) {
    self = []
    for flag in flags {
      switch flag {
      case .random: insert(.random)
      case .fullyRandom: insert(.fullyRandom)
      case .persistent: insert(.persistent)
      }
    }
  }
}
