// SPDX-License-Identifier: GPL-2.0-or-later

// The statements of a table's rules: each by itself, then in the chain that holds them.

import LabCore
import NetTypes
import Nftables

extension TopologyCheck {
  // MARK: Statements

  /// What stands after a verdict is never reached.
  mutating func checkOrder(
    _ statements: [Topology.Statement], _ scope: TableScope, at location: SourceLocation
  ) {
    if statements.isEmpty { fail("\(scope.who): a rule says nothing", at: location) }
    if let end = statements.firstIndex(where: \.isTerminal), end < statements.count - 1 {
      fail(
        "\(scope.who): what stands after a rule's verdict, reject or NAT is never reached; put it before",
        at: location)
    }
  }

  /// The set or map that a statement names. Nil with a complaint, or without one when the set itself was refused.
  mutating func set(
    _ name: String, key: [Topology.Selector], _ who: String, _ scope: TableScope, at location: SourceLocation
  ) -> Topology.ElementSet? {
    guard let set = scope.sets[name] else {
      if !scope.refused.contains(name) {
        fail("\(who): there is no set '\(name)'\(didYouMean(name, scope.sets.keys.sorted()))", at: location)
      }
      return nil
    }
    guard set.key == key.map(\.type) else {
      fail(
        "\(who): '\(name)' holds \(set.key.map(\.rawValue).joined(separator: " . ")), not \(key.map(\.type.rawValue).joined(separator: " . "))",
        at: location)
      return nil
    }
    return set
  }

  mutating func statement(
    _ reader: Reader, base: Topology.Chain.Base?, _ scope: TableScope, _ counters: inout [String]
  ) -> Topology.Statement? {
    let who = scope.who
    let location = reader.location
    switch reader.kind {
    case "match": return match(reader, scope)
    case "verdict": return verdict(reader.required("verdict"), who, scope, at: location).map { .verdict($0) }
    case "verdictMap":
      guard let selectors = selectors(reader.texts("selectors"), who, at: location) else { return nil }
      if let name = reader.text("map") {
        guard let set = set(name, key: selectors, who, scope, at: location) else { return nil }
        guard case .verdict = set.data else {
          fail("\(who): '\(name)' does not lead to verdicts", at: location)
          return nil
        }
        return .verdictMap(selectors, .named(name))
      }
      guard !selectors.contains(where: { $0.type == .connectionLabel }) else {
        fail("\(who): labels stand in no map; nft could not list it", at: location)
        return nil
      }
      let elements = reader.objects("elements").compactMap {
        element($0, key: selectors.map(\.type), data: .verdict, who, scope, &counters)
      }
      guard elements.count == reader.values("elements").count, !elements.isEmpty else {
        if reader.values("elements").isEmpty { fail("\(who): a verdict map is empty", at: location) }
        return nil
      }
      return .verdictMap(selectors, .anonymous(elements))
    case "counter":
      let name = reader.text("name")
      if let name, !declare(counter: name, who, &counters, at: location) { return nil }
      return .counter(name)
    case "limit": return rate(reader, who).map { .limit($0) }
    case "quota":
      guard let count = integer(reader, "count", 1...Int.max, "\(who): quota") else { return nil }
      return .quota(bytes: UInt64(count), over: reader.flag("over") ?? false)
    case "connectionLimit":
      guard let count = number32(reader, "count", "\(who): connection limit") else { return nil }
      return .connectionLimit(count: count, over: reader.flag("over") ?? false)
    case "log":
      if let prefix = reader.text("prefix"), !Self.isLogPrefix(prefix) {
        fail("\(who): the log's prefix should be one line of at most 127 characters", at: location)
        return nil
      }
      let level = integer(reader, "level", 0...7, "\(who): log level")
      let group = integer(reader, "group", 0...65535, "\(who): log group")
      if level != nil, group != nil {
        fail("\(who): a log goes either to a group or to the kernel's log at a level", at: location)
      }
      return .log(prefix: reader.text("prefix"), level: level, group: group)
    case "reject":
      guard
        let rejection: Topology.Rejection = choice(
          reader.text("with") ?? "portUnreachable", "\(who): reject", at: location)
      else { return nil }
      if let base, base.kind == .nat || ![.prerouting, .input, .forward, .output].contains(base.hook) {
        fail(
          "\(who): packets are rejected at prerouting, input, forward and output of a filter chain, not at \(base.hook.rawValue)",
          at: location)
        return nil
      }
      return .reject(rejection)
    case "setMark": return setMark(reader, scope)
    case "setField": return setField(reader, base: base, scope)
    case "trace": return .trace
    case "objectMap": return objectMap(reader, base: base, scope, &counters)
    case "object", "duplicate", "sendBy", "transparentProxy", "synProxy":
      return rarerStatement(reader, base: base, scope, &counters)
    case "copyMark":
      guard let from: Topology.MarkKind = choice(reader.required("from"), "\(who): mark", at: location),
        let to: Topology.MarkKind = choice(reader.required("to"), "\(who): mark", at: location)
      else { return nil }
      guard from != to else {
        fail("\(who): a mark is copied onto itself", at: location)
        return nil
      }
      return .copyMark(from: from, to: to)
    case "noTrack":
      if let base, base.priority >= -200 || ![.prerouting, .output].contains(base.hook) {
        fail(
          "\(who): NoTrack stands at prerouting or output before connection tracking (priority .raw)",
          at: location)
        return nil
      }
      return .noTrack
    case "updateSet": return updateSet(reader, scope)
    default: return translation(reader, base: base, scope)
    }
  }

