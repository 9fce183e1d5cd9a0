// SPDX-License-Identifier: GPL-2.0-or-later

// RTM_NEWNEIGH and its kin: a neighbour (ARP, neighbour discovery), a proxy entry, or with the bridge family an
// entry of a forwarding database (`struct ndmsg`, NDA_*; net/core/neighbour.c, net/bridge/br_fdb.c, drivers/net/vxlan).

import CLinux
public import NetTypes

/// An entry of a neighbour table or a forwarding database.
public struct NeighborMessage: RtnetlinkMessage {
  public var family: AddressFamily
  public var index: Int32
  public var state: NeighborState = []
  public var flags: NeighborFlags = []
  /// Of the address: RTN_UNICAST, RTN_MULTICAST, …
  public var type: RouteType = .unspecified
  /// The neighbour's address; in a VXLAN's forwarding database the remote endpoint.
  public var destination: IPAddress?
  /// Six bytes for Ethernet; what a forwarding database looks up.
  public var linkAddress: [UInt8]?
  public var vlan: UInt16?
  public var vni: UInt32?
  /// UDP port of a VXLAN's remote endpoint.
  public var port: UInt16?
  /// The bridge that the port belongs to; in a dump, a filter.
  public var master: Int32?
  /// The link to reach a VXLAN's remote endpoint by; in a dump of neighbours, a filter by link.
  public var outputIndex: Int32?
  public var probes: UInt32?
  /// Who made it.
  public var protocolNumber: UInt8?
  /// Kernel 5.16 and newer (`NTF_EXT_*`).
  public var extendedFlags: UInt32?
  public var linkNamespaceID: Int32?
  public var cacheInfo: NeighborCacheInfo?

  public init(family: AddressFamily = .unspecified, index: Int32 = 0) {
    self.family = family
    self.index = index
  }

  public static var newType: MessageType { .newNeighbor }
  public static var deleteType: MessageType { .deleteNeighbor }
  public static var getType: MessageType { .getNeighbor }

  /// The Ethernet address, when there is one.
  public var macAddress: MACAddress? {
    get { linkAddress.flatMap { MACAddress(bytes: $0) } }
    set { linkAddress = newValue?.bytes }
  }

  /// All neighbours of a family, or those of one link. Proxy entries are a dump of their own.
  public static func dump(_ family: AddressFamily, index: Int32? = nil, proxies: Bool = false)
    -> NetlinkMessage
  {
    var filter = NeighborMessage(family: family)
    filter.outputIndex = index
    if proxies { filter.flags = .proxy }
    return filter.request(.dump)
  }

  /// All entries of all forwarding databases, or of one device or one bridge.
  public static func dumpForwarding(index: Int32 = 0, master: Int32? = nil) -> NetlinkMessage {
    var filter = NeighborMessage(family: .bridge, index: index)
    filter.master = master
    return filter.request(.dump)
  }

  public func encode(into writer: inout NetlinkWriter) {
    writer.fixed(
      ndmsg(
        ndm_family: family.rawValue, ndm_pad1: 0, ndm_pad2: 0, ndm_ifindex: index, ndm_state: state.rawValue,
        ndm_flags: flags.rawValue, ndm_type: type.rawValue))
    writer.address(NDA_DST, destination)
    writer.bytes(NDA_LLADDR, linkAddress)
    writer.u16(NDA_VLAN, vlan)
    writer.u32(NDA_VNI, vni)
    writer.be16(NDA_PORT, port)
    writer.i32(NDA_MASTER, master)
    writer.i32(NDA_IFINDEX, outputIndex)
    writer.u32(NDA_PROBES, probes)
    writer.u8(NDA_PROTOCOL, protocolNumber)
    writer.u32(NF_NDA_FLAGS_EXT, extendedFlags)
    writer.i32(NDA_LINK_NETNSID, linkNamespaceID)
    if let cacheInfo { writer.structure(NDA_CACHEINFO, cacheInfo.kernel) }
  }

