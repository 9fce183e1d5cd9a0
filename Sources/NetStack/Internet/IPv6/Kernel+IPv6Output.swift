// SPDX-License-Identifier: GPL-2.0-or-later

// IPv6 on its way down (net/ipv6/ip6_output.c, route.c's output side): the way of what this host sends, its header,
// and the pieces that a packet larger than its way is cut into.

import NetTypes

/// What a sender says about a datagram.
struct IPv6Datagram {
  /// 0: chosen (RFC 6724).
  var source: UInt128 = 0
  var destination: UInt128
  var proto: UInt8
  /// Nil: the route's, or the device's.
  var hopLimit: UInt8?
  var trafficClass: UInt8 = 0
  /// Nil: one of the flow's own (auto_flowlabels).
  var flowLabel: UInt32?
  /// The device that it must leave by: always for link-local destinations, which other links have too.
  var device = DeviceIndex.none
  var mark: UInt32 = 0
  /// Whether it is not to be cut here.
  var dontFragment = false
  /// Whether this host hears what it sends to a group that it listens to.
  var loopsBack = true
}

/// The way of a datagram.
struct IPv6Path {
  var type = RouteOutcome.unicast
  var device = DeviceIndex.none
  var source: UInt128 = 0
  /// The gateway, or the destination itself.
  var nextHop: UInt128 = 0
  /// What fits in one packet.
  var mtu = 0
  var hopLimit: UInt8 = 64
}

extension Kernel {
  // MARK: The way

  /// Finds the way of what this host sends (ip6_route_output, ip6_dst_lookup).
  mutating func ipv6Route(
    _ datagram: IPv6Datagram, in namespace: NamespaceIndex
  ) throws(KernelError) -> IPv6Path {
    let loopback = loopback(of: namespace)
    var flow = Flow<UInt128>(destination: datagram.destination)
    flow.source = datagram.source
    flow.mark = datagram.mark
    flow.inputDevice = loopback
    flow.outputDevice = datagram.device
    flow.proto = datagram.proto
    flow.typeOfService = datagram.trafficClass
    if !datagram.device.isNone {
      guard devices.contains(datagram.device), devices[datagram.device].namespace == namespace else {
        throw .noSuchDevice
      }
    }
    var result = namespaces[namespace].routes6.lookup(flow)
    if result.type.isError, !datagram.device.isNone,
      hasAddress(datagram.destination, scope: datagram.device, in: namespace)
    {
      // What is on another device of this host is here all the same.
      flow.outputDevice = .none
      result = namespaces[namespace].routes6.lookup(flow)
    }
    if let error = result.type.error {
      namespaces[namespace].snmp[.ip6OutNoRoutes] &+= 1
      throw error
    }
    var path = IPv6Path()
    path.type = result.type
    path.source = datagram.source
    if path.source == 0 {
      path.source =
        result.preferredSource != 0
        ? result.preferredSource : selectSource6(for: datagram.destination, on: result.device)
      guard path.source != 0 else { throw .addressNotAvailable }
    }
    let isHere = result.type == .local || result.type == .anycast
    path.device = isHere ? loopback : result.device
    path.nextHop = result.gateway != 0 ? result.gateway : datagram.destination
    path.mtu = result.mtu != 0 ? Int(result.mtu) : devices[path.device].ipv6.mtu
    path.hopLimit = result.hopLimit != 0 ? result.hopLimit : devices[path.device].ipv6.hopLimit
    applyException(&path, datagram.destination, result, in: namespace)
    return path
  }

  /// What routers have told of the destination (rt6_find_cached_rt).
  private mutating func applyException(
    _ path: inout IPv6Path, _ destination: UInt128, _ result: RouteResult<UInt128>,
    in namespace: NamespaceIndex
  ) {
    guard !namespaces[namespace].routes6.exceptions.isEmpty,
      let known = namespaces[namespace].routes6.exceptions.find(destination, by: path.device, now: cpu.now)
    else { return }
    if known.gateway != 0 { path.nextHop = known.gateway }
    if known.mtu != 0, !result.isMTULocked { path.mtu = min(path.mtu, Int(known.mtu)) }
  }

