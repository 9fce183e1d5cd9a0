// SPDX-License-Identifier: GPL-2.0-or-later

// The bodies of rules in the general firewall form. NAT has a builder of its own, so that it cannot stand where the
// kernel would refuse it.

/// A rule of a chain.
public struct Rule: Sendable {
  let record: Record
  let declared: [TableDeclaration]

  /// - Parameters:
  ///   - comment: kept with the rule.
  ///   - body: its statements, from left to right.
  public init(
    comment: String? = nil, file: StaticString = #fileID, line: UInt = #line,
    @RuleBody _ body: () -> [RuleStatement]
  ) {
    let statements = body()
    var record = Record()
    record.add("statements", statements.map(\.record))
    record.add("comment", comment)
    record.add(file: file, line: line)
    self.record = record
    declared = statements.flatMap(\.declared)
  }
}

/// A rule of a NAT chain.
public struct NATRule: Sendable {
  let record: Record
  let declared: [TableDeclaration]

  /// - Parameters:
  ///   - comment: kept with the rule.
  ///   - body: its statements, from left to right.
  public init(
    comment: String? = nil, file: StaticString = #fileID, line: UInt = #line,
    @NATRuleBody _ body: () -> [RuleStatement]
  ) {
    let statements = body()
    var record = Record()
    record.add("statements", statements.map(\.record))
    record.add("comment", comment)
    record.add(file: file, line: line)
    self.record = record
    declared = statements.flatMap(\.declared)
  }
}

/// What the bodies of all rules may hold.
public protocol RuleBuilder: ListBuilder where Item == RuleStatement {}

extension RuleBuilder {
  /// A comparison.
  public static func buildExpression(_ item: Comparison) -> [RuleStatement] { [item.statement] }
  /// A verdict that is looked up.
  public static func buildExpression(_ item: VerdictLookup) -> [RuleStatement] { [item.statement] }
  /// An object that is looked up.
  public static func buildExpression(_ item: ObjectLookup) -> [RuleStatement] { [item.statement] }
  /// Counts.
  public static func buildExpression(_ item: Counter) -> [RuleStatement] { [item.statement] }
  /// A rate.
  public static func buildExpression(_ item: Limit) -> [RuleStatement] { [item.statement] }
  /// A sum of bytes.
  public static func buildExpression(_ item: Quota) -> [RuleStatement] { [item.statement] }
  /// A number of connections.
  public static func buildExpression(_ item: ConnectionLimit) -> [RuleStatement] { [item.statement] }
  /// A line in the log.
  public static func buildExpression(_ item: LogPacket) -> [RuleStatement] { [item.statement] }
  /// Drops and says so.
  public static func buildExpression(_ item: RejectPacket) -> [RuleStatement] { [item.statement] }
  /// Sets a mark.
  public static func buildExpression(_ item: SetMark) -> [RuleStatement] { [item.statement] }
  /// Copies a mark.
  public static func buildExpression(_ item: CopyMark) -> [RuleStatement] { [item.statement] }
  /// A field that is written.
  public static func buildExpression(_ item: SetField) -> [RuleStatement] { [item.statement] }
  /// Not tracked.
  public static func buildExpression(_ item: NoTrack) -> [RuleStatement] { [item.statement] }
  /// Adds to a set, or renews there.
  public static func buildExpression(_ item: Update) -> [RuleStatement] { [item.statement] }
  /// Adds to a set.
  public static func buildExpression(_ item: Add) -> [RuleStatement] { [item.statement] }
  /// Removes from a set.
  public static func buildExpression(_ item: Remove) -> [RuleStatement] { [item.statement] }
  /// Tells what becomes of the packet.
  public static func buildExpression(_ item: TracePacket) -> [RuleStatement] { [item.statement] }
  /// A limit that several rules share.
  public static func buildExpression(_ item: NamedLimit) -> [RuleStatement] { [item.statement] }
  /// A quota that several rules share.
  public static func buildExpression(_ item: NamedQuota) -> [RuleStatement] { [item.statement] }
  /// What becomes of the packet.
  public static func buildExpression(_ verdict: Verdict) -> [RuleStatement] {
    var record = Record("verdict")
    record.add("verdict", verdict.text)
    return [RuleStatement(record: record, declared: nil)]
  }
}

