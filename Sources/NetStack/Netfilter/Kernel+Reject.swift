// SPDX-License-Identifier: GPL-2.0-or-later

// What `reject` tells the sender (net/ipv4/netfilter/nf_reject_ipv4.c): an ICMP error, or the end of a TCP connection.

import Nftables

extension Kernel {
  /// Tells the sender of a packet that it is not wanted. The packet itself is the caller's to drop.
  mutating func reject(_ packet: NftPacket, _ kind: NftReject.Kind, _ code: UInt8) {
    guard packet.version == 4 else { return }
    switch kind {
    case .icmp: icmpError(for: packet.slot, .destinationUnreachable, code: code, information: 0)
    case .icmpx:
      // no-route, port-unreachable, host-unreachable, admin-prohibited.
      let codes: [UInt8] = [0, 3, 1, 13]
      icmpError(
        for: packet.slot, .destinationUnreachable, code: codes[Int(min(code, 3))], information: 0)
    case .tcpReset: sendReset(packet)
    }
  }

  /// nf_send_reset.
  private mutating func sendReset(_ packet: NftPacket) {
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    guard packet.proto == 6, packet.hasTransport, packet.transport + 20 <= network.count,
      pool[packet.slot].packetType == .host
    else { return }
    let segment = network.dropFirst(packet.transport)
    let flags = segment.u8(13)
    guard flags & 4 == 0 else { return }
    let header = Int(segment.u8(12) >> 4) * 4
    let payload = packet.length(in: pool) - packet.transport - header
    guard header >= 20, payload >= 0 else { return }
    let isAnswer = flags & 0x10 != 0
    let slot = pool.allocate(20)
    guard slot != .none else { return }
    _ = pool.put(slot, 20)
    let bytes = pool.bytes(slot)
    bytes.fill(0)
    bytes.set(0, u16: segment.u16(2))
    bytes.set(2, u16: segment.u16(0))
    if isAnswer {
      bytes.set(4, u32: segment.u32(8))
      bytes.set(13, u8: 4)
    } else {
      let length = UInt32(truncatingIfNeeded: payload) &+ UInt32(flags >> 1 & 1) &+ UInt32(flags & 1)
      bytes.set(8, u32: segment.u32(4) &+ length)
      bytes.set(13, u8: 0x14)
    }
    bytes.set(12, u8: 0x50)
    let source = network.u32(IPv4Header.destination)
    let destination = network.u32(IPv4Header.source)
    let addresses = network.dropFirst(12).prefix(8).sum(
      UInt64(UInt16(6).bigEndian) &+ UInt64(UInt16(20).bigEndian))
    bytes.set(16, u16: UInt16(bigEndian: ~foldChecksum(bytes.sum(addresses))))
    pool[slot].device = loopback(of: packet.namespace).rawValue
    // It belongs to the connection, and is translated as that is (nf_ct_attach).
    let reference = pool.conntrack(packet.slot)
    if conntracks.contains(reference.index) {
      let info: ConntrackInfo = reference.info.direction == .original ? .relatedReply : .related
      pool.setConntrack(ConntrackReference(index: reference.index, info: info), of: slot)
    }
    // It speaks in the name of another: the way is looked up without a source.
    let datagram = IPv4Datagram(destination: destination, proto: 6, pathMTUDiscovery: .do)
    do throws(KernelError) {
      var path = try ipv4Route(datagram, in: packet.namespace)
      path.source = source
      _ = ipv4Output(slot, datagram, by: path, in: packet.namespace)
    } catch {
      drop(slot, .ipOutNoRoutes, in: packet.namespace)
    }
  }
}
