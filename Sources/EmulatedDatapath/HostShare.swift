// SPDX-License-Identifier: GPL-2.0-or-later

// What of a lab's plan is the emulated kernel's, and what the host's. A pair between a node and the host cannot be one
// across two kernels: in its place either has a tap, and the lab's process carries frames between them (`HostEdges`). So
// plans say pairs, as on the other datapaths; both kernels are told taps, and what they tell is understood as pairs.

import LabCore
import NetTypes

/// The two kernels' shares of a batch.
struct HostShare: Sendable {
  var inside: Plan.Batch
  var outside: Plan.Batch
  /// Devices of the lab that are made with a tap of the host to be joined to.
  var made: [(link: LinkReference, tap: InterfaceName, isPair: Bool)] = []
  var gone: [LinkReference] = []

  /// Whether the host has nothing to do with it.
  var isInside: Bool { outside.changes.isEmpty && made.isEmpty }

  /// - Parameter edges: those that there are before the batch.
  init(of batch: Plan.Batch, edges: [HostEdge]) {
    outside = Plan.Batch(title: batch.title, changes: [])
    guard !edges.isEmpty || batch.changes.indices.contains(where: { batch.changes[$0].concernsHost }) else {
      inside = batch
      return
    }
    inside = Plan.Batch(title: batch.title, changes: [])
    for change in batch.changes {
      if change.path.namespace == .host { addOutside(change, edges) } else { addInside(change, edges) }
    }
  }

  private mutating func addOutside(_ change: Change, _ edges: [HostEdge]) {
    outside.changes.append(change.mapLinks(\.onHost))
    guard case .link(let link)? = change.before, change.operation == .delete else { return }
    // The plan relies on either end's taking the other along.
    for edge in edges where edge.isPair && edge.tap == link.name {
      inside.changes.append(.tapGoes(edge.link))
      gone.append(edge.link)
    }
  }

  private mutating func addInside(_ change: Change, _ edges: [HostEdge]) {
    inside.changes.append(change.mapLinks(\.inLab))
    let namespace = change.path.namespace
    switch (change.operation, change.before, change.after) {
    case (.create, _, .link(let link)?):
      if let (tap, isPair) = link.hostTap { made.append((LinkReference(namespace, link.name), tap, isPair)) }
    case (.delete, .link(let link)?, _):
      gone.append(LinkReference(namespace, link.name))
      if case (let tap, true)? = link.hostTap { outside.changes.append(.tapGoes(LinkReference(.host, tap))) }
    case (.delete, .namespace?, _):
      for edge in edges where edge.isPair && edge.link.namespace == namespace {
        outside.changes.append(.tapGoes(LinkReference(.host, edge.tap)))
      }
    default: break
    }
  }
}

extension Change {
  fileprivate var concernsHost: Bool {
    guard path.namespace != .host else { return true }
    guard path.kind == .link else { return false }
    return [before, after].contains { object in
      if case .link(let link)? = object { link.hostTap != nil } else { false }
    }
  }

  fileprivate static func tapGoes(_ link: LinkReference) -> Change {
    let tap = LinkState(name: link.name, kind: .tuntap(TunTapState(mode: .tap)))
    return Change(
      path: link.path, operation: .delete, before: .link(tap), after: nil, reason: "goes with its other end")
  }

  fileprivate func mapLinks(_ translate: (LinkState) -> LinkState) -> Change {
    func translated(_ object: StateObject?) -> StateObject? {
      if case .link(let link)? = object { .link(translate(link)) } else { object }
    }
    var change = self
    change.before = translated(before)
    change.after = translated(after)
    return change
  }
}

extension LinkState {
  /// The tap of the host that the device is joined to, and whether it stands for the other end of a pair.
  fileprivate var hostTap: (name: InterfaceName, isPair: Bool)? {
    switch kind {
    case .veth(let peer?) where peer.namespace == .host: (peer.name, true)
    case .tuntap(let device): device.hostTap.map { ($0, false) }
    default: nil
    }
  }

  /// The device as the lab's kernel has it.
  var inLab: LinkState {
    guard hostTap != nil else { return self }
    var link = self
    link.kind = .tuntap(TunTapState(mode: .tap))
    return link
  }

  /// A device of the host as its kernel has it.
  fileprivate var onHost: LinkState {
    guard case .veth = kind else { return self }
    var link = self
    link.kind = .tuntap(TunTapState(mode: .tap))
    return link
  }
}

extension LabState {
  /// What of it the emulated kernel has.
  var inLab: LabState {
    let concernsHost = namespaces.indices.contains { index in
      namespaces[index].id == .host || namespaces[index].links.contains { $0.hostTap != nil }
    }
    guard concernsHost else { return self }
    var state = self
    state.namespaces.removeAll { $0.id == .host }
    for index in state.namespaces.indices {
      state.namespaces[index].links = state.namespaces[index].links.map(\.inLab)
    }
    return state
  }
}

extension Scope {
  /// What of it is the host's.
  var onHost: Scope? {
    guard namespaces?.contains(.host) != false else { return nil }
    return Scope(
      namespaces: [.host], sysctls: sysctls.filter { $0.key == .host },
      claims: claims.filter { $0.namespace == .host })
  }

  var asksForSomething: Bool { !claims.isEmpty || sysctls.values.contains { !$0.isEmpty } }
}

extension Observation {
  /// Has devices that are joined to the host be what the plan calls them.
  mutating func join(_ edges: [HostEdge]) {
    for edge in edges {
      owned.change(edge.link) { link in
        if edge.isPair {
          link.kind = .veth(peer: LinkReference(.host, edge.tap))
        } else if edge.wire != nil {
          link.kind = .tuntap(TunTapState(mode: .tap, hostTap: edge.tap))
        }
      }
    }
    guard let host = owned[.host] else { return }
    for link in host.links {
      guard case .tuntap = link.kind else { continue }
      let edge = edges.first { $0.isPair && $0.tap == link.name }
      owned.change(LinkReference(.host, link.name)) { $0.kind = .veth(peer: edge?.link) }
    }
  }

  /// Adds what the host's kernel tells of the lab's objects there.
  mutating func add(host other: Observation) {
    owned = LabState(
      lab: owned.lab, namespaces: owned.namespaces + (other.owned[.host].map { [$0] } ?? []))
    unmarked = LabState(
      lab: unmarked.lab, namespaces: unmarked.namespaces + (other.unmarked[.host].map { [$0] } ?? []))
    foreign += other.foreign
  }
}

extension LabState {
  fileprivate mutating func change(_ reference: LinkReference, _ body: (inout LinkState) -> Void) {
    guard let space = namespaces.firstIndex(where: { $0.id == reference.namespace }),
      let link = namespaces[space].links.firstIndex(where: { $0.name == reference.name })
    else { return }
    body(&namespaces[space].links[link])
  }
}
