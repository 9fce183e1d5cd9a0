// SPDX-License-Identifier: GPL-2.0-or-later

// Addresses, routes and what else decides where packets go.

/// A further address of a device.
public struct Address: Sendable {
  let record: Record

  /// - Parameters:
  ///   - address: `10.0.0.9/32`.
  ///   - device: a device of the node.
  ///   - peer: the other end of a point-to-point address.
  public init(
    _ address: String, on device: String, peer: String? = nil, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    var record = Record("address")
    record.add("address", address)
    record.add("on", device)
    record.add("peer", peer)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// Where a route leads: `.default`, `.default6`, or a prefix as text.
public protocol RouteDestination: Sendable {
  /// The text in the declaration.
  var destinationText: String { get }
}

extension String: RouteDestination {
  /// The prefix.
  public var destinationText: String { self }
}

/// Everything that no other route covers.
public struct DefaultDestination: RouteDestination {
  /// The text in the declaration.
  public let destinationText: String
}

extension RouteDestination where Self == DefaultDestination {
  /// Everything; of the gateway's family, and through a node one route for each family that the two share.
  public static var `default`: DefaultDestination { DefaultDestination(destinationText: "default") }
  /// Everything in IPv6.
  public static var default6: DefaultDestination { DefaultDestination(destinationText: "::/0") }
}

/// Who takes a route's packets: an address as text, a node, an interface of one, the internet, or several of them.
public protocol Gateway: Sendable {
  /// The ways out that this means.
  var hops: [NextHop] { get }
}

extension String: Gateway {
  /// The text as an address.
  public var hops: [NextHop] { [NextHop(self)] }
}

extension Node: Gateway {
  /// The node's address on the subnet that both share.
  public var hops: [NextHop] { [NextHop(self)] }
}

extension InterfaceReference: Gateway {
  /// The interface's address.
  public var hops: [NextHop] { [NextHop(self)] }
}

extension Internet: Gateway {
  /// The host's end.
  public var hops: [NextHop] {
    var record = Record()
    record.add("internet", name)
    return [NextHop(record: record)]
  }
}

extension Array: Gateway where Element: Gateway {
  /// All of them: a multipath route.
  public var hops: [NextHop] { flatMap(\.hops) }
}

/// One of several ways out, with its weight.
public struct NextHop: Gateway {
  let record: Record

  init(record: Record) { self.record = record }

  private init(
    _ key: String, _ value: String, _ interface: String?, _ weight: Int?, _ device: String?, _ onLink: Bool?
  ) {
    var record = Record()
    record.add(key, value)
    record.add("interface", interface)
    record.add("on", device)
    record.add("weight", weight)
    record.add("onLink", onLink)
    self.record = record
  }

  /// By address.
  /// - Parameters:
  ///   - address: the gateway.
  ///   - weight: 1...256.
  ///   - device: a device of the node.
  ///   - onLink: whether the gateway is on the device though no subnet covers it.
  public init(_ address: String, weight: Int? = nil, on device: String? = nil, onLink: Bool? = nil) {
    self.init("address", address, nil, weight, device, onLink)
  }

  /// By node.
  /// - Parameters:
  ///   - node: its address on the shared subnet.
  ///   - weight: 1...256.
  public init(_ node: Node, weight: Int? = nil) { self.init("node", node.name, nil, weight, nil, nil) }

  /// By interface.
  /// - Parameters:
  ///   - interface: its address.
  ///   - weight: 1...256.
  public init(_ interface: InterfaceReference, weight: Int? = nil) {
    self.init("node", interface.node, interface.interface, weight, nil, nil)
  }

  /// Itself.
  public var hops: [NextHop] { [self] }
}

/// A route of the node.
public struct Route: Sendable {
  let record: Record

  private init(
    _ destination: String, type: String?, hops: [NextHop], metric: Int?, table: Int?, source: String?,
    mtu: Int?,
    file: StaticString, line: UInt
  ) {
    var record = Record("route")
    record.add("destination", destination)
    record.add("type", type)
    record.add("via", hops.map(\.record))
    record.add("metric", metric)
    record.add("table", table)
    record.add("source", source)
    record.add("mtu", mtu)
    record.add(file: file, line: line)
    self.record = record
  }

  /// Through a gateway: `Route(.default, via: gw)`.
  /// - Parameters:
  ///   - destination: `.default` or `10.0.0.0/8`.
  ///   - gateway: an address, a node, an interface such as `gw["lan0"]`, or several for a multipath route.
  ///   - metric: the lower wins.
  ///   - table: the routing table; 254, the main one, when left out.
  ///   - source: the address that the node's own packets take.
  ///   - mtu: bytes, 68...65535.
  public init(
    _ destination: some RouteDestination, via gateway: some Gateway, metric: Int? = nil, table: Int? = nil,
    source: String? = nil, mtu: Int? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    self.init(
      destination.destinationText, type: nil, hops: gateway.hops, metric: metric, table: table,
      source: source,
      mtu: mtu, file: file, line: line)
  }

  /// Directly on a device.
  /// - Parameters:
  ///   - destination: `.default` or `10.0.0.0/8`.
  ///   - device: a device of the node.
  ///   - metric: the lower wins.
  ///   - table: the routing table; 254, the main one, when left out.
  ///   - source: the address that the node's own packets take.
  ///   - mtu: bytes, 68...65535.
  public init(
    _ destination: some RouteDestination, on device: String, metric: Int? = nil, table: Int? = nil,
    source: String? = nil, mtu: Int? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var hop = Record()
    hop.add("on", device)
    self.init(
      destination.destinationText, type: nil, hops: [NextHop(record: hop)], metric: metric, table: table,
      source: source, mtu: mtu, file: file, line: line)
  }

  /// Drops what it covers, without a word.
  public init(
    blackhole destination: some RouteDestination, metric: Int? = nil, table: Int? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    self.init(
      destination.destinationText, type: "blackhole", hops: [], metric: metric, table: table, source: nil,
      mtu: nil, file: file, line: line)
  }

  /// Answers what it covers with "host unreachable".
  public init(
    unreachable destination: some RouteDestination, metric: Int? = nil, table: Int? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    self.init(
      destination.destinationText, type: "unreachable", hops: [], metric: metric, table: table, source: nil,
      mtu: nil, file: file, line: line)
  }

  /// Answers what it covers with "administratively prohibited".
  public init(
    prohibit destination: some RouteDestination, metric: Int? = nil, table: Int? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    self.init(
      destination.destinationText, type: "prohibit", hops: [], metric: metric, table: table, source: nil,
      mtu: nil, file: file, line: line)
  }
}

/// A policy routing rule: which table serves which packets.
public struct PolicyRule: Sendable {
  let record: Record

  /// What becomes of packets that match, besides looking in a table.
  public enum Action: String, Sendable {
    /// Dropped without a word.
    case blackhole
    /// Answered with "host unreachable".
    case unreachable
    /// Answered with "administratively prohibited".
    case prohibit
  }

  /// Looks in a table.
  /// - Parameters:
  ///   - table: the routing table.
  ///   - priority: 1...32765, the lower first; left out, 1000 and up in order of declaration.
  ///   - source: a prefix.
  ///   - destination: a prefix.
  ///   - incoming: the device that packets came in by.
  ///   - outgoing: the device that the socket is bound to.
  ///   - mark: the packet's mark.
  ///   - mask: the bits of the mark that count.
  public init(
    table: Int, priority: Int? = nil, source: String? = nil, destination: String? = nil,
    from incoming: String? = nil, to outgoing: String? = nil, mark: Int? = nil, mask: Int? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    self.init(
      table, nil, priority, source, destination, incoming, outgoing, mark, mask, file, line)
  }

  /// Ends the search.
  /// - Parameters:
  ///   - action: what becomes of the packets.
  ///   - priority: 1...32765, the lower first; left out, 1000 and up in order of declaration.
  ///   - source: a prefix.
  ///   - destination: a prefix.
  ///   - incoming: the device that packets came in by.
  ///   - outgoing: the device that the socket is bound to.
  ///   - mark: the packet's mark.
  ///   - mask: the bits of the mark that count.
  public init(
    _ action: Action, priority: Int? = nil, source: String? = nil, destination: String? = nil,
    from incoming: String? = nil, to outgoing: String? = nil, mark: Int? = nil, mask: Int? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    self.init(
      nil, action.rawValue, priority, source, destination, incoming, outgoing, mark, mask, file, line)
  }

  private init(
    _ table: Int?, _ action: String?, _ priority: Int?, _ source: String?, _ destination: String?,
    _ incoming: String?, _ outgoing: String?, _ mark: Int?, _ mask: Int?, _ file: StaticString, _ line: UInt
  ) {
    var record = Record("policyRule")
    record.add("table", table)
    record.add("action", action)
    record.add("priority", priority)
    record.add("source", source)
    record.add("destination", destination)
    record.add("from", incoming)
    record.add("to", outgoing)
    record.add("mark", mark)
    record.add("mask", mask)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// A permanent neighbour entry (ARP or ND).
public struct Neighbor: Sendable {
  let record: Record

  /// - Parameters:
  ///   - address: the neighbour's address.
  ///   - mac: its MAC address.
  ///   - device: a device of the node.
  public init(
    _ address: String, mac: String, on device: String, file: StaticString = #fileID, line: UInt = #line
  ) {
    self.init(address, mac, device, file, line)
  }

  /// Answers for an address that is elsewhere.
  /// - Parameters:
  ///   - address: the address.
  ///   - device: the device on which to answer.
  public init(
    proxy address: String, on device: String, file: StaticString = #fileID, line: UInt = #line
  ) {
    self.init(address, nil, device, file, line)
  }

  private init(_ address: String, _ mac: String?, _ device: String, _ file: StaticString, _ line: UInt) {
    var record = Record("neighbor")
    record.add("address", address)
    record.add("mac", mac)
    record.add("on", device)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// A static forwarding entry of a bridge port or a vxlan device.
public struct FDBEntry: Sendable {
  let record: Record

  /// - Parameters:
  ///   - mac: where to.
  ///   - device: the bridge port or vxlan device of the node.
  ///   - vlan: 1...4094.
  ///   - remote: for vxlan, the remote end.
  public init(
    _ mac: String, on device: String, vlan: Int? = nil, remote: String? = nil, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    var record = Record("fdbEntry")
    record.add("mac", mac)
    record.add("on", device)
    record.add("vlan", vlan)
    record.add("remote", remote)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// A kernel setting of the node, below `net`.
public struct Sysctl: Sendable {
  let record: Record

  /// - Parameters:
  ///   - name: `net.ipv4.tcp_syncookies`, or with slashes where an interface's name holds dots.
  ///   - value: as the kernel reads it.
  public init(_ name: String, _ value: String, file: StaticString = #fileID, line: UInt = #line) {
    var record = Record("sysctl")
    record.add("name", name)
    record.add("value", value)
    record.add(file: file, line: line)
    self.record = record
  }

  /// - Parameters:
  ///   - name: `net.ipv4.tcp_syncookies`, or with slashes where an interface's name holds dots.
  ///   - value: a number.
  public init(_ name: String, _ value: Int, file: StaticString = #fileID, line: UInt = #line) {
    self.init(name, String(value), file: file, line: line)
  }
}
