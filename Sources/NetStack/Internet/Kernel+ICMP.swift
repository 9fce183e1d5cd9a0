// SPDX-License-Identifier: GPL-2.0-or-later

// ICMP (RFC 792, 1122 3.2.2, 1812 4.3; net/ipv4/icmp.c).
//
//    0      1      2          4                        8
//    │ type │ code │ checksum │ identifier │ sequence  │ data …        echo
//    │ type │ code │ checksum │ information            │ IP header and what fits of its payload …     errors

import Rtnetlink

/// The types that are sent or understood here.
enum ICMPType: UInt8 {
  case echoReply = 0
  case destinationUnreachable = 3
  case sourceQuench = 4
  case redirect = 5
  case echo = 8
  case timeExceeded = 11
  case parameterProblem = 12
  case timestamp = 13
  case timestampReply = 14

  static func isError(_ type: UInt8) -> Bool {
    switch ICMPType(rawValue: type) {
    case .destinationUnreachable, .sourceQuench, .redirect, .timeExceeded, .parameterProblem: true
    // Types that nobody knows are taken for errors, as the kernel does.
    case nil: type > 18
    default: false
    }
  }
}

extension Kernel {
  /// Takes an ICMP message for this host (icmp_rcv).
  mutating func icmpReceive(_ slot: Slot, in namespace: NamespaceIndex) {
    namespaces[namespace].snmp[.icmpInMsgs] &+= 1
    let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
    guard pool.checksum(slot, from: offset) == 0 else {
      namespaces[namespace].snmp[.icmpInCsumErrors] &+= 1
      namespaces[namespace].snmp[.icmpInErrors] &+= 1
      drop(slot, .icmpChecksum, in: namespace)
      return
    }
    guard pool.mayPull(slot, offset + 8) else {
      namespaces[namespace].snmp[.icmpInErrors] &+= 1
      drop(slot, .headerTruncated, in: namespace)
      return
    }
    let header = pool.bytes(slot)
    let bytes = pool.bytes(slot, from: pool[slot].transportHeader)
    let destination = header.u32(IPv4Header.destination)
    let isGroup = IPv4Header.isMulticast(destination) || lookup(destination, in: namespace).type != .local
    switch ICMPType(rawValue: bytes.u8(0)) {
    case .echo:
      namespaces[namespace].snmp[.icmpInEchos] &+= 1
      let ignored =
        namespaces[namespace].ipv4.echoIgnoreAll || isGroup && namespaces[namespace].ipv4.echoIgnoreBroadcasts
      guard !ignored else {
        drop(slot, .echoIgnored, in: namespace)
        return
      }
      echoReply(slot, from: isGroup ? 0 : destination, in: namespace)
    case .echoReply:
      namespaces[namespace].snmp[.icmpInEchoReps] &+= 1
      pingReceive(slot, in: namespace)
    case .destinationUnreachable:
      namespaces[namespace].snmp[.icmpInDestUnreachs] &+= 1
      icmpReceiveError(slot, in: namespace)
    case .timeExceeded:
      namespaces[namespace].snmp[.icmpInTimeExcds] &+= 1
      icmpReceiveError(slot, in: namespace)
    case .parameterProblem:
      namespaces[namespace].snmp[.icmpInParmProbs] &+= 1
      icmpReceiveError(slot, in: namespace)
    case .sourceQuench:
      // RFC 6633.
      namespaces[namespace].snmp[.icmpInSrcQuenchs] &+= 1
      icmpReceiveError(slot, in: namespace)
    case .redirect:
      namespaces[namespace].snmp[.icmpInRedirects] &+= 1
      icmpReceiveError(slot, in: namespace)
    case .timestamp:
      namespaces[namespace].snmp[.icmpInTimestamps] &+= 1
      guard !isGroup || !namespaces[namespace].ipv4.echoIgnoreBroadcasts else {
        drop(slot, .echoIgnored, in: namespace)
        return
      }
      timestampReply(slot, from: isGroup ? 0 : destination, in: namespace)
    case .timestampReply:
      namespaces[namespace].snmp[.icmpInTimestampReps] &+= 1
      pool.free(slot, .consumed)
    case nil: icmpReceiveOther(slot, bytes.u8(0), in: namespace)
    }
  }

