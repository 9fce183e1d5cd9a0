// SPDX-License-Identifier: GPL-2.0-or-later

// Frames into UDP and out of it (drivers/net/vxlan/vxlan_core.c: vxlan_xmit, vxlan_xmit_one, vxlan_rcv, vxlan_snoop).
//
//    0            4                8
//    │ flags (I) │ VNI │ reserved │ Ethernet frame …

import NetTypes

extension Kernel {
  private static let identifierFlag: UInt32 = 0x0800_0000

  // MARK: Sending

  mutating func vxlanTransmit(_ burst: inout Burst, by index: DeviceIndex, _ vxlan: TableIndex<VXLAN>) {
    // A tunnel whose packets its own routes lead into it again ends somewhere (XMIT_RECURSION_LIMIT).
    guard cpu.tunnelDepth < 8 else {
      devices[index].statistics.txDropped &+= UInt64(burst.count)
      dropAll(&burst, .tunnelLoop, in: devices[index].namespace)
      return
    }
    cpu.tunnelDepth += 1
    for position in 0..<burst.count {
      let slot = burst[position]
      let bytes = pool.bytes(slot)
      guard bytes.count >= EthernetHeader.length else {
        devices[index].statistics.txDropped &+= 1
        drop(slot, .headerTruncated, in: devices[index].namespace)
        continue
      }
      let known = vxlans[vxlan].find(bytes.u48(EthernetHeader.destination))
      guard let place = known ?? vxlans[vxlan].find(0) else {
        devices[index].statistics.txDropped &+= 1
        drop(slot, .vxlanNoRemote, in: devices[index].namespace)
        continue
      }
      let count = vxlans[vxlan].entries[place].remotes.count
      // The first remote takes the frame itself, the others have had their copies by then.
      for number in stride(from: 1, to: count, by: 1) {
        let copy = pool.clone(slot)
        guard copy != .none else {
          devices[index].statistics.txDropped &+= 1
          continue
        }
        send(copy, to: vxlans[vxlan].entries[place].remotes[number], by: index, vxlan)
      }
      send(slot, to: vxlans[vxlan].entries[place].remotes[0], by: index, vxlan)
    }
    burst.removeAll()
    cpu.tunnelDepth -= 1
  }

  /// vxlan_xmit_one.
  private mutating func send(
    _ slot: Slot, to remote: VXLANRemote, by index: DeviceIndex, _ vxlan: TableIndex<VXLAN>
  ) {
    let namespace = devices[index].namespace
    let underlay = vxlans[vxlan].underlay
    let inner = pool.bytes(slot)
    let length = Int(pool[slot].length)
    var datagram = IPv4Datagram(destination: remote.address, proto: 17)
    datagram.source = vxlans[vxlan].local
    datagram.ttl = vxlans[vxlan].ttl == 0 ? nil : vxlans[vxlan].ttl
    datagram.typeOfService = typeOfService(inner, vxlans[vxlan].typeOfService)
    if vxlans[vxlan].dontFragment == 1 || (vxlans[vxlan].dontFragment == 2 && forbidsFragments(inner)) {
      datagram.pathMTUDiscovery = .do
    }
    if !remote.device.isNone {
      datagram.isBound = true
      datagram.bound = remote.device
    }
    datagram.sourcePort = sourcePort(inner, vxlan)
    datagram.destinationPort = remote.port
    let path: IPv4Path
    do throws(KernelError) {
      path = try ipv4Route(datagram, in: underlay)
    } catch {
      devices[index].statistics.txErrors &+= 1
      drop(slot, .ipOutNoRoutes, in: namespace)
      return
    }
    // A way to this host, or back into the tunnel, is none.
    guard path.type != .local, path.device != index else {
      devices[index].statistics.txErrors &+= 1
      drop(slot, .tunnelLoop, in: namespace)
      return
    }
    let header = UDPHeader.length + VXLAN.headerLength
    guard pool.makeWritable(slot),
      pool[slot].checksumState != .partial || pool.completeChecksum(slot), pool.push(slot, header)
    else {
      devices[index].statistics.txDropped &+= 1
      drop(slot, .noMemory, in: namespace)
      return
    }
    let bytes = pool.bytes(slot)
    let total = header + length
    bytes.set(UDPHeader.source, u16: datagram.sourcePort)
    bytes.set(UDPHeader.destination, u16: remote.port)
    bytes.set(UDPHeader.size, u16: UInt16(truncatingIfNeeded: total))
    bytes.set(UDPHeader.checksum, u16: 0)
    bytes.set(UDPHeader.length, u32: Self.identifierFlag)
    bytes.set(UDPHeader.length + 4, u32: remote.identifier << 8)
    if vxlans[vxlan].checksum {
      let sum = pool.sum(
        slot, from: 0, count: total, pseudoHeaderSum(path.source, datagram.destination, 17, total))
      let checksum = UInt16(bigEndian: ~foldChecksum(sum))
      bytes.set(UDPHeader.checksum, u16: checksum == 0 ? .max : checksum)
    }
    devices[index].statistics.txPackets &+= 1
    devices[index].statistics.txBytes &+= UInt64(length)
    if underlay != namespace { pool[slot].mark = 0 }
    pool[slot].flags = []
    pool[slot].device = loopback(of: underlay).rawValue
    if ipv4Output(slot, datagram, by: path, in: underlay) != nil {
      devices[index].statistics.txErrors &+= 1
    }
  }

