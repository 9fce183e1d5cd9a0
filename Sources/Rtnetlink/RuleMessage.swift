// SPDX-License-Identifier: GPL-2.0-or-later

// RTM_NEWRULE and its kin: one policy routing rule (`struct fib_rule_hdr`, FRA_*; net/core/fib_rules.c).

import CLinux
public import NetTypes

/// A policy routing rule.
public struct RuleMessage: RtnetlinkMessage {
  public var family: AddressFamily
  /// Rules are tried from the smallest up. The kernel leaves it out when it is 0.
  public var priority: UInt32?
  public var action: RuleAction = .toTable
  public var table: UInt32 = 0
  public var flags: RuleFlags = []
  public var source: IPPrefix?
  public var destination: IPPrefix?
  public var inputInterface: String?
  public var outputInterface: String?
  public var typeOfService: UInt8 = 0
  public var mark: UInt32?
  public var markMask: UInt32?
  public var ipProtocol: UInt8?
  public var sourcePorts: ClosedRange<UInt16>?
  public var destinationPorts: ClosedRange<UInt16>?
  public var userIDs: ClosedRange<UInt32>?
  /// Routes of this prefix length or less do not count; -1 (the kernel's default) for none.
  public var suppressPrefixLength: Int32?
  public var suppressInterfaceGroup: Int32?
  /// Who made the rule.
  public var protocolNumber: RouteProtocol?
  /// The priority of the rule to go on with (`RuleAction.goto`).
  public var target: UInt32?
  /// Look in the table of the VRF that the packet belongs to.
  public var l3master: Bool?
  public var tunnelID: UInt64?

  public init(family: AddressFamily = .unspecified) { self.family = family }

  public static var newType: MessageType { .newRule }
  public static var deleteType: MessageType { .deleteRule }
  public static var getType: MessageType { .getRule }

  /// All rules of a family.
  public static func dump(_ family: AddressFamily) -> NetlinkMessage {
    // The header of a dump must be all zero but for its family.
    var filter = RuleMessage(family: family)
    filter.action = .unspecified
    return filter.request(.dump)
  }

  public func encode(into writer: inout NetlinkWriter) {
    writer.fixed(
      fib_rule_hdr(
        family: family.rawValue, dst_len: UInt8(clamping: destination?.length ?? 0),
        src_len: UInt8(clamping: source?.length ?? 0), tos: typeOfService,
        table: table < 256 ? UInt8(table) : UInt8(RT_TABLE_UNSPEC.rawValue), res1: 0, res2: 0,
        action: action.rawValue, flags: flags.rawValue))
    writer.u32(FRA_PRIORITY, priority)
    if table != 0 { writer.u32(FRA_TABLE, table) }
    if let destination, destination.length > 0 { writer.address(FRA_DST, destination.address) }
    if let source, source.length > 0 { writer.address(FRA_SRC, source.address) }
    writer.string(FRA_IIFNAME, inputInterface)
    writer.string(FRA_OIFNAME, outputInterface)
    writer.u32(FRA_FWMARK, mark)
    writer.u32(FRA_FWMASK, markMask)
    writer.u8(FRA_IP_PROTO, ipProtocol)
    if let sourcePorts {
      writer.structure(
        FRA_SPORT_RANGE, fib_rule_port_range(start: sourcePorts.lowerBound, end: sourcePorts.upperBound))
    }
    if let destinationPorts {
      writer.structure(
        FRA_DPORT_RANGE,
        fib_rule_port_range(start: destinationPorts.lowerBound, end: destinationPorts.upperBound))
    }
    if let userIDs {
      writer.structure(FRA_UID_RANGE, fib_rule_uid_range(start: userIDs.lowerBound, end: userIDs.upperBound))
    }
    writer.i32(FRA_SUPPRESS_PREFIXLEN, suppressPrefixLength)
    writer.i32(FRA_SUPPRESS_IFGROUP, suppressInterfaceGroup)
    writer.u8(FRA_PROTOCOL, protocolNumber?.rawValue)
    writer.u32(FRA_GOTO, target)
    writer.bool(FRA_L3MDEV, l3master)
    if let tunnelID { writer.be64(FRA_TUN_ID, tunnelID) }
  }

