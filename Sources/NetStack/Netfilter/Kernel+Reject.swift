// SPDX-License-Identifier: GPL-2.0-or-later

// What `reject` tells the sender (nf_reject_ipv4.c, nf_reject_ipv6.c): an ICMP error, or the end of a TCP connection.

import Nftables

extension Kernel {
  /// Tells the sender of a packet that it is not wanted. The packet itself is the caller's to drop.
  mutating func reject(_ packet: NftPacket, _ kind: NftReject.Kind, _ code: UInt8) {
    let isIPv6 = packet.version == 6
    switch kind {
    case .icmp: sendUnreachable(packet, code, isIPv6)
    case .icmpx:
      // no-route, port-unreachable, host-unreachable, admin-prohibited.
      let codes: [UInt8] = isIPv6 ? [0, 4, 3, 1] : [0, 3, 1, 13]
      sendUnreachable(packet, codes[Int(min(code, 3))], isIPv6)
    case .tcpReset: sendReset(packet)
    }
  }

  private mutating func sendUnreachable(_ packet: NftPacket, _ code: UInt8, _ isIPv6: Bool) {
    if isIPv6 {
      icmpv6Error(for: packet.slot, .destinationUnreachable, code: code, information: 0)
    } else if packet.version == 4 {
      // Before routing the packet is given a route to its sender (nf_reject_fill_skb_dst).
      let isDelivered: Bool? = packet.hook == .output ? nil : packet.hook == .input
      icmpError(
        for: packet.slot, .destinationUnreachable, code: code, information: 0, isDelivered: isDelivered)
    }
  }

  /// nf_send_reset, nf_send_reset6. It speaks in the name of another: the way is looked up without a source.
  private mutating func sendReset(_ packet: NftPacket) {
    guard let slot = reset(answering: packet) else { return }
    let header = pool.bytes(packet.slot, from: packet.networkHeader)
    let bytes = pool.bytes(slot)
    do throws(KernelError) {
      if packet.version == 6 {
        let (source, destination) = (header.ipv6Destination, header.ipv6Source)
        let pseudo = ipv6PseudoSum(source, destination, length: 20, proto: 6)
        bytes.set(16, u16: UInt16(bigEndian: ~foldChecksum(bytes.sum(pseudo))))
        var datagram = IPv6Datagram(destination: destination, proto: 6)
        if IPv6.isLinkLocal(destination) { datagram.device = packet.input }
        var path = try ipv6Route(datagram, in: packet.namespace)
        path.source = source
        _ = ipv6Output(slot, datagram, by: path, in: packet.namespace)
      } else {
        let protocolAndLength = UInt64(UInt16(6).bigEndian) &+ UInt64(UInt16(20).bigEndian)
        let pseudo = header.dropFirst(12).prefix(8).sum(protocolAndLength)
        bytes.set(16, u16: UInt16(bigEndian: ~foldChecksum(bytes.sum(pseudo))))
        let datagram = IPv4Datagram(
          destination: header.u32(IPv4Header.source), proto: 6, pathMTUDiscovery: .do)
        var path = try ipv4Route(datagram, in: packet.namespace)
        path.source = header.u32(IPv4Header.destination)
        _ = ipv4Output(slot, datagram, by: path, in: packet.namespace)
      }
    } catch {
      drop(slot, .ipOutNoRoutes, in: packet.namespace)
    }
  }

  /// The segment that ends the connection of a packet (RFC 9293 3.10.7.1), its checksum not set; nil where none is to
  /// be sent.
  private mutating func reset(answering packet: NftPacket) -> Slot? {
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    guard packet.proto == 6, packet.hasTransport, packet.transport + 20 <= network.count,
      pool[packet.slot].packetType == .host
    else { return nil }
    let segment = network.dropFirst(packet.transport)
    let flags = segment.u8(13)
    let header = Int(segment.u8(12) >> 4) * 4
    let payload = packet.length(in: pool) - packet.transport - header
    guard flags & 4 == 0, header >= 20, payload >= 0 else { return nil }
    let slot = pool.allocate(20)
    guard slot != .none else { return nil }
    _ = pool.put(slot, 20)
    let bytes = pool.bytes(slot)
    bytes.fill(0)
    bytes.set(0, u16: segment.u16(2))
    bytes.set(2, u16: segment.u16(0))
    if flags & 0x10 != 0 {
      bytes.set(4, u32: segment.u32(8))
      bytes.set(13, u8: 4)
    } else {
      let length = UInt32(truncatingIfNeeded: payload) &+ UInt32(flags >> 1 & 1) &+ UInt32(flags & 1)
      bytes.set(8, u32: segment.u32(4) &+ length)
      bytes.set(13, u8: 0x14)
    }
    bytes.set(12, u8: 0x50)
    pool[slot].device = loopback(of: packet.namespace).rawValue
    attachConntrack(of: packet.slot, to: slot)
    return slot
  }
}
