// SPDX-License-Identifier: GPL-2.0-or-later

// netem beside what sch_netem.c does and tc-netem(8) promises: exact times, and over 10^5 draws the mean, deviation,
// correlation, rate and length of bursts that were asked for.

import Glibc
import NetTypes
import Rtnetlink
import Testing

@testable import NetStack

@Suite("netem")
struct NetemTests {
  static let draws = 100_000

  @Test("The generator gives the kernel's numbers")
  func generator() {
    for (seed, expected): (UInt64, [UInt32]) in [
      (1, [276_959_246, 18_909_696, 2_298_495_022, 9_442_690, 3_222_971_081]),
      (0x1234_5678_9abc_def0, [1_565_990_206, 3_253_438_099, 3_391_650_309, 307_209_238, 3_498_746_814]),
    ] {
      var generator = TausworthePRNG(seed: seed)
      #expect((0..<5).map { _ in generator.next() } == expected)
    }
  }

  @Test("A delay is exact in nanoseconds, and frames of one time arrive together in order")
  func delay() throws {
    var link = try QdiscLink()
    try link.set(.netem(NetemOptions(latency: 12_345_678)))
    for number in 0..<100 { try link.send(UInt32(number)) }
    link.kernel.run(for: Interval(nanoseconds: 1))
    try link.send(100)
    let polls = link.kernel.softnet.polls
    link.kernel.run(for: .seconds(1))
    #expect(link.kernel.softnet.polls - polls <= 6)
    let arrivals = link.take()
    #expect(arrivals.map(\.number) == (0...100).map { UInt32($0) })
    #expect(arrivals.map(\.time) == Array(repeating: 12_345_678, count: 100) + [12_345_679])
    #expect(link.statistics.packets == 101)
    #expect(link.kernel.accounting.isClosed)
  }

  private func delays(_ body: (inout Netem) -> Void) -> [Double] {
    var netem = Netem(seed: 3)
    netem.latency = 100_000_000
    body(&netem)
    return (0..<Self.draws).map { _ in Double(netem.delay()) }
  }

  @Test("Uniform jitter fills latency plus and minus jitter evenly")
  func uniform() {
    let values = delays { $0.jitter = 10_000_000 }
    let moments = Moments(values)
    #expect(abs(moments.mean / 100_000_000 - 1) < 0.002)
    #expect(abs(moments.deviation / (10_000_000 / 3.0.squareRoot()) - 1) < 0.01)
    #expect(abs(moments.correlation) < 0.01)
    #expect(values.allSatisfy { $0 >= 90_000_000 && $0 < 110_000_000 })
  }

  /// The kernel takes the number modulo twice the jitter, so that only a jitter that is near half of its range shows
  /// the correlation; a smaller one loses it, there as here.
  @Test("Correlation is near what was asked for", arguments: [0.25, 0.5, 0.9])
  func correlation(wanted: Double) {
    let values = delays {
      $0.jitter = Int64(Int32.max)
      $0.delayChance.correlation = NetemOptions.probability(wanted)
    }
    #expect(abs(Moments(values).correlation - wanted) < 0.02)
  }

  /// The tables of iproute2's `tc/*.dist`, as its netem/*.c make them: the inverse of the distribution, in 1/8192.
  static func table(_ inverse: (Double) -> Double) -> [Int16] {
    (0..<4096).map { entry in
      Int16(clamping: Int((inverse((Double(entry) + 0.5) / 4096) * 8192).rounded()))
    }
  }

  static let normal: [Int16] = {
    table { wanted in
      var low = -4.0
      var high = 4.0
      for _ in 0..<60 {
        let middle = (low + high) / 2
        if 0.5 * erfc(-middle / 2.0.squareRoot()) < wanted { low = middle } else { high = middle }
      }
      return low
    }
  }()
  static let pareto = table { 4 / 3 * (pow(1 - $0, -1.0 / 3) - 1.5) }

  @Test("Tables of distributions give their mean and deviation, and their shape")
  func distributions() {
    for (table, median): ([Int16], Double) in [
      (Self.normal, 0), (Self.pareto, 4 / 3 * (pow(0.5, -1.0 / 3) - 1.5)),
      (zip(Self.normal, Self.pareto).map { Int16((Int($0) + 3 * Int($1)) / 4) }, -0.24),
    ] {
      let values = delays {
        $0.jitter = 1_000_000
        $0.distribution = table
      }
      let entries = Moments(table.map { Double($0) / 8192 })
      let moments = Moments(values.map { ($0 - 100_000_000) / 1_000_000 })
      #expect(abs(moments.mean - entries.mean) < 0.02)
      #expect(abs(moments.deviation - entries.deviation) < 0.02)
      #expect(abs(values.sorted()[values.count / 2] / 1_000_000 - 100 - median) < 0.1)
    }
  }

