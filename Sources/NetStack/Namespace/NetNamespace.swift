// SPDX-License-Identifier: GPL-2.0-or-later

// A network namespace: what a node has of the stack. Ten thousand of them are cheap: tables are made at the first use,
// settings are differences from the kernel's defaults, and packets are held by nobody who is idle.

public import NetTypes

/// The place of a namespace in the kernel's table.
public typealias NamespaceIndex = TableIndex<NetNamespace>

/// A network namespace.
public struct NetNamespace: ~Copyable {
  private let passing = PassedByAddress()
  /// Whether somebody listens to what changes here.
  var isWatched = false
  /// By ifindex.
  var devices: [DeviceIndex] = []
  /// VXLAN devices that it carries, wherever they are.
  var tunnels: [TableIndex<VXLAN>] = []
  /// Every device by its number.
  var deviceNumbers: [Int32: DeviceIndex] = [:]
  /// Every device by its name, and by each of its other names.
  var deviceNames: [String: DeviceIndex] = [:]
  var nextIfindex: Int32 = 1
  var routes: ForwardingInformationBase<UInt32>
  var routes6: ForwardingInformationBase<UInt128>
  var neighbors: NeighborTable
  var fragments = FragmentQueues()
  var fragments6 = FragmentQueues(time: 60_000_000_000)
  /// Every address of every device.
  var local = AddressSet()
  /// Whether somebody has ever made a route that says what is this host's (fib_has_custom_local_routes).
  var hasLocalRoutes = false
  var ipv4 = IPv4Settings()
  var ipv6 = IPv6Settings()
  var tcp = TCPSettings()
  var challenges = ChallengeBudget()
  /// Connections in TIME-WAIT.
  var timeWaits = 0
  var sysctls: [SysctlOverride] = []
  /// What `all` says of devices.
  var everyDevice = DeviceSettings.standard
  /// What `default` says: the settings of the next device.
  var newDevices = DeviceSettings.forNewDevices
  var sockets: SocketTables
  var errorLimits: ICMPRateLimiter
  /// Those of IPv6's destinations; the bucket for all is IPv4's too.
  var errorLimits6: ICMPRateLimiter
  /// What flow labels are made with.
  let labelSeed: UInt64
  /// When the next of IPv6's routes ends.
  var routeExpiryTimer = TimerID.none
  /// The next identification of a datagram (RFC 6864).
  var nextIdentification: UInt16
  var snmp = SNMPCounters()
  var drops = DropCounters()
  /// What there is for all neighbours of IPv4, and of IPv6.
  var arp = NeighborFamily()
  var discovery = NeighborFamily()
  /// Addresses that are answered for, in order.
  var proxies: [ProxyIndex] = []
  var nftables = NftablesState()
  var conntrack: ConntrackState

  init(random: inout RandomState) {
    neighbors = NeighborTable(seed: random.next())
    routes = ForwardingInformationBase(random: &random)
    routes6 = ForwardingInformationBase(random: &random)
    conntrack = ConntrackState(seed: random.next())
    errorLimits = ICMPRateLimiter(seed: random.next())
    errorLimits6 = ICMPRateLimiter(seed: random.next())
    labelSeed = random.next()
    sockets = SocketTables(random: &random)
    nextIdentification = UInt16(truncatingIfNeeded: random.next())
  }

  @inline(__always) func isLocal(_ address: UInt32) -> Bool { local.contains(address) }
}

