// SPDX-License-Identifier: GPL-2.0-or-later

// The receiver of a topology file. Its methods declare; what they declare is checked when the program has ended, all of
// it in one run.

import Glibc

/// A lab: everything else is declared through it.
///
///     let lab = Topology("quickstart")
///     let lan = lab.bridge("lan", subnet: "10.0.0.0/24")
///     let web = lab.node("web") { Interface("eth0", on: lan, address: "10.0.0.1/24") }
public struct Topology: Sendable {
  /// The file that the topology is made in; helper files may declare in functions only.
  private let mainFile: String

  /// Begins a lab.
  /// - Parameter name: lower-case letters, digits and single hyphens, at most 31.
  public init(_ name: String, file: StaticString = #fileID, line: UInt = #line) {
    mainFile = Record.name(of: file)
    var record = Record("topology")
    record.add("name", name)
    record.add(file: file, line: line)
    Output.write(record)
  }

  /// Declares, unless the declaration stands at the top level of a helper file: such a line runs only when something
  /// else happens to use it, so whether it counts would be left to chance.
  func declare(_ record: Record, _ function: StaticString, _ file: StaticString, _ line: UInt) {
    var record = record
    let name = Record.name(of: file)
    let module = file.description.prefix { $0 != "/" }
    if name != mainFile && function.description == module {
      record = Record("failure")
      record.add(
        "message",
        "a declaration at the top level of the helper file '\(name)' takes effect by chance only; put it into a function that '\(mainFile)' calls"
      )
    }
    record.add(file: file, line: line)
    Output.write(record)
  }

  /// Declares a layer-2 switch. It lives in the lab's own switch namespace.
  /// - Parameters:
  ///   - name: unique among the nodes and bridges.
  ///   - subnet: the network of the interfaces on it, `10.0.0.0/24`. Interfaces without an address take a free one.
  ///   - subnets: several networks, for instance one of each family.
  ///   - stp: whether the bridge speaks the spanning tree protocol.
  ///   - ageing: how long the forwarding table keeps an entry.
  ///   - vlanFiltering: whether ports look at VLAN tags.
  ///   - multicast: whether the bridge snoops on IGMP and MLD.
  ///   - priority: the bridge's STP priority, 0...65535.
  ///   - mtu: bytes, for every interface on it that says none itself.
  ///   - labels: names and values for `--label`.
  @discardableResult
  public func bridge(
    _ name: String, subnet: String? = nil, subnets: [String] = [], stp: Bool? = nil, ageing: Duration? = nil,
    vlanFiltering: Bool? = nil, multicast: Bool? = nil, priority: Int? = nil, mtu: Int? = nil,
    labels: [String: String] = [:], function: StaticString = #function, file: StaticString = #fileID,
    line: UInt = #line
  ) -> Bridge {
    var record = Record("bridge")
    record.add("name", name)
    record.add("subnets", (subnet.map { [$0] } ?? []) + subnets)
    record.addBridge(
      stp: stp, ageing: ageing, vlanFiltering: vlanFiltering, multicast: multicast, priority: priority)
    record.add("mtu", mtu)
    record.add("labels", labels)
    declare(record, function, file, line)
    return Bridge(handle: name)
  }

  /// Declares a host: a network namespace that does not forward.
  /// - Parameters:
  ///   - name: unique among the nodes and bridges.
  ///   - labels: names and values for `--label`.
  ///   - body: its interfaces, routes, services and the rest.
  @discardableResult
  public func node(
    _ name: String, labels: [String: String] = [:], function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line, @NodeBody _ body: () -> [NodeItem] = { [] }
  ) -> Node {
    declareNode("node", name, labels, body(), function, file, line)
  }

  /// Declares a router: a network namespace that forwards IPv4 and IPv6.
  /// - Parameters:
  ///   - name: unique among the nodes and bridges.
  ///   - labels: names and values for `--label`.
  ///   - body: its interfaces, routes, firewall and the rest.
  @discardableResult
  public func router(
    _ name: String, labels: [String: String] = [:], function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line, @NodeBody _ body: () -> [NodeItem] = { [] }
  ) -> Node {
    declareNode("router", name, labels, body(), function, file, line)
  }

