// SPDX-License-Identifier: GPL-2.0-or-later

// RTM_NEWROUTE and its kin: one route of one table (`struct rtmsg`, RTA_*; net/ipv4/fib_frontend.c,
// net/ipv6/route.c).

import CLinux
public import NetTypes

/// A route.
public struct RouteMessage: RtnetlinkMessage {
  public var family: AddressFamily
  /// Nil for everything (the default route).
  public var destination: IPPrefix?
  public var source: IPPrefix?
  public var typeOfService: UInt8 = 0
  /// 254 main, 255 local, 253 default.
  public var table: UInt32 = 0
  public var protocolNumber: RouteProtocol = .unspecified
  public var scope: RouteScope = .universe
  public var type: RouteType = .unspecified
  public var flags: RouteFlags = []
  /// The metric; the smallest wins.
  public var priority: UInt32?
  /// The next hop; one of the other family is sent as RTA_VIA.
  public var gateway: IPAddress?
  public var outputIndex: Int32?
  public var inputIndex: Int32?
  public var preferredSource: IPAddress?
  /// Several next hops, in place of `gateway` and `outputIndex`.
  public var nextHops: [NextHop] = []
  /// The number of a next hop object (RTM_NEWNEXTHOP).
  public var nextHopID: UInt32?
  public var metrics: RouteMetrics = RouteMetrics()
  /// IPv6: how routers prefer it (RFC 4191).
  public var preference: RoutePreference?
  public var mark: UInt32?
  public var userID: UInt32?
  /// IPv6: seconds until it expires.
  public var expires: UInt32?
  /// Told by the kernel: age, use and errors.
  public var cacheInfo: RouteCacheInfo?

  public init(family: AddressFamily = .unspecified) { self.family = family }

  public static var newType: MessageType { .newRoute }
  public static var deleteType: MessageType { .deleteRoute }
  public static var getType: MessageType { .getRoute }

  /// All routes, or those that a filter lets through. The kernel heeds it under strict checking only; a table that
  /// does not exist is then ENOENT.
  public static func dump(
    _ family: AddressFamily, table: UInt32? = nil, protocolNumber: RouteProtocol? = nil,
    type: RouteType? = nil,
    outputIndex: Int32? = nil
  ) -> NetlinkMessage {
    var filter = RouteMessage(family: family)
    filter.table = table ?? 0
    filter.protocolNumber = protocolNumber ?? .unspecified
    filter.type = type ?? .unspecified
    filter.outputIndex = outputIndex
    return filter.request(.dump)
  }

  public static let mainTable = UInt32(RT_TABLE_MAIN.rawValue)
  public static let localTable = UInt32(RT_TABLE_LOCAL.rawValue)
  public static let defaultTable = UInt32(RT_TABLE_DEFAULT.rawValue)

  public func encode(into writer: inout NetlinkWriter) {
    writer.fixed(
      rtmsg(
        rtm_family: family.rawValue, rtm_dst_len: UInt8(clamping: destination?.length ?? 0),
        rtm_src_len: UInt8(clamping: source?.length ?? 0), rtm_tos: typeOfService,
        rtm_table: table < 256 ? UInt8(table) : UInt8(RT_TABLE_UNSPEC.rawValue),
        rtm_protocol: protocolNumber.rawValue,
        rtm_scope: scope.rawValue, rtm_type: type.rawValue, rtm_flags: flags.rawValue))
    // A default route has no RTA_DST of its own; the kernel takes one and never sends one.
    if let destination, destination.length > 0 { writer.address(Int(RTA_DST.rawValue), destination.address) }
    if let source, source.length > 0 { writer.address(Int(RTA_SRC.rawValue), source.address) }
    if table != 0 { writer.u32(Int(RTA_TABLE.rawValue), table) }
    writer.u32(Int(RTA_PRIORITY.rawValue), priority)
    if let gateway { writer.gateway(gateway, family) }
    writer.i32(Int(RTA_OIF.rawValue), outputIndex)
    writer.i32(Int(RTA_IIF.rawValue), inputIndex)
    writer.address(Int(RTA_PREFSRC.rawValue), preferredSource)
    writer.u32(Int(RTA_NH_ID.rawValue), nextHopID)
    if !nextHops.isEmpty {
      writer.nest(Int(RTA_MULTIPATH.rawValue), flagged: false) { list in
        for hop in nextHops { hop.encode(into: &list, family) }
      }
    }
    if !metrics.isEmpty { writer.nest(Int(RTA_METRICS.rawValue)) { metrics.encode(into: &$0) } }
    writer.u8(Int(RTA_PREF.rawValue), preference?.rawValue)
    writer.u32(Int(RTA_MARK.rawValue), mark)
    writer.u32(Int(RTA_UID.rawValue), userID)
    writer.u32(Int(RTA_EXPIRES.rawValue), expires)
    if let cacheInfo { writer.structure(Int(RTA_CACHEINFO.rawValue), cacheInfo.kernel) }
  }

