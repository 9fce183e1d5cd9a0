// SPDX-License-Identifier: GPL-2.0-or-later

// snat, dnat, masquerade and redirect as rules say them (nft_nat.c, nft_masq.c, nft_redir.c). Each accepts the packet
// for its chain when it has been done.

import NetTypes
import Nftables
import Rtnetlink

extension Kernel {
  /// The ports that an instruction's registers hold.
  private func ports(
    _ instruction: NftInstruction, _ registers: NftRegisters, _ range: inout NATRange
  ) {
    range.flags = NftNATFlags(rawValue: instruction.b).chosen
    let low = Int(instruction.a >> 16 & 0xff)
    let high = Int(instruction.a >> 24 & 0xff)
    guard low != 0xff else { return }
    range.minimumPort = UInt16(truncatingIfNeeded: registers[low]).byteSwapped
    range.maximumPort = UInt16(truncatingIfNeeded: registers[high]).byteSwapped
    range.flags.insert(.portSpecified)
  }

  private func address(
    _ registers: NftRegisters, _ word: Int, isIPv6: Bool
  ) -> UInt128 {
    guard isIPv6 else { return UInt128(registers[word].byteSwapped) }
    return (0..<4).reduce(UInt128(0)) { $0 << 32 | UInt128(registers[word + $1].byteSwapped) }
  }

  mutating func setTranslation(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters
  ) -> NftVerdictCode {
    let index = pool.conntrack(packet.slot).index
    let isIPv6 = instruction.flags & 2 != 0
    guard conntracks.contains(index) else { return .break }
    // In a table of both families it means those of one, and nothing to the others (nft_nat_inet_eval).
    guard conntracks[index].original.isIPv6 == isIPv6 else { return .continue }
    let manipulation: NATManipulation = instruction.flags & 1 == 1 ? .destination : .source
    var range = NATRange()
    ports(instruction, registers, &range)
    let low = Int(instruction.a & 0xff)
    if low != 0xff {
      range.minimum = address(registers, low, isIPv6: isIPv6)
      range.maximum = address(registers, Int(instruction.a >> 8 & 0xff), isIPv6: isIPv6)
      range.flags.insert(.mapAddresses)
      if range.flags.contains(.netmap) { mapNetwork(&range, packet, manipulation, isIPv6) }
    }
    range.flags.remove(.netmap)
    setUpTranslation(index, range, manipulation)
    return .accept
  }

  /// The packet's own address with the network's bits exchanged (nft_nat_setup_netmap).
  private func mapNetwork(
    _ range: inout NATRange, _ packet: NftPacket, _ manipulation: NATManipulation, _ isIPv6: Bool
  ) {
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    let place = isIPv6 ? (manipulation == .source ? 8 : 24) : manipulation == .source ? 12 : 16
    let old =
      isIPv6
      ? UInt128(network.u64(place)) << 64 | UInt128(network.u64(place + 8)) : UInt128(network.u32(place))
    let host = range.minimum ^ range.maximum
    let mapped = range.minimum & ~host | old & host
    range.minimum = mapped
    range.maximum = mapped
  }

  mutating func masquerade(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters
  ) -> NftVerdictCode {
    let index = pool.conntrack(packet.slot).index
    guard conntracks.contains(index), devices.contains(packet.output) else { return .break }
    // Who has no address yet is not given another one.
    guard conntracks[index].original.source != 0 else { return .accept }
    var range = NATRange()
    ports(instruction, registers, &range)
    guard let source = addressOut(packet, isIPv6: packet.version == 6) else { return .drop }
    range.minimum = source
    range.maximum = source
    range.flags.insert(.mapAddresses)
    conntracks[index].masqueradeDevice = packet.output
    namespaces[packet.namespace].conntrack.masquerades = true
    setUpTranslation(index, range, .source)
    return .accept
  }

  mutating func redirect(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: NftRegisters
  ) -> NftVerdictCode {
    let index = pool.conntrack(packet.slot).index
    guard conntracks.contains(index) else { return .break }
    var range = NATRange()
    ports(instruction, registers, &range)
    let target: UInt128?
    if packet.hook == .output {
      target = packet.version == 6 ? 1 : 0x7f00_0001
    } else {
      target = addressIn(packet, isIPv6: packet.version == 6)
    }
    guard let target else { return .drop }
    range.minimum = target
    range.maximum = target
    range.flags.insert(.mapAddresses)
    setUpTranslation(index, range, .destination)
    return .accept
  }
}

extension Kernel {
  /// The address that a device speaks from towards a packet's next hop (nf_nat_masquerade_ipv4, _ipv6).
  private mutating func addressOut(_ packet: NftPacket, isIPv6: Bool) -> UInt128? {
    let header = pool.bytes(packet.slot, from: packet.networkHeader)
    guard !isIPv6 else {
      let source = selectSource6(for: header.ipv6Destination, on: packet.output)
      return source == 0 ? nil : source
    }
    let destination = header.u32(IPv4Header.destination)
    let route = lookup(destination, in: packet.namespace)
    let source = selectSource(
      route.gateway != 0 ? route.gateway : destination, on: packet.output,
      scope: RouteScope.universe.rawValue)
    return source == 0 ? nil : UInt128(source)
  }

  /// The first address of the device that a packet came in by (nf_nat_redirect_ipv4, _ipv6).
  private func addressIn(_ packet: NftPacket, isIPv6: Bool) -> UInt128? {
    guard devices.contains(packet.input) else { return nil }
    guard !isIPv6 else {
      let usable = devices[packet.input].inet6.addresses.first { !addresses6[$0].isTentative }
      return usable.map { addresses6[$0].address }
    }
    return devices[packet.input].addresses.first { !$0.isSecondary }.map { UInt128($0.local.rawValue) }
  }
}
