// SPDX-License-Identifier: GPL-2.0-or-later

// The way of a socket's datagram in either family: what UDP and ping sockets ask of it is the same.

import NetTypes

/// A datagram and its way.
enum SocketRoute {
  case v4(IPv4Datagram, IPv4Path)
  case v6(IPv6Datagram, IPv6Path)

  /// What the datagram speaks from.
  var source: IPAddress {
    switch self {
    case .v4(_, let path): .v4(IPv4Address(rawValue: path.source))
    case .v6(_, let path): path.source.address
    }
  }

  var isBroadcast: Bool {
    if case .v4(_, let path) = self { path.type == .broadcast } else { false }
  }

  var mtu: Int {
    switch self {
    case .v4(_, let path): path.mtu
    case .v6(_, let path): path.mtu
    }
  }

  /// The most data that a TCP segment without options has in one packet (RFC 6691).
  var segmentSize: Int {
    switch self {
    case .v4(_, let path): max(path.mtu - IPv4Header.length - TCPHeader.length, 48)
    case .v6(_, let path): max(path.mtu - IPv6Header.length - TCPHeader.length, 48)
    }
  }

  /// The most bytes that the datagram may have behind the IP header.
  var room: Int {
    switch self {
    case .v4(let datagram, let path): path.largest(datagram) - IPv4Header.length
    case .v6(let datagram, let path): datagram.dontFragment ? path.mtu - IPv6Header.length : 65535
    }
  }

  /// What the pseudo header adds to a transport's checksum.
  func pseudoSum(_ proto: UInt8, _ length: Int) -> UInt64 {
    switch self {
    case .v4(let datagram, let path): pseudoHeaderSum(path.source, datagram.destination, proto, length)
    case .v6(let datagram, let path):
      ipv6PseudoSum(path.source, datagram.destination, length: length, proto: proto)
    }
  }
}

extension Kernel {
  /// The way of a socket's datagram to somebody.
  mutating func socketRoute(
    _ index: SocketIndex, to target: SocketAddress, _ control: SendControl
  ) throws(KernelError) -> SocketRoute {
    let namespace = sockets[index].namespace
    let proto = sockets[index].kind.proto
    guard case .v6(let address) = target.address else {
      let datagram = datagram(index, to: target.address, proto: proto, control)
      return .v4(datagram, try ipv4Route(datagram, in: namespace))
    }
    var datagram = IPv6Datagram(destination: UInt128(address), proto: proto)
    datagram.source = UInt128(control.source ?? sockets[index].source) ?? 0
    datagram.trafficClass = control.typeOfService ?? sockets[index].options.typeOfService
    datagram.hopLimit =
      control.ttl
      ?? (target.address.isMulticast ? sockets[index].options.multicastTTL : sockets[index].options.ttl)
    var ifindex = control.ifindex != 0 ? control.ifindex : sockets[index].options.device
    if ifindex == 0 { ifindex = target.scope }
    if ifindex == 0, target.address.isMulticast { ifindex = sockets[index].options.multicastDevice }
    if ifindex != 0 {
      guard let device = device(ifindex: ifindex, in: namespace) else { throw .noSuchDevice }
      datagram.device = device
    } else if IPv6.isLinkLocal(datagram.destination) {
      // Every link has it: which one is meant has to be said.
      throw .invalidArgument
    }
    datagram.mark = sockets[index].options.mark
    datagram.dontFragment =
      sockets[index].options.pathMTUDiscovery == .do || sockets[index].options.pathMTUDiscovery == .probe
    datagram.loopsBack = sockets[index].options.multicastLoop
    return .v6(datagram, try ipv6Route(datagram, in: namespace))
  }

  /// Sends what begins with a transport's header.
  mutating func output(
    _ slot: Slot, by route: SocketRoute, in namespace: NamespaceIndex
  ) -> KernelError? {
    switch route {
    case .v4(let datagram, let path): ipv4Output(slot, datagram, by: path, in: namespace)
    case .v6(let datagram, let path): ipv6Output(slot, datagram, by: path, in: namespace)
    }
  }
}