  private mutating func setMark(_ reader: Reader, _ scope: TableScope) -> Topology.Statement? {
    let who = scope.who
    guard let mark: Topology.MarkKind = choice(reader.required("mark"), "\(who): mark", at: reader.location)
    else { return nil }
    guard !reader.texts("selectors").isEmpty else {
      guard reader.integer("value") != nil else {
        fail("\(who): the mark becomes nothing", at: reader.location)
        return nil
      }
      guard let value = number32(reader, "value", "\(who): mark") else { return nil }
      return .setMark(mark, value: value, mask: number32(reader, "mask", "\(who): mask") ?? .max)
    }
    guard let selectors = selectors(reader.texts("selectors"), who, at: reader.location) else { return nil }
    guard let name = reader.text("map") else {
      guard selectors.count == 1, selectors[0].choices != nil else {
        fail("\(who): a mark is set to a choice such as Spread.hash(of: IP.source, 4)", at: reader.location)
        return nil
      }
      return .chooseMark(mark, selectors[0])
    }
    guard let set = set(name, key: selectors, who, scope, at: reader.location) else { return nil }
    guard set.data == .values([.mark]) else {
      fail("\(who): '\(name)' does not lead to marks", at: reader.location)
      return nil
    }
    return .lookUpMark(mark, selectors, name)
  }

  private mutating func setField(
    _ reader: Reader, base: Topology.Chain.Base?, _ scope: TableScope
  ) -> Topology.Statement? {
    let (who, location) = (scope.who, reader.location)
    guard let selector = selectors([reader.required("selector")], who, at: location)?.first else {
      return nil
    }
    guard case .field(let field) = selector, field.isWritable, field.exists(in: scope.family) else {
      fail("\(who): \(selector.name) cannot be written in family \(scope.family.rawValue)", at: location)
      return nil
    }
    guard canBeSet(field, base: base, scope, at: location) else { return nil }
    if let word = reader.text("from") {
      guard let source = selectors([word], who, at: location)?.first else { return nil }
      guard source.type == field.type, source.exists(in: scope.family) else {
        fail("\(who): \(field.name) cannot become \(source.name)", at: location)
        return nil
      }
      return .copyField(field, from: source)
    }
    let flags = reader.texts("values")
    guard flags.isEmpty else {
      guard field.isOfFlags else {
        fail("\(who): \(field.name) becomes one value, not several together", at: location)
        return nil
      }
      return joined(flags, of: field, "\(who): \(field.name)", scope, at: location).map {
        .setField(field, .number($0))
      }
    }
    let text = reader.text("value") ?? ""
    guard
      let value = value(text, field.type, upTo: field.limit, "\(who): \(field.name)", scope, at: location)
    else { return nil }
    guard !value.isInterval else {
      fail("\(who): \(field.name) becomes one value, not \(text)", at: location)
      return nil
    }
    return .setField(field, value)
  }

