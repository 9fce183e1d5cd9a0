// SPDX-License-Identifier: GPL-2.0-or-later

import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("Queueing disciplines")
struct QdiscTests {
  @Test("A veth has no queue of its own; a tap has pfifo_fast; before they come up both are noop")
  func defaults() throws {
    var kernel = Kernel()
    let node = try kernel.node()
    try kernel.veth("a", node, "b", node, up: false)
    let tap = try kernel.makeOutside(try #require(InterfaceName("tap0")), in: node)
    let a = try kernel.find("a", node)
    #expect(kernel.queueName(of: a) == "noop")
    #expect(kernel.queueName(of: tap) == "noop")
    for name in ["a", "tap0"] { try kernel.set(name, up: true, in: node) }
    #expect(kernel.queueName(of: a) == "noqueue")
    #expect(kernel.queueName(of: tap) == "pfifo_fast")
    try kernel.set("tap0", up: false, in: node)
    #expect(kernel.queueName(of: tap) == "pfifo_fast")
  }

  @Test("pfifo lets by what it can, keeps what the shaper above it holds back, and drops beyond its limit")
  func tokenBucket() throws {
    var link = try QdiscLink()
    // 1 MB/s; a bucket of 1,500 bytes lets one frame of 1,000 by at once and half of the next.
    try link.set(.tbf(TBFOptions(rate: 1_000_000, burst: 1500, limit: 10_000)))
    for number in 0..<20 { try link.send(UInt32(number), length: 1000) }
    #expect(link.statistics.queueLength == 10)
    #expect(link.statistics.backlog == 10_000)
    #expect(link.statistics.drops == 9)
    link.kernel.run(for: .seconds(1))
    let expected = (0...10).map {
      QdiscLink.Arrival(number: UInt32($0), time: $0 == 0 ? 0 : Int64($0) * 1_000_000 - 500_000)
    }
    #expect(link.take() == expected)
    #expect(link.statistics.packets == 11)
    #expect(link.statistics.bytes == 11_000)
    #expect(link.statistics.overlimits > 0)
    #expect(link.kernel.accounting.isClosed)
    #expect(link.kernel.drops(of: link.node)?[.qdiscDrop] == 9)
  }

  @Test("A frame that is larger than tbf's bucket never passes")
  func oversized() throws {
    var link = try QdiscLink()
    try link.set(.tbf(TBFOptions(rate: 1_000_000, burst: 500, limit: 10_000)))
    try link.send(1, length: 501)
    try link.send(2, length: 500)
    link.kernel.run(for: .seconds(1))
    #expect(link.take().map(\.number) == [2])
    #expect(link.statistics.drops == 1)
  }

  @Test("The peak rate spaces what the bucket would let go at once")
  func peakRate() throws {
    var link = try QdiscLink()
    try link.set(
      .tbf(TBFOptions(rate: 1_000_000, burst: 10_000, limit: 20_000, peakRate: 10_000_000, peakBurst: 1000)))
    for number in 0..<5 { try link.send(UInt32(number), length: 1000) }
    link.kernel.run(for: .seconds(1))
    #expect(link.take().map(\.time) == [0, 100_000, 200_000, 300_000, 400_000])
  }

  @Test("Tokens of any rate come to what a division gives, within a rounding")
  func rates() {
    for rate: UInt64 in [1, 1000, 125_000, 1_250_000, 12_500_000_000, 1_000_000_007] {
      let configuration = RateConfiguration(bytesPerSecond: rate)
      for length: UInt32 in [1, 64, 1500, 65535] {
        let exact = Double(length) * 1e9 / Double(rate)
        let time = Double(configuration.time(length))
        #expect(abs(time - exact) <= 1 + exact * 1e-9)
      }
    }
  }

  @Test("pfifo_fast serves its bands in order, each of the queue's length")
  func bands() throws {
    var link = try QdiscLink()
    try link.set(.tbf(TBFOptions(rate: 1000, burst: 100, limit: 0)))
    try link.kernel.change("a", link.node) { $0.transmitQueueLength = 2 }
    try link.set(
      .pfifoFast(priorityMap: []), parent: QdiscHandle(major: 1, minor: 1), handle: QdiscHandle(major: 2))
    // Priority 7 is interactive, 2 is bulk, 0 best effort; the first frame has left before the others come.
    for (number, priority) in [(1, 2), (2, 2), (3, 2), (4, 2), (5, 0), (6, 7), (7, 0)] {
      try link.send(UInt32(number), priority: UInt32(priority))
    }
    link.kernel.run(for: .seconds(10))
    // tbf has looked at frame 2, which leaves as the next one whatever comes.
    #expect(link.take().map(\.number) == [1, 2, 6, 5, 7, 3, 4])
    for number in 10..<16 { try link.send(UInt32(number)) }
    #expect(link.statistics.drops == 2)
  }

  static let classes: [(UInt16, HTBClassOptions)] = [
    (1, HTBClassOptions(rate: 1_000_000, ceiling: 1_000_000, burst: 1500, ceilingBurst: 1500)),
    (10, HTBClassOptions(rate: 750_000, ceiling: 1_000_000, burst: 1500, ceilingBurst: 1500)),
    (20, HTBClassOptions(rate: 250_000, ceiling: 1_000_000, burst: 1500, ceilingBurst: 1500)),
  ]

  private func tree(_ bodies: [(UInt16, HTBClassOptions)] = classes) throws -> QdiscLink {
    var link = try QdiscLink()
    try link.set(.htb(HTBOptions(defaultClass: 0x20)))
    for (minor, options) in bodies {
      try link.addClass(UInt16(String(minor), radix: 16) ?? 0, under: minor == 1 ? 0 : 1, options)
    }
    return link
  }

  /// Keeps classes full for a second and tells how many bytes of each went out.
  private func shares(_ link: inout QdiscLink, _ priorities: [UInt32]) throws -> [Double] {
    for _ in 0..<1000 {
      for priority in priorities { try link.send(priority, length: 1000, priority: priority) }
      link.kernel.run(for: .milliseconds(1))
    }
    let arrivals = link.take()
    return priorities.map { priority in Double(arrivals.count { $0.number == priority } * 1000) }
  }

  @Test("Classes of htb get their rates when all want to send, and the whole when the others are silent")
  func borrowing() throws {
    var both = try tree()
    let shares = try shares(&both, [0x1_0010, 0x1_0020])
    #expect(abs(shares[0] / 750_000 - 1) < 0.02)
    #expect(abs(shares[1] / 250_000 - 1) < 0.02)
    var one = try tree()
    let alone = try self.shares(&one, [0x1_0020, 0x1_0020])
    #expect(abs(alone[0] / 1_000_000 - 1) < 0.02)
    #expect(one.statistics.overlimits > 0)
  }

  @Test("A class of htb does not borrow beyond its ceiling; the better priority borrows first")
  func ceilings() throws {
    var first = Self.classes[1].1
    first.rate = 100_000
    first.ceiling = 500_000
    var second = Self.classes[2].1
    second.rate = 100_000
    second.priority = 1
    var link = try tree([Self.classes[0], (10, first), (20, second)])
    let shares = try shares(&link, [0x1_0010, 0x1_0020])
    #expect(abs(shares[0] / 500_000 - 1) < 0.02)
    #expect(abs(shares[1] / 500_000 - 1) < 0.02)
    second.ceiling = 200_000
    try link.addClassChange(0x20, second)
    link.kernel.run(for: .seconds(60))
    _ = link.take()
    let after = try self.shares(&link, [0x1_0010, 0x1_0020])
    #expect(abs(after[1] / 200_000 - 1) < 0.05)
  }

  @Test(
    "A priority names its class; the qdisc's own handle goes by all of them; others go to the default class")
  func classification() throws {
    var link = try tree()
    try link.send(1, priority: 0x1_0010)
    try link.send(2, priority: 0x1_0000)
    try link.send(3, priority: 0x2_0010)
    try link.send(4, priority: 6)
    link.kernel.run(for: .seconds(1))
    #expect(link.take().count == 4)
    let index = link.kernel.ifindex("a", link.node)
    let classes = try link.kernel.dump(ClassMessage.dump(index: index), in: link.node).map {
      try ClassMessage(parsing: $0.payload[...])
    }
    #expect(classes.map(\.handle.minor) == [1, 0x10, 0x20])
    #expect(classes.map { $0.statistics?.packets ?? 0 } == [3, 1, 2])
    guard case .htb(let options)? = try link.dump().first?.kind else {
      Issue.record("no htb")
      return
    }
    #expect(options.directPackets == 1)
  }

  @Test("A burst of any size leaves a queue as the same frames one by one", arguments: [1, 2, 7, 64])
  func bursts(size: Int) throws {
    var reference: [QdiscLink.Arrival] = []
    for burst in [1, size] {
      var link = try QdiscLink()
      try link.set(.tbf(TBFOptions(rate: 1_000_000, burst: 1500, limit: 5000)))
      var random = RandomState(seed: 7)
      var number: UInt32 = 0
      for _ in 0..<20 {
        var frames = Burst()
        for _ in 0..<burst {
          frames.append(try link.makeFrame(number, length: 100 + Int(random.below(900))))
          number += 1
        }
        link.kernel.transmit(&frames, by: link.a)
        if number % UInt32(size) == 0 { link.kernel.run(for: .milliseconds(3)) }
        if burst == 1 {
          for _ in 1..<size {
            try link.send(number, length: 100 + Int(random.below(900)))
            number += 1
          }
          link.kernel.run(for: .milliseconds(size == 1 ? 0 : 3))
        }
      }
      link.kernel.run(for: .seconds(5))
      let arrivals = link.take()
      if burst == 1 { reference = arrivals } else { #expect(arrivals == reference) }
      #expect(link.kernel.accounting.isClosed)
    }
    #expect(!reference.isEmpty)
  }

  @Test("A queue that goes, and one of a link that goes down, ends what waits in it")
  func removal() throws {
    var link = try QdiscLink()
    try link.set(.tbf(TBFOptions(rate: 1000, burst: 1500, limit: 100_000)))
    for number in 0..<50 { try link.send(UInt32(number)) }
    #expect(link.kernel.accounting.held > 0)
    try link.set(.pfifo(limit: nil), handle: QdiscHandle(major: 2))
    #expect(link.kernel.accounting.held == 15)
    #expect(link.kernel.accounting.isClosed)
    try link.set(.netem(NetemOptions(latency: 1_000_000_000)), handle: QdiscHandle(major: 3))
    for number in 0..<50 { try link.send(UInt32(number)) }
    #expect(link.statistics.queueLength == 50)
    try link.kernel.set("a", up: false, in: link.node)
    #expect(link.statistics.queueLength == 0)
    #expect(link.kernel.accounting.isClosed)
    link.kernel.run(for: .seconds(5))
    try link.kernel.perform(LinkMessage(name: "a").request(.delete), in: link.node)
    #expect(link.kernel.accounting.held == 0)
    #expect(link.kernel.qdiscs.count == 0)
  }

  @Test("What was asked for is told again")
  func dumps() throws {
    var link = try QdiscLink()
    var netem = NetemOptions(latency: 20_000_000)
    netem.jitter = 1_000_000
    netem.delayCorrelation = NetemOptions.probability(0.25)
    netem.loss = NetemOptions.probability(0.01)
    netem.duplicate = 5
    netem.gap = 5
    netem.reorder = NetemOptions.probability(0.5)
    netem.corrupt = 77
    netem.rate = NetemRate(bytesPerSecond: 5_000_000_000, packetOverhead: -4, cellSize: 48, cellOverhead: 5)
    netem.lossModel = .gilbertElliott(p: 1, r: 2, h: 3, k1: 4)
    netem.seed = 42
    for kind: QdiscKind in [
      .netem(netem), .pfifo(limit: 7), .bfifo(limit: 4000), .htb(HTBOptions(defaultClass: 3)).told,
      .tbf(TBFOptions(rate: 125_000, burst: 16_000, limit: 50_000)),
      .tbf(TBFOptions(rate: 125_000, burst: 16_000, limit: 50_000, peakRate: 250_000, peakBurst: 2000)),
    ] {
      try link.set(kind, handle: .unspecified)
      let dumped = try link.dump()
      #expect(dumped.count == 1)
      #expect(dumped.first?.kind == kind)
      #expect(dumped.first?.parent == .root)
    }
    #expect(try link.dump().first?.handle == QdiscHandle(major: 0x8005))
    try link.kernel.perform(
      QdiscMessage(index: link.kernel.ifindex("a", link.node)).request(.delete), in: link.node)
    #expect(try link.dump().first?.kind == .other("noqueue", []))
    #expect(try link.dump().first?.handle == .unspecified)
  }
}

extension QdiscKind {
  /// As the kernel tells it: with what it fills in itself.
  var told: QdiscKind {
    guard case .htb(var options) = self else { return self }
    options.directQueueLength = 1000
    return .htb(options)
  }
}

extension NetemOptions {
  init(latency: Int64) {
    self.init()
    self.latency = latency
  }
}

extension QdiscLink {
  mutating func addClassChange(_ minor: UInt16, _ options: HTBClassOptions) throws {
    let message = ClassMessage(
      index: kernel.ifindex("a", node), parent: QdiscHandle(major: 1, minor: 1),
      handle: QdiscHandle(major: 1, minor: minor), kind: .htb(options))
    try kernel.perform(message.request(.change), in: node)
  }
}
