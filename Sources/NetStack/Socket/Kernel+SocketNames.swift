// SPDX-License-Identifier: GPL-2.0-or-later

// Which address and port a socket has: bind, connect, disconnect, and ports chosen by chance
// (net/ipv4/af_inet.c __inet_bind, udp.c udp_lib_get_port, datagram.c, ping.c ping_get_port).

import NetTypes

extension Kernel {
  // MARK: Binding

  /// Gives a socket its own name. EINVAL: it has one; EACCES: a port for the privileged; EADDRNOTAVAIL: not an address
  /// of this host; EADDRINUSE: somebody has it.
  public mutating func bind(_ index: SocketIndex, to name: SocketAddress) throws(KernelError) {
    guard isOpen(index) else { throw .badDescriptor }
    guard let family = sockets[index].kind.family else { throw .invalidArgument }
    guard name.address.family == family else { throw .familyNotSupported }
    let name = try namedForBinding(name, index)
    let namespace = sockets[index].namespace
    let type = addressType(name.address, in: namespace)
    switch sockets[index].kind {
    case .raw:
      guard sockets[index].peer == nil else { throw .invalidArgument }
      guard isBindable(name.address, type, sockets[index].options) else { throw .addressNotAvailable }
      setLocalAddress(index, name.address, type)
      sockets[index].isAddressBound = !name.address.isUnspecified
      return
    case .ping:
      // A ping socket is never bound to a group or a broadcast address.
      guard
        type == .local || name.address.isUnspecified || sockets[index].options.freeBind
          || sockets[index].options.transparent
      else {
        throw .addressNotAvailable
      }
    case .udp, .tcp:
      guard isBindable(name.address, type, sockets[index].options) else { throw .addressNotAvailable }
    case .packet: throw .invalidArgument
    }
    let isPing = if case .ping = sockets[index].kind { true } else { false }
    if !isPing, name.port != 0, !sockets[index].credentials.isPrivileged,
      Int(name.port) < namespaces[namespace].ipv4.unprivilegedPortStart
    {
      throw .accessDenied
    }
    guard sockets[index].peer == nil, sockets[index].local.port == 0 else { throw .invalidArgument }
    setLocalAddress(index, name.address, type)
    sockets[index].local.scope = name.scope
    guard takePort(index, name.port) else {
      setLocalAddress(index, .any(family), .local)
      throw .addressInUse
    }
    sockets[index].isAddressBound = !name.address.isUnspecified
    sockets[index].isPortBound = name.port != 0
  }

  /// A name as bind takes it: a mapped address is IPv4's, and a link-local one is of a link, which the socket keeps to
  /// (inet6_bind, rawv6_bind).
  private mutating func namedForBinding(
    _ name: SocketAddress, _ index: SocketIndex
  ) throws(KernelError) -> SocketAddress {
    guard case .v6(let address) = name.address else { return name }
    if IPv6.isMapped(UInt128(address)) {
      guard sockets[index].kind.speaksBoth else { throw .addressNotAvailable }
      guard !sockets[index].options.isV6Only else { throw .invalidArgument }
      return name.unmapped
    }
    if IPv6.isLinkLocal(UInt128(address)) {
      let number = name.scope != 0 ? name.scope : sockets[index].options.device
      guard number != 0 else { throw .invalidArgument }
      guard device(ifindex: number, in: sockets[index].namespace) != nil else { throw .noSuchDevice }
      sockets[index].options.device = number
    }
    // Who has an address of IPv6 does not speak IPv4 any more.
    if !name.address.isUnspecified { sockets[index].options.isV6Only = true }
    return name
  }

  private func isBindable(_ address: IPAddress, _ type: RouteOutcome, _ options: SocketOptions) -> Bool {
    address.isUnspecified || options.freeBind || options.transparent || address.isMulticast || type == .local
      || type == .broadcast
  }

  private mutating func setLocalAddress(
    _ index: SocketIndex, _ address: IPAddress, _ type: RouteOutcome
  ) {
    sockets[index].local.address = address
    // What was sent to a group is taken in, but nobody speaks from one.
    let isGroup = address.isMulticast || type == .broadcast
    sockets[index].source = isGroup ? .any(address.family) : address
  }

  /// What an address is to this host (inet_addr_type).
  mutating func addressType(_ address: IPAddress, in namespace: NamespaceIndex) -> RouteOutcome {
    switch address {
    case .v4(let address): return addressType(address.rawValue, in: namespace)
    case .v6(let address):
      let number = UInt128(address)
      if IPv6.isMulticast(number) { return .multicast }
      let isHere = namespaces[namespace].devices.contains { device in
        devices[device].inet6.addresses.contains { addresses6[$0].address == number }
      }
      return isHere ? .local : .unicast
    }
  }

  // MARK: Ports

  /// Puts a socket into its protocol's table under a port; 0: a free one by chance. False: there is none, or it is
  /// taken.
  mutating func takePort(_ index: SocketIndex, _ wanted: UInt16) -> Bool {
    var port = wanted
    if wanted == 0 {
      guard let free = freePort(for: index) else { return false }
      port = free
    } else if isTaken(port, for: index) {
      return false
    }
    sockets[index].local.port = port
    return enlist(index, port)
  }

  /// Puts a socket into its protocol's table. False: it has none.
  @discardableResult
  mutating func enlist(_ index: SocketIndex, _ port: UInt16) -> Bool {
    let namespace = sockets[index].namespace
    switch sockets[index].kind {
    case .tcp: sockets[index].portPlace = namespaces[namespace].sockets.tcp.insert(index, port)
    case .udp: sockets[index].portPlace = namespaces[namespace].sockets.udp.insert(index, port)
    case .ping: sockets[index].portPlace = namespaces[namespace].sockets.ping.insert(index, port)
    case .raw, .packet: return false
    }
    return true
  }

