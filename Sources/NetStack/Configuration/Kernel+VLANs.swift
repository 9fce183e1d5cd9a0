// SPDX-License-Identifier: GPL-2.0-or-later

// The VLANs of a bridge's ports by message: RTM_SETLINK, RTM_DELLINK and RTM_GETLINK of the bridge's family
// (net/bridge/br_netlink.c, br_afspec, br_vlan_info).

import Rtnetlink

extension Kernel {
  /// Adds VLANs to a port, or to the bridge itself, or takes them away.
  mutating func changeVLANs(
    _ message: BridgeVLANMessage, isNew: Bool, in namespace: NamespaceIndex
  ) throws(KernelError) {
    guard let index = device(ifindex: message.index, in: namespace) else { throw .noSuchDevice }
    let bridge: BridgeIndex
    if message.isBridgeItself {
      guard case .bridge(let own) = devices[index].kind else { throw KernelError(95) }
      bridge = own
    } else {
      guard !devices[index].master.isNone else { throw KernelError(95) }
      bridge = devices[index].master
    }
    for range in message.vlans {
      let isPVID = range.flags.contains(.pvid)
      guard VLANTable.identifiers.contains(range.identifiers.lowerBound),
        VLANTable.identifiers.contains(range.identifiers.upperBound), !isPVID || range.identifiers.count == 1
      else { throw .invalidArgument }
      for vlan in range.identifiers {
        if isNew {
          devices[index].vlans.insert(vlan, isPVID: isPVID, isUntagged: range.flags.contains(.untagged))
        } else {
          // Of one that is not there nobody complains.
          guard devices[index].vlans.contains(vlan) else { continue }
          removeVLAN(vlan, from: index, bridge)
        }
      }
    }
  }

  /// The VLANs of all ports and bridges of a namespace, those included that have none.
  func vlans(in namespace: NamespaceIndex) -> [NetlinkMessage] {
    namespaces[namespace].devices.compactMap { index in
      var message = BridgeVLANMessage(index: devices[index].ifindex, vlans: devices[index].vlans.ranges)
      if !devices[index].master.isNone {
        message.master = devices[bridges[devices[index].master].device].ifindex
      } else if case .bridge = devices[index].kind {
        message.master = devices[index].ifindex
      }
      return message.master == nil ? nil : message.message(.newLink, [])
    }
  }
}
