// SPDX-License-Identifier: GPL-2.0-or-later

// Options of sockets with their kernel names, ranges and defaults (net/core/sock.c, net/ipv4/ip_sockglue.c).

public import NetTypes

/// What a datagram's sender wants of the path's MTU (`IP_PMTUDISC_*`).
public enum PathMTUDiscovery: UInt8, Sendable {
  /// Never set DF.
  case dont
  /// Set DF where the datagram fits, and cut it where it does not.
  case want
  /// Always set DF; what does not fit is refused.
  case `do`
  /// Always set DF and ignore what the path's MTU is known to be.
  case probe
  /// Never set DF, and ignore the path's MTU.
  case interface
  /// The same, and cut what does not fit.
  case omit
}

/// All options of a socket.
public struct SocketOptions: Hashable, Sendable {
  /// SO_REUSEADDR.
  public var reuseAddress = false
  /// SO_REUSEPORT.
  public var reusePort = false
  /// SO_BROADCAST.
  public var broadcast = false
  /// SO_BINDTODEVICE: a device's number, 0 for any.
  public var device: Int32 = 0
  /// SO_MARK.
  public var mark: UInt32 = 0
  /// SO_PRIORITY.
  public var priority: UInt32 = 0
  /// SO_RCVBUF as the kernel keeps it: twice what was asked for.
  public var receiveBuffer = 212_992
  /// SO_SNDBUF as the kernel keeps it.
  public var sendBuffer = 212_992
  /// IP_TTL, IPV6_UNICAST_HOPS; nil: the namespace's default.
  public var ttl: UInt8?
  /// IP_TOS, IPV6_TCLASS.
  public var typeOfService: UInt8 = 0
  /// IP_MTU_DISCOVER.
  public var pathMTUDiscovery = PathMTUDiscovery.want
  /// IP_RECVERR, IPV6_RECVERR.
  public var receiveErrors = false
  /// IP_FREEBIND.
  public var freeBind = false
  /// IP_TRANSPARENT, IPV6_TRANSPARENT.
  public var transparent = false
  /// IP_HDRINCL.
  public var headerIncluded = false
  /// IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS.
  public var multicastTTL: UInt8 = 1
  /// IP_MULTICAST_LOOP.
  public var multicastLoop = true
  /// IP_MULTICAST_ALL: datagrams to groups that others of this host have joined too.
  public var multicastAll = true
  /// IP_MULTICAST_IF: a device's number, 0 for the route's.
  public var multicastDevice: Int32 = 0
  /// Groups that were joined, and the numbers of the devices.
  var memberships: [GroupMembership] = []
  /// IPV6_V6ONLY.
  public var isV6Only = false
  /// TCP_NODELAY.
  public var noDelay = false
  /// TCP_CORK, UDP_CORK.
  public var isCorked = false
  /// SO_LINGER in seconds; nil: off. Closing never waits here, so that only 0, which resets, makes a difference.
  public var linger: Int?
  /// SO_SNDBUF was set, so that TCP leaves it alone (SOCK_SNDBUF_LOCK).
  public var isSendBufferLocked = false
  /// SO_RCVBUF was set (SOCK_RCVBUF_LOCK).
  public var isReceiveBufferLocked = false
  /// SO_OOBINLINE.
  public var urgentInline = false
  /// SO_KEEPALIVE; TCP_KEEPIDLE and TCP_KEEPINTVL in seconds, TCP_KEEPCNT; nil: the namespace's.
  public var keepAlive = false
  /// TCP_KEEPIDLE.
  public var keepAliveTime: Int?
  /// TCP_KEEPINTVL.
  public var keepAliveInterval: Int?
  /// TCP_KEEPCNT.
  public var keepAliveProbes: Int?
  /// TCP_USER_TIMEOUT in nanoseconds; 0: none.
  public var userTimeout: Int64 = 0
  /// TCP_SYNCNT; nil: the namespace's.
  public var synRetries: Int?
  /// TCP_LINGER2 in seconds, less than 0: no wait; nil: the namespace's.
  public var linger2: Int?
  /// TCP_DEFER_ACCEPT as the kernel keeps it: retransmissions of the SYN-ACK.
  public var deferAccept = 0
  /// TCP_WINDOW_CLAMP; 0: none.
  public var windowClamp = 0
  /// TCP_NOTSENT_LOWAT; 0: the namespace's.
  public var notSentLowWater = 0
  /// SO_TIMESTAMPING.
  public var timestamping: Timestamping = []
  /// SO_MAX_PACING_RATE in bytes a second.
  public var maximumPacingRate = UInt64.max
  /// ICMP_FILTER: a bit for each ICMP type that a raw socket is not given.
  public var icmpFilter: UInt32 = 0
  /// ICMPV6_FILTER: the same for the types of ICMPv6, 0 to 127 and 128 to 255.
  public var icmp6Filter = ICMP6Filter()
  /// IPV6_CHECKSUM: where in what a raw socket of IPv6 sends and receives the checksum is; nil: nowhere.
  public var checksumOffset: Int?

