// SPDX-License-Identifier: GPL-2.0-or-later

// Policy rules by message, of both families (net/core/fib_rules.c; net/ipv4/fib_rules.c, net/ipv6/fib6_rules.c).

import NetTypes
import Rtnetlink

extension Kernel {
  mutating func addRule(
    _ message: RuleMessage, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    switch message.family {
    case .ipv4: try addRule(UInt32.self, message, flags, in: namespace)
    case .ipv6: try addRule(UInt128.self, message, flags, in: namespace)
    default: throw KernelError(97, "Rule family not supported")
    }
  }

  mutating func deleteRule(_ message: RuleMessage, in namespace: NamespaceIndex) throws(KernelError) {
    switch message.family {
    case .ipv4: try deleteRule(UInt32.self, message, in: namespace)
    case .ipv6: try deleteRule(UInt128.self, message, in: namespace)
    default: throw KernelError(97, "Rule family not supported")
    }
  }

  mutating func rules(
    _ filter: RuleMessage, in namespace: NamespaceIndex
  ) throws(KernelError) -> [NetlinkMessage] {
    var answers: [NetlinkMessage] = []
    if filter.family == .ipv4 || filter.family == .unspecified {
      answers += namespaces[namespace].routes.rules.map { message($0, in: namespace) }
    }
    if filter.family == .ipv6 || filter.family == .unspecified {
      answers += namespaces[namespace].routes6.rules.map { message($0, in: namespace) }
    }
    return answers
  }

  /// A rule as a message asks for it (fib_nl2rule, fib4_rule_configure, fib6_rule_configure).
  private func rule<Address: InternetAddress>(
    _ message: RuleMessage, _: Address.Type
  ) throws(KernelError) -> PolicyRule<Address> {
    guard message.suppressInterfaceGroup ?? -1 == -1, message.userIDs == nil, message.l3master != true,
      message.tunnelID == nil
    else {
      throw .notSupported(
        "rules of the emulated kernel ask for no interface group, user, VRF or tunnel")
    }
    var rule = PolicyRule<Address>(priority: message.priority ?? 0)
    func prefix(_ prefix: IPPrefix?) throws(KernelError) -> (Address, UInt8) {
      guard let prefix, prefix.length > 0 else { return (0, 0) }
      guard let address = Address(prefix.address) else { throw .invalidArgument }
      return (address, UInt8(clamping: prefix.length))
    }
    (rule.source, rule.sourceLength) = try prefix(message.source)
    (rule.destination, rule.destinationLength) = try prefix(message.destination)
    rule.action = message.action
    rule.table = message.table
    rule.inputInterface = message.inputInterface
    rule.outputInterface = message.outputInterface
    rule.mark = message.mark ?? 0
    // A mark without a mask is compared whole.
    rule.markMask = message.markMask ?? (message.mark == nil ? 0 : .max)
    rule.typeOfService = message.typeOfService
    rule.proto = message.ipProtocol ?? 0
    rule.sourcePorts = message.sourcePorts
    rule.destinationPorts = message.destinationPorts
    rule.target = message.target ?? 0
    rule.suppressPrefixLength = message.suppressPrefixLength ?? -1
    rule.isInverted = message.flags.contains(.invert)
    rule.origin = message.protocolNumber?.rawValue ?? 0
    for ports in [rule.sourcePorts, rule.destinationPorts] {
      if let ports, ports.lowerBound == 0 || ports.upperBound == .max {
        throw .invalid(ports == rule.sourcePorts ? "Invalid sport range" : "Invalid dport range")
      }
    }
    return rule
  }

  private mutating func addRule<Address: InternetAddress>(
    _: Address.Type, _ message: RuleMessage, _ flags: MessageFlags, in namespace: NamespaceIndex
  ) throws(KernelError) {
    var rule = try rule(message, Address.self)
    let standing = Address.withRoutes(of: &namespaces[namespace]) { $0.rules }
    if message.priority == nil {
      // Just before the second, which is main's (fib_default_rule_pref).
      rule.priority = standing.count > 1 && standing[1].priority > 0 ? standing[1].priority - 1 : 0
    }
    if rule.action == .goto {
      guard let target = message.target else { throw .invalid("Missing goto target for action goto") }
      guard target > rule.priority else { throw .invalid("Backward goto not supported") }
    } else if message.target != nil {
      throw .invalid("Unexpected goto target in non-goto rule")
    }
    guard rule.typeOfService & 3 == 0 else { throw .invalid("Invalid dsfield (tos): ECN bits must be 0") }
    if rule.action == .toTable, rule.table == 0 {
      // The kernel finds a table without a user.
      guard Address.family == .ipv4 else { throw .invalid("Invalid table") }
      rule.table =
        (1...252).first { id in
          !Address.withRoutes(of: &namespaces[namespace]) { $0.hasTable(UInt32(id)) }
        }.map { UInt32($0) } ?? 0
      guard rule.table != 0 else { throw .noBuffers }
    }
    guard !flags.contains(.exclusive) || !standing.contains(rule) else { throw .exists }
    let isMade = Address.withRoutes(of: &namespaces[namespace]) { $0.insert(rule) }
    guard isMade else { throw .noBuffers }
    resolveRules(in: namespace)
  }

