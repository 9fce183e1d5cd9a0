// SPDX-License-Identifier: GPL-2.0-or-later

// Listens to what changes, in its own namespace and in all that it watches, by one socket (NETLINK_LISTEN_ALL_NSID).
// The kernel marks an event of another namespace with the id that the monitor's namespace has given it.

import CLinux
import CMnl
import Glibc
public import Rtnetlink
import Synchronization
import SystemPackage

/// What a monitor tells.
public enum NetlinkEvent: Hashable, Sendable {
  /// Something changed. The namespace is nil for the monitor's own.
  case message(NetlinkMessage, namespace: String?)
  /// Events were lost: the kernel's buffer or the reader's was full. What was known must be read anew.
  case gap
}

/// A listener for the changes of many namespaces.
public final class NetlinkMonitor: Sendable {
  /// Everything that the monitor hears from its start on. For one reader.
  public let events: AsyncStream<NetlinkEvent>

  private let socket: MonitorSocket
  private let continuation: AsyncStream<NetlinkEvent>.Continuation
  /// Asks for the namespaces' ids.
  private let requests: NetlinkSocket
  /// The namespaces that are watched, by id. Ids are given by the kernel and stay for the namespace's life.
  private let names = Mutex<[Int32: String]>([:])

  /// What is listened to when nothing else is said.
  public static let allGroups: [Group] = [
    .link, .neighbor, .ipv4Address, .ipv4Route, .ipv4Rule, .ipv6Address, .ipv6Route, .ipv6Rule, .namespaceID,
  ]

  /// What becomes of connections; of netfilter's family.
  public static let conntrackGroups: [Group] = [
    Group(rawValue: NFNLGRP_CONNTRACK_NEW.rawValue), Group(rawValue: NFNLGRP_CONNTRACK_UPDATE.rawValue),
    Group(rawValue: NFNLGRP_CONNTRACK_DESTROY.rawValue),
  ]

  /// A kind of event (`RTNLGRP_*`, `NFNLGRP_*`).
  public struct Group: RawRepresentable, Hashable, Sendable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    init(_ group: rtnetlink_groups) { rawValue = group.rawValue }

    public static let link = Group(RTNLGRP_LINK)
    /// Neighbours, and the forwarding databases of bridges.
    public static let neighbor = Group(RTNLGRP_NEIGH)
    public static let qdisc = Group(RTNLGRP_TC)
    public static let ipv4Address = Group(RTNLGRP_IPV4_IFADDR)
    public static let ipv4Route = Group(RTNLGRP_IPV4_ROUTE)
    public static let ipv4Rule = Group(RTNLGRP_IPV4_RULE)
    public static let ipv6Address = Group(RTNLGRP_IPV6_IFADDR)
    public static let ipv6Route = Group(RTNLGRP_IPV6_ROUTE)
    public static let ipv6Rule = Group(RTNLGRP_IPV6_RULE)
    public static let namespaceID = Group(RTNLGRP_NSID)
  }

  /// Listens from the calling thread's namespace.
  /// - Parameter capacity: events that may wait for the reader; more are a gap.
  public init(
    _ family: NetlinkSocket.Family = .route, groups: [Group] = allGroups, capacity: Int = 65536
  ) throws(NetlinkError) {
    socket = try MonitorSocket(family, groups)
    requests = try NetlinkSocket(label: "monitor")
    (events, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(capacity))
    let (socket, continuation) = (socket, continuation)
    continuation.onTermination = { _ in socket.stop() }
    let reader = MonitorReader(socket: socket, continuation: continuation) { [weak self] identifier in
      self?.names.withLock { $0[identifier] }
    }
    try reader.start()
  }

  deinit {
    continuation.finish()
    socket.stop()
  }

  /// Listens to a namespace as well. An id is given to it when it has none.
  public func watch(_ namespace: KernelNamespace) throws(NetlinkError) {
    let identifier = try requests.namespaceID(of: namespace)
    names.withLock { $0[identifier] = namespace.label }
  }

  /// The id that the monitor's namespace has for another that is watched.
  public func identifier(of name: String) -> Int32? {
    names.withLock { names in names.first { $0.value == name }?.key }
  }

  /// Ends the stream of events.
  public func stop() { continuation.finish() }
}

extension NetlinkSocket {
  /// The id that the socket's namespace has for another; one is given when there is none.
  public func namespaceID(of namespace: KernelNamespace) throws(NetlinkError) -> Int32 {
    let descriptor = namespace.descriptor.rawValue
    if let known = try queryNamespaceID(descriptor) { return known }
    do throws(NetlinkError) {
      try request(NamespaceIDMessage.assign(descriptor: descriptor))
    } catch {
      // Another program was quicker.
      guard error.errno == .fileExists else { throw error }
    }
    guard let identifier = try queryNamespaceID(descriptor) else {
      throw NetlinkError(
        .malformedAnswer, "asking for the id of namespace '\(namespace.label)'",
        detail: "it has none after RTM_NEWNSID")
    }
    return identifier
  }

