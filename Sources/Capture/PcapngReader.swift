// SPDX-License-Identifier: GPL-2.0-or-later

// Takes the bytes of a capture as they come and gives its blocks.

/// What is wrong with a capture's bytes.
public struct PcapngError: Error, Hashable, Sendable, CustomStringConvertible {
  public let description: String
}

/// Reads what `PcapngBlock` writes, piece by piece.
public struct PcapngReader: Sendable {
  /// The longest block: a packet of 256 KiB with comments.
  static let limit = 1 << 20

  private var bytes: [UInt8] = []
  private var place = 0

  public init() {}

  /// Takes more of the file.
  public mutating func append(_ more: some Sequence<UInt8>) {
    if place > 0 {
      bytes.removeFirst(place)
      place = 0
    }
    bytes.append(contentsOf: more)
  }

  /// Whether all that was taken has been read.
  public var isEmpty: Bool { place == bytes.count }

  /// The next block; nil when more bytes are needed first.
  public mutating func next() throws(PcapngError) -> PcapngBlock? {
    while let (type, body) = try take() {
      if let type = BlockType(rawValue: type) { return try Self.read(type, body) }
      // Whoever reads pcapng passes over what it does not know.
    }
    return nil
  }

  private mutating func take() throws(PcapngError) -> (UInt32, ByteReader)? {
    guard bytes.count - place >= 12 else { return nil }
    var head = ByteReader(bytes[place..<place + 8])
    guard let type = head.u32(), let length = head.u32(), length >= 12, length % 4 == 0, length <= Self.limit
    else { throw PcapngError(description: "a block of a capture has an impossible length") }
    let end = place + Int(length)
    guard bytes.count >= end else { return nil }
    var tail = ByteReader(bytes[end - 4..<end])
    guard tail.u32() == length else {
      throw PcapngError(description: "a block of a capture ends with another length than it begins with")
    }
    let body = ByteReader(bytes[place + 8..<end - 4])
    place = end
    return (type, body)
  }

  private static func read(_ type: BlockType, _ body: ByteReader) throws(PcapngError) -> PcapngBlock {
    var body = body
    switch type {
    case .section:
      guard body.u32() == PcapngBlock.byteOrder, body.u16() == 1, body.u16() != nil, body.u64() != nil else {
        throw PcapngError(description: "a capture is of another byte order or version")
      }
      return .section(application: body.options().text(.application) ?? "")
    case .interface:
      guard let number = body.u16(), body.u16() != nil, let snapLength = body.u32(),
        let kind = LinkType(rawValue: number)
      else { throw PcapngError(description: "an interface of a capture has no known link type") }
      let options = body.options()
      guard options.bytes(.resolution) == [9] else {
        throw PcapngError(description: "the times of a capture are not in nanoseconds")
      }
      return .interface(
        CapturedInterface(name: options.text(.name) ?? "", linkType: kind, snapLength: snapLength))
    case .packet:
      guard let interface = body.u32(), let time = body.time(), let kept = body.u32(),
        let length = body.u32(),
        let bytes = body.padded(Int(kept))
      else { throw PcapngError(description: "a packet of a capture is cut off") }
      let options = body.options()
      let flags = options.bytes(.flags)?.first ?? 0
      return .packet(
        CapturedPacket(
          interface: Int(interface), nanoseconds: time,
          direction: CapturedPacket.Direction(rawValue: UInt32(flags & 3)) ?? .received, length: Int(length),
          bytes: bytes, comments: options.texts(.comment)))
    case .statistics:
      guard let interface = body.u32(), let time = body.time() else {
        throw PcapngError(description: "the statistics of a capture are cut off")
      }
      let options = body.options()
      return .statistics(
        CaptureStatistics(
          interface: Int(interface), nanoseconds: time, received: options.u64(.received) ?? 0,
          dropped: options.u64(.dropped) ?? 0))
    }
  }
}

/// Fields of a block, in little endian.
private struct ByteReader {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  private mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type) -> Value? {
    let size = Value.bitWidth / 8
    guard rest.count >= size else { return nil }
    defer { rest = rest.dropFirst(size) }
    return rest.prefix(size).reversed().reduce(0) { $0 << 8 | Value($1) }
  }

  mutating func u16() -> UInt16? { integer(UInt16.self) }
  mutating func u32() -> UInt32? { integer(UInt32.self) }
  mutating func u64() -> UInt64? { integer(UInt64.self) }

  mutating func time() -> UInt64? {
    guard let high = u32(), let low = u32() else { return nil }
    return UInt64(high) << 32 | UInt64(low)
  }

  mutating func padded(_ count: Int) -> [UInt8]? {
    guard rest.count >= (count + 3) & ~3 else { return nil }
    defer { rest = rest.dropFirst((count + 3) & ~3) }
    return Array(rest.prefix(count))
  }

  /// The options up to their end, or to where they make no sense.
  mutating func options() -> Options {
    var result = Options()
    while let code = u16(), let length = u16(), code != 0, let value = padded(Int(length)) {
      result.entries.append((code, value))
    }
    return result
  }
}

private struct Options {
  var entries: [(code: UInt16, value: [UInt8])] = []

  func bytes(_ option: BlockOption) -> [UInt8]? { entries.first { $0.code == option.rawValue }?.value }

  func text(_ option: BlockOption) -> String? { bytes(option).map { String(decoding: $0, as: UTF8.self) } }

  func texts(_ option: BlockOption) -> [String] {
    entries.filter { $0.code == option.rawValue }.map { String(decoding: $0.value, as: UTF8.self) }
  }

  func u64(_ option: BlockOption) -> UInt64? {
    bytes(option).flatMap { value in
      value.count == 8 ? value.reversed().reduce(0) { $0 << 8 | UInt64($1) } : nil
    }
  }
}