  /// A router cannot send packets of a size on (ip6_rt_update_pmtu); below 1,280 nothing is believed (RFC 8201 4).
  mutating func learnPathMTU(
    _ destination: UInt128, _ mtu: UInt32, on device: DeviceIndex, in namespace: NamespaceIndex
  ) {
    guard mtu >= UInt32(IPv6Header.minimumMTU) else { return }
    var datagram = IPv6Datagram(destination: destination, proto: IPv6NextHeader.icmp)
    if IPv6.isLinkLocal(destination) { datagram.device = device }
    guard let path = try? ipv6Route(datagram, in: namespace), Int(mtu) < path.mtu else { return }
    learn(destination, by: path.device, in: namespace) { $0.mtu = mtu }
  }

  /// Changes what is known of the way to one destination, or begins to know it.
  mutating func learn(
    _ destination: UInt128, by device: DeviceIndex, in namespace: NamespaceIndex,
    _ body: (inout RouteException<UInt128>) -> Void
  ) {
    var flow = Flow<UInt128>(destination: destination)
    flow.outputDevice = device
    let result = namespaces[namespace].routes6.lookup(flow)
    guard !result.type.isError, let route = namespaces[namespace].routes6.route(of: result) else { return }
    var known =
      namespaces[namespace].routes6.exceptions.find(destination, by: device, now: cpu.now)
      ?? RouteException(
        destination: destination, device: device, table: route.table, prefix: route.destination,
        prefixLength: route.length)
    body(&known)
    known.updated = cpu.now
    if known.mtu != 0 { known.expires = cpu.now + namespaces[namespace].ipv6.mtuExpires }
    namespaces[namespace].routes6.exceptions.set(known)
  }

  // MARK: Sending

  /// Sends a packet by a path that has been found. Its bytes begin with the transport header, or with extension headers
  /// that lead to it. It is gone afterwards, whatever the answer.
  mutating func ipv6Output(
    _ slot: Slot, _ datagram: IPv6Datagram, by path: IPv6Path, in namespace: NamespaceIndex
  ) -> KernelError? {
    let label = datagram.flowLabel ?? flowLabel(path.source, datagram, in: namespace)
    let isGroup = IPv6.isMulticast(datagram.destination)
    let hopLimit = datagram.hopLimit ?? (isGroup ? 1 : path.hopLimit)
    guard
      pushIPv6(
        slot, from: path.source, to: datagram.destination, nextHeader: datagram.proto, hopLimit: hopLimit,
        trafficClass: datagram.trafficClass, label: label)
    else {
      drop(slot, .noMemory, in: namespace)
      return .noBuffers
    }
    return ipv6OutputHeader(slot, datagram, by: path, in: namespace)
  }

  /// Sends a packet that has an IPv6 header of its own, as it is (rawv6_send_hdrinc).
  mutating func ipv6OutputWhole(
    _ slot: Slot, _ datagram: IPv6Datagram, by path: IPv6Path, in namespace: NamespaceIndex
  ) -> KernelError? {
    pool[slot].networkHeader = pool[slot].dataOffset
    pool[slot].transportHeader = pool[slot].dataOffset &+ UInt16(IPv6Header.length)
    pool[slot].etherType = 0x86dd
    return ipv6OutputHeader(slot, datagram, by: path, in: namespace)
  }

