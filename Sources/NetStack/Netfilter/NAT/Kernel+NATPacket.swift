// SPDX-License-Identifier: GPL-2.0-or-later

// Translation of packets (nf_nat_proto.c): the first packet of a connection asks the chains what is to become of it,
// every packet is rewritten by what its connection has. ICMP errors are rewritten inside and out.

import NetTypes
import Nftables

extension Kernel {
  /// NAT's step at a hook (nf_nat_inet_fn).
  mutating func translate(_ packet: inout NftPacket, _ step: NetfilterStep) -> NetfilterVerdict {
    let reference = pool.conntrack(packet.slot)
    let index = reference.index
    guard conntracks.contains(index) else { return .accept }
    let manipulation = NATManipulation(packet.hook)
    switch reference.info {
    case .related where packet.isICMP, .relatedReply where packet.isICMP:
      return translateError(packet, index, reference.info.direction, manipulation) ? .accept : .drop
    case .new, .related, .relatedReply:
      if !conntracks[index].status.contains(manipulation.doneBit) {
        for position in step.start..<step.start + step.count {
          let chain = namespaces[packet.namespace].nftables.steps.natChain(position)
          let verdict = run(chain.start, policy: chain.policy, &packet)
          guard verdict == .accept else { return verdict }
          if conntracks[index].status.contains(manipulation.doneBit) { break }
        }
        if !conntracks[index].status.contains(manipulation.doneBit) { bindNothing(index, manipulation) }
      } else if hasMoved(packet, index) {
        removeConntrack(index)
        return .drop
      }
    case .established, .establishedReply:
      if hasMoved(packet, index) {
        removeConntrack(index)
        return .drop
      }
    case .none, .untracked: return .accept
    }
    return rewrite(packet, index, reference.info.direction, manipulation) ? .accept : .drop
  }

  /// A connection that nothing is asked of keeps its addresses, but not a port that another one has
  /// (nf_nat_alloc_null_binding).
  private mutating func bindNothing(_ index: ConntrackIndex, _ manipulation: NATManipulation) {
    var range = NATRange()
    range.flags = .mapAddresses
    range.minimum =
      manipulation == .source ? conntracks[index].reply.destination : conntracks[index].reply.source
    range.maximum = range.minimum
    setUpTranslation(index, range, manipulation)
  }

  /// A masqueraded connection does not change its way out (nf_nat_oif_changed).
  private func hasMoved(_ packet: NftPacket, _ index: ConntrackIndex) -> Bool {
    packet.hook == .postrouting && !conntracks[index].masqueradeDevice.isNone
      && pool.conntrack(packet.slot).info.direction == .original
      && packet.output != conntracks[index].masqueradeDevice
  }

  // MARK: Rewriting

  /// nf_nat_packet.
  private mutating func rewrite(
    _ packet: NftPacket, _ index: ConntrackIndex, _ direction: ConntrackDirection,
    _ manipulation: NATManipulation
  ) -> Bool {
    let bit = direction == .original ? manipulation.bit : manipulation.other.bit
    guard conntracks[index].status.contains(bit),
      let target = conntracks[index].tuple(direction.other).inverted
    else { return true }
    guard pool.makeWritable(packet.slot) else { return false }
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let traced = pool.trace(packet.slot) != 0 ? flow(of: packet) : nil
    let isDone = rewrite(
      network, packet.transport, packet.proto, target, manipulation,
      isPartial: pool[packet.slot].checksumState == .partial)
    if let traced { traceTranslation(packet, from: traced) }
    return isDone
  }

  /// Writes a tuple's source or destination into a packet (nf_nat_ipv4_manip_pkt, nf_nat_ipv6_manip_pkt).
  func rewrite(
    _ network: PacketBytes, _ transport: Int, _ proto: UInt8, _ target: ConntrackTuple,
    _ manipulation: NATManipulation, isPartial: Bool
  ) -> Bool {
    let address = manipulation == .source ? target.source : target.destination
    var addresses = ChecksumChange()
    if target.isIPv6 {
      let place = manipulation == .source ? 8 : 24
      let old = UInt128(network.u64(place)) << 64 | UInt128(network.u64(place + 8))
      addresses.replace(old, by: address, isIPv6: true)
      network.set(place, u64: UInt64(truncatingIfNeeded: address >> 64))
      network.set(place + 8, u64: UInt64(truncatingIfNeeded: address))
    } else {
      let place = manipulation == .source ? IPv4Header.source : IPv4Header.destination
      addresses.replace(network.u32(place), by: UInt32(truncatingIfNeeded: address))
      network.set(place, u32: UInt32(truncatingIfNeeded: address))
      network.set(IPv4Header.checksum, u16: addresses.applied(to: network.u16(IPv4Header.checksum)))
    }
    guard transport <= network.count else { return false }
    rewriteTransport(
      network.dropFirst(transport), proto, target, manipulation, addresses, isPartial: isPartial)
    return true
  }

