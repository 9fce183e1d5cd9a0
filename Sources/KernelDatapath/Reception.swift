// SPDX-License-Identifier: GPL-2.0-or-later

// What recvmsg(2) gives besides bytes: who sent them, the hop limit that they came with, and the error queue.

import CLinux
import Glibc
import LabCore
import LinuxObjects
import NetTypes

/// One message of a socket.
enum Reception {
  /// - Parameter peer: who sends all that comes, where the socket is a connection.
  static func receive(
    _ number: Int32, _ limit: Int, peer: SocketEndpoint?
  ) throws(TransportError) -> Datagram {
    var bytes = [UInt8](repeating: 0, count: limit)
    var control = [UInt8](repeating: 0, count: 256)
    var hopLimit: UInt8?
    var count = 0
    var failure: Int32 = 0
    let source = try? SocketAddress.reading { name, length in
      bytes.withUnsafeMutableBytes { buffer in
        control.withUnsafeMutableBytes { extra in
          var part = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
          withUnsafeMutablePointer(to: &part) { pointer in
            var message = msghdr()
            message.msg_name = UnsafeMutableRawPointer(name)
            message.msg_namelen = length.pointee
            message.msg_iov = pointer
            message.msg_iovlen = 1
            message.msg_control = extra.baseAddress
            message.msg_controllen = extra.count
            count = recvmsg(number, &message, 0)
            failure = count < 0 ? errno : 0
            let told = min(Int(message.msg_controllen), extra.count)
            if count >= 0 { hopLimit = Self.hopLimit(UnsafeRawBufferPointer(rebasing: extra[..<told])) }
          }
        }
      }
      return count < 0 ? -1 : 0
    }
    guard count >= 0 else { throw TransportError(errno: failure) }
    bytes.removeLast(bytes.count - min(count, bytes.count))
    guard let source = source ?? peer else {
      throw TransportError(errno: 0, text: "the kernel does not say who has sent it")
    }
    return Datagram(bytes: bytes, source: source, hopLimit: hopLimit)
  }

  /// The oldest ICMP error in the socket's error queue; nil when there is none.
  static func report(_ number: Int32) -> Datagram? {
    var (type, code) = (UInt8(0), UInt8(0))
    var offender = sockaddr_storage()
    guard nf_take_icmp_error(number, &type, &code, &offender) != 0,
      let source = SocketAddress(storage: offender).endpoint
    else { return nil }
    return Datagram(
      bytes: [], source: source, error: ICMPError(type: type, code: code, family: source.address.family))
  }

  /// Walks the control messages: length, level, type, value, each padded to a word.
  private static func hopLimit(_ control: UnsafeRawBufferPointer) -> UInt8? {
    var offset = 0
    let header = MemoryLayout<cmsghdr>.size
    while control.count - offset >= header {
      let entry = control.loadUnaligned(fromByteOffset: offset, as: cmsghdr.self)
      guard entry.cmsg_len >= header, entry.cmsg_len <= control.count - offset else { return nil }
      let isHopLimit =
        entry.cmsg_level == Int32(IPPROTO_IP) && entry.cmsg_type == IP_TTL
        || entry.cmsg_level == Int32(IPPROTO_IPV6) && entry.cmsg_type == IPV6_HOPLIMIT
      if isHopLimit, entry.cmsg_len >= header + 4 {
        return UInt8(clamping: control.loadUnaligned(fromByteOffset: offset + header, as: Int32.self))
      }
      offset += (Int(entry.cmsg_len) + 7) & ~7
    }
    return nil
  }
}
