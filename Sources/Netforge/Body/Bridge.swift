// SPDX-License-Identifier: GPL-2.0-or-later

// A bridge: what `lab.bridge` gives back, and the bridge device of a node's body.

extension Record {
  mutating func addBridge(
    stp: Bool?, ageing: Duration?, vlanFiltering: Bool?, multicast: Bool?, priority: Int?
  ) {
    add("stp", stp)
    add("ageingNanoseconds", ageing)
    add("vlanFiltering", vlanFiltering)
    add("multicastSnooping", multicast)
    add("priority", priority)
  }
}

/// A layer-2 switch. `lab.bridge` makes one in the lab's own switch namespace; `Bridge("br0", ports: ["eth0"])` in a
/// node's body is a device of that node.
public struct Bridge: Segment {
  /// Its name, in the lab or in the node.
  public let name: String
  let record: Record

  /// What `lab.bridge` gives back.
  init(handle name: String) {
    self.name = name
    record = Record()
  }

  /// A bridge device of a node.
  /// - Parameters:
  ///   - name: unique in the node, `br0`.
  ///   - address: of the bridge device itself, `172.17.0.1/16`.
  ///   - addresses: several addresses.
  ///   - ports: interfaces of the node that are its ports; `Port` in the body says more of them.
  ///   - stp: whether the bridge speaks the spanning tree protocol.
  ///   - ageing: how long the forwarding table keeps an entry.
  ///   - vlanFiltering: whether ports look at VLAN tags.
  ///   - multicast: whether the bridge snoops on IGMP and MLD.
  ///   - priority: the bridge's STP priority, 0...65535.
  ///   - mac: left out, one made from lab, node and interface.
  ///   - mtu: bytes, 68...65535.
  ///   - body: its ports with their options.
  public init(
    _ name: String, address: String? = nil, addresses: [String] = [], ports: [String] = [], stp: Bool? = nil,
    ageing: Duration? = nil, vlanFiltering: Bool? = nil, multicast: Bool? = nil, priority: Int? = nil,
    mac: String? = nil, mtu: Int? = nil, file: StaticString = #fileID, line: UInt = #line,
    @PortBody _ body: () -> [Port] = { [] }
  ) {
    self.name = name
    var record = Record("bridge")
    record.add("name", name)
    record.addDevice(address: address, addresses: addresses, mac: mac, mtu: mtu, up: nil)
    record.add("ports", ports.map { Port($0, file: file, line: line).record } + body().map(\.record))
    record.addBridge(
      stp: stp, ageing: ageing, vlanFiltering: vlanFiltering, multicast: multicast, priority: priority)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// A port of a bridge in a node.
public struct Port: Sendable {
  let record: Record

  /// - Parameters:
  ///   - interface: an interface of the same node.
  ///   - options: `.access(10)`, `.trunk(10, 20)`, `.isolated` and the like.
  public init(
    _ interface: String, _ options: PortOptions? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record()
    record.add("name", interface)
    record.add("port", options?.record)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// Builds the body of a node's bridge.
@resultBuilder
public enum PortBody: ListBuilder {
  /// A port.
  public typealias Item = Port

  /// A port.
  public static func buildExpression(_ port: Port) -> [Port] { [port] }
  /// Refused by name, so that the compiler's message is ours.
  @available(*, unavailable, message: "a bridge's body holds ports: Port(\"eth0\", .access(10))")
  public static func buildExpression<Other>(_ other: Other) -> [Port] { [] }
}