  private func queryNamespaceID(_ descriptor: Int32) throws(NetlinkError) -> Int32? {
    for answer in try request(NamespaceIDMessage.query(descriptor: descriptor)) {
      do throws(NetlinkDecodingError) {
        if let identifier = try NamespaceIDMessage(answer).identifier, identifier >= 0 { return identifier }
      } catch {
        throw NetlinkError(.malformedAnswer, "RTM_GETNSID in namespace '\(label)'", detail: error.description)
      }
    }
    return nil
  }
}

/// The listening socket and the descriptor that wakes its reader.
private final class MonitorSocket: @unchecked Sendable {
  let descriptor: Int32
  /// Readable when the reader is to end.
  let wake: Int32
  private let wakeWriter: Int32
  private let socket: OpaquePointer

  /// Bursts of thousands of events come when a lab goes up.
  static let bufferSize: Int32 = 8 << 20

  init(_ family: NetlinkSocket.Family, _ groups: [NetlinkMonitor.Group]) throws(NetlinkError) {
    guard let socket = mnl_socket_open2(family.rawValue, Int32(SOCK_CLOEXEC.rawValue)) else {
      throw .system("opening the monitor's socket", -errno)
    }
    var ends: [Int32] = [-1, -1]
    let piped = socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends)
    (wake, wakeWriter) = (ends[0], ends[1])
    self.socket = socket
    descriptor = mnl_socket_get_fd(socket)
    guard piped == 0 else { throw .system("opening the monitor's wake-up pair", -errno) }
    guard mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 else {
      throw .system("binding the monitor's socket", -errno)
    }
    SocketBuffer.enlarge(descriptor, send: nil, receive: Self.bufferSize)
    try set(NETLINK_LISTEN_ALL_NSID, 1, "listening to all namespaces")
    for group in groups {
      try set(
        NETLINK_ADD_MEMBERSHIP, Int32(bitPattern: group.rawValue), "joining netlink group \(group.rawValue)")
    }
  }

  deinit {
    mnl_socket_close(socket)
    for end in [wake, wakeWriter] where end >= 0 { _ = close(end) }
  }

  func stop() {
    var byte: UInt8 = 0
    _ = write(wakeWriter, &byte, 1)
  }

  private func set(_ option: Int32, _ value: Int32, _ operation: String) throws(NetlinkError) {
    var value = value
    guard mnl_socket_setsockopt(socket, option, &value, socklen_t(MemoryLayout<Int32>.size)) == 0 else {
      throw .system(operation, -errno)
    }
  }
}

/// The thread that reads the socket.
private final class MonitorReader: Sendable {
  private let socket: MonitorSocket
  private let continuation: AsyncStream<NetlinkEvent>.Continuation
  private let name: @Sendable (Int32) -> String?

  init(
    socket: MonitorSocket, continuation: AsyncStream<NetlinkEvent>.Continuation,
    name: @escaping @Sendable (Int32) -> String?
  ) {
    self.socket = socket
    self.continuation = continuation
    self.name = name
  }

  func start() throws(NetlinkError) {
    var thread = pthread_t()
    let context = Unmanaged.passRetained(self)
    let result = pthread_create(&thread, nil, monitorReaderEntry, context.toOpaque())
    guard result == 0 else {
      context.release()
      throw .system("starting the monitor's thread", -result)
    }
    pthread_detach(thread)
  }

  func run() {
    let buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: NetlinkSocket.receiveBufferSize, alignment: 16)
    defer { buffer.deallocate() }
    var gap = false
    while waitForEvents() {
      var hasIdentifier: Int32 = 0
      var identifier: Int32 = 0
      let count = nf_netlink_receive(
        socket.descriptor, buffer.baseAddress, buffer.count, &hasIdentifier, &identifier)
      if count < 0 {
        // ENOBUFS: the kernel dropped events. EMSGSIZE: one did not fit. Both are events that nobody saw.
        guard count == -Int(ENOBUFS) || count == -Int(EMSGSIZE) else {
          break
        }
        gap = true
      }
      if gap { gap = !deliver(.gap) }
      guard count > 0 else { continue }
      let namespace = hasIdentifier != 0 ? name(identifier) ?? "nsid \(identifier)" : nil
      guard let messages = try? NetlinkMessage.parse(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      else {
        gap = !deliver(.gap)
        continue
      }
      for message in messages where !deliver(.message(message, namespace: namespace)) { gap = true }
    }
    continuation.finish()
  }

  /// False when the reader's buffer is full.
  private func deliver(_ event: NetlinkEvent) -> Bool {
    if case .dropped = continuation.yield(event) { return false }
    return true
  }

  /// False when the monitor is to end.
  private func waitForEvents() -> Bool {
    var descriptors = [
      pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: socket.wake, events: Int16(POLLIN), revents: 0),
    ]
    while poll(&descriptors, 2, -1) < 0 {
      if errno != EINTR { return false }
    }
    return descriptors[1].revents == 0
  }
}

/// The thread's entry; the retained reader is its own from here on.
private nonisolated func monitorReaderEntry(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let context else { return nil }
  Unmanaged<MonitorReader>.fromOpaque(context).takeRetainedValue().run()
  return nil
}
