// SPDX-License-Identifier: GPL-2.0-or-later

// The statements of a rule in the general firewall form.

/// A statement of a rule, with the sets and objects that it declares by using them.
public struct RuleStatement: Sendable {
  let record: Record
  let declared: [TableDeclaration]

  init(record: Record, declared: TableDeclaration?) { self.init(record, declared.map { [$0] } ?? []) }

  init(_ record: Record, _ declared: [TableDeclaration]) {
    self.record = record
    self.declared = declared
  }
}

/// A comparison of a selector.
public struct Comparison: Sendable {
  let statement: RuleStatement
}

/// A verdict that is looked up.
public struct VerdictLookup: Sendable {
  let statement: RuleStatement
}

/// An object of the table that is looked up.
public struct ObjectLookup: Sendable {
  let statement: RuleStatement
}

/// What becomes of a packet.
public struct Verdict: Sendable {
  let text: String

  /// The packet goes on to the next hook.
  public static let accept = Verdict(text: "accept")
  /// The packet ends here.
  public static let drop = Verdict(text: "drop")
  /// The packet goes on to the next rule.
  public static let proceed = Verdict(text: "continue")
  /// The packet goes back to where the chain was jumped to from.
  public static let `return` = Verdict(text: "return")
  /// The packet goes through another chain and comes back.
  public static func jump(_ chain: String) -> Verdict { Verdict(text: "jump \(chain)") }
  /// The packet goes through another chain and does not come back.
  public static func goto(_ chain: String) -> Verdict { Verdict(text: "goto \(chain)") }
}

/// Counts packets and bytes.
public struct Counter: Sendable {
  let statement: RuleStatement
  let name: String?

  /// - Parameter name: a counter of the table, which several rules may share; left out, the rule's own.
  public init(_ name: String? = nil) {
    var record = Record("counter")
    record.add("name", name)
    self.name = name
    statement = RuleStatement(record: record, declared: nil)
  }
}

/// Holds as long as packets come no faster than this.
public struct Limit: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - count: packets, or bytes.
  ///   - unit: in which time.
  ///   - burst: how many more at once.
  ///   - bytes: whether bytes are counted instead of packets.
  ///   - over: true turns it round: holds for what exceeds the rate.
  public init(_ count: Int, per unit: TimeUnit, burst: Int? = nil, bytes: Bool? = nil, over: Bool? = nil) {
    var record = Record("limit")
    record.add("count", count)
    record.add("per", unit.rawValue)
    record.add("burst", burst)
    record.add("bytes", bytes)
    record.add("over", over)
    statement = RuleStatement(record: record, declared: nil)
  }
}

/// Holds until so many bytes have passed.
public struct Quota: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - bytes: how many.
  ///   - over: true turns it round: holds once they have passed.
  public init(bytes: Int, over: Bool? = nil) {
    var record = Record("quota")
    record.add("count", bytes)
    record.add("over", over)
    statement = RuleStatement(record: record, declared: nil)
  }
}

/// Holds as long as no more than so many connections stand.
public struct ConnectionLimit: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - count: connections.
  ///   - over: true turns it round: holds for what exceeds them.
  public init(_ count: Int, over: Bool? = nil) {
    var record = Record("connectionLimit")
    record.add("count", count)
    record.add("over", over)
    statement = RuleStatement(record: record, declared: nil)
  }
}

/// Writes the packet to the log.
public struct LogPacket: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - prefix: what the line begins with.
  ///   - level: 0 (emergency) to 7 (debug).
  ///   - group: the netlink group to send it to instead, 0...65535.
  public init(_ prefix: String? = nil, level: Int? = nil, group: Int? = nil) {
    var record = Record("log")
    record.add("prefix", prefix)
    record.add("level", level)
    record.add("group", group)
    statement = RuleStatement(record: record, declared: nil)
  }
}

/// Tells whoever watches, `netforge trace` or `nft monitor trace`, what becomes of the packet from here on.
public struct TracePacket: Sendable {
  let statement = RuleStatement(record: Record("trace"), declared: nil)

  /// Without parameters.
  public init() {}
}

