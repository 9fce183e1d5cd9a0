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
  ///   - body: its chains, and sets that no rule names.
  public init(
    _ name: String, family: Family = .inet, file: StaticString = #fileID, line: UInt = #line,
    @TableBody _ body: () -> [TableItem]
  ) {
    let items = body()
    var seen: Set<String> = []
    var record = Record("table")
    record.add("name", name)
    record.add("family", family.rawValue)
    record.add("sets", items.flatMap(\.sets).map(\.record).filter { seen.insert($0.json).inserted })
    record.add("chains", items.compactMap(\.chain))
    record.add(file: file, line: line)
    self.record = record
  }
}

/// An item of a table's body.
public struct TableItem: Sendable {
  let chain: Record?
  let sets: [SetDeclaration]
}

/// Builds the body of a table.
@resultBuilder
public enum TableBody {
  /// A chain.
  public static func buildExpression(_ chain: Chain) -> [TableItem] {
    [TableItem(chain: chain.record, sets: chain.sets)]
  }
  /// A NAT chain.
  public static func buildExpression(_ chain: NATChain) -> [TableItem] {
    [TableItem(chain: chain.record, sets: chain.sets)]
  }
  /// A set.
  public static func buildExpression<Value>(_ set: NamedSet<Value>) -> [TableItem] {
    [TableItem(chain: nil, sets: [set.declaration])]
  }
  /// A map.
  public static func buildExpression<Key, Data>(_ map: NamedMap<Key, Data>) -> [TableItem] {
    [TableItem(chain: nil, sets: [map.declaration])]
  }
  /// A verdict map.
  public static func buildExpression<Key>(_ map: VerdictMap<Key>) -> [TableItem] {
    [TableItem(chain: nil, sets: [map.declaration])]
  }
  /// Items that a function made.
  public static func buildExpression(_ items: [TableItem]) -> [TableItem] { items }
  /// A statement that yields nothing, such as `print`.
  public static func buildExpression(_ nothing: Void) -> [TableItem] { [] }
  /// Refused by name, so that the compiler's message is ours.
  @available(
    *, unavailable, message: "a table's body holds Chain, NATChain, NamedSet, NamedMap and VerdictMap"
  )
  public static func buildExpression<Other>(_ other: Other) -> [TableItem] { [] }
  /// All items in order.
  public static func buildBlock(_ parts: [TableItem]...) -> [TableItem] { parts.flatMap { $0 } }
  /// An `if` without `else`.
  public static func buildOptional(_ part: [TableItem]?) -> [TableItem] { part ?? [] }
  /// The first branch.
  public static func buildEither(first part: [TableItem]) -> [TableItem] { part }
  /// The other branch.
  public static func buildEither(second part: [TableItem]) -> [TableItem] { part }
  /// A `for` loop.
  public static func buildArray(_ parts: [[TableItem]]) -> [TableItem] { parts.flatMap { $0 } }
}
