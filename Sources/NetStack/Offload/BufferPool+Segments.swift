// SPDX-License-Identifier: GPL-2.0-or-later

// What of cutting and joining packets is bytes and pages (net/core/skbuff.c skb_segment, net/core/gro.c
// skb_gro_receive): a segment shares the whole's pages, or is the very packet that was joined to it; only headers are
// copied.

/// Where the parts of a packet of TCP begin, counted from its first byte.
struct SegmentLayout {
  var network: Int
  var transport: Int
  var payload: Int
}

extension BufferPool {
  /// How many packets a wire carries for this one.
  @inline(__always) func segmentCount(_ slot: Slot) -> Int {
    self[slot].gsoType == .none ? 1 : max(Int(self[shared: slot].gsoSegments), 1)
  }

  /// What a segment has of the payload at most.
  func segmentSize(_ slot: Slot) -> Int? {
    self[slot].gsoType == .none ? nil : Int(self[shared: slot].gsoSize)
  }

  /// Bytes of the headers of a packet that is to be cut; all of them stand in the data block.
  private func headerLength(_ slot: Slot) -> Int {
    let transport = Int(self[slot].checksumStart) - Int(self[slot].dataOffset)
    return transport + Int(bytes(slot).u8(transport + TCPHeader.dataOffset) >> 4) * 4
  }

  /// Whether a packet that begins with its network header, or each of its segments, fits into an MTU
  /// (skb_gso_validate_network_len).
  @inline(__always) func fits(_ slot: Slot, _ mtu: Int) -> Bool {
    Int(self[slot].length) <= mtu || self[slot].gsoType != .none && segmentsFit(slot, mtu)
  }

  @inline(never) private func segmentsFit(_ slot: Slot, _ mtu: Int) -> Bool {
    headerLength(slot) + Int(self[shared: slot].gsoSize) <= mtu
  }

  /// The longest frame that a packet with its link header becomes (skb_gso_validate_mac_len).
  func longestFrame(_ slot: Slot) -> Int {
    self[slot].gsoType == .none
      ? Int(self[slot].length) : headerLength(slot) + Int(self[shared: slot].gsoSize)
  }

  /// Bytes that a wire carries for a packet with its link header, each segment's headers counted
  /// (qdisc_pkt_len_init).
  @inline(__always) func wireLength(_ slot: Slot) -> Int {
    let length = Int(self[slot].length)
    return self[slot].gsoType == .none
      ? length : length + (Int(self[shared: slot].gsoSegments) - 1) * headerLength(slot)
  }

  /// The parts of a packet that is to be cut; nil when its headers are not what they should be.
  mutating func segmentLayout(_ slot: Slot, hasLinkHeader: Bool) -> SegmentLayout? {
    let transport = Int(self[slot].checksumStart) - Int(self[slot].dataOffset)
    guard self[slot].checksumState == .partial, transport > 0, mayPull(slot, transport + TCPHeader.length)
    else {
      return nil
    }
    let payload = headerLength(slot)
    guard mayPull(slot, payload), payload < Int(self[slot].length) else { return nil }
    var network = 0
    if hasLinkHeader {
      let frame = bytes(slot)
      network = EthernetHeader.type
      while network + 2 <= transport, [VLANTag.customer, VLANTag.service].contains(frame.u16(network)) {
        network += VLANTag.length
      }
      network += 2
    }
    let isIPv6 = self[slot].gsoType == .tcp6
    guard network + (isIPv6 ? IPv6Header.length : IPv4Header.length) <= transport else { return nil }
    return SegmentLayout(network: network, transport: transport, payload: payload)
  }

  /// A packet that begins with the first `header` bytes of another one, and goes on with a part of its payload, whose
  /// pages they share where the part stands in the other's own; `none` when the pool has no more.
  mutating func slice(_ slot: Slot, header: Int, from offset: Int, count: Int) -> Slot {
    let linear = self[slot].linearLength
    var place = offset - linear
    var fragment = 0
    while place >= 0, fragment < Int(self[slot].fragmentCount) {
      let length = Int(self[shared: slot].fragments[fragment].length)
      if place < length { break }
      place -= length
      fragment += 1
    }
    var isOwn = place >= 0 && fragment < Int(self[slot].fragmentCount)
    if isOwn {
      var there = -place
      for position in fragment..<Int(self[slot].fragmentCount) {
        there += Int(self[shared: slot].fragments[position].length)
      }
      isOwn = there >= count
    }
    let piece = allocate(length: isOwn ? header : header + count)
    guard piece != .none else { return .none }
    bytes(piece).copy(from: bytes(slot).prefix(header))
    guard isOwn else {
      copyBytes(of: slot, from: offset, count: count, into: piece, at: header)
      return piece
    }
    var rest = count
    while rest > 0 {
      var part = self[shared: slot].fragments[fragment]
      part.offset += UInt16(place)
      part.length = UInt16(min(rest, Int(part.length) - place))
      pages.retain(part.page)
      guard append(part, to: piece) else {
        pages.release(part.page)
        free(piece, .noMemory)
        return .none
      }
      rest -= Int(part.length)
      place = 0
      fragment += 1
    }
    return piece
  }

  // MARK: Packets that were joined

  /// Whether a packet goes on in others.
  func hasList(_ slot: Slot) -> Bool {
    self[slot].dataLength != 0 && self[shared: slot].fragmentList != .none
  }

  /// Puts a packet, from its payload on, behind what another one has of such. `last` is the last of those, or the head.
  mutating func join(_ slot: Slot, to head: Slot, behind last: Slot) {
    assert(!hasList(slot))
    if self[head].dataLength == 0 { self[shared: head] = SharedInfo() }
    self[slot].next = .none
    if last == head { self[shared: head].fragmentList = slot } else { self[last].next = slot }
    self[head].length &+= self[slot].length
    self[head].dataLength &+= self[slot].length
    countMerged()
  }

  /// Whether what stands behind a packet's first segment are packets of a segment each, that can go on as they are.
  func isJoined(_ slot: Slot, _ layout: SegmentLayout, size: Int) -> Bool {
    guard hasList(slot), Int(self[slot].length) - listLength(of: slot) == layout.payload + size else {
      return false
    }
    var member = self[shared: slot].fragmentList
    while member != .none {
      let (length, next) = (Int(self[member].length), self[member].next)
      guard !hasList(member), length == size || next == .none && length <= size,
        Int(self[member].dataOffset) >= layout.payload, !isShared(member)
      else { return false }
      member = next
    }
    return true
  }

  /// Takes the packets that were joined to one away from it again.
  mutating func part(_ slot: Slot) -> Slot {
    let list = self[shared: slot].fragmentList
    self[shared: slot].fragmentList = .none
    var member = list
    while member != .none {
      countParted()
      self[slot].length &-= self[member].length
      self[slot].dataLength &-= self[member].length
      member = self[member].next
    }
    return list
  }
}
