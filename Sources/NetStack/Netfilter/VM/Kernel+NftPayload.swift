// SPDX-License-Identifier: GPL-2.0-or-later

// Rules that read and write a packet's headers (nft_payload.c). What is not there does not match.

import Nftables

extension Kernel {
  /// The bytes that an instruction means by its base, and where in them it begins; nil when the packet has none.
  @inline(__always)
  private func bytes(_ instruction: NftInstruction, _ packet: NftPacket) -> (view: PacketBytes, start: Int)? {
    switch NftPayloadBase(rawValue: UInt32(instruction.flags)) {
    case .network:
      return (pool.bytes(packet.slot, from: packet.networkHeader), Int(instruction.offset))
    case .transport:
      guard packet.hasTransport else { return nil }
      return (
        pool.bytes(packet.slot, from: packet.networkHeader), packet.transport &+ Int(instruction.offset)
      )
    case .link:
      // What was made here has no link header yet.
      let start = pool[packet.slot].linkHeader
      guard start != 0, start <= packet.networkHeader else { return nil }
      return (pool.bytes(packet.slot, from: start), Int(instruction.offset))
    case .inner, nil: return nil
    }
  }

  @inline(__always)
  func loadPayload(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: inout NftRegisters
  ) -> Bool {
    guard let (view, start) = bytes(instruction, packet) else { return false }
    let length = Int(instruction.length)
    guard start &+ length <= view.count else { return false }
    registers.load(view, start, length, at: Int(instruction.destination))
    return true
  }

  /// Writes, and mends the checksums that covered what was there (nft_payload_set_eval).
  mutating func writePayload(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters
  ) -> Bool {
    guard pool.makeWritable(packet.slot), let (view, start) = bytes(instruction, packet) else { return false }
    let length = Int(instruction.length)
    guard start + length <= view.count else { return false }
    var before = NftRegisters()
    before.load(view, start, length, at: 0)
    var change = ChecksumChange()
    for offset in 0..<length {
      let byte = registers.byte(Int(instruction.source), offset)
      // What stands at an odd place is the low half of its word.
      let isLow = (Int(instruction.offset) + offset) & 1 == 1
      change.replace(UInt16(before.byte(0, offset)) << (isLow ? 0 : 8), by: UInt16(byte) << (isLow ? 0 : 8))
      view.set(start + offset, u8: byte)
    }
    if instruction.b == 1 {
      let place = start - Int(instruction.offset) + Int(instruction.a)
      let isUDPWithout =
        instruction.flags == UInt8(NftPayloadBase.transport.rawValue) && packet.proto == 17
        && place + 2 <= view.count && view.u16(place) == 0
      guard place + 2 <= view.count else { return false }
      if !isUDPWithout, pool[packet.slot].checksumState != .partial || instruction.flags != 2 {
        view.set(place, u16: change.applied(to: view.u16(place)))
      }
    }
    if instruction.c & 1 == 1, packet.hasTransport { mendTransport(packet, change) }
    return true
  }

  /// A change of addresses changes the transport's checksum too.
  func mendTransport(_ packet: NftPacket, _ change: ChecksumChange) {
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    guard let offset = TransportChecksum.offset(packet.proto, isIPv6: packet.version == 6),
      packet.transport + offset + 2 <= network.count
    else { return }
    let place = packet.transport + offset
    let old = network.u16(place)
    if pool[packet.slot].checksumState == .partial {
      network.set(place, u16: change.appliedToSum(old))
    } else if !(packet.proto == 17 && old == 0) {
      let new = change.applied(to: old)
      network.set(place, u16: packet.proto == 17 && new == 0 ? 0xffff : new)
    }
  }
}

extension NftRegisters {
  /// Bytes of a packet, the last word filled up with zeros.
  @inline(__always) mutating func load(_ view: PacketBytes, _ start: Int, _ length: Int, at word: Int) {
    var place = word
    var offset = 0
    while offset &+ 4 <= length {
      self[place] = view.u32(start &+ offset).byteSwapped
      place &+= 1
      offset &+= 4
    }
    guard offset < length else { return }
    self[place] = 0
    while offset < length {
      setByte(word, offset, view.u8(start &+ offset))
      offset &+= 1
    }
  }
}
