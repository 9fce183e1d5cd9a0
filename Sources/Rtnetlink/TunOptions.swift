// SPDX-License-Identifier: GPL-2.0-or-later

// What the kernel tells of a tun or tap device (IFLA_TUN_*; drivers/net/tun.c). Such devices are made with TUNSETIFF.

import CLinux

/// A tun or tap device as the kernel tells it. What is nil is left as it is, or was not told.
public struct TunOptions: Hashable, Sendable {
  /// 1 tun (layer 3), 2 tap (layer 2).
  public var type: UInt8?
  /// The user who may open it without privilege.
  public var owner: UInt32?
  public var group: UInt32?
  /// Frames carry four bytes of `struct tun_pi` in front.
  public var packetInformation: Bool?
  public var virtioHeader: Bool?
  public var persistent: Bool?
  public var multiQueue: Bool?
  public var queues: UInt32?
  public var disabledQueues: UInt32?

  public init() {}

  func encode(into writer: inout NetlinkWriter) {
    writer.u8(IFLA_TUN_TYPE, type)
    writer.u32(IFLA_TUN_OWNER, owner)
    writer.u32(IFLA_TUN_GROUP, group)
    writer.bool(IFLA_TUN_PI, packetInformation)
    writer.bool(IFLA_TUN_VNET_HDR, virtioHeader)
    writer.bool(IFLA_TUN_PERSIST, persistent)
    writer.bool(IFLA_TUN_MULTI_QUEUE, multiQueue)
    writer.u32(IFLA_TUN_NUM_QUEUES, queues)
    writer.u32(IFLA_TUN_NUM_DISABLED_QUEUES, disabledQueues)
  }

  init(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    var reader = content
    while let attribute = try reader.next() {
      switch attribute.type {
      case IFLA_TUN_TYPE: type = try attribute.u8()
      case IFLA_TUN_OWNER: owner = try attribute.u32()
      case IFLA_TUN_GROUP: group = try attribute.u32()
      case IFLA_TUN_PI: packetInformation = try attribute.bool()
      case IFLA_TUN_VNET_HDR: virtioHeader = try attribute.bool()
      case IFLA_TUN_PERSIST: persistent = try attribute.bool()
      case IFLA_TUN_MULTI_QUEUE: multiQueue = try attribute.bool()
      case IFLA_TUN_NUM_QUEUES: queues = try attribute.u32()
      case IFLA_TUN_NUM_DISABLED_QUEUES: disabledQueues = try attribute.u32()
      default: break
      }
    }
  }
}
