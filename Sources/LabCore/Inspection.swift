// SPDX-License-Identifier: GPL-2.0-or-later

// What a kernel knows and counts at the moment, beside the state that plans are about: the same questions and answers for
// every datapath.

public import NetTypes

/// A question about one namespace.
public enum Inspection: Hashable, Codable, Sendable {
  case neighbors
  case forwardingEntries
  /// The way of a packet that the namespace itself sends.
  case route(to: IPAddress)
  case statistics
  /// All that speak TCP, UDP or a protocol of their own.
  case sockets
  /// What connection tracking knows.
  case connections(ConnectionFilter)
  /// Makes connection tracking forget; the answer is what it has forgotten.
  case forget(ConnectionFilter)
  case identity
}

/// The answer to the `Inspection` of the same name.
public enum InspectionAnswer: Hashable, Codable, Sendable {
  case neighbors([NeighborReport])
  case forwardingEntries([ForwardingReport])
  case route(RouteReport)
  case statistics(StatisticsReport)
  case sockets([SocketReport])
  /// Of `connections` and `forget`.
  case connections([ConnectionReport])
  case identity(IdentityReport)
}

/// Which namespace it is, and which devices are in it.
public struct IdentityReport: Hashable, Codable, Sendable {
  public struct Link: Hashable, Codable, Sendable {
    /// A device that is made anew may have the number of the one before.
    public var index: Int32
    /// Received and sent since the device was made.
    public var packets: UInt64

    public init(index: Int32, packets: UInt64) {
      self.index = index
      self.packets = packets
    }
  }

  /// The kernel's number of the namespace, which no other gets as long as the kernel runs (SO_NETNS_COOKIE).
  public var cookie: UInt64
  /// By name.
  public var links: [String: Link]

  public init(cookie: UInt64, links: [String: Link]) {
    self.cookie = cookie
    self.links = links
  }
}

/// A neighbour as the kernel has it now.
public struct NeighborReport: Hashable, Codable, Sendable {
  public var link: String
  public var address: IPAddress
  public var mac: MACAddress?
  /// As `ip neigh` says it: `REACHABLE`; several bits are joined.
  public var state: String
  public var isRouter: Bool
  public var isProxy: Bool

  public init(
    link: String, address: IPAddress, mac: MACAddress?, state: String, isRouter: Bool, isProxy: Bool
  ) {
    self.link = link
    self.address = address
    self.mac = mac
    self.state = state
    self.isRouter = isRouter
    self.isProxy = isProxy
  }
}

/// An entry of a bridge's or a tunnel's forwarding database.
public struct ForwardingReport: Hashable, Codable, Sendable {
  /// The port, or the bridge or tunnel itself.
  public var link: String
  public var mac: MACAddress
  /// The bridge; nil for a device's own database.
  public var bridge: String?
  public var vlan: UInt16?
  /// Of a tunnel: the host that has the address.
  public var destination: IPAddress?
  /// `permanent` for the bridge's own, `static` for what was configured, `dynamic` for what was learned.
  public var kind: String

  public init(
    link: String, mac: MACAddress, bridge: String?, vlan: UInt16?, destination: IPAddress?, kind: String
  ) {
    self.link = link
    self.mac = mac
    self.bridge = bridge
    self.vlan = vlan
    self.destination = destination
    self.kind = kind
  }
}

/// Where a packet would go.
public struct RouteReport: Hashable, Codable, Sendable {
  public var destination: IPAddress
  /// `unicast`, `local`, `broadcast`, `multicast`.
  public var type: String
  public var gateway: IPAddress?
  public var link: String?
  /// The address that it would be sent from.
  public var source: IPAddress?
  public var table: UInt32
  public var mtu: UInt32?

  public init(
    destination: IPAddress, type: String, gateway: IPAddress?, link: String?, source: IPAddress?,
    table: UInt32, mtu: UInt32?
  ) {
    self.destination = destination
    self.type = type
    self.gateway = gateway
    self.link = link
    self.source = source
    self.table = table
    self.mtu = mtu
  }
}

/// What a namespace has counted.
public struct StatisticsReport: Hashable, Codable, Sendable {
  /// A counter by the name that the kernel's tools give it.
  public struct Counter: Hashable, Codable, Sendable {
    public var name: String
    public var value: UInt64

    public init(_ name: String, _ value: UInt64) {
      self.name = name
      self.value = value
    }
  }

  /// A device's, as `ip -s link` has them.
  public struct Link: Hashable, Codable, Sendable {
    public var name: String
    public var received: Direction
    public var transmitted: Direction
    /// What the device's driver counts beside that, as `ethtool -S` has it; empty where it does not tell.
    public var driver: [Counter]

    public init(name: String, received: Direction, transmitted: Direction, driver: [Counter] = []) {
      self.name = name
      self.received = received
      self.transmitted = transmitted
      self.driver = driver
    }
  }

  public struct Direction: Hashable, Codable, Sendable {
    public var packets: UInt64
    public var bytes: UInt64
    public var errors: UInt64
    public var dropped: UInt64
    /// Frames that a full ring did not take; received only.
    public var missed: UInt64
    /// Frames to a group; received only.
    public var multicast: UInt64

    public init(
      packets: UInt64, bytes: UInt64, errors: UInt64, dropped: UInt64, missed: UInt64 = 0,
      multicast: UInt64 = 0
    ) {
      self.packets = packets
      self.bytes = bytes
      self.errors = errors
      self.dropped = dropped
      self.missed = missed
      self.multicast = multicast
    }
  }

  /// Where all packets of an emulated kernel are: `allocated` is `freed` and `held` together, or one has been lost.
  public struct Accounting: Hashable, Codable, Sendable {
    public var allocated: UInt64
    public var freed: UInt64
    public var held: UInt64
    public var failures: UInt64
    public var isClosed: Bool
    /// How packets ended, in the whole kernel.
    public var ends: [Counter]

    public init(
      allocated: UInt64, freed: UInt64, held: UInt64, failures: UInt64, isClosed: Bool, ends: [Counter]
    ) {
      self.allocated = allocated
      self.freed = freed
      self.held = held
      self.failures = failures
      self.isClosed = isClosed
      self.ends = ends
    }
  }

  /// By number.
  public var links: [Link]
  /// As `nstat` names them, those that are not zero.
  public var counters: [Counter]
  /// Why packets ended in the namespace, by the kernel's names; nil where the kernel does not tell.
  public var drops: [Counter]?
  /// A line a CPU, of the whole kernel: packets polled, budgets that ended too soon.
  public var softnet: [[Counter]]
  /// Nil where the kernel does not tell.
  public var accounting: Accounting?

  public init(
    links: [Link], counters: [Counter], drops: [Counter]?, softnet: [[Counter]], accounting: Accounting?
  ) {
    self.links = links
    self.counters = counters
    self.drops = drops
    self.softnet = softnet
    self.accounting = accounting
  }
}
