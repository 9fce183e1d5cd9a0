// SPDX-License-Identifier: GPL-2.0-or-later

// Rules that became one lookup against the same rules one by one: frames, counts and traces of random packets are the
// same.

import NetTypes
import Nftables
import Testing

@testable import NetStack

@Suite("Rules as one lookup")
struct NetfilterDispatchTests {
  typealias Frames = NetfilterOracleTests

  /// A chain of runs of rules that differ in one value, with others between.
  private static func rules(_ random: inout RandomState) -> [Rule] {
    func one<Value>(_ values: [Value]) -> Value { values[Int(random.below(UInt64(values.count)))] }
    let ports: [UInt16] = [22, 53, 80, 99, 1000, 5353]
    var rules: [Rule] = []
    for _ in 0...random.below(3) {
      let kind = random.below(8)
      let isInside = random.below(2) == 0
      for _ in 0..<random.below(20) + 3 {
        var statements: [Statement] = []
        if isInside {
          statements.append(
            .match(.is(.inputInterface, one(["t0", "t1"].compactMap { InterfacePattern($0) }))))
        }
        switch kind {
        case 0: statements.append(.match(.is(.udpDestination, one(ports))))
        case 1: statements.append(.match(.is(.tcpDestination, one(ports))))
        case 2: statements.append(.match(.is(.mark, PacketMark(rawValue: UInt32(random.below(3))))))
        case 3:
          statements.append(
            .match(.is(.inputInterface, one(["t0", "t1", "t2"].compactMap { InterfacePattern($0) }))))
        case 4:
          // Ranges, of which some overlap, and single values between them.
          let first = one([1, 40, 53, 54, 1000] as [UInt16])
          let last = one([first, 52, 53, 60, 1000, 6000])
          statements.append(.match(.isIn(.udpDestination, Port(first)...Port(max(first, last)))))
        case 5:
          let text = one(["10.0.0.9", "10.0.1.8", "10.0.1.9"])
          let (low, high) = (v4(text), v4(one([text, "10.0.1.9", "10.0.2.0"])))
          statements.append(.match(.isIn(.ipDestination, low...max(low, high))))
        case 6:
          let mac = one(
            ["02:00:00:00:09:09", "02:00:00:00:08:08", "02:00:00:00:01:01"].compactMap { MACAddress($0) })
          statements.append(.match(.is(.etherSource, mac)))
        default:
          let address = one(["10.0.1.9", "10.0.1.8", "10.0.0.9"].compactMap { IPv4Address($0) })
          statements.append(.match(.is(.ipDestination, address)))
        }
        if random.below(4) == 0 { statements.append(.match(.is(.transportProtocol, .udp))) }
        statements.append(.counter)
        switch random.below(9) {
        case 0: statements.append(.verdict(.drop))
        case 1: statements.append(.verdict(.accept))
        case 2: statements.append(.setMark(.value(UInt32(random.below(3)))))
        case 3: statements.append(.verdict(.jump("other")))
        case 4: statements.append(.verdict(.goto("other")))
        case 5: statements.append(.limit(NftLimit(rate: 3, unitSeconds: 3600, burst: 2)))
        case 6: statements.append(.verdict(.return))
        default: break
        }
        rules.append(Rule(statements))
      }
      if random.below(2) == 0 { rules.append(Rule([.counter, .setMark(.value(UInt32(random.below(3))))])) }
    }
    return rules
  }

  private static func table(_ number: UInt64) throws -> NftTable {
    var random = RandomState(seed: number)
    let base = NftBaseChain(hook: .forward, priority: 0, policy: random.below(3) == 0 ? .drop : .accept)
    let table = Ruleset.Table(
      family: .ip, name: "t",
      chains: [
        Ruleset.Chain(name: "c", base: base, rules: rules(&random)),
        Ruleset.Chain(
          name: "other",
          rules: [Rule([.match(.is(.udpDestination, 53)), .counter, .setMark(.value(2))]), Rule([.counter])]),
      ])
    return try Compiler.compile(table)
  }

  @Test("Packets meet the same, whether rules are tried one by one or looked up")
  func same() throws {
    for number in 0..<UInt64(max(60, HostileTests.rounds / 50)) {
      let table = try Self.table(number)
      var fast = try KernelOracleTests.Emulated(groupsRules: true)
      var plain = try KernelOracleTests.Emulated(groupsRules: false)
      try fast.kernel.commit(table.creation, in: fast.node)
      try plain.kernel.commit(table.creation, in: plain.node)
      if number % 3 == 0 {
        fast.kernel.setTraced(NftTraceFilter(), in: fast.node)
        plain.kernel.setTraced(NftTraceFilter(), in: plain.node)
      }
      for probe in Frames.mixed + Frames.mixed {
        let got = fast.answers(to: probe.frame, by: probe.face)
        let expected = plain.answers(to: probe.frame, by: probe.face)
        #expect(got == expected, "case \(number)")
        #expect(fast.kernel.takeTraces() == plain.kernel.takeTraces(), "case \(number)")
      }
      let counted = fast.kernel.nftables(nil, in: fast.node).tables
      #expect(counted == plain.kernel.nftables(nil, in: plain.node).tables, "case \(number)")
    }
  }
}
