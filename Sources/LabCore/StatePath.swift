// SPDX-License-Identifier: GPL-2.0-or-later

public import NetTypes

/// The address of one object, or of one attribute of it, in a lab's state. Printed as an RFC 6901 pointer:
/// `/nodes/web1/links/eth0/mtu`.
public struct StatePath: Hashable, Comparable, Sendable {
  /// The kinds of objects, in the order in which a namespace is built.
  public enum Kind: String, Hashable, Comparable, CaseIterable, Sendable {
    case namespace = ""
    case sysctl = "sysctls"
    case link = "links"
    case address = "addresses"
    case route = "routes"
    case policyRule = "rules"
    case neighbor = "neighbors"
    case fdb = "fdb"
    case qdisc = "qdiscs"
    case nftTable = "tables"
    case nftObject = "objects"
    case nftFlowtable = "flowtables"
    case nftSet = "sets"
    case nftElement = "elements"
    case nftChain = "chains"
    case nftRule = "nft-rules"

    /// How many parts the key of such an object has.
    public var keyLength: Int {
      switch self {
      case .namespace: 0
      case .sysctl, .link, .route, .policyRule, .nftTable: 1
      case .address, .neighbor, .fdb, .qdisc, .nftSet, .nftObject, .nftFlowtable, .nftChain: 2
      case .nftElement, .nftRule: 3
      }
    }

    private var order: Int { Self.allCases.firstIndex(of: self) ?? Self.allCases.count }
    public static func < (a: Self, b: Self) -> Bool { a.order < b.order }
  }

  public var namespace: NamespaceID
  public var kind: Kind
  /// The parts of the object's key; empty for the namespace itself.
  public var key: [String]
  public var attribute: AttributeName?

  public init(
    _ namespace: NamespaceID, _ kind: Kind = .namespace, key: [String] = [], attribute: AttributeName? = nil
  ) {
    self.namespace = namespace
    self.kind = kind
    self.key = key
    self.attribute = attribute
  }

  /// The object that this is an attribute or a part of; a namespace has none.
  public var parent: StatePath? {
    if attribute != nil { return StatePath(namespace, kind, key: key) }
    switch kind {
    case .namespace: return nil
    case .nftSet, .nftObject, .nftFlowtable, .nftChain:
      return key.first.map { StatePath(namespace, .nftTable, key: [$0]) }
    case .nftElement: return StatePath(namespace, .nftSet, key: Array(key.prefix(2)))
    case .nftRule: return StatePath(namespace, .nftChain, key: Array(key.prefix(2)))
    case .address, .neighbor, .fdb, .qdisc: return key.first.map { StatePath(namespace, .link, key: [$0]) }
    case .sysctl, .link, .route, .policyRule, .nftTable: return StatePath(namespace)
    }
  }

  /// The same object with one attribute named.
  public func attribute(_ name: AttributeName) -> StatePath {
    StatePath(namespace, kind, key: key, attribute: name)
  }

  public static func < (a: Self, b: Self) -> Bool {
    if a.namespace != b.namespace { return a.namespace < b.namespace }
    if a.kind != b.kind { return a.kind < b.kind }
    if a.key != b.key { return a.key.lexicographicallyPrecedes(b.key) }
    return (a.attribute?.rawValue ?? "") < (b.attribute?.rawValue ?? "")
  }
}

extension StatePath: TextCodable {
  public var description: String {
    var parts: [String]
    switch namespace {
    case .host: parts = ["host"]
    case .switch: parts = ["switch"]
    case .node(let node): parts = ["nodes", node.text]
    }
    if kind != .namespace { parts.append(kind.rawValue) }
    parts += key
    if let attribute { parts.append(attribute.rawValue) }
    return parts.map { "/" + Self.escape($0) }.joined()
  }

  public init?(_ text: String) {
    var parts = text.split(separator: "/", omittingEmptySubsequences: false).map(Self.unescape)[...]
    guard parts.popFirst() == "", let place = parts.popFirst() else { return nil }
    switch place {
    case "host": namespace = .host
    case "switch": namespace = .switch
    case "nodes":
      guard let name = parts.popFirst().flatMap(NodeName.init) else { return nil }
      namespace = .node(name)
    default: return nil
    }
    kind = .namespace
    if let kindText = parts.popFirst() {
      guard let named = Kind(rawValue: kindText), named != .namespace else { return nil }
      kind = named
    }
    key = Array(parts.prefix(kind.keyLength))
    guard key.count == kind.keyLength, parts.count <= kind.keyLength + 1 else { return nil }
    attribute = parts.dropFirst(kind.keyLength).first.map { AttributeName(rawValue: $0) }
  }

  private static func escape(_ part: String) -> String {
    String(part.flatMap { $0 == "~" ? "~0" : $0 == "/" ? "~1" : String($0) })
  }

  private static func unescape(_ part: Substring) -> String {
    var result = ""
    var rest = part
    while let tilde = rest.firstIndex(of: "~") {
      result += rest[..<tilde]
      let code = rest[tilde...].dropFirst().first
      result += code == "1" ? "/" : "~"
      rest = rest[tilde...].dropFirst(code == "0" || code == "1" ? 2 : 1)
    }
    return result + rest
  }
}
