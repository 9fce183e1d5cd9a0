// SPDX-License-Identifier: GPL-2.0-or-later

// The types of netlink messages: the four control messages and those of rtnetlink.

import CLinux

/// What a message is (`nlmsg_type`).
public struct MessageType: RawRepresentable, Hashable, Sendable {
  public var rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  init(_ number: Int) { rawValue = UInt16(truncatingIfNeeded: number) }

  public static let noOperation = MessageType(Int(NLMSG_NOOP))
  public static let error = MessageType(Int(NLMSG_ERROR))
  public static let done = MessageType(Int(NLMSG_DONE))
  public static let overrun = MessageType(Int(NLMSG_OVERRUN))

  public static let newLink = MessageType(RTM_NEWLINK)
  public static let deleteLink = MessageType(RTM_DELLINK)
  public static let getLink = MessageType(RTM_GETLINK)
  public static let setLink = MessageType(RTM_SETLINK)
  public static let newAddress = MessageType(RTM_NEWADDR)
  public static let deleteAddress = MessageType(RTM_DELADDR)
  public static let getAddress = MessageType(RTM_GETADDR)
  public static let newRoute = MessageType(RTM_NEWROUTE)
  public static let deleteRoute = MessageType(RTM_DELROUTE)
  public static let getRoute = MessageType(RTM_GETROUTE)
  public static let newNeighbor = MessageType(RTM_NEWNEIGH)
  public static let deleteNeighbor = MessageType(RTM_DELNEIGH)
  public static let getNeighbor = MessageType(RTM_GETNEIGH)
  public static let newRule = MessageType(RTM_NEWRULE)
  public static let deleteRule = MessageType(RTM_DELRULE)
  public static let getRule = MessageType(RTM_GETRULE)
  public static let newQdisc = MessageType(RTM_NEWQDISC)
  public static let deleteQdisc = MessageType(RTM_DELQDISC)
  public static let getQdisc = MessageType(RTM_GETQDISC)
  public static let newClass = MessageType(RTM_NEWTCLASS)
  public static let deleteClass = MessageType(RTM_DELTCLASS)
  public static let getClass = MessageType(RTM_GETTCLASS)
  public static let newNamespaceID = MessageType(RTM_NEWNSID)
  public static let deleteNamespaceID = MessageType(RTM_DELNSID)
  public static let getNamespaceID = MessageType(RTM_GETNSID)
  public static let newMulticastEntry = MessageType(RTM_NEWMDB)
  public static let deleteMulticastEntry = MessageType(RTM_DELMDB)
  public static let getMulticastEntry = MessageType(RTM_GETMDB)
  public static let newLinkProperty = MessageType(RTM_NEWLINKPROP)
  public static let deleteLinkProperty = MessageType(RTM_DELLINKPROP)
}

extension MessageType: CustomStringConvertible {
  /// The kernel's name of the type, as error messages say it.
  public var description: String {
    switch self {
    case .noOperation: "NLMSG_NOOP"
    case .error: "NLMSG_ERROR"
    case .done: "NLMSG_DONE"
    case .overrun: "NLMSG_OVERRUN"
    case .newLink: "RTM_NEWLINK"
    case .deleteLink: "RTM_DELLINK"
    case .getLink: "RTM_GETLINK"
    case .setLink: "RTM_SETLINK"
    case .newAddress: "RTM_NEWADDR"
    case .deleteAddress: "RTM_DELADDR"
    case .getAddress: "RTM_GETADDR"
    case .newRoute: "RTM_NEWROUTE"
    case .deleteRoute: "RTM_DELROUTE"
    case .getRoute: "RTM_GETROUTE"
    case .newNeighbor: "RTM_NEWNEIGH"
    case .deleteNeighbor: "RTM_DELNEIGH"
    case .getNeighbor: "RTM_GETNEIGH"
    case .newRule: "RTM_NEWRULE"
    case .deleteRule: "RTM_DELRULE"
    case .getRule: "RTM_GETRULE"
    case .newQdisc: "RTM_NEWQDISC"
    case .deleteQdisc: "RTM_DELQDISC"
    case .getQdisc: "RTM_GETQDISC"
    case .newClass: "RTM_NEWTCLASS"
    case .deleteClass: "RTM_DELTCLASS"
    case .getClass: "RTM_GETTCLASS"
    case .newNamespaceID: "RTM_NEWNSID"
    case .deleteNamespaceID: "RTM_DELNSID"
    case .getNamespaceID: "RTM_GETNSID"
    case .newMulticastEntry: "RTM_NEWMDB"
    case .deleteMulticastEntry: "RTM_DELMDB"
    case .getMulticastEntry: "RTM_GETMDB"
    case .newLinkProperty: "RTM_NEWLINKPROP"
    case .deleteLinkProperty: "RTM_DELLINKPROP"
    default: "netlink message type \(rawValue)"
    }
  }
}
