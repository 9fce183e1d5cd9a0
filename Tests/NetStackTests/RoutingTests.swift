// SPDX-License-Identifier: GPL-2.0-or-later

// Tables, rules and several next hops beside models and beside the kernel's own choice of a next hop.

import Glibc
import NetTypes
import Netlink
import Rtnetlink
import SystemPackage
import Testing

@testable import NetStack

@Suite("Routing")
struct RoutingTests {
  private static func address(_ random: inout RandomState) -> UInt32 {
    UInt32(truncatingIfNeeded: random.next() & 0x0303_0303)
  }

  /// Walks rules and routes as the kernel's documentation says it, one by one.
  private static func model(
    _ flow: Flow<UInt32>, _ rules: [PolicyRule<UInt32>], _ routes: [Route<UInt32>]
  ) -> (RouteOutcome, UInt32) {
    var index = 0
    while index < rules.count {
      let rule = rules[index]
      index += 1
      let matches =
        (flow.mark ^ rule.mark) & rule.markMask == 0
        && flow.source & UInt32.mask(rule.sourceLength) == rule.source
        && flow.destination & UInt32.mask(rule.destinationLength) == rule.destination
        && (rule.proto == 0 || rule.proto == flow.proto)
        && (rule.destinationPorts?.contains(flow.destinationPort) ?? true)
      guard matches != rule.isInverted else { continue }
      switch rule.action {
      case .goto: index = rules.firstIndex { $0.priority == rule.target } ?? index
      case .unreachable: return (.none, 0)
      case .prohibit: return (.prohibit, 0)
      case .blackhole: return (.blackhole, 0)
      default:
        let best = routes.filter { $0.table == rule.table && $0.covers(flow.destination) }.max {
          ($0.length, $1.priority) < ($1.length, $0.priority)
        }
        guard let best, best.type != .throw else { continue }
        let outcome = RouteOutcome(best.type)
        if !outcome.isError, Int32(best.length) <= rule.suppressPrefixLength { continue }
        return (outcome, best.gateway)
      }
    }
    return (.none, 0)
  }

  @Test("Rules and tables say what a walk through all of them says", arguments: 1...20)
  func rules(seed: UInt64) {
    var random = RandomState(seed: seed)
    var base = ForwardingInformationBase<UInt32>(random: &random)
    var routes: [Route<UInt32>] = []
    for _ in 0..<60 {
      let length = UInt8(random.below(33))
      let types: [RouteType] = [.unicast, .unicast, .unicast, .throw, .blackhole, .prohibit]
      var route = Route<UInt32>(
        destination: Self.address(&random) & UInt32.mask(length), length: length,
        table: UInt32(250 + random.below(5)), priority: UInt32(random.below(3)),
        type: types[Int(random.below(6))], origin: .static)
      if route.type == .unicast {
        route.hops = [RouteHop(device: DeviceIndex(1), gateway: UInt32(random.below(1000)) + 1)]
      }
      let isTaken = routes.contains {
        $0.table == route.table && $0.destination == route.destination && $0.length == length
          && $0.priority == route.priority
      }
      guard !isTaken else { continue }
      routes.append(route)
      base.insert(route)
    }
    for _ in 0..<12 {
      var rule = PolicyRule<UInt32>(
        priority: UInt32(random.below(40000)), table: UInt32(250 + random.below(6)))
      rule.sourceLength = UInt8(random.below(9))
      rule.source = Self.address(&random) & UInt32.mask(rule.sourceLength)
      rule.destinationLength = UInt8(random.below(9))
      rule.destination = Self.address(&random) & UInt32.mask(rule.destinationLength)
      rule.mark = UInt32(random.below(4))
      rule.markMask = UInt32(random.below(4))
      rule.mark &= rule.markMask
      rule.isInverted = random.below(4) == 0
      if random.below(4) == 0 { rule.proto = 17 }
      if random.below(4) == 0 { rule.destinationPorts = 10...20 }
      if random.below(4) == 0 { rule.suppressPrefixLength = Int32(random.below(20)) }
      switch random.below(8) {
      case 0:
        rule.action = .goto
        rule.target = rule.priority + 1 + UInt32(random.below(30000))
      case 1: rule.action = [.unreachable, .prohibit, .blackhole][Int(random.below(3))]
      default: break
      }
      _ = base.insert(rule)
    }
    base.resolveRules { _ in .none }
    let rules = base.rules
    var wrong = 0
    for _ in 0..<500 {
      var flow = Flow(destination: Self.address(&random))
      flow.source = Self.address(&random)
      flow.mark = UInt32(random.below(4))
      flow.proto = random.below(2) == 0 ? 17 : 6
      flow.destinationPort = UInt16(random.below(30))
      let result = base.lookup(flow)
      let expected = Self.model(flow, rules, routes)
      let gateway = result.type == .unicast ? result.gateway : 0
      if result.type != expected.0 || gateway != expected.1 { wrong += 1 }
    }
    #expect(wrong == 0)
  }

  @Test("An IPv6 trie finds what a search through all prefixes finds")
  func trie6() {
    var random = RandomState(seed: 7)
    var prefixes: [RouteTrie<UInt128>.Prefix] = []
    for value in 0..<1500 {
      let length = UInt8(random.below(129))
      let bits = UInt128(random.next() & 0x0303_0303_0303_0303) << 64 | UInt128(random.next() & 3)
      let address = bits & UInt128.mask(length)
      guard !prefixes.contains(where: { $0.address == address && $0.length == length }) else { continue }
      prefixes.append(.init(address: address, length: length, value: UInt32(value)))
    }
    let trie = RouteTrie(prefixes)
    var wrong = 0
    for round in 0..<500 {
      var address = prefixes[Int(random.below(UInt64(prefixes.count)))].address
      if round % 2 == 0 { address |= UInt128(random.next() & 0xff) << UInt128(random.below(120)) }
      let best = prefixes.filter { address & UInt128.mask($0.length) == $0.address }.max {
        $0.length < $1.length
      }
      if trie.lookup(address) != best?.value ?? RouteTrie<UInt128>.noMatch { wrong += 1 }
    }
    #expect(wrong == 0)
  }

  @Test("Next hops have flows in proportion to their weights, and a flow keeps its own")
  func weights() {
    var random = RandomState(seed: 9)
    var base = ForwardingInformationBase<UInt32>(random: &random)
    var route = Route<UInt32>(destination: 0, length: 0, table: 254, type: .unicast, origin: .static)
    route.hops = [3, 1, 4].enumerated().map {
      RouteHop(device: DeviceIndex(1), gateway: UInt32($0 + 1), weight: UInt16($1))
    }
    base.insert(route)
    var counts = [0, 0, 0]
    for number in 0..<8000 {
      var flow = Flow(destination: UInt32(number) + 100)
      flow.source = 5
      let first = base.lookup(flow).gateway
      let second = base.lookup(flow).gateway
      #expect(first == second)
      counts[Int(first) - 1] += 1
    }
    #expect(abs(counts[0] - 3000) < 250 && abs(counts[1] - 1000) < 250 && abs(counts[2] - 4000) < 250)
  }
}