  private mutating func deleteRule<Address: InternetAddress>(
    _: Address.Type, _ message: RuleMessage, in namespace: NamespaceIndex
  ) throws(KernelError) {
    let wanted = try rule(message, Address.self)
    let standing = Address.withRoutes(of: &namespaces[namespace]) { $0.rules }
    let found = standing.firstIndex { rule in
      // rule_find: what the message does not say does not count.
      (message.action == .unspecified || rule.action == wanted.action)
        && (wanted.table == 0 || rule.table == wanted.table)
        && (message.priority == nil || rule.priority == wanted.priority)
        && (wanted.inputInterface == nil || rule.inputInterface == wanted.inputInterface)
        && (wanted.outputInterface == nil || rule.outputInterface == wanted.outputInterface)
        && (wanted.mark == 0 || rule.mark == wanted.mark)
        && (message.mark == nil && message.markMask == nil || rule.markMask == wanted.markMask)
        && (wanted.proto == 0 || rule.proto == wanted.proto)
        && (wanted.sourcePorts == nil || rule.sourcePorts == wanted.sourcePorts)
        && (wanted.destinationPorts == nil || rule.destinationPorts == wanted.destinationPorts)
        && (wanted.sourceLength == 0
          || rule.sourceLength == wanted.sourceLength && rule.source == wanted.source)
        && (wanted.destinationLength == 0
          || rule.destinationLength == wanted.destinationLength && rule.destination == wanted.destination)
        && (wanted.typeOfService == 0 || rule.typeOfService == wanted.typeOfService)
        && (wanted.origin == 0 || rule.origin == wanted.origin)
    }
    guard let found else { throw .noSuchEntry }
    Address.withRoutes(of: &namespaces[namespace]) { $0.removeRule(at: found) }
    resolveRules(in: namespace)
  }

  /// Names in rules mean the devices that have them now.
  mutating func resolveRules(in namespace: NamespaceIndex) {
    guard namespaces[namespace].routes.hasRules || namespaces[namespace].routes6.hasRules else { return }
    let names = namespaces[namespace].devices.map { (devices[$0].name.text, $0) }
    func device(_ name: String) -> DeviceIndex { names.first { $0.0 == name }?.1 ?? .none }
    namespaces[namespace].routes.resolveRules(device: device)
    namespaces[namespace].routes6.resolveRules(device: device)
  }

  /// fib_nl_fill_rule.
  private func message<Address: InternetAddress>(
    _ rule: PolicyRule<Address>, in namespace: NamespaceIndex
  ) -> NetlinkMessage {
    var message = RuleMessage(family: AddressFamily(Address.family))
    if rule.priority != 0 { message.priority = rule.priority }
    message.action = rule.action
    message.table = rule.action == .toTable ? rule.table : 0
    if rule.sourceLength > 0 { message.source = rule.source.prefix(rule.sourceLength) }
    if rule.destinationLength > 0 { message.destination = rule.destination.prefix(rule.destinationLength) }
    func isDetached(_ name: String?) -> Bool {
      name.map { device(exactly: $0, in: namespace) == nil } ?? false
    }
    message.inputInterface = rule.inputInterface
    message.outputInterface = rule.outputInterface
    if isDetached(rule.inputInterface) { message.flags.insert(.inputDetached) }
    if isDetached(rule.outputInterface) { message.flags.insert(.outputDetached) }
    if rule.mark != 0 || rule.markMask != 0 {
      message.mark = rule.mark
      message.markMask = rule.markMask
    }
    message.typeOfService = rule.typeOfService
    if rule.proto != 0 { message.ipProtocol = rule.proto }
    message.sourcePorts = rule.sourcePorts
    message.destinationPorts = rule.destinationPorts
    message.suppressPrefixLength = rule.suppressPrefixLength
    if rule.isInverted { message.flags.insert(.invert) }
    message.protocolNumber = RouteProtocol(rawValue: rule.origin)
    if rule.action == .goto {
      message.target = rule.target
      if !hasRule(rule.target, Address.self, in: namespace) { message.flags.insert(.unresolved) }
    }
    return message.message(.newRule, [])
  }

  private func device(exactly name: String, in namespace: NamespaceIndex) -> DeviceIndex? {
    namespaces[namespace].devices.first { devices[$0].name.text == name }
  }

  private func hasRule<Address: InternetAddress>(
    _ priority: UInt32, _: Address.Type, in namespace: NamespaceIndex
  ) -> Bool {
    Address.family == .ipv4
      ? namespaces[namespace].routes.rules.contains { $0.priority == priority }
      : namespaces[namespace].routes6.rules.contains { $0.priority == priority }
  }
}
