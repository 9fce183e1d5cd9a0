// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("Page fragments")
struct FragmentTests {
  /// A packet whose bytes count up, some in its block, some in pages, some in a list of sk_buffs of either kind.
  private static func packet(_ pool: inout BufferPool, _ shape: [(linear: Int, paged: Int)]) -> Slot {
    var next: UInt8 = 0
    func fill(_ slot: Slot) {
      pool.forEachPiece(of: slot, from: 0, count: Int(pool[slot].length)) { piece in
        for offset in 0..<piece.count {
          piece.set(offset, u8: next)
          next &+= 1
        }
      }
    }
    var parts: [Slot] = []
    for (linear, paged) in shape {
      let slot = pool.allocate(linear: linear, paged: paged)
      pool[slot].length += UInt32(linear)
      fill(slot)
      parts.append(slot)
    }
    for position in parts.indices.dropFirst().dropLast() { pool[parts[position]].next = parts[position + 1] }
    if parts.count > 1 { _ = pool.append(list: parts[1], to: parts[0]) }
    return parts[0]
  }

  private static let shapes: [[(linear: Int, paged: Int)]] = [
    [(100, 0)], [(40, 60)], [(0, 100)], [(40, 9000)], [(20, 0), (81, 0)], [(20, 7), (0, 81), (33, 0)],
    [(20, 20000), (9, 0)], [(256, 65280)], [(8, 0), (8, 0), (8, 5), (8, 0)],
  ]

  private static func counting(_ count: Int, from first: Int = 0) -> [UInt8] {
    (first..<first + count).map { UInt8(truncatingIfNeeded: $0) }
  }

  @Test("Bytes stand in order however they are stored, and every page comes back", arguments: shapes.indices)
  func order(_ number: Int) {
    var pool = BufferPool(.init(packets: 64, largeBlocks: 4, smallPages: 16, largePages: 4))
    let shape = Self.shapes[number]
    let total = shape.reduce(0) { $0 + $1.linear + $1.paged }
    let slot = Self.packet(&pool, shape)
    let length = Int(pool[slot].length)
    #expect(length == total)
    let whole = pool.array(slot)
    #expect(whole == Self.counting(total))
    let lent = pool.withWire(slot) { span in
      (0..<span.byteCount).map { span.unsafeLoad(fromByteOffset: $0, as: UInt8.self) }
    }
    #expect(lent == whole)
    let held = pool.trueSize(slot)
    #expect(held >= total)
    pool.free(slot, .consumed)
    #expect(pool.held == 0)
    #expect(pool.pages.taken == pool.pages.released)
  }

  @Test("Pulling and trimming at every place keep the other bytes", arguments: shapes.indices)
  func ends(_ number: Int) {
    var pool = BufferPool(.init(packets: 64, largeBlocks: 4, smallPages: 32, largePages: 8))
    let shape = Self.shapes[number]
    let total = shape.reduce(0) { $0 + $1.linear + $1.paged }
    let places = total <= 200 ? Array(0...total) : [0, 1, 255, 256, 257, 3000, total - 1, total]
    for place in places {
      let slot = Self.packet(&pool, shape)
      let shared = pool.clone(slot)
      if place <= 3000 {
        let pulled = pool.mayPull(slot, place)
        #expect(pulled)
        let linear = pool[slot].linearLength
        #expect(linear >= place)
        let whole = pool.array(slot)
        #expect(whole == Self.counting(total))
      }
      pool.trim(slot, to: place)
      let cut = pool.array(slot)
      #expect(cut == Self.counting(place))
      let other = pool.array(shared)
      #expect(other == Self.counting(total))
      let references = pool.pageReferences(slot) + pool.pageReferences(shared)
      #expect(pool.pages.taken == pool.pages.released + UInt64(references))
      pool.free(slot, .consumed)
      pool.free(shared, .consumed)
      #expect(pool.pages.taken == pool.pages.released)
    }
    #expect(pool.held == 0)
  }

  @Test("A sum over pieces is the sum over the whole, from every place", arguments: shapes.indices)
  func sums(_ number: Int) {
    var pool = BufferPool(.init(packets: 64, largeBlocks: 4, smallPages: 16, largePages: 4))
    let shape = Self.shapes[number]
    let slot = Self.packet(&pool, shape)
    let whole = pool.array(slot)
    for place in stride(from: 0, to: whole.count, by: max(1, whole.count / 64)) {
      var sum: UInt64 = 0
      for (offset, byte) in whole[place...].enumerated() { sum += UInt64(byte) << (offset % 2 == 0 ? 8 : 0) }
      let checksum = pool.checksum(slot, from: place)
      #expect(checksum == ~foldChecksum(sum))
    }
    pool.free(slot, .consumed)
  }

  @Test("What is too long, too much, or for which there is no page, is refused and leaks nothing")
  func limits() {
    var pool = BufferPool(.init(packets: 64, largeBlocks: 4, smallPages: 4, largePages: 2))
    let longest = pool.allocate(length: BufferPool.maximumLength)
    #expect(longest != .none || pool.pages.failures > 0)
    let tooLong = pool.allocate(length: BufferPool.maximumLength + 1)
    #expect(tooLong == .none)
    if longest != .none { pool.free(longest, .consumed) }
    // Two large pages are all there are.
    let first = pool.allocate(length: 60000)
    let second = pool.allocate(length: 60000)
    #expect(first != .none)
    #expect(second == .none)
    let tail = pool.allocate(length: 3000)
    let end = pool.allocate(length: 3000)
    pool[tail].next = end
    let taken = pool.append(list: tail, to: first)
    #expect(!taken)
    let rest = pool[tail].next
    #expect(rest == end)
    pool[tail].next = .none
    pool.free(end, .consumed)
    let fits = pool.append(list: tail, to: first)
    #expect(fits)
    #expect(pool.held == 1)
    pool.free(first, .consumed)
    #expect(pool.held == 0)
    #expect(pool.pages.taken == pool.pages.released)
    let four = pool.allocate(linear: 10, paged: 4 * 4096)
    #expect(four != .none)
    let fifth = pool.allocate(linear: 10, paged: 1)
    #expect(fifth == .none)
    pool.free(four, .consumed)
    #expect(pool.held == 0)
    #expect(pool.pages.taken == pool.pages.released)
  }

