// SPDX-License-Identifier: GPL-2.0-or-later

// Seeded runs of two hosts in virtual time over a wire that does anything: loss, bursts of it, duplication, reordering,
// delay, outages, readers that stop. Every byte arrives once and in order, or both ends learn that it does not.

import Foundation
import NetTypes
import Testing

@testable import NetStack

@Suite("TCP in simulation")
struct TCPSimulationTests {
  /// `NETFORGE_FUZZ_ROUNDS` asks for more, `NETFORGE_TCP_SEED` for one run again.
  static let seeds: [UInt64] = {
    let environment = ProcessInfo.processInfo.environment
    if let seed = environment["NETFORGE_TCP_SEED"].flatMap({ UInt64($0) }) { return [seed] }
    let rounds = environment["NETFORGE_FUZZ_ROUNDS"].flatMap { UInt64($0) } ?? 0
    return Array(1...max(120, rounds / 100))
  }()

  /// What a seed makes of the world.
  struct Plan {
    var faults = UnreliableLink.Faults()
    var lengths: [Int]
    var algorithms: [String]
    var settings: [(String, String)] = []
    /// Steps of five milliseconds in which a reader does not read.
    var pauses: [Range<Int>]
    /// The wire is cut for good.
    var isCut = false

    init(_ random: inout RandomState) {
      let level = random.below(4)
      faults.loss = level == 0 ? 0 : random.below(level == 3 ? 300 : 60)
      faults.duplication = random.below(3) == 0 ? random.below(100) : 0
      faults.reordering = random.below(3) == 0 ? random.below(300) : 0
      faults.delay = [10_000, 500_000, 5_000_000, 40_000_000, 150_000_000][Int(random.below(5))]
      if random.below(4) == 0 {
        let start = Int64(random.below(2_000_000_000))
        faults.outage = start..<start + Int64(random.below(6_000_000_000))
      }
      lengths = [Int(random.below(120_000)), Int(random.below(random.below(2) == 0 ? 1 : 60_000))]
      algorithms = (0..<2).map { _ in CongestionAlgorithm.allCases[Int(random.below(3))].name }
      for name in ["sack", "timestamps", "window_scaling", "dsack", "ecn", "frto", "slow_start_after_idle"]
      where random.below(5) == 0 {
        settings.append(("net/ipv4/tcp_" + name, "\(random.below(2))"))
      }
      pauses = (0..<2).map { _ in
        guard random.below(3) == 0 else { return 0..<0 }
        let start = Int(random.below(200))
        return start..<start + Int(random.below(600))
      }
      isCut = random.below(12) == 0
    }
  }

  /// Sends what there is room for, and then the end; the error that stops it.
  private static func feed(
    _ link: UnreliableLink, _ socket: SocketIndex, _ bytes: [UInt8], _ sent: inout Int, _ isShut: inout Bool
  ) -> Int32 {
    while sent < bytes.count {
      var count = 0
      let rest = Array(bytes[sent..<min(sent + 30_000, bytes.count)])
      let errno = failure { count = try link.kernel.send(rest, on: socket) }
      guard errno == 0 else { return errno }
      sent += count
    }
    guard !isShut, link.kernel.information(of: socket)?.state != .synSent else { return 0 }
    let errno = failure { try link.kernel.shutdown(socket, .send) }
    // What is not connected yet ends later.
    if errno == 0 { isShut = true }
    return errno == 107 ? 11 : errno
  }

  /// Reads what there is.
  private static func drain(
    _ link: UnreliableLink, _ socket: SocketIndex, _ received: inout [UInt8], _ isOver: inout Bool
  ) -> Int32 {
    var buffer: [UInt8] = []
    while !isOver {
      let errno = failure { _ = try link.kernel.receive(socket, into: &buffer, limit: 8192) }
      guard errno == 0 else { return errno }
      isOver = buffer.isEmpty
      received += buffer
    }
    return 0
  }

  /// How long an end that waits for something may be silent: what its timer of sending is set to, or what it lets pass
  /// between probes of a closed window.
  private static func patience(_ information: TCPInformation) -> Int64? {
    let timeout = information.timeout * 1000
    if information.state == .synSent || information.unacknowledged > 0 { return timeout }
    guard information.unsentBytes > 0 else { return nil }
    return min(max(timeout, 200_000_000) << Int64(min(information.backoff, 10)), 120_000_000_000)
  }

