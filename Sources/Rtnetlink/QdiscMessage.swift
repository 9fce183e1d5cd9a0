// SPDX-License-Identifier: GPL-2.0-or-later

// RTM_NEWQDISC and RTM_NEWTCLASS: queueing disciplines and the classes in them (`struct tcmsg`, TCA_*;
// net/sched/sch_api.c).

import CLinux

/// A place in a link's queueing tree: major and minor number (`TC_H_*`).
public struct QdiscHandle: RawRepresentable, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public init(major: UInt16, minor: UInt16 = 0) { rawValue = UInt32(major) << 16 | UInt32(minor) }

  public var major: UInt16 { UInt16(truncatingIfNeeded: rawValue >> 16) }
  public var minor: UInt16 { UInt16(truncatingIfNeeded: rawValue) }

  public static let unspecified = QdiscHandle(rawValue: 0)
  /// The place of what a link sends.
  public static let root = QdiscHandle(rawValue: .max)
  /// The place of `ingress` and `clsact`: TC_H_INGRESS, the same number as TC_H_CLSACT.
  public static let ingress = QdiscHandle(rawValue: 0xffff_fff1)
}

/// A queueing discipline of a link.
public struct QdiscMessage: RtnetlinkMessage {
  public var index: Int32
  /// Unspecified lets the kernel choose.
  public var handle: QdiscHandle
  public var parent: QdiscHandle
  /// Told by the kernel: how many refer to it.
  public var info: UInt32 = 0
  public var kind: QdiscKind?
  /// Told by the kernel.
  public var statistics: QdiscStatistics?

  public init(
    index: Int32, parent: QdiscHandle = .root, handle: QdiscHandle = .unspecified, kind: QdiscKind? = nil
  ) {
    self.index = index
    self.parent = parent
    self.handle = handle
    self.kind = kind
  }

  public static var newType: MessageType { .newQdisc }
  public static var deleteType: MessageType { .deleteQdisc }
  public static var getType: MessageType { .getQdisc }

  /// All qdiscs, or those of one link. The kernel's own default of a link is told only when it is not `noqueue`.
  public static func dump(index: Int32 = 0) -> NetlinkMessage {
    QdiscMessage(index: index, parent: .unspecified).request(.dump)
  }

  public func encode(into writer: inout NetlinkWriter) {
    writer.fixed(
      tcmsg(
        tcm_family: 0, tcm__pad1: 0, tcm__pad2: 0, tcm_ifindex: index, tcm_handle: handle.rawValue,
        tcm_parent: parent.rawValue, tcm_info: info))
    kind?.encode(into: &writer)
    if let statistics { writer.nest(TCA_STATS2) { statistics.encode(into: &$0) } }
  }

  public init(parsing payload: ArraySlice<UInt8>) throws(NetlinkDecodingError) {
    var reader = AttributeReader(payload)
    let header = try reader.fixed(tcmsg.self)
    self.init(
      index: header.tcm_ifindex, parent: QdiscHandle(rawValue: header.tcm_parent),
      handle: QdiscHandle(rawValue: header.tcm_handle))
    info = header.tcm_info
    var name: String?
    var options: ArraySlice<UInt8>?
    while let attribute = try reader.next() {
      switch attribute.type {
      case TCA_KIND: name = attribute.string()
      case TCA_OPTIONS: options = attribute.value
      case TCA_STATS2: statistics = try QdiscStatistics(parsing: attribute.content)
      default: break
      }
    }
    if let name { kind = try QdiscKind(parsing: name, options) }
  }
}

/// What a qdisc is, with its settings. A kind that is not known here keeps its name and its bytes.
public enum QdiscKind: Hashable, Sendable {
  case netem(NetemOptions)
  case tbf(TBFOptions)
  case htb(HTBOptions)
  /// One queue with a limit in packets; nil for the link's queue length.
  case pfifo(limit: UInt32?)
  /// One queue with a limit in bytes; nil for the link's queue length times its MTU.
  case bfifo(limit: UInt32?)
  /// Three bands, each of the link's queue length. The kernel tells the band of each of 16 priorities; a request
  /// leaves them out.
  case pfifoFast(priorityMap: [UInt8])
  /// What a link receives can be filtered.
  case ingress
  /// What a link receives and sends can be filtered.
  case clsact
  /// Another kind, or one of which nothing is said: its name and the bytes of its TCA_OPTIONS.
  case other(String, [UInt8])

