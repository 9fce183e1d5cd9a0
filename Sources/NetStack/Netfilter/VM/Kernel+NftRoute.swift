// SPDX-License-Identifier: GPL-2.0-or-later

// What rules ask of the routing tables (nft_fib_ipv4.c, nft_rt.c).

import Nftables

extension Kernel {
  /// `fib`: where a packet's source or destination lies.
  mutating func loadRoute(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: inout NftRegisters
  ) -> Bool {
    guard packet.version == 4 else { return false }
    let flags = NftFib.Flags(rawValue: instruction.a)
    let word = Int(instruction.destination)
    let header = pool.bytes(packet.slot, from: packet.networkHeader)
    let address = header.u32(
      flags.contains(.sourceAddress) ? IPv4Header.source : IPv4Header.destination)
    let wanted: DeviceIndex =
      flags.contains(.inputInterface)
      ? packet.input : flags.contains(.outputInterface) ? packet.output : .none
    if instruction.flags == UInt8(NftFib.Result.addressType.rawValue) {
      registers[word] = addressType(address, on: wanted, in: packet.namespace)
      return true
    }
    var device = DeviceIndex.none
    if packet.hook == .prerouting, devices.contains(packet.input), devices[packet.input].isLoopback {
      device = packet.input
    } else {
      let route = lookup(address, in: packet.namespace)
      if route.type == .unicast, wanted.isNone || route.device == wanted { device = route.device }
    }
    let isThere = devices.contains(device)
    if instruction.b == 1 {
      registers[word] = isThere ? 1 : 0
    } else if instruction.flags == UInt8(NftFib.Result.outputName.rawValue) {
      storeName(of: device, &registers, word)
    } else {
      registers[word] = isThere ? UInt32(bitPattern: devices[device].ifindex) : 0
    }
    return true
  }

  /// RTN_* of an address (inet_addr_type, inet_dev_addr_type).
  private mutating func addressType(
    _ address: UInt32, on device: DeviceIndex, in namespace: NamespaceIndex
  ) -> UInt32 {
    if address == 0 || address == .max { return 3 }
    if IPv4Header.isMulticast(address) { return 5 }
    let route = lookup(address, in: namespace)
    switch route.type {
    // Of a device only what its own addresses make is local or broadcast.
    case .local: return device.isNone || route.device == device ? 2 : 1
    case .broadcast: return device.isNone || route.device == device ? 3 : 1
    default: return 1
    }
  }

  /// `rt`: what the packet's route says. Only behind routing, where there is one.
  mutating func loadRouteProperty(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: inout NftRegisters
  ) -> Bool {
    guard packet.version == 4, devices.contains(packet.output) else { return false }
    let word = Int(instruction.destination)
    let destination = pool.bytes(packet.slot, from: packet.networkHeader).u32(IPv4Header.destination)
    if instruction.flags == UInt8(NftRtKey.tcpMSS.rawValue) {
      registers[word] = UInt32(clamping: max(devices[packet.output].mtu - 40, 0))
      return true
    }
    let route = lookup(destination, in: packet.namespace)
    registers[word] = (route.gateway != 0 ? route.gateway : destination).byteSwapped
    return true
  }
}
