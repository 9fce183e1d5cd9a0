// SPDX-License-Identifier: GPL-2.0-or-later

// The headers between IPv6's and the transport's (RFC 8200 section 4; net/ipv6/exthdrs.c, exthdrs_core.c), and the way
// of a packet for this host through them (ip6_input.c, ip6_protocol_deliver_rcu).
//
//    0             1        2 …
//    │ next header │ length │ options: type │ length │ data …          in units of 8 bytes, the first not counted
//    │ next header │ length │ type │ segments left │ …                 routing
//    │ next header │ 0      │ offset and more │ identification │       fragment

import NetTypes

/// Where the chain of headers leads.
struct HeaderChain {
  /// Of what stands there, the transport's number or one that is not known here.
  var nextHeader: UInt8
  /// From the IPv6 header's first byte.
  var offset: Int
  /// Offset and more of the last fragment header, if there was one; 0 otherwise.
  var fragment: UInt16 = 0
  /// Whether a later piece of a datagram was met, in which none of what follows is.
  var isLaterPiece: Bool { fragment & 0xfff8 != 0 }
  /// False: the bytes ended before the chain did.
  var isComplete = true
}

/// What is wrong with options.
private enum OptionFault {
  case none
  case drop
  /// Its sender is told where it stands: the offset from the IPv6 header, and the code of the parameter problem.
  case report(offset: Int, code: UInt8)
}

extension Kernel {
  /// Follows the headers of a packet that begins with IPv6's (ipv6_skip_exthdr).
  func skipExtensionHeaders(_ bytes: PacketBytes) -> HeaderChain {
    var chain = HeaderChain(nextHeader: bytes.u8(IPv6Header.nextHeader), offset: IPv6Header.length)
    while true {
      switch chain.nextHeader {
      case IPv6NextHeader.none:
        chain.isComplete = false
        return chain
      case IPv6NextHeader.hopByHop, IPv6NextHeader.destination, IPv6NextHeader.routing,
        IPv6NextHeader.fragment:
        guard bytes.count >= chain.offset + 8 else {
          chain.isComplete = false
          return chain
        }
        let header = bytes.dropFirst(chain.offset)
        if chain.nextHeader == IPv6NextHeader.fragment {
          chain.fragment = header.u16(2)
          chain.nextHeader = header.u8(0)
          chain.offset += 8
          // What follows is in the first fragment only.
          if chain.isLaterPiece { return chain }
        } else {
          chain.nextHeader = header.u8(0)
          chain.offset += (Int(header.u8(1)) + 1) * 8
        }
      default:
        return chain
      }
      guard chain.offset <= bytes.count else {
        chain.isComplete = false
        return chain
      }
    }
  }

  /// How many bytes each fragment of a packet begins with, and where the number of what follows them stands
  /// (ip6_find_1stfragopt).
  func unfragmentablePart(_ bytes: PacketBytes) -> (length: Int, nextHeader: Int) {
    var offset = IPv6Header.length
    var place = IPv6Header.nextHeader
    var found = (length: offset, nextHeader: place)
    while true {
      let next = bytes.u8(place)
      guard
        next == IPv6NextHeader.hopByHop || next == IPv6NextHeader.routing
          || next == IPv6NextHeader.destination,
        bytes.count >= offset + 8
      else { return found }
      let isDestination = next == IPv6NextHeader.destination
      place = offset
      offset += (Int(bytes.u8(offset + 1)) + 1) * 8
      guard offset <= bytes.count else { return found }
      // Options for the destination belong to it only where a routing header follows them.
      if !isDestination { found = (offset, place) }
    }
  }

  // MARK: Options

  /// Reads the options for every hop (ipv6_parse_hopopts). False: the packet is gone.
  mutating func hopByHopReceive(_ slot: Slot, in namespace: NamespaceIndex) -> Bool {
    let settings = namespaces[namespace].ipv6
    guard let length = pullHeader(slot, IPv6Header.length), length <= settings.maximumHopLength else {
      namespaces[namespace].snmp[.ip6InHdrErrors] &+= 1
      drop(slot, .ipInvalidHeader, in: namespace)
      return false
    }
    let fault = parseOptions(
      slot, IPv6Header.length, length, isHopByHop: true, most: settings.maximumHopOptions)
    guard pass(slot, fault, in: namespace) else { return false }
    if pool.bytes(slot).u16(IPv6Header.payloadLength) == 0 {
      // Only a jumbogram may say zero, and no packet here is so long.
      namespaces[namespace].snmp[.ip6InTruncatedPkts] &+= 1
      drop(slot, .packetTooSmall, in: namespace)
      return false
    }
    pool[slot].transportHeader &+= UInt16(length)
    return true
  }

