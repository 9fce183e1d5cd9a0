// SPDX-License-Identifier: GPL-2.0-or-later

// A tracked connection in the words of ctnetlink (net/netfilter/nf_conntrack_netlink.c, CTA_*). What is not known here
// is left out. All numbers are in network byte order.
//
//    | family, version, resource | CTA_TUPLE_ORIG { IP { src, dst }, PROTO { num, ports … } } | CTA_TUPLE_REPLY | CTA_STATUS …

import CLinux
public import NetTypes
public import Rtnetlink

/// A connection as the kernel tells it.
public struct ConntrackMessage: Hashable, Sendable {
  /// One direction's addresses and what stands for ports.
  public struct Tuple: Hashable, Sendable {
    public var source: IPAddress
    public var destination: IPAddress
    public var protocolNumber: UInt8
    public var sourcePort: UInt16?
    public var destinationPort: UInt16?
    public var icmpID: UInt16?
    public var icmpType: UInt8?
    public var icmpCode: UInt8?
  }

  /// IPS_*.
  public struct Status: OptionSet, Hashable, Sendable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    init(_ bit: ip_conntrack_status) { rawValue = bit.rawValue }

    public static let seenReply = Status(IPS_SEEN_REPLY)
    public static let assured = Status(IPS_ASSURED)
    public static let offload = Status(IPS_OFFLOAD)
  }

  /// Packets and bytes of one direction.
  public struct Counters: Hashable, Sendable {
    public var packets: UInt64
    public var bytes: UInt64
  }

  public var original: Tuple
  public var reply: Tuple
  public var id: UInt32 = 0
  public var status: Status = []
  /// Seconds.
  public var timeout: UInt32?
  public var mark: UInt32?
  public var zone: UInt16?
  public var tcpState: UInt8?
  public var helper: String?
  public var uses: UInt32?
  public var originalCounters: Counters?
  public var replyCounters: Counters?

  /// TCP's states by number (enum tcp_conntrack), as conntrack(8) names them.
  public var stateName: String? {
    let names = [
      "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT",
      "CLOSE", "SYN_SENT2",
    ]
    return tcpState.flatMap { Int($0) < names.count ? names[Int($0)] : nil }
  }

  // MARK: Messages

  private static func type(_ message: cntl_msg_types) -> MessageType {
    MessageType(rawValue: UInt16(NFNL_SUBSYS_CTNETLINK) << 8 | UInt16(truncatingIfNeeded: message.rawValue))
  }

  /// It is there, or has changed.
  public static let newType = type(IPCTNL_MSG_CT_NEW)
  /// It is gone, or shall go.
  public static let deleteType = type(IPCTNL_MSG_CT_DELETE)

  /// All connections of a family; of every family when it is unspecified.
  public static func dump(_ family: AddressFamily = .unspecified) -> NetlinkMessage {
    NetlinkMessage(type: type(IPCTNL_MSG_CT_GET), flags: [.request, .dump]) { header(family, in: &$0) }
  }

  /// Makes the kernel forget this connection, and none that has come in its place since.
  public var deletion: NetlinkMessage {
    NetlinkMessage(type: Self.deleteType, flags: .request) { writer in
      Self.header(original.source.family == .ipv4 ? .ipv4 : .ipv6, in: &writer)
      writer.nest(number(CTA_TUPLE_ORIG)) { original.encode(into: &$0) }
      writer.be32(number(CTA_ID), id)
      if let zone { writer.be16(number(CTA_ZONE), zone) }
    }
  }

  private static func header(_ family: AddressFamily, in writer: inout NetlinkWriter) {
    writer.fixed(nfgenmsg(nfgen_family: family.rawValue, version: UInt8(NFNETLINK_V0), res_id: 0))
  }

  /// Reads what a dump or an event says; nil for a message about something else.
  public init?(_ message: NetlinkMessage) throws(NetlinkDecodingError) {
    guard message.type == Self.newType || message.type == Self.deleteType else { return nil }
    var reader = AttributeReader(message.payload)
    _ = try reader.fixed(nfgenmsg.self)
    var original: Tuple?
    var reply: Tuple?
    var rest = Rest()
    while let attribute = try reader.next() {
      switch attribute.type {
      case number(CTA_TUPLE_ORIG): original = try Tuple(attribute.content)
      case number(CTA_TUPLE_REPLY): reply = try Tuple(attribute.content)
      default: try rest.take(attribute)
      }
    }
    guard let original, let reply else { throw .invalid("connection without tuples", value: 0) }
    self.original = original
    self.reply = reply
    id = rest.id
    status = rest.status
    timeout = rest.timeout
    mark = rest.mark
    zone = rest.zone
    tcpState = rest.tcpState
    helper = rest.helper
    uses = rest.uses
    originalCounters = rest.originalCounters
    replyCounters = rest.replyCounters
  }

  /// All but the tuples.
  private struct Rest {
    var id: UInt32 = 0
    var status: Status = []
    var timeout: UInt32?
    var mark: UInt32?
    var zone: UInt16?
    var tcpState: UInt8?
    var helper: String?
    var uses: UInt32?
    var originalCounters: Counters?
    var replyCounters: Counters?

    mutating func take(_ attribute: NetlinkAttribute) throws(NetlinkDecodingError) {
      switch attribute.type {
      case number(CTA_STATUS): status = Status(rawValue: try attribute.be32())
      case number(CTA_TIMEOUT): timeout = try attribute.be32()
      case number(CTA_MARK): mark = try attribute.be32()
      case number(CTA_ID): id = try attribute.be32()
      case number(CTA_USE): uses = try attribute.be32()
      case number(CTA_ZONE): zone = try attribute.be16()
      case number(CTA_COUNTERS_ORIG): originalCounters = try Counters(attribute.content)
      case number(CTA_COUNTERS_REPLY): replyCounters = try Counters(attribute.content)
      case number(CTA_PROTOINFO):
        guard let tcp = try attribute.content.first(number(CTA_PROTOINFO_TCP)) else { return }
        tcpState = try tcp.content.first(number(CTA_PROTOINFO_TCP_STATE))?.u8()
      case number(CTA_HELP): helper = try attribute.content.first(number(CTA_HELP_NAME))?.string()
      default: break
      }
    }
  }
}