  @Test("Every byte arrives once and in order, or both ends learn", arguments: seeds)
  func run(seed: UInt64) throws {
    var random = RandomState(seed: seed)
    let plan = Plan(&random)
    let link = try UnreliableLink(seed: seed, faults: plan.faults)
    for node in link.nodes {
      for (name, value) in plan.settings { try link.kernel.setSysctl(name, to: value, in: node) }
    }
    let listener = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[1])
    try link.kernel.setOption(.congestionControl(plan.algorithms[1]), on: listener)
    try link.kernel.bind(listener, to: name("0.0.0.0", 80))
    try link.kernel.listen(listener, backlog: 4)
    let client = try link.kernel.makeSocket(.tcp(.ipv4), in: link.nodes[0])
    try link.kernel.setOption(.congestionControl(plan.algorithms[0]), on: client)
    #expect(failure { try link.kernel.connect(client, to: name("10.0.0.2", 80)) } == 115)
    var sockets: [SocketIndex?] = [client, nil]
    let bytes = (0..<2).map { TCPTests.pattern(plan.lengths[$0], seed &+ UInt64($0)) }
    var sent = [0, 0]
    var received: [[UInt8]] = [[], []]
    var (isShut, isOver, failures) = ([false, false], [false, false], [Int32(0), 0])
    /// What each end's timeout is, and the most that it was since something was heard; how much longer one was silent.
    var patience: [(Int64, Int64)] = [(0, 0), (0, 0)]
    var heard: [Int64] = [0, 0]
    var lateness: Int64 = 0
    for step in 0..<40_000 {
      if plan.isCut, received[1].count > plan.lengths[0] / 2 { link.faults.loss = 1000 }
      if sockets[1] == nil { sockets[1] = try? link.kernel.accept(listener) }
      for end in 0..<2 {
        guard let socket = sockets[end], failures[end] == 0 else { continue }
        let errno = Self.feed(link, socket, bytes[end], &sent[end], &isShut[end])
        if errno != 0, errno != 11 { failures[end] = errno }
        guard !plan.pauses[end].contains(step), failures[end] == 0, !isOver[end] else { continue }
        let error = Self.drain(link, socket, &received[end], &isOver[end])
        if error != 0, error != 11 { failures[end] = error }
      }
      for end in 0..<2 {
        guard let socket = sockets[end], failures[end] == 0,
          let information = link.kernel.information(of: socket)
        else { continue }
        // Who has nothing more to do learns so that it was in vain.
        if information.state == .close { failures[end] = link.kernel.takeError(of: socket) }
        guard failures[end] == 0, let current = Self.patience(information) else { continue }
        // What is heard of times changes the timeout, but not the timer that runs; of several such changes in one step, or
        // before the timer is set anew, not all are seen.
        patience[end] = (
          current, max(current, link.lastActive[end] == heard[end] ? patience[end].1 : patience[end].0)
        )
        heard[end] = link.lastActive[end]
        let silence = link.kernel.now.nanoseconds - heard[end]
        let most = patience[end].1 * 5 / 4
        if silence > most { lateness = max(lateness, silence - most) }
      }
      let isEnded = { (end: Int) in isOver[end] && isShut[end] || failures[end] != 0 }
      if isEnded(0), isEnded(1) { break }
      // A peer that could not connect, or has gone, is never accepted.
      if isEnded(0), sockets[1] == nil { break }
      link.run(for: step < 2000 ? .milliseconds(5) : .milliseconds(200))
    }
    var hint = Comment(rawValue: "NETFORGE_TCP_SEED=\(seed) swift test --filter TCPSimulationTests")
    if isOver != [true, true] {
      // How the two ends stand.
      for socket in sockets.compactMap({ $0 }) {
        hint = Comment(rawValue: hint.rawValue + "\n\(link.kernel.information(of: socket).debugDescription)")
      }
    }
    if plan.isCut || failures != [0, 0] {
      // What has arrived is the beginning of what was sent, and nobody waits for ever.
      #expect(received[1] == Array(bytes[0].prefix(received[1].count)), hint)
      #expect(received[0] == Array(bytes[1].prefix(received[0].count)), hint)
      #expect(plan.isCut || plan.faults.loss >= 200, hint)
    } else {
      #expect(received.map(\.count) == [bytes[1].count, bytes[0].count], hint)
      let isSame = received == [bytes[1], bytes[0]]
      #expect(isSame, hint)
      #expect(isOver == [true, true], hint)
      // Chance may let retransmission after retransmission be lost, each of which waits twice as long as the one before
      // it; but who waits for longer than its timer says has lost the timer.
      #expect(lateness <= 10_000_000, hint)
    }
    for socket in sockets.compactMap({ $0 }) + [listener] { link.kernel.close(socket) }
    link.faults.loss = max(link.faults.loss, plan.isCut ? 1000 : 0)
    link.run(for: .seconds(2500))
    #expect(link.kernel.sockets.count == 0, hint)
    #expect(link.kernel.accounting.isClosed, hint)
    #expect(link.kernel.accounting.held == 0, hint)
  }
}
