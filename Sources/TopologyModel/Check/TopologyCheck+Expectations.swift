// SPDX-License-Identifier: GPL-2.0-or-later

// Expectations.

import LabCore
import NetTypes

extension TopologyCheck {
  /// A place that a declaration names.
  private enum Place {
    case node(Int)
    case device(Int, String)
    case address(IPAddress)
  }

  private mutating func place(_ reader: Reader?, _ who: String, at location: SourceLocation) -> Place? {
    guard let reader else { return nil }
    if let text = reader.text("address") {
      guard reader.text("node") == nil else {
        fail("\(who): a place is either a node or an address", at: location)
        return nil
      }
      return address(text, "\(who):", at: location).map { .address($0) }
    }
    guard let name = reader.text("node") else {
      fail("\(who): a place names a node or an address", at: location)
      return nil
    }
    guard let node = node(name, who, at: location) else { return nil }
    guard let interface = reader.text("interface") else { return .node(node) }
    guard let device = device(interface, of: node, who, at: location) else { return nil }
    return .device(node, device.name)
  }

  /// The words that say what is expected.
  private static let words = [
    "reaches", "cannotReach", "appearsTo", "path", "spread", "stays", "samePort", "pathMTU", "throughput",
    "loss", "dropped", "route", "neighbor", "learned", "counts", "runs", "isolated", "mesh", "differences",
    "keeps", "cleanDown",
  ]

  /// The keys that belong to each of them; the others would mean nothing.
  private static func keys(of what: String) -> Set<String> {
    let flow: Set = ["source", "target", "probe"]
    switch what {
    case "reaches": return flow.union(["withinNanoseconds", "ttl"])
    case "cannotReach": return flow.union(["because"])
    case "appearsTo": return flow.union(["as"])
    case "path": return flow.union(["hops"])
    case "spread": return flow.union(["groups", "count"])
    case "stays": return flow.union(["count"])
    case "samePort": return ["groups", "target", "probe", "sourcePort"]
    case "pathMTU": return flow.union(["mtu"])
    case "throughput": return flow.union(["minimum", "maximum", "durationNanoseconds"])
    case "loss": return flow.union(["minimum", "maximum", "count"])
    case "dropped": return flow.union(["node", "reason"])
    case "route": return ["node", "destination", "via", "interface"]
    case "neighbor": return ["node", "destination", "mac", "interface", "state"]
    case "learned": return ["bridge", "target", "port"]
    case "counts": return ["node", "rule", "minimum", "maximum"]
    case "runs": return ["node", "command", "exitCode", "output"]
    case "isolated": return ["groups", "probe"]
    case "differences": return ["count"]
    case "keeps": return ["groups"]
    case "cleanDown": return []
    default: return ["groups", "probe", "ttl"]
    }
  }

  /// Keys that any expectation may have.
  private static let common: Set = [
    "kind", "what", "scenario", "name", "tags", "level", "eventuallyNanoseconds", "atNanoseconds", "file",
    "line",
  ]

  mutating func expectation(_ reader: Reader, scenarios: [Topology.Scenario]) -> Topology.Expectation? {
    let what = reader.required("what")
    let location = reader.location
    let who = "expectation '\(what)'"
    guard Self.words.contains(what) else {
      fail(
        "\(who): it is none of \(Self.words.joined(separator: ", "))\(didYouMean(what, Self.words))",
        at: location)
      return nil
    }
    if case .object(let members) = reader.json {
      let allowed = Self.keys(of: what).union(Self.common)
      for member in members where !allowed.contains(member.key) {
        fail("\(who): '\(member.key)' does not belong to it", at: location)
        return nil
      }
    }
    guard let claim = claim(what, reader, who) else { return nil }
    var expectation = Topology.Expectation(claim: claim, name: reader.text("name"), location: location)
    expectation.tags = reader.texts("tags")
    if let level = reader.text("level") {
      guard level == "warning" || level == "error" else {
        fail("\(who): level '\(level)' is none of error, warning", at: location)
        return nil
      }
      expectation.isWarning = level == "warning"
    }
    expectation.eventually = nanoseconds(
      reader, "eventuallyNanoseconds", "\(who): eventually", upTo: Self.hour)
    expectation.at = nanoseconds(reader, "atNanoseconds", "\(who): at", upTo: 24 * Self.hour)
    if let name = reader.text("scenario") {
      guard scenarios.contains(where: { $0.name == name }) else {
        fail(
          "\(who): there is no scenario '\(name)'\(didYouMean(name, scenarios.map(\.name)))", at: location)
        return nil
      }
      guard expectation.at == nil else {
        fail("\(who): a scenario has no times of day: leave out 'at'", at: location)
        return nil
      }
      expectation.scenario = name
    }
    return isTimely(expectation, who) ? expectation : nil
  }