  /// Types that nobody answers any more (RFC 6918), and those that nobody knows (RFC 1122 3.2.2).
  private mutating func icmpReceiveOther(_ slot: Slot, _ type: UInt8, in namespace: NamespaceIndex) {
    switch type {
    case 17: namespaces[namespace].snmp[.icmpInAddrMasks] &+= 1
    case 18: namespaces[namespace].snmp[.icmpInAddrMaskReps] &+= 1
    case 19...: namespaces[namespace].snmp[.icmpInErrors] &+= 1
    default: break
    }
    drop(slot, .unhandledProtocol, in: namespace)
  }

  /// Tells the time of day, in milliseconds of universal time (icmp_timestamp).
  private mutating func timestampReply(_ slot: Slot, from source: UInt32, in namespace: NamespaceIndex) {
    let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
    guard pool.mayPull(slot, offset + 12) else {
      namespaces[namespace].snmp[.icmpInErrors] &+= 1
      drop(slot, .headerTruncated, in: namespace)
      return
    }
    let answer = pool.allocate(20)
    guard answer != .none, pool.put(answer, 20) else {
      drop(slot, .noMemory, in: namespace)
      return
    }
    let request = pool.bytes(slot, from: pool[slot].transportHeader)
    let bytes = pool.bytes(answer)
    bytes.set(0, u8: ICMPType.timestampReply.rawValue)
    bytes.set(1, u8: 0)
    bytes.set(2, u16: 0)
    bytes.set(4, u32: request.u32(4))
    bytes.set(8, u32: request.u32(8))
    bytes.set(12, u32: timeOfDay)
    bytes.set(16, u32: timeOfDay)
    bytes.set(2, u16: bytes.checksum())
    let header = pool.bytes(slot)
    var datagram = IPv4Datagram(
      source: source, destination: header.u32(IPv4Header.source), proto: 1,
      typeOfService: header.u8(IPv4Header.typeOfService))
    let isAnswerable = echoOptions(of: slot, into: answer, instead: 0, &datagram, in: namespace)
    pool.free(slot, .consumed)
    guard isAnswerable else {
      pool.free(answer, .ipInvalidHeader)
      return
    }
    namespaces[namespace].snmp[.icmpOutMsgs] &+= 1
    namespaces[namespace].snmp[.icmpOutTimestampReps] &+= 1
    ipv4Send(answer, datagram, in: namespace)
  }

  private mutating func icmpReceiveError(_ slot: Slot, in namespace: NamespaceIndex) {
    guard icmpDeliverError(slot, in: namespace) else {
      namespaces[namespace].snmp[.icmpInErrors] &+= 1
      drop(slot, .headerTruncated, in: namespace)
      return
    }
    pool.free(slot, .consumed)
  }

  /// Turns an echo request around.
  private mutating func echoReply(_ slot: Slot, from source: UInt32, in namespace: NamespaceIndex) {
    guard pool.makeWritable(slot) else {
      drop(slot, .noMemory, in: namespace)
      return
    }
    let header = pool.bytes(slot)
    var datagram = IPv4Datagram(
      source: source, destination: header.u32(IPv4Header.source), proto: 1,
      typeOfService: header.u8(IPv4Header.typeOfService))
    let bytes = header.dropFirst(header.ipv4HeaderLength)
    bytes.set(0, u8: ICMPType.echoReply.rawValue)
    // RFC 1624: the word that held type 8 and the code has become smaller by 0x0800.
    let sum = UInt32(bytes.u16(2)) &+ 0x0800
    bytes.set(2, u16: UInt16(truncatingIfNeeded: sum & 0xffff &+ sum &>> 16))
    guard echoOptions(of: slot, into: slot, instead: header.ipv4HeaderLength, &datagram, in: namespace) else {
      drop(slot, .ipInvalidHeader, in: namespace)
      return
    }
    pool[slot].flags = []
    // An answer is a packet of its own to whoever watches.
    pool[slot].isWatched = false
    namespaces[namespace].snmp[.icmpOutMsgs] &+= 1
    namespaces[namespace].snmp[.icmpOutEchoReps] &+= 1
    ipv4Send(slot, datagram, in: namespace)
  }

