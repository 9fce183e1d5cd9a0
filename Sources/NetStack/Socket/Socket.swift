// SPDX-License-Identifier: GPL-2.0-or-later

// A socket as its protocol sees it (struct sock, inet_sock). What TCP adds stands in a table of its own; what a
// descriptor adds stands above the kernel. Verbs on it never wait: they do it, or fail with EAGAIN or what it is.

public import NetTypes

/// The place of a socket in the kernel's table.
public typealias SocketIndex = TableIndex<Socket>

/// What a socket speaks.
public enum SocketKind: Hashable, Sendable {
  /// SOCK_STREAM with TCP.
  case tcp(IPFamily)
  /// SOCK_DGRAM with UDP.
  case udp(IPFamily)
  /// SOCK_DGRAM with ICMP or ICMPv6: echo requests and what comes of them.
  case ping(IPFamily)
  /// SOCK_RAW with a protocol's number; 255 only sends.
  case raw(IPFamily, UInt8)
  /// AF_PACKET with an EtherType or `PacketAddress.everyProtocol`; cooked without link headers (SOCK_DGRAM).
  case packet(UInt16, cooked: Bool)

  var family: IPFamily? {
    switch self {
    case .tcp(let family), .udp(let family), .ping(let family), .raw(let family, _): family
    case .packet: nil
    }
  }

  var isStream: Bool {
    if case .tcp = self { true } else { false }
  }

  /// Whether a socket of IPv6 may speak to IPv4's hosts by their mapped addresses.
  var speaksBoth: Bool {
    switch self {
    case .tcp(.ipv6), .udp(.ipv6): true
    default: false
    }
  }

  var hasPorts: Bool {
    switch self {
    case .tcp, .udp, .ping: true
    case .raw, .packet: false
    }
  }
}

/// On whose behalf a socket is made and used.
public struct SocketCredentials: Hashable, Sendable {
  /// User and group.
  public var user: UInt32
  public var group: UInt32
  /// CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE.
  public var isPrivileged: Bool

  /// A user without capabilities.
  public init(user: UInt32, group: UInt32, isPrivileged: Bool = false) {
    self.user = user
    self.group = group
    self.isPrivileged = isPrivileged
  }

  /// User 0 with all capabilities.
  public static let root = SocketCredentials(user: 0, group: 0, isPrivileged: true)
}

/// Which directions a socket has ended.
public struct SocketShutdown: OptionSet, Hashable, Sendable {
  /// RCV_SHUTDOWN and SEND_SHUTDOWN.
  public var rawValue: UInt8

  /// From the kernel's bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Nothing more is received.
  public static let receive = SocketShutdown(rawValue: 1)
  /// Nothing more is sent.
  public static let send = SocketShutdown(rawValue: 2)
  /// Neither.
  public static let both: SocketShutdown = [.receive, .send]
}

/// Packets that wait to be received.
struct ReceiveQueue {
  var packets = SlotQueue()
  /// What they hold of the pool (sk_rmem_alloc).
  var charged = 0

  var head: Slot { packets.head }
  var tail: Slot { packets.tail }
  var count: Int { Int(packets.count) }
  var isEmpty: Bool { packets.isEmpty }
}

/// A socket.
public struct Socket: ~Copyable {
  let kind: SocketKind
  let namespace: NamespaceIndex
  let credentials: SocketCredentials
  /// inet_rcv_saddr and inet_num: what it takes in.
  var local: SocketAddress
  /// inet_saddr: what it speaks from, which is not a group's address when it is bound to one.
  var source: IPAddress
  /// Whom it is connected to.
  var peer: SocketAddress?
  /// SOCK_BINDADDR_LOCK, SOCK_BINDPORT_LOCK: chosen by bind, so that they outlive a connection.
  var isAddressBound = false
  var isPortBound = false
  /// What a packet socket is bound to.
  var link: PacketAddress
  var options = SocketOptions()
  var receiveQueue = ReceiveQueue()
  /// Where it stands in its protocol's table, while it has a port.
  var portPlace = PortTable.end
  /// A datagram that is still being written.
  var cork: UDPCork?
  var errorQueue: [SocketErrorReport] = []
  /// sk_err: told once, by the next verb or SO_ERROR.
  var error: Int32 = 0
  var shutdown: SocketShutdown = []
  var wait = SocketWait()
  /// The first of what watches it for an instance of epoll.
  var watchers = EpollItemIndex.none
  /// What TCP keeps of it.
  var tcp = TCPIndex.none
  /// What keeps its names when the connection is over.
  var timeWait = TimeWaitIndex.none
  /// Packets that did not fit (sk_drops).
  var drops: UInt64 = 0
  /// Nobody uses it any more; it stays while packets that it has sent are on their way.
  var isClosed = false
  /// The sockets of one namespace, youngest first.
  var nextInNamespace = SocketIndex.none
  var previousInNamespace = SocketIndex.none

  init(kind: SocketKind, namespace: NamespaceIndex, credentials: SocketCredentials) {
    self.kind = kind
    self.namespace = namespace
    self.credentials = credentials
    let any = IPAddress.any(kind.family ?? .ipv4)
    local = SocketAddress(any)
    source = any
    link = PacketAddress()
    switch kind {
    case .packet(let proto, _): link.proto = proto
    case .raw(let family, let proto):
      local.port = UInt16(proto)
      options.headerIncluded = proto == 255
      if family == .ipv6, proto == IPv6NextHeader.icmp { options.checksumOffset = 2 }
    case .tcp, .udp, .ping: break
    }
  }

  /// Reports in the error queue at most; the kernel bounds them by the receive buffer.
  static let errorLimit = 256
}

/// A socket as a list shows it (`ss`).
public struct SocketSummary: Hashable, Sendable {
  /// Which one.
  public var socket: SocketIndex
  /// What it speaks.
  public var kind: SocketKind
  /// Its own name.
  public var local: SocketAddress
  /// Whom it is connected to.
  public var peer: SocketAddress?
  /// What a packet socket is bound to.
  public var link: PacketAddress
  /// A stream's state.
  public var state: TCPState?
  /// Bytes that wait to be read; a listener's connections that wait to be accepted (Recv-Q).
  public var receiveQueue: Int
  /// Bytes that are not acknowledged; a listener's backlog (Send-Q).
  public var sendQueue: Int
  /// Bytes of the pool that wait to be received (skmem r).
  public var receiveMemory: Int
  /// Bytes of the pool on their way out (skmem t).
  public var sendMemory: Int
  /// Its options.
  public var options: SocketOptions
  /// Packets that did not fit.
  public var drops: UInt64
  /// Who made it.
  public var user: UInt32
  /// What runs for it.
  public var timer: SocketTimer?
}
