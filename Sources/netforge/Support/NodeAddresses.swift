// SPDX-License-Identifier: GPL-2.0-or-later

import LabCore
import NetTypes
import Reconcile
import TopologyModel

extension NodeAddresses {
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
}
