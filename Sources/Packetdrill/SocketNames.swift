// SPDX-License-Identifier: GPL-2.0-or-later

// sockaddr_in and sockaddr_in6 as they lie in memory.

import Glibc
import NetStack
import NetTypes

extension SocketAddress {
  /// From a caller's name of a socket. EINVAL: too short; EAFNOSUPPORT: another family.
  init(_ pointer: UnsafeRawPointer?, _ length: UInt32) throws(CallFailure) {
    guard let pointer else { throw .badAddress }
    guard length >= 2 else { throw .invalid }
    let port = { UInt16(bigEndian: pointer.loadUnaligned(fromByteOffset: 2, as: UInt16.self)) }
    switch Int32(pointer.loadUnaligned(as: UInt16.self)) {
    case AF_INET:
      guard length >= 16, let address = IPAddress(bytes: Self.bytes(pointer + 4, 4)) else { throw .invalid }
      self.init(address, port())
    case AF_INET6:
      guard length >= 24, let address = IPAddress(bytes: Self.bytes(pointer + 8, 16)) else { throw .invalid }
      let scope = length >= 28 ? pointer.loadUnaligned(fromByteOffset: 24, as: Int32.self) : 0
      self.init(address, port(), scope: scope)
    default: throw CallFailure(EAFNOSUPPORT)
    }
  }

  private static func bytes(_ pointer: UnsafeRawPointer, _ count: Int) -> [UInt8] {
    [UInt8](UnsafeRawBufferPointer(start: pointer, count: count))
  }

  /// sockaddr_in or sockaddr_in6.
  var layout: [UInt8] {
    var layout = Layout()
    switch address {
    case .v4(let address):
      layout.add(UInt16(AF_INET))
      layout.add(port.bigEndian)
      layout.add(address.rawValue.bigEndian)
      layout.add(UInt64(0))
    case .v6(let address):
      layout.add(UInt16(AF_INET6))
      layout.add(port.bigEndian)
      layout.add(UInt32(0))
      layout.add(address.high.bigEndian)
      layout.add(address.low.bigEndian)
      layout.add(scope)
    }
    return layout.bytes
  }

  /// Gives a caller as much of the name as there is room for, and how long it is.
  func write(to pointer: UnsafeMutableRawPointer?, _ length: UnsafeMutablePointer<UInt32>?) {
    guard let pointer, let length else { return }
    let layout = layout
    pointer.copyMemory(from: layout, byteCount: min(layout.count, Int(length.pointee)))
    length.pointee = UInt32(layout.count)
  }
}

/// A struct of C's, written field by field where each stands at a multiple of its size.
struct Layout {
  private(set) var bytes: [UInt8] = []

  mutating func add<Field: FixedWidthInteger>(_ field: Field) {
    let size = MemoryLayout<Field>.size
    while bytes.count % size != 0 { bytes.append(0) }
    withUnsafeBytes(of: field) { bytes += $0 }
  }
}
