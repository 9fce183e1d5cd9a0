// SPDX-License-Identifier: GPL-2.0-or-later

// Sockets come, go, and are asked what they are (net/ipv4/af_inet.c, net/core/sock.c).

import NetTypes

extension Kernel {
  /// Whether a socket is there to be used.
  func isOpen(_ index: SocketIndex) -> Bool { sockets.contains(index) && !sockets[index].isClosed }

  // MARK: Making and closing

  /// Makes a socket. EPERM: only for the privileged; EACCES: the group may not ping; EAFNOSUPPORT: no such family here.
  public mutating func makeSocket(
    _ kind: SocketKind, in namespace: NamespaceIndex, credentials: SocketCredentials = .root
  ) throws(KernelError) -> SocketIndex {
    guard namespaces.contains(namespace) else { throw .noSuchDevice }
    switch kind {
    case .tcp, .udp: break
    case .ping:
      guard namespaces[namespace].ipv4.pingGroups.contains(credentials.group) else { throw .accessDenied }
    case .raw, .packet:
      guard credentials.isPrivileged else { throw .notPermitted }
    }
    guard let index = insertSocket(kind, in: namespace, credentials) else { throw KernelError(23) }
    switch kind {
    case .tcp:
      guard insertTCP(for: index) != nil else {
        endSocket(index)
        throw KernelError(23)
      }
    case .raw: namespaces[namespace].sockets.raw.append(index)
    case .packet: hookPacketSocket(index)
    case .udp, .ping: break
    }
    return index
  }

  /// A socket in the namespace's list; nil when there is no place.
  mutating func insertSocket(
    _ kind: SocketKind, in namespace: NamespaceIndex, _ credentials: SocketCredentials
  ) -> SocketIndex? {
    let socket = Socket(kind: kind, namespace: namespace, credentials: credentials)
    guard let index = sockets.insert(socket) else { return nil }
    let next = namespaces[namespace].sockets.first
    sockets[index].nextInNamespace = next
    if !next.isNone { sockets[next].previousInNamespace = index }
    namespaces[namespace].sockets.first = index
    return index
  }

  /// Closes a socket; what it has not read is lost. A connection ends in its own time.
  public mutating func close(_ index: SocketIndex) {
    guard isOpen(index) else { return }
    leaveAllGroups(index)
    unpost(index)
    sockets[index].wait = SocketWait()
    sockets[index].isClosed = true
    switch sockets[index].kind {
    case .tcp:
      tcpClose(index)
      return
    case .raw: namespaces[sockets[index].namespace].sockets.raw.removeAll { $0 == index }
    case .packet: unhookPacketSocket(index)
    case .udp, .ping: break
    }
    unbind(index)
    dropReceived(of: index)
    endSocket(index)
  }

  /// Takes a socket that nobody uses out of its namespace.
  mutating func endSocket(_ index: SocketIndex) {
    let namespace = sockets[index].namespace
    let (previous, next) = (sockets[index].previousInNamespace, sockets[index].nextInNamespace)
    if previous.isNone {
      namespaces[namespace].sockets.first = next
    } else {
      sockets[previous].nextInNamespace = next
    }
    if !next.isNone { sockets[next].previousInNamespace = previous }
    sockets[index].isClosed = true
    endTimestamping(index)
    sockets[index].errorQueue = []
    // Its packets may still be on their way; the place is free when the last of them has ended (sk_free).
    if pool.writers.charged(to: index.rawValue) == 0 {
      forgetSocket(index)
    } else {
      pool.writers.await(index.rawValue, 0)
    }
  }

  mutating func forgetSocket(_ index: SocketIndex) {
    pool.writers.forget(index.rawValue)
    sockets.remove(index)
  }

  mutating func closeSockets(of namespace: NamespaceIndex) {
    while !namespaces[namespace].sockets.first.isNone {
      let index = namespaces[namespace].sockets.first
      close(index)
      // There is no namespace left in which a connection could end in its own time.
      guard namespaces[namespace].sockets.first == index else { continue }
      let waiting = sockets[index].timeWait
      if waiting.isNone { tcpDone(sockets[index].tcp) } else { tcpEndTimeWait(waiting) }
    }
  }