  /// Tells the sender of a packet, whose IP header is where its metadata says, why it did not arrive (icmp_send). The
  /// packet itself is left to the caller.
  /// - Parameter isDelivered: whether the packet's route led to this host, whatever rules have made of its destination
  ///   since; nil: as the destination says.
  mutating func icmpError(
    for slot: Slot, _ type: ICMPType, code: UInt8, information: UInt32, isDelivered: Bool? = nil
  ) {
    // What came in carries its device; what this host made itself does not, and is told to itself.
    let device = DeviceIndex(pool[slot].device)
    guard devices.contains(device) else { return }
    let namespace = devices[device].namespace
    guard pool[slot].packetType == .host, namespaces.contains(namespace) else { return }
    let packet = pool.bytes(slot, from: pool[slot].networkHeader)
    guard packet.count >= IPv4Header.length else { return }
    let source = packet.u32(IPv4Header.source)
    let destination = packet.u32(IPv4Header.destination)
    guard !IPv4Header.isMulticast(destination), destination != .max, !IPv4Header.isMulticast(source),
      source != 0
    else { return }
    let target = lookup(destination, in: namespace).type
    guard target != .broadcast else { return }
    guard packet.u16(IPv4Header.fragment) & IPv4Header.offsetMask == 0 else { return }
    let inner = packet.ipv4HeaderLength
    if packet.u8(IPv4Header.proto) == 1 {
      guard packet.count > inner, !ICMPType.isError(packet.u8(inner)) else { return }
    }
    let back = lookup(source, in: namespace)
    guard mayTell(type, source, isLocal: back.type == .local, in: namespace) else { return }
    // What is not told from the address that was meant is told from the route's, or the link's that it came by.
    let speaker =
      namespaces[namespace].ipv4.errorsUseInbound && !devices[device].isLoopback
      ? selectSource(source, on: device, scope: RouteScope.link.rawValue) : 0
    var datagram = IPv4Datagram(
      source: isDelivered ?? (target == .local) && !pool.ipv4Control(slot).flags.contains(.isOnSourceRoute)
        ? destination : speaker,
      destination: source, proto: 1,
      typeOfService: packet.u8(IPv4Header.typeOfService) & 0x1e | 0xc0)
    let error = pool.allocate(576, headroom: BufferPool.headroom)
    guard error != .none else {
      namespaces[namespace].snmp[.icmpOutErrors] &+= 1
      return
    }
    guard echoOptions(of: slot, into: error, instead: 0, &datagram, in: namespace),
      let path = try? ipv4Route(datagram, in: namespace)
    else {
      pool.free(error, .ipOutNoRoutes)
      return
    }
    let options = Int(pool[error].length)
    let room = min(path.mtu, 576) - IPv4Header.length - options - 8
    guard room > IPv4Header.length else {
      pool.free(error, .packetTooBig)
      return
    }
    let quoted = min(pool.length(slot, fromHeader: pool[slot].networkHeader), room)
    _ = pool.put(error, 8 + quoted)
    let bytes = pool.bytes(error).dropFirst(options)
    bytes.set(0, u8: type.rawValue)
    bytes.set(1, u8: code)
    bytes.set(2, u16: 0)
    bytes.set(4, u32: information)
    pool.copyBytes(of: slot, fromHeader: pool[slot].networkHeader, into: bytes.dropFirst(8))
    bytes.set(2, u16: bytes.checksum())
    pool[error].device = device.rawValue
    attachConntrack(of: slot, to: error)
    namespaces[namespace].snmp[.icmpOutMsgs] &+= 1
    switch type {
    case .destinationUnreachable: namespaces[namespace].snmp[.icmpOutDestUnreachs] &+= 1
    case .timeExceeded: namespaces[namespace].snmp[.icmpOutTimeExcds] &+= 1
    case .redirect: namespaces[namespace].snmp[.icmpOutRedirects] &+= 1
    case .parameterProblem: namespaces[namespace].snmp[.icmpOutParmProbs] &+= 1
    default: break
    }
    _ = ipv4Output(error, datagram, by: path, in: namespace)
  }

  private mutating func mayTell(
    _ type: ICMPType, _ destination: UInt32, isLocal: Bool, in namespace: NamespaceIndex
  ) -> Bool {
    let settings = namespaces[namespace].ipv4
    guard settings.icmpRateMask >> UInt32(type.rawValue) & 1 == 1, !isLocal else { return true }
    guard
      namespaces[namespace].errorLimits.allowGlobally(
        now: cpu.now, perSecond: settings.icmpMessagesPerSecond, burst: settings.icmpMessagesBurst)
    else {
      namespaces[namespace].snmp[.icmpOutRateLimitGlobal] &+= 1
      return false
    }
    guard settings.icmpRateLimit > 0 else { return true }
    guard
      namespaces[namespace].errorLimits.allow(destination, now: cpu.now, interval: settings.icmpRateLimit)
    else {
      namespaces[namespace].snmp[.icmpOutRateLimitHost] &+= 1
      return false
    }
    return true
  }
}
