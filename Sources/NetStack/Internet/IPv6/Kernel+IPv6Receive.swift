// SPDX-License-Identifier: GPL-2.0-or-later

// IPv6 from the link up (net/ipv6/ip6_input.c, ip6_output.c's ip6_forward): validation, the decision where a packet
// goes, and the way out again for those that are for others. As in IPv4, packets that leave one after the other by one
// device go together, and whatever may send something of its own lets them go first.

import NetTypes

/// Packets on their way out by one device, and the last decision, which the next packet of a flow shares.
private struct ForwardingRun6: ~Copyable {
  var packets = Burst()
  var source: UInt128 = 0
  var destination: UInt128 = 0
  /// None: nothing is shared.
  var egress = DeviceIndex.none
  var device = DeviceIndex.none
  var nextHop: UInt128 = 0
  var mtu = 0
  var neighbor = NeighborIndex.none
}

extension Kernel {
  /// Takes IPv6 packets that came in by a device. The burst is empty afterwards.
  mutating func ipv6Receive(_ burst: inout Burst, on index: DeviceIndex) {
    let namespace = devices[index].namespace
    var run = ForwardingRun6()
    for position in 0..<burst.count {
      var slot = burst[position]
      guard ipv6Validate(slot, on: index, namespace) else { continue }
      if hasHook(.ipv6, .prerouting, in: namespace) {
        // Rules may answer: what came before goes first.
        flush(&run, namespace)
        if needsDefragmentation(.ipv6, in: namespace) { slot = ipv6Defragment(slot, in: namespace) }
        guard slot != .none else { continue }
        guard netfilter(slot, .ipv6, .prerouting, in: index, out: .none, namespace) else { continue }
      }
      let bytes = pool.bytes(slot)
      let source = bytes.ipv6Source
      let destination = bytes.ipv6Destination
      if bytes.u8(IPv6Header.nextHeader) == IPv6NextHeader.hopByHop {
        // It may be answered.
        flush(&run, namespace)
        guard hopByHopReceive(slot, in: namespace) else { continue }
      } else if !run.egress.isNone, destination == run.destination, source == run.source {
        ipv6Forward(slot, &run, from: index, namespace)
        continue
      }
      if IPv6.isMulticast(destination) {
        flush(&run, namespace)
        run.egress = .none
        ipv6ReceiveGroup(slot, destination, on: index, namespace)
        continue
      }
      var flow = Flow<UInt128>(destination: destination)
      flow.source = source
      flow.mark = pool[slot].mark
      flow.inputDevice = index
      flow.typeOfService = bytes.trafficClass
      flow.flowLabel = bytes.u32(0) & 0xf_ffff
      // A link-local address is one of this link only.
      if IPv6.isLinkLocal(destination), !devices[index].isLoopback { flow.outputDevice = index }
      let route = namespaces[namespace].routes6.lookup(flow)
      switch route.type {
      case .unicast where mayForward(slot, &run, from: source, route, on: index, namespace):
        run.egress = .none
        let nextHop = route.gateway != 0 ? route.gateway : destination
        let mtu = max(
          route.mtu != 0 ? Int(route.mtu) : devices[route.device].ipv6.mtu, IPv6Header.minimumMTU)
        if run.device != route.device { flush(&run, namespace) }
        run.device = route.device
        run.source = source
        run.destination = destination
        run.nextHop = nextHop
        run.mtu = mtu
        run.neighbor = namespaces[namespace].neighbors.find(route.device, nextHop)
        // Only what the destination alone decides, and nobody is told of, is shared.
        if route.isSimple, route.device != index { run.egress = route.device }
        ipv6Forward(slot, &run, from: index, namespace)
      case .local, .anycast:
        flush(&run, namespace)
        run.egress = .none
        ipv6Deliver(slot, in: namespace)
      default:
        flush(&run, namespace)
        run.egress = .none
        ipv6Refuse(slot, route, source, namespace)
      }
    }
    flush(&run, namespace)
    flushOutgoing()
    burst.removeAll()
  }

  @inline(__always)
  private mutating func flush(_ run: inout ForwardingRun6, _ namespace: NamespaceIndex) {
    guard !run.packets.isEmpty else { return }
    namespaces[namespace].snmp[.ip6OutTransmits] &+= UInt64(run.packets.count)
    transmit(&run.packets, by: run.device)
  }

