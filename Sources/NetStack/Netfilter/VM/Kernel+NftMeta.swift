// SPDX-License-Identifier: GPL-2.0-or-later

// What rules ask about a packet beside its bytes (nft_meta.c): devices, marks, protocols.

import NetTypes
import Nftables

extension Kernel {
  mutating func loadMeta(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: inout NftRegisters
  ) -> Bool {
    let word = Int(instruction.destination)
    let slot = packet.slot
    switch NftMetaKey(rawValue: UInt32(instruction.flags)) {
    case .length: registers[word] = UInt32(truncatingIfNeeded: packet.length(in: pool))
    case .protocol: registers[word] = UInt32(pool[slot].etherType.byteSwapped)
    case .nfproto:
      registers[word] = packet.version == 6 ? 10 : packet.version == 4 ? 2 : UInt32(packet.family.number)
    case .l4proto:
      guard packet.version != 0 else { return false }
      registers[word] = UInt32(packet.proto)
    case .priority: registers[word] = pool[slot].priority
    case .mark: registers[word] = pool[slot].mark
    case .inputIndex: registers[word] = index(packet.input)
    case .outputIndex: registers[word] = index(packet.output)
    case .inputName: storeName(of: packet.input, &registers, word)
    case .outputName: storeName(of: packet.output, &registers, word)
    case .inputType:
      guard devices.contains(packet.input) else { return false }
      registers[word] = UInt32(devices[packet.input].hardwareType)
    case .outputType:
      guard devices.contains(packet.output) else { return false }
      registers[word] = UInt32(devices[packet.output].hardwareType)
    case .inputGroup:
      guard devices.contains(packet.input) else { return false }
      registers[word] = devices[packet.input].group
    case .outputGroup:
      guard devices.contains(packet.output) else { return false }
      registers[word] = devices[packet.output].group
    case .bridgeInputName: return storeBridge(of: packet.input, &registers, word)
    case .bridgeOutputName: return storeBridge(of: packet.output, &registers, word)
    case .packetType: registers[word] = packetType(packet)
    case .cpu: registers[word] = UInt32(options.cpu)
    case .socketUser, .socketGroup: return loadOwner(instruction, packet, &registers)
    case .inputKind: return storeKind(of: packet.input, &registers, word)
    case .outputKind: return storeKind(of: packet.output, &registers, word)
    case .timeNanoseconds: registers.store(UInt64(bitPattern: options.epoch &+ cpu.now), at: word)
    // 1970 began on a Thursday (nft_meta_weekday, nft_meta_hour).
    case .timeDay: registers[word] = UInt32((Self.days(secondsSince1970) + 4) % 7)
    case .timeHour: registers[word] = UInt32(secondsSince1970 - Self.days(secondsSince1970) * 86_400)
    case .random: registers[word] = UInt32(truncatingIfNeeded: cpu.random.next() >> 32)
    default: return false
    }
    return true
  }

  /// Seconds since 1970.
  private var secondsSince1970: Int64 { max(options.epoch &+ cpu.now, 0) / 1_000_000_000 }

  private static func days(_ seconds: Int64) -> Int64 { seconds / 86_400 }

  private func index(_ device: DeviceIndex) -> UInt32 {
    devices.contains(device) ? UInt32(bitPattern: devices[device].ifindex) : 0
  }

  /// Sixteen bytes of a device's name, all zero when there is none.
  func storeName(of device: DeviceIndex, _ registers: inout NftRegisters, _ word: Int) {
    storeText(devices.contains(device) ? devices[device].name.text : "", &registers, word)
  }

  private func storeText(_ text: String, _ registers: inout NftRegisters, _ word: Int) {
    for position in 0..<4 { registers[word &+ position] = 0 }
    var offset = 0
    for byte in text.utf8.prefix(15) {
      registers.setByte(word, offset, byte)
      offset &+= 1
    }
  }

  /// The kind of a device that has one (rtnl_link_ops).
  private func storeKind(of device: DeviceIndex, _ registers: inout NftRegisters, _ word: Int) -> Bool {
    guard devices.contains(device), let kind = kindName(device) else { return false }
    storeText(kind, &registers, word)
    return true
  }

  private func storeBridge(of port: DeviceIndex, _ registers: inout NftRegisters, _ word: Int) -> Bool {
    guard devices.contains(port) else { return false }
    if case .bridge = devices[port].kind {
      storeName(of: port, &registers, word)
      return true
    }
    guard !devices[port].master.isNone else { return false }
    storeName(of: bridges[devices[port].master].device, &registers, word)
    return true
  }

  /// PACKET_*.
  private func packetType(_ packet: NftPacket) -> UInt32 {
    switch pool[packet.slot].packetType {
    case .host: 0
    case .broadcast: 1
    case .multicast: 2
    case .otherHost: 3
    case .outgoing: 4
    }
  }

  mutating func setMeta(_ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters) {
    let value = registers[Int(instruction.source)]
    switch NftMetaKey(rawValue: UInt32(instruction.flags)) {
    case .mark: pool[packet.slot].mark = value
    case .priority: pool[packet.slot].priority = value
    case .nftrace: setTraced(value & 0xff != 0, packet.slot)
    case .packetType:
      let types: [PacketType] = [.host, .broadcast, .multicast, .otherHost]
      if Int(value & 0xff) < types.count { pool[packet.slot].packetType = types[Int(value & 0xff)] }
    default: break
    }
  }
}
