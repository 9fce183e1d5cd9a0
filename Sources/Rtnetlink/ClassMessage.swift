// SPDX-License-Identifier: GPL-2.0-or-later

// RTM_NEWTCLASS and its kin: a class of a classful qdisc (`struct tcmsg`; net/sched/sch_api.c). Classes of htb are
// known; those of other kinds keep their bytes.

import CLinux

/// A class of a qdisc.
public struct ClassMessage: RtnetlinkMessage {
  /// A class's kind and settings.
  public enum Kind: Hashable, Sendable {
    case htb(HTBClassOptions)
    case other(String, [UInt8])

    public var name: String {
      switch self {
      case .htb: "htb"
      case .other(let name, _): name
      }
    }
  }

  public var index: Int32
  public var handle: QdiscHandle
  public var parent: QdiscHandle
  /// Told by the kernel: the qdisc inside the class.
  public var info: UInt32 = 0
  public var kind: Kind?
  public var statistics: QdiscStatistics?

  public init(index: Int32, parent: QdiscHandle, handle: QdiscHandle, kind: Kind? = nil) {
    self.index = index
    self.parent = parent
    self.handle = handle
    self.kind = kind
  }

  public static var newType: MessageType { .newClass }
  public static var deleteType: MessageType { .deleteClass }
  public static var getType: MessageType { .getClass }

  /// All classes of a link.
  public static func dump(index: Int32) -> NetlinkMessage {
    ClassMessage(index: index, parent: .unspecified, handle: .unspecified).request(.dump)
  }

  public func encode(into writer: inout NetlinkWriter) {
    writer.fixed(
      tcmsg(
        tcm_family: 0, tcm__pad1: 0, tcm__pad2: 0, tcm_ifindex: index, tcm_handle: handle.rawValue,
        tcm_parent: parent.rawValue, tcm_info: info))
    if let kind {
      writer.string(TCA_KIND, kind.name)
      switch kind {
      case .htb(let options): writer.nest(TCA_OPTIONS) { options.encode(into: &$0) }
      case .other(_, let options):
        if !options.isEmpty { writer.bytes(TCA_OPTIONS, options) }
      }
    }
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
    var options: ArraySlice<UInt8> = []
    while let attribute = try reader.next() {
      switch attribute.type {
      case TCA_KIND: name = attribute.string()
      case TCA_OPTIONS: options = attribute.value
      case TCA_STATS2: statistics = try QdiscStatistics(parsing: attribute.content)
      default: break
      }
    }
    guard let name else { return }
    kind =
      name == "htb"
      ? .htb(try HTBClassOptions(parsing: AttributeReader(options))) : .other(name, [UInt8](options))
  }
}
