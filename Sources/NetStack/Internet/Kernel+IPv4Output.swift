// SPDX-License-Identifier: GPL-2.0-or-later

// IPv4 on its way down (net/ipv4/ip_output.c).

import NetTypes

/// What a sender says about a datagram.
struct IPv4Datagram {
  /// 0: chosen by the route.
  var source: UInt32 = 0
  /// It may be nobody's here (FLOWI_FLAG_ANYSRC).
  var isFromAnywhere = false
  var destination: UInt32
  var proto: UInt8
  /// Nil: `ip_default_ttl`.
  var ttl: UInt8?
  var typeOfService: UInt8 = 0
  var pathMTUDiscovery = PathMTUDiscovery.dont
  /// The device that it is to leave by, whatever the routes say.
  var isBound = false
  var bound = DeviceIndex.none
  var mark: UInt32 = 0
  /// What a queueing discipline sorts by.
  var priority: UInt32 = 0
  /// For rules and several next hops.
  var sourcePort: UInt16 = 0
  var destinationPort: UInt16 = 0
  /// Whether this host hears what it sends to a group that it has joined.
  var loopsBack = true
  /// The options that stand before the payload already, and whom the last router of a source route sends it to.
  var control = IPv4Control()
  var finalDestination: UInt32 = 0
}

extension Kernel {
  /// Sends a packet whose bytes begin with the transport header. It is gone afterwards, whatever the answer.
  @discardableResult
  mutating func ipv4Send(_ slot: Slot, _ datagram: IPv4Datagram, in namespace: NamespaceIndex) -> KernelError?
  {
    let path: IPv4Path
    do throws(KernelError) {
      path = try ipv4Route(datagram, in: namespace)
    } catch {
      drop(slot, .ipOutNoRoutes, in: namespace)
      return error
    }
    return ipv4Output(slot, datagram, by: path, in: namespace)
  }

  /// The same by a path that has been found.
  mutating func ipv4Output(
    _ slot: Slot, _ datagram: IPv4Datagram, by path: IPv4Path, in namespace: NamespaceIndex
  ) -> KernelError? {
    guard pool.push(slot, IPv4Header.length) else {
      drop(slot, .noMemory, in: namespace)
      return .noBuffers
    }
    let total = Int(pool[slot].length)
    let bytes = pool.bytes(slot)
    let identification = namespaces[namespace].nextIdentification
    // Each segment of a packet that will be cut has one of its own.
    namespaces[namespace].nextIdentification &+= UInt16(truncatingIfNeeded: pool.segmentCount(slot))
    var fragment: UInt16 = 0
    switch datagram.pathMTUDiscovery {
    case .do, .probe: fragment = IPv4Header.dontFragment
    case .want: if pool.fits(slot, path.mtu), !path.isMTULocked { fragment = IPv4Header.dontFragment }
    case .dont, .interface, .omit: break
    }
    bytes.set(0, u8: 0x45 &+ datagram.control.length / 4)
    bytes.set(IPv4Header.typeOfService, u8: datagram.typeOfService)
    bytes.set(IPv4Header.totalLength, u16: UInt16(truncatingIfNeeded: total))
    bytes.set(IPv4Header.identification, u16: identification)
    bytes.set(IPv4Header.fragment, u16: fragment)
    bytes.set(
      IPv4Header.ttl,
      u8: datagram.ttl ?? (path.hopLimit != 0 ? path.hopLimit : namespaces[namespace].ipv4.defaultTTL))
    bytes.set(IPv4Header.proto, u8: datagram.proto)
    bytes.set(IPv4Header.source, u32: path.source)
    bytes.set(IPv4Header.destination, u32: path.destination)
    if datagram.control.length != 0 {
      buildOptions(bytes, datagram, from: path.source)
      pool.setIPv4Control(datagram.control, of: slot)
    }
    return ipv4OutputHeader(slot, datagram, by: path, in: namespace)
  }