  private mutating func ipv6OutputHeader(
    _ slot: Slot, _ datagram: IPv6Datagram, by path: IPv6Path, in namespace: NamespaceIndex
  ) -> KernelError? {
    let hopLimit = pool.bytes(slot).u8(IPv6Header.hopLimit)
    pool[slot].mark = datagram.mark
    // Errors about it are for this namespace, whichever device it leaves by.
    pool[slot].device = loopback(of: namespace).rawValue
    namespaces[namespace].snmp[.ip6OutRequests] &+= 1
    if IPv6.isMulticast(datagram.destination) {
      namespaces[namespace].snmp[.ip6OutMcastPkts] &+= 1
      if datagram.loopsBack { loopBack6(slot, datagram.destination, by: path.device) }
      guard hopLimit > 0, IPv6.groupScope(datagram.destination) > 1 || devices[path.device].isLoopback else {
        pool.free(slot, .consumed)
        return nil
      }
    }
    guard pool.fits(slot, path.mtu) || !datagram.dontFragment else {
      namespaces[namespace].snmp[.ip6FragFails] &+= 1
      drop(slot, .packetTooBig, in: namespace)
      return .messageTooLong
    }
    var path = path
    if hasHook(.ipv6, .output, in: namespace) {
      switch ipv6LocalOut(slot, datagram, by: path, in: namespace) {
      case .success(let found): path = found
      case .failure(let error): return error
      }
    }
    let isDirect =
      path.nextHop == datagram.destination || path.nextHop == pool.bytes(slot).ipv6Destination
    ipv6Finish(slot, gateway: isDirect ? 0 : path.nextHop, mtu: path.mtu, by: path.device, namespace)
    return nil
  }

  /// Lets rules see what this host sends; when they have changed where it goes to, the way is looked up anew
  /// (ip6_route_me_harder). EPERM for what they drop.
  private mutating func ipv6LocalOut(
    _ slot: Slot, _ datagram: IPv6Datagram, by path: IPv6Path, in namespace: NamespaceIndex
  ) -> Result<IPv6Path, KernelError> {
    let mark = pool[slot].mark
    guard netfilter(slot, .ipv6, .output, in: .none, out: path.device, namespace) else {
      return .failure(.notPermitted)
    }
    let destination = pool.bytes(slot).ipv6Destination
    let hasChanged = destination != datagram.destination || pool[slot].mark != mark
    guard takesAnotherWay(slot, hasChanged: hasChanged, .ipv6, namespace) else { return .success(path) }
    var changed = datagram
    changed.destination = destination
    changed.source = 0
    changed.mark = pool[slot].mark
    do throws(KernelError) {
      return .success(try ipv6Route(changed, in: namespace))
    } catch {
      drop(slot, .ipOutNoRoutes, in: namespace)
      return .failure(error)
    }
  }

  /// What rules see as the device that a packet came in by. Neighbour discovery and the listeners' protocol name theirs
  /// from the first (ndisc_alloc_skb, mld_newpack), and ip6_output takes it for that.
  private func postroutingInput(of slot: Slot, leavingBy device: DeviceIndex) -> DeviceIndex {
    if pool[slot].flags.contains(.forwarded) { return DeviceIndex(pool[slot].device) }
    let bytes = pool.bytes(slot)
    var place = IPv6Header.length
    var next = bytes.u8(6)
    if next == 0, bytes.count > place + 8 {
      next = bytes.u8(place)
      place += 8
    }
    guard next == IPv6NextHeader.icmp, bytes.count > place else { return .none }
    let type = bytes.u8(place)
    return (130...137).contains(type) || type == 143 ? device : .none
  }

  /// Lets rules see a packet a last time, and sends it, in pieces where it must be (ip6_output, ip6_finish_output).
  /// Without a gateway the next hop is whatever the packet says now.
  mutating func ipv6Finish(
    _ slot: Slot, gateway: UInt128, mtu: Int, by device: DeviceIndex, _ namespace: NamespaceIndex
  ) {
    if hasHook(.ipv6, .postrouting, in: namespace) {
      let input = postroutingInput(of: slot, leavingBy: device)
      guard netfilter(slot, .ipv6, .postrouting, in: input, out: device, namespace) else { return }
    }
    let nextHop = gateway != 0 ? gateway : pool.bytes(slot).ipv6Destination
    let pieceSize = Int(pool.ipv4Control(slot).largestPiece)
    if !pool.fits(slot, mtu), pool[slot].gsoType != .none {
      // Segments that are too large themselves (ip6_finish_output_gso_slowpath_drop).
      var pieces = cut(slot, hasLinkHeader: false, in: namespace)
      while !pieces.isEmpty { ipv6Fragment(pieces.pop(pool), nextHop, mtu: mtu, by: device, namespace) }
    } else if !pool.fits(slot, mtu) || pieceSize != 0 && Int(pool[slot].length) > pieceSize {
      // What was put together for the rules leaves in such pieces as it came in.
      ipv6Fragment(slot, nextHop, mtu: pieceSize != 0 ? min(mtu, pieceSize) : mtu, by: device, namespace)
    } else {
      neighborOutput(slot, nextHop, by: device)
    }
  }