  /// The checks of ip6_rcv_core. False: the packet was bad, and is gone.
  @inline(__always)
  private mutating func ipv6Validate(
    _ slot: Slot, on index: DeviceIndex, _ namespace: NamespaceIndex
  ) -> Bool {
    guard pool[slot].packetType != .otherHost else {
      drop(slot, .otherHost, in: namespace)
      return false
    }
    namespaces[namespace].snmp[.ip6InReceives] &+= 1
    pool.orphan(slot)
    guard devices[index].ipv6.isEnabled else {
      namespaces[namespace].snmp[.ip6InDiscards] &+= 1
      drop(slot, .ipv6Disabled, in: namespace)
      return false
    }
    guard pool.mayPull(slot, IPv6Header.length), pool.bytes(slot).u8(0) >> 4 == 6 else {
      return badHeader6(slot, .ipInvalidHeader, namespace)
    }
    let bytes = pool.bytes(slot)
    let source = bytes.ipv6Source
    let destination = bytes.ipv6Destination
    if !devices[index].isLoopback {
      // RFC 4291 2.5.3, and what belongs to one interface alone.
      guard source != IPv6.loopback, destination != IPv6.loopback,
        !IPv6.isMulticast(destination) || IPv6.groupScope(destination) != 1
      else { return badHeader6(slot, .ipInvalidHeader, namespace) }
    }
    guard !IPv6.isMulticast(source), !IPv6.isMulticast(destination) || IPv6.groupScope(destination) != 0
    else { return badHeader6(slot, .ipInvalidHeader, namespace) }
    if devices[index].ipv6.dropUnicastInLink, pool[slot].packetType != .host,
      !IPv6.isMulticast(destination)
    {
      return badHeader6(slot, .unicastInLayer2Multicast, namespace)
    }
    let length = Int(bytes.u16(IPv6Header.payloadLength))
    let isJumbo = length == 0 && bytes.u8(IPv6Header.nextHeader) == IPv6NextHeader.hopByHop
    if !isJumbo {
      guard length + IPv6Header.length <= Int(pool[slot].length) else {
        namespaces[namespace].snmp[.ip6InTruncatedPkts] &+= 1
        drop(slot, .packetTooSmall, in: namespace)
        return false
      }
      pool.trim(slot, to: length + IPv6Header.length)
    }
    pool[slot].transportHeader = pool[slot].networkHeader &+ UInt16(IPv6Header.length)
    return true
  }

  @inline(never)
  private mutating func badHeader6(_ slot: Slot, _ reason: DropReason, _ namespace: NamespaceIndex) -> Bool {
    namespaces[namespace].snmp[.ip6InHdrErrors] &+= 1
    drop(slot, reason, in: namespace)
    return false
  }

  /// A packet to a group is for this host if it listens to the group on that device (ip6_mc_input).
  private mutating func ipv6ReceiveGroup(
    _ slot: Slot, _ group: UInt128, on index: DeviceIndex, _ namespace: NamespaceIndex
  ) {
    namespaces[namespace].snmp[.ip6InMcastPkts] &+= 1
    guard listens(to: group, on: index) || devices[index].isLoopback else {
      drop(slot, .ipInvalidDestination, in: namespace)
      return
    }
    ipv6Deliver(slot, in: namespace)
  }

  /// A packet with no way on (ip6_pkt_discard, ip6_pkt_prohibit). As in Linux, a host that is no router says so too.
  private mutating func ipv6Refuse(
    _ slot: Slot, _ route: RouteResult<UInt128>, _ source: UInt128, _ namespace: NamespaceIndex
  ) {
    switch route.type {
    case .blackhole: break
    case .unicast:
      // A route there is, but it may not be taken; `mayForward` has said why.
      return
    default:
      if pool.bytes(slot, from: pool[slot].networkHeader).ipv6Destination == 0 {
        namespaces[namespace].snmp[.ip6InAddrErrors] &+= 1
      } else {
        namespaces[namespace].snmp[.ip6InNoRoutes] &+= 1
      }
      let code: UInt8 = route.type == .prohibit ? 1 : 0
      icmpv6Error(for: slot, .destinationUnreachable, code: code, information: 0)
    }
    drop(slot, .ipInNoRoutes, in: namespace)
  }

  // MARK: Onwards

  /// What ip6_forward asks of the first packet of a flow. False: it may not go on, and is gone.
  private mutating func mayForward(
    _ slot: Slot, _ run: inout ForwardingRun6, from source: UInt128, _ route: RouteResult<UInt128>,
    on index: DeviceIndex, _ namespace: NamespaceIndex
  ) -> Bool {
    guard namespaces[namespace].ipv6.forwarding else {
      drop(slot, .ipInNoRoutes, in: namespace)
      return false
    }
    guard pool[slot].packetType == .host else {
      drop(slot, .unicastInLayer2Multicast, in: namespace)
      return false
    }
    let header = pool.bytes(slot, from: pool[slot].networkHeader)
    guard header.u8(IPv6Header.hopLimit) > 1 else {
      flush(&run, namespace)
      expire(slot, namespace)
      return false
    }
    let destination = header.ipv6Destination
    if namespaces[namespace].ipv6.proxyNDP, !proxy(NeighborKey(index, destination), in: namespace).isNone {
      flush(&run, namespace)
      guard forwardsForProxy(slot, destination, namespace) else { return false }
    }
    if route.device == index, !pool[slot].flags.contains(.sourceRouted) {
      flush(&run, namespace)
      let nextHop = route.gateway != 0 ? route.gateway : destination
      let outer = suspendUnconfirmed()
      redirect(slot, to: nextHop, on: index, namespace)
      resumeUnconfirmed(outer)
      return true
    }
    // What only this host, or only this link, can mean.
    guard source != 0, source != IPv6.loopback, !IPv6.isLinkLocal(source) else {
      if IPv6.isLinkLocal(source) {
        flush(&run, namespace)
        icmpv6Error(for: slot, .destinationUnreachable, code: 2, information: 0)
      }
      namespaces[namespace].snmp[.ip6InAddrErrors] &+= 1
      drop(slot, .ipInvalidSource, in: namespace)
      return false
    }
    return true
  }

