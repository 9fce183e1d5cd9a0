// SPDX-License-Identifier: GPL-2.0-or-later

// What must hold: of the topology as it comes up, or while a scenario lasts. What each expectation means is
// docs/expectations.md.

/// Where an expectation belongs.
public struct ExpectationContext: Sendable {
  let topology: Topology
  let scenario: String?
}

/// What expectations can be said of: a topology, or one of its scenarios.
public protocol Expecting: Sendable {
  /// Where its expectations belong.
  var expectationContext: ExpectationContext { get }
}

extension Topology: Expecting {
  /// The topology itself.
  public var expectationContext: ExpectationContext { ExpectationContext(topology: self, scenario: nil) }

  /// Expects that nothing is left of the lab when it is taken down, and that the host is as it was: its devices,
  /// addresses, routes, forwarding and, where they may be read, its rules.
  public func expectCleanDown(
    _ options: CheckOption..., function: StaticString = #function, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    declare("cleanDown", options, function, file, line) { _ in }
  }
}

extension Expecting {
  /// Expects that packets get from one place to another and are answered.
  /// - Parameters:
  ///   - source: a node, or the interface that the packets leave by.
  ///   - target: a node, an interface or an address.
  ///   - probe: `.ping`, `.tcp(80)`, `.udp(53)` or `.http(80, status: 200)`.
  ///   - time: how long the answer may take.
  ///   - ttl: the TTL or hop limit that an answer to a ping arrives with.
  public func expect(
    _ source: some Place, reaches target: some Place, on probe: Probe = .ping, within time: Duration? = nil,
    ttl: Int? = nil, _ options: CheckOption..., function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    flow("reaches", source, target, probe, options, function, file, line) {
      $0.add("withinNanoseconds", time)
      $0.add("ttl", ttl)
    }
  }

