// SPDX-License-Identifier: GPL-2.0-or-later

// A bridge and its ports as a dump of links shows them (net/bridge/br_netlink.c, br_fill_info, br_port_fill_attrs).

import NetTypes
import Rtnetlink

extension Kernel {
  func options(_ bridge: BridgeIndex) -> BridgeOptions {
    func hundredths(_ time: Int64) -> UInt32 { UInt32(clamping: time / 10_000_000) }
    let tree = bridges[bridge].tree
    var options = BridgeOptions()
    options.ageingTime = hundredths(bridges[bridge].ageing)
    options.stpState = tree.isOn ? 1 : 0
    options.vlanFiltering = bridges[bridge].filtersVLANs
    options.vlanProtocol = bridges[bridge].vlanProtocol
    options.vlanDefaultPVID = bridges[bridge].defaultVLAN
    options.groupForwardMask = bridges[bridge].groupForwardMask
    options.forwardDelay = hundredths(tree.times.forwardDelay)
    options.helloTime = hundredths(tree.times.hello)
    options.maximumAge = hundredths(tree.times.maximumAge)
    options.priority = tree.priority
    options.bridgeID = Self.bytes(tree.identifier)
    options.rootID = Self.bytes(tree.root)
    options.rootPort = tree.rootPort
    options.rootPathCost = tree.rootPathCost
    options.topologyChange = tree.topologyChange
    options.topologyChangeDetected = tree.topologyChangeDetected
    options.groupAddress = MACAddress(rawValue: bridges[bridge].groupAddress).bytes
    options.multicastSnooping = bridges[bridge].groups.isOn
    options.multicastQuerier = false
    options.learned = UInt32(bridges[bridge].database.learnedCount)
    options.maximumLearned = bridges[bridge].maximumLearned
    return options
  }

  func options(port index: DeviceIndex) -> BridgePortOptions {
    let port = devices[index].port
    let tree = devices[index].tree
    var options = BridgePortOptions()
    options.state = BridgePortState(rawValue: port.state.rawValue)
    options.learning = port.learning
    options.unicastFlood = port.unicastFlood
    options.multicastFlood = port.multicastFlood
    options.broadcastFlood = port.broadcastFlood
    options.hairpin = port.hairpin
    options.isolated = port.isolated
    options.bpduGuard = port.bpduGuard
    options.rootBlock = port.rootBlock
    options.fastLeave = port.fastLeave
    options.multicastRouter = devices[index].multicast.router.rawValue
    options.groupForwardMask = port.groupForwardMask
    options.number = port.number
    options.priority = tree.priority
    options.cost = tree.cost
    options.identifier = tree.identifier
    options.designatedRoot = Self.bytes(tree.designatedRoot)
    options.designatedBridge = Self.bytes(tree.designatedBridge)
    options.designatedPort = tree.designatedPort
    options.designatedCost = UInt16(truncatingIfNeeded: tree.designatedCost)
    options.topologyChangeAcknowledge = tree.acknowledgesChange
    options.configurationPending = tree.isPending
    return options
  }

  /// Two bytes of priority, six of address.
  private static func bytes(_ identifier: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: identifier >> (56 - 8 * $0)) }
  }
}
