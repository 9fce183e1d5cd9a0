// SPDX-License-Identifier: GPL-2.0-or-later

// The interface of a node, its loopback, and what a bridge port does.

extension Record {
  /// What every device with addresses has.
  mutating func addDevice(address: String?, addresses: [String], mac: String?, mtu: Int?, up: Bool?) {
    add("addresses", (address.map { [$0] } ?? []) + addresses)
    add("mac", mac)
    add("mtu", mtu)
    add("up", up)
  }
}

/// A network interface: one end of a veth pair. The other end is a port of the bridge that it is on, or what `lab.link`
/// joins it to.
public struct Interface: Sendable {
  var record: Record

  /// An interface of the node.
  /// - Parameters:
  ///   - name: unique in the node, `eth0`.
  ///   - segment: the lab's bridge or internet that it is on; leave it out and use `lab.link` for a cable.
  ///   - address: `10.0.0.1/24`. On a bridge with subnets, left out means a free one of each, and the length may be left
  ///     out.
  ///   - addresses: several addresses.
  ///   - mac: left out, one made from lab, node and interface.
  ///   - mtu: bytes, 68...65535.
  ///   - port: what the bridge's end does, `.access(10)`.
  ///   - up: false leaves it down.
  public init(
    _ name: String, on segment: (any Segment)? = nil, address: String? = nil, addresses: [String] = [],
    mac: String? = nil, mtu: Int? = nil, port: PortOptions? = nil, up: Bool? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    record = Record("interface")
    record.add("name", name)
    record.add("on", segment?.name)
    record.addDevice(address: address, addresses: addresses, mac: mac, mtu: mtu, up: up)
    record.add("port", port?.record)
    record.add(file: file, line: line)
  }

  /// The same interface, what it sends being impaired.
  /// - Parameters:
  ///   - rate: bits a second, `.mbps(100)`.
  ///   - delay: how long a packet takes.
  ///   - jitter: by how much the delay varies.
  ///   - loss: the share of packets that are lost, `.percent(0.5)`.
  ///   - duplicate: the share that arrives twice.
  ///   - reorder: the share that overtakes others; needs a delay.
  ///   - corrupt: the share that arrives with a wrong bit.
  ///   - limit: packets that may wait.
  ///   - seed: of the random choices.
  public func impaired(
    rate: Rate? = nil, delay: Duration? = nil, jitter: Duration? = nil, loss: Percent? = nil,
    duplicate: Percent? = nil, reorder: Percent? = nil, corrupt: Percent? = nil, limit: Int? = nil,
    seed: UInt64? = nil
  ) -> Interface {
    var copy = self
    copy.record.add(
      "impairment",
      Impairment(
        rate: rate, delay: delay, jitter: jitter, loss: loss, duplicate: duplicate, reorder: reorder,
        corrupt: corrupt, limit: limit, seed: seed
      ).record)
    return copy
  }
}

/// Addresses of the node's `lo` besides 127.0.0.1 and ::1.
public struct Loopback: Sendable {
  let record: Record

  /// - Parameters:
  ///   - address: `10.10.10.1/32`.
  ///   - addresses: several addresses.
  public init(
    address: String? = nil, addresses: [String] = [], file: StaticString = #fileID, line: UInt = #line
  ) {
    var record = Record("loopback")
    record.addDevice(address: address, addresses: addresses, mac: nil, mtu: nil, up: nil)
    record.add(file: file, line: line)
    self.record = record
  }
}

/// What a bridge port does; what is left out stays as the kernel has it.
public struct PortOptions: Sendable {
  var record: Record

  private init(
    access: Int?, trunk: [Int], native: Int?, isolated: Bool?, hairpin: Bool?, learning: Bool?
  ) {
    record = Record()
    record.add("access", access)
    record.add("trunk", json: trunk.isEmpty ? nil : Record.list(trunk.map { String($0) }))
    record.add("native", native)
    record.add("isolated", isolated)
    record.add("hairpin", hairpin)
    record.add("learning", learning)
  }

  /// A port of one VLAN, frames without a tag.
  /// - Parameters:
  ///   - vlan: 1...4094.
  ///   - isolated: whether it talks to ports that are not isolated only.
  ///   - hairpin: whether frames may leave by the port they came in by.
  ///   - learning: whether source addresses are learned.
  public static func access(
    _ vlan: Int, isolated: Bool? = nil, hairpin: Bool? = nil, learning: Bool? = nil
  ) -> PortOptions {
    PortOptions(
      access: vlan, trunk: [], native: nil, isolated: isolated, hairpin: hairpin, learning: learning)
  }

  /// A port of several VLANs, frames tagged.
  /// - Parameters:
  ///   - vlans: each 1...4094.
  ///   - native: the VLAN of frames without a tag.
  ///   - isolated: whether it talks to ports that are not isolated only.
  ///   - hairpin: whether frames may leave by the port they came in by.
  ///   - learning: whether source addresses are learned.
  public static func trunk(
    _ vlans: Int..., native: Int? = nil, isolated: Bool? = nil, hairpin: Bool? = nil, learning: Bool? = nil
  ) -> PortOptions {
    PortOptions(
      access: nil, trunk: vlans, native: native, isolated: isolated, hairpin: hairpin, learning: learning)
  }

  /// A port without VLANs of its own.
  /// - Parameters:
  ///   - isolated: whether it talks to ports that are not isolated only.
  ///   - hairpin: whether frames may leave by the port they came in by.
  ///   - learning: whether source addresses are learned.
  public static func options(
    isolated: Bool? = nil, hairpin: Bool? = nil, learning: Bool? = nil
  ) -> PortOptions {
    PortOptions(
      access: nil, trunk: [], native: nil, isolated: isolated, hairpin: hairpin, learning: learning)
  }

  /// Talks to ports that are not isolated only.
  public static let isolated = options(isolated: true)
  /// Frames may leave by the port they came in by.
  public static let hairpin = options(hairpin: true)
}
