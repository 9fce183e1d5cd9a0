// SPDX-License-Identifier: GPL-2.0-or-later

// Congestion control on a path of 100 Mbit/s and 40 ms in virtual time: what each algorithm does with it, and how flows
// share it.

import NetTypes
import Testing

@testable import NetStack

@Suite("Congestion control")
struct TCPCongestionTests {
  /// Keeps senders busy and readers reading; the answer is what each flow has delivered.
  static func transfer(
    _ link: BottleneckLink, _ flows: [(client: SocketIndex, server: SocketIndex)], milliseconds: Int,
    each: (BottleneckLink, Int) -> Void = { _, _ in }
  ) -> [Int] {
    let chunk = [UInt8](repeating: 7, count: 100_000)
    var delivered = flows.map { _ in 0 }
    var buffer: [UInt8] = []
    for step in 0..<milliseconds {
      // Whoever is first in this step is last in the next: nobody's segments are always the first in the queue.
      for turn in flows.indices {
        let place = (step + turn) % flows.count
        while (try? link.kernel.send(chunk, on: flows[place].client)) ?? 0 == chunk.count {}
        while let message = try? link.kernel.receive(flows[place].server, into: &buffer, limit: 1 << 20) {
          delivered[place] += message.length
        }
      }
      link.run(for: .milliseconds(1))
      each(link, step)
    }
    return delivered
  }

  @Test("One flow fills the path", arguments: CongestionAlgorithm.allCases)
  func fills(algorithm: CongestionAlgorithm) throws {
    let link = try BottleneckLink()
    let flow = try link.connect(algorithm.name, port: 80)
    _ = Self.transfer(link, [flow], milliseconds: 2000)
    link.mostQueued = 0
    let delivered = Self.transfer(link, [flow], milliseconds: 4000)[0]
    // 100 Mbit/s less headers.
    #expect(Double(delivered) / 4 > 0.88 * 12_500_000 * 1448 / 1514, "\(delivered)")
    let information = link.kernel.information(of: flow.client)
    let known = try #require(information)
    #expect(known.minimumRoundTripTime >= 40_000 && known.minimumRoundTripTime < 41_500)
    #expect(known.timeout >= 200_000 + known.roundTripTime)
    if algorithm == .bbr {
      // BBR's queue stays under one and a half of what the path holds.
      #expect(link.mostQueued < 750_000)
      #expect(known.deliveryRate > 10_000_000 && known.deliveryRate < 12_500_000)
      #expect(known.totalRetransmits < 1500)
    } else {
      #expect(known.totalRetransmits < 1500)
    }
    let isClosed = link.kernel.accounting.isClosed
    #expect(isClosed)
  }

  @Test("HyStart leaves slow start before the queue overflows; Reno does not")
  func slowStart() throws {
    var drops: [Int] = []
    for algorithm in ["cubic", "reno"] {
      let link = try BottleneckLink()
      let flow = try link.connect(algorithm, port: 80)
      _ = Self.transfer(link, [flow], milliseconds: 800)
      drops.append(link.dropped)
      let counters = link.kernel.counted(link.nodes[0])
      let exits = counters[.tcpExtTCPHystartTrainDetect] + counters[.tcpExtTCPHystartDelayDetect]
      #expect(exits == (algorithm == "cubic" ? 1 : 0))
    }
    #expect(drops[0] < drops[1])
  }

  @Test(
    "A loss makes CUBIC's window seven tenths and Reno's a half, by as many as were delivered",
    arguments: [
      ("cubic", 717), ("reno", 512),
    ])
  func reduction(algorithm: String, factor: Int) throws {
    let link = try BottleneckLink(capacity: 300_000)
    let flow = try link.connect(algorithm, port: 80)
    var before = 0
    var seen: [(before: Int, threshold: Int)] = []
    var wasReducing = false
    _ = Self.transfer(link, [flow], milliseconds: 4000) { link, _ in
      guard let known = link.kernel.information(of: flow.client) else { return }
      let isReducing = known.phase == .recovery
      if isReducing, !wasReducing { seen.append((before, known.slowStartThreshold)) }
      if !isReducing { before = known.congestionWindow }
      wasReducing = isReducing
    }
    #expect(!seen.isEmpty)
    for (before, threshold) in seen {
      // The window may grow a little between two looks.
      #expect(abs(threshold - before * factor / 1024) <= before / 8 + 2, "\(before) \(threshold)")
    }
    // Nothing but fast recovery mends it.
    #expect(link.kernel.counted(link.nodes[0])[.tcpExtTCPTimeouts] <= 1)
  }

  @Test("Flows of one kind share the path", arguments: CongestionAlgorithm.allCases)
  func fairness(algorithm: CongestionAlgorithm) throws {
    let link = try BottleneckLink(rate: 2_500_000, roundTrip: 20_000_000, capacity: 75_000)
    var flows: [(client: SocketIndex, server: SocketIndex)] = []
    for port in UInt16(80)..<84 {
      flows.append(try link.connect(algorithm.name, port: port))
      _ = Self.transfer(link, flows, milliseconds: 100)
    }
    _ = Self.transfer(link, flows, milliseconds: 8000)
    let delivered = Self.transfer(link, flows, milliseconds: 16_000).map { Double($0) }
    let sum = delivered.reduce(0, +)
    // Jain's index: 1 is equal shares, 0.25 is one flow alone.
    let index = sum * sum / (4 * delivered.reduce(0) { $0 + $1 * $1 })
    // BBR's shares go on wandering: on paths of 18 to 24 ms the index lies between 0.64 and 0.95.
    #expect(index > (algorithm == .bbr ? 0.6 : 0.8), "\(delivered)")
    #expect(sum / 16 > 0.85 * 2_500_000 * 1448 / 1514)
  }

  @Test("A rate that a socket may not pass is kept to")
  func pacing() throws {
    let link = try BottleneckLink()
    let flow = try link.connect("cubic", port: 80)
    try link.kernel.setOption(.maximumPacingRate(1_000_000), on: flow.client)
    _ = Self.transfer(link, [flow], milliseconds: 1000)
    link.mostQueued = 0
    let delivered = Self.transfer(link, [flow], milliseconds: 3000)[0]
    #expect(delivered > 2_700_000 && delivered < 3_100_000, "\(delivered)")
    // Evenly: never more than two packets wait.
    #expect(link.mostQueued < 2 * 1514 + 1)
  }

  @Test("The receive buffer follows what comes in a round trip; one that was set stays")
  func autotuning() throws {
    for isFixed in [false, true] {
      let link = try BottleneckLink()
      let flow = try link.connect("cubic", port: 80)
      if isFixed { try link.kernel.setOption(.receiveBuffer(100_000), on: flow.server) }
      let before = link.kernel.options(of: flow.server)?.receiveBuffer ?? 0
      _ = Self.transfer(link, [flow], milliseconds: 3000)
      let after = link.kernel.options(of: flow.server)?.receiveBuffer ?? 0
      #expect(isFixed ? after == before : after > 4 * before, "\(before) \(after)")
      if !isFixed { #expect(after <= 6_291_456) }
    }
  }
}
