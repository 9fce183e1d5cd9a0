// SPDX-License-Identifier: GPL-2.0-or-later

// From declarations to a topology. Every mistake is collected, none ends the search: what could not be understood is
// left out, and later checks say nothing about what was left out.

import LabCore
import NetTypes

extension Topology {
  /// Checks declarations and makes the topology of them.
  /// - Throws: everything that is wrong with them, sorted by line.
  public init(_ declarations: Declarations) throws(TopologyErrors) {
    var check = TopologyCheck()
    self = try check.topology(of: declarations)
  }
}

/// One run of the checks.
struct TopologyCheck {
  var errors: [TopologyError] = []

  /// What carries a name in the lab.
  enum Named {
    /// Its place in `bridges`.
    case bridge(Int)
    /// Its place in `nodes`.
    case node(Int)
    case internet

    var what: String {
      switch self {
      case .bridge: "bridge"
      case .node: "node"
      case .internet: "internet"
      }
    }
  }

  var names: [String: (what: Named, location: SourceLocation)] = [:]
  var bridges: [Topology.Bridge] = []
  var nodes: [Topology.Node] = []
  /// The devices of each node by name: their places in `nodes[i].devices`.
  var devices: [[String: Int]] = []
  var links: [Topology.Link] = []
  /// Names of nodes and bridges that were refused, devices that were refused, and ends of links that were refused: what
  /// else is said of them would only repeat the first complaint.
  var refusedNames: Set<String> = []
  var refusedDevices: Set<Topology.DeviceReference> = []
  var refusedEnds: Set<Topology.DeviceReference> = []
  var internet: Topology.Internet?
  /// The addresses of every device, with a stand-in where one is to be allocated.
  var book = AddressBook()
  /// The devices that have a stand-in.
  var pending: Set<Topology.DeviceReference> = []
  /// Every address that a line gives to an interface.
  var writtenAddresses: Set<IPAddress> = []
  /// Where each written MAC address stands first.
  var macs: [MACAddress: (owner: String, location: SourceLocation)] = [:]
  /// Where each tap of the host is joined to the lab.
  var hostTaps: [String: (owner: String, location: SourceLocation)] = [:]

  mutating func fail(_ message: String, at location: SourceLocation) {
    errors.append(TopologyError(message, at: location))
  }

  mutating func topology(of declarations: Declarations) throws(TopologyErrors) -> Topology {
    let readers = declarations.items.map { Reader($0) }
    let (lab, location) = head(readers)
    // Names first, so that a body may refer to what is declared after it.
    for reader in readers { declare(reader, lab: lab) }
    for reader in readers where reader.kind == "node" || reader.kind == "router" { body(of: reader) }
    for reader in readers where reader.kind == "link" { link(reader) }
    for reader in readers where reader.kind == "impairment" { impairment(reader) }
    checkSegments()
    checkRouting()
    for reader in readers where reader.kind == "node" || reader.kind == "router" { policies(of: reader) }
    let scenarios = scenarios(readers.filter { $0.kind == "scenario" })
    let expectations = readers.filter { $0.kind == "expectation" }.compactMap {
      expectation($0, scenarios: scenarios)
    }
    checkContradictions(expectations)
    let events = readers.filter { $0.kind == "event" }.flatMap { event($0) }
    guard errors.isEmpty, let lab else { throw TopologyErrors(errors) }
    return Topology(
      name: lab, bridges: bridges, nodes: nodes, links: links, internet: internet, expectations: expectations,
      events: events, scenarios: scenarios, location: location)
  }

  /// The one `Topology(…)` of the file.
  private mutating func head(_ readers: [Reader]) -> (LabName?, SourceLocation) {
    let heads = readers.filter { $0.kind == "topology" }
    guard let first = heads.first else {
      errors.append(
        TopologyError(
          "there is no topology; begin with: let lab = Topology(\"name\")", at: readers.first?.location))
      return (nil, SourceLocation(file: "?", line: 0))
    }
    for other in heads.dropFirst() {
      fail(
        "topology '\(other.required("name"))': the file has one already, '\(first.required("name"))' (line \(first.location.line)); a file describes one lab",
        at: other.location)
    }
    let name = first.required("name")
    if let complaint = LabelRule.complaint(about: name) {
      fail("topology '\(name)': the name \(complaint)\(Self.suggestion(for: name))", at: first.location)
    }
    return (LabName(name), first.location)
  }

  /// A name that the rule has nothing against, made of one that it has.
  static func suggestion(for name: String) -> String {
    var text = ""
    for character in name.lowercased() {
      if character.isASCII, character.isLetter || character.isNumber {
        text.append(character)
      } else if !text.isEmpty, text.last != "-" {
        text.append("-")
      }
    }
    text = String(text.prefix(LabelRule.maximumLength))
    while text.last == "-" { text.removeLast() }
    return LabelRule.complaint(about: text) == nil ? "; '\(text)' would do" : ""
  }

