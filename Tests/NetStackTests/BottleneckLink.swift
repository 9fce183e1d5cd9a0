// SPDX-License-Identifier: GPL-2.0-or-later

// Two hosts on a path with a rate, a delay and a queue, in virtual time: what congestion control is about.

import NetTypes
import Testing

@testable import NetStack

final class BottleneckLink {
  var kernel: Kernel
  let nodes: [NamespaceIndex]
  private let faces: [DeviceIndex]
  /// Bytes a second; nanoseconds each way; bytes that wait at most.
  let rate: Int64
  let delay: Int64
  let capacity: Int64
  private var onTheWay: [[(at: Int64, frame: [UInt8])]] = [[], []]
  private var first = [0, 0]
  private var busyUntil: [Int64] = [0, 0]
  private(set) var dropped = 0
  /// The most that has waited since this was set to 0.
  var mostQueued: Int64 = 0
  private(set) var carried: Int64 = 0

  init(rate: Int64 = 12_500_000, roundTrip: Int64 = 40_000_000, capacity: Int64 = 500_000) throws {
    var kernel = Kernel(
      Kernel.Options(seed: 1, pool: .init(packets: 32_768, largeBlocks: 64)), now: Instant(nanoseconds: 1))
    var (nodes, faces): ([NamespaceIndex], [DeviceIndex]) = ([], [])
    for host in 1...2 {
      let node = try kernel.node()
      let mac = MACAddress(rawValue: 0x0200_0000_0000 + UInt64(host))
      faces.append(try kernel.makeOutside(try #require(InterfaceName("eth0")), in: node, mac: mac))
      try kernel.set("eth0", up: true, in: node)
      try kernel.address("10.0.0.\(host)/24", "eth0", node)
      nodes.append(node)
    }
    self.kernel = kernel
    self.nodes = nodes
    self.faces = faces
    self.rate = rate
    self.capacity = capacity
    delay = roundTrip / 2
  }

  /// Lets time pass.
  func run(for interval: Interval) {
    let end = kernel.now.nanoseconds + interval.nanoseconds
    while true {
      while kernel.poll(now: kernel.now).hasMore {}
      for side in 0..<2 { while let frame = kernel.takeFrame(from: faces[side]) { carry(frame, from: side) } }
      var next = end
      if let deadline = kernel.poll(now: kernel.now).nextDeadline { next = min(next, deadline.nanoseconds) }
      for side in 0..<2 where first[side] < onTheWay[side].count {
        next = min(next, onTheWay[side][first[side]].at)
      }
      guard next < end || kernel.now.nanoseconds < end else { return }
      _ = kernel.poll(now: Instant(nanoseconds: max(next, kernel.now.nanoseconds)))
      for side in 0..<2 { deliver(from: side) }
      if kernel.now.nanoseconds >= end { return }
    }
  }

  private func deliver(from side: Int) {
    while first[side] < onTheWay[side].count, onTheWay[side][first[side]].at <= kernel.now.nanoseconds {
      kernel.inject(onTheWay[side][first[side]].frame, into: faces[1 - side])
      onTheWay[side][first[side]].frame = []
      first[side] += 1
    }
    if first[side] > 4096 {
      onTheWay[side].removeFirst(first[side])
      first[side] = 0
    }
  }

  private func carry(_ frame: [UInt8], from side: Int) {
    let now = kernel.now.nanoseconds
    let queued = max(busyUntil[side] - now, 0) * rate / 1_000_000_000
    guard queued + Int64(frame.count) <= capacity else {
      dropped += 1
      return
    }
    mostQueued = max(mostQueued, queued)
    busyUntil[side] = max(busyUntil[side], now) + Int64(frame.count) * 1_000_000_000 / rate
    carried += Int64(frame.count)
    onTheWay[side].append((busyUntil[side] + delay, frame))
  }

  /// A connection from the first host to the second.
  func connect(_ algorithm: String, port: UInt16) throws -> (client: SocketIndex, server: SocketIndex) {
    let listener = try kernel.makeSocket(.tcp(.ipv4), in: nodes[1])
    try kernel.bind(listener, to: name("0.0.0.0", port))
    try kernel.listen(listener, backlog: 1)
    let client = try kernel.makeSocket(.tcp(.ipv4), in: nodes[0])
    try kernel.setOption(.congestionControl(algorithm), on: client)
    #expect(failure { try kernel.connect(client, to: name("10.0.0.2", port)) } == 115)
    for _ in 0..<40 where kernel.readiness(of: listener).isEmpty { run(for: .milliseconds(50)) }
    return (client, try kernel.accept(listener))
  }
}
