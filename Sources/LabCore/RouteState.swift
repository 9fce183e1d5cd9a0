// SPDX-License-Identifier: GPL-2.0-or-later

public import NetTypes

/// A route. Keyed by table, destination, type of service, metric and type.
public struct RouteState: Hashable, Codable, Sendable {
  /// What becomes of a packet that matches (RTN_*).
  public enum RouteType: UInt8, Hashable, CaseIterable, Codable, Sendable {
    case unicast = 1
    case local = 2
    case broadcast = 3
    case anycast = 4
    case multicast = 5
    case blackhole = 6
    case unreachable = 7
    case prohibit = 8
    case `throw` = 9
    case nat = 10

    public var name: String { String(describing: self) }
  }

  /// One way out.
  public struct NextHop: Hashable, Codable, Sendable {
    public var gateway: IPAddress?
    public var link: InterfaceName?
    /// 1...256; the kernel's rtnh_hops plus one.
    public var weight: UInt16
    /// The gateway is reached on the link though no prefix covers it.
    public var isOnLink: Bool

    public init(
      gateway: IPAddress? = nil, link: InterfaceName? = nil, weight: UInt16 = 1, isOnLink: Bool = false
    ) {
      self.gateway = gateway
      self.link = link
      self.weight = weight
      self.isOnLink = isOnLink
    }
  }

  /// The main table (RT_TABLE_MAIN).
  public static let mainTable: UInt32 = 254
  /// What the kernel gives an IPv6 route without a metric (IP6_RT_PRIO_USER).
  public static let defaultIPv6Metric: UInt32 = 1024

  /// Host bits clear.
  public var destination: IPPrefix
  public var table: UInt32
  public var typeOfService: UInt8
  /// 0 is IPv4's default; an IPv6 route always has one, 1024 by default.
  public var metric: UInt32
  public var type: RouteType
  /// Sorted by gateway and link; none for blackhole and its kin.
  public var nextHops: [NextHop]
  public var preferredSource: IPAddress?
  public var scope: AddressScope?
  /// Bytes; nil leaves the device's.
  public var mtu: UInt32?

  public init(
    destination: IPPrefix, table: UInt32 = Self.mainTable, typeOfService: UInt8 = 0, metric: UInt32? = nil,
    type: RouteType = .unicast, nextHops: [NextHop] = [], preferredSource: IPAddress? = nil,
    scope: AddressScope? = nil,
    mtu: UInt32? = nil
  ) {
    self.destination = destination
    self.table = table
    self.typeOfService = typeOfService
    self.metric = metric ?? (destination.family == .ipv6 ? Self.defaultIPv6Metric : 0)
    self.type = type
    self.nextHops = nextHops
    self.preferredSource = preferredSource
    self.scope = scope
    self.mtu = mtu
  }

  /// The key as `ip route` would say it, with what is default left out: `10.2.0.0/16 table 100 metric 50`.
  public var key: String {
    var text =
      destination.isEverything ? (destination.family == .ipv4 ? "default" : "default6") : "\(destination)"
    if type != .unicast { text = "\(type.name) " + text }
    if table != Self.mainTable { text += " table \(table)" }
    if typeOfService != 0 { text += " tos \(typeOfService)" }
    if metric != (destination.family == .ipv6 ? Self.defaultIPv6Metric : 0) { text += " metric \(metric)" }
    return text
  }
}

extension RouteState {
  /// The order in which states hold routes: by table, destination and key.
  public static func precedes(_ a: RouteState, _ b: RouteState) -> Bool {
    if a.table != b.table { return a.table < b.table }
    if a.destination != b.destination { return a.destination < b.destination }
    return a.key < b.key
  }
}

extension RouteState.NextHop: CustomStringConvertible {
  public var description: String {
    var parts: [String] = []
    if let gateway { parts.append("via \(gateway)") }
    if let link { parts.append("dev \(link)") }
    if weight != 1 { parts.append("weight \(weight)") }
    if isOnLink { parts.append("onlink") }
    return parts.joined(separator: " ")
  }
}

extension AttributeName {
  public static let nextHops = AttributeName("nexthops")
  public static let source = AttributeName("src")
}

extension RouteState {
  public var attributes: [StateAttribute] {
    var list = AttributeList()
    if !nextHops.isEmpty { list.add(.nextHops, .list(nextHops.map { .text($0.description) })) }
    list.add(.source, text: preferredSource)
    list.add(.scope, scope.map { .text($0.name) })
    list.add(.mtu, number: mtu)
    return list.attributes
  }
}
