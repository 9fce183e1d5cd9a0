// SPDX-License-Identifier: GPL-2.0-or-later

// Named objects of tables, and the statements that came with them: copies, other devices, transparent sockets.

import LabCore
import NetTypes

extension TopologyCheck {
  mutating func object(_ reader: Reader, _ scope: TableScope) -> Topology.Object? {
    let name = reader.required("name")
    let who = "\(scope.who), \(reader.kind) '\(name)'"
    guard Self.isIdentifier(name) else {
      fail(
        "\(who): it should be called by letters, digits, '_', '-' and '.', a letter first",
        at: reader.location)
      return nil
    }
    let state: Topology.Object.State?
    switch reader.kind {
    case "limit": state = rate(reader, who).map { .limit($0) }
    case "quota":
      state = integer(reader, "count", 1...Int.max, who).map {
        .quota(bytes: UInt64($0), over: reader.flag("over") ?? false)
      }
    case "helper":
      let transport: Topology.Transport? = choice(reader.required("transport"), who, at: reader.location)
      let helper = reader.required("helper")
      guard ["ftp", "tftp", "sip"].contains(helper) else {
        fail("\(who): '\(helper)' is none of ftp, tftp, sip", at: reader.location)
        return nil
      }
      state = transport.map { .helper(helper, $0) }
    case "expectation":
      guard
        let transport: Topology.Transport = choice(reader.required("transport"), who, at: reader.location),
        let port = port(reader.integer("port") ?? 0, who, at: reader.location),
        let count = integer(reader, "count", 1...255, "\(who): count"), let timeout = lifetime(reader, who)
      else { return nil }
      state = .expectation(transport, port: port, timeout: timeout, count: UInt8(clamping: count))
    case "synProxy": state = synProxy(reader, who).map { .synProxy($0) }
    case "flowtable": state = flowtable(reader, who, scope)
    default: state = timeouts(reader, who)
    }
    guard let state else { return nil }
    let object = Topology.Object(name: name, state: state, location: reader.location)
    if scope.objects.contains(where: { $0.kind == object.kind && $0.name == name }) {
      fail("\(who) is declared twice, in different ways", at: reader.location)
      return nil
    }
    return object
  }

  /// Whether the table has an object; a counter is declared by being named.
  mutating func exists(
    _ kind: Topology.Object.Kind, _ name: String, _ who: String, _ scope: TableScope,
    _ counters: inout [String], at location: SourceLocation
  ) -> Bool {
    guard kind != .counter else { return declare(counter: name, who, &counters, at: location) }
    guard scope.objects.contains(where: { $0.kind == kind && $0.name == name }) else {
      let names = scope.objects.filter { $0.kind == kind }.map(\.name)
      fail("\(who): there is no \(kind.rawValue) '\(name)'\(didYouMean(name, names))", at: location)
      return false
    }
    return true
  }

  /// The kind of the objects that a map leads to.
  mutating func mapped(
    _ word: String, _ who: String, at location: SourceLocation
  ) -> Topology.Object.Kind? {
    guard let kind: Topology.Object.Kind = choice(word, who, at: location) else { return nil }
    guard kind != .flowtable else {
      fail("\(who): a map leads to no flowtable", at: location)
      return nil
    }
    return kind
  }

  /// Whether a rule of the chain can use objects of a kind.
  private mutating func admits(
    _ kind: Topology.Object.Kind, base: Topology.Chain.Base?, _ scope: TableScope,
    at location: SourceLocation
  ) -> Bool {
    if kind == .synProxy, !admitsSynProxy(base, scope, at: location) { return false }
    if [.helper, .timeouts, .expectation].contains(kind), let base, base.priority <= -200 {
      fail(
        "\(scope.who): a connection is given its \(kind.rawValue) behind connection tracking (priority -200)",
        at: location)
      return false
    }
    if kind == .flowtable, let base, base.hook != .forward {
      fail(
        "\(scope.who): connections are put into a flowtable at forward, not at \(base.hook.rawValue)",
        at: location)
      return false
    }
    return true
  }

  /// A counter is declared by its use.
  mutating func declare(
    counter name: String, _ who: String, _ counters: inout [String], at location: SourceLocation
  ) -> Bool {
    guard Self.isIdentifier(name) else {
      fail(
        "\(who): counter '\(name)' should be called by letters, digits, '_', '-' and '.', a letter first",
        at: location)
      return false
    }
    if !counters.contains(name) { counters.append(name) }
    return true
  }

