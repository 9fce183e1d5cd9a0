// SPDX-License-Identifier: GPL-2.0-or-later

// What TCP's timers do where nobody else does anything: a connection of the host's kernel and one of ours are brought
// into the same situation and left alone. What they send must be the same, one after the other, and ours not later
// than the kernel's, whose clock goes on while it is not looked at.

import Glibc
import NetTypes
import Testing

@testable import NetStack

@Suite(
  "Timers of TCP beside the kernel",
  .enabled(if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0, "needs root and /dev/net/tun"))
struct StateTimerTests {
  /// What a connection is left alone in.
  enum Situation: CaseIterable {
    case syn, synAck, bothSYNs, data, fin, lastFin, bothFins, delayedACK, closedWindow, keepAlive, userTimeout
    case finWait2, timeWait

    /// How many segments timers send before it is looked at again.
    var count: Int {
      switch self {
      case .delayedACK: 1
      case .synAck, .bothSYNs, .userTimeout: 2
      case .syn, .data, .fin, .lastFin, .bothFins, .closedWindow, .keepAlive: 3
      case .finWait2, .timeWait: 0
      }
    }

    /// How long is waited at least.
    var time: Int64 {
      switch self {
      case .finWait2, .timeWait, .userTimeout: 2_500_000_000
      default: 0
      }
    }
  }

  /// One connection in its situation.
  final class Watch {
    let remote: StateMatrixTests.Remote
    let situation: Situation
    private var start: Int64 = 0
    private(set) var sent: [(at: Int64, what: String)] = []

    init(_ side: any MatrixSide, _ situation: Situation) throws {
      remote = try StateMatrixTests.Remote(side, port: 9000)
      self.situation = situation
      try begin()
    }

    private func begin() throws {
      func settle(_ state: MatrixState) throws {
        try remote.enter(state)
        remote.hidesRepeatedSYNs = false
        start = remote.side.now
      }
      switch situation {
      case .syn: try settle(.synSent)
      case .synAck:
        try settle(.listen)
        try remote.say(.syn, remote.initial, 0)
      case .bothSYNs: try settle(.synReceived)
      case .data:
        try settle(.established)
        _ = remote.call(.send)
      case .fin: try settle(.finWait1)
      case .lastFin: try settle(.lastAck)
      case .bothFins: try settle(.closing)
      case .delayedACK:
        try settle(.established)
        try remote.side.set(.delaysACKs, on: remote.handle)
        for line in try remote.say([.ack, .psh], remote.next, remote.hostNext, 10) {
          sent.append((remote.side.now - start, line))
        }
      case .closedWindow:
        try settle(.established)
        try remote.say(.ack, remote.next, remote.hostNext, window: 0)
        _ = remote.call(.send)
      case .keepAlive:
        try settle(.established)
        try remote.side.set(.keepAlive, on: remote.handle)
      case .userTimeout:
        try settle(.established)
        try remote.side.set(.userTimeout(1000), on: remote.handle)
        _ = remote.call(.send)
      case .finWait2:
        try settle(.finWait2)
        _ = remote.call(.close)
      case .timeWait: try settle(.timeWait)
      }
    }

    /// Notes what has been sent; true: it has been waited for long enough.
    func look(_ limit: Int64 = 30_000_000_000) throws -> Bool {
      let time = remote.side.now - start
      // What goes first is of a call, not of a timer.
      let count = situation.count + (situation == .data || situation == .userTimeout ? 1 : 0)
      for line in try remote.listen() where sent.count < count { sent.append((time, line)) }
      return time >= situation.time && sent.count >= count || time > limit
    }

    /// What is left of it.
    func end() throws -> [String] {
      switch situation {
      case .finWait2, .timeWait: try remote.say([.fin, .ack], remote.next, remote.hostNext)
      default: ["\(remote.call(.poll)) \(remote.call(.error))"]
      }
    }
  }

  @Test(
    "What timers send is what the kernel's send, and ours are not later", arguments: [IPFamily.ipv4, .ipv6])
  func timers(_ family: IPFamily) throws {
    let hosts = try Situation.allCases.map { _ in try StateMatrixTests.Host(family) }
    for host in hosts { try host.router.set("net/ipv4/tcp_fin_timeout", "1") }
    let theirs = try zip(hosts, Situation.allCases).map { try Watch($0, $1) }
    for host in hosts { host.patience = .zero }
    var isOver = false
    while !isOver {
      usleep(2000)
      isOver = true
      for watch in theirs where try !watch.look() { isOver = false }
    }
    for host in hosts { host.patience = .milliseconds(3) }
    for watch in theirs {
      let ours = try StateMatrixTests.Ours(family)
      try ours.emulated.kernel.setSysctl("net/ipv4/tcp_fin_timeout", to: "1", in: ours.emulated.node)
      let own = try Watch(ours, watch.situation)
      while try !own.look() {}
      #expect(own.sent.map(\.what) == watch.sent.map(\.what), "\(watch.situation)")
      for (mine, kernels) in zip(own.sent, watch.sent) {
        // A tick of the clock, and the steps in which ours is looked at.
        #expect(mine.at <= kernels.at + 15_000_000, "\(watch.situation) \(mine.what)")
        #expect(kernels.at <= mine.at + mine.at / 2 + 1_000_000_000, "\(watch.situation) \(mine.what)")
      }
      #expect(try own.end() == watch.end(), "\(watch.situation)")
    }
  }
}
