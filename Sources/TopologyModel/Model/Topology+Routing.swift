// SPDX-License-Identifier: GPL-2.0-or-later

// Routes, policy rules, neighbours, forwarding entries and sysctls of a node.

public import LabCore
public import NetTypes

extension Topology {
  /// A route as written; `Topology.routes(addresses:)` turns gateways that are nodes into addresses.
  public struct Route: Hashable, Sendable {
    public enum Destination: Hashable, Sendable {
      /// Of the gateway's family; through a node, one for each family that it shares.
      case everything
      /// Host bits clear.
      case prefix(IPPrefix)
    }

    public enum Kind: String, Hashable, CaseIterable, Sendable {
      case unicast, blackhole, unreachable, prohibit
    }

    public var destination: Destination
    public var kind: Kind = .unicast
    /// More than one is a multipath route; none for blackhole and its kin.
    public var nextHops: [NextHop] = []
    public var metric: UInt32?
    public var table: UInt32?
    public var source: IPAddress?
    /// Bytes, 68...65535.
    public var mtu: Int?
    public var location: SourceLocation

    public init(
      destination: Destination, kind: Kind = .unicast, nextHops: [NextHop] = [], metric: UInt32? = nil,
      table: UInt32? = nil, source: IPAddress? = nil, mtu: Int? = nil, location: SourceLocation
    ) {
      self.destination = destination
      self.kind = kind
      self.nextHops = nextHops
      self.metric = metric
      self.table = table
      self.source = source
      self.mtu = mtu
      self.location = location
    }
  }

  /// One way out.
  public struct NextHop: Hashable, Sendable {
    public var gateway: Gateway?
    /// A device of the node.
    public var device: String?
    /// 1...256.
    public var weight: Int = 1
    /// The gateway is reached on the device though no prefix covers it.
    public var onLink: Bool = false

    public init(gateway: Gateway? = nil, device: String? = nil, weight: Int = 1, onLink: Bool = false) {
      self.gateway = gateway
      self.device = device
      self.weight = weight
      self.onLink = onLink
    }
  }

  /// Who takes the packets.
  public enum Gateway: Hashable, Sendable {
    case address(IPAddress)
    /// A node: its address on the subnet that it shares with this one.
    case node(NodeName)
    /// A device of a node: its address.
    case device(DeviceReference)
    /// The lab's routed uplink.
    case internet
  }

  /// An `ip rule`.
  public struct PolicyRule: Hashable, Sendable {
    public enum Action: Hashable, Sendable {
      case table(UInt32)
      case blackhole, unreachable, prohibit
    }

    public var action: Action
    /// 1...32765 written; nil takes 1000 and up in order of declaration.
    public var priority: UInt32?
    public var source: IPPrefix?
    public var destination: IPPrefix?
    public var incoming: String?
    public var outgoing: String?
    public var mark: UInt32?
    public var markMask: UInt32?
    /// Nil when neither prefix says: the rule then stands in both families.
    public var family: IPFamily?
    public var location: SourceLocation

    public init(
      action: Action, priority: UInt32? = nil, source: IPPrefix? = nil, destination: IPPrefix? = nil,
      incoming: String? = nil, outgoing: String? = nil, mark: UInt32? = nil, markMask: UInt32? = nil,
      family: IPFamily? = nil, location: SourceLocation
    ) {
      self.action = action
      self.priority = priority
      self.source = source
      self.destination = destination
      self.incoming = incoming
      self.outgoing = outgoing
      self.mark = mark
      self.markMask = markMask
      self.family = family
      self.location = location
    }
  }

  /// A permanent neighbour entry, or a proxy entry.
  public struct Neighbor: Hashable, Sendable {
    public var address: IPAddress
    /// Nil for a proxy entry.
    public var mac: MACAddress?
    public var device: String
    public var location: SourceLocation

    public init(address: IPAddress, mac: MACAddress? = nil, device: String, location: SourceLocation) {
      self.address = address
      self.mac = mac
      self.device = device
      self.location = location
    }
  }

  /// A static forwarding entry of a bridge port or a vxlan device.
  public struct FDBEntry: Hashable, Sendable {
    public var mac: MACAddress
    public var device: String
    /// 1...4094.
    public var vlan: Int?
    /// For vxlan: the remote end.
    public var remote: IPAddress?
    public var location: SourceLocation

    public init(
      mac: MACAddress, device: String, vlan: Int? = nil, remote: IPAddress? = nil, location: SourceLocation
    ) {
      self.mac = mac
      self.device = device
      self.vlan = vlan
      self.remote = remote
      self.location = location
    }
  }

  /// A setting under /proc/sys.
  public struct Sysctl: Hashable, Sendable {
    /// With slashes, relative to /proc/sys, below `net/`.
    public var name: String
    public var value: String
    public var location: SourceLocation

    public init(name: String, value: String, location: SourceLocation) {
      self.name = name
      self.value = value
      self.location = location
    }
  }
}
