// SPDX-License-Identifier: GPL-2.0-or-later

// The firewall in the short form: one hook, a policy, and rules that are tried from the top.

/// Addresses that a rule compares with: text (an address, a prefix or a range), several of them, or an `AddressSet`.
public protocol AddressMatch: Sendable {
  /// What the declaration says of them.
  var addresses: AddressRecord { get }
}

/// Addresses in a declaration.
public struct AddressRecord: Sendable {
  let list: [String]
  let set: AddressSet?
}

extension String: AddressMatch {
  /// An address, a prefix or a range.
  public var addresses: AddressRecord { AddressRecord(list: [self], set: nil) }
}

extension Array: AddressMatch where Element == String {
  /// Any of them.
  public var addresses: AddressRecord { AddressRecord(list: self, set: nil) }
}

/// A named set of addresses. The firewall whose rules use it declares it.
public struct AddressSet: AddressMatch {
  let name: String
  let record: Record

  /// - Parameters:
  ///   - name: unique in the firewall.
  ///   - elements: addresses, prefixes and ranges of one family.
  public init(
    _ name: String, _ elements: [String], file: StaticString = #fileID, line: UInt = #line
  ) {
    self.name = name
    var record = Record()
    record.add("name", name)
    record.add("elements", elements)
    record.add(file: file, line: line)
    self.record = record
  }

  /// The members of the set.
  public var addresses: AddressRecord { AddressRecord(list: [], set: self) }
}

/// What a rule asks of a packet besides interfaces and addresses. Several states are alternatives, and so are several
/// services (ports, ICMP, protocols): `Accept(.new, .tcp(80), .ping)` takes new connections to port 80 and new pings.
public struct Match: Sendable {
  let text: String

  /// The first packet of a connection.
  public static let new = Match(text: "state new")
  /// A packet of a connection that was answered.
  public static let established = Match(text: "state established")
  /// A packet that a known connection gave rise to, such as an ICMP error.
  public static let related = Match(text: "state related")
  /// A packet that fits no connection.
  public static let invalid = Match(text: "state invalid")
  /// A packet that connection tracking does not look at.
  public static let untracked = Match(text: "state untracked")

  /// A TCP destination port.
  public static func tcp(_ port: Int) -> Match { Match(text: "tcp \(port)") }
  /// TCP destination ports.
  public static func tcp(_ ports: ClosedRange<Int>) -> Match {
    Match(text: "tcp \(Record.ports(ports.lowerBound, ports.upperBound))")
  }
  /// A UDP destination port.
  public static func udp(_ port: Int) -> Match { Match(text: "udp \(port)") }
  /// UDP destination ports.
  public static func udp(_ ports: ClosedRange<Int>) -> Match {
    Match(text: "udp \(Record.ports(ports.lowerBound, ports.upperBound))")
  }
  /// Any TCP packet.
  public static let anyTCP = Match(text: "tcp")
  /// Any UDP packet.
  public static let anyUDP = Match(text: "udp")

  /// ICMP and ICMPv6 messages of all types.
  public static let icmp = Match(text: "icmp")
  /// ICMP and ICMPv6 messages of a type.
  public static func icmp(_ type: ICMPType) -> Match { Match(text: "icmp \(type.rawValue)") }
  /// What `ping` sends.
  public static let ping = Match(text: "icmp echoRequest")

  /// An IP protocol by its number, 0...255.
  public static func ipProtocol(_ number: Int) -> Match { Match(text: "protocol \(number)") }
  /// The packet's mark.
  public static func mark(_ value: Int) -> Match { Match(text: "mark \(value)") }
  /// The packet's mark, where only some bits count.
  public static func mark(_ value: Int, mask: Int) -> Match { Match(text: "mark \(value)/\(mask)") }
  /// At most so many packets: `.limit(10, per: .second)`.
  public static func limit(_ count: Int, per unit: TimeUnit, burst: Int? = nil) -> Match {
    Match(text: "limit \(count)/\(unit.rawValue)" + (burst.map { " burst \($0)" } ?? ""))
  }
}

