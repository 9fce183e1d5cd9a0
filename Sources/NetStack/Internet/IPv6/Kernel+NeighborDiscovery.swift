// SPDX-License-Identifier: GPL-2.0-or-later

// Neighbour discovery: who has an address (RFC 4861 7; net/ipv6/ndisc.c).
//
//    0 type │ 1 code │ 2 checksum │ 4 flags: router, solicited, override │ 8 target │ 24 options …
//    option  type │ length in units of 8 bytes │ …

import NetTypes
import Rtnetlink

/// What a discovery message's options say. The first of each kind counts.
struct DiscoveryOptions {
  static let sourceLink: UInt8 = 1
  static let targetLink: UInt8 = 2
  static let prefix: UInt8 = 3
  static let redirected: UInt8 = 4
  static let mtu: UInt8 = 5
  static let nonce: UInt8 = 14

  var sourceLink: UInt64?
  var targetLink: UInt64?
  var nonce: UInt64?
  var mtu: UInt32?
  /// Where the prefixes stand, from the message's first byte.
  var prefixes: [Int] = []
  /// Where and how long the redirected packet stands.
  var redirected: Int?

  /// Nil: an option has no length, or none of its own (ndisc_parse_options).
  init?(_ bytes: PacketBytes, from start: Int) {
    var offset = start
    while offset < bytes.count {
      guard offset + 2 <= bytes.count else { return nil }
      let length = Int(bytes.u8(offset + 1)) * 8
      guard length > 0, offset + length <= bytes.count else { return nil }
      switch bytes.u8(offset) {
      case Self.sourceLink: if sourceLink == nil { sourceLink = bytes.u48(offset + 2) }
      case Self.targetLink: if targetLink == nil { targetLink = bytes.u48(offset + 2) }
      case Self.nonce where length == 8: if nonce == nil { nonce = bytes.u48(offset + 2) }
      case Self.mtu where length == 8: if mtu == nil { mtu = bytes.u32(offset + 4) }
      case Self.prefix where length == 32: prefixes.append(offset)
      case Self.redirected: if redirected == nil { redirected = offset }
      default: break
      }
      offset += length
    }
  }
}

private enum Advertisement {
  static let router: UInt32 = 0x8000_0000
  static let solicited: UInt32 = 0x4000_0000
  static let override: UInt32 = 0x2000_0000
}

extension Kernel {
  // MARK: In

  /// Takes a message of neighbour discovery (ndisc_rcv): only what no router has passed on counts.
  mutating func discoveryReceive(_ slot: Slot, on device: DeviceIndex) {
    let namespace = devices[device].namespace
    let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
    guard pool.mayPull(slot, Int(pool[slot].length)) else {
      drop(slot, .noMemory, in: namespace)
      return
    }
    let header = pool.bytes(slot)
    let bytes = header.dropFirst(offset)
    let suppresses = devices[device].settings.ipv6[.suppressFragmentedND] != 0
    guard header.u8(IPv6Header.hopLimit) == 255, bytes.u8(1) == 0,
      !(suppresses && pool[slot].flags.contains(.reassembled))
    else {
      drop(slot, .discoveryInvalid, in: namespace)
      return
    }
    switch ICMPv6Type(rawValue: bytes.u8(0)) {
    case .neighborSolicitation:
      if !solicitationReceive(slot, header, bytes, on: device) { return }
    case .neighborAdvertisement: advertisementReceive(header, bytes, on: device)
    case .routerSolicitation: routerSolicitationReceive(header, bytes, on: device)
    case .routerAdvertisement: routerAdvertisementReceive(header, bytes, on: device)
    case .redirect: redirectReceive(header, bytes, on: device)
    default: break
    }
    pool.free(slot, .consumed)
  }

  /// ndisc_recv_ns. False: the question waits for its answer, and the packet with it.
  private mutating func solicitationReceive(
    _ slot: Slot, _ header: PacketBytes, _ bytes: PacketBytes, on device: DeviceIndex
  ) -> Bool {
    guard bytes.count >= 24 else { return true }
    let namespace = devices[device].namespace
    let source = header.ipv6Source
    let destination = header.ipv6Destination
    let target = bytes.u128(8)
    guard !IPv6.isMulticast(target), let options = DiscoveryOptions(bytes, from: 24) else { return true }
    let isDetection = source == 0
    let isGroup = IPv6.isMulticast(destination)
    // RFC 4861 7.1.1.
    if isDetection {
      guard destination >> 24 == IPv6.solicitedNode(0) >> 24, options.sourceLink == nil else { return true }
    }
    var isRouter = devices[device].ipv6.forwarding
    let own = address6(target, on: device)
    if !own.isNone {
      if addresses6[own].isTentative {
        guard isDetection, !addresses6[own].flags.contains(.dadFailed) else { return true }
        // Another asks for the same, unless it is our own question come back.
        if let nonce = options.nonce, nonce == addresses6[own].nonce { return true }
        failDetection(own)
        return true
      }
    } else {
      let proxies = namespaces[namespace].ipv6.proxyNDP || devices[device].settings.ipv6[.proxyNDP] != 0
      let entry = proxies && isRouter ? proxy(NeighborKey(device, target), in: namespace) : .none
      guard isAnycast(target, on: device) || !entry.isNone else { return true }
      if !entry.isNone { isRouter = self.proxies[entry].isRouter }
      if !pool[slot].flags.contains(.delayed), pool[slot].packetType != .host, isGroup,
        devices[device].neighborParameters6.proxyDelay != 0
      {
        pool[slot].flags.insert(.delayed)
        delayAnswer(slot, for: .ipv6, on: device)
        return false
      }
    }
    if isDetection {
      sendAdvertisement(
        of: target, to: IPv6.allNodes, by: device, isRouter: isRouter, isSolicited: false,
        overrides: !own.isNone, tellsLink: true)
      return true
    }
    // Who asks is there.
    var neighbor = namespaces[namespace].neighbors.find(device, source)
    if neighbor.isNone, !isGroup || options.sourceLink != nil {
      neighbor = makeNeighbor(NeighborKey(device, source))
    }
    guard !neighbor.isNone else { return true }
    if let mac = options.sourceLink {
      updateNeighbor(neighbor, mac: mac, .stale, [.weakOverride, .override])
    }
    sendAdvertisement(
      of: target, to: source, by: device, isRouter: isRouter, isSolicited: true,
      overrides: !own.isNone && isGroup, tellsLink: isGroup)
    return true
  }

