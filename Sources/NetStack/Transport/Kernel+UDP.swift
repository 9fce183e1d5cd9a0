// SPDX-License-Identifier: GPL-2.0-or-later

// UDP (RFC 768, 1122 4.1; net/ipv4/udp.c).

import NetTypes

extension Kernel {
  // MARK: Receiving

  /// Takes a UDP datagram for this host (__udp4_lib_rcv).
  mutating func udpReceive(_ slot: Slot, in namespace: NamespaceIndex) {
    let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
    let isWhole = pool.mayPull(slot, offset + UDPHeader.length)
    let header = pool.bytes(slot)
    let bytes = pool.bytes(slot, from: pool[slot].transportHeader)
    let isIPv6 = header.u8(0) >> 4 == 6
    let counters = UDPCounters(isIPv6 ? .ipv6 : .ipv4)
    guard isWhole, Int(bytes.u16(UDPHeader.size)) >= UDPHeader.length,
      offset + Int(bytes.u16(UDPHeader.size)) <= Int(pool[slot].length)
    else {
      namespaces[namespace].snmp[counters.inErrors] &+= 1
      drop(slot, .packetTooSmall, in: namespace)
      return
    }
    let length = Int(bytes.u16(UDPHeader.size))
    pool.trim(slot, to: offset + length)
    // IPv6 has no checksum of its own, so that a datagram must have one (RFC 8200 8.1).
    if isIPv6 || bytes.u16(UDPHeader.checksum) != 0, pool[slot].checksumState == .none {
      let pseudo =
        isIPv6
        ? header.ipv6PseudoSum(length: length, proto: 17)
        : pseudoHeaderSum(header.u32(IPv4Header.source), header.u32(IPv4Header.destination), 17, length)
      let sum = pool.sum(slot, from: offset, count: length, pseudo)
      guard bytes.u16(UDPHeader.checksum) != 0, foldChecksum(sum) == .max else {
        namespaces[namespace].snmp[counters.inChecksumErrors] &+= 1
        namespaces[namespace].snmp[counters.inErrors] &+= 1
        drop(slot, .udpChecksum, in: namespace)
        return
      }
    }
    if !namespaces[namespace].tunnels.isEmpty, vxlanReceive(slot, in: namespace) { return }
    let device = DeviceIndex(pool[slot].device)
    let flow = SocketFlow(
      source: header.sourceAddress, sourcePort: bytes.u16(UDPHeader.source),
      destination: header.destinationAddress, destinationPort: bytes.u16(UDPHeader.destination),
      ifindex: devices[device].ifindex)
    let isForMany =
      isIPv6
      ? IPv6.isMulticast(header.ipv6Destination) : isGroup(header.u32(IPv4Header.destination), in: namespace)
    if isForMany {
      udpDeliverToAll(slot, flow, in: namespace)
      return
    }
    let socket = assignedSocket(slot) ?? udpSocket(for: flow, in: namespace)
    guard !socket.isNone else {
      namespaces[namespace].snmp[counters.noPorts] &+= 1
      // What nobody takes has no connection any more (nf_reset_ct in __udp4_lib_rcv).
      pool.setConntrack(.none, of: slot)
      if isIPv6 {
        icmpv6Error(for: slot, .destinationUnreachable, code: 4, information: 0)
      } else {
        icmpError(for: slot, .destinationUnreachable, code: 3, information: 0, isDelivered: true)
      }
      drop(slot, .noSocket, in: namespace)
      return
    }
    udpEnqueue(slot, on: socket)
  }

  private mutating func udpEnqueue(_ slot: Slot, on index: SocketIndex) {
    guard !enqueueReceived(slot, on: index) else { return }
    let namespace = sockets[index].namespace
    let counters = UDPCounters(sockets[index].kind.family ?? .ipv4)
    namespaces[namespace].snmp[counters.receiveBufferErrors] &+= 1
    namespaces[namespace].snmp[counters.inErrors] &+= 1
    drop(slot, .socketReceiveBuffer, in: namespace)
  }

  /// A group's or a broadcast datagram is for all who want it (__udp4_lib_mcast_deliver).
  private mutating func udpDeliverToAll(_ slot: Slot, _ flow: SocketFlow, in namespace: NamespaceIndex) {
    var last = SocketIndex.none
    var cursor = namespaces[namespace].sockets.udp.first(flow.destinationPort)
    while cursor != PortTable.end {
      let index = namespaces[namespace].sockets.udp.socket(at: cursor)
      cursor = namespaces[namespace].sockets.udp.next(cursor, flow.destinationPort)
      guard wantsGroup(index, flow) else { continue }
      if !last.isNone {
        let copy = pool.clone(slot)
        if copy == .none {
          sockets[last].drops &+= 1
          let counters = UDPCounters(flow.destination.family)
          namespaces[namespace].snmp[counters.receiveBufferErrors] &+= 1
          namespaces[namespace].snmp[counters.inErrors] &+= 1
        } else {
          udpEnqueue(copy, on: last)
        }
      }
      last = index
    }
    guard !last.isNone else {
      namespaces[namespace].snmp[UDPCounters(flow.destination.family).ignoredMulticast] &+= 1
      pool.free(slot, .consumed)
      return
    }
    udpEnqueue(slot, on: last)
  }

