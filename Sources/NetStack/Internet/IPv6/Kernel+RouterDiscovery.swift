// SPDX-License-Identifier: GPL-2.0-or-later

// Routers and what they tell (RFC 4861 6 and 8, RFC 4862 5.5; net/ipv6/ndisc.c, addrconf.c addrconf_prefix_rcv,
// route.c rt6_do_redirect): hosts ask for them, take prefixes, default routes and parameters from them, and are told
// of better ways.
//
//    router advertisement   0 type … │ 4 hop limit │ 5 flags │ 6 lifetime │ 8 reachable │ 12 retransmit │ 16 options …
//    prefix                 0 type │ 1 length │ 2 prefix length │ 3 flags │ 4 valid │ 8 preferred │ 16 prefix
//    redirect               0 type … │ 8 target │ 24 destination │ 40 options …

import NetTypes
import Rtnetlink

extension Kernel {
  private static let second: Int64 = 1_000_000_000

  /// Whether a device believes routers (ipv6_accept_ra): a router itself does so only when it is told to.
  func acceptsAdvertisements(_ device: DeviceIndex) -> Bool {
    let setting = devices[device].settings.ipv6[.acceptRA]
    return devices[device].ipv6.forwarding ? setting == 2 : setting != 0
  }

  // MARK: Asking

  /// Asks for routers until one answers, ever more seldom (addrconf_dad_completed, addrconf_rs_timer).
  mutating func beginSolicitation(on device: DeviceIndex) {
    guard let source = linkLocalAddress(of: device) else { return }
    sendRouterSolicitation(from: source, by: device)
    devices[device].inet6.solicitation.sent = 1
    devices[device].inet6.solicitation.isAnswered = false
    let base = Int64(devices[device].settings.ipv6[.solicitationInterval]) * Self.second
    // RFC 8415 15: between nine and eleven tenths.
    let interval = base / 10 * 9 + Int64(cpu.random.below(UInt64(max(base / 5, 1))))
    devices[device].inet6.solicitation.interval = interval
    armSolicitation(device, after: interval)
  }

  private mutating func armSolicitation(_ device: DeviceIndex, after delay: Int64) {
    cpu.wheel.cancel(&devices[device].inet6.solicitation.timer)
    devices[device].inet6.solicitation.timer = cpu.wheel.arm(
      TimerEvent(kind: .routerSolicitation, index: device.rawValue), at: cpu.now + delay)
  }

  mutating func routerSolicitationTimer(_ device: DeviceIndex) {
    guard devices.contains(device) else { return }
    devices[device].inet6.solicitation.timer = .none
    guard devices[device].inet6.isReady, acceptsAdvertisements(device),
      !devices[device].inet6.solicitation.isAnswered, let source = linkLocalAddress(of: device)
    else { return }
    let most = devices[device].settings.ipv6[.solicitations]
    guard most < 0 || devices[device].inet6.solicitation.sent < most else { return }
    devices[device].inet6.solicitation.sent &+= 1
    sendRouterSolicitation(from: source, by: device)
    let old = devices[device].inet6.solicitation.interval
    let largest = Int64(devices[device].settings.ipv6[.solicitationMaximum]) * Self.second
    var interval = old / 10 * 19 + Int64(cpu.random.below(UInt64(max(old / 5, 1))))
    if largest > 0, interval > largest {
      interval = largest / 10 * 9 + Int64(cpu.random.below(UInt64(max(largest / 5, 1))))
    }
    devices[device].inet6.solicitation.interval = interval
    armSolicitation(device, after: interval)
  }

  private mutating func sendRouterSolicitation(from source: UInt128, by device: DeviceIndex) {
    let slot = pool.allocate(length: 16)
    guard slot != .none else { return }
    let bytes = pool.bytes(slot)
    bytes.set(0, u64: UInt64(ICMPv6Type.routerSolicitation.rawValue) << 56)
    bytes.set(8, u16: UInt16(DiscoveryOptions.sourceLink) << 8 | 1)
    bytes.set(10, u48: devices[device].mac)
    sendDiscovery(slot, from: source, to: IPv6.allRouters, by: device)
  }

  /// A host asks for routers (ndisc_recv_rs): a router learns who it is; advertising is a program's work.
  mutating func routerSolicitationReceive(
    _ header: PacketBytes, _ bytes: PacketBytes, on device: DeviceIndex
  ) {
    let source = header.ipv6Source
    guard bytes.count >= 8, devices[device].ipv6.forwarding, source != 0,
      let options = DiscoveryOptions(bytes, from: 8), let mac = options.sourceLink
    else { return }
    let neighbor = neighbor(NeighborKey(device, source))
    guard !neighbor.isNone else { return }
    updateNeighbor(neighbor, mac: mac, .stale, [.weakOverride, .override, .routerKnown])
  }