  /// Whether it can fail when it is tried, and be tried at all.
  private mutating func isTimely(_ expectation: Topology.Expectation, _ who: String) -> Bool {
    let isAtOnce = expectation.scenario == nil && expectation.at == nil
    switch expectation.claim {
    case .keeps where isAtOnce:
      fail(
        "\(who): nothing has changed when the lab has just come up; say it of a scenario, or with .at(…)",
        at: expectation.location)
      return false
    case .cleanDown where !isAtOnce || expectation.eventually != nil:
      fail("\(who): it is tried once, when the lab is taken down", at: expectation.location)
      return false
    default: return true
    }
  }

  static let hour: Int64 = 3_600_000_000_000

  private mutating func claim(
    _ what: String, _ reader: Reader, _ who: String
  ) -> Topology.Expectation.Claim? {
    let location = reader.location
    switch what {
    case "route", "neighbor", "counts", "runs": return claimOfNode(what, reader, who)
    case "learned": return learned(reader, who)
    case "isolated", "mesh": return claimOfGroups(what, reader, who)
    case "samePort": return samePort(reader, who)
    case "differences":
      guard reader.integer("count") != nil else {
        fail("\(who): it needs 'count', 0 for none", at: location)
        return nil
      }
      return integer(reader, "count", 0...1_000_000, "\(who): count").map { .differences($0) }
    case "keeps": return keeps(reader, who)
    case "cleanDown": return .cleanDown
    default: break
    }
    guard let flow = flow(reader, who, isSeenByTarget: what == "appearsTo") else { return nil }
    switch what {
    case "reaches":
      let within = nanoseconds(reader, "withinNanoseconds", "\(who): within", upTo: Self.hour)
      let ttl = integer(reader, "ttl", 1...255, "\(who): TTL")
      if ttl != nil, flow.probe != .ping {
        fail("\(who): only an answer to a ping tells its TTL", at: location)
        return nil
      }
      return .reaches(flow, within: within, ttl: ttl)
    case "cannotReach":
      guard let text = reader.text("because") else { return .cannotReach(flow, because: nil) }
      let cause: Topology.Expectation.Cause? = choice(text, "\(who): because", at: location)
      return cause.map { .cannotReach(flow, because: $0) }
    case "appearsTo":
      guard let text = reader.text("as") else {
        fail("\(who): it needs 'as', an address", at: location)
        return nil
      }
      return address(text, "\(who): as", at: location).map { .appears(flow, as: $0) }
    case "path":
      let hops = reader.objects("hops").compactMap { hop -> Topology.Expectation.Target? in
        switch place(hop, "\(who): hop", at: location) {
        case .node(let node): .node(nodes[node].name)
        case .device(let node, let device): .device(Topology.DeviceReference(nodes[node].name, device))
        case .address(let address): .address(address)
        case nil: nil
        }
      }
      return hops.count == reader.values("hops").count ? .path(flow, hops: hops) : nil
    case "spread":
      guard case .http = flow.probe, let nodes = groups(reader, who)?.flatMap({ $0 }), nodes.count > 1 else {
        fail("\(who): it takes two web servers or more, and http", at: location)
        return nil
      }
      let count = integer(reader, "count", nodes.count...100_000, "\(who): connections") ?? 30
      return .spread(flow, over: nodes, connections: count)
    case "stays":
      guard case .http = flow.probe else {
        fail("\(who): only web servers say who they are: it takes http", at: location)
        return nil
      }
      return .stays(flow, requests: integer(reader, "count", 2...100_000, "\(who): requests") ?? 10)
    case "pathMTU":
      guard reader.integer("mtu") != nil else {
        fail("\(who): it needs 'mtu'", at: location)
        return nil
      }
      return mtu(reader, who).map { .pathMTU(flow, $0) }
    case "throughput":
      guard case .port(.tcp, _) = flow.probe else {
        fail("\(who): it is measured over TCP", at: location)
        return nil
      }
      let time = nanoseconds(reader, "durationNanoseconds", "\(who): during", upTo: 600_000_000_000)
      return bounds(reader, who).map { .throughput(flow, $0, during: time ?? .seconds(1)) }
    case "loss":
      let count = integer(reader, "count", 1...100_000, "\(who): count") ?? 100
      return bounds(reader, who).map { .loss(flow, $0, count: count) }
    default:
      guard let node = nodeKey(reader, who) else { return nil }
      return .dropped(flow, by: node, reason: reader.text("reason"))
    }
  }

