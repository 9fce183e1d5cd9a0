// SPDX-License-Identifier: GPL-2.0-or-later

public import NetTypes

/// A permanent neighbour (ARP or ND) entry, or a proxy entry. Keyed by device and address.
public struct NeighborState: Hashable, Codable, Sendable {
  public var link: InterfaceName
  public var address: IPAddress
  /// Nil for a proxy entry.
  public var mac: MACAddress?
  public var isProxy: Bool

  public init(link: InterfaceName, address: IPAddress, mac: MACAddress?, isProxy: Bool = false) {
    self.link = link
    self.address = address
    self.mac = mac
    self.isProxy = isProxy
  }
}

/// A static forwarding entry of a bridge port or of a vxlan device. Keyed by device, MAC, VLAN and remote.
public struct FDBState: Hashable, Codable, Sendable {
  /// The bridge port, or the vxlan device.
  public var link: InterfaceName
  public var mac: MACAddress
  public var vlan: UInt16?
  /// For vxlan: the remote end.
  public var remote: IPAddress?

  public init(link: InterfaceName, mac: MACAddress, vlan: UInt16? = nil, remote: IPAddress? = nil) {
    self.link = link
    self.mac = mac
    self.vlan = vlan
    self.remote = remote
  }

  /// What stands behind the device in the key.
  public var key: String {
    "\(mac)" + (vlan.map { " vlan \($0)" } ?? "") + (remote.map { " dst \($0)" } ?? "")
  }
}

extension NeighborState {
  public var attributes: [StateAttribute] {
    var list = AttributeList()
    list.add(.mac, text: mac)
    list.add(AttributeName("proxy"), flag: isProxy)
    return list.attributes
  }
}