  /// Ports and checksums. Of a quoted packet only the first eight bytes need be there.
  private func rewriteTransport(
    _ bytes: PacketBytes, _ proto: UInt8, _ target: ConntrackTuple, _ manipulation: NATManipulation,
    _ addresses: ChecksumChange, isPartial: Bool
  ) {
    var ports = ChecksumChange()
    let value = manipulation == .source ? target.sourcePort : target.destinationPort
    switch proto {
    case 6, 17, 33, 132, 136:
      guard bytes.count >= 4 else { return }
      let place = manipulation == .source ? 0 : 2
      ports.replace(bytes.u16(place), by: value)
      bytes.set(place, u16: value)
    case 1, 58:
      // Echoes and their kin have an identifier; errors are rewritten elsewhere.
      guard bytes.count >= 8, target.isICMP,
        ConntrackTuple.reply(to: bytes.u8(0), isIPv6: target.isIPv6) != nil
      else { break }
      ports.replace(bytes.u16(4), by: target.sourcePort)
      bytes.set(4, u16: target.sourcePort)
      if !target.isIPv6 {
        bytes.set(2, u16: ports.applied(to: bytes.u16(2)))
        return
      }
    default: return
    }
    guard let place = TransportChecksum.offset(proto, isIPv6: target.isIPv6), place + 2 <= bytes.count else {
      return
    }
    let old = bytes.u16(place)
    if isPartial {
      bytes.set(place, u16: addresses.appliedToSum(old))
    } else if !(proto == 17 && old == 0) {
      let new = ports.applied(to: addresses.applied(to: old))
      bytes.set(place, u16: proto == 17 && new == 0 ? 0xffff : new)
    }
  }

  // MARK: ICMP errors

  /// Rewrites an error about a translated packet (nf_nat_icmp_reply_translation): what it quotes is given back what
  /// its sender knows, and the error itself comes from where an answer would.
  private mutating func translateError(
    _ packet: NftPacket, _ index: ConntrackIndex, _ direction: ConntrackDirection,
    _ manipulation: NATManipulation
  ) -> Bool {
    let isIPv6 = packet.version == 6
    guard packet.transport + 8 <= pool.bytes(packet.slot, from: packet.networkHeader).count else {
      return false
    }
    let status = conntracks[index].status
    // Hosts whose packets are translated must not go past the translator, nor may those of whom it is not decided yet.
    if pool.bytes(packet.slot, from: packet.networkHeader).u8(packet.transport) == (isIPv6 ? 137 : 5) {
      guard status.isSuperset(of: .natDone), status.isDisjoint(with: .nat) else { return false }
    }
    guard status.contains(direction == .original ? manipulation.bit : manipulation.other.bit) else {
      return true
    }
    guard pool.makeWritable(packet.slot) else { return false }
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let quote = network.dropFirst(packet.transport + 8)
    guard let inner = NftPacket.inner(quote, isIPv6: isIPv6),
      let target = conntracks[index].tuple(direction.other).inverted
    else { return false }
    guard
      rewrite(
        quote, inner.transport, inner.proto, conntracks[index].tuple(direction.other), manipulation.other,
        isPartial: false)
    else { return false }
    var outer = target
    outer.proto = packet.proto
    let address = manipulation == .source ? outer.source : outer.destination
    var change = ChecksumChange()
    if isIPv6 {
      let place = manipulation == .source ? 8 : 24
      network.set(place, u64: UInt64(truncatingIfNeeded: address >> 64))
      network.set(place + 8, u64: UInt64(truncatingIfNeeded: address))
    } else {
      let place = manipulation == .source ? IPv4Header.source : IPv4Header.destination
      change.replace(network.u32(place), by: UInt32(truncatingIfNeeded: address))
      network.set(place, u32: UInt32(truncatingIfNeeded: address))
      network.set(IPv4Header.checksum, u16: change.applied(to: network.u16(IPv4Header.checksum)))
    }
    sumMessage(packet)
    return true
  }

  /// Sums an ICMP message anew.
  private func sumMessage(_ packet: NftPacket) {
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let length = packet.length(in: pool) - packet.transport
    let start = Int(packet.networkHeader) - Int(pool[packet.slot].dataOffset) + packet.transport
    guard length >= 8, start >= 0 else { return }
    network.set(packet.transport + 2, u16: 0)
    var initial: UInt64 = 0
    if packet.version == 6 {
      initial = network.dropFirst(8).prefix(32).sum(UInt64(UInt16(58).bigEndian))
      initial &+= UInt64(UInt16(truncatingIfNeeded: length).bigEndian)
    }
    let sum = foldChecksum(pool.sum(packet.slot, from: start, count: length, initial))
    network.set(packet.transport + 2, u16: UInt16(bigEndian: ~sum))
  }
}