  /// Ends a packet whose options are wrong, and tells its sender where that is asked for. False: it is gone.
  private mutating func pass(_ slot: Slot, _ fault: OptionFault, in namespace: NamespaceIndex) -> Bool {
    switch fault {
    case .none: return true
    case .drop: break
    case .report(let offset, let code):
      icmpv6Error(for: slot, .parameterProblem, code: code, information: UInt32(offset))
    }
    namespaces[namespace].snmp[.ip6InHdrErrors] &+= 1
    drop(slot, .ipInvalidHeader, in: namespace)
    return false
  }

  /// Makes a header of options linear, and tells its length.
  private mutating func pullHeader(_ slot: Slot, _ offset: Int) -> Int? {
    guard pool.mayPull(slot, offset + 8) else { return nil }
    let length = (Int(pool.bytes(slot).u8(offset + 1)) + 1) * 8
    return pool.mayPull(slot, offset + length) ? length : nil
  }

  /// ip6_parse_tlv.
  private mutating func parseOptions(
    _ slot: Slot, _ start: Int, _ length: Int, isHopByHop: Bool, most: Int
  ) -> OptionFault {
    let bytes = pool.bytes(slot)
    let end = start + length
    var offset = start + 2
    var count = 0
    var padding = 0
    while offset < end {
      let type = bytes.u8(offset)
      if type == 0 {
        padding += 1
        guard padding <= 7 else { return .drop }
        offset += 1
        continue
      }
      guard end - offset >= 2 else { return .drop }
      let size = Int(bytes.u8(offset + 1)) + 2
      guard offset + size <= end else { return .drop }
      if type == 1 {
        padding += size
        guard padding <= 7 else { return .drop }
        for place in offset + 2..<offset + size where bytes.u8(place) != 0 { return .drop }
      } else {
        count += 1
        guard count <= abs(most) else { return .drop }
        padding = 0
        switch type {
        case 5 where isHopByHop:
          guard size == 4 else { return .drop }
          pool[slot].flags.insert(.routerAlert)
        case 0xc2 where isHopByHop:
          if let fault = jumbo(bytes, offset, size) { return fault }
        default:
          // RFC 8200 4.2: the two highest bits say what is to be done.
          guard most >= 0 else { return .drop }
          switch type >> 6 {
          case 0: break
          case 1: return .drop
          case 3 where IPv6.isMulticast(bytes.ipv6Destination): return .drop
          default: return .report(offset: offset, code: 2)
          }
        }
      }
      offset += size
    }
    return .none
  }

  /// The length of a jumbogram (RFC 2675; ipv6_hop_jumbo), which no packet here reaches.
  private func jumbo(_ bytes: PacketBytes, _ offset: Int, _ size: Int) -> OptionFault? {
    guard size == 6, offset & 3 == 2 else { return .drop }
    if bytes.u32(offset + 2) <= 65535 { return .report(offset: offset + 2, code: 0) }
    if bytes.u16(IPv6Header.payloadLength) != 0 { return .report(offset: offset, code: 0) }
    return nil
  }

  // MARK: Up

  /// Gives a packet for this host to its protocol, through whatever headers stand before it (ip6_protocol_deliver_rcu).
  mutating func ipv6Deliver(_ slot: Slot, in namespace: NamespaceIndex) {
    guard netfilter(slot, .ipv6, .input, in: DeviceIndex(pool[slot].device), out: .none, namespace) else {
      return
    }
    let isHopByHop = pool.bytes(slot).u8(IPv6Header.nextHeader) == IPv6NextHeader.hopByHop
    ipv6Continue(slot, at: isHopByHop ? IPv6Header.length : IPv6Header.nextHeader, in: namespace)
  }

