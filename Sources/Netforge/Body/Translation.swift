// SPDX-License-Identifier: GPL-2.0-or-later

// Network address translation in the short form.

/// A transport and the ports of a published or redirected service: `.tcp(8080)`.
public struct TransportPorts: Sendable {
  let transport: String
  let first: Int
  let last: Int

  /// A TCP port.
  public static func tcp(_ port: Int) -> TransportPorts {
    TransportPorts(transport: "tcp", first: port, last: port)
  }
  /// TCP ports.
  public static func tcp(_ ports: ClosedRange<Int>) -> TransportPorts {
    TransportPorts(transport: "tcp", first: ports.lowerBound, last: ports.upperBound)
  }
  /// A UDP port.
  public static func udp(_ port: Int) -> TransportPorts {
    TransportPorts(transport: "udp", first: port, last: port)
  }
  /// UDP ports.
  public static func udp(_ ports: ClosedRange<Int>) -> TransportPorts {
    TransportPorts(transport: "udp", first: ports.lowerBound, last: ports.upperBound)
  }
}

extension Record {
  mutating func add(_ ports: TransportPorts) {
    add("transport", ports.transport)
    add("ports", Record.ports(ports.first, ports.last))
  }

  /// `80`, or `8000-8010`.
  static func ports(_ first: Int, _ last: Int) -> String { first == last ? "\(first)" : "\(first)-\(last)" }
}

/// What leaves by an interface takes that interface's address.
public struct Masquerade: Sendable {
  let record: Record

  /// - Parameters:
  ///   - out: the interface that packets leave by; left out, any.
  ///   - source: only packets from these addresses: text, or several.
  public init(
    out: String? = nil, source: (any AddressMatch)? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("masquerade")
    record.add("out", out)
    record.add("source", source?.addresses.list ?? [])
    record.add(file: file, line: line)
    self.record = record
  }
}

/// What leaves takes a given address.
public struct SourceNAT: Sendable {
  let record: Record

  /// - Parameters:
  ///   - address: the new source, `192.0.2.1`, or a range `192.0.2.1-192.0.2.9`.
  ///   - ports: the new source ports; left out, as the kernel chooses.
  ///   - out: the interface that packets leave by; left out, any.
  ///   - source: only packets from these addresses: text, or several.
  public init(
    to address: String, ports: ClosedRange<Int>? = nil, out: String? = nil,
    source: (any AddressMatch)? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("sourceNAT")
    record.add("to", address)
    record.add("ports", ports.map { Record.ports($0.lowerBound, $0.upperBound) })
    record.add("out", out)
    record.add("source", source?.addresses.list ?? [])
    record.add(file: file, line: line)
    self.record = record
  }
}

/// What comes in for a port goes to a host behind the node.
public struct Publish: Sendable {
  let record: Record

  /// To one host.
  /// - Parameters:
  ///   - ports: `.tcp(8080)`.
  ///   - interface: the interface that packets come in by; left out, any.
  ///   - address: only packets to this address.
  ///   - host: the address that they go to.
  ///   - port: the port that they go to; left out, the same.
  public init(
    _ ports: TransportPorts, on interface: String? = nil, address: String? = nil, toHost host: String,
    port: Int? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    self.init(
      ports, on: interface, address: address, toHosts: [host], port: port, file: file, line: line)
  }

  /// Spread over several hosts; a connection stays where it began.
  /// - Parameters:
  ///   - ports: `.tcp(8080)`.
  ///   - interface: the interface that packets come in by; left out, any.
  ///   - address: only packets to this address.
  ///   - hosts: the addresses that they go to.
  ///   - port: the port that they go to; left out, the same.
  public init(
    _ ports: TransportPorts, on interface: String? = nil, address: String? = nil, toHosts hosts: [String],
    port: Int? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("publish")
    record.add(ports)
    record.add("on", interface)
    record.add("address", address)
    record.add("hosts", hosts)
    record.add("port", port)
    record.add(file: file, line: line)
    self.record = record
  }

  /// A TCP port of the host's loopback leads to a port of this node: `Publish(host: 8080, port: 80)`, and
  /// `curl http://127.0.0.1:8080/` on the host is answered by the node. It sees its own loopback as the client.
  /// - Parameters:
  ///   - host: the host's port.
  ///   - port: the node's port; left out, the same.
  public init(host: Int, port: Int? = nil, file: StaticString = #fileID, line: UInt = #line) {
    var record = Record("hostPort")
    record.add("hostPort", host)
    record.add("port", port ?? host)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// What comes in for a port goes to a port of the node itself.
public struct Redirect: Sendable {
  let record: Record

  /// - Parameters:
  ///   - ports: `.tcp(80)`.
  ///   - interface: the interface that packets come in by; left out, any.
  ///   - port: the node's port.
  public init(
    _ ports: TransportPorts, on interface: String? = nil, toPort port: Int, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    var record = Record("redirect")
    record.add(ports)
    record.add("on", interface)
    record.add("port", port)
    record.add(file: file, line: line)
    self.record = record
  }
}
