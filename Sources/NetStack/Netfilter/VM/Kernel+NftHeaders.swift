// SPDX-License-Identifier: GPL-2.0-or-later

// Rules about options and extension headers (nft_exthdr.c): IPv6 extension headers, IPv4 options, TCP options, chunks of
// SCTP. Of TCP options a rule may change a value, a maximum segment size only for a smaller one, or strike one out.

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
      if let options = tcpOptions(packet, network),
        let option = tcpOption(UInt8(instruction.a), options, network),
        option.upperBound <= options.upperBound,
        Int(instruction.offset) + Int(instruction.length) <= option.count
      {
        start = option.lowerBound
      } else {
        start = nil
      }
    case .sctpChunk:
      if let chunk = sctpChunk(UInt8(instruction.a), packet, network),
        instruction.b == 1
          || chunk.upperBound <= network.count
            && Int(instruction.offset) + Int(instruction.length) <= chunk.count
      {
        start = chunk.lowerBound
      } else {
        start = nil
      }
    case nil: return false
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
      case 44:
        // Behind it stands something of the first piece only (ipv6_find_hdr).
        guard bytes.u16(offset + 2) & ~7 == 0 else { return nil }
        length = 8
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

  /// Where a segment's options stand; nil where there is no whole TCP header.
  private func tcpOptions(_ packet: NftPacket, _ network: PacketBytes) -> Range<Int>? {
    let start = packet.transport
    guard packet.hasTransport, packet.proto == 6, start + 20 <= network.count else { return nil }
    let end = start + Int(network.u8(start + 12) >> 4) * 4
    return end <= network.count && end >= start + 20 ? start + 20..<end : nil
  }

  /// An option's bytes; it may say that it is longer than there are. The end of the list is no end here (optlen).
  private func tcpOption(_ wanted: UInt8, _ options: Range<Int>, _ network: PacketBytes) -> Range<Int>? {
    var offset = options.lowerBound
    while offset < options.upperBound - 1 {
      let option = network.u8(offset)
      let length = option <= 1 ? 1 : max(Int(network.u8(offset + 1)), 1)
      if option == wanted { return offset..<offset + length }
      offset += length
    }
    return nil
  }

  /// A chunk's bytes (nft_exthdr_sctp_eval); it may say that it is longer than there are.
  private func sctpChunk(_ wanted: UInt8, _ packet: NftPacket, _ network: PacketBytes) -> Range<Int>? {
    guard packet.hasTransport, packet.proto == 132 else { return nil }
    var offset = packet.transport + 12
    while offset + 4 <= network.count {
      let length = Int(network.u16(offset + 2))
      guard length > 0 else { return nil }
      if network.u8(offset) == wanted { return offset..<offset + length }
      offset += (length + 3) / 4 * 4
    }
    return nil
  }

  /// Sets or strikes out a TCP option; there need be none (nft_exthdr_tcp_set_eval, nft_exthdr_tcp_strip_eval).
  mutating func writeOption(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters
  ) -> NftVerdictCode {
    guard pool.makeWritable(packet.slot) else { return .break }
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    guard let options = tcpOptions(packet, network) else { return .break }
    guard let found = tcpOption(UInt8(instruction.a), options, network) else { return .continue }
    let isStruck = instruction.b == 0
    guard found.upperBound <= options.upperBound else { return isStruck ? .drop : .break }
    let first: Int
    let values: [UInt8]
    if isStruck {
      first = found.lowerBound
      values = [UInt8](repeating: 1, count: found.count)
    } else {
      let length = Int(instruction.length)
      first = found.lowerBound + Int(instruction.offset)
      guard Int(instruction.offset) + length <= found.count else { return .break }
      values = (0..<length).map { registers.byte(Int(instruction.source), $0) }
      if instruction.a == 2, length == 2, network.u16(first) <= UInt16(values[0]) << 8 | UInt16(values[1]) {
        return .continue
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
    return .continue
  }
}
