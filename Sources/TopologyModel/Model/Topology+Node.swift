// SPDX-License-Identifier: GPL-2.0-or-later

// A node and its devices.

public import LabCore
public import NetTypes
public import Nftables

extension Topology {
  /// A network namespace with a name, and all that its body says.
  public struct Node: Hashable, Sendable {
    public enum Kind: String, Hashable, CaseIterable, Sendable {
      case node
      /// Forwards, IPv4 and IPv6.
      case router
    }

    /// Unique among the nodes and bridges.
    public var name: NodeName
    public var kind: Kind = .node
    public var labels: [String: String] = [:]
    /// In the order of declaration; likewise below. `lo` is among them only when the body says `Loopback`.
    public var devices: [Device] = []
    public var routes: [Route] = []
    public var policyRules: [PolicyRule] = []
    public var neighbors: [Neighbor] = []
    public var fdb: [FDBEntry] = []
    public var sysctls: [Sysctl] = []
    public var translations: [Translation] = []
    /// At most one a hook.
    public var firewalls: [Firewall] = []
    public var tables: [Table] = []
    /// Read from files in nft's language.
    public var rulesets: [Ruleset] = []
    public var services: [NodeService] = []
    public var hostPorts: [HostPort] = []
    /// `Run`: kept running.
    public var programs: [NodeProgram] = []
    /// `Exec`: run once at start.
    public var commands: [NodeProgram] = []
    public var files: [NodeFile] = []
    public var environment: [String: String] = [:]
    public var location: SourceLocation

    public init(
      name: NodeName, kind: Kind = .node, labels: [String: String] = [:], devices: [Device] = [],
      routes: [Route] = [], policyRules: [PolicyRule] = [], neighbors: [Neighbor] = [], fdb: [FDBEntry] = [],
      sysctls: [Sysctl] = [], translations: [Translation] = [], firewalls: [Firewall] = [],
      tables: [Table] = [], rulesets: [Ruleset] = [], services: [NodeService] = [],
      programs: [NodeProgram] = [],
      commands: [NodeProgram] = [], files: [NodeFile] = [], environment: [String: String] = [:],
      location: SourceLocation
    ) {
      self.name = name
      self.kind = kind
      self.labels = labels
      self.devices = devices
      self.routes = routes
      self.policyRules = policyRules
      self.neighbors = neighbors
      self.fdb = fdb
      self.sysctls = sysctls
      self.translations = translations
      self.firewalls = firewalls
      self.tables = tables
      self.rulesets = rulesets
      self.services = services
      self.programs = programs
      self.commands = commands
      self.files = files
      self.environment = environment
      self.location = location
    }
  }

  /// A network device of a node.
  public struct Device: Hashable, Sendable {
    /// As written, unique in the node.
    public var name: String
    public var kind: DeviceKind
    /// Those written, in order; the first of a subnet is its primary.
    public var addresses: [InterfaceAddress] = []
    /// The subnets of each of which the resolver takes an address, before those written: the interface is on a bridge with
    /// subnets, and its own line says no address.
    public var allocatesFrom: [IPPrefix] = []
    public var mac: MACAddress?
    /// Bytes, 68...65535. From the device, else its link, else its bridge.
    public var mtu: Int?
    public var isUp: Bool = true
    /// The device of this node that it is a port of.
    public var master: String?
    /// What it does as a port: of `master`, or, for an interface on a lab's bridge, what the bridge's end does.
    public var port: PortOptions?
    /// What befalls packets that the device sends.
    public var impairment: Impairment?
    public var location: SourceLocation

    public init(
      name: String, kind: DeviceKind, addresses: [InterfaceAddress] = [], allocatesFrom: [IPPrefix] = [],
      mac: MACAddress? = nil, mtu: Int? = nil, isUp: Bool = true, master: String? = nil,
      port: PortOptions? = nil, impairment: Impairment? = nil, location: SourceLocation
    ) {
      self.name = name
      self.kind = kind
      self.addresses = addresses
      self.allocatesFrom = allocatesFrom
      self.mac = mac
      self.mtu = mtu
      self.isUp = isUp
      self.master = master
      self.port = port
      self.impairment = impairment
      self.location = location
    }
  }