  /// Of the outer header: fixed, or with 1 the inner packet's (ip_tunnel_get_dsfield).
  private func typeOfService(_ frame: PacketBytes, _ wanted: UInt8) -> UInt8 {
    guard wanted == 1 else { return wanted & ~3 }
    guard frame.count >= EthernetHeader.length + 20 else { return 0 }
    switch frame.u16(EthernetHeader.type) {
    case 0x0800: return frame.u8(EthernetHeader.length + IPv4Header.typeOfService)
    case 0x86dd: return UInt8(truncatingIfNeeded: frame.u16(EthernetHeader.length) >> 4)
    default: return 0
    }
  }

  private func forbidsFragments(_ frame: PacketBytes) -> Bool {
    guard frame.count >= EthernetHeader.length + 20, frame.u16(EthernetHeader.type) == 0x0800 else {
      return false
    }
    return frame.u16(EthernetHeader.length + IPv4Header.fragment) & IPv4Header.dontFragment != 0
  }

  /// One for each flow, so that the underlay can spread flows over its ways (udp_flow_src_port).
  private func sourcePort(_ frame: PacketBytes, _ vxlan: TableIndex<VXLAN>) -> UInt16 {
    var low = vxlans[vxlan].lowestPort
    var high = vxlans[vxlan].highestPort
    if low == 0, high == 0 {
      let range = namespaces[vxlans[vxlan].underlay].ipv4.localPorts
      low = range.lowerBound
      high = range.upperBound
    }
    // Addresses and ports where there are some; else the frame's addresses and type.
    var hash = frame.u64(0) ^ UInt64(frame.u48(8)) &<< 8
    if let flow = TransportOffsets(of: frame) {
      hash = flow.isIPv6 ? 0 : frame.u64(flow.addresses)
      if flow.isIPv6, frame.count >= flow.addresses + 32 {
        for word in 0..<4 { hash = (hash ^ frame.u64(flow.addresses + word * 8)) &* 0x9e37_79b9_7f4a_7c15 }
      }
      if flow.isWhole, flow.hashField != nil, frame.count >= flow.transport + 4 {
        hash ^= UInt64(frame.u32(flow.transport)) &<< 16 ^ UInt64(flow.proto)
      }
    }
    hash = (hash ^ hash &>> 32) &* 0x9e37_79b9_7f4a_7c15
    return low &+ UInt16(truncatingIfNeeded: ((hash &>> 32) &* UInt64(high &- low)) &>> 32)
  }

  // MARK: Receiving