  // MARK: Being told

  /// ndisc_router_discovery.
  mutating func routerAdvertisementReceive(
    _ header: PacketBytes, _ bytes: PacketBytes, on device: DeviceIndex
  ) {
    let source = header.ipv6Source
    guard bytes.count >= 16, IPv6.isLinkLocal(source), let options = DiscoveryOptions(bytes, from: 16),
      acceptsAdvertisements(device)
    else { return }
    let namespace = devices[device].namespace
    let fromLocal = devices[device].settings.ipv6[.acceptRAFromLocal] != 0
    let isOwn = hasAddress(source, scope: device, in: namespace)
    devices[device].inet6.solicitation.isAnswered = true
    if !isOwn || fromLocal { takeDefaultRoute(bytes, from: source, on: device) }
    takeParameters(bytes, on: device)
    let neighbor = neighbor(NeighborKey(device, source))
    if !neighbor.isNone, let mac = options.sourceLink {
      updateNeighbor(neighbor, mac: mac, .stale, [.weakOverride, .override, .routerKnown, .router])
    }
    if devices[device].settings.ipv6[.acceptRAPrefix] != 0 {
      for place in options.prefixes { takePrefix(bytes.dropFirst(place), on: device) }
    }
    if let mtu = options.mtu, devices[device].settings.ipv6[.acceptRAMTU] != 0,
      mtu >= UInt32(IPv6Header.minimumMTU), Int(mtu) <= devices[device].mtu
    {
      devices[device].inet6.mtu = Int(mtu)
      applySettings(to: device)
    }
  }

  private mutating func takeDefaultRoute(_ bytes: PacketBytes, from router: UInt128, on device: DeviceIndex) {
    guard devices[device].settings.ipv6[.acceptRADefaultRouter] != 0 else { return }
    let namespace = devices[device].namespace
    let lifetime = Int64(bytes.u16(6))
    guard lifetime == 0 || lifetime >= Int64(devices[device].settings.ipv6[.acceptRAMinimumLifetime]) else {
      return
    }
    func isThis(_ route: Route<UInt128>) -> Bool {
      route.origin == .routerAdvertisement && route.length == 0 && route.device == device
        && route.gateway == router
    }
    namespaces[namespace].routes6.removeAll(where: isThis)
    guard lifetime > 0 else {
      armRouteExpiry(in: namespace)
      return
    }
    var route = Route<UInt128>(
      destination: 0, length: 0, table: Route<UInt128>.mainTable,
      priority: UInt32(devices[device].settings.ipv6[.defaultRouteMetric]), type: .unicast,
      origin: .routerAdvertisement)
    // RFC 4191 2.2: 1 is high, 3 low, 2 means nothing.
    switch bytes.u8(5) >> 3 & 3 {
    case 1: route.preference = .high
    case 3: route.preference = .low
    default: break
    }
    route.expires = cpu.now + lifetime * Self.second
    let hopLimit = bytes.u8(4)
    if hopLimit != 0 { route.metrics.hopLimit = UInt32(hopLimit) }
    var hop = RouteHop<UInt128>(device: device, gateway: router)
    refreshState(&hop)
    route.hops = [hop]
    namespaces[namespace].routes6.insert(route)
    armRouteExpiry(in: namespace)
  }

  private mutating func takeParameters(_ bytes: PacketBytes, on device: DeviceIndex) {
    let hopLimit = Int32(bytes.u8(4))
    if hopLimit != 0, hopLimit >= devices[device].settings.ipv6[.acceptRAMinimumHopLimit] {
      devices[device].settings.ipv6[.hopLimit] = hopLimit
    }
    let retransmit = bytes.u32(12)
    if retransmit >= 1, retransmit <= UInt32(Int32.max) {
      devices[device].settings.neighbor6[.retransmitTime] = max(Int32(retransmit), 10)
    }
    let reachable = bytes.u32(8)
    if reachable != 0, reachable <= UInt32(Int32.max / 3) {
      devices[device].settings.neighbor6[.baseReachableTime] = max(Int32(reachable), 10)
    }
    applySettings(to: device)
  }

  /// addrconf_prefix_rcv.
  private mutating func takePrefix(_ option: PacketBytes, on device: DeviceIndex) {
    let prefix = option.u128(16)
    let length = option.u8(2)
    let valid = option.u32(4)
    let preferred = option.u32(8)
    guard length <= 128, !IPv6.isMulticast(prefix), !IPv6.isLinkLocal(prefix), preferred <= valid else {
      return
    }
    let isOnLink = option.u8(3) & 0x80 != 0
    let isAutonomous = option.u8(3) & 0x40 != 0
    if isOnLink { takeOnLinkPrefix(prefix, length, valid, on: device) }
    guard isAutonomous, devices[device].settings.ipv6[.autoconf] != 0, length == 64 else { return }
    let identifier: UInt128
    if devices[device].settings.ipv6[.addressGeneration] == 3 {
      // What its link-local address has, it goes on with.
      guard let local = linkLocalAddress(of: device) else { return }
      identifier = local & ~UInt128.mask(64)
    } else {
      identifier = IPv6.eui64(devices[device].mac)
    }
    takeAutonomousAddress(prefix & UInt128.mask(64) | identifier, valid, preferred, on: device)
  }