  mutating func objectMap(
    _ reader: Reader, base: Topology.Chain.Base?, _ scope: TableScope, _ counters: inout [String]
  ) -> Topology.Statement? {
    let (who, location) = (scope.who, reader.location)
    guard let kind = mapped(reader.required("object"), who, at: location),
      let selectors = selectors(reader.texts("selectors"), who, at: location),
      admits(kind, base: base, scope, at: location)
    else { return nil }
    if let name = reader.text("map") {
      guard let set = set(name, key: selectors, who, scope, at: location) else { return nil }
      guard set.data == .objects(kind) else {
        fail("\(who): '\(name)' does not lead to objects of kind \(kind.rawValue)", at: location)
        return nil
      }
      return .objectMap(kind, selectors, .named(name))
    }
    guard !selectors.contains(where: { $0.type == .connectionLabel }) else {
      fail("\(who): no label leads to anything; nft could not list it", at: location)
      return nil
    }
    var elements: [Topology.Element] = []
    for item in reader.objects("elements") {
      guard
        let element = element(item, key: selectors.map(\.type), data: .objects(kind), who, scope, &counters)
      else { return nil }
      guard !elements.contains(where: { $0.key == element.key }) else {
        fail("\(who): one value leads to two objects", at: location)
        return nil
      }
      elements.append(element)
    }
    guard !elements.isEmpty else {
      fail("\(who): a map of objects is empty", at: location)
      return nil
    }
    return .objectMap(kind, selectors, .anonymous(elements))
  }

  /// Whether a SYN proxy can stand in the chain (nft_synproxy_validate).
  private mutating func admitsSynProxy(
    _ base: Topology.Chain.Base?, _ scope: TableScope, at location: SourceLocation
  ) -> Bool {
    if let base, base.hook != .input && base.hook != .forward {
      fail("\(scope.who): a SYN proxy stands at input or forward, not at \(base.hook.rawValue)", at: location)
      return false
    }
    guard [.ip, .ip6, .inet].contains(scope.family) else {
      fail(
        "\(scope.who): a SYN proxy stands in tables of family ip, ip6 and inet, not \(scope.family.rawValue)",
        at: location)
      return false
    }
    return true
  }

  private mutating func synProxy(_ reader: Reader, _ who: String) -> Topology.SynProxy? {
    let size = integer(reader, "maximumSegmentSize", 1...65535, "\(who): maximum segment size")
    // RFC 7323, section 2.3.
    let scale = integer(reader, "windowScale", 0...14, "\(who): window scale")
    guard (size == nil) == (reader.integer("maximumSegmentSize") == nil),
      (scale == nil) == (reader.integer("windowScale") == nil)
    else { return nil }
    return Topology.SynProxy(
      maximumSegmentSize: size.map { UInt16(clamping: $0) }, windowScale: scale.map { UInt8(clamping: $0) },
      timestamps: reader.flag("timestamps") ?? false,
      selectiveAcknowledgments: reader.flag("selectiveAcknowledgments") ?? false)
  }

  /// A limit, named or not.
  mutating func rate(_ reader: Reader, _ who: String) -> Topology.Rate? {
    guard let count = integer(reader, "count", 1...Int(UInt32.max), "\(who): limit"),
      let per: Topology.Rate.Per = choice(reader.required("per"), "\(who): limit", at: reader.location)
    else { return nil }
    return Topology.Rate(
      count: UInt64(count), per: per, burst: number32(reader, "burst", "\(who): burst"),
      inBytes: reader.flag("bytes") ?? false, over: reader.flag("over") ?? false)
  }

  private mutating func flowtable(
    _ reader: Reader, _ who: String, _ scope: TableScope
  ) -> Topology.Object.State? {
    guard [.ip, .ip6, .inet].contains(scope.family) else {
      fail(
        "\(who): flowtables stand in tables of family ip, ip6 and inet, not \(scope.family.rawValue)",
        at: reader.location)
      return nil
    }
    let devices = reader.texts("devices")
    guard !devices.isEmpty, Set(devices).count == devices.count else {
      fail("\(who): it should name its interfaces, each once", at: reader.location)
      return nil
    }
    for device in devices {
      guard self.device(device, of: scope.node, who, at: reader.location) != nil else { return nil }
      let other = scope.objects.first {
        if case .flowtable(let taken, _, _) = $0.state { taken.contains(device) } else { false }
      }
      if let other {
        fail("\(who): '\(device)' belongs to flowtable '\(other.name)' already", at: reader.location)
        return nil
      }
    }
    return inRange(
      reader.integer("priority") ?? 0, Int(Int32.min)...Int(Int32.max), "\(who): priority",
      at: reader.location
    ).map {
      .flowtable(devices: devices, priority: Int32(clamping: $0), counts: reader.flag("counter") ?? false)
    }
  }