  /// What a host that listens to a group says to it, it hears too (ip6_finish_output2).
  private mutating func loopBack6(_ slot: Slot, _ group: UInt128, by device: DeviceIndex) {
    guard !devices[device].isLoopback, listens(to: group, on: device) else { return }
    let copy = pool.clone(slot)
    guard copy != .none else { return }
    pool[copy].device = device.rawValue
    pool[copy].packetType = .multicast
    if !cpu.backlog.push(copy) { drop(copy, .fullRing, in: devices[device].namespace) }
  }

  /// A label that all packets of a flow have, and of which nothing can be read (ip6_make_flowlabel).
  private func flowLabel(
    _ source: UInt128, _ datagram: IPv6Datagram, in namespace: NamespaceIndex
  ) -> UInt32 {
    guard namespaces[namespace].ipv6.labelsFlows else { return 0 }
    var mixed = namespaces[namespace].labelSeed
    for part in [source, datagram.destination, UInt128(datagram.proto)] {
      mixed = (mixed ^ UInt64(truncatingIfNeeded: part)) &* 0x9e37_79b9_7f4a_7c15
      mixed = (mixed ^ mixed >> 32 ^ UInt64(truncatingIfNeeded: part >> 64)) &* 0xbf58_476d_1ce4_e5b9
    }
    return UInt32(truncatingIfNeeded: mixed >> 44)
  }

  /// Sends a packet to a link directly, as neighbour discovery does: nobody is asked for the way.
  mutating func sendOnLink(
    _ slot: Slot, from source: UInt128, to destination: UInt128, nextHeader: UInt8, hopLimit: UInt8,
    trafficClass: UInt8 = 0, by device: DeviceIndex
  ) {
    let namespace = devices[device].namespace
    guard
      pushIPv6(
        slot, from: source, to: destination, nextHeader: nextHeader, hopLimit: hopLimit,
        trafficClass: trafficClass, label: 0)
    else {
      drop(slot, .noMemory, in: namespace)
      return
    }
    pool[slot].device = loopback(of: namespace).rawValue
    namespaces[namespace].snmp[.ip6OutRequests] &+= 1
    if IPv6.isMulticast(destination) { namespaces[namespace].snmp[.ip6OutMcastPkts] &+= 1 }
    guard netfilter(slot, .ipv6, .output, in: .none, out: device, namespace) else { return }
    ipv6Finish(slot, gateway: 0, mtu: .max, by: device, namespace)
  }

  private mutating func pushIPv6(
    _ slot: Slot, from source: UInt128, to destination: UInt128, nextHeader: UInt8, hopLimit: UInt8,
    trafficClass: UInt8, label: UInt32
  ) -> Bool {
    let length = Int(pool[slot].length)
    guard pool.push(slot, IPv6Header.length) else { return false }
    let bytes = pool.bytes(slot)
    bytes.set(0, u32: 6 << 28 | UInt32(trafficClass) << 20 | label & 0xf_ffff)
    bytes.set(IPv6Header.payloadLength, u16: UInt16(truncatingIfNeeded: length))
    bytes.set(IPv6Header.nextHeader, u8: nextHeader)
    bytes.set(IPv6Header.hopLimit, u8: hopLimit)
    bytes.set(IPv6Header.source, u128: source)
    bytes.set(IPv6Header.destination, u128: destination)
    pool[slot].networkHeader = pool[slot].dataOffset
    pool[slot].transportHeader = pool[slot].dataOffset &+ UInt16(IPv6Header.length)
    pool[slot].etherType = 0x86dd
    return true
  }

