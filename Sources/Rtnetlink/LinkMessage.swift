// SPDX-License-Identifier: GPL-2.0-or-later

// RTM_NEWLINK and its kin: one network device (`struct ifinfomsg`, IFLA_*; net/core/rtnetlink.c). A message to the
// kernel holds what is to be set, a message from it what is.
//
// What the kernel does not do in one message: an alias and alternative names are ignored when a link is made (send
// `.change` and `altNames(…)` after it), and address generation is refused there.

import CLinux
public import NetTypes

/// A network device.
public struct LinkMessage: RtnetlinkMessage {
  public var family: AddressFamily = .unspecified
  /// ARPHRD_*: 1 Ethernet, 772 loopback, 65534 none (tun).
  public var deviceType: UInt16 = 0
  /// The device's number in its namespace; 0 names the device by `name`, or lets the kernel choose.
  public var index: Int32 = 0
  public var flags: LinkFlags = []
  /// Which of `flags` the message sets.
  public var changeMask: LinkFlags = []

  public var name: String?
  /// The link layer's address: six bytes for Ethernet.
  public var address: [UInt8]?
  public var broadcast: [UInt8]?
  public var permanentAddress: [UInt8]?
  public var mtu: UInt32?
  public var minimumMTU: UInt32?
  public var maximumMTU: UInt32?
  /// Packets.
  public var transmitQueueLength: UInt32?
  /// The bridge or VRF that the device belongs to; 0 releases it.
  public var master: Int32?
  /// The device below (vlan, macvlan, vxlan) or the other end (veth), in the namespace `linkNamespaceID`.
  public var lowerIndex: Int32?
  public var group: UInt32?
  public var transmitQueues: UInt32?
  public var receiveQueues: UInt32?
  /// A descriptor of the namespace where the device is made, or to where it moves.
  public var namespaceDescriptor: Int32?
  /// The namespace to read, by its id in the asking one.
  public var targetNamespaceID: Int32?
  /// The namespace of `lowerIndex`, by its id in this one.
  public var linkNamespaceID: Int32?
  /// In an event: the namespace that the device left for.
  public var newNamespaceID: Int32?
  public var newIndex: Int32?
  public var alias: String?
  public var alternativeNames: [String] = []
  public var operationalState: OperationalState?
  public var linkMode: UInt8?
  public var carrier: Bool?
  public var carrierChanges: UInt32?
  public var promiscuity: UInt32?
  /// The root qdisc's kind.
  public var qdisc: String?
  public var gsoMaximumSize: UInt32?
  public var gsoMaximumSegments: UInt32?
  public var statistics: LinkStatistics?
  public var kind: LinkKind?
  /// What the device's master keeps about it.
  public var port: LinkPort?
  public var addressGeneration: AddressGeneration?
  public var xdp: LinkXDP?
  /// What a dump tells beside the rest (RTEXT_FILTER_*).
  public var extended: ExtendedLinkMask?

  public init(index: Int32 = 0, name: String? = nil) {
    self.index = index
    self.name = name
  }

  public static var newType: MessageType { .newLink }
  public static var deleteType: MessageType { .deleteLink }
  public static var getType: MessageType { .getLink }
  /// The kernel refuses NLM_F_REPLACE for links.
  public static var changeFlags: MessageFlags { [] }

  /// The Ethernet address, when there is one.
  public var macAddress: MACAddress? {
    get { address.flatMap { MACAddress(bytes: $0) } }
    set { address = newValue?.bytes }
  }

  /// Sets a flag and marks it as set by this message.
  public mutating func set(_ flag: LinkFlags, _ value: Bool) {
    changeMask.formUnion(flag)
    if value { flags.formUnion(flag) } else { flags.subtract(flag) }
  }

  /// Up or down as the administrator wants it.
  public var isUp: Bool { flags.contains(.up) }

  // MARK: Requests

  /// Adds alternative names; those that stand already are an error.
  public static func addAlternativeNames(_ names: [String], index: Int32) -> NetlinkMessage {
    alternativeNames(names, index: index, .newLinkProperty, [.request, .create, .exclusive, .append])
  }

  public static func removeAlternativeNames(_ names: [String], index: Int32) -> NetlinkMessage {
    alternativeNames(names, index: index, .deleteLinkProperty, [.request])
  }

  private static func alternativeNames(
    _ names: [String], index: Int32, _ type: MessageType, _ flags: MessageFlags
  ) -> NetlinkMessage {
    var link = LinkMessage(index: index)
    link.alternativeNames = names
    return link.message(type, flags)
  }

  /// Deletes every link of a group of the namespace in one go; the group 0 is never allowed by the kernel.
  public static func deleteGroup(_ group: UInt32) -> NetlinkMessage {
    var link = LinkMessage()
    link.group = group
    return link.request(.delete)
  }

  /// All links, or those of one master or kind, of this namespace or another by its id.
  public static func dump(
    master: Int32? = nil, kind: String? = nil, extended: ExtendedLinkMask? = nil,
    targetNamespaceID: Int32? = nil
  ) -> NetlinkMessage {
    var link = LinkMessage()
    link.master = master
    link.kind = kind.map { .other($0, []) }
    link.extended = extended
    link.targetNamespaceID = targetNamespaceID
    return link.request(.dump)
  }
}
