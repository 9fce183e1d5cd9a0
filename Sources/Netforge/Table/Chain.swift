// SPDX-License-Identifier: GPL-2.0-or-later

// Chains of the general firewall form.

/// Where among the chains of a hook a chain stands; the lower sees packets first.
public struct Priority: Sendable, ExpressibleByIntegerLiteral {
  let value: Int

  /// A number, -2147483648...2147483647.
  public init(integerLiteral value: Int) { self.value = value }
  /// -300, before connection tracking.
  public static let raw: Priority = -300
  /// -150.
  public static let mangle: Priority = -150
  /// -100, where destinations are translated.
  public static let destinationNAT: Priority = -100
  /// 0.
  public static let filter: Priority = 0
  /// 50.
  public static let security: Priority = 50
  /// 100, where sources are translated.
  public static let sourceNAT: Priority = 100
}

/// A chain of rules that filter or mark.
public struct Chain: Sendable {
  let record: Record
  let declared: [TableDeclaration]

  /// Where packets meet the chain.
  public enum Hook: String, Sendable {
    /// All that come in.
    case prerouting
    /// Those for the node itself.
    case input
    /// Those that pass through the node.
    case forward
    /// Those that the node sends.
    case output
    /// All that leave.
    case postrouting
    /// All that a device brings, before anything else; families netdev and inet.
    case ingress
    /// All that a device is given, after everything else; family netdev.
    case egress
  }

  /// A chain that packets meet at a hook.
  /// - Parameters:
  ///   - name: unique in the table.
  ///   - hook: where.
  ///   - priority: where among the chains of the hook; 0 when left out.
  ///   - policy: what becomes of packets that no rule decides; accepted when left out.
  ///   - device: the interface, for ingress and egress.
  ///   - reroutes: whether packets whose mark or addresses change are routed anew; for the output hook.
  ///   - body: its rules.
  public init(
    _ name: String, hook: Hook, priority: Priority = .filter, policy: Firewall.Policy? = nil,
    device: String? = nil, reroutes: Bool = false, file: StaticString = #fileID, line: UInt = #line,
    @ChainBody _ body: () -> [Rule] = { [] }
  ) {
    let rules = body()
    record = chainRecord(
      name, reroutes ? "route" : "filter", hook.rawValue, priority.value, policy, device, rules.map(\.record),
      file, line)
    declared = rules.flatMap(\.declared)
  }

  /// A chain that verdicts jump to.
  /// - Parameters:
  ///   - name: unique in the table.
  ///   - body: its rules.
  public init(
    _ name: String, file: StaticString = #fileID, line: UInt = #line, @ChainBody _ body: () -> [Rule] = { [] }
  ) {
    let rules = body()
    record = chainRecord(name, nil, nil, nil, nil, nil, rules.map(\.record), file, line)
    declared = rules.flatMap(\.declared)
  }
}

/// A chain whose rules translate addresses; it sees the first packet of each connection.
public struct NATChain: Sendable {
  let record: Record
  let declared: [TableDeclaration]

  /// Where connections meet the chain.
  public enum Hook: String, Sendable {
    /// Those that come in.
    case prerouting
    /// Those for the node itself.
    case input
    /// Those that the node begins.
    case output
    /// Those that leave.
    case postrouting
  }

  /// - Parameters:
  ///   - name: unique in the table.
  ///   - hook: where.
  ///   - priority: where among the chains of the hook; left out, as nft does: -100 for destinations, 100 for sources.
  ///   - body: its rules.
  public init(
    _ name: String, hook: Hook, priority: Priority? = nil, file: StaticString = #fileID, line: UInt = #line,
    @NATChainBody _ body: () -> [NATRule] = { [] }
  ) {
    let rules = body()
    let usual: Priority = hook == .prerouting || hook == .output ? .destinationNAT : .sourceNAT
    record = chainRecord(
      name, "nat", hook.rawValue, (priority ?? usual).value, nil, nil, rules.map(\.record), file, line)
    declared = rules.flatMap(\.declared)
  }
}

private func chainRecord(
  _ name: String, _ type: String?, _ hook: String?, _ priority: Int?, _ policy: Firewall.Policy?,
  _ device: String?, _ rules: [Record], _ file: StaticString, _ line: UInt
) -> Record {
  var record = Record()
  record.add("name", name)
  record.add("type", type)
  record.add("hook", hook)
  record.add("priority", priority)
  record.add("policy", policy?.rawValue)
  record.add("device", device)
  record.add("rules", rules)
  record.add(file: file, line: line)
  return record
}

/// Builds the body of a chain.
@resultBuilder
public enum ChainBody: ListBuilder {
  /// A rule.
  public typealias Item = Rule

  /// A rule.
  public static func buildExpression(_ rule: Rule) -> [Rule] { [rule] }
  /// Refused by name, so that the compiler's message is ours.
  @available(*, unavailable, message: "a chain's body holds rules: Rule { … }; NAT stands in a NATChain")
  public static func buildExpression<Other>(_ other: Other) -> [Rule] { [] }
}

/// Builds the body of a NAT chain.
@resultBuilder
public enum NATChainBody: ListBuilder {
  /// A rule.
  public typealias Item = NATRule

  /// A rule.
  public static func buildExpression(_ rule: NATRule) -> [NATRule] { [rule] }
  /// Refused by name, so that the compiler's message is ours.
  @available(*, unavailable, message: "a NAT chain's body holds rules: NATRule { … }")
  public static func buildExpression<Other>(_ other: Other) -> [NATRule] { [] }
}
