// SPDX-License-Identifier: GPL-2.0-or-later

// `flow add` (net/netfilter/nft_flow_offload.c): a connection that both sides have spoken in goes past the rules from now
// on. Its ways are those of its devices; what runs over a bridge or a tag is not taken apart (dev_fill_forward_path).

import Nftables

extension Kernel {
  private static let day: Int64 = 86_400_000_000_000

  /// Puts the packet's connection into a flowtable (nft_flow_offload_eval). `break` when it is not put there now.
  mutating func offload(_ flowtable: UInt32, _ packet: NftPacket) -> NftVerdictCode {
    let reference = pool.conntrack(packet.slot)
    let index = reference.index
    guard mayOffload(packet, index), let flow = flow(of: packet, index, reference.info.direction, flowtable),
      namespaces[packet.namespace].conntrack.flows.members.count < FlowOffloadTable.limit,
      let place = flowOffloads.insert(flow)
    else { return .break }
    conntracks[index].status.insert(.offload)
    if packet.proto == 6 { conntracks[index].tcp.beLiberal() }
    namespaces[packet.namespace].conntrack.flows.insert(place, in: flowOffloads)
    keepOffloaded(index)
    if namespaces[packet.namespace].conntrack.flows.timer == .none { armFlowCollection(packet.namespace) }
    return .continue
  }

  private func mayOffload(_ packet: NftPacket, _ index: ConntrackIndex) -> Bool {
    guard packet.version == 6 || packet.transport == IPv4Header.length, conntracks.contains(index),
      packet.hasTransport, conntracks[index].helper == .none,
      conntracks[index].status.isDisjoint(with: [.offload, .sequenceAdjusted, .dying]),
      conntracks[index].status.contains(.confirmed)
    else { return false }
    switch conntracks[index].original.proto {
    case 6:
      let segment = pool.bytes(packet.slot, from: packet.networkHeader).dropFirst(packet.transport)
      return packet.proto == 6 && segment.count >= 20 && segment.u8(13) & 5 == 0
        && conntracks[index].tcp.state == .established && conntracks[index].status.contains(.assured)
    case 17: return packet.proto == 17
    default: return false
    }
  }

  /// nft_flow_route: the way that the packet goes, and the one that answers come back by.
  private mutating func flow(
    of packet: NftPacket, _ index: ConntrackIndex, _ direction: ConntrackDirection, _ flowtable: UInt32
  ) -> FlowOffload? {
    let mine = conntracks[index].tuple(direction)
    let other = conntracks[index].tuple(direction.other)
    guard let forth = flowRoute(from: mine.source, to: other.source, in: packet.input, packet),
      forth.device == packet.output,
      let back = flowRoute(
        from: other.source, to: mine.source, in: packet.output, by: packet.input, packet)
    else { return nil }
    let ways = (
      way(index, direction, back.device, forth), way(index, direction.other, forth.device, back)
    )
    guard let mineAs = ways.0, let otherAs = ways.1 else { return nil }
    return FlowOffload(
      original: direction == .original ? mineAs : otherAs, reply: direction == .original ? otherAs : mineAs,
      connection: index, connectionID: conntracks[index].id, flowtable: flowtable,
      generation: routeGeneration(packet.version == 6, packet.namespace),
      deadline: cpu.now + flowTimeout(packet.proto, packet.namespace))
  }

  private func way(
    _ index: ConntrackIndex, _ direction: ConntrackDirection, _ input: DeviceIndex,
    _ route: (device: DeviceIndex, nextHop: UInt128, mtu: Int)
  ) -> FlowOffload.Way? {
    var tuple = conntracks[index].tuple(direction)
    tuple.zone = 0
    guard let target = conntracks[index].tuple(direction.other).inverted else { return nil }
    return FlowOffload.Way(
      tuple: tuple, target: target, input: input, output: route.device, nextHop: route.nextHop,
      mtu: route.mtu)
  }