  private mutating func takeOnLinkPrefix(
    _ prefix: UInt128, _ length: UInt8, _ valid: UInt32, on device: DeviceIndex
  ) {
    let namespace = devices[device].namespace
    let destination = prefix & UInt128.mask(length)
    let expires =
      valid == AddressLifetime.forever ? nil : cpu.now + Int64(valid) * Self.second
    let standing = namespaces[namespace].routes6.matching(
      Route<UInt128>.mainTable, destination, length
    ).first { $0.device == device && $0.gateway == 0 && $0.origin == .kernel }
    if let standing {
      // A route that an address of this host's has made for good stays.
      guard standing.expires != nil || valid == 0 else { return }
      namespaces[namespace].routes6.remove(standing)
    }
    defer { armRouteExpiry(in: namespace) }
    guard valid > 0 else { return }
    var route = Route<UInt128>(
      destination: destination, length: length, table: Route<UInt128>.mainTable, priority: 256,
      type: .unicast, origin: .kernel)
    route.expires = expires
    var hop = RouteHop<UInt128>(device: device)
    refreshState(&hop)
    route.hops = [hop]
    namespaces[namespace].routes6.insert(route)
  }

  /// addrconf_prefix_rcv_add_addr: an advertisement cannot shorten what is left below two hours (RFC 4862 5.5.3 e).
  private mutating func takeAutonomousAddress(
    _ address: UInt128, _ valid: UInt32, _ preferred: UInt32, on device: DeviceIndex
  ) {
    let known = address6(address, on: device)
    guard known.isNone else {
      guard !addresses6[known].isPermanent else { return }
      let left: UInt32
      if addresses6[known].valid == AddressLifetime.forever {
        left = AddressLifetime.forever
      } else {
        let age = UInt32(clamping: (cpu.now - addresses6[known].updated) / Self.second)
        left = addresses6[known].valid > age ? addresses6[known].valid - age : 0
      }
      let twoHours: UInt32 = 7200
      addresses6[known].valid =
        valid > twoHours || valid > left ? valid : left <= twoHours ? left : twoHours
      addresses6[known].preferred = min(preferred, addresses6[known].valid)
      addresses6[known].updated = cpu.now
      if preferred > 0 { addresses6[known].flags.remove(.deprecated) }
      armLifetime(of: known)
      return
    }
    let most = devices[device].settings.ipv6[.maximumAddresses]
    guard valid > 0, most == 0 || devices[device].inet6.addresses.count < Int(most) else { return }
    var fresh = InterfaceAddress6(
      device: device, address: address, prefixLength: 64, scope: InterfaceAddress6.scope(address),
      flags: [.tentative, .manageTemporary], created: cpu.now, updated: cpu.now)
    fresh.flags.remove(.manageTemporary)
    fresh.protocolNumber = 2
    fresh.valid = valid
    fresh.preferred = preferred
    if preferred == 0 { fresh.flags.insert(.deprecated) }
    let index = insertAddress6(fresh)
    if !index.isNone { beginDetection(index) }
  }

  /// A neighbour has ceased to be a router: so have the routes that it told of (rt6_clean_tohost).
  mutating func forgetRouter(_ router: UInt128, on device: DeviceIndex) {
    let namespace = devices[device].namespace
    namespaces[namespace].routes6.removeAll { route in
      route.origin == .routerAdvertisement && route.device == device && route.gateway == router
    }
  }

  // MARK: Better ways