  /// A datagram for a VXLAN device's port. False: there is none, and it may be a program's.
  mutating func vxlanReceive(_ slot: Slot, in namespace: NamespaceIndex) -> Bool {
    let udp = pool.bytes(slot, from: pool[slot].transportHeader)
    let port = udp.u16(UDPHeader.destination)
    guard namespaces[namespace].tunnels.contains(where: { vxlans[$0].port == port }) else { return false }
    let outer = pool.bytes(slot)
    let source = outer.u32(IPv4Header.source)
    let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset) + UDPHeader.length
    guard pool.mayPull(slot, offset + VXLAN.headerLength + EthernetHeader.length) else {
      drop(slot, .headerTruncated, in: namespace)
      return true
    }
    let header = pool.bytes(slot).dropFirst(offset)
    let word = header.u32(4)
    guard header.u32(0) == Self.identifierFlag, word & 0xff == 0 else {
      drop(slot, .vxlanInvalidHeader, in: namespace)
      return true
    }
    let found = namespaces[namespace].tunnels.first {
      vxlans[$0].port == port && vxlans[$0].identifier == word >> 8
    }
    guard let vxlan = found else {
      drop(slot, .vxlanUnknownIdentifier, in: namespace)
      return true
    }
    pool.pull(slot, offset + VXLAN.headerLength)
    let device = vxlans[vxlan].device
    let frame = pool.bytes(slot)
    let sender = frame.u48(EthernetHeader.source)
    guard sender != devices[device].mac else {
      drop(slot, .localMAC, in: namespace)
      return true
    }
    if vxlans[vxlan].learns, let reason = vxlanLearn(sender, behind: source, vxlan) {
      drop(slot, reason, in: namespace)
      return true
    }
    if devices[device].namespace != namespace { pool[slot].mark = 0 }
    pool[slot].flags = []
    pool[slot].hash = 0
    // What the device below has verified was the outer checksum.
    pool[slot].checksumState = .none
    guard devices[device].isUp, devices[device].ring.push(slot) else {
      devices[device].statistics.rxDropped &+= 1
      drop(slot, devices[device].isUp ? .fullRing : .deviceReady, in: namespace)
      return true
    }
    schedule(device)
    return true
  }

  /// Remembers behind which host an address is (vxlan_snoop). The answer is why the frame must be dropped.
  private mutating func vxlanLearn(
    _ address: UInt64, behind host: UInt32, _ vxlan: TableIndex<VXLAN>
  ) -> DropReason? {
    guard address != 0, !EthernetHeader.isMulticast(address) else { return .bridgeInvalidSource }
    if let place = vxlans[vxlan].find(address) {
      if vxlans[vxlan].entries[place].remotes[0].address == host {
        vxlans[vxlan].entries[place].updated = cpu.now
        return nil
      }
      guard vxlans[vxlan].entries[place].ages else { return .vxlanEntryExists }
      vxlans[vxlan].entries[place].remotes[0].address = host
      vxlans[vxlan].entries[place].updated = cpu.now
      return nil
    }
    guard devices[vxlans[vxlan].device].isUp else { return nil }
    let remote = VXLANRemote(
      address: host, port: vxlans[vxlan].port, identifier: vxlans[vxlan].identifier, device: .none)
    if vxlans[vxlan].insert(VXLANEntry(address: address, state: 2, remotes: [remote], updated: cpu.now)) {
      armVXLANAge(vxlan)
    }
    return nil
  }

  mutating func armVXLANAge(_ vxlan: TableIndex<VXLAN>) {
    guard vxlans[vxlan].ageTimer == .none, vxlans[vxlan].ageing > 0 else { return }
    vxlans[vxlan].ageTimer = cpu.wheel.arm(
      TimerEvent(kind: .vxlanAge, index: vxlan.rawValue), at: cpu.now + VXLAN.ageInterval)
  }

  /// Forgets what has not been heard of for the ageing time (vxlan_cleanup).
  mutating func vxlanAgeTimer(_ vxlan: TableIndex<VXLAN>) {
    guard vxlans.contains(vxlan) else { return }
    vxlans[vxlan].ageTimer = .none
    let oldest = cpu.now - Int64(vxlans[vxlan].ageing) * 1_000_000_000
    vxlans[vxlan].entries.removeAll { $0.ages && $0.updated <= oldest }
    if vxlans[vxlan].entries.contains(where: \.ages) { armVXLANAge(vxlan) }
  }
}
