// SPDX-License-Identifier: GPL-2.0-or-later

// Which socket a datagram is for: the one that matches most exactly (net/ipv4/udp.c compute_score, udp4_lib_lookup2),
// and among those that share a port the one that the flow's hash chooses (net/core/sock_reuseport.c).

import NetTypes

/// A datagram on its way in, as sockets match it.
struct SocketFlow {
  var source: IPAddress
  var sourcePort: UInt16
  var destination: IPAddress
  var destinationPort: UInt16
  var ifindex: Int32

  /// A hash of the four, keyed.
  func hash(_ secret: UInt64) -> UInt64 {
    func mix(_ word: UInt64) -> UInt64 {
      var word = word &* 0xbf58_476d_1ce4_e5b9
      word ^= word &>> 31
      return word &* 0x94d0_49bb_1331_11eb
    }
    func fold(_ address: IPAddress) -> UInt64 {
      switch address {
      case .v4(let address): UInt64(address.rawValue)
      case .v6(let address): mix(address.high) ^ address.low
      }
    }
    let ports = UInt64(sourcePort) << 16 | UInt64(destinationPort)
    return mix(mix(mix(fold(source) ^ secret) ^ fold(destination)) ^ ports)
  }
}

extension Kernel {
  /// The UDP socket that a datagram to one host is for; `none`: there is none. Sockets that are bound to the very
  /// address come before those that take any.
  mutating func udpSocket(for flow: SocketFlow, in namespace: NamespaceIndex) -> SocketIndex {
    guard namespaces[namespace].sockets.udp.count > 0 else { return .none }
    let exact = udpSocket(for: flow, boundTo: flow.destination, in: namespace)
    return exact.isNone ? udpSocket(for: flow, boundTo: nil, in: namespace) : exact
  }

  private func udpSocket(
    for flow: SocketFlow, boundTo address: IPAddress?, in namespace: NamespaceIndex
  ) -> SocketIndex {
    var best = -1
    var result = SocketIndex.none
    var cursor = namespaces[namespace].sockets.udp.first(flow.destinationPort)
    while cursor != PortTable.end {
      let index = namespaces[namespace].sockets.udp.socket(at: cursor)
      cursor = namespaces[namespace].sockets.udp.next(cursor, flow.destinationPort)
      let score = score(index, flow, boundTo: address)
      guard score > best else { continue }
      best = score
      result = index
    }
    guard !result.isNone, sockets[result].options.reusePort, sockets[result].peer == nil else {
      return result
    }
    return chooseAmong(
      namespaces[namespace].sockets.udp, result, flow, namespaces[namespace].sockets.secret)
  }

  /// compute_score; -1: it does not match.
  @inline(__always)
  private func score(_ index: SocketIndex, _ flow: SocketFlow, boundTo address: IPAddress?) -> Int {
    let local = sockets[index].local.address
    if let address {
      guard local == address else { return -1 }
    } else {
      guard local.isUnspecified, local.family == flow.destination.family || !sockets[index].options.isV6Only
      else { return -1 }
    }
    var score = sockets[index].kind.family == .ipv4 ? 2 : 1
    if let peer = sockets[index].peer {
      guard peer.address == flow.source else { return -1 }
      score += 4
      if peer.port != 0 {
        guard peer.port == flow.sourcePort else { return -1 }
        score += 4
      }
    }
    let device = sockets[index].options.device
    if device != 0 {
      guard device == flow.ifindex else { return -1 }
      score += 4
    }
    return score
  }

  /// Of the sockets that share a name by SO_REUSEPORT, in the order of their binding, the one the hash says.
  func chooseAmong(
    _ table: borrowing PortTable, _ index: SocketIndex, _ flow: SocketFlow, _ secret: UInt64
  ) -> SocketIndex {
    func belongs(_ other: SocketIndex) -> Bool {
      sockets[other].options.reusePort && sockets[other].peer == nil
        && sockets[other].local.address == sockets[index].local.address
        && sockets[other].options.device == sockets[index].options.device
        && sockets[other].credentials.user == sockets[index].credentials.user
        && sockets[other].kind == sockets[index].kind
    }
    var count: UInt64 = 0
    var cursor = table.first(flow.destinationPort)
    while cursor != PortTable.end {
      if belongs(table.socket(at: cursor)) { count += 1 }
      cursor = table.next(cursor, flow.destinationPort)
    }
    guard count > 1 else { return index }
    let hash = flow.hash(secret)
    // The chain is newest first.
    var skip = count - 1 - hash.multipliedFullWidth(by: count).high
    cursor = table.first(flow.destinationPort)
    while cursor != PortTable.end {
      let other = table.socket(at: cursor)
      if belongs(other) {
        if skip == 0 { return other }
        skip -= 1
      }
      cursor = table.next(cursor, flow.destinationPort)
    }
    return index
  }

  /// Whether a socket takes a datagram to a group or to all (__udp_is_mcast_sock).
  func wantsGroup(_ index: SocketIndex, _ flow: SocketFlow) -> Bool {
    let local = sockets[index].local.address
    guard local == flow.destination || local.isUnspecified,
      local.family == flow.destination.family || !sockets[index].options.isV6Only
    else { return false }
    if let peer = sockets[index].peer {
      guard peer.address == flow.source, peer.port == 0 || peer.port == flow.sourcePort else { return false }
    }
    let device = sockets[index].options.device
    guard device == 0 || device == flow.ifindex else { return false }
    return !flow.destination.isMulticast || sockets[index].options.multicastAll
      || isMember(index, of: flow.destination)
  }

  /// Whether datagrams to an address are for several hosts.
  mutating func isGroup(_ destination: UInt32, in namespace: NamespaceIndex) -> Bool {
    IPv4Header.isMulticast(destination) || destination == .max
      || lookup(destination, in: namespace).type == .broadcast
  }
}
