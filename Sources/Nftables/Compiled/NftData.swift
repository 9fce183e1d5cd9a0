// SPDX-License-Identifier: GPL-2.0-or-later

// The bytes of a register, key or value, in the order in which the kernel holds them in memory.

/// Up to 64 bytes as they lie in a register: packet fields in network order, kernel values in the host's.
/// Ordered as memcmp orders them.
///
/// Sixteen bytes, an address of IPv6, are held in place: a set has them by the hundred thousand, and an array for each
/// would cost more than all that is done with it.
public struct NftData: Hashable, Comparable, Sendable {
  /// What is short is always held in place, so that equal bytes are held alike.
  private enum Storage: Hashable, Sendable {
    /// The bytes as two numbers in network order, zeros behind the last.
    case short(high: UInt64, low: UInt64, count: UInt8)
    case long([UInt8])
  }

  private var storage: Storage

  public init(_ bytes: [UInt8]) {
    guard bytes.count <= Self.shortLength else {
      storage = .long(bytes)
      return
    }
    var (high, low): (UInt64, UInt64) = (0, 0)
    for (index, byte) in bytes.enumerated() {
      if index < 8 {
        high |= UInt64(byte) << UInt64(56 - 8 * index)
      } else {
        low |= UInt64(byte) << UInt64(120 - 8 * index)
      }
    }
    storage = .short(high: high, low: low, count: UInt8(bytes.count))
  }

  private static let shortLength = 16

  public var bytes: [UInt8] {
    switch storage {
    case .long(let bytes): return bytes
    case .short(let high, let low, let count):
      return [UInt8](unsafeUninitializedCapacity: Int(count)) { buffer, filled in
        for index in 0..<Int(count) {
          let word = index < 8 ? high : low
          buffer[index] = UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * (index & 7)))
        }
        filled = Int(count)
      }
    }
  }

  /// A number in network order, `width` bytes.
  public init(bigEndian value: UInt64, width: Int) {
    self.init(
      (0..<width).map { index in
        let shift = 8 * (width - 1 - index)
        return shift >= 64 ? 0 : UInt8(truncatingIfNeeded: value >> UInt64(shift))
      })
  }

  /// A number in the host's order, `width` bytes.
  public init(host value: UInt64, width: Int) {
    let big = NftData(bigEndian: value, width: width)
    self = NftData.hostIsLittleEndian ? big.reversed : big
  }

  /// The most that a key or register operand holds (NFT_DATA_VALUE_MAXLEN).
  public static let maximumLength = 64

  public var count: Int {
    switch storage {
    case .short(_, _, let count): Int(count)
    case .long(let bytes): bytes.count
    }
  }

  public var isEmpty: Bool { count == 0 }

  /// The number that the bytes spell in network order; the first eight bytes at most.
  public var bigEndianValue: UInt64 { bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }

  /// The number that the bytes spell in the host's order.
  public var hostValue: UInt64 {
    (NftData.hostIsLittleEndian ? bytes.reversed() : bytes).prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// Zeros appended up to a multiple of four: how a field lies in a concatenation.
  public var padded: NftData { NftData(bytes + [UInt8](repeating: 0, count: (4 - bytes.count % 4) % 4)) }

  /// The same bytes in the opposite order.
  public var reversed: NftData { NftData(bytes.reversed()) }

  /// The next value in memcmp order; nil after the last.
  public var successor: NftData? {
    var result = bytes
    for index in result.indices.reversed() {
      if result[index] != 0xff {
        result[index] += 1
        return NftData(result)
      }
      result[index] = 0
    }
    return nil
  }

  /// The value before in memcmp order; nil before the first.
  public var predecessor: NftData? {
    var result = bytes
    for index in result.indices.reversed() {
      if result[index] != 0 {
        result[index] -= 1
        return NftData(result)
      }
      result[index] = 0xff
    }
    return nil
  }

  public static let hostIsLittleEndian = UInt16(1).littleEndian == 1

  public static func < (a: Self, b: Self) -> Bool {
    guard case .short(let aHigh, let aLow, let aCount) = a.storage,
      case .short(let bHigh, let bLow, let bCount) = b.storage
    else { return a.bytes.lexicographicallyPrecedes(b.bytes) }
    return (aHigh, aLow, aCount) < (bHigh, bLow, bCount)
  }
}

extension NftData: ExpressibleByArrayLiteral {
  public init(arrayLiteral elements: UInt8...) { self.init(elements) }
}

extension NftData: CustomStringConvertible {
  /// Hexadecimal digits, two a byte.
  public var description: String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }
}

extension NftData: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let digits = Array(try container.decode(String.self).utf8)
    var bytes: [UInt8] = []
    var index = 0
    while index + 1 < digits.count, let high = Self.nibble(digits[index]),
      let low = Self.nibble(digits[index + 1])
    {
      bytes.append(high << 4 | low)
      index += 2
    }
    guard index == digits.count, bytes.count <= 4096 else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "not pairs of hexadecimal digits")
    }
    self.init(bytes)
  }

  private static func nibble(_ digit: UInt8) -> UInt8? {
    switch digit {
    case 0x30...0x39: digit - 0x30
    case 0x61...0x66: digit - 0x61 + 10
    case 0x41...0x46: digit - 0x41 + 10
    default: nil
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
