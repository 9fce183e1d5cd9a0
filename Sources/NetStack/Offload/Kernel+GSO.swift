// SPDX-License-Identifier: GPL-2.0-or-later

// Generic segmentation offload (net/core/gso.c, net/ipv4/tcp_offload.c tcp_gso_segment, af_inet.c inet_gso_segment):
// TCP gives down packets of many segments, which go through stack, bridges and veth as one, and are cut before a device
// that cannot take them, before rules of its queue that look at packets, and where a way is too narrow for what they are.

extension Kernel {
  /// The most bytes of payload in one packet (sk_gso_max_size: room is left for all headers).
  static let gsoMaximum = 65536 - 321

  /// Cuts a packet into its segments, in order. It has ended afterwards, and the list is empty when it could not be cut.
  mutating func cut(_ slot: Slot, hasLinkHeader: Bool, in namespace: NamespaceIndex) -> SlotQueue {
    guard let size = pool.segmentSize(slot), size > 0, pool.makeWritable(slot),
      let layout = pool.segmentLayout(slot, hasLinkHeader: hasLinkHeader)
    else {
      drop(slot, .gsoSegment, in: namespace)
      return SlotQueue()
    }
    let pieces =
      pool.isJoined(slot, layout, size: size)
      ? cutJoined(slot, layout) : cutPages(slot, layout, size: size, in: namespace)
    cpu.statistics.segmented &+= UInt64(pieces.count)
    return pieces
  }

  private mutating func cutPages(
    _ slot: Slot, _ layout: SegmentLayout, size: Int, in namespace: NamespaceIndex
  ) -> SlotQueue {
    var pieces = SlotQueue()
    let total = Int(pool[slot].length)
    let sender = pool.sender(of: slot)
    var offset = layout.payload
    while offset < total {
      let length = min(size, total - offset)
      let piece = pool.slice(slot, header: layout.payload, from: offset, count: length)
      guard piece != .none else {
        drop(slot, .noMemory, in: namespace)
        while !pieces.isEmpty { drop(pieces.pop(pool), .noMemory, in: namespace) }
        return pieces
      }
      inherit(piece, slot)
      if let sender { pool.charge(piece, to: sender) }
      finish(
        piece, layout, type: pool[slot].gsoType, number: Int(pieces.count), offset: offset - layout.payload,
        isLast: offset + length == total)
      pieces.append(piece, pool)
      offset += length
    }
    pool.free(slot, .consumed)
    return pieces
  }

  /// What receiving has joined is parted again, without a copy but of the headers.
  private mutating func cutJoined(_ slot: Slot, _ layout: SegmentLayout) -> SlotQueue {
    let type = pool[slot].gsoType
    var member = pool.part(slot)
    pool[slot].gsoType = .none
    var pieces = SlotQueue()
    pieces.append(slot, pool)
    var offset = Int(pool[slot].length) - layout.payload
    while member != .none {
      let next = pool[member].next
      let length = Int(pool[member].length)
      _ = pool.push(member, layout.payload)
      pool.bytes(member).copy(from: pool.bytes(slot).prefix(layout.payload))
      inherit(member, slot)
      finish(
        member, layout, type: type, number: Int(pieces.count), offset: offset, isLast: next == .none)
      pieces.append(member, pool)
      offset += length
      member = next
    }
    finish(slot, layout, type: type, number: 0, offset: 0, isLast: false)
    return pieces
  }

  /// A segment is of the device, the mark, the connection and the priority that the whole is of (__copy_skb_header).
  private mutating func inherit(_ piece: Slot, _ slot: Slot) {
    let whole = pool[slot]
    pool[piece].etherType = whole.etherType
    pool[piece].vlanTag = whole.vlanTag
    pool[piece].vlanProtocol = whole.vlanProtocol
    pool[piece].device = whole.device
    pool[piece].mark = whole.mark
    pool[piece].priority = whole.priority
    pool[piece].hash = whole.hash
    pool[piece].packetType = whole.packetType
    pool[piece].timestamp = whole.timestamp
    pool[piece].flags = whole.flags.subtracting([.charged, .controlled, .tracked])
    if whole.flags.contains(.tracked) { pool.setConntrack(pool.conntrack(slot), of: piece) }
    if whole.isCopy { pool[piece].marks.insert(.copy) }
    pool.watch(piece, asPartOf: slot)
  }

