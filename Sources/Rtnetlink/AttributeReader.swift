// SPDX-License-Identifier: GPL-2.0-or-later

// Reads what NetlinkWriter writes, from anyone. Every read is checked against what is left, so that a length that
// lies is an error and never a trap.

import CLinux
public import NetTypes

/// Walks over a payload: fixed headers first, then attributes.
public struct AttributeReader: Sendable {
  private var rest: ArraySlice<UInt8>

  public init(_ bytes: ArraySlice<UInt8>) { rest = bytes }
  public init(_ bytes: [UInt8]) { rest = bytes[...] }

  /// What has not been read yet.
  public var remaining: ArraySlice<UInt8> { rest }
  public var isAtEnd: Bool { rest.isEmpty }

  /// Takes a C structure of the kernel from the front.
  public mutating func fixed<Value: BitwiseCopyable>(_ type: Value.Type) throws(NetlinkDecodingError) -> Value
  {
    let size = MemoryLayout<Value>.size
    guard rest.count >= size else {
      throw .truncated("\(Value.self)", needed: size, available: rest.count)
    }
    let value = rest.withUnsafeBytes { $0.loadUnaligned(as: Value.self) }
    rest = rest.dropFirst((size + 3) & ~3)
    return value
  }

  /// The next attribute, or nil at the end.
  public mutating func next() throws(NetlinkDecodingError) -> NetlinkAttribute? {
    guard !rest.isEmpty else { return nil }
    guard rest.count >= 4 else { throw .truncated("attribute header", needed: 4, available: rest.count) }
    let header = rest.withUnsafeBytes { $0.loadUnaligned(as: nlattr.self) }
    let length = Int(header.nla_len)
    guard length >= 4 else { throw .invalid("attribute length", value: UInt64(length)) }
    guard length <= rest.count else {
      throw .truncated("attribute \(header.nla_type)", needed: length, available: rest.count)
    }
    let start = rest.startIndex
    let attribute = NetlinkAttribute(header: header.nla_type, value: rest[start + 4..<start + length])
    // The last attribute may stand without its padding.
    rest = rest.dropFirst((length + 3) & ~3)
    return attribute
  }
}

/// One attribute of a message.
public struct NetlinkAttribute: Sendable {
  /// The type without the flags that share its field.
  public let type: Int
  /// Whether the sender set NLA_F_NESTED; many parts of the kernel do not.
  public let isNested: Bool
  public let value: ArraySlice<UInt8>

  init(header: UInt16, value: ArraySlice<UInt8>) {
    type = Int(header & 0x3fff)  // NLA_TYPE_MASK, which C spells with a cast that does not import
    isNested = header & UInt16(NLA_F_NESTED) != 0
    self.value = value
  }

  /// The value as a payload of its own.
  public var content: AttributeReader { AttributeReader(value) }

  public func u8() throws(NetlinkDecodingError) -> UInt8 { try load() }
  public func bool() throws(NetlinkDecodingError) -> Bool { try u8() != 0 }
  public func u16() throws(NetlinkDecodingError) -> UInt16 { try load() }
  public func u32() throws(NetlinkDecodingError) -> UInt32 { try load() }
  public func i32() throws(NetlinkDecodingError) -> Int32 { try load() }
  public func u64() throws(NetlinkDecodingError) -> UInt64 { try load() }
  public func i64() throws(NetlinkDecodingError) -> Int64 { try load() }
  /// A number in network byte order.
  public func be16() throws(NetlinkDecodingError) -> UInt16 { UInt16(bigEndian: try load()) }
  /// A number in network byte order.
  public func be32() throws(NetlinkDecodingError) -> UInt32 { UInt32(bigEndian: try load()) }
  /// A number in network byte order.
  public func be64() throws(NetlinkDecodingError) -> UInt64 { UInt64(bigEndian: try load()) }

  /// Text up to the first zero; bytes that are no UTF-8 are replaced.
  public func string() -> String { String(decoding: value.prefix { $0 != 0 }, as: UTF8.self) }

  public func bytes() -> [UInt8] { [UInt8](value) }

  /// A C structure of the kernel. The kernel's may have grown: what is behind it is left alone.
  public func structure<Value: BitwiseCopyable>(_ type: Value.Type) throws(NetlinkDecodingError) -> Value {
    guard value.count >= MemoryLayout<Value>.size else { throw wrongLength }
    return value.withUnsafeBytes { $0.loadUnaligned(as: Value.self) }
  }

  /// Four or sixteen bytes in network order.
  public func address() throws(NetlinkDecodingError) -> IPAddress {
    guard let address = IPAddress(networkOrder: value) else { throw wrongLength }
    return address
  }

  private func load<Value: FixedWidthInteger & BitwiseCopyable>() throws(NetlinkDecodingError) -> Value {
    guard value.count == MemoryLayout<Value>.size else { throw wrongLength }
    return value.withUnsafeBytes { $0.loadUnaligned(as: Value.self) }
  }

  var wrongLength: NetlinkDecodingError { .attributeLength(type: type, length: value.count) }
}

extension IPAddress {
  /// From four or sixteen bytes in network order; a dump reads thousands, so without a loop over the bytes.
  public init?(networkOrder bytes: ArraySlice<UInt8>) {
    switch bytes.count {
    case 4:
      let number = bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
      self = .v4(IPv4Address(rawValue: UInt32(bigEndian: number)))
    case 16:
      let halves = bytes.withUnsafeBytes {
        ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      }
      self = .v6(IPv6Address(high: UInt64(bigEndian: halves.0), low: UInt64(bigEndian: halves.1)))
    default:
      return nil
    }
  }
}