/// Drops the packet and says so to its sender.
public struct RejectPacket: Sendable {
  let statement: RuleStatement

  /// - Parameter rejection: how the sender is answered; "port unreachable" when left out.
  public init(with rejection: Rejection? = nil) {
    var record = Record("reject")
    record.add("with", rejection?.rawValue)
    statement = RuleStatement(record: record, declared: nil)
  }
}

/// Sets a mark.
public struct SetMark: Sendable {
  let statement: RuleStatement

  /// Sets the packet's mark.
  /// - Parameters:
  ///   - value: the mark.
  ///   - mask: the bits that are set; all when left out.
  public init(_ value: Int, mask: Int? = nil) { self.init("packet", value, mask) }

  /// Sets the connection's mark.
  /// - Parameters:
  ///   - value: the mark.
  ///   - mask: the bits that are set; all when left out.
  public init(connection value: Int, mask: Int? = nil) { self.init("connection", value, mask) }

  private init(_ mark: String, _ value: Int, _ mask: Int?) {
    var record = Record("setMark")
    record.add("mark", mark)
    record.add("value", value)
    record.add("mask", mask)
    statement = RuleStatement(record: record, declared: nil)
  }
}

extension SetMark {
  /// Sets the packet's mark to a number that is chosen: `SetMark(to: Spread.hash(of: IP.source, 4))`.
  public init(to choice: Selector<NumberValue>) {
    var record = Record("setMark")
    record.add("mark", "packet")
    record.add("selectors", choice.names)
    statement = RuleStatement(record: record, declared: nil)
  }

  /// Sets the packet's mark to what a map has for a selector's value; a value that it does not have goes on to the next
  /// rule.
  public init<Key: SelectorValue>(by selector: Selector<Key>, in map: NamedMap<Key, MarkValue>) {
    var record = Record("setMark")
    record.add("mark", "packet")
    record.add("selectors", selector.names)
    record.add("map", map.name)
    statement = RuleStatement(record: record, declared: map.declaration)
  }
}

/// Writes a field of the packet; its sums follow.
public struct SetField: Sendable {
  let statement: RuleStatement

  init(_ names: [String], _ key: String, _ text: String) {
    var record = Record("setField")
    record.add("selector", names.joined())
    record.add(key, text)
    statement = RuleStatement(record: record, declared: nil)
  }

  init(_ names: [String], _ flags: [String]) {
    var record = Record("setField")
    record.add("selector", names.joined())
    record.add("values", flags)
    statement = RuleStatement(record: record, declared: nil)
  }
}

extension Selector where Value: FlagValue {
  /// The field becomes these together: `Conntrack.events.set(.new, .destroy)`.
  public func set(_ first: Value, _ second: Value, _ others: Value...) -> SetField {
    SetField(names, ([first, second] + others).flatMap(\.texts))
  }
}

extension Selector {
  /// The field becomes this: `IP.dscp.set(46)`.
  public func set(_ value: Value) -> SetField { SetField(names, "value", value.texts.joined()) }

  /// The field becomes what another says: `TCPOption.maximumSegmentSize.set(from: PacketRoute.maximumSegmentSize)`.
  public func set(from other: Selector<Value>) -> SetField { SetField(names, "from", other.names.joined()) }
}

/// Copies a mark.
public struct CopyMark: Sendable {
  let statement: RuleStatement

  private init(from source: String, to target: String) {
    var record = Record("copyMark")
    record.add("from", source)
    record.add("to", target)
    statement = RuleStatement(record: record, declared: nil)
  }

  /// The packet's mark becomes the connection's.
  public static let toConnection = CopyMark(from: "packet", to: "connection")
  /// The connection's mark becomes the packet's.
  public static let toPacket = CopyMark(from: "connection", to: "packet")
}

/// Connection tracking does not look at the packet.
public struct NoTrack: Sendable {
  let statement = RuleStatement(record: Record("noTrack"), declared: nil)

  /// Without parameters.
  public init() {}
}

/// How NAT chooses ports and addresses.
public enum TranslationFlag: String, Sendable {
  /// A random port.
  case random
  /// A random port of the best generator.
  case fullyRandom
  /// The same address for all connections of a client.
  case persistent
}