  public init(parsing payload: ArraySlice<UInt8>) throws(NetlinkDecodingError) {
    var reader = AttributeReader(payload)
    let header = try reader.fixed(fib_rule_hdr.self)
    self.init(family: AddressFamily(rawValue: header.family))
    typeOfService = header.tos
    table = UInt32(header.table)
    action = RuleAction(rawValue: header.action)
    flags = RuleFlags(rawValue: header.flags)
    var from: IPAddress?
    var to: IPAddress?
    while let attribute = try reader.next() {
      switch attribute.type {
      case FRA_PRIORITY: priority = try attribute.u32()
      case FRA_TABLE: table = try attribute.u32()
      case FRA_DST: to = try attribute.address()
      case FRA_SRC: from = try attribute.address()
      case FRA_IIFNAME: inputInterface = attribute.string()
      case FRA_OIFNAME: outputInterface = attribute.string()
      case FRA_FWMARK: mark = try attribute.u32()
      case FRA_FWMASK: markMask = try attribute.u32()
      case FRA_IP_PROTO: ipProtocol = try attribute.u8()
      case FRA_SPORT_RANGE: sourcePorts = try attribute.portRange()
      case FRA_DPORT_RANGE: destinationPorts = try attribute.portRange()
      case FRA_UID_RANGE:
        let range = try attribute.structure(fib_rule_uid_range.self)
        guard range.start <= range.end else {
          throw .invalid("user id range from", value: UInt64(range.start))
        }
        userIDs = range.start...range.end
      case FRA_SUPPRESS_PREFIXLEN: suppressPrefixLength = try attribute.i32()
      case FRA_SUPPRESS_IFGROUP: suppressInterfaceGroup = try attribute.i32()
      case FRA_PROTOCOL: protocolNumber = RouteProtocol(rawValue: try attribute.u8())
      case FRA_GOTO: target = try attribute.u32()
      case FRA_L3MDEV: l3master = try attribute.bool()
      case FRA_TUN_ID: tunnelID = try attribute.be64()
      default: break
      }
    }
    destination = try IPPrefix.parsing(to, length: header.dst_len, family: family, "destination")
    source = try IPPrefix.parsing(from, length: header.src_len, family: family, "source")
  }
}

extension NetlinkAttribute {
  fileprivate func portRange() throws(NetlinkDecodingError) -> ClosedRange<UInt16> {
    let range = try structure(fib_rule_port_range.self)
    guard range.start <= range.end else { throw .invalid("port range from", value: UInt64(range.start)) }
    return range.start...range.end
  }
}

/// What a rule does with a packet that it matches (`FR_ACT_*`).
public struct RuleAction: RawRepresentable, Hashable, Sendable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  init(_ number: Int) { rawValue = UInt8(truncatingIfNeeded: number) }

  public static let unspecified = RuleAction(FR_ACT_UNSPEC)
  public static let toTable = RuleAction(FR_ACT_TO_TBL)
  public static let goto = RuleAction(FR_ACT_GOTO)
  public static let noOperation = RuleAction(FR_ACT_NOP)
  public static let blackhole = RuleAction(FR_ACT_BLACKHOLE)
  public static let unreachable = RuleAction(FR_ACT_UNREACHABLE)
  public static let prohibit = RuleAction(FR_ACT_PROHIBIT)
}

/// A rule's flags (`FIB_RULE_*`).
public struct RuleFlags: OptionSet, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  init(_ flag: Int32) { rawValue = UInt32(bitPattern: flag) }

  public static let permanent = RuleFlags(FIB_RULE_PERMANENT)
  /// Matches what the selectors do not.
  public static let invert = RuleFlags(FIB_RULE_INVERT)
  public static let unresolved = RuleFlags(FIB_RULE_UNRESOLVED)
  public static let inputDetached = RuleFlags(FIB_RULE_IIF_DETACHED)
  public static let outputDetached = RuleFlags(FIB_RULE_OIF_DETACHED)
}
