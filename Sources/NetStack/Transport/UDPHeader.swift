// SPDX-License-Identifier: GPL-2.0-or-later

// The UDP header (RFC 768).
//
//    0             2                  4        6          8
//    │ source port │ destination port │ length │ checksum │ data …

import NetTypes

/// Offsets within a UDP header.
enum UDPHeader {
  static let source = 0
  static let destination = 2
  static let size = 4
  static let checksum = 6
  static let length = 8
  /// The most bytes of data in one datagram over IPv4.
  static let maximumPayload = 65535 - IPv4Header.length - length
}

/// The addresses, the protocol and the length that a transport's checksum covers beside its own bytes (RFC 768, 9293),
/// summed but not folded, in memory's byte order as `PacketBytes.sum` has it.
@inline(__always)
func pseudoHeaderSum(_ source: UInt32, _ destination: UInt32, _ proto: UInt8, _ length: Int) -> UInt64 {
  let sum = UInt64(source) &+ UInt64(destination) &+ UInt64(proto) &+ UInt64(length)
  return UInt64(foldChecksum(sum).bigEndian)
}

/// The counters of UDP over a family of addresses: `Udp…` and `Udp6…`.
struct UDPCounters {
  let isIPv6: Bool

  init(_ family: IPFamily) { isIPv6 = family == .ipv6 }

  var inDatagrams: SNMPCounter { isIPv6 ? .udp6InDatagrams : .udpInDatagrams }
  var outDatagrams: SNMPCounter { isIPv6 ? .udp6OutDatagrams : .udpOutDatagrams }
  var noPorts: SNMPCounter { isIPv6 ? .udp6NoPorts : .udpNoPorts }
  var inErrors: SNMPCounter { isIPv6 ? .udp6InErrors : .udpInErrors }
  var inChecksumErrors: SNMPCounter { isIPv6 ? .udp6InCsumErrors : .udpInCsumErrors }
  var receiveBufferErrors: SNMPCounter { isIPv6 ? .udp6RcvbufErrors : .udpRcvbufErrors }
  var sendBufferErrors: SNMPCounter { isIPv6 ? .udp6SndbufErrors : .udpSndbufErrors }
  var ignoredMulticast: SNMPCounter { isIPv6 ? .udp6IgnoredMulti : .udpIgnoredMulti }
}