  /// Tells a neighbour whose packet leaves by the link that it came in by, whom to send it to (ndisc_send_redirect).
  mutating func redirect(
    _ slot: Slot, to target: UInt128, on device: DeviceIndex, _ namespace: NamespaceIndex
  ) {
    let packet = pool.bytes(slot, from: pool[slot].networkHeader)
    let source = packet.ipv6Source
    let destination = packet.ipv6Destination
    // About a destination as often as to a sender (ip6_forward).
    guard mayRedirect(destination, namespace), let speaker = linkLocalAddress(of: device), source != 0,
      !IPv6.isMulticast(source), IPv6.isLinkLocal(target) || target == destination
    else { return }
    var datagram = IPv6Datagram(
      source: speaker, destination: source, proto: IPv6NextHeader.icmp, hopLimit: 255, flowLabel: 0)
    datagram.device = device
    // Only to those on the link.
    guard let path = try? ipv6Route(datagram, in: namespace), path.device == device, path.nextHop == source,
      mayRedirect(source, namespace)
    else { return }
    let neighbor = namespaces[namespace].neighbors.find(device, target)
    let mac =
      !neighbor.isNone && !neighbors[neighbor].state.isDisjoint(with: .valid) ? neighbors[neighbor].mac : nil
    let linkLength = mac == nil ? 0 : 8
    let whole = pool.length(slot, fromHeader: pool[slot].networkHeader)
    let quoted = min(IPv6Header.minimumMTU - IPv6Header.length - 40 - linkLength - 8, whole) & ~7
    let message = pool.allocate(length: 40 + linkLength + 8 + quoted)
    guard message != .none else { return }
    let bytes = pool.bytes(message)
    bytes.set(0, u64: UInt64(ICMPv6Type.redirect.rawValue) << 56)
    bytes.set(8, u128: target)
    bytes.set(24, u128: destination)
    if let mac {
      bytes.set(40, u16: UInt16(DiscoveryOptions.targetLink) << 8 | 1)
      bytes.set(42, u48: mac)
    }
    let place = 40 + linkLength
    bytes.set(place, u64: UInt64(DiscoveryOptions.redirected) << 56 | UInt64((8 + quoted) / 8) << 48)
    pool.copyBytes(of: slot, fromHeader: pool[slot].networkHeader, into: bytes.dropFirst(place + 8))
    sendICMPv6(message, datagram, in: namespace)
  }

  /// One a second, and six of those that were saved up (inet_peer_xrlim_allow).
  private mutating func mayRedirect(_ address: UInt128, _ namespace: NamespaceIndex) -> Bool {
    namespaces[namespace].errorLimits6.allow(address, now: cpu.now, interval: Self.second)
  }

  /// Whether a packet that a redirect quotes is one of this host's, as far as can be told; that it quotes none is no
  /// fault (icmpv6_notify).
  private mutating func hasSent(_ quote: PacketBytes?, on device: DeviceIndex) -> Bool {
    guard let quote else { return true }
    guard quote.count >= IPv6Header.length else { return false }
    let chain = skipExtensionHeaders(quote)
    guard chain.isComplete, quote.count >= chain.offset + 8 else { return false }
    switch chain.nextHeader {
    case IPv6NextHeader.icmp: return true
    case IPv6NextHeader.udp:
      let flow = SocketFlow(
        source: quote.destinationAddress, sourcePort: quote.u16(chain.offset + UDPHeader.destination),
        destination: quote.sourceAddress, destinationPort: quote.u16(chain.offset + UDPHeader.source),
        ifindex: devices[device].ifindex)
      return !udpSocket(for: flow, in: devices[device].namespace).isNone
    case IPv6NextHeader.tcp:
      let key = FlowKey(
        local: SocketAddress(quote.sourceAddress, quote.u16(chain.offset + TCPHeader.source)),
        remote: SocketAddress(quote.destinationAddress, quote.u16(chain.offset + TCPHeader.destination)))
      return if case .socket = namespaces[devices[device].namespace].sockets.flows.find(key) {
        true
      } else {
        false
      }
    default: return false
    }
  }

  /// ndisc_redirect_rcv, rt6_do_redirect: only the router that is used now may send one elsewhere.
  mutating func redirectReceive(_ header: PacketBytes, _ bytes: PacketBytes, on device: DeviceIndex) {
    let source = header.ipv6Source
    let namespace = devices[device].namespace
    guard bytes.count >= 40, IPv6.isLinkLocal(source), !devices[device].ipv6.forwarding,
      devices[device].settings.ipv6[.acceptRedirects] != 0, let options = DiscoveryOptions(bytes, from: 40),
      hasSent(options.redirected.map { bytes.dropFirst($0 + 8) }, on: device)
    else { return }
    let target = bytes.u128(8)
    let destination = bytes.u128(24)
    guard !IPv6.isMulticast(destination), target == destination || IPv6.isLinkLocal(target) else { return }
    var datagram = IPv6Datagram(destination: destination, proto: IPv6NextHeader.icmp)
    datagram.device = device
    guard let path = try? ipv6Route(datagram, in: namespace), path.device == device, path.nextHop == source
    else { return }
    let neighbor = neighbor(NeighborKey(device, target))
    guard !neighbor.isNone else { return }
    var news: NeighborNews = [.weakOverride, .override]
    // Who is not the destination itself is a router.
    if target != destination { news.insert([.routerKnown, .router]) }
    if let mac = options.targetLink { updateNeighbor(neighbor, mac: mac, .stale, news) }
    learn(destination, by: device, in: namespace) { $0.gateway = target }
  }
}