/// The unit of a rate's time.
public enum TimeUnit: String, Sendable {
  /// A second.
  case second
  /// A minute.
  case minute
  /// An hour.
  case hour
  /// A day.
  case day
}

/// The types of ICMP messages that both families have.
public enum ICMPType: String, Sendable {
  /// What `ping` sends.
  case echoRequest
  /// What answers `ping`.
  case echoReply
  /// The packet could not be delivered.
  case destinationUnreachable
  /// The packet does not fit the next link.
  case packetTooBig
  /// The packet's hops ran out.
  case timeExceeded
  /// The packet's header is wrong.
  case parameterProblem
}

/// How a rejected packet is answered.
public enum Rejection: String, Sendable {
  /// ICMP "port unreachable".
  case portUnreachable
  /// ICMP "host unreachable".
  case hostUnreachable
  /// ICMP "network unreachable".
  case networkUnreachable
  /// ICMP "administratively prohibited".
  case adminProhibited
  /// A TCP segment with RST.
  case tcpReset
}

/// A rule of a firewall.
public struct FirewallRule: Sendable {
  let record: Record
  let sets: [AddressSet]

  init(
    _ action: String, _ matches: [Match], from: String?, to: String?, source: (any AddressMatch)?,
    destination: (any AddressMatch)?, log: String?, rejection: Rejection? = nil, file: StaticString,
    line: UInt
  ) {
    var record = Record()
    record.add("action", action)
    record.add("with", rejection?.rawValue)
    record.add("matches", matches.map(\.text))
    record.add("from", from)
    record.add("to", to)
    let source = source?.addresses
    let destination = destination?.addresses
    record.add("source", source?.list ?? [])
    record.add("sourceSet", source?.set?.name)
    record.add("destination", destination?.list ?? [])
    record.add("destinationSet", destination?.set?.name)
    record.add("log", log)
    record.add(file: file, line: line)
    self.record = record
    sets = [source?.set, destination?.set].compactMap { $0 }
  }
}

/// Lets packets through.
public struct Accept: Sendable {
  let rule: FirewallRule

  /// - Parameters:
  ///   - matches: `.established`, `.tcp(80)`, `.ping` and the like.
  ///   - from: the interface that packets came in by.
  ///   - to: the interface that packets leave by.
  ///   - source: text, several, or an `AddressSet`.
  ///   - destination: text, several, or an `AddressSet`.
  ///   - log: the prefix of a line in the kernel's log.
  public init(
    _ matches: Match..., from: String? = nil, to: String? = nil, source: (any AddressMatch)? = nil,
    destination: (any AddressMatch)? = nil, log: String? = nil, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    rule = FirewallRule(
      "accept", matches, from: from, to: to, source: source, destination: destination, log: log, file: file,
      line: line)
  }
}

/// Drops packets without a word.
public struct Drop: Sendable {
  let rule: FirewallRule

  /// - Parameters:
  ///   - matches: `.invalid`, `.tcp(80)`, `.ping` and the like.
  ///   - from: the interface that packets came in by.
  ///   - to: the interface that packets leave by.
  ///   - source: text, several, or an `AddressSet`.
  ///   - destination: text, several, or an `AddressSet`.
  ///   - log: the prefix of a line in the kernel's log.
  public init(
    _ matches: Match..., from: String? = nil, to: String? = nil, source: (any AddressMatch)? = nil,
    destination: (any AddressMatch)? = nil, log: String? = nil, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    rule = FirewallRule(
      "drop", matches, from: from, to: to, source: source, destination: destination, log: log, file: file,
      line: line)
  }
}

/// Drops packets and says so to the sender.
public struct Reject: Sendable {
  let rule: FirewallRule

