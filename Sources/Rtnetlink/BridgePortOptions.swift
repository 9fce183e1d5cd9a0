// SPDX-License-Identifier: GPL-2.0-or-later

// What a bridge keeps about one of its ports (IFLA_BRPORT_*; net/bridge/br_netlink.c).

import CLinux

/// The settings of a bridge port. What is nil is left as it is, or was not told.
public struct BridgePortOptions: Hashable, Sendable {
  public var state: BridgePortState?
  /// 0 to 63.
  public var priority: UInt16?
  /// 1 to 65535.
  public var cost: UInt32?
  /// Frames may leave by the port that they came in by.
  public var hairpin: Bool?
  /// A BPDU that comes in takes the port down.
  public var bpduGuard: Bool?
  /// The port never becomes the root port.
  public var rootBlock: Bool?
  public var fastLeave: Bool?
  public var learning: Bool?
  public var unicastFlood: Bool?
  public var multicastFlood: Bool?
  public var broadcastFlood: Bool?
  public var multicastToUnicast: Bool?
  public var multicastRouter: UInt8?
  public var proxyARP: Bool?
  public var neighborSuppression: Bool?
  /// Isolated ports reach only ports that are not.
  public var isolated: Bool?
  public var vlanTunnel: Bool?
  public var groupForwardMask: UInt16?
  /// Told by the kernel: the port's number in its bridge.
  public var number: UInt16?
  /// Told by the kernel: priority and number.
  public var identifier: UInt16?
  /// Told by the kernel: what the spanning tree says on the port's link. Eight bytes each.
  public var designatedRoot: [UInt8]?
  public var designatedBridge: [UInt8]?
  public var designatedPort: UInt16?
  public var designatedCost: UInt16?
  public var topologyChangeAcknowledge: Bool?
  public var configurationPending: Bool?

  public init() {}

  func encode(into writer: inout NetlinkWriter) {
    writer.u8(IFLA_BRPORT_STATE, state?.rawValue)
    writer.u16(IFLA_BRPORT_PRIORITY, priority)
    writer.u32(IFLA_BRPORT_COST, cost)
    writer.bool(IFLA_BRPORT_MODE, hairpin)
    writer.bool(IFLA_BRPORT_GUARD, bpduGuard)
    writer.bool(IFLA_BRPORT_PROTECT, rootBlock)
    writer.bool(IFLA_BRPORT_FAST_LEAVE, fastLeave)
    writer.bool(IFLA_BRPORT_LEARNING, learning)
    writer.bool(IFLA_BRPORT_UNICAST_FLOOD, unicastFlood)
    writer.bool(IFLA_BRPORT_MCAST_FLOOD, multicastFlood)
    writer.bool(IFLA_BRPORT_BCAST_FLOOD, broadcastFlood)
    writer.bool(IFLA_BRPORT_MCAST_TO_UCAST, multicastToUnicast)
    writer.u8(IFLA_BRPORT_MULTICAST_ROUTER, multicastRouter)
    writer.bool(IFLA_BRPORT_PROXYARP, proxyARP)
    writer.bool(IFLA_BRPORT_NEIGH_SUPPRESS, neighborSuppression)
    writer.bool(IFLA_BRPORT_ISOLATED, isolated)
    writer.bool(IFLA_BRPORT_VLAN_TUNNEL, vlanTunnel)
    writer.u16(IFLA_BRPORT_GROUP_FWD_MASK, groupForwardMask)
    writer.u16(IFLA_BRPORT_NO, number)
    writer.u16(IFLA_BRPORT_ID, identifier)
    writer.bytes(IFLA_BRPORT_ROOT_ID, designatedRoot)
    writer.bytes(IFLA_BRPORT_BRIDGE_ID, designatedBridge)
    writer.u16(IFLA_BRPORT_DESIGNATED_PORT, designatedPort)
    writer.u16(IFLA_BRPORT_DESIGNATED_COST, designatedCost)
    writer.bool(IFLA_BRPORT_TOPOLOGY_CHANGE_ACK, topologyChangeAcknowledge)
    writer.bool(IFLA_BRPORT_CONFIG_PENDING, configurationPending)
  }

  init(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    var reader = content
    while let attribute = try reader.next() {
      switch attribute.type {
      case IFLA_BRPORT_STATE: state = BridgePortState(rawValue: try attribute.u8())
      case IFLA_BRPORT_PRIORITY: priority = try attribute.u16()
      case IFLA_BRPORT_COST: cost = try attribute.u32()
      case IFLA_BRPORT_MODE: hairpin = try attribute.bool()
      case IFLA_BRPORT_GUARD: bpduGuard = try attribute.bool()
      case IFLA_BRPORT_PROTECT: rootBlock = try attribute.bool()
      case IFLA_BRPORT_FAST_LEAVE: fastLeave = try attribute.bool()
      case IFLA_BRPORT_LEARNING: learning = try attribute.bool()
      case IFLA_BRPORT_UNICAST_FLOOD: unicastFlood = try attribute.bool()
      case IFLA_BRPORT_MCAST_FLOOD: multicastFlood = try attribute.bool()
      case IFLA_BRPORT_BCAST_FLOOD: broadcastFlood = try attribute.bool()
      case IFLA_BRPORT_MCAST_TO_UCAST: multicastToUnicast = try attribute.bool()
      case IFLA_BRPORT_MULTICAST_ROUTER: multicastRouter = try attribute.u8()
      case IFLA_BRPORT_PROXYARP: proxyARP = try attribute.bool()
      case IFLA_BRPORT_NEIGH_SUPPRESS: neighborSuppression = try attribute.bool()
      case IFLA_BRPORT_ISOLATED: isolated = try attribute.bool()
      case IFLA_BRPORT_VLAN_TUNNEL: vlanTunnel = try attribute.bool()
      case IFLA_BRPORT_GROUP_FWD_MASK: groupForwardMask = try attribute.u16()
      case IFLA_BRPORT_NO: number = try attribute.u16()
      case IFLA_BRPORT_ID: identifier = try attribute.u16()
      case IFLA_BRPORT_ROOT_ID: designatedRoot = attribute.bytes()
      case IFLA_BRPORT_BRIDGE_ID: designatedBridge = attribute.bytes()
      case IFLA_BRPORT_DESIGNATED_PORT: designatedPort = try attribute.u16()
      case IFLA_BRPORT_DESIGNATED_COST: designatedCost = try attribute.u16()
      case IFLA_BRPORT_TOPOLOGY_CHANGE_ACK: topologyChangeAcknowledge = try attribute.bool()
      case IFLA_BRPORT_CONFIG_PENDING: configurationPending = try attribute.bool()
      default: break
      }
    }
  }
}

/// A port's state in the spanning tree (`BR_STATE_*`).
public enum BridgePortState: UInt8, Hashable, Sendable {
  case disabled, listening, learning, forwarding, blocking
}
