// SPDX-License-Identifier: GPL-2.0-or-later

// Expectations and events.

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

  mutating func expectation(_ reader: Reader) -> Topology.Expectation? {
    let what = reader.required("what")
    let location = reader.location
    let who = "expectation '\(what)'"
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
    var kind = Topology.Expectation.Kind.reaches
    switch (what, reader.text("as")) {
    case ("reaches", nil): break
    case ("cannotReach", nil): kind = .cannotReach
    case ("appearsTo", let text?):
      guard let address = address(text, "\(who): as", at: location) else { return nil }
      if case .address(let address) = target {
        fail("\(who): only a node can say what it sees; \(address) is an address", at: location)
        return nil
      }
      kind = .appears(as: address)
    case ("appearsTo", nil), ("reaches", .some), ("cannotReach", .some):
      fail("\(who): 'as' belongs to appearsTo, which needs it", at: location)
      return nil
    default:
      fail(
        "\(who): it is none of reaches, cannotReach, appearsTo\(didYouMean(what, ["reaches", "cannotReach", "appearsTo"]))",
        at: location)
      return nil
    }
    guard
      let meant = self.target(target, source: sourceNode, sourceDevice: sourceDevice, kind, who, at: location)
    else { return nil }
    var expectation = Topology.Expectation(
      kind: kind, source: nodes[sourceNode].name, sourceDevice: sourceDevice, target: meant,
      location: location)
    if let probe = reader.object("probe") {
      guard
        let transport: Topology.Transport = choice(probe.required("transport"), "\(who): on", at: location),
        let port = probe.integer("port").flatMap({ port($0, "\(who): on", at: location) })
      else { return nil }
      expectation.probe = .port(transport, port)
    }
    expectation.within = nanoseconds(reader, "withinNanoseconds", "\(who): within", upTo: 3_600_000_000_000)
    return expectation
  }

  private mutating func target(
    _ target: Place, source: Int, sourceDevice: String?, _ kind: Topology.Expectation.Kind, _ who: String,
    at location: SourceLocation
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
      var source: NodeName
      var device: String?
      var target: Topology.Expectation.Target
      var probe: Topology.Expectation.Probe
    }
    var seen: [Case: Topology.Expectation] = [:]
    for expectation in expectations {
      let key = Case(
        source: expectation.source, device: expectation.sourceDevice, target: expectation.target,
        probe: expectation.probe)
      guard let first = seen[key] else {
        seen[key] = expectation
        continue
      }
      if (first.kind == .cannotReach) != (expectation.kind == .cannotReach) {
        fail("expectation: it says the opposite of the one at \(first.location)", at: expectation.location)
      }
    }
  }

  mutating func event(_ reader: Reader) -> [Topology.Event] {
    guard let time = nanoseconds(reader, "atNanoseconds", "event: time") else { return [] }
    if reader.values("actions").isEmpty { fail("event: nothing happens", at: reader.location) }
    return reader.objects("actions").compactMap { action in
      self.action(action).map { Topology.Event(at: time, action: $0, location: reader.location) }
    }
  }

  private mutating func action(_ reader: Reader) -> Topology.Event.Action? {
    let word = reader.required("action")
    let who = "event '\(word)'"
    let location = reader.location
    switch word {
    case "linkDown", "linkUp", "impair", "heal":
      guard let target = reader.object("interface"),
        let node = node(target.required("node"), who, at: location),
        let device = device(target.required("interface"), of: node, who, at: location)
      else {
        if reader.object("interface") == nil { fail("\(who): it names no interface", at: location) }
        return nil
      }
      let reference = Topology.DeviceReference(nodes[node].name, device.name)
      switch word {
      case "linkDown": return .linkDown(reference)
      case "linkUp": return .linkUp(reference)
      case "heal": return .impair(reference, nil)
      default:
        guard let impairment = reader.object("impairment") else {
          fail("\(who): it does not say how", at: location)
          return nil
        }
        return .impair(reference, self.impairment(of: impairment, who))
      }
    case "run", "restart":
      guard let name = reader.text("node") else {
        fail("\(who): it names no node", at: location)
        return nil
      }
      guard let node = node(name, who, at: location) else { return nil }
      guard word == "run" else { return .restart(nodes[node].name) }
      let words = reader.texts("command")
      guard let program = words.first, !program.allSatisfy(\.isWhitespace) else {
        fail("\(who): there is no command", at: location)
        return nil
      }
      return .run(nodes[node].name, arguments: words)
    default:
      fail("\(who): it is none of linkDown, linkUp, impair, heal, run, restart", at: location)
      return nil
    }
  }
}
