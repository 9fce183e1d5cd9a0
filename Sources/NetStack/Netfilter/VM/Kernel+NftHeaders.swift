// SPDX-License-Identifier: GPL-2.0-or-later

// Rules about options and extension headers (nft_exthdr.c): IPv6 extension headers, IPv4 options, TCP options. Of TCP
// options a rule may change a value, a maximum segment size only for a smaller one, or strike one out.

import Nftables

extension Kernel {
  func loadHeader(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: inout NftRegisters
  ) -> Bool {
    let word = Int(instruction.destination)
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let start: Int?
    switch NftExthdrOperation(rawValue: UInt32(instruction.flags)) {
    case .ipv6: start = packet.version == 6 ? extensionHeader(UInt8(instruction.a), of: network) : nil
    case .ipv4Option: start = packet.version == 4 ? ipv4Option(UInt8(instruction.a), of: network) : nil
    case .tcpOption:
      guard packet.hasTransport, packet.proto == 6 else { return false }
      start = tcpOption(UInt8(instruction.a), packet, network)?.offset
    case .sctpChunk, nil: return false
    }
    if instruction.b == 1 {
      registers[word] = start == nil ? 0 : 1
      return true
    }
    guard let start else { return false }
    let first = start + Int(instruction.offset)
    guard first + Int(instruction.length) <= network.count else { return false }
    registers.load(network, first, Int(instruction.length), at: word)
    return true
  }

  private func extensionHeader(_ wanted: UInt8, of bytes: PacketBytes) -> Int? {
    guard bytes.count >= 40 else { return nil }
    var next = bytes.u8(6)
    var offset = 40
    while offset + 8 <= bytes.count {
      if next == wanted { return offset }
      let length: Int
      switch next {
      case 0, 43, 60: length = (Int(bytes.u8(offset + 1)) + 1) * 8
      case 51: length = (Int(bytes.u8(offset + 1)) + 2) * 4
      case 44: length = 8
      default: return nil
      }
      next = bytes.u8(offset)
      offset += length
    }
    return nil
  }

  private func ipv4Option(_ wanted: UInt8, of bytes: PacketBytes) -> Int? {
    var offset = IPv4Header.length
    let end = bytes.ipv4HeaderLength
    while offset < end {
      let option = bytes.u8(offset)
      if option == wanted { return offset }
      if option == 0 { return nil }
      if option == 1 {
        offset += 1
        continue
      }
      guard offset + 1 < end, bytes.u8(offset + 1) >= 2 else { return nil }
      offset += Int(bytes.u8(offset + 1))
    }
    return nil
  }

  private func tcpOption(
    _ wanted: UInt8, _ packet: NftPacket, _ network: PacketBytes
  ) -> (offset: Int, length: Int)? {
    let start = packet.transport
    guard start + 20 <= network.count else { return nil }
    let end = start + Int(network.u8(start + 12) >> 4) * 4
    guard end <= network.count else { return nil }
    var offset = start + 20
    while offset < end {
      let option = network.u8(offset)
      if option == 0 { return nil }
      let length: Int
      if option == 1 {
        length = 1
      } else {
        guard offset + 1 < end else { return nil }
        length = Int(network.u8(offset + 1))
        guard length >= 2, offset + length <= end else { return nil }
      }
      if option == wanted { return (offset, length) }
      offset += length
    }
    return nil
  }

  /// Sets or strikes out a TCP option (nft_exthdr_tcp_set_eval, nft_exthdr_tcp_strip_eval).
  mutating func writeOption(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters
  ) -> Bool {
    guard packet.hasTransport, packet.proto == 6, pool.makeWritable(packet.slot) else { return false }
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let found = tcpOption(UInt8(instruction.a), packet, network)
    // To strike out what is not there is done already.
    guard let found else { return instruction.b == 0 }
    let first: Int
    let values: [UInt8]
    if instruction.b == 0 {
      first = found.offset
      values = [UInt8](repeating: 1, count: found.length)
    } else {
      let length = Int(instruction.length)
      first = found.offset + Int(instruction.offset)
      guard Int(instruction.offset) + length <= found.length else { return false }
      values = (0..<length).map { registers.byte(Int(instruction.source), $0) }
      if instruction.a == 2, length == 2, network.u16(first) <= UInt16(values[0]) << 8 | UInt16(values[1]) {
        return true
      }
    }
    var change = ChecksumChange()
    for (position, value) in values.enumerated() {
      let place = first + position
      let isLow = (place - packet.transport) & 1 == 1
      change.replace(UInt16(network.u8(place)) << (isLow ? 0 : 8), by: UInt16(value) << (isLow ? 0 : 8))
      network.set(place, u8: value)
    }
    // What is not summed yet covers no options.
    if pool[packet.slot].checksumState != .partial { mendTransport(packet, change) }
    return true
  }
}
