// SPDX-License-Identifier: GPL-2.0-or-later

// Raw sockets (net/ipv4/raw.c): every one that a packet for this host matches has a copy of it, IP header included.

import NetTypes

extension Kernel {
  /// Gives copies to all raw sockets that a packet is for; whether there was one (raw_local_deliver).
  mutating func rawDeliver(_ slot: Slot, _ proto: UInt8, in namespace: NamespaceIndex) -> Bool {
    let header = pool.bytes(slot)
    let ifindex = devices[DeviceIndex(pool[slot].device)].ifindex
    var isDelivered = false
    for position in 0..<namespaces[namespace].sockets.raw.count {
      let index = namespaces[namespace].sockets.raw[position]
      guard
        matches(
          index, proto, local: header.ipv4Destination, remote: header.ipv4Source, ifindex: ifindex)
      else { continue }
      isDelivered = true
      let transport = pool.bytes(slot, from: pool[slot].transportHeader)
      if proto == 1, transport.count > 0, transport.u8(0) < 32,
        sockets[index].options.icmpFilter >> UInt32(transport.u8(0)) & 1 == 1
      {
        continue
      }
      let copy = pool.clone(slot)
      guard copy != .none else {
        sockets[index].drops &+= 1
        continue
      }
      if !enqueueReceived(copy, on: index) { drop(copy, .socketReceiveBuffer, in: namespace) }
    }
    return isDelivered
  }

  /// raw_v4_match.
  private func matches(
    _ index: SocketIndex, _ proto: UInt8, local: IPAddress, remote: IPAddress, ifindex: Int32
  ) -> Bool {
    guard case .raw(let family, let own) = sockets[index].kind, own == proto, family == local.family else {
      return false
    }
    if let peer = sockets[index].peer, peer.address != remote { return false }
    let bound = sockets[index].local.address
    guard bound.isUnspecified || bound == local else { return false }
    let device = sockets[index].options.device
    guard device == 0 || device == ifindex else { return false }
    return !local.isMulticast || sockets[index].options.multicastAll || isMember(index, of: local)
  }

  /// Sends a packet: data behind a header of the kernel's, or with its own (raw_sendmsg, raw_send_hdrinc).
  mutating func rawSend(
    _ data: borrowing RawSpan, on index: SocketIndex, to peer: SocketAddress?, _ control: SendControl
  ) throws(KernelError) {
    guard data.byteCount <= 0xffff else { throw .messageTooLong }
    let target = try destination(of: index, peer)
    let namespace = sockets[index].namespace
    let datagram = datagram(index, to: target.address, proto: sockets[index].kind.proto, control)
    let path = try ipv4Route(datagram, in: namespace)
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
    try checkSendRoom(index)
    let slot = pool.allocate(length: data.byteCount)
    guard slot != .none else { throw .noBuffers }
    pool.store(data, in: slot)
    pool.charge(slot, to: index.rawValue)
    let error =
      isWhole
      ? ipv4OutputWhole(slot, datagram, by: path, in: namespace)
      : ipv4Output(slot, datagram, by: path, in: namespace)
    if let error { throw error }
  }

  /// An ICMP error about a packet that raw sockets may have sent (raw_icmp_error, raw_err).
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
