// SPDX-License-Identifier: GPL-2.0-or-later

// Sequence numbers of a connection in which a helper has written longer or shorter text than was there
// (net/netfilter/nf_conntrack_seqadj.c): behind the place of the last change they differ by all changes, before it by
// those before.

/// What one direction's sequence numbers are off by (struct nf_ct_seqadj).
struct SequenceAdjustment: BitwiseCopyable {
  private(set) var position: UInt32 = 0
  private(set) var before: UInt32 = 0
  private(set) var after: UInt32 = 0

  /// Text at a sequence number has become longer, or shorter (nf_ct_seqadj_set).
  mutating func add(_ difference: Int, at sequence: UInt32) {
    guard before == after || Int32(bitPattern: position &- sequence) < 0 else { return }
    position = sequence
    before = after
    after = after &+ UInt32(truncatingIfNeeded: difference)
  }

  /// They are off by so much from the first.
  mutating func set(_ offset: UInt32) {
    before = offset
    after = offset
  }

  /// What a sequence number of the sender is to be changed by.
  func offset(of sequence: UInt32) -> UInt32 { Int32(bitPattern: sequence &- position) > 0 ? after : before }

  /// The same for a number that has been changed already, as acknowledgements have them.
  func offset(ofChanged number: UInt32) -> UInt32 { offset(of: number &- before) }
}

extension Kernel {
  /// Corrects a segment of such a connection (nf_ct_seq_adjust). False: it cannot be written to.
  mutating func adjustSequence(_ packet: NftPacket, _ index: ConntrackIndex, _ info: ConntrackInfo) -> Bool {
    guard packet.proto == 6, packet.hasTransport else { return true }
    guard pool.makeWritable(packet.slot) else { return false }
    let segment = pool.bytes(packet.slot, from: packet.networkHeader).dropFirst(packet.transport)
    guard segment.count >= 20 else { return false }
    let mine = conntracks[index].adjustment(info.direction)
    let other = conntracks[index].adjustment(info.direction.other)
    var change = ChecksumChange()
    let sequence = segment.u32(4)
    replace(sequence, by: sequence &+ mine.offset(of: sequence), segment, 4, &change)
    if segment.u8(13) & 0x10 != 0 {
      let acknowledged = segment.u32(8)
      replace(acknowledged, by: acknowledged &- other.offset(ofChanged: acknowledged), segment, 8, &change)
      adjustSACK(segment, other, &change)
    }
    // A sum of the pseudo header alone does not cover what has changed.
    if pool[packet.slot].checksumState != .partial {
      segment.set(16, u16: change.applied(to: segment.u16(16)))
    }
    return true
  }

  private func replace(
    _ old: UInt32, by new: UInt32, _ segment: PacketBytes, _ offset: Int, _ change: inout ChecksumChange
  ) {
    guard old != new else { return }
    // At an odd place each byte stands in the other half of its word.
    change.replace(
      offset & 1 == 0 ? old : old.byteSwapped, by: offset & 1 == 0 ? new : new.byteSwapped)
    segment.set(offset, u32: new)
  }

  /// nf_ct_sack_adjust.
  private func adjustSACK(
    _ segment: PacketBytes, _ other: SequenceAdjustment, _ change: inout ChecksumChange
  ) {
    let header = min(Int(segment.u8(12) >> 4) * 4, segment.count)
    var options = TCPOptionCursor(segment, end: header)
    while let (option, offset, size) = options.next() {
      guard option == 5, size >= 10, (size - 2) % 8 == 0 else { continue }
      for place in stride(from: offset + 2, to: offset + size, by: 4) {
        let edge = segment.u32(place)
        replace(edge, by: edge &- other.offset(ofChanged: edge), segment, place, &change)
      }
    }
  }

  /// Writes other text into a segment, and remembers by how much the connection's sequence numbers are off from there on
  /// (nf_nat_mangle_tcp_packet). `match` counts from the payload on.
  mutating func mangle(
    _ packet: NftPacket, _ index: ConntrackIndex, _ direction: ConntrackDirection, _ match: Range<Int>,
    _ text: [UInt8]
  ) -> Bool {
    let segment = pool.bytes(packet.slot, from: packet.networkHeader).dropFirst(packet.transport)
    let payload = packet.transport + Int(segment.u8(12) >> 4) * 4
    let sequence = segment.u32(4)
    let start = Int(packet.networkHeader) - Int(pool[packet.slot].dataOffset)
    let tail = pool.copyBytes(of: packet.slot, from: start + payload + match.upperBound)
    guard replaceText(packet, from: payload + match.lowerBound, by: text + tail) else { return false }
    adjust(index, direction, by: text.count - match.count, at: sequence)
    return true
  }

  /// nf_ct_seqadj_set.
  mutating func adjust(
    _ index: ConntrackIndex, _ direction: ConntrackDirection, by difference: Int, at sequence: UInt32
  ) {
    guard difference != 0 else { return }
    conntracks[index].status.insert(.sequenceAdjusted)
    conntracks[index].adjust(direction, difference, at: sequence)
  }

  /// Puts other text in place of all from `offset` on, counted from the network header, and mends lengths and checksums
  /// (mangle_contents, nf_nat_csum_recalc). False: there is no room.
  mutating func replaceText(_ packet: NftPacket, from offset: Int, by text: [UInt8]) -> Bool {
    let start = Int(packet.networkHeader) - Int(pool[packet.slot].dataOffset)
    let length = offset + text.count
    guard start >= 0, length <= 65535, pool.replaceTail(of: packet.slot, from: start + offset, by: text)
    else { return false }
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let size = length - packet.transport
    if packet.version == 6 {
      network.set(IPv6Header.payloadLength, u16: UInt16(truncatingIfNeeded: length - IPv6Header.length))
    } else {
      network.set(IPv4Header.totalLength, u16: UInt16(truncatingIfNeeded: length))
      network.set(IPv4Header.checksum, u16: 0)
      network.set(IPv4Header.checksum, u16: network.prefix(packet.transport).checksum())
    }
    if packet.proto == 17 { network.set(packet.transport + 4, u16: UInt16(truncatingIfNeeded: size)) }
    sumText(packet)
    return true
  }

  /// Sums a segment or datagram anew; of UDP only what was summed before.
  func sumText(_ packet: NftPacket) {
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let size = packet.length(in: pool) - packet.transport
    let isPartial = pool[packet.slot].checksumState == .partial
    let place = packet.transport + (packet.proto == 17 ? 6 : 16)
    guard packet.proto != 17 || isPartial || network.u16(place) != 0 else { return }
    let pseudo =
      packet.version == 6
      ? ipv6PseudoSum(network.ipv6Source, network.ipv6Destination, length: size, proto: packet.proto)
      : pseudoHeaderSum(
        network.u32(IPv4Header.source), network.u32(IPv4Header.destination), packet.proto, size)
    if isPartial {
      network.set(place, u16: UInt16(bigEndian: foldChecksum(pseudo)))
      return
    }
    network.set(place, u16: 0)
    let start = Int(packet.networkHeader) - Int(pool[packet.slot].dataOffset) + packet.transport
    let sum = ~foldChecksum(pool.sum(packet.slot, from: start, count: size, pseudo))
    network.set(place, u16: packet.proto == 17 && sum == 0 ? 0xffff : UInt16(bigEndian: sum))
  }
}
