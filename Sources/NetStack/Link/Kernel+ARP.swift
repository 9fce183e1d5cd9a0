// SPDX-License-Identifier: GPL-2.0-or-later

// ARP over Ethernet (RFC 826; net/ipv4/arp.c).
//
//    0      2      4    5    6       8             14       18            24       28
//    │ hrd  │ pro  │hln │pln │ op    │ sender mac  │ sender │ target mac  │ target │

import NetTypes

private enum ARPHeader {
  static let length = 28
  static let fixed: UInt64 = 0x0001_0800_0604
  static let operation = 6
  static let senderMAC = 8
  static let sender = 14
  static let targetMAC = 18
  static let target = 24
  static let request: UInt16 = 1
  static let reply: UInt16 = 2
}

extension Kernel {
  /// Takes an ARP packet: answers for addresses of the host, and learns from who asks or answers (arp_process).
  mutating func arpReceive(_ slot: Slot, on index: DeviceIndex) {
    let namespace = devices[index].namespace
    let bytes = pool.bytes(slot)
    let type = pool[slot].packetType
    guard !devices[index].flags.contains(.noARP), !devices[index].isLoopback, type != .otherHost else {
      drop(slot, .arpNotForUs, in: namespace)
      return
    }
    guard bytes.count >= ARPHeader.length, bytes.u48(0) == ARPHeader.fixed else {
      drop(slot, .arpInvalid, in: namespace)
      return
    }
    let operation = bytes.u16(ARPHeader.operation)
    let senderMAC = bytes.u48(ARPHeader.senderMAC)
    let sender = bytes.u32(ARPHeader.sender)
    let target = bytes.u32(ARPHeader.target)
    guard operation == ARPHeader.request || operation == ARPHeader.reply, target >> 28 != 0xe,
      target >> 24 != 127 || devices[index].ipv4.routeLocalnet
    else {
      drop(slot, .arpInvalid, in: namespace)
      return
    }
    let targetMAC = bytes.u48(ARPHeader.targetMAC)
    pool.free(slot, .consumed)
    if sender == 0 {
      // Somebody asks whether an address is taken (RFC 2131, 5227).
      if operation == ARPHeader.request, mayAnswer(target, 0, on: index) {
        sendARP(ARPHeader.reply, by: index, to: senderMAC, sender: target, targetMAC: senderMAC, target: 0)
      }
      return
    }
    if operation == ARPHeader.request, acceptsSource(sender, on: index) {
      let route = lookup(target, in: namespace)
      if route.type == .local {
        guard mayAnswer(target, sender, on: index) else { return }
        let neighbor = neighbor(sender, on: index)
        guard !neighbor.isNone else { return }
        updateNeighbor(neighbor, mac: senderMAC, .stale, override: true)
        sendARP(
          ARPHeader.reply, by: index, to: senderMAC, sender: target, targetMAC: senderMAC, target: sender)
        return
      }
      if devices[index].ipv4.forwarding, devices[index].ipv4.proxyARP, route.type == .unicast,
        route.device != index
      {
        sendARP(
          ARPHeader.reply, by: index, to: senderMAC, sender: target, targetMAC: senderMAC, target: sender)
        return
      }
    }
    let known = namespaces[namespace].neighbors.find(index, sender)
    guard !known.isNone else { return }
    // An answer to another, or a gratuitous one, is news but no proof that it hears us.
    let isGratuitous =
      sender == target && (operation == ARPHeader.request || targetMAC == senderMAC)
    let isLate = cpu.now > neighbors[known].updated + devices[index].neighborParameters.lockTime
    let state: NeighborStates = operation == ARPHeader.reply && type == .host ? .reachable : .stale
    updateNeighbor(known, mac: senderMAC, state, override: isLate || isGratuitous)
  }

  /// `net.ipv4.conf.*.arp_ignore`: 0 answers for every address of the host, 1 only for this device's, 2 only to the
  /// same subnet too, 8 for none.
  private func mayAnswer(_ target: UInt32, _ sender: UInt32, on index: DeviceIndex) -> Bool {
    guard namespaces[devices[index].namespace].isLocal(target) else { return false }
    let mode = devices[index].ipv4.arpIgnore
    switch mode {
    case 0: return true
    case 1: return devices[index].addresses.contains { $0.local.rawValue == target }
    case 2:
      return devices[index].addresses.contains {
        $0.local.rawValue == target && (sender ^ target) & $0.mask == 0
      }
    default: return false
    }
  }

  /// Asks for a neighbour: everybody while it is unknown, itself while it may still be there (arp_solicit).
  mutating func arpSolicit(_ index: NeighborIndex, source wanted: UInt32) {
    let device = neighbors[index].device
    let namespace = devices[device].namespace
    let target = neighbors[index].address
    let source =
      wanted != 0 && namespaces[namespace].isLocal(wanted) ? wanted : selectSource(target, on: device)
    let unicast = neighbors[index].state == .probe
    sendARP(
      ARPHeader.request, by: device, to: unicast ? neighbors[index].mac : EthernetHeader.broadcast,
      sender: source,
      targetMAC: unicast ? neighbors[index].mac : 0, target: target)
  }

  private mutating func sendARP(
    _ operation: UInt16, by device: DeviceIndex, to destination: UInt64, sender: UInt32, targetMAC: UInt64,
    target: UInt32
  ) {
    let slot = pool.allocate(ARPHeader.length)
    guard slot != .none else { return }
    _ = pool.put(slot, ARPHeader.length)
    pool[slot].networkHeader = pool[slot].dataOffset
    pool[slot].etherType = 0x0806
    let bytes = pool.bytes(slot)
    bytes.set(0, u48: ARPHeader.fixed)
    bytes.set(ARPHeader.operation, u16: operation)
    bytes.set(ARPHeader.senderMAC, u48: devices[device].mac)
    bytes.set(ARPHeader.sender, u32: sender)
    bytes.set(ARPHeader.targetMAC, u48: targetMAC)
    bytes.set(ARPHeader.target, u32: target)
    guard pushEthernet(slot, to: destination, from: devices[device].mac, type: 0x0806) else {
      drop(slot, .deviceHeader, in: devices[device].namespace)
      return
    }
    transmit(slot, by: device)
  }
}
