// SPDX-License-Identifier: GPL-2.0-or-later

// What a kernel tells of its changes becomes a lab's events. Events about addresses and routes name a device by its
// number; the reader knows the names.

public import LabCore
import NetTypes
public import Rtnetlink

/// Reads the notifications of a lab's namespaces.
public struct ChangeReader: Sendable {
  private var links: [NamespaceID: [Int32: String]] = [:]

  public init() {}

  /// Learns a device's name beforehand.
  public mutating func learn(_ link: LinkMessage, in namespace: NamespaceID) {
    links[namespace, default: [:]][link.index] = link.name
  }

  /// The event that a notification is; nil for what is nobody's business.
  public mutating func event(of message: NetlinkMessage, in namespace: NamespaceID) -> ChangeEvent? {
    guard let event = try? RtnetlinkEvent(message) else { return nil }
    // The low two bits of an rtnetlink type: 1 is a deletion.
    let isDeletion = message.type.rawValue & 3 == 1
    let made: ChangeEvent.Action = isDeletion ? .removed : .added
    switch event {
    case .link(let link):
      let name = link.name ?? "\(link.index)"
      let isNew = links[namespace]?[link.index] == nil
      links[namespace, default: [:]][link.index] = isDeletion ? nil : name
      var words = [name, link.isUp ? "up" : "down"]
      if let state = link.operationalState { words.append("state \(state)") }
      if let mtu = link.mtu { words.append("mtu \(mtu)") }
      return ChangeEvent(
        action: isDeletion ? .removed : isNew ? .added : .changed,
        path: StatePath(namespace, .link, key: [name]), summary: "link " + words.joined(separator: " "))
    case .address(let address):
      guard let prefix = address.prefix else { return nil }
      let link = self.name(of: address.index, in: namespace)
      return ChangeEvent(
        action: made, path: StatePath(namespace, .address, key: [link, prefix.description]),
        summary: "address \(prefix) dev \(link)")
    case .route(let route):
      guard let family = route.family.internet, route.table != RouteMessage.localTable else { return nil }
      var state = RouteState(
        destination: route.destination ?? .everything(family), table: route.table,
        typeOfService: route.typeOfService, metric: route.priority ?? 0)
      if let type = RouteState.RouteType(rawValue: route.type.rawValue) { state.type = type }
      var words = ["route", state.key]
      if let gateway = route.gateway { words.append("via \(gateway)") }
      if let index = route.outputIndex { words.append("dev \(name(of: index, in: namespace))") }
      return ChangeEvent(
        action: made, path: StatePath(namespace, .route, key: [state.key]),
        summary: words.joined(separator: " "))
    case .rule(let rule):
      guard let family = rule.family.internet else { return nil }
      let key = "\(family.rawValue) \(rule.priority ?? 0):"
      return ChangeEvent(
        action: made, path: StatePath(namespace, .policyRule, key: [key]),
        summary: "rule \(key) lookup \(rule.table)")
    case .neighbor(let neighbor):
      let link = name(of: neighbor.index, in: namespace)
      let mac = neighbor.macAddress.map(\.description) ?? "unresolved"
      guard neighbor.family != .bridge else {
        return ChangeEvent(
          action: made, path: StatePath(namespace, .fdb, key: [link, mac]), summary: "fdb \(mac) dev \(link)")
      }
      guard let address = neighbor.destination else { return nil }
      return ChangeEvent(
        action: made, path: StatePath(namespace, .neighbor, key: [link, address.description]),
        summary: "neighbour \(address) dev \(link) lladdr \(mac)")
    case .qdisc(let qdisc):
      guard qdisc.parent == .root else { return nil }
      let link = name(of: qdisc.index, in: namespace)
      return ChangeEvent(
        action: made, path: StatePath(namespace, .qdisc, key: [link, "root"]),
        summary: "qdisc \(qdisc.kind?.name ?? "") dev \(link)")
    case .trafficClass, .namespaceID, .bridgePort: return nil
    }
  }

  /// What tells a follower that events were lost.
  public static func gap(in namespace: NamespaceID) -> ChangeEvent {
    ChangeEvent(action: .gap, path: StatePath(namespace), summary: "events were lost")
  }

  private func name(of index: Int32, in namespace: NamespaceID) -> String {
    links[namespace]?[index] ?? "\(index)"
  }
}
