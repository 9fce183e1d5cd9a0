// SPDX-License-Identifier: GPL-2.0-or-later

// The evaluated topology: plain values, fully checked. It keeps what was written: an address that was left out is an
// empty list with the subnets it is to come from, for the resolver to fill. The types of its parts are nested in here
// and stand in the files beside this one.

public import LabCore
public import NetTypes

/// A lab as its file describes it.
public struct Topology: Hashable, Sendable {
  public var name: LabName
  /// In the order of declaration; likewise below.
  public var bridges: [Bridge] = []
  public var nodes: [Node] = []
  public var links: [Link] = []
  public var internet: Internet?
  public var expectations: [Expectation] = []
  public var events: [Event] = []
  public var scenarios: [Scenario] = []
  public var location: SourceLocation

  public init(
    name: LabName, bridges: [Bridge] = [], nodes: [Node] = [], links: [Link] = [], internet: Internet? = nil,
    expectations: [Expectation] = [], events: [Event] = [], scenarios: [Scenario] = [],
    location: SourceLocation
  ) {
    self.name = name
    self.bridges = bridges
    self.nodes = nodes
    self.links = links
    self.internet = internet
    self.expectations = expectations
    self.events = events
    self.scenarios = scenarios
    self.location = location
  }
}

extension Topology {
  /// A bridge of the lab's own switch namespace.
  public struct Bridge: Hashable, Sendable {
    /// Unique among the nodes and bridges.
    public var name: NodeName
    /// Networks with their host bits clear, at most one a family is allocated from: the first.
    public var subnets: [IPPrefix] = []
    public var options: BridgeOptions = BridgeOptions()
    /// Bytes, 68...65535.
    public var mtu: Int?
    public var labels: [String: String] = [:]
    public var location: SourceLocation

    public init(
      name: NodeName, subnets: [IPPrefix] = [], options: BridgeOptions = BridgeOptions(), mtu: Int? = nil,
      labels: [String: String] = [:], location: SourceLocation
    ) {
      self.name = name
      self.subnets = subnets
      self.options = options
      self.mtu = mtu
      self.labels = labels
      self.location = location
    }
  }

  /// The settings of a bridge; nil leaves the kernel's.
  public struct BridgeOptions: Hashable, Sendable {
    public var stp: Bool?
    /// How long the FDB keeps an entry, up to 1,000,000 s; zero forgets at once.
    public var ageing: Interval?
    public var vlanFiltering: Bool?
    /// Whether the bridge snoops on IGMP and MLD.
    public var multicastSnooping: Bool?
    /// 0...65535.
    public var priority: Int?

    public init(
      stp: Bool? = nil, ageing: Interval? = nil, vlanFiltering: Bool? = nil, multicastSnooping: Bool? = nil,
      priority: Int? = nil
    ) {
      self.stp = stp
      self.ageing = ageing
      self.vlanFiltering = vlanFiltering
      self.multicastSnooping = multicastSnooping
      self.priority = priority
    }
  }

  /// The settings of a bridge port; nil leaves the kernel's.
  public struct PortOptions: Hashable, Sendable {
    /// The VLANs of the port, sorted by id; empty leaves the bridge's default.
    public var vlans: [PortVLAN] = []
    public var isolated: Bool?
    public var hairpin: Bool?
    public var learning: Bool?

    public init(vlans: [PortVLAN] = [], isolated: Bool? = nil, hairpin: Bool? = nil, learning: Bool? = nil) {
      self.vlans = vlans
      self.isolated = isolated
      self.hairpin = hairpin
      self.learning = learning
    }
  }

  /// Two interfaces joined by a cable.
  public struct Link: Hashable, Sendable {
    public var a: DeviceReference
    public var b: DeviceReference
    /// Bytes, 68...65535; also where neither interface says one itself.
    public var mtu: Int?
    public var location: SourceLocation

    public init(a: DeviceReference, b: DeviceReference, mtu: Int? = nil, location: SourceLocation) {
      self.a = a
      self.b = b
      self.mtu = mtu
      self.location = location
    }
  }

  /// A device of a node, by the names that the file uses.
  public struct DeviceReference: Hashable, Comparable, Sendable {
    public var node: NodeName
    /// The device's name as written: up to 127 bytes, where the kernel's own has 15.
    public var device: String

    public init(_ node: NodeName, _ device: String) {
      self.node = node
      self.device = device
    }

    public static func < (a: Self, b: Self) -> Bool { (a.node, a.device) < (b.node, b.device) }
  }

  /// The routed uplink that `lab.internet` makes: a subnet shared with the host, which masquerades what comes from it.
  public struct Internet: Hashable, Sendable {
    public enum Way: String, Hashable, CaseIterable, Sendable { case host }

    /// Unique among the nodes and bridges.
    public var name: NodeName
    public var via: Way
    /// IPv4. Written, or a /24 of 100.64.0.0/10 that the lab's name chooses.
    public var subnet: IPPrefix
    public var location: SourceLocation

    public init(name: NodeName, via: Way, subnet: IPPrefix, location: SourceLocation) {
      self.name = name
      self.via = via
      self.subnet = subnet
      self.location = location
    }

    /// What the lab's default route points at: the first address of the subnet.
    public var gateway: IPAddress { subnet.network.address.advanced(by: 1) }
  }
}

extension Topology.DeviceReference: CustomStringConvertible {
  public var description: String { "\(node)[\"\(device)\"]" }
}
