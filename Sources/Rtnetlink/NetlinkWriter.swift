// SPDX-License-Identifier: GPL-2.0-or-later

// Writes a message's payload: fixed headers, attributes and nests of attributes. Lengths and padding are computed
// here and nowhere else.
//
//    0         2         4
//    | length  | type    | value … | padding to 4 |      length counts its own four bytes, not the padding

import CLinux
public import NetTypes

/// Builds the payload of one netlink message.
public struct NetlinkWriter: Sendable {
  public private(set) var bytes: [UInt8] = []
  /// The first attribute that grew over 65535 bytes, the most that its length field can say. What follows it is
  /// still written, so that callers need no error path while writing; the message must not be sent.
  public private(set) var oversizedAttribute: Int?

  public init(capacity: Int = 128) { bytes.reserveCapacity(capacity) }

  /// Appends a C structure of the kernel as it stands in memory.
  public mutating func fixed<Value: BitwiseCopyable>(_ value: Value) {
    withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    pad()
  }

  /// Appends bytes and pads them to four.
  public mutating func raw(_ value: some Collection<UInt8>) {
    bytes.append(contentsOf: value)
    pad()
  }

  /// An attribute made of other attributes, or of a structure and then attributes.
  /// - Parameter flagged: sets NLA_F_NESTED, which strict parsers ask for; not for a nest that begins with a structure.
  public mutating func nest(_ type: Int, flagged: Bool = true, _ body: (inout NetlinkWriter) -> Void) {
    let start = open(type, flags: flagged ? UInt16(NLA_F_NESTED) : 0)
    body(&self)
    close(start, type)
  }

  public mutating func flag(_ type: Int) { attribute(type, of: EmptyCollection()) }
  public mutating func u8(_ type: Int, _ value: UInt8) { attribute(type, value) }
  public mutating func bool(_ type: Int, _ value: Bool) { attribute(type, UInt8(value ? 1 : 0)) }
  public mutating func u16(_ type: Int, _ value: UInt16) { attribute(type, value) }
  public mutating func u32(_ type: Int, _ value: UInt32) { attribute(type, value) }
  public mutating func i32(_ type: Int, _ value: Int32) { attribute(type, value) }
  public mutating func u64(_ type: Int, _ value: UInt64) { attribute(type, value) }
  public mutating func i64(_ type: Int, _ value: Int64) { attribute(type, value) }
  /// A number in network byte order.
  public mutating func be16(_ type: Int, _ value: UInt16) { attribute(type, value.bigEndian) }
  /// A number in network byte order.
  public mutating func be32(_ type: Int, _ value: UInt32) { attribute(type, value.bigEndian) }
  /// A number in network byte order.
  public mutating func be64(_ type: Int, _ value: UInt64) { attribute(type, value.bigEndian) }
  /// A C structure of the kernel.
  public mutating func structure<Value: BitwiseCopyable>(_ type: Int, _ value: Value) {
    attribute(type, value)
  }
  public mutating func bytes(_ type: Int, _ value: some Collection<UInt8>) { attribute(type, of: value) }
  /// Text with a terminating zero.
  public mutating func string(_ type: Int, _ value: String) {
    let start = open(type)
    bytes.append(contentsOf: value.utf8)
    bytes.append(0)
    close(start, type)
  }
  /// An address in network byte order, four or sixteen bytes.
  public mutating func address(_ type: Int, _ value: IPAddress) {
    let start = open(type)
    append(value)
    close(start, type)
  }

  // MARK: Optional values: written when there is one

  mutating func u8(_ type: Int, _ value: UInt8?) { if let value { attribute(type, value) } }
  mutating func bool(_ type: Int, _ value: Bool?) { if let value { attribute(type, UInt8(value ? 1 : 0)) } }
  mutating func u16(_ type: Int, _ value: UInt16?) { if let value { attribute(type, value) } }
  mutating func u32(_ type: Int, _ value: UInt32?) { if let value { attribute(type, value) } }
  mutating func i32(_ type: Int, _ value: Int32?) { if let value { attribute(type, value) } }
  mutating func be16(_ type: Int, _ value: UInt16?) { if let value { attribute(type, value.bigEndian) } }
  mutating func be32(_ type: Int, _ value: UInt32?) { if let value { attribute(type, value.bigEndian) } }
  mutating func bytes(_ type: Int, _ value: [UInt8]?) { if let value { attribute(type, of: value) } }
  mutating func string(_ type: Int, _ value: String?) { if let value { string(type, value) } }
  mutating func address(_ type: Int, _ value: IPAddress?) { if let value { address(type, value) } }

  // MARK: The one place for lengths

  /// Appends an address without a header.
  mutating func append(_ value: IPAddress) {
    switch value {
    case .v4(let address): withUnsafeBytes(of: address.rawValue.bigEndian) { bytes.append(contentsOf: $0) }
    case .v6(let address):
      withUnsafeBytes(of: address.high.bigEndian) { bytes.append(contentsOf: $0) }
      withUnsafeBytes(of: address.low.bigEndian) { bytes.append(contentsOf: $0) }
    }
  }

  private mutating func attribute<Value: BitwiseCopyable>(_ type: Int, _ value: Value) {
    let start = open(type)
    withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    close(start, type)
  }

  private mutating func attribute(_ type: Int, of value: some Collection<UInt8>) {
    let start = open(type)
    bytes.append(contentsOf: value)
    close(start, type)
  }

  private mutating func open(_ type: Int, flags: UInt16 = 0) -> Int {
    let start = bytes.count
    let header = nlattr(nla_len: 0, nla_type: UInt16(truncatingIfNeeded: type) | flags)
    withUnsafeBytes(of: header) { bytes.append(contentsOf: $0) }
    return start
  }

  private mutating func close(_ start: Int, _ type: Int) {
    let length = bytes.count - start
    if length > Int(UInt16.max), oversizedAttribute == nil { oversizedAttribute = type }
    setLength(UInt16(truncatingIfNeeded: length), at: start)
    pad()
  }

  /// Writes a 16-bit length in host byte order over two bytes that stand already.
  mutating func setLength(_ length: UInt16, at offset: Int) {
    withUnsafeBytes(of: length) {
      bytes[offset] = $0[0]
      bytes[offset + 1] = $0[1]
    }
  }

  private mutating func pad() {
    for _ in 0..<(-bytes.count & 3) { bytes.append(0) }
  }
}
