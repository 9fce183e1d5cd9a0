// SPDX-License-Identifier: GPL-2.0-or-later

// RTM_NEWMDB and its kin: which groups a bridge knows, behind which of its ports, and behind which ports routers are
// (`struct br_port_msg`, MDBA_*; net/bridge/br_mdb.c). A request holds one entry, an answer all of a bridge.

import CLinux
public import NetTypes

/// The groups of one bridge, or one group of it.
public struct MulticastDatabaseMessage: RtnetlinkMessage {
  /// The bridge.
  public var index: Int32
  /// What an answer tells.
  public var entries: [MulticastEntry] = []
  /// Numbers of the ports behind which routers are, as an answer tells them.
  public var routers: [Int32] = []
  /// What a request adds or takes away.
  public var change: MulticastEntry?

  public init(index: Int32 = 0) { self.index = index }

  public static var newType: MessageType { .newMulticastEntry }
  public static var deleteType: MessageType { .deleteMulticastEntry }
  public static var getType: MessageType { .getMulticastEntry }

  /// The groups of all bridges.
  public static func dump() -> NetlinkMessage { MulticastDatabaseMessage().request(.dump) }

  public func encode(into writer: inout NetlinkWriter) {
    writer.fixed(br_port_msg(family: AddressFamily.bridge.rawValue, ifindex: UInt32(bitPattern: index)))
    if let change { writer.bytes(MDBA_SET_ENTRY, change.bytes) }
    if !entries.isEmpty {
      writer.nest(MDBA_MDB) { database in
        // The kernel puts what wants one group side by side; a nest for each reads the same.
        for entry in entries {
          database.nest(MDBA_MDB_ENTRY) { group in
            group.nest(MDBA_MDB_ENTRY_INFO, flagged: false) { info in
              info.raw(entry.bytes)
              info.u32(MDBA_MDB_EATTR_TIMER, entry.timer)
            }
          }
        }
      }
    }
    if !routers.isEmpty {
      writer.nest(MDBA_ROUTER) { list in
        for router in routers { list.i32(MDBA_ROUTER_PORT, router) }
      }
    }
  }

  /// Requests and answers number their attributes alike: MDBA_SET_ENTRY is MDBA_MDB, one with a structure in it, the
  /// other with a nest.
  public init(parsing payload: ArraySlice<UInt8>) throws(NetlinkDecodingError) {
    var reader = AttributeReader(payload)
    self.init(index: Int32(bitPattern: try reader.fixed(br_port_msg.self).ifindex))
    while let attribute = try reader.next() {
      switch attribute.type {
      case MDBA_MDB where attribute.value.count == MulticastEntry.size && !attribute.isNested:
        change = try MulticastEntry(parsing: attribute.value)
      case MDBA_MDB: try readDatabase(attribute.content)
      case MDBA_ROUTER: try readRouters(attribute.content)
      default: break
      }
    }
  }

  private mutating func readDatabase(_ content: AttributeReader) throws(NetlinkDecodingError) {
    var groups = content
    while let group = try groups.next() {
      guard group.type == MDBA_MDB_ENTRY else { continue }
      var members = group.content
      while let member = try members.next() {
        guard member.type == MDBA_MDB_ENTRY_INFO else { continue }
        var entry = try MulticastEntry(parsing: member.value)
        var info = AttributeReader(member.value.dropFirst(MulticastEntry.size))
        while let attribute = try info.next() {
          if attribute.type == MDBA_MDB_EATTR_TIMER { entry.timer = try attribute.u32() }
        }
        entries.append(entry)
      }
    }
  }

  private mutating func readRouters(_ content: AttributeReader) throws(NetlinkDecodingError) {
    var list = content
    while let router = try list.next() {
      guard router.type == MDBA_ROUTER_PORT else { continue }
      var port = router.content
      routers.append(try port.fixed(Int32.self))
    }
  }
}

/// A group behind a port.
public struct MulticastEntry: Hashable, Sendable {
  /// What the group is an address of.
  public enum Group: Hashable, Sendable {
    case internet(IPAddress)
    /// Any protocol's, by its Ethernet address.
    case link(MACAddress)
  }

  /// The port; the bridge's own number for the host.
  public var port: Int32
  public var group: Group
  public var vlan: UInt16
  /// Made by configuration: it does not end by itself.
  public var isPermanent: Bool
  /// Hundredths of a second that it has left; told by the kernel.
  public var timer: UInt32 = 0

  public init(_ group: Group, port: Int32, vlan: UInt16 = 0, isPermanent: Bool = false) {
    self.group = group
    self.port = port
    self.vlan = vlan
    self.isPermanent = isPermanent
  }

  static let size = MemoryLayout<br_mdb_entry>.size

  /// A structure with a union in it, which is read and written as bytes.
  init(parsing value: ArraySlice<UInt8>) throws(NetlinkDecodingError) {
    guard value.count >= Self.size else {
      throw .truncated("br_mdb_entry", needed: Self.size, available: value.count)
    }
    var entry = br_mdb_entry()
    withUnsafeMutableBytes(of: &entry) { $0.copyBytes(from: value.prefix(Self.size)) }
    let bytes = withUnsafeBytes(of: entry.addr.u) { [UInt8]($0) }
    let type = UInt16(bigEndian: entry.addr.proto)
    let group: Group?
    switch type {
    case UInt16(ETH_P_IP): group = IPAddress(networkOrder: bytes.prefix(4)).map { .internet($0) }
    case UInt16(ETH_P_IPV6): group = IPAddress(networkOrder: bytes.prefix(16)).map { .internet($0) }
    case 0: group = MACAddress(bytes: Array(bytes.prefix(6))).map { .link($0) }
    default: group = nil
    }
    guard let group else { throw .invalid("protocol of a group", value: UInt64(type)) }
    self.init(
      group, port: Int32(bitPattern: entry.ifindex), vlan: entry.vid,
      isPermanent: Int32(entry.state) == MDB_PERMANENT)
  }

  var bytes: [UInt8] {
    var entry = br_mdb_entry()
    entry.ifindex = UInt32(bitPattern: port)
    entry.state = UInt8(isPermanent ? MDB_PERMANENT : MDB_TEMPORARY)
    entry.vid = vlan
    let address: [UInt8]
    switch group {
    case .internet(.v4(let value)):
      entry.addr.proto = UInt16(ETH_P_IP).bigEndian
      address = value.bytes
    case .internet(.v6(let value)):
      entry.addr.proto = UInt16(ETH_P_IPV6).bigEndian
      address = value.bytes
    case .link(let value): address = value.bytes
    }
    withUnsafeMutableBytes(of: &entry.addr.u) { $0.copyBytes(from: address) }
    return withUnsafeBytes(of: entry) { [UInt8]($0) }
  }
}
