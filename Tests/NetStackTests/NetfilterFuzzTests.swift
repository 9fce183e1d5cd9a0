// SPDX-License-Identifier: GPL-2.0-or-later

// Random rulesets and packets through a router of the host's kernel and through an emulated one: frames, counts, sets,
// connections and what traced packets met must be the same. A case follows from its number; one that differs is made smaller as long as it differs,
// and told with its number. `make fuzz` lengthens the rounds.

import Glibc
import NetTypes
import Nftables
import Testing

@testable import NetStack

@Suite(
  "Rules by chance beside the kernel", .serialized,
  .enabled(
    if: geteuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 && Shell.has("nft"),
    "needs root, /dev/net/tun and nft"))
struct NetfilterFuzzTests {
  typealias Oracle = NetfilterOracleTests

  /// Whether chance decides what comes out, a port where one is taken: another seed gives other frames, or connections
  /// of which no frame comes out.
  private func isByChance(_ one: Case) throws -> Bool {
    let router = try KernelOracleTests.Router(one.setup)
    let tables = try Oracle.load(one.text, into: router)
    var answers: [[[[[UInt8]]]]] = []
    var connections: [[String]] = []
    for seed in [1, 2, 3] as [UInt64] {
      var emulated = try KernelOracleTests.Emulated(one.setup, seed: seed)
      try emulated.kernel.commit(tables.flatMap(\.creation), in: emulated.node)
      try Oracle.prepare(&emulated)
      answers.append([])
      for probe in one.probes {
        answers[answers.count - 1].append(emulated.answers(to: probe.frame, by: probe.face))
      }
      connections.append(Oracle.connections(emulated.kernel, emulated.node))
    }
    return answers[1...].contains { $0 != answers[0] } || connections[1...].contains { $0 != connections[0] }
  }

  /// What is different, or nil; a case that nft does not take is none, nor is one that chance decides. A busy host may be
  /// late with a frame: what does not differ three times does not.
  private func difference(_ one: Case) throws -> String? {
    var found: String?
    for round in 0..<3 {
      if round == 1, try isByChance(one) { return nil }
      let router = try KernelOracleTests.Router(one.setup)
      try Oracle.prepare(router)
      // What a router reports of its groups by itself comes when it likes: who differs waits for that.
      if one.setup.settles {
        _ = try router.answers(to: nil, wait: round == 0 ? .milliseconds(200) : .seconds(2))
      }
      do {
        found = try Oracle.differences(one.text, one.probes, router, one.setup).first
      } catch is Shell.Failure {
        return nil
      }
      if found == nil { return nil }
    }
    return found
  }

  /// The smallest case that still differs, by leaving out chains, rules and probes one after the other.
  private func shrink(_ large: Case) throws -> Case {
    var small = large
    var hasChanged = true
    while hasChanged {
      hasChanged = false
      func attempt(_ change: (inout Case) -> Void) throws {
        var next = small
        change(&next)
        if try difference(next) != nil {
          small = next
          hasChanged = true
        }
      }
      for place in small.chains.indices.reversed() { try attempt { $0.chains.remove(at: place) } }
      for chain in small.chains.indices {
        for place in small.chains[chain].rules.indices.reversed() {
          try attempt { $0.chains[chain].rules.remove(at: place) }
        }
      }
      for place in small.probes.indices.reversed() { try attempt { $0.probes.remove(at: place) } }
    }
    return small
  }

  @Test("A fuzz of rulesets and packets has the kernel's answers")
  func fuzz() throws {
    try run(UInt64(max(16, HostileTests.rounds / 180)), Self.makeCase)
  }

  /// A connection that is met twice within a jiffy counts twice, as when a redirect leaves in the same moment as the
  /// packet that it is about; rules see a redirect that NAT then drops; an option that is not there is set all the same;
  /// what a filter sends elsewhere is routed anew by no NAT but its connection's; a packet that ends its connection is of
  /// none that is counted, and one that belongs to a connection by its addresses alone is.
  @Test(
    "Cases that differed once do so no more",
    arguments: [9487, 20225, 20355, 32602, 57810, 98822, 108329] as [UInt64])
  func settled(_ number: UInt64) throws {
    #expect(try difference(Self.makeCase(number)) == nil)
  }

  /// A reset from an address that a rule has put there; a connection whose packet makes a redirect; what a trace begins
  /// with; how many redirects there are, and the device that they are said to come from;
  /// of which family connections are tracked; an error that has no mark of what it is about;
  /// a redirect, which of all that discovers neighbours is invalid and not untracked.
  @Test(
    "The same of IPv6 and of both families",
    arguments: [1058, 1093, 1100, 1127, 2699, 5004, 5162, 15596, 18398] as [UInt64])
  func settledDual(_ number: UInt64) throws {
    #expect(try difference(Self.makeDualCase(number)) == nil)
  }

  @Test("So has one of IPv6 and of both families")
  func dualFuzz() throws {
    try run(UInt64(max(8, HostileTests.rounds / 720)), Self.makeDualCase)
  }

  private func run(_ rounds: UInt64, _ make: (UInt64) -> Case) throws {
    let first = unsafe getenv("NETFORGE_FUZZ_SEED").flatMap { unsafe UInt64(String(cString: $0)) } ?? 1
    for number in first..<first + rounds {
      let one = make(number)
      // The host's time is real: what a machine that kept it waiting has changed is not there again.
      guard let told = try difference(one), try difference(one) != nil else { continue }
      let small = try shrink(one)
      let frames = small.probes.map { probe in
        "t\(probe.face) " + probe.frame.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
      }
      Issue.record(
        "case \(number):\n\(small.text)\n\(frames.joined(separator: "\n"))\n\(try difference(small) ?? "not again, at first: \(told)")"
      )
    }
  }
}
