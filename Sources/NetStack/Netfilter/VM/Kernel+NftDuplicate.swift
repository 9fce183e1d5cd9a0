// SPDX-License-Identifier: GPL-2.0-or-later

// Copies of packets by rule (nft_dup_ipv4.c, nft_dup_ipv6.c, nft_dup_netdev.c; nf_dup_ipv4 and its kin), and packets that
// a rule sends out by another device (nft_fwd_netdev.c).

import NetTypes
import Nftables

extension Kernel {
  /// How often rules of devices may send by each other (NF_RECURSION_LIMIT).
  private static let recursionLimit = 2

  /// `dup to`: the copy is nobody's connection, and meets no rule that would copy it again.
  mutating func duplicate(_ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters) {
    guard nftCopies < Self.recursionLimit else { return }
    let device = instruction.flags & 2 != 0 ? device(registers[Int(instruction.destination)], packet) : .none
    guard packet.family != .netdev else {
      guard devices.contains(device), let copy = copy(packet.slot) else { return }
      send(copy, by: device)
      return
    }
    // A copy of a copy is not made.
    guard nftCopies == 0, instruction.flags & 1 != 0, let copy = copy(packet.slot) else { return }
    pool.setConntrack(.untracked, of: copy)
    nftCopies += 1
    let outer = suspendUnconfirmed()
    defer {
      nftCopies -= 1
      resumeUnconfirmed(outer)
    }
    let comesIn = packet.hook == .prerouting || packet.hook == .input
    if packet.version == 4 {
      let gateway = registers[Int(instruction.source)].byteSwapped
      send4(copy, to: gateway, by: device, isReceived: comesIn, packet)
    } else {
      let gateway = (0..<4).reduce(UInt128(0)) {
        $0 << 32 | UInt128(registers[Int(instruction.source) + $1].byteSwapped)
      }
      send6(copy, to: gateway, by: device, isReceived: comesIn, packet)
    }
  }

  private func device(_ ifindex: UInt32, _ packet: NftPacket) -> DeviceIndex {
    device(ifindex: Int32(bitPattern: ifindex), in: packet.namespace) ?? .none
  }

  private mutating func copy(_ slot: Slot) -> Slot? {
    let copy = pool.clone(slot)
    guard copy != .none else { return nil }
    guard pool.makeWritable(copy) else {
      pool.free(copy, .noMemory)
      return nil
    }
    return copy
  }

  private mutating func send4(
    _ slot: Slot, to gateway: UInt32, by device: DeviceIndex, isReceived: Bool, _ packet: NftPacket
  ) {
    let bytes = pool.bytes(slot, from: packet.networkHeader)
    bytes.set(
      IPv4Header.fragment, u16: bytes.u16(IPv4Header.fragment) | IPv4Header.dontFragment)
    if isReceived { bytes.set(IPv4Header.ttl, u8: bytes.u8(IPv4Header.ttl) &- 1) }
    bytes.set(IPv4Header.checksum, u16: 0)
    bytes.set(IPv4Header.checksum, u16: bytes.prefix(bytes.ipv4HeaderLength).checksum())
    var datagram = IPv4Datagram(destination: gateway, proto: packet.proto)
    datagram.mark = pool[slot].mark
    if !device.isNone { (datagram.isBound, datagram.bound) = (true, device) }
    do throws(KernelError) {
      let path = try ipv4Route(datagram, in: packet.namespace)
      guard netfilter(slot, .ipv4, .output, in: .none, out: path.device, packet.namespace) else { return }
      ipv4Finish(slot, gateway: path.nextHop, by: path.device, mtu: path.mtu, packet.namespace)
    } catch {
      drop(slot, .ipOutNoRoutes, in: packet.namespace)
    }
  }

  private mutating func send6(
    _ slot: Slot, to gateway: UInt128, by device: DeviceIndex, isReceived: Bool, _ packet: NftPacket
  ) {
    let bytes = pool.bytes(slot, from: packet.networkHeader)
    if isReceived { bytes.set(IPv6Header.hopLimit, u8: bytes.u8(IPv6Header.hopLimit) &- 1) }
    var datagram = IPv6Datagram(destination: gateway, proto: packet.proto)
    datagram.mark = pool[slot].mark
    if !device.isNone { datagram.device = device }
    do throws(KernelError) {
      let path = try ipv6Route(datagram, in: packet.namespace)
      guard netfilter(slot, .ipv6, .output, in: .none, out: path.device, packet.namespace) else { return }
      ipv6Finish(slot, gateway: path.nextHop, mtu: path.mtu, by: path.device, packet.namespace)
    } catch {
      drop(slot, .ipOutNoRoutes, in: packet.namespace)
    }
  }

  /// Sends a frame by a device from within the rules of another.
  private mutating func send(_ slot: Slot, by device: DeviceIndex) {
    nftCopies += 1
    defer { nftCopies -= 1 }
    transmit(slot, by: device)
  }

  /// `fwd to`: the packet itself, as it is or to a neighbour.
  mutating func forward(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters
  ) -> NftVerdictCode {
    let device = device(registers[Int(instruction.destination)], packet)
    guard devices.contains(device), nftCopies < Self.recursionLimit else { return .drop }
    guard instruction.flags & 1 != 0 else {
      send(packet.slot, by: device)
      return .stolen
    }
    let isIPv6 = instruction.flags & 4 != 0
    guard packet.version == (isIPv6 ? 6 : 4) else { return .break }
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let place = isIPv6 ? IPv6Header.hopLimit : IPv4Header.ttl
    guard network.u8(place) > 1, pool.makeWritable(packet.slot) else { return .drop }
    let writable = pool.bytes(packet.slot, from: packet.networkHeader)
    pool.pull(packet.slot, Int(packet.networkHeader) - Int(pool[packet.slot].dataOffset))
    nftCopies += 1
    defer { nftCopies -= 1 }
    if isIPv6 {
      writable.set(place, u8: writable.u8(place) &- 1)
      let hop = (0..<4).reduce(UInt128(0)) {
        $0 << 32 | UInt128(registers[Int(instruction.source) + $1].byteSwapped)
      }
      neighborOutput(packet.slot, hop, by: device)
    } else {
      writable.decrementTTL()
      neighborOutput(packet.slot, registers[Int(instruction.source)].byteSwapped, by: device)
    }
    return .stolen
  }
}
