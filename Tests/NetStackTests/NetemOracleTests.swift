// SPDX-License-Identifier: GPL-2.0-or-later

// The same frames, with the same seed, through the netem of the host's kernel and through ours: which are lost, doubled,
// damaged or marked, and in which order they leave. The kernel's netem stands on a tap of a bridge, in a namespace; its
// time is real, so of delays it is held to what holds whenever the machine runs: no frame is early, and frames leave in
// the order of their delays. Needs a kernel with netem: `GUEST_SUITE=trixie` in docs/status.md.

import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

@Suite(
  "netem beside the kernel's",
  .enabled(
    if: NetemLink.isThere,
    "needs root, /dev/net/tun and a netem that keeps its seed over a change (Linux 7.1, or 6.12 from May 2026)"
  ))
struct NetemOracleTests {
  // MARK: Frames

  /// A frame that says its number often enough to be known by it when it is damaged.
  static func frame(_ number: UInt32, length: Int = 100) -> [UInt8] {
    var bytes: [UInt8] = [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5]
    while bytes.count < length { bytes += (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) } }
    return Array(bytes.prefix(length))
  }

  /// What is to be compared of a frame that was damaged: where, the kernel's seed does not say.
  struct Sighting: Hashable {
    var number: UInt32
    var wrongBits: Int

    init(_ frame: [UInt8]) {
      let copies = stride(from: 14, to: frame.count - 3, by: 4).map { place in
        frame[place..<place + 4].reduce(0) { $0 << 8 | UInt32($1) }
      }
      let number = copies.first { copy in copies.count { $0 == copy } > copies.count / 2 } ?? .max
      self.number = number
      let sent = NetemOracleTests.frame(number, length: frame.count)
      wrongBits = zip(frame, sent).reduce(0) { $0 + ($1.0 ^ $1.1).nonzeroBitCount }
    }
  }

  // MARK: Chance

  /// Settings that are made one after the other, each by a change of the one before.
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var settings: [NetemOptions]
    /// How many frames it takes until a correlation has forgotten where it began.
    var warmUp: UInt32 = 0
    var testDescription: String { name }

    init(_ name: String, warmUp: UInt32 = 0, _ bodies: (inout NetemOptions) -> Void...) {
      self.name = name
      self.warmUp = warmUp
      settings = bodies.enumerated().map { round, body in
        var options = NetemOptions()
        if round == 0 { options.seed = 0x1234_5678_9abc }
        body(&options)
        return options
      }
    }
  }

  private static func share(_ fraction: Double) -> UInt32 { NetemOptions.probability(fraction) }

  static let cases: [Case] = [
    Case("loss") { $0.loss = share(0.3) },
    Case("loss with another seed") {
      $0.loss = share(0.3)
      $0.seed = .max
    },
    Case("loss with a seed of nothing") {
      $0.loss = share(0.3)
      $0.seed = 0
    },
    Case("loss of all") { $0.loss = .max },
    Case("correlated loss", warmUp: 64) {
      $0.loss = share(0.3)
      $0.lossCorrelation = share(0.5)
    },
    Case("loss of four states") {
      $0.lossModel = .state(
        p13: share(0.1), p31: share(0.3), p32: share(0.2), p14: share(0.05), p23: share(0.4))
    },
    Case("loss of two of the four states") {
      $0.lossModel = .state(p13: share(0.2), p31: .max - share(0.2), p32: 0, p14: 0, p23: .max)
    },
    Case("loss of states that are more than everything") {
      $0.lossModel = .state(
        p13: share(0.7), p31: share(0.7), p32: share(0.7), p14: share(0.7), p23: share(0.7))
    },
    Case("Gilbert-Elliott") {
      $0.lossModel = .gilbertElliott(p: share(0.1), r: share(0.3), h: share(0.2), k1: share(0.02))
    },
    Case("simple Gilbert") { $0.lossModel = .gilbertElliott(p: share(0.1), r: share(0.3), h: 0, k1: 0) },
    Case("duplication") { $0.duplicate = share(0.3) },
    Case("duplication of all") { $0.duplicate = .max },
    Case("correlated duplication", warmUp: 64) {
      $0.duplicate = share(0.4)
      $0.duplicateCorrelation = share(0.25)
    },
    Case("corruption") { $0.corrupt = share(0.3) },
    Case("correlated corruption", warmUp: 64) {
      $0.corrupt = share(0.3)
      $0.corruptCorrelation = share(0.5)
    },
    Case("loss, duplication and corruption") {
      $0.loss = share(0.2)
      $0.duplicate = share(0.3)
      $0.corrupt = share(0.25)
    },
    Case("Gilbert-Elliott with duplication and corruption") {
      $0.lossModel = .gilbertElliott(p: share(0.1), r: share(0.3), h: share(0.2), k1: share(0.02))
      $0.duplicate = share(0.3)
      $0.corrupt = share(0.25)
    },
    Case(
      "changes that go on with the same numbers", { $0.loss = share(0.3) }, { $0.loss = share(0.6) },
      { $0.lossModel = .gilbertElliott(p: share(0.1), r: share(0.3), h: 0, k1: 0) },
      { $0.lossModel = .state(p13: share(0.2), p31: share(0.5), p32: 0, p14: 0, p23: .max) },
      { $0.corrupt = share(0.5) },
      {
        $0.omitted = .corrupt
        $0.duplicate = share(0.5)
      }),
    Case("a limit of nothing") { $0.limit = 0 },
  ]

  @Test("One seed loses, doubles and damages the same frames", arguments: cases)
  func chance(of wanted: Case) throws {
    let theirs = try NetemLink()
    var ours = try QdiscLink()
    var (expected, got): ([Sighting], [Sighting]) = ([], [])
    var number: UInt32 = 0
    for (round, options) in wanted.settings.enumerated() {
      try theirs.set(.netem(options), round == 0 ? .createOrReplace : .change)
      try ours.set(.netem(options), round == 0 ? .createOrReplace : .change)
      for _ in 0..<5 {
        // No more than the tap's ring holds.
        let frames = (number..<number + 80).map { Self.frame($0) }
        number += 80
        expected += try theirs.exchange(frames).map { Sighting($0.frame) }
        got += try ours.exchange(frames).map { Sighting($0.frame) }
      }
    }
    if wanted.warmUp > 0 {
      expected.removeAll { $0.number < wanted.warmUp }
      got.removeAll { $0.number < wanted.warmUp }
    } else {
      try Self.compareCounters(theirs, ours)
    }
    #expect(got == expected)
  }

  private static func compareCounters(_ theirs: NetemLink, _ ours: borrowing QdiscLink) throws {
    let told = try #require(try theirs.message?.statistics)
    #expect(Kernel.message(ours.statistics) == told)
  }

  @Test("What would be lost and can be marked is marked")
  func congestion() throws {
    let theirs = try NetemLink()
    var ours = try QdiscLink()
    var options = NetemOptions()
    options.loss = Self.share(0.5)
    options.duplicate = Self.share(0.2)
    options.explicitCongestion = true
    options.seed = 5
    try theirs.set(.netem(options))
    try ours.set(.netem(options))
    // IPv4 with each codepoint and sums that wrap, IPv6, IPv6 that is cut off, and what is neither.
    var frames: [[UInt8]] = []
    for (number, sum) in (0..<5).flatMap({ _ in [0, 1, 2, 3, 0xfffe, 0xffff] as [UInt16] }).enumerated() {
      for codepoint: UInt8 in 0...3 {
        var frame = Self.frame(UInt32(number), length: 60)
        frame.replaceSubrange(12..<16, with: [8, 0, 0x45, 0xb8 | codepoint])
        frame.replaceSubrange(24..<26, with: [UInt8(sum >> 8), UInt8(sum & 0xff)])
        frames.append(frame)
        frame = Self.frame(UInt32(number), length: 40 + Int(codepoint) * 10)
        frame.replaceSubrange(12..<16, with: [0x86, 0xdd, 0x60, 0x80 | codepoint << 4])
        frames.append(frame)
      }
      frames.append(Self.frame(UInt32(number), length: 60))
    }
    let expected = try theirs.exchange(frames).map(\.frame)
    #expect(try ours.exchange(frames).map(\.frame) == expected)
    try Self.compareCounters(theirs, ours)
  }

  @Test("A netem inside another doubles no copy again, and what waits inside counts against the limit")
  func nesting() throws {
    let theirs = try NetemLink()
    var ours = try QdiscLink()
    var outer = NetemOptions()
    outer.duplicate = Self.share(0.4)
    outer.loss = Self.share(0.1)
    outer.limit = 10
    outer.seed = 6
    var inner = NetemOptions()
    inner.duplicate = Self.share(0.5)
    inner.loss = Self.share(0.2)
    inner.seed = 7
    // Two frames have tokens; those behind them wait for ten seconds.
    let slow = QdiscKind.tbf(TBFOptions(rate: 10, burst: 200, limit: 5000))
    for (number, kind) in [QdiscKind.netem(inner), slow].enumerated() {
      let (place, handle) = (QdiscHandle(major: 1, minor: 1), QdiscHandle(major: UInt16(2 + number)))
      try theirs.set(.netem(outer))
      try theirs.set(kind, parent: place, handle: handle)
      try ours.set(.netem(outer))
      try ours.set(kind, parent: place, handle: handle)
      let frames = (0..<80).map { Self.frame($0) }
      let expected = try theirs.exchange(frames).map { Sighting($0.frame) }
      #expect(try ours.exchange(frames).map { Sighting($0.frame) } == expected)
      try Self.compareCounters(theirs, ours)
    }
  }

  // MARK: Time

  /// Frames that are sent at once and take time.
  struct TimedCase: Sendable, CustomTestStringConvertible {
    var name: String
    var options: NetemOptions
    var count: UInt32 = 64
    /// How many of the first are not compared.
    var warmUp: UInt32 = 0
    var testDescription: String { name }

    init(_ name: String, count: UInt32 = 64, warmUp: UInt32 = 0, _ body: (inout NetemOptions) -> Void) {
      self.name = name
      self.count = count
      self.warmUp = warmUp
      options = NetemOptions(latency: 2_500_000_000)
      options.seed = 99
      body(&options)
    }
  }

  static let timedCases: [TimedCase] = [
    TimedCase("a delay") { _ in },
    TimedCase("a limit") { $0.limit = 10 },
    TimedCase("a limit and copies") {
      $0.limit = 20
      $0.duplicate = share(0.5)
      $0.loss = share(0.2)
    },
    TimedCase("uniform jitter") { $0.jitter = 2_000_000_000 },
    TimedCase("correlated jitter", count: 160, warmUp: 64) {
      $0.jitter = 2_147_000_000
      $0.delayCorrelation = share(0.5)
    },
    TimedCase("normal jitter") {
      $0.jitter = 700_000_123
      $0.distribution = NetemTests.normal
    },
    TimedCase("correlated normal jitter", count: 160, warmUp: 64) {
      $0.jitter = 700_000_123
      $0.delayCorrelation = share(0.25)
      $0.distribution = NetemTests.normal
    },
    TimedCase("Pareto's jitter") {
      $0.jitter = 500_000_000
      $0.distribution = NetemTests.pareto
    },
    TimedCase("jitter of Pareto's and the normal table") {
      $0.jitter = 600_000_000
      $0.distribution = zip(NetemTests.normal, NetemTests.pareto).map { Int16((Int($0) + 3 * Int($1)) / 4) }
    },
    TimedCase("jitter of a table of three, with loss and copies") {
      $0.jitter = 600_000_000
      $0.distribution = [-20_000, 1000, 8192]
      $0.loss = share(0.2)
      $0.duplicate = share(0.3)
    },
    TimedCase("every third out of turn") {
      $0.gap = 3
      $0.reorder = .max
    },
    TimedCase("some of each fourth out of turn, and a limit") {
      $0.gap = 4
      $0.reorder = share(0.5)
      $0.limit = 30
    },
    TimedCase("correlated chance of going out of turn", count: 160, warmUp: 64) {
      $0.gap = 1
      $0.reorder = share(0.5)
      $0.reorderCorrelation = share(0.5)
    },
    TimedCase("out of turn, with jitter, loss, copies") {
      $0.gap = 2
      $0.reorder = share(0.4)
      $0.jitter = 2_000_000_000
      $0.loss = share(0.2)
      $0.duplicate = share(0.2)
    },
    TimedCase("a rate") {
      $0.latency = 0
      $0.rate = NetemRate(bytesPerSecond: 2_000)
    },
    TimedCase("a rate in cells, with overheads") {
      $0.latency = 100_000_000
      $0.rate = NetemRate(bytesPerSecond: 3_000, packetOverhead: -4, cellSize: 48, cellOverhead: 5)
    },
    TimedCase("a rate with jitter") {
      $0.jitter = 1_000_000_000
      $0.rate = NetemRate(bytesPerSecond: 3_000)
    },
    TimedCase("slots of three packets", count: 12) {
      $0.latency = 0
      $0.slot = NetemSlot(minimumDelay: 800_000_000, maximumDelay: 800_000_000, packets: 3)
    },
    TimedCase("slots of 250 bytes", count: 12) {
      $0.latency = 0
      $0.slot = NetemSlot(minimumDelay: 700_000_000, maximumDelay: 700_000_000, bytes: 250)
    },
    TimedCase("slots of a distribution", count: 12) {
      $0.latency = 0
      $0.slot = NetemSlot(packets: 2, distributedDelay: 700_000_000, distributedJitter: 200_000_000)
      $0.slotDistribution = NetemTests.normal
    },
  ]

  @Test("One seed delays the same frames by the same times", arguments: timedCases)
  func time(of wanted: TimedCase) throws {
    let frames = (0..<wanted.count).map { Self.frame($0) }
    var ours = try QdiscLink()
    try ours.set(.netem(wanted.options))
    let begin = ours.kernel.now.nanoseconds
    for frame in frames { try ours.send(frame) }
    ours.kernel.run(for: .seconds(30))
    let exact = ours.takeFrames().map { (Sighting($0.frame).number, $0.time - begin) }
      .filter { $0.0 >= wanted.warmUp }
    let theirs = try NetemLink()
    // Frames are not sent at once on a machine that does something else meanwhile.
    for _ in 0..<5 {
      try theirs.set(.netem(wanted.options))
      let start = ContinuousClock.now
      let span = try theirs.send(frames, since: start)
      let arrivals = theirs.receive(exact.count + Int(wanted.warmUp), since: start, patience: 15_000)
        .map { (Sighting($0.frame).number, $0.time) }.filter { $0.0 >= wanted.warmUp }
      guard span < 500_000_000 else { continue }
      Self.compare(exact, arrivals, span: span, hasJitter: wanted.options.jitter != 0)
      return
    }
    Issue.record("this machine is too busy to send \(frames.count) frames at once")
  }

  private static func compare(
    _ exact: [(number: UInt32, time: Int64)], _ arrivals: [(number: UInt32, time: Int64)], span: Int64,
    hasJitter: Bool
  ) {
    #expect(arrivals.map(\.number).sorted() == exact.map(\.number).sorted())
    if !hasJitter { #expect(arrivals.map(\.number) == exact.map(\.number)) }
    // A frame and its copy may have changed places.
    var times = Dictionary(grouping: exact, by: \.number).mapValues { $0.map(\.time) }
    var latest: Int64 = 0
    var lateness: [Int64] = []
    for arrival in arrivals {
      guard let time = times[arrival.number]?.first else { continue }
      times[arrival.number]?.removeFirst()
      #expect(arrival.time >= time, "\(arrival.number) is early")
      // Those before it were sent at most the burst's length after it.
      #expect(time + span >= latest, "\(arrival.number) is out of order")
      latest = max(latest, time)
      lateness.append(arrival.time - time)
    }
    // That all are late by as much as they take would be another unit, not a busy machine.
    lateness.sort()
    #expect(lateness.isEmpty || lateness[lateness.count / 2] < 1_000_000_000)
  }

  // MARK: Requests

  static let requests: [(String, NetlinkMessage)] = {
    typealias Q = QdiscOracleTests
    func netem(
      _ verb: RequestKind = .change, parent: QdiscHandle = .root, handle: UInt32 = 0,
      _ body: (inout NetemOptions) -> Void
    ) -> NetlinkMessage {
      var options = NetemOptions()
      body(&options)
      return Q.qdisc(.netem(options), verb, parent: parent, handle: handle)
    }
    let all = netem(.createOrReplace, handle: 1) {
      $0.latency = 20_000_001
      $0.jitter = 3_000_000
      $0.delayCorrelation = 1
      $0.loss = 2
      $0.lossCorrelation = 3
      $0.duplicate = 4
      $0.duplicateCorrelation = 5
      $0.gap = 6
      $0.reorder = 7
      $0.reorderCorrelation = 8
      $0.corrupt = 9
      $0.corruptCorrelation = 10
      $0.limit = 11
      $0.rate = NetemRate(bytesPerSecond: 5_000_000_000, packetOverhead: -4, cellSize: 48, cellOverhead: 5)
      $0.explicitCongestion = true
      $0.slot = NetemSlot(minimumDelay: 12, maximumDelay: 13, packets: 14, bytes: 15)
      $0.seed = 16
    }
    return [
      ("netem of nothing", Q.qdisc(.other("netem", []), .create)),
      ("tbf of nothing", Q.qdisc(.other("tbf", []), .create)),
      ("htb of nothing", Q.qdisc(.other("htb", []), .create)),
      ("everything", all),
      ("a change of nothing", Q.qdisc(.other("netem", []), .change)),
      ("a change that says little", netem { $0.omitted = [.correlations, .reorder, .corrupt] }),
      ("everything again", all),
      ("a change into nothing", netem { $0.explicitCongestion = false }),
      (
        "a gap alone",
        netem {
          $0.gap = 5; $0.omitted = .reorder
        }
      ),
      ("a gap with no chance", netem { $0.gap = 5 }),
      ("a gap taken back", netem { $0.omitted = .reorder }),
      ("four states", netem { $0.lossModel = .state(p13: 1, p31: 2, p32: 3, p14: 4, p23: 5) }),
      ("Gilbert-Elliott", netem { $0.lossModel = .gilbertElliott(p: 1, r: 2, h: 3, k1: 4) }),
      ("no model", netem { _ in }),
      ("jitter below nothing", netem { $0.jitter = -7 }),
      ("jitter beyond its range", netem { $0.jitter = 1 << 40 }),
      ("a delay below nothing", netem { $0.latency = -7_000 }),
      ("a rate", netem { $0.rate = NetemRate(bytesPerSecond: 1000, packetOverhead: 3) }),
      ("no word of the rate", netem { _ in }),
      ("no rate", netem { $0.rate = NetemRate(bytesPerSecond: 0) }),
      ("another seed", netem { $0.seed = 5 }),
      ("too long a table", netem { $0.distribution = [Int16](repeating: 1, count: 16385) }),
      ("the longest table", netem { $0.distribution = [Int16](repeating: 1, count: 16384) }),
      ("too long a table for slots", netem { $0.slotDistribution = [Int16](repeating: 1, count: 16385) }),
      ("slots", netem { $0.slot = NetemSlot(minimumDelay: 5, maximumDelay: 5) }),
      ("no word of slots", netem { _ in }),
      (
        "slots of a distribution",
        netem {
          $0.slot = NetemSlot(distributedDelay: 50, distributedJitter: 1 << 40)
          $0.slotDistribution = [1, 2]
        }
      ),
      ("slots with no time", netem { $0.slot = NetemSlot(packets: 4) }),
      ("slots below nothing", netem { $0.slot = NetemSlot(minimumDelay: -1) }),
      ("slots the wrong way round", netem { $0.slot = NetemSlot(minimumDelay: 2, maximumDelay: 1) }),
      ("slots' jitter below nothing", netem { $0.slot = NetemSlot(distributedJitter: -1) }),
      (
        "slots' limit below nothing",
        netem { $0.slot = NetemSlot(minimumDelay: 1, maximumDelay: 1, bytes: -1) }
      ),
      ("a class", Q.class(1, .create)),
      ("a change of a class", Q.class(1, .change)),
      ("removal of a class", Q.class(1, .delete)),
      ("a queue inside", Q.qdisc(.pfifo(limit: 3), .create, parent: Q.at(1, 1), handle: 2)),
      ("netem inside", netem(.createOrReplace, parent: Q.at(1, 1), handle: 3) { $0.seed = 1 }),
      ("copies in the outer one", netem { $0.duplicate = 1 }),
      ("copies in the inner one", netem(.change, parent: Q.at(1, 1)) { $0.duplicate = 1 }),
      ("removal of what is inside", Q.qdisc(nil, .delete, parent: Q.at(1, 1))),
      ("copies", netem { $0.duplicate = 1 }),
      ("netem inside copies", netem(.createOrReplace, parent: Q.at(1, 1), handle: 3) { $0.seed = 1 }),
      ("netem in its place", netem(.createOrReplace, handle: 4) { $0.seed = 8 }),
      ("removal", Q.qdisc(nil, .delete)),
    ]
  }()

  @Test("Each request has the kernel's error and words, and the same netem stands after it")
  func requests() throws { try QdiscOracleTests.compare(Self.requests) }
}