  /// Whether a field can be written where the chain hangs.
  private mutating func canBeSet(
    _ field: Topology.Field, base: Topology.Chain.Base?, _ scope: TableScope, at location: SourceLocation
  ) -> Bool {
    guard let base else { return true }
    switch field.selector.load {
    case .meta(.packetType):
      // nft_meta_set_validate.
      let hook: Topology.Chain.Hook = scope.family == .netdev ? .ingress : .prerouting
      guard base.hook == hook else {
        fail(
          "\(scope.who): \(field.name) is written at \(hook.rawValue), not at \(base.hook.rawValue)",
          at: location)
        return false
      }
    case .ct(.zone, nil):
      // Behind it the connection is known, and the zone says nothing any more (nft_ct_set_zone_eval).
      guard base.priority < -200, [.prerouting, .output].contains(base.hook) else {
        fail(
          "\(scope.who): \(field.name) is written at prerouting or output before connection tracking (priority .raw)",
          at: location)
        return false
      }
    case .ct(.eventMask, nil):
      // Before there is no connection, and at a device's hooks never (nft_ct_set_eval).
      let isBefore = [.prerouting, .output].contains(base.hook) && base.priority <= -200
      guard !isBefore, base.hook != .ingress, base.hook != .egress else {
        fail(
          "\(scope.who): \(field.name) is written behind connection tracking (priority -200), at no device",
          at: location)
        return false
      }
    default: break
    }
    return true
  }

  private mutating func match(_ reader: Reader, _ scope: TableScope) -> Topology.Statement? {
    let who = scope.who
    let location = reader.location
    guard let selectors = selectors(reader.texts("selectors"), who, at: location),
      let comparison: Topology.Match.Operator = choice(
        reader.required("is"), "\(who): comparison", at: location)
    else { return nil }
    let name = selectors.map(\.name).joined(separator: " . ")
    guard selectors.allSatisfy({ $0.exists(in: scope.family) }) else {
      fail("\(who): \(name) never holds in family \(scope.family.rawValue)", at: location)
      return nil
    }
    guard selectors.allSatisfy(\.isReadable) else {
      fail("\(who): \(name) can be set, but nothing compares with it", at: location)
      return nil
    }
    if let set = reader.text("set") {
      guard let known = self.set(set, key: selectors, "\(who): \(name)", scope, at: location) else {
        return nil
      }
      guard case .none = known.data, comparison == .equal || comparison == .notEqual else {
        fail("\(who): \(name): '\(set)' is a map; a comparison takes a set, with is or isNot", at: location)
        return nil
      }
      return .match(Topology.Match(selectors: selectors, comparison: comparison, operand: .set(set)))
    }
    if !reader.texts("exactly").isEmpty || !reader.texts("mask").isEmpty {
      return bits(reader, selectors, comparison, scope)
    }
    var operands: [[Topology.Value]] = []
    for value in reader.values("values") {
      guard case .array(let parts) = value else { continue }
      let texts = parts.compactMap { if case .string(let text) = $0 { text } else { nil } }
      guard
        let known = values(
          texts, of: selectors.map(\.type), within: selectors.map(\.limit), "\(who): \(name)", scope,
          at: location)
      else { return nil }
      operands.append(known)
    }
    guard !operands.isEmpty else {
      fail("\(who): \(name) is compared with nothing", at: location)
      return nil
    }
    guard selectors.count == 1 || !selectors.contains(where: { $0.type == .connectionLabel }) else {
      fail("\(who): \(name): labels are compared by themselves", at: location)
      return nil
    }
    let isOrder = comparison != .equal && comparison != .notEqual
    if isOrder, operands.count > 1 || selectors.count > 1 || operands[0].contains(where: \.isInterval) {
      fail("\(who): \(name): less and greater compare with one value", at: location)
      return nil
    }
    return .match(Topology.Match(selectors: selectors, comparison: comparison, operand: .values(operands)))
  }

