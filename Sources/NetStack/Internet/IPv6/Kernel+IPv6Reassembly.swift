// SPDX-License-Identifier: GPL-2.0-or-later

// Reassembly of IPv6 datagrams (RFC 8200 4.5, RFC 5722; net/ipv6/reassembly.c).

import NetTypes

extension Kernel {
  /// Takes a packet at its fragment header (ipv6_frag_rcv).
  mutating func ipv6FragmentReceive(
    _ slot: Slot, _ offset: Int, nextHeaderPlace place: Int, in namespace: NamespaceIndex
  ) {
    namespaces[namespace].snmp[.ip6ReasmReqds] &+= 1
    let payload = Int(pool.bytes(slot).u16(IPv6Header.payloadLength))
    guard !pool[slot].flags.contains(.reassembled), payload > 0, pool.mayPull(slot, offset + 8) else {
      refuseFragment(slot, code: 0, pointer: offset, in: namespace)
      return
    }
    let bytes = pool.bytes(slot)
    let word = bytes.u16(offset + 2)
    let start = Int(word & 0xfff8)
    let isLast = word & 1 == 0
    if start == 0, isLast {
      // A datagram that is whole already (RFC 6946).
      pool[slot].flags.insert(.reassembled)
      pool[slot].transportHeader &+= 8
      namespaces[namespace].snmp[.ip6ReasmOKs] &+= 1
      ipv6Continue(slot, at: offset, in: namespace)
      return
    }
    if start == 0, !hasTransport(bytes) {
      refuseFragment(slot, code: 3, pointer: 0, in: namespace)
      return
    }
    let end = start + Int(pool[slot].length) - offset - 8
    guard end <= 65535 else {
      refuseFragment(slot, code: 0, pointer: offset + 2, in: namespace)
      return
    }
    guard isLast || end & 7 == 0 else {
      refuseFragment(slot, code: 0, pointer: IPv6Header.payloadLength, in: namespace)
      return
    }
    switch gather(slot, offset, start, end, isLast: isLast, in: namespace) {
    case .waits: break
    case .refused: namespaces[namespace].snmp[.ip6ReasmFails] &+= 1
    case .whole(let whole, let place):
      namespaces[namespace].snmp[.ip6ReasmOKs] &+= 1
      ipv6Continue(whole, at: place, in: namespace)
    }
  }

  /// What has become of a piece.
  private enum GatherOutcome {
    case waits
    /// It is gone, and others with it.
    case refused
    /// The datagram, and where in it the number of what followed the fragment header stands.
    case whole(Slot, place: Int)
  }

  /// Puts a piece to the others of its datagram; its fragment header is at `offset`.
  private mutating func gather(
    _ slot: Slot, _ offset: Int, _ start: Int, _ end: Int, isLast: Bool, in namespace: NamespaceIndex
  ) -> GatherOutcome {
    let bytes = pool.bytes(slot)
    let destination = bytes.ipv6Destination
    let isNear = IPv6.isMulticast(destination) || IPv6.isLinkLocal(destination)
    let key = FragmentKey(
      namespace: namespace, isIPv6: true, source: bytes.ipv6Source, destination: destination,
      identification: bytes.u32(offset + 4), device: isNear ? DeviceIndex(pool[slot].device) : .none)
    guard let index = fragmentQueue(for: key) else {
      drop(slot, .noMemory, in: namespace)
      return .refused
    }
    let outcome = addFragment(
      slot, to: index, start, end, isLast: isLast, size: Int(pool[slot].length), isUncut: false,
      congestion: UInt8(bytes.u16(0) >> 4 & 3))
    switch outcome {
    case .waits, .completes:
      // Of all but the first only the payload is wanted.
      if start > 0 { pool.pull(slot, offset + 8) }
      if case .completes = outcome { return reassemble(index, in: namespace) }
      return .waits
    case .duplicate:
      drop(slot, .duplicateFragment, in: namespace)
      return .waits
    case .overlaps, .contradicts:
      // What has come cannot be one datagram: all of it goes.
      drop(slot, .fragmentOverlap, in: namespace)
      endFragments(index, .fragmentOverlap)
      return .refused
    }
  }

  /// Makes whole what is to meet rules that follow connections, or waits for the rest (nf_ct_frag6_gather). Who sends
  /// nonsense is not told. `none`: there is nothing to go on with.
  mutating func ipv6Defragment(_ slot: Slot, in namespace: NamespaceIndex) -> Slot {
    guard let offset = fragmentHeader(of: slot) else { return slot }
    let bytes = pool.bytes(slot)
    let word = bytes.u16(offset + 2)
    let start = Int(word & 0xfff8)
    let isLast = word & 1 == 0
    let end = start + Int(pool[slot].length) - offset - 8
    guard bytes.u16(IPv6Header.payloadLength) > 0, end <= 65535, isLast || end & 7 == 0,
      start > 0 || hasTransport(bytes)
    else {
      drop(slot, .netfilterDrop, in: namespace)
      return .none
    }
    pool[slot].transportHeader = pool[slot].dataOffset &+ UInt16(offset)
    guard case .whole(let whole, _) = gather(slot, offset, start, end, isLast: isLast, in: namespace) else {
      return .none
    }
    pool[whole].transportHeader = pool[whole].networkHeader &+ UInt16(IPv6Header.length)
    return whole
  }

