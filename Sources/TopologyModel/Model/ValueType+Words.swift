// SPDX-License-Identifier: GPL-2.0-or-later

// The words for values of the general firewall form, and how large their numbers may be (RFC 792, RFC 4443, RFC 9293,
// linux/netfilter/nf_conntrack_common.h, linux/if_packet.h, linux/rtnetlink.h).

import NetTypes
public import Nftables

extension Topology.ValueType {
  /// What the packet filter calls it.
  public var dataType: NftDataType {
    switch self {
    case .ipv4Address: .ipv4Address
    case .ipv6Address: .ipv6Address
    case .etherAddress: .etherAddress
    case .ipProtocol: .ipProtocol
    case .port: .port
    case .mark: .mark
    case .interfaceName: .interfaceName
    case .etherType: .etherType
    case .connectionState: .ctState
    case .connectionStatus: .ctStatus
    case .connectionLabel: .connectionLabel
    case .connectionEvent: .connectionEvent
    case .helper: .string
    case .icmpType: .icmpType
    case .icmpv6Type: .icmpv6Type
    case .tcpFlags: .tcpFlags
    case .number: .hostInteger
    case .packetType: .packetType
    case .addressType: .routeType
    case .dscp: .dscp
    case .direction: .ctDirection
    case .networkProtocol: .nfproto
    case .presence: .boolean
    case .date: .date
    case .timeOfDay: .timeOfDay
    case .weekday: .weekday
    }
  }

  /// Nil for types whose values have no words here: devices' numbers and kinds.
  init?(_ type: NftDataType) {
    switch type {
    case .interfaceIndex, .deviceType: return nil
    default: self = Self.allCases.first { $0 != .number && $0.dataType == type } ?? .number
    }
  }

  /// The words that stand for numbers.
  var words: [String: UInt64] {
    switch self {
    case .ipProtocol:
      [
        "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51,
        "ipv6-icmp": 58, "sctp": 132, "udplite": 136,
      ]
    case .etherType: ["ip": 0x0800, "arp": 0x0806, "vlan": 0x8100, "ip6": 0x86dd]
    case .connectionState: ["invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64]
    case .connectionStatus:
      ["expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 16, "dnat": 32, "dying": 512]
    case .connectionEvent:
      [
        "new": 1, "related": 2, "destroy": 4, "reply": 8, "assured": 16, "protoinfo": 32, "helper": 64,
        "mark": 128, "seqadj": 256, "secmark": 512, "label": 1024,
      ]
    case .icmpType:
      [
        "echo-reply": 0, "destination-unreachable": 3, "redirect": 5, "echo-request": 8, "time-exceeded": 11,
        "parameter-problem": 12,
      ]
    case .icmpv6Type:
      [
        "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4,
        "echo-request": 128, "echo-reply": 129, "nd-router-solicit": 133, "nd-router-advert": 134,
        "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136,
      ]
    case .tcpFlags: ["fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128]
    case .packetType: ["host": 0, "broadcast": 1, "multicast": 2, "other": 3]
    case .addressType:
      [
        "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6,
        "unreachable": 7,
        "prohibit": 8,
      ]
    case .direction: ["original": 0, "reply": 1]
    case .networkProtocol: ["ipv4": 2, "ipv6": 10]
    case .presence: ["missing": 0, "exists": 1]
    case .weekday:
      [
        "Sunday": 0, "Monday": 1, "Tuesday": 2, "Wednesday": 3, "Thursday": 4, "Friday": 5, "Saturday": 6,
      ]
    case .ipv4Address, .ipv6Address, .etherAddress, .port, .mark, .interfaceName, .number, .dscp,
      .connectionLabel, .helper, .date, .timeOfDay:
      [:]
    }
  }

  /// The largest number.
  var limit: UInt64 {
    switch self {
    case .ipProtocol, .icmpType, .icmpv6Type, .tcpFlags, .packetType, .networkProtocol: 0xff
    case .direction, .presence: 1
    case .port, .etherType: 0xffff
    case .dscp: 0x3f
    case .connectionLabel: 127
    case .weekday: 6
    default: 0xffff_ffff
    }
  }
}

extension Topology.Selector {
  /// Whether packets of a family can have what it looks at.
  func exists(in family: Topology.Table.Family) -> Bool {
    switch self {
    case .field(let field): field.exists(in: family)
    case .hash(let fields, _, _, _): fields.allSatisfy { $0.exists(in: family) }
    case .number, .flowHash: true
    }
  }

  /// Whether a rule can ask for it.
  var isReadable: Bool {
    switch self {
    case .field(let field): field.isReadable
    case .hash(let fields, _, _, _): fields.allSatisfy(\.isReadable)
    case .number, .flowHash: true
    }
  }
}

extension Topology.Field {
  /// Whether packets of a family can have the field.
  func exists(in family: Topology.Table.Family) -> Bool {
    switch selector.requirement {
    case .network(.ipv6), .familyTransport(_, .ipv6): family != .ip && family != .arp
    case .network(.arp): family == .arp || family == .bridge || family == .netdev
    case .network, .familyTransport: family != .ip6 && family != .arp
    case .transport: family != .arp
    case .nothing where isOfConnection: family != .arp && family != .netdev && !isOther(than: family)
    case .nothing: !isOfTransport || family != .arp && !isOther(than: family)
    case .ethernet, .vlan: true
    }
  }

  /// Whether some of its bits can be compared by themselves: whole bytes, of a number.
  var hasBits: Bool {
    switch selector.load {
    case .payload(_, let bit, let width), .exthdr(_, _, let bit, let width, presence: _):
      if bit % 8 != 0 || width % 8 != 0 { return false }
    default: break
    }
    return [.tcpFlags, .connectionState, .connectionStatus, .mark, .number, .port].contains(type)
  }

  /// Whether values are sets of bits.
  var isOfFlags: Bool { selector.type.isBitmask && type != .connectionLabel }

  /// Whether a rule can ask for it.
  var isReadable: Bool { selector.load != .ct(.eventMask, nil) }

  /// Whether a rule can write it.
  var isWritable: Bool {
    switch selector.load {
    case .payload: true
    case .exthdr(.tcpOption, _, let bit, let width, presence: false):
      bit % 8 == 0 && [16, 32].contains(width)
    case .meta(.mark), .meta(.priority), .meta(.packetType): true
    case .ct(.mark, nil), .ct(.labels, nil), .ct(.zone, _), .ct(.eventMask, nil): true
    default: false
    }
  }

  private var isOfConnection: Bool { if case .ct = selector.load { true } else { false } }

  /// Sockets, routes, and the headers that connections are of.
  private var isOfTransport: Bool {
    switch selector.load {
    case .payload(.transport, _, _), .exthdr, .socket, .rt: true
    default: false
    }
  }

  /// An address of the other family.
  private func isOther(than family: Topology.Table.Family) -> Bool {
    type == .ipv4Address && family == .ip6 || type == .ipv6Address && family == .ip
  }
}
