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

/// How a NAT gives mappings to who is behind it, by the name that people ask for it; each promises a row of RFC 4787.
public struct NATKind: Sendable {
  let addresses: String?
  let flags: [TranslationFlag]
  /// What the kernel has no rule for.
  let missing: String?

  /// What a router at home does: sources keep their ports where they can, and a host and port keep their mapping
  /// (REQ-1 for as long as ports do not clash, REQ-3 b, REQ-4). In nft: `masquerade`.
  public static let home = NATKind(addresses: nil, flags: [], missing: nil)
  /// A mapping of its own at random for each connection, as section 4.1 has it for "address and port-dependent". In nft:
  /// `masquerade fully-random`.
  public static let symmetric = NATKind(addresses: nil, flags: [.fullyRandom], missing: nil)
  /// Many subscribers behind a pool, each with one address of it (REQ-2, paired pooling). In nft: `snat to … persistent`.
  public static func carrierGrade(pool: String) -> NATKind {
    NATKind(addresses: pool, flags: [.persistent], missing: nil)
  }
  /// Whoever sends to a mapping reaches the host behind it (REQ-8's endpoint-independent filtering). nft has no words for
  /// it: a topology that asks for it is refused by name.
  public static let fullCone = NATKind(addresses: nil, flags: [], missing: "fullCone")
}

/// NAT by the name of its behaviour: `NAT(.home, out: "wan0")`.
public struct NAT: Sendable {
  let record: Record

  /// - Parameters:
  ///   - kind: how mappings are given.
  ///   - out: the interface that packets leave by; left out, any.
  ///   - source: only packets from these addresses: text, or several.
  public init(
    _ kind: NATKind, out: String? = nil, source: (any AddressMatch)? = nil, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    var record = Record(kind.addresses == nil ? "masquerade" : "sourceNAT")
    record.add("to", kind.addresses)
    record.add("out", out)
    record.add("source", source?.addresses.list ?? [])
    record.add("flags", kind.flags.map(\.rawValue) + (kind.missing.map { [$0] } ?? []))
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
