// SPDX-License-Identifier: GPL-2.0-or-later

// LinkMessage to and from bytes.

import CLinux

extension LinkMessage {
  public func encode(into writer: inout NetlinkWriter) {
    writer.fixed(
      ifinfomsg(
        ifi_family: family.rawValue, __ifi_pad: 0, ifi_type: deviceType, ifi_index: index,
        ifi_flags: flags.rawValue, ifi_change: changeMask.rawValue))
    writer.string(IFLA_IFNAME, name)
    writer.bytes(IFLA_ADDRESS, address)
    writer.bytes(IFLA_BROADCAST, broadcast)
    writer.bytes(IFLA_PERM_ADDRESS, permanentAddress)
    writer.u32(IFLA_MTU, mtu)
    writer.u32(IFLA_MIN_MTU, minimumMTU)
    writer.u32(IFLA_MAX_MTU, maximumMTU)
    writer.u32(IFLA_TXQLEN, transmitQueueLength)
    writer.i32(IFLA_MASTER, master)
    writer.i32(IFLA_LINK, lowerIndex)
    writer.u32(IFLA_GROUP, group)
    writer.u32(IFLA_NUM_TX_QUEUES, transmitQueues)
    writer.u32(IFLA_NUM_RX_QUEUES, receiveQueues)
    writer.i32(IFLA_NET_NS_FD, namespaceDescriptor)
    writer.i32(IFLA_TARGET_NETNSID, targetNamespaceID)
    writer.i32(IFLA_LINK_NETNSID, linkNamespaceID)
    writer.i32(IFLA_NEW_NETNSID, newNamespaceID)
    writer.i32(IFLA_NEW_IFINDEX, newIndex)
    writer.string(IFLA_IFALIAS, alias)
    if !alternativeNames.isEmpty {
      writer.nest(IFLA_PROP_LIST) { list in
        for name in alternativeNames { list.string(IFLA_ALT_IFNAME, name) }
      }
    }
    writer.u8(IFLA_OPERSTATE, operationalState?.rawValue)
    writer.u8(IFLA_LINKMODE, linkMode)
    writer.bool(IFLA_CARRIER, carrier)
    writer.u32(IFLA_CARRIER_CHANGES, carrierChanges)
    writer.u32(IFLA_PROMISCUITY, promiscuity)
    writer.string(IFLA_QDISC, qdisc)
    writer.u32(IFLA_GSO_MAX_SIZE, gsoMaximumSize)
    writer.u32(IFLA_GSO_MAX_SEGS, gsoMaximumSegments)
    if let statistics { writer.structure(IFLA_STATS64, statistics.kernel) }
    if kind != nil || port?.isInLinkInfo(of: family) == true {
      writer.nest(IFLA_LINKINFO) { info in
        kind?.encode(into: &info)
        if port?.isInLinkInfo(of: family) == true { port?.encode(into: &info) }
      }
    }
    if case .bridge(let options) = port, family == .bridge {
      writer.nest(IFLA_PROTINFO) { options.encode(into: &$0) }
    }
    if let addressGeneration {
      writer.nest(IFLA_AF_SPEC) { families in
        families.nest(Int(AF_INET6)) { $0.u8(IFLA_INET6_ADDR_GEN_MODE, addressGeneration.rawValue) }
      }
    }
    if let xdp { writer.nest(IFLA_XDP) { xdp.encode(into: &$0) } }
    writer.u32(IFLA_EXT_MASK, extended?.rawValue)
  }

  public init(parsing payload: ArraySlice<UInt8>) throws(NetlinkDecodingError) {
    try self.init(parsing: payload, isPeer: false)
  }

  init(parsing payload: ArraySlice<UInt8>, isPeer: Bool) throws(NetlinkDecodingError) {
    var reader = AttributeReader(payload)
    let header = try reader.fixed(ifinfomsg.self)
    self.init(index: header.ifi_index)
    family = AddressFamily(rawValue: header.ifi_family)
    deviceType = header.ifi_type
    flags = LinkFlags(rawValue: header.ifi_flags)
    changeMask = LinkFlags(rawValue: header.ifi_change)
    while let attribute = try reader.next() { try read(attribute, isPeer: isPeer) }
  }

