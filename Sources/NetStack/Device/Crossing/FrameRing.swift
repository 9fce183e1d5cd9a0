// SPDX-License-Identifier: GPL-2.0-or-later

// Frames on their way from one CPU to another: one writes, one reads, and the two indices are all that they share
// beside the cells. A burst is published at once. It is the receiving end's ring, of the size of a veth's; frames are
// copied in and out, since each CPU has packets of its own.
//
//    head: next to be read ──▶ │ frame │ frame │ … │ ◀── tail: next to be written
//                cell:         │ FrameHeader, 64 │ bytes …, touched as far as frames are long │

import Synchronization

/// What goes with a frame's bytes. Offsets count from the frame's first byte.
struct FrameHeader: BitwiseCopyable {
  var length: UInt32
  var priority: UInt32
  var hash: UInt32
  var checksumStart: UInt16
  var checksumOffset: UInt16
  var vlanProtocol: UInt16
  var vlanTag: UInt16
  var gsoSize: UInt16
  var gsoSegments: UInt16
  var gsoType: GSOType
  var checksumState: ChecksumState
  var timestamp: Int64
}

/// A ring with one writer and one reader.
@safe final class FrameRing: Sendable {
  /// VETH_RING_SIZE.
  static let limit: UInt32 = 256
  private static let headerSize = 64
  /// An odd number of cache lines, so that cells spread over the cache's sets.
  private static let stride = headerSize + BufferPool.maximumLength

  private nonisolated(unsafe) let cells: UnsafeMutableRawPointer
  private let tail = Atomic<UInt32>(0)
  /// The two indices are written by two CPUs.
  private let padding: [16 of UInt64] = [16 of UInt64](repeating: 0)
  private let head = Atomic<UInt32>(0)

  init() { unsafe cells = .allocate(byteCount: Int(Self.limit) * Self.stride, alignment: 64) }

  deinit { unsafe cells.deallocate() }

  private func cell(_ position: UInt32) -> UnsafeMutableRawPointer {
    unsafe cells + Int(position & (Self.limit &- 1)) &* Self.stride
  }

  private func bytes(_ position: UInt32, _ count: Int) -> PacketBytes {
    unsafe PacketBytes(base: cell(position) + Self.headerSize, count: count)
  }

  // MARK: The writer's side

  /// Cells that can be written.
  var room: Int {
    Int(Self.limit &- (tail.load(ordering: .relaxed) &- head.load(ordering: .acquiring)))
  }

  /// Writes a packet into the cell that is `offset` behind the published ones; there is room.
  func write(_ slot: Slot, of pool: borrowing BufferPool, at offset: Int) {
    let position = tail.load(ordering: .relaxed) &+ UInt32(truncatingIfNeeded: offset)
    let buffer = pool[slot]
    var header = FrameHeader(
      length: buffer.length, priority: buffer.priority, hash: buffer.hash,
      checksumStart: buffer.checksumStart &- buffer.dataOffset, checksumOffset: buffer.checksumOffset,
      vlanProtocol: buffer.vlanProtocol, vlanTag: buffer.vlanTag, gsoSize: 0, gsoSegments: 0,
      gsoType: buffer.gsoType, checksumState: buffer.checksumState, timestamp: buffer.timestamp)
    if buffer.gsoType != .none {
      header.gsoSize = pool[shared: slot].gsoSize
      header.gsoSegments = pool[shared: slot].gsoSegments
    }
    unsafe cell(position).storeBytes(of: header, as: FrameHeader.self)
    pool.copyBytes(of: slot, from: 0, into: bytes(position, Int(buffer.length)))
  }

  /// Shows the reader `count` more cells.
  func publish(_ count: Int) {
    tail.store(tail.load(ordering: .relaxed) &+ UInt32(count), ordering: .releasing)
  }

  // MARK: The reader's side

  /// Frames that can be read.
  var count: Int { Int(tail.load(ordering: .acquiring) &- head.load(ordering: .relaxed)) }

  /// Makes a packet of the oldest frame, of which there is one; `none`, and the frame lost, when there is no memory.
  func read(into pool: inout BufferPool) -> Slot {
    let position = head.load(ordering: .relaxed)
    let header = unsafe cell(position).load(as: FrameHeader.self)
    let slot = pool.allocate(length: Int(header.length))
    if slot != .none {
      bytes(position, Int(header.length)).withSpan { pool.store($0, in: slot) }
      pool[slot].priority = header.priority
      pool[slot].hash = header.hash
      pool[slot].checksumState = header.checksumState
      pool[slot].checksumStart = header.checksumStart &+ pool[slot].dataOffset
      pool[slot].checksumOffset = header.checksumOffset
      pool[slot].vlanProtocol = header.vlanProtocol
      pool[slot].vlanTag = header.vlanTag
      pool[slot].timestamp = header.timestamp
      if header.gsoType != .none {
        pool.setSegmentation(slot, header.gsoType, size: header.gsoSize, segments: header.gsoSegments)
      }
    }
    head.store(position &+ 1, ordering: .releasing)
    return slot
  }

  /// Forgets all frames; the answer is how many.
  func discard() -> Int {
    let lost = count
    head.store(head.load(ordering: .relaxed) &+ UInt32(lost), ordering: .releasing)
    return lost
  }
}
