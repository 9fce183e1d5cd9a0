// SPDX-License-Identifier: GPL-2.0-or-later

import LabCore
import NetTypes
import TopologyModel

/// The addresses that the nodes of a lab have.
struct NodeAddresses {
  private var addresses: [NodeName: [AddressState]] = [:]

  init(_ state: LabState) {
    for namespace in state.namespaces {
      if let node = namespace.id.node { addresses[node] = namespace.addresses }
    }
  }

  /// What a word on the command line means: a node, node:interface, or an address.
  func resolve(
    _ text: String, from source: NodeName, in topology: Topology
  ) throws -> (name: String, address: IPAddress) {
    if let address = IPAddress(text) { return (text, address) }
    let parts = text.split(separator: ":", maxSplits: 1).map(String.init)
    let target = try topology.node(named: parts.first ?? text).name
    let address =
      parts.count == 2
      ? self.address(of: target, interface: parts[1]) : self.address(of: target, from: source)
    guard let address else { throw Failure(.failed, "\(text) has no address in lab '\(topology.name)'") }
    return (text, address)
  }

  /// Whose address it is, as `node:interface`.
  func name(of address: IPAddress) -> String? {
    for (node, own) in addresses.sorted(by: { $0.key < $1.key }) {
      if let found = own.first(where: { $0.prefix.address == address }) { return "\(node):\(found.link)" }
    }
    return nil
  }

  /// The first address of a device.
  func address(of node: NodeName, interface: String) -> IPAddress? {
    addresses[node]?.first { $0.link.text == interface }?.prefix.address
  }

  /// The address on a subnet that both share, else the first that is no loopback's.
  func address(of node: NodeName, from source: NodeName) -> IPAddress? {
    let own = addresses[source] ?? []
    let theirs = (addresses[node] ?? []).filter { !$0.prefix.address.isLoopback && $0.link != .loopback }
    let shared = theirs.first { their in own.contains { $0.prefix.contains(their.prefix.address) } }
    let reachable = theirs.first { their in own.contains { $0.prefix.family == their.prefix.family } }
    return (shared ?? reachable ?? theirs.first ?? addresses[node]?.first { !$0.prefix.address.isLoopback })?
      .prefix.address
  }
}
