// SPDX-License-Identifier: GPL-2.0-or-later

// A policy routing rule as configuration gives it, and as packets read it (net/core/fib_rules.c, net/ipv4/fib_rules.c).

import NetTypes
import Rtnetlink

/// A policy routing rule.
struct PolicyRule<Address: InternetAddress>: Hashable, Sendable {
  /// Rules are tried from the smallest up, those of one priority in the order in which they were made.
  var priority: UInt32
  var action = RuleAction.toTable
  var table: UInt32 = 0
  var source: Address = 0
  var sourceLength: UInt8 = 0
  var destination: Address = 0
  var destinationLength: UInt8 = 0
  var inputInterface: String?
  var outputInterface: String?
  var mark: UInt32 = 0
  var markMask: UInt32 = 0
  var typeOfService: UInt8 = 0
  var proto: UInt8 = 0
  var sourcePorts: ClosedRange<UInt16>?
  var destinationPorts: ClosedRange<UInt16>?
  /// The priority of the rule to go on with.
  var target: UInt32 = 0
  /// Routes of this prefix length or less do not count; -1 for none.
  var suppressPrefixLength: Int32 = -1
  var isInverted = false
  var origin: UInt8 = 0

  /// The rules that every namespace begins with.
  static var defaults: [PolicyRule] {
    var rules = [PolicyRule(priority: 0, table: 255), PolicyRule(priority: 32766, table: 254)]
    // A table of defaults has IPv4 only.
    if Address.family == .ipv4 { rules.append(PolicyRule(priority: 32767, table: 253)) }
    for index in rules.indices { rules[index].origin = RouteProtocol.kernel.rawValue }
    return rules
  }

  /// Whether it asks for ports or a protocol.
  var asksForPorts: Bool { proto != 0 || sourcePorts != nil || destinationPorts != nil }
}

/// A rule with names and tables resolved.
struct CompiledRule<Address: InternetAddress>: BitwiseCopyable {
  enum Action: UInt8, BitwiseCopyable {
    case table, goto, nothing, blackhole, unreachable, prohibit
  }

  var action: Action
  var isInverted: Bool
  var asksForInput: Bool
  var asksForOutput: Bool
  var typeOfService: UInt8
  var proto: UInt8
  var source: Address
  var sourceMask: Address
  var destination: Address
  var destinationMask: Address
  /// None while no device has the name: nothing matches then.
  var inputDevice: DeviceIndex
  var outputDevice: DeviceIndex
  var mark: UInt32
  var markMask: UInt32
  var sourcePorts: (UInt16, UInt16)
  var destinationPorts: (UInt16, UInt16)
  var table: UInt32
  /// The place of the rule to go on with; behind the last when there is none.
  var target: Int
  var suppressPrefixLength: Int32

  init(_ rule: PolicyRule<Address>, target: Int, device: (String) -> DeviceIndex) {
    action =
      switch rule.action {
      case .toTable: .table
      case .goto: .goto
      case .blackhole: .blackhole
      case .unreachable: .unreachable
      case .prohibit: .prohibit
      default: .nothing
      }
    isInverted = rule.isInverted
    asksForInput = rule.inputInterface != nil
    asksForOutput = rule.outputInterface != nil
    typeOfService = rule.typeOfService
    proto = rule.proto
    sourceMask = Address.mask(rule.sourceLength)
    source = rule.source & sourceMask
    destinationMask = Address.mask(rule.destinationLength)
    destination = rule.destination & destinationMask
    inputDevice = rule.inputInterface.map(device) ?? .none
    outputDevice = rule.outputInterface.map(device) ?? .none
    mark = rule.mark
    markMask = rule.markMask
    sourcePorts = rule.sourcePorts.map { ($0.lowerBound, $0.upperBound) } ?? (0, .max)
    destinationPorts = rule.destinationPorts.map { ($0.lowerBound, $0.upperBound) } ?? (0, .max)
    table = rule.table
    self.target = target
    suppressPrefixLength = rule.suppressPrefixLength
  }

  /// Whether the rule is for a flow (fib_rule_match).
  func matches(_ flow: Flow<Address>) -> Bool { selects(flow) != isInverted }

  private func selects(_ flow: Flow<Address>) -> Bool {
    if asksForInput, inputDevice.isNone || inputDevice != flow.inputDevice { return false }
    if asksForOutput, outputDevice.isNone || outputDevice != flow.outputDevice { return false }
    guard (mark ^ flow.mark) & markMask == 0, flow.source & sourceMask == source,
      flow.destination & destinationMask == destination,
      typeOfService == 0 || typeOfService == flow.typeOfService & 0x1c,
      proto == 0 || proto == flow.proto
    else { return false }
    return flow.sourcePort >= sourcePorts.0 && flow.sourcePort <= sourcePorts.1
      && flow.destinationPort >= destinationPorts.0 && flow.destinationPort <= destinationPorts.1
  }
}