  /// Sends a packet that has an IP header of its own, of which only what is zero is filled in (raw_send_hdrinc).
  mutating func ipv4OutputWhole(
    _ slot: Slot, _ datagram: IPv4Datagram, by path: IPv4Path, in namespace: NamespaceIndex
  ) -> KernelError? {
    let bytes = pool.bytes(slot)
    if bytes.u32(IPv4Header.source) == 0 { bytes.set(IPv4Header.source, u32: path.source) }
    if bytes.u16(IPv4Header.identification) == 0 {
      bytes.set(IPv4Header.identification, u16: namespaces[namespace].nextIdentification)
      namespaces[namespace].nextIdentification &+= 1
    }
    bytes.set(IPv4Header.totalLength, u16: UInt16(truncatingIfNeeded: Int(pool[slot].length)))
    return ipv4OutputHeader(slot, datagram, by: path, in: namespace)
  }

  /// Sums the header and sends the packet (ip_local_out, ip_mc_output).
  private mutating func ipv4OutputHeader(
    _ slot: Slot, _ datagram: IPv4Datagram, by path: IPv4Path, in namespace: NamespaceIndex
  ) -> KernelError? {
    let bytes = pool.bytes(slot)
    let header = bytes.ipv4HeaderLength
    bytes.set(IPv4Header.checksum, u16: 0)
    bytes.set(IPv4Header.checksum, u16: bytes.prefix(header).checksum())
    pool[slot].networkHeader = pool[slot].dataOffset
    pool[slot].transportHeader = pool[slot].dataOffset &+ UInt16(header)
    pool[slot].etherType = 0x0800
    pool[slot].mark = datagram.mark
    pool[slot].priority = datagram.priority
    // Errors about it are for this namespace, whichever device it leaves by.
    pool[slot].device = loopback(of: namespace).rawValue
    namespaces[namespace].snmp[.ipOutRequests] &+= 1
    guard pool.fits(slot, path.mtu) || bytes.u16(IPv4Header.fragment) & IPv4Header.dontFragment == 0
    else {
      namespaces[namespace].snmp[.ipFragFails] &+= 1
      drop(slot, .packetTooBig, in: namespace)
      return .messageTooLong
    }
    var path = path
    if hasHook(.ipv4, .output, in: namespace) {
      switch ipv4LocalOut(slot, datagram, by: path, in: namespace) {
      case .success(let found): path = found
      case .failure(let error): return error
      }
    }
    if path.type == .broadcast || IPv4Header.isMulticast(datagram.destination) {
      loopBack(slot, datagram, by: path)
      if bytes.u8(IPv4Header.ttl) == 0 {
        pool.free(slot, .consumed)
        return nil
      }
    }
    let isDirect =
      path.nextHop == datagram.destination || path.nextHop == bytes.u32(IPv4Header.destination)
    ipv4Finish(slot, gateway: isDirect ? 0 : path.nextHop, by: path.device, mtu: path.mtu, namespace)
    return nil
  }

  /// Lets rules see what this host sends; when they have changed where it goes to, the way is looked up anew
  /// (ip_route_me_harder). EPERM for what they drop.
  private mutating func ipv4LocalOut(
    _ slot: Slot, _ datagram: IPv4Datagram, by path: IPv4Path, in namespace: NamespaceIndex
  ) -> Result<IPv4Path, KernelError> {
    let mark = pool[slot].mark
    guard netfilter(slot, .ipv4, .output, in: .none, out: path.device, namespace) else {
      return .failure(.notPermitted)
    }
    let bytes = pool.bytes(slot)
    let destination = bytes.u32(IPv4Header.destination)
    let hasChanged = destination != datagram.destination || pool[slot].mark != mark
    guard takesAnotherWay(slot, hasChanged: hasChanged, .ipv4, namespace) else { return .success(path) }
    var changed = datagram
    changed.destination = destination
    changed.source = 0
    changed.mark = pool[slot].mark
    do throws(KernelError) {
      return .success(try ipv4Route(changed, in: namespace))
    } catch {
      drop(slot, .ipOutNoRoutes, in: namespace)
      return .failure(error)
    }
  }

