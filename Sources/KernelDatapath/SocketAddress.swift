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

  init(storage: sockaddr_storage) { self.storage = storage }

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
