// SPDX-License-Identifier: GPL-2.0-or-later

// ICMPv6 (RFC 4443; net/ipv6/icmp.c).
//
//    0      1      2          4                        8
//    │ type │ code │ checksum │ identifier │ sequence  │ data …        echo
//    │ type │ code │ checksum │ information            │ the packet, as far as 1,280 bytes hold it …     errors

import NetTypes

extension Kernel {
  /// Writes the checksum of a message whose bytes begin with it.
  mutating func sealICMPv6(_ slot: Slot, from source: UInt128, to destination: UInt128) {
    let length = Int(pool[slot].length)
    pool.bytes(slot).set(2, u16: 0)
    let pseudo = ipv6PseudoSum(source, destination, length: length, proto: IPv6NextHeader.icmp)
    let sum = pool.sum(slot, from: 0, count: length, pseudo)
    pool.bytes(slot).set(2, u16: UInt16(bigEndian: ~foldChecksum(sum)))
  }

  mutating func countICMPv6Sent(_ type: UInt8, in namespace: NamespaceIndex) {
    namespaces[namespace].snmp[.icmp6OutMsgs] &+= 1
    if let type = ICMPv6Type(rawValue: type) { namespaces[namespace].snmp[type.outputCounter] &+= 1 }
  }

  // MARK: In

  /// Takes an ICMPv6 message for this host (icmpv6_rcv).
  mutating func icmpv6Receive(_ slot: Slot, in namespace: NamespaceIndex) {
    namespaces[namespace].snmp[.icmp6InMsgs] &+= 1
    let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
    let length = Int(pool[slot].length) - offset
    let header = pool.bytes(slot)
    if pool[slot].checksumState == .none {
      let pseudo = header.ipv6PseudoSum(length: length, proto: IPv6NextHeader.icmp)
      guard foldChecksum(pool.sum(slot, from: offset, count: length, pseudo)) == .max else {
        namespaces[namespace].snmp[.icmp6InCsumErrors] &+= 1
        namespaces[namespace].snmp[.icmp6InErrors] &+= 1
        drop(slot, .icmpChecksum, in: namespace)
        return
      }
    }
    guard length >= 8, pool.mayPull(slot, offset + 8) else {
      namespaces[namespace].snmp[.icmp6InErrors] &+= 1
      drop(slot, .headerTruncated, in: namespace)
      return
    }
    let type = ICMPv6Type(rawValue: pool.bytes(slot, from: pool[slot].transportHeader).u8(0))
    if let type { namespaces[namespace].snmp[type.inputCounter] &+= 1 }
    let device = DeviceIndex(pool[slot].device)
    switch type {
    case .echo: echoReply6(slot, in: namespace)
    case .echoReply: pingReceive(slot, in: namespace)
    case .packetTooBig, .destinationUnreachable, .timeExceeded, .parameterProblem:
      icmpv6ReceiveError(slot, in: namespace)
    case .routerSolicitation, .routerAdvertisement, .neighborSolicitation, .neighborAdvertisement, .redirect:
      discoveryReceive(slot, on: device)
    case .listenerQuery:
      if pool.mayPull(slot, offset + min(length, 28)) { listenerQuery(slot, on: device) }
      pool.free(slot, .consumed)
    case .listenerReport:
      if pool.mayPull(slot, offset + min(length, 24)) { listenerReport(slot, on: device) }
      pool.free(slot, .consumed)
    case .listenerDone, .listenerReport2, nil:
      pool.free(slot, .consumed)
    }
  }

