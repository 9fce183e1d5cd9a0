// SPDX-License-Identifier: GPL-2.0-or-later

// A bridge device's settings (IFLA_BR_*; net/bridge/br_netlink.c). Times are in hundredths of a second, as the kernel
// keeps them on the wire (USER_HZ).

import CLinux

/// The settings of a bridge. What is nil is left as it is, or was not told.
public struct BridgeOptions: Hashable, Sendable {
  /// Hundredths of a second; at least 200 while STP runs.
  public var forwardDelay: UInt32?
  /// Hundredths of a second.
  public var helloTime: UInt32?
  /// Hundredths of a second.
  public var maximumAge: UInt32?
  /// How long a learned address stays, in hundredths of a second. The kernel tells what is in force, which is twice
  /// the forward delay while its spanning tree sees a change of the topology (br_stp.c, __br_set_topology_change).
  public var ageingTime: UInt32?
  /// 0 off, 1 the kernel's spanning tree, 2 a program's.
  public var stpState: UInt32?
  public var priority: UInt16?
  public var vlanFiltering: Bool?
  /// 0x8100 or 0x88a8.
  public var vlanProtocol: UInt16?
  /// The VLAN that a new port gets; 0 for none.
  public var vlanDefaultPVID: UInt16?
  /// Which of the link-local groups 01:80:c2:00:00:0X are forwarded.
  public var groupForwardMask: UInt16?
  public var multicastSnooping: Bool?
  public var multicastQuerier: Bool?
  public var multicastRouter: UInt8?
  /// Whether bridged packets pass the IP hooks (br_netfilter).
  public var callIPTables: Bool?
  public var callIP6Tables: Bool?
  public var callARPTables: Bool?
  /// Where BPDUs go; six bytes.
  public var groupAddress: [UInt8]?
  /// Told by the kernel: two bytes of priority, six of address.
  public var bridgeID: [UInt8]?
  /// Told by the kernel: the root of the spanning tree.
  public var rootID: [UInt8]?
  /// Told by the kernel.
  public var rootPort: UInt16?
  /// Told by the kernel.
  public var rootPathCost: UInt32?
  /// Told by the kernel: the topology changes, and this bridge has seen it.
  public var topologyChange: Bool?
  public var topologyChangeDetected: Bool?
  /// Told by the kernel: addresses learned. Kernel 6.7 and newer.
  public var learned: UInt32?
  /// Addresses that may be learned; 0 for no limit. Kernel 6.7 and newer.
  public var maximumLearned: UInt32?

  public init() {}

  func encode(into writer: inout NetlinkWriter) {
    writer.u32(IFLA_BR_FORWARD_DELAY, forwardDelay)
    writer.u32(IFLA_BR_HELLO_TIME, helloTime)
    writer.u32(IFLA_BR_MAX_AGE, maximumAge)
    writer.u32(IFLA_BR_AGEING_TIME, ageingTime)
    writer.u32(IFLA_BR_STP_STATE, stpState)
    writer.u16(IFLA_BR_PRIORITY, priority)
    writer.bool(IFLA_BR_VLAN_FILTERING, vlanFiltering)
    writer.be16(IFLA_BR_VLAN_PROTOCOL, vlanProtocol)
    writer.u16(IFLA_BR_VLAN_DEFAULT_PVID, vlanDefaultPVID)
    writer.u16(IFLA_BR_GROUP_FWD_MASK, groupForwardMask)
    writer.bool(IFLA_BR_MCAST_SNOOPING, multicastSnooping)
    writer.bool(IFLA_BR_MCAST_QUERIER, multicastQuerier)
    writer.u8(IFLA_BR_MCAST_ROUTER, multicastRouter)
    writer.bool(IFLA_BR_NF_CALL_IPTABLES, callIPTables)
    writer.bool(IFLA_BR_NF_CALL_IP6TABLES, callIP6Tables)
    writer.bool(IFLA_BR_NF_CALL_ARPTABLES, callARPTables)
    writer.bytes(IFLA_BR_GROUP_ADDR, groupAddress)
    writer.bytes(IFLA_BR_BRIDGE_ID, bridgeID)
    writer.bytes(IFLA_BR_ROOT_ID, rootID)
    writer.u16(IFLA_BR_ROOT_PORT, rootPort)
    writer.u32(IFLA_BR_ROOT_PATH_COST, rootPathCost)
    writer.bool(IFLA_BR_TOPOLOGY_CHANGE, topologyChange)
    writer.bool(IFLA_BR_TOPOLOGY_CHANGE_DETECTED, topologyChangeDetected)
    writer.u32(NF_IFLA_BR_FDB_N_LEARNED, learned)
    writer.u32(NF_IFLA_BR_FDB_MAX_LEARNED, maximumLearned)
  }

  init(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    var reader = content
    while let attribute = try reader.next() {
      switch attribute.type {
      case IFLA_BR_FORWARD_DELAY: forwardDelay = try attribute.u32()
      case IFLA_BR_HELLO_TIME: helloTime = try attribute.u32()
      case IFLA_BR_MAX_AGE: maximumAge = try attribute.u32()
      case IFLA_BR_AGEING_TIME: ageingTime = try attribute.u32()
      case IFLA_BR_STP_STATE: stpState = try attribute.u32()
      case IFLA_BR_PRIORITY: priority = try attribute.u16()
      case IFLA_BR_VLAN_FILTERING: vlanFiltering = try attribute.bool()
      case IFLA_BR_VLAN_PROTOCOL: vlanProtocol = try attribute.be16()
      case IFLA_BR_VLAN_DEFAULT_PVID: vlanDefaultPVID = try attribute.u16()
      case IFLA_BR_GROUP_FWD_MASK: groupForwardMask = try attribute.u16()
      case IFLA_BR_MCAST_SNOOPING: multicastSnooping = try attribute.bool()
      case IFLA_BR_MCAST_QUERIER: multicastQuerier = try attribute.bool()
      case IFLA_BR_MCAST_ROUTER: multicastRouter = try attribute.u8()
      case IFLA_BR_NF_CALL_IPTABLES: callIPTables = try attribute.bool()
      case IFLA_BR_NF_CALL_IP6TABLES: callIP6Tables = try attribute.bool()
      case IFLA_BR_NF_CALL_ARPTABLES: callARPTables = try attribute.bool()
      case IFLA_BR_GROUP_ADDR: groupAddress = attribute.bytes()
      case IFLA_BR_BRIDGE_ID: bridgeID = attribute.bytes()
      case IFLA_BR_ROOT_ID: rootID = attribute.bytes()
      case IFLA_BR_ROOT_PORT: rootPort = try attribute.u16()
      case IFLA_BR_ROOT_PATH_COST: rootPathCost = try attribute.u32()
      case IFLA_BR_TOPOLOGY_CHANGE: topologyChange = try attribute.bool()
      case IFLA_BR_TOPOLOGY_CHANGE_DETECTED: topologyChangeDetected = try attribute.bool()
      case NF_IFLA_BR_FDB_N_LEARNED: learned = try attribute.u32()
      case NF_IFLA_BR_FDB_MAX_LEARNED: maximumLearned = try attribute.u32()
      default: break
      }
    }
  }
}
