// SPDX-License-Identifier: GPL-2.0-or-later

// A network device: a value in the kernel's table, found by its index. What it does with a packet is chosen by a
// switch over its kind; what it knows about itself is the same for all.

import NetTypes

/// The place of a device in the kernel's table; not its ifindex, which counts in each namespace.
public typealias DeviceIndex = TableIndex<Device>

/// A network device.
public struct Device: ~Copyable {
  enum Kind {
    case loopback
    /// The other end; what this one sends stands in that one's ring.
    case veth(peer: DeviceIndex)
    case bridge(BridgeIndex)
    /// A card whose wire ends outside the kernel: frames are handed in and taken out.
    case nic(NICIndex)
    /// One end of a veth pair whose other end is on another CPU.
    case crossing(CrossingIndex)
    /// Takes what it is to send and forgets it.
    case dummy
    case vlan(TableIndex<VLANDevice>)
    case macvlan(TableIndex<Macvlan>)
    case vxlan(TableIndex<VXLAN>)
  }

  /// Receive descriptors of a veth end (VETH_RING_SIZE).
  static let ringSize = 256

  // MARK: What every packet reads

  var kind: Kind
  var namespace: NamespaceIndex
  /// 48 bits.
  var mac: UInt64
  /// Bytes of a packet without its Ethernet header.
  var mtu: Int
  var flags: DeviceFlags
  /// Whether capture wants its frames.
  var isCaptured = false
  /// Whose packets were for this host last.
  var delivered = DeliveredFlow()
  /// The bridge that it is a port of.
  var master: BridgeIndex = .none
  var port = BridgePort()
  var ipv4 = DeviceIPv4()
  /// Whether frames that come in may be for devices that stand on it.
  var isShared = false
  /// What stands between the stack and the ring; none: nothing waits (`noqueue`).
  var qdisc = QdiscIndex.none
  /// What it takes off the stack's hands.
  var features: DeviceFeatures
  var ipv6 = DeviceIPv6()
  var statistics = InterfaceStatistics()
  var ring: SlotRing
  var napi = NAPI()

  // MARK: What only configuration reads

  var ifindex: Int32
  var name: InterfaceName
  var alias: String?
  var alternativeNames: [String] = []
  var group: UInt32 = 0
  var macIsSet: Bool
  var addresses: [InterfaceAddress] = []
  /// IPv4 groups that it has joined.
  var groups = GroupMemberships()
  var settings = DeviceSettings.standard
  /// Settings of `net.ipv4.neigh.<device>`.
  var neighborParameters = NeighborParameters()
  /// IPv6 addresses, and what else it has of IPv6.
  var inet6 = InterfaceIPv6()
  /// Settings of `net.ipv6.neigh.<device>`.
  var neighborParameters6 = NeighborParameters()
  /// Answers for others that wait.
  var delayedAnswers = 0
  /// The devices that stand on it.
  var uppers = UpperDevices() {
    didSet { isShared = uppers.take }
  }
  /// Packets that a queue of the device's own choice holds (txqueuelen).
  var queueLength: UInt32 = 1000
  /// It has been given a queue, or none, as it came up or by configuration; before that it is `noop`.
  var isQueueActive = false
  /// What it has beside `port` as a bridge's port.
  var tree = SpanningTreePort()
  var multicast = MulticastPort()
  /// Those of a bridge's port, or of the bridge itself.
  var vlans = VLANTable()

  init(
    kind: Kind, namespace: NamespaceIndex, ifindex: Int32, name: InterfaceName, mac: UInt64, macIsSet: Bool
  ) {
    self.kind = kind
    self.namespace = namespace
    self.ifindex = ifindex
    self.name = name
    self.mac = mac
    self.macIsSet = macIsSet
    ring = SlotRing(limit: Self.ringSize)
    features = kind.features
    switch kind {
    case .loopback:
      mtu = 65536
      flags = .loopback
      // What netdev_max_backlog is to the kernel's loopback.
      ring = SlotRing(limit: 1024)
    case .dummy:
      mtu = 1500
      flags = [.broadcast, .noARP]
    case .veth, .crossing, .bridge, .nic, .vlan, .macvlan, .vxlan:
      mtu = 1500
      flags = [.broadcast, .multicast]
    }
  }

