// SPDX-License-Identifier: GPL-2.0-or-later

// Addresses for interfaces that were written without one: the next free of the subnet in the order of appearance, kept
// from then on.

import LabCore
import NetTypes
import TopologyModel

struct AddressAllocation {
  private(set) var book: AddressBook
  private(set) var allocations: [String: [IPPrefix]] = [:]
  private(set) var errors: [TopologyError] = []

  private var used: Set<IPAddress> = []
  /// Where the search for a free address of a subnet goes on.
  private var cursors: [IPPrefix: UInt64] = [:]

  init(_ topology: Topology, previous: Allocations) {
    book = topology.writtenAddresses
    for node in topology.nodes {
      for device in node.devices { used.formUnion(device.addresses.map(\.prefix.address)) }
    }
    if let internet = topology.internet { used.insert(internet.gateway) }
    var open: [(Topology.DeviceReference, Topology.Device)] = []
    for node in topology.nodes {
      for device in node.devices where device.addresses.isEmpty && !device.allocatesFrom.isEmpty {
        let reference = Topology.DeviceReference(node.name, device.name)
        keep(previous.addresses[Self.key(reference)] ?? [], for: reference, from: device.allocatesFrom)
        open.append((reference, device))
      }
    }
    for (reference, device) in open { allocate(for: reference, device) }
  }

  private static func key(_ reference: Topology.DeviceReference) -> String {
    "\(reference.node)/\(reference.device)"
  }

  /// What the device had and may still have.
  private mutating func keep(
    _ old: [IPPrefix], for reference: Topology.DeviceReference, from subnets: [IPPrefix]
  ) {
    let kept = old.filter { prefix in
      subnets.contains { $0.network == prefix.network } && !used.contains(prefix.address)
    }
    guard !kept.isEmpty else { return }
    used.formUnion(kept.map(\.address))
    allocations[Self.key(reference)] = kept
  }

  private mutating func allocate(for reference: Topology.DeviceReference, _ device: Topology.Device) {
    var prefixes: [IPPrefix] = []
    let kept = allocations[Self.key(reference)] ?? []
    for subnet in device.allocatesFrom {
      if let old = kept.first(where: { $0.network == subnet.network }) {
        prefixes.append(old)
      } else if let address = nextFree(in: subnet.network),
        let prefix = IPPrefix(address, length: subnet.length)
      {
        prefixes.append(prefix)
      } else {
        errors.append(
          TopologyError(
            "\(reference): no address of \(subnet) is free; write a larger subnet, or addresses of another",
            at: device.location))
      }
    }
    allocations[Self.key(reference)] = prefixes
    book[reference] = prefixes
  }

  private mutating func nextFree(in subnet: IPPrefix) -> IPAddress? {
    let hostBits = subnet.family.width - subnet.length
    // Neither the network's own address nor, in IPv4, the broadcast address; of two or one all are hosts' (RFC 3021).
    let count: UInt64 = hostBits >= 63 ? .max >> 1 : 1 << UInt64(hostBits)
    let first: UInt64 = hostBits <= 1 ? 0 : 1
    let end = subnet.family == .ipv4 && hostBits > 1 ? count - 1 : count
    var offset = max(cursors[subnet] ?? first, first)
    while offset < end {
      let address = subnet.address.advanced(by: offset)
      offset += 1
      if used.insert(address).inserted {
        cursors[subnet] = offset
        return address
      }
    }
    cursors[subnet] = offset
    return nil
  }
}
