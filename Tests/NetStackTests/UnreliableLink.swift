// SPDX-License-Identifier: GPL-2.0-or-later

// Two hosts whose wire is the test's: it delays, loses, doubles and reorders frames, by a seed.

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

final class UnreliableLink {
  struct Faults {
    /// In thousandths.
    var loss: UInt64 = 0
    var duplication: UInt64 = 0
    var reordering: UInt64 = 0
    var delay: Int64 = 1_000_000
    /// Nothing of IPv4 passes within.
    var outage: Range<Int64>?
  }

  var kernel: Kernel
  let nodes: [NamespaceIndex]
  let faces: [DeviceIndex]
  var faults: Faults
  private var random: RandomState
  private var waiting: [(at: Int64, order: Int, face: Int, frame: [UInt8])] = []
  private var count = 0
  private(set) var lost = 0
  /// When a face last sent or was given something of IPv4.
  private(set) var lastActive: [Int64] = [0, 0]

  init(seed: UInt64, faults: Faults = Faults(), mtu: UInt32 = 1500) throws {
    var kernel = Kernel(seed: seed)
    var nodes: [NamespaceIndex] = []
    var faces: [DeviceIndex] = []
    for host in 1...2 {
      let node = try kernel.node()
      let mac = MACAddress(rawValue: 0x0200_0000_0000 + UInt64(host))
      faces.append(try kernel.makeOutside(try #require(InterfaceName("eth0")), in: node, mac: mac))
      try kernel.set("eth0", up: true, in: node)
      try kernel.change("eth0", node) { $0.mtu = mtu }
      try kernel.address("10.0.0.\(host)/24", "eth0", node)
      nodes.append(node)
    }
    self.kernel = kernel
    self.nodes = nodes
    self.faces = faces
    self.faults = faults
    random = RandomState(seed: seed)
  }

  /// Lets time pass, frames crossing as they do.
  func run(for interval: Interval) {
    let end = kernel.now.nanoseconds + interval.nanoseconds
    while kernel.now.nanoseconds < end {
      var result = kernel.poll(now: kernel.now)
      while result.hasMore { result = kernel.poll(now: kernel.now) }
      collect()
      var next = end
      if let deadline = result.nextDeadline { next = min(next, deadline.nanoseconds) }
      if let first = waiting.first { next = min(next, first.at) }
      kernel.run(until: Instant(nanoseconds: max(next, kernel.now.nanoseconds)))
      while let first = waiting.first, first.at <= kernel.now.nanoseconds {
        let frame = waiting.removeFirst().frame
        if Self.isIPv4(frame) { lastActive[first.face] = kernel.now.nanoseconds }
        kernel.inject(frame, into: faces[first.face])
      }
    }
    collect()
  }

  private static func isIPv4(_ frame: [UInt8]) -> Bool { frame[12] == 8 && frame[13] == 0 }

  private func collect() {
    for face in 0..<2 { while let frame = kernel.takeFrame(from: faces[face]) { carry(frame, to: 1 - face) } }
  }

  private func carry(_ frame: [UInt8], to face: Int) {
    let now = kernel.now.nanoseconds
    // ARP passes, so that what fails is what is tested.
    let isIPv4 = Self.isIPv4(frame)
    if isIPv4 { lastActive[1 - face] = now }
    if let outage = faults.outage, outage.contains(now), isIPv4 { return }
    guard random.below(1000) >= faults.loss || !isIPv4 else {
      lost += 1
      return
    }
    let copies = random.below(1000) < faults.duplication ? 2 : 1
    for _ in 0..<copies {
      var at = now + faults.delay
      if random.below(1000) < faults.reordering { at += Int64(random.below(5_000_000)) }
      count += 1
      waiting.append((at, count, face, frame))
    }
    waiting.sort { ($0.at, $0.order) < ($1.at, $1.order) }
  }
}