  private func losses(_ body: (inout Netem) -> Void) -> [Bool] {
    var netem = Netem(seed: 11)
    body(&netem)
    return (0..<Self.draws).map { _ in netem.isLost() }
  }

  private func rate(_ losses: [Bool]) -> Double { Double(losses.count { $0 }) / Double(losses.count) }

  /// The mean number of losses in a row.
  private func burstLength(_ losses: [Bool]) -> Double {
    let starts = zip([false] + losses, losses).count { !$0 && $1 }
    return Double(losses.count { $0 }) / Double(max(starts, 1))
  }

  @Test("Random loss has its rate and no memory; with correlation it comes in bursts")
  func loss() {
    let plain = losses { $0.loss = NetemOptions.probability(0.1) }
    #expect(abs(rate(plain) - 0.1) < 0.004)
    #expect(abs(burstLength(plain) - 1 / 0.9) < 0.02)
    let correlated = losses {
      $0.loss = NetemOptions.probability(0.3)
      $0.lossChance.correlation = NetemOptions.probability(0.5)
    }
    #expect(burstLength(correlated) > 1.5)
  }

  @Test("Gilbert-Elliott loses at the rate and in the bursts of its two states")
  func gilbertElliott() {
    let (p, r, h, k1) = (0.01, 0.25, 0.1, 0.001)
    let lost = losses {
      $0.lossState = .good
      $0.lossModel = .gilbertElliott(
        p: NetemOptions.probability(p), r: NetemOptions.probability(r), h: NetemOptions.probability(h),
        k1: NetemOptions.probability(k1))
    }
    let bad = p / (p + r)
    #expect(abs(rate(lost) - (bad * (1 - h) + (1 - bad) * k1)) < 0.004)
    #expect(burstLength(lost) > 2)
    // The simple model: a burst is as long as the bad state.
    let simple = losses {
      $0.lossState = .good
      $0.lossModel = .gilbertElliott(
        p: NetemOptions.probability(p), r: NetemOptions.probability(r), h: 0, k1: 0)
    }
    #expect(abs(burstLength(simple) - 1 / r) < 0.25)
  }

  @Test("The model of four states has its gaps, isolated losses and bursts")
  func fourStates() {
    let (p13, p31, p32, p23, p14) = (0.02, 0.3, 0.1, 0.5, 0.005)
    let lost = losses {
      $0.lossModel = .state(
        p13: NetemOptions.probability(p13), p31: NetemOptions.probability(p31),
        p32: NetemOptions.probability(p32), p14: NetemOptions.probability(p14),
        p23: NetemOptions.probability(p23))
    }
    // The chain's balance: p1 p13 = p3 p31, p3 p32 = p2 p23, p1 p14 = p4.
    let weights = [1, p13 / p31 * p32 / p23, p13 / p31, p14]
    let total = weights.reduce(0, +)
    #expect(abs(rate(lost) - (weights[2] + weights[3]) / total) < 0.005)
    #expect(burstLength(lost) > 1.5)
  }

  @Test("Losses and copies are counted apart, and the accounting closes")
  func lossAndDuplication() throws {
    var link = try QdiscLink(seed: 5)
    var options = NetemOptions(latency: 1_000_000)
    options.loss = NetemOptions.probability(0.2)
    options.duplicate = NetemOptions.probability(0.1)
    options.seed = 9
    try link.set(.netem(options))
    let count = 20_000
    let arrivals = try link.send(count, spacing: 10_000)
    let counters = link.kernel.netemCounters(of: link.a) ?? NetemCounters()
    // A packet that was doubled and lost goes out once: what it became is a copy that was made and one that was lost.
    let doubled = Int(counters.duplicated)
    #expect(abs(Double(doubled) / Double(count) - 0.08) < 0.01)
    #expect(link.statistics.drops == counters.lost)
    #expect(arrivals.count == count + doubled - Int(counters.lost))
    #expect(link.kernel.drops(of: link.node)?[.netemLoss] == counters.lost)
    #expect(Set(arrivals.map(\.number)).count < arrivals.count)
    #expect(link.kernel.accounting.isClosed)
  }