extension Record {
  mutating func add(_ key: String, ports: ClosedRange<Int>?) {
    add(key, ports.map { Record.ports($0.lowerBound, $0.upperBound) })
  }
}

/// The source becomes the address of the interface that the packet leaves by; for postrouting chains.
public struct MasqueradeTo: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - ports: the new source ports; left out, as the kernel chooses.
  ///   - flags: how they are chosen.
  public init(ports: ClosedRange<Int>? = nil, flags: [TranslationFlag] = []) {
    var record = Record("masquerade")
    record.add("ports", ports: ports)
    record.add("flags", flags.map(\.rawValue))
    statement = RuleStatement(record: record, declared: nil)
  }
}

/// The source becomes this; for postrouting and input chains.
public struct TranslateSource: Sendable {
  let statement: RuleStatement

  /// - Parameters:
  ///   - address: `192.0.2.1`, or a range `192.0.2.1-192.0.2.9`.
  ///   - ports: the new source ports; left out, as the kernel chooses.
  ///   - flags: how they are chosen.
  public init(to address: String, ports: ClosedRange<Int>? = nil, flags: [TranslationFlag] = []) {
    var record = Record("sourceNAT")
    record.add("address", address)
    record.add("ports", ports: ports)
    record.add("flags", flags.map(\.rawValue))
    statement = RuleStatement(record: record, declared: nil)
  }
}

/// The destination becomes this; for prerouting and output chains.
public struct TranslateDestination: Sendable {
  let statement: RuleStatement

  /// To one address.
  /// - Parameters:
  ///   - address: `10.0.0.2`, or a range.
  ///   - port: the new port; left out, the same.
  ///   - flags: how they are chosen.
  public init(to address: String, port: Int? = nil, flags: [TranslationFlag] = []) {
    var record = Record("destinationNAT")
    record.add("address", address)
    record.add("ports", port.map { Record.ports($0, $0) })
    record.add("flags", flags.map(\.rawValue))
    statement = RuleStatement(record: record, declared: nil)
  }

  /// Spread over several addresses, connection by connection.
  /// - Parameters:
  ///   - addresses: where to.
  ///   - port: the new port; left out, the same.
  ///   - random: whether chance decides, instead of one after the other.
  public init(toAnyOf addresses: [String], port: Int? = nil, random: Bool? = nil) {
    var record = Record("destinationNAT")
    record.add("spread", addresses)
    record.add("ports", port.map { Record.ports($0, $0) })
    record.add("random", random)
    statement = RuleStatement(record: record, declared: nil)
  }

  /// Spread over several addresses by a choice among as many numbers:
  /// `TranslateDestination(toAnyOf: servers, by: Spread.hash(of: IP.source, servers.count))`.
  /// - Parameters:
  ///   - addresses: where to.
  ///   - port: the new port; left out, the same.
  ///   - choice: 0 chooses the first.
  public init(toAnyOf addresses: [String], port: Int? = nil, by choice: Selector<NumberValue>) {
    var record = Record("destinationNAT")
    record.add("spread", addresses)
    record.add("ports", port.map { Record.ports($0, $0) })
    record.add("selectors", choice.names)
    statement = RuleStatement(record: record, declared: nil)
  }

  /// Looked up in a map by a selector.
  /// - Parameters:
  ///   - selector: what the map's keys are.
  ///   - map: leads to addresses, or to pairs of address and port.
  public init<Key: SelectorValue, Data: SelectorValue>(
    by selector: Selector<Key>, in map: NamedMap<Key, Data>
  ) {
    var record = Record("destinationNAT")
    record.add("selectors", selector.names)
    record.add("map", map.name)
    statement = RuleStatement(record: record, declared: map.declaration)
  }
}

/// The destination becomes the node itself; for prerouting and output chains.
public struct RedirectTo: Sendable {
  let statement: RuleStatement

  /// - Parameter port: the new port; left out, the same.
  public init(port: Int? = nil) {
    var record = Record("redirect")
    record.add("ports", port.map { Record.ports($0, $0) })
    statement = RuleStatement(record: record, declared: nil)
  }
}
