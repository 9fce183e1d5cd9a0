// SPDX-License-Identifier: GPL-2.0-or-later

// A VLAN device's settings (IEEE 802.1Q, IFLA_VLAN_*; net/8021q/vlan_netlink.c).

import CLinux

/// The settings of a VLAN device. What is nil is left as it is, or was not told.
public struct VLANOptions: Hashable, Sendable {
  /// 1 to 4094.
  public var identifier: UInt16?
  /// 0x8100 (802.1Q) or 0x88a8 (802.1ad).
  public var etherType: UInt16?
  /// `VLAN_FLAG_*`.
  public var flags: UInt32?
  /// Which of `flags` are set by the message; all when nil.
  public var flagsMask: UInt32?
  /// The packets' priority (`to`) for a tag's (`from`).
  public var ingressPriorities: [VLANPriority] = []
  /// The tag's priority (`to`) for a packet's (`from`).
  public var egressPriorities: [VLANPriority] = []

  public init() {}

  func encode(into writer: inout NetlinkWriter) {
    writer.u16(IFLA_VLAN_ID, identifier)
    writer.be16(IFLA_VLAN_PROTOCOL, etherType)
    if let flags {
      writer.structure(IFLA_VLAN_FLAGS, ifla_vlan_flags(flags: flags, mask: flagsMask ?? .max))
    }
    for (type, priorities) in [
      (IFLA_VLAN_INGRESS_QOS, ingressPriorities), (IFLA_VLAN_EGRESS_QOS, egressPriorities),
    ] where !priorities.isEmpty {
      writer.nest(type) { list in
        for entry in priorities {
          list.structure(IFLA_VLAN_QOS_MAPPING, ifla_vlan_qos_mapping(from: entry.from, to: entry.to))
        }
      }
    }
  }

  init(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    var reader = content
    while let attribute = try reader.next() {
      switch attribute.type {
      case IFLA_VLAN_ID: identifier = try attribute.u16()
      case IFLA_VLAN_PROTOCOL: etherType = try attribute.be16()
      case IFLA_VLAN_FLAGS:
        let value = try attribute.structure(ifla_vlan_flags.self)
        flags = value.flags
        flagsMask = value.mask
      case IFLA_VLAN_INGRESS_QOS: ingressPriorities = try Self.priorities(attribute.content)
      case IFLA_VLAN_EGRESS_QOS: egressPriorities = try Self.priorities(attribute.content)
      default: break
      }
    }
  }

  private static func priorities(_ content: AttributeReader) throws(NetlinkDecodingError) -> [VLANPriority] {
    var list: [VLANPriority] = []
    var reader = content
    while let attribute = try reader.next() {
      guard attribute.type == IFLA_VLAN_QOS_MAPPING else { continue }
      let mapping = try attribute.structure(ifla_vlan_qos_mapping.self)
      list.append(VLANPriority(from: mapping.from, to: mapping.to))
    }
    return list
  }
}

/// One entry of a VLAN device's maps between its tag's priorities and those of packets.
public struct VLANPriority: Hashable, Sendable {
  public var from: UInt32
  public var to: UInt32

  public init(from: UInt32, to: UInt32) {
    self.from = from
    self.to = to
  }
}