  /// The kernel's defaults.
  public init() {}

  /// net.core.rmem_max and wmem_max.
  static let bufferMaximum = 212_992
  static let receiveBufferMinimum = 2304
  static let sendBufferMinimum = 4608
}

/// Types of ICMPv6 that a raw socket is not given, a bit each.
public struct ICMP6Filter: Hashable, Sendable {
  /// Types 0 to 127, which are errors.
  public var errors: UInt128
  /// Types 128 to 255.
  public var messages: UInt128

  /// By default none is kept away.
  public init(errors: UInt128 = 0, messages: UInt128 = 0) {
    self.errors = errors
    self.messages = messages
  }

  func blocks(_ type: UInt8) -> Bool {
    (type < 128 ? errors : messages) >> UInt128(type & 127) & 1 == 1
  }
}

/// One option with its value.
public enum SocketOption: Hashable, Sendable {
  case reuseAddress(Bool)
  case reusePort(Bool)
  case broadcast(Bool)
  /// Empty: any device.
  case bindToDevice(String)
  case mark(UInt32)
  case priority(UInt32)
  case receiveBuffer(Int)
  case sendBuffer(Int)
  /// Nil: the namespace's default again.
  case ttl(Int?)
  case typeOfService(UInt8)
  case pathMTUDiscovery(PathMTUDiscovery)
  case receiveErrors(Bool)
  case freeBind(Bool)
  case transparent(Bool)
  case headerIncluded(Bool)
  case multicastTTL(Int)
  case multicastLoop(Bool)
  case multicastAll(Bool)
  case multicastDevice(Int32)
  /// IP_ADD_MEMBERSHIP, IPV6_JOIN_GROUP, by the device of that number; 0: the route's.
  case joinGroup(IPAddress, device: Int32)
  /// IP_DROP_MEMBERSHIP, IPV6_LEAVE_GROUP.
  case leaveGroup(IPAddress, device: Int32)
  case v6Only(Bool)
  case icmpFilter(UInt32)
  case icmp6Filter(ICMP6Filter)
  /// Nil: nowhere.
  case checksumOffset(Int?)
  case noDelay(Bool)
  case cork(Bool)
  case linger(Int?)
  case keepAlive(Bool)
  case urgentInline(Bool)
  case timestamping(Timestamping)
  /// In bytes a second.
  case maximumPacingRate(UInt64)
  /// TCP_*, with the kernel's numbers and units.
  case keepAliveTime(Int)
  case keepAliveInterval(Int)
  case keepAliveProbes(Int)
  case userTimeout(Int)
  case synRetries(Int)
  case linger2(Int)
  case deferAccept(Int)
  case windowClamp(Int)
  case notSentLowWater(UInt32)
  case congestionControl(String)
  case maximumSegmentSize(Int)
  case quickACK(Int)
}

extension Kernel {
  /// The options of a socket.
  public func options(of index: SocketIndex) -> SocketOptions? {
    isOpen(index) ? sockets[index].options : nil
  }

