// SPDX-License-Identifier: GPL-2.0-or-later

// RTM_NEWADDR and its kin: one address of one link (`struct ifaddrmsg`, IFA_*; net/ipv4/devinet.c,
// net/ipv6/addrconf.c). IPv4 tells `local` and, on point-to-point links, the peer in `address`; IPv6 tells `address`.

import CLinux
public import NetTypes

/// An address of a link.
public struct AddressMessage: RtnetlinkMessage {
  public var family: AddressFamily
  public var index: Int32
  public var prefixLength: UInt8 = 0
  public var scope: RouteScope = .universe
  public var flags: AddressFlags = []
  /// The link's own address; IPv6 has it in `address` alone.
  public var local: IPAddress?
  /// The peer's address on a point-to-point link, else the link's own.
  public var address: IPAddress?
  public var broadcast: IPv4Address?
  /// IPv4 only; begins with the link's name.
  public var label: String?
  /// Who made it (kernel 5.18 and newer).
  public var protocolNumber: UInt8?
  /// The metric of the prefix's route.
  public var routePriority: UInt32?
  public var lifetime: AddressLifetime?
  /// The namespace to read, by its id in the asking one.
  public var targetNamespaceID: Int32?

  public init(family: AddressFamily = .unspecified, index: Int32 = 0) {
    self.family = family
    self.index = index
  }

  /// The address of a link; IPv4 gets both `local` and `address`, as `ip` sends it.
  public init(_ prefix: IPPrefix, index: Int32) {
    self.init(family: AddressFamily(prefix.family), index: index)
    prefixLength = UInt8(clamping: prefix.length)
    local = prefix.address
    address = prefix.address
  }

  public static var newType: MessageType { .newAddress }
  public static var deleteType: MessageType { .deleteAddress }
  public static var getType: MessageType { .getAddress }

  /// The link's own address with its prefix length.
  public var prefix: IPPrefix? {
    (local ?? address).flatMap { IPPrefix($0, length: Int(prefixLength)) }
  }

  /// The other end of a point-to-point link.
  public var peer: IPAddress? {
    guard let local, let address, local != address else { return nil }
    return address
  }

  /// All addresses, or those of one link, of this namespace or another by its id.
  public static func dump(
    _ family: AddressFamily = .unspecified, index: Int32 = 0, targetNamespaceID: Int32? = nil
  ) -> NetlinkMessage {
    var filter = AddressMessage(family: family, index: index)
    filter.targetNamespaceID = targetNamespaceID
    return filter.request(.dump)
  }

  public func encode(into writer: inout NetlinkWriter) {
    writer.fixed(
      ifaddrmsg(
        ifa_family: family.rawValue, ifa_prefixlen: prefixLength,
        ifa_flags: UInt8(truncatingIfNeeded: flags.rawValue),
        ifa_scope: scope.rawValue, ifa_index: UInt32(bitPattern: index)))
    writer.address(IFA_LOCAL, local)
    writer.address(IFA_ADDRESS, address)
    writer.address(IFA_BROADCAST, broadcast.map { .v4($0) })
    writer.string(IFA_LABEL, label)
    writer.u8(NF_IFA_PROTO, protocolNumber)
    writer.u32(IFA_RT_PRIORITY, routePriority)
    if !flags.isEmpty { writer.u32(IFA_FLAGS, flags.rawValue) }
    if let lifetime {
      writer.structure(
        IFA_CACHEINFO,
        ifa_cacheinfo(
          ifa_prefered: lifetime.preferred, ifa_valid: lifetime.valid, cstamp: lifetime.created,
          tstamp: lifetime.updated))
    }
    writer.i32(IFA_TARGET_NETNSID, targetNamespaceID)
  }

  public init(parsing payload: ArraySlice<UInt8>) throws(NetlinkDecodingError) {
    var reader = AttributeReader(payload)
    let header = try reader.fixed(ifaddrmsg.self)
    self.init(family: AddressFamily(rawValue: header.ifa_family), index: Int32(bitPattern: header.ifa_index))
    prefixLength = header.ifa_prefixlen
    scope = RouteScope(rawValue: header.ifa_scope)
    flags = AddressFlags(rawValue: UInt32(header.ifa_flags))
    while let attribute = try reader.next() {
      switch attribute.type {
      case IFA_LOCAL: local = try attribute.address()
      case IFA_ADDRESS: address = try attribute.address()
      case IFA_BROADCAST:
        guard case .v4(let value) = try attribute.address() else { throw attribute.wrongLength }
        broadcast = value
      case IFA_LABEL: label = attribute.string()
      case NF_IFA_PROTO: protocolNumber = try attribute.u8()
      case IFA_RT_PRIORITY: routePriority = try attribute.u32()
      case IFA_FLAGS: flags = AddressFlags(rawValue: try attribute.u32())
      case IFA_CACHEINFO:
        let info = try attribute.structure(ifa_cacheinfo.self)
        lifetime = AddressLifetime(
          preferred: info.ifa_prefered, valid: info.ifa_valid, created: info.cstamp, updated: info.tstamp)
      case IFA_TARGET_NETNSID: targetNamespaceID = try attribute.i32()
      default: break
      }
    }
  }
}

/// An address's flags (`IFA_F_*`), 32 bits of them.
public struct AddressFlags: OptionSet, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  init(_ flag: Int32) { rawValue = UInt32(bitPattern: flag) }

  /// IPv4: not the first of its subnet. IPv6: a temporary (privacy) address.
  public static let secondary = AddressFlags(IFA_F_SECONDARY)
  /// No duplicate address detection.
  public static let noDAD = AddressFlags(IFA_F_NODAD)
  public static let optimistic = AddressFlags(IFA_F_OPTIMISTIC)
  public static let dadFailed = AddressFlags(IFA_F_DADFAILED)
  public static let home = AddressFlags(IFA_F_HOMEADDRESS)
  public static let deprecated = AddressFlags(IFA_F_DEPRECATED)
  /// Duplicate address detection still runs.
  public static let tentative = AddressFlags(IFA_F_TENTATIVE)
  public static let permanent = AddressFlags(IFA_F_PERMANENT)
  public static let manageTemporary = AddressFlags(IFA_F_MANAGETEMPADDR)
  /// No route for the prefix.
  public static let noPrefixRoute = AddressFlags(IFA_F_NOPREFIXROUTE)
  public static let multicastAutoJoin = AddressFlags(IFA_F_MCAUTOJOIN)
  public static let stablePrivacy = AddressFlags(IFA_F_STABLE_PRIVACY)
}

/// How long an address is valid, in seconds; `forever` for no end. The stamps are hundredths of a second since boot.
public struct AddressLifetime: Hashable, Sendable {
  public var preferred: UInt32
  public var valid: UInt32
  public var created: UInt32
  public var updated: UInt32

  public static let forever = UInt32.max

  public init(preferred: UInt32, valid: UInt32, created: UInt32 = 0, updated: UInt32 = 0) {
    self.preferred = preferred
    self.valid = valid
    self.created = created
    self.updated = updated
  }
}
