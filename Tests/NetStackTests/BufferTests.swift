// SPDX-License-Identifier: GPL-2.0-or-later

import Testing

@testable import NetStack

@Suite("Buffers")
struct BufferTests {
  @Test("Push and pull, put and trim move the ends of a packet and nothing else")
  func ends() {
    var pool = BufferPool(.init(packets: 64, largeBlocks: 1))
    let slot = pool.allocate(100)
    let put = pool.put(slot, 100)
    #expect(put)
    for offset in 0..<100 { pool.bytes(slot).set(offset, u8: UInt8(offset)) }
    pool.pull(slot, 14)
    let first = pool.bytes(slot).u8(0)
    #expect(first == 14)
    let pushed = pool.push(slot, 20)
    #expect(pushed)
    let whole = pool.bytes(slot).array
    #expect(whole[6] == 0)
    #expect(whole.count == 106)
    pool.trim(slot, to: 50)
    let cut = pool.bytes(slot).array
    #expect(cut.suffix(3) == [41, 42, 43])
    let tooFar = pool.push(slot, BufferPool.headroom)
    #expect(!tooFar)
    let tooLong = pool.put(slot, 4096)
    #expect(!tooLong)
    pool.free(slot, .consumed)
    #expect(pool.held == 0)
  }

  @Test("A clone shares bytes until one of the two writes")
  func clones() {
    var pool = BufferPool(.init(packets: 64, largeBlocks: 1))
    let first = pool.allocate(10)
    _ = pool.put(first, 10)
    pool.bytes(first).fill(7)
    let second = pool.clone(first)
    let third = pool.clone(first)
    let shared = pool.isShared(first)
    #expect(shared)
    let writable = pool.makeWritable(second)
    #expect(writable)
    pool.bytes(second).set(0, u8: 9)
    let contents = [first, second, third].map { pool.bytes($0).array[0] }
    #expect(contents == [7, 9, 7])
    let copied = pool.bytes(second).array
    #expect(copied == [9, 7, 7, 7, 7, 7, 7, 7, 7, 7])
    pool.free(first, .consumed)
    pool.free(second, .noSocket)
    let last = pool.bytes(third).array
    #expect(last[9] == 7)
    pool.free(third, .noSocket)
    #expect(pool.allocated == 3)
    #expect(pool.freed == 3)
    #expect(pool.reasons[.noSocket] == 2)
    #expect(pool.reasons.dropped == 2)
  }

  @Test("A pool gives what it has, no more, and everything again after it has come back")
  func exhaustion() {
    var pool = BufferPool(.init(packets: 64, largeBlocks: 2))
    for _ in 0..<3 {
      let slots = (0..<70).map { _ in pool.allocate(100) }
      #expect(slots.filter { $0 != .none }.count == 64)
      #expect(Set(slots).count == 65)
      for slot in slots where slot != .none { pool.free(slot, .consumed) }
      let large = (0..<3).map { _ in pool.allocate(3000) }
      #expect(large.filter { $0 != .none }.count == 2)
      for slot in large where slot != .none { pool.free(slot, .consumed) }
    }
    let endless = pool.allocate(5000)
    #expect(endless == .none)
    #expect(pool.held == 0)
  }

  @Test("A checksum is RFC 1071's for every length, and a TTL's mending agrees with a new sum")
  func checksums() {
    var random = RandomState(seed: 2)
    var pool = BufferPool(.init(packets: 64, largeBlocks: 1))
    for length in 0..<130 {
      let slot = pool.allocate(length)
      _ = pool.put(slot, length)
      let bytes = pool.bytes(slot)
      for offset in 0..<length { bytes.set(offset, u8: UInt8(truncatingIfNeeded: random.next())) }
      var sum: UInt32 = 0
      for (offset, byte) in bytes.array.enumerated() { sum += UInt32(byte) << (offset % 2 == 0 ? 8 : 0) }
      while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
      #expect(bytes.checksum() == ~UInt16(sum))
      if length == 20 {
        for ttl in 1...255 {
          bytes.set(IPv4Header.ttl, u8: UInt8(ttl))
          bytes.set(IPv4Header.checksum, u16: 0)
          bytes.set(IPv4Header.checksum, u16: bytes.ipv4Checksum())
          #expect(bytes.checksum() == 0)
          bytes.decrementTTL()
          #expect(bytes.checksum() == 0)
          #expect(bytes.ipv4Checksum() == 0)
        }
      }
      pool.free(slot, .consumed)
    }
  }
}
