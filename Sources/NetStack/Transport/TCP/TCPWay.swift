// SPDX-License-Identifier: GPL-2.0-or-later

// The way of a connection's segments is found once, and again when anything has changed that it depends on (sk_dst_cache,
// __sk_dst_check; include/net/ip.h, rt_genid_ipv4): IPv4's routes and rules, a setting, an option of the socket, the
// device's MTU. What routers have told of destinations ends with time, so that where any has, nothing is kept.

/// The way of a connection's last segment.
struct TCPWay {
  private var datagram = IPv4Datagram(destination: 0, proto: 6)
  private var path = IPv4Path()
  private var deviceMTU = 0
  /// That of the routes that it was found by; 0: none is known.
  private var generation: UInt32 = 0

  mutating func forget() { generation = 0 }

  fileprivate mutating func keep(
    _ datagram: IPv4Datagram, _ path: IPv4Path, _ deviceMTU: Int, _ generation: UInt32
  ) {
    self.datagram = datagram
    self.path = path
    self.deviceMTU = deviceMTU
    self.generation = generation
  }

  @inline(__always) fileprivate func isGood(for generation: UInt32) -> Bool { self.generation == generation }
  @inline(__always) fileprivate var device: DeviceIndex { path.device }
  @inline(__always) fileprivate func hasMTU(_ mtu: Int) -> Bool { deviceMTU == mtu }

  @inline(__always) fileprivate func route(_ typeOfService: UInt8) -> SocketRoute {
    var datagram = datagram
    datagram.typeOfService = typeOfService
    return .v4(datagram, path)
  }
}

extension Kernel {
  /// Follows what the way takes before segments are made for it: routers, routes and devices change it
  /// (tcp_current_mss).
  mutating func tcpFollowPath(_ index: TCPIndex) {
    let socket = tcps[index].socket
    guard !tcpKeepsWay(index, sockets[socket].namespace), let peer = sockets[socket].peer else { return }
    _ = tcpRoute(index, to: peer, sockets[socket].options.typeOfService)
  }

  /// Nothing has changed that the way of the last segment depended on.
  @inline(__always) private func tcpKeepsWay(_ index: TCPIndex, _ namespace: NamespaceIndex) -> Bool {
    namespaces[namespace].routes.exceptions.isEmpty
      && tcps[index].way.isGood(for: namespaces[namespace].routes.generation)
      && tcps[index].way.hasMTU(devices[tcps[index].way.device].mtu)
  }

  /// The way of a connection's next segment; nil: there is none. A segment has from now on what it takes.
  mutating func tcpRoute(_ index: TCPIndex, to peer: SocketAddress, _ typeOfService: UInt8) -> SocketRoute? {
    let socket = tcps[index].socket
    let namespace = sockets[socket].namespace
    if tcpKeepsWay(index, namespace) { return tcps[index].way.route(typeOfService) }
    var control = SendControl(source: sockets[socket].local.address)
    control.typeOfService = typeOfService
    guard let route = try? socketRoute(socket, to: peer, control) else { return nil }
    if tcps[index].pathMSS != route.segmentSize {
      tcps[index].pathMSS = route.segmentSize
      tcps[index].setMSS(namespaces[namespace].tcp)
    }
    if namespaces[namespace].routes.exceptions.isEmpty, case .v4(let datagram, let path) = route {
      tcps[index].way.keep(
        datagram, path, devices[path.device].mtu, namespaces[namespace].routes.generation)
    }
    return route
  }
}
