// SPDX-License-Identifier: GPL-2.0-or-later

// Raw sockets (net/ipv4/raw.c, net/ipv6/raw.c): every one that a packet for this host matches has a copy of it. IPv4's see
// the IP header, IPv6's what stands behind it and behind the headers for hops and destinations that have been read, and
// their kernel makes and checks a checksum where it is told one is.

import NetTypes

extension Kernel {
  /// Gives copies to all raw sockets that a packet is for; whether there was one (raw_local_deliver, raw6_local_deliver).
  mutating func rawDeliver(_ slot: Slot, _ proto: UInt8, in namespace: NamespaceIndex) -> Bool {
    let header = pool.bytes(slot)
    let ifindex = devices[DeviceIndex(pool[slot].device)].ifindex
    var isDelivered = false
    for position in 0..<namespaces[namespace].sockets.raw.count {
      let index = namespaces[namespace].sockets.raw[position]
      guard
        matches(
          index, proto, local: header.destinationAddress, remote: header.sourceAddress, ifindex: ifindex)
      else { continue }
      isDelivered = true
      guard !isFiltered(slot, proto, by: index) else { continue }
      guard hasChecksum(slot, proto, for: index), case let copy = pool.clone(slot), copy != .none else {
        sockets[index].drops &+= 1
        continue
      }
      if !enqueueReceived(copy, on: index) { drop(copy, .socketReceiveBuffer, in: namespace) }
    }
    return isDelivered
  }

  /// icmp_filter, icmpv6_filter.
  private func isFiltered(_ slot: Slot, _ proto: UInt8, by index: SocketIndex) -> Bool {
    let transport = pool.bytes(slot, from: pool[slot].transportHeader)
    guard transport.count > 0 else { return false }
    switch (sockets[index].kind, proto) {
    case (.raw(.ipv4, _), 1):
      return transport.u8(0) < 32 && sockets[index].options.icmpFilter >> UInt32(transport.u8(0)) & 1 == 1
    case (.raw(.ipv6, _), IPv6NextHeader.icmp):
      return sockets[index].options.icmp6Filter.blocks(transport.u8(0))
    default: return false
    }
  }

  /// Whether a packet has the checksum that a socket of IPv6 asks for (rawv6_rcv).
  private func hasChecksum(_ slot: Slot, _ proto: UInt8, for index: SocketIndex) -> Bool {
    guard case .raw(.ipv6, _) = sockets[index].kind,
      sockets[index].options.checksumOffset != nil || sockets[index].options.headerIncluded,
      pool[slot].checksumState == .none
    else { return true }
    let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
    let length = Int(pool[slot].length) - offset
    let pseudo = pool.bytes(slot).ipv6PseudoSum(length: length, proto: proto)
    return foldChecksum(pool.sum(slot, from: offset, count: length, pseudo)) == .max
  }

  /// raw_v4_match, raw_v6_match.
  private func matches(
    _ index: SocketIndex, _ proto: UInt8, local: IPAddress, remote: IPAddress, ifindex: Int32
  ) -> Bool {
    guard case .raw(let family, let own) = sockets[index].kind, own == proto, family == local.family else {
      return false
    }
    if let peer = sockets[index].peer, peer.address != remote { return false }
    let device = sockets[index].options.device
    guard device == 0 || device == ifindex else { return false }
    let bound = sockets[index].local.address
    let isGroup = local.isMulticast
    guard bound.isUnspecified || bound == local || family == .ipv6 && isGroup else { return false }
    // Who is bound to nothing hears all groups of IPv6.
    guard isGroup, family == .ipv4 || !bound.isUnspecified && bound != local else { return true }
    return sockets[index].options.multicastAll || isMember(index, of: local)
  }

  // MARK: Sending

  /// Sends a packet: data behind a header of the kernel's, or with its own (raw_sendmsg, raw_send_hdrinc).
  mutating func rawSend(
    _ data: borrowing RawSpan, on index: SocketIndex, to peer: SocketAddress?, _ control: SendControl
  ) throws(KernelError) {
    guard data.byteCount <= 0xffff else { throw .messageTooLong }
    let target = try destination(of: index, peer)
    switch try socketRoute(index, to: target, control) {
    case .v4(let datagram, let path): try rawSend(data, on: index, to: target, datagram, path)
    case .v6(let datagram, let path): try rawSend(data, on: index, to: target, datagram, path)
    }
  }