/// Builds the body of a rule.
@resultBuilder
public enum RuleBody: RuleBuilder {
  /// The connection's helper.
  public static func buildExpression(_ item: ConnectionHelper) -> [RuleStatement] { [item.statement] }
  /// How long the connection's states last.
  public static func buildExpression(_ item: ConnectionTimeouts) -> [RuleStatement] { [item.statement] }
  /// Past the rules from now on.
  public static func buildExpression(_ item: Flowtable) -> [RuleStatement] { [item.statement] }
  /// A copy of the packet.
  public static func buildExpression(_ item: Duplicate) -> [RuleStatement] { [item.statement] }
  /// Out by another device.
  public static func buildExpression(_ item: SendBy) -> [RuleStatement] { [item.statement] }
  /// What is to come of the connection.
  public static func buildExpression(_ item: ConnectionExpectation) -> [RuleStatement] { [item.statement] }
  /// Answers in the server's name, as other rules do.
  public static func buildExpression(_ item: NamedSynProxy) -> [RuleStatement] { [item.statement] }
  /// Answers in the server's name.
  public static func buildExpression(_ item: SynProxy) -> [RuleStatement] { [item.statement] }
  /// To a transparent socket.
  public static func buildExpression(_ item: TransparentProxy) -> [RuleStatement] { [item.statement] }
  /// Refused by name, so that the compiler's message is ours.
  @available(*, unavailable, message: "NAT stands in a NATRule of a NATChain only")
  public static func buildExpression(_ item: MasqueradeTo) -> [RuleStatement] { [] }
  /// Refused by name, so that the compiler's message is ours.
  @available(*, unavailable, message: "NAT stands in a NATRule of a NATChain only")
  public static func buildExpression(_ item: TranslateSource) -> [RuleStatement] { [] }
  /// Refused by name, so that the compiler's message is ours.
  @available(*, unavailable, message: "NAT stands in a NATRule of a NATChain only")
  public static func buildExpression(_ item: TranslateDestination) -> [RuleStatement] { [] }
  /// Refused by name, so that the compiler's message is ours.
  @available(*, unavailable, message: "NAT stands in a NATRule of a NATChain only")
  public static func buildExpression(_ item: RedirectTo) -> [RuleStatement] { [] }
  /// Refused by name, so that the compiler's message is ours.
  @available(
    *, unavailable,
    message:
      "a rule's body holds comparisons such as TCP.destinationPort.is(22), Counter(), Limit(…) and a Verdict"
  )
  public static func buildExpression<Other>(_ other: Other) -> [RuleStatement] { [] }
}

/// Builds the body of a rule that may translate addresses.
@resultBuilder
public enum NATRuleBody: RuleBuilder {
  /// The source becomes the way out's.
  public static func buildExpression(_ item: MasqueradeTo) -> [RuleStatement] { [item.statement] }
  /// The source becomes another.
  public static func buildExpression(_ item: TranslateSource) -> [RuleStatement] { [item.statement] }
  /// The destination becomes another.
  public static func buildExpression(_ item: TranslateDestination) -> [RuleStatement] { [item.statement] }
  /// The destination becomes the node.
  public static func buildExpression(_ item: RedirectTo) -> [RuleStatement] { [item.statement] }
  /// Refused by name, so that the compiler's message is ours.
  @available(
    *, unavailable,
    message:
      "a NAT rule's body holds comparisons such as TCP.destinationPort.is(80) and one of MasqueradeTo, TranslateSource, TranslateDestination and RedirectTo"
  )
  public static func buildExpression<Other>(_ other: Other) -> [RuleStatement] { [] }
}
