// SPDX-License-Identifier: GPL-2.0-or-later

// Devices of a node besides interfaces and bridges.

/// An 802.1Q device on top of another.
public struct VLAN: Sendable {
  let record: Record

  /// - Parameters:
  ///   - name: unique in the node, `eth0.10`.
  ///   - parent: the device whose tagged frames it takes.
  ///   - id: 1...4094.
  ///   - address: `10.0.10.1/24`.
  ///   - addresses: several addresses.
  ///   - mac: left out, the parent's.
  ///   - mtu: bytes, 68...65535.
  public init(
    _ name: String, on parent: String, id: Int, address: String? = nil, addresses: [String] = [],
    mac: String? = nil, mtu: Int? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("vlan")
    record.add("name", name)
    record.add("on", parent)
    record.add("id", id)
    record.addDevice(address: address, addresses: addresses, mac: mac, mtu: mtu, up: nil)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// A device that drops what it is given; a home for addresses.
public struct Dummy: Sendable {
  let record: Record

  /// - Parameters:
  ///   - name: unique in the node, `dummy0`.
  ///   - address: `192.0.2.1/32`.
  ///   - addresses: several addresses.
  ///   - mac: left out, one made from lab, node and interface.
  ///   - mtu: bytes, 68...65535.
  public init(
    _ name: String, address: String? = nil, addresses: [String] = [], mac: String? = nil, mtu: Int? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("dummy")
    record.add("name", name)
    record.addDevice(address: address, addresses: addresses, mac: mac, mtu: mtu, up: nil)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// An Ethernet device whose other end is a program.
public struct Tap: Sendable {
  let record: Record

  /// - Parameters:
  ///   - name: unique in the node, `tap0`.
  ///   - address: `10.0.0.1/24`.
  ///   - addresses: several addresses.
  ///   - owner: the uid that may open it.
  ///   - group: the gid that may open it.
  ///   - multiQueue: whether it takes several queues.
  ///   - mac: left out, one made from lab, node and interface.
  ///   - mtu: bytes, 68...65535.
  public init(
    _ name: String, address: String? = nil, addresses: [String] = [], owner: Int? = nil, group: Int? = nil,
    multiQueue: Bool? = nil, mac: String? = nil, mtu: Int? = nil, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    var record = Record("tap")
    record.add("name", name)
    record.addDevice(address: address, addresses: addresses, mac: mac, mtu: mtu, up: nil)
    record.add("owner", owner)
    record.add("group", group)
    record.add("multiQueue", multiQueue)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// An IP device whose other end is a program.
public struct Tun: Sendable {
  let record: Record

  /// - Parameters:
  ///   - name: unique in the node, `tun0`.
  ///   - address: `10.8.0.1/24`.
  ///   - addresses: several addresses.
  ///   - owner: the uid that may open it.
  ///   - group: the gid that may open it.
  ///   - multiQueue: whether it takes several queues.
  ///   - mtu: bytes, 68...65535.
  public init(
    _ name: String, address: String? = nil, addresses: [String] = [], owner: Int? = nil, group: Int? = nil,
    multiQueue: Bool? = nil, mtu: Int? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("tun")
    record.add("name", name)
    record.addDevice(address: address, addresses: addresses, mac: nil, mtu: mtu, up: nil)
    record.add("owner", owner)
    record.add("group", group)
    record.add("multiQueue", multiQueue)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// A VXLAN tunnel end (RFC 7348).
public struct VXLAN: Sendable {
  let record: Record

  /// - Parameters:
  ///   - name: unique in the node, `vxlan42`.
  ///   - id: the VNI, 1...16777215.
  ///   - remote: the other end, or a multicast group.
  ///   - local: the source address of the outer packets.
  ///   - underlay: the device that carries the outer packets; needed with a multicast group.
  ///   - port: the UDP port, 4789 when left out.
  ///   - learning: whether the forwarding table learns remote ends.
  ///   - ttl: of the outer packets, 1...255.
  ///   - address: `10.42.0.1/24`.
  ///   - addresses: several addresses.
  ///   - mac: left out, one made from lab, node and interface.
  ///   - mtu: bytes, 68...65535.
  public init(
    _ name: String, id: Int, remote: String? = nil, local: String? = nil, on underlay: String? = nil,
    port: Int? = nil, learning: Bool? = nil, ttl: Int? = nil, address: String? = nil,
    addresses: [String] = [],
    mac: String? = nil, mtu: Int? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("vxlan")
    record.add("name", name)
    record.add("id", id)
    record.add("remote", remote)
    record.add("local", local)
    record.add("on", underlay)
    record.add("port", port)
    record.add("learning", learning)
    record.add("ttl", ttl)
    record.addDevice(address: address, addresses: addresses, mac: mac, mtu: mtu, up: nil)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// How macvlans on one device see each other.
public enum MacvlanMode: String, Sendable {
  /// Not at all.
  case `private`
  /// Through the switch outside.
  case vepa
  /// Directly.
  case bridge
  /// The one macvlan takes the device over.
  case passthru
}

/// A second MAC address on another device, as a device of its own.
public struct Macvlan: Sendable {
  let record: Record

  /// - Parameters:
  ///   - name: unique in the node, `macvlan0`.
  ///   - parent: a device of the node.
  ///   - mode: how macvlans on the device see each other; `.bridge` when left out.
  ///   - address: `10.0.0.9/24`.
  ///   - addresses: several addresses.
  ///   - mac: left out, one made from lab, node and interface.
  ///   - mtu: bytes, 68...65535.
  public init(
    _ name: String, on parent: String, mode: MacvlanMode? = nil, address: String? = nil,
    addresses: [String] = [], mac: String? = nil, mtu: Int? = nil, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    var record = Record("macvlan")
    record.add("name", name)
    record.add("on", parent)
    record.add("mode", mode?.rawValue)
    record.addDevice(address: address, addresses: addresses, mac: mac, mtu: mtu, up: nil)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// How an uplink gets into the host's network.
public struct UplinkWay: Sendable {
  var record: Record

  /// A veth pair whose other end stays in the host.
  /// - Parameters:
  ///   - host: the other end's name; left out, one made from lab and node.
  ///   - address: the other end's address, `192.0.2.1/30`.
  ///   - addresses: several addresses of the other end.
  public static func veth(host: String? = nil, address: String? = nil, addresses: [String] = []) -> UplinkWay
  {
    var record = Record()
    record.add("via", "veth")
    record.add("host", host)
    record.add("hostAddresses", (address.map { [$0] } ?? []) + addresses)
    return UplinkWay(record: record)
  }

  /// A tap that the host has and the caller may open, as `ip tuntap add tap0 mode tap user alice` makes it: what the node
  /// sends comes in there. The emulated datapath has it.
  public static func tap(_ host: String) -> UplinkWay {
    var record = Record()
    record.add("via", "tap")
    record.add("host", host)
    return UplinkWay(record: record)
  }

  /// A macvlan on a device of the host.
  public static func macvlan(_ host: String, mode: MacvlanMode? = nil) -> UplinkWay {
    var record = Record()
    record.add("via", "macvlan")
    record.add("host", host)
    record.add("mode", mode?.rawValue)
    return UplinkWay(record: record)
  }

  /// A device of the host, which moves into the node and comes back with `down`.
  public static func move(_ host: String) -> UplinkWay {
    var record = Record()
    record.add("via", "move")
    record.add("host", host)
    return UplinkWay(record: record)
  }
}

/// A way from the node into the host's own network.
public struct Uplink: Sendable {
  let record: Record

  /// - Parameters:
  ///   - name: unique in the node, `wan0`.
  ///   - way: `.veth()`, `.tap("tap0")`, `.macvlan("eth0")` or `.move("eth1")`.
  ///   - address: of the node's end, `192.0.2.2/30`.
  ///   - addresses: several addresses.
  ///   - mac: left out, one made from lab, node and interface.
  ///   - mtu: bytes, 68...65535.
  public init(
    _ name: String, _ way: UplinkWay, address: String? = nil, addresses: [String] = [], mac: String? = nil,
    mtu: Int? = nil, file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("uplink")
    record.add("name", name)
    record.add("way", way.record)
    record.addDevice(address: address, addresses: addresses, mac: mac, mtu: mtu, up: nil)
    record.add(file: file, line: line)
    self.record = record
  }
}