extension ConntrackMessage.Tuple {
  fileprivate init(_ reader: AttributeReader) throws(NetlinkDecodingError) {
    var reader = reader
    var source: IPAddress?
    var destination: IPAddress?
    self.init(source: .v4(.any), destination: .v4(.any), protocolNumber: 0)
    while let attribute = try reader.next() {
      var content = attribute.content
      switch attribute.type {
      case number(CTA_TUPLE_IP):
        while let address = try content.next() {
          switch address.type {
          case number(CTA_IP_V4_SRC), number(CTA_IP_V6_SRC): source = try address.address()
          case number(CTA_IP_V4_DST), number(CTA_IP_V6_DST): destination = try address.address()
          default: break
          }
        }
      case number(CTA_TUPLE_PROTO):
        while let part = try content.next() {
          switch part.type {
          case number(CTA_PROTO_NUM): protocolNumber = try part.u8()
          case number(CTA_PROTO_SRC_PORT): sourcePort = try part.be16()
          case number(CTA_PROTO_DST_PORT): destinationPort = try part.be16()
          case number(CTA_PROTO_ICMP_ID), number(CTA_PROTO_ICMPV6_ID): icmpID = try part.be16()
          case number(CTA_PROTO_ICMP_TYPE), number(CTA_PROTO_ICMPV6_TYPE): icmpType = try part.u8()
          case number(CTA_PROTO_ICMP_CODE), number(CTA_PROTO_ICMPV6_CODE): icmpCode = try part.u8()
          default: break
          }
        }
      default: break
      }
    }
    guard let source, let destination else { throw .invalid("tuple without addresses", value: 0) }
    self.source = source
    self.destination = destination
  }

  fileprivate func encode(into writer: inout NetlinkWriter) {
    let isIPv4 = source.family == .ipv4
    writer.nest(number(CTA_TUPLE_IP)) { writer in
      writer.address(number(isIPv4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC), source)
      writer.address(number(isIPv4 ? CTA_IP_V4_DST : CTA_IP_V6_DST), destination)
    }
    writer.nest(number(CTA_TUPLE_PROTO)) { writer in
      writer.u8(number(CTA_PROTO_NUM), protocolNumber)
      if let sourcePort { writer.be16(number(CTA_PROTO_SRC_PORT), sourcePort) }
      if let destinationPort { writer.be16(number(CTA_PROTO_DST_PORT), destinationPort) }
      if let icmpID { writer.be16(number(isIPv4 ? CTA_PROTO_ICMP_ID : CTA_PROTO_ICMPV6_ID), icmpID) }
      if let icmpType { writer.u8(number(isIPv4 ? CTA_PROTO_ICMP_TYPE : CTA_PROTO_ICMPV6_TYPE), icmpType) }
      if let icmpCode { writer.u8(number(isIPv4 ? CTA_PROTO_ICMP_CODE : CTA_PROTO_ICMPV6_CODE), icmpCode) }
    }
  }
}

extension ConntrackMessage.Counters {
  fileprivate init(_ reader: AttributeReader) throws(NetlinkDecodingError) {
    packets = try reader.first(number(CTA_COUNTERS_PACKETS))?.be64() ?? 0
    bytes = try reader.first(number(CTA_COUNTERS_BYTES))?.be64() ?? 0
  }
}

extension AttributeReader {
  /// The first attribute of a type in what is left.
  fileprivate func first(_ type: Int) throws(NetlinkDecodingError) -> NetlinkAttribute? {
    var copy = self
    while let attribute = try copy.next() {
      if attribute.type == type { return attribute }
    }
    return nil
  }
}

/// The kernel's enumerations as attributes have them.
private func number(_ attribute: some RawRepresentable<UInt32>) -> Int { Int(attribute.rawValue) }