  public init(parsing payload: ArraySlice<UInt8>) throws(NetlinkDecodingError) {
    var reader = AttributeReader(payload)
    let header = try reader.fixed(ndmsg.self)
    self.init(family: AddressFamily(rawValue: header.ndm_family), index: header.ndm_ifindex)
    state = NeighborState(rawValue: header.ndm_state)
    flags = NeighborFlags(rawValue: header.ndm_flags)
    type = RouteType(rawValue: header.ndm_type)
    while let attribute = try reader.next() {
      switch attribute.type {
      case NDA_DST: destination = try attribute.address()
      case NDA_LLADDR: linkAddress = attribute.bytes()
      case NDA_VLAN: vlan = try attribute.u16()
      case NDA_VNI: vni = try attribute.u32()
      case NDA_PORT: port = try attribute.be16()
      case NDA_MASTER: master = try attribute.i32()
      case NDA_IFINDEX: outputIndex = try attribute.i32()
      case NDA_PROBES: probes = try attribute.u32()
      case NDA_PROTOCOL: protocolNumber = try attribute.u8()
      case NF_NDA_FLAGS_EXT: extendedFlags = try attribute.u32()
      case NDA_LINK_NETNSID: linkNamespaceID = try attribute.i32()
      case NDA_CACHEINFO: cacheInfo = NeighborCacheInfo(try attribute.structure(nda_cacheinfo.self))
      default: break
      }
    }
  }
}

/// What is known of a neighbour (`NUD_*`); several bits make a filter.
public struct NeighborState: OptionSet, Hashable, Sendable {
  public var rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  init(_ state: Int32) { rawValue = UInt16(truncatingIfNeeded: state) }

  public static let incomplete = NeighborState(NUD_INCOMPLETE)
  public static let reachable = NeighborState(NUD_REACHABLE)
  public static let stale = NeighborState(NUD_STALE)
  public static let delay = NeighborState(NUD_DELAY)
  public static let probe = NeighborState(NUD_PROBE)
  public static let failed = NeighborState(NUD_FAILED)
  /// No resolution on this link.
  public static let noARP = NeighborState(NUD_NOARP)
  public static let permanent = NeighborState(NUD_PERMANENT)
}

/// A neighbour's flags (`NTF_*`).
public struct NeighborFlags: OptionSet, Hashable, Sendable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  init(_ flag: Int32) { rawValue = UInt8(truncatingIfNeeded: flag) }

  public static let use = NeighborFlags(NTF_USE)
  /// The entry is of the device's own database.
  public static let own = NeighborFlags(NTF_SELF)
  /// The entry is of the database of the device's master, its bridge.
  public static let master = NeighborFlags(NTF_MASTER)
  public static let proxy = NeighborFlags(NTF_PROXY)
  public static let externallyLearned = NeighborFlags(NTF_EXT_LEARNED)
  public static let offloaded = NeighborFlags(NTF_OFFLOADED)
  public static let sticky = NeighborFlags(NTF_STICKY)
  public static let router = NeighborFlags(NTF_ROUTER)
}

/// When a neighbour was last confirmed, used and changed, in hundredths of a second before now.
public struct NeighborCacheInfo: Hashable, Sendable {
  public var confirmed: UInt32
  public var used: UInt32
  public var updated: UInt32
  public var references: UInt32

  public init(confirmed: UInt32, used: UInt32, updated: UInt32, references: UInt32 = 0) {
    self.confirmed = confirmed
    self.used = used
    self.updated = updated
    self.references = references
  }

  init(_ info: nda_cacheinfo) {
    confirmed = info.ndm_confirmed
    used = info.ndm_used
    updated = info.ndm_updated
    references = info.ndm_refcnt
  }

  var kernel: nda_cacheinfo {
    nda_cacheinfo(ndm_confirmed: confirmed, ndm_used: used, ndm_updated: updated, ndm_refcnt: references)
  }
}
