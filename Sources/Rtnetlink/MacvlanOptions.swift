// SPDX-License-Identifier: GPL-2.0-or-later

// A macvlan device's settings (IFLA_MACVLAN_*; drivers/net/macvlan.c).

import CLinux

/// The settings of a macvlan device. What is nil is left as it is, or was not told.
public struct MacvlanOptions: Hashable, Sendable {
  public var mode: MacvlanMode?
  /// `MACVLAN_FLAG_*`: 1 the lower device stays out of promiscuous mode.
  public var flags: UInt16?

  public init() {}

  func encode(into writer: inout NetlinkWriter) {
    writer.u32(IFLA_MACVLAN_MODE, mode?.rawValue)
    writer.u16(IFLA_MACVLAN_FLAGS, flags)
  }

  init(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    var reader = content
    while let attribute = try reader.next() {
      switch attribute.type {
      case IFLA_MACVLAN_MODE: mode = MacvlanMode(rawValue: try attribute.u32())
      case IFLA_MACVLAN_FLAGS: flags = try attribute.u16()
      default: break
      }
    }
  }
}

/// Whom a macvlan device can talk to (`MACVLAN_MODE_*`).
public enum MacvlanMode: UInt32, Hashable, Sendable {
  case isolated = 1
  case vepa = 2
  case bridge = 4
  case passthrough = 8
  case source = 16
}
