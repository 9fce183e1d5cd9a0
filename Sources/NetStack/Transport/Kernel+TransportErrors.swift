// SPDX-License-Identifier: GPL-2.0-or-later

// ICMP errors on their way to whose packet they quote (net/ipv4/icmp.c icmp_unreach, icmp_socket_deliver; the table is
// icmp_err_convert).

import NetTypes

/// An ICMP error as protocols and sockets see it.
struct ICMPErrorReport {
  var type: UInt8
  var code: UInt8
  /// The MTU or the pointer.
  var information: UInt32
  /// What it means to a socket; 0: nothing.
  var errno: Int32
  /// It is final, as far as anybody knows.
  var isHard: Bool
  var origin: SocketErrorReport.Origin
  /// Who told.
  var offender: IPAddress
  /// Of the packet that is quoted.
  var source: IPAddress
  var destination: IPAddress
  var proto: UInt8
  /// What is quoted behind its IP header: at least eight bytes.
  var transport: PacketBytes
  var ifindex: Int32
}

extension Kernel {
  /// Takes an ICMP error, whose headers stand in the linear part. The packet stays the caller's; false: nothing in it
  /// can be read.
  mutating func icmpDeliverError(_ slot: Slot, in namespace: NamespaceIndex) -> Bool {
    let offset = Int(pool[slot].transportHeader) - Int(pool[slot].dataOffset)
    // The two headers of the quote, as long as they can be, and what tells whose it is.
    guard pool.mayPull(slot, min(Int(pool[slot].length), offset + 8 + 60 + 8)) else { return false }
    let header = pool.bytes(slot)
    let bytes = pool.bytes(slot, from: pool[slot].transportHeader)
    let quote = bytes.dropFirst(8)
    guard quote.count >= IPv4Header.length, quote.u8(0) >> 4 == 4,
      quote.ipv4HeaderLength >= IPv4Header.length, quote.count >= quote.ipv4HeaderLength + 8
    else { return false }
    let type = bytes.u8(0)
    let code = bytes.u8(1)
    let isTooBig = type == ICMPType.destinationUnreachable.rawValue && code == 4
    let isRedirect = type == ICMPType.redirect.rawValue
    let information = isTooBig ? UInt32(bytes.u16(6)) : isRedirect ? bytes.u32(4) : 0
    let meaning = Self.meaning(type, code)
    let error = ICMPErrorReport(
      type: type, code: code, information: information, errno: meaning.errno,
      isHard: meaning.isHard, origin: .icmp, offender: header.ipv4Source, source: quote.ipv4Source,
      destination: quote.ipv4Destination, proto: quote.u8(IPv4Header.proto),
      transport: quote.dropFirst(quote.ipv4HeaderLength),
      ifindex: devices[DeviceIndex(pool[slot].device)].ifindex)
    if !namespaces[namespace].sockets.raw.isEmpty { rawError(error, quote: quote, in: namespace) }
    switch error.proto {
    case 1: pingError(error, in: namespace)
    case 6: tcpError(error, in: namespace)
    case 17: udpError(error, in: namespace)
    default: break
    }
    return true
  }

  /// icmp_err_convert, and the two types beside it.
  private static func meaning(_ type: UInt8, _ code: UInt8) -> (errno: Int32, isHard: Bool) {
    switch ICMPType(rawValue: type) {
    case .timeExceeded: return (113, false)
    case .parameterProblem: return (71, true)
    case .destinationUnreachable:
      switch code {
      case 0, 11: return (101, false)
      case 2: return (92, true)
      case 3: return (111, true)
      case 4: return (90, true)
      case 5: return (95, false)
      case 6, 9: return (101, true)
      case 7: return (112, true)
      case 8: return (64, true)
      case 10, 13, 14, 15: return (113, true)
      default: return (113, false)
      }
    default: return (0, false)
    }
  }

  /// Tells one socket. Nothing is said of an MTU to who does not ask for the path's.
  mutating func report(
    _ error: ICMPErrorReport, to index: SocketIndex, port: UInt16, payload: PacketBytes
  ) {
    learnPath(from: error, in: sockets[index].namespace)
    guard error.errno != 0 else { return }
    let isTooBig = error.errno == KernelError.messageTooLong.errno
    let discovery = sockets[index].options.pathMTUDiscovery
    if isTooBig, discovery == .dont { return }
    var isHard = error.isHard
    if isTooBig, error.source.family == .ipv6 {
      // What routers cannot cut is final to who does not cut it himself (__udp6_lib_err, rawv6_err).
      isHard = if case .raw = sockets[index].kind { discovery == .do } else { true }
    }
    let family = sockets[index].kind.family
    report(
      SocketErrorReport(
        errno: error.errno, origin: error.origin, type: error.type, code: error.code,
        information: error.information, offender: error.offender.told(to: family),
        destination: SocketAddress(error.destination.told(to: family), port), payload: payload.array,
        time: now),
      isHard: isHard, to: index)
  }
}