  /// Lets rules see a packet a last time, and sends it, in pieces where it must be (ip_output, ip_finish_output).
  /// Without a gateway the next hop is whatever the packet says now (rt_nexthop).
  mutating func ipv4Finish(
    _ slot: Slot, gateway: UInt32, by device: DeviceIndex, mtu: Int, _ namespace: NamespaceIndex
  ) {
    // What is passed on is known by where it came in, what this host says by nothing.
    let input = pool[slot].flags.contains(.forwarded) ? DeviceIndex(pool[slot].device) : .none
    guard netfilter(slot, .ipv4, .postrouting, in: input, out: device, namespace) else { return }
    let nextHop = gateway != 0 ? gateway : pool.bytes(slot).u32(IPv4Header.destination)
    if !pool.fits(slot, mtu), pool[slot].gsoType != .none {
      // Segments that are too large themselves (ip_finish_output_gso).
      var pieces = cut(slot, hasLinkHeader: false, in: namespace)
      while !pieces.isEmpty { ipv4FinishWhole(pieces.pop(pool), nextHop, by: device, mtu: mtu, namespace) }
    } else {
      ipv4FinishWhole(slot, nextHop, by: device, mtu: mtu, namespace)
    }
  }

  /// Sends a packet to its next hop, in pieces where it must be.
  private mutating func ipv4FinishWhole(
    _ slot: Slot, _ nextHop: UInt32, by device: DeviceIndex, mtu: Int, _ namespace: NamespaceIndex
  ) {
    if !pool.fits(slot, mtu) || pool.ipv4Control(slot).flags.contains(.keepsPieces) {
      ipv4Fragment(slot, nextHop, by: device, mtu: mtu, namespace)
    } else {
      neighborOutput(slot, nextHop, by: device)
    }
  }

  /// What is for all, or for a group that this host has joined, this host hears too (ip_mc_finish_output).
  private mutating func loopBack(_ slot: Slot, _ datagram: IPv4Datagram, by path: IPv4Path) {
    guard !devices[path.device].isLoopback else { return }
    if path.type != .broadcast {
      guard datagram.loopsBack, hasJoined(datagram.destination, on: path.device) else { return }
    }
    let copy = pool.clone(slot)
    guard copy != .none,
      netfilter(copy, .ipv4, .postrouting, in: .none, out: path.device, devices[path.device].namespace)
    else { return }
    pool[copy].device = path.device.rawValue
    pool[copy].packetType = path.type == .broadcast ? .broadcast : .multicast
    if !cpu.backlog.push(copy) { drop(copy, .fullRing, in: devices[path.device].namespace) }
  }

  /// Gives a packet to its next hop (ip_finish_output2).
  mutating func neighborOutput(_ slot: Slot, _ nextHop: UInt32, by device: DeviceIndex) {
    // RFC 1112 6.4.
    let group =
      IPv4Header.isMulticast(nextHop) ? 0x0100_5e00_0000 | UInt64(nextHop & 0x7f_ffff) : nil
    guard linkOutput(slot, NeighborKey(device, nextHop), group: group, type: 0x0800) else { return }
    if joinsOutgoing { transmitLater(slot, by: device) } else { transmit(slot, by: device) }
  }

  /// Gives a packet of either family its link header, or lets it wait for one (neigh_output). False: it is gone, or waits.
  @inline(__always)
  mutating func linkOutput(_ slot: Slot, _ key: NeighborKey, group: UInt64?, type: UInt16) -> Bool {
    let device = key.device
    let namespace = devices[device].namespace
    pool[slot].etherType = type
    let mac: UInt64
    if devices[device].isLoopback {
      mac = 0
    } else if let group {
      mac = group
    } else {
      let index = neighbor(key)
      guard !index.isNone else {
        namespaces[namespace].snmp[key.isIPv6 ? .ip6OutDiscards : .ipOutDiscards] &+= 1
        drop(slot, .neighborCreateFailed, in: namespace)
        return false
      }
      guard neighborMaySend(index, slot) else { return false }
      mac = neighbors[index].mac
    }
    guard pushEthernet(slot, to: mac, from: devices[device].mac, type: type) else {
      drop(slot, .deviceHeader, in: namespace)
      return false
    }
    return true
  }