/// The namespace's settings as packets need them: those of `net.ipv4` and of `net.ipv4.conf.all`.
struct IPv4Settings {
  var defaultTTL: UInt8 = 64
  var echoIgnoreAll = false
  var echoIgnoreBroadcasts = true
  /// Nanoseconds between errors to one host, six of which may come at once.
  var icmpRateLimit: Int64 = 1_000_000_000
  /// A bit for each type that the limit is for.
  var icmpRateMask: UInt32 = 6168
  var icmpMessagesPerSecond: Int64 = 1000
  var icmpMessagesBurst: Int64 = 50
  /// Ports that are taken by chance.
  var localPorts: ClosedRange<UInt16> = 32768...60999
  /// The first port that everybody may bind to.
  var unprivilegedPortStart = 1024
  /// Groups whose members may make ping sockets; by default there is none.
  var pingGroups: Range<UInt32> = 1..<1
  /// Programs may speak from addresses that are not this host's.
  var nonLocalBind = false
  /// Groups of the link alone are reported too (igmp_link_local_mcast_reports).
  var reportsLinkLocalGroups = true
  /// How often what may be lost is told (igmp_qrv).
  var robustness = 2
  /// Groups that a socket may join (igmp_max_memberships).
  var membershipLimit = 20
  /// 0: paths are measured; 1: not by what comes from others, and packets may be cut; 2, 3: what routers say is not
  /// believed (ip_no_pmtu_disc).
  var pathMTUDiscovery = 0
  /// No path is believed to carry less (min_pmtu).
  var minimumPathMTU: UInt32 = 552
  /// Nanoseconds for which a path's MTU is believed (mtu_expires).
  var pathMTUExpiry: Int64 = 600_000_000_000
  /// What is passed on is sorted by its type of service (ip_forward_update_priority).
  var forwardingSetsPriority = true
  /// What routers say of a path counts for what is passed on, too (ip_forward_use_pmtu).
  var forwardsByPathMTU = false
  /// Errors speak from the device that the packet came in by (icmp_errors_use_inbound_ifaddr).
  var errorsUseInbound = false
}

/// An IPv4 address of a device.
public struct InterfaceAddress: Hashable, Sendable {
  /// The device's own.
  public var local: IPv4Address
  /// The peer's on a point-to-point link, else the same as `local`.
  public var peer: IPv4Address
  /// 0 to 32.
  public var prefixLength: UInt8
  /// The subnet's broadcast address, if it has one.
  public var broadcast: IPv4Address?
  /// RT_SCOPE_*.
  public var scope: UInt8
  /// Not the first of its subnet.
  public var isSecondary = false
  /// No route for the prefix.
  public var noPrefixRoute = false
  /// Begins with the device's name.
  public var label: String
  /// Who made it (IFAPROT_*).
  public var protocolNumber: UInt8 = 0
  /// The metric of the prefix's route.
  public var routePriority: UInt32 = 0

  var mask: UInt32 { UInt32.mask(prefixLength) }
  /// The subnet, which on a point-to-point link is the peer's.
  var network: UInt32 { peer.rawValue & mask }

  func isOnSubnet(_ address: UInt32) -> Bool { (address ^ peer.rawValue) & mask == 0 }
}

/// A set of addresses, looked up for every packet's source.
@safe struct AddressSet: ~Copyable {
  private var places: UnsafeMutablePointer<UInt32>?
  private var mask = 0

  init() {}

  deinit { unsafe places?.deallocate() }

  @inline(__always) private func home(_ address: UInt32) -> Int {
    Int(truncatingIfNeeded: (address &* 0x9e37_79b1) &>> 16) & mask
  }

  @inline(__always) func contains(_ address: UInt32) -> Bool {
    guard let base = unsafe places else { return false }
    var index = home(address)
    while true {
      let found = unsafe base[index]
      if found == address { return found != 0 }
      if found == 0 { return false }
      index = (index &+ 1) & mask
    }
  }

  /// Replaces all of them. 0.0.0.0 is never one.
  mutating func replace(with addresses: [UInt32]) {
    var size = 4
    while size < addresses.count * 2 { size *= 2 }
    unsafe places?.deallocate()
    let fresh = UnsafeMutablePointer<UInt32>.allocate(capacity: size)
    unsafe fresh.initialize(repeating: 0, count: size)
    unsafe places = fresh
    mask = size - 1
    for address in addresses where address != 0 && !contains(address) {
      var index = home(address)
      while unsafe fresh[index] != 0 { index = (index &+ 1) & mask }
      unsafe fresh[index] = address
    }
  }
}
