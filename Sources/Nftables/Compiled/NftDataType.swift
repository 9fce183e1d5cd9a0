// SPDX-License-Identifier: GPL-2.0-or-later

// nft's data types: what a key or value is, how wide, and in which byte order it lies in a register. The
// numbers are those that nft keeps in a set's key type.

/// A type of values: nft's number for it, and how many bytes a value has.
public struct NftDataType: Hashable, Codable, Sendable {
  public var rawValue: UInt32
  /// Bytes of a value; 1 to 64.
  public var size: Int

  /// For numbers, which are either; other types have one order.
  private var isHostInteger: Bool

  /// `size` nil: what the type has by itself.
  public init(rawValue: UInt32, size: Int? = nil, hostOrder: Bool = false) {
    self.rawValue = rawValue
    isHostInteger = rawValue == 4 && hostOrder
    self.size = size ?? Self.naturalSize(rawValue)
  }

  /// A 32-bit number of the kernel's own: a length, a CPU, the value of a number generator.
  public static let hostInteger = NftDataType(rawValue: 4, size: 4, hostOrder: true)

  /// A number in network order of that many bytes.
  public static func integer(_ size: Int) -> NftDataType { NftDataType(rawValue: 4, size: size) }

  public static let nfproto = NftDataType(rawValue: 2)
  public static let string = NftDataType(rawValue: 5)
  public static let ipv4Address = NftDataType(rawValue: 7)
  public static let ipv6Address = NftDataType(rawValue: 8)
  public static let etherAddress = NftDataType(rawValue: 9)
  public static let etherType = NftDataType(rawValue: 10)
  public static let arpOperation = NftDataType(rawValue: 11)
  public static let ipProtocol = NftDataType(rawValue: 12)
  public static let port = NftDataType(rawValue: 13)
  public static let icmpType = NftDataType(rawValue: 14)
  public static let tcpFlags = NftDataType(rawValue: 15)
  public static let dccpType = NftDataType(rawValue: 16)
  public static let mobilityType = NftDataType(rawValue: 17)
  public static let time = NftDataType(rawValue: 18)
  public static let mark = NftDataType(rawValue: 19)
  public static let interfaceIndex = NftDataType(rawValue: 20)
  public static let deviceType = NftDataType(rawValue: 21)
  public static let realm = NftDataType(rawValue: 22)
  public static let classID = NftDataType(rawValue: 23)
  public static let userID = NftDataType(rawValue: 24)
  public static let groupID = NftDataType(rawValue: 25)
  public static let ctState = NftDataType(rawValue: 26)
  public static let ctDirection = NftDataType(rawValue: 27)
  public static let ctStatus = NftDataType(rawValue: 28)
  public static let icmpv6Type = NftDataType(rawValue: 29)
  /// One of 128 bits, called by its number.
  public static let connectionLabel = NftDataType(rawValue: 30)
  public static let packetType = NftDataType(rawValue: 31)
  public static let icmpCode = NftDataType(rawValue: 32)
  public static let icmpv6Code = NftDataType(rawValue: 33)
  public static let icmpxCode = NftDataType(rawValue: 34)
  public static let deviceGroup = NftDataType(rawValue: 35)
  public static let dscp = NftDataType(rawValue: 36)
  public static let ecn = NftDataType(rawValue: 37)
  public static let routeType = NftDataType(rawValue: 38)
  public static let boolean = NftDataType(rawValue: 39)
  public static let connectionEvent = NftDataType(rawValue: 40)
  public static let interfaceName = NftDataType(rawValue: 41)
  public static let igmpType = NftDataType(rawValue: 42)
  /// Nanoseconds since 1970.
  public static let date = NftDataType(rawValue: 43)
  /// Seconds since midnight, of universal time.
  public static let timeOfDay = NftDataType(rawValue: 44)
  /// 0 is Sunday.
  public static let weekday = NftDataType(rawValue: 45)

  private static func naturalSize(_ number: UInt32) -> Int {
    switch number {
    case 5, 8, 30, 41: 16
    case 43: 8
    case 9: 6
    case 10, 11, 13, 21: 2
    case 2, 12, 14, 15, 16, 17, 42, 45, 27, 29, 31, 32, 33, 34, 36, 37, 39: 1
    default: 4
    }
  }

  /// A number's byte order is not part of what it is: a dump does not tell it for the fields of a
  /// concatenation.
  public static func == (a: Self, b: Self) -> Bool { a.rawValue == b.rawValue && a.size == b.size }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(rawValue)
    hasher.combine(size)
  }

  /// `size` rounded up to four.
  public var paddedSize: Int { (size + 3) / 4 * 4 }

  /// True when a register holds the value in the host's byte order.
  public var isHostOrder: Bool {
    switch self {
    case .mark, .interfaceIndex, .userID, .groupID, .ctState, .ctStatus, .realm, .classID, .deviceGroup,
      .routeType,
      .interfaceName, .time, .string, .deviceType, .connectionLabel, .connectionEvent, .date,
      .timeOfDay:
      true
    default: isHostInteger
    }
  }

  /// True when values are sets of bits, so that a match asks for any of them.
  public var isBitmask: Bool {
    [.ctState, .ctStatus, .tcpFlags, .connectionLabel, .connectionEvent].contains(self)
  }

  /// As a set declaration names it.
  public var name: String {
    switch self {
    case .nfproto: "nf_proto"
    case .string: "string"
    case .ipv4Address: "ipv4_addr"
    case .ipv6Address: "ipv6_addr"
    case .etherAddress: "ether_addr"
    case .etherType: "ether_type"
    case .arpOperation: "arp_op"
    case .ipProtocol: "inet_proto"
    case .port: "inet_service"
    case .icmpType: "icmp_type"
    case .tcpFlags: "tcp_flag"
    case .dccpType: "dccp_pkttype"
    case .mobilityType: "mh_type"
    case .time: "time"
    case .mark: "mark"
    case .interfaceIndex: "iface_index"
    case .deviceType: "iface_type"
    case .realm: "realm"
    case .classID: "classid"
    case .userID: "uid"
    case .groupID: "gid"
    case .ctState: "ct_state"
    case .ctDirection: "ct_dir"
    case .ctStatus: "ct_status"
    case .icmpv6Type: "icmpv6_type"
    case .connectionLabel: "ct_label"
    case .packetType: "pkt_type"
    case .icmpCode: "icmp_code"
    case .icmpv6Code: "icmpv6_code"
    case .icmpxCode: "icmpx_code"
    case .deviceGroup: "devgroup"
    case .dscp: "dscp"
    case .ecn: "ecn"
    case .routeType: "fib_addrtype"
    case .boolean: "boolean"
    case .connectionEvent: "ct_event"
    case .interfaceName: "ifname"
    case .igmpType: "igmp_type"
    case .date: "date"
    case .timeOfDay: "hour"
    case .weekday: "day"
    default: rawValue == 4 ? "integer" : "type\(rawValue)"
    }
  }

  /// Every type that a set declaration can name.
  public static let declarable: [NftDataType] = (2...45).map { NftDataType(rawValue: $0) }.filter {
    !$0.name.hasPrefix("type") && $0.rawValue != 4 && $0 != .string && $0 != .date
  }

  /// The type that a set declaration names so.
  public init?(name: String) {
    guard let type = Self.declarable.first(where: { $0.name == name }) else { return nil }
    self = type
  }
}