  public init(parsing payload: ArraySlice<UInt8>) throws(NetlinkDecodingError) {
    var reader = AttributeReader(payload)
    let header = try reader.fixed(rtmsg.self)
    self.init(family: AddressFamily(rawValue: header.rtm_family))
    typeOfService = header.rtm_tos
    table = UInt32(header.rtm_table)
    protocolNumber = RouteProtocol(rawValue: header.rtm_protocol)
    scope = RouteScope(rawValue: header.rtm_scope)
    type = RouteType(rawValue: header.rtm_type)
    flags = RouteFlags(rawValue: header.rtm_flags)
    var to: IPAddress?
    var from: IPAddress?
    while let attribute = try reader.next() {
      switch UInt32(attribute.type) {
      case RTA_DST.rawValue: to = try attribute.address()
      case RTA_SRC.rawValue: from = try attribute.address()
      case RTA_TABLE.rawValue: table = try attribute.u32()
      case RTA_PRIORITY.rawValue: priority = try attribute.u32()
      case RTA_GATEWAY.rawValue: gateway = try attribute.address()
      case RTA_VIA.rawValue: gateway = try attribute.via()
      case RTA_OIF.rawValue: outputIndex = try attribute.i32()
      case RTA_IIF.rawValue: inputIndex = try attribute.i32()
      case RTA_PREFSRC.rawValue: preferredSource = try attribute.address()
      case RTA_NH_ID.rawValue: nextHopID = try attribute.u32()
      case RTA_MULTIPATH.rawValue: nextHops = try NextHop.list(parsing: attribute.value)
      case RTA_METRICS.rawValue: metrics = try RouteMetrics(parsing: attribute.content)
      case RTA_PREF.rawValue: preference = RoutePreference(rawValue: try attribute.u8())
      case RTA_MARK.rawValue: mark = try attribute.u32()
      case RTA_UID.rawValue: userID = try attribute.u32()
      case RTA_EXPIRES.rawValue: expires = try attribute.u32()
      case RTA_CACHEINFO.rawValue: cacheInfo = RouteCacheInfo(try attribute.structure(rta_cacheinfo.self))
      default: break
      }
    }
    destination = try IPPrefix.parsing(to, length: header.rtm_dst_len, family: family, "destination")
    source = try IPPrefix.parsing(from, length: header.rtm_src_len, family: family, "source")
  }
}

extension RouteMessage {
  /// The table and the maker of the route that a message is about, read without the rest of it; of tables above 255 the
  /// kernel tells here that they are (RT_TABLE_COMPAT). Nil when the message is cut off.
  public static func origin(of message: NetlinkMessage) -> (table: UInt32, protocolNumber: RouteProtocol)? {
    var reader = AttributeReader(message.payload)
    guard let header = try? reader.fixed(rtmsg.self) else { return nil }
    return (UInt32(header.rtm_table), RouteProtocol(rawValue: header.rtm_protocol))
  }
}

extension NetlinkWriter {
  /// RTA_GATEWAY, or RTA_VIA for a gateway of another family than the route's (RFC 5549).
  mutating func gateway(_ gateway: IPAddress, _ family: AddressFamily) {
    let own = AddressFamily(gateway.family)
    guard own != family else {
      address(Int(RTA_GATEWAY.rawValue), gateway)
      return
    }
    // struct rtvia ends in an array without a length, so that Swift cannot hold one: family, then the address.
    var value = withUnsafeBytes(of: UInt16(own.rawValue)) { [UInt8]($0) }
    value += gateway.bytes
    bytes(Int(RTA_VIA.rawValue), value)
  }
}

extension NetlinkAttribute {
  /// The address of an RTA_VIA; nil for a family that is not an internet one.
  func via() throws(NetlinkDecodingError) -> IPAddress? {
    guard value.count >= 2 else { throw wrongLength }
    let number = value.withUnsafeBytes { $0.loadUnaligned(as: UInt16.self) }
    guard let family = AddressFamily(rawValue: UInt8(truncatingIfNeeded: number)).internet else { return nil }
    guard let address = IPAddress(networkOrder: value.dropFirst(2)), address.family == family else {
      throw wrongLength
    }
    return address
  }
}
