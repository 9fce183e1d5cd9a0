// SPDX-License-Identifier: GPL-2.0-or-later

// RTM_NEWNSID and its kin: the number by which one network namespace knows another (NETNSA_*;
// net/core/net_namespace.c).

import CLinux

/// The id of a namespace, as another namespace gives it.
public struct NamespaceIDMessage: RtnetlinkMessage {
  /// -1 lets the kernel choose, or says that there is none.
  public var identifier: Int32?
  /// A descriptor of the namespace.
  public var descriptor: Int32?
  /// A process in the namespace.
  public var process: UInt32?
  /// The namespace to ask, by its id in the asking one.
  public var targetIdentifier: Int32?
  /// With `targetIdentifier`: the id in the asking namespace of what the answer is about.
  public var currentIdentifier: Int32?

  public init(identifier: Int32? = nil, descriptor: Int32? = nil) {
    self.identifier = identifier
    self.descriptor = descriptor
  }

  public static var newType: MessageType { .newNamespaceID }
  public static var deleteType: MessageType { .deleteNamespaceID }
  public static var getType: MessageType { .getNamespaceID }

  /// Gives the namespace behind a descriptor an id; it keeps it for life.
  public static func assign(_ identifier: Int32 = -1, descriptor: Int32) -> NetlinkMessage {
    NamespaceIDMessage(identifier: identifier, descriptor: descriptor).message(.newNamespaceID)
  }

  /// Asks for the id of the namespace behind a descriptor.
  public static func query(descriptor: Int32) -> NetlinkMessage {
    NamespaceIDMessage(descriptor: descriptor).request(.get)
  }

  public func encode(into writer: inout NetlinkWriter) {
    // struct rtgenmsg is one byte; the attributes begin at the next four.
    writer.fixed(rtgenmsg(rtgen_family: AddressFamily.unspecified.rawValue))
    writer.i32(NETNSA_NSID, identifier)
    writer.i32(NETNSA_FD, descriptor)
    writer.u32(NETNSA_PID, process)
    writer.i32(NETNSA_TARGET_NSID, targetIdentifier)
    writer.i32(NETNSA_CURRENT_NSID, currentIdentifier)
  }

  public init(parsing payload: ArraySlice<UInt8>) throws(NetlinkDecodingError) {
    var reader = AttributeReader(payload)
    _ = try reader.fixed(rtgenmsg.self)
    self.init()
    while let attribute = try reader.next() {
      switch attribute.type {
      case NETNSA_NSID: identifier = try attribute.i32()
      case NETNSA_FD: descriptor = try attribute.i32()
      case NETNSA_PID: process = try attribute.u32()
      case NETNSA_TARGET_NSID: targetIdentifier = try attribute.i32()
      case NETNSA_CURRENT_NSID: currentIdentifier = try attribute.i32()
      default: break
      }
    }
  }
}