  // MARK: Sending

  /// Sends a datagram (udp_sendmsg), or more of one that is still being written.
  mutating func udpSend(
    _ data: borrowing RawSpan, on index: SocketIndex, to peer: SocketAddress?, _ control: SendControl
  ) throws(KernelError) {
    guard data.byteCount <= 0xffff else { throw .messageTooLong }
    let waits = control.isContinued || sockets[index].options.isCorked
    if sockets[index].cork == nil {
      let target = try destination(of: index, peer)
      guard target.port != 0 else { throw .invalidArgument }
      try autobind(index)
      let route = try socketRoute(index, to: target, control)
      guard !route.isBroadcast || sockets[index].options.broadcast else { throw .accessDenied }
      guard waits else {
        try udpTransmit(data, on: index, to: target, by: route)
        return
      }
      sockets[index].cork = UDPCork(route: route, target: target)
    }
    guard let cork = sockets[index].cork else { return }
    let length = UDPHeader.length + cork.bytes.count + data.byteCount
    guard length <= cork.route.room else {
      // What was written so far is lost with it (udp_flush_pending_frames).
      sockets[index].cork = nil
      throw refuseLength(index, to: cork.target, mtu: cork.route.mtu)
    }
    unsafe data.withUnsafeBytes { unsafe sockets[index].cork?.bytes.append(contentsOf: $0) }
    guard !waits, let error = udpPushPending(index) else { return }
    throw error
  }

  /// Sends what has been written of a datagram, if anything was (udp_push_pending_frames).
  mutating func udpPushPending(_ index: SocketIndex) -> KernelError? {
    guard let cork = sockets[index].cork else { return nil }
    sockets[index].cork = nil
    do throws(KernelError) {
      try udpTransmit(unsafe cork.bytes.span.bytes, on: index, to: cork.target, by: cork.route)
      return nil
    } catch {
      return error
    }
  }

  private mutating func udpTransmit(
    _ data: borrowing RawSpan, on index: SocketIndex, to target: SocketAddress, by route: SocketRoute
  ) throws(KernelError) {
    let namespace = sockets[index].namespace
    let length = UDPHeader.length + data.byteCount
    guard length <= route.room else { throw refuseLength(index, to: target, mtu: route.mtu) }
    let counters = UDPCounters(target.address.family)
    do throws(KernelError) {
      try checkSendRoom(index)
    } catch {
      if error.errno == KernelError.wouldBlock.errno {
        namespaces[namespace].snmp[counters.sendBufferErrors] &+= 1
      }
      throw error
    }
    let slot = pool.allocate(length: length)
    guard slot != .none else {
      namespaces[namespace].snmp[counters.sendBufferErrors] &+= 1
      throw .noBuffers
    }
    pool.store(data, in: slot, at: UDPHeader.length)
    let bytes = pool.bytes(slot)
    bytes.set(UDPHeader.source, u16: sockets[index].local.port)
    bytes.set(UDPHeader.destination, u16: target.port)
    bytes.set(UDPHeader.size, u16: UInt16(length))
    bytes.set(UDPHeader.checksum, u16: 0)
    let sum = pool.sum(slot, from: 0, count: length, route.pseudoSum(17, length))
    let checksum = UInt16(bigEndian: ~foldChecksum(sum))
    // Zero says that there is none, so that a sum of zero is written as its other form (RFC 768).
    bytes.set(UDPHeader.checksum, u16: checksum == 0 ? .max : checksum)
    pool.charge(slot, to: index.rawValue)
    if let error = output(slot, by: route, in: namespace) {
      // Queues below that are full are nobody's error but of who wants to know (udp_send_skb).
      if error == .noBuffers, !sockets[index].options.receiveErrors {
        namespaces[namespace].snmp[counters.sendBufferErrors] &+= 1
        return
      }
      throw error
    }
    namespaces[namespace].snmp[counters.outDatagrams] &+= 1
  }

  // MARK: Errors

  /// An ICMP error about a datagram (__udp4_lib_err).
  mutating func udpError(_ error: ICMPErrorReport, in namespace: NamespaceIndex) {
    let quote = error.transport
    // The quoted datagram went the other way.
    let flow = SocketFlow(
      source: error.destination, sourcePort: quote.u16(UDPHeader.destination), destination: error.source,
      destinationPort: quote.u16(UDPHeader.source), ifindex: error.ifindex)
    let index = udpSocket(for: flow, in: namespace)
    guard !index.isNone else {
      namespaces[namespace].snmp[error.source.family == .ipv6 ? .icmp6InErrors : .icmpInErrors] &+= 1
      return
    }
    report(
      error, to: index, port: flow.sourcePort, payload: quote.dropFirst(min(quote.count, UDPHeader.length)))
  }
}
