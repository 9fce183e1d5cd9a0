// SPDX-License-Identifier: GPL-2.0-or-later

// A topology as a drawing: boxes and lines with their labels, in the order of declaration. DOT and Mermaid are two ways
// to write it down.

public import LabCore
import NetTypes

/// What `netforge graph` draws.
public struct Diagram: Hashable, Encodable, Sendable {
  /// A box.
  public struct Vertex: Hashable, Encodable, Sendable {
    public enum Shape: String, Hashable, Encodable, Sendable { case node, router, bridge, internet, host }

    public var name: String
    public var shape: Shape
    /// Under the name: subnets, loopback addresses, NAT, published ports, services.
    public var notes: [String]
  }

  /// A line.
  public struct Edge: Hashable, Encodable, Sendable {
    public var from: String
    public var to: String
    /// At the two ends: the interface and its addresses.
    public var fromLabel: String
    public var toLabel: String
    /// In the middle: rate, delay, loss.
    public var label: String
  }

  public var name: LabName
  public var vertices: [Vertex] = []
  public var edges: [Edge] = []

  /// - Parameter addresses: of all devices; those that the file leaves out are only known once they are taken.
  public init(of topology: Topology, addresses: AddressBook? = nil) {
    let book = addresses ?? topology.writtenAddresses
    let label = { (node: Topology.Node, device: Topology.Device) in
      ([device.name] + book[Topology.DeviceReference(node.name, device.name)].map(\.description)).joined(
        separator: " ")
    }
    name = topology.name
    for bridge in topology.bridges {
      vertices.append(
        Vertex(name: bridge.name.text, shape: .bridge, notes: bridge.subnets.map(\.description)))
    }
    if let internet = topology.internet {
      vertices.append(
        Vertex(name: internet.name.text, shape: .internet, notes: [internet.subnet.description]))
    }
    for node in topology.nodes {
      vertices.append(
        Vertex(
          name: node.name.text, shape: node.kind == .router ? .router : .node,
          notes: Self.notes(of: node, label)))
    }
    if topology.nodes.contains(where: { $0.devices.contains(where: \.isUplink) }) {
      vertices.append(Vertex(name: "host", shape: .host, notes: []))
    }
    for node in topology.nodes {
      for device in node.devices { draw(device, label(node, device), of: node, in: topology) }
    }
    for link in topology.links {
      let ends = [link.a, link.b].map { reference in
        topology.nodes.first { $0.name == reference.node }?.devices.first { $0.name == reference.device }
      }
      let labels = [link.a, link.b].map { reference in
        ([reference.device] + book[reference].map(\.description)).joined(separator: " ")
      }
      let impairments = ends.compactMap { $0?.impairment?.summary }
      edges.append(
        Edge(
          from: link.a.node.text, to: link.b.node.text, fromLabel: labels[0], toLabel: labels[1],
          label: impairments.count == 2 && impairments[0] == impairments[1]
            ? impairments[0] : impairments.joined(separator: " / ")))
    }
  }

  private mutating func draw(
    _ device: Topology.Device, _ label: String, of node: Topology.Node, in topology: Topology
  ) {
    let target: String
    switch device.kind {
    case .interface(.bridge(let bridge)): target = bridge.text
    case .interface(.internet): target = topology.internet?.name.text ?? "internet"
    case .uplink: target = "host"
    case .interface(.peer), .loopback, .bridge, .vlan, .dummy, .tap, .tun, .vxlan, .macvlan: return
    }
    edges.append(
      Edge(
        from: node.name.text, to: target, fromLabel: label, toLabel: "",
        label: device.impairment?.summary ?? ""))
  }

  private static func notes(
    of node: Topology.Node, _ label: (Topology.Node, Topology.Device) -> String
  ) -> [String] {
    var notes: [String] = []
    for device in node.devices {
      switch device.kind {
      case .interface, .uplink: continue
      case .loopback, .bridge, .vlan, .dummy, .tap, .tun, .vxlan, .macvlan: notes.append(label(node, device))
      }
    }
    notes += node.translations.map(\.summary)
    notes += node.services.map { "\($0.kind) :\($0.port)" }
    return notes
  }
}

extension Topology.Device {
  var isUplink: Bool {
    if case .uplink = kind { true } else { false }
  }
}

extension Topology.Impairment {
  /// `100 Mbit/s, 20ms, 1 % loss`.
  var summary: String {
    var parts: [String] = []
    if let rate { parts.append(Self.rateText(rate)) }
    if let delay { parts.append("\(delay)" + (jitter.map { " ± \($0)" } ?? "")) }
    for (value, word) in [
      (loss, "loss"), (duplicate, "duplicates"), (reorder, "reordering"), (corrupt, "corruption"),
    ] {
      if let value { parts.append("\(value == value.rounded() ? "\(Int(value))" : "\(value)") % \(word)") }
    }
    return parts.joined(separator: ", ")
  }

  private static func rateText(_ rate: Int64) -> String {
    for (unit, name) in [(Int64(1_000_000_000), "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s")]
    where rate >= unit && rate % unit == 0 {
      return "\(rate / unit) \(name)"
    }
    return "\(rate) bit/s"
  }
}

extension Topology.Translation {
  /// What a drawing says of it: `publishes tcp 8080 as 10.0.1.11:80`.
  var summary: String {
    let span = { (ports: ClosedRange<Port>) in
      ports.count == 1 ? "\(ports.lowerBound)" : "\(ports.lowerBound)-\(ports.upperBound)"
    }
    switch kind {
    case .masquerade(let out, _, _): return "masquerades" + (out.map { " out of \($0)" } ?? "")
    case .sourceNAT(let to, _, let out, _, _):
      return "rewrites the source to \(to.lowerBound)" + (out.map { " out of \($0)" } ?? "")
    case .publish(let transport, let ports, _, _, let hosts, let port):
      let target = hosts.map(\.description).joined(separator: ", ") + (port.map { ":\($0)" } ?? "")
      return "publishes \(transport.rawValue) \(span(ports)) as \(target)"
    case .redirect(let transport, let ports, _, let port):
      return "redirects \(transport.rawValue) \(span(ports)) to :\(port)"
    }
  }
}