  /// Expects that packets leave the source and do not arrive at the target.
  /// - Parameters:
  ///   - source: a node, or the interface that the packets leave by.
  ///   - target: a node, an interface or an address.
  ///   - probe: `.ping`, `.tcp(80)` or `.udp(53)`.
  ///   - cause: why they do not; left out, any way to be lost on the way will do, but leave they must.
  public func expect(
    _ source: some Place, cannotReach target: some Place, on probe: Probe = .ping,
    because cause: Cause? = nil,
    _ options: CheckOption..., function: StaticString = #function, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    flow("cannotReach", source, target, probe, options, function, file, line) {
      $0.add("because", cause?.rawValue)
    }
  }

  /// Expects that the target sees the source's packets come from an address.
  /// - Parameters:
  ///   - source: a node, or the interface that the packets leave by.
  ///   - target: a node or an interface.
  ///   - address: what the target sees.
  ///   - probe: `.ping`, `.tcp(80)` or `.udp(53)`.
  public func expect(
    _ source: some Place, appearsTo target: some Place, as address: String, on probe: Probe = .ping,
    _ options: CheckOption..., function: StaticString = #function, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    flow("appearsTo", source, target, probe, options, function, file, line) { $0.add("as", address) }
  }

  /// Expects that packets pass these hops, in order and no others, before they reach the target.
  /// - Parameter hops: nodes, interfaces or addresses of the routers on the way.
  public func expect(
    _ source: some Place, reaches target: some Place, through hops: [any Place], _ options: CheckOption...,
    function: StaticString = #function, file: StaticString = #fileID, line: UInt = #line
  ) {
    flow("path", source, target, .ping, options, function, file, line) {
      $0.add("hops", hops.map(\.place.record))
    }
  }

  /// Expects that connections to a port are spread over the web servers of these nodes: none goes elsewhere, and each
  /// gets half of an even share or more.
  /// - Parameters:
  ///   - port: of the target.
  ///   - servers: who answers, as netforge's own `Service(.http)` says it.
  ///   - count: how many connections are made.
  public func expect(
    _ source: some Place, reaches target: some Place, on port: Int = 80, spreadOver servers: [Node],
    connections count: Int = 30, _ options: CheckOption..., function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    flow("spread", source, target, .http(port), options, function, file, line) {
      $0.add("groups", json: Record.list([Record.list(servers.map { Record.quoted($0.name) })]))
      $0.add("count", count)
    }
  }

  /// Expects that a connection stays with the server that has taken it, while others go elsewhere: all its requests are
  /// answered by the same one.
  /// - Parameters:
  ///   - port: of the target; netforge's own `Service(.http)` says who answers.
  ///   - count: how many requests are made on the connection. Before each another connection is made.
  public func expect(
    _ source: some Place, staysConnectedTo target: some Place, on port: Int = 80, requests count: Int = 10,
    _ options: CheckOption..., function: StaticString = #function, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    flow("stays", source, target, .http(port), options, function, file, line) { $0.add("count", count) }
  }

  /// Expects that nodes that send from one source port at the same time are told apart, as behind a NAT they must be:
  /// each has its own answer.
  /// - Parameters:
  ///   - nodes: who sends.
  ///   - target: a node, an interface or an address.
  ///   - probe: `.tcp(80)` or `.udp(53)`.
  ///   - port: where all of them send from.
  public func expect(
    _ nodes: [Node], reach target: some Place, on probe: Probe, fromPort port: Int,
    _ options: CheckOption..., function: StaticString = #function, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    declare("samePort", options, function, file, line) {
      $0.add("groups", json: Record.list([Record.list(nodes.map { Record.quoted($0.name) })]))
      $0.add("target", target.placeRecord)
      $0.add("probe", probe.record)
      $0.add("sourcePort", port)
    }
  }

  /// Expects the largest IP packet that gets to the target in one piece.
  /// - Parameter bytes: with the IP header.
  public func expect(
    _ source: some Place, pathMTU bytes: Int, to target: some Place, _ options: CheckOption...,
    function: StaticString = #function, file: StaticString = #fileID, line: UInt = #line
  ) {
    flow("pathMTU", source, target, .ping, options, function, file, line) { $0.add("mtu", bytes) }
  }

  /// Expects what one TCP connection carries.
  /// - Parameters:
  ///   - rate: bits of payload a second.
  ///   - port: where the target listens.
  ///   - time: how long data is sent.
  public func expect(
    _ source: some Place, throughput rate: Bounds<Rate>, to target: some Place, on port: Int = 5201,
    during time: Duration = .seconds(1), _ options: CheckOption..., function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    flow("throughput", source, target, .tcp(port), options, function, file, line) {
      $0.add("minimum", rate.minimum?.bitsPerSecond)
      $0.add("maximum", rate.maximum?.bitsPerSecond)
      $0.add("durationNanoseconds", time)
    }
  }

  /// Expects which share of echo requests is not answered.
  /// - Parameter count: how many are sent, one every 10 ms.
  public func expect(
    _ source: some Place, loss share: Bounds<Percent>, to target: some Place, probes count: Int = 100,
    _ options: CheckOption..., function: StaticString = #function, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    flow("loss", source, target, .ping, options, function, file, line) {
      $0.add("minimum", share.minimum?.value)
      $0.add("maximum", share.maximum?.value)
      $0.add("count", count)
    }
  }

  /// Expects that a node drops packets that are on their way. Why, a host's kernel tells only of its rules, and root.
  /// - Parameter reason: the kernel's name of it, `NETFILTER_DROP`; left out, any.
  public func expect(
    _ source: some Place, sendingTo target: some Place, on probe: Probe = .ping, isDroppedBy node: Node,
    reason: String? = nil, _ options: CheckOption..., function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    flow("dropped", source, target, probe, options, function, file, line) {
      $0.add("node", node.name)
      $0.add("reason", reason)
    }
  }

  /// Expects the way that a node's own packets to an address take.
  /// - Parameters:
  ///   - destination: an address.
  ///   - gateway: the next hop's address.
  ///   - interface: the interface that they leave by.
  public func expect(
    _ node: Node, routes destination: String, via gateway: String? = nil, on interface: String? = nil,
    _ options: CheckOption..., function: StaticString = #function, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    declare("route", options, function, file, line) {
      $0.add("node", node.name)
      $0.add("destination", destination)
      $0.add("via", gateway)
      $0.add("interface", interface)
    }
  }

  /// Expects that a node knows a neighbour.
  /// - Parameters:
  ///   - address: the neighbour's IP address.
  ///   - mac: its MAC address.
  ///   - interface: where it is.
  ///   - state: `REACHABLE`, `STALE`, `PERMANENT`, …
  public func expect(
    _ node: Node, hasNeighbor address: String, at mac: String? = nil, on interface: String? = nil,
    state: String? = nil, _ options: CheckOption..., function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    declare("neighbor", options, function, file, line) {
      $0.add("node", node.name)
      $0.add("destination", address)
      $0.add("mac", mac)
      $0.add("interface", interface)
      $0.add("state", state)
    }
  }

  /// Expects that a lab's bridge has an interface's MAC address in its forwarding database.
  /// - Parameter port: the interface behind whose port it is; left out, the interface itself.
  public func expect(
    _ bridge: Bridge, hasLearned interface: InterfaceReference, behind port: InterfaceReference? = nil,
    _ options: CheckOption..., function: StaticString = #function, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    declare("learned", options, function, file, line) {
      $0.add("bridge", bridge.name)
      $0.add("target", interface.record)
      $0.add("port", port?.record)
    }
  }

  /// Expects how many packets a rule of a node has counted.
  /// - Parameters:
  ///   - rule: the rule's comment.
  ///   - packets: how many.
  public func expect(
    _ node: Node, counts rule: String, packets: Bounds<Int>, _ options: CheckOption...,
    function: StaticString = #function, file: StaticString = #fileID, line: UInt = #line
  ) {
    declare("counts", options, function, file, line) {
      $0.add("node", node.name)
      $0.add("rule", rule)
      $0.add("minimum", packets.minimum.map { Double($0) })
      $0.add("maximum", packets.maximum.map { Double($0) })
    }
  }

  /// Expects that a command in a node ends as it should. Not on the emulated datapath.
  /// - Parameters:
  ///   - command: its words, or one line for the shell.
  ///   - code: its exit code.
  ///   - text: a part of what it prints on standard output.
  public func expect(
    _ node: Node, runs command: [String], exitCode code: Int = 0, prints text: String? = nil,
    _ options: CheckOption..., function: StaticString = #function, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    declare("runs", options, function, file, line) {
      $0.add("node", node.name)
      $0.add("command", command)
      $0.add("exitCode", code == 0 ? nil : code)
      $0.add("output", text)
    }
  }

  /// Expects that no node of a group reaches a node of another one.
  public func expect(
    isolated groups: [[Node]], on probe: Probe = .ping, _ options: CheckOption...,
    function: StaticString = #function, file: StaticString = #fileID, line: UInt = #line
  ) {
    declare("isolated", options, function, file, line) {
      $0.add("groups", json: Record.list(groups.map { Record.list($0.map { Record.quoted($0.name) }) }))
      $0.add("probe", probe.record)
    }
  }

  /// Expects that every node reaches every other.
  /// - Parameter ttl: the TTL or hop limit that each answer arrives with.
  public func expect(
    mesh nodes: [Node], on probe: Probe = .ping, ttl: Int? = nil, _ options: CheckOption...,
    function: StaticString = #function, file: StaticString = #fileID, line: UInt = #line
  ) {
    declare("mesh", options, function, file, line) {
      $0.add("groups", json: Record.list([Record.list(nodes.map { Record.quoted($0.name) })]))
      $0.add("probe", probe.record)
      $0.add("ttl", ttl)
    }
  }

  /// Expects how many steps `netforge plan` shows: with none, `netforge up` changes nothing.
  public func expect(
    differences count: Int, _ options: CheckOption..., function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    declare("differences", options, function, file, line) { $0.add("count", count) }
  }

  /// Expects that nodes, and their interfaces, are still those that they were before the scenario, or the first event:
  /// neither was made anew.
  public func expect(
    keeps nodes: [Node], _ options: CheckOption..., function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    declare("keeps", options, function, file, line) {
      $0.add("groups", json: Record.list([Record.list(nodes.map { Record.quoted($0.name) })]))
    }
  }

  private func flow(
    _ what: String, _ source: some Place, _ target: some Place, _ probe: Probe, _ options: [CheckOption],
    _ function: StaticString, _ file: StaticString, _ line: UInt, _ fill: (inout Record) -> Void
  ) {
    declare(what, options, function, file, line) {
      $0.add("source", source.placeRecord)
      $0.add("target", target.placeRecord)
      $0.add("probe", probe.record)
      fill(&$0)
    }
  }

  fileprivate func declare(
    _ what: String, _ options: [CheckOption], _ function: StaticString, _ file: StaticString, _ line: UInt,
    _ fill: (inout Record) -> Void
  ) {
    let context = expectationContext
    var record = Record("expectation")
    record.add("what", what)
    fill(&record)
    record.add("scenario", context.scenario)
    for option in options { option.apply(&record) }
    context.topology.declare(record, function, file, line)
  }
}