  /// - Parameters:
  ///   - matches: `.tcp(80)`, `.ping` and the like.
  ///   - rejection: how the sender is answered; "port unreachable" when left out.
  ///   - from: the interface that packets came in by.
  ///   - to: the interface that packets leave by.
  ///   - source: text, several, or an `AddressSet`.
  ///   - destination: text, several, or an `AddressSet`.
  ///   - log: the prefix of a line in the kernel's log.
  public init(
    _ matches: Match..., with rejection: Rejection? = nil, from: String? = nil, to: String? = nil,
    source: (any AddressMatch)? = nil, destination: (any AddressMatch)? = nil, log: String? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) {
    rule = FirewallRule(
      "reject", matches, from: from, to: to, source: source, destination: destination, log: log,
      rejection: rejection, file: file, line: line)
  }
}

/// Writes packets to the kernel's log; they go on to the next rule.
public struct Log: Sendable {
  let rule: FirewallRule

  /// - Parameters:
  ///   - prefix: what the line begins with.
  ///   - matches: `.new`, `.tcp(80)`, `.limit(10, per: .second)` and the like.
  ///   - from: the interface that packets came in by.
  ///   - to: the interface that packets leave by.
  ///   - source: text, several, or an `AddressSet`.
  ///   - destination: text, several, or an `AddressSet`.
  public init(
    _ prefix: String, _ matches: Match..., from: String? = nil, to: String? = nil,
    source: (any AddressMatch)? = nil, destination: (any AddressMatch)? = nil, file: StaticString = #fileID,
    line: UInt = #line
  ) {
    rule = FirewallRule(
      "log", matches, from: from, to: to, source: source, destination: destination, log: prefix, file: file,
      line: line)
  }
}

/// An item of a firewall's body.
public struct FirewallItem: Sendable {
  let rule: FirewallRule?
  let sets: [AddressSet]
}

/// The rules of one hook.
public struct Firewall: Sendable {
  let record: Record

  /// What becomes of packets that no rule decides.
  public enum Policy: String, Sendable {
    /// They go on.
    case accept
    /// They end here.
    case drop
  }

  /// Which packets the rules see.
  public enum Hook: String, Sendable {
    /// Those for the node itself.
    case input
    /// Those that pass through the node.
    case forward
    /// Those that the node sends.
    case output
  }

  /// - Parameters:
  ///   - policy: what becomes of packets that no rule decides.
  ///   - hook: which packets the rules see; left out, `.forward` in routers and `.input` in nodes.
  ///   - body: `Accept`, `Drop`, `Reject` and `Log`, tried from the top.
  public init(
    policy: Policy, on hook: Hook? = nil, file: StaticString = #fileID, line: UInt = #line,
    @FirewallBody _ body: () -> [FirewallItem]
  ) {
    let items = body()
    var record = Record("firewall")
    record.add("policy", policy.rawValue)
    record.add("hook", hook?.rawValue)
    var names: Set<String> = []
    var sets: [String] = []
    for set in items.flatMap(\.sets) where names.insert(set.record.json).inserted {
      sets.append(set.record.json)
    }
    record.add("sets", json: sets.isEmpty ? nil : Record.list(sets))
    record.add("rules", items.compactMap { $0.rule?.record })
    record.add(file: file, line: line)
    self.record = record
  }
}

/// Builds the body of a firewall.
@resultBuilder
public enum FirewallBody: ListBuilder {
  /// A rule, with the sets that it names.
  public typealias Item = FirewallItem

  /// Lets packets through.
  public static func buildExpression(_ item: Accept) -> [FirewallItem] { rule(item.rule) }
  /// Drops packets.
  public static func buildExpression(_ item: Drop) -> [FirewallItem] { rule(item.rule) }
  /// Drops packets and says so.
  public static func buildExpression(_ item: Reject) -> [FirewallItem] { rule(item.rule) }
  /// Logs packets.
  public static func buildExpression(_ item: Log) -> [FirewallItem] { rule(item.rule) }
  /// Refused by name, so that the compiler's message is ours.
  @available(*, unavailable, message: "a firewall's body holds rules: Accept, Drop, Reject and Log")
  public static func buildExpression<Other>(_ other: Other) -> [FirewallItem] { [] }

  private static func rule(_ rule: FirewallRule) -> [FirewallItem] {
    [FirewallItem(rule: rule, sets: rule.sets)]
  }
}
