// SPDX-License-Identifier: GPL-2.0-or-later

public import NetTypes

/// A network device. On the desired side nil means "as the kernel has it".
public struct LinkState: Hashable, Codable, Sendable {
  public var name: InterfaceName
  public var kind: LinkKind
  /// The ifindex that the device is created with; it cannot change later and is not compared.
  public var index: UInt32?
  public var mac: MACAddress?
  /// Bytes, 68...65535.
  public var mtu: UInt32?
  public var isUp: Bool
  /// The bridge that the device is a port of, in the same namespace.
  public var master: InterfaceName?
  /// What the port does; nil when the device is no bridge port.
  public var port: BridgePortState?
  /// Packets; nil leaves the kernel's.
  public var transmitQueueLength: UInt32?
  /// Other names of the device: the long form of a name that was over 15 characters.
  public var alternativeNames: [String]
  /// Whether the device may have an IPv6 link-local address of the kernel's making; nil leaves the namespace's default.
  public var linkLocalIPv6: Bool?
  /// What an external device is called on the host that it comes from and goes back to; not compared.
  public var hostName: InterfaceName?

  public init(
    name: InterfaceName, kind: LinkKind, index: UInt32? = nil, mac: MACAddress? = nil, mtu: UInt32? = nil,
    isUp: Bool = true, master: InterfaceName? = nil, port: BridgePortState? = nil,
    transmitQueueLength: UInt32? = nil,
    alternativeNames: [String] = [], linkLocalIPv6: Bool? = nil, hostName: InterfaceName? = nil
  ) {
    self.name = name
    self.kind = kind
    self.index = index
    self.mac = mac
    self.mtu = mtu
    self.isUp = isUp
    self.master = master
    self.port = port
    self.transmitQueueLength = transmitQueueLength
    self.alternativeNames = alternativeNames
    self.linkLocalIPv6 = linkLocalIPv6
    self.hostName = hostName
  }
}

/// A device in some namespace of the lab.
public struct LinkReference: Hashable, Comparable, Codable, Sendable {
  public var namespace: NamespaceID
  public var name: InterfaceName

  public init(_ namespace: NamespaceID, _ name: InterfaceName) {
    self.namespace = namespace
    self.name = name
  }

  /// The path of the device's own state.
  public var path: StatePath { StatePath(namespace, .link, key: [name.text]) }

  public static func < (a: Self, b: Self) -> Bool { (a.namespace, a.name) < (b.namespace, b.name) }
}

/// What a device is, with what only that kind has.
public enum LinkKind: Hashable, Codable, Sendable {
  case loopback
  /// One end of a pair. Nil when the observer could not see where the other end is.
  case veth(peer: LinkReference?)
  case bridge(BridgeState)
  case vlan(VLANState)
  case dummy
  case tuntap(TunTapState)
  case vxlan(VXLANState)
  case macvlan(MacvlanState)
  /// A device that netforge did not make: one that was moved in, or one it only refers to.
  case external
  /// A kind of which netforge knows only the kernel's name.
  case other(String)

  /// The kernel's name of the kind (IFLA_INFO_KIND).
  public var name: String {
    switch self {
    case .loopback: "loopback"
    case .veth: "veth"
    case .bridge: "bridge"
    case .vlan: "vlan"
    case .dummy: "dummy"
    case .tuntap: "tun"
    case .vxlan: "vxlan"
    case .macvlan: "macvlan"
    case .external: "external"
    case .other(let name): name
    }
  }
}

/// A bridge's own settings. Times in the kernel's unit, 1/100 s (USER_HZ); nil leaves the kernel's.
public struct BridgeState: Hashable, Codable, Sendable {
  public var stp: Bool?
  /// 1/100 s.
  public var forwardDelay: UInt32?
  /// 1/100 s.
  public var helloTime: UInt32?
  /// 1/100 s.
  public var maxAge: UInt32?
  /// 1/100 s. Nil in an observation when the kernel hides it, as it does while the bridge's topology changes.
  public var ageingTime: UInt32?
  public var priority: UInt16?
  public var vlanFiltering: Bool?
  public var defaultPVID: UInt16?
  public var multicastSnooping: Bool?

  public init(
    stp: Bool? = nil, forwardDelay: UInt32? = nil, helloTime: UInt32? = nil, maxAge: UInt32? = nil,
    ageingTime: UInt32? = nil, priority: UInt16? = nil, vlanFiltering: Bool? = nil,
    defaultPVID: UInt16? = nil,
    multicastSnooping: Bool? = nil
  ) {
    self.stp = stp
    self.forwardDelay = forwardDelay
    self.helloTime = helloTime
    self.maxAge = maxAge
    self.ageingTime = ageingTime
    self.priority = priority
    self.vlanFiltering = vlanFiltering
    self.defaultPVID = defaultPVID
    self.multicastSnooping = multicastSnooping
  }
}