  @Test("One seed loses the same packets, another one others; without a seed a run has its own")
  func seeds() throws {
    func run(_ seed: UInt64?, kernelSeed: UInt64 = 1) throws -> [QdiscLink.Arrival] {
      var link = try QdiscLink(seed: kernelSeed)
      var options = NetemOptions(latency: 5_000_000)
      options.jitter = 1_000_000
      options.loss = NetemOptions.probability(0.1)
      options.seed = seed
      try link.set(.netem(options))
      return try link.send(500, spacing: 100_000)
    }
    let one = try run(1)
    #expect(try run(1, kernelSeed: 2) == one)
    #expect(try run(2) != one)
    let none = try run(nil, kernelSeed: 3)
    #expect(try run(nil, kernelSeed: 3) == none)
    #expect(try run(nil, kernelSeed: 4) != none)
  }

  @Test("Jitter reorders, as in the kernel; with a gap every so many overtake the others")
  func reordering() throws {
    var jitter = try QdiscLink()
    var options = NetemOptions(latency: 10_000_000)
    options.jitter = 5_000_000
    options.seed = 1
    try jitter.set(.netem(options))
    let mixed = try jitter.send(500, spacing: 100_000).map(\.number)
    #expect(mixed != mixed.sorted())
    #expect(mixed.sorted() == (0..<500).map { UInt32($0) })

    var gap = try QdiscLink()
    options = NetemOptions(latency: 10_000_000)
    options.gap = 5
    options.reorder = .max
    try gap.set(.netem(options))
    let arrivals = try gap.send(20, spacing: 1_000_000)
    let early = arrivals.filter { $0.time == Int64($0.number) * 1_000_000 }.map(\.number)
    #expect(early == [4, 9, 14, 19])
    #expect(gap.kernel.netemCounters(of: gap.a)?.reordered == 4)
    #expect(gap.statistics.requeues == 4)
  }

  @Test("A corrupted frame differs in one bit")
  func corruption() throws {
    var link = try QdiscLink()
    var options = NetemOptions()
    options.corrupt = .max
    options.seed = 4
    try link.set(.netem(options))
    for _ in 0..<200 {
      let slot = try link.makeFrame(0xdead_beef)
      let before = link.kernel.pool.array(slot)
      link.kernel.transmit(slot, by: link.a)
      link.kernel.run(for: .milliseconds(1))
      let after = link.kernel.takeCapture().first?.frame ?? []
      #expect(zip(before, after).reduce(0) { $0 + ($1.0 ^ $1.1).nonzeroBitCount } == 1)
    }
    #expect(link.kernel.netemCounters(of: link.a)?.corrupted == 200)
  }

  @Test("A rate spaces frames by the time that they take, and delays add to the last one's end")
  func rate() throws {
    var link = try QdiscLink()
    var options = NetemOptions()
    options.rate = NetemRate(bytesPerSecond: 1_000_000)
    try link.set(.netem(options))
    for number in 0..<4 { try link.send(UInt32(number), length: 1000) }
    link.kernel.run(for: .seconds(1))
    #expect(link.take().map(\.time) == [1_000_000, 2_000_000, 3_000_000, 4_000_000])
    // Cells of 48 bytes with 5 more: 100 bytes take three.
    options.rate = NetemRate(bytesPerSecond: 1_000_000, packetOverhead: 0, cellSize: 48, cellOverhead: 5)
    options.latency = 10_000
    try link.set(.netem(options), .change)
    let start = link.kernel.now.nanoseconds
    try link.send(9)
    link.kernel.run(for: .seconds(1))
    #expect(link.take().map { $0.time - start } == [10_000 + 159_000])
  }