  /// An answer for another has waited long enough.
  mutating func neighborAnswerNow(_ slot: Slot, on device: DeviceIndex) {
    discoveryReceive(slot, on: device)
  }

  /// ndisc_recv_na.
  private mutating func advertisementReceive(
    _ header: PacketBytes, _ bytes: PacketBytes, on device: DeviceIndex
  ) {
    guard bytes.count >= 24 else { return }
    let namespace = devices[device].namespace
    let source = header.ipv6Source
    let target = bytes.u128(8)
    let flags = bytes.u32(4)
    let isSolicited = flags & Advertisement.solicited != 0
    guard !IPv6.isMulticast(target), !(IPv6.isMulticast(header.ipv6Destination) && isSolicited) else {
      return
    }
    if !isSolicited, devices[device].settings.ipv6[.dropUnsolicitedNA] != 0 { return }
    guard let options = DiscoveryOptions(bytes, from: 24) else { return }
    let own = address6(target, on: device)
    if !own.isNone {
      if addresses6[own].isTentative { failDetection(own) }
      return
    }
    var neighbor = namespaces[namespace].neighbors.find(device, target)
    var fresh: NeighborStates = isSolicited ? .reachable : .stale
    // RFC 9131: a router may begin to know who says on its own that it is there.
    let untracked = devices[device].settings.ipv6[.acceptUntrackedNA]
    if neighbor.isNone, !isSolicited, flags & Advertisement.override == 0 || untracked != 0,
      devices[device].ipv6.forwarding, options.targetLink != nil, untracked != 0
    {
      let isNear = devices[device].inet6.addresses.contains { addresses6[$0].isOnSubnet(source) }
      if untracked == 1 || isNear {
        neighbor = makeNeighbor(NeighborKey(device, target))
        fresh = .stale
      }
    }
    guard !neighbor.isNone else { return }
    let wasRouter = neighbors[neighbor].flags.contains(.router)
    guard neighbors[neighbor].state != .failed else { return }
    // What a proxy's entry says is not to be overridden by the proxied's own.
    if let mac = options.targetLink, mac == devices[device].mac, devices[device].ipv6.forwarding,
      namespaces[namespace].ipv6.proxyNDP, !proxy(NeighborKey(device, target), in: namespace).isNone
    {
      return
    }
    var news: NeighborNews = [.weakOverride, .routerKnown]
    if flags & Advertisement.override != 0 { news.insert(.override) }
    if flags & Advertisement.router != 0 { news.insert(.router) }
    // Without a link address only one that is known already can be confirmed.
    guard options.targetLink != nil || !neighbors[neighbor].state.isDisjoint(with: .valid) else { return }
    updateNeighbor(neighbor, mac: options.targetLink, fresh, news)
    if wasRouter, !neighbors[neighbor].flags.contains(.router) {
      // A router that is one no longer (rt6_clean_tohost).
      forgetRouter(target, on: device)
    }
  }

  // MARK: Out

  /// Asks for a neighbour: the group that it listens to while it is unknown, itself while it may still be there
  /// (ndisc_solicit).
  mutating func neighborSolicit(_ index: NeighborIndex, waiting: Slot) {
    let device = neighbors[index].device
    let target = neighbors[index].key.ipv6
    var source: UInt128 = 0
    if waiting != .none {
      let wanted = pool.bytes(waiting, from: pool[waiting].networkHeader).ipv6Source
      if !address6(wanted, on: device).isNone { source = wanted }
    }
    let parameters = devices[device].neighborParameters6
    if neighbors[index].probes < parameters.unicastProbes {
      sendSolicitation(for: target, to: target, from: source, by: device)
    } else if neighbors[index].probes >= parameters.unicastProbes + parameters.applicationProbes {
      sendSolicitation(for: target, to: IPv6.solicitedNode(target), from: source, by: device)
    }
  }

