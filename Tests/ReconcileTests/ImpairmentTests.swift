// SPDX-License-Identifier: GPL-2.0-or-later

import LabCore
import NetTypes
import Testing
import TopologyModel

@testable import Reconcile

@Suite("Impairments")
struct ImpairmentTests {
  private static let here = SourceLocation(file: "test", line: 1)

  private static func impairment(
    rate: Int64? = nil, delay: Int64? = nil, jitter: Int64? = nil, loss: Double? = nil,
    reorder: Double? = nil,
    limit: Int? = nil, seed: UInt64? = nil
  ) -> Topology.Impairment {
    Topology.Impairment(
      rate: rate, delay: delay.map { .milliseconds($0) }, jitter: jitter.map { .milliseconds($0) },
      loss: loss,
      reorder: reorder, limit: limit, seed: seed, location: here)
  }

  @Test("Only a rate is a token bucket, anything else netem, nothing is no queueing discipline")
  func kinds() throws {
    let rate = try #require(QdiscKind(Self.impairment(rate: 100_000_000), seed: 7))
    #expect(rate.name == "tbf" && rate.words == "rate 100mbit")
    let both = try #require(QdiscKind(Self.impairment(rate: 100_000_000, delay: 20), seed: 7))
    #expect(both.words == "delay 20ms, rate 100mbit")
    guard case .netem(let netem) = both else { return #expect(Bool(false), "\(both)") }
    #expect(netem.seed == 7 && netem.rate == 12_500_000)
    #expect(QdiscKind(Self.impairment(loss: 0), seed: 7) == nil)
  }

  @Test("What is merged keeps what is not named, and 0 takes away")
  func merging() throws {
    let first = try #require(QdiscKind(Self.impairment(delay: 20, jitter: 5), seed: 7))
    let second = try #require(QdiscKind(Self.impairment(loss: 0.5), over: first, seed: 9))
    #expect(second.words == "delay 20ms ±5ms, loss 0.5%")
    guard case .netem(let netem) = second else { return #expect(Bool(false), "\(second)") }
    #expect(netem.seed == 7, "a seed that is there stays")
    let limited = try #require(QdiscKind(Self.impairment(rate: 8_000_000), over: second, seed: 9))
    let rateOnly = try #require(
      QdiscKind(Self.impairment(delay: 0, jitter: 0, loss: 0), over: limited, seed: 9))
    #expect(rateOnly == QdiscKind(Self.impairment(rate: 8_000_000), seed: 9))
    let delayed = try #require(QdiscKind(Self.impairment(delay: 1), over: rateOnly, seed: 9))
    #expect(delayed == QdiscKind(Self.impairment(rate: 8_000_000, delay: 1), seed: 9))
    #expect(QdiscKind(Self.impairment(rate: 0, delay: 0), over: delayed, seed: 9) == nil)
  }

  @Test("The queue's limit follows delay and rate, unless one was asked for")
  func limits() throws {
    func limit(_ kind: QdiscKind?) -> UInt32? {
      if case .netem(let netem)? = kind { netem.limit } else { nil }
    }
    let short = QdiscKind(Self.impairment(delay: 20), seed: 1)
    let long = QdiscKind(Self.impairment(delay: 1000), over: short, seed: 1)
    #expect(limit(long) == limit(QdiscKind(Self.impairment(delay: 1000), seed: 1)))
    #expect(try #require(limit(long)) > 100_000)
    let asked = QdiscKind(Self.impairment(limit: 50), over: short, seed: 1)
    #expect(limit(QdiscKind(Self.impairment(delay: 1000), over: asked, seed: 1)) == 50)
  }

  @Test("What makes no sense is said")
  func complaints() throws {
    let late = try #require(QdiscKind(Self.impairment(delay: 5, jitter: 20), seed: 1))
    #expect(late.complaint?.contains("jitter of 20ms is more than the delay of 5ms") == true)
    let alone = try #require(QdiscKind(Self.impairment(reorder: 5), seed: 1))
    #expect(alone.complaint?.contains("give a delay") == true)
    #expect(QdiscKind(Self.impairment(delay: 5, reorder: 5), seed: 1)?.complaint == nil)
  }

  @Test("Every share of a thousandth of a per cent comes back as it was given")
  func shares() {
    for thousandths in stride(from: 1, through: 100_000, by: 37) {
      let percent = Double(thousandths) / 1000
      let words = QdiscKind(Self.impairment(loss: percent), seed: 1)?.words
      #expect(words == "loss \(percent == percent.rounded() ? "\(Int(percent))" : "\(percent)")%")
    }
  }
}