  /// Writes what differs among segments into a copy of the whole's headers.
  private mutating func finish(
    _ piece: Slot, _ layout: SegmentLayout, type: GSOType, number: Int, offset: Int, isLast: Bool
  ) {
    let bytes = pool.bytes(piece)
    let start = pool[piece].dataOffset
    let network = bytes.dropFirst(layout.network)
    let tcp = bytes.dropFirst(layout.transport)
    let length = Int(pool[piece].length)
    pool[piece].networkHeader = start &+ UInt16(layout.network)
    pool[piece].transportHeader = start &+ UInt16(layout.transport)
    pool[piece].checksumState = .partial
    pool[piece].checksumStart = start &+ UInt16(layout.transport)
    pool[piece].checksumOffset = UInt16(TCPHeader.checksum)
    var flags = TCPFlags(rawValue: tcp.u8(TCPHeader.flags))
    if !isLast { flags.subtract([.fin, .psh]) }
    if number > 0 { flags.remove(.cwr) }
    tcp.set(TCPHeader.flags, u8: flags.rawValue)
    tcp.set(TCPHeader.sequence, u32: tcp.u32(TCPHeader.sequence) &+ UInt32(offset))
    let rest = length - layout.transport
    let pseudo: UInt64
    if type == .tcp6 {
      network.set(IPv6Header.payloadLength, u16: UInt16(length - layout.network - IPv6Header.length))
      pseudo = network.ipv6PseudoSum(length: rest, proto: 6)
    } else {
      network.set(IPv4Header.totalLength, u16: UInt16(length - layout.network))
      if type == .tcp4 {
        let first = network.u16(IPv4Header.identification)
        network.set(IPv4Header.identification, u16: first &+ UInt16(truncatingIfNeeded: number))
      }
      network.set(IPv4Header.checksum, u16: 0)
      network.set(IPv4Header.checksum, u16: network.prefix(network.ipv4HeaderLength).checksum())
      pseudo = pseudoHeaderSum(network.u32(IPv4Header.source), network.u32(IPv4Header.destination), 6, rest)
    }
    tcp.set(TCPHeader.checksum, u16: UInt16(bigEndian: foldChecksum(pseudo)))
  }

  // MARK: Before a device

  /// Does for a device what it does not do itself: packets of many segments are cut, checksums that were left to it are
  /// made (validate_xmit_skb). What is left goes to the device. The burst is empty afterwards.
  mutating func validateTransmit(_ burst: inout Burst, by index: DeviceIndex) {
    let sums = !devices[index].features.contains(.transmitChecksumming)
    var isFine = true
    for position in 0..<burst.count {
      let slot = burst[position]
      if pool[slot].gsoType != .none || sums && pool[slot].checksumState == .partial { isFine = false }
    }
    guard !isFine else {
      hardTransmit(&burst, by: index)
      return
    }
    let namespace = devices[index].namespace
    var ready = Burst()
    for position in 0..<burst.count {
      let slot = burst[position]
      guard pool[slot].gsoType != .none else {
        validate(slot, sums, &ready, by: index)
        continue
      }
      var pieces = cut(slot, hasLinkHeader: true, in: namespace)
      if pieces.isEmpty { devices[index].statistics.txDropped &+= 1 }
      while !pieces.isEmpty { validate(pieces.pop(pool), sums, &ready, by: index) }
    }
    burst.removeAll()
    if !ready.isEmpty { hardTransmit(&ready, by: index) }
  }

  private mutating func validate(_ slot: Slot, _ sums: Bool, _ ready: inout Burst, by index: DeviceIndex) {
    if sums, pool[slot].checksumState == .partial, !pool.completeChecksum(slot) {
      devices[index].statistics.txDropped &+= 1
      drop(slot, .noMemory, in: devices[index].namespace)
      return
    }
    ready.append(slot)
    if ready.isFull { hardTransmit(&ready, by: index) }
  }
}
