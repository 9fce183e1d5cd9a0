// SPDX-License-Identifier: GPL-2.0-or-later

// From IP to the protocol above it (ip_protocol_deliver_rcu): raw sockets have their copies first, then the protocol
// takes the packet, or its sender is told that nobody speaks it.

extension Kernel {
  /// Gives a whole packet for this host to whom it is for.
  mutating func ipv4DeliverTransport(_ slot: Slot, in namespace: NamespaceIndex) {
    let proto = pool.bytes(slot).u8(IPv4Header.proto)
    let isRaw = !namespaces[namespace].sockets.raw.isEmpty && rawDeliver(slot, proto, in: namespace)
    switch proto {
    case 1:
      namespaces[namespace].snmp[.ipInDelivers] &+= 1
      icmpReceive(slot, in: namespace)
    case 2:
      namespaces[namespace].snmp[.ipInDelivers] &+= 1
      igmpReceive(slot, in: namespace)
    case 6:
      namespaces[namespace].snmp[.ipInDelivers] &+= 1
      tcpReceive(slot, in: namespace)
    case 17:
      namespaces[namespace].snmp[.ipInDelivers] &+= 1
      udpReceive(slot, in: namespace)
    case _ where isRaw:
      namespaces[namespace].snmp[.ipInDelivers] &+= 1
      pool.free(slot, .consumed)
    default:
      namespaces[namespace].snmp[.ipInUnknownProtos] &+= 1
      icmpError(for: slot, .destinationUnreachable, code: 2, information: 0, isDelivered: true)
      drop(slot, .invalidProtocol, in: namespace)
    }
  }

  /// A packet that this host has sent to itself among others: it was routed when it was sent.
  mutating func ipv4ReceiveLooped(_ slot: Slot) {
    let device = DeviceIndex(pool[slot].device)
    guard devices.contains(device) else {
      pool.free(slot, .deviceRemoved)
      return
    }
    let namespace = devices[device].namespace
    namespaces[namespace].snmp[.ipInReceives] &+= 1
    pool[slot].timestamp = cpu.now
    guard netfilter(slot, .ipv4, .prerouting, in: device, out: .none, namespace) else { return }
    ipv4Deliver(slot, in: namespace)
  }
}
