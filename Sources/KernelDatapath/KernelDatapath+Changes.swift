// SPDX-License-Identifier: GPL-2.0-or-later

// What the kernel says has changed in a lab, for all its namespaces by one socket.

public import LabCore
import LinuxObjects
import NetTypes
import Netlink
import Rtnetlink
import Synchronization
import SystemPackage

extension KernelDatapath {
  public func changes(of lab: LabName) async throws(DatapathError) -> ChangeStream {
    let start = try await perform(on: lab, "follow lab '\(lab)'") { (kernel) throws(DatapathError) in
      try ChangeFollower.start(kernel)
    }
    return ChangeStream(start.stream())
  }
}

/// Turns the monitor's events into a lab's.
final class ChangeFollower: Sendable {
  private let monitor: NetlinkMonitor
  /// The lab's namespaces by their names.
  private let namespaces: [String: NamespaceID]
  /// The names of devices, which events about addresses and routes do not tell.
  private let links: Mutex<[NamespaceID: [Int32: String]]>

  private init(
    _ monitor: NetlinkMonitor, _ namespaces: [String: NamespaceID], _ links: [NamespaceID: [Int32: String]]
  ) {
    self.monitor = monitor
    self.namespaces = namespaces
    self.links = Mutex(links)
  }

  static func start(_ kernel: HostKernel) throws(DatapathError) -> ChangeFollower {
    var survey = Survey(kernel, scope: Scope(), addressesAreMarked: true)
    let ids = try survey.run().owned.namespaces.map(\.id).filter { $0 != .host }
    // A monitor hears its own namespace without a number; the host's is the one to stand in.
    do throws(TransportError) { try kernel.thread.enter(kernel.host) } catch {
      throw DatapathError(.unavailable, operation: "follow lab '\(kernel.lab)'", cause: error.cause)
    }
    do throws(NetlinkError) {
      let monitor = try NetlinkMonitor(groups: NetlinkMonitor.allGroups + [.qdisc])
      var names: [String: NamespaceID] = [:]
      var links: [NamespaceID: [Int32: String]] = [:]
      for id in ids {
        guard let open = kernel.session.namespaces[id] else { continue }
        try monitor.watch(open.namespace)
        names[open.namespace.label] = id
        for link in try open.socket.dump(LinkMessage.dump(extended: .skipStatistics), as: LinkMessage.self) {
          links[id, default: [:]][link.index] = link.name
        }
      }
      return ChangeFollower(monitor, names, links)
    } catch {
      throw DatapathError(
        .unavailable, operation: "follow lab '\(kernel.lab)'", errno: error.errno?.rawValue,
        cause: TransportError(error).cause)
    }
  }

  func stream() -> AsyncStream<ChangeEvent> {
    AsyncStream(bufferingPolicy: .bufferingOldest(65_536)) { continuation in
      let task = Task {
        for await event in monitor.events {
          for change in changes(of: event) { continuation.yield(change) }
        }
        continuation.finish()
      }
      continuation.onTermination = { _ in
        task.cancel()
        self.monitor.stop()
      }
    }
  }

  private func changes(of event: NetlinkEvent) -> [ChangeEvent] {
    switch event {
    case .gap:
      return namespaces.values.sorted().map {
        ChangeEvent(action: .gap, path: StatePath($0), summary: "events were lost")
      }
    case .message(let message, let name):
      guard let namespace = name.flatMap({ namespaces[$0] }), let event = try? RtnetlinkEvent(message) else {
        return []
      }
      // The low two bits of an rtnetlink type: 1 is a deletion.
      return change(event, isDeletion: message.type.rawValue & 3 == 1, in: namespace).map { [$0] } ?? []
    }
  }

  private func change(_ event: RtnetlinkEvent, isDeletion: Bool, in namespace: NamespaceID) -> ChangeEvent? {
    let made: ChangeEvent.Action = isDeletion ? .removed : .added
    switch event {
    case .link(let link):
      let name = link.name ?? "\(link.index)"
      let isNew = links.withLock { links in
        let old = links[namespace]?[link.index]
        links[namespace, default: [:]][link.index] = isDeletion ? nil : name
        return old == nil
      }
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

  private func name(of index: Int32, in namespace: NamespaceID) -> String {
    links.withLock { $0[namespace]?[index] } ?? "\(index)"
  }
}
