// SPDX-License-Identifier: GPL-2.0-or-later

// TCP from IP up (net/ipv4/tcp_ipv4.c tcp_v4_rcv): whose a segment is, and the answer when it is nobody's.

import NetTypes

extension Kernel {
  /// Takes a segment for this host.
  mutating func tcpReceive(_ slot: Slot, in namespace: NamespaceIndex) {
    guard pool[slot].packetType == .host else {
      drop(slot, .otherHost, in: namespace)
      return
    }
    namespaces[namespace].snmp[.tcpInSegs] &+= 1
    let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
    guard pool.mayPull(slot, offset + TCPHeader.length) else {
      tcpRefuse(slot, .packetTooSmall, namespace)
      return
    }
    let headerLength =
      Int(pool.bytes(slot, from: pool[slot].transportHeader).u8(TCPHeader.dataOffset) >> 4) * 4
    guard headerLength >= TCPHeader.length, pool.mayPull(slot, offset + headerLength) else {
      tcpRefuse(slot, .packetTooSmall, namespace)
      return
    }
    let header = pool.bytes(slot)
    let bytes = pool.bytes(slot, from: pool[slot].transportHeader)
    let total = Int(pool[slot].length) - offset
    if pool[slot].checksumState == .none {
      let pseudo =
        header.u8(0) >> 4 == 6
        ? header.ipv6PseudoSum(length: total, proto: 6)
        : pseudoHeaderSum(header.u32(IPv4Header.source), header.u32(IPv4Header.destination), 6, total)
      guard foldChecksum(pool.sum(slot, from: offset, count: total, pseudo)) == .max else {
        namespaces[namespace].snmp[.tcpInCsumErrors] &+= 1
        tcpRefuse(slot, .tcpChecksum, namespace)
        return
      }
    }
    var segment = Self.segment(slot, bytes, headerLength: headerLength, length: total - headerLength)
    if let size = pool.segmentSize(slot) {
      segment.size = size
      segment.count = UInt32(pool.segmentCount(slot))
    }
    segment.ecn =
      (header.u8(0) >> 4 == 6 ? header.trafficClass : header.u8(IPv4Header.typeOfService)) & 3
    let local = SocketAddress(header.destinationAddress, bytes.u16(TCPHeader.destination))
    var remote = SocketAddress(header.sourceAddress, bytes.u16(TCPHeader.source))
    // A link-local address says nothing without its link.
    if remote.address.family == .ipv6, remote.address.isLinkLocal {
      remote.scope = devices[DeviceIndex(pool[slot].device)].ifindex
    }
    pool.pull(slot, offset + headerLength)
    tcpDemultiplex(segment, local, remote, in: namespace)
  }

  private mutating func tcpRefuse(_ slot: Slot, _ reason: DropReason, _ namespace: NamespaceIndex) {
    namespaces[namespace].snmp[.tcpInErrs] &+= 1
    drop(slot, reason, in: namespace)
  }

  private static func segment(
    _ slot: Slot, _ bytes: PacketBytes, headerLength: Int, length: Int
  ) -> TCPSegment {
    let flags = TCPFlags(rawValue: bytes.u8(TCPHeader.flags))
    let sequence = bytes.u32(TCPHeader.sequence)
    var end = sequence &+ UInt32(length)
    if flags.contains(.syn) { end &+= 1 }
    if flags.contains(.fin) { end &+= 1 }
    return TCPSegment(
      slot: slot, sequence: sequence, end: end, acknowledgment: bytes.u32(TCPHeader.acknowledgment),
      flags: flags, window: UInt32(bytes.u16(TCPHeader.window)),
      options: TCPOptions(
        bytes.dropFirst(TCPHeader.length).prefix(headerLength - TCPHeader.length),
        isSYN: flags.contains(.syn)),
      length: length, size: length, urgent: bytes.u16(TCPHeader.urgent))
  }

