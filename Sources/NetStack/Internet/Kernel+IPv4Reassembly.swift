// SPDX-License-Identifier: GPL-2.0-or-later

// Reassembly in IPv4 (RFC 791, 815; net/ipv4/ip_fragment.c).

extension Kernel {
  @inline(__always) func isIPv4Fragment(_ slot: Slot) -> Bool {
    pool.bytes(slot).u16(IPv4Header.fragment) & (IPv4Header.moreFragments | IPv4Header.offsetMask) != 0
  }

  /// Takes a piece of a datagram for this host. The whole datagram when nothing is missing any more, else `none`.
  mutating func ipv4Reassemble(_ slot: Slot, in namespace: NamespaceIndex) -> Slot {
    namespaces[namespace].snmp[.ipReasmReqds] &+= 1
    let bytes = pool.bytes(slot)
    let key = FragmentKey(
      namespace: namespace, isIPv6: false, source: UInt128(bytes.u32(IPv4Header.source)),
      destination: UInt128(bytes.u32(IPv4Header.destination)),
      identification: UInt32(bytes.u16(IPv4Header.identification)), proto: bytes.u8(IPv4Header.proto))
    guard let index = fragmentQueue(for: key) else {
      namespaces[namespace].snmp[.ipReasmFails] &+= 1
      drop(slot, .noMemory, in: namespace)
      return .none
    }
    if isTooFar(index) {
      namespaces[namespace].snmp[.ipReasmFails] &+= 1
      for old in takeFragments(index) { drop(old, .fragmentTooFar, in: namespace) }
    }
    let header = bytes.ipv4HeaderLength
    let fragment = bytes.u16(IPv4Header.fragment)
    let isLast = fragment & IPv4Header.moreFragments == 0
    let offset = Int(fragment & IPv4Header.offsetMask) * 8
    var end = offset + Int(pool[slot].length) - header
    if !isLast { end &= ~7 }
    let congestion = bytes.u8(IPv4Header.typeOfService) & 3
    let isUncut = fragment & IPv4Header.dontFragment != 0
    let size = header + max(end - offset, 0)
    if size < Int(pool[slot].length) { pool.trim(slot, to: size) }
    let outcome = addFragment(
      slot, to: index, offset, end, isLast: isLast, size: size, isUncut: isUncut, congestion: congestion)
    switch outcome {
    case .waits:
      // Of all but the first only the payload is wanted; what is told about it stands in the first.
      if offset > 0 { pool.pull(slot, header) }
      return .none
    case .duplicate:
      drop(slot, .duplicateFragment, in: namespace)
      return .none
    case .overlaps, .contradicts:
      if case .overlaps = outcome { namespaces[namespace].snmp[.ipExtReasmOverlaps] &+= 1 }
      namespaces[namespace].snmp[.ipReasmFails] &+= 1
      drop(slot, .fragmentOverlap, in: namespace)
      endFragments(index, .fragmentOverlap)
      return .none
    case .completes:
      if offset > 0 { pool.pull(slot, header) }
      return ipv4Join(index, namespace)
    }
  }

  /// ip_frag_reasm.
  private mutating func ipv4Join(_ index: FragmentIndex, _ namespace: NamespaceIndex) -> Slot {
    let bits = fragmentQueues[index].congestion
    let (largest, largestUncut) = (fragmentQueues[index].largest, fragmentQueues[index].largestUncut)
    let isUncut = largestUncut > 0 && largestUncut == largest
    // RFC 3168 5.3: what says that it knows of congestion and what does not are no one datagram.
    let mixes = bits & 1 != 0 && bits != 1
    guard !mixes else {
      namespaces[namespace].snmp[.ipReasmFails] &+= 1
      endFragments(index, .fragmentOverlap)
      return .none
    }
    let slot = joinFragments(index)
    guard slot != .none, Int(pool[slot].length) <= 65535, pool.makeWritable(slot) else {
      namespaces[namespace].snmp[.ipReasmFails] &+= 1
      if slot != .none { drop(slot, .packetTooBig, in: namespace) }
      return .none
    }
    let bytes = pool.bytes(slot)
    let header = bytes.ipv4HeaderLength
    // A router has met congestion (bit 3: both of the field's bits).
    if bits & 8 != 0, bits != 8 {
      bytes.set(IPv4Header.typeOfService, u8: bytes.u8(IPv4Header.typeOfService) | 3)
    }
    bytes.set(IPv4Header.totalLength, u16: UInt16(truncatingIfNeeded: Int(pool[slot].length)))
    bytes.set(IPv4Header.fragment, u16: isUncut ? IPv4Header.dontFragment : 0)
    bytes.set(IPv4Header.checksum, u16: 0)
    bytes.set(IPv4Header.checksum, u16: bytes.prefix(header).checksum())
    pool[slot].networkHeader = pool[slot].dataOffset
    pool[slot].transportHeader = pool[slot].dataOffset &+ UInt16(header)
    var control = pool.ipv4Control(slot)
    control.largestPiece = UInt16(clamping: largest)
    if isUncut { control.flags.insert(.keepsPieces) }
    pool.setIPv4Control(control, of: slot)
    namespaces[namespace].snmp[.ipReasmOKs] &+= 1
    return slot
  }

  /// ip_expire: the sender is told, if the first piece, with the ports, has come.
  mutating func ipv4FragmentsExpired(_ index: FragmentIndex) {
    let namespace = fragmentQueues[index].key.namespace
    namespaces[namespace].snmp[.ipReasmFails] &+= 1
    namespaces[namespace].snmp[.ipReasmTimeout] &+= 1
    if fragmentQueues[index].hasFirst {
      let slots = takeFragments(index)
      if let first = slots.first {
        icmpError(for: first, .timeExceeded, code: 1, information: 0)
      }
      for slot in slots { drop(slot, .fragmentTimeout, in: namespace) }
    }
    endFragments(index, .fragmentTimeout)
  }
}
