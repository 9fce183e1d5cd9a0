// SPDX-License-Identifier: GPL-2.0-or-later

// What makes a device more than a name: its kind and the kind's own settings (IFLA_LINKINFO). A kind that is not
// known here keeps its name and its bytes.

import CLinux

/// The kind of a virtual device. Physical devices and the loopback have none.
public enum LinkKind: Hashable, Sendable {
  /// A pair; the peer is given when it is made, the kernel never tells it again.
  indirect case veth(peer: LinkMessage?)
  case bridge(BridgeOptions)
  case vlan(VLANOptions)
  case vxlan(VXLANOptions)
  case macvlan(MacvlanOptions)
  case dummy
  case ifb
  /// Made with TUNSETIFF, never by a message.
  case tun(TunOptions)
  case vrf(table: UInt32)
  /// Another kind: its name and the bytes of its IFLA_INFO_DATA.
  case other(String, [UInt8])

  /// The kernel's name of the kind.
  public var name: String {
    switch self {
    case .veth: "veth"
    case .bridge: "bridge"
    case .vlan: "vlan"
    case .vxlan: "vxlan"
    case .macvlan: "macvlan"
    case .dummy: "dummy"
    case .ifb: "ifb"
    case .tun: "tun"
    case .vrf: "vrf"
    case .other(let name, _): name
    }
  }

  func encode(into writer: inout NetlinkWriter) {
    writer.string(IFLA_INFO_KIND, name)
    switch self {
    case .veth(let peer):
      guard let peer else { return }
      writer.nest(IFLA_INFO_DATA) { data in
        data.nest(VETH_INFO_PEER, flagged: false) { peer.encode(into: &$0) }
      }
    case .bridge(let options): writer.nest(IFLA_INFO_DATA) { options.encode(into: &$0) }
    case .vlan(let options): writer.nest(IFLA_INFO_DATA) { options.encode(into: &$0) }
    case .vxlan(let options): writer.nest(IFLA_INFO_DATA) { options.encode(into: &$0) }
    case .macvlan(let options): writer.nest(IFLA_INFO_DATA) { options.encode(into: &$0) }
    case .dummy, .ifb: break
    case .tun(let options): writer.nest(IFLA_INFO_DATA) { options.encode(into: &$0) }
    case .vrf(let table): writer.nest(IFLA_INFO_DATA) { $0.u32(IFLA_VRF_TABLE, table) }
    case .other(_, let data):
      if !data.isEmpty { writer.nest(IFLA_INFO_DATA) { $0.raw(data) } }
    }
  }

  /// - Parameter isPeer: the kind stands in a veth's peer, where another veth with a peer has no sense; refusing it
  ///   bounds how deep bytes from anyone can nest.
  init(parsing name: String, _ data: ArraySlice<UInt8>?, isPeer: Bool) throws(NetlinkDecodingError) {
    let content = AttributeReader(data ?? [])
    switch name {
    case "veth": self = .veth(peer: try Self.peer(content, isPeer: isPeer))
    case "bridge": self = .bridge(try BridgeOptions(parsing: content))
    case "vlan": self = .vlan(try VLANOptions(parsing: content))
    case "vxlan": self = .vxlan(try VXLANOptions(parsing: content))
    case "macvlan": self = .macvlan(try MacvlanOptions(parsing: content))
    case "dummy": self = .dummy
    case "ifb": self = .ifb
    case "tun": self = .tun(try TunOptions(parsing: content))
    case "vrf": self = .vrf(table: try Self.table(content))
    default: self = .other(name, [UInt8](data ?? []))
    }
  }

  private static func peer(
    _ content: AttributeReader, isPeer: Bool
  ) throws(NetlinkDecodingError) -> LinkMessage? {
    var reader = content
    while let attribute = try reader.next() {
      guard attribute.type == VETH_INFO_PEER else { continue }
      guard !isPeer else { throw .invalid("peer of a peer, length", value: UInt64(attribute.value.count)) }
      return try LinkMessage(parsing: attribute.value, isPeer: true)
    }
    return nil
  }

  private static func table(_ content: AttributeReader) throws(NetlinkDecodingError) -> UInt32 {
    var reader = content
    while let attribute = try reader.next() {
      if attribute.type == IFLA_VRF_TABLE { return try attribute.u32() }
    }
    return 0
  }
}

/// What a master keeps about one of its devices (IFLA_INFO_SLAVE_KIND and _DATA).
public enum LinkPort: Hashable, Sendable {
  case bridge(BridgePortOptions)
  /// Another kind of master: its name and the bytes of its data.
  case other(String, [UInt8])

  /// Messages of the bridge family carry a port's settings elsewhere (IFLA_PROTINFO).
  func isInLinkInfo(of family: AddressFamily) -> Bool {
    if case .bridge = self { return family != .bridge }
    return true
  }

  func encode(into writer: inout NetlinkWriter) {
    switch self {
    case .bridge(let options):
      writer.string(IFLA_INFO_SLAVE_KIND, "bridge")
      writer.nest(IFLA_INFO_SLAVE_DATA) { options.encode(into: &$0) }
    case .other(let name, let data):
      writer.string(IFLA_INFO_SLAVE_KIND, name)
      if !data.isEmpty { writer.nest(IFLA_INFO_SLAVE_DATA) { $0.raw(data) } }
    }
  }

  init(parsing name: String, _ data: ArraySlice<UInt8>?) throws(NetlinkDecodingError) {
    switch name {
    case "bridge": self = .bridge(try BridgePortOptions(parsing: AttributeReader(data ?? [])))
    default: self = .other(name, [UInt8](data ?? []))
    }
  }
}