  @Test("Slots open in their times, and so much leaves in each")
  func slots() throws {
    var link = try QdiscLink()
    var options = NetemOptions()
    options.slot = NetemSlot(minimumDelay: 1_000_000, maximumDelay: 1_000_000, packets: 2)
    try link.set(.netem(options))
    func times(_ link: inout QdiscLink) throws -> [Int64] {
      link.kernel.run(for: .milliseconds(1))
      let start = link.kernel.now.nanoseconds
      for number in 0..<6 { try link.send(UInt32(number)) }
      link.kernel.run(for: .seconds(1))
      return link.take().map { $0.time - start }
    }
    #expect(try times(&link) == [1, 1, 2, 2, 3, 3].map { $0 * 1_000_000 })
    options.slot = NetemSlot(minimumDelay: 1_000_000, maximumDelay: 3_000_000, bytes: 250)
    try link.set(.netem(options), .change)
    let chosen = try times(&link)
    #expect(Set(chosen).count == 2 && chosen[2] == chosen[0] && chosen[3] == chosen[5])
    #expect(chosen.allSatisfy { $0 >= 1_000_000 && $0 < 6_000_000 })
    options.slot = NetemSlot(packets: 1, distributedDelay: 5_000_000, distributedJitter: 8192)
    options.slotDistribution = [7]
    try link.set(.netem(options), .change)
    #expect(try times(&link) == (1...6).map { $0 * 5_000_007 })
    options.slot = NetemSlot()
    try link.set(.netem(options), .change)
    #expect(try times(&link) == [0, 0, 0, 0, 0, 0])
    #expect(link.kernel.accounting.isClosed)
  }