  private mutating func rawSend(
    _ data: borrowing RawSpan, on index: SocketIndex, to target: SocketAddress, _ datagram: IPv4Datagram,
    _ path: IPv4Path
  ) throws(KernelError) {
    let namespace = sockets[index].namespace
    guard path.type != .broadcast || sockets[index].options.broadcast else { throw .accessDenied }
    let isWhole = sockets[index].options.headerIncluded
    let length = data.byteCount + (isWhole ? 0 : IPv4Header.length)
    guard length <= (isWhole ? path.mtu : path.largest(datagram)) else {
      throw refuseLength(index, to: target, mtu: path.mtu)
    }
    if isWhole {
      guard data.byteCount >= IPv4Header.length else { throw .invalidArgument }
      let headerLength = Int(unsafe data.unsafeLoad(fromByteOffset: 0, as: UInt8.self) & 15) * 4
      guard headerLength >= IPv4Header.length, headerLength <= data.byteCount else { throw .invalidArgument }
    }
    let slot = try rawPacket(data, of: index)
    let error =
      isWhole
      ? ipv4OutputWhole(slot, datagram, by: path, in: namespace)
      : ipv4Output(slot, datagram, by: path, in: namespace)
    if let error { throw error }
  }

  /// rawv6_sendmsg, rawv6_send_hdrinc, rawv6_push_pending_frames.
  private mutating func rawSend(
    _ data: borrowing RawSpan, on index: SocketIndex, to target: SocketAddress, _ datagram: IPv6Datagram,
    _ path: IPv6Path
  ) throws(KernelError) {
    let namespace = sockets[index].namespace
    let own = sockets[index].kind.proto
    var datagram = datagram
    if target.port != 0 {
      // Only who has no protocol of his own chooses one.
      guard target.port <= 255, target.port == UInt16(own) || own == 255 else { throw .invalidArgument }
      datagram.proto = UInt8(target.port)
    }
    guard !sockets[index].options.headerIncluded else {
      guard data.byteCount <= devices[path.device].mtu else {
        throw refuseLength(index, to: target, mtu: path.mtu)
      }
      guard data.byteCount >= IPv6Header.length else { throw .invalidArgument }
      let slot = try rawPacket(data, of: index)
      if let error = ipv6OutputWhole(slot, datagram, by: path, in: namespace) { throw error }
      return
    }
    let route = SocketRoute.v6(datagram, path)
    guard data.byteCount <= route.room else { throw refuseLength(index, to: target, mtu: path.mtu) }
    let place = sockets[index].options.checksumOffset
    if let place, place + 2 > data.byteCount { throw .invalidArgument }
    let slot = try rawPacket(data, of: index)
    if let place, pool.mayPull(slot, place + 2) {
      pool.bytes(slot).set(place, u16: 0)
      let sum = pool.sum(
        slot, from: 0, count: data.byteCount, route.pseudoSum(datagram.proto, data.byteCount))
      let checksum = UInt16(bigEndian: ~foldChecksum(sum))
      pool.bytes(slot).set(place, u16: checksum == 0 && datagram.proto == 17 ? .max : checksum)
    }
    if let error = ipv6Output(slot, datagram, by: path, in: namespace) { throw error }
  }

  /// A packet with a user's bytes, charged to the socket.
  private mutating func rawPacket(
    _ data: borrowing RawSpan, of index: SocketIndex
  ) throws(KernelError) -> Slot {
    try checkSendRoom(index)
    let slot = pool.allocate(length: data.byteCount)
    guard slot != .none else { throw .noBuffers }
    pool.store(data, in: slot)
    pool.charge(slot, to: index.rawValue)
    return slot
  }

  // MARK: Errors

  /// An error about a packet that raw sockets may have sent (raw_icmp_error, raw_err, rawv6_err).
  mutating func rawError(_ error: ICMPErrorReport, quote: PacketBytes, in namespace: NamespaceIndex) {
    for position in 0..<namespaces[namespace].sockets.raw.count {
      let index = namespaces[namespace].sockets.raw[position]
      guard
        matches(
          index, error.proto, local: error.source, remote: error.destination, ifindex: error.ifindex)
      else { continue }
      let payload = sockets[index].options.headerIncluded ? quote : error.transport
      report(error, to: index, port: 0, payload: payload)
    }
  }
}
