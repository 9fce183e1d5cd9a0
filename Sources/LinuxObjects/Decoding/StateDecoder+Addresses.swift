// SPDX-License-Identifier: GPL-2.0-or-later

// Addresses, neighbours and forwarding entries.

import LabCore
import NetTypes
import Rtnetlink

extension StateDecoder {
  func decodeAddresses(_ messages: [AddressMessage], _ result: inout Decoding) {
    for message in messages {
      guard let link = result.names[message.index], let prefix = message.prefix else { continue }
      let isMarked = message.protocolNumber == Ownership.routeProtocol
      guard isMarked || !isKernelMade(message, prefix) else { continue }
      var state = AddressState(link: link, prefix: prefix)
      state.peer = message.peer
      state.scope = AddressScope(rawValue: message.scope.rawValue)
      let isOwned = isMarked || (!addressesAreMarked && result.ownedLinks.contains(message.index))
      result.add(state, to: \.addresses, owned: isOwned)
    }
  }

  /// `lo`'s own addresses, IPv6 link-local ones that the kernel formed, and what router advertisements brought.
  private func isKernelMade(_ message: AddressMessage, _ prefix: IPPrefix) -> Bool {
    if prefix.address == .v4(.loopback) || prefix.address == .v6(.loopback) { return true }
    guard prefix.family == .ipv6 else { return false }
    if !message.flags.contains(.permanent) { return true }
    // Formed addresses are /64 and come from the device's hardware address or are random.
    return prefix.address.isLinkLocal && prefix.length == 64
  }

  func decodeNeighbor(_ message: NeighborMessage, _ result: inout Decoding) {
    guard let link = result.names[message.index], let address = message.destination else { return }
    let isProxy = message.flags.contains(.proxy)
    // What the kernel learned, or knows without asking, is not written down by anybody.
    guard isProxy || message.state.contains(.permanent) else { return }
    let neighbor = LabCore.NeighborState(
      link: link, address: address, mac: isProxy ? nil : message.macAddress, isProxy: isProxy)
    result.add(neighbor, to: \.neighbors, owned: message.protocolNumber == Ownership.routeProtocol)
  }

  /// Forwarding entries carry no mark: the static ones on the lab's devices are the lab's.
  func decodeForwarding(_ dump: NamespaceDump, _ result: inout Decoding) {
    var tunnels: [Int32: IPAddress?] = [:]
    for link in dump.links {
      if case .vxlan(let options) = link.kind { tunnels[link.index] = .some(options.remote) }
    }
    var entries: [Int32: [FDBState]] = [:]
    for message in dump.forwarding {
      guard let link = result.names[message.index], let mac = message.macAddress else { continue }
      if message.flags.contains(.own) {
        // The remote that the device was made with stands there as the entry for all.
        guard let usual = tunnels[message.index], let remote = message.destination,
          message.state.contains(.permanent), !(mac == .zero && remote == usual)
        else { continue }
        entries[message.index, default: []].append(FDBState(link: link, mac: mac, remote: remote))
      } else if message.state == .noARP, !message.flags.contains(.externallyLearned) {
        entries[message.index, default: []].append(FDBState(link: link, mac: mac, vlan: message.vlan))
      }
    }
    for (index, list) in entries {
      // An entry without a VLAN is copied by the kernel into each VLAN of the port.
      let everywhere = Set(list.filter { $0.vlan == nil && $0.remote == nil }.map(\.mac))
      for entry in list where entry.vlan == nil || !everywhere.contains(entry.mac) {
        result.add(entry, to: \.fdb, owned: result.ownedLinks.contains(index))
      }
    }
  }
}