  /// Sends a packet in pieces that fit a device's MTU (ip_fragment, ip_do_fragment). What has come in pieces and was put
  /// together for rules leaves in the same pieces if it can, and in none that is larger than the largest of them.
  mutating func ipv4Fragment(
    _ slot: Slot, _ nextHop: UInt32, by device: DeviceIndex, mtu: Int, _ namespace: NamespaceIndex
  ) {
    let control = pool.ipv4Control(slot)
    let largest = Int(control.largestPiece)
    guard pool.bytes(slot).u16(IPv4Header.fragment) & IPv4Header.dontFragment == 0 || 1...mtu ~= largest
    else {
      namespaces[namespace].snmp[.ipFragFails] &+= 1
      icmpError(for: slot, .destinationUnreachable, code: 4, information: UInt32(clamping: mtu))
      drop(slot, .packetTooBig, in: namespace)
      return
    }
    guard pool[slot].checksumState != .partial || pool.completeChecksum(slot),
      !hasOptions(slot) || pool.makeWritable(slot)
    else {
      namespaces[namespace].snmp[.ipFragFails] &+= 1
      drop(slot, .noMemory, in: namespace)
      return
    }
    let whole = pool.bytes(slot)
    let header = whole.ipv4HeaderLength
    let payload = Int(pool[slot].length) - header
    let room = (largest > 0 ? min(mtu, largest) : mtu) - header
    let fragment = whole.u16(IPv4Header.fragment)
    let first = Int(fragment & IPv4Header.offsetMask)
    guard room >= 8 else {
      namespaces[namespace].snmp[.ipFragFails] &+= 1
      drop(slot, .packetTooBig, in: namespace)
      return
    }
    var member =
      fragment & (IPv4Header.offsetMask | IPv4Header.moreFragments) == 0
      ? pool.members(of: slot, behind: header, atMost: room) : .none
    let keepsPieces = member != .none
    // Pieces that are as they came say no more that they must not be cut.
    let flag = control.flags.contains(.keepsPieces) && !keepsPieces ? IPv4Header.dontFragment : 0
    var offset = 0
    while offset < payload {
      let rest = payload - offset
      var length = rest <= room ? rest : room & ~7
      if keepsPieces {
        // The first is what stands before the list.
        length = offset == 0 ? payload - pool.listLength(of: slot) : Int(pool[member].length)
        if offset > 0 { member = pool[member].next }
      }
      let piece = pool.allocate(length: header + length)
      guard piece != .none else {
        namespaces[namespace].snmp[.ipFragFails] &+= 1
        drop(slot, .noMemory, in: namespace)
        return
      }
      let bytes = pool.bytes(piece)
      bytes.copy(from: whole.prefix(header))
      pool.copyBytes(of: slot, from: header + offset, count: length, into: piece, at: header)
      let isLast = offset + length == payload
      let more = isLast ? fragment & IPv4Header.moreFragments : IPv4Header.moreFragments
      bytes.set(IPv4Header.totalLength, u16: UInt16(truncatingIfNeeded: header + length))
      bytes.set(IPv4Header.fragment, u16: flag | more | UInt16(truncatingIfNeeded: first + offset / 8))
      bytes.set(IPv4Header.checksum, u16: 0)
      bytes.set(IPv4Header.checksum, u16: bytes.prefix(header).checksum())
      pool[piece].networkHeader = pool[piece].dataOffset
      pool[piece].transportHeader = pool[piece].dataOffset &+ UInt16(header)
      pool[piece].flags = pool[slot].flags.subtracting([.charged, .controlled, .tracked])
      pool.watch(piece, asPartOf: slot)
      if let sender = pool.sender(of: slot) { pool.charge(piece, to: sender) }
      pool[piece].device = pool[slot].device
      pool[piece].mark = pool[slot].mark
      namespaces[namespace].snmp[.ipFragCreates] &+= 1
      neighborOutput(piece, nextHop, by: device)
      // Of what came in whole the other pieces have only the options that all have to have.
      if offset == 0, first == 0, pool[slot].flags.contains(.controlled) { removeUncopiedOptions(whole) }
      offset += length
    }
    namespaces[namespace].snmp[.ipFragOKs] &+= 1
    pool.free(slot, .consumed)
  }
}