  /// Gives a segment, whose headers have been pulled, to its connection, request or listener. The packet is gone
  /// afterwards.
  private mutating func tcpDemultiplex(
    _ segment: TCPSegment, _ local: SocketAddress, _ remote: SocketAddress, in namespace: NamespaceIndex
  ) {
    let key = FlowKey(local: local, remote: remote)
    switch namespaces[namespace].sockets.flows.find(key) {
    case .socket(let socket):
      let device = sockets[socket].options.device
      guard device == 0 || device == devices[DeviceIndex(pool[segment.slot].device)].ifindex else { break }
      let waiting = sockets[socket].timeWait
      guard !waiting.isNone else {
        tcpProcess(sockets[socket].tcp, segment)
        return
      }
      if tcpMayReopen(waiting, segment) {
        let listener =
          assignedListener(segment.slot) ?? tcpListener(local, remote, segment.slot, in: namespace)
        if !listener.isNone {
          let reuse = max(timeWaits[waiting].sendNext &+ 65537, 1)
          tcpEndTimeWait(waiting)
          tcpRequest(segment, listener, key, local, remote, initialSend: reuse)
          return
        }
      }
      tcpProcessTimeWait(waiting, segment)
      return
    case .request(let request):
      tcpProcessRequest(request, segment)
      return
    case nil: break
    }
    let listener =
      assignedListener(segment.slot) ?? tcpListener(local, remote, segment.slot, in: namespace)
    guard !listener.isNone else {
      tcpReplyReset(to: segment, local, remote, in: namespace)
      drop(segment.slot, .noSocket, in: namespace)
      return
    }
    tcpListen(segment, listener, key, local, remote)
  }

  /// The listener that a rule has given a segment to.
  private func assignedListener(_ slot: Slot) -> TCPIndex? {
    guard let socket = assignedSocket(slot), sockets[socket].kind.proto == 6 else { return nil }
    let index = sockets[socket].tcp
    return tcps.contains(index) && tcps[index].state == .listen ? index : nil
  }

  /// The socket that listens for an address and a port, the most exact one (inet_lhash2_lookup).
  func tcpListener(
    _ local: SocketAddress, _ remote: SocketAddress, _ slot: Slot, in namespace: NamespaceIndex
  ) -> TCPIndex {
    let ifindex = devices[DeviceIndex(pool[slot].device)].ifindex
    var best = -1
    var result = SocketIndex.none
    var cursor = namespaces[namespace].sockets.listeners.first(local.port)
    while cursor != PortTable.end {
      let socket = namespaces[namespace].sockets.listeners.socket(at: cursor)
      cursor = namespaces[namespace].sockets.listeners.next(cursor, local.port)
      let bound = sockets[socket].local.address
      let device = sockets[socket].options.device
      guard
        bound == local.address
          || bound.isUnspecified
            && (bound.family == local.address.family
              || bound.family == .ipv6 && !sockets[socket].options.isV6Only),
        device == 0 || device == ifindex
      else { continue }
      let score = (bound.isUnspecified ? 0 : 4) + (device == 0 ? 0 : 2)
      guard score > best else { continue }
      best = score
      result = socket
    }
    guard !result.isNone else { return .none }
    // Those that share a name take turns by the flow's hash (reuseport_select_sock).
    if sockets[result].options.reusePort {
      let flow = SocketFlow(
        source: remote.address, sourcePort: remote.port, destination: local.address,
        destinationPort: local.port, ifindex: ifindex)
      result = chooseAmong(
        namespaces[namespace].sockets.listeners, result, flow, namespaces[namespace].sockets.secret)
    }
    return sockets[result].tcp
  }

  // MARK: Answers without a connection