  private mutating func claimOfNode(
    _ what: String, _ reader: Reader, _ who: String
  ) -> Topology.Expectation.Claim? {
    let location = reader.location
    guard let name = nodeKey(reader, who), let index = node(name.text, who, at: location) else { return nil }
    var known: String?
    if let interface = reader.text("interface") {
      guard let device = device(interface, of: index, who, at: location) else { return nil }
      known = device.name
    }
    switch what {
    case "route", "neighbor":
      guard let text = reader.text("destination") else {
        fail("\(who): it needs 'destination', an address", at: location)
        return nil
      }
      guard let target = address(text, "\(who): destination", at: location) else { return nil }
      if what == "neighbor" {
        var mac: MACAddress?
        if let text = reader.text("mac") {
          mac = self.mac(text, who, at: location)
          guard mac != nil else { return nil }
        }
        return .neighbor(name, target, mac: mac, device: known, state: reader.text("state")?.uppercased())
      }
      var gateway: IPAddress?
      if let text = reader.text("via") {
        gateway = address(text, "\(who): via", at: location)
        guard gateway != nil else { return nil }
      }
      return .route(name, to: target, via: gateway, device: known)
    case "counts":
      guard let rule = reader.text("rule"), !rule.isEmpty else {
        fail("\(who): it needs 'rule', a rule's comment", at: location)
        return nil
      }
      return bounds(reader, who).map { .counts(name, rule: rule, $0) }
    default:
      let words = reader.texts("command")
      guard let program = words.first, !program.allSatisfy(\.isWhitespace) else {
        fail("\(who): there is no command", at: location)
        return nil
      }
      let code = integer(reader, "exitCode", 0...255, "\(who): exit code") ?? 0
      return .runs(name, arguments: words, exitCode: code, output: reader.text("output"))
    }
  }

  private mutating func learned(_ reader: Reader, _ who: String) -> Topology.Expectation.Claim? {
    let location = reader.location
    let name = reader.text("bridge") ?? ""
    guard case .bridge(let bridge)? = names[name]?.what else {
      fail("\(who): there is no bridge '\(name)'\(didYouMean(name, bridges.map(\.name.text)))", at: location)
      return nil
    }
    guard case .device(let node, let device)? = place(reader.object("target"), "\(who): target", at: location)
    else {
      if reader.object("target")?.text("interface") == nil {
        fail("\(who): it names an interface, node[\"eth0\"]", at: location)
      }
      return nil
    }
    let reference = Topology.DeviceReference(nodes[node].name, device)
    guard let port = reader.object("port") else {
      return .learned(bridge: bridges[bridge].name, reference, behind: reference)
    }
    guard case .device(let node, let device)? = place(port, "\(who): port", at: location) else { return nil }
    return .learned(
      bridge: bridges[bridge].name, reference, behind: Topology.DeviceReference(nodes[node].name, device))
  }

  private mutating func claimOfGroups(
    _ what: String, _ reader: Reader, _ who: String
  ) -> Topology.Expectation.Claim? {
    let location = reader.location
    guard let probe = probe(reader, who), let groups = groups(reader, who) else { return nil }
    let all = groups.flatMap { $0 }
    if what == "mesh" {
      guard all.count > 1 else {
        fail("\(who): a mesh takes two nodes or more", at: location)
        return nil
      }
      return .mesh(all, probe, ttl: integer(reader, "ttl", 1...255, "\(who): TTL"))
    }
    guard groups.count > 1, !groups.contains(where: \.isEmpty) else {
      fail("\(who): it takes two groups or more, and a node in each", at: location)
      return nil
    }
    return .isolated(groups, probe)
  }