  private mutating func freePort(for index: SocketIndex) -> UInt16? {
    var range: ClosedRange<UInt16> = 1...UInt16.max
    switch sockets[index].kind {
    case .tcp, .udp: range = namespaces[sockets[index].namespace].ipv4.localPorts
    case .ping, .raw, .packet: break
    }
    let count = Int(range.upperBound - range.lowerBound) + 1
    let start = Int(cpu.random.below(UInt64(count)))
    for step in 0..<count {
      let port = range.lowerBound + UInt16((start + step) % count)
      if !isTaken(port, for: index) { return port }
    }
    return nil
  }

  /// Whether another socket's claim on a port is in the way (udp_lib_lport_inuse, inet_csk_bind_conflict).
  func isTaken(_ port: UInt16, for index: SocketIndex) -> Bool {
    let namespace = sockets[index].namespace
    switch sockets[index].kind {
    case .tcp: return isTaken(port, for: index, namespaces[namespace].sockets.tcp)
    case .udp: return isTaken(port, for: index, namespaces[namespace].sockets.udp)
    case .ping: return isTaken(port, for: index, namespaces[namespace].sockets.ping)
    case .raw, .packet: return false
    }
  }

  private func isTaken(_ port: UInt16, for index: SocketIndex, _ table: borrowing PortTable) -> Bool {
    var cursor = table.first(port)
    while cursor != PortTable.end {
      let other = table.socket(at: cursor)
      cursor = table.next(cursor, port)
      guard other != index,
        !sockets[index].options.reuseAddress || !sockets[other].options.reuseAddress || isListening(other),
        sockets[index].options.device == 0 || sockets[other].options.device == 0
          || sockets[index].options.device == sockets[other].options.device,
        overlap(index, other)
      else { continue }
      if sockets[index].options.reusePort, sockets[other].options.reusePort,
        sockets[index].credentials.user == sockets[other].credentials.user
      {
        continue
      }
      return true
    }
    return false
  }

  func isListening(_ index: SocketIndex) -> Bool {
    !sockets[index].tcp.isNone && tcps[sockets[index].tcp].state == .listen
  }

  /// Whether two sockets may be meant by one destination (inet_rcv_saddr_equal with wildcards).
  private func overlap(_ a: SocketIndex, _ b: SocketIndex) -> Bool {
    func covers(_ wide: SocketIndex, _ other: SocketIndex) -> Bool {
      guard sockets[wide].local.address.isUnspecified else { return false }
      // Of any address of its own family it takes; of the other's, one that speaks both.
      let narrow = sockets[other].local.address
      if sockets[wide].local.address.family == narrow.family { return true }
      return narrow.isUnspecified || narrow.family == .ipv4
        ? !sockets[narrow.family == .ipv4 ? wide : other].options.isV6Only : false
    }
    return sockets[a].local.address == sockets[b].local.address || covers(a, b) || covers(b, a)
  }

  /// Takes a socket out of its protocol's table.
  mutating func unbind(_ index: SocketIndex) {
    let place = sockets[index].portPlace
    let namespace = sockets[index].namespace
    guard place != PortTable.end else { return }
    switch sockets[index].kind {
    case .tcp: namespaces[namespace].sockets.tcp.remove(at: place)
    case .udp: namespaces[namespace].sockets.udp.remove(at: place)
    case .ping: namespaces[namespace].sockets.ping.remove(at: place)
    case .raw, .packet: return
    }
    sockets[index].portPlace = PortTable.end
    sockets[index].local.port = 0
  }

  /// A socket that sends without a name gets one (inet_autobind). EAGAIN: no port is free.
  mutating func autobind(_ index: SocketIndex) throws(KernelError) {
    guard sockets[index].kind.hasPorts, sockets[index].local.port == 0 else { return }
    guard takePort(index, 0) else { throw .wouldBlock }
  }

  // MARK: Connecting

  /// Fixes whom a datagram socket sends to and hears (ip4_datagram_connect); asks for a stream's connection, which is
  /// EINPROGRESS until news comes.
  public mutating func connect(_ index: SocketIndex, to peer: SocketAddress) throws(KernelError) {
    guard isOpen(index) else { throw .badDescriptor }
    if sockets[index].kind.isStream {
      try tcpConnect(index, to: peer)
      return
    }
    guard sockets[index].kind.family != nil else { throw .operationNotSupported }
    let target = try destination(of: index, peer)
    try autobind(index)
    let route = try socketRoute(index, to: target, SendControl())
    guard !route.isBroadcast || sockets[index].options.broadcast else { throw .accessDenied }
    let source = route.source
    if sockets[index].source.isUnspecified { sockets[index].source = source }
    if sockets[index].local.address.isUnspecified { sockets[index].local.address = source }
    sockets[index].peer = target
  }

  /// Takes back what `connect` did to a datagram socket, and what it chose (connect with AF_UNSPEC; __udp_disconnect).
  public mutating func disconnect(_ index: SocketIndex) throws(KernelError) {
    guard isOpen(index) else { throw .badDescriptor }
    guard !sockets[index].kind.isStream, let family = sockets[index].kind.family else {
      throw .operationNotSupported
    }
    sockets[index].peer = nil
    sockets[index].error = 0
    if !sockets[index].isAddressBound {
      sockets[index].local.address = .any(family)
      sockets[index].source = .any(family)
    }
    if !sockets[index].isPortBound { unbind(index) }
  }
}
