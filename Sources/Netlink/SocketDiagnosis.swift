// SPDX-License-Identifier: GPL-2.0-or-later

// Sockets of a namespace as the kernel tells them (NETLINK_SOCK_DIAG, <linux/inet_diag.h>): what `ss` asks for.

import CLinux
import Glibc
public import NetTypes
public import Rtnetlink

/// A socket in an answer to a dump (struct inet_diag_msg and its attributes).
public struct SocketDiagnosis: Sendable {
  /// TCP_ESTABLISHED and its kin, also for datagram sockets.
  public var state: UInt8
  /// 0 none, 1 retransmission, 2 keepalive, 3 TIME-WAIT, 4 window probe.
  public var timer: UInt8
  public var retransmits: UInt8
  /// Milliseconds.
  public var expires: UInt32
  public var local: (address: IPAddress, port: UInt16)
  public var peer: (address: IPAddress, port: UInt16)
  /// The device that it is bound to, 0 for none.
  public var link: Int32
  public var receiveQueue: UInt32
  public var sendQueue: UInt32
  public var user: UInt32
  public var isV6Only = false
  /// SK_MEMINFO_*: empty where the kernel does not tell.
  public var memory: [UInt32] = []
  public var congestionControl: String?
  /// struct tcp_info, as long as this kernel's is.
  public var information: [UInt8] = []

  /// Asks for all sockets of one family and protocol (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_RAW).
  public static func dump(_ family: IPFamily, protocol number: UInt8) -> NetlinkMessage {
    let wanted = [INET_DIAG_MEMINFO, INET_DIAG_INFO, INET_DIAG_CONG, INET_DIAG_SKMEMINFO]
    var request = inet_diag_req_v2()
    request.sdiag_family = UInt8(truncatingIfNeeded: family == .ipv4 ? AF_INET : AF_INET6)
    request.sdiag_protocol = number
    request.idiag_ext = wanted.reduce(0) { $0 | 1 << (UInt8(truncatingIfNeeded: Int($1)) - 1) }
    request.idiag_states = .max
    return NetlinkMessage(
      type: MessageType(rawValue: UInt16(SOCK_DIAG_BY_FAMILY)), flags: [.request, .dump],
      payload: withUnsafeBytes(of: request) { [UInt8]($0) })
  }

  /// Reads an answer.
  public init(_ message: NetlinkMessage) throws(NetlinkDecodingError) {
    var reader = AttributeReader(message.payload)
    let header = try reader.fixed(inet_diag_msg.self)
    state = header.idiag_state
    timer = header.idiag_timer
    retransmits = header.idiag_retrans
    expires = header.idiag_expires
    let name = header.id
    let isIPv6 = Int32(header.idiag_family) == AF_INET6
    let addresses = (
      withUnsafeBytes(of: name.idiag_src) { [UInt8]($0) }, withUnsafeBytes(of: name.idiag_dst) { [UInt8]($0) }
    )
    let length = isIPv6 ? 16 : 4
    guard let source = IPAddress(networkOrder: addresses.0[..<length]),
      let destination = IPAddress(networkOrder: addresses.1[..<length])
    else { throw .invalid("address family", value: UInt64(header.idiag_family)) }
    local = (source, UInt16(bigEndian: name.idiag_sport))
    peer = (destination, UInt16(bigEndian: name.idiag_dport))
    link = Int32(bitPattern: name.idiag_if)
    receiveQueue = header.idiag_rqueue
    sendQueue = header.idiag_wqueue
    user = header.idiag_uid
    while let attribute = try reader.next() {
      switch attribute.type {
      case Int(INET_DIAG_INFO): information = attribute.bytes()
      case Int(INET_DIAG_CONG): congestionControl = attribute.string()
      case Int(INET_DIAG_SKV6ONLY): isV6Only = try attribute.bool()
      case Int(INET_DIAG_SKMEMINFO):
        memory = attribute.bytes().withUnsafeBytes { bytes in
          (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self) }
        }
      default: break
      }
    }
  }
}
