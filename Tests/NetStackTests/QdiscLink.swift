// SPDX-License-Identifier: GPL-2.0-or-later

// A pair of devices of which one has a queueing discipline: frames with numbers go in, and come out with times.

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

/// `a` sends by the queue under test; what it lets go arrives at `b`.
struct QdiscLink: ~Copyable {
  /// A frame that came out.
  struct Arrival: Hashable {
    var number: UInt32
    var time: Int64
  }

  var kernel: Kernel
  let node: NamespaceIndex
  let a: DeviceIndex
  let b: DeviceIndex

  init(burst: Int = 64, seed: UInt64 = 1) throws {
    var kernel = Kernel(seed: seed, burst: burst)
    let node = try kernel.node()
    let peer = try kernel.node()
    try kernel.veth("a", node, "b", peer)
    let a = try kernel.find("a", node)
    let b = try kernel.find("b", peer)
    kernel.setCapture(true, on: b)
    self.kernel = kernel
    self.node = node
    self.a = a
    self.b = b
  }

  mutating func set(
    _ kind: QdiscKind, parent: QdiscHandle = .root, handle: QdiscHandle = QdiscHandle(major: 1),
    _ verb: RequestKind = .createOrReplace
  ) throws {
    try kernel.perform(
      QdiscMessage(index: kernel.ifindex("a", node), parent: parent, handle: handle, kind: kind).request(
        verb),
      in: node)
  }

  mutating func addClass(_ minor: UInt16, under parent: UInt16 = 0, _ options: HTBClassOptions) throws {
    let message = ClassMessage(
      index: kernel.ifindex("a", node), parent: QdiscHandle(major: 1, minor: parent),
      handle: QdiscHandle(major: 1, minor: minor), kind: .htb(options))
    try kernel.perform(message.request(.create), in: node)
  }

  /// A frame of `length` bytes with a number behind its Ethernet header.
  mutating func makeFrame(_ number: UInt32, length: Int = 100, priority: UInt32 = 0) throws -> Slot {
    let slot = kernel.pool.allocate(length: length)
    try #require(slot != .none)
    let bytes = kernel.pool.bytes(slot)
    bytes.fill(0)
    bytes.set(0, u48: 0x0200_0000_0001)
    bytes.set(6, u48: 0x0200_0000_0002)
    bytes.set(12, u16: 0x88b5)
    bytes.set(14, u32: number)
    kernel.pool[slot].priority = priority
    return slot
  }

  mutating func send(_ number: UInt32, length: Int = 100, priority: UInt32 = 0) throws {
    kernel.transmit(try makeFrame(number, length: length, priority: priority), by: a)
  }

  /// Sends frames `spacing` nanoseconds apart and waits for all that is under way.
  mutating func send(_ count: Int, spacing: Int64, length: Int = 100) throws -> [Arrival] {
    var arrivals: [Arrival] = []
    for number in 0..<count {
      try send(UInt32(number), length: length)
      kernel.run(for: Interval(nanoseconds: spacing))
      if number % 1024 == 0 { arrivals += take() }
    }
    kernel.run(for: .seconds(600))
    return arrivals + take()
  }

  mutating func take() -> [Arrival] {
    kernel.takeCapture().map { record in
      let number = record.frame[14..<18].reduce(0) { $0 << 8 | UInt32($1) }
      return Arrival(number: number, time: record.time.nanoseconds)
    }
  }

  var statistics: QdiscCounters { kernel.queueStatistics(of: a) ?? QdiscCounters() }

  mutating func dump() throws -> [QdiscMessage] {
    try kernel.dump(QdiscMessage.dump(index: kernel.ifindex("a", node)), in: node).map {
      try QdiscMessage(parsing: $0.payload[...])
    }
  }
}

/// What a list of numbers is like.
struct Moments {
  var mean = 0.0
  var deviation = 0.0
  /// Of each number with the next.
  var correlation = 0.0

  init(_ values: [Double]) {
    guard values.count > 1 else { return }
    let count = Double(values.count)
    let average = values.reduce(0, +) / count
    let variance = values.reduce(0) { $0 + ($1 - average) * ($1 - average) } / count
    mean = average
    deviation = variance.squareRoot()
    guard variance > 0 else { return }
    let products = zip(values, values.dropFirst()).reduce(0) { $0 + ($1.0 - average) * ($1.1 - average) }
    correlation = products / (count - 1) / variance
  }
}