  /// Gives a declaration its name among the nodes and bridges. Nil, with a complaint, when it cannot have it.
  private mutating func claim(_ name: String, _ what: Named, at location: SourceLocation) -> NodeName? {
    refusedNames.insert(name)
    if let complaint = LabelRule.complaint(about: name) {
      fail("\(what.what) '\(name)': the name \(complaint)\(Self.suggestion(for: name))", at: location)
      return nil
    }
    guard !["lo", "localhost", "all", "default"].contains(name) else {
      fail(
        "\(what.what) '\(name)': the name is reserved for the system's own use; choose another", at: location)
      return nil
    }
    if let taken = names[name] {
      fail(
        "\(what.what) '\(name)': the name is taken by the \(taken.what.what) at \(taken.location); bridges and nodes share one name space",
        at: location)
      return nil
    }
    refusedNames.remove(name)
    names[name] = (what, location)
    return NodeName(name)
  }

  private mutating func declare(_ reader: Reader, lab: LabName?) {
    let name = reader.required("name")
    switch reader.kind {
    case "bridge":
      guard let known = claim(name, .bridge(bridges.count), at: reader.location) else { return }
      bridges.append(bridge(reader, known))
    case "node", "router":
      guard let known = claim(name, .node(nodes.count), at: reader.location) else { return }
      nodes.append(
        Topology.Node(
          name: known, kind: reader.kind == "router" ? .router : .node,
          labels: labels(reader, "node '\(name)'"), location: reader.location))
      devices.append([:])
    case "internet": declareInternet(reader, lab: lab)
    default: break
    }
  }

  private mutating func bridge(_ reader: Reader, _ name: NodeName) -> Topology.Bridge {
    let who = "bridge '\(name)'"
    var subnets: [IPPrefix] = []
    for text in reader.texts("subnets") {
      guard let subnet = network(text, "\(who): subnet", at: reader.location) else { continue }
      guard !subnet.address.isMulticast, !subnet.address.isLoopback, !subnet.isEverything else {
        fail("\(who): subnet \(subnet) is not one that hosts can have addresses of", at: reader.location)
        continue
      }
      subnets.append(subnet)
    }
    return Topology.Bridge(
      name: name, subnets: subnets, options: bridgeOptions(reader, who), mtu: mtu(reader, who),
      labels: labels(reader, who), location: reader.location)
  }

  private mutating func declareInternet(_ reader: Reader, lab: LabName?) {
    let name = reader.required("name")
    if let internet {
      fail(
        "internet '\(name)': the lab has one already (line \(internet.location.line))", at: reader.location)
      return
    }
    guard let known = claim(name, .internet, at: reader.location) else { return }
    let who = "internet '\(name)'"
    let way: Topology.Internet.Way? = choice(reader.required("via"), "\(who): via", at: reader.location)
    // Carrier-grade NAT's block (RFC 6598): nobody's own network. 14 bits of the name choose a /24 of it.
    let chosen = Ownership.hash(lab?.text ?? "", seed: 0) & 0x3fff
    var subnet = IPPrefix(.v4(IPv4Address(rawValue: 0x6440_0000 | chosen << 8)), length: 24)
    if let text = reader.text("subnet") {
      subnet = network(text, "\(who): subnet", at: reader.location)
      if let written = subnet, written.family != .ipv4 || written.length > 30 {
        fail("\(who): subnet \(written) should be IPv4 and have room, /30 or larger", at: reader.location)
        subnet = nil
      }
    }
    guard let way, let subnet else { return }
    internet = Topology.Internet(name: known, via: way, subnet: subnet, location: reader.location)
  }

  /// The place of a node; nil, with a complaint, when there is none of that name.
  mutating func node(_ name: String, _ who: String, at location: SourceLocation) -> Int? {
    switch names[name]?.what {
    case .node(let index): return index
    case .some(let other):
      fail(
        "\(who): '\(name)' is \(other.what == "internet" ? "the lab's internet" : "a bridge"), not a node",
        at: location)
    case nil where refusedNames.contains(name): break
    case nil:
      fail("\(who): there is no node '\(name)'\(didYouMean(name, nodes.map(\.name.text)))", at: location)
    }
    return nil
  }

  /// `; did you mean 'x'?` when one of the candidates is near.
  func didYouMean(_ name: String, _ candidates: some Sequence<String>) -> String {
    nearest(name, among: candidates).map { "; did you mean '\($0)'?" } ?? ""
  }

  /// A device of a node; nil, with a complaint that lists what there is, when there is none of that name.
  mutating func device(
    _ name: String, of node: Int, _ who: String, at location: SourceLocation
  ) -> Topology.Device? {
    if let index = devices[node][name] { return nodes[node].devices[index] }
    guard !refusedDevices.contains(Topology.DeviceReference(nodes[node].name, name)) else { return nil }
    let known = nodes[node].devices.map(\.name)
    let near = didYouMean(name, known)
    let list = known.isEmpty ? "; it has none" : "; it has \(known.prefix(8).joined(separator: ", "))"
    fail(
      "\(who): node '\(nodes[node].name)' has no interface '\(name)'\(near.isEmpty ? list : near)",
      at: location)
    return nil
  }
}
