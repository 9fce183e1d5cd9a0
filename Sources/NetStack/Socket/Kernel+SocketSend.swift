// SPDX-License-Identifier: GPL-2.0-or-later

// Sending by a socket: what all protocols over IP have in common (inet_sendmsg, sock_alloc_send_skb, ip_cmsg_send).

import NetTypes

extension Kernel {
  /// Sends one message, to whom the socket is connected unless `peer` says otherwise. The answer is how many bytes were
  /// taken: a datagram's all, a stream's as many as there is room for. EAGAIN: the send buffer is full.
  @discardableResult
  public mutating func send(
    _ data: borrowing RawSpan, on index: SocketIndex, to peer: SocketAddress? = nil,
    control: SendControl = SendControl()
  ) throws(KernelError) -> Int {
    guard isOpen(index) else { throw .badDescriptor }
    switch sockets[index].kind {
    case .tcp: return try tcpSend(data, on: index, control)
    case .udp: try udpSend(data, on: index, to: peer, control)
    case .ping: try pingSend(data, on: index, to: peer, control)
    case .raw: try rawSend(data, on: index, to: peer, control)
    case .packet: try packetSend(data, on: index, to: nil)
    }
    return data.byteCount
  }

  /// Sends one message.
  @discardableResult
  public mutating func send(
    _ data: [UInt8], on index: SocketIndex, to peer: SocketAddress? = nil,
    control: SendControl = SendControl()
  ) throws(KernelError) -> Int {
    try send(unsafe data.span.bytes, on: index, to: peer, control: control)
  }

  /// Lends room of a stream's send buffer, at most `limit` bytes in one piece, and sends as many of them as `body` says
  /// that it has written: nothing is copied. EAGAIN: there is no room; EOPNOTSUPP: no stream.
  public mutating func send(
    on index: SocketIndex, atMost limit: Int, _ body: (inout MutableRawSpan) -> Int
  ) throws(KernelError) -> Int {
    guard isOpen(index) else { throw .badDescriptor }
    guard sockets[index].kind.isStream else { throw .operationNotSupported }
    return try tcpSend(on: index, atMost: limit, body)
  }

  /// Whom a datagram goes to; EDESTADDRREQ: nobody is named.
  func destination(
    of index: SocketIndex, _ peer: SocketAddress?
  ) throws(KernelError) -> SocketAddress {
    guard var target = peer ?? sockets[index].peer else { throw .destinationRequired }
    let family = sockets[index].kind.family
    let speaksBoth = sockets[index].kind.speaksBoth
    if speaksBoth, target.address.family == .ipv6 { target = target.unmapped }
    guard target.address.family == family || speaksBoth else { throw .familyNotSupported }
    guard target.address.family == family || !sockets[index].options.isV6Only else {
      throw .networkUnreachable
    }
    // The unspecified address means this host, on the way out.
    if target.address.isUnspecified {
      target.address = target.address.family == .ipv6 ? .v6(.loopback) : .v4(.loopback)
    }
    return target
  }

  /// What a socket's options and one message's control data say about a datagram.
  func datagram(
    _ index: SocketIndex, to target: IPAddress, proto: UInt8, _ control: SendControl
  ) -> IPv4Datagram {
    let namespace = sockets[index].namespace
    var datagram = IPv4Datagram(destination: target.v4?.rawValue ?? 0, proto: proto)
    let source = (control.source ?? sockets[index].source).v4 ?? .any
    datagram.source = source.rawValue
    datagram.isFromAnywhere = sockets[index].options.transparent
    datagram.typeOfService = control.typeOfService ?? sockets[index].options.typeOfService
    datagram.ttl =
      control.ttl ?? (target.isMulticast ? sockets[index].options.multicastTTL : sockets[index].options.ttl)
    var ifindex = control.ifindex != 0 ? control.ifindex : sockets[index].options.device
    if ifindex == 0, target.isMulticast { ifindex = sockets[index].options.multicastDevice }
    if ifindex != 0 { datagram.bound = device(ifindex: ifindex, in: namespace) ?? .none }
    datagram.isBound = ifindex != 0
    datagram.mark = sockets[index].options.mark
    datagram.priority = sockets[index].options.priority
    datagram.pathMTUDiscovery = sockets[index].options.pathMTUDiscovery
    datagram.loopsBack = sockets[index].options.multicastLoop
    return datagram
  }

  /// Whether a socket may have another packet on its way out (sock_alloc_send_pskb): an error that waits comes first.
  mutating func checkSendRoom(_ index: SocketIndex) throws(KernelError) {
    let error = takeError(of: index)
    guard error == 0 else { throw KernelError(error) }
    guard !sockets[index].shutdown.contains(.send) else { throw .brokenPipe }
    guard pool.writers.charged(to: index.rawValue) < sockets[index].options.sendBuffer else {
      awaitRoom(index)
      throw .wouldBlock
    }
  }

  /// A datagram that is too long for where it may not be cut: told to who wants errors in the queue (ip_local_error).
  mutating func refuseLength(_ index: SocketIndex, to target: SocketAddress, mtu: Int) -> KernelError {
    if sockets[index].options.receiveErrors {
      report(
        SocketErrorReport(
          errno: KernelError.messageTooLong.errno, origin: .local, type: 0, code: 0,
          information: UInt32(clamping: mtu), offender: nil, destination: target, payload: [], time: now),
        isHard: true, to: index)
      sockets[index].error = 0
    }
    return .messageTooLong
  }
}

extension SocketKind {
  /// The protocol's number in the IP header.
  var proto: UInt8 {
    switch self {
    case .tcp: 6
    case .udp: 17
    case .ping(let family): family == .ipv4 ? 1 : 58
    case .raw(_, let proto): proto
    case .packet: 0
    }
  }
}

extension IPAddress {
  /// The IPv4 address, if it is one.
  var v4: IPv4Address? {
    if case .v4(let address) = self { address } else { nil }
  }
}
