// SPDX-License-Identifier: GPL-2.0-or-later

// pcapng (draft-ietf-opsawg-pcapng): blocks with a length before and behind them, options in them.
//
//    section ─┬─ interface 0 ─┬─ interface 1 ─ … ─┬─ packet … packet ─┬─ statistics of each interface
//
// Written in little endian, with times in nanoseconds. Read is only what is written here.

/// What a packet begins with (LINKTYPE_*).
public enum LinkType: UInt16, Hashable, Codable, Sendable {
  case ethernet = 1
  /// An IPv4 or IPv6 header.
  case raw = 101
}

/// An interface of a section. Packets name it by its number, in order of appearance.
public struct CapturedInterface: Hashable, Codable, Sendable {
  public var name: String
  public var linkType: LinkType
  /// Bytes of a packet that are kept at most.
  public var snapLength: UInt32

  public init(name: String, linkType: LinkType = .ethernet, snapLength: UInt32) {
    self.name = name
    self.linkType = linkType
    self.snapLength = snapLength
  }
}

/// A packet that went by an interface.
public struct CapturedPacket: Hashable, Sendable {
  public enum Direction: UInt32, Hashable, Codable, Sendable {
    case received = 1
    case transmitted = 2
  }

  public var interface: Int
  /// Since the epoch, or since an origin of the lab's clock.
  public var nanoseconds: UInt64
  public var direction: Direction
  /// What it was long before it was cut.
  public var length: Int
  public var bytes: [UInt8]
  /// What befell it.
  public var comments: [String]

  public init(
    interface: Int, nanoseconds: UInt64, direction: Direction, length: Int, bytes: [UInt8],
    comments: [String] = []
  ) {
    self.interface = interface
    self.nanoseconds = nanoseconds
    self.direction = direction
    self.length = length
    self.bytes = bytes
    self.comments = comments
  }
}

/// What an interface's capture came to.
public struct CaptureStatistics: Hashable, Sendable {
  public var interface: Int
  public var nanoseconds: UInt64
  /// Packets that went by, those that did not match the filter included.
  public var received: UInt64
  /// Packets that were lost because nobody took the others in time.
  public var dropped: UInt64

  public init(interface: Int, nanoseconds: UInt64, received: UInt64, dropped: UInt64) {
    self.interface = interface
    self.nanoseconds = nanoseconds
    self.received = received
    self.dropped = dropped
  }
}

/// One block of a file.
public enum PcapngBlock: Hashable, Sendable {
  case section(application: String)
  case interface(CapturedInterface)
  case packet(CapturedPacket)
  case statistics(CaptureStatistics)
}

// MARK: Writing

extension PcapngBlock {
  /// Appends the block to a file's bytes.
  public func append(to file: inout [UInt8]) {
    var body = BlockWriter()
    switch self {
    case .section(let application):
      body.u32(Self.byteOrder)
      body.u16(1)
      body.u16(0)
      // How long the section is, is not known.
      body.u64(.max)
      body.option(.application, Array(application.utf8))
      body.end(.section, &file)
    case .interface(let interface):
      body.u16(interface.linkType.rawValue)
      body.u16(0)
      body.u32(interface.snapLength)
      body.option(.name, Array(interface.name.utf8))
      body.option(.resolution, [9])
      body.end(.interface, &file)
    case .packet(let packet):
      body.u32(UInt32(clamping: packet.interface))
      body.time(packet.nanoseconds)
      body.u32(UInt32(clamping: packet.bytes.count))
      body.u32(UInt32(clamping: packet.length))
      body.padded(packet.bytes)
      for comment in packet.comments { body.option(.comment, Array(comment.utf8)) }
      body.option(.flags, packet.direction.rawValue.littleEndianBytes)
      body.end(.packet, &file)
    case .statistics(let statistics):
      body.u32(UInt32(clamping: statistics.interface))
      body.time(statistics.nanoseconds)
      body.option(.received, statistics.received.littleEndianBytes)
      body.option(.dropped, statistics.dropped.littleEndianBytes)
      body.end(.statistics, &file)
    }
  }

  static let byteOrder: UInt32 = 0x1a2b_3c4d
}

enum BlockType: UInt32 {
  case section = 0x0a0d_0d0a
  case interface = 1
  case statistics = 5
  case packet = 6
}

/// Codes of options, which begin anew with each kind of block.
enum BlockOption: UInt16 {
  case comment = 1
  /// Of an interface its name, of a packet its flags.
  case name = 2
  case application = 4
  case dropped = 5
  case resolution = 9

  static let flags = BlockOption.name
  static let received = BlockOption.application
}

private struct BlockWriter {
  private var bytes: [UInt8] = []
  private var hasOptions = false

  mutating func u16(_ value: UInt16) { bytes += value.littleEndianBytes }
  mutating func u32(_ value: UInt32) { bytes += value.littleEndianBytes }
  mutating func u64(_ value: UInt64) { bytes += value.littleEndianBytes }

  /// The high half first.
  mutating func time(_ nanoseconds: UInt64) {
    u32(UInt32(truncatingIfNeeded: nanoseconds >> 32))
    u32(UInt32(truncatingIfNeeded: nanoseconds))
  }

  mutating func padded(_ value: [UInt8]) {
    bytes += value
    while bytes.count % 4 != 0 { bytes.append(0) }
  }

  mutating func option(_ code: BlockOption, _ value: [UInt8]) {
    let value = value.prefix(Int(UInt16.max))
    u16(code.rawValue)
    u16(UInt16(value.count))
    padded(Array(value))
    hasOptions = true
  }

  func end(_ type: BlockType, _ file: inout [UInt8]) {
    let end: [UInt8] = hasOptions ? [0, 0, 0, 0] : []
    let length = UInt32(clamping: bytes.count + end.count + 12).littleEndianBytes
    file += type.rawValue.littleEndianBytes + length + bytes + end + length
  }
}

extension FixedWidthInteger {
  fileprivate var littleEndianBytes: [UInt8] {
    (0..<Self.bitWidth / 8).map { UInt8(truncatingIfNeeded: self >> ($0 * 8)) }
  }
}