  /// A comparison of bits: all of a field of flags, or those under a mask.
  private mutating func bits(
    _ reader: Reader, _ selectors: [Topology.Selector], _ comparison: Topology.Match.Operator,
    _ scope: TableScope
  ) -> Topology.Statement? {
    let location = reader.location
    let who = "\(scope.who): \(selectors.map(\.name).joined(separator: " . "))"
    guard selectors.count == 1, case .field(let field) = selectors[0],
      comparison == .equal || comparison == .notEqual, reader.values("values").isEmpty
    else {
      fail("\(who): bits are compared in one field, with is or isNot", at: location)
      return nil
    }
    let words = reader.texts("mask")
    guard field.hasBits, field.isOfFlags || !words.isEmpty else {
      fail("\(who): it has no bits to compare\(field.hasBits ? " without a mask" : "")", at: location)
      return nil
    }
    guard let bits = joined(reader.texts("exactly"), of: field, who, scope, at: location),
      let mask = joined(words, of: field, who, scope, at: location)
    else { return nil }
    guard words.isEmpty || bits & ~mask == 0 else {
      fail("\(who): it never has bits outside of the mask", at: location)
      return nil
    }
    return .match(
      Topology.Match(
        selectors: selectors, comparison: comparison,
        operand: .bits(bits, mask: words.isEmpty ? nil : mask)))
  }

  /// The bits of several values together.
  private mutating func joined(
    _ words: [String], of field: Topology.Field, _ who: String, _ scope: TableScope,
    at location: SourceLocation
  ) -> UInt64? {
    var bits: UInt64 = 0
    for word in words {
      guard let value = value(word, field.type, upTo: field.limit, who, scope, at: location) else {
        return nil
      }
      guard case .number(let number) = value else {
        fail("\(who): bits are compared one by one, not as \(word)", at: location)
        return nil
      }
      bits |= number
    }
    return bits
  }

  // MARK: NAT

  private mutating func translation(
    _ reader: Reader, base: Topology.Chain.Base?, _ scope: TableScope
  ) -> Topology.Statement? {
    let who = scope.who
    let location = reader.location
    let places: [Topology.Chain.Hook]
    switch reader.kind {
    case "masquerade": places = [.postrouting]
    case "sourceNAT": places = [.postrouting, .input]
    default: places = [.prerouting, .output]
    }
    guard let base, base.kind == .nat, places.contains(base.hook) else {
      fail(
        "\(who): \(reader.kind) stands in a nat chain at \(places.map(\.rawValue).joined(separator: " or ")) only",
        at: location)
      return nil
    }
    guard let flags = translationFlags(reader, who, at: location) else { return nil }
    var ports: ClosedRange<Port>?
    if let text = reader.text("ports") {
      guard let known = self.ports(text, who, at: location) else { return nil }
      ports = known
    }
    switch reader.kind {
    case "masquerade": return .masquerade(ports: ports, flags: flags)
    case "redirect": return .redirect(ports: ports, flags: flags)
    case "sourceNAT":
      guard let range = range(reader.required("address"), "\(who): address", at: location),
        fits(range.lowerBound, scope, at: location)
      else { return nil }
      return .sourceNAT(.address(range, ports: ports), flags: flags)
    default: return destination(reader, ports: ports, flags: flags, scope)
    }
  }

