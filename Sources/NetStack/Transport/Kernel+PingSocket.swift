// SPDX-License-Identifier: GPL-2.0-or-later

// Ping sockets (net/ipv4/ping.c, net/ipv6/ping.c): echo requests out, replies and errors about them in, without privilege. The
// identifier is the socket's port; the kernel writes it and the checksum.

import NetTypes

extension Kernel {
  /// Sends an echo request, of which the caller has written all but identifier and checksum (ping_v4_sendmsg).
  mutating func pingSend(
    _ data: borrowing RawSpan, on index: SocketIndex, to peer: SocketAddress?, _ control: SendControl
  ) throws(KernelError) {
    guard data.byteCount <= 0xffff else { throw .messageTooLong }
    let isIPv6 = sockets[index].kind.family == .ipv6
    let type = isIPv6 ? ICMPv6Type.echo.rawValue : ICMPType.echo.rawValue
    guard data.byteCount >= 8, unsafe data.unsafeLoad(fromByteOffset: 0, as: UInt8.self) == type,
      unsafe data.unsafeLoad(fromByteOffset: 1, as: UInt8.self) == 0
    else { throw .invalidArgument }
    let target = try destination(of: index, peer)
    try autobind(index)
    let namespace = sockets[index].namespace
    let route = try socketRoute(index, to: target, control)
    guard !route.isBroadcast || sockets[index].options.broadcast else { throw .accessDenied }
    guard data.byteCount <= route.room else { throw refuseLength(index, to: target, mtu: route.mtu) }
    try checkSendRoom(index)
    let slot = pool.allocate(length: data.byteCount)
    guard slot != .none else { throw .noBuffers }
    pool.store(data, in: slot)
    let bytes = pool.bytes(slot)
    bytes.set(2, u16: 0)
    bytes.set(4, u16: sockets[index].local.port)
    let pseudo = isIPv6 ? route.pseudoSum(IPv6NextHeader.icmp, data.byteCount) : 0
    let sum = pool.sum(slot, from: 0, count: data.byteCount, pseudo)
    bytes.set(2, u16: UInt16(bigEndian: ~foldChecksum(sum)))
    pool.charge(slot, to: index.rawValue)
    if isIPv6 {
      countICMPv6Sent(type, in: namespace)
    } else {
      namespaces[namespace].snmp[.icmpOutMsgs] &+= 1
      namespaces[namespace].snmp[.icmpOutEchos] &+= 1
    }
    if let error = output(slot, by: route, in: namespace) { throw error }
  }

  /// An echo reply for whoever asked (ping_rcv).
  mutating func pingReceive(_ slot: Slot, in namespace: NamespaceIndex) {
    let header = pool.bytes(slot)
    let identifier = pool.bytes(slot, from: pool[slot].transportHeader).u16(4)
    let index = pingSocket(
      identifier, local: header.destinationAddress, devices[DeviceIndex(pool[slot].device)].ifindex,
      in: namespace)
    guard !index.isNone else {
      drop(slot, .noSocket, in: namespace)
      return
    }
    if !enqueueReceived(slot, on: index) { drop(slot, .socketReceiveBuffer, in: namespace) }
  }

  /// ping_lookup: the first with the identifier that may be meant.
  private func pingSocket(
    _ identifier: UInt16, local address: IPAddress, _ ifindex: Int32, in namespace: NamespaceIndex
  ) -> SocketIndex {
    var cursor = namespaces[namespace].sockets.ping.first(identifier)
    while cursor != PortTable.end {
      let index = namespaces[namespace].sockets.ping.socket(at: cursor)
      cursor = namespaces[namespace].sockets.ping.next(cursor, identifier)
      let local = sockets[index].local.address
      let device = sockets[index].options.device
      if local.family == address.family, local.isUnspecified || local == address,
        device == 0 || device == ifindex
      {
        return index
      }
    }
    return .none
  }

  /// An error about an echo request (ping_err). What this host has answered by itself only teaches it the path
  /// (icmp_err).
  mutating func pingError(_ error: ICMPErrorReport, in namespace: NamespaceIndex) {
    let isIPv6 = error.source.family == .ipv6
    if !isIPv6, error.transport.u8(0) == ICMPType.echoReply.rawValue { learnPath(from: error, in: namespace) }
    guard error.transport.u8(0) == (isIPv6 ? ICMPv6Type.echo.rawValue : ICMPType.echo.rawValue) else {
      return
    }
    let index = pingSocket(error.transport.u16(4), local: error.source, error.ifindex, in: namespace)
    guard !index.isNone else { return }
    report(error, to: index, port: 0, payload: error.transport)
  }
}