  /// Tells who sent a segment that nobody takes it (tcp_v4_send_reset).
  mutating func tcpReplyReset(
    to segment: TCPSegment, _ local: SocketAddress, _ remote: SocketAddress, in namespace: NamespaceIndex
  ) {
    // A rule may have given a segment for this host another destination. IPv6 answers from that (tcp_v6_send_reset).
    guard !segment.flags.contains(.rst),
      local.address.family == .ipv6 || addressType(local.address, in: namespace) == .local
    else { return }
    namespaces[namespace].snmp[.tcpOutRsts] &+= 1
    let hasACK = segment.flags.contains(.ack)
    tcpReply(
      sequence: hasACK ? segment.acknowledgment : 0, acknowledgment: hasACK ? 0 : segment.end,
      flags: hasACK ? .rst : [.rst, .ack], window: 0, TCPOptions(), local, remote,
      typeOfService: typeOfService(of: segment.slot), in: namespace)
  }

  /// What the IP header of a packet asks of its way, which a reset asks too.
  private func typeOfService(of slot: Slot) -> UInt8 {
    let header = pool.bytes(slot, from: pool[slot].networkHeader)
    guard header.count >= IPv4Header.length else { return 0 }
    // Of IPv6 without the bits of congestion (tcp_v6_send_response).
    return header.u8(0) >> 4 == 6
      ? UInt8(truncatingIfNeeded: header.u16(0) >> 4) & 0xfc : header.u8(IPv4Header.typeOfService)
  }

  /// A segment without data that no connection sends (ip_send_unicast_reply).
  mutating func tcpReply(
    sequence: UInt32, acknowledgment: UInt32, flags: TCPFlags, window: UInt16, _ options: TCPOptions,
    _ local: SocketAddress, _ remote: SocketAddress, typeOfService: UInt8 = 0,
    isTransparent: Bool = false, in namespace: NamespaceIndex
  ) {
    let slot = tcpBare(
      sequence: sequence, acknowledgment: acknowledgment, flags: flags, window: window, options)
    guard slot != .none else { return }
    tcpSend(
      slot, by: tcpRoute(local, remote, typeOfService, isTransparent, in: namespace), local.port, remote.port,
      in: namespace)
  }

  /// The header of such a segment; none when there is no memory.
  mutating func tcpBare(
    sequence: UInt32, acknowledgment: UInt32, flags: TCPFlags, window: UInt16, _ options: TCPOptions
  ) -> Slot {
    let length = TCPHeader.length + options.size
    let slot = pool.allocate(length: length)
    guard slot != .none else { return .none }
    let bytes = pool.bytes(slot)
    bytes.set(TCPHeader.sequence, u32: sequence)
    bytes.set(TCPHeader.acknowledgment, u32: acknowledgment)
    bytes.set(TCPHeader.dataOffset, u8: UInt8(length / 4) << 4)
    bytes.set(TCPHeader.flags, u8: flags.rawValue)
    bytes.set(TCPHeader.window, u16: window)
    bytes.set(TCPHeader.urgent, u16: 0)
    options.write(to: bytes.dropFirst(TCPHeader.length))
    return slot
  }

  /// The way of a segment that no connection sends.
  private mutating func tcpRoute(
    _ local: SocketAddress, _ remote: SocketAddress, _ typeOfService: UInt8, _ isTransparent: Bool,
    in namespace: NamespaceIndex
  ) -> SocketRoute? {
    switch (local.address, remote.address) {
    case (.v4(let source), .v4(let destination)):
      var datagram = IPv4Datagram(source: source.rawValue, destination: destination.rawValue, proto: 6)
      datagram.pathMTUDiscovery = .do
      datagram.isFromAnywhere = isTransparent
      datagram.typeOfService = typeOfService
      return (try? ipv4Route(datagram, in: namespace)).map { .v4(datagram, $0) }
    case (.v6(let source), .v6(let destination)):
      var datagram = IPv6Datagram(destination: UInt128(destination), proto: 6)
      datagram.source = UInt128(source)
      datagram.trafficClass = typeOfService
      if remote.scope != 0 { datagram.device = device(ifindex: remote.scope, in: namespace) ?? .none }
      return (try? ipv6Route(datagram, in: namespace)).map { .v6(datagram, $0) }
    default: return nil
    }
  }
}