  /// Changes one option. EINVAL: not such a value; EPERM: only for the privileged; ENODEV: no such device; ENOPROTOOPT:
  /// not an option of this kind of socket.
  public mutating func setOption(_ option: SocketOption, on index: SocketIndex) throws(KernelError) {
    guard isOpen(index) else { throw .badDescriptor }
    let isPrivileged = sockets[index].credentials.isPrivileged
    if sockets[index].kind.isStream { tcps[sockets[index].tcp].way.forget() }
    switch option {
    case .reuseAddress(let isOn): sockets[index].options.reuseAddress = isOn
    case .reusePort(let isOn):
      guard sockets[index].kind.hasPorts || !isOn else { throw .notSupported("SO_REUSEPORT needs ports") }
      sockets[index].options.reusePort = isOn
    case .broadcast(let isOn): sockets[index].options.broadcast = isOn
    case .bindToDevice(let name):
      var number: Int32 = 0
      if !name.isEmpty {
        guard let found = self.index(of: name, in: sockets[index].namespace) else { throw .noSuchDevice }
        number = found
      }
      // Only a device that was chosen already is beyond who has no privilege.
      guard isPrivileged || sockets[index].options.device == 0 else { throw .notPermitted }
      sockets[index].options.device = number
    case .mark(let mark):
      guard isPrivileged else { throw .notPermitted }
      sockets[index].options.mark = mark
    case .priority(let priority):
      guard priority <= 6 || isPrivileged else { throw .notPermitted }
      sockets[index].options.priority = priority
    case .receiveBuffer(let size):
      sockets[index].options.receiveBuffer = max(
        min(max(size, 0), SocketOptions.bufferMaximum) * 2, SocketOptions.receiveBufferMinimum)
      sockets[index].options.isReceiveBufferLocked = true
    case .sendBuffer(let size):
      sockets[index].options.sendBuffer = max(
        min(max(size, 0), SocketOptions.bufferMaximum) * 2, SocketOptions.sendBufferMinimum)
      sockets[index].options.isSendBufferLocked = true
      settleRoom(index)
    case .ttl(let ttl):
      guard let ttl else {
        sockets[index].options.ttl = nil
        return
      }
      guard (1...255).contains(ttl) else { throw .invalidArgument }
      sockets[index].options.ttl = UInt8(ttl)
    case .typeOfService(let value):
      sockets[index].options.typeOfService = value
      sockets[index].options.priority = Self.priority(typeOfService: value)
    case .pathMTUDiscovery(let value): sockets[index].options.pathMTUDiscovery = value
    case .receiveErrors(let isOn):
      sockets[index].options.receiveErrors = isOn
      if !isOn { sockets[index].errorQueue = [] }
    case .freeBind(let isOn): sockets[index].options.freeBind = isOn
    case .transparent(let isOn):
      guard !isOn || sockets[index].credentials.isPrivileged else { throw .notPermitted }
      sockets[index].options.transparent = isOn
    case .headerIncluded(let isOn):
      guard case .raw = sockets[index].kind else { throw .noSuchOption }
      sockets[index].options.headerIncluded = isOn
    case .multicastTTL(let ttl):
      guard ttl == -1 || (0...255).contains(ttl) else { throw .invalidArgument }
      sockets[index].options.multicastTTL = ttl == -1 ? 1 : UInt8(ttl)
    case .multicastLoop(let isOn): sockets[index].options.multicastLoop = isOn
    case .multicastAll(let isOn): sockets[index].options.multicastAll = isOn
    case .joinGroup(let group, let device): try join(group, device, by: index)
    case .leaveGroup(let group, let device): try leave(group, device, by: index)
    case .multicastDevice(let number):
      guard number == 0 || device(ifindex: number, in: sockets[index].namespace) != nil else {
        throw .addressNotAvailable
      }
      sockets[index].options.multicastDevice = number
    case .v6Only(let isOn):
      guard sockets[index].kind.family == .ipv6 else { throw .noSuchOption }
      guard sockets[index].local.port == 0 else { throw .invalidArgument }
      sockets[index].options.isV6Only = isOn
    case .icmpFilter(let mask):
      guard case .raw(.ipv4, let proto) = sockets[index].kind, proto == 1 else { throw .noSuchOption }
      sockets[index].options.icmpFilter = mask
    case .noDelay(let isOn):
      guard sockets[index].kind.isStream else { throw .noSuchOption }
      sockets[index].options.noDelay = isOn
      // What waits goes at once, whatever it waits for (TCP_NAGLE_PUSH).
      if isOn { tcpPush(sockets[index].tcp, .withoutNagle) }
    case .cork(let isOn):
      switch sockets[index].kind {
      case .tcp:
        sockets[index].options.isCorked = isOn
        if !isOn { tcpPush(sockets[index].tcp, sockets[index].options.noDelay ? .withoutNagle : .plain) }
      case .udp:
        sockets[index].options.isCorked = isOn
        // What cannot be sent any more is nobody's error here.
        if !isOn { _ = udpPushPending(index) }
      default: throw .noSuchOption
      }
    case .icmp6Filter(let filter):
      guard case .raw(.ipv6, 58) = sockets[index].kind else { throw .noSuchOption }
      sockets[index].options.icmp6Filter = filter
    case .checksumOffset(let offset):
      guard case .raw(.ipv6, _) = sockets[index].kind else { throw .noSuchOption }
      guard let offset, offset >= 0 else {
        sockets[index].options.checksumOffset = nil
        return
      }
      guard offset % 2 == 0 else { throw .invalidArgument }
      sockets[index].options.checksumOffset = offset
    case .linger(let seconds): sockets[index].options.linger = seconds
    case .timestamping(let options): try setTimestamping(options, on: index)
    case .urgentInline(let isOn): sockets[index].options.urgentInline = isOn
    case .keepAlive(let isOn):
      if sockets[index].kind.isStream { tcpSetKeepalive(sockets[index].tcp, isOn) }
      sockets[index].options.keepAlive = isOn
    case .maximumPacingRate(let rate):
      sockets[index].options.maximumPacingRate = rate
      if sockets[index].kind.isStream { tcpLimitPacing(sockets[index].tcp, rate) }
    default: try setStreamOption(option, on: index)
    }
  }

  /// What a type of service means to a queueing discipline (rt_tos2priority): best effort, bulk, interactive, both.
  static func priority(typeOfService value: UInt8) -> UInt32 {
    switch value >> 3 & 3 {
    case 0: 0
    case 1: 2
    case 2: 6
    default: 4
    }
  }

  /// More of the send buffer may have made room for who waits.
  private mutating func settleRoom(_ index: SocketIndex) {
    if sockets[index].wait.interest.contains(.out), readiness(of: index).contains(.out) {
      notify(index, .writable)
    }
  }
}