  /// Whether it gets a queue when nobody has said which (its driver does not say IFF_NO_QUEUE).
  var wantsQueue: Bool {
    switch kind {
    case .nic: true
    case .loopback, .veth, .crossing, .bridge, .dummy, .vlan, .macvlan, .vxlan: false
    }
  }

  var isUp: Bool { flags.contains(.up) }
  var isLoopback: Bool { flags.contains(.loopback) }
  /// ARPHRD_*.
  var hardwareType: UInt16 { isLoopback ? 772 : flags.contains(.pointToPoint) ? 65534 : 1 }

  /// The least that its MTU can be.
  var smallestMTU: Int {
    switch kind {
    case .loopback, .dummy, .vlan: 0
    case .veth, .crossing, .bridge, .nic, .macvlan, .vxlan: 68
    }
  }

  /// The most that its MTU can be.
  var largestMTU: Int {
    switch kind {
    case .loopback, .dummy: Int(Int32.max)
    case .veth, .crossing, .bridge, .nic, .vlan, .macvlan, .vxlan: Self.maximumMTU
    }
  }

  /// The most that an MTU can be (ETH_MAX_MTU); a loopback device has no limit.
  static let maximumMTU = 65535
}

/// A device's flags (`IFF_*`), with the kernel's bits.
struct DeviceFlags: OptionSet, BitwiseCopyable {
  var rawValue: UInt32
  static let up = DeviceFlags(rawValue: 1)
  static let broadcast = DeviceFlags(rawValue: 2)
  static let loopback = DeviceFlags(rawValue: 8)
  static let pointToPoint = DeviceFlags(rawValue: 0x10)
  static let running = DeviceFlags(rawValue: 0x40)
  static let noARP = DeviceFlags(rawValue: 0x80)
  static let promiscuous = DeviceFlags(rawValue: 0x100)
  static let allMulticast = DeviceFlags(rawValue: 0x200)
  static let multicast = DeviceFlags(rawValue: 0x1000)
  static let lowerUp = DeviceFlags(rawValue: 0x10000)

  /// What configuration may set.
  static let changeable: DeviceFlags = [.up, .noARP, .promiscuous, .allMulticast, .multicast]
}

/// NAPI's part of a ring: whether it is being polled.
struct NAPI {
  /// On the poll list: the interrupt is masked.
  var isScheduled = false
  /// Among the interrupts that wait to be handled.
  var hasInterrupted = false
}

/// A device's settings under `net.ipv4.conf.<device>`, as packets need them.
struct DeviceIPv4 {
  var forwarding = false
  var acceptLocal = false
  var routeLocalnet = false
  /// 0 off, 1 strict, 2 loose.
  var reversePathFilter = 0
  var arpIgnore = 0
  var arpAnnounce = 0
  var arpAccept = 0
  var arpFilter = false
  var arpNotify = false
  var dropGratuitousARP = false
  var proxyARP = false
  var proxyARPPrivateVLAN = false
  var promoteSecondaries = false
  /// Messages about better gateways are sent.
  var sendRedirects = true
  /// Such messages are believed; only from gateways, and about gateways, if they are to be secure.
  var acceptRedirects = true
  var secureRedirects = true
  /// All hosts of the link hear each other, whatever their subnets.
  var sharesMedia = true
  /// The version of IGMP to speak; 0: the routers'.
  var igmpVersion = 0
  /// Nanoseconds between reports that nobody has asked for, of versions 2 and 3.
  var unsolicitedReportInterval: Int64 = 10_000_000_000
  var unsolicitedReportIntervalV3: Int64 = 1_000_000_000
  /// Directed broadcasts are passed on.
  var forwardsBroadcasts = false
  /// A packet's mark counts when its source is looked up.
  var validMark = false
  /// Routes by a device without a carrier do not count.
  var ignoreRoutesWithLinkDown = false
  /// Packets that say by which routers they go are taken.
  var acceptsSourceRoutes = false
  /// What comes from addresses that cannot be is told.
  var logsMartians = false
}