  private mutating func timeouts(_ reader: Reader, _ who: String) -> Topology.Object.State? {
    guard let transport: Topology.Transport = choice(reader.required("transport"), who, at: reader.location)
    else { return nil }
    let known =
      transport == .tcp
      ? ["syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait", "close"]
      : ["unreplied", "replied"]
    var seconds: [String: UInt32] = [:]
    for item in reader.objects("states") {
      let state = item.required("state")
      guard known.contains(state) else {
        fail("\(who): '\(state)' is none of \(known.joined(separator: ", "))", at: reader.location)
        return nil
      }
      guard let time = nanoseconds(item, "timeNanoseconds", "\(who): \(state)", upTo: Self.longest) else {
        return nil
      }
      guard time.nanoseconds >= 1_000_000_000, time.nanoseconds % 1_000_000_000 == 0 else {
        fail("\(who): \(state) lasts \(time); it should be whole seconds, one at least", at: reader.location)
        return nil
      }
      seconds[state] = UInt32(clamping: time.nanoseconds / 1_000_000_000)
    }
    return .timeouts(transport, seconds)
  }

  private static let longest: Int64 = 365 * 86_400_000_000_000

  // MARK: Statements

  /// Nil with a complaint, or for a statement that is none of these.
  mutating func rarerStatement(
    _ reader: Reader, base: Topology.Chain.Base?, _ scope: TableScope, _ counters: inout [String]
  ) -> Topology.Statement? {
    let who = scope.who
    let location = reader.location
    switch reader.kind {
    case "object":
      guard let kind: Topology.Object.Kind = choice(reader.required("object"), who, at: location) else {
        return nil
      }
      let name = reader.required("name")
      guard exists(kind, name, who, scope, &counters, at: location),
        admits(kind, base: base, scope, at: location)
      else { return nil }
      return .object(kind, name)
    case "duplicate":
      let device = reader.text("device")
      if let device, self.device(device, of: scope.node, who, at: location) == nil { return nil }
      let isOfDevices = scope.family == .netdev
      guard let text = reader.text("address") else {
        guard isOfDevices else {
          fail("\(who): a copy in family \(scope.family.rawValue) is sent to an address", at: location)
          return nil
        }
        return .duplicate(to: nil, device: device)
      }
      guard scope.family == .ip || scope.family == .ip6 else {
        fail(
          "\(who): copies are sent to an address in families ip and ip6, not \(scope.family.rawValue)",
          at: location)
        return nil
      }
      guard let address = address(text, "\(who): address", at: location), fits(address, scope, at: location)
      else { return nil }
      return .duplicate(to: address, device: device)
    case "sendBy":
      guard scope.family == .netdev else {
        fail("\(who): packets are sent by another interface in family netdev only", at: location)
        return nil
      }
      let device = reader.required("device")
      guard self.device(device, of: scope.node, who, at: location) != nil else { return nil }
      guard let text = reader.text("address") else { return .sendBy(device: device, to: nil) }
      return address(text, "\(who): address", at: location).map { .sendBy(device: device, to: $0) }
    case "transparentProxy":
      if let base, base.hook != .prerouting || base.kind != .filter {
        fail("\(who): a transparent proxy stands in a chain of filter at prerouting", at: location)
        return nil
      }
      let port = integer(reader, "port", 1...65535, "\(who): port").map { Port($0) }
      guard let text = reader.text("address") else {
        if port == nil, reader.integer("port") == nil {
          fail("\(who): the proxy has neither an address nor a port", at: location)
        }
        return port.map { .transparentProxy(nil, port: $0) }
      }
      guard let address = address(text, "\(who): address", at: location), fits(address, scope, at: location)
      else { return nil }
      return .transparentProxy(address, port: port)
    case "synProxy":
      guard admitsSynProxy(base, scope, at: location) else { return nil }
      return synProxy(reader, who).map { .synProxy($0) }
    default: return nil
    }
  }
}