  @Test("Parts of one page that lie side by side become one fragment")
  func coalescing() {
    var pool = BufferPool(.init(packets: 64, largeBlocks: 1))
    let page = pool.pages.allocate(large: true)
    for offset in 0..<10 { pool.pages.bytes(page).set(offset, u8: UInt8(offset)) }
    let slot = pool.allocate(0)
    for offset in 0..<10 {
      pool.pages.retain(page)
      let appended = pool.append(PageFragment(page: page, offset: UInt16(offset), length: 1), to: slot)
      #expect(appended)
    }
    let bytes = pool.array(slot)
    #expect(bytes == Self.counting(10))
    #expect(pool[slot].fragmentCount == 1)
    pool.free(slot, .consumed)
    let shared = pool.pages.isShared(page)
    #expect(!shared)
    pool.pages.release(page)
    #expect(pool.pages.taken == pool.pages.released)
  }

  @Test("The largest ping there is goes to oneself, and through a bridge that carries so much")
  func largestPing() throws {
    var kernel = Kernel()
    let a = try kernel.node()
    let b = try kernel.node()
    let network = try kernel.node()
    try kernel.bridge("lan", network)
    for (name, node, host) in [("pa", a, 1), ("pb", b, 2)] {
      try kernel.veth("eth0", node, name, network)
      try kernel.join(name, "lan", network)
      try kernel.address("10.0.0.\(host)/24", "eth0", node)
      try kernel.change("eth0", node) { $0.mtu = 65535 }
      try kernel.change(name, network) { $0.mtu = 65535 }
    }
    try kernel.change("lan", network) { $0.mtu = 65535 }
    for target in ["127.0.0.1", "10.0.0.1", "10.0.0.2"] {
      let events = try kernel.ping(target, from: a, count: 2, length: 65507)
      #expect(events.map(\.kind) == [.reply, .reply])
      #expect(events.map(\.length) == [65507, 65507])
    }
    #expect(throws: KernelError.messageTooLong) { try kernel.ping("10.0.0.2", from: a, length: 65508) }
    #expect(kernel.accounting.isClosed)
    #expect(kernel.accounting.held == 0)
  }

  @Test(
    "Frames of every size up to 64 KiB come out as they went in",
    arguments: [14, 3840, 3841, 9018, 16641, 65549])
  func frames(_ length: Int) throws {
    var kernel = Kernel()
    let node = try kernel.node()
    try kernel.bridge("lan", node)
    var faces: [DeviceIndex] = []
    for name in ["left", "middle", "right"] {
      faces.append(try kernel.makeOutside(try #require(InterfaceName(name)), in: node))
      try kernel.change(name, node) { $0.mtu = 65535 }
      try kernel.set(name, up: true, in: node)
      try kernel.join(name, "lan", node)
    }
    kernel.captureAll()
    let frame = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8] + Self.counting(length - 12)
    kernel.inject(frame, into: faces[0])
    kernel.run(for: .milliseconds(1))
    #expect(kernel.accounting.isClosed)
    let out = (kernel.takeFrame(from: faces[1]), kernel.takeFrame(from: faces[2]))
    #expect(out.0 == frame)
    #expect(out.1 == frame)
    #expect(kernel.takeCapture().allSatisfy { $0.frame == frame })
    kernel.run(for: .milliseconds(1))
    #expect(kernel.accounting.isClosed)
    #expect(kernel.accounting.held == 0)
    let tooLong = kernel.inject([UInt8](repeating: 2, count: BufferPool.maximumLength + 1), into: faces[0])
    #expect(!tooLong)
  }

  @Test("A large datagram is cut on its way to a smaller link, and its error quotes its first bytes")
  func cut() throws {
    var lab = try PingTests.Routed()
    for (name, node) in [("eth0", lab.a), ("left", lab.router)] {
      try lab.kernel.change(name, node) { $0.mtu = 65535 }
    }
    lab.kernel.captureAll()
    _ = try lab.kernel.ping("10.0.2.2", from: lab.a, length: 65507)
    let refused = try lab.kernel.ping("10.0.2.2", from: lab.a, length: 65507, dontFragment: true)
    #expect(refused.map(\.kind) == [.error(type: 3, code: 4)])
    let counters = lab.kernel.counted(lab.router)
    #expect(counters[.ipFragCreates] == 45)
    let right = lab.kernel.device("right", in: lab.router)
    let pieces = lab.kernel.takeCapture().filter {
      $0.device == right && $0.direction == .transmitted && $0.frame[12] == 8 && $0.frame[13] == 0
    }
    let payload = pieces.flatMap { $0.frame.dropFirst(34) }
    #expect(payload.count == 65515)
    #expect(payload.dropFirst(8).elementsEqual(Self.counting(65507)))
    #expect(lab.kernel.accounting.isClosed)
  }
}

extension BufferPool {
  /// All bytes of a packet.
  func array(_ slot: Slot) -> [UInt8] {
    var bytes: [UInt8] = []
    forEachPiece(of: slot, from: 0, count: Int(self[slot].length)) { bytes += $0.array }
    return bytes
  }
}
