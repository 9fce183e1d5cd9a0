// SPDX-License-Identifier: GPL-2.0-or-later

// IPv4 from the link up (net/ipv4/ip_input.c, ip_forward.c): validation, delivery, and the way out again for those
// that are for others. Packets that leave one after the
// other by one device go together; whatever may send something of its own lets them go first, so that bursts change
// no order.

/// Packets on their way out by one device, and the last decision, which the next packet of a flow shares.
private struct ForwardingRun: ~Copyable {
  var packets = Burst()
  var device = DeviceIndex.none
  var source: UInt32 = 0
  var destination: UInt32 = 0
  /// The decision is good for the next packet between the same two.
  var isShared = false
  /// The same, of packets that are for this host.
  var isDelivered = false
  /// Whoever sent the packet could have sent it to the next hop himself.
  var redirects = false
  var egress = DeviceIndex.none
  var mtu = 0
  var nextHop: UInt32 = 0
  var neighbor = NeighborIndex.none
}

/// Between whom packets that came in by a device were for this host, as long as nothing is configured anew; what
/// answers one another one by one asks the routes once (the kernel finds the connection first: tcp_v4_early_demux).
struct DeliveredFlow {
  fileprivate var source: UInt32 = 0
  fileprivate var destination: UInt32 = 0
  fileprivate var namespace = NamespaceIndex.none
  /// That of the routes; 0: nothing is known.
  fileprivate var generation: UInt32 = 0
}

extension Kernel {
  /// Takes IPv4 packets that came in by a device. The burst is empty afterwards.
  mutating func ipv4Receive(_ burst: inout Burst, on index: DeviceIndex) {
    let namespace = devices[index].namespace
    var run = ForwardingRun()
    if devices[index].delivered.generation == namespaces[namespace].routes.generation,
      devices[index].delivered.namespace == namespace
    {
      (run.source, run.destination) = (devices[index].delivered.source, devices[index].delivered.destination)
      run.isDelivered = true
    }
    for position in 0..<burst.count {
      var slot = burst[position]
      guard ipv4Validate(slot, in: namespace) else { continue }
      if hasHook(.ipv4, .prerouting, in: namespace) {
        // Rules may answer: what came before goes first.
        flush(&run)
        slot = ipv4MeetRules(slot, on: index, namespace)
        guard slot != .none else { continue }
      }
      guard !hasOptions(slot) else {
        flush(&run)
        run.isShared = false
        ipv4ReceiveOptions(slot, on: index, namespace)
        continue
      }
      let bytes = pool.bytes(slot)
      let source = bytes.u32(IPv4Header.source)
      let destination = bytes.u32(IPv4Header.destination)
      if run.isDelivered, destination == run.destination, source == run.source,
        pool[slot].packetType == .host
      {
        ipv4Deliver(slot, in: namespace)
        continue
      }
      if run.isShared, destination == run.destination, source == run.source, pool[slot].packetType == .host {
        ipv4Forward(slot, &run, from: index, namespace)
        continue
      }
      if let route = ipv4ForwardSimply(source, destination, pool[slot].packetType, on: index, namespace) {
        begin(
          &run, source, destination, by: route.device, route.gateway, route.mtu, isShared: true, namespace)
        ipv4Forward(slot, &run, from: index, namespace)
        continue
      }
      var route = RouteResult<UInt32>.none
      let flow = ipv4Flow(of: slot, source, destination, on: index, namespace)
      switch decide(flow, pool[slot].packetType, on: index, namespace, &route) {
      case .forward:
        begin(
          &run, source, destination, by: route.device, route.gateway, route.mtu, isShared: route.isSimple,
          namespace)
        ipv4Forward(slot, &run, from: index, namespace)
      case .deliver, .multicast:
        flush(&run)
        run.isShared = false
        (run.source, run.destination) = (source, destination)
        run.isDelivered = route.isSimple && route.type == .local
        if run.isDelivered {
          devices[index].delivered = DeliveredFlow(
            source: source, destination: destination, namespace: namespace,
            generation: namespaces[namespace].routes.generation)
        }
        ipv4Deliver(slot, in: namespace)
      case .forwardBack:
        flush(&run)
        begin(
          &run, source, destination, by: route.device, route.gateway, route.mtu, isShared: false, namespace)
        run.redirects = true
        ipv4Forward(slot, &run, from: index, namespace)
        flush(&run)
      case .drop(let reason):
        if devices[index].ipv4.logsMartians { logMartian(reason, flow, slot, on: index) }
        drop(slot, reason, in: namespace)
      case .refuse(let outcome):
        flush(&run)
        run.isShared = false
        ipv4Refuse(slot, outcome, on: index, namespace)
      }
    }
    flush(&run)
    flushOutgoing()
    burst.removeAll()
  }