  mutating func dropReceived(of index: SocketIndex) {
    let namespace = sockets[index].namespace
    while let slot = takeReceived(index) { drop(slot, .socketClosed, in: namespace) }
  }

  // MARK: Names and states

  /// The socket's own name (getsockname).
  public func localName(of index: SocketIndex) throws(KernelError) -> SocketAddress {
    guard isOpen(index) else { throw .badDescriptor }
    let address = sockets[index].local.address
    return SocketAddress(
      address.isUnspecified ? sockets[index].source : address, sockets[index].local.port,
      scope: sockets[index].local.scope
    ).told(to: sockets[index].kind.family)
  }

  /// Whom it is connected to (getpeername). ENOTCONN: nobody.
  public func peerName(of index: SocketIndex) throws(KernelError) -> SocketAddress {
    guard isOpen(index) else { throw .badDescriptor }
    guard let peer = sockets[index].peer, peer.port != 0 || !sockets[index].kind.hasPorts else {
      throw .notConnected
    }
    if !sockets[index].tcp.isNone {
      switch tcps[sockets[index].tcp].state {
      case .close, .synSent, .timeWait: throw .notConnected
      default: break
      }
    }
    return peer.told(to: sockets[index].kind.family)
  }

  /// The error that waits to be told, which is told by this (SO_ERROR); 0 for none.
  public mutating func takeError(of index: SocketIndex) -> Int32 {
    guard isOpen(index) else { return 0 }
    defer { sockets[index].error = 0 }
    return sockets[index].error
  }

  /// Ends one or both directions (inet_shutdown). ENOTCONN, though it is done, where nobody is connected.
  public mutating func shutdown(_ index: SocketIndex, _ how: SocketShutdown) throws(KernelError) {
    guard isOpen(index) else { throw .badDescriptor }
    guard !how.isEmpty else { throw .invalidArgument }
    if sockets[index].kind.isStream {
      try tcpShutdown(index, how)
      return
    }
    if case .packet = sockets[index].kind { throw .operationNotSupported }
    sockets[index].shutdown.formUnion(how)
    var news: Readiness = []
    if sockets[index].shutdown.contains(.receive) { news.formUnion([.readHangUp, .in, .readNormal]) }
    if sockets[index].shutdown == .both { news.insert(.hangUp) }
    notify(index, news)
    if sockets[index].peer == nil { throw .notConnected }
  }

  /// The sockets of a namespace, oldest first.
  public func sockets(in namespace: NamespaceIndex) -> [SocketSummary] {
    guard namespaces.contains(namespace) else { return [] }
    var list: [SocketSummary] = []
    var index = namespaces[namespace].sockets.first
    while !index.isNone {
      list.append(summary(of: index))
      index = sockets[index].nextInNamespace
    }
    return list.reversed()
  }

  private func summary(of index: SocketIndex) -> SocketSummary {
    let tcp = sockets[index].tcp
    var queues = (received: sockets[index].receiveQueue.charged, sent: 0)
    if !tcp.isNone {
      queues =
        tcps[tcp].state == .listen
        ? (tcps[tcp].acceptQueue.count, tcps[tcp].backlog)
        : (Int(tcps[tcp].receiveNext &- tcps[tcp].copied), tcps[tcp].unacknowledgedNumbers)
    }
    return SocketSummary(
      socket: index, kind: sockets[index].kind,
      local: sockets[index].local.told(to: sockets[index].kind.family),
      peer: sockets[index].peer?.told(to: sockets[index].kind.family),
      link: sockets[index].link,
      state: tcp.isNone ? (sockets[index].timeWait.isNone ? nil : .timeWait) : tcps[tcp].state,
      receiveQueue: queues.received,
      sendQueue: queues.sent, receiveMemory: sockets[index].receiveQueue.charged,
      sendMemory: pool.writers.charged(to: index.rawValue), options: sockets[index].options,
      drops: sockets[index].drops, user: sockets[index].credentials.user,
      timer: timer(of: index))
  }
}
