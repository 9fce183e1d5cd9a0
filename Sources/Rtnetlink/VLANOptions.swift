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

  public init() {}

  func encode(into writer: inout NetlinkWriter) {
    writer.u16(IFLA_VLAN_ID, identifier)
    writer.be16(IFLA_VLAN_PROTOCOL, etherType)
    if let flags {
      writer.structure(IFLA_VLAN_FLAGS, ifla_vlan_flags(flags: flags, mask: flagsMask ?? .max))
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
      default: break
      }
    }
  }
}
