// SPDX-License-Identifier: GPL-2.0-or-later

// A table of the general firewall form.

/// An nftables table, as `nft` would have it. It stands beside what the short form makes.
public struct Table: Sendable {
  let record: Record

  /// Which packets a table sees.
  public enum Family: String, Sendable {
    /// IPv4.
    case ip
    /// IPv6.
    case ip6
    /// Both.
    case inet
    /// ARP.
    case arp
    /// Frames that a bridge forwards.
    case bridge
    /// Frames of one device.
    case netdev
  }

  /// - Parameters:
  ///   - name: unique in its family.
  ///   - family: which packets it sees; `.inet` when left out.
  ///   - body: its chains, and sets and objects that no rule names.
  public init(
    _ name: String, family: Family = .inet, file: StaticString = #fileID, line: UInt = #line,
    @TableBody _ body: () -> [TableItem]
  ) {
    let items = body()
    var seen: Set<String> = []
    var record = Record("table")
    record.add("name", name)
    record.add("family", family.rawValue)
    let declared = items.flatMap(\.declared).filter { seen.insert($0.record.json).inserted }
    record.add("sets", declared.filter { !$0.isObject }.map(\.record))
    record.add("objects", declared.filter(\.isObject).map(\.record))
    record.add("chains", items.compactMap(\.chain))
    record.add(file: file, line: line)
    self.record = record
  }
}

/// An item of a table's body.
public struct TableItem: Sendable {
  let chain: Record?
  let declared: [TableDeclaration]
}

/// Builds the body of a table.
@resultBuilder
public enum TableBody: ListBuilder {
  /// A chain, a set or another object.
  public typealias Item = TableItem

  /// A chain.
  public static func buildExpression(_ chain: Chain) -> [TableItem] {
    [TableItem(chain: chain.record, declared: chain.declared)]
  }
  /// A NAT chain.
  public static func buildExpression(_ chain: NATChain) -> [TableItem] {
    [TableItem(chain: chain.record, declared: chain.declared)]
  }
  /// A set.
  public static func buildExpression<Value>(_ set: NamedSet<Value>) -> [TableItem] {
    [TableItem(chain: nil, declared: [set.declaration])]
  }
  /// A map.
  public static func buildExpression<Key, Data>(_ map: NamedMap<Key, Data>) -> [TableItem] {
    [TableItem(chain: nil, declared: [map.declaration])]
  }
  /// A map to objects, and these.
  public static func buildExpression<Key, Object>(_ map: NamedObjectMap<Key, Object>) -> [TableItem] {
    [TableItem(chain: nil, declared: map.objects + [map.declaration])]
  }
  /// A verdict map.
  public static func buildExpression<Key>(_ map: VerdictMap<Key>) -> [TableItem] {
    [TableItem(chain: nil, declared: [map.declaration])]
  }
  /// A limit that several rules share.
  public static func buildExpression(_ limit: NamedLimit) -> [TableItem] {
    [TableItem(chain: nil, declared: [limit.declaration])]
  }
  /// A quota that several rules share.
  public static func buildExpression(_ quota: NamedQuota) -> [TableItem] {
    [TableItem(chain: nil, declared: [quota.declaration])]
  }
  /// A helper that rules give to connections.
  public static func buildExpression(_ helper: ConnectionHelper) -> [TableItem] {
    [TableItem(chain: nil, declared: [helper.declaration])]
  }
  /// Times that rules give to connections.
  public static func buildExpression(_ timeouts: ConnectionTimeouts) -> [TableItem] {
    [TableItem(chain: nil, declared: [timeouts.declaration])]
  }
  /// A connection that is to come of others.
  public static func buildExpression(_ expectation: ConnectionExpectation) -> [TableItem] {
    [TableItem(chain: nil, declared: [expectation.declaration])]
  }
  /// A SYN proxy that several rules share.
  public static func buildExpression(_ proxy: NamedSynProxy) -> [TableItem] {
    [TableItem(chain: nil, declared: [proxy.declaration])]
  }
  /// Where connections go past the rules.
  public static func buildExpression(_ flowtable: Flowtable) -> [TableItem] {
    [TableItem(chain: nil, declared: [flowtable.declaration])]
  }
  /// Refused by name, so that the compiler's message is ours.
  @available(
    *, unavailable,
    message:
      "a table's body holds Chain, NATChain, NamedSet, NamedMap, NamedObjectMap, VerdictMap and named objects"
  )
  public static func buildExpression<Other>(_ other: Other) -> [TableItem] { [] }
}
