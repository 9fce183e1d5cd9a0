// SPDX-License-Identifier: GPL-2.0-or-later

// All that a namespace's kernel tells of it: first as it answers, which only who may speak to it can ask, then understood,
// which anybody can do at any time. What need not be asked for is not: without a bridge or a tunnel there is no forwarding
// database worth reading.

public import LabCore
import NetTypes
public import Nftables
public import Rtnetlink

/// What the kernel of one namespace has answered.
public struct NamespaceAnswers: Sendable {
  /// Understood already, since it decides what else is asked for.
  public let links: [LinkMessage]
  fileprivate let addresses: [NetlinkMessage]
  fileprivate let routes: [NetlinkMessage]
  fileprivate let rules: [NetlinkMessage]
  fileprivate let neighbors: [NetlinkMessage]
  fileprivate var forwarding: [NetlinkMessage] = []
  fileprivate var portVLANs: [NetlinkMessage] = []
  fileprivate var qdiscs: [NetlinkMessage] = []
  /// Names and values.
  fileprivate var sysctls: [(name: String, value: String)] = []
  fileprivate var tables: [NftTable] = []

  /// Reads a namespace whose devices have been read.
  /// - Parameters:
  ///   - sysctls: the names of the settings to read, sorted.
  ///   - nftTables: the tables to read; nil for all.
  public init(
    reading channel: some Transport, links: [LinkMessage], sysctls: [String], nftTables: [NftTableKey]?
  ) throws(TransportError) {
    self.links = links
    addresses = try channel.dump(AddressMessage.dump())
    // All families at once; those of no interest are few and are left out when decoding.
    routes = try channel.dump(RouteMessage.dump(.unspecified))
    rules = try channel.dump(RuleMessage.dump(.unspecified))
    neighbors =
      try channel.dump(NeighborMessage.dump(.unspecified))
      + channel.dump(NeighborMessage.dump(.unspecified, proxies: true))
    if links.contains(where: Self.mayHaveQdisc) { qdiscs = try channel.dump(QdiscMessage.dump()) }
    let hasBridge = links.contains { if case .bridge = $0.kind { true } else { false } }
    let hasTunnel = links.contains { if case .vxlan = $0.kind { true } else { false } }
    if hasBridge || hasTunnel { forwarding = try channel.dump(NeighborMessage.dumpForwarding()) }
    if hasBridge { portVLANs = try channel.dump(BridgeVLANMessage.dump()) }
    for name in sysctls {
      if let value = try channel.readSysctl(name) { self.sysctls.append((name, value)) }
    }
    if nftTables?.isEmpty != true { tables = try channel.nftables(nftTables).tables }
  }

  /// Whether somebody may have given the device a queueing discipline: `noqueue` and `noop` are the kernel's own, which
  /// cannot be asked for.
  private static func mayHaveQdisc(_ link: LinkMessage) -> Bool {
    link.qdisc != "noqueue" && link.qdisc != "noop"
  }
}

/// The dumps of one namespace, without the routes that the kernel makes by itself.
public struct NamespaceDump: Sendable {
  public var links: [LinkMessage] = []
  public var addresses: [AddressMessage] = []
  public var routes: [RouteMessage] = []
  public var rules: [RuleMessage] = []
  public var neighbors: [NeighborMessage] = []
  public var forwarding: [NeighborMessage] = []
  public var portVLANs: [BridgeVLANMessage] = []
  public var qdiscs: [QdiscMessage] = []
  public var sysctls: [SysctlState] = []
  public var tables: [NftTable] = []

  public init() {}

  /// Understands answers.
  public init(_ answers: NamespaceAnswers) throws(TransportError) {
    links = answers.links
    addresses = try answers.addresses.parsed()
    // Told by their fixed part: most of a namespace's routes.
    routes = try answers.routes.filter { !RouteMessage.isKernelMade($0) }.parsed()
    rules = try answers.rules.parsed()
    neighbors = try answers.neighbors.parsed()
    forwarding = try answers.forwarding.parsed()
    portVLANs = try answers.portVLANs.parsed()
    qdiscs = try answers.qdiscs.parsed()
    sysctls = answers.sysctls.map { SysctlState(name: $0.name, value: $0.value) }
    tables = answers.tables
  }
}

extension RouteMessage {
  /// Whether the kernel has made the route by itself: its local table, the subnets of its addresses, what it was told by
  /// routers.
  fileprivate static func isKernelMade(_ answer: NetlinkMessage) -> Bool {
    // One that is cut off is an error for whoever reads all of it.
    guard let (table, origin) = RouteMessage.origin(of: answer),
      origin.rawValue != Ownership.routeProtocol
    else { return false }
    return table == RouteMessage.localTable || origin == .kernel || origin == .redirect
      || origin == .routerAdvertisement
  }
}

extension [NetlinkMessage] {
  /// The messages understood.
  func parsed<Message: RtnetlinkMessage>() throws(TransportError) -> [Message] {
    do throws(NetlinkDecodingError) {
      return try map { (answer) throws(NetlinkDecodingError) in try Message(parsing: answer.payload[...]) }
    } catch {
      throw TransportError(errno: 0, text: error.description)
    }
  }
}