  /// Turns an echo request around (icmpv6_echo_reply).
  private mutating func echoReply6(_ slot: Slot, in namespace: NamespaceIndex) {
    let settings = namespaces[namespace].ipv6
    let header = pool.bytes(slot)
    let device = DeviceIndex(pool[slot].device)
    let destination = header.ipv6Destination
    let isGroup = IPv6.isMulticast(destination)
    let isShared = isAnycast(destination, in: namespace)
    guard !settings.echoIgnoreAll, !(isGroup && settings.echoIgnoreMulticast),
      !(isShared && settings.echoIgnoreAnycast)
    else {
      drop(slot, .echoIgnored, in: namespace)
      return
    }
    guard pool.makeWritable(slot) else {
      drop(slot, .noMemory, in: namespace)
      return
    }
    let source = pool.bytes(slot).ipv6Source
    var datagram = IPv6Datagram(
      source: isGroup || isShared ? 0 : destination, destination: source, proto: IPv6NextHeader.icmp,
      trafficClass: pool.bytes(slot).trafficClass)
    if IPv6.isLinkLocal(source) || IPv6.isMulticast(source) { datagram.device = device }
    pool.pull(slot, Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset))
    let bytes = pool.bytes(slot)
    bytes.set(0, u8: ICMPv6Type.echoReply.rawValue)
    bytes.set(1, u8: 0)
    pool[slot].flags = []
    // An answer is a packet of its own to whoever watches.
    pool[slot].isWatched = false
    sendICMPv6(slot, datagram, in: namespace)
  }

  /// Sends a message, with its checksum, by whatever way leads there.
  @discardableResult
  mutating func sendICMPv6(
    _ slot: Slot, _ datagram: IPv6Datagram, in namespace: NamespaceIndex
  ) -> KernelError? {
    let path: IPv6Path
    do throws(KernelError) {
      path = try ipv6Route(datagram, in: namespace)
    } catch {
      drop(slot, .ipOutNoRoutes, in: namespace)
      return error
    }
    sealICMPv6(slot, from: path.source, to: datagram.destination)
    countICMPv6Sent(pool.bytes(slot).u8(0), in: namespace)
    return ipv6Output(slot, datagram, by: path, in: namespace)
  }

  /// An error about a packet of this host's (icmpv6_notify): what it says of the path is learned, and whose packet it
  /// quotes is told.
  private mutating func icmpv6ReceiveError(_ slot: Slot, in namespace: NamespaceIndex) {
    guard let report = icmpv6Report(slot) else {
      namespaces[namespace].snmp[.icmp6InErrors] &+= 1
      drop(slot, .headerTruncated, in: namespace)
      return
    }
    if !namespaces[namespace].sockets.raw.isEmpty {
      let quote = pool.bytes(slot, from: pool[slot].transportHeader).dropFirst(8)
      rawError(report, quote: quote, in: namespace)
    }
    icmpv6Notify(report, in: namespace)
    pool.free(slot, .consumed)
  }

  /// Whose packet an error is about is told (icmpv6_notify); what it says of the path is believed by who has sent it.
  private mutating func icmpv6Notify(_ report: ICMPErrorReport, in namespace: NamespaceIndex) {
    switch report.proto {
    case IPv6NextHeader.icmp:
      learnPath(from: report, in: namespace)
      pingError(report, in: namespace)
    case IPv6NextHeader.tcp: tcpError(report, in: namespace)
    case IPv6NextHeader.udp: udpError(report, in: namespace)
    default: break
    }
  }

  /// What an error says; nil when the packet that it quotes cannot be read.
  private mutating func icmpv6Report(_ slot: Slot) -> ICMPErrorReport? {
    let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
    // A quote is at most 1,280 bytes long, so that all headers in it can be made linear.
    guard pool.mayPull(slot, min(Int(pool[slot].length), offset + 8 + IPv6Header.minimumMTU)) else {
      return nil
    }
    let header = pool.bytes(slot)
    let bytes = pool.bytes(slot, from: pool[slot].transportHeader)
    let quote = bytes.dropFirst(8)
    guard quote.count >= IPv6Header.length, quote.u8(0) >> 4 == 6 else { return nil }
    let inner = skipExtensionHeaders(quote)
    guard inner.isComplete, quote.count >= inner.offset + 8 else { return nil }
    let (type, code) = (bytes.u8(0), bytes.u8(1))
    let meaning = Self.meaning6(type, code)
    return ICMPErrorReport(
      type: type, code: code, information: bytes.u32(4), errno: meaning.errno, isHard: meaning.isHard,
      origin: .icmp6, offender: .v6(IPv6Address(header.ipv6Source)),
      source: .v6(IPv6Address(quote.ipv6Source)), destination: .v6(IPv6Address(quote.ipv6Destination)),
      proto: inner.nextHeader, transport: quote.dropFirst(inner.offset),
      ifindex: devices[DeviceIndex(pool[slot].device)].ifindex)
  }

  /// icmpv6_err_convert.
  private static func meaning6(_ type: UInt8, _ code: UInt8) -> (errno: Int32, isHard: Bool) {
    switch ICMPv6Type(rawValue: type) {
    case .destinationUnreachable:
      switch code {
      case 0: (101, false)
      case 1: (13, true)
      case 2: (113, false)
      case 3: (113, false)
      case 4: (111, true)
      case 5, 6: (13, true)
      default: (71, false)
      }
    case .packetTooBig: (90, false)
    case .parameterProblem: (71, true)
    case .timeExceeded: (113, false)
    default: (71, false)
    }
  }

  // MARK: Errors

  /// Tells the sender of a packet, whose IPv6 header is where its metadata says, why it did not arrive (icmp6_send).
  /// The packet itself is left to the caller. `device`: where the sender is, if not where the packet came in.
  mutating func icmpv6Error(
    for slot: Slot, _ type: ICMPv6Type, code: UInt8, information: UInt32, on other: DeviceIndex? = nil
  ) {
    let device = other ?? DeviceIndex(pool[slot].device)
    guard devices.contains(device) else { return }
    let namespace = devices[device].namespace
    let packet = pool.bytes(slot, from: pool[slot].networkHeader)
    guard packet.count >= IPv6Header.length else { return }
    let source = packet.ipv6Source
    let destination = packet.ipv6Destination
    var speaker: UInt128 = hasAddress(destination, scope: device, in: namespace) ? destination : 0
    if IPv6.isMulticast(destination) || pool[slot].packetType != .host {
      // RFC 4443 2.4 e.3: only the path's MTU, and options that ask for it.
      let asks =
        type == .parameterProblem && code == 2 && Int(information) < packet.count
        && packet.u8(Int(information)) >> 6 == 2
      guard type == .packetTooBig || asks else { return }
      speaker = 0
    }
    guard source != 0, !IPv6.isMulticast(source) else { return }
    // Never about an error.
    let inner = skipExtensionHeaders(packet)
    if inner.isComplete, inner.nextHeader == IPv6NextHeader.icmp, !inner.isLaterPiece {
      // A first piece may be too short to say what it is (RFC 8200 4.5).
      let isKnown = packet.count > inner.offset
      guard isKnown ? !ICMPv6Type.isError(packet.u8(inner.offset)) : inner.fragment != 0 else { return }
    }
    var datagram = IPv6Datagram(source: speaker, destination: source, proto: IPv6NextHeader.icmp)
    if IPv6.isLinkLocal(source) { datagram.device = device }
    guard mayTell6(type, datagram, from: device, in: namespace) else { return }
    let whole = pool.length(slot, fromHeader: pool[slot].networkHeader)
    let quoted = min(whole, IPv6Header.minimumMTU - IPv6Header.length - 8)
    let error = pool.allocate(length: 8 + quoted)
    guard error != .none else {
      namespaces[namespace].snmp[.icmp6OutErrors] &+= 1
      return
    }
    let bytes = pool.bytes(error)
    bytes.set(0, u64: UInt64(type.rawValue) << 56 | UInt64(code) << 48 | UInt64(information))
    pool.copyBytes(of: slot, fromHeader: pool[slot].networkHeader, into: bytes.dropFirst(8))
    attachConntrack(of: slot, to: error)
    sendICMPv6(error, datagram, in: namespace)
  }

  /// The limits of RFC 4443 2.4 f (icmpv6_global_allow, icmpv6_xrlim_allow).
  private mutating func mayTell6(
    _ type: ICMPv6Type, _ datagram: IPv6Datagram, from device: DeviceIndex, in namespace: NamespaceIndex
  ) -> Bool {
    let settings = namespaces[namespace].ipv6
    guard type != .packetTooBig, settings.icmpRateMask >> UInt128(type.rawValue) & 1 == 1 else { return true }
    guard !devices[device].isLoopback else { return true }
    let common = namespaces[namespace].ipv4
    guard
      namespaces[namespace].errorLimits.allowGlobally(
        now: cpu.now, perSecond: common.icmpMessagesPerSecond, burst: common.icmpMessagesBurst)
    else {
      namespaces[namespace].snmp[.icmpOutRateLimitGlobal] &+= 1
      return false
    }
    guard let path = try? ipv6Route(datagram, in: namespace) else {
      namespaces[namespace].snmp[.ip6OutNoRoutes] &+= 1
      return false
    }
    guard !devices[path.device].isLoopback, settings.icmpRateLimit > 0 else { return true }
    guard
      namespaces[namespace].errorLimits6.allow(
        datagram.destination, now: cpu.now, interval: settings.icmpRateLimit)
    else {
      namespaces[namespace].snmp[.icmp6OutRateLimitHost] &+= 1
      return false
    }
    return true
  }
}

/// The sum of addresses, a length and a protocol, as RFC 8200 8.1 wants it added to the payload's.
func ipv6PseudoSum(_ source: UInt128, _ destination: UInt128, length: Int, proto: UInt8) -> UInt64 {
  var sum: UInt64 = 0
  for address in [source.bigEndian, destination.bigEndian] {
    let (low, high) = (UInt64(truncatingIfNeeded: address), UInt64(truncatingIfNeeded: address >> 64))
    sum &+= (low & 0xffff_ffff) &+ (low >> 32) &+ (high & 0xffff_ffff) &+ (high >> 32)
  }
  return sum &+ UInt64(foldChecksum(UInt64(length) &+ UInt64(proto)).bigEndian)
}
