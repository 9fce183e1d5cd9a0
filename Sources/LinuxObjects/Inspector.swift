// SPDX-License-Identifier: GPL-2.0-or-later

// Answers questions about one namespace from its kernel's dumps. What no dump tells (the counters of protocols, why
// packets were dropped) is the datapath's own to add.

public import LabCore
public import NetTypes
import Rtnetlink

/// Asks one namespace.
public struct Inspector<Channel: Transport> {
  private let channel: Channel
  private let links: [LinkMessage]
  private let names: [Int32: String]

  public init(_ channel: Channel) throws(TransportError) {
    self.channel = channel
    links = try channel.dump(LinkMessage.dump(), as: LinkMessage.self)
    names = Dictionary(
      links.map { ($0.index, $0.name ?? "\($0.index)") }, uniquingKeysWith: { first, _ in first })
  }

  /// Who the namespace is that the kernel calls `cookie`.
  public func identity(cookie: UInt64) -> IdentityReport {
    let devices = links.map { link in
      let counted = link.statistics ?? LinkStatistics()
      return (
        name(link.index),
        IdentityReport.Link(index: link.index, packets: counted.receivedPackets &+ counted.transmittedPackets)
      )
    }
    return IdentityReport(
      cookie: cookie, links: Dictionary(devices, uniquingKeysWith: { first, _ in first }))
  }

  /// What a device is called; its number when nobody knows.
  public func name(_ index: Int32) -> String { names[index] ?? "\(index)" }

  /// By device and address; what needs no resolution is left out, as `ip neigh` leaves it out.
  public func neighbors() throws(TransportError) -> [NeighborReport] {
    var all = try channel.dump(NeighborMessage.dump(.unspecified), as: NeighborMessage.self)
    all += try channel.dump(NeighborMessage.dump(.unspecified, proxies: true), as: NeighborMessage.self)
    return all.compactMap { (entry) -> NeighborReport? in
      let isProxy = entry.flags.contains(.proxy)
      guard entry.family.internet != nil, let address = entry.destination,
        isProxy || !entry.state.contains(.noARP)
      else { return nil }
      return NeighborReport(
        link: name(entry.index), address: address, mac: entry.macAddress,
        state: isProxy ? "PROXY" : Self.words(of: entry.state), isRouter: entry.flags.contains(.router),
        isProxy: isProxy)
    }.sorted { ($0.link, $0.address) < ($1.link, $1.address) }
  }

  private static func words(of state: Rtnetlink.NeighborState) -> String {
    let names: [(Rtnetlink.NeighborState, String)] = [
      (.incomplete, "INCOMPLETE"), (.reachable, "REACHABLE"), (.stale, "STALE"), (.delay, "DELAY"),
      (.probe, "PROBE"), (.failed, "FAILED"), (.permanent, "PERMANENT"),
    ]
    let words = names.filter { state.contains($0.0) }.map(\.1)
    return words.isEmpty ? "NONE" : words.joined(separator: ",")
  }

  public func forwardingEntries() throws(TransportError) -> [ForwardingReport] {
    let entries = try channel.dump(NeighborMessage.dumpForwarding(), as: NeighborMessage.self)
    let bridges = Set(
      links.filter { if case .bridge = $0.kind { true } else { false } }.map(\.index))
    let masters = Dictionary(
      links.compactMap { link in link.master.map { (link.index, $0) } },
      uniquingKeysWith: { first, _ in first })
    return entries.compactMap { (entry) -> ForwardingReport? in
      guard let mac = entry.macAddress else { return nil }
      let isOwn = entry.flags.contains(.own) && !bridges.contains(entry.index)
      let bridge = isOwn ? nil : entry.master ?? masters[entry.index] ?? entry.index
      let kind =
        entry.state.contains(.permanent) ? "permanent" : entry.state.contains(.noARP) ? "static" : "dynamic"
      return ForwardingReport(
        link: name(entry.index), mac: mac, bridge: bridge.map(name), vlan: entry.vlan,
        destination: entry.destination, kind: kind)
    }.sorted {
      ($0.bridge ?? "", $0.link, $0.mac.rawValue, $0.vlan ?? 0)
        < ($1.bridge ?? "", $1.link, $1.mac.rawValue, $1.vlan ?? 0)
    }
  }

  /// - Throws: ENETUNREACH and its kin when there is no way.
  public func route(to address: IPAddress) throws(TransportError) -> RouteReport {
    var request = RouteMessage(family: address.family == .ipv4 ? .ipv4 : .ipv6)
    request.destination = IPPrefix(host: address)
    let answer = try channel.ask(request.request(.get))
    do throws(NetlinkDecodingError) {
      let route = try RouteMessage(answer)
      return RouteReport(
        destination: address, type: Self.word(for: route.type), gateway: route.gateway,
        link: route.outputIndex.map(name), source: route.preferredSource, table: route.table,
        mtu: route.metrics.mtu)
    } catch {
      throw TransportError(errno: 0, text: error.description)
    }
  }

  private static func word(for type: RouteType) -> String {
    switch type {
    case .unicast: "unicast"
    case .local: "local"
    case .broadcast: "broadcast"
    case .anycast: "anycast"
    case .multicast: "multicast"
    default: "type \(type.rawValue)"
    }
  }

  /// The devices' counters. `driver` gives what a device's driver counts beside that.
  public func linkStatistics(
    driver: (String) -> [StatisticsReport.Counter] = { _ in [] }
  ) -> [StatisticsReport.Link] {
    links.sorted { $0.index < $1.index }.map { link in
      let counted = link.statistics ?? LinkStatistics()
      return StatisticsReport.Link(
        name: name(link.index),
        received: StatisticsReport.Direction(
          packets: counted.receivedPackets, bytes: counted.receivedBytes, errors: counted.receiveErrors,
          dropped: counted.receiveDropped, missed: counted.receiveMissed, multicast: counted.multicast),
        transmitted: StatisticsReport.Direction(
          packets: counted.transmittedPackets, bytes: counted.transmittedBytes,
          errors: counted.transmitErrors, dropped: counted.transmitDropped),
        driver: driver(name(link.index)))
    }
  }
}
