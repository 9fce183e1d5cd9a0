// SPDX-License-Identifier: GPL-2.0-or-later

// What happens in a lab, in words.

import LabCore
import NetTypes
public import TopologyModel

extension Topology.Action: CustomStringConvertible {
  /// `router1:eth1 goes down`.
  public var description: String {
    switch self {
    case .linkDown(let device): "\(device.node):\(device.device) goes down"
    case .linkUp(let device): "\(device.node):\(device.device) comes up"
    case .flap(let device, let time): "\(device.node):\(device.device) goes down for \(time.brief)"
    case .impair(let device, let impairment?):
      "\(device.node):\(device.device) is impaired: \(QdiscKind(impairment, seed: 0)?.words ?? "not at all")"
    case .impair(let device, nil): "\(device.node):\(device.device) is impaired as the topology says"
    case .addAddress(let device, let address): "\(device.node):\(device.device) gets \(address)"
    case .removeAddress(let device, let address): "\(device.node):\(device.device) loses \(address)"
    case .setRoute(let node, let destination, let gateway, let device):
      "\(node) routes \(destination) via \(gateway)" + (device.map { " on \($0)" } ?? "")
    case .removeRoute(let node, let destination): "\(node) has no route to \(destination) any more"
    case .settle: "the lab is made as the topology says"
    case .run(let node, let words): "\(node) runs '\(words.joined(separator: " "))'"
    case .restart(let node): "\(node)'s programs and services start anew"
    case .wait(let time): "nothing happens for \(time.brief)"
    }
  }
}