  @Test("What a change leaves out stays, and the numbers go on; what is said is as it is said")
  func changes() throws {
    var link = try QdiscLink()
    var options = NetemOptions(latency: 5)
    options.corrupt = 6
    options.lossCorrelation = 7
    options.explicitCongestion = true
    options.seed = 8
    options.slot = NetemSlot(minimumDelay: 9, maximumDelay: 10)
    try link.set(.netem(options))
    var change = NetemOptions()
    change.omitted = [.correlations, .reorder, .corrupt]
    change.gap = 3
    try link.set(.netem(change), .change)
    options.latency = 0
    options.gap = 3
    options.reorder = .max
    options.rate = NetemRate(bytesPerSecond: 0)
    #expect(try link.dump().first?.kind == .netem(options))
    try link.set(.other("netem", []), .change)
    #expect(try link.dump().first?.kind == .netem(options))
    change.omitted = []
    change.explicitCongestion = false
    change.slot = NetemSlot()
    try link.set(.netem(change), .change)
    change.explicitCongestion = nil
    change.slot = nil
    change.rate = options.rate
    change.seed = 8
    #expect(try link.dump().first?.kind == .netem(change))
    #expect(throws: KernelError.invalid("slot min delay greater than max delay")) {
      change.slot = NetemSlot(minimumDelay: 2, maximumDelay: 1)
      try link.set(.netem(change), .change)
    }
  }

  @Test("Beyond its limit netem drops; a tbf inside it takes packets at the end of their delay")
  func limitsAndChildren() throws {
    var link = try QdiscLink()
    var options = NetemOptions(latency: 1_000_000)
    options.limit = 10
    try link.set(.netem(options))
    for number in 0..<15 { try link.send(UInt32(number)) }
    #expect(link.statistics.drops == 5)
    link.kernel.run(for: .seconds(1))
    #expect(link.take().count == 10)
    try link.set(
      .tbf(TBFOptions(rate: 1_000_000, burst: 1000, limit: 100_000)),
      parent: QdiscHandle(major: 1, minor: 1), handle: QdiscHandle(major: 2))
    let start = link.kernel.now.nanoseconds
    for number in 0..<3 { try link.send(UInt32(number), length: 1000) }
    link.kernel.run(for: .seconds(1))
    #expect(link.take().map { $0.time - start } == [1_000_000, 2_000_000, 3_000_000])
    #expect(try link.dump().map { $0.kind?.name } == ["netem", "tbf"])
    #expect(link.kernel.accounting.isClosed)
  }

  @Test("A router behind bad links gives equal captures for bursts of any size", arguments: [2, 7, 64])
  func bursts(size: Int) throws {
    func run(_ burst: Int) throws -> [CaptureRecord] {
      var kernel = Kernel(seed: 3, burst: burst)
      let (a, router, b) = (try kernel.node(), try kernel.node(), try kernel.node())
      try kernel.veth("eth0", a, "r0", router)
      try kernel.veth("r1", router, "eth0", b)
      try kernel.address("10.0.0.2/24", "eth0", a)
      try kernel.address("10.0.0.1/24", "r0", router)
      try kernel.address("10.0.1.1/24", "r1", router)
      try kernel.address("10.0.1.2/24", "eth0", b)
      try kernel.route("default", via: "10.0.0.1", a)
      try kernel.route("default", via: "10.0.1.1", b)
      try kernel.setSysctl("net/ipv4/ip_forward", to: "1", in: router)
      for (name, node, seed) in [("eth0", a, 1), ("r0", router, 2), ("r1", router, 3), ("eth0", b, 4)] {
        var options = NetemOptions(latency: 3_000_000)
        options.jitter = 500_000
        options.loss = NetemOptions.probability(0.05)
        options.duplicate = NetemOptions.probability(0.05)
        options.rate = NetemRate(bytesPerSecond: 10_000_000)
        options.seed = UInt64(seed)
        try kernel.perform(
          QdiscMessage(index: kernel.ifindex(name, node), kind: .netem(options)).request(.create), in: node)
      }
      for _ in 0..<5 { _ = try kernel.ping("10.0.1.2", from: a, count: 2) }
      kernel.captureAll()
      let endpoint = try kernel.openEcho(in: a, identifier: 5)
      for sequence in 0..<100 {
        for part in 0..<4 {
          try? kernel.sendEcho(to: v4("10.0.1.2"), sequence: UInt16(sequence * 4 + part), by: endpoint)
        }
        kernel.run(for: .milliseconds(1))
      }
      kernel.run(for: .seconds(10))
      #expect(kernel.accounting.isClosed)
      return kernel.takeCapture()
    }
    let one = try run(1)
    let many = try run(size)
    // Devices on their own: between devices a burst may change who comes first at one time.
    for device in Set(one.map(\.device)) {
      #expect(one.filter { $0.device == device } == many.filter { $0.device == device })
    }
    #expect(one.count > 1000)
  }

  @Test("Fuzz: settings of random bytes are refused or carried out, never trapped on")
  func hostile() throws {
    var random = RandomState(seed: 8)
    var link = try QdiscLink()
    let index = link.kernel.ifindex("a", link.node)
    var netem = NetemOptions(latency: 1000)
    netem.rate = NetemRate(bytesPerSecond: 1000, packetOverhead: 3, cellSize: 48, cellOverhead: 5)
    netem.jitter = 100
    netem.distribution = [1, 2, 3]
    netem.lossModel = .state(p13: 1, p31: 2, p32: 3, p14: 4, p23: 5)
    let kinds: [QdiscKind] = [
      .netem(netem), .tbf(TBFOptions(rate: 1000, burst: 1500, limit: 3000, peakRate: 2000, peakBurst: 1000)),
      .htb(HTBOptions(defaultClass: 1)), .pfifo(limit: 4), .bfifo(limit: 4), .pfifoFast(priorityMap: []),
    ]
    for round in 0..<HostileTests.rounds {
      let place = random.below(3)
      var request = QdiscMessage(
        index: index, parent: place == 0 ? .root : QdiscHandle(major: 1, minor: UInt16(place)),
        handle: QdiscHandle(major: UInt16(random.below(4))), kind: kinds[Int(random.below(6))]
      ).request([.create, .createOrReplace, .change, .delete, .get][Int(random.below(5))])
      if random.below(3) == 0 {
        request =
          ClassMessage(
            index: index, parent: QdiscHandle(major: 1, minor: UInt16(random.below(3))),
            handle: QdiscHandle(major: 1, minor: UInt16(random.below(4))),
            kind: .htb(HTBClassOptions(rate: 1000, ceiling: 2000, burst: 1600, ceilingBurst: 1600))
          ).request([.create, .createOrReplace, .change, .delete][Int(random.below(4))])
      }
      for _ in 0..<random.below(3) where round % 2 == 0 {
        request.payload[Int(random.below(UInt64(request.payload.count)))] = UInt8(
          truncatingIfNeeded: random.next())
      }
      _ = try? link.kernel.perform(request, in: link.node)
      _ = try? link.kernel.dump(request, in: link.node)
      for _ in 0..<3 {
        try link.send(1, length: 60 + Int(random.below(1400)), priority: 0x1_0000 + UInt32(random.below(4)))
      }
      link.kernel.run(for: .microseconds(Int64(random.below(3000))))
      if round % 64 == 0 {
        _ = link.take()
        #expect(link.kernel.accounting.isClosed)
        _ = try link.dump()
      }
    }
    try link.kernel.perform(LinkMessage(name: "a").request(.delete), in: link.node)
    // A byte that was changed may have made the request one for the loopback, which stays.
    _ = try? link.kernel.perform(QdiscMessage(index: 1, parent: .root).request(.delete), in: link.node)
    link.kernel.run(for: .seconds(1))
    #expect(link.kernel.accounting.held == 0)
    #expect([link.kernel.qdiscs.count, link.kernel.netems.count, link.kernel.trees.count] == [0, 0, 0])
    #expect(link.kernel.tokenBuckets.count == 0)
  }
}