  private mutating func flowRoute(
    from source: UInt128, to destination: UInt128, in input: DeviceIndex,
    by output: DeviceIndex = .none, _ packet: NftPacket
  ) -> (device: DeviceIndex, nextHop: UInt128, mtu: Int)? {
    packet.version == 6
      ? flowRoute(UInt128.self, source, destination, input, output, packet)
      : flowRoute(UInt32.self, source, destination, input, output, packet)
  }

  private mutating func flowRoute<Address: InternetAddress>(
    _ family: Address.Type, _ source: UInt128, _ destination: UInt128, _ input: DeviceIndex,
    _ output: DeviceIndex, _ packet: NftPacket
  ) -> (device: DeviceIndex, nextHop: UInt128, mtu: Int)? {
    var flow = Flow(destination: Address(truncatingIfNeeded: destination))
    flow.source = Address(truncatingIfNeeded: source)
    flow.mark = pool[packet.slot].mark
    flow.inputDevice = input
    flow.outputDevice = output
    let header = pool.bytes(packet.slot, from: packet.networkHeader)
    flow.typeOfService =
      packet.version == 6 ? header.trafficClass : header.u8(IPv4Header.typeOfService) & 0xfc
    let route = Address.withRoutes(of: &namespaces[packet.namespace]) { $0.lookup(flow) }
    guard route.type == .unicast, devices.contains(route.device) else { return nil }
    let standard =
      packet.version == 6 ? devices[route.device].ipv6.mtu : devices[route.device].mtu
    let mtu = route.mtu != 0 ? Int(route.mtu) : standard
    let nextHop = route.gateway != 0 ? UInt128(truncatingIfNeeded: route.gateway) : destination
    return (route.device, nextHop, packet.version == 6 ? max(mtu, IPv6Header.minimumMTU) : mtu)
  }

  private func routeGeneration(_ isIPv6: Bool, _ namespace: NamespaceIndex) -> UInt32 {
    isIPv6 ? namespaces[namespace].routes6.generation : namespaces[namespace].routes.generation
  }

  /// flow_offload_get_timeout.
  private func flowTimeout(_ proto: UInt8, _ namespace: NamespaceIndex) -> Int64 {
    proto == 6
      ? namespaces[namespace].conntrack.usual.flowtableTCP
      : namespaces[namespace].conntrack.usual.flowtableUDP
  }

  /// What goes past the rules does not age meanwhile (nf_ct_offload_timeout).
  mutating func keepOffloaded(_ index: ConntrackIndex) {
    if conntracks[index].timeout - cpu.now < Self.day / 2 { conntracks[index].timeout = cpu.now + Self.day }
  }

  // MARK: Packets

  /// Sends a packet that came in by a device straight to where its flow leaves (nf_flow_offload_ip_hook,
  /// nf_flow_offload_ipv6_hook). Like there, neither its checksum nor its length is looked at.
  mutating func passByFlow(_ packet: NftPacket, _ flowtable: UInt32) -> NetfilterVerdict {
    let namespace = packet.namespace
    let isIPv6 = packet.version == 6
    let network = pool.bytes(packet.slot, from: packet.networkHeader)
    guard let tuple = flowTuple(of: packet, network),
      let found = namespaces[namespace].conntrack.flows.find(
        tuple, packet.input, flowtable, in: flowOffloads),
      isAlive(found.index)
    else { return .accept }
    let header = Int(packet.networkHeader) - Int(pool[packet.slot].dataOffset)
    pool.pull(packet.slot, header)
    guard
      pool.fits(
        packet.slot,
        found.direction == .original
          ? flowOffloads[found.index].original.mtu : flowOffloads[found.index].reply.mtu)
    else {
      _ = pool.push(packet.slot, header)
      return .accept
    }
    // Its end is for connection tracking to see (nf_flow_state_check); so is where it goes once the routes change.
    let isOver = tuple.proto == 6 && network.u8(packet.transport + 13) & 5 != 0
    guard !isOver, flowOffloads[found.index].generation == routeGeneration(isIPv6, namespace) else {
      tearDown(found.index)
      _ = pool.push(packet.slot, header)
      return .accept
    }
    guard pool.makeWritable(packet.slot) else { return .drop }
    flowOffloads[found.index].deadline = cpu.now &+ flowTimeout(tuple.proto, namespace)
    let way = flowOffloads[found.index].way(found.direction)
    rewrite(packet, by: way, flowOffloads[found.index].connection, found.direction)
    let writable = pool.bytes(packet.slot)
    if isIPv6 {
      writable.set(IPv6Header.hopLimit, u8: writable.u8(IPv6Header.hopLimit) &- 1)
    } else {
      writable.decrementTTL()
    }
    count(packet.slot, flowOffloads[found.index].connection, found.direction, flowtable, namespace)
    send(packet.slot, by: way, isIPv6)
    return .stolen
  }