  /// What a device is.
  public enum DeviceKind: Hashable, Sendable {
    /// One end of a veth pair.
    case interface(Attachment)
    case loopback
    case bridge(BridgeOptions)
    case vlan(parent: String, id: Int)
    case dummy
    case tap(TunTap)
    case tun(TunTap)
    case vxlan(VXLAN)
    case macvlan(parent: String, mode: MacvlanState.Mode)
    case uplink(Uplink)
  }

  /// What the other end of an interface is.
  public enum Attachment: Hashable, Sendable {
    /// A port of a lab's bridge.
    case bridge(NodeName)
    /// Another interface, by `lab.link`.
    case peer(DeviceReference)
    /// The lab's routed uplink.
    case internet
  }

  /// An address as written.
  public struct InterfaceAddress: Hashable, Sendable {
    /// Host bits kept.
    public var prefix: IPPrefix
    /// The other end of a point-to-point address.
    public var peer: IPAddress?
    public var location: SourceLocation

    public init(prefix: IPPrefix, peer: IPAddress? = nil, location: SourceLocation) {
      self.prefix = prefix
      self.peer = peer
      self.location = location
    }
  }

  /// Who may attach to a tap or tun device.
  public struct TunTap: Hashable, Sendable {
    public var owner: UInt32?
    public var group: UInt32?
    public var multiQueue: Bool = false

    public init(owner: UInt32? = nil, group: UInt32? = nil, multiQueue: Bool = false) {
      self.owner = owner
      self.group = group
      self.multiQueue = multiQueue
    }
  }

  /// A VXLAN tunnel end.
  public struct VXLAN: Hashable, Sendable {
    /// 1...16777215.
    public var id: Int
    public var local: IPAddress?
    /// Unicast, or a multicast group.
    public var remote: IPAddress?
    /// The device of the node that carries the outer packets.
    public var underlay: String?
    public var port: Port = 4789
    public var learning: Bool = true
    /// 1...255.
    public var ttl: Int?

    public init(
      id: Int, local: IPAddress? = nil, remote: IPAddress? = nil, underlay: String? = nil, port: Port = 4789,
      learning: Bool = true, ttl: Int? = nil
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

  /// How a node reaches into the host's own network.
  public enum Uplink: Hashable, Sendable {
    /// A veth pair whose other end stays in the host: its name there and its addresses.
    case veth(host: String?, hostAddresses: [IPPrefix])
    /// A tap that the host has, joined to a device of the node.
    case tap(host: String)
    /// A macvlan on a device of the host.
    case macvlan(host: String, mode: MacvlanState.Mode)
    /// A device of the host that moves into the node, and comes back.
    case move(host: String)
  }

  /// What befalls packets on their way out of a device.
  public struct Impairment: Hashable, Sendable {
    /// Bits a second.
    public var rate: Int64?
    public var delay: Interval?
    public var jitter: Interval?
    /// Per cent, 0...100; likewise below.
    public var loss: Double?
    public var duplicate: Double?
    public var reorder: Double?
    public var corrupt: Double?
    /// Packets that may wait, 1 or more.
    public var limit: Int?
    /// Of the random choices; nil derives one from lab, node and interface.
    public var seed: UInt64?
    public var location: SourceLocation

    public init(
      rate: Int64? = nil, delay: Interval? = nil, jitter: Interval? = nil, loss: Double? = nil,
      duplicate: Double? = nil, reorder: Double? = nil, corrupt: Double? = nil, limit: Int? = nil,
      seed: UInt64? = nil, location: SourceLocation
    ) {
      self.rate = rate
      self.delay = delay
      self.jitter = jitter
      self.loss = loss
      self.duplicate = duplicate
      self.reorder = reorder
      self.corrupt = corrupt
      self.limit = limit
      self.seed = seed
      self.location = location
    }
  }
}
