// SPDX-License-Identifier: GPL-2.0-or-later

// Addresses and messages as the C library's socket calls have them.

import Glibc
import LabCore
import LinuxObjects
import NetTypes

/// A socket's address in C's form.
struct SocketAddress {
  private var storage = sockaddr_storage()
  private var length = socklen_t(MemoryLayout<sockaddr_storage>.size)

  private init() {}

  init(_ endpoint: SocketEndpoint) {
    switch endpoint.address {
    case .v4(let address):
      var value = sockaddr_in()
      value.sin_family = sa_family_t(AF_INET)
      value.sin_port = endpoint.port.bigEndian
      value.sin_addr.s_addr = address.rawValue.bigEndian
      store(value)
    case .v6(let address):
      var value = sockaddr_in6()
      value.sin6_family = sa_family_t(AF_INET6)
      value.sin6_port = endpoint.port.bigEndian
      withUnsafeMutableBytes(of: &value.sin6_addr) { $0.copyBytes(from: address.bytes) }
      store(value)
    }
  }

  private mutating func store<Value>(_ value: Value) {
    withUnsafeBytes(of: value) { bytes in withUnsafeMutableBytes(of: &storage) { $0.copyBytes(from: bytes) } }
    length = socklen_t(MemoryLayout<Value>.size)
  }

  /// Nil for a family that is no internet one.
  var endpoint: SocketEndpoint? {
    withUnsafeBytes(of: storage) { bytes in
      switch Int32(storage.ss_family) {
      case AF_INET:
        let value = bytes.load(as: sockaddr_in.self)
        let address = IPv4Address(rawValue: UInt32(bigEndian: value.sin_addr.s_addr))
        return SocketEndpoint(.v4(address), UInt16(bigEndian: value.sin_port))
      case AF_INET6:
        let value = bytes.load(as: sockaddr_in6.self)
        guard let address = withUnsafeBytes(of: value.sin6_addr, { IPv6Address(bytes: $0) }) else {
          return nil
        }
        return SocketEndpoint(.v6(address), UInt16(bigEndian: value.sin6_port))
      default: return nil
      }
    }
  }

  func withPointer<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    withUnsafePointer(to: storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
    }
  }

  /// The address that a call like getsockname(2) fills in.
  static func reading(
    _ call: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
  ) throws(TransportError) -> SocketEndpoint {
    var address = SocketAddress()
    var length = address.length
    let result = withUnsafeMutablePointer(to: &address.storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { call($0, &length) }
    }
    guard result == 0 else { throw TransportError(errno: errno) }
    guard let endpoint = address.endpoint else {
      throw TransportError(errno: 0, text: "an address of no known family")
    }
    return endpoint
  }
}

/// One message of a socket, with the hop limit that it arrived with.
enum Reception {
  static func receive(_ number: Int32, _ limit: Int) throws(TransportError) -> Datagram {
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
    // A connection's messages do not tell who sent them.
    guard let source else {
      let peer = try SocketAddress.reading { getpeername(number, $0, $1) }
      return Datagram(bytes: bytes, source: peer, hopLimit: hopLimit)
    }
    return Datagram(bytes: bytes, source: source, hopLimit: hopLimit)
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