  /// nf_flow_tuple_ip, nf_flow_tuple_ipv6; nil for what never goes past the rules.
  @inline(__always)
  private func flowTuple(of packet: NftPacket, _ network: PacketBytes) -> ConntrackTuple? {
    guard packet.hasTransport, packet.proto == 6 || packet.proto == 17,
      packet.transport &+ (packet.proto == 6 ? 20 : 8) <= network.count
    else { return nil }
    var tuple = ConntrackTuple()
    if packet.version == 6 {
      guard packet.transport == IPv6Header.length, network.u8(IPv6Header.hopLimit) > 1 else { return nil }
      tuple.isIPv6 = true
      tuple.source = network.ipv6Source
      tuple.destination = network.ipv6Destination
    } else {
      guard packet.transport == IPv4Header.length, network.u8(IPv4Header.ttl) > 1,
        network.u16(IPv4Header.fragment) & IPv4Header.moreFragments == 0
      else { return nil }
      tuple.source = UInt128(network.u32(IPv4Header.source))
      tuple.destination = UInt128(network.u32(IPv4Header.destination))
    }
    tuple.proto = packet.proto
    tuple.sourcePort = network.u16(packet.transport)
    tuple.destinationPort = network.u16(packet.transport &+ 2)
    return tuple
  }

  @inline(__always) private func isAlive(_ flow: FlowOffloadIndex) -> Bool {
    let index = flowOffloads[flow].connection
    return conntracks.contains(index) && conntracks[index].id == flowOffloads[flow].connectionID
      && !conntracks[index].status.contains(.dying)
  }

  /// nf_flow_nat_ip, nf_flow_nat_ipv6.
  private mutating func rewrite(
    _ packet: NftPacket, by way: FlowOffload.Way, _ index: ConntrackIndex, _ direction: ConntrackDirection
  ) {
    let network = pool.bytes(packet.slot)
    let isPartial = pool[packet.slot].checksumState == .partial
    let status = conntracks[index].status
    if status.contains(direction == .original ? .sourceNAT : .destinationNAT) {
      _ = rewrite(
        network, packet.transport, packet.proto, way.target, .source, isPartial: isPartial)
    }
    if status.contains(direction == .original ? .destinationNAT : .sourceNAT) {
      _ = rewrite(
        network, packet.transport, packet.proto, way.target, .destination, isPartial: isPartial)
    }
  }

  private mutating func count(
    _ slot: Slot, _ index: ConntrackIndex, _ direction: ConntrackDirection, _ flowtable: UInt32,
    _ namespace: NamespaceIndex
  ) {
    guard conntracks[index].countsPackets,
      namespaces[namespace].nftables.program.flowtables[flowtable]?.counts ?? false
    else { return }
    conntracks[index].packets[Int(direction.rawValue)] &+= 1
    conntracks[index].bytes[Int(direction.rawValue)] &+= UInt64(pool[slot].length)
  }