/// What a bridge port does (IFLA_BRPORT_*); nil leaves the kernel's.
public struct BridgePortState: Hashable, Codable, Sendable {
  public var isolated: Bool?
  public var hairpin: Bool?
  public var learning: Bool?
  public var flood: Bool?
  public var multicastFlood: Bool?
  public var guardBPDU: Bool?
  public var fastLeave: Bool?
  public var cost: UInt32?
  public var priority: UInt16?
  /// The port's VLANs, sorted by id; nil leaves the bridge's default.
  public var vlans: [PortVLAN]?

  public init(
    isolated: Bool? = nil, hairpin: Bool? = nil, learning: Bool? = nil, flood: Bool? = nil,
    multicastFlood: Bool? = nil,
    guardBPDU: Bool? = nil, fastLeave: Bool? = nil, cost: UInt32? = nil, priority: UInt16? = nil,
    vlans: [PortVLAN]? = nil
  ) {
    self.isolated = isolated
    self.hairpin = hairpin
    self.learning = learning
    self.flood = flood
    self.multicastFlood = multicastFlood
    self.guardBPDU = guardBPDU
    self.fastLeave = fastLeave
    self.cost = cost
    self.priority = priority
    self.vlans = vlans
  }
}

/// One VLAN of a bridge port.
public struct PortVLAN: Hashable, Comparable, Codable, Sendable {
  /// 1...4094.
  public var id: UInt16
  /// Untagged frames that come in belong to it.
  public var isPVID: Bool
  /// Its frames go out without a tag.
  public var isUntagged: Bool

  public init(id: UInt16, isPVID: Bool = false, isUntagged: Bool = false) {
    self.id = id
    self.isPVID = isPVID
    self.isUntagged = isUntagged
  }

  public static func < (a: Self, b: Self) -> Bool { a.id < b.id }
}

/// An 802.1Q device on top of another of the same namespace.
public struct VLANState: Hashable, Codable, Sendable {
  public var parent: InterfaceName
  /// 1...4094.
  public var id: UInt16
  /// `.vlan` or `.serviceVLAN`.
  public var tag: EtherType

  public init(parent: InterfaceName, id: UInt16, tag: EtherType = .vlan) {
    self.parent = parent
    self.id = id
    self.tag = tag
  }
}

/// A persistent tun or tap device.
public struct TunTapState: Hashable, Codable, Sendable {
  public enum Mode: String, Hashable, Codable, Sendable { case tun, tap }
  public var mode: Mode
  /// The user that may attach to it; nil for privileged users only.
  public var owner: UInt32?
  public var group: UInt32?
  public var multiQueue: Bool
  /// The tap of the host's own network that it is joined to, as two cards by a cable; nil for none.
  public var hostTap: InterfaceName?

  public init(
    mode: Mode, owner: UInt32? = nil, group: UInt32? = nil, multiQueue: Bool = false,
    hostTap: InterfaceName? = nil
  ) {
    self.mode = mode
    self.owner = owner
    self.group = group
    self.multiQueue = multiQueue
    self.hostTap = hostTap
  }
}

/// A VXLAN tunnel end (RFC 7348).
public struct VXLANState: Hashable, Codable, Sendable {
  /// 1...16777215.
  public var id: UInt32
  public var local: IPAddress?
  /// The default remote, unicast or a multicast group.
  public var remote: IPAddress?
  /// The device that carries the outer packets; needed with a multicast group.
  public var underlay: InterfaceName?
  public var port: Port
  public var learning: Bool
  public var ttl: UInt8?

  public init(
    id: UInt32, local: IPAddress? = nil, remote: IPAddress? = nil, underlay: InterfaceName? = nil,
    port: Port = 4789,
    learning: Bool = true, ttl: UInt8? = nil
  ) {
    self.id = id
    self.local = local
    self.remote = remote
    self.underlay = underlay
    self.port = port
    self.learning = learning
    self.ttl = ttl
  }
}

/// A macvlan on a device of this or another namespace.
public struct MacvlanState: Hashable, Codable, Sendable {
  public enum Mode: String, Hashable, CaseIterable, Codable, Sendable {
    case `private`, vepa, bridge, passthru, source
  }
  /// Nil when the observer could not see it.
  public var parent: LinkReference?
  public var mode: Mode

  public init(parent: LinkReference?, mode: Mode = .bridge) {
    self.parent = parent
    self.mode = mode
  }
}
