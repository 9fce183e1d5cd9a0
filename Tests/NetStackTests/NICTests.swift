// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("NIC")
struct NICTests {
  /// Two cards of one node that are ports of a bridge, so that what comes in by one goes out by the other.
  struct Pair: ~Copyable {
    var kernel: Kernel
    let left: DeviceIndex
    let right: DeviceIndex
    let node: NamespaceIndex

    init(queues: Int = 1, burst: Int = 64, packets: Int = 4096, bridged: Bool = true) throws {
      var kernel = Kernel(
        .init(seed: 1, burst: burst, pool: .init(packets: packets, largeBlocks: 64)),
        now: Instant(nanoseconds: 0))
      let node = try kernel.node()
      if bridged { try kernel.bridge("lan", node) }
      var faces: [DeviceIndex] = []
      for name in ["left", "right"] {
        faces.append(
          try kernel.makeOutside(try #require(InterfaceName(name)), in: node, queues: queues))
        try kernel.set(name, up: true, in: node)
        if bridged { try kernel.join(name, "lan", node) }
      }
      self.kernel = kernel
      self.node = node
      left = faces[0]
      right = faces[1]
    }

    func statistic(_ name: String, _ device: DeviceIndex) throws -> UInt64? {
      try kernel.deviceStatistics(of: device).first { $0.name == name }?.value
    }
  }

  /// A UDP datagram from 10.0.0.1 to 10.0.0.2, its checksum right.
  private static func datagram(from source: UInt16, length: Int = 26, id: Int = 0) -> [UInt8] {
    var frame: [UInt8] = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0]
    let total = 28 + length
    frame += [0x45, 0, UInt8(total >> 8), UInt8(total & 255), UInt8(id >> 8 & 255), UInt8(id & 255), 0, 0]
    frame += [64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
    frame += [
      UInt8(source >> 8), UInt8(source & 255), 0, 9, UInt8((8 + length) >> 8), UInt8((8 + length) & 255),
    ]
    frame += [0, 0] + (0..<length).map { UInt8(truncatingIfNeeded: $0 + id) }
    func sum(_ bytes: ArraySlice<UInt8>, _ initial: UInt64) -> UInt16 {
      var sum = initial
      for (offset, byte) in bytes.enumerated() { sum += UInt64(byte) << (offset % 2 == 0 ? 8 : 0) }
      return ~foldChecksum(sum)
    }
    let ip = sum(frame[14..<34], 0)
    frame[24] = UInt8(ip >> 8)
    frame[25] = UInt8(ip & 255)
    let udp = sum(frame[34...], UInt64(17 + 8 + length + 0x0a00 * 2 + 1 + 2))
    frame[40] = UInt8(udp >> 8)
    frame[41] = UInt8(udp & 255)
    return frame
  }

  private static func other(_ number: Int) -> [UInt8] {
    [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x12, 0x34, UInt8(number >> 8), UInt8(number & 255)]
      + [UInt8](repeating: 7, count: 44)
  }

  // MARK: Receive-side scaling

  @Test(
    "Hashes are those of Microsoft's verification suite, over addresses and with ports",
    arguments: [
      ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323e_8fc2, 0x51cc_c178),
      ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xd718_262a, 0xc626_b0ea),
      ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xd2d0_a5de, 0x5c2b_394a),
      ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x8298_9176, 0xafc7_327f),
      ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5d18_09c5, 0x10e8_28a2),
      ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2cc1_8cd5, 0x4020_7d3d),
      ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0f0c_461c, 0xdde5_1bbf),
      (
        "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x4b61_e985,
        0x02d1_feef
      ),
    ])
  func toeplitz(_ vector: (String, Int, String, Int, Int, Int)) throws {
    let (source, sourcePort, destination, port, addresses, both) = vector
    let pair = [try #require(IPAddress(source)), try #require(IPAddress(destination))].flatMap { $0.bytes }
    let ports = [sourcePort >> 8, sourcePort & 255, port >> 8, port & 255].map { UInt8($0) }
    let isIPv6 = pair.count == 32
    var scaling = ReceiveSideScaling(queues: 1)
    func hash(_ proto: UInt8, fragment: UInt8 = 0) -> UInt32? {
      let total = pair.count + (isIPv6 ? 8 : 12) + 24
      var frame = [UInt8](repeating: 2, count: 12)
      if isIPv6 {
        frame += [0x86, 0xdd, 0x60, 0, 0, 0, 0, UInt8(total - 40), proto, 64]
      } else {
        frame += [8, 0, 0x45, 0, 0, UInt8(total), 0, 0, fragment, 0, 64, proto, 0, 0]
      }
      frame += pair + ports + [UInt8](repeating: 0, count: 20)
      return unsafe frame.withUnsafeMutableBytes { bytes in
        guard let base = bytes.baseAddress else { return nil }
        return scaling.hash(of: unsafe PacketBytes(base: base, count: bytes.count))
      }
    }
    #expect(hash(6) == UInt32(both))
    #expect(hash(17) == UInt32(addresses))
    #expect(hash(1) == UInt32(addresses))
    if !isIPv6 { #expect(hash(6, fragment: 0x20) == UInt32(addresses)) }
    scaling.fields = [.udp4, .udp6]
    #expect(hash(17) == UInt32(both))
    #expect(hash(6) == UInt32(addresses))
  }

  @Test("A flow stays in one queue, flows spread over all, and the indirection table says where")
  func queues() throws {
    var pair = try Pair(queues: 4)
    try pair.kernel.setScaling(fields: [.udp4], of: pair.left)
    for number in 0..<64 {
      for _ in 0..<2 { pair.kernel.inject(Self.datagram(from: UInt16(1000 + number)), into: pair.left) }
    }
    pair.kernel.run(for: .milliseconds(1))
    let counts = try (0..<4).map { try pair.statistic("rx_queue_\($0)_packets", pair.left) ?? 0 }
    #expect(counts.reduce(0, +) == 128)
    #expect(counts.allSatisfy { $0 > 0 && $0 % 2 == 0 })
    let sent = try (0..<4).map { try pair.statistic("tx_queue_\($0)_packets", pair.right) ?? 0 }
    #expect(sent.reduce(0, +) == 128)
    // All to the last.
    try pair.kernel.setScaling(indirection: [UInt8](repeating: 3, count: 128), of: pair.left)
    for number in 0..<32 { pair.kernel.inject(Self.datagram(from: UInt16(number)), into: pair.left) }
    pair.kernel.run(for: .milliseconds(1))
    let last = try pair.statistic("rx_queue_3_packets", pair.left)
    #expect(last == counts[3] + 32)
    #expect(throws: KernelError.invalidArgument) {
      try pair.kernel.setScaling(indirection: [UInt8](repeating: 4, count: 128), of: pair.left)
    }
    #expect(throws: KernelError.invalidArgument) { try pair.kernel.setScaling(key: [1, 2], of: pair.left) }
    #expect(pair.kernel.accounting.isClosed)
  }

  // MARK: Rings

  @Test("A full RX ring misses frames and counts them; those that it took arrive in order")
  func fullReceiveRing() throws {
    var pair = try Pair()
    let taken = (0..<300).map { pair.kernel.inject(Self.other($0), into: pair.left) }
    #expect(taken.filter { $0 }.count == 256)
    let missed = try pair.statistic("rx_missed_errors", pair.left)
    #expect(missed == 44)
    let drops = try pair.statistic("rx_queue_0_drops", pair.left)
    #expect(drops == 44)
    #expect(pair.kernel.accounting.isClosed)
    pair.kernel.run(for: .milliseconds(1))
    for number in 0..<256 { #expect(pair.kernel.takeFrame(from: pair.right) == Self.other(number)) }
    #expect(pair.kernel.takeFrame(from: pair.right) == nil)
    pair.kernel.run(for: .milliseconds(1))
    #expect(pair.kernel.accounting.isClosed)
    #expect(pair.kernel.accounting.held == 0)
    // Every lap of the rings works like the first.
    for lap in 0..<2000 {
      pair.kernel.inject(Self.other(lap), into: pair.left)
      pair.kernel.run(for: .microseconds(1))
      #expect(pair.kernel.takeFrame(from: pair.right) == Self.other(lap))
    }
  }

  @Test("What a full TX ring cannot take waits in the queue before it, which drops beyond its length")
  func fullTransmitRing() throws {
    var pair = try Pair()
    try pair.kernel.change("right", pair.node) { $0.transmitQueueLength = 100 }
    for round in 0..<2 {
      for half in 0..<2 {
        for number in 0..<200 { pair.kernel.inject(Self.other(half * 200 + number), into: pair.left) }
        pair.kernel.run(for: .milliseconds(1))
      }
      let queue = pair.kernel.queueStatistics(of: pair.right)
      #expect(queue?.queueLength == 100)
      #expect(queue?.drops == UInt64(44 * (round + 1)))
      for number in 0..<256 { #expect(pair.kernel.takeFrame(from: pair.right) == Self.other(number)) }
      #expect(pair.kernel.takeFrame(from: pair.right) == nil)
      #expect(pair.kernel.accounting.isClosed)
      // NAPI gives the descriptors back, and the queue goes on.
      pair.kernel.run(for: .milliseconds(1))
      for number in 256..<356 { #expect(pair.kernel.takeFrame(from: pair.right) == Self.other(number)) }
      pair.kernel.run(for: .milliseconds(1))
      #expect(pair.kernel.accounting.held == 0)
    }
    let busy = try pair.statistic("tx_queue_0_busy", pair.right)
    #expect(busy == 0)
  }

  @Test("Without memory a ring runs empty, counts, and is filled again when there is some")
  func noMemory() throws {
    // 512 blocks for two rings of 256: none is left for what is under way.
    var pair = try Pair(packets: 512)
    for number in 0..<600 {
      pair.kernel.inject(Self.other(number), into: pair.left)
      pair.kernel.run(for: .microseconds(1))
    }
    let failed = try pair.statistic("rx_queue_0_alloc_failed", pair.left)
    #expect(failed ?? 0 > 0)
    let missed = try pair.statistic("rx_missed_errors", pair.left)
    #expect(missed ?? 0 > 0)
    while pair.kernel.takeFrame(from: pair.right) != nil {}
    pair.kernel.run(for: .seconds(1))
    #expect(pair.kernel.accounting.isClosed)
    #expect(pair.kernel.accounting.held == 0)
    let isTaken = pair.kernel.inject(Self.other(1), into: pair.left)
    #expect(isTaken)
    pair.kernel.run(for: .milliseconds(1))
    #expect(pair.kernel.takeFrame(from: pair.right) == Self.other(1))
  }

  @Test("A frame longer than a block takes several, and longer than the MTU and a tag is no frame")
  func sizes() throws {
    var pair = try Pair()
    for name in ["left", "right"] { try pair.kernel.change(name, pair.node) { $0.mtu = 9000 } }
    for length in [14, 60, 1792, 1793, 3584, 3585, 9014, 9018] {
      let frame = Self.other(length) + (0..<max(length - 60, 0)).map { UInt8(truncatingIfNeeded: $0) }
      let cut = Array(frame.prefix(length))
      let isTaken = pair.kernel.inject(cut, into: pair.left)
      #expect(isTaken)
      pair.kernel.run(for: .milliseconds(1))
      #expect(pair.kernel.takeFrame(from: pair.right) == cut)
    }
    for length in [0, 13, 9019, 70000] {
      let isTaken = pair.kernel.inject([UInt8](repeating: 2, count: length), into: pair.left)
      #expect(!isTaken)
    }
    let long = try pair.statistic("rx_long_length_errors", pair.left)
    #expect(long == 2)
    pair.kernel.run(for: .milliseconds(1))
    #expect(pair.kernel.accounting.isClosed)
    #expect(pair.kernel.accounting.held == 0)
  }

  @Test("Ring sizes are powers of two within limits; changing one, or the card's going down, loses no count")
  func ringSizes() throws {
    var pair = try Pair()
    var sizes = RingSizes()
    sizes.receive = 65
    sizes.transmit = 1000
    for number in 0..<10 { pair.kernel.inject(Self.other(number), into: pair.left) }
    try pair.kernel.setRingSizes(sizes, of: pair.left)
    let actual = try pair.kernel.ringSizes(of: pair.left)
    #expect(actual.receive == 128 && actual.transmit == 1024)
    let taken = (0..<130).filter { pair.kernel.inject(Self.other($0), into: pair.left) }
    #expect(taken.count == 128)
    sizes.receive = 8192
    #expect(throws: KernelError.invalidArgument) { try pair.kernel.setRingSizes(sizes, of: pair.left) }
    #expect(pair.kernel.accounting.isClosed)
    pair.kernel.run(for: .milliseconds(1))
    try pair.kernel.set("right", up: false, in: pair.node)
    #expect(pair.kernel.accounting.isClosed)
    #expect(pair.kernel.accounting.held == 0)
    try pair.kernel.set("left", up: false, in: pair.node)
    #expect(pair.kernel.accounting.buffersHeld == 0)
    #expect(pair.kernel.accounting.isClosed)
    try pair.kernel.set("left", up: true, in: pair.node)
    try pair.kernel.setQueues(8, of: pair.left)
    #expect(pair.kernel.accounting.buffersHeld == 8 * 128)
    #expect(throws: KernelError.invalidArgument) { try pair.kernel.setQueues(65, of: pair.left) }
    try pair.kernel.perform(LinkMessage(name: "left").request(.delete), in: pair.node)
    #expect(pair.kernel.accounting.buffersHeld == 0)
    #expect(pair.kernel.accounting.isClosed)
    let isGone = pair.kernel.inject(Self.other(1), into: pair.left)
    #expect(!isGone)
  }

  // MARK: Interrupts

  @Test("The first frame interrupts and masks; what comes while NAPI polls does not interrupt")
  func masking() throws {
    var pair = try Pair()
    for number in 0..<200 { pair.kernel.inject(Self.other(number), into: pair.left) }
    let first = try pair.statistic("queue_0_interrupts", pair.left)
    #expect(first == 1)
    // A turn's budget is 300, a queue's 64: four polls of one queue.
    let before = pair.kernel.softnet.polls
    _ = pair.kernel.poll(now: pair.kernel.now)
    #expect(pair.kernel.softnet.polls - before == 4)
    #expect(pair.kernel.softnet.interrupts == 1)
    pair.kernel.inject(Self.other(1), into: pair.left)
    let second = try pair.statistic("queue_0_interrupts", pair.left)
    #expect(second == 2)
  }

  @Test("Frames wait for rx-usecs, or until there are rx-frames")
  func coalescing() throws {
    var pair = try Pair()
    var coalescing = Coalescing()
    coalescing.receiveDelay = .microseconds(50)
    coalescing.receiveFrames = 8
    try pair.kernel.setCoalescing(coalescing, of: pair.left)
    pair.kernel.inject(Self.other(0), into: pair.left)
    pair.kernel.run(until: Instant(nanoseconds: 49_999))
    #expect(pair.kernel.takeFrame(from: pair.right) == nil)
    pair.kernel.run(until: Instant(nanoseconds: 50_000))
    #expect(pair.kernel.takeFrame(from: pair.right) == Self.other(0))
    // Eight at once do not wait.
    for number in 0..<8 { pair.kernel.inject(Self.other(number), into: pair.left) }
    pair.kernel.run(until: Instant(nanoseconds: 50_001))
    for number in 0..<8 { #expect(pair.kernel.takeFrame(from: pair.right) == Self.other(number)) }
    // The timer of the eight, which still runs, does not make the next one early.
    pair.kernel.run(until: Instant(nanoseconds: 90_000))
    pair.kernel.inject(Self.other(9), into: pair.left)
    pair.kernel.run(until: Instant(nanoseconds: 139_999))
    #expect(pair.kernel.takeFrame(from: pair.right) == nil)
    pair.kernel.run(until: Instant(nanoseconds: 140_000))
    #expect(pair.kernel.takeFrame(from: pair.right) == Self.other(9))
    coalescing.receiveDelay = .seconds(2)
    #expect(throws: KernelError.invalidArgument) { try pair.kernel.setCoalescing(coalescing, of: pair.left) }
  }

  @Test("What was sent is given back after tx-usecs, or when there are tx-frames")
  func transmitCoalescing() throws {
    var pair = try Pair()
    var coalescing = Coalescing()
    coalescing.transmitDelay = .microseconds(100)
    coalescing.transmitFrames = 4
    try pair.kernel.setCoalescing(coalescing, of: pair.right)
    func send(_ count: Int, _ pair: inout Pair) {
      for number in 0..<count { pair.kernel.inject(Self.other(number), into: pair.left) }
      pair.kernel.run(for: Interval(nanoseconds: 1))
      for _ in 0..<count { _ = pair.kernel.takeFrame(from: pair.right) }
      pair.kernel.run(for: Interval(nanoseconds: 1))
    }
    send(3, &pair)
    #expect(pair.kernel.accounting.held == 3)
    pair.kernel.run(for: .microseconds(100))
    #expect(pair.kernel.accounting.held == 0)
    send(4, &pair)
    #expect(pair.kernel.accounting.held == 0)
    #expect(pair.kernel.accounting.isClosed)
  }

  @Test(
    "A wire that is pulled out takes the carrier, and with it neighbours, but neither routes nor frames in rings"
  )
  func unplugged() throws {
    var pair = try Pair(bridged: false)
    try pair.kernel.address("10.0.0.2/24", "left", pair.node)
    var neighbor = NeighborMessage(family: .ipv4, index: pair.kernel.ifindex("left", pair.node))
    neighbor.destination = .v4(v4("10.0.0.9"))
    neighbor.linkAddress = [2, 0, 0, 0, 0, 9]
    neighbor.state = .reachable
    try pair.kernel.perform(neighbor.request(.create), in: pair.node)
    try pair.kernel.setLink(false, of: pair.left)
    func link() throws -> LinkMessage? {
      try pair.kernel.dump(LinkMessage.dump(), in: pair.node).map { try LinkMessage($0) }
        .first { $0.name == "left" }
    }
    let down = try link()
    #expect(down?.operationalState == .down && down?.carrier == false && down?.isUp == true)
    #expect(down?.flags.isDisjoint(with: [.running, .lowerUp]) == true)
    #expect(pair.kernel.neighborState("10.0.0.9", "left", pair.node) == nil)
    let flags = try pair.kernel.dump(RouteMessage.dump(.ipv4), in: pair.node).map { try RouteMessage($0) }
      .filter { $0.table == RouteMessage.mainTable }.map { $0.flags.contains(.linkDown) }
    #expect(flags == [true])
    let isTaken = pair.kernel.inject(Self.other(1), into: pair.left)
    #expect(!isTaken)
    let socket = try pair.kernel.openEcho(in: pair.node)
    try pair.kernel.sendEcho(to: v4("10.0.0.9"), sequence: 1, by: socket)
    pair.kernel.run(for: .milliseconds(1))
    try pair.kernel.setLink(true, of: pair.left)
    #expect(pair.kernel.takeFrame(from: pair.left) == nil)
    let up = try link()
    #expect(up?.operationalState == .up && up?.flags.contains(.lowerUp) == true)
    pair.kernel.run(for: .seconds(1))
    // The question that is asked again finds the wire.
    let question = pair.kernel.takeFrame(from: pair.left)
    #expect(question?.count == 42)
    pair.kernel.run(for: .seconds(9))
    #expect(pair.kernel.accounting.isClosed)
  }

  // MARK: Offloads

  @Test("A NIC verifies what it can, counts what is wrong, and hands all of it up")
  func receiveChecksums() throws {
    var pair = try Pair(bridged: false)
    try pair.kernel.address("10.0.0.2/24", "left", pair.node)
    try pair.kernel.change("left", pair.node) { $0.address = [2, 0, 0, 0, 0, 9] }
    let good = Self.datagram(from: 7)
    var bad = good
    bad[45] ^= 1
    for name in ["on", "off"] {
      try pair.kernel.setFeature("rx-checksumming", name == "on", of: pair.left)
      pair.kernel.inject(good, into: pair.left)
      pair.kernel.inject(bad, into: pair.left)
      pair.kernel.run(for: .milliseconds(1))
    }
    let counters = pair.kernel.counted(pair.node)
    #expect(counters[.udpNoPorts] == 2)
    #expect(counters[.udpInCsumErrors] == 2)
    let wrong = try pair.statistic("rx_queue_0_csum_err", pair.left)
    #expect(wrong == 1)
    #expect(throws: KernelError.notSupported("Could not change any device features")) {
      try pair.kernel.setFeature("tcp-segmentation-offload", true, of: pair.left)
    }
    #expect(throws: KernelError.invalidArgument) { try pair.kernel.setFeature("magic", true, of: pair.left) }
  }

  @Test(
    "A checksum left to the device is made where the frame leaves, and is right inside",
    arguments: [true, false])
  func partialChecksums(_ hasOffload: Bool) throws {
    var pair = try Pair()
    let node = try pair.kernel.node()
    try pair.kernel.veth("eth0", node, "port", pair.node)
    try pair.kernel.join("port", "lan", pair.node)
    for face in [pair.left, pair.right] {
      try pair.kernel.setFeature("tx-checksumming", hasOffload, of: face)
    }
    pair.kernel.captureAll()
    let whole = Self.datagram(from: 7)
    let slot = pair.kernel.pool.allocate(length: whole.count)
    unsafe whole.withUnsafeBytes { unsafe pair.kernel.pool.store(RawSpan(_unsafeBytes: $0), in: slot) }
    // Only the pseudo header's sum stands in the field.
    pair.kernel.pool.bytes(slot).set(40, u16: UInt16(17 + 34 + 0x0a00 * 2 + 1 + 2))
    pair.kernel.pool[slot].checksumState = .partial
    pair.kernel.pool[slot].checksumStart = pair.kernel.pool[slot].dataOffset + 34
    pair.kernel.pool[slot].checksumOffset = 6
    let device = pair.kernel.device("eth0", in: node)
    pair.kernel.transmit(slot, by: try #require(device))
    pair.kernel.run(for: .milliseconds(1))
    // Flooded: one copy by each.
    #expect(pair.kernel.takeFrame(from: pair.left) == whole)
    #expect(pair.kernel.takeFrame(from: pair.right) == whole)
    let seen = pair.kernel.takeCapture()
    #expect(seen.count == 4)
    #expect(seen.allSatisfy { $0.frame == whole })
    pair.kernel.run(for: .milliseconds(1))
    #expect(pair.kernel.accounting.isClosed)
    #expect(pair.kernel.accounting.held == 0)
  }

  @Test("Bursts change nothing about what each wire carries", arguments: [2, 7, 64])
  func bursts(_ burst: Int) throws {
    func frames(_ burst: Int) throws -> [[UInt8]] {
      var pair = try Pair(queues: 4, burst: burst)
      try pair.kernel.setScaling(fields: [.udp4], of: pair.left)
      var random = RandomState(seed: 4)
      var out: [[UInt8]] = []
      for round in 0..<20 {
        for number in 0..<random.below(150) {
          let frame = Self.datagram(from: UInt16(random.below(40)), id: round * 256 + Int(number))
          pair.kernel.inject(frame, into: pair.left)
        }
        pair.kernel.run(for: .microseconds(10))
        while let frame = pair.kernel.takeFrame(from: pair.right) { out.append(frame) }
      }
      #expect(out.count > 1000)
      return out
    }
    #expect(try frames(1) == frames(burst))
  }
}