  @inline(__always) private mutating func begin(
    _ run: inout ForwardingRun, _ source: UInt32, _ destination: UInt32, by egress: DeviceIndex,
    _ gateway: UInt32, _ mtu: UInt32, isShared: Bool, _ namespace: NamespaceIndex
  ) {
    run.isShared = isShared
    run.isDelivered = false
    run.redirects = false
    run.source = source
    run.destination = destination
    run.egress = egress
    run.mtu = mtu != 0 ? Int(mtu) : devices[egress].mtu
    run.nextHop = gateway != 0 ? gateway : destination
    run.neighbor = namespaces[namespace].neighbors.find(egress, run.nextHop)
  }

  /// Lets rules see a packet before its way is known; whole, where connections are tracked (nf_ct_ipv4_defrag). `none`
  /// when it does not go on.
  @inline(never)
  private mutating func ipv4MeetRules(
    _ slot: Slot, on index: DeviceIndex, _ namespace: NamespaceIndex
  ) -> Slot {
    var whole = slot
    let pieces = IPv4Header.moreFragments | IPv4Header.offsetMask
    if needsDefragmentation(.ipv4, in: namespace), pool.bytes(slot).u16(IPv4Header.fragment) & pieces != 0 {
      whole = ipv4Reassemble(slot, in: namespace)
    }
    guard whole != .none, netfilter(whole, .ipv4, .prerouting, in: index, out: .none, namespace) else {
      return .none
    }
    return whole
  }

  @inline(__always) private mutating func flush(_ run: inout ForwardingRun) {
    if !run.packets.isEmpty { transmit(&run.packets, by: run.device) }
  }

  /// The checks of RFC 1122 3.2.1 (ip_rcv_core). False: the packet was bad, and is gone.
  @inline(__always)
  private mutating func ipv4Validate(_ slot: Slot, in namespace: NamespaceIndex) -> Bool {
    guard pool[slot].packetType != .otherHost else {
      drop(slot, .otherHost, in: namespace)
      return false
    }
    namespaces[namespace].snmp[.ipInReceives] &+= 1
    pool.orphan(slot)
    let bytes = pool.bytes(slot)
    guard bytes.count >= IPv4Header.length, bytes.u8(0) == 0x45 else {
      return ipv4ValidateOptions(slot, namespace)
    }
    guard bytes.ipv4Checksum() == 0 else { return badChecksum(slot, namespace) }
    let total = Int(bytes.u16(IPv4Header.totalLength))
    guard total <= Int(pool[slot].length) else { return truncated(slot, namespace) }
    guard total >= IPv4Header.length else { return badHeader(slot, .ipInvalidHeader, namespace) }
    pool.trim(slot, to: total)
    pool[slot].transportHeader = pool[slot].networkHeader &+ 20
    return true
  }

  /// The same for headers that are not plain.
  @inline(never)
  private mutating func ipv4ValidateOptions(_ slot: Slot, _ namespace: NamespaceIndex) -> Bool {
    guard pool.mayPull(slot, IPv4Header.length) else { return badHeader(slot, .headerTruncated, namespace) }
    let length = pool.bytes(slot).ipv4HeaderLength
    guard pool.bytes(slot).u8(0) >> 4 == 4, length >= IPv4Header.length, pool.mayPull(slot, length) else {
      return badHeader(slot, .ipInvalidHeader, namespace)
    }
    let bytes = pool.bytes(slot)
    guard bytes.prefix(length).checksum() == 0 else { return badChecksum(slot, namespace) }
    let total = Int(bytes.u16(IPv4Header.totalLength))
    guard total <= Int(pool[slot].length) else { return truncated(slot, namespace) }
    guard total >= length else { return badHeader(slot, .ipInvalidHeader, namespace) }
    pool.trim(slot, to: total)
    pool[slot].transportHeader = pool[slot].networkHeader &+ UInt16(length)
    return true
  }

