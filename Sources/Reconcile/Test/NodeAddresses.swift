// SPDX-License-Identifier: GPL-2.0-or-later

// Which address of a node is meant when only the node is named.

public import LabCore
public import NetTypes

/// The addresses that the nodes of a lab have.
public struct NodeAddresses: Sendable {
  private let nodes: [NodeName: NamespaceState]
  private var owners: [IPAddress: NodeName] = [:]

  public init(_ state: LabState) {
    var nodes: [NodeName: NamespaceState] = [:]
    for namespace in state.namespaces {
      guard let node = namespace.id.node else { continue }
      nodes[node] = namespace
      for address in namespace.addresses where owners[address.prefix.address] == nil {
        owners[address.prefix.address] = node
      }
    }
    self.nodes = nodes
  }

  /// Whose address it is; the first by name where several have it.
  public func owner(of address: IPAddress) -> NodeName? { owners[address] }

  /// Whose address it is, as `node:interface`.
  public func name(of address: IPAddress) -> String? {
    guard let node = owners[address],
      let found = nodes[node]?.addresses.first(where: { $0.prefix.address == address })
    else { return nil }
    return "\(node):\(found.link)"
  }

  /// The device that a topology calls so: its name may be too long for the kernel, and stand beside it then.
  public func link(_ interface: String, of node: NodeName) -> LinkState? {
    nodes[node]?.links.first { $0.name.text == interface || $0.alternativeNames.contains(interface) }
  }

  /// The first address of a device; of a family, when one is asked for.
  public func address(of node: NodeName, interface: String, family: IPFamily? = nil) -> IPAddress? {
    guard let link = link(interface, of: node)?.name else { return nil }
    return nodes[node]?.addresses.first {
      $0.link == link && (family == nil || $0.prefix.family == family)
    }?.prefix.address
  }

  /// The address on the subnet that the way from `source` leads to: of the node's addresses the one that the fewest hops
  /// lead to, in the order of devices among equals. Where no way leads to any, the first that is no loopback's.
  public func address(of node: NodeName, from source: NodeName) -> IPAddress? {
    let own = nodes[node]?.addresses.filter { !$0.prefix.address.isLoopback } ?? []
    // What is on a loopback device is nobody's subnet.
    let ordered = own.filter { $0.link != .loopback } + own.filter { $0.link == .loopback }
    var best: (hops: Int, address: IPAddress)?
    for candidate in ordered.map(\.prefix.address) {
      guard let hops = hops(from: source, to: candidate), hops < best?.hops ?? .max else { continue }
      best = (hops, candidate)
    }
    return (best?.address ?? ordered.first?.prefix.address)
  }

  private static let longestWay = 64

  /// How many nodes a packet passes to the subnet of an address, by the main tables; nil where no way leads there.
  private func hops(from source: NodeName, to address: IPAddress) -> Int? {
    var node = source
    for hops in 0..<Self.longestWay {
      guard let space = nodes[node] else { return nil }
      if space.addresses.contains(where: { $0.prefix.contains(address) }) { return hops }
      let routes = space.routes.filter {
        $0.table == RouteState.mainTable && $0.type == .unicast && $0.destination.contains(address)
      }
      guard
        let route = routes.max(by: {
          ($0.destination.length, $1.metric) < ($1.destination.length, $0.metric)
        }), let hop = route.nextHops.first
      else { return nil }
      guard let gateway = hop.gateway else { return hops + 1 }
      guard let next = owners[gateway] else { return nil }
      node = next
    }
    return nil
  }
}
