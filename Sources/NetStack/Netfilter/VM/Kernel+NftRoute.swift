// SPDX-License-Identifier: GPL-2.0-or-later

// What rules ask of the routing tables (nft_fib_ipv4.c, nft_fib_ipv6.c, nft_rt.c).

import NetTypes
import Nftables

extension Kernel {
  /// `fib`: where a packet's source or destination lies.
  mutating func loadRoute(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: inout NftRegisters
  ) -> Bool {
    let flags = NftFib.Flags(rawValue: instruction.a)
    let isSource = flags.contains(.sourceAddress)
    let header = pool.bytes(packet.slot, from: packet.networkHeader)
    switch packet.version {
    case 4:
      let address = header.u32(isSource ? IPv4Header.source : IPv4Header.destination)
      return loadRoute(instruction, packet, address, &registers)
    case 6:
      return loadRoute(instruction, packet, isSource ? header.ipv6Source : header.ipv6Destination, &registers)
    default: return false
    }
  }

  private mutating func loadRoute<Address: InternetAddress>(
    _ instruction: NftInstruction, _ packet: NftPacket, _ address: Address, _ registers: inout NftRegisters
  ) -> Bool {
    let flags = NftFib.Flags(rawValue: instruction.a)
    let word = Int(instruction.destination)
    let wanted: DeviceIndex =
      flags.contains(.inputInterface)
      ? packet.input : flags.contains(.outputInterface) ? packet.output : .none
    var flow = Flow<Address>(destination: address)
    if flags.contains(.mark) { flow.mark = pool[packet.slot].mark }
    if flags.contains(.sourceAddress) == false { flow.inputDevice = packet.input }
    let route = Address.withRoutes(of: &namespaces[packet.namespace]) { $0.lookup(flow) }
    if instruction.flags == UInt8(NftFib.Result.addressType.rawValue) {
      registers[word] = addressType(address, route, on: wanted)
      return true
    }
    var device = DeviceIndex.none
    if packet.hook == .prerouting, devices.contains(packet.input), devices[packet.input].isLoopback {
      device = packet.input
    } else if route.type == .unicast, wanted.isNone || route.device == wanted {
      device = route.device
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

  /// RTN_* of an address (inet_dev_addr_type, nft_fib6_eval_type). Of a device only what its own addresses make is local
  /// or broadcast.
  private func addressType<Address: InternetAddress>(
    _ address: Address, _ route: RouteResult<Address>, on device: DeviceIndex
  ) -> UInt32 {
    let isOwn = device.isNone || route.device == device
    if Address.family == .ipv4 {
      if address == 0 || address == .max { return 3 }
      if IPv4Header.isMulticast(UInt32(truncatingIfNeeded: address)) { return 5 }
      switch route.type {
      case .local: return isOwn ? 2 : 1
      case .broadcast: return isOwn ? 3 : 1
      default: return 1
      }
    }
    if IPv6.isMulticast(UInt128(truncatingIfNeeded: address)) { return 5 }
    switch route.type {
    case .local: return isOwn ? 2 : 1
    case .anycast: return 4
    case .none, .unreachable: return 7
    case .blackhole: return 6
    case .prohibit: return 8
    default: return 1
    }
  }

  /// `rt`: what the packet's route says. Only behind routing, where there is one.
  mutating func loadRouteProperty(
    _ instruction: NftInstruction, _ packet: NftPacket, _ registers: inout NftRegisters
  ) -> Bool {
    guard packet.version != 0, devices.contains(packet.output) else { return false }
    let word = Int(instruction.destination)
    let header = pool.bytes(packet.slot, from: packet.networkHeader)
    let isIPv6 = packet.version == 6
    switch NftRtKey(rawValue: UInt32(instruction.flags)) {
    case .tcpMSS:
      let headers = isIPv6 ? 60 : 40
      registers[word] = UInt32(clamping: max(devices[packet.output].mtu - headers, 0))
    case .nexthop4:
      guard !isIPv6 else { return false }
      let destination = header.u32(IPv4Header.destination)
      let route = lookup(destination, in: packet.namespace)
      registers[word] = (route.gateway != 0 ? route.gateway : destination).byteSwapped
    case .nexthop6:
      guard isIPv6 else { return false }
      let destination = header.ipv6Destination
      let route = namespaces[packet.namespace].routes6.lookup(Flow<UInt128>(destination: destination))
      let nextHop = route.gateway != 0 ? route.gateway : destination
      for position in 0..<4 {
        registers[word + position] = UInt32(truncatingIfNeeded: nextHop >> (96 - 32 * position)).byteSwapped
      }
    case .classID, .xfrm, nil: return false
    }
    return true
  }
}