  @inline(never)
  private mutating func badHeader(_ slot: Slot, _ reason: DropReason, _ namespace: NamespaceIndex) -> Bool {
    namespaces[namespace].snmp[.ipInHdrErrors] &+= 1
    drop(slot, reason, in: namespace)
    return false
  }

  @inline(never) private mutating func badChecksum(_ slot: Slot, _ namespace: NamespaceIndex) -> Bool {
    namespaces[namespace].snmp[.ipExtInCsumErrors] &+= 1
    return badHeader(slot, .ipChecksum, namespace)
  }

  @inline(never) private mutating func truncated(_ slot: Slot, _ namespace: NamespaceIndex) -> Bool {
    namespaces[namespace].snmp[.ipExtInTruncatedPkts] &+= 1
    drop(slot, .packetTooSmall, in: namespace)
    return false
  }

  // MARK: Onwards

  /// A packet with no way on (ip_error): only a router tells the sender.
  mutating func ipv4Refuse(
    _ slot: Slot, _ outcome: RouteOutcome, on index: DeviceIndex, _ namespace: NamespaceIndex
  ) {
    guard devices[index].ipv4.forwarding else {
      namespaces[namespace].snmp[.ipInAddrErrors] &+= 1
      drop(slot, .ipInNoRoutes, in: namespace)
      return
    }
    if outcome == .none { namespaces[namespace].snmp[.ipExtInNoRoutes] &+= 1 }
    // Before ICMP's own limit stands the routing's: error_cost of a second, error_burst of five.
    guard outcome != .blackhole,
      namespaces[namespace].errorLimits.allow(
        pool.bytes(slot).u32(IPv4Header.source), now: cpu.now, interval: 1_000_000_000, burst: 5)
    else {
      drop(slot, .ipInNoRoutes, in: namespace)
      return
    }
    switch outcome {
    case .none:
      icmpError(for: slot, .destinationUnreachable, code: 0, information: 0)
    case .unreachable:
      icmpError(for: slot, .destinationUnreachable, code: 1, information: 0)
    case .prohibit:
      icmpError(for: slot, .destinationUnreachable, code: 13, information: 0)
    case .unicast, .local, .broadcast, .multicast, .anycast, .blackhole, .again:
      break
    }
    drop(slot, .ipInNoRoutes, in: namespace)
  }

  @inline(__always)
  private mutating func ipv4Forward(
    _ slot: Slot, _ run: inout ForwardingRun, from index: DeviceIndex, _ namespace: NamespaceIndex
  ) {
    let bytes = pool.bytes(slot)
    let egress = run.egress
    guard bytes.u8(IPv4Header.ttl) > 1, pool.fits(slot, run.mtu),
      !meetsForwardRules(in: namespace)
    else {
      flush(&run)
      ipv4ForwardSlowly(
        slot, run.nextHop, by: egress, run.mtu, redirects: run.redirects, from: index, namespace)
      return
    }
    guard pool.makeWritable(slot) else {
      namespaces[namespace].snmp[.ipOutDiscards] &+= 1
      drop(slot, .noMemory, in: namespace)
      return
    }
    namespaces[namespace].snmp[.ipForwDatagrams] &+= 1
    pool.bytes(slot).decrementTTL()
    setForwardingPriority(slot, namespace)
    if run.redirects { icmpRedirect(slot, to: run.nextHop, by: egress, in: namespace) }
    if run.device != egress {
      flush(&run)
      run.device = egress
    }
    if !run.neighbor.isNone, !neighbors[run.neighbor].state.isDisjoint(with: .connected),
      pushEthernet(slot, to: neighbors[run.neighbor].mac, from: devices[egress].mac, type: 0x0800)
    {
      run.packets.append(slot)
      return
    }
    flush(&run)
    pool[slot].flags.insert(.forwarded)
    neighborOutput(slot, run.nextHop, by: egress)
    run.neighbor = namespaces[namespace].neighbors.find(egress, run.nextHop)
  }

