// SPDX-License-Identifier: GPL-2.0-or-later

// All that a namespace's kernel tells of it, as it tells it. What need not be asked for is not: without a bridge or a
// tunnel there is no forwarding database worth reading.

public import LabCore
import NetTypes
public import Nftables
public import Rtnetlink

/// The dumps of one namespace.
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

  /// Reads a namespace whose devices have been read.
  /// - Parameters:
  ///   - sysctls: the names of the settings to read.
  ///   - nftTables: the tables to read; nil for all.
  public init(
    reading channel: some Transport, links: [LinkMessage], sysctls: Set<String>, nftTables: [NftTableKey]?
  ) throws(TransportError) {
    self.links = links
    addresses = try channel.dump(AddressMessage.dump(), as: AddressMessage.self)
    // All families at once; those of no interest are few and are left out when decoding.
    routes = try channel.dump(RouteMessage.dump(.unspecified), as: RouteMessage.self)
    rules = try channel.dump(RuleMessage.dump(.unspecified), as: RuleMessage.self)
    neighbors = try channel.dump(NeighborMessage.dump(.unspecified), as: NeighborMessage.self)
    neighbors += try channel.dump(NeighborMessage.dump(.unspecified, proxies: true), as: NeighborMessage.self)
    if links.contains(where: Self.mayHaveQdisc) {
      qdiscs = try channel.dump(QdiscMessage.dump(), as: QdiscMessage.self)
    }
    let hasBridge = links.contains { if case .bridge = $0.kind { true } else { false } }
    let hasTunnel = links.contains { if case .vxlan = $0.kind { true } else { false } }
    if hasBridge || hasTunnel {
      forwarding = try channel.dump(NeighborMessage.dumpForwarding(), as: NeighborMessage.self)
    }
    if hasBridge { portVLANs = try channel.dump(BridgeVLANMessage.dump(), as: BridgeVLANMessage.self) }
    for name in sysctls.sorted() {
      if let value = try channel.readSysctl(name) {
        self.sysctls.append(SysctlState(name: name, value: value))
      }
    }
    if nftTables?.isEmpty != true { tables = try channel.nftables(nftTables).tables }
  }

  /// Whether somebody may have given the device a queueing discipline: `noqueue` and `noop` are the kernel's own, which
  /// cannot be asked for.
  private static func mayHaveQdisc(_ link: LinkMessage) -> Bool {
    link.qdisc != "noqueue" && link.qdisc != "noop"
  }
}