  private mutating func keeps(_ reader: Reader, _ who: String) -> Topology.Expectation.Claim? {
    let names = reader.values("groups").flatMap { group -> [String] in
      guard case .array(let words) = group else { return [] }
      return words.compactMap { if case .string(let word) = $0 { word } else { nil } }
    }
    guard !names.isEmpty else {
      fail("\(who): it names no node", at: reader.location)
      return nil
    }
    let kept = names.compactMap { node($0, who, at: reader.location).map { nodes[$0].name } }
    return kept.count == names.count ? .keeps(kept) : nil
  }

  private mutating func samePort(_ reader: Reader, _ who: String) -> Topology.Expectation.Claim? {
    let location = reader.location
    guard let nodes = groups(reader, who)?.flatMap({ $0 }), nodes.count > 1 else {
      fail("\(who): it takes two nodes or more", at: location)
      return nil
    }
    guard let port = reader.integer("sourcePort").flatMap({ port($0, "\(who): from", at: location) }) else {
      if reader.integer("sourcePort") == nil {
        fail("\(who): it needs 'sourcePort'", at: location)
      }
      return nil
    }
    guard let target = place(reader.object("target"), "\(who): target", at: location) else {
      if reader.object("target") == nil { fail("\(who): it has no target", at: location) }
      return nil
    }
    guard let probe = probe(reader, who) else { return nil }
    guard case .port = probe else {
      fail("\(who): it takes tcp or udp", at: location)
      return nil
    }
    var flows: [Topology.Expectation.Flow] = []
    for name in nodes {
      guard let index = node(name.text, who, at: location),
        let meant = self.target(target, source: index, who, at: location)
      else { return nil }
      flows.append(Topology.Expectation.Flow(source: name, target: meant, probe: probe))
    }
    return .samePort(flows, from: port)
  }

  /// Lists of nodes that have addresses, each node once.
  private mutating func groups(_ reader: Reader, _ who: String) -> [[NodeName]]? {
    let location = reader.location
    var groups: [[NodeName]] = []
    for value in reader.values("groups") {
      guard case .array(let words) = value else { continue }
      var group: [NodeName] = []
      for case .string(let word) in words {
        guard let index = node(word, who, at: location) else { return nil }
        guard hasAddress(index, nil) else {
          fail("\(who): node '\(nodes[index].name)' has no address to send to", at: location)
          return nil
        }
        group.append(nodes[index].name)
      }
      groups.append(group)
    }
    let all = groups.flatMap { $0 }
    guard Set(all).count == all.count else {
      fail("\(who): a node stands in it twice", at: location)
      return nil
    }
    return groups
  }

  private mutating func nodeKey(_ reader: Reader, _ who: String) -> NodeName? {
    guard let name = reader.text("node") else {
      fail("\(who): it names no node", at: reader.location)
      return nil
    }
    return node(name, who, at: reader.location).map { nodes[$0].name }
  }

  private mutating func bounds(_ reader: Reader, _ who: String) -> Topology.Expectation.Bounds? {
    let bounds = Topology.Expectation.Bounds(
      minimum: reader.number("minimum"), maximum: reader.number("maximum"))
    guard bounds.minimum != nil || bounds.maximum != nil, bounds.minimum ?? 0 >= 0,
      bounds.minimum ?? 0 <= bounds.maximum ?? .infinity
    else {
      fail("\(who): it needs a minimum, a maximum, or both in this order", at: reader.location)
      return nil
    }
    return bounds
  }