  public var name: String {
    switch self {
    case .netem: "netem"
    case .tbf: "tbf"
    case .htb: "htb"
    case .pfifo: "pfifo"
    case .bfifo: "bfifo"
    case .pfifoFast: "pfifo_fast"
    case .ingress: "ingress"
    case .clsact: "clsact"
    case .other(let name, _): name
    }
  }

  func encode(into writer: inout NetlinkWriter) {
    writer.string(TCA_KIND, name)
    switch self {
    case .netem(let options): writer.nest(TCA_OPTIONS, flagged: false) { options.encode(into: &$0) }
    case .tbf(let options): writer.nest(TCA_OPTIONS) { options.encode(into: &$0) }
    case .htb(let options): writer.nest(TCA_OPTIONS) { options.encode(into: &$0) }
    case .pfifo(let limit), .bfifo(let limit):
      if let limit { writer.structure(TCA_OPTIONS, tc_fifo_qopt(limit: limit)) }
    case .pfifoFast(let map):
      guard map.count == 16 else { return }
      var bands = Int32(3)
      writer.bytes(TCA_OPTIONS, withUnsafeBytes(of: &bands) { [UInt8]($0) } + map)
    case .ingress, .clsact: break
    case .other(_, let options):
      if !options.isEmpty { writer.bytes(TCA_OPTIONS, options) }
    }
  }

  init(parsing name: String, _ options: ArraySlice<UInt8>?) throws(NetlinkDecodingError) {
    // A request may name a kind and say nothing of its settings, as to change none.
    switch (name, options) {
    case ("netem", let options?): self = .netem(try NetemOptions(parsing: options))
    case ("tbf", let options?): self = .tbf(try TBFOptions(parsing: AttributeReader(options)))
    case ("htb", let options?): self = .htb(try HTBOptions(parsing: AttributeReader(options)))
    case ("pfifo", _): self = .pfifo(limit: try Self.limit(options))
    case ("bfifo", _): self = .bfifo(limit: try Self.limit(options))
    case ("pfifo_fast", _): self = .pfifoFast(priorityMap: [UInt8](options?.dropFirst(4) ?? []))
    case ("ingress", _): self = .ingress
    case ("clsact", _): self = .clsact
    default: self = .other(name, [UInt8](options ?? []))
    }
  }
}

extension QdiscKind {
  private static func limit(_ options: ArraySlice<UInt8>?) throws(NetlinkDecodingError) -> UInt32? {
    guard let options else { return nil }
    var reader = AttributeReader(options)
    return try reader.fixed(tc_fifo_qopt.self).limit
  }
}

/// What a qdisc or class has done (TCA_STATS2).
public struct QdiscStatistics: Hashable, Sendable {
  public var bytes: UInt64 = 0
  public var packets: UInt64 = 0
  public var queueLength: UInt32 = 0
  /// Bytes that wait.
  public var backlog: UInt32 = 0
  public var drops: UInt32 = 0
  public var requeues: UInt32 = 0
  public var overlimits: UInt32 = 0

  public init() {}

  func encode(into writer: inout NetlinkWriter) {
    // struct gnet_stats_basic: 64 bits of bytes, 32 of packets, padding; its Swift size leaves the padding out.
    writer.nest(TCA_STATS_BASIC, flagged: false) { basic in
      basic.fixed(bytes)
      basic.fixed(UInt32(truncatingIfNeeded: packets))
      basic.fixed(UInt32(0))
    }
    writer.structure(
      TCA_STATS_QUEUE,
      gnet_stats_queue(
        qlen: queueLength, backlog: backlog, drops: drops, requeues: requeues, overlimits: overlimits))
    writer.u64(TCA_STATS_PKT64, packets)
  }

  init(parsing content: AttributeReader) throws(NetlinkDecodingError) {
    var reader = content
    while let attribute = try reader.next() {
      switch attribute.type {
      case TCA_STATS_BASIC:
        var basic = attribute.content
        bytes = try basic.fixed(UInt64.self)
        packets = max(packets, UInt64(try basic.fixed(UInt32.self)))
      case TCA_STATS_PKT64: packets = try attribute.u64()
      case TCA_STATS_QUEUE:
        let queue = try attribute.structure(gnet_stats_queue.self)
        queueLength = queue.qlen
        backlog = queue.backlog
        drops = queue.drops
        requeues = queue.requeues
        overlimits = queue.overlimits
      default: break
      }
    }
  }
}