  /// The same from a header on, whose number stands at a place in the packet.
  mutating func ipv6Continue(_ slot: Slot, at start: Int, in namespace: NamespaceIndex) {
    var place = start
    while true {
      let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
      let proto = pool.bytes(slot).u8(place)
      let isRaw = !namespaces[namespace].sockets.raw.isEmpty && rawDeliver(slot, proto, in: namespace)
      switch proto {
      case IPv6NextHeader.destination:
        guard destinationOptions(slot, offset, in: namespace) else { return }
        place = offset
      case IPv6NextHeader.routing:
        guard routingHeader(slot, offset, in: namespace) else { return }
        place = offset
      case IPv6NextHeader.fragment:
        // Gone, kept, or whole: then it comes up again with the header taken out.
        ipv6FragmentReceive(slot, offset, nextHeaderPlace: place, in: namespace)
        return
      default:
        ipv6DeliverTransport(slot, proto, place, isRaw: isRaw, in: namespace)
        return
      }
    }
  }

  private mutating func ipv6DeliverTransport(
    _ slot: Slot, _ proto: UInt8, _ place: Int, isRaw: Bool, in namespace: NamespaceIndex
  ) {
    switch proto {
    case IPv6NextHeader.icmp:
      namespaces[namespace].snmp[.ip6InDelivers] &+= 1
      icmpv6Receive(slot, in: namespace)
    case IPv6NextHeader.tcp:
      namespaces[namespace].snmp[.ip6InDelivers] &+= 1
      tcpReceive(slot, in: namespace)
    case IPv6NextHeader.udp:
      namespaces[namespace].snmp[.ip6InDelivers] &+= 1
      udpReceive(slot, in: namespace)
    case IPv6NextHeader.none,
      _ where isRaw:
      namespaces[namespace].snmp[.ip6InDelivers] &+= 1
      pool.free(slot, .consumed)
    default:
      namespaces[namespace].snmp[.ip6InUnknownProtos] &+= 1
      icmpv6Error(for: slot, .parameterProblem, code: 1, information: UInt32(place))
      drop(slot, .invalidProtocol, in: namespace)
    }
  }

  /// ipv6_destopt_rcv.
  private mutating func destinationOptions(_ slot: Slot, _ offset: Int, in namespace: NamespaceIndex) -> Bool
  {
    let settings = namespaces[namespace].ipv6
    guard let length = pullHeader(slot, offset), length <= settings.maximumDestinationLength else {
      namespaces[namespace].snmp[.ip6InHdrErrors] &+= 1
      drop(slot, .ipInvalidHeader, in: namespace)
      return false
    }
    let fault = parseOptions(
      slot, offset, length, isHopByHop: false, most: settings.maximumDestinationOptions)
    guard pass(slot, fault, in: namespace) else { return false }
    pool[slot].transportHeader &+= UInt16(length)
    return true
  }

  /// A routing header that has been followed to its end is passed over; none is followed here, type 0 least of all
  /// (RFC 5095; ipv6_rthdr_rcv).
  private mutating func routingHeader(_ slot: Slot, _ offset: Int, in namespace: NamespaceIndex) -> Bool {
    guard let length = pullHeader(slot, offset) else {
      namespaces[namespace].snmp[.ip6InHdrErrors] &+= 1
      drop(slot, .ipInvalidHeader, in: namespace)
      return false
    }
    let bytes = pool.bytes(slot)
    guard !IPv6.isMulticast(bytes.ipv6Destination), pool[slot].packetType == .host else {
      namespaces[namespace].snmp[.ip6InAddrErrors] &+= 1
      drop(slot, .ipInvalidHeader, in: namespace)
      return false
    }
    let header = bytes.dropFirst(offset)
    // Segment routing (4) and RPL (3) are switched off, as in Linux unless asked for.
    guard header.u8(2) != 3, header.u8(2) != 4 else {
      drop(slot, .ipInvalidHeader, in: namespace)
      return false
    }
    guard header.u8(3) == 0 else {
      namespaces[namespace].snmp[.ip6InHdrErrors] &+= 1
      icmpv6Error(for: slot, .parameterProblem, code: 0, information: UInt32(offset + 2))
      drop(slot, .ipInvalidHeader, in: namespace)
      return false
    }
    pool[slot].flags.insert(.sourceRouted)
    pool[slot].transportHeader &+= UInt16(length)
    return true
  }
}
