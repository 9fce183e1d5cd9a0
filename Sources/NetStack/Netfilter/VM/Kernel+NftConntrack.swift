// SPDX-License-Identifier: GPL-2.0-or-later

// What rules ask about a packet's connection, and set in it (nft_ct.c).

import Nftables

extension Kernel {
  func loadConntrack(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: inout NftRegisters
  ) -> Bool {
    let word = Int(instruction.destination)
    let reference = pool.conntrack(packet.slot)
    let key = NftCtKey(rawValue: UInt32(instruction.flags))
    if key == .state {
      registers[word] = reference.info.stateBit
      return true
    }
    guard conntracks.contains(reference.index) else { return false }
    let index = reference.index
    let direction: ConntrackDirection = instruction.a == 1 ? .reply : .original
    switch key {
    case .direction: registers[word] = UInt32(reference.info.direction.rawValue)
    case .status: registers[word] = conntracks[index].status.rawValue
    case .mark: registers[word] = conntracks[index].mark
    case .expiration:
      registers[word] = UInt32(clamping: max(conntracks[index].timeout - cpu.now, 0) / 1_000_000)
    case .id: registers[word] = conntracks[index].id
    case .l3proto: registers[word] = conntracks[index].original.isIPv6 ? 10 : 2
    case .protocol: registers[word] = UInt32(conntracks[index].original.proto)
    case .zone: registers[word] = UInt32(conntracks[index].original.zone)
    case .packets: registers.store(sum(instruction.a, conntracks[index].packets), at: word)
    case .bytes: registers.store(sum(instruction.a, conntracks[index].bytes), at: word)
    case .averagePacket:
      let packets = sum(instruction.a, conntracks[index].packets)
      registers.store(packets == 0 ? 0 : sum(instruction.a, conntracks[index].bytes) / packets, at: word)
    case .source, .sourceIP, .sourceIP6:
      return store(conntracks[index].tuple(direction).source, key, index, instruction, &registers)
    case .destination, .destinationIP, .destinationIP6:
      return store(conntracks[index].tuple(direction).destination, key, index, instruction, &registers)
    case .labels:
      for position in 0..<4 {
        registers[word + position] = UInt32(truncatingIfNeeded: conntracks[index].labels >> (32 * position))
      }
    case .helper:
      // Not its own: of the connection that it comes of.
      guard conntracks[index].expectedBy != .none else { return false }
      let name = Array(conntracks[index].expectedBy.name.utf8)
      let words = NftRegisters.words(name + [UInt8](repeating: 0, count: 16 - name.count))
      for (position, value) in words.enumerated() { registers[word + position] = value }
    case .sourcePort: registers[word] = UInt32(conntracks[index].tuple(direction).sourcePort.byteSwapped)
    case .destinationPort:
      registers[word] = UInt32(conntracks[index].tuple(direction).destinationPort.byteSwapped)
    default: return false
    }
    return true
  }

  private func sum(_ direction: UInt32, _ counts: InlineArray<2, UInt64>) -> UInt64 {
    direction == 2 ? counts[0] &+ counts[1] : counts[Int(direction & 1)]
  }

  private func store(
    _ address: UInt128, _ key: NftCtKey?, _ index: ConntrackIndex, _ instruction: NftInstruction,
    _ registers: inout NftRegisters
  ) -> Bool {
    let isIPv6 = conntracks[index].original.isIPv6
    if key == .sourceIP || key == .destinationIP, isIPv6 { return false }
    if key == .sourceIP6 || key == .destinationIP6, !isIPv6 { return false }
    let word = Int(instruction.destination)
    guard isIPv6 else {
      registers[word] = UInt32(truncatingIfNeeded: address).byteSwapped
      for position in 1..<max(Int(instruction.length) / 4, 1) { registers[word + position] = 0 }
      return true
    }
    for position in 0..<4 {
      registers[word + position] = UInt32(truncatingIfNeeded: address >> (96 - 32 * position)).byteSwapped
    }
    return true
  }

  mutating func setConntrack(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters
  ) {
    let value = registers[Int(instruction.source)]
    let reference = pool.conntrack(packet.slot)
    switch NftCtKey(rawValue: UInt32(instruction.flags)) {
    case .mark:
      guard conntracks.contains(reference.index), conntracks[reference.index].mark != value else { return }
      conntracks[reference.index].mark = value
      note(.mark, of: reference.index)
    case .labels:
      guard conntracks.contains(reference.index) else { return }
      var labels: UInt128 = 0
      for position in 0..<4 {
        labels |= UInt128(registers[Int(instruction.source) + position]) << (32 * position)
      }
      guard labels & ~conntracks[reference.index].labels != 0 else { return }
      conntracks[reference.index].labels |= labels
      note(.label, of: reference.index)
    case .eventMask:
      // Of one that nobody listens to there is nothing to tell.
      guard conntracks.contains(reference.index) else { return }
      conntracks[reference.index].toldEvents = .init(rawValue: UInt16(truncatingIfNeeded: value))
    case .zone:
      // Only before tracking has seen the packet.
      guard reference.index.isNone, reference.info == .none else { return }
      pool.setConntrack(
        ConntrackReference(index: .none, info: .none, zone: UInt16(truncatingIfNeeded: value)),
        of: packet.slot)
    default: break
    }
  }

  /// `ct timeout set`: while nobody else knows the connection yet (nft_ct_timeout_obj_eval).
  mutating func giveTimeouts(_ instruction: NftInstruction, _ packet: NftPacket) {
    let index = pool.conntrack(packet.slot).index
    guard packet.proto == instruction.flags, conntracks.contains(index),
      !conntracks[index].status.contains(.confirmed),
      let times = namespaces[packet.namespace].nftables.program.timeouts[instruction.a]
    else { return }
    conntracks[index].timeouts = instruction.a
    conntracks[index].timeout = Int64(times.seconds[0]) &* 1_000_000_000
  }
}