  /// Where a packet's fragment header stands, made linear; nil when it has none (find_prev_fhdr).
  private mutating func fragmentHeader(of slot: Slot) -> Int? {
    var next = pool.bytes(slot).u8(IPv6Header.nextHeader)
    var offset = IPv6Header.length
    while true {
      switch next {
      case IPv6NextHeader.fragment: return pool.mayPull(slot, offset + 8) ? offset : nil
      case IPv6NextHeader.hopByHop, IPv6NextHeader.routing, IPv6NextHeader.destination:
        guard pool.mayPull(slot, offset + 8) else { return nil }
        next = pool.bytes(slot).u8(offset)
        offset += (Int(pool.bytes(slot).u8(offset + 1)) + 1) * 8
      default: return nil
      }
    }
  }

  private mutating func refuseFragment(
    _ slot: Slot, code: UInt8, pointer: Int, in namespace: NamespaceIndex
  ) {
    namespaces[namespace].snmp[.ip6InHdrErrors] &+= 1
    icmpv6Error(for: slot, .parameterProblem, code: code, information: UInt32(pointer))
    drop(slot, .ipInvalidHeader, in: namespace)
  }

  /// Whether a first piece has all headers, and of the transport's what tells whose it is (ipv6frag_thdr_truncated).
  private func hasTransport(_ bytes: PacketBytes) -> Bool {
    let chain = skipExtensionHeaders(bytes)
    guard chain.isComplete else { return chain.nextHeader == IPv6NextHeader.none }
    let needed =
      switch chain.nextHeader {
      case IPv6NextHeader.tcp: 20
      case IPv6NextHeader.udp: 8
      case IPv6NextHeader.icmp: 8
      default: 1
      }
    return bytes.count >= chain.offset + needed
  }

  /// Makes one packet of the pieces (ip6_frag_reasm): the first loses its fragment header.
  private mutating func reassemble(
    _ index: FragmentIndex, in namespace: NamespaceIndex
  ) -> GatherOutcome {
    let total = fragmentQueues[index].length
    let largest = fragmentQueues[index].largest
    let slot = joinFragments(index)
    guard slot != .none else { return .refused }
    let header = Int(pool[slot].transportHeader) - Int(pool[slot].networkHeader)
    guard header + total - IPv6Header.length <= 65535, pool.makeWritable(slot) else {
      drop(slot, .packetTooBig, in: namespace)
      return .refused
    }
    let bytes = pool.bytes(slot)
    let (_, place) = fragmentHeaderPlace(bytes, header)
    bytes.set(place, u8: bytes.u8(header))
    bytes.dropFirst(8).copy(from: bytes.prefix(header))
    pool.pull(slot, 8)
    pool[slot].networkHeader &+= 8
    pool[slot].transportHeader &+= 8
    pool.bytes(slot).set(
      IPv6Header.payloadLength, u16: UInt16(truncatingIfNeeded: header + total - IPv6Header.length))
    pool[slot].flags.insert(.reassembled)
    var control = IPv4Control()
    control.largestPiece = UInt16(clamping: largest)
    pool.setIPv4Control(control, of: slot)
    return .whole(slot, place: place)
  }

  /// Where the number that says "fragment header" stands in front of it.
  private func fragmentHeaderPlace(_ bytes: PacketBytes, _ header: Int) -> (offset: Int, place: Int) {
    var place = IPv6Header.nextHeader
    var offset = IPv6Header.length
    while offset < header {
      place = offset
      offset += (Int(bytes.u8(offset + 1)) + 1) * 8
    }
    return (offset, place)
  }

  /// Not all has come in time (ip6frag_expire_frag_queue): who sent the first piece is told.
  mutating func ipv6FragmentsExpired(_ index: FragmentIndex) {
    let namespace = fragmentQueues[index].key.namespace
    namespaces[namespace].snmp[.ip6ReasmFails] &+= 1
    namespaces[namespace].snmp[.ip6ReasmTimeout] &+= 1
    if fragmentQueues[index].hasFirst {
      let slots = takeFragments(index)
      if let first = slots.first {
        icmpv6Error(for: first, .timeExceeded, code: 1, information: 0)
      }
      for slot in slots { drop(slot, .fragmentTimeout, in: namespace) }
    }
    endFragments(index, .fragmentTimeout)
  }
}