  /// ndisc_send_ns. A source of 0 is chosen, unless a nonce says that this is about an address that is not ours yet.
  mutating func sendSolicitation(
    for target: UInt128, to destination: UInt128, from wanted: UInt128, by device: DeviceIndex,
    nonce: UInt64? = nil
  ) {
    var source = wanted
    if source == 0, nonce == nil {
      guard let local = linkLocalAddress(of: device) else { return }
      source = local
    }
    let hasNonce = (nonce ?? 0) != 0
    let slot = pool.allocate(length: 24 + (source == 0 ? 0 : 8) + (hasNonce ? 8 : 0))
    guard slot != .none else { return }
    let bytes = pool.bytes(slot)
    bytes.set(0, u64: UInt64(ICMPv6Type.neighborSolicitation.rawValue) << 56)
    bytes.set(8, u128: target)
    if source != 0 {
      bytes.set(24, u16: UInt16(DiscoveryOptions.sourceLink) << 8 | 1)
      bytes.set(26, u48: devices[device].mac)
    }
    if hasNonce, let nonce {
      let place = source == 0 ? 24 : 32
      bytes.set(place, u16: UInt16(DiscoveryOptions.nonce) << 8 | 1)
      bytes.set(place + 2, u48: nonce)
    }
    sendDiscovery(slot, from: source, to: destination, by: device)
  }

  /// ndisc_send_na.
  mutating func sendAdvertisement(
    of target: UInt128, to destination: UInt128, by device: DeviceIndex, isRouter: Bool, isSolicited: Bool,
    overrides: Bool, tellsLink: Bool
  ) {
    let own = address6(target, on: device)
    let source =
      own.isNone || addresses6[own].isTentative
      ? selectSource6(for: destination, on: device) : target
    guard source != 0 else { return }
    // RFC 4861 7.2.4: who asks one host alone knows its link address.
    let tells = tellsLink || !own.isNone && devices[device].settings.ipv6[.forceTargetLink] != 0
    let slot = pool.allocate(length: 24 + (tells ? 8 : 0))
    guard slot != .none else { return }
    let bytes = pool.bytes(slot)
    var flags: UInt32 = isRouter ? Advertisement.router : 0
    if isSolicited { flags |= Advertisement.solicited }
    if overrides { flags |= Advertisement.override }
    bytes.set(0, u64: UInt64(ICMPv6Type.neighborAdvertisement.rawValue) << 56 | UInt64(flags))
    bytes.set(8, u128: target)
    if tells {
      bytes.set(24, u16: UInt16(DiscoveryOptions.targetLink) << 8 | 1)
      bytes.set(26, u48: devices[device].mac)
    }
    sendDiscovery(slot, from: source, to: destination, by: device)
  }

  /// Tells everybody an address unasked.
  mutating func announce(_ address: UInt128, on device: DeviceIndex) {
    sendAdvertisement(
      of: address, to: IPv6.allNodes, by: device, isRouter: devices[device].ipv6.forwarding,
      isSolicited: false, overrides: true, tellsLink: true)
  }

  /// A device has another hardware address (ndisc_send_unsol_na).
  mutating func announceAddresses6(of device: DeviceIndex) {
    for index in devices[device].inet6.addresses where addresses6[index].isUsable {
      announce(addresses6[index].address, on: device)
    }
  }

  mutating func sendDiscovery(
    _ slot: Slot, from source: UInt128, to destination: UInt128, by device: DeviceIndex
  ) {
    sealICMPv6(slot, from: source, to: destination)
    countICMPv6Sent(pool.bytes(slot).u8(0), in: devices[device].namespace)
    let trafficClass = UInt8(clamping: devices[device].settings.ipv6[.discoveryClass])
    sendOnLink(
      slot, from: source, to: destination, nextHeader: IPv6NextHeader.icmp, hopLimit: 255,
      trafficClass: trafficClass, by: device)
  }

  /// Whether a packet for an address that is answered for goes on (ip6_forward_proxy_check): neighbour discovery is for
  /// this host, and nobody else's link-local address is reached. False: the packet has been taken.
  mutating func forwardsForProxy(
    _ slot: Slot, _ destination: UInt128, _ namespace: NamespaceIndex
  ) -> Bool {
    let header = pool.bytes(slot, from: pool[slot].networkHeader)
    let chain = skipExtensionHeaders(header)
    if chain.nextHeader == IPv6NextHeader.icmp, chain.offset < header.count {
      switch ICMPv6Type(rawValue: header.u8(chain.offset)) {
      case .routerSolicitation, .routerAdvertisement, .neighborSolicitation, .neighborAdvertisement,
        .redirect:
        ipv6Deliver(slot, in: namespace)
        return false
      default: break
      }
    }
    guard IPv6.isLinkLocal(destination) else { return true }
    icmpv6Error(for: slot, .destinationUnreachable, code: 0, information: 0)
    namespaces[namespace].snmp[.ip6InDiscards] &+= 1
    drop(slot, .ipInvalidDestination, in: namespace)
    return false
  }
}