  private func declareNode(
    _ kind: String, _ name: String, _ labels: [String: String], _ body: [NodeItem], _ function: StaticString,
    _ file: StaticString, _ line: UInt
  ) -> Node {
    var record = Record(kind)
    record.add("name", name)
    record.add("labels", labels)
    record.add("body", body.map(\.record))
    declare(record, function, file, line)
    return Node(name: name)
  }

  /// Joins two interfaces by a cable: `lab.link(gw["wan0"], isp["eth0"])`.
  /// - Parameter mtu: bytes, for both ends where they say none themselves.
  @discardableResult
  public func link(
    _ a: InterfaceReference, _ b: InterfaceReference, mtu: Int? = nil, function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line
  ) -> Link {
    var record = Record("link")
    record.add("a", a.record)
    record.add("b", b.record)
    record.add("mtu", mtu)
    declare(record, function, file, line)
    return Link(a: a, b: b)
  }

  /// Declares a routed uplink with masquerade: interfaces on it reach what the host reaches. What it changes in the host
  /// is recorded and undone by `down`.
  /// - Parameters:
  ///   - way: through the host.
  ///   - subnet: the IPv4 network shared with the host; left out, a /24 of 100.64.0.0/10 that the lab's name chooses.
  ///   - name: unique among the nodes and bridges.
  @discardableResult
  public func internet(
    via way: InternetWay, subnet: String? = nil, name: String = "internet",
    function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line
  ) -> Internet {
    var record = Record("internet")
    record.add("name", name)
    record.add("via", way.rawValue)
    record.add("subnet", subnet)
    declare(record, function, file, line)
    return Internet(name: name)
  }

  /// Says what shall happen at a time after the lab is up: `lab.at(.seconds(5), .linkDown(gw["wan0"]))`. Expectations
  /// with `.at(…)` say what must hold then.
  public func at(
    _ time: Duration, _ actions: EventAction..., function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("event")
    record.add("atNanoseconds", time)
    record.add("actions", actions.map(\.record))
    declare(record, function, file, line)
  }

  /// Declares a change on the way: its actions are carried out one after the other, its own expectations are tried, and
  /// the lab is as before again.
  ///
  ///     let cut = lab.scenario("the ring is cut", .linkDown(r1["eth1"]))
  ///     cut.expect(pcs[0], reaches: pcs[1], .eventually(within: .seconds(3)))
  public func scenario(
    _ name: String, _ actions: EventAction..., function: StaticString = #function,
    file: StaticString = #fileID, line: UInt = #line
  ) -> Scenario {
    var record = Record("scenario")
    record.add("name", name)
    record.add("actions", actions.map(\.record))
    declare(record, function, file, line)
    return Scenario(name: name, topology: self)
  }

  /// The text of a file, by its path from the topology file's folder.
  public func read(_ path: String, file: StaticString = #fileID, line: UInt = #line) -> String {
    var record = Record("read")
    record.add("path", path)
    record.add(file: file, line: line)
    Output.write(record)
    guard let bytes = Self.contents(of: path) else {
      fail("cannot read '\(path)': \(String(cString: strerror(errno)))", file, line)
      return ""
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Asks for the file: who runs a topology gives it no file system, and notes what its result depends on. By itself,
  /// outside netforge, the program opens the file as any other does.
  private static func contents(of path: String) -> [UInt8]? {
    guard fcntl(FileRequest.descriptor, F_GETFD) == -1 else { return FileRequest.contents(of: path) }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      guard count >= 0 else { return nil }
      guard count > 0 else { return bytes }
      bytes += chunk[..<count]
    }
  }

  /// The value of `--var name=value`.
  /// - Parameter default: what it is without; when there is none, leaving the variable out is an error.
  public func variable(
    _ name: String, default: String? = nil, file: StaticString = #fileID, line: UInt = #line
  ) -> String {
    var record = Record("variable")
    record.add("name", name)
    record.add(file: file, line: line)
    Output.write(record)
    if let value = getenv("NETFORGE_VAR_\(name)") { return String(cString: value) }
    guard let fallback = `default` else {
      fail("the variable '\(name)' has no value; give it with `--var \(name)=…`", file, line)
      return ""
    }
    return fallback
  }

  private func fail(_ message: String, _ file: StaticString, _ line: UInt) {
    var record = Record("failure")
    record.add("message", message)
    record.add(file: file, line: line)
    Output.write(record)
  }
}
