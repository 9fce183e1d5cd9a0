// SPDX-License-Identifier: GPL-2.0-or-later

// The VLANs of a bridge port, or of the bridge itself: RTM_SETLINK and RTM_DELLINK of the bridge family, and the
// answers to a link dump with RTEXT_FILTER_BRVLAN (IFLA_AF_SPEC, IFLA_BRIDGE_VLAN_INFO; net/bridge/br_netlink.c).

import CLinux

/// The VLANs of one port.
public struct BridgeVLANMessage: RtnetlinkMessage {
  public var index: Int32
  /// The bridge that the port belongs to, as an answer tells it.
  public var master: Int32?
  public var vlans: [BridgeVLAN]
  /// The VLANs of the bridge device itself, not of a port.
  public var isBridgeItself: Bool

  public init(index: Int32, vlans: [BridgeVLAN] = [], isBridgeItself: Bool = false) {
    self.index = index
    self.vlans = vlans
    self.isBridgeItself = isBridgeItself
  }

  /// VLANs are added to what stands, by RTM_SETLINK.
  public static var newType: MessageType { .setLink }
  public static var deleteType: MessageType { .deleteLink }
  public static var getType: MessageType { .getLink }
  public static var changeFlags: MessageFlags { [] }

  /// Answers and events are RTM_NEWLINK, not RTM_SETLINK.
  public init(_ message: NetlinkMessage) throws(NetlinkDecodingError) {
    guard [.newLink, .setLink, .deleteLink, .getLink].contains(message.type) else {
      throw .unexpectedType(message.type)
    }
    try self.init(parsing: message.payload[...])
  }

  /// Adds the VLANs, or changes their flags.
  public var addRequest: NetlinkMessage { message(.setLink) }
  public var deleteRequest: NetlinkMessage { message(.deleteLink) }

  /// The VLANs of all ports of the namespace, ranges as ranges.
  public static func dump() -> NetlinkMessage {
    var link = LinkMessage()
    link.family = .bridge
    link.extended = .bridgeVLANRanges
    return link.request(.dump)
  }

  public func encode(into writer: inout NetlinkWriter) {
    var header = ifinfomsg()
    header.ifi_family = AddressFamily.bridge.rawValue
    header.ifi_index = index
    writer.fixed(header)
    writer.i32(IFLA_MASTER, master)
    writer.nest(IFLA_AF_SPEC) { spec in
      if isBridgeItself { spec.u16(IFLA_BRIDGE_FLAGS, UInt16(BRIDGE_FLAGS_SELF)) }
      for vlan in vlans { vlan.encode(into: &spec) }
    }
  }

  public init(parsing payload: ArraySlice<UInt8>) throws(NetlinkDecodingError) {
    var reader = AttributeReader(payload)
    let header = try reader.fixed(ifinfomsg.self)
    guard header.ifi_family == AddressFamily.bridge.rawValue else {
      throw .invalid("family of a bridge port's message", value: UInt64(header.ifi_family))
    }
    self.init(index: header.ifi_index)
    while let attribute = try reader.next() {
      switch attribute.type {
      case IFLA_MASTER: master = try attribute.i32()
      case IFLA_AF_SPEC: try readSpecification(attribute.content)
      default: break
      }
    }
    // The kernel tells the bridge's own VLANs as those of a port whose master it is itself.
    if master == index { isBridgeItself = true }
  }

  private mutating func readSpecification(_ content: AttributeReader) throws(NetlinkDecodingError) {
    var reader = content
    var first: bridge_vlan_info?
    while let attribute = try reader.next() {
      if attribute.type == IFLA_BRIDGE_FLAGS, try attribute.u16() & UInt16(BRIDGE_FLAGS_SELF) != 0 {
        isBridgeItself = true
      }
      guard attribute.type == IFLA_BRIDGE_VLAN_INFO else { continue }
      let info = try attribute.structure(bridge_vlan_info.self)
      let flags = BridgeVLAN.Flags(rawValue: info.flags)
      if info.flags & UInt16(BRIDGE_VLAN_INFO_RANGE_BEGIN) != 0 {
        first = info
      } else if info.flags & UInt16(BRIDGE_VLAN_INFO_RANGE_END) != 0 {
        guard let begin = first, begin.vid <= info.vid else {
          throw .invalid("end of a VLAN range", value: UInt64(info.vid))
        }
        vlans.append(BridgeVLAN(begin.vid...info.vid, flags.intersection([.pvid, .untagged])))
        first = nil
      } else {
        vlans.append(BridgeVLAN(info.vid...info.vid, flags.intersection([.pvid, .untagged])))
      }
    }
    if let first { throw .invalid("VLAN range without an end, from", value: UInt64(first.vid)) }
  }
}

/// A VLAN of a port, or a range of them.
public struct BridgeVLAN: Hashable, Sendable {
  /// How frames of the VLAN come and go (`BRIDGE_VLAN_INFO_*`).
  public struct Flags: OptionSet, Hashable, Sendable {
    public var rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Frames that come in without a tag are of this VLAN.
    public static let pvid = Flags(rawValue: UInt16(BRIDGE_VLAN_INFO_PVID))
    /// Frames go out without a tag.
    public static let untagged = Flags(rawValue: UInt16(BRIDGE_VLAN_INFO_UNTAGGED))
  }

  /// 1 to 4094.
  public var identifiers: ClosedRange<UInt16>
  public var flags: Flags

  public init(_ identifiers: ClosedRange<UInt16>, _ flags: Flags = []) {
    self.identifiers = identifiers
    self.flags = flags
  }

  public init(_ identifier: UInt16, _ flags: Flags = []) { self.init(identifier...identifier, flags) }

  func encode(into writer: inout NetlinkWriter) {
    let (first, last) = (identifiers.lowerBound, identifiers.upperBound)
    guard first < last else {
      writer.structure(IFLA_BRIDGE_VLAN_INFO, bridge_vlan_info(flags: flags.rawValue, vid: first))
      return
    }
    let (begin, end) = (UInt16(BRIDGE_VLAN_INFO_RANGE_BEGIN), UInt16(BRIDGE_VLAN_INFO_RANGE_END))
    writer.structure(IFLA_BRIDGE_VLAN_INFO, bridge_vlan_info(flags: flags.rawValue | begin, vid: first))
    writer.structure(IFLA_BRIDGE_VLAN_INFO, bridge_vlan_info(flags: flags.rawValue | end, vid: last))
  }
}
