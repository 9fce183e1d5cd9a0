// SPDX-License-Identifier: GPL-2.0-or-later

// ARP over Ethernet (RFC 826; net/ipv4/arp.c).
//
//    0      2      4    5    6       8             14       18            24       28
//    │ hrd  │ pro  │hln │pln │ op    │ sender mac  │ sender │ target mac  │ target │

import NetTypes
import Rtnetlink

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

/// Who asks for whom.
private struct ARPQuestion {
  var senderMAC: UInt64
  var sender: UInt32
  var target: UInt32
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
    guard netfilter(slot, .arp, .input, in: index, out: .none, namespace) else { return }
    let operation = bytes.u16(ARPHeader.operation)
    let sender = bytes.u32(ARPHeader.sender)
    let target = bytes.u32(ARPHeader.target)
    guard operation == ARPHeader.request || operation == ARPHeader.reply, target >> 28 != 0xe,
      target >> 24 != 127 || devices[index].ipv4.routeLocalnet
    else {
      drop(slot, .arpInvalid, in: namespace)
      return
    }
    let question = ARPQuestion(
      senderMAC: bytes.u48(ARPHeader.senderMAC), sender: sender, target: target)
    if sender == target, devices[index].ipv4.dropGratuitousARP {
      drop(slot, .arpInvalid, in: namespace)
      return
    }
    if sender == 0 {
      pool.free(slot, .consumed)
      // Somebody asks whether an address is taken (RFC 2131, 5227).
      if operation == ARPHeader.request, mayAnswer(target, 0, on: index) { answer(question, by: index) }
      return
    }
    if operation == ARPHeader.request, acceptsSource(sender, on: index),
      arpAnswer(slot, question, type, on: index)
    {
      return
    }
    let targetMAC = bytes.u48(ARPHeader.targetMAC)
    pool.free(slot, .consumed)
    arpLearn(question, isReply: operation == ARPHeader.reply, targetMAC, type, on: index)
  }

  /// A request for an address of this host, or of one that it answers for. False: it is neither, and only news.
  private mutating func arpAnswer(
    _ slot: Slot, _ question: ARPQuestion, _ type: PacketType, on index: DeviceIndex
  ) -> Bool {
    let namespace = devices[index].namespace
    let route = lookup(question.target, in: namespace)
    if route.type == .local {
      pool.free(slot, .consumed)
      guard mayAnswer(question.target, question.sender, on: index) else { return true }
      if devices[index].ipv4.arpFilter, lookup(question.sender, in: namespace).device != index {
        namespaces[namespace].snmp[.tcpExtArpFilter] &+= 1
        return true
      }
      guard arpLearnSender(question, on: index) else { return true }
      answer(question, by: index)
      return true
    }
    guard devices[index].ipv4.forwarding, route.type == .unicast else { return false }
    let isProxy =
      route.device == index
      ? devices[index].ipv4.proxyARPPrivateVLAN && question.sender != question.target
      : devices[index].ipv4.proxyARP || !proxy(NeighborKey(index, question.target), in: namespace).isNone
    guard isProxy else { return false }
    _ = arpLearnSender(question, on: index)
    if type == .host || devices[index].neighborParameters.proxyDelay == 0 {
      pool.free(slot, .consumed)
      answer(question, by: index)
    } else {
      delayAnswer(slot, for: .ipv4, on: index)
    }
    return true
  }

  /// An answer for another has waited long enough.
  mutating func arpAnswerNow(_ slot: Slot, on index: DeviceIndex) {
    let bytes = pool.bytes(slot)
    let question = ARPQuestion(
      senderMAC: bytes.u48(ARPHeader.senderMAC), sender: bytes.u32(ARPHeader.sender),
      target: bytes.u32(ARPHeader.target))
    pool.free(slot, .consumed)
    answer(question, by: index)
  }

  /// neigh_event_ns: who asks is there. False: there is no place for it.
  private mutating func arpLearnSender(_ question: ARPQuestion, on index: DeviceIndex) -> Bool {
    let neighbor = neighbor(question.sender, on: index)
    guard !neighbor.isNone else { return false }
    updateNeighbor(neighbor, mac: question.senderMAC, .stale, .override)
    return true
  }

  /// What an answer, or a request for another, tells of its sender.
  private mutating func arpLearn(
    _ question: ARPQuestion, isReply: Bool, _ targetMAC: UInt64, _ packetType: PacketType,
    on index: DeviceIndex
  ) {
    let namespace = devices[index].namespace
    var known = namespaces[namespace].neighbors.find(index, question.sender)
    let accepts = devices[index].ipv4.arpAccept
    guard !known.isNone || accepts != 0 else { return }
    // A gratuitous one is news but no proof that it hears us. In a reply both link addresses say the same.
    let type = lookup(question.sender, in: namespace).type
    let isUnicast = type != .local && type != .broadcast && !IPv4Header.isMulticast(question.sender)
    let isGratuitous =
      question.sender == question.target && (!isReply || targetMAC == question.senderMAC) && isUnicast
    if known.isNone {
      let isNear = accepts == 1 || devices[index].addresses.contains { $0.isOnSubnet(question.sender) }
      guard isNear, isGratuitous || isReply && isUnicast else { return }
      known = neighbor(question.sender, on: index)
      guard !known.isNone else { return }
    }
    let isLate = cpu.now > neighbors[known].updated + devices[index].neighborParameters.lockTime
    let state: NeighborStates = isReply && packetType == .host ? .reachable : .stale
    updateNeighbor(known, mac: question.senderMAC, state, isLate || isGratuitous ? .override : [])
  }

  private mutating func answer(_ question: ARPQuestion, by index: DeviceIndex) {
    sendARP(
      ARPHeader.reply, by: index, to: question.senderMAC, sender: question.target,
      targetMAC: question.senderMAC, target: question.sender)
  }

  /// `net.ipv4.conf.*.arp_ignore`: 0 answers for every address of the host, 1 only for this device's, 2 only to the
  /// same subnet too, 3 not for addresses of this host alone, 8 for none.
  private func mayAnswer(_ target: UInt32, _ sender: UInt32, on index: DeviceIndex) -> Bool {
    let namespace = devices[index].namespace
    guard namespaces[namespace].isLocal(target) else { return false }
    switch devices[index].ipv4.arpIgnore {
    case 1: return devices[index].addresses.contains { $0.local.rawValue == target }
    case 2:
      return devices[index].addresses.contains {
        $0.local.rawValue == target && (sender == 0 || (sender ^ target) & $0.mask == 0)
      }
    case 3:
      return namespaces[namespace].devices.contains { device in
        devices[device].addresses.contains { $0.local.rawValue == target && $0.scope < 254 }
      }
    case 8: return false
    default: return true
    }
  }

  /// Asks for a neighbour: everybody while it is unknown, itself while it may still be there (arp_solicit).
  mutating func arpSolicit(_ index: NeighborIndex, waiting: Slot) {
    let device = neighbors[index].device
    let namespace = devices[device].namespace
    let target = neighbors[index].key.ipv4
    // arp_announce: whose address is told. 1 and 2 tell none of another subnet.
    var source: UInt32 = 0
    if waiting != .none, devices[device].ipv4.arpAnnounce < 2 {
      let wanted = pool.bytes(waiting, from: pool[waiting].networkHeader).u32(IPv4Header.source)
      if namespaces[namespace].isLocal(wanted),
        devices[device].ipv4.arpAnnounce == 0
          || devices[device].addresses.contains(where: { $0.isOnSubnet(target) && $0.isOnSubnet(wanted) })
      {
        source = wanted
      }
    }
    if source == 0 { source = selectSource(target, on: device, scope: RouteScope.link.rawValue) }
    let parameters = devices[device].neighborParameters
    var mac = EthernetHeader.broadcast
    if neighbors[index].probes < parameters.unicastProbes {
      mac = neighbors[index].mac
    } else if neighbors[index].probes < parameters.unicastProbes + parameters.applicationProbes {
      // It is a program's turn to ask, and none listens for that.
      return
    }
    sendARP(ARPHeader.request, by: device, to: mac, sender: source, targetMAC: 0, target: target)
  }

  /// Tells everybody a device's addresses (inetdev_send_gratuitous_arp).
  mutating func announceAddresses(of device: DeviceIndex) {
    for address in devices[device].addresses {
      let local = address.local.rawValue
      sendARP(
        ARPHeader.request, by: device, to: EthernetHeader.broadcast, sender: local, targetMAC: 0,
        target: local)
    }
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
    pool[slot].linkHeader = pool[slot].dataOffset
    guard netfilter(slot, .arp, .output, in: .none, out: device, devices[device].namespace) else { return }
    transmit(slot, by: device)
  }
}
