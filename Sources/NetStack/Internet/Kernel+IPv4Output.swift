// SPDX-License-Identifier: GPL-2.0-or-later

// IPv4 on its way down (net/ipv4/ip_output.c, route.c's output side, devinet.c's inet_select_addr).

import NetTypes

/// What a sender says about a datagram.
struct IPv4Datagram {
  /// 0: chosen by the route.
  var source: UInt32 = 0
  var destination: UInt32
  var proto: UInt8
  /// Nil: `ip_default_ttl`.
  var ttl: UInt8?
  var typeOfService: UInt8 = 0
  var dontFragment = false
}

extension Kernel {
  /// Where a packet that comes in with this destination would go.
  mutating func lookup(_ destination: UInt32, in namespace: NamespaceIndex) -> RouteResult {
    namespaces[namespace].routes.lookup(destination)
  }

  /// The loopback device of a namespace; every namespace has one, the first.
  func loopback(of namespace: NamespaceIndex) -> DeviceIndex { namespaces[namespace].devices.first ?? .none }

  /// Sends a packet whose bytes begin with the transport header. It is gone afterwards, whatever the answer.
  @discardableResult
  mutating func ipv4Send(_ slot: Slot, _ datagram: IPv4Datagram, in namespace: NamespaceIndex) -> KernelError?
  {
    namespaces[namespace].snmp[.ipOutRequests] &+= 1
    let route = lookup(datagram.destination, in: namespace)
    var error: KernelError?
    switch route.type {
    case .unicast, .local: break
    case .broadcast: error = .accessDenied
    case .none: error = .networkUnreachable
    case .unreachable: error = .hostUnreachable
    case .prohibit: error = .accessDenied
    case .blackhole: error = .invalidArgument
    }
    if let error {
      namespaces[namespace].snmp[.ipOutNoRoutes] &+= 1
      drop(slot, .ipOutNoRoutes, in: namespace)
      return error
    }
    let isLocal = route.type == .local
    let device = isLocal ? loopback(of: namespace) : route.device
    let nextHop = route.gateway != 0 ? route.gateway : datagram.destination
    var source = datagram.source
    if source == 0 { source = route.preferredSource }
    if source == 0 { source = isLocal ? datagram.destination : selectSource(nextHop, on: device) }
    guard pool.push(slot, IPv4Header.length) else {
      drop(slot, .noMemory, in: namespace)
      return .noBuffers
    }
    let total = Int(pool[slot].length)
    let bytes = pool.bytes(slot)
    let identification = namespaces[namespace].nextIdentification
    namespaces[namespace].nextIdentification &+= 1
    bytes.set(0, u8: 0x45)
    bytes.set(IPv4Header.typeOfService, u8: datagram.typeOfService)
    bytes.set(IPv4Header.totalLength, u16: UInt16(truncatingIfNeeded: total))
    bytes.set(IPv4Header.identification, u16: identification)
    bytes.set(IPv4Header.fragment, u16: datagram.dontFragment ? IPv4Header.dontFragment : 0)
    bytes.set(IPv4Header.ttl, u8: datagram.ttl ?? namespaces[namespace].ipv4.defaultTTL)
    bytes.set(IPv4Header.proto, u8: datagram.proto)
    bytes.set(IPv4Header.checksum, u16: 0)
    bytes.set(IPv4Header.source, u32: source)
    bytes.set(IPv4Header.destination, u32: datagram.destination)
    bytes.set(IPv4Header.checksum, u16: bytes.ipv4Checksum())
    pool[slot].networkHeader = pool[slot].dataOffset
    pool[slot].transportHeader = pool[slot].dataOffset &+ UInt16(IPv4Header.length)
    pool[slot].etherType = 0x0800
    guard total > devices[device].mtu else {
      neighborOutput(slot, nextHop, by: device)
      return nil
    }
    guard !datagram.dontFragment else {
      namespaces[namespace].snmp[.ipFragFails] &+= 1
      drop(slot, .packetTooBig, in: namespace)
      return .messageTooLong
    }
    ipv4Fragment(slot, nextHop, by: device, namespace)
    return nil
  }

  /// Gives a packet its link header and sends it, or lets it wait for one (neigh_output).
  mutating func neighborOutput(_ slot: Slot, _ nextHop: UInt32, by device: DeviceIndex) {
    let namespace = devices[device].namespace
    pool[slot].etherType = 0x0800
    let mac: UInt64
    if devices[device].isLoopback {
      mac = 0
    } else if IPv4Header.isMulticast(nextHop) {
      // RFC 1112 6.4.
      mac = 0x0100_5e00_0000 | UInt64(nextHop & 0x7f_ffff)
    } else {
      let index = neighbor(nextHop, on: device)
      guard !index.isNone else {
        namespaces[namespace].snmp[.ipOutDiscards] &+= 1
        drop(slot, .neighborCreateFailed, in: namespace)
        return
      }
      guard neighborMaySend(index, slot) else { return }
      mac = neighbors[index].mac
    }
    guard pushEthernet(slot, to: mac, from: devices[device].mac, type: 0x0800) else {
      drop(slot, .deviceHeader, in: namespace)
      return
    }
    transmit(slot, by: device)
  }

  /// Sends a packet in pieces that fit a device's MTU (ip_fragment). Options are copied into all of them, which for
  /// the one kind that gets here (router alert) is what RFC 2113 asks.
  mutating func ipv4Fragment(
    _ slot: Slot, _ nextHop: UInt32, by device: DeviceIndex, _ namespace: NamespaceIndex
  ) {
    let whole = pool.bytes(slot)
    let header = whole.ipv4HeaderLength
    let payload = Int(pool[slot].length) - header
    let room = (devices[device].mtu - header) & ~7
    let fragment = whole.u16(IPv4Header.fragment)
    let first = Int(fragment & IPv4Header.offsetMask)
    guard room >= 8 else {
      namespaces[namespace].snmp[.ipFragFails] &+= 1
      drop(slot, .packetTooBig, in: namespace)
      return
    }
    var offset = 0
    while offset < payload {
      let length = min(room, payload - offset)
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
      bytes.set(IPv4Header.fragment, u16: more | UInt16(truncatingIfNeeded: first + offset / 8))
      bytes.set(IPv4Header.checksum, u16: 0)
      bytes.set(IPv4Header.checksum, u16: bytes.prefix(header).checksum())
      pool[piece].networkHeader = pool[piece].dataOffset
      pool[piece].transportHeader = pool[piece].dataOffset &+ UInt16(header)
      pool[piece].flags = pool[slot].flags
      pool[piece].device = pool[slot].device
      pool[piece].mark = pool[slot].mark
      namespaces[namespace].snmp[.ipFragCreates] &+= 1
      neighborOutput(piece, nextHop, by: device)
      offset += length
    }
    namespaces[namespace].snmp[.ipFragOKs] &+= 1
    pool.free(slot, .consumed)
  }

  /// The address that a device speaks from to a destination (inet_select_addr): the first primary one whose subnet
  /// the destination is on, else the first of all, else one of another device.
  func selectSource(_ destination: UInt32, on device: DeviceIndex) -> UInt32 {
    var first: UInt32 = 0
    for address in devices[device].addresses where !address.isSecondary && address.scope < 254 {
      if address.isOnSubnet(destination) { return address.local.rawValue }
      if first == 0 { first = address.local.rawValue }
    }
    guard first == 0 else { return first }
    for other in namespaces[devices[device].namespace].devices {
      for address in devices[other].addresses where !address.isSecondary && address.scope < 253 {
        return address.local.rawValue
      }
    }
    return 0
  }
}