  /// Gives a packet to its next hop (ip6_finish_output2).
  mutating func neighborOutput(_ slot: Slot, _ nextHop: UInt128, by device: DeviceIndex) {
    let group = IPv6.isMulticast(nextHop) ? IPv6.mac(ofGroup: nextHop) : nil
    guard linkOutput(slot, NeighborKey(device, nextHop), group: group, type: 0x86dd) else { return }
    namespaces[devices[device].namespace].snmp[.ip6OutTransmits] &+= 1
    if joinsOutgoing { transmitLater(slot, by: device) } else { transmit(slot, by: device) }
  }

  /// Sends a packet of this host's in pieces (ip6_fragment, RFC 8200 4.5): what every hop reads comes in each of them.
  mutating func ipv6Fragment(
    _ slot: Slot, _ nextHop: UInt128, mtu: Int, by device: DeviceIndex, _ namespace: NamespaceIndex
  ) {
    guard pool[slot].checksumState != .partial || pool.completeChecksum(slot) else {
      namespaces[namespace].snmp[.ip6FragFails] &+= 1
      drop(slot, .noMemory, in: namespace)
      return
    }
    let whole = pool.bytes(slot)
    let total = Int(pool[slot].length)
    let (header, place) = unfragmentablePart(whole)
    let payload = total - header
    let room = mtu - header - 8
    guard room >= 8 else {
      namespaces[namespace].snmp[.ip6FragFails] &+= 1
      drop(slot, .packetTooBig, in: namespace)
      return
    }
    let next = whole.u8(place)
    var identification: UInt32
    repeat { identification = UInt32(truncatingIfNeeded: cpu.random.next()) } while identification == 0
    var member = pool.members(of: slot, behind: header, atMost: room)
    let keepsPieces = member != .none
    var offset = 0
    while offset < payload {
      let rest = payload - offset
      var length = rest <= room ? rest : room & ~7
      if keepsPieces {
        // The first is what stands before the list.
        length = offset == 0 ? payload - pool.listLength(of: slot) : Int(pool[member].length)
        if offset > 0 { member = pool[member].next }
      }
      let piece = pool.allocate(length: header + 8 + length)
      guard piece != .none else {
        namespaces[namespace].snmp[.ip6FragFails] &+= 1
        drop(slot, .noMemory, in: namespace)
        return
      }
      let bytes = pool.bytes(piece)
      bytes.copy(from: pool.bytes(slot).prefix(header))
      bytes.set(place, u8: IPv6NextHeader.fragment)
      bytes.set(
        IPv6Header.payloadLength, u16: UInt16(truncatingIfNeeded: header + 8 + length - IPv6Header.length))
      let more: UInt16 = offset + length < payload ? 1 : 0
      bytes.set(header, u8: next)
      bytes.set(header + 1, u8: 0)
      bytes.set(header + 2, u16: UInt16(truncatingIfNeeded: offset) | more)
      bytes.set(header + 4, u32: identification)
      pool.copyBytes(of: slot, from: header + offset, count: length, into: piece, at: header + 8)
      pool[piece].networkHeader = pool[piece].dataOffset
      pool[piece].transportHeader = pool[piece].dataOffset &+ UInt16(header)
      pool[piece].flags = pool[slot].flags.subtracting([.charged, .controlled, .tracked])
      pool.watch(piece, asPartOf: slot)
      if let sender = pool.sender(of: slot) { pool.charge(piece, to: sender) }
      pool[piece].device = pool[slot].device
      pool[piece].mark = pool[slot].mark
      namespaces[namespace].snmp[.ip6FragCreates] &+= 1
      neighborOutput(piece, nextHop, by: device)
      offset += length
    }
    namespaces[namespace].snmp[.ip6FragOKs] &+= 1
    pool.free(slot, .consumed)
  }
}