  mutating func fits(_ address: IPAddress, _ scope: TableScope, at location: SourceLocation) -> Bool {
    let family: IPFamily? = scope.family == .ip ? .ipv4 : scope.family == .ip6 ? .ipv6 : nil
    guard let family, family != address.family else { return true }
    fail(
      "\(scope.who): \(address) does not belong into a table of family \(scope.family.rawValue)", at: location
    )
    return false
  }

  private mutating func destination(
    _ reader: Reader, ports: ClosedRange<Port>?, flags: [Topology.TranslationFlag], _ scope: TableScope
  ) -> Topology.Statement? {
    let who = scope.who
    let location = reader.location
    if let text = reader.text("address") {
      guard let range = range(text, "\(who): address", at: location),
        fits(range.lowerBound, scope, at: location)
      else { return nil }
      return .destinationNAT(.address(range, ports: ports), flags: flags)
    }
    let spread = reader.texts("spread").compactMap { address($0, "\(who): address", at: location) }
    guard spread.count == reader.texts("spread").count else { return nil }
    if let first = spread.first {
      guard spread.allSatisfy({ $0.family == first.family }), fits(first, scope, at: location) else {
        if fits(first, scope, at: location) {
          fail("\(who): the addresses are of different families", at: location)
        }
        return nil
      }
      let random = reader.flag("random") ?? false
      var choice = Topology.Selector.number(
        random: random, modulus: UInt32(clamping: spread.count), offset: 0)
      if !reader.texts("selectors").isEmpty {
        guard let selectors = selectors(reader.texts("selectors"), who, at: location) else { return nil }
        guard selectors.count == 1, selectors[0].choices == UInt32(clamping: spread.count) else {
          fail(
            "\(who): \(spread.count) addresses are chosen from by one choice among \(spread.count) numbers",
            at: location)
          return nil
        }
        choice = selectors[0]
      }
      return .destinationNAT(.spread(spread, port: ports?.lowerBound, by: choice), flags: flags)
    }
    guard let name = reader.text("map") else {
      guard let ports else {
        fail("\(who): the translation says neither an address nor a port", at: location)
        return nil
      }
      return .destinationNAT(.address(nil, ports: ports), flags: flags)
    }
    guard let selectors = selectors(reader.texts("selectors"), who, at: location),
      let set = set(name, key: selectors, who, scope, at: location)
    else { return nil }
    guard case .values(let types) = set.data, let first = types.first,
      first == .ipv4Address || first == .ipv6Address,
      types.count == 1 || types.count == 2 && types[1] == .port
    else {
      fail("\(who): '\(name)' should lead to addresses, or to pairs of address and port", at: location)
      return nil
    }
    return .destinationNAT(.map(selectors, .named(name)), flags: flags)
  }
}

extension Topology.Value {
  /// Whether it is more than a single value.
  var isInterval: Bool {
    switch self {
    case .prefix, .addressRange, .numberRange: true
    case .name(let name): name.hasSuffix("*")
    case .address, .mac, .number: false
    }
  }
}

extension Topology.Verdict {
  /// The chain that it leads to.
  var target: String? {
    switch self {
    case .jump(let chain), .goto(let chain): chain
    case .accept, .drop, .proceed, .return: nil
    }
  }
}

extension Topology.Statement {
  /// Whether nothing after it is reached.
  var isTerminal: Bool {
    switch self {
    case .verdict(.proceed): false
    case .verdict, .reject, .masquerade, .sourceNAT, .destinationNAT, .redirect: true
    default: false
    }
  }

  /// Every verdict that it can come to.
  func verdicts(sets: [String: Topology.ElementSet]) -> [Topology.Verdict] {
    switch self {
    case .verdict(let verdict): [verdict]
    case .verdictMap(_, .named(let name)): (sets[name]?.elements ?? []).compactMap(\.verdict)
    case .verdictMap(_, .anonymous(let elements)): elements.compactMap(\.verdict)
    default: []
    }
  }
}