  /// What a queueing discipline sorts a packet by that is passed on.
  @inline(__always)
  private func setForwardingPriority(_ slot: Slot, _ namespace: NamespaceIndex) {
    guard namespaces[namespace].ipv4.forwardingSetsPriority else { return }
    pool[slot].priority = Self.priority(typeOfService: pool.bytes(slot).u8(IPv4Header.typeOfService))
  }

  @inline(__always) private func meetsForwardRules(in namespace: NamespaceIndex) -> Bool {
    hasHook(.ipv4, .forward, in: namespace) || hasHook(.ipv4, .postrouting, in: namespace)
  }

  /// Packets whose time is over, that are too large for the next link, that meet rules, or that have options
  /// (ip_forward).
  @inline(never)
  mutating func ipv4ForwardSlowly(
    _ slot: Slot, _ nextHop: UInt32, by egress: DeviceIndex, _ mtu: Int, redirects: Bool,
    from index: DeviceIndex, _ namespace: NamespaceIndex
  ) {
    let bytes = pool.bytes(slot)
    guard bytes.u8(IPv4Header.ttl) > 1 else {
      namespaces[namespace].snmp[.ipInHdrErrors] &+= 1
      icmpError(for: slot, .timeExceeded, code: 0, information: 0)
      drop(slot, .ttlExpired, in: namespace)
      return
    }
    let control = pool.ipv4Control(slot)
    let target =
      control.flags.contains(.isOnSourceRoute) ? control.nextHop : bytes.u32(IPv4Header.destination)
    guard !control.flags.contains(.isStrict) || nextHop == target else {
      icmpError(for: slot, .destinationUnreachable, code: 5, information: 0)
      drop(slot, .ipInvalidHeader, in: namespace)
      return
    }
    // What came in pieces leaves in pieces, unless even those are too large.
    guard
      bytes.u16(IPv4Header.fragment) & IPv4Header.dontFragment == 0
        || (control.largestPiece != 0 ? Int(control.largestPiece) <= mtu : pool.fits(slot, mtu))
    else {
      namespaces[namespace].snmp[.ipFragFails] &+= 1
      icmpError(for: slot, .destinationUnreachable, code: 4, information: UInt32(mtu))
      drop(slot, .packetTooBig, in: namespace)
      return
    }
    guard pool.makeWritable(slot) else {
      namespaces[namespace].snmp[.ipOutDiscards] &+= 1
      drop(slot, .noMemory, in: namespace)
      return
    }
    namespaces[namespace].snmp[.ipForwDatagrams] &+= 1
    pool.bytes(slot).decrementTTL()
    setForwardingPriority(slot, namespace)
    pool[slot].flags.insert(.forwarded)
    let isDirect = target == nextHop
    if redirects { icmpRedirect(slot, to: nextHop, by: egress, in: namespace) }
    guard netfilter(slot, .ipv4, .forward, in: index, out: egress, namespace) else { return }
    if hasOptions(slot) { forwardOptions(slot, nextHop, by: egress, in: namespace) }
    joinsOutgoing = true
    ipv4Finish(slot, gateway: isDirect ? 0 : nextHop, by: egress, mtu: mtu, namespace)
    joinsOutgoing = false
  }

  // MARK: Up

  /// Gives a packet for this host to its protocol (ip_local_deliver).
  mutating func ipv4Deliver(_ slot: Slot, in namespace: NamespaceIndex) {
    var slot = slot
    if isIPv4Fragment(slot) {
      slot = ipv4Reassemble(slot, in: namespace)
      guard slot != .none else { return }
    }
    guard netfilter(slot, .ipv4, .input, in: DeviceIndex(pool[slot].device), out: .none, namespace) else {
      return
    }
    ipv4DeliverTransport(slot, in: namespace)
  }
}