  private mutating func expire(_ slot: Slot, _ namespace: NamespaceIndex) {
    icmpv6Error(for: slot, .timeExceeded, code: 0, information: 0)
    namespaces[namespace].snmp[.ip6InHdrErrors] &+= 1
    drop(slot, .ttlExpired, in: namespace)
  }

  @inline(__always)
  private mutating func ipv6Forward(
    _ slot: Slot, _ run: inout ForwardingRun6, from index: DeviceIndex, _ namespace: NamespaceIndex
  ) {
    let egress = run.device
    guard pool.bytes(slot).u8(IPv6Header.hopLimit) > 1, pool.fits(slot, run.mtu),
      pool[slot].packetType == .host, !meetsForwardRules6(in: namespace), pool.makeWritable(slot)
    else {
      flush(&run, namespace)
      ipv6ForwardSlowly(slot, run.nextHop, mtu: run.mtu, by: egress, from: index, namespace)
      return
    }
    namespaces[namespace].snmp[.ip6OutForwDatagrams] &+= 1
    let bytes = pool.bytes(slot)
    bytes.set(IPv6Header.hopLimit, u8: bytes.u8(IPv6Header.hopLimit) &- 1)
    if !run.neighbor.isNone, !neighbors[run.neighbor].state.isDisjoint(with: .connected),
      pushEthernet(slot, to: neighbors[run.neighbor].mac, from: devices[egress].mac, type: 0x86dd)
    {
      run.packets.append(slot)
      return
    }
    flush(&run, namespace)
    pool[slot].flags.insert(.forwarded)
    neighborOutput(slot, run.nextHop, by: egress)
    run.neighbor = namespaces[namespace].neighbors.find(egress, run.nextHop)
  }

  @inline(__always) private func meetsForwardRules6(in namespace: NamespaceIndex) -> Bool {
    hasHook(.ipv6, .forward, in: namespace) || hasHook(.ipv6, .postrouting, in: namespace)
  }

  /// Packets whose time is over, that are too large for the next link, that nobody may write to, or that meet rules
  /// (ip6_forward).
  @inline(never)
  private mutating func ipv6ForwardSlowly(
    _ slot: Slot, _ nextHop: UInt128, mtu: Int, by egress: DeviceIndex, from index: DeviceIndex,
    _ namespace: NamespaceIndex
  ) {
    guard pool[slot].packetType == .host else {
      drop(slot, .unicastInLayer2Multicast, in: namespace)
      return
    }
    guard pool.bytes(slot).u8(IPv6Header.hopLimit) > 1 else {
      expire(slot, namespace)
      return
    }
    // What came in pieces that fit goes on in such (ip6_pkt_too_big).
    let pieceSize = Int(pool.ipv4Control(slot).largestPiece)
    guard pieceSize != 0 ? pieceSize <= mtu : pool.fits(slot, mtu) else {
      icmpv6Error(for: slot, .packetTooBig, code: 0, information: UInt32(mtu))
      namespaces[namespace].snmp[.ip6InTooBigErrors] &+= 1
      namespaces[namespace].snmp[.ip6FragFails] &+= 1
      drop(slot, .packetTooBig, in: namespace)
      return
    }
    guard pool.makeWritable(slot) else {
      namespaces[namespace].snmp[.ip6OutDiscards] &+= 1
      drop(slot, .noMemory, in: namespace)
      return
    }
    namespaces[namespace].snmp[.ip6OutForwDatagrams] &+= 1
    let bytes = pool.bytes(slot)
    bytes.set(IPv6Header.hopLimit, u8: bytes.u8(IPv6Header.hopLimit) &- 1)
    pool[slot].flags.insert(.forwarded)
    let isDirect = bytes.ipv6Destination == nextHop
    guard netfilter(slot, .ipv6, .forward, in: index, out: egress, namespace) else { return }
    joinsOutgoing = true
    ipv6Finish(slot, gateway: isDirect ? 0 : nextHop, mtu: mtu, by: egress, namespace)
    joinsOutgoing = false
  }

  /// A packet that this host sent to a group it listens to comes up again.
  mutating func ipv6ReceiveLooped(_ slot: Slot) {
    let device = DeviceIndex(pool[slot].device)
    guard devices.contains(device) else {
      pool.free(slot, .deviceRemoved)
      return
    }
    var burst = Burst(slot)
    ipv6Receive(&burst, on: device)
  }
}