  private mutating func flow(
    _ reader: Reader, _ who: String, isSeenByTarget: Bool
  ) -> Topology.Expectation.Flow? {
    let location = reader.location
    for key in ["source", "target"] where reader.object(key) == nil {
      fail("\(who): it has no \(key)", at: location)
      return nil
    }
    guard let source = place(reader.object("source"), "\(who): source", at: location),
      let target = place(reader.object("target"), "\(who): target", at: location)
    else { return nil }
    let sourceNode: Int
    var sourceDevice: String?
    switch source {
    case .node(let node): sourceNode = node
    case .device(let node, let device):
      sourceNode = node
      sourceDevice = device
    case .address(let address):
      fail("\(who): packets are sent by a node; \(address) is an address", at: location)
      return nil
    }
    if isSeenByTarget, case .address(let address) = target {
      fail("\(who): only a node can say what it sees; \(address) is an address", at: location)
      return nil
    }
    guard let meant = self.target(target, source: sourceNode, who, at: location),
      let probe = probe(reader, who)
    else { return nil }
    return Topology.Expectation.Flow(
      source: nodes[sourceNode].name, sourceDevice: sourceDevice, target: meant, probe: probe)
  }

  private mutating func probe(_ reader: Reader, _ who: String) -> Topology.Expectation.Probe? {
    guard let probe = reader.object("probe") else { return .ping }
    let location = reader.location
    guard let port = probe.integer("port").flatMap({ port($0, "\(who): on", at: location) }) else {
      return nil
    }
    guard probe.required("transport") == "http" else {
      guard probe.text("path") == nil, probe.integer("status") == nil, probe.text("body") == nil else {
        fail("\(who): path, status and body belong to http", at: location)
        return nil
      }
      let transport: Topology.Transport? = choice(probe.required("transport"), "\(who): on", at: location)
      return transport.map { .port($0, port) }
    }
    let path = probe.text("path") ?? "/"
    guard path.hasPrefix("/"), path.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
      fail("\(who): path '\(path)' begins with / and has no blanks", at: location)
      return nil
    }
    let status = integer(probe, "status", 100...599, "\(who): status")
    return .http(
      port, Topology.Expectation.HTTPQuestion(path: path, status: status, body: probe.text("body")))
  }

  private mutating func target(
    _ target: Place, source: Int, _ who: String, at location: SourceLocation
  ) -> Topology.Expectation.Target? {
    switch target {
    case .address(let address):
      guard !address.isUnspecified, !address.isMulticast else {
        fail("\(who): \(address) is nobody's address", at: location)
        return nil
      }
      return .address(address)
    case .node(let node):
      guard node != source else {
        fail(
          "\(who): '\(nodes[node].name)' is both source and target; a node always reaches itself",
          at: location)
        return nil
      }
      guard hasAddress(node, nil) else {
        fail("\(who): node '\(nodes[node].name)' has no address to send to", at: location)
        return nil
      }
      return .node(nodes[node].name)
    case .device(let node, let device):
      guard node != source else {
        fail(
          "\(who): '\(nodes[node].name)' is both source and target; a node always reaches itself",
          at: location)
        return nil
      }
      guard hasAddress(node, device) else {
        fail(
          "\(who): interface '\(device)' of node '\(nodes[node].name)' has no address to send to",
          at: location)
        return nil
      }
      return .device(Topology.DeviceReference(nodes[node].name, device))
    }
  }

  private func hasAddress(_ node: Int, _ device: String?) -> Bool {
    nodes[node].devices.contains { candidate in
      guard device == nil || candidate.name == device else { return false }
      if case .uplink = candidate.kind { return true }
      return !candidate.addresses.isEmpty || !candidate.allocatesFrom.isEmpty
    }
  }

  /// The same packets cannot both arrive and not arrive.
  mutating func checkContradictions(_ expectations: [Topology.Expectation]) {
    struct Case: Hashable {
      var flow: Topology.Expectation.Flow
      var scenario: String?
      var at: Interval?
    }
    var seen: [Case: (arrives: Bool, location: SourceLocation)] = [:]
    for expectation in expectations {
      let (flow, arrives): (Topology.Expectation.Flow, Bool)
      switch expectation.claim {
      case .reaches(let own, _, _), .appears(let own, _): (flow, arrives) = (own, true)
      case .cannotReach(let own, _): (flow, arrives) = (own, false)
      default: continue
      }
      let key = Case(flow: flow, scenario: expectation.scenario, at: expectation.at)
      guard let first = seen[key] else {
        seen[key] = (arrives, expectation.location)
        continue
      }
      if first.arrives != arrives {
        fail("expectation: it says the opposite of the one at \(first.location)", at: expectation.location)
      }
    }
  }
}