  private mutating func read(_ attribute: NetlinkAttribute, isPeer: Bool) throws(NetlinkDecodingError) {
    switch attribute.type {
    case IFLA_IFNAME: name = attribute.string()
    case IFLA_ADDRESS: address = attribute.bytes()
    case IFLA_BROADCAST: broadcast = attribute.bytes()
    case IFLA_PERM_ADDRESS: permanentAddress = attribute.bytes()
    case IFLA_MTU: mtu = try attribute.u32()
    case IFLA_MIN_MTU: minimumMTU = try attribute.u32()
    case IFLA_MAX_MTU: maximumMTU = try attribute.u32()
    case IFLA_TXQLEN: transmitQueueLength = try attribute.u32()
    case IFLA_MASTER: master = try attribute.i32()
    case IFLA_LINK: lowerIndex = try attribute.i32()
    case IFLA_GROUP: group = try attribute.u32()
    case IFLA_NUM_TX_QUEUES: transmitQueues = try attribute.u32()
    case IFLA_NUM_RX_QUEUES: receiveQueues = try attribute.u32()
    case IFLA_NET_NS_FD: namespaceDescriptor = try attribute.i32()
    case IFLA_TARGET_NETNSID: targetNamespaceID = try attribute.i32()
    case IFLA_LINK_NETNSID: linkNamespaceID = try attribute.i32()
    case IFLA_NEW_NETNSID: newNamespaceID = try attribute.i32()
    case IFLA_NEW_IFINDEX: newIndex = try attribute.i32()
    case IFLA_IFALIAS: alias = attribute.string()
    case IFLA_PROP_LIST:
      var list = attribute.content
      while let entry = try list.next() {
        if entry.type == IFLA_ALT_IFNAME { alternativeNames.append(entry.string()) }
      }
    case IFLA_OPERSTATE: operationalState = OperationalState(rawValue: try attribute.u8())
    case IFLA_LINKMODE: linkMode = try attribute.u8()
    case IFLA_CARRIER: carrier = try attribute.bool()
    case IFLA_CARRIER_CHANGES: carrierChanges = try attribute.u32()
    case IFLA_PROMISCUITY: promiscuity = try attribute.u32()
    case IFLA_QDISC: qdisc = attribute.string()
    case IFLA_GSO_MAX_SIZE: gsoMaximumSize = try attribute.u32()
    case IFLA_GSO_MAX_SEGS: gsoMaximumSegments = try attribute.u32()
    case IFLA_STATS64: statistics = try LinkStatistics(parsing: attribute)
    case IFLA_LINKINFO: try readLinkInfo(attribute.content, isPeer: isPeer)
    case IFLA_PROTINFO where family == .bridge:
      port = .bridge(try BridgePortOptions(parsing: attribute.content))
    case IFLA_AF_SPEC where family != .bridge:
      try readFamilies(attribute.content)
    case IFLA_XDP: xdp = try LinkXDP(parsing: attribute.content)
    case IFLA_EXT_MASK: extended = ExtendedLinkMask(rawValue: try attribute.u32())
    default: break
    }
  }

  private mutating func readLinkInfo(_ content: AttributeReader, isPeer: Bool) throws(NetlinkDecodingError) {
    var reader = content
    var name: String?
    var data: ArraySlice<UInt8>?
    var portName: String?
    var portData: ArraySlice<UInt8>?
    while let attribute = try reader.next() {
      switch attribute.type {
      case IFLA_INFO_KIND: name = attribute.string()
      case IFLA_INFO_DATA: data = attribute.value
      case IFLA_INFO_SLAVE_KIND: portName = attribute.string()
      case IFLA_INFO_SLAVE_DATA: portData = attribute.value
      default: break
      }
    }
    if let name { kind = try LinkKind(parsing: name, data, isPeer: isPeer) }
    if let portName { port = try LinkPort(parsing: portName, portData) }
  }

  private mutating func readFamilies(_ content: AttributeReader) throws(NetlinkDecodingError) {
    var reader = content
    while let entry = try reader.next() {
      guard entry.type == Int(AF_INET6) else { continue }
      var inet6 = entry.content
      while let attribute = try inet6.next() {
        guard attribute.type == IFLA_INET6_ADDR_GEN_MODE else { continue }
        addressGeneration = AddressGeneration(rawValue: try attribute.u8())
      }
    }
  }
}