  /// neigh_xmit. What leaves one after the other by one device goes together.
  private mutating func send(_ slot: Slot, by way: FlowOffload.Way, _ isIPv6: Bool) {
    let type: UInt16 = isIPv6 ? 0x86dd : 0x0800
    let device = way.output
    let key =
      isIPv6 ? NeighborKey(device, way.nextHop) : NeighborKey(device, UInt32(truncatingIfNeeded: way.nextHop))
    let neighbor = namespaces[devices[device].namespace].neighbors.find(key)
    if !neighbor.isNone, !neighbors[neighbor].state.isDisjoint(with: .connected),
      pushEthernet(slot, to: neighbors[neighbor].mac, from: devices[device].mac, type: type)
    {
      pool[slot].etherType = type
      transmitLater(slot, by: device)
      return
    }
    if linkOutput(slot, key, group: nil, type: type) { transmit(slot, by: device) }
  }

  // MARK: Ends

  /// From now on the connection meets the rules again (flow_offload_teardown).
  mutating func tearDown(_ flow: FlowOffloadIndex) {
    flowOffloads[flow].isTornDown = true
    guard isAlive(flow) else { return }
    let index = flowOffloads[flow].connection
    let namespace = conntracks[index].namespace
    conntracks[index].status.remove(.offload)
    let proto = conntracks[index].original.proto
    var rest = namespaces[namespace].conntrack.usual.udpStream
    if proto == 6 {
      // What the windows were nobody has seen.
      conntracks[index].tcp.forgetWindows()
      rest = namespaces[namespace].conntrack.settings.time(of: conntracks[index].tcp.state)
    }
    rest = max(rest - flowTimeout(proto, namespace), 0)
    guard conntracks[index].timeout - cpu.now > rest else { return }
    conntracks[index].timeout = cpu.now + rest
    armConntrack(index)
  }

  /// Ends the flows of a device, which has gone down (nf_flow_table_cleanup).
  mutating func tearDownFlows(of device: DeviceIndex, in namespace: NamespaceIndex) {
    for flow in namespaces[namespace].conntrack.flows.members
    where flowOffloads[flow].original.input == device || flowOffloads[flow].reply.input == device {
      tearDown(flow)
    }
  }

  /// Ends the flows whose flowtable is gone.
  mutating func tearDownStrayFlows(in namespace: NamespaceIndex) {
    for flow in namespaces[namespace].conntrack.flows.members
    where namespaces[namespace].nftables.program.flowtables[flowOffloads[flow].flowtable] == nil {
      tearDown(flow)
    }
  }

  private mutating func armFlowCollection(_ namespace: NamespaceIndex) {
    namespaces[namespace].conntrack.flows.timer = cpu.wheel.arm(
      TimerEvent(kind: .flows, index: namespace.rawValue), at: cpu.now + 1_000_000_000)
  }

  /// Each second those that are over go (nf_flow_offload_work_gc).
  mutating func flowTimer(_ namespace: NamespaceIndex) {
    guard namespaces.contains(namespace) else { return }
    namespaces[namespace].conntrack.flows.timer = .none
    let members = namespaces[namespace].conntrack.flows.members
    for flow in members where !flowOffloads[flow].isTornDown {
      if flowOffloads[flow].deadline <= cpu.now || !isAlive(flow) { tearDown(flow) }
    }
    removeFlows(in: namespace) { $0.isTornDown }
    if !namespaces[namespace].conntrack.flows.members.isEmpty { armFlowCollection(namespace) }
  }

  /// Forgets flows.
  private mutating func removeFlows(in namespace: NamespaceIndex, where isGone: (FlowOffload) -> Bool) {
    let gone = namespaces[namespace].conntrack.flows.members.filter { isGone(flowOffloads[$0]) }
    guard !gone.isEmpty else { return }
    let numbers = Set(gone.map(\.rawValue))
    namespaces[namespace].conntrack.flows.removeAll(in: flowOffloads) { numbers.contains($0.rawValue) }
    for flow in gone { flowOffloads.remove(flow) }
  }

  /// Forgets all flows of a namespace.
  mutating func removeFlows(of namespace: NamespaceIndex) {
    cpu.wheel.cancel(&namespaces[namespace].conntrack.flows.timer)
    removeFlows(in: namespace) { _ in true }
  }
}
