// SPDX-License-Identifier: GPL-2.0-or-later

// The same topology on bad wires, to be tried without a word changed in its file.

import LabCore

extension Declarations {
  /// The declarations with a loss on every interface: per cent of what it sends. What has an impairment of its own keeps it.
  public func losing(percent: Double) throws(TopologyErrors) -> Declarations {
    let topology = try Topology(self)
    var items = items
    for node in topology.nodes {
      for device in node.devices {
        guard case .interface = device.kind, device.impairment == nil else { continue }
        items.append(
          .object([
            JSON.Member(key: "kind", value: .string("impairment")),
            JSON.Member(
              key: "interface",
              value: .object([
                JSON.Member(key: "node", value: .string(node.name.text)),
                JSON.Member(key: "interface", value: .string(device.name)),
              ])),
            JSON.Member(
              key: "impairment",
              value: .object([
                JSON.Member(key: "lossPercent", value: .number("\(percent)"))
              ])),
            JSON.Member(key: "file", value: .string(device.location.file)),
            JSON.Member(key: "line", value: .number("\(device.location.line)")),
          ]))
      }
    }
    return Declarations(items: items)
  }
}
